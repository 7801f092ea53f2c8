package main

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/policy"
)

type policyCmd struct {
	Check  policyCheckCmd  `cmd:"" help:"Load a bundle as the server would and say what is wrong, or what is in it."`
	Lint   policyLintCmd   `cmd:"" help:"Say what is suspect in a bundle. Exits with 1 for warnings and errors, with 0 for notes."`
	Schema policySchemaCmd `cmd:"" help:"Print a bundle's whole Cedar schema, the actions of its tools included."`
	Tools  policyToolsCmd  `cmd:"" help:"Compare pinned tools with what a server lists, and pin them anew."`
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
