package stage

import "github.com/writpdp/writ/server/decision"

// Token refuses a token that another request has used, and uses it up, with the
// proof that came with it.
func Token(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if snap.TokenUsed {
		return deny("token.replayed", "The principal token was used for another request before.",
			"Obtain a fresh token: each is accepted once.")
	}
	f := abstain()
	f.Effects = []decision.Effect{decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}
	if p := &req.Principal; p.Proof != [32]byte{} {
		f.Effects = append(f.Effects, decision.Consume{Token: p.Proof, Expires: p.Expires})
	}
	return f
}
