package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

const origin = "log.example.org/writ"

// testBooks has two replicas decide, retry, settle and seal at once, at random,
// and an auditor who recomputes all that is stored from the records: meanwhile,
// and at the end.
func testBooks(t *testing.T, place Place) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	open := opener(t, place)
	b := newBooks(t, []Store{open(), open()})
	var agents, office sync.WaitGroup
	for i := range 16 {
		agents.Go(func() { b.agent(i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	for i, s := range b.stores {
		agents.Go(func() { b.administrator(s, i) })
	}
	for _, s := range b.stores {
		office.Go(func() { b.sealer(s) })
	}
	office.Go(b.auditor)
	agents.Wait()
	close(b.hints)
	office.Wait()
	for _, s := range b.stores {
		b.sealAll(s)
	}
	report := b.verify(b.stores[0])
	if report.Pending != 0 || report.Leaves != b.committed() || report.Settlements == 0 || report.Counters == 0 || report.Redemptions == 0 || report.Tokens == 0 || report.Changes == 0 || report.Archives == 0 || report.Tickets != 14 {
		t.Errorf("the report: %+v; %d records were answered", report, b.committed())
	}
	t.Logf("%d records, %d settlements, %d checkpoints", report.Leaves, report.Settlements, report.Checkpoints)
}

type books struct {
	t      *testing.T
	stores []Store
	signer *audit.Signer
	key    note.Verifier

	hints chan struct{} // that something was committed

	mu      sync.Mutex // guards answers
	answers map[[16]byte]bool
}

func newBooks(t *testing.T, stores []Store) *books {
	skey, vkey, err := audit.GenerateKey(rand.NewChaCha8([32]byte{1}), origin)
	if err != nil {
		t.Fatal(err)
	}
	b := &books{t: t, stores: stores, hints: make(chan struct{}, 1000), answers: map[[16]byte]bool{}}
	if b.signer, err = audit.NewSigner(origin, skey); err != nil {
		t.Fatal(err)
	}
	if b.key, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		_, _ = b.commit(stores[0], ticketed(t, "acme", ticket(fmt.Sprint("CHG-", i), int64(10*i+1))))
	}
	return b
}

func (b *books) committed() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.answers))
}

// commit notes every record that was answered as this entry's own.
func (b *books) commit(s Store, e audit.Entry) (audit.Receipt, error) {
	receipt, err := s.Commit(b.t.Context(), e)
	if err == nil && receipt.Prior == nil {
		b.mu.Lock()
		b.answers[e.ID] = true
		b.mu.Unlock()
		b.hints <- struct{}{}
	}
	if err != nil && !errors.Is(err, audit.ErrStale) && !errors.Is(err, audit.ErrReused) {
		b.t.Errorf("committing: %v", err)
	}
	return receipt, err
}

// agent asks, from few request ids, tokens, counters and tickets.
func (b *books) agent(number int, random *rand.Rand) {
	for i := range 30 {
		s := b.stores[random.IntN(len(b.stores))]
		request := fmt.Sprint("request ", random.IntN(300))
		token := fmt.Sprint("token ", random.IntN(400))
		effects := []decision.Effect{consume(token)}
		key := decision.BudgetKey{Budget: "calls", Subject: fmt.Sprint(random.IntN(3)), Start: 3600 * int64(random.IntN(2))}
		amount := int64(random.IntN(9) + 1)
		effects = append(effects, decision.Charge{Key: key, Amount: amount, Cap: 300})
		if random.IntN(4) == 0 {
			effects = append(effects, redeem(fmt.Sprint("CHG-", random.IntN(3))))
		}
		e := b.decided(fmt.Sprintf("%d.%d", number, i), request, token, effects)
		receipt, err := b.commit(s, e)
		switch {
		case errors.Is(err, audit.ErrStale):
			if random.IntN(2) == 0 {
				_, _ = b.commit(s, b.decided(fmt.Sprintf("%d.%d denied", number, i), request, token, nil))
			}
		case err == nil && receipt.Prior == nil && random.IntN(2) == 0:
			b.settle(s, e, decision.Charge{Key: key, Amount: -amount + int64(random.IntN(int(amount))), Cap: 300})
		}
	}
}

