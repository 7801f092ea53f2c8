package audit

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// effectFacts is what a record keeps of effects. A consumed token is the
// principal's, or its proof: both expire with the token, which stands with the
// principal.
func effectFacts(effects []decision.Effect, principal *decision.Principal) ([]*writv1.EffectFacts, error) {
	facts := make([]*writv1.EffectFacts, len(effects))
	for i, effect := range effects {
		switch e := effect.(type) {
		case decision.Charge:
			facts[i] = chargeFacts(e)
		case decision.Pace:
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_Pace{Pace: &writv1.Pace{
				Budget: e.Key.Budget, Subject: e.Key.Subject, Amount: e.Amount, IntervalNanos: e.Interval, Burst: e.Burst}}}
		case decision.Pass:
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_PassedBreaker{PassedBreaker: breakerFacts(e.Key, e.Trip, false)}}
		case decision.Observe:
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_ToldBreaker{ToldBreaker: breakerFacts(e.Key, e.Trip, e.Failed)}}
		case decision.Note:
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_Note{Note: noteFacts(e)}}
		case decision.Redeem:
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_RedeemedTicket{RedeemedTicket: e.Ticket}, TicketVersion: e.Version}
		case decision.Vault:
			facts[i] = vaultFacts(&e)
		case decision.Consume:
			if principal == nil || e.Token != principal.Token && e.Token != principal.Proof || !e.Expires.Equal(principal.Expires) {
				return nil, errors.New("the consumed token is not the principal's")
			}
			consumed := principal.Token[:] // not e's: that would be one allocation more
			if e.Token == principal.Proof {
				consumed = principal.Proof[:]
			}
			facts[i] = &writv1.EffectFacts{Effect: &writv1.EffectFacts_ConsumedToken{ConsumedToken: consumed}}
		default:
			return nil, errors.New("an effect of an unknown type")
		}
	}
	return facts, nil
}

// chargeFacts takes one allocation in the place of four: most decisions have
// several charges.
func chargeFacts(c decision.Charge) *writv1.EffectFacts {
	m := &struct {
		facts  writv1.EffectFacts
		effect writv1.EffectFacts_Charge
		charge writv1.Charge
		start  timestamppb.Timestamp
	}{
		charge: writv1.Charge{Budget: c.Key.Budget, Subject: c.Key.Subject, Amount: c.Amount, Cap: c.Cap, LengthSeconds: c.Length, Held: c.Held},
		start:  timestamppb.Timestamp{Seconds: c.Key.Start},
	}
	if c.Key.Start != 0 {
		m.charge.WindowStart = &m.start
	}
	if !c.Lapses.IsZero() {
		m.charge.LapsesAt = stamp(&timestamppb.Timestamp{}, c.Lapses)
	}
	m.effect.Charge = &m.charge
	m.facts.Effect = &m.effect
	return &m.facts
}

func breakerFacts(key decision.BudgetKey, t decision.Trip, failed bool) *writv1.BreakerFacts {
	return &writv1.BreakerFacts{Breaker: key.Budget, Subject: key.Subject, Failures: t.Failures,
		OpenMillis: t.Open.Milliseconds(), LongestMillis: t.Longest.Milliseconds(), Failed: failed}
}

// effectsOf is the way back, for a record of a time; expires is that of the
// principal's token.
func effectsOf(facts []*writv1.EffectFacts, at, expires time.Time) ([]decision.Effect, error) {
	if len(facts) > maxItems {
		return nil, fmt.Errorf("more than %d effects", maxItems)
	}
	if len(facts) == 0 {
		return nil, nil
	}
	effects := make([]decision.Effect, len(facts))
	for i, fact := range facts {
		switch e := fact.GetEffect().(type) {
		case *writv1.EffectFacts_Charge:
			charge, err := chargeOf(e.Charge)
			if err != nil {
				return nil, err
			}
			effects[i] = charge
		case *writv1.EffectFacts_Pace:
			pace, err := paceOf(e.Pace, at)
			if err != nil {
				return nil, err
			}
			effects[i] = pace
		case *writv1.EffectFacts_PassedBreaker:
			key, trip, err := breakerOf(e.PassedBreaker)
			if err != nil {
				return nil, err
			}
			if e.PassedBreaker.GetFailed() {
				return nil, errors.New("passed_breaker has an end")
			}
			effects[i] = decision.Pass{Key: key, Trip: trip, At: at}
		case *writv1.EffectFacts_ToldBreaker:
			key, trip, err := breakerOf(e.ToldBreaker)
			if err != nil {
				return nil, err
			}
			effects[i] = decision.Observe{Key: key, Trip: trip, At: at, Failed: e.ToldBreaker.GetFailed()}
		case *writv1.EffectFacts_Note:
			note, err := noteOf(e.Note)
			if err != nil {
				return nil, err
			}
			effects[i] = note
		case *writv1.EffectFacts_RedeemedTicket:
			if err := text("redeemed_ticket", e.RedeemedTicket, 1, 128); err != nil {
				return nil, err
			}
			if fact.TicketVersion < 0 {
				return nil, errors.New("ticket_version is negative")
			}
			effects[i] = decision.Redeem{Ticket: e.RedeemedTicket, Version: fact.TicketVersion}
		case *writv1.EffectFacts_Vaulted:
			vaulted, err := vaultOf(e.Vaulted)
			if err != nil {
				return nil, err
			}
			effects[i] = vaulted
		case *writv1.EffectFacts_ConsumedToken:
			if len(e.ConsumedToken) != 32 {
				return nil, errors.New("consumed_token is not 32 bytes")
			}
			effects[i] = decision.Consume{Token: [32]byte(e.ConsumedToken), Expires: expires}
		default:
			return nil, errors.New("an effect is empty")
		}
	}
	return effects, nil
}

