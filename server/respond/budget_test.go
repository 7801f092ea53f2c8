package respond_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

func raise(id, tenant string, by int64, lasts time.Duration) decision.Adjustment {
	return decision.Adjustment{ID: id, Tenant: tenant, Budget: "b", By: by, Until: noon.Add(lasts)}
}

func anyOf(*decision.Adjustment) bool { return true }

// Locks and changes of budgets make versions of one chain, and each keeps the other.
func TestAdjustAndWithdraw(t *testing.T) {
	s := open(t)
	if _, err := respond.Set(t.Context(), s, lock("L", time.Hour), by("x")); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"b", "a"} {
		made, err := respond.Adjust(t.Context(), s, raise(id, "acme", 5, time.Hour), by("the month's end"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := made.Control.Version, int64(i+2); got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
	if _, err := respond.Adjust(t.Context(), s, raise("a", "acme", 5, time.Hour), by("x"), nil); !errors.Is(err, respond.ErrTaken) {
		t.Errorf("an id twice: %v", err)
	}
	if _, err := respond.Withdraw(t.Context(), s, "c", anyOf, by("x"), nil); !errors.Is(err, respond.ErrUnknown) {
		t.Errorf("withdrawing what is not there: %v", err)
	}
	if _, err := respond.Withdraw(t.Context(), s, "a", func(a *decision.Adjustment) bool { return a.Frozen }, by("x"), nil); !errors.Is(err, respond.ErrKind) {
		t.Errorf("thawing what is not frozen: %v", err)
	}
	if _, err := respond.Withdraw(t.Context(), s, "b", anyOf, by("done"), nil); err != nil {
		t.Fatal(err)
	}
	last, err := respond.Lift(t.Context(), s, "L", by("tamed"))
	if err != nil {
		t.Fatal(err)
	}
	want := raise("a", "acme", 5, time.Hour)
	want.Actor, want.Reason, want.Ticket = "ann", "the month's end", "INC-1"
	if diff := cmp.Diff(decision.Control{Version: 5, Adjustments: []decision.Adjustment{want}, Locks: last.Control.Locks}, last.Control); diff != "" || len(last.Control.Locks) != 0 {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
	budgets, err := respond.History(t.Context(), s, 2, respond.OfBudgets)
	if err != nil || len(budgets) != 2 || !budgets[0].Budget.Withdrawn || budgets[0].Budget.Adjustment.ID != "b" || budgets[1].Budget.Withdrawn {
		t.Errorf("history: %+v, %v", budgets, err)
	}
	locks, err := respond.History(t.Context(), s, 9, respond.OfLocks)
	if err != nil || len(locks) != 2 || locks[1].Lock.ID != "L" {
		t.Errorf("history of locks: %+v, %v", locks, err)
	}
}

func TestAdjustRefuses(t *testing.T) {
	s := open(t)
	for name, change := range map[string]func(*decision.Adjustment, *audit.By){
		"no end": func(a *decision.Adjustment, _ *audit.By) { a.Until = time.Time{} },
		"ended":  func(a *decision.Adjustment, _ *audit.By) { a.Until = noon },
		"too long": func(a *decision.Adjustment, _ *audit.By) {
			a.Until = noon.Add(decision.MaxAdjustmentTime + time.Second)
		},
		"nothing":             func(a *decision.Adjustment, _ *audit.By) { a.By = 0 },
		"both":                func(a *decision.Adjustment, _ *audit.By) { a.Frozen = true },
		"no budget":           func(a *decision.Adjustment, _ *audit.By) { a.Budget = "" },
		"no reason":           func(_ *decision.Adjustment, b *audit.By) { b.Reason = "" },
		"nobody":              func(_ *decision.Adjustment, b *audit.By) { b.Actor = "" },
		"a reason that hides": func(_ *decision.Adjustment, b *audit.By) { b.Reason = "fine\u202egnihton" },
		"a message of two lines": func(a *decision.Adjustment, _ *audit.By) {
			a.Message = "one\ntwo"
		},
	} {
		a, b := raise("a", "acme", 5, time.Hour), by("x")
		change(&a, &b)
		if _, err := respond.Adjust(t.Context(), s, a, b, nil); !errors.Is(err, respond.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if last, err := respond.Newest(t.Context(), s); err != nil || last.Control.Version != 0 {
		t.Errorf("something was changed: %+v, %v", last, err)
	}
}

// There is room for so many, and one tenant has not all of it. What has ended makes
// room.
func TestAdjustmentsAreBounded(t *testing.T) {
	s := open(t)
	for i := range decision.MaxAdjustments {
		if _, err := respond.Adjust(t.Context(), s, raise(fmt.Sprint("a", i), fmt.Sprint("t", i/decision.MaxTenantAdjustments), 1, time.Minute), by("x"), nil); err != nil {
			t.Fatal(err)
		}
		if i == decision.MaxTenantAdjustments-1 {
			if _, err := respond.Adjust(t.Context(), s, raise("more", "t0", 1, time.Minute), by("x"), nil); !errors.Is(err, respond.ErrMany) {
				t.Errorf("one more of a tenant: %v", err)
			}
		}
	}
	if _, err := respond.Adjust(t.Context(), s, raise("more", "", 1, time.Minute), by("x"), nil); !errors.Is(err, respond.ErrMany) {
		t.Errorf("one more: %v", err)
	}
	later := by("x")
	later.At = noon.Add(time.Minute)
	made, err := respond.Adjust(t.Context(), s, raise("more", "t0", 1, time.Hour), later, nil)
	if err != nil || len(made.Control.Adjustments) != 1 {
		t.Errorf("later: %+v, %v", made.Control, err)
	}
}

// A ticket is used up by the change, once, also where several change at once.
func TestAdjustRedeems(t *testing.T) {
	s := open(t)
	ticket := decision.Ticket{ID: "INC-1", Principal: "ann", Tool: decision.ToolName{Server: decision.BudgetTools, Name: "raise"},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), MaxUses: 3, Approvers: []string{"bob"}}
	if err := s.CreateTicket(t.Context(), "acme", ticket); err != nil {
		t.Fatal(err)
	}
	approval := func() *respond.Approval {
		return &respond.Approval{Redeem: true, BudgetRequest: audit.BudgetRequest{ID: uuid.Must(uuid.NewV7()), AdmittedBy: []string{"p"}, Bundle: strings.Repeat("a", 64)}}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	stale, made := 0, 0
	for i := range 8 {
		wait.Go(func() {
			_, err := respond.Adjust(t.Context(), s, raise(fmt.Sprint("a", i), "acme", 1, time.Hour), by("x"), approval())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, audit.ErrStale):
				stale++
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	last, err := respond.Newest(t.Context(), s)
	if err != nil || made != 3 || stale != 5 || len(last.Control.Adjustments) != 3 || last.Control.Version != 3 {
		t.Errorf("%d were made, %d not: version %d, %v", made, stale, last.Control.Version, err)
	}
	// The same request again is the same change.
	again, id := approval(), by("x")
	again.Redeem = false
	first, err := respond.Adjust(t.Context(), s, raise("again", "acme", 1, time.Hour), id, again)
	if err != nil {
		t.Fatal(err)
	}
	id.ID = uuid.Must(uuid.NewV7())
	second, err := respond.Adjust(t.Context(), s, raise("again", "acme", 1, time.Hour), id, again)
	if err != nil || second.Receipt.Prior == nil || second.Row.ID != first.Row.ID || second.Control.Version != first.Control.Version {
		t.Errorf("again: %+v, %v", second, err)
	}
}

// counters are shares in memory.
type counters []audit.Use

func (c counters) Shares(_ context.Context, tenant, budget string, start int64, from string, limit int) ([]audit.Use, error) {
	var all []audit.Use
	for _, u := range c {
		if u.Tenant == tenant && u.Key.Budget == budget && u.Key.Start == start && u.Key.Subject >= from {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b audit.Use) int { return strings.Compare(a.Key.Subject, b.Key.Subject) })
	return all[:min(len(all), limit)], nil
}

// Pages of any size, one after the other, are the whole list, in its order.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := []decision.BudgetRule{{ID: "c", Cap: 9, Window: decision.Lifetime}, {ID: "a", Cap: 5, Window: decision.Hour}, {ID: "b", Window: decision.Lifetime}}
		var all counters
		used := map[string]int64{}
		for range rapid.IntRange(0, 12).Draw(t, "counters") {
			rule := rapid.SampledFrom(rules).Draw(t, "rule")
			u := audit.Use{Tenant: rapid.SampledFrom([]string{"acme", "bolt"}).Draw(t, "tenant"), Used: rapid.Int64Range(1, 9).Draw(t, "used"),
				Key: decision.BudgetKey{Budget: rule.ID, Subject: rapid.SampledFrom([]string{"", `"x"`, `"y"`, `"z"`}).Draw(t, "share"), Start: rule.Starts(noon)}}
			if rapid.IntRange(0, 3).Draw(t, "another window") == 0 {
				u.Key.Start += 7200
			}
			if slices.ContainsFunc(all, func(o audit.Use) bool { return o.Tenant == u.Tenant && o.Key == u.Key }) {
				continue
			}
			if all = append(all, u); u.Tenant == "acme" && u.Key.Start == rule.Starts(noon) {
				used[rule.ID+" "+u.Key.Subject] = u.Used
			}
		}
		for _, rule := range rules {
			if !slices.ContainsFunc(all, func(u audit.Use) bool {
				return u.Tenant == "acme" && u.Key.Budget == rule.ID && u.Key.Start == rule.Starts(noon)
			}) {
				used[rule.ID+" "] = 0
			}
		}
		control := &decision.Control{Adjustments: []decision.Adjustment{{ID: "A", Budget: "a", By: 2, Until: noon.Add(time.Hour)}}}
		page := respond.Page{Tenant: "acme", Size: rapid.IntRange(1, 4).Draw(t, "size")}
		got, last := map[string]int64{}, ""
		for {
			shares, next, err := respond.Shares(context.Background(), all, rules, control, page, noon)
			if err != nil || len(shares) > page.Size {
				t.Fatalf("a page of %d: %v", len(shares), err)
			}
			for _, s := range shares {
				name := s.Rule.ID + " " + s.Subject
				if last != "" && name <= last {
					t.Fatalf("%q comes after %q", name, last)
				}
				if got[name], last = s.Used, name; s.Rule.ID == "a" && s.Cap != 7 {
					t.Fatalf("the cap is %d", s.Cap)
				}
			}
			if next == nil {
				break
			}
			page.From = *next
		}
		if diff := cmp.Diff(used, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	})
}

// However many change budgets meanwhile, whoever locks does.
func TestLocksGetThrough(t *testing.T) {
	s := open(t)
	var wait sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				id := fmt.Sprintf("a-%d-%d", i, n)
				if _, err := respond.Adjust(t.Context(), s, raise(id, "", 1, time.Hour), by("x"), nil); errors.Is(err, audit.ErrStale) || errors.Is(err, respond.ErrMany) {
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				if _, err := respond.Withdraw(t.Context(), s, id, anyOf, by("x"), nil); err != nil && !errors.Is(err, audit.ErrStale) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 10 {
		if _, err := respond.Set(t.Context(), s, lock(fmt.Sprint("l", i), time.Hour), by("x")); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wait.Wait()
	if last, err := respond.Newest(t.Context(), s); err != nil || len(last.Control.Locks) != 10 {
		t.Errorf("%d locks, %v", len(last.Control.Locks), err)
	}
}
