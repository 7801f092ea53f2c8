package stage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// What rests on what is withheld is undetermined: it allows nothing, and another
// stage's denial stands beside it.
func TestUndetermined(t *testing.T) {
	permit := decision.Ruling{Permits: []decision.Match{{Policy: "p"}}}
	open := permit
	open.Open, open.Withheld = true, []string{"arguments /path"}
	partial, err := document.Partial([]byte(`{"path":"[redacted]"}`), []string{"/path"}, document.Digest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		ruling   decision.Ruling
		change   func(*decision.Request)
		want     bool
		withheld []string
	}{
		{"nothing is withheld", permit, func(*decision.Request) {}, false, nil},
		{"the policies cannot tell", open, func(*decision.Request) {}, true, []string{"arguments /path"}},
		{"the schema cannot tell", permit, func(r *decision.Request) { r.Arguments = partial }, true, []string{"arguments: whether they fit the schema", "arguments: the URLs in them"}},
		{"a drift beside it", open, func(r *decision.Request) { r.Arguments, r.Tool.Digest = partial, "d2" }, false, []string{"arguments: the URLs in them", "arguments /path"}},
		{"a purpose beside it", open, func(r *decision.Request) { r.Purpose = "other" }, false, []string{"arguments /path"}},
		{"a forbid for certain", decision.Ruling{Permits: permit.Permits, Forbids: []decision.Match{{Policy: "f"}}, Withheld: []string{"x"}},
			func(*decision.Request) {}, false, nil},
	} {
		req, snap := call(t), snapshot(t, &rules{ruling: c.ruling})
		c.change(req)
		d := stage.All.Decide(req, snap)
		if d.Undetermined() != c.want || d.Undetermined() && d.Allowed() {
			t.Errorf("%s: undetermined %t, allowed %t: %+v", c.name, d.Undetermined(), d.Allowed(), d.Findings)
		}
		if diff := cmp.Diff(c.withheld, d.Withheld()); diff != "" {
			t.Errorf("%s: withheld (-want +got):\n%s", c.name, diff)
		}
	}
}

// A list is undetermined as soon as one of its tools is.
func TestListUndetermined(t *testing.T) {
	open := decision.Ruling{Permits: []decision.Match{{Policy: "p"}}, Open: true, Withheld: []string{"context /x"}}
	req, snap := call(t), snapshot(t, &rules{ruling: open})
	req.Phase, req.Candidates, req.Tool, req.Arguments = decision.List, []decision.ToolRef{req.Tool}, decision.ToolRef{}, nil
	d := stage.All.Decide(req, snap)
	if !d.Undetermined() || d.Allowed() || !cmp.Equal(d.Withheld(), open.Withheld) {
		t.Errorf("got %+v", d.Findings)
	}
}
