// Package access decides by Cedar who may call: which caller may do what for which
// tenant. Its policies are a bundle's own, apart from those that decide actions of
// agents, with a schema that Writ gives.
package access

import (
	_ "embed"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/writpdp/writ/server/decision"
)

// The types of the schema.
const (
	typeCaller = "Caller"
	typeTenant = "Tenant"
	typeAction = "Action"
)

var (
	//go:embed schema.cedarschema
	schemaText []byte
	//go:embed default.cedar
	defaultText []byte

	theSchema = sync.OnceValue(func() *resolved.Schema {
		var s schema.Schema
		s.SetFilename("schema.cedarschema")
		if err := s.UnmarshalCedar(schemaText); err != nil {
			panic(err) // it is built in, and tested
		}
		r, err := s.Resolve()
		if err != nil {
			panic(err)
		}
		return r
	})
)

// Schema is what access policies are validated against.
func Schema() *resolved.Schema { return theSchema() }

// Actions are what can be permitted, in order.
func Actions() []decision.Action {
	var all []decision.Action
	for uid, a := range theSchema().Actions {
		if a.AppliesTo != nil {
			all = append(all, decision.Action(uid.ID))
		}
	}
	slices.Sort(all)
	return all
}

// maxRemembered bounds how many verdicts a Policies remembers. Callers and their
// tenants are few; a caller who names ever new tenants must not fill the memory.
const maxRemembered = 1 << 14

// Policies are the access policies of one bundle: a decision.Access.
type Policies struct {
	set     *cedar.PolicySet
	actions cedar.EntityMap
	// lifted are those of set that no ticket lifts.
	lifted *cedar.PolicySet

	mu       sync.RWMutex // guards verdicts
	verdicts map[question]verdict
}

type question struct {
	caller decision.Caller
	action decision.Action
	tenant string
}

type verdict struct {
	admitted bool
	policies []string
}

// Default are the policies of a bundle that has none of its own: callers decide,
// settle, explain, exchange tokens, and ask for tickets and read them, for their own
// tenant. Nobody makes, approves or takes back one.
func Default() *Policies {
	list, err := cedar.NewPolicyListFromBytes("default.cedar", defaultText)
	if err != nil {
		panic(err) // it is built in, and tested
	}
	return New(map[string]*cedar.Policy{"own-tenant": list[0]}, func(string) bool { return false })
}

// New are policies by their ids, which fit the schema. ticket says which forbid what a
// ticket lifts.
func New(policies map[string]*cedar.Policy, ticket func(id string) bool) *Policies {
	p := &Policies{set: cedar.NewPolicySet(), lifted: cedar.NewPolicySet(), actions: cedar.EntityMap{}, verdicts: map[question]verdict{}}
	for id, policy := range policies {
		p.set.Add(cedar.PolicyID(id), policy)
		if !ticket(id) {
			p.lifted.Add(cedar.PolicyID(id), policy)
		}
	}
	for uid, a := range theSchema().Actions {
		p.actions[uid] = a.Entity
	}
	return p
}

// All are the policies by their ids, in no order.
func (p *Policies) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] { return p.set.All() }

