package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/writpdp/writ/server/audit"
)

type logCheckpointCmd struct {
	storeFlags `embed:""`
}

// Run prints the newest checkpoint as it is stored: log verify checks it, now
// and when it is known from elsewhere.
func (c logCheckpointCmd) Run(ctx context.Context, to streams) error {
	var head audit.Checkpoint
	err := c.use(ctx, false, func(store dataStore) (err error) {
		head, err = store.Checkpoint(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if head.Size == 0 {
		return errors.New("nothing is sealed yet; a running server seals within a second")
	}
	_, err = to.out.Write(head.Note)
	return err
}

// readKnown reads checkpoints that were kept outside of the store.
func readKnown(files []string) ([][]byte, error) {
	var notes [][]byte
	for _, file := range files {
		note, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a known checkpoint: %w", err)
		}
		notes = append(notes, note)
	}
	return notes, nil
}
