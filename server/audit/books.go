package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// books are what the records say that the tables beside the log must hold.
type books struct {
	at time.Time
	// seen holds what may stand only once, as digests: record ids, idempotency
	// keys and tokens.
	seen     map[mark]standing
	counters map[counter]*tally
	// redeemed and tokens are the stored rows; true, or met, once a record has
	// asked for them.
	redeemed map[Redemption]bool
	tokens   map[[32]byte]*token
	tickets  tickets
	// versions are the stored versions of the chains, and named the archives
	// that records name, with the first such record.
	versions map[versionKey]*storedVersion
	named    map[[32]byte]Row // tenant and id alone
	// waiting are settlements whose decision has not come yet.
	waiting []waiting
	// lapses are when the reservations of decisions lapse, and settled says of which
	// decisions there was a settlement.
	lapses  map[mark]Lapse
	settled map[mark]bool
	// control are the changes of budgets in force, by the version of the control
	// state, and early the caps whose version has not come yet.
	control map[int64][]decision.Adjustment
	early   []charged
	vaulted map[vaultKey]*kept
}

// mark is a digest of a thing's kind, tenant and name. 128 bits: no two things
// of a log share one.
type mark [16]byte

type standing uint8

const (
	present standing = iota + 1
	allowed          // a decision that can be settled
)

type counter struct {
	tenant string
	key    decision.BudgetKey
}

type versionKey struct {
	chain   Chain
	version int64
}

type tally struct {
	sum int64
	// cap is the largest that held for a charge; capped is false while nothing
	// but refunds was seen.
	cap    int64
	capped bool
	// least and most bound what a counter holds that is no sum.
	least, most int64
	stored      bool
}

type token struct {
	tenant  string
	record  [16]byte
	expires time.Time
	met     bool
}

type waiting struct {
	decision mark
	problem  *Problem
}

func newBooks(at time.Time) books {
	return books{
		at: at, seen: map[mark]standing{}, counters: map[counter]*tally{},
		redeemed: map[Redemption]bool{}, tokens: map[[32]byte]*token{},
		lapses: map[mark]Lapse{}, settled: map[mark]bool{},
		tickets: tickets{}, versions: map[versionKey]*storedVersion{}, named: map[[32]byte]Row{},
		control: map[int64][]decision.Adjustment{}, vaulted: map[vaultKey]*kept{},
	}
}

func markOf(kind, tenant string, name []byte) mark {
	b := make([]byte, 0, 128)
	b = append(b, kind...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(tenant)))
	b = append(append(b, tenant...), name...)
	sum := sha256.Sum256(b)
	return mark(sum[:16])
}

// enter takes up a record that fits its own columns.
func (b *books) enter(r *record, index int64) *Problem {
	id, standing := markOf("i", r.Tenant, r.ID[:]), present
	key := markOf("d", r.Tenant, []byte(r.Key))
	switch {
	case r.Kind == Settlement:
		key = markOf("s", r.Tenant, []byte(r.Key))
	case r.Kind == Change:
		key = markOf("c", r.Tenant, []byte(r.Key))
	case r.Kind == Notice:
		key = markOf("n", r.Tenant, []byte(r.Key))
	case r.Kind == Lock:
		key = markOf("l", r.Tenant, []byte(r.Key))
	case r.Kind == Ticket:
		key = markOf("k", r.Tenant, []byte(r.Key))
	case r.Kind == Exchange:
		key = markOf("x", r.Tenant, []byte(r.Key))
	case r.Kind == Reveal:
		key = markOf("r", r.Tenant, []byte(r.Key))
	case r.Kind == Budget:
		key = markOf("b", r.Tenant, []byte(r.Key))
	case r.Kind == Declassify:
		key = markOf("y", r.Tenant, []byte(r.Key))
	case r.Outcome != decision.Denied:
		standing = allowed
	}
	if b.seen[id] != 0 {
		return about(&r.Row, index, "id", "the log has another record of this id")
	}
	if b.seen[key] != 0 {
		return about(&r.Row, index, "key", "the log has another record of this kind and key")
	}
	b.seen[id], b.seen[key] = standing, present
	if r.Kind == Settlement {
		if p := b.settle(r, index); p != nil {
			return p
		}
	}
	if at := decision.Lapses(r.effects); r.Kind == Decision && !at.IsZero() {
		b.lapses[id] = Lapse{Tenant: r.Tenant, Decision: r.ID, At: at}
	}
	for _, effect := range r.effects {
		if p := b.apply(r, index, effect); p != nil {
			return p
		}
	}
	return b.caps(r, index)
}

