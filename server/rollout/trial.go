package rollout

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/writpdp/writ/server/decision"
)

// Canary reports whether the candidate of a rollout answers a request, rather
// than the live bundle. All requests of a session get the same answer to that,
// and so do all of a principal without a session, on every replica and also when
// the share grows. It depends on the candidate, so that not always the same
// sessions try out what is new.
func Canary(r *decision.Rollout, tenant, session, principal string) bool {
	if r.Mode != decision.Canary {
		return false
	}
	if len(r.Tenants) > 0 {
		if _, among := slices.BinarySearch(r.Tenants, tenant); !among {
			return false
		}
	}
	if r.Share >= decision.Whole {
		return true
	}
	kind, who := byte('s'), session
	if session == "" {
		kind, who = 'p', principal
	}
	buffer := make([]byte, 0, 256)
	for _, part := range []string{r.Candidate.Digest, tenant} {
		buffer = binary.BigEndian.AppendUint32(buffer, uint32(len(part)))
		buffer = append(buffer, part...)
	}
	sum := sha256.Sum256(append(append(buffer, kind), who...))
	return binary.BigEndian.Uint64(sum[:8])%decision.Whole < uint64(r.Share)
}

// Counts are what a bundle decided.
type Counts struct {
	// Decisions are all, Denials those that denied, and Errors those with a
	// policy that could not be evaluated.
	Decisions, Denials, Errors int64
}

// enough is how many decisions each bundle must have made before they are
// compared.
const enough = 100

// Departs says how a candidate's decisions depart from the live bundle's by more
// than the margin; empty: they do not, or neither has decided enough to tell. A
// difference counts only as far as it goes beyond three standard errors: few
// decisions say little, and they are looked at again and again.
func Departs(live, candidate Counts, m decision.Margin) string {
	if live.Decisions < enough || candidate.Decisions < enough {
		return ""
	}
	for _, rate := range []struct {
		what            string
		live, candidate int64
		margin          int
		either          bool
	}{
		{"denied", live.Denials, candidate.Denials, m.Denials, true},
		{"could not evaluate a policy in", live.Errors, candidate.Errors, m.Errors, false},
	} {
		a, b := float64(rate.live)/float64(live.Decisions), float64(rate.candidate)/float64(candidate.Decisions)
		difference := b - a
		if rate.either {
			difference = math.Abs(difference)
		}
		noise := 3 * math.Sqrt(a*(1-a)/float64(live.Decisions)+b*(1-b)/float64(candidate.Decisions))
		if difference-noise > float64(rate.margin)/decision.Whole {
			return fmt.Sprintf("The candidate %s %.2f%% of %d decisions, the live bundle %.2f%% of %d; the margin is %.2f%%.",
				rate.what, 100*b, candidate.Decisions, 100*a, live.Decisions, float64(rate.margin)/100)
		}
	}
	return ""
}
