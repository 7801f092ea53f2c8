package test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// covered says of every column what the verification must find once one of its
// values was changed. A column is here or in exempt: one that is added without
// either fails the test.
var covered = map[string]fault{
	"record.tenant":    {what: "body"}, // the record of the leaf is gone
	"record.id":        {what: "body"},
	"record.kind":      {what: "kind", changes: narrow},
	"record.key":       {what: "key"},
	"record.digest":    {what: "digest", changes: cuts},
	"record.at":        {what: "at"},
	"record.caller":    {what: "caller"},
	"record.principal": {what: "principal"},
	"record.session":   {what: "session"},
	"record.purpose":   {what: "purpose"},
	"record.phase":     {what: "phase", changes: narrow},
	"record.server":    {what: "server"},
	"record.tool":      {what: "tool"},
	"record.outcome":   {what: "outcome", changes: narrow},
	"record.ticket":    {what: "ticket"},
	"record.bundle":    {what: "bundle"},
	// No tile has a copy of a pending record's hash yet, so that a change of
	// the body cannot be told from one of the hash where no column looks.
	"record.body": {what: "body", orPending: "leaf", changes: flips},
	"record.leaf": {what: "leaf", changes: cuts},

	"pending.at":     {what: "orphan"},
	"pending.id":     {what: "body"}, // there is no such record
	"pending.tenant": {what: "body"},

	"leaf.idx":    {what: "index", rows: ends, changes: outwards},
	"leaf.tenant": {what: "body"},
	"leaf.id":     {what: "body"},

	"tile.level":  {what: "tile"},
	"tile.idx":    {what: "tile"},
	"tile.hashes": {what: "tile", changes: flips},

	"checkpoint.size": {what: "checkpoint", rows: last},
	"checkpoint.note": {what: "checkpoint", changes: flips},

	"budget_use.tenant":       {what: "use", rows: charged},
	"budget_use.budget":       {what: "use", rows: charged},
	"budget_use.subject":      {what: "use", rows: charged},
	"budget_use.window_start": {what: "use", rows: charged, changes: moments},
	"budget_use.used":         {what: "use"},

	"lease_holder.id":    {what: "lease"},
	"lease.holder":       {what: "lease"},
	"lease.tenant":       {what: "use", rows: unspent},
	"lease.budget":       {what: "use", rows: unspent},
	"lease.subject":      {what: "use", rows: unspent},
	"lease.window_start": {what: "use", rows: unspent, changes: moments},
	"lease.unspent":      {what: "use"},

	"ticket.tenant":   {what: "ticket"},
	"ticket.id":       {what: "ticket"},
	"ticket.version":  {what: "ticket", changes: both},
	"ticket.state":    {what: "ticket"},
	"ticket.record":   {what: "ticket"},
	"ticket.max_uses": {what: "ticket", changes: both},
	"ticket.uses":     {what: "ticket", changes: both},

	"ticket_use.tenant": {what: "redemption"},
	"ticket_use.ticket": {what: "redemption"},
	"ticket_use.record": {what: "redemption"},

	"lapse.tenant":   {what: "lapse"},
	"lapse.decision": {what: "lapse"},
	"lapse.at":       {what: "lapse"},

	"vault.tenant": {what: "vault"},
	"vault.token":  {what: "vault"},
	"vault.class":  {what: "vault"},
	"vault.sealed": {what: "vault", changes: flips},
	"vault.record": {what: "vault"},

	"rollout.version": {what: "rollout", changes: apart},
	"rollout.record":  {what: "rollout"},

	"lock_version.version": {what: "control", changes: apart},
	"lock_version.record":  {what: "control"},

	"bundle.digest":  {what: "archive", changes: cuts},
	"bundle.archive": {what: "archive", changes: flips},

	"used_token.token":   {what: "used token"},
	"used_token.tenant":  {what: "used token"},
	"used_token.record":  {what: "used token"},
	"used_token.expires": {what: "used token"},
	"used_token.slot":    {what: "used token", changes: turns},
}

// exempt are the columns that no record can vouch for, with why.
var exempt = map[string]string{
	"token_horizon.hour": "it can only make the store refuse tokens, or accept what has expired by every right clock",
	"token_horizon.one":  "it says nothing",

	"lease_holder.told": "whom it makes fall silent too early, or too late, returns leases earlier or later, and exactly",

	"lock_fence.one": "it says nothing: it is there to be waited for",

	"engine.*":      "it says how servers wait for each other, not what was decided",
	"sequencer.one": "it says nothing: it is there to be held",

	"replica.*": "servers tell of themselves, for whoever stops something to see: no decision rests on it",

	"goose_db_version.*": "the migrations' own bookkeeping: the store refuses a version that is not its own",
	"sqlite_sequence.*":  "SQLite's own, for goose_db_version",
}

