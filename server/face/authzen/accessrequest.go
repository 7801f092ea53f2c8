package authzen

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// The Access Request and Approval profile, draft 1 as of 2026-11. A requestable
// denial is bound by reference: evaluation_id is the decision_id, and what is asked
// for comes from its record. A task is a ticket, and an approval is the ticket's id,
// which the commit of the evaluation redeems. Statuses:
//
//	pending    requested
//	approved   approved, and not used up or over
//	denied     rejected
//	cancelled  revoked
//	expired    used up, or over
//
// Of a submission, subject, resource and action must be those that were denied, and
// context.arguments too, if they are there; context.business_justification and
// requested_access.requested_until are used, and the rest of context is not looked at.
// Bulk submissions, callbacks, forms, cancellation and binding tokens are not served.

// requestsPath is where access is asked for; a task is below it.
const requestsPath = "/access/v1/requests"

// askable is how long after a denial its ticket can be asked for.
const askable = time.Hour

// AccessRequests are asked for tickets. Its errors carry a gRPC status. Every field
// is required. Safe for concurrent use.
type AccessRequests struct {
	// Request asks for the ticket that a denial says would lift it.
	Request func(context.Context, decision.Caller, AccessAsk) (*writv1.TicketFacts, error)
	// Read is a ticket as it stands now.
	Read func(ctx context.Context, caller decision.Caller, tenant, id string) (*writv1.TicketFacts, error)
	// Now is the clock.
	Now func() time.Time
}

// AccessAsk is a request for access, checked for its form.
type AccessAsk struct {
	Tenant string
	// EvaluationID names the denial: its decision_id.
	EvaluationID string
	// Key is the caller's idempotency key.
	Key string
	// Reason is why: 1 to 1024 bytes.
	Reason string
	// Subject is the agent, empty: as in the denial; Tool the tool, as "server/name".
	Subject, Tool string
	// Arguments is the hex digest of the arguments; empty: they were not given again.
	Arguments string
	// Until is until when access is wanted; zero: for an hour.
	Until time.Time
}

// requestable is context.access_request.
type requestable struct {
	Endpoint  string `json:"endpoint"`
	Template  string `json:"template"`
	ExpiresAt string `json:"expires_at"`
}

// approval is context.approval: what a completed task's result has.
type approval struct {
	ID            string `json:"id"`
	ApprovedAt    string `json:"approved_at"`
	ApprovedUntil string `json:"approved_until"`
}

// requestable tells how the ticket is asked for that would lift a denial; nil: none
// would, or it is not asked for here.
func (f face) requestable(resp *writv1.DecideResponse) *requestable {
	if f.AccessRequests == nil || resp.GetAccessRequest().GetTool() == "" {
		return nil
	}
	expires, ok := expiry(resp.GetDecisionId())
	if !ok {
		return nil
	}
	return &requestable{Endpoint: strings.TrimSuffix(f.BaseURL, "/") + requestsPath, Template: "ticket", ExpiresAt: expires.Format(time.RFC3339Nano)}
}

// expiry is when a denial can be asked about no more, by the time in its id.
func expiry(id string) (time.Time, bool) {
	if !uuid7.MatchString(id) {
		return time.Time{}, false
	}
	raw, err := hex.DecodeString(id[:8] + id[9:13])
	if err != nil {
		return time.Time{}, false
	}
	millis := int64(0)
	for _, b := range raw {
		millis = millis<<8 | int64(b)
	}
	return time.UnixMilli(millis).UTC().Add(askable), true
}

// submission is the body of an access request.
type submission struct {
	Subject *struct {
		Type       *string        `json:"type"`
		ID         *string        `json:"id"`
		Properties jsontext.Value `json:"properties"`
	} `json:"subject"`
	Action *struct {
		Name       *string        `json:"name"`
		Properties jsontext.Value `json:"properties"`
	} `json:"action"`
	Resource *struct {
		Type       *string        `json:"type"`
		ID         *string        `json:"id"`
		Properties jsontext.Value `json:"properties"`
	} `json:"resource"`
	Context map[string]jsontext.Value `json:"context"`
	Denial  *struct {
		EvaluationID string `json:"evaluation_id"`
		EvaluatedAt  string `json:"evaluated_at"`
		ExpiresAt    string `json:"expires_at"`
		Reason       string `json:"reason"`
		Template     string `json:"template"`
	} `json:"denial"`
	RequestedAccess struct {
		RequestedUntil string `json:"requested_until"`
	} `json:"requested_access"`
	Client jsontext.Value `json:"client"`
}

