package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/pseudonym"
)

type vaultCmd struct {
	Reveal vaultRevealCmd `cmd:"" help:"Tell what a token of a redaction stands for."`
	Forget vaultForgetCmd `cmd:"" help:"Erase what a token of a redaction stands for."`
}

// Help is what the command's help says besides.
func (vaultCmd) Help() string {
	return "Policies that redact by \"tokenise\" put tokens into documents, [token:…], and what these stand for into the store, sealed. " +
		"These commands work on the store: whoever can write to it, and has the key, is believed. Each is a record in the log before anything is told."
}

// vaultFlags are those of both.
type vaultFlags struct {
	Token      string `arg:"" help:"The token, as it stands in the document." placeholder:"TOKEN"`
	storeFlags `embed:""`
	tenantFlag `embed:""`
	Reason     string `required:"" placeholder:"TEXT" help:"Why, in a sentence; it is in the log for good."`
	Ticket     string `placeholder:"ID" help:"The ticket that approves it; it is recorded, not looked up."`
}

var errNoToken = errors.New("the vault has no such token of the tenant")

// ask records a question about a token, and then says what became of it. open is what
// is done with what the store has.
func (f vaultFlags) ask(ctx context.Context, forgets bool, open func(audit.VaultRow) error) error {
	return f.use(ctx, true, func(store dataStore) error {
		facts := audit.RevealFacts{At: time.Now().UTC(), Tenant: f.Tenant, Actor: actor(), Forgets: forgets, Token: f.Token, Reason: f.Reason, Ticket: f.Ticket,
			Outcome: writv1.RevealOutcome_REVEAL_OUTCOME_DONE}
		row, err := store.Vaulted(ctx, f.Tenant, f.Token)
		if errors.Is(err, audit.ErrNotFound) {
			err = errNoToken
		} else if err != nil {
			return err
		} else {
			err = open(row)
		}
		if err != nil {
			facts.Outcome = writv1.RevealOutcome_REVEAL_OUTCOME_UNKNOWN
		}
		id, made := uuid.NewV7()
		if made != nil {
			return fmt.Errorf("making an id: %w", made)
		}
		entry, encoded := audit.Revealed(id, facts)
		if encoded != nil {
			return encoded
		}
		if _, committed := store.Commit(ctx, entry); committed != nil {
			return fmt.Errorf("recording the question: %w", committed)
		}
		return err
	})
}

type vaultRevealCmd struct {
	vaultFlags `embed:""`
	KeyFile    string `required:"" type:"existingfile" placeholder:"FILE" help:"The servers' redaction.key_file."`
}

// Run reveals a token.
func (c vaultRevealCmd) Run(ctx context.Context, to streams) error {
	key, err := pseudonym.Read(c.KeyFile)
	if err != nil {
		return err
	}
	var value string
	if err := c.ask(ctx, false, func(row audit.VaultRow) (err error) {
		value, err = key.Of(c.Tenant).Open(row.Class, row.Token, row.Sealed)
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintln(to.out, value)
	return nil
}

type vaultForgetCmd struct {
	vaultFlags `embed:""`
}

// Run forgets a token.
func (c vaultForgetCmd) Run(ctx context.Context, to streams) error {
	if err := c.ask(ctx, true, func(audit.VaultRow) error { return nil }); err != nil {
		return err
	}
	fmt.Fprintf(to.out, "%s: forgotten\n", c.Token)
	return nil
}