// fault is how the columns of one name are attacked, and what must be found.
type fault struct {
	// what is the problem's What; orPending is another that it may have for a
	// record that waits.
	what, orPending string
	// rows chooses among a table's rows; nil: one of each sort.
	rows func([]values) []values
	// changes are the values to try in the place of one; nil: the least other.
	changes func(raw, any) []any
}

// ends are the rows whose key can grow or shrink without meeting another.
func ends(all []values) []values { return []values{all[0], all[len(all)-1]} }

func last(all []values) []values { return all[len(all)-1:] }

// charged are the counters that hold something: one that holds 0 says no more
// than one that is not there.
func charged(all []values) []values {
	return slices.DeleteFunc(all, func(v values) bool { return v["used"] == int64(0) })
}

// unspent are the leases of something, likewise.
func unspent(all []values) []values {
	return slices.DeleteFunc(all, func(v values) bool { return v["unspent"] == int64(0) })
}

// outwards moves the first index below 0 and the last beyond the end.
func outwards(_ raw, v any) []any {
	if v == int64(0) {
		return []any{int64(-1)}
	}
	return []any{v.(int64) + 1}
}

// narrow tries what one byte cannot hold, too.
func narrow(r raw, v any) []any { return append(least(r, v), v.(int64)+256) }

// apart are numbers that no row of a short table has.
func apart(_ raw, v any) []any { return []any{v.(int64) + 100, -v.(int64)} }

// turns are the other slots of a token.
func turns(_ raw, v any) []any { return []any{(v.(int64) + 1) % lane.Slots} }

func both(r raw, v any) []any { return append(least(r, v), v.(int64)-1) }

// moments tries the least time there is, and a second.
func moments(r raw, v any) []any {
	if at, ok := v.(time.Time); ok {
		return append(least(r, v), at.Add(time.Second))
	}
	return append(least(r, v), v.(int64)+1_000_000)
}

// flips changes a bit of some bytes, the first and the last among them.
func flips(_ raw, v any) []any {
	all := []any{}
	size := len(v.([]byte))
	for i := 0; i < size; i += max(1, size/4) {
		all = append(all, flip(v.([]byte), i))
	}
	return append(all, flip(v.([]byte), size-1))
}

// cuts makes a text shorter and longer, too.
func cuts(r raw, v any) []any {
	b := v.([]byte)
	return append(flips(r, v), b[1:], append(bytes.Clone(b), 0))
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

// least is the least change of a value.
func least(r raw, v any) []any {
	switch v := v.(type) {
	case int64:
		return []any{v + 1}
	case time.Time:
		return []any{v.Add(time.Microsecond)}
	case []byte:
		return []any{flip(v, len(v)-1)}
	case string:
		if id := idIn(v); r.postgres && id != [16]byte{} {
			id[15] ^= 1
			return []any{r.id(id)}
		}
		if v == "" {
			return []any{"x"}
		}
		return []any{v[:len(v)-1] + string(v[len(v)-1]^1)}
	}
	panic(fmt.Sprintf("no change of a %T", v))
}

// Every column of every table: one value is changed, and the verification says
// where. Then it is put back, and all is well again.
func TestTamperColumns(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, engine)
			s.whole(t)
			left := map[string]bool{}
			for name := range covered {
				left[name] = true
			}
			for _, name := range s.raw.names() {
				for _, c := range s.raw.tables[name] {
					of := whole(name)
					f, is := covered[of+"."+c.name]
					if is == (exempt[of+"."+c.name]+exempt[of+".*"] != "") {
						t.Errorf("the column %s.%s is neither covered nor exempt, or both", name, c.name)
					}
					if of != name && len(s.raw.all(t, name)) == 0 {
						continue // another partition has rows
					}
					delete(left, of+"."+c.name)
					if is {
						t.Run(name+"."+c.name, func(t *testing.T) { s.tamper(t, name, c.name, f) })
					}
				}
			}
			if !s.raw.postgres {
				delete(left, "used_token.slot") // the table's name says it
				maps.DeleteFunc(left, func(name string, _ bool) bool { return strings.HasPrefix(name, "lease") })
			}
			if len(left) > 0 {
				t.Errorf("covered and not in the schema: %v", slices.Sorted(maps.Keys(left)))
			}
		})
	}
}

func (s *scene) tamper(t *testing.T, name, column string, f fault) {
	if f.changes == nil {
		f.changes = least
	}
	if f.rows == nil {
		f.rows = func(all []values) []values { return s.sorts(name, all) }
	}
	rows := f.rows(s.raw.all(t, name))
	if len(rows) == 0 {
		t.Fatal("the scene has no row of it")
	}
	for _, before := range rows {
		for _, value := range f.changes(s.raw, before[column]) {
			s.raw.set(t, name, before, column, value)
			after := maps.Clone(before)
			after[column] = value
			report, err := s.verify(t)
			if err != nil {
				t.Errorf("%s to %s: no verdict: %v", brief(before[column]), brief(value), err)
			} else if wrong := s.judge(whole(name), column, f, before, after, report.Problem); wrong != "" {
				t.Errorf("%s to %s: found %v: %s", brief(before[column]), brief(value), report.Problem, wrong)
			}
			s.raw.set(t, name, after, column, before[column])
			s.whole(t)
		}
	}
}

