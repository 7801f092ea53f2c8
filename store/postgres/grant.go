package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// granted is all that whoever serves and administers has to do: records, the order
// of the log, its checkpoints and used tokens are added to, and never changed.
var granted = []string{
	`GRANT USAGE ON SCHEMA $schema TO $role`,
	`GRANT SELECT ON ALL TABLES IN SCHEMA $schema TO $role`,
	`GRANT INSERT ON record, pending, leaf, tile, checkpoint, budget_use, ticket, ticket_use, used_token, rollout, bundle, lock_version, lapse, vault TO $role`,
	`GRANT UPDATE (used) ON budget_use TO $role`,
	`GRANT UPDATE (version, state, record, uses) ON ticket TO $role`,
	`GRANT UPDATE (hashes) ON tile TO $role`,
	`GRANT DELETE ON pending, lapse, vault TO $role`,
	`GRANT UPDATE ON lock_fence, sequencer TO $role`, // to lock them
	`GRANT INSERT, UPDATE, DELETE ON replica TO $role`,
	`GRANT INSERT, UPDATE (told), DELETE ON lease_holder TO $role`,
	`GRANT INSERT, UPDATE (unspent), DELETE ON lease TO $role`,
	`REVOKE EXECUTE ON FUNCTION forget_tokens(timestamptz) FROM PUBLIC`,
	`GRANT EXECUTE ON FUNCTION forget_tokens(timestamptz) TO $role`,
}

// Grant gives a role what it takes to serve from a database, and nothing else. The
// connection is the schema's owner's; the role must exist. It may be repeated, and
// has to be after a migration.
func Grant(ctx context.Context, dsn, role string) error {
	c, err := owner(dsn)
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var schema string
		if err := tx.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
			return err
		}
		names := strings.NewReplacer("$schema", pgx.Identifier{schema}.Sanitize(), "$role", pgx.Identifier{role}.Sanitize())
		for _, text := range granted {
			if _, err := tx.Exec(ctx, names.Replace(text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("granting the role what serving takes: %w", err)
	}
	return nil
}
