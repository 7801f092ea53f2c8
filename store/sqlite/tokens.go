package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/store/lane"
)

const (
	horizonSQL     = `SELECT hour FROM token_horizon`
	moveHorizonSQL = `UPDATE token_horizon SET hour = ?`
)

var (
	// A token that a record used stays used, unless the record is that of this
	// very request; a record that is gone does not free it, and what may have been
	// forgotten counts as used.
	tokenUsedSQL = `(EXISTS (SELECT 1 FROM token_horizon AS h WHERE h.hour > ?7)
			OR EXISTS (SELECT 1 FROM (` + slots(" UNION ALL ", `SELECT u.tenant, u.record FROM used_token_%d AS u WHERE u.token IN (?1, ?8)`) + `) AS u
			WHERE NOT EXISTS (SELECT 1 FROM record AS o
			WHERE o.tenant = u.tenant AND o.id = u.record AND o.tenant = ?2 AND o.kind = ?3 AND o.key = ?4)))`

	tokensSQL = slots(" UNION ALL ", `SELECT u.token FROM json_each(?1) AS w CROSS JOIN used_token_%d AS u ON u.token = unhex(w.value)`)

	usedTokensSQL   = slots(" UNION ALL ", `SELECT tenant, token, record, expires, %d FROM used_token_%[1]d`) + " ORDER BY token"
	recentTokensSQL = slots(" UNION ALL ", `SELECT token, expires FROM used_token_%d WHERE expires > ?1`)

	insertTokensSQL = each(`INSERT INTO used_token_%d (token, tenant, record, expires)
		SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2), value ->> 3 FROM json_each(?)`)
	liveTokensSQL = each(`SELECT EXISTS (SELECT 1 FROM used_token_%d WHERE expires >= ?)`)
	// Without a condition, SQLite drops the table's pages and looks at no row.
	emptySQL = each(`DELETE FROM used_token_%d`)
)

// each is a statement for every slot.
func each(format string) (texts [lane.Slots]string) {
	for i := range texts {
		texts[i] = fmt.Sprintf(format, i)
	}
	return texts
}

// slots joins a query for every slot to one.
func slots(with, format string) string {
	texts := each(format)
	return strings.Join(texts[:], with)
}

// useTokens notes tokens as used, each in its slot.
func (t tx) useTokens(tokens []audit.UsedToken) error {
	var by [lane.Slots][]audit.UsedToken
	for _, u := range tokens {
		slot := lane.SlotOf(u.Expires)
		by[slot] = append(by[slot], u)
	}
	for slot, tokens := range by {
		keys := many(tokens, func(u audit.UsedToken) any {
			return []any{hex.EncodeToString(u.Token[:]), u.Tenant, hex.EncodeToString(u.Record[:]), u.Expires.UnixMicro()}
		})
		if keys == nil {
			continue
		}
		if err := t.exec(insertTokensSQL[slot], string(keys)); err != nil {
			return err
		}
	}
	return nil
}

// ForgetTokens forgets, by the hour, the tokens that expired more than an hour
// before a time, and from then on accepts none of them, whatever the clock says.
// One hour's tokens are forgotten at a call, and what it leaves within Slots hours.
func (s *Store) ForgetTokens(ctx context.Context, at time.Time) error {
	if s.lane == nil {
		return fmt.Errorf("forgetting tokens: %w", errReadOnly)
	}
	horizon := lane.HorizonAt(at)
	slot := lane.LastSlot(horizon)
	// Somebody's clock was hours ahead: then what it accepted stays for a turn more.
	var live bool
	err := s.read.QueryRowContext(ctx, liveTokensSQL[slot], horizon*int64(time.Hour/time.Microsecond)).Scan(&live)
	if err == nil {
		err = s.write.update(func(t tx) error { return t.forget(horizon, slot, live) })
	}
	if err != nil {
		return fmt.Errorf("forgetting tokens: %w", err)
	}
	return nil
}

// forget moves the horizon, unless it is there already, and empties a slot that
// holds nothing live.
func (t tx) forget(horizon int64, slot int, live bool) error {
	var was int64
	if err := t.each(func(scan func(...any) error) error { return scan(&was) }, horizonSQL); err != nil {
		return err
	}
	if horizon <= was {
		return nil
	}
	if !live {
		if err := t.exec(emptySQL[slot]); err != nil {
			return err
		}
	}
	return t.exec(moveHorizonSQL, horizon)
}

// UsedTokens yields every token that is remembered, by its digest.
func (r reader) UsedTokens(ctx context.Context, yield func(audit.UsedToken) error) error {
	err := r.each(ctx, func(scan func(...any) error) error {
		var rawToken, rawID []byte
		var expires int64
		var slot int
		var u audit.UsedToken
		if err := scan(&u.Tenant, &rawToken, &rawID, &expires, &slot); err != nil {
			return err
		}
		u.Expires = moment(expires)
		var err error
		if u.Token, err = digest(rawToken); err != nil {
			return err
		}
		if u.Record, err = id(rawID); err != nil {
			return err
		}
		if err := lane.CheckSlot(&u, slot); err != nil {
			return err
		}
		return yield(u)
	}, usedTokensSQL)
	return reading("the used tokens", err)
}
