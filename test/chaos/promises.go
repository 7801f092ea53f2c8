package main

import (
	"bytes"
	"slices"
	"time"
)

// answers holds what callers were told against the log.
func (c *checker) answers() {
	first := map[string]*told{}
	for _, t := range c.memory.told {
		c.verdict.told++
		if other := first[t.ID]; other != nil && (other.Decision != t.Decision || other.Effect != t.Effect) {
			c.breach("answers", "the request %s was answered by %s (%d) and by %s (%d)", t.ID, other.Decision, other.Effect, t.Decision, t.Effect)
		}
		first[t.ID] = t
		record := c.decisions[t.Decision]
		if record == nil {
			c.lost++
			c.breach("lost", "the log has no record %s, by which %s was answered", t.Decision, t.ID)
			continue
		}
		d := record.GetDecision()
		leaf := c.leaves[t.Decision]
		switch {
		case d.GetResponse().GetRequestId() != t.ID || int32(d.GetResponse().GetEffect()) != t.Effect:
			c.breach("answers", "the record %s has another answer than the caller", t.Decision)
		case !bytes.Equal(leaf.Leaf[:], t.Leaf):
			c.breach("receipts", "the record %s is another than its receipt says", t.Decision)
		case uint64(leaf.Index) < t.Size:
			c.breach("receipts", "the record %s stands at %d, its receipt says %d or later", t.Decision, leaf.Index, t.Size)
		}
	}
}

// promises adds up what the log says, and what callers were told even where the log
// has lost it.
func (c *checker) promises() {
	for key, sum := range c.spent {
		if sum > caps[key.budget] {
			c.breach("budget", "%v has %d of %d", key, sum, caps[key.budget])
		}
	}
	for ticket, n := range c.redeemed {
		if n > c.uses[ticket] {
			c.breach("ticket", "%s was redeemed %d times of %d", ticket, n, c.uses[ticket])
		}
	}
	final := map[string]map[string]int64{} // by decision
	for _, t := range c.memory.told {
		if t.Allowed {
			final[t.Decision] = t.Charged
		}
	}
	for _, s := range c.settled {
		final[s.Decision] = s.Charged
	}
	tokens, tickets, spent := map[string]string{}, map[string]map[string]bool{}, map[counter]int64{}
	counted := map[string]bool{}
	for _, t := range c.memory.told {
		q := c.asked[t.ID]
		if !t.Allowed || q == nil || counted[t.Decision] {
			continue
		}
		counted[t.Decision] = true
		if other, twice := tokens[q.JTI]; twice {
			c.breach("jti", "one token was accepted for %s and for %s", other, t.ID)
		}
		tokens[q.JTI] = t.ID
		if q.Ticket != "" {
			if tickets[q.Ticket] == nil {
				tickets[q.Ticket] = map[string]bool{}
			}
			tickets[q.Ticket][t.Decision] = true
		}
		for budget, n := range final[t.Decision] {
			if budget != "tenant-tokens" {
				spent[counter{budget: budget, subject: q.Human}] += n
			}
		}
	}
	for ticket, by := range tickets {
		if int64(len(by)) > c.uses[ticket] {
			c.breach("ticket", "%d callers were told that they redeemed %s, of %d uses", len(by), ticket, c.uses[ticket])
		}
	}
	for key, sum := range spent {
		if sum > caps[key.budget] {
			c.breach("budget", "callers were told of %d of %d for %s of %s", sum, caps[key.budget], key.budget, key.subject)
		}
	}
}

// notice is how long a server may take to notice that its clock was stepped.
const notice = time.Second

// noticing reports whether an answer was asked for while its server may not have
// noticed yet.
func (c *checker) noticing(t *told) bool {
	return slices.ContainsFunc(c.jumps, func(j *jumped) bool {
		return j.Replica == t.Replica && t.Came > j.At && t.Began < j.At+int64(notice)
	})
}

// lockedOut looks for what was allowed that was asked while a lock was in force. An
// earlier answer given again is none.
func (c *checker) lockedOut() {
	for _, l := range c.locks {
		for _, t := range c.memory.told {
			if q := c.asked[t.ID]; q != nil && t.Allowed && !t.Replayed && (q.Agent == l.Agent || q.Human == l.Human) && t.Began > l.From && t.Came < l.To && !c.noticing(t) {
				c.breach("lock", "the replica %d allowed %s, asked %s after a lock was durable", t.Replica, t.Decision, time.Duration(t.Began-l.From))
			}
		}
	}
}

func (c *checker) settlements() {
	for _, s := range c.settled {
		record, leaf := c.decisions[s.Settlement], c.leaves[s.Settlement]
		if record == nil {
			c.lost++
			c.breach("lost", "the log has no settlement %s", s.Settlement)
			continue
		}
		r := c.reported[s.Decision]
		e := record.GetSettlement()
		if e.GetDecisionId() != s.Decision || r == nil || e.GetActual().GetTokens() != r.Tokens || e.GetActual().GetMicros() != r.Micros {
			c.breach("answers", "the settlement %s is of another report", s.Settlement)
		}
		if !bytes.Equal(leaf.Leaf[:], s.Leaf) || uint64(leaf.Index) < s.Size {
			c.breach("receipts", "the settlement %s is another than its receipt says", s.Settlement)
		}
	}
}

// idle refuses a run in which a promise was never put to the test.
func (c *checker) idle() {
	allowed, replayed, exhausted := 0, 0, 0
	for _, t := range c.memory.told {
		if t.Allowed {
			allowed++
		}
		if t.Replayed {
			replayed++
		}
	}
	var spentTickets, tokensTwice int
	for _, d := range c.decisions {
		for _, r := range d.GetDecision().GetResponse().GetReasons() {
			switch r.Code {
			case "budget.exhausted":
				exhausted++
			case "ticket.used":
				spentTickets++
			case "token.replayed":
				tokensTwice++
			}
		}
	}
	for what, n := range map[string]int{
		"allowed": allowed, "given again": replayed, "denied by a budget": exhausted, "denied by a used ticket": spentTickets,
		"denied by a used token": tokensTwice, "settled": len(c.settled), "stopped by a lock": len(c.locks), "redeemed by a ticket": len(c.redeemed),
	} {
		if n == 0 {
			c.breach("idle", "nothing was %s", what)
		}
	}
}
