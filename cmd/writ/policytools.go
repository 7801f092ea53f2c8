package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/writpdp/writ/server/policy/listing"
)

type policyToolsCmd struct {
	Diff policyToolsDiffCmd `cmd:"" help:"Say which tools are new, gone or changed, and what changed. Exits with 1 when anything did."`
	Pin  policyToolsPinCmd  `cmd:"" help:"Accept what a server lists into a bundle, and say what changed."`
}

// listed is a listing and the file that it was read from.
type listed struct {
	listing.Listing
	file string
}

// readListing reads a file that holds a tools/list answer or a manifest.
func readListing(name string) (listed, error) {
	f, err := os.Open(name)
	if err != nil {
		return listed{}, fmt.Errorf("reading the tools: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, listing.MaxSize+1))
	if err != nil {
		return listed{}, fmt.Errorf("reading the tools: %w", err)
	}
	l, err := listing.Parse(data)
	if err != nil {
		return listed{}, fmt.Errorf("%s: %w", name, err)
	}
	return listed{l, name}, nil
}

// of is the id of the listing's server: what the text says, or else the command
// line; they must not say different things.
func (l listed) of(named string) (string, error) {
	switch {
	case l.Server == "" && named == "":
		return "", usageError(fmt.Sprintf("%s does not say whose tools they are: give --server", l.file))
	case l.Server != "" && named != "" && l.Server != named:
		return "", usageError(fmt.Sprintf("%s is of the server %q, and not of %q", l.file, l.Server, named))
	case named != "":
		return named, nil
	}
	return l.Server, nil
}

// manifestFile is where a bundle pins a server's tools.
func manifestFile(bundle, server string) (string, error) {
	if !listing.Form.MatchString(server) {
		return "", usageError(fmt.Sprintf("the server's id %q is not of the form %s", server, listing.Form))
	}
	return filepath.Join(bundle, "tools", server+".json"), nil
}

type policyToolsDiffCmd struct {
	Old    string `arg:"" type:"path" help:"The bundle's directory, or a file with an older answer."`
	New    string `arg:"" type:"existingfile" help:"What the server answers to tools/list now."`
	Server string `placeholder:"NAME" help:"The server's id, where the answer does not say it."`
	Output string `short:"o" enum:"text,json" default:"text" help:"How changes are written: text, json (one array)."`
}

// Run compares.
func (c policyToolsDiffCmd) Run(to streams) error {
	now, err := readListing(c.New)
	if err != nil {
		return err
	}
	old, err := c.old(now)
	if err != nil {
		return err
	}
	changes := listing.Compare(old, now.Listing)
	if c.Output == "json" {
		if changes == nil {
			changes = []listing.Change{}
		}
		err = indented(to.out, changes)
	} else {
		err = writeChanges(to.out, changes)
	}
	if err != nil {
		return fmt.Errorf("writing the changes: %w", err)
	}
	if len(changes) > 0 {
		return exitCode(exitFailed)
	}
	return nil
}

// old is what the tools are compared with.
func (c policyToolsDiffCmd) old(now listed) (listing.Listing, error) {
	info, err := os.Stat(c.Old)
	if err != nil {
		return listing.Listing{}, fmt.Errorf("reading the tools: %w", err)
	}
	file := c.Old
	if info.IsDir() {
		server, err := now.of(c.Server)
		if err != nil {
			return listing.Listing{}, err
		}
		if file, err = manifestFile(c.Old, server); err != nil {
			return listing.Listing{}, err
		}
	}
	old, err := readListing(file)
	return old.Listing, err
}

func writeChanges(w io.Writer, changes []listing.Change) error {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %q\n", c.Kind, c.Tool)
		for _, d := range c.Differences {
			fmt.Fprintf(&b, "  %s\n", d.Text)
			if d.Was != "" {
				fmt.Fprintf(&b, "    - %s\n", d.Was)
			}
			if d.Is != "" {
				fmt.Fprintf(&b, "    + %s\n", d.Is)
			}
		}
	}
	if len(changes) == 0 {
		b.WriteString("nothing changed\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type policyToolsPinCmd struct {
	Bundle string `arg:"" type:"existingdir" help:"The bundle's directory."`
	New    string `arg:"" type:"existingfile" help:"What the server answers to tools/list."`
	Server string `placeholder:"NAME" help:"The server's id, where the answer does not say it."`
}

// Run writes the manifest. What the policies make of it is for policy check and
// lint to say: pinning comes first, since policies on new tools rest on it.
func (c policyToolsPinCmd) Run(to streams) error {
	now, err := readListing(c.New)
	if err != nil {
		return err
	}
	server, err := now.of(c.Server)
	if err != nil {
		return err
	}
	file, err := manifestFile(c.Bundle, server)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(filepath.Dir(file)); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: not a directory", filepath.Dir(file))
	}
	old := listed{}
	switch info, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading the pinned tools: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", file)
	default:
		if old, err = readListing(file); err != nil {
			return err
		}
	}
	changes := listing.Compare(old.Listing, now.Listing)
	if len(changes) > 0 {
		if err := writeManifest(file, server, now.Listing); err != nil {
			return err
		}
	}
	return writeChanges(to.out, changes)
}

// writeManifest puts a whole file in the place of another: one that is half
// written would be a bundle with fewer tools.
func writeManifest(file, server string, l listing.Listing) error {
	data, err := l.Manifest(server)
	if err != nil {
		return err
	}
	return replaceFile(file, data)
}
