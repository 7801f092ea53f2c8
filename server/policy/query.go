package policy

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/session"
)

// question is a decision.Query as Cedar takes it.
type question struct {
	entities                    overlay
	principal, action, resource cedar.EntityUID // a zero resource is unknown
	context                     cedar.Record
	// tenant is whose request it is: its own policies are asked besides those of
	// everybody.
	tenant string
}

func (q *question) request() cedar.Request {
	return cedar.Request{Principal: q.principal, Action: q.action, Resource: q.resource, Context: q.context}
}

func (q *question) env() eval.Env {
	return eval.Env{Entities: q.entities, Principal: q.principal, Action: q.action, Resource: q.resource, Context: q.context}
}

// overlay adds the entities of one request to those of the bundle, which come
// first: a request cannot redefine what the operator declared.
type overlay struct {
	bundle  cedar.EntityMap
	request [2]cedar.Entity // the principal and the resource
}

// Get finds an entity; it cannot fail, everything is in memory.
func (o overlay) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	if e, ok := o.bundle[uid]; ok {
		return e, true
	}
	for i := range o.request {
		if o.request[i].UID == uid {
			return o.request[i], true
		}
	}
	return cedar.Entity{}, false
}

// ask builds the question. A reason with a code says why it cannot be put.
func (s *Set) ask(q decision.Query) (question, decision.Reason) {
	req := q.Request
	ask := question{
		principal: cedar.NewEntityUID(typeAgent, cedar.String(req.Principal.Subject)),
		action:    cedar.NewEntityUID(typeAction, cedar.String(actionName(req))),
		entities:  overlay{bundle: s.entities},
		tenant:    req.Caller.Tenant,
	}
	action, ok := s.schema.Actions[ask.action]
	if !ok {
		return ask, refused("policy.action", fmt.Sprintf("The policies know no action %q.", actionName(req)))
	}
	ask.entities.request[0] = cedar.Entity{UID: ask.principal}
	resource, why := s.resource(q, action)
	if why != "" {
		return ask, refused("policy.resource", why)
	}
	ask.resource, ask.entities.request[1] = resource.UID, resource
	var err error
	if ask.context, err = s.context(q, action.AppliesTo.Context); err != nil {
		return ask, refused("policy.context", fmt.Sprintf("The request cannot be put to the policies: %v.", err))
	}
	return ask, decision.Reason{}
}

// maxRefusal bounds the text of a refusal, in bytes: it holds names of arguments.
const maxRefusal = 1024

func refused(code, text string) decision.Reason {
	return decision.Reason{Code: code, Text: cut(text, maxRefusal), Lift: "Send a request that fits the bundle's schema."}
}

func actionName(req *decision.Request) string {
	switch req.Phase {
	case decision.Prompt:
		return actionPrompt
	case decision.Connect:
		return actionConnect
	}
	return req.Tool.String()
}

// resource is what the action acts upon: what the request names, or else the
// tool's server, or the destination. In a list it is unknown (zero) for a tool
// that can act on other things than its server.
func (s *Set) resource(q decision.Query, action resolved.Action) (e cedar.Entity, why string) {
	req := q.Request
	if req.Resource.Type == "" {
		switch {
		case req.Phase == decision.Prompt || req.Phase == decision.Connect:
			return destinationEntity(destination(q)), ""
		case req.Phase == decision.List && len(action.AppliesTo.Resources) > 1:
			return cedar.Entity{}, ""
		}
		return cedar.Entity{UID: cedar.NewEntityUID(typeServer, cedar.String(req.Tool.Server))}, ""
	}
	uid := cedar.NewEntityUID(cedar.EntityType(req.Resource.Type), cedar.String(req.Resource.ID))
	declared := false
	for _, t := range action.AppliesTo.Resources {
		declared = declared || t == uid.Type && t != typeServer && t != typeDestination
	}
	if !declared {
		return e, fmt.Sprintf("The action does not apply to resources of the type %q.", req.Resource.Type)
	}
	properties := req.Resource.Properties
	if _, known := s.entities[uid]; known {
		if properties != nil && len(properties.Value().(map[string]any)) > 0 {
			return e, "The bundle declares this resource, so the request cannot give it attributes."
		}
		return cedar.Entity{UID: uid}, ""
	}
	var members any = map[string]any{}
	if properties != nil {
		members = properties.Value()
	}
	attributes, err := record(s.schema.Entities[uid.Type].Shape, members, "resource")
	if err != nil {
		return e, fmt.Sprintf("The resource does not fit the schema: %v.", err)
	}
	return cedar.Entity{UID: uid, Attributes: attributes}, ""
}

// destination is where data goes, by the vendor that the bundle knows for it.
func destination(q decision.Query) decision.Destination {
	d := q.Request.Destination
	d.Vendor = q.Vendor
	return d
}

