package lane

import (
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/audit"
)

const (
	// MaxList is the most records that a store lists at once.
	MaxList = 1000
	// SealBytes ends a batch of records to be sealed once their bodies hold as
	// much.
	SealBytes = 64 << 20
)

// ListLimit is a limit within 1 to MaxList.
func ListLimit(limit int) int { return min(max(limit, 1), MaxList) }

// CheckExtension refuses an extension that is not that of the log by these rows,
// so that no mistake of the one who computes it is stored as the log.
func CheckExtension(last audit.Checkpoint, rows []audit.Row, e *audit.Extension) error {
	if got, want := e.Checkpoint.Size, last.Size+int64(len(rows)); got != want {
		return fmt.Errorf("the extension has size %d in the place of %d", got, want)
	}
	if len(e.Checkpoint.Note) == 0 {
		return errors.New("the extension has no note")
	}
	for _, t := range e.Tiles {
		if t.Level < 0 || t.Level > 63 || t.Index < 0 || len(t.Hashes) == 0 || len(t.Hashes)%32 != 0 || len(t.Hashes) > 256*32 {
			return fmt.Errorf("tile %d of level %d is malformed", t.Index, t.Level)
		}
	}
	return nil
}
