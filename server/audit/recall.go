package audit

import (
	"encoding/hex"
	"fmt"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Respond is the answer that a decision's record holds, for a request that was
// answered before. Receipt and Replayed are not set. Another record's body is
// ErrNotFound.
func Respond(body []byte) (*writv1.DecideResponse, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r.decision == nil {
		return nil, fmt.Errorf("reading a decision: %w", ErrNotFound)
	}
	return r.decision.Response, nil
}

// RespondSettled is the answer that a settlement's record holds, for a report
// that was answered before. Receipt and Replayed are not set. Another record's
// body is ErrNotFound.
func RespondSettled(body []byte) (*writv1.SettleResponse, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r.settlement == nil {
		return nil, fmt.Errorf("reading a settlement: %w", ErrNotFound)
	}
	return r.settlement.Response, nil
}

// CallFactsOf is what a RESULT's stages need of the decision on its call. A row
// that is no decision on a call is ErrNotFound.
func CallFactsOf(row Row) (decision.CallFacts, error) {
	r, err := decode(row.Body)
	if err != nil {
		return decision.CallFacts{}, err
	}
	if r.decision == nil || r.Phase != decision.Call {
		return decision.CallFacts{}, fmt.Errorf("reading a decision on a call: %w", ErrNotFound)
	}
	facts := decision.CallFacts{
		Allowed: r.Outcome != decision.Denied, Caller: r.Caller, Principal: r.Principal,
		Session: r.Session, Purpose: r.Purpose, Tool: decision.ToolName{Server: r.Server, Name: r.Tool},
		MaxOutput: maxOutput(r.decision.Response.Obligations),
	}
	copy(facts.ArgumentsDigest[:], r.decision.ArgumentsDigest)
	copy(facts.Token[:], r.decision.Principal.GetTokenDigest())
	for _, effect := range r.effects {
		if redeem, ok := effect.(decision.Redeem); ok {
			facts.Ticket = redeem.Ticket
		}
	}
	return facts, nil
}

// Reserved is what a decision left to be settled.
type Reserved struct {
	Caller decision.Caller
	// Allowed is false for a denial, which reserves nothing.
	Allowed bool
	// Reservations are the charges with their budget's line, in the order in
	// which they were made.
	Reservations []decision.Reservation
	// Passed are the breakers that let it through.
	Passed []decision.Pass
}

// Reservations is what the decision of a body reserved. Another record's is
// ErrNotFound; a charge without its budget's line is an error.
func Reservations(body []byte) (Reserved, error) {
	r, err := decode(body)
	if err != nil {
		return Reserved{}, err
	}
	if r.decision == nil {
		return Reserved{}, fmt.Errorf("reading a decision: %w", ErrNotFound)
	}
	reserved := Reserved{
		Caller:  decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant},
		Allowed: r.Outcome != decision.Denied,
	}
	lines := linesOf(r.decision.Response.Budgets)
	for _, effect := range r.effects {
		if pass, ok := effect.(decision.Pass); ok {
			reserved.Passed = append(reserved.Passed, pass)
		}
		charge, ok := effect.(decision.Charge)
		if !ok {
			continue
		}
		line, ok := lines[charge.Key.Rule()]
		if !ok {
			return Reserved{}, fmt.Errorf("reading a decision: a charge without a line of its budget")
		}
		reserved.Reservations = append(reserved.Reservations, decision.Reservation{
			Line: line, Charge: charge,
		})
	}
	return reserved, nil
}

// Denial is a denial that a ticket could lift, as its record has it.
type Denial struct {
	// Caller is who asked.
	Caller decision.Caller
	// Principal is the agent.
	Principal decision.Principal
	// Access says what to have approved; nil: no ticket would lift the denial.
	Access *writv1.AccessRequest
	// Arguments is the digest of the arguments in hex; empty: there were none.
	Arguments string
}

// DenialOf is the denial of a body. Another record's is ErrNotFound.
func DenialOf(body []byte) (Denial, error) {
	r, err := decode(body)
	if err != nil {
		return Denial{}, err
	}
	if r.decision == nil || r.Outcome != decision.Denied {
		return Denial{}, fmt.Errorf("reading a denial: %w", ErrNotFound)
	}
	return Denial{Caller: decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant}, Principal: principalOf(r.decision.Principal),
		Access: r.decision.Response.AccessRequest, Arguments: hex.EncodeToString(r.decision.ArgumentsDigest)}, nil
}