func destinationEntity(d decision.Destination) cedar.Entity {
	id := d.Host
	if id == "" {
		id = d.Vendor
	}
	return cedar.Entity{UID: cedar.NewEntityUID(typeDestination, cedar.String(id)), Attributes: destinationRecord(d)}
}

func destinationRecord(d decision.Destination) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"host": cedar.String(d.Host), "vendor": cedar.String(d.Vendor), "region": cedar.String(d.Region)})
}

// unknown marks a value that a list does not know: the policies are evaluated
// around it.
func unknown(name cedar.String) cedar.Value { return eval.Variable(name) }

// context builds the attributes that contextTypes declares, as far as policies
// look at them. Arguments and extra facts are always read: that they do not fit
// the schema must not depend on the policies.
func (s *Set) context(q decision.Query, typ resolved.RecordType) (cedar.Record, error) {
	req := q.Request
	phase, list := req.Phase, req.Phase == decision.List
	if list {
		phase = decision.Call // a list asks which calls could be permitted
	}
	c := cedar.RecordMap{}
	text := func(name cedar.String, value string) {
		if s.needs.has(name) {
			c[name] = cedar.String(value)
		}
	}
	text("phase", phase.String())
	text("purpose", req.Purpose)
	text("tenant", req.Caller.Tenant)
	text("caller", req.Caller.SPIFFEID)
	text("issuer", req.Principal.Issuer)
	if s.needs.has("actors") {
		c["actors"] = stringSet(req.Principal.Actors)
	}
	if s.needs.has("now") {
		c["now"] = cedar.NewDatetime(q.At)
	}
	if req.Principal.OnBehalfOf != "" && s.needs.has("onBehalfOf") {
		c["onBehalfOf"] = cedar.NewEntityUID(typeHuman, cedar.String(req.Principal.OnBehalfOf))
	}
	if req.Session != "" {
		text("session", req.Session)
	}
	if s.needs.has(session.Taint) {
		c[session.Taint] = session.TaintOf(q.Taint)
	}
	if s.needs.has(session.Chain) {
		c[session.Chain] = session.ChainOf(s.chains, q.Chain)
	}
	if q.Tool != nil && s.needs.has("tool") {
		c["tool"] = s.tools[q.Tool.ToolName]
	}
	if req.Destination != (decision.Destination{}) && s.needs.has("destination") {
		c["destination"] = destinationRecord(destination(q))
	}
	if req.Phase == decision.Prompt || req.Phase == decision.Result {
		c["content"] = cedar.NewRecord(cedar.RecordMap{
			"size": cedar.Long(req.Content.Size), "json": cedar.Boolean(req.Content.Document != nil)})
	}
	if _, carries := typ[attributeFound]; carries && !list && s.needs.has(attributeFound) {
		c[attributeFound] = foundRecord(q.Inspection)
	}
	var err error
	if c["extra"], err = s.extra(req); err != nil {
		return cedar.Record{}, err
	}
	if list {
		c["cost"], c["ticket"], c["args"], c[attributeFound] = unknown("cost"), unknown("ticket"), unknown("args"), unknown(attributeFound)
		return cedar.NewRecord(c), nil
	}
	if s.needs.has("cost") {
		c["cost"] = costRecord(req.Cost)
	}
	if q.Ticket != nil {
		c["ticket"] = cedar.NewRecord(cedar.RecordMap{"id": cedar.String(q.Ticket.ID), "approvers": stringSet(q.Ticket.Approvers)})
	}
	if args, ok := typ["args"].Type.(resolved.RecordType); ok && req.Arguments != nil {
		if c["args"], err = record(args, req.Arguments.Value(), "args"); err != nil {
			return cedar.Record{}, err
		}
	}
	return cedar.NewRecord(c), nil
}

// attributeFound is what was found in what the request carries.
const attributeFound = "found"

func foundRecord(found *detect.Inspection) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{"labels": stringSet(found.Labels()), "detectors": stringSet(found.Detectors()),
		"uninspected": cedar.Boolean(!found.Whole())})
}

func costRecord(c decision.Cost) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{"calls": cedar.Long(c.Calls), "tokens": cedar.Long(c.Tokens),
		"micros": cedar.Long(c.Micros), "currency": cedar.String(c.Currency)})
}

// noFacts is extra without any.
var noFacts cedar.Value = cedar.NewRecord(nil)

func (s *Set) extra(req *decision.Request) (cedar.Value, error) {
	if req.Context == nil {
		return noFacts, nil
	}
	return record(s.extraType, req.Context.Value(), "extra")
}

func stringSet(values []string) cedar.Set {
	elements := make([]cedar.Value, len(values))
	for i, v := range values {
		elements[i] = cedar.String(v)
	}
	return cedar.NewSet(elements...)
}
