package main

import (
	"os"
	"strings"
	"testing"
	"time"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"google.golang.org/grpc/credentials"
)

// until asks a server until its answer has an effect, for at most half a minute,
// and returns how long that took.
func (s *site) until(t *testing.T, client writv1.DecisionServiceClient, want writv1.Effect) time.Duration {
	t.Helper()
	for began := time.Now(); ; {
		answer, err := client.Decide(t.Context(), s.listing(t))
		must(t, err)
		took := time.Since(began)
		if answer.Effect == want {
			return took
		}
		if took > 30*time.Second {
			t.Fatalf("still %s after %s", answer.Effect, took)
		}
	}
}

// Two servers on one database follow what a third process activates there.
func TestServersFollowTheRollout(t *testing.T) {
	s := migrated(t)
	database := []string{"--database-file", s.path("database"), "--reason", "A test."}
	must(t, os.CopyFS(s.path("denying"), os.DirFS(s.path("policies"))))
	must(t, os.WriteFile(s.path("denying/cedar/more.cedar"), []byte(`@id("no-lists")
forbid (principal, action == Action::"filesystem/list_directory", resource);`), 0o600))
	with := credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))
	processes := []*process{s.serve(t), s.serve(t)}
	clients := []writv1.DecisionServiceClient{processes[0].dial(t, with), processes[1].dial(t, with)}
	for _, step := range []struct {
		args []string
		want writv1.Effect
	}{
		{[]string{"activate", s.path("policies")}, writv1.Effect_EFFECT_ALLOW},
		{[]string{"activate", s.path("denying"), "--ticket", "CHG-1"}, writv1.Effect_EFFECT_DENY},
		{[]string{"rollback"}, writv1.Effect_EFFECT_ALLOW},
		{[]string{"activate", s.path("denying"), "--tenants", "acme"}, writv1.Effect_EFFECT_DENY},
		{[]string{"activate", s.path("denying"), "--tenants", "bolt"}, writv1.Effect_EFFECT_ALLOW},
	} {
		succeed(t, append(append([]string{"policy"}, step.args...), database...)...)
		for i, client := range clients {
			t.Logf("server %d: %s after %s", i, step.want, s.until(t, client, step.want))
		}
	}
	out := succeed(t, "policy", "status", "--database-file", s.path("database"))
	if !strings.Contains(out, "canary 100% of bolt") || !strings.Contains(out, "CHG-1") {
		t.Errorf("the status:\n%s", out)
	}
	list := succeed(t, "log", "list", "--database-file", s.path("database"), "--tenant", "writ:system")
	if strings.Count(list, "ACTIVATE ") != 4 || strings.Count(list, "ROLLBACK") != 1 {
		t.Errorf("the changes:\n%s", list)
	}
	// The directory that it is configured with does not matter any more.
	s.write(t, "policies/writ.yaml", "broken")
	third := s.serve(t)
	s.until(t, third.dial(t, with), writv1.Effect_EFFECT_ALLOW)
	for _, p := range append(processes, third) {
		if code := p.stop(t, os.Interrupt); code != exitOK {
			t.Errorf("exit code %d: %s", code, p.stderr)
		}
	}
	if v := s.verify(t); !v.OK || v.Pending != 0 {
		t.Errorf("the log: %+v", v)
	}
}
