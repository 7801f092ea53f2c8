package decision

import (
	"slices"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/egress"
)

// Bundle is one compiled policy bundle, immutable.
type Bundle struct {
	// Digest is the hex SHA-256 of the bundle's content.
	Digest string
	// Commit is the Git commit, or the digest of the OCI manifest, that the bundle
	// came from; empty: neither.
	Commit string
	// Name is the bundle's name in its manifest.
	Name     string
	Tools    map[ToolName]*Tool
	Purposes map[string]*Purpose
	Vendors  map[string]*Vendor
	// Hosts are the vendors' ids by the hosts of their endpoints.
	Hosts map[string]string
	// Egress says where requests may lead; nil: as egress.Standard does.
	Egress *egress.Rules
	// Residency says which data stays where.
	Residency []Residency
	Budgets   []BudgetRule
	// Breakers are the circuit breakers.
	Breakers []BreakerRule
	// Depth is the most that one step of an agent's plan may lie below another; 0:
	// however deep.
	Depth    int64
	Policies Policies
	// Agents are the agents that the bundle declares, by their tokens' `sub`.
	Agents map[string]bool
	// Access says who may call.
	Access Access
	// Labels are the labels that there are, with their numbers.
	Labels map[string]uint8
	// Chains are the values over a session's events, in the order of their ids.
	Chains []ChainRule
	// Looks says what of its session the policies look at that a request can be put
	// to; nil: nothing. It is pure.
	Looks func(*Request) Looked
	// SessionRequired says that what has no session is denied, but for lists.
	SessionRequired bool
	// Detect looks into what requests carry; nil: nothing does.
	Detect *detect.Set
	// RecordContext and RecordResources say what of a request's context, and of
	// a resource's properties by its type, may stand in a record; nil: nothing.
	RecordContext   *content.Disclosure
	RecordResources map[string]*content.Disclosure
	// Roles are, by who, the roles that approvers of tickets have.
	Roles map[string][]string
	// Approvals is how many must approve a ticket that is asked for, at least; 0: one.
	// ApproverRoles, if any, are the only roles that count.
	Approvals     int
	ApproverRoles []string
	// Async are the classes of tools that may be called before the record of
	// the decision is durable.
	Async []string
	// Foreign lets results pass that are no tool results of MCP, of tools that have
	// no schema for them; and Blocks those that have blocks of types that MCP does not
	// have.
	Foreign, Blocks bool
	// FailOpen are the classes of tools that may be called although nobody knows
	// any more whether there are new locks.
	FailOpen []string
	// Shadow is what is decided by beside this bundle, and recorded, and never
	// answered; nil: nothing is. It has no shadow of its own.
	Shadow *Bundle
	// Only are, of a shadow, the tenants whose requests it is asked; nil: all.
	Only map[string]bool
}

// Beside is the shadow that is asked a tenant's requests; nil: none is.
func (b *Bundle) Beside(tenant string) *Bundle {
	if b.Shadow == nil || b.Shadow.Only != nil && !b.Shadow.Only[tenant] {
		return nil
	}
	return b.Shadow
}

// MayAnswerEarly reports whether an allowed request may be answered before its
// record is durable: a call of a tool all of whose classes allow it.
func (b *Bundle) MayAnswerEarly(req *Request) bool {
	return req.Phase == Call && b.within(req, b.Async)
}

// MayFailOpen reports whether a request may be allowed on locks that may be old: a
// call, or its result, of a tool all of whose classes allow it.
func (b *Bundle) MayFailOpen(req *Request) bool {
	return (req.Phase == Call || req.Phase == Result) && b.within(req, b.FailOpen)
}

// within reports whether a request's tool has classes, and they are all of some.
func (b *Bundle) within(req *Request, some []string) bool {
	tool := b.Tools[req.Tool.ToolName]
	if tool == nil || len(tool.Classes) == 0 {
		return false
	}
	for _, class := range tool.Classes {
		if !slices.Contains(some, class) {
			return false
		}
	}
	return true
}

// Tool is a pinned tool.
type Tool struct {
	ToolName
	// Digest is the hex SHA-256 of the accepted definition.
	Digest string
	// Input checks the tool's arguments, and Output its structured results; no
	// Output: the tool says nothing of them.
	Input, Output *content.Schema
	// Limits bound its results.
	Limits result.Limits
	// Classes are the operator's words for what the tool does, such as
	// "read-only" or "destructive".
	Classes []string
	// URLs finds the URLs in the arguments; nil: as egress.NewFinder of no places does.
	URLs *egress.Finder
	// Labels are what the tool's results may hold.
	Labels []string
	// Record says what of the arguments may stand in a record; nil: nothing.
	Record *content.Disclosure
}