// settle wants a settlement's decision. It may come later: the order of the log
// is not that of the commits.
func (b *books) settle(r *record, index int64) *Problem {
	id, err := identify(r.Key)
	if err != nil {
		return about(&r.Row, index, "key", "it is not the id of a decision")
	}
	of := markOf("i", r.Tenant, id[:])
	b.settled[of] = true
	p := about(&r.Row, index, "settlement", "it settles "+r.Key+", which is no allowed decision of the tenant")
	switch b.seen[of] {
	case allowed:
		return nil
	case present:
		return p
	}
	b.waiting = append(b.waiting, waiting{decision: of, problem: p})
	return nil
}

// unsettled is the first settlement whose decision did not come.
func (b *books) unsettled() *Problem {
	for _, w := range b.waiting {
		if b.seen[w.decision] != allowed {
			return w.problem
		}
	}
	return nil
}

func (b *books) apply(r *record, index int64, effect decision.Effect) *Problem {
	switch e := effect.(type) {
	case decision.Charge:
		t := b.tally(r.Tenant, e.Key)
		t.sum += e.Amount
		if e.Amount >= 0 {
			t.cap, t.capped = max(t.cap, e.Cap), true
		}
	case decision.Pace:
		t := b.tally(r.Tenant, e.Key)
		at := e.At.UnixNano()
		t.least, t.most = max(t.least, at+e.Amount*e.Interval), max(t.most, at+e.Burst*e.Interval)
	case decision.Note:
		if e.Delta() != 0 { // nothing is stored of what has never changed
			b.tally(r.Tenant, e.Key).sum += e.Delta()
		}
	case decision.Pass:
		b.tally(r.Tenant, e.Key).most = math.MaxInt64
	case decision.Observe:
		b.tally(r.Tenant, e.Key).most = math.MaxInt64
	case decision.Redeem:
		use := Redemption{Tenant: e.Of(r.Tenant), Ticket: e.Ticket, Record: r.ID}
		if met, ok := b.redeemed[use]; !ok || met {
			return about(&r.Row, index, "redemption", fmt.Sprintf("the record redeems ticket %q; the store has no such use", e.Ticket))
		}
		b.redeemed[use] = true
		b.tickets.of(use.Tenant, e.Ticket).redeem(e.Version)
	case decision.Ticket:
		if detail := b.tickets.of(r.Tenant, e.ID).change(r.ID, &e); detail != "" {
			return about(&r.Row, index, "ticket", detail)
		}
	case decision.Vault:
		return b.keep(r, index, &e)
	case decision.Forget:
		b.vault(r, e.Token).forgotten = true
	case decision.Consume:
		return b.consume(r, index, e)
	case decision.Rollout:
		return b.rollout(r, index, &e)
	case decision.Control:
		b.control[e.Version] = e.Adjustments
		return b.version(r, index, versionKey{ControlChain, e.Version})
	}
	return nil
}

func (b *books) tally(tenant string, key decision.BudgetKey) *tally {
	at := counter{tenant, key}
	t := b.counters[at]
	if t == nil {
		t = &tally{}
		b.counters[at] = t
	}
	return t
}

// lapse compares a stored lapse with the decision's, which nobody may have settled.
func (b *books) lapse(l Lapse) *Problem {
	key := markOf("i", l.Tenant, l.Decision[:])
	want, ok := b.lapses[key]
	switch {
	case !ok:
		return badLapse(l, "the decision has no reservation that lapses")
	case b.settled[key]:
		return badLapse(l, "the decision is settled")
	case !l.At.Equal(want.At):
		return badLapse(l, fmt.Sprintf("the reservations lapse at %s, the store says at %s", want.At.Format(time.RFC3339Nano), l.At.Format(time.RFC3339Nano)))
	}
	b.settled[key] = true // and is not there a second time
	return nil
}

// lackingLapse is the first lapse, by name, that the store lacks.
func (b *books) lackingLapse() *Problem {
	var lacking []Lapse
	for key, l := range b.lapses {
		if !b.settled[key] {
			lacking = append(lacking, l)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return badLapse(slices.MinFunc(lacking, func(a, b Lapse) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), slices.Compare(a.Decision[:], b.Decision[:]))
	}), "the store does not know that the decision's reservations lapse")
}

func badLapse(l Lapse, detail string) *Problem {
	return &Problem{What: "lapse", Index: -1, Last: -1, Tenant: l.Tenant, Record: l.Decision, Detail: detail}
}

