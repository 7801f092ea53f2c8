package prove

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// Example is a request and what each bundle's policies say of it.
type Example struct {
	// Principal, Action and Resource are entities in Cedar.
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	// Attributes are the resource's and Context is the request's, in Cedar's JSON,
	// without what the bundle says of the tool.
	Attributes json.RawMessage `json:"resource_attributes,omitempty"`
	Context    json.RawMessage `json:"context"`
	// Old and New are what the bundles' own policies decide.
	Old Ruling `json:"old"`
	New Ruling `json:"new"`

	// shown is the part of the context that policies look at.
	shown cedar.Record
}

// Ruling is what one bundle says of a request.
type Ruling struct {
	Allowed bool `json:"allowed"`
	// Permits, Forbids and Errors are policies, by id.
	Permits []string `json:"permits,omitempty"`
	Forbids []string `json:"forbids,omitempty"`
	Errors  []string `json:"errors,omitempty"`
	// Refused says why the policies were not asked.
	Refused string `json:"refused,omitempty"`

	duties []string
}

func (r Ruling) asks(duty string) bool { return slices.Contains(r.duties, duty) }

func (x *Example) both() bool { return x.Old.Allowed && x.New.Allowed }

// replay decides a counterexample with the bundles' own policies.
func (env environment) replay(text string) (*Example, error) {
	in, err := parseExample(text)
	if err != nil {
		return nil, err
	}
	if in.principal.Type != env.principal || in.action != env.action || in.resource.Type != env.resource {
		return nil, errors.New("it is of another kind of request")
	}
	x := &Example{Principal: string(in.principal.MarshalCedar()), Action: string(in.action.MarshalCedar()), Resource: string(in.resource.MarshalCedar())}
	rest := in.context.Map()
	delete(rest, "tool")
	if x.Context, err = json.Marshal(cedar.NewRecord(rest)); err != nil {
		return nil, fmt.Errorf("writing the context: %w", err)
	}
	if in.attributes.Len() > 0 && env.resource != typeServer { // of which a request says nothing
		if x.Attributes, err = json.Marshal(in.attributes); err != nil {
			return nil, fmt.Errorf("writing the resource's attributes: %w", err)
		}
	}
	x.shown = env.looksAt(rest)
	for _, side := range []struct {
		scene *scene
		into  *Ruling
	}{{env.old, &x.Old}, {env.new, &x.New}} {
		if side.scene == nil {
			side.into.Refused = "the bundle does not know this kind of request"
			continue
		}
		q, err := side.scene.query(in)
		if err != nil {
			return nil, err
		}
		*side.into = side.scene.ruling(q)
	}
	return x, nil
}

// ruling is what a bundle decides.
func (s *scene) ruling(q decision.Query) Ruling {
	r := s.Bundle.Policies.Judge(q)
	out := Ruling{Permits: ids(r.Permits), Forbids: ids(r.Forbids), Errors: ids(r.Errors), duties: dutiesIn(r)}
	// That a redaction cannot be carried out is a matter of the content, which
	// policies do not see.
	if !strings.HasPrefix(r.Refused.Code, "redact.") {
		out.Refused = r.Refused.Text
	}
	if !slices.Contains(s.purposes(), q.Request.Purpose) {
		out.Refused = "the purpose does not grant it"
	}
	out.Allowed = len(out.Permits) > 0 && len(out.Forbids)+len(out.Errors) == 0 && out.Refused == "" && !r.Open
	return out
}

func ids(all []decision.Match) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.Policy)
	}
	return out
}

