package source

import (
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/writpdp/writ/server/policy/source/pack"
)

// gather takes the files below a directory of a commit's tree.
func gather(o *pack.Objects, root plumbing.Hash, directory string) (*tree, error) {
	if directory != "." {
		for part := range strings.SplitSeq(directory, "/") {
			entries, err := treeOf(o, root, directory)
			if err != nil {
				return nil, err
			}
			found := false
			for _, e := range entries {
				if e.Name == part && e.Mode == pack.Directory {
					root, found = e.Hash, true
				}
			}
			if !found {
				return nil, fmt.Errorf("the commit has no directory %s", directory)
			}
		}
	}
	t := &tree{}
	visited := 0
	if err := walk(o, t, root, "", &visited); err != nil {
		return nil, err
	}
	return t, nil
}

// walk counts what it visits: a few small trees can name one another so that
// they unfold into more files than there are atoms.
func walk(o *pack.Objects, t *tree, root plumbing.Hash, prefix string, visited *int) error {
	entries, err := treeOf(o, root, prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := prefix + e.Name
		if *visited++; *visited > 2*maxFiles {
			return fmt.Errorf("more than %d files and directories", 2*maxFiles)
		}
		if hidden(e.Name) {
			continue
		}
		if err := checkName(name); err != nil {
			return err
		}
		switch e.Mode {
		case pack.Directory:
			err = walk(o, t, e.Hash, name+"/", visited)
		case "100644", "100755", "100664":
			err = file(o, t, name, e.Hash)
		case pack.Link:
			err = fmt.Errorf("%s: a symbolic link", name)
		case pack.Submodule:
			err = fmt.Errorf("%s: a submodule, whose files would not be read", name)
		default:
			err = fmt.Errorf("%s: an entry of the mode %.8q", name, e.Mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func treeOf(o *pack.Objects, hash plumbing.Hash, name string) ([]pack.Entry, error) {
	data, ok := o.Object(plumbing.TreeObject, hash)
	if !ok {
		return nil, fmt.Errorf("the tree %s of %q: %w", hash, name, errIncomplete)
	}
	entries, err := pack.ReadTree(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return entries, nil
}

func file(o *pack.Objects, t *tree, name string, hash plumbing.Hash) error {
	data, ok := o.Object(plumbing.BlobObject, hash)
	switch {
	case o.Large(hash):
		return fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	case !ok:
		return fmt.Errorf("%s: %w", name, errIncomplete)
	}
	return t.add(name, data)
}
