package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

func testTokens(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Forget": forgetTokens, "AheadOfTime": tokensAhead, "OtherHour": tokensOfTwoHours, "TooLong": tokensTooLong, "Race": raceForgetting,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// hour is an hour of noon's day.
func hour(n int) time.Time { return noon.Truncate(24 * time.Hour).Add(time.Duration(n) * time.Hour) }

// using is an entry, recorded at a time, that uses a token which expires at another.
func using(request, token string, at, expires time.Time) audit.Entry {
	e := entry(request, "1", decision.Consume{Token: digest("token %s", token), Expires: expires})
	e.At = at
	return e
}

func forget(t *testing.T, s Store, at time.Time) {
	t.Helper()
	if err := s.ForgetTokens(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

// remembered counts the tokens that a store remembers.
func remembered(t *testing.T, s Store) int {
	t.Helper()
	return len(collect(t, s.UsedTokens))
}

func wantStale(t *testing.T, s Store, e audit.Entry) {
	t.Helper()
	if _, err := s.Commit(t.Context(), e); !errors.Is(err, audit.ErrStale) {
		t.Errorf("%s: got %v, want %v", e.Key, err, audit.ErrStale)
	}
}

// What was used stays used: while it is remembered, and after that because nothing
// of its hour is accepted any more, also by a clock that is set back.
func forgetTokens(t *testing.T, place Place) {
	open := opener(t, place)
	s := open()
	first := using("first", "short", hour(12), hour(13).Add(time.Minute))
	commit(t, s, first)
	commit(t, s, using("second", "edge", hour(12), hour(14)))
	for _, at := range []time.Time{hour(12), hour(14).Add(59 * time.Minute)} {
		forget(t, s, at)
		if got, want := remembered(t, s), 2; got != want {
			t.Fatalf("at %s it remembers %d tokens, want %d", at, got, want)
		}
	}
	forget(t, s, hour(15))
	if got, want := remembered(t, s), 1; got != want {
		t.Errorf("it remembers %d tokens, want %d", got, want)
	}
	for _, s := range []Store{s, open()} {
		wantStale(t, s, using("replay", "short", hour(12), hour(13).Add(time.Minute)))
		wantStale(t, s, using("never seen", "late", hour(12), hour(14).Add(-time.Microsecond)))
		wantStale(t, s, using("replay of the edge", "edge", hour(12), hour(14)))
		for name, expires := range map[string]time.Time{"short": hour(13).Add(time.Minute), "late": hour(14).Add(-time.Microsecond)} {
			w := decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("token %s", name), TokenExpires: expires}
			if !facts(t, s, w).TokenUsed {
				t.Errorf("%s: it is told to be free", name)
			}
		}
		again := first
		again.ID, again.Body = idOf("again"), []byte("another record")
		receipt, err := s.Commit(t.Context(), again)
		if err != nil || string(receipt.Prior) != string(first.Body) {
			t.Errorf("a retry of the request got %q and %v", receipt.Prior, err)
		}
	}
	forget(t, s, hour(9)) // it never goes back
	wantStale(t, s, using("set back", "older", hour(9), hour(9).Add(time.Minute)))
	commit(t, s, using("next", "fresh", hour(15), hour(15).Add(time.Minute)))
}

// A token of hours ahead, which stands where those of another hour did, is not
// forgotten with them.
func tokensAhead(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, using("now", "now", hour(12), hour(13)))
	commit(t, s, using("ahead", "ahead", hour(17), hour(13+lane.Slots)))
	forget(t, s, hour(15))
	wantStale(t, s, using("replay", "ahead", hour(17), hour(13+lane.Slots)))
	forget(t, s, hour(15+lane.Slots))
	if got, want := remembered(t, s), 0; got != want {
		t.Errorf("a turn later it remembers %d tokens, want %d", got, want)
	}
	wantStale(t, s, using("replay", "ahead", hour(17), hour(13+lane.Slots)))
}

// The same id with another expiry is the same token.
func tokensOfTwoHours(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, using("one", "twice", hour(12), hour(13)))
	wantStale(t, s, using("other", "twice", hour(12), hour(14)))
	w := decision.Want{Tenant: "acme", RequestID: idOf("another"), Token: digest("token twice"), TokenExpires: hour(14)}
	if !facts(t, s, w).TokenUsed {
		t.Error("it is told to be free")
	}
}

func tokensTooLong(t *testing.T, place Place) {
	s := start(t, place)
	for _, e := range []audit.Entry{
		using("long", "long", hour(12), hour(12).Add(lane.MaxTokenLife+time.Microsecond)),
		using("old", "old", time.Unix(-7200, 0), time.Unix(-3600, 0)),
	} {
		if _, err := s.Commit(t.Context(), e); err == nil || errors.Is(err, audit.ErrStale) {
			t.Errorf("%s: got %v, want a refusal that says why", e.Key, err)
		}
	}
	commit(t, s, using("longest", "longest", hour(12), hour(12).Add(lane.MaxTokenLife)))
}

// While hours pass and are forgotten, no token is accepted twice, on two replicas.
func raceForgetting(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	const hours, tokens, tries = 2 * lane.Slots, 6, 4
	var accepted [hours][tokens]atomic.Int64
	for now := range hours {
		var wait sync.WaitGroup
		for i, s := range stores {
			wait.Go(func() { // the one whose clock is right forgets, the other tries what is old
				// On a busy machine it gives up, lest it keep others waiting.
				err := s.ForgetTokens(t.Context(), hour(now-i))
				for tries := 0; err != nil && tries < 100; tries++ {
					err = s.ForgetTokens(t.Context(), hour(now-i))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		for of := max(0, now-3); of <= now; of++ { // the hour in which the token expires
			for token := range tokens {
				for try := range tries {
					wait.Go(func() {
						expires := hour(of).Add(time.Duration(token+1) * time.Minute)
						e := using(fmt.Sprint(now, of, token, try), fmt.Sprint(of, token), hour(of), expires)
						switch _, err := stores[try%2].Commit(t.Context(), e); {
						case err == nil:
							accepted[of][token].Add(1)
						case !errors.Is(err, audit.ErrStale):
							t.Error(err)
						}
					})
				}
			}
		}
		wait.Wait()
	}
	var got, want [hours][tokens]int64
	for of := range got {
		for token := range got[of] {
			got[of][token], want[of][token] = accepted[of][token].Load(), 1
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how often each was accepted (-want +got):\n%s", diff)
	}
	if got, most := remembered(t, stores[0]), lane.Slots*tokens; got > most {
		t.Errorf("it remembers %d tokens, more than %d", got, most)
	}
}
