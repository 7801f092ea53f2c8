package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

type policyCmd struct {
	Init    policyInitCmd    `cmd:"" help:"Write the sample bundle into a new directory, to start from."`
	Check   policyCheckCmd   `cmd:"" help:"Load a bundle as the server would and say what is wrong, or what is in it."`
	Lint    policyLintCmd    `cmd:"" help:"Say what is suspect in a bundle. Exits with 1 for warnings and errors, with 0 for notes."`
	Schema  policySchemaCmd  `cmd:"" help:"Print a bundle's whole Cedar schema, the actions of its tools included."`
	Tools   policyToolsCmd   `cmd:"" help:"Compare pinned tools with what a server lists, and pin them anew."`
	Test    policyTestCmd    `cmd:"" help:"Run a bundle's tests, and say what they cover."`
	Table   policyTableCmd   `cmd:"" help:"Print what the policies permit: agent by tool by purpose."`
	Diff    policyDiffCmd    `cmd:"" help:"Say what differs between two bundles. Exits with 1 when something does."`
	Access  policyAccessCmd  `cmd:"" help:"Say what a caller may ask Writ for, and by which policies."`
	Explain policyExplainCmd `cmd:"" help:"Decide one request on a bundle, without a PDP, and say why. Exits with 3 when denied."`
	Hashes  policyHashesCmd  `cmd:"" help:"Hash the values of a file, one a line, for a detector that tells them by their hashes alone."`
	Replay  policyReplayCmd  `cmd:"" help:"Decide recorded requests again with another bundle and say what would have changed."`

	Sign     policySignCmd     `cmd:"" help:"Approve a bundle in a registry: print a signature over its manifest, to be attached to it."`
	Activate policyActivateCmd `cmd:"" help:"Put a bundle into force on every server of a store, or try it out there."`
	Rollback policyRollbackCmd `cmd:"" help:"Take a bundle out that is tried out; without one, go back to what was live before."`
	Status   policyStatusCmd   `cmd:"" help:"Say what is in force, since when, by whom and why."`
}

// bundleArg is the directory of a bundle.
type bundleArg struct {
	Bundle string `arg:"" optional:"" type:"existingdir" help:"The bundle's directory. Without: the sample bundle in this binary."`
}

func (b bundleArg) files() fs.FS { return bundleFiles(b.Bundle) }

// place is where a file of the bundle is, as seen from the working directory.
func (b bundleArg) place(name string) string {
	whole := filepath.Join(b.Bundle, name)
	here, err := os.Getwd()
	if err != nil {
		return whole
	}
	if short, err := filepath.Rel(here, whole); err == nil && filepath.IsLocal(short) {
		return short
	}
	return whole
}

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

// loadBundle loads a bundle, and its policies as the author's tools need them.
func loadBundle(files fs.FS) (*decision.Bundle, *policy.Set, error) {
	b, err := policy.Load(files)
	if err != nil {
		return nil, nil, err
	}
	set, ok := b.Policies.(*policy.Set)
	if !ok {
		return nil, nil, fmt.Errorf("the policies of %s are of the type %T", b.Name, b.Policies)
	}
	return b, set, nil
}

type policyCheckCmd struct{ bundleArg }

// Run checks the bundle.
func (c policyCheckCmd) Run(to streams) error {
	b, set, err := loadBundle(c.files())
	if err != nil {
		return err
	}
	fmt.Fprintf(to.out, "%s: ok\n  digest    %s\n  tools     %d\n  purposes  %d\n  vendors   %d\n  budgets   %d\n  tenants   %d\n",
		b.Name, b.Digest, len(b.Tools), len(b.Purposes), len(b.Vendors), len(b.Budgets), len(set.Tenants()))
	return nil
}

type policySchemaCmd struct {
	bundleArg
	Tools  string `type:"existingfile" placeholder:"FILE" help:"Instead of a bundle: a tools/list answer, whose schema is printed with the least that a bundle declares."`
	Server string `placeholder:"NAME" help:"The id of the server whose answer it is."`
}

// Run prints the schema.
func (c policySchemaCmd) Run(to streams) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	_, err = to.out.Write(text)
	return err
}

func (c policySchemaCmd) text() ([]byte, error) {
	switch {
	case c.Tools == "" && c.Server != "":
		return nil, usageError("--server names the server of --tools")
	case c.Tools == "":
		return policy.Schema(c.files())
	case c.Bundle != "":
		return nil, usageError("give a bundle or --tools, not both")
	}
	l, err := readListing(c.Tools)
	if err != nil {
		return nil, err
	}
	server, err := l.of(c.Server)
	if err != nil {
		return nil, err
	}
	var definitions [][]byte
	for _, t := range l.Tools {
		definitions = append(definitions, t.Raw)
	}
	text, err := policy.SchemaOf(server, definitions)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Tools, err)
	}
	return text, nil
}
