package jwks

import (
	"context"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/identity"
)

// filePoll is how often a file is read again.
const filePoll = 5 * time.Second

// File follows a key set in a file. One that is half written, or gone, changes
// nothing: the last keys stay, up to MaxAge.
func File(path string, c Config) (*Source, error) {
	return newSource(c, origin{
		read: func(context.Context) ([]byte, time.Duration, error) {
			data, err := readBounded(path, identity.MaxKeySet)
			if err != nil {
				return nil, 0, fmt.Errorf("reading a key set: %w", err)
			}
			return data, filePoll, nil
		},
		least: filePoll, most: filePoll, cooldown: filePoll,
	})
}
