package spool_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/spool"
	"github.com/writpdp/writ/store/sqlite"
)

// childDir makes this test binary a process that commits until it is killed.
const childDir = "WRIT_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child commits entries, early and strict, and writes the id of each that it was
// answered.
func child(dir string) error {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "writ.db"))
	if err != nil {
		return err
	}
	s, err := spool.Open(ctx, filepath.Join(dir, "spool"), store, spool.Config{
		Sync: 5 * time.Millisecond, Lag: 20 * time.Millisecond, Now: time.Now, Report: func(err error) { fmt.Fprintln(os.Stderr, err) }})
	if err != nil {
		return err
	}
	var print sync.Mutex
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := 0; ; i++ {
				now := time.Now().UTC().Truncate(time.Microsecond)
				name := fmt.Sprint(os.Getpid(), " ", w, " ", i)
				e := entryAt(&testing.B{}, now, name, name, "", charge(1, 1<<60))
				e.Async = i%10 != 9
				if i%100 == 0 {
					s.Snapshot(ctx, decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{calls}})
				}
				receipt, err := s.Commit(ctx, e)
				if err != nil || receipt.Prior != nil {
					fmt.Fprintln(os.Stderr, "committing:", err)
					os.Exit(1)
				}
				print.Lock()
				fmt.Printf("%x %v\n", e.ID, receipt.Spooled)
				print.Unlock()
			}
		})
	}
	wait.Wait()
	return nil
}

// A process that is killed at any moment loses nothing that it answered, and the
// next one takes up where it left off.
func TestKill(t *testing.T) {
	p := newPlace(t)
	var answered [][16]byte
	early := 0
	for _, lines := range []int{1, 40, 700, 1500, 2500} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+p.dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		scanner := bufio.NewScanner(out)
		for n := 0; scanner.Scan(); n++ {
			if n == lines {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			var text string
			var spooled bool
			if _, err := fmt.Sscanf(scanner.Text(), "%s %t", &text, &spooled); err != nil {
				break // cut off by the kill
			}
			id, err := hex.DecodeString(text)
			if err != nil || len(id) != 16 {
				break
			}
			answered = append(answered, [16]byte(id))
			if spooled {
				early++
			}
		}
		cmd.Wait() // it was killed
	}
	s, _ := p.open()
	for _, id := range answered {
		if _, err := p.store.Record(t.Context(), "acme", id); err != nil {
			t.Fatalf("the record %x was answered and is gone: %v", id, err)
		}
	}
	rows := int64(0)
	err := p.store.PendingRows(t.Context(), func(audit.Row) error { rows++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := know(t, s); got != rows {
		t.Errorf("the counter holds %d, want %d: one for each record", got, rows)
	}
	if early < len(answered)/2 {
		t.Errorf("only %d of %d were answered early", early, len(answered))
	}
	t.Logf("%d answered, %d of them early, %d records", len(answered), early, rows)
	p.quiet()
}
