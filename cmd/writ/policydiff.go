package main

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/diff"
)

// exitDiffers is, as of diff(1), the exit code where bundles differ. One that
// cannot be loaded is wrong usage, so that it is not taken for a difference.
const exitDiffers = 1

type policyDiffCmd struct {
	Old    string `arg:"" help:"The bundle as it was: a directory, or REVISION:DIRECTORY in Git."`
	New    string `arg:"" help:"The bundle as it is, likewise."`
	Output string `short:"o" default:"text" enum:"text,json,markdown" help:"Output: ${enum}."`
}

// Help is what the command's help says besides.
func (policyDiffCmd) Help() string {
	return "Exit codes: 0 the bundles are the same, 1 they differ, 2 one cannot be loaded."
}

// Run prints the difference.
func (c policyDiffCmd) Run(ctx context.Context, to streams) error {
	old, err := side(ctx, c.Old)
	if err != nil {
		return usageError(err.Error())
	}
	new, err := side(ctx, c.New)
	if err != nil {
		return usageError(err.Error())
	}
	d, err := diff.Of(old, new)
	if err != nil {
		return usageError(err.Error())
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

// side loads one side.
func side(ctx context.Context, place string) (diff.Bundle, error) {
	files, done, err := bundleAt(ctx, place)
	if err != nil {
		return diff.Bundle{}, err
	}
	defer done()
	out, err := loadSide(files)
	if err != nil {
		return out, fmt.Errorf("%s: %w", place, err)
	}
	return out, nil
}

func loadSide(files fs.FS) (out diff.Bundle, err error) {
	if out.Bundle, out.Set, err = loadBundle(files); err != nil {
		return out, err
	}
	out.Schema, err = policy.Declarations(files)
	return out, err
}
