// Package ssrf tries what attackers do with URLs on the sample bundle, through every
// stage: as arguments of tools, and as destinations of connections.
package ssrf

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// trick is a URL that must be refused, with the codes by which it is.
type trick struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	Call string `yaml:"call"`
	// Connect is the code as a destination; empty: that of Call, "-": it is not tried.
	Connect string `yaml:"connect"`
	// Text is the code as a text; empty: that of Call.
	Text string `yaml:"text"`
	// Named is for arguments whose names say that they are URLs.
	Named bool `yaml:"named"`
}

func read[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalWithOptions(data, &all, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return all
}

var now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// ask is what an agent wants to do with a URL.
type ask struct {
	agent, purpose, tool, argument string // no tool: connect
}

// The ways in. Nothing but where it leads stands against an echo.
var (
	echo    = ask{"support", "support", "everything/echo", "message"}
	browse  = ask{"research", "research", "playwright/browser_navigate", "url"}
	connect = ask{agent: "research", purpose: "research"}
)

func (a ask) decide(t *testing.T, b *decision.Bundle, stages decision.Pipeline, url string) decision.Decision {
	t.Helper()
	q := suite.Ask{Who: suite.Who{Agent: "spiffe://example.org/agent/" + a.agent}, What: suite.What{Purpose: a.purpose, Tool: a.tool}}
	if a.tool == "" {
		q.Phase, q.Destination.URL = "CONNECT", url
	} else {
		args, err := json.Marshal(map[string]string{a.argument: url})
		if err != nil {
			t.Fatal(err)
		}
		q.Args = args
	}
	req, err := q.Request(b, decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	return stages.Decide(req, &decision.Snapshot{At: now, Bundle: b})
}

// codes are the codes by which a stage denied.
func codes(d decision.Decision, stage string) (all []string) {
	for _, f := range d.Findings {
		if f.Stage == stage && f.Verdict != decision.Abstain && f.Verdict != decision.Permit {
			for _, r := range f.Reasons {
				all = append(all, r.Code)
			}
		}
	}
	return all
}

func bundle(t *testing.T) *decision.Bundle {
	t.Helper()
	b, err := policy.Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every trick is refused, by the stage and for the reason that it should be. What an
// echo is refused for is that alone: without the stage it is allowed.
func TestTricks(t *testing.T) {
	b, tricks := bundle(t), read[trick](t, "tricks.yaml")
	if len(tricks) < 150 {
		t.Errorf("%d tricks", len(tricks))
	}
	without := slices.DeleteFunc(slices.Clone(stage.All), func(s decision.Stage) bool { return s.Name == "egress" })
	for _, trick := range tricks {
		try := func(way ask, code string) {
			d := way.decide(t, b, stage.All, trick.URL)
			if got := codes(d, "egress"); d.Allowed() || !slices.Contains(got, "egress."+code) {
				t.Errorf("%s: %+v: allowed %t, got %v, want egress.%s", trick.Name, way, d.Allowed(), got, code)
			}
			for _, f := range d.Findings {
				for _, r := range f.Reasons {
					if strings.Contains(r.Text+r.Lift, trick.URL) {
						t.Errorf("%s: the reason repeats the URL: %s", trick.Name, r.Text)
					}
				}
			}
		}
		try(browse, trick.Call)
		if !trick.Named {
			try(echo, cmp.Or(trick.Text, trick.Call))
			if d := echo.decide(t, b, without, trick.URL); !d.Allowed() {
				t.Errorf("%s: it is denied without the stage, too: %+v", trick.Name, d.Findings)
			}
		}
		switch trick.Connect {
		case "":
			try(connect, trick.Call)
		case "-":
		default:
			try(connect, trick.Connect)
		}
	}
	t.Logf("%d tricks", len(tricks))
}

// What is harmless is opened, and nothing stands against a connection but that no
// list names the host.
func TestBenign(t *testing.T) {
	b, urls := bundle(t), read[string](t, "benign.yaml")
	if len(urls) < 40 {
		t.Errorf("%d URLs", len(urls))
	}
	for _, url := range urls {
		for _, way := range []ask{browse, echo} {
			if d := way.decide(t, b, stage.All, url); !d.Allowed() {
				t.Errorf("%s by %s is denied: %v", url, way.tool, codes(d, "egress"))
			}
		}
		if d := connect.decide(t, b, stage.All, url); slices.ContainsFunc(codes(d, "egress"), func(c string) bool { return c != "egress.host" }) {
			t.Errorf("%s cannot be connected to: %v", url, codes(d, "egress"))
		}
	}
	t.Logf("%d URLs", len(urls))
}
