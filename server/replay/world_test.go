package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var tools = []decision.ToolName{{Server: "s", Name: "a"}, {Server: "s", Name: "b"}}

// permits permits every tool but one without a ticket, and, where it looks at
// texts, only arguments that say yes.
type permits struct {
	not   string
	looks bool
	// strict denies a tool once its session has a label, and most the other one from
	// that many events on; empty and 0: nothing does.
	strict string
	most   int64
}

func (permits) Within(string, decision.Query) (decision.Verdict, []string) { return decision.Deny, nil }
func (permits) CheckScope(string, decision.ToolName) error                 { return nil }

func (p permits) Judge(q decision.Query) decision.Ruling {
	if q.Request.Tool.Name == p.not && q.Ticket == nil {
		return decision.Ruling{}
	}
	open := q.Request.Tool.Name == "b" && p.strict != "" && q.Untold.Labels || q.Request.Tool.Name == "a" && p.most > 0 && q.Untold.Chains != 0
	if open {
		return decision.Ruling{Permits: []decision.Match{{Policy: "all"}}, Open: true, Withheld: []string{"session"}}
	}
	if q.Request.Tool.Name == "b" && slices.Contains(q.Taint, p.strict) {
		return decision.Ruling{}
	}
	if q.Request.Tool.Name == "a" && p.most > 0 && len(q.Chain) > 0 && q.Chain[0] >= p.most {
		return decision.Ruling{}
	}
	if p.looks {
		switch q.Request.Arguments.Value().(map[string]any)["s"] {
		case document.Withheld{}:
			return decision.Ruling{Permits: []decision.Match{{Policy: "all"}}, Open: true, Withheld: []string{"arguments /s"}}
		case "no":
			return decision.Ruling{}
		}
	}
	return decision.Ruling{Permits: []decision.Match{{Policy: "all"}}}
}

func (permits) Explain(decision.Query) decision.Explanation { return decision.Explanation{} }

