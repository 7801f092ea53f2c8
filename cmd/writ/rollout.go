package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/rollout"
)

// followRollout keeps in force what the store says; as long as it says nothing, what is
// configured.
func followRollout(ctx context.Context, store rollout.Store, configured func() *decision.Bundle, log *slog.Logger) (*rollout.Follower, error) {
	actor, err := thisServer()
	if err != nil {
		return nil, err
	}
	return rollout.Follow(ctx, rollout.Config{
		Store: store, Configured: configured, Actor: actor, Now: time.Now, Random: rand.Reader,
		Report: func(s rollout.Status) {
			if s.Err != nil {
				log.Error("the rollout", "in_force", s.Version, "error", s.Err)
				return
			}
			log.Info("the rollout", "in_force", s.Version, "live", s.Live, "candidate", s.Candidate)
		},
	})
}

// thisServer is what records call a server that does something by itself.
func thisServer() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("finding out the machine's name: %w", err)
	}
	return "writ on " + host, nil
}

// directory is the bundle of a directory, or the sample. It need not load once the
// store says what decides, and is nil then.
func directory(ctx context.Context, store rollout.Store, dir string) (func() *decision.Bundle, error) {
	var bundle *decision.Bundle
	_, err := rollout.Newest(ctx, store)
	if errors.Is(err, rollout.ErrNone) {
		bundle, err = policy.Load(bundleFiles(dir))
	}
	return func() *decision.Bundle { return bundle }, err
}

// changeFlags are those of every change of the rollout.
type changeFlags struct {
	storeFlags `embed:""`
	Reason     string `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
	Ticket     string `placeholder:"ID" help:"The change ticket that approves it; it is recorded, not looked up."`
}

// change makes a change and says what is in force then.
func (c changeFlags) change(ctx context.Context, to streams, do func(rollout.Store, audit.By) (audit.ChangeFacts, error)) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making an id: %w", err)
	}
	return c.use(ctx, true, func(store dataStore) error {
		made, err := do(store, audit.By{Actor: actor(), Reason: c.Reason, Ticket: c.Ticket, At: time.Now(), ID: id})
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "version %d: live %.12s", made.Rollout.Version, made.Rollout.Live.Digest)
		if made.Rollout.Mode != 0 {
			fmt.Fprintf(to.out, ", candidate %.12s (%s)", made.Rollout.Candidate.Digest, trialText(&made.Rollout))
		}
		fmt.Fprintln(to.out)
		return nil
	})
}

// actor is the user that runs this process: the number that the operating system
// vouches for, with the name that it has for it, if any.
func actor() string {
	uid := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil {
		return fmt.Sprintf("%s (uid %s)", u.Username, uid)
	}
	return "uid " + uid
}

type policyActivateCmd struct {
	Bundle      string `arg:"" type:"existingdir" help:"The bundle's directory."`
	changeFlags `embed:""`
	Shadow      bool     `help:"Try it out beside the live bundle: every request is decided by both, and the record has the difference."`
	Canary      string   `placeholder:"PERCENT" help:"Try it out on this share of the sessions, such as 10%."`
	Tenants     []string `placeholder:"TENANT" help:"Try it out on these tenants' sessions alone."`
	Margin      string   `default:"5%" placeholder:"PERCENT" help:"Take it out when its share of denials is further from the live bundle's; 100%: never."`
	ErrorMargin string   `default:"1%" placeholder:"PERCENT" help:"Take it out when policies that cannot be evaluated are more frequent by more; 100%: never."`
}

// Run activates.
func (c policyActivateCmd) Run(ctx context.Context, to streams) error {
	trial, err := c.trial()
	if err != nil {
		return err
	}
	return c.change(ctx, to, func(s rollout.Store, by audit.By) (audit.ChangeFacts, error) {
		return rollout.Activate(ctx, s, os.DirFS(c.Bundle), trial, by)
	})
}

func (c policyActivateCmd) trial() (t rollout.Trial, err error) {
	canary := c.Canary != "" || len(c.Tenants) > 0
	switch {
	case c.Shadow && canary:
		return t, usageError("--shadow is for every session: it goes without --canary and --tenants")
	case !c.Shadow && !canary:
		return t, nil
	case c.Shadow:
		t.Mode = decision.Shadow
	default:
		t.Mode, t.Share, t.Tenants = decision.Canary, decision.Whole, c.Tenants
		if c.Canary != "" {
			if t.Share, err = percent("--canary", c.Canary); err != nil {
				return t, err
			}
			if t.Share == 0 {
				return t, usageError("--canary is 0%: nobody would be answered by it")
			}
		}
	}
	if t.Margin.Denials, err = percent("--margin", c.Margin); err != nil {
		return t, err
	}
	t.Margin.Errors, err = percent("--error-margin", c.ErrorMargin)
	return t, err
}

// percent reads a share to the hundredth of a per cent.
func percent(flag, text string) (int, error) {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	hundredths := math.Round(n * 100)
	if err != nil || !(n >= 0 && n <= 100) || math.Abs(hundredths-n*100) > 1e-6 {
		return 0, usageError(flag + " is not a percentage of 0 to 100 with at most two decimal places")
	}
	return int(hundredths), nil
}

type policyRollbackCmd struct {
	changeFlags `embed:""`
}

// Run goes back.
func (c policyRollbackCmd) Run(ctx context.Context, to streams) error {
	return c.change(ctx, to, func(s rollout.Store, by audit.By) (audit.ChangeFacts, error) { return rollout.Rollback(ctx, s, by) })
}
