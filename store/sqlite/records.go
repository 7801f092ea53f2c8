package sqlite

import (
	"context"

	"github.com/writpdp/writ/server/audit"
)

// tenantsSQL are the tenants that have records. Each one's lie together, so this
// looks at one record of each.
const tenantsSQL = `WITH RECURSIVE t (tenant) AS (
		SELECT min(tenant) FROM record
		UNION ALL SELECT (SELECT min(o.tenant) FROM record AS o WHERE o.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL)
	SELECT tenant FROM t WHERE tenant IS NOT NULL ORDER BY tenant`

// Records yields the records with from <= id < to, by id; of every tenant, one
// after the other, where none is named.
func (r reader) Records(ctx context.Context, tenant string, from, to [16]byte, yield func(audit.Row) error) error {
	return r.tenants(ctx, tenant, func(tenant string) error {
		err := r.each(ctx, func(scan func(...any) error) error {
			row, err := scanRow(scan)
			if err != nil {
				return err
			}
			return yield(row)
		}, `SELECT `+recordColumns+` FROM record AS r WHERE r.tenant = ? AND r.id >= ? AND r.id < ? ORDER BY r.id`, tenant, from[:], to[:])
		return reading("the records", err)
	})
}

// CountRecords is how many records Records would yield.
func (s *Store) CountRecords(ctx context.Context, tenant string, from, to [16]byte) (n int64, err error) {
	err = s.tenants(ctx, tenant, func(tenant string) error {
		return s.each(ctx, func(scan func(...any) error) error {
			var more int64
			err := scan(&more)
			n += more
			return err
		}, `SELECT count(*) FROM record AS r WHERE r.tenant = ? AND r.id >= ? AND r.id < ?`, tenant, from[:], to[:])
	})
	return n, reading("the number of records", err)
}

// tenants calls f for a tenant, or for each there is.
func (r reader) tenants(ctx context.Context, tenant string, f func(string) error) error {
	if tenant != "" {
		return f(tenant)
	}
	var all []string
	err := r.each(ctx, func(scan func(...any) error) error {
		var one string
		err := scan(&one)
		all = append(all, one)
		return err
	}, tenantsSQL)
	if err != nil {
		return reading("the tenants", err)
	}
	for _, one := range all {
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
}