// requests serves submissions and tasks.
func (f face) requests(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	id, task := strings.CutPrefix(r.URL.EscapedPath(), requestsPath+"/")
	method := http.MethodPost
	if task {
		method = http.MethodGet
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		refuse(w, transport(http.StatusMethodNotAllowed, "access is asked for with POST, and a task is read with GET"))
		return
	}
	caller, err := f.Caller(r)
	if err != nil {
		refuse(w, callerProblem(err))
		return
	}
	tenant := r.URL.Query().Get("tenant")
	if task {
		if !ticketID(id) {
			complain(w, &taskProblem{http.StatusNotFound, "unknown_task", "there is no such task"})
			return
		}
		facts, err := f.AccessRequests.Read(r.Context(), caller, tenant, id)
		f.answerTask(w, http.StatusOK, facts, tenant, err)
		return
	}
	ask, err := f.submission(w, r)
	if err != nil {
		complain(w, err)
		return
	}
	facts, err := f.AccessRequests.Request(r.Context(), caller, *ask)
	f.answerTask(w, http.StatusAccepted, facts, ask.Tenant, err)
}

// ticketID reports whether a path can name a ticket.
func ticketID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._:-", c)
	})
}

// submission reads an access request.
func (f face) submission(w http.ResponseWriter, r *http.Request) (*AccessAsk, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if _, err := document.Parse(body); err != nil {
		return nil, jsonProblem("the body is not strict JSON")
	}
	var s submission
	if err := decode(body, &s, ""); err != nil {
		return nil, err
	}
	switch {
	case s.Subject == nil || s.Subject.ID == nil, s.Action == nil || s.Action.Name == nil, s.Resource == nil || s.Resource.ID == nil || s.Resource.Type == nil:
		return nil, fieldProblem("subject, action or resource is missing, or says too little")
	case *s.Action.Name != "tools/call" || *s.Resource.Type != typeTool:
		return nil, fieldProblem("at /action/name: access is asked for tools/call of a tool")
	case s.Denial == nil || s.Denial.EvaluationID == "":
		return nil, &taskProblem{http.StatusBadRequest, "invalid_denial_binding", "the denial has no evaluation_id"}
	}
	expires, ok := expiry(s.Denial.EvaluationID)
	said, err := time.Parse(time.RFC3339, s.Denial.ExpiresAt)
	switch {
	case !ok || err != nil || !said.Equal(expires):
		return nil, &taskProblem{http.StatusBadRequest, "invalid_denial_binding", "evaluation_id and expires_at are not those of a denial"}
	case !f.AccessRequests.Now().Before(expires):
		return nil, &taskProblem{http.StatusBadRequest, "expired_denial", "the denial was too long ago: ask for an evaluation again"}
	}
	ask := &AccessAsk{EvaluationID: s.Denial.EvaluationID, Subject: *s.Subject.ID, Reason: "Asked for by an access request."}
	if ask.Tool, err = s.tool(); err != nil {
		return nil, err
	}
	if err := s.context(ask); err != nil {
		return nil, err
	}
	if until := s.RequestedAccess.RequestedUntil; until != "" {
		if ask.Until, err = time.Parse(time.RFC3339, until); err != nil {
			return nil, fieldProblem("at /requested_access/requested_until: not an RFC 3339 time")
		}
	}
	ask.Key, err = idempotencyKey(r.Header, ask.EvaluationID)
	return ask, err
}

// tool is the resource as "server/name".
func (s *submission) tool() (string, error) {
	var p toolProperties
	if len(s.Resource.Properties) > 0 {
		if err := decode(s.Resource.Properties, &p, "/resource/properties"); err != nil {
			return "", err
		}
	}
	if p.Server != nil {
		return *p.Server + "/" + *s.Resource.ID, nil
	}
	return *s.Resource.ID, nil
}

// maxJustification bounds a business justification, in bytes.
const maxJustification = 1024

// context takes from the context what a request for access uses.
func (s *submission) context(ask *AccessAsk) error {
	for key, into := range map[string]*string{"business_justification": &ask.Reason, "tenant": &ask.Tenant} {
		if value, there := s.Context[key]; there {
			if err := decode(value, into, "/context/"+key); err != nil {
				return err
			}
		}
	}
	if ask.Reason == "" || len(ask.Reason) > maxJustification || strings.ContainsFunc(ask.Reason, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return fieldProblem("at /context/business_justification: not 1 to 1024 bytes on one line")
	}
	if arguments, there := s.Context["arguments"]; there {
		d, err := document.ParseObject(arguments)
		if err != nil {
			return jsonProblem("at /context/arguments: not a strict JSON object")
		}
		sum := d.Digest()
		ask.Arguments = hex.EncodeToString(sum[:])
	}
	return nil
}

