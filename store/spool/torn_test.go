package spool

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/writpdp/writ/store/sqlite"
)

// A file that takes no more is left behind with what it holds, and another takes
// its place.
func TestTornSegment(t *testing.T) {
	dir := t.TempDir()
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, "writ.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	told := make(chan error, 10)
	s, err := Open(t.Context(), filepath.Join(dir, "spool"), store, Config{Sync: time.Hour, Now: time.Now, Report: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.mu.Lock()
	torn := s.segment
	if err := torn.f.Close(); err != nil {
		t.Fatal(err)
	}
	if torn.f, err = os.Open(torn.file); err != nil { // for reading
		t.Fatal(err)
	}
	if err := torn.append([]byte("record")); err == nil {
		t.Error("appended to a file that is open for reading")
	}
	s.fail(os.ErrInvalid)
	s.mu.Unlock()
	s.signal()
	<-told
	for {
		s.mu.Lock()
		segment, failing, moved := s.segment, s.failing, s.moved
		s.mu.Unlock()
		if segment != torn && failing == nil {
			break
		}
		<-moved
	}
	if err := s.segment.append([]byte("record")); err != nil {
		t.Error(err)
	}
	s.segment.count, s.segment.bytes = 0, 0 // it is none
}
