package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func item(id string, request *writv1.DecideRequest) *writv1.BatchItem {
	return &writv1.BatchItem{CorrelationId: id, Request: request}
}

// outcome is one result in a line.
func outcome(r *writv1.BatchResult) string {
	if e := r.GetError(); e != nil {
		return fmt.Sprintf("%s %s %s", r.CorrelationId, codes.Code(e.Code), e.Reason)
	}
	return fmt.Sprintf("%s %s", r.CorrelationId, r.GetResponse().GetEffect())
}

func outcomes(t *testing.T, got *writv1.DecideBatchResponse, want ...string) {
	t.Helper()
	if len(got.Results) != len(want) {
		t.Fatalf("%d results, want %d", len(got.Results), len(want))
	}
	for i, r := range got.Results {
		if outcome(r) != want[i] {
			t.Errorf("result %d is %q, want %q (%v)", i, outcome(r), want[i], r)
		}
	}
}

// Every item comes out as it would alone, in its place.
func TestBatch(t *testing.T) {
	p := open(t)
	at := p.serve(t)
	broken := p.listing(t)
	broken.Arguments = []byte(`{"path":"` + canary)
	crowded := p.listing(t)
	crowded.Phase, crowded.Tool, crowded.Arguments = writv1.Phase_PHASE_LIST, nil, nil
	crowded.Candidates = candidates(513)
	reused := p.listing(t)
	p.decide(t, reused, writv1.Effect_EFFECT_ALLOW)
	reused.SessionId = "other"
	before := p.books(t).records
	got, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{
		item("broken", broken), item("denied", p.forbidden(t)), item("allowed", p.listing(t)), item("none", nil),
		item("crowded", crowded), item("reused", reused), item("empty", &writv1.DecideRequest{}), item("allowed too", p.listing(t)),
	}})
	must(t, err)
	outcomes(t, got, "broken InvalidArgument JSON_INVALID", "denied EFFECT_DENY", "allowed EFFECT_ALLOW",
		"none InvalidArgument FIELD_INVALID", "crowded InvalidArgument FIELD_INVALID", "reused AlreadyExists REQUEST_ID_REUSED",
		"empty InvalidArgument FIELD_INVALID", "allowed too EFFECT_ALLOW")
	for _, r := range got.Results {
		if m := r.GetError().GetMessage(); strings.Contains(m, canary) || len(m) > 2048 {
			t.Errorf("%s: the message is %q", r.CorrelationId, m)
		}
	}
	if n := p.books(t).records - before; n != 3 {
		t.Errorf("%d new records, want 3", n)
	}
}

// The items of one batch are one another's rivals like anybody else.
func TestBatchShares(t *testing.T) {
	p := open(t)
	p.cap("lists", decision.Calls, 5)
	same := p.listing(t)
	token := p.listing(t)
	items := []*writv1.BatchItem{item("one", same), item("the same", same)}
	for i := range 62 {
		request := p.listing(t)
		if i < 31 {
			request.PrincipalToken = token.PrincipalToken
		}
		items = append(items, item(fmt.Sprint(i), request))
	}
	got, err := p.DecideBatch(t.Context(), gateway, &writv1.DecideBatchRequest{Items: items})
	must(t, err)
	allowed, byToken := map[string]bool{}, 0
	for i, r := range got.Results {
		if r.GetResponse().GetEffect() == writv1.Effect_EFFECT_ALLOW {
			allowed[r.GetResponse().DecisionId] = true
			if i >= 2 && i < 33 {
				byToken++
			}
		}
	}
	if len(allowed) != 5 || byToken > 1 {
		t.Errorf("%d allowed, %d of them by one token", len(allowed), byToken)
	}
	p.verify(t)
}

func TestBatchRefused(t *testing.T) {
	p := open(t)
	many := func(n int) (items []*writv1.BatchItem) {
		for i := range n {
			items = append(items, item(fmt.Sprint(i), p.listing(t)))
		}
		return items
	}
	for _, c := range []struct {
		name, says string
		items      []*writv1.BatchItem
	}{
		{"none", "items: ", nil},
		{"65", "items: must contain no more than 64", many(65)},
		{"twice", "correlation ids must differ", append(many(2), item("1", p.listing(t)))},
		{"unnamed", "items[0].correlation_id: ", []*writv1.BatchItem{item("", p.listing(t))}},
		{"long name", "items[0].correlation_id: ", []*writv1.BatchItem{item(strings.Repeat(canary, 10), p.listing(t))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.DecideBatch(t.Context(), gateway, &writv1.DecideBatchRequest{Items: c.items})
			if f := expect(t, err, codes.InvalidArgument, "FIELD_INVALID"); !strings.Contains(f.Message, c.says) {
				t.Errorf("the message is %q", f.Message)
			}
			secretive(t, err)
		})
	}
	if got := p.books(t); got != (books{}) {
		t.Errorf("refused batches wrote %+v", got)
	}
}

// A defect that one item meets leaves its neighbours answered.
func TestBatchPanic(t *testing.T) {
	p := open(t, faulty(func(ledger server.Ledger) *faults {
		return &faults{Ledger: ledger, commit: func(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
			if e.Session == "bad" {
				panic("a defect")
			}
			return ledger.Commit(ctx, e)
		}}
	}))
	at := p.serve(t)
	bad := p.listing(t)
	bad.SessionId = "bad"
	got, err := at.DecideBatch(t.Context(), &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{
		item("a", p.listing(t)), item("b", bad), item("c", p.forbidden(t))}})
	must(t, err)
	outcomes(t, got, "a EFFECT_ALLOW", "b Internal INTERNAL", "c EFFECT_DENY")
	if m := got.Results[1].GetError().Message; strings.Contains(m, "defect") {
		t.Errorf("the message tells of the inside: %q", m)
	}
	if text := p.log.String(); !strings.Contains(text, "a defect") || !strings.Contains(text, "batch_test.go") {
		t.Errorf("the log does not say what and where: %s", text)
	}
}
