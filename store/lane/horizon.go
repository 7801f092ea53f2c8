package lane

import (
	"math"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Slots are the hours of which a store remembers tokens, by the hour in which
// they expire; a token's slot is that hour in turns. Whole slots are forgotten at
// once. They are the hour before the current one, for replicas whose clocks are
// behind, the current one, and those up to MaxTokenLife ahead.
const Slots = 6

// MaxTokenLife is how far ahead of its record a token may expire.
const MaxTokenLife = 3 * time.Hour

// HourOf is the hour, since 1970, in which a token expires.
func HourOf(expires time.Time) int64 { return expires.Unix() / 3600 }

// SlotOf is where a token is remembered.
func SlotOf(expires time.Time) int { return int(HourOf(expires) % Slots) }

// HorizonAt is the hour before which tokens may be forgotten at a time.
func HorizonAt(at time.Time) int64 { return HourOf(at) - 1 }

// Forgotten reports whether a token may be forgotten, by the horizon of the store:
// then it is as good as used. Horizon 0: nothing was ever forgotten.
func Forgotten(expires time.Time, horizon int64) bool {
	return horizon > 0 && HourOf(expires) < horizon
}

// LastSlot is the slot whose turn comes last after a horizon: the one to empty
// when the horizon moves there.
func LastSlot(horizon int64) int { return int((horizon + Slots - 1) % Slots) }

// WantedHour is the hour that the horizon must not be beyond for a wanted token to
// be free; where none is wanted, it never is.
func WantedHour(w *decision.Want) int64 {
	if w.TokenExpires.IsZero() {
		return math.MaxInt64
	}
	return HourOf(w.TokenExpires)
}

// WantedProof is the wanted proof as a store looks it up; nil: none is wanted.
func WantedProof(w *decision.Want) []byte {
	if w.Proof == [32]byte{} {
		return nil
	}
	return w.Proof[:]
}