// brief is a value for a message.
func brief(v any) string {
	if b, ok := v.([]byte); ok {
		return fmt.Sprintf("%x", b[:min(len(b), 20)])
	}
	return fmt.Sprint(v)
}

// sorts are one row of each sort: of records one for each kind, phase, effect,
// and state; of other tables a dozen at most.
func (s *scene) sorts(name string, all []values) []values {
	if name != "record" {
		return all[:min(len(all), 12)]
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(v values) bool {
		_, index := s.record(v, "id")
		sort := fmt.Sprint(v["kind"], v["phase"], v["outcome"], v["ticket"] != "", index >= 0)
		defer func() { seen[sort] = true }()
		return seen[sort]
	})
}

// record is the record that a row names in a column, and its index, -1 while it
// waits; nil: there is none.
func (s *scene) record(v values, column string) (*audit.Row, int64) {
	for i := range s.leaves {
		if l := &s.leaves[i]; l.ID == idIn(v[column]) {
			return &l.Row, l.Index
		}
	}
	for i := range s.pending {
		if s.pending[i].ID == idIn(v[column]) {
			return &s.pending[i], -1
		}
	}
	return nil, -1
}

// judge says what is wrong with what was found; empty: nothing is.
func (s *scene) judge(name, column string, f fault, before, after values, p *audit.Problem) string {
	if p == nil {
		return "the change is not seen"
	}
	ids := []any{before["id"], after["id"], before["record"], after["record"]}
	named := p.Record != [16]byte{} && slices.ContainsFunc(ids, func(id any) bool { return idIn(id) == p.Record })
	tenant := p.Tenant == before["tenant"] || p.Tenant == after["tenant"]
	waits := false
	index := int64(-1)
	var right bool
	switch name {
	case "record":
		row, at := s.record(before, "id")
		waits, index = at < 0, at
		right = p.Record == row.ID && p.Tenant == row.Tenant
	case "leaf":
		index = before["idx"].(int64)
		right = named && tenant
	case "pending":
		right = named && tenant
	case "lapse":
		ids = append(ids, before["decision"], after["decision"])
		right = tenant && slices.ContainsFunc(ids, func(id any) bool { return idIn(id) == p.Record })
	case "vault":
		right = named && tenant
	case "ticket_use", "used_token":
		right = named && (tenant || p.Tenant == "" || p.Tenant == decision.System) // a change of a budget redeems its tenant's ticket
		index = p.Index
	case "rollout", "lock_version":
		right, index = s.changed(p, before["version"].(int64), after["version"].(int64)), p.Index
	case "bundle":
		names := func(of values) bool { return strings.Contains(p.Detail, fmt.Sprintf("%x", of["digest"])) }
		right = names(before) || names(after)
	case "tile":
		right = strings.Contains(p.Detail, "tile 0 of level 0") || column != "hashes" && strings.Contains(p.Detail, "tile")
		if column == "hashes" {
			index = int64(differ(before[column].([]byte), after[column].([]byte)) / 32)
			right = right && p.Record == s.leaves[index].ID
		}
	case "checkpoint":
		right = strings.Contains(p.Detail, fmt.Sprintf("checkpoint of size %d:", after["size"]))
	case "lease_holder":
		right = strings.Contains(p.Detail, "no holder")
	case "budget_use", "lease":
		right = tenant && (strings.Contains(p.Detail, fmt.Sprintf("%q", before["budget"])) || strings.Contains(p.Detail, fmt.Sprintf("%q", after["budget"])))
	case "ticket":
		right = tenant && (strings.Contains(p.Detail, fmt.Sprintf("%q", before["id"])) || strings.Contains(p.Detail, fmt.Sprintf("%q", after["id"])))
	}
	switch {
	case p.What != f.what && !(waits && p.What == f.orPending):
		return "want " + f.what
	case !right:
		return "it names another"
	case p.Index != index:
		return fmt.Sprintf("want index %d", index)
	}
	return ""
}

// changed reports whether a problem names a version of a chain, or the record
// of the change that made it.
func (s *scene) changed(p *audit.Problem, versions ...int64) bool {
	return slices.ContainsFunc(versions, func(v int64) bool { return strings.Contains(p.Detail, fmt.Sprint("version ", v)) }) &&
		p.Tenant == decision.System
}

// differ is the first place where two texts of one length differ.
func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
