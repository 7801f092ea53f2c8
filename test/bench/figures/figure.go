package main

import (
	"fmt"
	"slices"
	"strings"
)

// The servers that are measured.
const (
	echo        = "echo"
	onSQLite    = "sqlite"   // the sample bundle
	onSpool     = "spool"    // the same, answered before the record is durable
	onPostgres  = "postgres" // the sample bundle
	onShadow    = "shadow"   // as spool, with a candidate that decides beside
	policies10  = "policies10"
	policies10k = "policies10k"
)

// servers are all of them, in the order in which a round measures them.
var servers = []string{echo, onSpool, onShadow, onSQLite, onPostgres, policies10, policies10k}

// crowds are how many callers there can be at a time, in the order in which they
// are measured.
var crowds = []int{1, 64, 256}

// load is one server under so many callers, of crowds; with none it is only
// started.
type load struct {
	server  string
	callers int
}

// figure is one number.
type figure struct {
	name, unit string
	needs      []load
	value      func(*results) float64
}

var figures = []figure{
	{"decide_over_echo_c64", "ratio", []load{{onSpool, 64}, {echo, 64}},
		func(r *results) float64 { return r.over(load{onSpool, 64}, load{echo, 64}, rate) }},
	{"decide_sustained_over_echo_c64", "ratio", []load{{onSpool, 64}, {echo, 64}},
		func(r *results) float64 { return r.over(load{onSpool, 64}, load{echo, 64}, sustained) }},
	{"decide_sqlite_strict_over_echo_c64", "ratio", []load{{onSQLite, 64}, {echo, 64}},
		func(r *results) float64 { return r.over(load{onSQLite, 64}, load{echo, 64}, rate) }},
	{"decide_strict_over_echo_c64", "ratio", []load{{onPostgres, 64}, {echo, 64}},
		func(r *results) float64 { return r.over(load{onPostgres, 64}, load{echo, 64}, rate) }},
	{"decide_strict_over_echo_c256", "ratio", []load{{onPostgres, 256}, {echo, 256}},
		func(r *results) float64 { return r.over(load{onPostgres, 256}, load{echo, 256}, rate) }},
	{"policies_10k_over_10", "ratio", []load{{policies10k, 64}, {policies10, 64}},
		func(r *results) float64 { return r.over(load{policies10k, 64}, load{policies10, 64}, rate) }},
	{"shadow_overhead", "ratio", []load{{onShadow, 64}, {onSpool, 64}},
		func(r *results) float64 { return r.ratio(load{onShadow, 64}, load{onSpool, 64}, serverCPU) - 1 }},
	{"shadow_throughput", "ratio", []load{{onShadow, 64}, {onSpool, 64}},
		func(r *results) float64 { return r.over(load{onShadow, 64}, load{onSpool, 64}, rate) }},
	{"decide_per_second_sqlite", "1/s", []load{{onSQLite, 64}},
		func(r *results) float64 { return r.median(load{onSQLite, 64}, rate) }},
	{"decide_per_second_postgres", "1/s", []load{{onPostgres, 64}},
		func(r *results) float64 { return r.median(load{onPostgres, 64}, rate) }},
	{"echo_per_second", "1/s", []load{{echo, 64}},
		func(r *results) float64 { return r.median(load{echo, 64}, rate) }},
	{"decide_per_second_async", "1/s", []load{{onSpool, 64}},
		func(r *results) float64 { return r.median(load{onSpool, 64}, rate) }},
	{"decide_async_p50_us_c1", "us", []load{{onSpool, 1}},
		func(r *results) float64 { return 1e6 * r.median(load{onSpool, 1}, p50) }},
	{"decide_p50_us_c1", "us", []load{{onSQLite, 1}},
		func(r *results) float64 { return 1e6 * r.median(load{onSQLite, 1}, p50) }},
	{"echo_p50_us_c1", "us", []load{{echo, 1}},
		func(r *results) float64 { return 1e6 * r.median(load{echo, 1}, p50) }},
	{"decide_p99_ms_c64", "ms", []load{{onSQLite, 64}},
		func(r *results) float64 { return 1e3 * r.median(load{onSQLite, 64}, p99) }},
	{"bundle_load_10k_ms", "ms", []load{{policies10k, 0}},
		func(r *results) float64 { return 1e3 * r.bundleLoad[policies10k] }},
	{"bundle_memory_10k_mib", "MiB", []load{{policies10k, 0}},
		func(r *results) float64 { return r.bundleHeap[policies10k] / (1 << 20) }},
	{locksFigure + "last_allow_p99_ms", "ms", []load{{onPostgres, 0}}, func(r *results) float64 { return 1e3 * r.stops.LastAllowP99 }},
	{locksFigure + "last_allow_max_ms", "ms", []load{{onPostgres, 0}}, func(r *results) float64 { return 1e3 * r.stops.LastAllowMax }},
	{cutFigure + "p99_ms", "ms", []load{{onPostgres, 0}}, func(r *results) float64 { return 1e3 * r.cutStops.LastAllowP99 }},
	{cutFigure + "max_ms", "ms", []load{{onPostgres, 0}}, func(r *results) float64 { return 1e3 * r.cutStops.LastAllowMax }},
	{"hot_budget_over_naive_c64", "ratio", []load{{hotOne, hotCallers}, {hotNaive, hotCallers}},
		func(r *results) float64 { return r.over(load{hotOne, hotCallers}, load{hotNaive, hotCallers}, rate) }},
	{"hot_budget_3_over_1", "ratio", []load{{hotThree, hotCallers}, {hotOne, hotCallers}},
		func(r *results) float64 { return r.over(load{hotThree, hotCallers}, load{hotOne, hotCallers}, rate) }},
	{scanFigure, "MiB/s", nil, func(r *results) float64 { return r.scans[scanFigure] }},
	{scanSmallFigure, "us", nil, func(r *results) float64 { return r.scans[scanSmallFigure] }},
	{redactFigure, "us", nil, func(r *results) float64 { return r.redacted }},
	{replayFigure, "1/s", nil, func(r *results) float64 { return r.replayed }},
	tokenFigure("token_verify_us_eddsa"), tokenFigure("token_verify_us_es256"), tokenFigure("token_verify_us_es384"),
	tokenFigure("token_verify_us_rs256"), tokenFigure("token_verify_us_ps256"), tokenFigure(warmFigure),
}

