package replay

import (
	"cmp"
	"maps"
	"slices"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
)

// Counts are how many records came out as each class, by Class.
type Counts [classes]int64

// Sum is how many there are.
func (c Counts) Sum() (n int64) {
	for _, one := range c {
		n += one
	}
	return n
}

// Changed is how many came out otherwise than they were recorded, for certain.
func (c Counts) Changed() int64 { return c[WouldDeny] + c[WouldAllow] + c[ObligationsChanged] }

// Sample is one record of a group.
type Sample struct {
	Tenant  string   `json:"tenant"`
	Record  string   `json:"record"`
	Because []string `json:"because,omitempty"`
}

// Group is the records that are alike in something.
type Group struct {
	// By is what they are alike in: "tool", "purpose" or "agent".
	By    string
	Value string
	Counts
	// Samples are the first records of every class but Unchanged, by Class.
	Samples [classes][]Sample
}

// Report is what a bundle would have changed.
type Report struct {
	// Total counts the decisions, Settlements the reports on what they cost.
	Total       Counts
	Settlements int64
	// Because counts the grounds of each class, by Class.
	Because [classes]map[string]int64
	groups  map[[2]string]*Group
	samples int
}

// Bounds of a report: what records hold can be chosen by whoever asked.
const (
	maxGroups  = 10_000 // of each kind
	maxGrounds = 1_000  // of each class
	others     = "(others)"
)

func newReport(samples int) *Report {
	r := &Report{groups: map[[2]string]*Group{}, samples: samples}
	for i := range r.Because {
		r.Because[i] = map[string]int64{}
	}
	return r
}

// Groups are the groups, by kind and value.
func (r *Report) Groups() []*Group {
	order := []string{"tool", "purpose", "agent"}
	return slices.SortedFunc(maps.Values(r.groups), func(a, b *Group) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.By), slices.Index(order, b.By)), cmp.Compare(a.Value, b.Value))
	})
}

func (r *Report) add(q *audit.Question, o Outcome) {
	r.Total[o.Class]++
	for _, ground := range o.Because {
		all := r.Because[o.Class]
		if _, known := all[ground]; !known && len(all) >= maxGrounds {
			ground = others
		}
		all[ground]++
	}
	tool := ""
	if q.Server != "" {
		tool = q.Server + "/" + q.Tool
	}
	for _, by := range [][2]string{{"tool", tool}, {"purpose", q.Purpose}, {"agent", q.Principal}} {
		g := r.group(by)
		g.Counts[o.Class]++
		if o.Class != Unchanged && len(g.Samples[o.Class]) < r.samples {
			g.Samples[o.Class] = append(g.Samples[o.Class], Sample{Tenant: q.Tenant, Record: uuid.UUID(q.ID).String(), Because: o.Because})
		}
	}
}

func (r *Report) group(by [2]string) *Group {
	g := r.groups[by]
	if g == nil {
		if len(r.groups) >= 3*maxGroups && by[1] != others {
			return r.group([2]string{by[0], others})
		}
		g = &Group{By: by[0], Value: by[1]}
		r.groups[by] = g
	}
	return g
}
