package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/postgres"
)

// verdict is what a check found. breaches has the first few of each sort, lost
// counts those answers that the log does not have.
type verdict struct {
	told, lost int
	sorts      map[string]int
	breaches   []string
}

// most is how many breaches of one sort are told.
const most = 5

func (v *verdict) breach(sort, format string, args ...any) {
	if v.sorts[sort]++; v.sorts[sort] <= most {
		v.breaches = append(v.breaches, sort+": "+fmt.Sprintf(format, args...))
	}
}

func (v *verdict) total() (n int) {
	for _, count := range v.sorts {
		n += count
	}
	return n
}

// memory is what the journals say.
type memory struct {
	asked    map[string]*asked
	told     []*told
	reported map[string]*reported
	settled  []*settled
	uses     map[string]int64 // of tickets
	locks    []*locked
	jumps    []*jumped
}

// checker compares what callers were told with what the database has, on its own
// arithmetic, and has the log verified as an auditor would.
type checker struct {
	*verdict
	memory
	// Of the log: records by id, and where they stand.
	decisions map[string]*writv1.Record
	leaves    map[string]audit.Leaf
	spent     map[counter]int64
	tokens    map[string]string // by the token's digest: the record that used it
	redeemed  map[string]int64
	requests  map[string]string // by request id: the decision
}

type counter struct{ budget, subject, window string }

// check looks at everything, once the servers are stopped.
func check(ctx context.Context, s *site, kept [][]byte) (*verdict, error) {
	c := &checker{verdict: &verdict{sorts: map[string]int{}}, memory: memory{asked: map[string]*asked{}, reported: map[string]*reported{}, uses: map[string]int64{}},
		decisions: map[string]*writv1.Record{}, leaves: map[string]audit.Leaf{}, spent: map[counter]int64{},
		tokens: map[string]string{}, redeemed: map[string]int64{}, requests: map[string]string{}}
	names, err := filepath.Glob(s.path("*.journal"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := readJournal(name, c.remember); err != nil {
			return nil, err
		}
	}
	store, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	if err := c.verify(ctx, store, key, kept); err != nil {
		return nil, err
	}
	if err := store.View(ctx, func(r audit.Reader) error { return c.read(ctx, r) }); err != nil {
		return nil, err
	}
	c.answers()
	c.promises()
	c.lockedOut()
	c.settlements()
	c.idle()
	return c.verdict, c.prove(ctx, store, key)
}

func (s *site) key() (note.Verifier, error) {
	text, err := os.ReadFile(s.path("log.pub"))
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(strings.TrimSpace(string(text)))
}

func (c *checker) remember(l *line) error {
	switch {
	case l.Asked != nil:
		c.asked[l.Asked.ID] = l.Asked
	case l.Told != nil:
		c.memory.told = append(c.memory.told, l.Told)
	case l.Reported != nil:
		c.reported[l.Reported.Decision] = l.Reported
	case l.Settled != nil:
		c.settled = append(c.settled, l.Settled)
	case l.Ticket != nil:
		c.uses[l.Ticket.ID] = l.Ticket.Uses
	case l.Lock != nil:
		c.locks = append(c.locks, l.Lock)
	case l.Jump != nil:
		c.jumps = append(c.jumps, l.Jump)
	case l.Gone != "":
		c.breach("unanswered", "the request %s was never answered, although everything had been mended", l.Gone)
	}
	return nil
}

// verify has the auditor's verification recompute the log, which must contain every
// checkpoint that was kept.
func (c *checker) verify(ctx context.Context, store *postgres.Store, key note.Verifier, kept [][]byte) error {
	return store.View(ctx, func(r audit.Reader) error {
		report, err := audit.Verify(ctx, r, []note.Verifier{key}, audit.Options{Origin: origin, At: time.Now(), Known: kept})
		if err != nil {
			return err
		}
		if report.Problem != nil {
			c.breach("log", "%s", report.Problem)
		}
		return nil
	})
}

// read adds up what the records say.
func (c *checker) read(ctx context.Context, r audit.Reader) error {
	take := func(index int64, row *audit.Row) error {
		record := &writv1.Record{}
		if err := proto.Unmarshal(row.Body, record); err != nil {
			c.breach("log", "the record at %d cannot be read: %v", index, err)
			return nil
		}
		c.leaves[record.Id] = audit.Leaf{Index: index, Row: audit.Row{Leaf: row.Leaf, Body: row.Body}}
		c.decisions[record.Id] = record
		if d := record.GetDecision(); d != nil {
			if other, twice := c.requests[d.Response.GetRequestId()]; twice {
				c.breach("answers", "the request %s has the records %s and %s", d.Response.GetRequestId(), other, record.Id)
			}
			c.requests[d.Response.GetRequestId()] = record.Id
			c.add(record.Id, d.Effects)
		}
		c.add(record.Id, record.GetSettlement().GetEffects())
		return nil
	}
	if err := r.Leaves(ctx, 0, math.MaxInt64, func(l audit.Leaf) error { return take(l.Index, &l.Row) }); err != nil {
		return err
	}
	if err := r.PendingRows(ctx, func(row audit.Row) error {
		c.breach("log", "the record %s was never sealed", uuid.UUID(row.ID))
		return take(math.MaxInt64, &row)
	}); err != nil {
		return err
	}
	return r.Uses(ctx, func(u audit.Use) error {
		key := counter{u.Key.Budget, u.Key.Subject, fmt.Sprint(u.Key.Start)}
		if c.spent[key] != u.Used {
			c.breach("budget", "%v holds %d, and its records say %d", key, u.Used, c.spent[key])
		}
		return nil
	})
}

func (c *checker) add(record string, effects []*writv1.EffectFacts) {
	for _, e := range effects {
		if charge := e.GetCharge(); charge != nil {
			c.spent[counter{charge.Budget, charge.Subject, fmt.Sprint(charge.WindowStart.GetSeconds())}] += charge.Amount
		}
		if t := e.GetRedeemedTicket(); t != "" {
			c.redeemed[t]++
		}
		if t := string(e.GetConsumedToken()); t != "" {
			if other, twice := c.tokens[t]; twice {
				c.breach("jti", "the records %s and %s use one token", other, record)
			}
			c.tokens[t] = record
		}
	}
}

// prove proves some of the answers as `writ log prove` does, and checks the proofs
// as whoever has a receipt can.
func (c *checker) prove(ctx context.Context, store *postgres.Store, key note.Verifier) error {
	head, err := store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	step := max(1, len(c.memory.told)/200)
	for i := 0; i < len(c.memory.told); i += step {
		id, err := uuid.FromString(c.memory.told[i].Decision)
		leaf, ok := c.leaves[c.memory.told[i].Decision]
		if err != nil || !ok {
			continue // told of already
		}
		row, err := store.Record(ctx, tenant, id)
		if err != nil {
			return err
		}
		text, err := audit.Prove(audit.Leaf{Index: leaf.Index, Row: row}, head,
			func(level int, index int64) ([]byte, error) { return store.Tile(ctx, level, index) }, origin, key)
		if err == nil {
			_, err = audit.CheckProof(text, row.Body, origin, key)
		}
		if err = errors.Join(err); err != nil {
			c.breach("proof", "%s: %v", c.memory.told[i].Decision, err)
		}
	}
	return nil
}
