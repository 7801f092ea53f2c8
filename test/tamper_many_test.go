package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/writpdp/writ/clients/go/writtest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/policy/suite"
	"github.com/writpdp/writ/store/sqlite"
)

// The load: who asks at once, and how often each.
const (
	manyCallers = 50
	manyEach    = 200
	manySeal    = 1000
)

// many is one question of the load, by its number.
func many(n int) Step {
	asks := []suite.What{
		{Tool: "filesystem/read_text_file", Args: suite.JSON(fmt.Sprintf(`{"path": "/srv/files/%d.txt"}`, n))},
		{Tool: "everything/get-sum", Args: suite.JSON(fmt.Sprintf(`{"a": %d, "b": 2}`, n))},
		{Phase: "LIST", Candidates: []string{"filesystem/read_text_file", "everything/get-sum"}},
		{Phase: "PROMPT", Text: fmt.Sprint("Summarise complaint ", n), Tokens: 8},
		{Tool: "filesystem/read_text_file", Args: suite.JSON(fmt.Sprintf(`{"path": "/etc/%d"}`, n))}, // denied
	}
	s := Step{Ask: suite.Ask{What: asks[n%len(asks)]}}
	s.Phase = map[bool]string{true: "CALL", false: s.Phase}[s.Phase == ""]
	s.defaults()
	if s.Phase == "PROMPT" {
		s.Destination.Host = "api.example-ai.com"
	}
	return s
}

// Ten thousand decisions by many callers at once, with a settlement of every
// tenth: the log holds each once, and verifies. A change of any of them is still
// named, through tiles of two levels.
func TestTenThousandDecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "writ.db")
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, store.Close)
	p := writtest.Start(t, writtest.Config{Store: store})
	start := time.Now()
	load := ask(t, p)
	t.Logf("%d decisions, %d of them allowed, and %d settlements by %d callers in %s",
		manyCallers*manyEach, load.allowed.Load(), load.settled.Load(), manyCallers, time.Since(start).Round(time.Millisecond))

	private, public, err := audit.GenerateKey(rand.Reader, writtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(writtest.Origin, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	checkpoints := int64(0)
	for n := 1; n > 0; checkpoints++ {
		if n, err = store.Seal(t.Context(), manySeal, signer.Extend); err != nil {
			t.Fatal(err)
		}
	}
	checkpoints-- // the last round found nothing
	t.Logf("sealed in %s", time.Since(start).Round(time.Millisecond))

	s := &scene{store: store, key: key}
	start = time.Now()
	report, err := s.verify(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("verified in %s: %+v", time.Since(start).Round(time.Millisecond), report)
	leaves := int64(manyCallers*manyEach) + load.settled.Load()
	want := audit.Report{
		Leaves: leaves, Settlements: load.settled.Load(), Checkpoints: (leaves + manySeal - 1) / manySeal,
		Tiles: (leaves+255)/256 + 1, Tokens: load.allowed.Load(), Counters: int64(load.counters()), Root: report.Root,
	}
	if report != want || checkpoints != want.Checkpoints {
		t.Errorf("report is %+v\nwant %+v", report, want)
	}
	t.Run("tamper", func(t *testing.T) { manyTampered(t, s, openRaw(t, "sqlite", "file:"+path)) })
}

// load counts what was answered.
type load struct {
	allowed, settled atomic.Int64
	mu               sync.Mutex // guards used
	used             map[string]bool
}

func (l *load) counters() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.used)
}

// ask asks all questions. The budgets that an answer reserved something of are
// the counters that must be stored: the load has one agent of one tenant, and
// what it asks in one day of a budget is one counter.
func ask(t *testing.T, p *writtest.PDP) *load {
	t.Helper()
	l := &load{used: map[string]bool{}}
	conn, err := grpc.NewClient(p.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := writv1.NewDecisionServiceClient(conn)
	group, ctx := errgroup.WithContext(t.Context())
	for caller := range manyCallers {
		group.Go(func() error {
			for i := range manyEach {
				if err := l.one(ctx, p, client, caller*manyEach+i); err != nil {
					return fmt.Errorf("question %d of caller %d: %w", i, caller, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *load) one(ctx context.Context, p *writtest.PDP, client writv1.DecisionServiceClient, n int) error {
	step := many(n)
	token, err := p.Token(writtest.Agent{Subject: step.Agent, Purposes: step.Carries})
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	answer, err := client.Decide(ctx, step.Request(p.Bundle, id.String(), token, nil))
	if err != nil {
		return err
	}
	if denied := answer.Effect == writv1.Effect_EFFECT_DENY; denied != (n%5 == 4) {
		return fmt.Errorf("the effect is %s: %v", answer.Effect, answer.Reasons)
	} else if denied {
		return nil
	}
	l.allowed.Add(1)
	l.mu.Lock()
	for _, b := range answer.Budgets {
		if b.Reserved > 0 {
			l.used[b.Budget+b.ResetsAt.String()] = true
		}
	}
	l.mu.Unlock()
	if n%10 != 0 {
		return nil
	}
	_, err = client.Settle(ctx, &writv1.SettleRequest{DecisionId: answer.DecisionId, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED})
	l.settled.Add(1)
	return err
}

func manyTampered(t *testing.T, s *scene, r raw) {
	at := func(index int64) values { return r.find(t, "leaf", values{"idx": index}) }
	named := func(index int64, what, detail string) *audit.Problem {
		l := at(index)
		return &audit.Problem{What: what, Index: index, Last: index, Tenant: l["tenant"].(string), Record: idIn(l["id"]), Detail: detail}
	}
	for _, c := range []struct {
		name string
		of   values
		do   func(before values) any
		in   [2]string // table and column
		want *audit.Problem
	}{
		{"a hash in a whole tile", values{"level": int64(0), "idx": int64(20)},
			func(v values) any { return flip(v["hashes"].([]byte), 100*32) }, [2]string{"tile", "hashes"},
			named(20*256+100, "tile", "tile 20 of level 0")},
		{"a hash in the tile above", values{"level": int64(1), "idx": int64(0)},
			func(v values) any { return flip(v["hashes"].([]byte), 17*32) }, [2]string{"tile", "hashes"},
			&audit.Problem{What: "tile", Index: -1, Last: -1, Detail: "tile 0 of level 1: entry 17 "}},
		{"a body in the middle", values{"id": idIn(at(7777)["id"])},
			func(v values) any { return flip(v["body"].([]byte), 90) }, [2]string{"record", "body"},
			named(7777, "body", "the tile has the leaf's")},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.find(t, c.in[0], c.of)
			r.set(t, c.in[0], before, c.in[1], c.do(before))
			report, err := s.verify(t)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, report.Problem, c.want)
			r.set(t, c.in[0], before, c.in[1], before[c.in[1]])
		})
	}
	if report, err := s.verify(t); err != nil || report.Problem != nil {
		t.Errorf("restored: %v, %v", report.Problem, err)
	}
}
