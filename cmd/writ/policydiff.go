package main

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/diff"
	"github.com/writpdp/writ/server/policy/prove"
	"github.com/writpdp/writ/server/policy/prove/symcc"
)

// exitDiffers is, as of diff(1), the exit code where bundles differ. One that
// cannot be loaded is wrong usage, so that it is not taken for a difference.
const exitDiffers = 1

type policyDiffCmd struct {
	Old    string `arg:"" help:"The bundle as it was: a directory, or REVISION:DIRECTORY in Git."`
	New    string `arg:"" help:"The bundle as it is, likewise."`
	Output string `short:"o" default:"text" enum:"text,json,markdown" help:"Output: ${enum}."`

	Prove      bool          `help:"Say of all requests at once whether NEW allows more or less, with an example. Needs Cedar's command line and cvc5."`
	ProveLimit time.Duration `default:"60s" help:"How long each question to the prover may take."`
	Cedar      string        `env:"CEDAR" default:"cedar" help:"Cedar's command line, for --prove."`
	CVC5       string        `name:"cvc5" env:"CVC5" default:"cvc5" help:"The solver, for --prove."`
}

// Help is what the command's help says besides.
func (policyDiffCmd) Help() string {
	return "Exit codes: 0 the bundles are the same, 1 they differ, 2 one cannot be loaded."
}

// Run prints the difference.
func (c policyDiffCmd) Run(ctx context.Context, to streams) error {
	var prover *symcc.Tool
	if c.Prove { // what is missing is said before anything is worked out
		var err error
		if prover, err = symcc.Find(ctx, c.Cedar, c.CVC5, c.ProveLimit); err != nil {
			return err
		}
	}
	old, err := side(ctx, c.Old, c.Prove)
	if err != nil {
		return usageError(err.Error())
	}
	new, err := side(ctx, c.New, c.Prove)
	if err != nil {
		return usageError(err.Error())
	}
	d, err := diff.Of(old.Bundle, new.Bundle)
	if err != nil {
		return usageError(err.Error())
	}
	if prover != nil {
		if d.Proof, err = prove.Of(ctx, old.proving, new.proving, prover.Ask, runtime.NumCPU()); err != nil {
			return err
		}
		d.Proof.Prover = prover.String()
	}
	switch c.Output {
	case "json":
		text, err := d.JSON()
		if err != nil {
			return usageError(err.Error())
		}
		fmt.Fprintln(to.out, string(text))
	case "markdown":
		fmt.Fprint(to.out, d.Markdown())
	default:
		fmt.Fprint(to.out, d.Text())
	}
	if d.Same() {
		return nil
	}
	return exitCode(exitDiffers)
}

// compared is one side of a comparison.
type compared struct {
	diff.Bundle
	// proving is the same for a proof; empty: none is asked for.
	proving prove.Side
}

// side loads one side, for a proof too if so asked.
func side(ctx context.Context, place string, proving bool) (compared, error) {
	files, done, err := bundleAt(ctx, place)
	if err != nil {
		return compared{}, err
	}
	defer done()
	out, err := loadSide(files)
	if err == nil && proving {
		out.proving, err = provingSide(files, out.Bundle)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", place, err)
	}
	return out, nil
}

func loadSide(files fs.FS) (out compared, err error) {
	if out.Bundle.Bundle, out.Set, err = loadBundle(files); err != nil {
		return out, err
	}
	out.Schema, err = policy.Declarations(files)
	return out, err
}

// provingSide is a bundle as a proof needs it.
func provingSide(files fs.FS, b diff.Bundle) (out prove.Side, err error) {
	out.Bundle = b.Bundle
	if out.Schema, err = policy.Schema(files); err != nil {
		return out, err
	}
	out.Source, err = policy.Read(files)
	return out, err
}
