package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

type logCmd struct {
	List       logListCmd       `cmd:"" help:"List records, newest first."`
	Show       logShowCmd       `cmd:"" help:"Print one record as it is in the log."`
	Verify     logVerifyCmd     `cmd:"" help:"Recompute everything; name the first record that does not fit."`
	Checkpoint logCheckpointCmd `cmd:"" help:"Print the newest checkpoint, to be kept elsewhere."`
	Prove      logProveCmd      `cmd:"" help:"Write the proof that a record is in the log (C2SP tlog-proof)."`
	Check      logCheckCmd      `cmd:"" help:"Check such a proof and its record, offline."`
	Keygen     logKeygenCmd     `cmd:"" help:"Make a log's key pair for writ serve."`
}

type logListCmd struct {
	storeFlags `embed:""`
	Tenant     string `help:"Only this tenant's records."`
	Limit      int    `default:"50" help:"How many."`
	After      string `help:"Go on after the record with this id." placeholder:"ID"`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run lists.
func (c logListCmd) Run(ctx context.Context, to streams) error {
	after := uuid.Nil
	if c.After != "" {
		id, err := uuid.FromString(c.After)
		if err != nil {
			return usageError("--after is not a record id")
		}
		after = id
	}
	var rows []audit.Row
	err := c.use(ctx, false, func(store dataStore) (err error) {
		rows, err = store.List(ctx, c.Tenant, after, c.Limit)
		return err
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		for _, row := range rows {
			if err := printRecord(to.out, row.Body, false); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AT\tID\tKIND\tEFFECT\tPHASE\tAGENT\tPURPOSE\tTOOL")
	for _, r := range rows {
		kind, effect := "settlement", "-"
		switch r.Kind {
		case audit.Decision:
			kind, effect = "decision", strings.TrimPrefix(writv1.Effect(r.Outcome).String(), "EFFECT_")
		case audit.Exchange:
			kind, effect = "exchange", strings.TrimPrefix(writv1.Effect(r.Outcome).String(), "EFFECT_")
		case audit.Change:
			change, err := audit.ChangeOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = fmt.Sprint("change ", change.Rollout.Version), change.Action.String()
		case audit.Notice:
			notice, err := audit.NoticeOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = "bundle", notice.Kind.String()
			if notice.Kind.Certificate() {
				kind = "certificate"
			}
		case audit.Lock:
			change, err := audit.ControlFactsOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = fmt.Sprint("lock ", change.Lock.ID), lockAction(&change)
		case audit.Budget:
			change, err := audit.ControlFactsOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = fmt.Sprint("budget ", change.Budget.Adjustment.Budget), budgetAction(change.Budget)
		case audit.Declassify:
			d, err := audit.DeclassificationOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = fmt.Sprint("session ", d.Session), "DECLASSIFY "+strings.Join(d.Labels, " ")
		case audit.Ticket:
			change, err := audit.TicketChangeOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = fmt.Sprint("ticket ", change.Ticket.ID), change.Action.String()
		case audit.Reveal:
			asked, err := audit.RevealedOf(r.Body)
			if err != nil {
				return err
			}
			kind, effect = revealKind(asked.Forgets), strings.TrimPrefix(asked.Outcome.String(), "REVEAL_OUTCOME_")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.At.Format(time.RFC3339Nano), uuid.UUID(r.ID), kind, effect,
			or(phaseName(r.Phase), "-"), or(r.Principal, "-"), or(r.Purpose, "-"), or(strings.Trim(r.Server+"/"+r.Tool, "/"), "-"))
	}
	return w.Flush()
}

func revealKind(forgets bool) string {
	if forgets {
		return "forget"
	}
	return "reveal"
}

func phaseName(p decision.Phase) string {
	if p == 0 {
		return ""
	}
	return p.String()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// recordArg names a record.
type recordArg struct {
	ID     string `arg:"" help:"The record's id: a decision_id or settlement_id."`
	Tenant string `default:"${dev_tenant}" help:"The record's tenant."`
}

func (a recordArg) find(ctx context.Context, store dataStore) (audit.Row, error) {
	id, err := uuid.FromString(a.ID)
	if err != nil {
		return audit.Row{}, usageError("the id is not a UUID")
	}
	row, err := store.Record(ctx, a.Tenant, id)
	if errors.Is(err, audit.ErrNotFound) {
		return row, fmt.Errorf("the tenant %q has no record %s", a.Tenant, a.ID)
	}
	return row, err
}

type logShowCmd struct {
	recordArg  `embed:""`
	storeFlags `embed:""`
}

// Run prints the record as JSON.
func (c logShowCmd) Run(ctx context.Context, to streams) error {
	return c.use(ctx, false, func(store dataStore) error {
		row, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		return printRecord(to.out, row.Body, true)
	})
}

func printRecord(out io.Writer, body []byte, multiline bool) error {
	var r writv1.Record
	if err := proto.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	text, err := protojson.MarshalOptions{Multiline: multiline}.Marshal(&r)
	if err != nil {
		return fmt.Errorf("printing a record: %w", err)
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

type logVerifyCmd struct {
	storeFlags `embed:""`
	Key        []string `type:"existingfile" placeholder:"FILE" help:"The log's public key; repeat for those that signed before. Without: DIR/log.pub."`
	Known      []string `type:"existingfile" placeholder:"FILE" help:"A checkpoint that was kept elsewhere, which the log must still contain."`
	Output     string   `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run verifies the whole log.
func (c logVerifyCmd) Run(ctx context.Context, to streams) error {
	if len(c.Key) == 0 {
		c.Key = []string{""}
	}
	var keys []note.Verifier
	for _, file := range c.Key {
		key, err := c.verifier(file)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	known, err := readKnown(c.Known)
	if err != nil {
		return err
	}
	start := time.Now()
	var report audit.Report
	err = c.use(ctx, false, func(store dataStore) error {
		return store.View(ctx, func(r audit.Reader) (err error) {
			report, err = audit.Verify(ctx, r, keys, audit.Options{Origin: keys[0].Name(), At: start, Known: known})
			return err
		})
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		if err := json.NewEncoder(to.out).Encode(reportJSON(report)); err != nil {
			return fmt.Errorf("printing the report: %w", err)
		}
	} else {
		printReport(to.out, report, time.Since(start))
	}
	if report.Problem != nil {
		return fmt.Errorf("the log does not verify: %s", report.Problem)
	}
	return nil
}

// reportJSON is the report with its hashes and ids as people write them.
func reportJSON(r audit.Report) map[string]any {
	out := map[string]any{
		"ok": r.Problem == nil, "leaves": r.Leaves, "pending": r.Pending, "settlements": r.Settlements, "exchanges": r.Exchanges,
		"changes": r.Changes, "locks": r.Locks, "budget_changes": r.Budgets, "tickets": r.Tickets, "archives": r.Archives, "checkpoints": r.Checkpoints, "tiles": r.Tiles, "counters": r.Counters, "redemptions": r.Redemptions,
		"tokens": r.Tokens, "root": hex.EncodeToString(r.Root[:]),
	}
	if p := r.Problem; p != nil {
		out["problem"] = map[string]any{"what": p.What, "index": p.Index, "last": p.Last, "tenant": p.Tenant,
			"record": uuid.UUID(p.Record).String(), "detail": p.Detail}
	}
	return out
}

func printReport(out io.Writer, r audit.Report, took time.Duration) {
	verdict := "OK"
	if r.Problem != nil {
		verdict = "BROKEN"
	}
	fmt.Fprintf(out, "%s\n", verdict)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  sealed records\t%d\n  unsealed records\t%d\n  settlements\t%d\n  exchanges\t%d\n  changes\t%d\n  lock changes\t%d\n  budget changes\t%d\n  ticket changes\t%d\n  reveals\t%d\n  checkpoints\t%d\n  tiles\t%d\n",
		r.Leaves, r.Pending, r.Settlements, r.Exchanges, r.Changes, r.Locks, r.Budgets, r.Tickets, r.Reveals, r.Checkpoints, r.Tiles)
	fmt.Fprintf(w, "  budget counters\t%d\n  ticket uses\t%d\n  used tokens\t%d\n  vault tokens\t%d\n  bundle archives\t%d\n  root\t%x\n  time\t%s\n",
		r.Counters, r.Redemptions, r.Tokens, r.Vaulted, r.Archives, r.Root, took.Round(time.Millisecond))
	w.Flush()
}

type logProveCmd struct {
	recordArg  `embed:""`
	storeFlags `embed:""`
	Key        string `type:"existingfile" placeholder:"FILE" help:"The log's public key. Without: DIR/log.pub."`
	Record     string `required:"" placeholder:"FILE" help:"Where to write the record."`
	Proof      string `required:"" placeholder:"FILE" help:"Where to write the proof."`
}

// Run writes a record and its proof.
func (c logProveCmd) Run(ctx context.Context, to streams) error {
	key, err := c.verifier(c.Key)
	if err != nil {
		return err
	}
	return c.use(ctx, false, func(store dataStore) error {
		row, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		index, sealed, err := store.LeafOf(ctx, row.Tenant, row.ID)
		if err != nil {
			return err
		}
		if !sealed {
			return errors.New("the record is not sealed yet; a running server seals it within a second")
		}
		head, err := store.Checkpoint(ctx)
		if err != nil {
			return err
		}
		tile := func(level int, index int64) ([]byte, error) { return store.Tile(ctx, level, index) }
		proof, err := audit.Prove(audit.Leaf{Index: index, Row: row}, head, tile, key.Name(), key)
		if err != nil {
			return err
		}
		return c.write(to, row.Body, proof, index, head.Size)
	})
}

func (c logProveCmd) write(to streams, body, proof []byte, index, size int64) error {
	if err := os.WriteFile(c.Record, body, 0o600); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	if err := os.WriteFile(c.Proof, proof, 0o644); err != nil {
		return fmt.Errorf("writing the proof: %w", err)
	}
	fmt.Fprintf(to.out, "record %d of %d proven; check it with: writ log check --key FILE %s %s\n", index, size, c.Record, c.Proof)
	return nil
}

type logCheckCmd struct {
	Record string `arg:"" type:"existingfile" help:"The record."`
	Proof  string `arg:"" type:"existingfile" help:"The proof."`
	Key    string `required:"" type:"existingfile" placeholder:"FILE" help:"The log's public key."`
}

// Run checks a proof.
func (c logCheckCmd) Run(to streams) error {
	key, err := storeFlags{}.verifier(c.Key)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(c.Record)
	if err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	proof, err := os.ReadFile(c.Proof)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	proven, err := audit.CheckProof(proof, body, key.Name(), key)
	if err != nil {
		return err
	}
	fmt.Fprintf(to.out, "proven: record %d of a log of %d, root %s\n", proven.Index, proven.Size, hex.EncodeToString(proven.Root[:]))
	return nil
}

type logKeygenCmd struct {
	Origin string `required:"" help:"The log's name, for example writ.example.org/log." placeholder:"NAME"`
	Dir    string `required:"" type:"path" help:"Where to write log.key and log.pub." placeholder:"DIR"`
}

// Run makes a key pair.
func (c logKeygenCmd) Run(to streams) error {
	if err := makeLogKey(c.Dir, c.Origin); err != nil {
		return err
	}
	fmt.Fprintf(to.out, "%s/%s is the private key, %s/%s the public one\n", c.Dir, fileLogKey, c.Dir, fileLogPub)
	return nil
}