func chargeOf(c *writv1.Charge) (decision.Charge, error) {
	key, err := keyOf(c.GetBudget(), c.GetSubject(), c.GetWindowStart())
	if err != nil {
		return decision.Charge{}, fmt.Errorf("charge.%w", err)
	}
	switch {
	case !key.Sum():
		return decision.Charge{}, errors.New("charge.budget is no sum")
	case c.GetCap() < 0:
		return decision.Charge{}, errors.New("charge.cap is negative")
	case c.GetLengthSeconds() < 0 || c.GetLengthSeconds() > decision.MaxLength:
		return decision.Charge{}, errors.New("charge.length_seconds is out of range")
	}
	charge := decision.Charge{Key: key, Amount: c.GetAmount(), Cap: c.GetCap(), Length: c.GetLengthSeconds(), Held: c.GetHeld()}
	if c.LapsesAt != nil {
		if charge.Lapses, err = moment("charge.lapses_at", c.LapsesAt); err != nil {
			return decision.Charge{}, err
		}
	}
	return charge, nil
}

func paceOf(p *writv1.Pace, at time.Time) (decision.Pace, error) {
	key, err := keyOf(p.GetBudget(), p.GetSubject(), nil)
	if err != nil {
		return decision.Pace{}, fmt.Errorf("pace.%w", err)
	}
	pace := decision.Pace{Key: key, Amount: p.GetAmount(), Interval: p.GetIntervalNanos(), Burst: p.GetBurst(), At: at}
	if !key.Rate() || !pace.Whole() {
		return decision.Pace{}, errors.New("pace is of no rate, or out of range")
	}
	return pace, nil
}

func breakerOf(b *writv1.BreakerFacts) (decision.BudgetKey, decision.Trip, error) {
	key, err := keyOf(b.GetBreaker(), b.GetSubject(), nil)
	if err != nil {
		return decision.BudgetKey{}, decision.Trip{}, fmt.Errorf("breaker.%w", err)
	}
	most := decision.MaxOpen.Milliseconds()
	switch {
	case !key.Breaker():
		err = errors.New("breaker is none")
	case b.GetFailures() < 1 || b.GetFailures() > decision.MaxFailures:
		err = errors.New("breaker.failures is out of range")
	case b.GetOpenMillis() < 1 || b.GetOpenMillis() > b.GetLongestMillis() || b.GetLongestMillis() > most:
		err = errors.New("breaker.open_millis is out of range")
	}
	if err != nil {
		return decision.BudgetKey{}, decision.Trip{}, err
	}
	return key, decision.Trip{Failures: b.GetFailures(), Open: time.Duration(b.GetOpenMillis()) * time.Millisecond,
		Longest: time.Duration(b.GetLongestMillis()) * time.Millisecond}, nil
}

func budgetLines(lines []decision.BudgetLine) []*writv1.BudgetLine {
	out := make([]*writv1.BudgetLine, len(lines))
	all, resets := make([]writv1.BudgetLine, len(lines)), make([]timestamppb.Timestamp, len(lines))
	for i := range lines {
		l := &lines[i]
		all[i] = writv1.BudgetLine{
			Budget: l.Budget, Unit: writv1.Unit(l.Unit), Currency: l.Currency,
			Reserved: l.Reserved, Remaining: l.Remaining, Cap: l.Cap, Adjusted: l.Adjusted, Exhausted: l.Exhausted, Overrun: l.Overrun,
		}
		if !l.Resets.IsZero() {
			resets[i].Seconds, resets[i].Nanos = l.Resets.Unix(), int32(l.Resets.Nanosecond())
			all[i].ResetsAt = &resets[i]
		}
		out[i] = &all[i]
	}
	return out
}

// budgetLine is the way back. Never is not recorded: such a line denies, and a
// denial reserves nothing.
func budgetLine(l *writv1.BudgetLine) decision.BudgetLine {
	line := decision.BudgetLine{
		Budget: l.Budget, Unit: decision.Unit(l.Unit), Currency: l.Currency,
		Reserved: l.Reserved, Remaining: l.Remaining, Cap: l.Cap, Adjusted: l.Adjusted, Exhausted: l.Exhausted, Overrun: l.Overrun,
	}
	if l.ResetsAt != nil {
		line.Resets = l.ResetsAt.AsTime()
	}
	return line
}