// decided is a decision as audit encodes it: allowed with effects, or denied.
func (b *books) decided(name, request, token string, effects []decision.Effect) audit.Entry {
	req := &decision.Request{
		ID: uuid.NewV5(uuid.NamespaceURL, request), Digest: digest("%s", request),
		Caller:    decision.Caller{SPIFFEID: "spiffe://acme.example/gateway", Tenant: "acme"},
		Principal: decision.Principal{Subject: "agent", Issuer: "https://issuer.example", Token: digest("token %s", token), Expires: noon.Add(time.Hour)},
		Phase:     decision.Call, Purpose: "support", Tool: decision.ToolRef{ToolName: decision.ToolName{Server: "filesystem", Name: "read_file"}},
	}
	finding := decision.Finding{Stage: "policy", Verdict: decision.Permit, Effects: effects}
	if effects == nil {
		finding = decision.Finding{Stage: "policy", Verdict: decision.Deny, Reasons: []decision.Reason{{Code: "policy.forbid", Text: "No."}}}
	}
	snap := &decision.Snapshot{At: noon, Bundle: &decision.Bundle{Digest: strings.Repeat("c", 64)}}
	e, _, err := audit.Decided(uuid.NewV5(uuid.NamespaceOID, name), req, snap, &decision.Decision{Findings: []decision.Finding{finding}})
	if err != nil {
		b.t.Errorf("encoding a decision: %v", err)
	}
	return e
}

// administrator changes the rollout, as another does at the same time.
func (b *books) administrator(s Store, number int) {
	for i := range 10 {
		archive, err := s.KeepArchive(b.t.Context(), fmt.Append(nil, "archive ", i%4))
		if err != nil {
			b.t.Errorf("keeping an archive: %v", err)
		}
		version := int64(1)
		if row, err := s.Rollout(b.t.Context(), 0); err == nil {
			last, err := audit.ChangeOf(row.Body)
			if err != nil {
				b.t.Errorf("reading the newest version: %v", err)
			}
			version += last.Rollout.Version
		} else if !errors.Is(err, audit.ErrNotFound) {
			b.t.Errorf("reading the newest version: %v", err)
		}
		_, _ = b.commit(s, changed(b.t, version, fmt.Sprint(number, " ", i), archive))
		_, _ = b.commit(s, ticketed(b.t, "acme", ticket(fmt.Sprint("NEW-", i), 1))) // the other does, too
		if i == 5 {
			_, _ = b.commit(s, ticketed(b.t, "acme", revoking(ticket("CHG-2", 21))))
		}
	}
}

// settle refunds part of what a decision charged, twice over: the second is the
// same report again.
func (b *books) settle(s Store, of audit.Entry, refund decision.Charge) {
	settled := uuid.UUID(of.ID).String()
	for try := range 2 {
		e, _, err := audit.Settled(uuid.NewV5(uuid.NamespaceDNS, fmt.Sprint(settled, try)), decision.Caller{SPIFFEID: of.Caller, Tenant: of.Tenant}, noon,
			settled, digest("%s", settled), writv1.Outcome_OUTCOME_SUCCEEDED, decision.Cost{}, nil, decision.Settlement{Effects: []decision.Effect{refund}})
		if err != nil {
			b.t.Errorf("encoding a settlement: %v", err)
			return
		}
		receipt, err := b.commit(s, e)
		if replayed := receipt.Prior != nil; err != nil || replayed != (try == 1) {
			b.t.Errorf("settling, try %d: %v, %v", try, replayed, err)
		}
	}
}

// sealer seals now and then.
func (b *books) sealer(s Store) {
	for range b.hints {
		if _, err := s.Seal(b.t.Context(), 20, b.signer.Extend); err != nil {
			b.t.Errorf("sealing: %v", err)
		}
	}
}

func (b *books) sealAll(s Store) {
	for {
		n, err := s.Seal(b.t.Context(), 1000, b.signer.Extend)
		if err != nil {
			b.t.Errorf("sealing the rest: %v", err)
		}
		if n == 0 {
			return
		}
	}
}

// auditor verifies now and then.
func (b *books) auditor() {
	n := 0
	for range b.hints {
		if n++; n%10 == 0 {
			b.verify(b.stores[n/10%2])
		}
	}
}

func (b *books) verify(s Store) (report audit.Report) {
	err := s.View(b.t.Context(), func(r audit.Reader) (err error) {
		report, err = audit.Verify(context.WithoutCancel(b.t.Context()), r, []note.Verifier{b.key}, audit.Options{Origin: origin})
		return err
	})
	if err != nil {
		b.t.Errorf("verifying: %v", err)
	}
	if report.Problem != nil {
		b.t.Errorf("the auditor found: %+v", *report.Problem)
	}
	return report
}
