package spool_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/spool"
)

// What waits is brought into the store by whatever has to see it.
func TestWhatWaitsIsSeen(t *testing.T) {
	ctx := context.Background()
	for name, see := range map[string]func(*spool.Spool, audit.Entry) error{
		"Flush":  func(s *spool.Spool, _ audit.Entry) error { return s.Flush(ctx) },
		"Record": func(s *spool.Spool, e audit.Entry) error { _, err := s.Record(ctx, e.Tenant, e.ID); return err },
		"Close":  func(s *spool.Spool, _ audit.Entry) error { return s.Close() },
		"strict entry": func(s *spool.Spool, e audit.Entry) error {
			_, err := s.Commit(ctx, strict(entry(t, "b", "b", "")))
			return err
		},
		"facts": func(s *spool.Spool, e audit.Entry) error {
			facts, err := s.Snapshot(ctx, decision.Want{Tenant: "acme", Token: e.Effects[0].(decision.Consume).Token})
			if err == nil && !facts.TokenUsed {
				err = fmt.Errorf("the token is not used")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			s, _ := p.open()
			e := entry(t, "a", "a", "")
			if got, want := commit(t, s, e), "spooled"; got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			if stored(t, p.store, e) {
				t.Fatal("the store has it before anybody asked")
			}
			if err := see(s, e); err != nil {
				t.Fatal(err)
			}
			if !stored(t, p.store, e) {
				t.Error("the store does not have it")
			}
			p.quiet()
		})
	}
}