func bundle(t fataler, digest string, policies permits, rules ...decision.BudgetRule) *decision.Bundle {
	schema, err := document.ParseObject([]byte(`{"properties":{"n":{"type":"integer"},"s":{"type":"string"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	input, err := content.Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	record, err := input.Disclosure(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &decision.Bundle{Digest: fmt.Sprintf("%x", sha256.Sum256([]byte(digest))), Policies: policies, Budgets: rules,
		Tools:    map[decision.ToolName]*decision.Tool{},
		Purposes: map[string]*decision.Purpose{"p": {ID: "p", Tools: []decision.ToolPattern{{Server: "s", Name: "*"}}}}}
	for _, name := range tools {
		b.Tools[name] = &decision.Tool{ToolName: name, Digest: "d", Input: input, Record: record}
	}
	b.Labels = decision.BuiltInLabels()
	b.Chains = []decision.ChainRule{{ID: "events", Kind: decision.Counts, Of: decision.EventRule{Phases: []decision.Phase{decision.Call}}}}
	if policies.strict != "" || policies.most > 0 {
		b.Looks = func(req *decision.Request) (l decision.Looked) {
			l.Labels = policies.strict != "" && req.Tool.Name == "b"
			if policies.most > 0 && req.Tool.Name == "a" {
				l.Chains = 1
			}
			return l
		}
	}
	return b
}

type fataler interface{ Fatal(...any) }

// ledger is a store of the plain kind: one decision after the other, on facts
// that are never old.
type ledger struct {
	bundle  *decision.Bundle
	used    map[decision.BudgetKey]int64
	tokens  map[[32]byte]bool
	uses    int64
	allowed map[[16]byte]bool
	ticket  decision.Ticket
	left    map[[16]byte][]decision.Reservation
	// control is what was changed of the budgets, whatever the bundle.
	control *decision.Control
}

func newLedger(b *decision.Bundle) *ledger {
	return &ledger{bundle: b, used: map[decision.BudgetKey]int64{}, tokens: map[[32]byte]bool{}, allowed: map[[16]byte]bool{},
		left: map[[16]byte][]decision.Reservation{}, ticket: decision.Ticket{ID: "T", Version: 1, State: decision.TicketApproved, Principal: "agent-0", Tool: tools[0],
			NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(1000 * time.Hour), MaxUses: 2}}
}

func (l *ledger) decide(id [16]byte, req *decision.Request, at time.Time) (decision.Decision, *decision.Snapshot) {
	snap := &decision.Snapshot{At: at, Bundle: l.bundle, Control: l.control, Facts: decision.Facts{TokenUsed: l.tokens[req.Principal.Token], Used: l.used}}
	if req.Ticket == l.ticket.ID {
		t := l.ticket
		t.Uses = l.uses
		snap.Ticket = &t
	}
	if req.Phase == decision.Result {
		snap.Call = &decision.CallFacts{Allowed: l.allowed[req.CallID], Caller: req.Caller.SPIFFEID, Principal: req.Principal.Subject,
			Purpose: req.Purpose, Tool: req.Tool.ToolName, ArgumentsDigest: req.Arguments.Digest()}
	}
	d := stage.All.Decide(req, snap)
	return d, snap
}

// apply makes a decision's effects true.
func (l *ledger) apply(id [16]byte, d *decision.Decision) {
	l.allowed[id] = d.Allowed()
	lines := map[string]decision.BudgetLine{}
	for _, line := range d.Budgets() {
		lines[line.Budget] = line
	}
	for _, effect := range d.Effects() {
		switch e := effect.(type) {
		case decision.Charge:
			l.used[e.Key] += e.Amount
			l.left[id] = append(l.left[id], decision.Reservation{Line: lines[e.Key.Budget], Charge: e})
		case decision.Consume:
			l.tokens[e.Token] = true
		case decision.Redeem:
			l.uses++
		case decision.Note:
			now, ok := e.Apply(l.used[e.Key], besides(l.used, e))
			if !ok {
				panic("a guard fails of a ledger that is never old")
			}
			l.used[e.Key] = now
		}
	}
}

func besides(used map[decision.BudgetKey]int64, n decision.Note) (sum int64) {
	for _, key := range n.Beside() {
		sum += used[key]
	}
	return sum
}

// become takes over what another ledger holds.
func (l *ledger) become(other *ledger) {
	l.used, l.tokens, l.allowed, l.left = maps.Clone(other.used), maps.Clone(other.tokens), maps.Clone(other.allowed), maps.Clone(other.left)
	l.uses = other.uses
}

func (l *ledger) settle(id [16]byte, cost decision.Cost, at time.Time) decision.Settlement {
	now, made := l.control.Readjust("acme", l.left[id], at)
	s := decision.Settle(now, cost, l.used)
	s.Control.Adjustments = made
	for _, effect := range s.Effects {
		charge := effect.(decision.Charge)
		l.used[charge.Key] += charge.Amount
	}
	return s
}

func drawRules(t *rapid.T, label string) []decision.BudgetRule {
	var rules []decision.BudgetRule
	for _, id := range []string{"one", "two", "three"} {
		if rapid.Bool().Draw(t, label+id) {
			continue
		}
		r := decision.BudgetRule{ID: id, Unit: rapid.SampledFrom([]decision.Unit{decision.Calls, decision.Tokens}).Draw(t, label+" unit"),
			Cap:    rapid.Int64Range(0, 12).Draw(t, label+" cap"),
			Window: rapid.SampledFrom([]decision.Window{decision.Hour, decision.Lifetime}).Draw(t, label+" window"),
			Per:    rapid.SampledFrom([][]decision.Dimension{nil, {decision.ByAgent}, {decision.ByTool}}).Draw(t, label+" per")}
		if rapid.Bool().Draw(t, label+" narrow") {
			r.Tools = []decision.ToolPattern{{Server: "s", Name: "a"}}
		}
		rules = append(rules, r)
	}
	return rules
}

func idOf(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	id[6], id[8] = 0x70, 0x80
	return id
}

// A replay makes of a log what a plain store would have made of the same
// questions and reports with the new bundle, one after the other.
func TestWorldIsASequentialLedger(t *testing.T) { playWorld(t, false) }

// Where the new bundle looks at what records withhold, what is determined all the
// same is what the ledger says that knows everything.
func TestWorldNeverGuesses(t *testing.T) { playWorld(t, true) }

// Sessions hold in a replay what they would have held: labels of results, and values
// over events.
func TestWorldRemembersSessions(t *testing.T) {
	classes := map[Class]int{}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *ledger {
			p := permits{not: rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, name+" denies"),
				strict: rapid.SampledFrom([]string{"", "pii", "secret"}).Draw(t, name+" strict"), most: rapid.Int64Range(0, 4).Draw(t, name+" most")}
			b := bundle(t, name, p)
			for _, tool := range tools {
				b.Tools[tool].Labels = rapid.SampledFrom([][]string{nil, {"pii"}, {"secret"}, {"pii", "secret"}}).Draw(t, name+" labels")
			}
			rule := &b.Chains[0]
			rule.Of.Tools = rapid.SampledFrom([][]decision.ToolPattern{nil, {{Server: "s", Name: "b"}}}).Draw(t, name+" tools")
			rule.Kind = rapid.SampledFrom([]decision.ChainKind{decision.Counts, decision.Formerly}).Draw(t, name+" kind")
			switch rapid.IntRange(0, 2).Draw(t, name+" span") {
			case 0:
				rule.Length = 3600
			case 1:
				rule.Since = &decision.EventRule{Phases: []decision.Phase{decision.Result}, Labels: 1 << b.Labels["secret"]}
			}
			return newLedger(b)
		}
		before, after := draw("old"), draw("new")
		if rapid.IntRange(0, 3).Draw(t, "alike") == 0 {
			after = newLedger(before.bundle)
		}
		world := NewWorld(after.bundle, time.Time{})
		bodies := map[[16]byte][]byte{}
		var requests []*decision.Request
		at := noon
		for n := range rapid.IntRange(1, 30).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute)
			id := idOf(n + 1)
			if rapid.IntRange(0, 9).Draw(t, "declassify") == 0 {
				taken(t, before, after, world, id, at)
				continue
			}
			req := drawRequest(t, id, requests, false)
			if req.Session = rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "session"); req.Phase == decision.Result {
				i := slices.IndexFunc(requests, func(r *decision.Request) bool { return r.ID == req.CallID })
				req.Session = requests[i].Session
			}
			requests = append(requests, req)
			old, snap := before.decide(id, req, at)
			entry, _, err := audit.Decided(id, req, snap, &old)
			if err != nil {
				t.Fatal(err)
			}
			before.apply(id, &old)
			bodies[id] = entry.Body
			want, _ := after.decide(id, req, at)
			after.apply(id, &want)
			q, err := audit.QuestionOf(entry.Body, bodies[req.CallID])
			if err != nil {
				t.Fatal(err)
			}
			got := world.Decide(Prepare(after.bundle, nil, q))
			wanted := map[[2]bool]Class{{true, true}: Unchanged, {false, false}: Unchanged, {true, false}: WouldDeny, {false, true}: WouldAllow}[[2]bool{old.Allowed(), want.Allowed()}]
			if got.Class != wanted {
				t.Fatalf("step %d, a %s of %s in %q: got %v (%v), want %v\nrecorded %+v\nwanted %+v", n, req.Phase, req.Tool, req.Session, got.Class, got.Because, wanted, old.Findings, want.Findings)
			}
			classes[got.Class]++
		}
	})
	if classes[WouldDeny] == 0 || classes[WouldAllow] == 0 || classes[Unchanged] == 0 {
		t.Errorf("got %v", classes)
	}
}

// taken takes a label from a session of both ledgers and of the world.
func taken(t *rapid.T, before, after *ledger, world *World, id [16]byte, at time.Time) {
	key := decision.LabelsKey(rapid.SampledFrom([]string{"one", "two"}).Draw(t, "of"))
	label := rapid.SampledFrom([]string{"pii", "secret"}).Draw(t, "label")
	note := decision.Note{Key: key, Op: decision.NoteClear, Amount: 1 << before.bundle.Labels[label], Guarded: true, Saw: before.used[key]}
	entry, err := audit.Declassified(id, &audit.Declassification{At: at, Caller: decision.Caller{Tenant: "acme"}, Actor: "a test", RequestID: id,
		Session: key.Subject[1 : len(key.Subject)-1], Labels: []string{label}, Reason: "to test", Note: note})
	if err != nil {
		t.Fatal(err)
	}
	back, err := audit.DeclassificationOf(entry.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*ledger{before, after} {
		l.used[key] &^= note.Amount
	}
	world.Declassify("acme", back.Note)
}

func playWorld(t *testing.T, looks bool) {
	determined, open := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		before := newLedger(bundle(t, "old", permits{not: rapid.SampledFrom([]string{"", "b"}).Draw(t, "old denies")}, drawRules(t, "old")...))
		rules := drawRules(t, "new")
		for i, r := range rules { // mostly small changes
			if j := slices.IndexFunc(before.bundle.Budgets, func(o decision.BudgetRule) bool { return o.ID == r.ID }); j >= 0 && rapid.Bool().Draw(t, "same") {
				limit := r.Cap
				rules[i] = before.bundle.Budgets[j]
				rules[i].Cap = limit
			}
		}
		// From a later record on only what records tell of before is known, which is
		// what the counters of budgets held that have but another cap.
		first := rapid.SampledFrom([]int{0, 0, 5, 15}).Draw(t, "first")
		// So it is of what was changed of budgets at run time.
		adjusted := rapid.IntRange(0, 2).Draw(t, "adjusted") == 0
		if first > 0 || adjusted {
			rules = slices.Clone(before.bundle.Budgets)
			for i := range rules {
				rules[i].Cap = rapid.Int64Range(0, 12).Draw(t, "cap")
			}
		}
		after := newLedger(bundle(t, "new", permits{not: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "new denies"), looks: looks}, rules...))
		if adjusted {
			before.control = drawControl(t)
			after.control = before.control
		}
		world := NewWorld(after.bundle, time.Time{})
		bodies := map[[16]byte][]byte{}
		var requests []*decision.Request
		settled := map[int]bool{}
		start := 0 // the first request that is replayed
		at := noon
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute)
			if n == first {
				after.become(before)
				world = NewWorld(after.bundle, at)
			}
			id := idOf(n + 1)
			if k := rapid.IntRange(0, 3*len(requests)).Draw(t, "settle"); k < len(requests) && !settled[k] && before.allowed[requests[k].ID] {
				settled[k] = true
				report(t, before, after, world, bodies, requests[k].ID, id, at, k < start, n >= first)
				continue
			}
			req := drawRequest(t, id, requests, looks)
			requests = append(requests, req)
			old, snap := before.decide(id, req, at)
			entry, _, err := audit.Decided(id, req, snap, &old)
			if err != nil {
				t.Fatal(err)
			}
			before.apply(id, &old)
			if bodies[id] = entry.Body; n < first {
				start = len(requests)
				continue
			}
			want, _ := after.decide(id, req, at)
			after.apply(id, &want)
			q, err := audit.QuestionOf(entry.Body, bodies[req.CallID])
			if err != nil {
				t.Fatal(err)
			}
			got := world.Decide(Prepare(after.bundle, nil, q))
			if wanted := map[[2]bool]Class{{true, true}: Unchanged, {false, false}: Unchanged, {true, false}: WouldDeny, {false, true}: WouldAllow}[[2]bool{old.Allowed(), want.Allowed()}]; got.Class == Undetermined && looks {
				open++
			} else if determined++; got.Class != wanted {
				t.Fatalf("step %d, a %s: got %v, want %v\nrecorded %+v\nwanted %+v", n, req.Phase, got, wanted, old.Findings, want.Findings)
			}
		}
	})
	if determined == 0 || looks != (open > 0) {
		t.Errorf("%d were determined, %d were not", determined, open)
	}
}

// drawControl are changes of budgets, some of which end on the way.
func drawControl(t *rapid.T) *decision.Control {
	c := &decision.Control{Version: 1}
	for i := range rapid.IntRange(1, 4).Draw(t, "changes") {
		a := decision.Adjustment{ID: fmt.Sprint("A-", i), Budget: rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "budget"),
			Subject: rapid.SampledFrom([]string{"", decision.Share([]string{"agent-0"})}).Draw(t, "share"),
			Until:   noon.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "until")) * time.Minute)}
		if a.Frozen = rapid.IntRange(0, 3).Draw(t, "freeze") == 0; !a.Frozen {
			a.By = rapid.SampledFrom([]int64{-20, -3, -1, 1, 2, 5}).Draw(t, "by")
		}
		c.Adjustments = append(c.Adjustments, a)
	}
	return c
}

// drawRequest is a call, or the result of one.
func drawRequest(t *rapid.T, id [16]byte, earlier []*decision.Request, texts bool) *decision.Request {
	args, err := document.ParseObject([]byte(`{"n":1}`))
	if texts && rapid.Bool().Draw(t, "a text") {
		args, err = document.ParseObject([]byte(rapid.SampledFrom([]string{`{"s":"yes"}`, `{"s":"no"}`}).Draw(t, "text")))
	}
	if err != nil {
		t.Fatal(err)
	}
	req := &decision.Request{ID: id, Digest: [32]byte(slices.Concat(id[:], id[:])), Caller: decision.Caller{SPIFFEID: "spiffe://c", Tenant: "acme"},
		Principal: decision.Principal{Subject: fmt.Sprintf("agent-%d", rapid.IntRange(0, 1).Draw(t, "agent")), Purposes: []string{"p"},
			Token: sha256.Sum256(id[:]), Expires: noon.Add(2000 * time.Hour)},
		Phase: decision.Call, Purpose: "p", Tool: decision.ToolRef{ToolName: rapid.SampledFrom(tools).Draw(t, "tool"), Digest: "d"}, Arguments: args,
		Cost: decision.Cost{Calls: 1, Tokens: rapid.Int64Range(0, 4).Draw(t, "tokens")}}
	if rapid.IntRange(0, 2).Draw(t, "with a ticket") == 0 {
		req.Ticket = "T"
	}
	if len(earlier) > 0 && rapid.IntRange(0, 5).Draw(t, "with a used token") == 0 {
		req.Principal.Token = rapid.SampledFrom(earlier).Draw(t, "token of").Principal.Token
	}
	calls := slices.DeleteFunc(slices.Clone(earlier), func(r *decision.Request) bool { return r.Phase != decision.Call })
	if len(calls) > 0 && rapid.IntRange(0, 3).Draw(t, "a result") == 0 {
		call := rapid.SampledFrom(calls).Draw(t, "of")
		req.Phase, req.CallID, req.Ticket = decision.Result, call.ID, ""
		req.Principal.Subject, req.Tool, req.Arguments = call.Principal.Subject, call.Tool, call.Arguments
	}
	return req
}

// report settles a decision in both ledgers and in the world.
func report(t *rapid.T, before, after *ledger, world *World, bodies map[[16]byte][]byte, of, id [16]byte, at time.Time, old, replayed bool) {
	cost := decision.Cost{Calls: rapid.Int64Range(0, 2).Draw(t, "calls"), Tokens: rapid.Int64Range(0, 6).Draw(t, "cost")}
	entry, _, err := audit.Settled(id, decision.Caller{SPIFFEID: "spiffe://c", Tenant: "acme"}, at, uuid.UUID(of).String(), [32]byte{1},
		writv1.Outcome_OUTCOME_SUCCEEDED, cost, nil, before.settle(of, cost, at))
	if err != nil {
		t.Fatal(err)
	}
	if !replayed {
		return
	}
	actual, err := audit.ActualOf(entry.Body)
	if err != nil {
		t.Fatal(err)
	}
	if old { // as it was recorded
		for _, charge := range actual.Charges {
			after.used[charge.Key] += charge.Amount
		}
	} else if after.allowed[of] {
		after.settle(of, cost, at)
	}
	q, err := audit.QuestionOf(bodies[of], nil)
	if err != nil {
		t.Fatal(err)
	}
	world.Settle(actual, &Candidate{question: q, counted: counted(after.bundle, q)})
}
