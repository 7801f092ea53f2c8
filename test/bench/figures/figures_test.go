package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func TestChoose(t *testing.T) {
	tests := []struct {
		names    []string
		postgres bool
		want     []string
	}{
		{[]string{"echo_per_second"}, false, []string{"echo_per_second"}},
		{[]string{"decide_p99_ms_c64", "decide_strict_over_echo_c64"}, true, []string{"decide_p99_ms_c64", "decide_strict_over_echo_c64"}},
		{nil, true, known()},
	}
	for _, test := range tests {
		chosen, err := choose(test.names, test.postgres)
		if err != nil {
			t.Errorf("choosing %q: %v", test.names, err)
		}
		var got []string
		for _, f := range chosen {
			got = append(got, f.name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("choosing %q (-want +got):\n%s", test.names, diff)
		}
	}
	without, err := choose(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range without {
		if f.onDatabase() {
			t.Errorf("%s was chosen without PostgreSQL", f.name)
		}
	}
}

func TestChooseRefuses(t *testing.T) {
	if _, err := choose([]string{"decide_strict_over_echo_c64"}, false); err == nil {
		t.Error("a figure on PostgreSQL was chosen without it")
	}
	_, err := choose([]string{"no_such_figure"}, true)
	if err == nil {
		t.Fatal("an unknown figure was chosen")
	}
	for _, name := range known() {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not list %s: %v", name, err)
		}
	}
}

// The sustained rate counts the time until the store has everything.
func TestSustained(t *testing.T) {
	if got, want := sustained(sample{Requests: 100, Rate: 50, Sealing: 3}), 20.0; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Every load is measured once a round, however many figures need it.
func TestLoads(t *testing.T) {
	want := []load{{echo, 1}, {onSpool, 1}, {onSQLite, 1}, {echo, 64}, {onSpool, 64}, {onShadow, 64}, {onSQLite, 64}, {onPostgres, 64}, {policies10, 64}, {policies10k, 64},
		{echo, 256}, {onPostgres, 256}}
	if diff := cmp.Diff(want, loads(figures), cmp.AllowUnexported(load{})); diff != "" {
		t.Errorf("loads (-want +got):\n%s", diff)
	}
}

func TestResults(t *testing.T) {
	a, b := load{onSQLite, 64}, load{echo, 64}
	r := results{samples: map[load][]sample{
		a: {{Rate: 10}, {Rate: 40}, {Rate: 30}},
		b: {{Rate: 100}, {Rate: 100}, {Rate: 50}},
	}}
	if got, want := r.over(a, b, rate), 0.4; got != want {
		t.Errorf("ratio: got %v, want %v", got, want)
	}
	if got, want := r.median(a, rate), 30.0; got != want {
		t.Errorf("median: got %v, want %v", got, want)
	}
	sorted := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 6, 0.99: 10, 1: 10} {
		if got := percentile(sorted, share); got != want {
			t.Errorf("percentile %v: got %v, want %v", share, got, want)
		}
	}
}

// An echo's messages have exactly the size of a decision's.
func TestPayload(t *testing.T) {
	for _, size := range []int{131, 500, 900, 16_000} {
		data, err := proto.Marshal(wrapperspb.Bytes(payload(size)))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(data); got != size {
			t.Errorf("got %d bytes, want %d", got, size)
		}
	}
}

func TestAllowed(t *testing.T) {
	for effect, ok := range map[writv1.Effect]bool{
		writv1.Effect_EFFECT_ALLOW: true, writv1.Effect_EFFECT_DENY: false, writv1.Effect_EFFECT_UNSPECIFIED: false,
	} {
		data, err := proto.Marshal(&writv1.DecideResponse{DecisionId: "d", RequestId: "r", Effect: effect, BundleDigest: "b"})
		if err != nil {
			t.Fatal(err)
		}
		if err := allowed(data); (err == nil) != ok {
			t.Errorf("%s: got %v", effect, err)
		}
	}
	if err := allowed([]byte{0xff}); err == nil {
		t.Error("an answer that cannot be read was taken for an allow")
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{{"no_such_figure"}, {"-rounds", "0"}, {"-seconds", "0"}, {"-role", "none"}, {"-none"}} {
		if err := run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// A database of the same server, whatever form its connection string has.
func TestWithDatabase(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://u:p@127.0.0.1:5432/postgres?sslmode=disable": "postgres://u:p@127.0.0.1:5432/x?sslmode=disable",
		"host=/tmp dbname=postgres":                              "host=/tmp dbname=postgres dbname=x",
	} {
		got, err := withDatabase(dsn, "x")
		if err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}
