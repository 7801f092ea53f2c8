package suite

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// Result is what became of a case.
type Result struct {
	*Case
	// Failures say, a sentence each, how the answer differs from what is
	// expected; none: the case passes.
	Failures []string
}

// Failed reports whether the case did.
func (r Result) Failed() bool { return len(r.Failures) > 0 }

// Run decides every case with a bundle.
func Run(b *decision.Bundle, cases []*Case) []Result {
	results := make([]Result, len(cases))
	for i, c := range cases {
		results[i] = Result{Case: c}
		if c.cedar != nil {
			results[i].Failures = c.cedar.run(b)
			continue
		}
		_, d := c.Decide(b)
		results[i].Failures = c.want.differences(answerOf(b, c.Request, &d))
	}
	return results
}

// Decide is what the server would, without the record.
func (c *Case) Decide(b *decision.Bundle) (*decision.Snapshot, decision.Decision) {
	snap := &decision.Snapshot{At: c.At, Bundle: b, Keys: standIn{}, Facts: c.Facts}
	return snap, stage.All.Decide(c.Request, snap)
}

// answer is a decision in the form in which it is compared.
type answer struct {
	effect      string
	reasons     []string // codes
	policies    []string
	obligations []obligation
}

// effects are the outcomes by the names that files have for them.
var effects = map[string]decision.Outcome{"DENY": decision.Denied, "ALLOW": decision.Allowed, "REDACT": decision.Redacted, "ROUTE": decision.Routed}

func answerOf(b *decision.Bundle, req *decision.Request, d *decision.Decision) answer {
	var a answer
	outcome := d.Outcome()
	for name, o := range effects {
		if o == outcome {
			a.effect = name
		}
	}
	for _, f := range d.Findings {
		for _, r := range f.Reasons {
			if outcome == decision.Denied && r.Lift == "" {
				continue // what does not deny did not decide
			}
			a.reasons = add(a.reasons, r.Code)
			a.policies = add(a.policies, r.Policy)
		}
	}
	for _, o := range d.Obligations() {
		a.obligations = append(a.obligations, obligationOf(req, o))
	}
	return a
}

func add(all []string, one string) []string {
	if one == "" || slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// want is what a case expects.
type want struct {
	Effect word `yaml:"effect"`
	// Reasons are the codes of all reasons that decided, Policies the ids of the
	// policies among them; where they are left out, any.
	Reasons  []string `yaml:"reasons"`
	Policies []string `yaml:"policies"`
	// Obligations must be there, each with the parameters that it names; an
	// empty list expects none.
	Obligations []obligation `yaml:"obligations"`
}

func (w *want) check() error {
	if _, ok := effects[w.Effect.text]; !ok {
		return fmt.Errorf("the expected effect %q is not ALLOW, DENY, REDACT or ROUTE", w.Effect.text)
	}
	for _, o := range w.Obligations {
		if !slices.Contains(supported, o.Type) {
			return fmt.Errorf("there is no obligation of the type %q", o.Type)
		}
	}
	return nil
}

// differences says how an answer differs from what is expected.
func (w *want) differences(got answer) []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if w.Effect.text != got.effect {
		say("The effect is %s and %s was expected, by %s.", got.effect, w.Effect.text, because(got))
	}
	set := func(what string, want, got []string) {
		if want == nil {
			return
		}
		if missing := without(want, got); len(missing) > 0 {
			say("The %s %s was expected and is missing: there is %s.", what, strings.Join(missing, ", "), listed(got))
		}
		if more := without(got, want); len(more) > 0 {
			say("The %s %s was not expected.", what, strings.Join(more, ", "))
		}
	}
	set("reason", w.Reasons, got.reasons)
	set("policy", w.Policies, got.policies)
	if w.Obligations != nil && len(w.Obligations) == 0 && len(got.obligations) > 0 {
		say("No obligation was expected: there is %s.", obligationsListed(got.obligations))
	}
	for _, o := range w.Obligations {
		if !slices.ContainsFunc(got.obligations, o.within) {
			say("The obligation %s was expected and is missing: there is %s.", o, obligationsListed(got.obligations))
		}
	}
	return all
}

func because(a answer) string {
	text := listed(a.reasons)
	if len(a.policies) > 0 {
		text += " of " + listed(a.policies)
	}
	return text
}

func without(all, less []string) []string {
	var rest []string
	for _, s := range all {
		if !slices.Contains(less, s) {
			rest = add(rest, s)
		}
	}
	return rest
}

func listed(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// standIn stands for a server's keys of redaction: of the same values alike, and no
// secret.
type standIn struct{}

// Hash is decision.Keys's.
func (standIn) Hash(domain, text string) [20]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", domain, text))
	return [20]byte(sum[:])
}

// Token is decision.Keys's.
func (s standIn) Token(class, text string) (token [20]byte, sealed []byte, err error) {
	return s.Hash("token "+class, text), []byte(text), nil
}
