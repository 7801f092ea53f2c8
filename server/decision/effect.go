package decision

import (
	"slices"
	"time"
)

// Effect is a change that a decision asks for. It is data: the commit applies it
// with its guard, or answers that the snapshot was stale.
type Effect interface{ effect() }

// Counting is an effect on a counter.
type Counting interface {
	Effect
	// Counter is the counter that it changes.
	Counter() BudgetKey
	// Beside are further counters that its guard looks at.
	Beside() []BudgetKey
	// Apply is what the counter holds after it, given what it holds and what those
	// beside hold together; ok is false where the guard fails.
	Apply(was, beside int64) (now int64, ok bool)
}

// Charge adds to a counter. Guard of a positive amount: the use stays within
// Cap. A negative amount is a refund and has no guard.
type Charge struct {
	Key    BudgetKey
	Amount int64
	Cap    int64
	// Length is of a sliding window, in seconds; 0: of none.
	Length int64
	// Held says that the settlement gives it back, whatever the action cost.
	Held bool
	// Lapses is when it is given back although nobody has settled it; zero: never.
	Lapses time.Time
}

// Counter is the counter that it adds to.
func (c Charge) Counter() BudgetKey { return c.Key }

// Beside are the other parts of a sliding window.
func (c Charge) Beside() []BudgetKey {
	if c.Length == 0 {
		return nil
	}
	return beside(c.Key, c.Length)
}

// Apply adds, without overflow. A refund never fails and never goes below 0.
func (c Charge) Apply(was, beside int64) (now int64, ok bool) {
	if c.Amount <= 0 {
		return max(0, was+c.Amount), true // was is not negative: no underflow
	}
	if c.Amount > c.Cap || was > c.Cap-c.Amount || beside > c.Cap-c.Amount-was {
		return was, false
	}
	return was + c.Amount, true
}

// Redeem uses a ticket once. Guard: it is in the version that the decision saw, it
// is approved, and has uses left.
type Redeem struct {
	Ticket  string
	Version int64
	// Tenant is whose ticket it is; empty: the record's.
	Tenant string
}

// Of is whose ticket a record of a tenant redeems.
func (r Redeem) Of(tenant string) string {
	if r.Tenant != "" {
		return r.Tenant
	}
	return tenant
}

// Consume uses up a token. Guard: no other request has.
type Consume struct {
	Token   [32]byte
	Expires time.Time
}

// Vault keeps what a token of a redaction stands for, unless it is kept already.
type Vault struct {
	// Token is as it stands in documents, and Class is what the policies that
	// tokenised it name.
	Token, Class string
	// Sealed is what is kept, and Digest its SHA-256: of a record's effect the digest
	// alone is known.
	Sealed []byte
	Digest [32]byte
}

// Forget erases what a token stands for.
type Forget struct{ Token string }

// Bounds of what tokens stand for.
const (
	// MaxTokens is how many values one decision tokenises.
	MaxTokens = 64
	// MaxTokenised is the longest text that is tokenised, in bytes.
	MaxTokenised = 4096
	// MaxSealed is the longest that it is when sealed.
	MaxSealed = MaxTokenised + 64
)

func (Vault) effect()   {}
func (Forget) effect()  {}
func (Charge) effect()  {}
func (Pace) effect()    {}
func (Pass) effect()    {}
func (Observe) effect() {}
func (Redeem) effect()  {}
func (Consume) effect() {}

// Settlement is what a report on an allowed action changes.
type Settlement struct {
	Budgets []BudgetLine
	Effects []Effect
	// Control is the version that it was settled by, and the changes of the budgets
	// concerned.
	Control Control
}

// Charges reports whether a settlement charges more than was reserved.
func (s *Settlement) Charges() bool {
	return slices.ContainsFunc(s.Effects, func(e Effect) bool { c, ok := e.(Charge); return ok && c.Amount > 0 })
}

// Reservation is what a decision reserved of one counter.
type Reservation struct {
	Line BudgetLine
	Charge
	// Frozen says that nothing more is charged now than was reserved.
	Frozen bool
}

// Settle turns reservations into what an action really cost, given what each
// counter holds now. What it cost less is refunded; what it cost more is charged
// as far as the cap has room, and the rest is told as overrun. What was only held
// is given back.
func Settle(reserved []Reservation, actual Cost, used map[BudgetKey]int64) Settlement {
	return settle(reserved, used, func(r *Reservation) int64 { return r.spent(actual) })
}

// Lapse gives back, of reservations that nobody has settled, what does not stay for
// good.
func Lapse(reserved []Reservation, used map[BudgetKey]int64) Settlement {
	return settle(reserved, used, func(r *Reservation) int64 {
		if r.Lapses.IsZero() {
			return r.Amount
		}
		return 0
	})
}

// spent is what an action cost of what was reserved for it. Money in another
// currency than was reserved cannot be compared: the reservation stands.
func (r *Reservation) spent(actual Cost) int64 {
	switch {
	case r.Held:
		return 0
	case r.Line.Unit == Calls:
		return actual.Calls
	case r.Line.Unit == Tokens:
		return actual.Tokens
	case r.Line.Unit == Micros && (actual.Micros == 0 || actual.Currency == r.Line.Currency):
		return actual.Micros
	}
	return r.Amount
}

func settle(reserved []Reservation, used map[BudgetKey]int64, spent func(*Reservation) int64) Settlement {
	var s Settlement
	for i := range reserved {
		r := &reserved[i]
		spent, all := spent(r), used[r.Key]
		for _, key := range r.Beside() {
			all += used[key]
		}
		// A counter can be beyond its cap, when the cap was lowered since: then
		// there is no room, also after a refund. It is never refunded below 0.
		room := max(0, r.Line.Cap-all)
		if r.Frozen {
			room = 0
		}
		delta := max(min(max(0, spent)-r.Amount, room), -max(0, used[r.Key]))
		line := r.Line
		line.Reserved = r.Amount + delta
		line.Overrun = max(0, spent-line.Reserved)
		line.Remaining = max(0, r.Line.Cap-all-delta)
		if r.Frozen {
			line.Remaining = 0
		}
		line.Exhausted = false
		s.Budgets = append(s.Budgets, line)
		if delta != 0 {
			s.Effects = append(s.Effects, Charge{Key: r.Key, Amount: delta, Cap: r.Line.Cap, Length: r.Length})
		}
	}
	return s
}

// Lapses is when reservations that nobody has settled are given back: once the last
// of those that do not stay has waited long enough. Zero: all stay.
func Lapses(effects []Effect) time.Time {
	var last time.Time
	for _, effect := range effects {
		if c, ok := effect.(Charge); ok && c.Lapses.After(last) {
			last = c.Lapses
		}
	}
	return last
}

// CostOf is the cost that was reserved: every budget of a unit reserved the same.
func CostOf(reserved []Reservation) Cost {
	var c Cost
	for _, r := range reserved {
		switch r.Line.Unit {
		case Calls:
			c.Calls = max(c.Calls, r.Amount)
		case Tokens:
			c.Tokens = max(c.Tokens, r.Amount)
		case Micros:
			if r.Amount > c.Micros {
				c.Micros, c.Currency = r.Amount, r.Line.Currency
			}
		}
	}
	return c
}
