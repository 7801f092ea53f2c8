package audit

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// shadowFacts are what a bundle's shadow would have answered, beside the answer
// that was given.
func shadowFacts(bundle string, beside *decision.Decision, given *writv1.DecideResponse) (*writv1.ShadowFacts, error) {
	facts := &writv1.ShadowFacts{BundleDigest: bundle, Effect: writv1.Effect(beside.Outcome())}
	duties, err := obligations(beside)
	if err != nil {
		return nil, err
	}
	facts.Differs = facts.Effect != given.Effect || !sameDuties(duties, given.Obligations)
	if facts.Differs {
		facts.Reasons = grounds(findings(beside), facts.Effect == writv1.Effect_EFFECT_DENY)
		facts.Obligations = duties
	}
	return facts, nil
}

// sameDuties reports whether two lists ask for the same, whoever asks for it.
func sameDuties(a, b []*writv1.Obligation) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := proto.CloneOf(a[i]), proto.CloneOf(b[i])
		x.Id, x.PolicyId, y.Id, y.PolicyId = "", "", "", ""
		if !proto.Equal(x, y) {
			return false
		}
	}
	return true
}

// checkShadow refuses what shadowFacts cannot have written.
func checkShadow(s *writv1.ShadowFacts) error {
	switch {
	case s == nil:
		return nil
	case s.Effect < writv1.Effect_EFFECT_DENY || s.Effect > writv1.Effect_EFFECT_ROUTE:
		return errors.New("shadow.effect is unknown")
	case len(s.BundleDigest) > 64:
		return errors.New("shadow.bundle_digest is longer than 64 bytes")
	case len(s.Obligations) > maxItems:
		return fmt.Errorf("shadow: more than %d obligations", maxItems)
	case !s.Differs && len(s.Reasons)+len(s.Obligations) > 0:
		return errors.New("shadow does not differ and says how")
	}
	return nil
}