func (b *books) consume(r *record, index int64, e decision.Consume) *Problem {
	m := markOf("t", "", e.Token[:])
	if b.seen[m] != 0 {
		return about(&r.Row, index, "used token", "another record has used the token")
	}
	b.seen[m] = present
	t := b.tokens[e.Token]
	switch {
	case t == nil && e.Expires.Before(b.at):
		return nil // the store may forget it
	case t == nil:
		return about(&r.Row, index, "used token", "the store does not remember the record's token")
	case t.record != r.ID:
		return about(&r.Row, index, "used token", "the store has the record's token as another record's")
	case t.tenant != r.Tenant:
		return about(&r.Row, index, "used token", "the store has the record's token as another tenant's")
	case !t.expires.Truncate(time.Microsecond).Equal(e.Expires):
		return about(&r.Row, index, "used token", "the store has another expiry of the record's token")
	}
	t.met = true
	return nil
}

// use compares a stored counter with the charges.
func (b *books) use(u Use) *Problem {
	t := b.counters[counter{u.Tenant, u.Key}]
	switch {
	case u.Leased < 0:
		return badUse(u.Tenant, u.Key, "less than nothing of it is leased")
	case t == nil:
		return badUse(u.Tenant, u.Key, "no record has charged it")
	case t.stored:
		return badUse(u.Tenant, u.Key, "it is stored twice")
	case !u.Key.Sum() && u.Leased != 0:
		return badUse(u.Tenant, u.Key, "a part of it is leased, and it has no parts")
	case !u.Key.Sum() && (u.Used < t.least || u.Used > t.most):
		return badUse(u.Tenant, u.Key, fmt.Sprintf("it holds %d, the records bring it to %d at least and %d at most", u.Used, t.least, t.most))
	case u.Key.Sum() && t.sum != u.Used-u.Leased && u.Leased > 0:
		return badUse(u.Tenant, u.Key, fmt.Sprintf("it holds %d of which %d are leased and unspent, the records charge %d", u.Used, u.Leased, t.sum))
	case u.Key.Sum() && t.sum != u.Used-u.Leased:
		return badUse(u.Tenant, u.Key, fmt.Sprintf("it holds %d, the records charge %d", u.Used, t.sum))
	}
	t.stored = true
	return t.bad(counter{u.Tenant, u.Key})
}

// bad checks a counter against what no order of commits can reach. Every refund
// is of something reserved, so a store that keeps its use at 0 or above never
// has to cut one off.
func (t *tally) bad(c counter) *Problem {
	switch {
	case t.sum < 0:
		return badUse(c.tenant, c.key, fmt.Sprintf("the records refund %d more than they charge", -t.sum))
	case t.capped && t.sum > t.cap:
		return badUse(c.tenant, c.key, fmt.Sprintf("the records charge %d, over the cap of %d", t.sum, t.cap))
	}
	return nil
}

func badUse(tenant string, key decision.BudgetKey, detail string) *Problem {
	return &Problem{What: "use", Index: -1, Last: -1, Tenant: tenant,
		Detail: fmt.Sprintf("budget %q, subject %q, window %d: %s", key.Budget, key.Subject, key.Start, detail)}
}

// leftOver is the first row that the tables lack or have too much, by name.
func (b *books) leftOver() *Problem {
	var lacking []counter
	for c, t := range b.counters {
		if !t.stored && t.sum+t.least != 0 {
			lacking = append(lacking, c)
		}
	}
	if len(lacking) > 0 {
		c := slices.MinFunc(lacking, func(a, b counter) int {
			return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.key.Budget, b.key.Budget),
				cmp.Compare(a.key.Subject, b.key.Subject), cmp.Compare(a.key.Start, b.key.Start))
		})
		if p := b.counters[c].bad(c); p != nil {
			return p
		}
		return badUse(c.tenant, c.key, fmt.Sprintf("the store lacks it, the records charge %d", b.counters[c].sum+b.counters[c].least))
	}
	var extra []*Problem
	extra = append(extra, b.tickets.left()...)
	for r, met := range b.redeemed {
		if !met {
			extra = append(extra, &Problem{What: "redemption", Index: -1, Last: -1, Tenant: r.Tenant, Record: r.Record,
				Detail: fmt.Sprintf("the store has a use of ticket %q that no record made", r.Ticket)})
		}
	}
	extra = append(extra, b.extraVersions()...)
	for _, t := range b.tokens {
		if !t.met {
			extra = append(extra, &Problem{What: "used token", Index: -1, Last: -1, Tenant: t.tenant, Record: t.record,
				Detail: "the store has a token that no record used"})
		}
	}
	if len(extra) == 0 {
		return nil
	}
	return slices.MinFunc(extra, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Tenant, b.Tenant), slices.Compare(a.Record[:], b.Record[:]), cmp.Compare(a.Detail, b.Detail))
	})
}
