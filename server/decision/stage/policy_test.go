package stage_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

func TestPolicy(t *testing.T) {
	p, f, e, k := decision.Match{Policy: "p"}, decision.Match{Policy: "f"}, decision.Match{Policy: "e"}, decision.Match{Policy: "k", Ticket: true}
	refused := decision.Reason{Code: "policy.context", Text: "The request does not fit.", Lift: "Send another."}
	tests := []struct {
		name   string
		ruling decision.Ruling
		want   string
	}{
		{"nothing", decision.Ruling{}, "deny, policy.no_permit"},
		{"a permit", decision.Ruling{Permits: []decision.Match{p, p}}, "permit, policy.permit p, policy.permit p"},
		{"a forbid", decision.Ruling{Forbids: []decision.Match{f}}, "deny, policy.forbid f, policy.no_permit"},
		{"a forbid and a permit", decision.Ruling{Permits: []decision.Match{p}, Forbids: []decision.Match{f}}, "deny, policy.forbid f"},
		{"a forbid that a ticket lifts", decision.Ruling{Permits: []decision.Match{p}, Forbids: []decision.Match{k}}, "deny, policy.ticket_required k *"},
		{"a forbid that a ticket lifts for nothing", decision.Ruling{Forbids: []decision.Match{k}}, "deny, policy.ticket_required k *, policy.no_permit"},
		{"an error", decision.Ruling{Permits: []decision.Match{p}, Errors: []decision.Match{e}}, "deny, policy.error e"},
		{"an error, a forbid and no permit", decision.Ruling{Errors: []decision.Match{e}, Forbids: []decision.Match{f, k}}, "deny, policy.error e, policy.forbid f, policy.ticket_required k *, policy.no_permit"},
		{"refused", decision.Ruling{Refused: refused}, "deny, policy.context"},
		{"refused although permitted", decision.Ruling{Refused: refused, Permits: []decision.Match{p}}, "deny, policy.context"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.ruling.Obligations = []decision.Obligation{{Duty: decision.Watermark{Text: "w"}}}
			test.ruling.Routes = []decision.RouteRule{{Region: "eu"}}
			got := stage.Policy(call(t), snapshot(t, &rules{ruling: test.ruling}), &decision.Decision{})
			judged(t, got, test.want)
			if len(got.Obligations) != 1 || len(got.Routes) != 1 {
				t.Errorf("got %v and %v", got.Obligations, got.Routes)
			}
		})
	}
}

func TestPolicyTexts(t *testing.T) {
	ruling := decision.Ruling{Permits: []decision.Match{{Policy: "p", Text: "Of course."}, {Policy: "q"}}}
	f := stage.Policy(call(t), snapshot(t, &rules{ruling: ruling}), &decision.Decision{})
	if f.Reasons[0].Text != "Of course." || f.Reasons[1].Text != `The policy "q" permits this.` {
		t.Errorf("got %v", f.Reasons)
	}
}

// However many policies speak, an answer can hold what they say, and what was
// cut does not make a denial look as if a ticket lifted it.
func TestPolicyManyReasons(t *testing.T) {
	var forbids, permits []decision.Match
	for i := range 1000 {
		forbids = append(forbids, decision.Match{Policy: fmt.Sprint("k", i), Ticket: true})
		permits = append(permits, decision.Match{Policy: fmt.Sprint("p", i)})
	}
	f := stage.Policy(call(t), snapshot(t, &rules{ruling: decision.Ruling{Permits: permits, Forbids: forbids}}), &decision.Decision{})
	d := decision.Decision{Findings: []decision.Finding{f}}
	if len(f.Reasons) != 512 || f.Verdict != decision.Deny || d.Requestable() != nil {
		t.Errorf("%d reasons, requestable by %d", len(f.Reasons), len(d.Requestable()))
	}
	if last := f.Reasons[511]; last.Text != "489 more policies say so." || last.Lift == "" {
		t.Errorf("got %+v", last)
	}
	f = stage.Policy(call(t), snapshot(t, &rules{ruling: decision.Ruling{Permits: permits}}), &decision.Decision{})
	if len(f.Reasons) != 512 || f.Verdict != decision.Permit {
		t.Errorf("%d reasons and %v", len(f.Reasons), f.Verdict)
	}
}

