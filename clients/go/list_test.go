package writ_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// settled is a connection that gives one answer to everything.
type settled struct {
	grpc.ClientConnInterface
	resp proto.Message
}

func (s settled) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	proto.Merge(reply.(proto.Message), s.resp)
	return nil
}

func TestFilterTools(t *testing.T) {
	tools := []writ.Tool{{Server: "s", Name: "a", Definition: []byte(`{"name":"a"}`)}, {Server: "s", Name: "b"}, {Server: "s", Name: "c"}}
	second := filter(0, 1)
	second.Id = "filter_tools-2"
	tests := []struct {
		name        string
		obligations []*writv1.Obligation
		want        []string // nil: an error
	}{
		{"some", []*writv1.Obligation{filter(0, 2)}, []string{"a", "c"}},
		{"all", []*writv1.Obligation{filter(0, 1, 2)}, []string{"a", "b", "c"}},
		{"none", []*writv1.Obligation{filter()}, []string{}},
		{"two filters", []*writv1.Obligation{filter(1, 2), second}, []string{"b"}},
		{"two filters that keep nothing", []*writv1.Obligation{filter(2), second}, []string{}},
		{"one too many", []*writv1.Obligation{filter(0, 3)}, nil},
		{"twice the same", []*writv1.Obligation{filter(0, 0)}, nil},
		{"far out", []*writv1.Obligation{filter(1<<32 - 1)}, nil},
		{"something else as well", []*writv1.Obligation{filter(0), limit(5)}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
				return allow(req, test.obligations...), nil
			}}
			c := client(t, p, writ.Config{})
			tools, err := c.FilterTools(t.Context(), writ.Call{Purpose: "support"}, tools)
			if test.want == nil {
				if err == nil || tools != nil {
					t.Errorf("got %v, %v", tools, err)
				}
				if got := p.outcomes()[decisionID(list)].GetOutcome(); got != writv1.Outcome_OUTCOME_NOT_RUN {
					t.Errorf("got the outcome %v", got)
				}
				return
			}
			got := []string{}
			for _, tool := range tools {
				got = append(got, tool.Name)
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("got the error %v, tools (-want +got):\n%s", err, diff)
			}
			if got := p.outcomes()[decisionID(list)]; got.GetOutcome() != writv1.Outcome_OUTCOME_SUCCEEDED || !got.GetObligations()[0].GetMet() {
				t.Errorf("got the report %v", got)
			}
		})
	}
}

func TestFilterToolsWithoutAFilter(t *testing.T) {
	p := &pdp{decide: broken(func(r *writv1.DecideResponse) { r.Obligations = nil })}
	c := client(t, p, writ.Config{})
	tools, err := c.FilterTools(t.Context(), writ.Call{}, []writ.Tool{{Server: "s", Name: "a"}})
	var answer *writ.BrokenAnswer
	if !errors.As(err, &answer) || tools != nil {
		t.Errorf("got %v, %v", tools, err)
	}
}

func TestFilterToolsDenied(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return deny(req, "No.", "Nothing."), nil
	}}
	c := client(t, p, writ.Config{})
	tools, err := c.FilterTools(t.Context(), writ.Call{}, []writ.Tool{{Server: "s", Name: "a"}})
	var denied *writ.Denied
	if !errors.As(err, &denied) || denied.Phase != writ.PhaseList || tools != nil {
		t.Errorf("got %v, %v", tools, err)
	}
}

func TestFilterManyTools(t *testing.T) {
	var tools []writ.Tool
	for i := range 1100 {
		tools = append(tools, writ.Tool{Server: "s", Name: fmt.Sprint(i)})
	}
	last := func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, filter(uint32(len(req.GetCandidates())-1))), nil
	}
	p := &pdp{decide: last}
	c := client(t, p, writ.Config{})
	got, err := c.FilterTools(t.Context(), writ.Call{}, tools)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]writ.Tool{tools[511], tools[1023], tools[1099]}, got); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}

	p.decide = func(n int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		if n == 6 { // the third question of this list
			return deny(req, "No.", "Nothing."), nil
		}
		return last(n, req)
	}
	if got, err := c.FilterTools(t.Context(), writ.Call{}, tools); err == nil || got != nil {
		t.Errorf("got %d tools, %v", len(got), err)
	}
	if got, err := c.FilterTools(t.Context(), writ.Call{}, nil); err != nil || len(got) != 0 || len(p.questions()) != 6 {
		t.Errorf("a list of nothing: got %v, %v after %d questions", got, err, len(p.questions()))
	}
}
