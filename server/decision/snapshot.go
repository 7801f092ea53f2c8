package decision

import (
	"slices"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/egress"
)

// Snapshot is everything beside the request that a decision depends on, as it
// was at one moment. Nothing in it changes.
type Snapshot struct {
	// At is the moment.
	At     time.Time
	Bundle *Bundle
	// Control is what people have changed at run time; nil: there is nothing to know of.
	Control *Control
	// Matched is what a record of this very decision tells of policies, for those
	// who judge a request of which parts are not known; nil: nothing.
	Matched func(policy string) (matched, known bool)
	// Inspected is what a record of this very decision tells of what was found, or
	// another decision on the same request (Decision.Seen); nil: neither does, and what
	// the request carries is looked into.
	Inspected *detect.Inspection
	// Untold is what of the session is not known: of a replay of records that do not
	// tell.
	Untold Looked
	// Led is what a record of this very decision tells of the URLs in the arguments;
	// nil: there is no record, and the arguments are looked into.
	Led *egress.Facts
	// Looked is what such a record tells of a RESULT's content as a tool result; of
	// no form: nothing. nil: there is no record.
	Looked *result.Looked
	// Keys are the tenant's for redaction; nil: there are none.
	Keys Keys
	// Redacted is what a record of this very decision tells of edits; nil: nothing.
	Redacted func(*RedactRule) (edits []document.Edit, known bool)
	Facts
}

// Facts are what the store knows about a request.
type Facts struct {
	// TokenUsed says that the token, or the proof that came with it, was accepted
	// for another request, or expired so long ago that the store may have forgotten
	// it.
	TokenUsed bool
	// Ticket is the ticket that the request names, or, for a RESULT, the one
	// that its call redeemed; nil: there is none.
	Ticket *Ticket
	// Call is the decision that a RESULT names; nil: there is none.
	Call *CallFacts
	// Used is what each wanted counter holds; a missing one holds 0.
	Used map[BudgetKey]int64
	// Remembered says that these facts may be older than the store.
	Remembered bool
}

// Want says which facts a decision will need.
type Want struct {
	Tenant    string
	RequestID [16]byte
	Token     [32]byte
	Proof     [32]byte // that came with the token; zero: none
	// TokenExpires is when the token is forgotten, at the earliest.
	TokenExpires time.Time
	Ticket       string   // empty: none
	CallID       [16]byte // zero: none
	Budgets      []BudgetKey
	// Remembered allows facts that may be older than the store: good enough to
	// allow, because the commit has guards, and never to deny.
	Remembered bool
}

// Want is what the store must be asked for a request.
func (b *Bundle) Want(req *Request, at time.Time) Want {
	w := Want{
		Tenant: req.Caller.Tenant, RequestID: req.ID, Token: req.Principal.Token, Proof: req.Principal.Proof, TokenExpires: req.Principal.Expires,
		Ticket: req.Ticket, CallID: req.CallID,
	}
	vendor := b.Vendor(req.Destination)
	counting := b.Counting(req)
	w.Budgets = slices.Grow(w.Budgets, len(counting))
	for _, rule := range counting {
		if rule.Window != Sliding { // Keys would be an allocation more
			w.Budgets = append(w.Budgets, rule.Key(req, vendor, at))
			continue
		}
		w.Budgets = append(w.Budgets, rule.Keys(req, vendor, at)...)
	}
	for _, rule := range b.Watching(req) {
		w.Budgets = append(w.Budgets, rule.Key(req, vendor))
	}
	w.Budgets = b.sessionKeys(w.Budgets, req, at)
	if shadow := b.Beside(req.Caller.Tenant); shadow != nil {
		w.Budgets = shadow.besides(w.Budgets, req, at)
	}
	return w
}

// besides adds to the counters of a bundle those that its shadow needs as well.
func (b *Bundle) besides(keys []BudgetKey, req *Request, at time.Time) []BudgetKey {
	vendor := b.Vendor(req.Destination)
	add := func(key BudgetKey) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, rule := range b.Counting(req) {
		for _, key := range rule.Keys(req, vendor, at) {
			add(key)
		}
	}
	for _, rule := range b.Watching(req) {
		add(rule.Key(req, vendor))
	}
	for _, key := range b.sessionKeys(nil, req, at) {
		add(key)
	}
	return keys
}

// Counting are the budgets that count a request.
func (b *Bundle) Counting(req *Request) []*BudgetRule {
	var counting []*BudgetRule
	for i := range b.Budgets {
		if rule := &b.Budgets[i]; rule.Counts(req) {
			counting = append(counting, rule)
		}
	}
	return counting
}

// Query is what the policies are asked about a request, once the stages before
// them have found what they did.
func (s *Snapshot) Query(req *Request, d *Decision) Query {
	labels, values := s.taint(req)
	return Query{Request: req, At: s.At, Ticket: d.Ticket(), Matched: s.Matched, Inspection: d.Inspection(), Detect: s.Bundle.Detect, URLs: d.URLs(), Keys: s.Keys, Redacted: s.Redacted,
		Taint: labels, Chain: values, Untold: s.Untold, Tool: s.Bundle.Tools[req.Tool.ToolName], Vendor: s.Bundle.Vendor(req.Destination)}
}

// Vendor is the id of the vendor a destination names, or whose host it is;
// empty: none that the bundle knows.
func (b *Bundle) Vendor(d Destination) string {
	if d.Vendor == "" {
		return b.Hosts[d.Host]
	}
	if _, ok := b.Vendors[d.Vendor]; ok {
		return d.Vendor
	}
	return ""
}

// CallFacts is an earlier decision on a call.
type CallFacts struct {
	Allowed   bool
	Caller    string
	Principal string
	Session   string
	Purpose   string
	Tool      ToolName
	// ArgumentsDigest is that of the call's arguments.
	ArgumentsDigest [32]byte
	// Ticket is the ticket that the call redeemed; empty: none.
	Ticket string
	// MaxOutput is the most bytes that its result may have, by the call's obligations;
	// 0: they do not say.
	MaxOutput int64
	// Token is the token that the call was asked with.
	Token [32]byte
}

// Fits reports whether a result agrees with its call in all that it must.
func (c *CallFacts) Fits(req *Request) bool {
	return c.Caller == req.Caller.SPIFFEID && c.Principal == req.Principal.Subject && c.Session == req.Session &&
		c.Purpose == req.Purpose && c.Tool == req.Tool.ToolName && req.Arguments != nil && c.ArgumentsDigest == req.Arguments.Digest()
}