// Without anybody waiting it goes there by itself.
func TestWhatWaitsFollows(t *testing.T) {
	p := newPlace(t)
	store := p.openStore()
	defer store.Close()
	config := p.config()
	config.Sync = time.Millisecond
	s, err := spool.Open(t.Context(), filepath.Join(p.dir, "spool"), store, config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := entry(t, "a", "a", "")
	commit(t, s, e)
	for !stored(t, store, e) { // or the test's deadline
		runtime.Gosched()
	}
}

func TestGuards(t *testing.T) {
	type step struct {
		entry audit.Entry
		want  string
	}
	one := charge(1, 3)
	e := func(request, token string, effects ...decision.Effect) audit.Entry {
		return entry(t, request, token, "", effects...)
	}
	other := e("a", "b")
	other.Digest[0]++
	for name, steps := range map[string][]step{
		"a token once":                    {{e("a", "x"), "spooled"}, {e("b", "x"), "stale"}},
		"a token once, after a strict":    {{strict(e("a", "x")), "committed"}, {e("b", "x"), "stale"}},
		"a token once, before a strict":   {{e("a", "x"), "spooled"}, {strict(e("b", "x")), "stale"}},
		"a retry":                         {{e("a", "x"), "spooled"}, {entry(t, "a", "x", "again"), "prior"}},
		"a retry with a fresh token":      {{e("a", "x"), "spooled"}, {entry(t, "a", "y", "again"), "prior"}},
		"a retry of a strict one":         {{strict(e("a", "x")), "committed"}, {entry(t, "a", "y", "again"), "prior"}},
		"another request under the id":    {{e("a", "x"), "spooled"}, {other, "reused"}},
		"up to the cap":                   {{e("a", "a", one), "spooled"}, {e("b", "b", one, one), "spooled"}, {e("c", "c", one), "stale"}},
		"beyond the cap at once":          {{e("a", "a", charge(4, 3)), "stale"}},
		"with strict ones":                {{e("a", "a", one), "spooled"}, {strict(e("b", "b", one)), "committed"}, {e("c", "c", one), "spooled"}, {strict(e("d", "d", one)), "stale"}, {e("e", "e", one), "stale"}},
		"a stale strict one holds naught": {{strict(e("a", "a", charge(4, 3))), "stale"}, {e("b", "b", charge(3, 3)), "spooled"}},
		"nothing charged":                 {{e("a", "a", charge(0, 0)), "spooled"}},
		"the largest numbers":             {{e("a", "a", charge(math.MaxInt64, math.MaxInt64)), "spooled"}, {e("b", "b", charge(1, math.MaxInt64)), "stale"}},
		"a refund":                        {{e("a", "a", charge(3, 3)), "spooled"}, {strict(e("b", "b", charge(-2, 3))), "committed"}, {e("c", "c", charge(2, 3)), "committed"}, {e("d", "d", one), "stale"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			s, _ := p.open()
			know(t, s)
			for i, step := range steps {
				if got := commit(t, s, step.entry); got != step.want {
					t.Errorf("step %d: got %s, want %s", i, got, step.want)
				}
			}
			p.quiet()
		})
	}
}

// What a session's window holds is known over all its parts: what saw it is taken, and
// what saw less is stale, also before the store has any of it.
func TestSessionWindow(t *testing.T) {
	part := func(n int64) decision.BudgetKey {
		return decision.BudgetKey{Budget: "count/lately", Subject: `"run"`, Start: noon.Unix() + n*300}
	}
	add := func(n, saw int64) decision.Note {
		return decision.Note{Key: part(n), Op: decision.NoteAdd, Amount: 1, Guarded: true, Saw: saw, Length: 3600}
	}
	p := newPlace(t)
	s, _ := p.open()
	want := decision.Want{Tenant: "acme"}
	for n := int64(-13); n <= 13; n++ {
		want.Budgets = append(want.Budgets, part(n))
	}
	if _, err := s.Snapshot(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		note decision.Note
		want string
	}{{add(0, 0), "spooled"}, {add(1, 1), "spooled"}, {add(1, 2), "spooled"}, {add(1, 2), "stale"}, {add(1, 3), "committed"}} {
		name := fmt.Sprint("window ", i)
		if got := commit(t, s, entry(t, name, name, "", step.note)); got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
	p.quiet()
}

// What cannot be known to be free goes through the store.
func TestUnknownIsStrict(t *testing.T) {
	late, early := noon.Add(-2*time.Minute), noon.Add(time.Minute)
	refund := entry(t, "a", "a", "", charge(-1, 3))
	for name, e := range map[string]audit.Entry{
		"an old request":   entryAt(t, late, "a", "a", ""),
		"a future request": entryAt(t, early, "a", "a", ""),
		"a refund":         refund,
		"an unread counter": entry(t, "a", "a", "",
			decision.Charge{Key: decision.BudgetKey{Budget: "other"}, Amount: 1, Cap: 1}),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			s, _ := p.open()
			know(t, s)
			if got, want := commit(t, s, e), "committed"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// An entry that no store could hold takes nothing.
func TestBrokenEntryHoldsNothing(t *testing.T) {
	p := newPlace(t)
	s, _ := p.open()
	know(t, s)
	broken := strict(entry(t, "a", "a", "", charge(3, 3)))
	broken.Session = strings.Repeat("x", 1000)
	if got := commit(t, s, broken); !strings.Contains(got, "session is not") {
		t.Errorf("got %s", got)
	}
	if got, want := commit(t, s, entry(t, "a", "a", "", charge(3, 3))), "spooled"; got != want {
		t.Errorf("afterwards: got %s, want %s", got, want)
	}
}

// A clock that was set back makes no token of an hour ago fresh.
func TestClockSetBack(t *testing.T) {
	p := newPlace(t)
	s, close := p.open()
	if got, want := commit(t, s, entry(t, "a", "x", "")), "spooled"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	p.now.Store(3600)
	if err := s.Flush(t.Context()); err != nil { // forgets what has expired
		t.Fatal(err)
	}
	p.now.Store(0)
	if got, want := commit(t, s, entry(t, "b", "x", "")), "stale"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	close()
	p.now.Store(3600)
	s, _ = p.open()
	p.now.Store(0)
	if got, want := commit(t, s, entry(t, "c", "x", "")), "stale"; got != want {
		t.Errorf("after a restart: got %s, want %s", got, want)
	}
}

func TestRestart(t *testing.T) {
	p := newPlace(t)
	s, _ := p.open()
	know(t, s)
	var want []audit.Entry
	for i := range 50 {
		e := entry(t, fmt.Sprint(i), fmt.Sprint(i), "", charge(1, 60))
		if got := commit(t, s, e); got != "spooled" {
			t.Fatalf("got %s", got)
		}
		want = append(want, e)
	}
	p.store.broken.Store(true)
	if err := s.Close(); err == nil {
		t.Error("closed without an error, with records that nobody has")
	}
	if err := p.store.Close(); err != nil {
		t.Error(err)
	}
	p.left = true
	p2 := &place{t: t, dir: p.dir, told: make(chan error, 10)}
	s, _ = p2.open()
	for _, e := range want {
		if !stored(t, p2.store, e) {
			t.Fatalf("the record of %s is lost", e.Key)
		}
	}
	if got, want := know(t, s), int64(50); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
	// Its tokens and requests are known.
	if got, want := commit(t, s, entry(t, "new", "7", "", charge(1, 60))), "stale"; got != want {
		t.Errorf("a used token: got %s, want %s", got, want)
	}
	if got, want := commit(t, s, entry(t, "7", "new", "again", charge(1, 60))), "prior"; got != want {
		t.Errorf("a retry: got %s, want %s", got, want)
	}
	if got, want := commit(t, s, entry(t, "fresh", "fresh", "", charge(1, 60))), "spooled"; got != want {
		t.Errorf("a fresh one: got %s, want %s", got, want)
	}
	p2.quiet()
}

func TestBrokenStore(t *testing.T) {
	p := newPlace(t)
	s, _ := p.open()
	know(t, s)
	first := entry(t, "a", "a", "", charge(1, 9))
	commit(t, s, first)
	p.store.broken.Store(true)
	if err := s.Flush(t.Context()); err == nil {
		t.Fatal("flushed into a broken store")
	}
	if err := <-p.told; !strings.Contains(err.Error(), errBroken.Error()) {
		t.Errorf("reported %v", err)
	}
	for _, e := range []audit.Entry{entry(t, "b", "b", "", charge(1, 9)), strict(entry(t, "c", "c", "", charge(1, 9)))} {
		if got := commit(t, s, e); !strings.Contains(got, errBroken.Error()) {
			t.Errorf("a store that takes nothing: got %s", got)
		}
	}
	p.store.broken.Store(false)
	// The next who asks finds it healed, at the latest after another attempt.
	for s.Flush(t.Context()) != nil {
	}
	if !stored(t, p.store, first) {
		t.Error("the record is lost")
	}
	if got, want := commit(t, s, entry(t, "d", "d", "", charge(1, 9))), "spooled"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := know(t, s), int64(2); got != want {
		t.Errorf("the counter holds %d, want %d: a and d", got, want)
	}
}

func TestOneProcess(t *testing.T) {
	p := newPlace(t)
	p.open()
	other := p.openStore()
	defer other.Close()
	_, err := spool.Open(t.Context(), filepath.Join(p.dir, "spool"), other, p.config())
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second spool: %v", err)
	}
}

// Files that a crash left behind, whole and not.
func TestFiles(t *testing.T) {
	whole := func(t *testing.T) (*place, string, []audit.Entry) {
		p := newPlace(t)
		s, _ := p.open()
		entries := []audit.Entry{entry(t, "a", "a", ""), entry(t, "b", "b", ""), entry(t, "c", "c", "")}
		for _, e := range entries {
			commit(t, s, e)
		}
		copied := newPlace(t)
		if err := os.CopyFS(filepath.Join(copied.dir, "spool"), os.DirFS(filepath.Join(p.dir, "spool"))); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(copied.dir, "spool", "segment-*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		return copied, files[0], entries
	}
	for name, test := range map[string]struct {
		damage func(data []byte) []byte
		stored []bool
		told   string
	}{
		"whole":            {func(d []byte) []byte { return d }, []bool{true, true, true}, ""},
		"cut off":          {func(d []byte) []byte { return d[:len(d)-1] }, []bool{true, true, false}, "were not written whole"},
		"cut in a header":  {func(d []byte) []byte { return append(d, 0, 0, 0) }, []bool{true, true, true}, "last 3 bytes"},
		"zeroes behind":    {func(d []byte) []byte { return append(d, make([]byte, 4096)...) }, []bool{true, true, true}, "last 4096 bytes"},
		"a bit in the end": {func(d []byte) []byte { d[len(d)-1] ^= 1; return d }, []bool{true, true, false}, "were not written whole"},
		"a huge length":    {func(d []byte) []byte { return append(d, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1) }, []bool{true, true, true}, "last 9 bytes"},
		"empty":            {func([]byte) []byte { return nil }, []bool{false, false, false}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, file, entries := whole(t)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, test.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			p.open()
			got := make([]bool, len(entries))
			for i, e := range entries {
				got[i] = stored(t, p.store, e)
			}
			if diff := cmp.Diff(test.stored, got); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if test.told == "" {
				p.quiet()
			} else if err := <-p.told; !strings.Contains(err.Error(), test.told) {
				t.Errorf("reported %v, want %q", err, test.told)
			}
		})
	}
}

// What somebody else's commits make impossible is kept and told, never lost.
func TestRefusedIsPutAside(t *testing.T) {
	p := newPlace(t)
	s, _ := p.open()
	e := entry(t, "a", "x", "")
	commit(t, s, e)
	if _, err := p.store.Commit(t.Context(), entry(t, "b", "x", "")); err != nil { // past the spool
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-p.told; !strings.Contains(err.Error(), "was answered and the store refuses it") {
		t.Errorf("reported %v", err)
	}
	files, err := filepath.Glob(filepath.Join(p.dir, "spool", "refused-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	body, err := os.ReadFile(files[0])
	if err != nil || string(body) != string(e.Body) {
		t.Errorf("put aside: %d bytes, %v", len(body), err)
	}
}

// Many at once, early and strict, over one budget and few tokens: never over the
// cap, no token twice, no answer without its record.
func TestRace(t *testing.T) {
	p := newPlace(t)
	s, _ := p.open()
	know(t, s)
	const limit, workers, each = 400, 16, 60
	results := make([][]audit.Entry, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				e := entry(t, fmt.Sprint(w, " ", i), fmt.Sprint((w*each+i)%700), "", charge(1, limit))
				e.Async = (w+i)%4 != 0
				switch got := commit(t, s, e); got {
				case "spooled", "committed":
					results[w] = append(results[w], e)
				case "stale":
				default:
					t.Errorf("got %s", got)
				}
				if i%20 == 0 {
					know(t, s)
				}
			}
		})
	}
	wait.Wait()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tokens, total := map[[32]byte]bool{}, int64(0)
	for _, list := range results {
		for _, e := range list {
			token := e.Effects[0].(decision.Consume).Token
			if tokens[token] {
				t.Errorf("the token %x was accepted twice", token[:4])
			}
			tokens[token] = true
			total++
			if !stored(t, p.store, e) {
				t.Errorf("the record of %s is lost", e.Key)
			}
		}
	}
	if total != limit {
		t.Errorf("%d were allowed, want %d: there were tokens for more", total, limit)
	}
	if got := know(t, s); got != total {
		t.Errorf("the counter holds %d, want %d", got, total)
	}
	p.quiet()
}