// Misfits are what breaks what a tool says of a document: of its result, or else of
// its arguments.
func (t *Tool) Misfits(d *document.Document, isResult bool) []content.Violation {
	if isResult {
		return result.Misfits(t.Output, d)
	}
	return t.Input.Check(d)
}

// Purpose is why an agent acts, and what that entitles it to.
type Purpose struct {
	ID string
	// Tools are the patterns of tools it grants.
	Tools []ToolPattern
	// Vendors are the vendors that data may go to.
	Vendors []string
	// Regions, if any, are the only regions that data may go to.
	Regions []string
}

// ToolPattern matches tools: a server and a tool name, or * for every tool of
// the server. The server is never a wildcard.
type ToolPattern struct{ Server, Name string }

// Match reports whether the pattern covers a tool.
func (p ToolPattern) Match(t ToolName) bool {
	return p.Server == t.Server && (p.Name == "*" || p.Name == t.Name)
}

// Vendor is somebody data may be sent to.
type Vendor struct {
	ID string
	// Endpoints are its hosts by region, in order of preference.
	Endpoints []Endpoint
	// Receives are the labels of data that it may be sent; data without labels it
	// may always.
	Receives []string
	// Contracts, if it has any, are what it may be sent data by: one at least must
	// hold.
	Contracts []Contract
}

// Contract is what a vendor processes data by.
type Contract struct {
	// ID is its name, and Kind what it is, such as "dpa".
	ID, Kind string
	// Until is when it ends; zero: it does not.
	Until time.Time
	// Regions and Labels are the only ones that it covers, if any are given.
	Regions, Labels []string
}

// Residency is a rule for some data: of one of the labels, or any where there are
// none, and of one of the tenants, or any.
type Residency struct {
	ID              string
	Labels, Tenants []string
	// Regions, if any, are the only ones that the data may go to, and Contract, if any,
	// the kind of contract that it takes.
	Regions  []string
	Contract string
}

// Endpoint is a vendor's host in a region.
type Endpoint struct{ Region, Host string }

// Policies are a bundle's Cedar policies. Implementations are pure and safe for
// concurrent use.
type Policies interface {
	// Judge evaluates the deciding and the obligating policies. It never fails:
	// what cannot be evaluated is in the ruling and denies.
	Judge(Query) Ruling
	// Explain says which policies matched and which nearly did.
	Explain(Query) Explanation
	// Within tells whether a ticket's scope, a Cedar condition, holds of a query:
	// Permit, or Undetermined where more would have to be known, with what; else
	// Deny, also where it does not parse or fit, or cannot be evaluated.
	Within(scope string, q Query) (holds Verdict, withheld []string)
	// CheckScope refuses a scope that is not one valid condition on calls of a tool.
	CheckScope(scope string, tool ToolName) error
}

// Query is what the policies are asked: the request, and the facts that the
// stages found before.
type Query struct {
	Request *Request
	At      time.Time
	// Tool is the pinned tool; nil where the phase has none or it is unknown.
	Tool *Tool
	// Vendor is the id of the destination's vendor; empty: none.
	Vendor string
	// Ticket is the valid ticket that covers the request; nil: none.
	Ticket *Ticket
	// Inspection is what was found in what the request carries; nil: nothing was
	// looked into.
	Inspection *detect.Inspection
	// Detect is what looked; nil: nothing did.
	Detect *detect.Set
	// Taint are the labels that the request's session holds, in order, and Chain the
	// values of the bundle's chain rules by their places; nil: policies look at none.
	Taint []string
	Chain []int64
	// Untold is what of these is not known.
	Untold Looked
	// URLs are where the arguments lead; nil: they were not looked into.
	URLs *egress.Facts
	// Matched tells of a policy, by its id, whether it matches, as far as that is
	// known already; nil: of none.
	Matched func(policy string) (matched, known bool)
	// Keys are for what is redacted with a key; nil: there are none.
	Keys Keys
	// Redacted tells the edits that a rule is known to come to; nil: of none.
	Redacted func(*RedactRule) (edits []document.Edit, known bool)
}

