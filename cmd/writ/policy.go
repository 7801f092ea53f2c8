package main

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
)

type policyCmd struct {
	Init   policyInitCmd   `cmd:"" help:"Write the sample bundle into a new directory, to start from."`
	Check  policyCheckCmd  `cmd:"" help:"Load a bundle as the server would and say what is wrong, or what is in it."`
	Replay policyReplayCmd `cmd:"" help:"Decide recorded requests again with another bundle and say what would have changed."`
	Schema policySchemaCmd `cmd:"" help:"Print a bundle's whole Cedar schema, the actions of its tools included."`
}

// bundleArg is the directory of a bundle.
type bundleArg struct {
	Bundle string `arg:"" optional:"" type:"existingdir" help:"The bundle's directory. Without: the sample bundle in this binary."`
}

func (b bundleArg) files() fs.FS { return bundleFiles(b.Bundle) }

// bundleFiles is the file system of a bundle's directory, or the sample.
func bundleFiles(dir string) fs.FS {
	if dir == "" {
		return policies.Files
	}
	return os.DirFS(dir)
}

type policyInitCmd struct {
	Dir string `arg:"" type:"path" help:"The new bundle's directory."`
}

// Run writes the bundle. It replaces no file.
func (c policyInitCmd) Run(to streams) error {
	if err := os.CopyFS(c.Dir, policies.Files); err != nil {
		return fmt.Errorf("writing the sample bundle: %w", err)
	}
	fmt.Fprintf(to.out, "%s holds the sample bundle; try `writ dev --bundle %s`\n", c.Dir, c.Dir)
	return nil
}

type policyCheckCmd struct{ bundleArg }

// Run checks the bundle.
func (c policyCheckCmd) Run(to streams) error {
	b, err := policy.Load(c.files())
	if err != nil {
		return err
	}
	fmt.Fprintf(to.out, "%s: ok\n  digest    %s\n  tools     %d\n  purposes  %d\n  vendors   %d\n  budgets   %d\n",
		b.Name, b.Digest, len(b.Tools), len(b.Purposes), len(b.Vendors), len(b.Budgets))
	return nil
}

type policySchemaCmd struct{ bundleArg }

// Run prints the schema.
func (c policySchemaCmd) Run(to streams) error {
	text, err := policy.Schema(c.files())
	if err != nil {
		return err
	}
	_, err = to.out.Write(text)
	return err
}
