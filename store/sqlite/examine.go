package sqlite

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/writpdp/writ/store/lane"
)

const (
	// syncs is how many are timed, and quick what no disk that keeps its word is
	// faster than.
	syncs = 32
	quick = 20 * time.Microsecond
)

// Examine looks at a ledger's file and at the directory that it is in, which must
// exist. It leaves nothing behind. The error says that they could not be examined;
// what is wrong with them is among the findings. now is the clock.
func Examine(ctx context.Context, path string, now func() time.Time) ([]lane.Finding, error) {
	var found []lane.Finding
	add := func(check string, g lane.Grade, remedy, says string) {
		if g == lane.Good {
			remedy = ""
		}
		found = append(found, lane.Finding{Check: check, Grade: g, Says: says, Remedy: remedy})
	}
	for _, place := range []struct {
		check, path string
		most        fs.FileMode
	}{{"directory", filepath.Dir(path), 0o700}, {"file", path, 0o600}} {
		info, err := os.Stat(place.path)
		if err != nil {
			return nil, fmt.Errorf("examining the ledger: %w", err)
		}
		mode, grade := info.Mode().Perm(), lane.Good
		if mode&^place.most != 0 {
			grade = lane.Bad
		}
		add(place.check, grade, fmt.Sprintf("chmod %o %s", place.most, place.path), fmt.Sprintf("its mode is %o", mode))
	}
	median, err := syncing(filepath.Dir(path), now)
	if err != nil {
		return nil, fmt.Errorf("examining the ledger: %w", err)
	}
	grade, says := lane.Good, "as of a disk that is waited for"
	if median < quick {
		grade, says = lane.Suspect, "no disk that keeps what it is given is so fast"
	}
	add("disk", grade, "See that the disk's cache survives a power cut, and that nothing between lies about syncing.",
		fmt.Sprintf("a write takes %s; %s", median.Round(time.Microsecond), says))
	s, err := OpenReadOnly(ctx, path)
	if err != nil {
		add("schema", lane.Bad, "Open it once with `writ serve` or `writ dev` of this version.", err.Error())
		return found, nil
	}
	add("schema", lane.Good, "", "it is that of this build")
	var verdict string
	err = s.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		add("pages", lane.Bad, "Restore it from a copy.", verdict)
	} else if err == nil {
		add("pages", lane.Good, "", "they hang together")
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("examining the ledger: %w", err)
	}
	return found, nil
}

// syncing is how long a small write to a directory takes until it is on the disk.
func syncing(dir string, now func() time.Time) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, "examine-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range syncs {
		began := now()
		if _, err := f.Write(make([]byte, 512)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, now().Sub(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
