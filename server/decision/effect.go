package decision

import "time"

// Effect is a change that a decision asks for. It is data: the commit applies it
// with its guard, or answers that the snapshot was stale.
type Effect interface{ effect() }

// Charge adds to a counter. Guard of a positive amount: the use stays within
// Cap. A negative amount is a refund and has no guard.
type Charge struct {
	Key    BudgetKey
	Amount int64
	Cap    int64
}

// Redeem uses a ticket once. Guard: it is in the version that the decision saw, it
// is approved, and has uses left.
type Redeem struct {
	Ticket  string
	Version int64
}

// Consume uses up a token. Guard: no other request has.
type Consume struct {
	Token   [32]byte
	Expires time.Time
}

func (Charge) effect()  {}
func (Redeem) effect()  {}
func (Consume) effect() {}

// Settlement is what a report on an allowed action changes.
type Settlement struct {
	Budgets []BudgetLine
	Effects []Effect
}

// Reservation is what a decision reserved of one counter.
type Reservation struct {
	Line   BudgetLine
	Key    BudgetKey
	Amount int64
}

// Settle turns reservations into what an action really cost, given what each
// counter holds now. What it cost less is refunded; what it cost more is charged
// as far as the cap has room, and the rest is told as overrun. Money in another
// currency than was reserved cannot be compared: the reservation stands.
func Settle(reserved []Reservation, actual Cost, used map[BudgetKey]int64) Settlement {
	var s Settlement
	for _, r := range reserved {
		spent := r.Amount
		switch r.Line.Unit {
		case Calls:
			spent = actual.Calls
		case Tokens:
			spent = actual.Tokens
		case Micros:
			if actual.Micros == 0 || actual.Currency == r.Line.Currency {
				spent = actual.Micros
			}
		}
		// A counter can be beyond its cap, when the cap was lowered since: then
		// there is no room, also after a refund. It is never refunded below 0.
		delta := max(min(max(0, spent)-r.Amount, max(0, r.Line.Cap-used[r.Key])), -max(0, used[r.Key]))
		line := r.Line
		line.Reserved = r.Amount + delta
		line.Overrun = max(0, spent-line.Reserved)
		line.Remaining = max(0, r.Line.Cap-used[r.Key]-delta)
		line.Exhausted = false
		s.Budgets = append(s.Budgets, line)
		if delta != 0 {
			s.Effects = append(s.Effects, Charge{Key: r.Key, Amount: delta, Cap: r.Line.Cap})
		}
	}
	return s
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
