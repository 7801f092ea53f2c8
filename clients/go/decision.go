package writ

import (
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Effect summarises a decision. The zero value denies.
type Effect uint8

// The effects.
const (
	EffectDeny   Effect = iota // the action must not take effect
	EffectAllow                // it may, once every obligation is met
	EffectRedact               // it may, and content must change first
	EffectRoute                // it may, and goes elsewhere
)

// String is the effect's name, for example "ALLOW".
func (e Effect) String() string {
	if e > EffectRoute {
		return "UNKNOWN"
	}
	return [...]string{"DENY", "ALLOW", "REDACT", "ROUTE"}[e]
}

// Decision is Writ's answer. The zero value denies.
type Decision struct {
	// ID is Writ's id of the decision, a UUID; its record has the same.
	ID string
	// Tenant is the one that the call named; empty: none.
	Tenant string
	// Effect is the summary; the obligations are the authority.
	Effect Effect
	// Reasons are why.
	Reasons []Reason
	// Obligations are what the caller must do for an allow to hold.
	Obligations []Obligation
	// Budgets are those that counted.
	Budgets []BudgetLine
	// RetryAfter is when asking again can succeed; zero: waiting alone does not
	// help.
	RetryAfter time.Duration
	// AccessRequest is what a ticket must cover to lift the denial; nil: no
	// ticket would.
	AccessRequest *AccessRequest
	// Bundle is the SHA-256 of the policy bundle that decided, in hex.
	Bundle string
	// Commit is the Git commit, or the digest of the OCI manifest, that the bundle
	// came from; empty: it came from a directory.
	Commit string
	// Receipt is the proof that the answer was recorded; nil: there is none.
	Receipt *Receipt
	// Replayed says that Writ gave its answer to an earlier attempt again.
	Replayed bool
}

// Allowed reports whether the action may take effect, provided that every
// obligation is met.
func (d Decision) Allowed() bool {
	switch d.Effect {
	case EffectAllow, EffectRedact, EffectRoute:
		return true
	}
	return false
}

// Reason is one ground for a decision.
type Reason struct {
	// Stage found it.
	Stage string
	// Code is stable, for example "budget.exhausted".
	Code string
	// Text is a sentence for a person. It holds no argument values.
	Text string
	// Policy is the id of the policy that decided; empty: none did.
	Policy string
	// Lift says what would lift a denial; empty in reasons that do not deny.
	Lift string
}

// Unit is what a budget counts.
type Unit uint8

// The units.
const (
	UnitCalls  Unit = iota + 1 // calls
	UnitTokens                 // model tokens
	UnitMicros                 // money, in millionths of the currency's main unit
)

// BudgetLine is one budget's part in an answer.
type BudgetLine struct {
	// Budget is the budget's id in the policy bundle.
	Budget string
	// Unit is what it counts, in Currency where that is money.
	Unit     Unit
	Currency string
	// Reserved is what the decision took, or what a report charged in the end;
	// Remaining is what the window has left then, of Cap.
	Reserved, Remaining, Cap int64
	// Resets is when the window ends; zero: never.
	Resets time.Time
	// Exhausted says that this budget refused the action.
	Exhausted bool
	// Overrun is what a report could not charge.
	Overrun int64
}

// AccessRequest is what a change ticket must cover to lift a denial.
type AccessRequest struct {
	// Type is "ticket".
	Type string
	// Principal is the agent that the ticket must name; Tool, as "server/name",
	// the tool, with the digest of its definition and, in hex, of the arguments.
	Principal, Tool, DefinitionDigest, ArgumentsDigest string
	// Policies are the ids of the policies that ask for the ticket.
	Policies []string
	// Text is a sentence for whoever is asked to approve.
	Text string
}

// Receipt says where a record stands in Writ's log.
type Receipt struct {
	// RecordID is the record's id.
	RecordID string
	// LeafHash is the RFC 6962 hash of the record as a leaf: 32 bytes.
	LeafHash []byte
	// LogOrigin is the log's origin line.
	LogOrigin string
	// LogSize is the least index that the record will stand at.
	LogSize uint64
	// Spooled says that the record is not durable yet, as the bundle allows for
	// the action's class.
	Spooled bool
}

// decode reads the answer to a request. It refuses what it does not understand
// as a whole.
func decode(req *writv1.DecideRequest, resp *writv1.DecideResponse) (Decision, error) {
	if !isUUID(resp.GetDecisionId()) {
		return Decision{}, errors.New("the decision's id is not a UUID")
	}
	if resp.GetRequestId() != req.GetRequestId() {
		return Decision{}, errors.New("it answers another request")
	}
	d := Decision{
		ID:            resp.GetDecisionId(),
		Tenant:        req.GetTenant(),
		Reasons:       decodeReasons(resp.GetReasons()),
		Budgets:       decodeBudgets(resp.GetBudgets()),
		AccessRequest: decodeAccess(resp.GetAccessRequest()),
		Bundle:        resp.GetBundleDigest(),
		Commit:        resp.GetBundleCommit(),
		Replayed:      resp.GetReplayed(),
	}
	if after := resp.GetRetryAfter(); after != nil {
		if err := after.CheckValid(); err != nil {
			return Decision{}, errors.New("the time to retry after is out of range")
		}
		d.RetryAfter = max(0, after.AsDuration())
	}
	var err error
	if d.Receipt, err = decodeReceipt(resp.GetReceipt()); err != nil {
		return Decision{}, err
	}
	if d.Receipt != nil && d.Receipt.RecordID != d.ID {
		return Decision{}, errors.New("the receipt is for another record")
	}
	switch resp.GetEffect() {
	case writv1.Effect_EFFECT_UNSPECIFIED, writv1.Effect_EFFECT_DENY:
		return d, nil
	case writv1.Effect_EFFECT_ALLOW:
		d.Effect = EffectAllow
	case writv1.Effect_EFFECT_REDACT:
		d.Effect = EffectRedact
	case writv1.Effect_EFFECT_ROUTE:
		d.Effect = EffectRoute
	default:
		return Decision{}, fmt.Errorf("the effect %d is unknown", resp.GetEffect())
	}
	if d.Obligations, err = decodeObligations(resp.GetObligations()); err != nil {
		return Decision{}, err
	}
	if !d.whole() {
		return Decision{}, fmt.Errorf("the effect is %s and no obligation says how", d.Effect)
	}
	return d, nil
}

// whole reports whether what the summary promises is among the obligations.
func (d Decision) whole() bool {
	redact, route := false, false
	for _, o := range d.Obligations {
		switch o.Duty.(type) {
		case Redact:
			redact = true
		case Route:
			route = true
		}
	}
	return (d.Effect != EffectRedact || redact) && (d.Effect != EffectRoute || route)
}

func decodeReasons(in []*writv1.Reason) []Reason {
	out := make([]Reason, len(in))
	for i, r := range in {
		out[i] = Reason{Stage: r.GetStage(), Code: r.GetCode(), Text: r.GetText(), Policy: r.GetPolicyId(), Lift: r.GetLift()}
	}
	return out
}

func decodeBudgets(in []*writv1.BudgetLine) []BudgetLine {
	out := make([]BudgetLine, len(in))
	for i, b := range in {
		out[i] = BudgetLine{Budget: b.GetBudget(), Currency: b.GetCurrency(), Reserved: b.GetReserved(), Remaining: b.GetRemaining(),
			Cap: b.GetCap(), Exhausted: b.GetExhausted(), Overrun: b.GetOverrun()}
		if unit := b.GetUnit(); unit >= writv1.Unit_UNIT_CALLS && unit <= writv1.Unit_UNIT_MICROS {
			out[i].Unit = Unit(unit)
		}
		if at := b.GetResetsAt(); at.IsValid() {
			out[i].Resets = at.AsTime()
		}
	}
	return out
}

func decodeAccess(a *writv1.AccessRequest) *AccessRequest {
	if a == nil {
		return nil
	}
	return &AccessRequest{Type: a.GetType(), Principal: a.GetPrincipal(), Tool: a.GetTool(), DefinitionDigest: a.GetDefinitionDigest(),
		ArgumentsDigest: a.GetArgumentsDigest(), Policies: a.GetPolicyIds(), Text: a.GetText()}
}

func decodeReceipt(r *writv1.Receipt) (*Receipt, error) {
	if r == nil {
		return nil, nil
	}
	if !isUUID(r.GetRecordId()) || len(r.GetLeafHash()) != 32 {
		return nil, errors.New("the receipt is broken")
	}
	return &Receipt{RecordID: r.GetRecordId(), LeafHash: r.GetLeafHash(), LogOrigin: r.GetLogOrigin(), LogSize: r.GetLogSize(), Spooled: r.GetSpooled()}, nil
}

// isUUID takes the one form that the wire has; the parser alone takes others.
func isUUID(s string) bool {
	id, err := uuid.FromString(s)
	return err == nil && id.String() == s
}