// idempotencyKey is the key of a submission: the caller's own, or else the denial,
// for which access is then asked once.
func idempotencyKey(h http.Header, evaluation string) (string, error) {
	sent := h.Values("Idempotency-Key")
	if len(sent) > 1 || len(sent) == 1 && (sent[0] == "" || len(sent[0]) > 256) {
		return "", fieldProblem("Idempotency-Key is not one key of 1 to 256 bytes")
	}
	text := "denial " + evaluation
	if len(sent) == 1 {
		text = "key " + sent[0]
	}
	return text, nil
}

// task is the task handle.
type task struct {
	ID             string    `json:"id"`
	Status         string    `json:"status"`
	StatusEndpoint string    `json:"status_endpoint"`
	ExpiresAt      string    `json:"expires_at"`
	Progress       *progress `json:"progress,omitzero"`
}

type progress struct {
	Current int `json:"current_step"`
	Total   int `json:"total_steps"`
}

type result struct {
	Mode     string   `json:"mode"`
	Approval approved `json:"approval"`
}

type approved struct {
	ID    string `json:"id"`
	Until string `json:"approved_until"`
}

// answerTask tells of a ticket as of a task. Who approved it is not told.
func (f face) answerTask(w http.ResponseWriter, status int, facts *writv1.TicketFacts, tenant string, err error) {
	if err != nil {
		complain(w, err)
		return
	}
	location := strings.TrimSuffix(f.BaseURL, "/") + requestsPath + "/" + facts.GetId()
	if tenant != "" {
		location += "?tenant=" + url.QueryEscape(tenant)
	}
	out := struct {
		Task   task    `json:"task"`
		Result *result `json:"result,omitzero"`
	}{Task: task{ID: facts.GetId(), Status: taskStatus(facts.GetState()), StatusEndpoint: location, ExpiresAt: instant(facts.GetNotAfter())}}
	switch facts.GetState() {
	case writv1.TicketState_TICKET_STATE_REQUESTED:
		out.Task.Progress = &progress{Current: len(facts.GetApprovers()) + 1, Total: int(facts.GetApprovalsNeeded())}
	case writv1.TicketState_TICKET_STATE_APPROVED:
		out.Result = &result{Mode: "reevaluate", Approval: approved{ID: facts.GetId(), Until: instant(facts.GetNotAfter())}}
	}
	body, err := json.Marshal(out, json.Deterministic(true))
	if err != nil {
		refuse(w, internal())
		return
	}
	if status == http.StatusAccepted {
		w.Header().Set("Location", location)
	}
	write(w, status, body)
}

// taskStatus reads every state that is not known as a failure.
func taskStatus(s writv1.TicketState) string {
	switch s {
	case writv1.TicketState_TICKET_STATE_REQUESTED:
		return "pending"
	case writv1.TicketState_TICKET_STATE_APPROVED:
		return "approved"
	case writv1.TicketState_TICKET_STATE_REJECTED:
		return "denied"
	case writv1.TicketState_TICKET_STATE_REVOKED:
		return "cancelled"
	case writv1.TicketState_TICKET_STATE_USED_UP, writv1.TicketState_TICKET_STATE_EXPIRED:
		return "expired"
	}
	return "failed"
}

// taskProblem is a refusal that the profile has a name for.
type taskProblem struct {
	status       int
	kind, detail string
}

func (p *taskProblem) Error() string { return p.detail }

// complain answers with the profile's problem type (RFC 9457) where there is one.
func complain(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*taskProblem](err)
	if !ok {
		told := explain(err)
		switch {
		case told.Reason == name(writv1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED):
			p = &taskProblem{http.StatusConflict, "duplicate_request", "the Idempotency-Key was used for another submission"}
		case told.Reason == name(writv1.ErrorReason_ERROR_REASON_DECISION_UNKNOWN), told.Code == "ticket.denial", told.Code == "ticket.not_requestable":
			p = &taskProblem{http.StatusBadRequest, "invalid_denial_binding", told.Message}
		case told.Reason == name(writv1.ErrorReason_ERROR_REASON_TICKET_UNKNOWN):
			p = &taskProblem{http.StatusNotFound, "unknown_task", told.Message}
		default:
			refuse(w, err)
			return
		}
	}
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"urn:openid:authzen:access-request:error:" + p.kind, strings.ReplaceAll(p.kind, "_", " "), p.status, p.detail})
	if err != nil {
		refuse(w, internal())
		return
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // whoever left does not read it
}