// query is an instance as Writ would be asked about it.
func (s *scene) query(in instance) (decision.Query, error) {
	r := &reader{of: in.context}
	req := &decision.Request{
		Principal: decision.Principal{Subject: string(in.principal.ID), Issuer: r.text("issuer"), Actors: r.texts("actors")},
		Caller:    decision.Caller{SPIFFEID: r.text("caller"), Tenant: r.text("tenant")},
		Purpose:   r.text("purpose"), Session: r.text("session"),
		Context: r.document("extra"), Arguments: r.document("args"),
	}
	if uid, ok := r.value("onBehalfOf").(cedar.EntityUID); ok {
		req.Principal.OnBehalfOf = string(uid.ID)
	}
	for _, phase := range []decision.Phase{decision.Prompt, decision.Call, decision.Result, decision.Connect} {
		if phase.String() == r.text("phase") {
			req.Phase = phase
		}
	}
	cost := r.record("cost")
	req.Cost = decision.Cost{Calls: cost.number("calls"), Tokens: cost.number("tokens"), Micros: cost.number("micros"), Currency: cost.text("currency")}
	q := decision.Query{Request: req, At: time.UnixMilli(r.moment("now")).UTC()}
	if s.tool != nil {
		req.Tool = decision.ToolRef{ToolName: s.tool.ToolName, Digest: s.tool.Digest}
		q.Tool = s.Bundle.Tools[s.tool.ToolName]
	}
	if to := r.record("destination"); to.of.Len() > 0 {
		req.Destination = decision.Destination{Host: to.text("host"), Vendor: to.text("vendor"), Region: to.text("region")}
		q.Vendor = req.Destination.Vendor
	}
	if ticket := r.record("ticket"); ticket.of.Len() > 0 {
		q.Ticket = &decision.Ticket{ID: ticket.text("id"), Approvers: ticket.texts("approvers")}
	}
	if content := r.record("content"); content.of.Len() > 0 {
		req.Content.Size = int(content.number("size"))
		if content.value("json") == cedar.True {
			req.Content.Document = content.empty()
		}
	}
	if found := r.record("found"); found.of.Len() > 0 {
		q.Inspection = &detect.Inspection{Findings: []detect.Finding{{Labels: found.texts("labels")}}}
		for _, id := range found.texts("detectors") {
			q.Inspection.Findings = append(q.Inspection.Findings, detect.Finding{Detector: id})
		}
		if found.value("uninspected") == cedar.True {
			q.Inspection.Gaps = []detect.Gap{{}}
		}
	}
	if urls := r.record("urls"); urls.of.Len() > 0 {
		q.URLs = &egress.Facts{}
		for _, host := range urls.texts("hosts") {
			q.URLs.Found = append(q.URLs.Found, egress.Found{Kind: egress.Stated, Target: egress.Target{Host: host}})
		}
		for _, scheme := range urls.texts("schemes") {
			q.URLs.Found = append(q.URLs.Found, egress.Found{Kind: egress.Stated, Target: egress.Target{Scheme: scheme}})
		}
	}
	if c := r.record("connection"); c.of.Len() > 0 {
		req.Connection = egress.Connection{Method: c.text("method"), To: egress.Found{Kind: egress.Reached, Target: egress.Target{Scheme: c.text("scheme"), Port: uint16(c.number("port"))}}}
		if c.value("redirected") == cedar.True {
			req.Connection.From.Kind = egress.Origin
		}
	}
	q.Taint = r.texts("taint")
	chain := r.record("chain")
	for i := range s.Bundle.Chains {
		id := cedar.String(s.Bundle.Chains[i].ID)
		value := chain.number(id)
		if chain.value(id) == cedar.True {
			value = 1
		}
		q.Chain = append(q.Chain, value)
	}
	if in.resource.Type != typeServer && in.resource.Type != typeDestination {
		req.Resource = decision.Resource{Type: string(in.resource.Type), ID: string(in.resource.ID)}
		if _, declared := s.Source.Entities[in.resource]; !declared {
			req.Resource.Properties = (&reader{of: cedar.NewRecord(cedar.RecordMap{"r": in.attributes})}).document("r")
		}
	}
	return q, r.problem
}

// reader takes a record apart. A part that is not there is empty; the schema has
// seen to the types.
type reader struct {
	of      cedar.Record
	problem error
}

func (r *reader) value(name cedar.String) types.Value {
	v, _ := r.of.Get(name)
	return v
}

func (r *reader) text(name cedar.String) string {
	s, _ := r.value(name).(cedar.String)
	return string(s)
}

func (r *reader) number(name cedar.String) int64 {
	n, _ := r.value(name).(cedar.Long)
	return int64(n)
}

func (r *reader) moment(name cedar.String) int64 {
	t, _ := r.value(name).(types.Datetime)
	return t.Milliseconds()
}

func (r *reader) record(name cedar.String) *reader {
	record, _ := r.value(name).(cedar.Record)
	return &reader{of: record}
}

func (r *reader) texts(name cedar.String) []string {
	set, _ := r.value(name).(cedar.Set)
	var all []string
	for v := range set.All() {
		if s, ok := v.(cedar.String); ok {
			all = append(all, string(s))
		}
	}
	return all
}

// document is a part as the JSON that a request brings; nil: it is not there.
func (r *reader) document(name cedar.String) *document.Document {
	record, ok := r.value(name).(cedar.Record)
	if !ok {
		return nil
	}
	value, err := plain(record)
	if err == nil {
		var data []byte
		if data, err = json.Marshal(value); err == nil {
			var d *document.Document
			if d, err = document.ParseObject(data); err == nil {
				return d
			}
		}
	}
	r.problem = fmt.Errorf("writing %s as JSON: %w", name, err)
	return nil
}

// empty is a content of which nothing is known but that it is JSON.
func (r *reader) empty() *document.Document {
	d, err := document.Parse([]byte("{}"))
	r.problem = err
	return d
}
