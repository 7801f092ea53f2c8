// Package coverage counts which clauses of a bundle's policies a run of tests has
// seen true and which it has seen false. A clause is reached when all before it
// hold; one that is never false has never refused anything, and one that is never
// true never let anything by.
package coverage

import (
	"fmt"
	"io"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/clause"
)

// Coverage is what was seen of every policy, in the order of their ids.
type Coverage struct{ Policies []*Policy }

// Policy is what was seen of one policy.
type Policy struct {
	policy.Statement
	// Seen is how often each clause came to each outcome.
	Seen []Seen
}

// Seen counts the outcomes of one clause.
type Seen struct{ True, False, Errors int }

// Count is how many outcomes were seen, of how many there are: two a clause.
type Count struct{ Seen, Of int }

// Percent is the share that was seen; of nothing it is all.
func (c Count) Percent() float64 {
	if c.Of == 0 {
		return 100
	}
	return 100 * float64(c.Seen) / float64(c.Of)
}

func (s Seen) count() Count {
	return Count{Seen: min(1, s.True) + min(1, s.False), Of: 2}
}

// Count is that of one policy.
func (p *Policy) Count() Count {
	var sum Count
	for _, s := range p.Seen {
		c := s.count()
		sum.Seen, sum.Of = sum.Seen+c.Seen, sum.Of+c.Of
	}
	return sum
}

// Count is that of all policies.
func (c *Coverage) Count() Count {
	var sum Count
	for _, p := range c.Policies {
		one := p.Count()
		sum.Seen, sum.Of = sum.Seen+one.Seen, sum.Of+one.Of
	}
	return sum
}

// Watch is a bundle that decides as another does, and what is seen of its
// policies then. It is for one goroutine.
func Watch(b *decision.Bundle, set *policy.Set) (*decision.Bundle, *Coverage) {
	c := &Coverage{}
	for _, st := range set.Statements() {
		c.Policies = append(c.Policies, &Policy{Statement: st, Seen: make([]Seen, len(st.Clauses))})
	}
	watched := *b
	watched.Policies = &watcher{Set: set, coverage: c}
	return &watched, c
}

// watcher is the policies under watch.
type watcher struct {
	*policy.Set
	coverage *Coverage
}

// Judge judges as the policies do. A list is not counted: its questions have no
// arguments to see.
func (w *watcher) Judge(q decision.Query) decision.Ruling {
	if q.Request.Phase != decision.List {
		if env, why := w.Env(q); why.Code == "" {
			w.coverage.observe(q.Request.Caller.Tenant, env)
		}
	}
	return w.Set.Judge(q)
}

// Authorize authorizes as the policies do.
func (w *watcher) Authorize(request cedar.Request, entities cedar.EntityMap) (decision.Ruling, error) {
	ruling, err := w.Set.Authorize(request, entities)
	if err == nil {
		w.coverage.observe(policy.TenantOf(request), eval.Env{Entities: w.With(entities), Principal: request.Principal, Action: request.Action,
			Resource: request.Resource, Context: request.Context})
	}
	return ruling, err
}

// observe evaluates the clauses of each policy that a tenant's request is put to,
// up to the first that does not hold.
func (c *Coverage) observe(tenant string, env eval.Env) {
	for _, p := range c.Policies {
		if p.Tenant != "" && p.Tenant != tenant {
			continue
		}
		for i, one := range p.Clauses {
			outcome := one.Eval(env)
			p.Seen[i].add(outcome)
			if outcome != clause.True {
				break
			}
		}
	}
}

func (s *Seen) add(o clause.Outcome) {
	switch o {
	case clause.True:
		s.True++
	case clause.False:
		s.False++
	default:
		s.Errors++
	}
}

// Text writes the share of every policy, and the clauses of which something was
// not seen.
func (c *Coverage) Text(out io.Writer) error {
	width := len("clauses")
	for _, p := range c.Policies {
		width = max(width, len(p.ID))
	}
	var b strings.Builder
	line := func(name string, count Count, at string) {
		share := fmt.Sprintf("%d of %d", count.Seen, count.Of)
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %5.1f %%  %-10s  %s", width, name, count.Percent(), share, at), " ") + "\n")
	}
	for _, p := range c.Policies {
		line(p.ID, p.Count(), p.At())
		for i, s := range p.Seen {
			if missing := s.missing(); missing != "" {
				fmt.Fprintf(&b, "  never %s: %s\n", missing, p.Clauses[i].Text())
			}
		}
	}
	line("clauses", c.Count(), "")
	_, err := io.WriteString(out, b.String())
	return err
}

// missing says what was never seen of a clause.
func (s Seen) missing() string {
	switch {
	case s.True == 0 && s.False == 0:
		return "asked"
	case s.True == 0:
		return "true"
	case s.False == 0:
		return "false"
	}
	return ""
}

// Summary is a coverage for programs.
type Summary struct {
	Percent  float64         `json:"percent"`
	Seen     int             `json:"seen"`
	Of       int             `json:"of"`
	Policies []PolicySummary `json:"policies"`
}

// PolicySummary is that of one policy.
type PolicySummary struct {
	ID       string   `json:"id"`
	Position string   `json:"position"`
	Seen     int      `json:"seen"`
	Of       int      `json:"of"`
	Missing  []Missed `json:"missing,omitempty"`
}

// Missed is a clause of which something was not seen: "true", "false", or that it
// is "asked" at all.
type Missed struct {
	Clause string `json:"clause"`
	Never  string `json:"never"`
}

// Summary is the coverage without the policies' texts.
func (c *Coverage) Summary() *Summary {
	count := c.Count()
	out := &Summary{Percent: count.Percent(), Seen: count.Seen, Of: count.Of, Policies: []PolicySummary{}}
	for _, p := range c.Policies {
		own := p.Count()
		one := PolicySummary{ID: p.ID, Position: p.At(), Seen: own.Seen, Of: own.Of}
		for i, s := range p.Seen {
			if never := s.missing(); never != "" {
				one.Missing = append(one.Missing, Missed{p.Clauses[i].Text(), never})
			}
		}
		out.Policies = append(out.Policies, one)
	}
	return out
}
