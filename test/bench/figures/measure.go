package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/writpdp/writ/test/bench/workload"
)

// bench is the processes of one run.
type bench struct {
	settings
	out, complaints io.Writer
	dir             string
	trust           *trust
	generator       *process
	running         map[string]*running_
	exchange        exchange
	results         results
}

// running_ is a server under load.
type running_ struct {
	*process
	address string
	records int64 // that it was made to write
}

// measure measures what the figures need and prints them.
func measure(ctx context.Context, s settings, wanted []figure, out, complaints io.Writer) (err error) {
	b := &bench{settings: s, out: out, complaints: complaints, running: map[string]*running_{},
		results: results{samples: map[load][]sample{}, bundleLoad: map[string]float64{}}}
	if b.dir, err = os.MkdirTemp("", "writ-figures-"); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	defer func() { err = errors.Join(err, b.end()) }()
	if b.trust, err = newTrust(time.Now()); err != nil {
		return err
	}
	if b.generator, err = start("load", complaints); err != nil {
		return err
	}
	if err := b.startServers(ctx, wanted); err != nil {
		return err
	}
	for _, l := range loads(wanted) {
		if err := b.rounds(ctx, l.callers, wanted); err != nil {
			return err
		}
	}
	return nil
}

var _ = math.Abs
var _ = filepath.Join
var _ = workload.Agents
