package postgres

import (
	"context"
	"fmt"
	"time"
)

// ForgetTokens forgets, by the hour, the tokens that expired more than an hour
// before a time, by the server's clock at most, and from then on no replica
// accepts one of them, whatever its clock says. One hour's tokens are forgotten at
// a call, and what it leaves within a few hours. Any number of replicas may call it.
func (s *Store) ForgetTokens(ctx context.Context, at time.Time) error {
	if _, err := s.write.Exec(ctx, `SELECT forget_tokens($1)`, at); err != nil {
		return fmt.Errorf("forgetting tokens: %w", err)
	}
	return nil
}
