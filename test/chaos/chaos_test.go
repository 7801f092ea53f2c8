package main

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
)

// A seed draws the same faults each time, another seed others, and no kind comes
// twice before each has come once.
func TestSchedule(t *testing.T) {
	const lasts = time.Minute
	first, again, other := schedule(7, lasts, kinds), schedule(7, lasts, kinds), schedule(8, lasts, kinds)
	if !slices.Equal(first, again) {
		t.Error("the same seed draws other faults")
	}
	if slices.Equal(first, other) {
		t.Error("two seeds draw the same faults")
	}
	for i, f := range first {
		if turn := first[i/len(kinds)*len(kinds) : i]; slices.ContainsFunc(turn, func(before fault) bool { return before.kind == f.kind }) {
			t.Errorf("fault %d, %s, came before others did", i, f.kind)
		}
		if f.at >= lasts || i > 0 && f.at <= first[i-1].at {
			t.Errorf("fault %d comes at %s", i, f.at)
		}
	}
}

// sound is what callers and the log agree on: two requests of one human, the first
// settled and by a ticket, and a lock that was set before the second.
func sound() *checker {
	record := func(id, request string, effects ...*writv1.EffectFacts) *writv1.Record {
		return &writv1.Record{Id: id, Event: &writv1.Record_Decision{Decision: &writv1.DecisionEvent{
			Response: &writv1.DecideResponse{DecisionId: id, RequestId: request, Effect: writv1.Effect_EFFECT_ALLOW}, Effects: effects}}}
	}
	c := &checker{verdict: &verdict{sorts: map[string]int{}},
		memory: memory{
			asked: map[string]*asked{"r1": {ID: "r1", Agent: "a1", Human: "h", JTI: "j1", Ticket: "t"}, "r2": {ID: "r2", Agent: "a2", Human: "h", JTI: "j2"}},
			told: []*told{
				{ID: "r1", Decision: "d1", Allowed: true, Effect: 2, Leaf: make([]byte, 32), Began: 10, Came: 20, Charged: map[string]int64{"human-calls": 50}},
				{ID: "r2", Decision: "d2", Allowed: true, Effect: 2, Leaf: make([]byte, 32), Began: 30, Came: 40, Charged: map[string]int64{"human-calls": 50}},
			},
			reported: map[string]*reported{"d1": {Decision: "d1", Tokens: 3}},
			settled:  []*settled{{Decision: "d1", Settlement: "s1", Leaf: make([]byte, 32), Charged: map[string]int64{"human-calls": 10}}},
			uses:     map[string]int64{"t": 1}, locks: []*locked{{Agent: "a1", From: 25, To: 50}},
		},
		decisions: map[string]*writv1.Record{"d1": record("d1", "r1"), "d2": record("d2", "r2"),
			"s1": {Id: "s1", Event: &writv1.Record_Settlement{Settlement: &writv1.SettlementEvent{DecisionId: "d1", Actual: &writv1.Cost{Tokens: 3}}}}},
		leaves: map[string]audit.Leaf{"d1": {Index: 1}, "d2": {Index: 2}, "s1": {Index: 3}},
		spent:  map[counter]int64{{"human-calls", "h", "0"}: 60}, redeemed: map[string]int64{"t": 1}, tokens: map[string]string{}, requests: map[string]string{},
	}
	return c
}

// The checker finds what is wrong, under the name of the promise, and nothing where
// nothing is.
func TestChecker(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(*checker)
		want []string
	}{
		{"nothing is wrong", func(*checker) {}, nil},
		{"a record is gone", func(c *checker) { delete(c.decisions, "d2") }, []string{"lost"}},
		{"a settlement is gone", func(c *checker) { delete(c.decisions, "s1") }, []string{"lost"}},
		{"a settlement of another report", func(c *checker) { c.reported["d1"].Tokens = 4 }, []string{"answers"}},
		{"two answers", func(c *checker) {
			c.memory.told = append(c.memory.told, &told{ID: "r1", Decision: "d1", Effect: 1, Leaf: make([]byte, 32)})
		}, []string{"answers"}},
		{"a record of another answer", func(c *checker) {
			c.decisions["d1"].GetDecision().Response.Effect = writv1.Effect_EFFECT_DENY
		}, []string{"answers"}},
		{"another leaf", func(c *checker) { c.memory.told[0].Leaf[0] = 1 }, []string{"receipts"}},
		{"before its promised place", func(c *checker) { c.memory.told[0].Size = 2 }, []string{"receipts"}},
		{"the log is over a cap", func(c *checker) { c.spent[counter{"human-calls", "h", "0"}] = 61 }, []string{"budget"}},
		{"callers are over a cap", func(c *checker) { c.settled = nil }, []string{"budget"}},
		{"a token twice", func(c *checker) { c.asked["r2"].JTI = "j1" }, []string{"jti"}},
		{"a ticket too often, says the log", func(c *checker) { c.redeemed["t"] = 2 }, []string{"ticket"}},
		{"a ticket too often, say callers", func(c *checker) { c.asked["r2"].Ticket = "t" }, []string{"ticket"}},
		{"allowed under a lock", func(c *checker) { c.locks[0].Agent = "a2" }, []string{"lock"}},
		{"allowed under a lock on the human", func(c *checker) { c.locks[0] = &locked{Human: "h", From: 5, To: 50} }, []string{"lock"}},
		{"given again under a lock", func(c *checker) { c.locks[0].Agent, c.memory.told[1].Replayed = "a2", true }, nil},
		{"under a lock, its clock just stepped", func(c *checker) { c.locks[0].Agent, c.jumps = "a2", []*jumped{{At: 30}} }, nil},
		{"under a lock, another's clock stepped", func(c *checker) { c.locks[0].Agent, c.jumps = "a2", []*jumped{{Replica: 1, At: 30}} }, []string{"lock"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sound()
			test.harm(c)
			c.answers()
			c.promises()
			c.lockedOut()
			c.settlements()
			if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(c.sorts))); diff != "" {
				t.Errorf("breaches (-want +got):\n%s\n%v", diff, c.breaches)
			}
		})
	}
}

// What a log itself has twice is found when it is read.
func TestTheCheckerReads(t *testing.T) {
	c := sound()
	token := &writv1.EffectFacts{Effect: &writv1.EffectFacts_ConsumedToken{ConsumedToken: []byte("token")}}
	c.add("d1", []*writv1.EffectFacts{token})
	c.add("d2", []*writv1.EffectFacts{token})
	if c.sorts["jti"] != 1 {
		t.Errorf("one token in two records: %v", c.sorts)
	}
	c = sound()
	c.idle()
	if c.sorts["idle"] == 0 {
		t.Error("a run in which nobody was denied by a budget counts")
	}
}
