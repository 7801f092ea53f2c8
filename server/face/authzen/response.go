package authzen

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// answer is an Access Evaluation response. What the decision does not have is
// left out.
type answer struct {
	Decision bool    `json:"decision"`
	Context  details `json:"context"`
}

// details is the response's context.
type details struct {
	ID                string            `json:"id"`
	Effect            string            `json:"effect"`
	ReasonAdmin       map[string]string `json:"reason_admin,omitzero"`
	ReasonUser        map[string]string `json:"reason_user,omitzero"`
	Reasons           []reason          `json:"reasons,omitzero"`
	Obligations       []obligation      `json:"obligations,omitzero"`
	Budgets           []budget          `json:"budgets,omitzero"`
	RetryAfterSeconds *int64            `json:"retry_after_seconds,omitzero"`
	BundleDigest      string            `json:"bundle_digest,omitzero"`
	BundleCommit      string            `json:"bundle_commit,omitzero"`
	Receipt           *receipt          `json:"receipt,omitzero"`
	AccessRequest     *accessRequest    `json:"ticket_request,omitzero"`
	EvaluationID      string            `json:"evaluation_id,omitzero"`
	Requestable       *requestable      `json:"access_request,omitzero"`
	Replayed          bool              `json:"replayed,omitzero"`
	// Arguments are the redacted ones, and Content the redacted content as a text,
	// where the request asks for them.
	Arguments jsontext.Value `json:"arguments,omitzero"`
	Content   *string        `json:"content,omitzero"`
}

type reason struct {
	Stage    string `json:"stage"`
	Code     string `json:"code"`
	Text     string `json:"text"`
	PolicyID string `json:"policy_id,omitzero"`
	Lift     string `json:"lift,omitzero"`
}

type budget struct {
	Budget    string `json:"budget"`
	Unit      string `json:"unit"`
	Currency  string `json:"currency,omitzero"`
	Reserved  int64  `json:"reserved"`
	Remaining int64  `json:"remaining"`
	Cap       int64  `json:"cap"`
	ResetsAt  string `json:"resets_at,omitzero"`
	Exhausted bool   `json:"exhausted,omitzero"`
	Overrun   int64  `json:"overrun,omitzero"`
	Adjusted  int64  `json:"adjusted,omitzero"`
}

type receipt struct {
	RecordID  string `json:"record_id"`
	LeafHash  string `json:"leaf_hash"`
	LogOrigin string `json:"log_origin"`
	LogSize   uint64 `json:"log_size"`
	Spooled   bool   `json:"spooled,omitzero"`
}

type accessRequest struct {
	Type             string   `json:"type"`
	Principal        string   `json:"principal"`
	Tool             string   `json:"tool"`
	DefinitionDigest string   `json:"definition_digest,omitzero"`
	ArgumentsDigest  string   `json:"arguments_digest,omitzero"`
	PolicyIDs        []string `json:"policy_ids,omitzero"`
	Text             string   `json:"text,omitzero"`
}

// encode turns an answer into a response body. An answer that cannot be told
// whole is an internal error, because a part of it could be the one that denies.
func encode(resp *writv1.DecideResponse, ask *requestable) ([]byte, error) {
	if resp == nil {
		return nil, internal()
	}
	effect, allowed := summary(resp.GetEffect())
	a := answer{Decision: allowed, Context: details{
		ID: resp.GetDecisionId(), Effect: effect, BundleDigest: resp.GetBundleDigest(), BundleCommit: resp.GetBundleCommit(), Replayed: resp.GetReplayed(),
		RetryAfterSeconds: seconds(resp.RetryAfter),
	}}
	c := &a.Context
	for _, r := range resp.GetReasons() {
		c.Reasons = append(c.Reasons, reason{r.GetStage(), r.GetCode(), r.GetText(), r.GetPolicyId(), r.GetLift()})
	}
	if !allowed {
		c.ReasonAdmin, c.ReasonUser = forPeople(c.Reasons)
	}
	for _, o := range resp.GetObligations() {
		translated, err := translateObligation(o)
		if err != nil {
			return nil, err
		}
		c.Obligations = append(c.Obligations, translated)
	}
	for _, b := range resp.GetBudgets() {
		c.Budgets = append(c.Budgets, budget{
			Budget: b.GetBudget(), Unit: short(b.GetUnit(), "UNIT_"), Currency: b.GetCurrency(),
			Reserved: b.GetReserved(), Remaining: b.GetRemaining(), Cap: b.GetCap(),
			ResetsAt: instant(b.ResetsAt), Exhausted: b.GetExhausted(), Overrun: b.GetOverrun(), Adjusted: b.GetAdjusted(),
		})
	}
	if r := resp.Receipt; r != nil {
		c.Receipt = &receipt{r.GetRecordId(), hex.EncodeToString(r.GetLeafHash()), r.GetLogOrigin(), r.GetLogSize(), r.GetSpooled()}
	}
	if r := resp.AccessRequest; r != nil {
		c.AccessRequest = &accessRequest{
			Type: r.GetType(), Principal: r.GetPrincipal(), Tool: r.GetTool(), Text: r.GetText(), PolicyIDs: r.GetPolicyIds(),
			DefinitionDigest: r.GetDefinitionDigest(), ArgumentsDigest: r.GetArgumentsDigest(),
		}
	}
	if len(resp.GetArguments()) > 0 {
		c.Arguments = resp.Arguments
	}
	if resp.Content != nil {
		content := string(resp.Content)
		c.Content = &content
	}
	if ask != nil {
		c.EvaluationID, c.Requestable = resp.GetDecisionId(), ask
	}
	body, err := json.Marshal(a, json.Deterministic(true))
	if err != nil {
		return nil, internal()
	}
	return body, nil
}

// summary reads every effect that is not known to allow as a denial.
func summary(e writv1.Effect) (effect string, allowed bool) {
	switch e {
	case writv1.Effect_EFFECT_ALLOW, writv1.Effect_EFFECT_REDACT, writv1.Effect_EFFECT_ROUTE:
		return short(e, "EFFECT_"), true
	}
	return "DENY", false
}

// forPeople is the first reason that denies, in the form of the API's examples:
// by HTTP status, with what an administrator needs and without.
func forPeople(reasons []reason) (admin, user map[string]string) {
	if len(reasons) == 0 {
		return nil, nil
	}
	first := reasons[0]
	for _, r := range reasons {
		if r.Lift != "" { // only reasons that deny have one
			first = r
			break
		}
	}
	detail := first.Code
	if first.PolicyID != "" {
		detail += " by policy " + first.PolicyID
	}
	return map[string]string{"403": detail + ": " + first.Text}, map[string]string{"403": first.Text}
}

// seconds rounds up, so that who waits that long has waited long enough.
func seconds(d *durationpb.Duration) *int64 {
	if d == nil {
		return nil
	}
	s := d.GetSeconds()
	if d.GetNanos() > 0 {
		s++
	}
	return &s
}

func instant(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}