func TestPolicyQuery(t *testing.T) {
	policies := &rules{}
	req, snap := call(t), snapshot(t, policies)
	req.Destination = decision.Destination{Host: "eu.ai"}
	ticket := &decision.Ticket{ID: "T"}
	stage.Policy(req, snap, &decision.Decision{Findings: []decision.Finding{{Ticket: ticket}}})
	want := decision.Query{Request: req, At: now, Ticket: ticket, Tool: snap.Bundle.Tools[read], Vendor: "ai"}
	if !reflect.DeepEqual(policies.asked, want) {
		t.Errorf("got %+v", policies.asked)
	}
	// A list asks for each candidate, not for itself.
	list := &decision.Request{Phase: decision.List}
	policies.judge = func(decision.Query) decision.Ruling { t.Error("asked for the list itself"); return decision.Ruling{} }
	judged(t, stage.Policy(list, snap, &decision.Decision{}), "abstain")
}

func TestList(t *testing.T) {
	policies := &rules{judge: func(q decision.Query) decision.Ruling {
		if q.Request.Tool.Name == "read" && q.Request.Candidates == nil && q.Request.Phase == decision.List {
			return decision.Ruling{Permits: []decision.Match{{Policy: "p"}}}
		}
		return decision.Ruling{}
	}}
	snap := snapshot(t, policies)
	write := decision.ToolName{Server: "files", Name: "write"}
	snap.Bundle.Tools[write] = &decision.Tool{ToolName: write, Digest: "d1"}
	ref := func(server, name, digest string) decision.ToolRef {
		return decision.ToolRef{ToolName: decision.ToolName{Server: server, Name: name}, Digest: digest}
	}
	seen := ref("files", "read", "d1")
	tests := []struct {
		name       string
		candidates []decision.ToolRef
		want       []int
	}{
		{"nothing", nil, nil},
		{"one", []decision.ToolRef{seen}, []int{0}},
		{"one of many", []decision.ToolRef{ref("files", "write", "d1"), ref("files", "read", "d2"), seen, ref("files", "read", ""), ref("x", "read", "d1"), {}, seen}, []int{2, 6}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req := &decision.Request{Phase: decision.List, Purpose: "support", Principal: decision.Principal{Subject: "agent", Purposes: []string{"support"}}, Candidates: test.candidates}
			f := stage.List(req, snap, &decision.Decision{})
			judged(t, f, "permit, list.filtered")
			keep := f.Obligations[0].Duty.(decision.FilterTools).Keep
			if keep == nil || fmt.Sprint(keep) != fmt.Sprint(append([]int{}, test.want...)) {
				t.Errorf("got %v, want %v", keep, test.want)
			}
			if !strings.Contains(f.Reasons[0].Text, fmt.Sprintf("%d of %d", len(test.want), len(test.candidates))) {
				t.Errorf("got %q", f.Reasons[0].Text)
			}
			if diff := cmp.Diff(test.candidates, req.Candidates); diff != "" {
				t.Errorf("the request was changed: %s", diff)
			}
		})
	}
	judged(t, stage.List(call(t), snap, &decision.Decision{}), "abstain")
	t.Run("as many as there may be", func(t *testing.T) {
		req := &decision.Request{Phase: decision.List, Purpose: "support", Principal: decision.Principal{Purposes: []string{"support"}}, Candidates: make([]decision.ToolRef, 512)}
		for i := range req.Candidates {
			if req.Candidates[i] = seen; i%2 == 1 {
				req.Candidates[i].Digest = "d2"
			}
		}
		keep := stage.List(req, snap, &decision.Decision{}).Obligations[0].Duty.(decision.FilterTools).Keep
		if len(keep) != 256 || keep[255] != 510 {
			t.Errorf("got %v", keep)
		}
	})
}
