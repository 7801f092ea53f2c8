package decision_test

import (
	"testing"
	"time"

	"github.com/writpdp/writ/server/decision"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// asking is a request that has one of everything that a lock can hit.
func asking() *decision.Request {
	return &decision.Request{
		Caller:    decision.Caller{SPIFFEID: "spiffe://example.org/gateway/a", Tenant: "acme"},
		Principal: decision.Principal{Subject: "agent-1", OnBehalfOf: "ann", Actors: []string{"agent-2"}},
		Phase:     decision.Call, Session: "run-1", Purpose: "support",
		Tool:        decision.ToolRef{ToolName: decision.ToolName{Server: "files", Name: "write"}},
		Destination: decision.Destination{Host: "API.mail.example.", Vendor: ""},
	}
}

func TestTargets(t *testing.T) {
	tool := &decision.Tool{Classes: []string{"destructive"}}
	for text, want := range map[string]bool{
		"all":                                   true,
		"agent:agent-1":                         true,
		"agent:agent-2":                         true, // who acts for it
		"agent:agent":                           false,
		"caller:spiffe://example.org/gateway/a": true,
		"caller:spiffe://example.org/gateway/":  true,
		"caller:spiffe://example.org/":          true,
		"caller:spiffe://example.org/gateway":   false, // an id of its own
		"caller:spiffe://example.org/gate/":     false,
		"human:ann":                             true,
		"human:bob":                             false,
		"session:run-1":                         true,
		"session:run-10":                        false,
		"tool:files/write":                      true,
		"tool:files/writer":                     false,
		"server:files":                          true,
		"server:file":                           false,
		"class:destructive":                     true,
		"class:read-only":                       false,
		"vendor:example-mail":                   true,
		"vendor:other":                          false,
		"host:mail.example":                     true,
		"host:api.mail.example":                 true,
		"host:ail.example":                      false,
		"purpose:support":                       true,
		"purpose:sup":                           false,
	} {
		target, err := decision.ParseTarget(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := target.String(); got != text {
			t.Errorf("%s is written as %s", text, got)
		}
		l := decision.Lock{ID: "L", Target: target, Effect: decision.LockDeny, Until: noon}
		before := noon.Add(-time.Nanosecond)
		if got := l.Hits(asking(), tool, "example-mail", before); got != want {
			t.Errorf("%s: hits is %v, want %v", text, got, want)
		}
		if l.Hits(asking(), tool, "example-mail", noon) {
			t.Errorf("%s: hits when it has ended", text)
		}
		l.Target.Tenant = "bolt"
		if l.Hits(asking(), tool, "example-mail", before) {
			t.Errorf("%s: hits another tenant", text)
		}
		l.Target.Tenant = "acme"
		if got := l.Hits(asking(), tool, "example-mail", before); got != want {
			t.Errorf("%s of the tenant: hits is %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "agent", "agent:", "agent:a b", "agent:a\nb", "agent:\xff", "all:x", "tool:x", "caller:gateway", "host:Mail.example",
		"Agent:x", "nobody:x", ":x"} {
		if target, err := decision.ParseTarget(text); err == nil {
			t.Errorf("%q is %v", text, target)
		}
	}
}

func TestLockEffects(t *testing.T) {
	reads, writes := &decision.Tool{Classes: []string{"read-only"}}, &decision.Tool{Classes: []string{"destructive"}}
	with := func(phase decision.Phase, host string) *decision.Request {
		r := asking()
		r.Phase, r.Destination = phase, decision.Destination{Host: host}
		if phase == decision.Prompt || phase == decision.Connect {
			r.Tool = decision.ToolRef{}
		}
		return r
	}
	for _, c := range []struct {
		name   string
		effect decision.LockEffect
		req    *decision.Request
		tool   *decision.Tool
		want   bool
	}{
		{"read-only, a tool that reads", decision.LockReadOnly, with(decision.Call, ""), reads, false},
		{"read-only, a tool that writes", decision.LockReadOnly, with(decision.Call, ""), writes, true},
		{"read-only, a tool that nobody knows", decision.LockReadOnly, with(decision.Call, ""), nil, true},
		{"read-only, a result", decision.LockReadOnly, with(decision.Result, ""), writes, false},
		{"read-only, a prompt", decision.LockReadOnly, with(decision.Prompt, "h"), nil, false},
		{"read-only, a tool in a list", decision.LockReadOnly, with(decision.List, ""), writes, true},
		{"egress, a prompt", decision.LockBlockEgress, with(decision.Prompt, "h"), nil, true},
		{"egress, a connection", decision.LockBlockEgress, with(decision.Connect, "h"), nil, true},
		{"egress, a call that goes nowhere", decision.LockBlockEgress, with(decision.Call, ""), writes, false},
		{"egress, a call that goes out", decision.LockBlockEgress, with(decision.Call, "h"), reads, true},
		{"a throttle, a call", decision.LockThrottle, with(decision.Call, ""), reads, true},
		{"a throttle, a connection", decision.LockThrottle, with(decision.Connect, "h"), nil, true},
		{"a throttle, a result", decision.LockThrottle, with(decision.Result, ""), reads, false},
		{"a throttle, a list", decision.LockThrottle, with(decision.List, ""), nil, false},
		{"quarantine, a result", decision.LockQuarantine, with(decision.Result, ""), reads, true},
		{"what nobody knows", 99, with(decision.Call, ""), reads, true},
	} {
		l := decision.Lock{ID: "L", Effect: c.effect, Until: noon.Add(time.Hour)}
		if got := l.Hits(c.req, c.tool, "", noon); got != c.want {
			t.Errorf("%s: hits is %v, want %v", c.name, got, c.want)
		}
	}
}
