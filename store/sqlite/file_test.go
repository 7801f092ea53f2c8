package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/store/storetest"
)

func TestTheFileIsItsOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Commit(t.Context(), storetest.Load(1, storetest.DayCalls)); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		got[d.Name()] = info.Mode().Perm()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{"data": 0o700, "ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

func TestStrangePaths(t *testing.T) {
	for _, name := range []string{"a b", "50%", "what?mode=memory", "#1", "a&b=c;d", "ünï"} {
		path := filepath.Join(t.TempDir(), name)
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q: the file is not there: %v", name, err)
		}
	}
}

func TestReadingOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := sqlite.OpenReadOnly(t.Context(), path); err == nil {
		t.Error("a file that is not there: no error")
	}
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	e := storetest.Load(1, storetest.DayCalls)
	if _, err := s.Commit(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		r, err := sqlite.OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Record(t.Context(), e.Tenant, e.ID); err != nil {
			t.Errorf("reading: %v", err)
		}
		_, commit := r.Commit(t.Context(), storetest.Load(2, storetest.DayCalls))
		_, seal := r.Seal(t.Context(), 1, nil)
		for name, err := range map[string]error{"committing": commit, "sealing": seal} {
			if err == nil || !strings.Contains(err.Error(), "reading only") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	read() // beside a writer
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read()
}

// TestManyOpenANewFile has several open the same new file at once, as several
// processes would: one creates the schema, all work.
func TestManyOpenANewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Errorf("opening: %v", err)
				return
			}
			defer s.Close()
			if _, err := s.Commit(t.Context(), storetest.Load(uint64(i), storetest.DayCalls)); err != nil {
				t.Errorf("committing: %v", err)
			}
		})
	}
	wait.Wait()
}

func TestAnotherSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("opening: %v", err)
	}
	if _, err := sqlite.OpenReadOnly(t.Context(), path); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("opening for reading: %v", err)
	}
}

func tamper(t *testing.T, path, text string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsGoneSurfaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entries := make([]audit.Entry, 5)
	for i := range entries {
		entries[i] = storetest.Load(uint64(i), storetest.DayCalls)
		if _, err := s.Commit(t.Context(), entries[i]); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			_, err := s.Seal(t.Context(), 10, func(last audit.Checkpoint, _ func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
				return audit.Extension{Checkpoint: audit.Checkpoint{Size: int64(len(rows)), Note: []byte("note")}}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	// Of the sealed, record 1 is deleted and leaf 0 is; of those that wait,
	// record 3 is deleted and the mark of 4 is.
	tamper(t, path, "DELETE FROM record WHERE id IN (?, ?)", entries[1].ID[:], entries[3].ID[:])
	tamper(t, path, "DELETE FROM leaf WHERE id = ?", entries[0].ID[:])
	tamper(t, path, "DELETE FROM pending WHERE id = ?", entries[4].ID[:])
	var got []string
	err = errors.Join(
		s.Leaves(t.Context(), 0, 10, func(l audit.Leaf) error {
			got = append(got, fmt.Sprintf("leaf %d %x %d", l.Index, l.ID, len(l.Body)))
			return nil
		}),
		s.PendingRows(t.Context(), func(r audit.Row) error {
			got = append(got, fmt.Sprintf("waits %x %d", r.ID, len(r.Body)))
			return nil
		}),
		s.Orphans(t.Context(), func(tenant string, id [16]byte) error {
			got = append(got, fmt.Sprintf("orphan %s %x", tenant, id))
			return nil
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("leaf 1 %x 0", entries[1].ID), fmt.Sprintf("leaf 2 %x 1536", entries[2].ID),
		fmt.Sprintf("waits %x 0", entries[3].ID),
		fmt.Sprintf("orphan acme %x", entries[0].ID), fmt.Sprintf("orphan acme %x", entries[4].ID),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A token is not freed by its record's going.
	consumed := entries[1].Effects[0].(decision.Consume)
	facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", Token: consumed.Token})
	if err != nil || !facts.TokenUsed {
		t.Errorf("the token is free: %v", err)
	}
}

// committer names the file that a child of this test commits to, until killed.
const committer = "WRIT_TEST_COMMITTER"

// TestKilled kills a process that commits: whatever it answered is there.
func TestKilled(t *testing.T) {
	if path := os.Getenv(committer); path != "" {
		commitForEver(path)
	}
	for round := range 5 {
		path := filepath.Join(t.TempDir(), "ledger.db")
		ctx, cancel := context.WithCancel(t.Context())
		child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), committer+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var answered []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			answered = append(answered, lines.Text())
			if len(answered) == 50*(round+1) {
				cancel() // SIGKILL; what it has written until then still comes
			}
		}
		cancel()
		_ = child.Wait() // killed
		if len(answered) < 50 {
			t.Fatalf("the child answered %d commits", len(answered))
		}
		checkAnswered(t, path, answered)
	}
}

func commitForEver(path string) {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for i := range uint64(8) {
		go func() {
			for n := i; ; n += 8 {
				e := storetest.Load(n, storetest.DayCalls)
				if _, err := s.Commit(context.Background(), e); err != nil {
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(hex.EncodeToString(e.ID[:]))
				mu.Unlock()
			}
		}()
	}
	select {}
}

func checkAnswered(t *testing.T, path string, answered []string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	there := map[string]bool{}
	err = s.PendingRows(t.Context(), func(r audit.Row) error {
		there[hex.EncodeToString(r.ID[:])] = len(r.Body) > 0
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range answered {
		if len(id) == 32 && !there[id] { // the last line may be cut off
			t.Errorf("record %s was answered and is not there", id)
		}
	}
	facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{storetest.DayCalls}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := facts.Used[storetest.DayCalls], int64(len(there)); got != want {
		t.Errorf("the counter holds %d for %d records", got, want)
	}
}
