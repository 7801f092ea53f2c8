package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// On an embedded store, with answers given before their records are durable: a
// server that is killed has lost nothing of what it answered.
func TestServeEmbedded(t *testing.T) {
	s := newSite(t)
	s.write(t, "writ.yaml", strings.Replace(goodConfig, "database_file: database", "data_dir: data", 1))
	manifest, err := os.ReadFile(s.path("policies/writ.yaml"))
	must(t, err)
	s.write(t, "policies/writ.yaml", string(manifest)+"\naudit: { async: [read-only] }\n")
	with := credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))
	first := s.serve(t)
	client := first.dial(t, with)
	answered, spooled := map[string]*writv1.DecideRequest{}, 0
	for range 30 {
		in := s.listing(t)
		answer, err := client.Decide(t.Context(), in)
		must(t, err)
		answered[answer.DecisionId] = in
		if answer.Receipt.Spooled {
			spooled++
		}
	}
	if spooled == 0 {
		t.Error("no answer was given early")
	}
	if code := first.stop(t, os.Kill); code != -1 {
		t.Errorf("exit code %d", code)
	}
	second := s.serve(t)
	client = second.dial(t, with)
	for id, in := range answered {
		again := proto.CloneOf(in)
		again.PrincipalToken = s.token(t)
		answer, err := client.Decide(t.Context(), again)
		must(t, err)
		if answer.DecisionId != id || !answer.Replayed {
			t.Errorf("the retry got %s, want %s again", answer.DecisionId, id)
		}
	}
	if code := second.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, second.stderr)
	}
	var report verified
	must(t, json.Unmarshal([]byte(succeed(t, "log", "verify", "--data", s.path("data"), "--key", s.path("log.pub"), "-o", "json")), &report))
	if want := (verified{OK: true, Leaves: 32}); report != want { // with what the two starts say of the bundle
		t.Errorf("the log: got %+v, want %+v", report, want)
	}
}
