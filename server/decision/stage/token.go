package stage

import "github.com/writpdp/writ/server/decision"

// Token refuses a token that another request has used, and uses it up, with the
// proof that came with it. A result may come with the token that its call used, and
// with that one's proof: who asks about it is the enforcement point that asked about
// the call, which has no other of the agent.
func Token(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if call := snap.Call; req.Phase == decision.Result && call != nil && call.Allowed && call.Fits(req) && call.Token == req.Principal.Token {
		return abstain()
	}
	if snap.TokenUsed {
		return deny("token.replayed", "The principal token, or its proof, was used for another request before.",
			"Obtain a fresh token, and make a fresh proof where it is bound to a key: each is accepted once.")
	}
	f := abstain()
	f.Effects = []decision.Effect{decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}
	if p := &req.Principal; p.Proof != [32]byte{} {
		f.Effects = append(f.Effects, decision.Consume{Token: p.Proof, Expires: p.Expires})
	}
	return f
}