// Keys are one tenant's keys of redaction. Implementations are pure and safe for
// concurrent use.
type Keys interface {
	// Hash is the keyed hash of a text: the same for the same domain and text, and not
	// to be told from chance by who has not the key.
	Hash(domain, text string) [20]byte
	// Token is a token for a text, made likewise, and the text sealed: the same for the
	// same, and opened with the key alone.
	Token(class, text string) (token [20]byte, sealed []byte, err error)
}

// TicketScope is what Query.Matched calls the scope of the query's ticket. No policy
// has such an id.
const TicketScope = "ticket scope"

// PolicyKind is what a policy does when it matches.
type PolicyKind uint8

// The kinds.
const (
	Permits PolicyKind = iota + 1
	Forbids
	Redacts
	Routes
	Obliges // in any other way
)

// Ruling is what the policies say.
type Ruling struct {
	// Permits and Forbids are the policies that matched, by id; any forbid
	// denies, whatever permits.
	Permits, Forbids []Match
	// Errors are policies that could not be evaluated; any denies.
	Errors []Match
	// Refused says why the request could not be put to the policies at all;
	// an empty Code: it could.
	Refused Reason
	// Obligations are what matching obligating policies ask for.
	Obligations []Obligation
	// Routes are the constraints that matching routing policies set.
	Routes []RouteRule
	// Redactions are what matching redacting policies looked for, and Vaulted what they
	// tokenise.
	Redactions []RedactRule
	Vaulted    []Vault
	// Open says that more would have to be known of the request; then Permits,
	// Forbids and Errors are those that are certain. Withheld is what that is.
	Open     bool
	Withheld []string
}

// Match is one policy's part in a ruling.
type Match struct {
	Policy string
	// Ticket says that the policy is a forbid which a ticket lifts.
	Ticket bool
	// Text is the policy's own @reason for a person; may be empty.
	Text string
}

// RouteRule constrains where data may go.
type RouteRule struct {
	Policy string
	// Region and Vendor are required where not empty.
	Region, Vendor string
}

// Explanation is what policies made of a query, one by one.
type Explanation struct {
	// Matched are the policies that matched or could not be evaluated, by id,
	// the forbids first, then errors, permits and obligations.
	Matched []Matched
	// Near are the deciding policies that did not match, nearest first.
	Near []Near
}

// Matched is a policy that matched, or could not be evaluated.
type Matched struct {
	Policy string
	// Effect is "permit", "forbid", "oblige", or "error" when the policy could
	// not be evaluated.
	Effect string
	// Decided says that the policy's effect is the one that won: an error or a
	// forbid denies whatever permits, and an obligation needs an allow.
	Decided bool
	// Position is file:line:column.
	Position string
}

// RedactRule is what one redacting policy looks for: findings of some detectors or
// with some labels, in some fields or anywhere; or whole fields.
type RedactRule struct {
	Policy string
	// Fields are pointer patterns.
	Fields []string
	// Detectors and Labels are of the findings that are redacted.
	Detectors, Labels []string
	Method            document.Method
	// Edits is how many of a redaction's edits it asked for. Of a ruling.
	Edits int
}

// Whole reports whether a rule redacts fields whole, whatever is found in them.
func (r *RedactRule) Whole() bool { return len(r.Detectors)+len(r.Labels) == 0 }

// Same reports whether two rules look for the same and redact it alike.
func (r *RedactRule) Same(other *RedactRule) bool {
	return r.Method == other.Method && slices.Equal(r.Fields, other.Fields) && slices.Equal(r.Detectors, other.Detectors) && slices.Equal(r.Labels, other.Labels)
}

// Near is a policy that did not match.
type Near struct {
	Policy string
	Forbid bool
	// Held and Clauses count the clauses that held, and all.
	Held, Clauses int
	// Failed is the first clause that did not, in Cedar.
	Failed string
	// Error says that this clause could not be evaluated.
	Error bool
	// Saw is what this clause looked at.
	Saw []Seen
	// Position is file:line:column.
	Position string
}

// Seen is a value that a clause looked at.
type Seen struct {
	// Expression is where the value stands, in Cedar: context.args.amount.
	Expression string
	// Value is the value in Cedar, or "absent", with a word in brackets for
	// what is masked: (a string).
	Value string
	// Masked says that something of the value is.
	Masked bool
}