// tokenFigure is one of tokenFigures.
func tokenFigure(name string) figure {
	return figure{name, "us", nil, func(r *results) float64 { return r.tokens[name] }}
}

// choose is the figures of these names; without names every figure that can be
// measured here.
func choose(names []string, postgres bool) ([]figure, error) {
	var chosen []figure
	for _, name := range names {
		i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no figure %q; there are:\n  %s", name, strings.Join(known(), "\n  "))
		}
		if !postgres && figures[i].onDatabase() {
			return nil, fmt.Errorf("%s needs PostgreSQL: set WRIT_TEST_POSTGRES, or run within `go run ./test/pgtest/cluster -- ...`", name)
		}
		chosen = append(chosen, figures[i])
	}
	if len(names) > 0 {
		return chosen, nil
	}
	for _, f := range figures {
		if postgres || !f.onDatabase() {
			chosen = append(chosen, f)
		}
	}
	return chosen, nil
}

func known() []string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return names
}

func (f figure) uses(server string) bool {
	return slices.ContainsFunc(f.needs, func(l load) bool { return l.server == server })
}

// onDatabase reports whether a figure needs PostgreSQL.
func (f figure) onDatabase() bool { return f.uses(onPostgres) || slices.ContainsFunc(hotWays, f.uses) }

// served reports whether a figure needs a server.
func (f figure) served() bool { return slices.ContainsFunc(servers, f.uses) }

// loads are what the figures need, each once: the quiet ones first, and the
// servers of a round in their own order.
func loads(wanted []figure) []load {
	var all []load
	for _, callers := range crowds {
		for _, server := range servers {
			l := load{server, callers}
			if slices.ContainsFunc(wanted, func(f figure) bool { return slices.Contains(f.needs, l) }) {
				all = append(all, l)
			}
		}
	}
	return all
}
