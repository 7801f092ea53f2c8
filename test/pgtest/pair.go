package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pair is a primary and a standby that streams from it. Every commit of the primary
// waits for the standby, until somebody changes that.
type Pair struct {
	// Primary and Standby are as they were started.
	Primary, Standby *Cluster
	// DSN names both hosts.
	DSN string
}

// StartPair starts both and waits until commits wait for the standby.
func StartPair(ctx context.Context) (p *Pair, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	p = &Pair{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting a primary and a standby: %w", err), p.Stop())
		}
	}()
	if p.Primary, err = launch(bin, role{seed: "keep"}); err != nil {
		return p, err
	}
	if err := p.Primary.ready(ctx); err != nil {
		return p, err
	}
	primary, err := url.Parse(p.Primary.DSN)
	if err != nil {
		return p, err
	}
	p.Standby, err = launch(bin, role{seed: filepath.Join(p.Primary.directory, "seed"),
		primary: fmt.Sprintf("host=%s port=%s user=postgres application_name=standby", primary.Hostname(), primary.Port())})
	if err != nil {
		return p, err
	}
	if err := p.Standby.ready(ctx); err != nil {
		return p, err
	}
	standby, err := url.Parse(p.Standby.DSN)
	if err != nil {
		return p, err
	}
	both := *primary
	both.Host = net.JoinHostPort(primary.Hostname(), primary.Port()) + "," + net.JoinHostPort(standby.Hostname(), standby.Port())
	p.DSN = both.String()
	for _, text := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"} {
		if err := execute(p.Primary.DSN, text); err != nil {
			return p, err
		}
	}
	return p, await(ctx, p.Primary.DSN, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
}

// Promote makes the standby a primary, and waits until it is.
func (p *Pair) Promote(ctx context.Context) error {
	if err := execute(p.Standby.DSN, "SELECT pg_promote()"); err != nil {
		return fmt.Errorf("promoting the standby: %w", err)
	}
	return await(ctx, p.Standby.DSN, "SELECT NOT pg_is_in_recovery()")
}

// Stop stops what runs of the two.
func (p *Pair) Stop() error {
	var errs []error
	for _, c := range []**Cluster{&p.Standby, &p.Primary} {
		if *c != nil {
			errs = append(errs, (*c).Stop())
			*c = nil
		}
	}
	return errors.Join(errs...)
}

// StopPrimary stops the primary, at once and without ceremony.
func (p *Pair) StopPrimary() error {
	c := p.Primary
	p.Primary = nil
	return c.Stop()
}

// await asks until a query's one boolean is true.
func await(ctx context.Context, dsn, query string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		var done bool
		if err := conn.QueryRow(ctx, query).Scan(&done); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", query, ctx.Err())
		case <-again.C:
		}
	}
}