// Admits reports whether a caller may do something for a tenant. A policy that
// cannot be evaluated refuses. The answer depends on the arguments alone.
func (p *Policies) Admits(caller decision.Caller, action decision.Action, tenant string) bool {
	caller.Certificate = [32]byte{} // it proves who calls, and says nothing of it
	q := question{caller, action, tenant}
	p.mu.RLock()
	v, known := p.verdicts[q]
	p.mu.RUnlock()
	if known {
		return v.admitted
	}
	v = p.judge(p.set, q, cedar.Record{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verdicts) >= maxRemembered {
		clear(p.verdicts)
	}
	p.verdicts[q] = v
	return v.admitted
}

// Explain is what Admits says, with the ids of the policies that say so, in order:
// the permits, or the forbids and those that cannot be evaluated.
func (p *Policies) Explain(caller decision.Caller, action decision.Action, tenant string) (admitted bool, policies []string) {
	v := p.judge(p.set, question{caller, action, tenant}, cedar.Record{})
	return v.admitted, v.policies
}

// AdmitsChange reports whether a caller may change a budget of a tenant, and whether
// only a ticket lacks, with the ids of the policies as for Explain. What cannot be
// evaluated is no.
func (p *Policies) AdmitsChange(caller decision.Caller, tenant string, c *decision.BudgetChange) decision.Admission {
	return p.admission(question{caller, decision.ToChangeBudget, tenant}, contextOf(c), c.Ticket)
}

// admission is what policies say of what depends on a context; ticket is that of the
// context.
func (p *Policies) admission(q question, context cedar.Record, ticket *decision.Ticket) decision.Admission {
	v := p.judge(p.set, q, context)
	return decision.Admission{Admitted: v.admitted, Policies: v.policies,
		NeedsTicket: !v.admitted && ticket == nil && p.judge(p.lifted, q, context).admitted}
}

// AdmitsDeclassification is AdmitsChange for taking labels from a session.
func (p *Policies) AdmitsDeclassification(caller decision.Caller, tenant string, d *decision.Declassification) decision.Admission {
	m := cedar.RecordMap{"session": cedar.String(d.Session), "labels": texts(d.Labels)}
	ticketIn(m, d.Ticket)
	return p.admission(question{caller, decision.ToDeclassify, tenant}, cedar.NewRecord(m), d.Ticket)
}

// AdmitsReveal is AdmitsChange for a token of a redaction.
func (p *Policies) AdmitsReveal(caller decision.Caller, tenant string, r *decision.Reveal) decision.Admission {
	m := cedar.RecordMap{"class": cedar.String(r.Class)}
	ticketIn(m, r.Ticket)
	return p.admission(question{caller, r.Action(), tenant}, cedar.NewRecord(m), r.Ticket)
}

func texts(all []string) cedar.Set {
	values := make([]cedar.Value, len(all))
	for i, text := range all {
		values[i] = cedar.String(text)
	}
	return cedar.NewSet(values...)
}

func ticketIn(m cedar.RecordMap, t *decision.Ticket) {
	if t != nil {
		m["ticket"] = cedar.NewRecord(cedar.RecordMap{"id": cedar.String(t.ID), "approvers": texts(t.Approvers)})
	}
}

func contextOf(c *decision.BudgetChange) cedar.Record {
	m := cedar.RecordMap{"change": cedar.String(c.Kind), "budget": cedar.String(c.Budget), "amount": cedar.Long(c.Amount),
		"seconds": cedar.Long(c.Lasts / time.Second)}
	if c.Subject != "" {
		m["share"] = cedar.String(c.Subject)
	}
	ticketIn(m, c.Ticket)
	return cedar.NewRecord(m)
}

func (p *Policies) judge(set *cedar.PolicySet, q question, context cedar.Record) verdict {
	id, err := spiffeid.FromString(q.caller.SPIFFEID)
	if err != nil {
		return verdict{} // nobody that a policy could speak of
	}
	home := cedar.NewEntityUID(typeTenant, cedar.String(q.caller.Tenant))
	caller := cedar.NewEntityUID(typeCaller, cedar.String(q.caller.SPIFFEID))
	entities := entities{p.actions, cedar.Entity{UID: caller, Attributes: cedar.NewRecord(cedar.RecordMap{
		"trustDomain": cedar.String(id.TrustDomain().Name()), "path": cedar.String(id.Path()), "tenant": home})}}
	d, diagnostic := cedar.Authorize(set, entities, cedar.Request{Principal: caller, Context: context,
		Action: cedar.NewEntityUID(typeAction, cedar.String(q.action)), Resource: cedar.NewEntityUID(typeTenant, cedar.String(q.tenant))})
	v := verdict{admitted: d == cedar.Allow && len(diagnostic.Errors) == 0}
	for _, r := range diagnostic.Reasons {
		v.policies = append(v.policies, string(r.PolicyID))
	}
	if len(diagnostic.Errors) > 0 && d == cedar.Allow {
		v.policies = nil // what permits did not win
	}
	for _, e := range diagnostic.Errors {
		v.policies = append(v.policies, string(e.PolicyID))
	}
	slices.Sort(v.policies)
	v.policies = slices.Compact(v.policies)
	return v
}

// entities are the actions and one caller.
type entities struct {
	actions cedar.EntityMap
	caller  cedar.Entity
}

// Get is Cedar's.
func (e entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	if uid == e.caller.UID {
		return e.caller, true
	}
	return e.actions.Get(uid)
}
