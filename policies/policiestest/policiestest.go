// Package policiestest lends the sample bundle to tests and benchmarks that
// change it.
package policiestest

import (
	"io/fs"
	"testing/fstest"

	"github.com/writpdp/writ/policies"
)

// Sample is a copy of the sample bundle's files, which are the caller's to change.
func Sample() fstest.MapFS {
	files := fstest.MapFS{}
	err := fs.WalkDir(policies.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(policies.Files, name)
		files[name] = &fstest.MapFile{Data: data, Mode: 0o444}
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return files
}
