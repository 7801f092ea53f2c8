package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/sqlite"
)

func TestExamine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "writ.db")
	if _, err := sqlite.Examine(t.Context(), path, time.Now); err == nil {
		t.Error("what is not there: no error")
	}
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func() error
		want   map[string]lane.Grade
	}{
		{"as it is made", func() error { return nil }, map[string]lane.Grade{"directory": lane.Good, "file": lane.Good, "schema": lane.Good, "pages": lane.Good}},
		{"open to others", func() error { return os.Chmod(path, 0o640) }, map[string]lane.Grade{"directory": lane.Good, "file": lane.Bad, "schema": lane.Good, "pages": lane.Good}},
		{"in an open directory", func() error { return os.Chmod(dir, 0o755) }, map[string]lane.Grade{"directory": lane.Bad, "file": lane.Bad, "schema": lane.Good, "pages": lane.Good}},
		{"no ledger", func() error {
			return errors.Join(os.Remove(path+"-wal"), os.WriteFile(path, []byte("no ledger"), 0o600))
		}, map[string]lane.Grade{"directory": lane.Bad, "file": lane.Bad, "schema": lane.Bad}},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		found, err := sqlite.Examine(t.Context(), path, time.Now)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, disk := map[string]lane.Grade{}, false
		for _, f := range found {
			if disk = disk || f.Check == "disk"; f.Check != "disk" { // that is the machine's
				got[f.Check] = f.Grade
			}
			if (f.Grade == lane.Good) != (f.Remedy == "") {
				t.Errorf("%s: %s is %s, with the remedy %q", c.name, f.Check, f.Grade, f.Remedy)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || !disk {
			t.Errorf("%s: disk %v (-want +got):\n%s", c.name, disk, diff)
		}
		if diff := cmp.Diff(before, names(t, dir)); diff != "" {
			t.Errorf("%s: it left something behind (-before +after):\n%s", c.name, diff)
		}
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
