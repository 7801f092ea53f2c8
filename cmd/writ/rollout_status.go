package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/rollout"
)

type policyStatusCmd struct {
	storeFlags `embed:""`
	Limit      int    `default:"20" help:"How many versions."`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// maxFigures is from how many records at most the figures of a candidate are
// taken.
const maxFigures = 10_000

// Run prints what is in force and how it came to be.
func (c policyStatusCmd) Run(ctx context.Context, to streams) error {
	if c.Limit < 1 {
		return usageError("--limit must be positive")
	}
	var history []audit.ChangeFacts
	var figures *trialFigures
	err := c.use(ctx, false, func(store dataStore) (err error) {
		if history, err = rollout.History(ctx, store, c.Limit); err != nil || len(history) == 0 || history[0].Rollout.Mode == 0 {
			return err
		}
		figures, err = figuresOf(ctx, store, &history[0])
		return err
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return printStatusJSON(to.out, history, figures)
	}
	if len(history) == 0 {
		fmt.Fprintln(to.out, "no bundle was activated in this store: its servers decide by the bundle they are configured with")
		return nil
	}
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tAT\tACTION\tLIVE\tCANDIDATE\tBY\tTICKET\tREASON")
	for i := range history {
		h := &history[i]
		candidate := "-"
		if h.Rollout.Mode != 0 {
			candidate = fmt.Sprintf("%.12s (%s)", h.Rollout.Candidate.Digest, trialText(&h.Rollout))
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%.12s\t%s\t%s\t%s\t%s\n", h.Rollout.Version, h.At.Format(time.RFC3339), h.Action,
			h.Rollout.Live.Digest, candidate, h.Actor, or(h.Ticket, "-"), h.Reason)
	}
	if figures != nil {
		fmt.Fprintf(w, "\nOF %d DECISIONS\tLIVE\tCANDIDATE\n", figures.Records)
		fmt.Fprintf(w, "made\t%d\t%d\n", figures.Live.Decisions, figures.Candidate.Decisions)
		fmt.Fprintf(w, "denied\t%d\t%d\n", figures.Live.Denials, figures.Candidate.Denials)
		if history[0].Rollout.Mode == decision.Shadow {
			fmt.Fprintf(w, "other than live\t-\t%d\n", figures.Differ)
		}
	}
	return w.Flush()
}

// trialText says how a candidate is tried out.
func trialText(r *decision.Rollout) string {
	if r.Mode == decision.Shadow {
		return "shadow"
	}
	text := "canary " + strconv.FormatFloat(float64(r.Share)/100, 'f', -1, 64) + "%"
	if len(r.Tenants) > 0 {
		text += " of " + strings.Join(r.Tenants, ",")
	}
	return text
}

// trialFigures are what the log says of a candidate.
type trialFigures struct {
	// Records is how many decisions were looked at, the newest since the change.
	Records   int        `json:"records"`
	Live      bundleTale `json:"live"`
	Candidate bundleTale `json:"candidate"`
	// Differ is how many of a shadow's decisions were not the answer.
	Differ int `json:"differ"`
}

type bundleTale struct {
	Decisions int `json:"decisions"`
	Denials   int `json:"denials"`
}

func (b *bundleTale) add(denied bool) {
	b.Decisions++
	if denied {
		b.Denials++
	}
}

// figuresOf reads the newest decisions since a change.
func figuresOf(ctx context.Context, store dataStore, since *audit.ChangeFacts) (*trialFigures, error) {
	f := &trialFigures{}
	var after [16]byte
	for f.Records < maxFigures {
		rows, err := store.List(ctx, "", after, 1000)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			row := &rows[i]
			if after = row.ID; row.At.Before(since.At) {
				return f, nil
			}
			if row.Kind != audit.Decision {
				continue
			}
			if err := f.add(row, &since.Rollout); err != nil {
				return nil, err
			}
		}
		if len(rows) == 0 {
			break
		}
	}
	return f, nil
}

func (f *trialFigures) add(row *audit.Row, r *decision.Rollout) error {
	f.Records++
	denied := row.Outcome == decision.Denied
	switch row.Bundle {
	case r.Candidate.Digest:
		f.Candidate.add(denied)
	case r.Live.Digest:
		f.Live.add(denied)
	}
	if r.Mode != decision.Shadow {
		return nil
	}
	var record writv1.Record
	if err := proto.Unmarshal(row.Body, &record); err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	if shadow := record.GetDecision().GetShadow(); shadow.GetBundleDigest() == r.Candidate.Digest {
		f.Candidate.add(shadow.Effect == writv1.Effect_EFFECT_DENY)
		if shadow.Differs {
			f.Differ++
		}
	}
	return nil
}

func printStatusJSON(out io.Writer, history []audit.ChangeFacts, figures *trialFigures) error {
	type bundle struct {
		Digest  string `json:"digest"`
		Archive string `json:"archive_digest"`
	}
	type change struct {
		Version   int64         `json:"version"`
		At        time.Time     `json:"at"`
		Action    string        `json:"action"`
		Actor     string        `json:"actor"`
		Reason    string        `json:"reason"`
		Ticket    string        `json:"ticket,omitempty"`
		Live      bundle        `json:"live"`
		Candidate *bundle       `json:"candidate,omitempty"`
		Trial     string        `json:"trial,omitempty"`
		Figures   *trialFigures `json:"figures,omitempty"`
	}
	named := func(ref decision.BundleRef) bundle { return bundle{ref.Digest, fmt.Sprintf("%x", ref.Archive)} }
	encoder := json.NewEncoder(out)
	var errs []error
	for i, h := range history {
		c := change{Version: h.Rollout.Version, At: h.At, Action: h.Action.String(), Actor: h.Actor, Reason: h.Reason, Ticket: h.Ticket, Live: named(h.Rollout.Live)}
		if h.Rollout.Mode != 0 {
			candidate := named(h.Rollout.Candidate)
			c.Candidate, c.Trial = &candidate, trialText(&h.Rollout)
		}
		if i == 0 {
			c.Figures = figures
		}
		errs = append(errs, encoder.Encode(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return nil
}
