package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func archiveOf(name string) Archive {
	body := []byte("archive of " + name)
	return Archive{Digest: sha256.Sum256(body), Body: body}
}

func ref(name string) decision.BundleRef {
	digest := sha256.Sum256([]byte("bundle " + name))
	return decision.BundleRef{Digest: hex.EncodeToString(digest[:]), Archive: archiveOf(name).Digest}
}

// canary is a change to the given version: a candidate beside the live bundle.
func canary(version int64) ChangeFacts {
	return ChangeFacts{
		At: noon.Truncate(1000), Action: Activate, Actor: "ann (uid 1000)", Reason: "Refunds need a ticket.", Ticket: "CHG-7",
		Rollout: decision.Rollout{
			Version: version, Live: ref("a"), Candidate: ref("b"), Mode: decision.Canary, Share: 1000, Tenants: []string{"acme", "bolt"},
			Margin: decision.Margin{Denials: 500, Errors: 100},
		},
	}
}

func change(t testing.TB, version int64) Entry {
	t.Helper()
	e, err := Changed(idOf(3_000_000+int(version)), canary(version))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestChangeIsReadBack(t *testing.T) {
	want := canary(3)
	e := change(t, 3)
	got, err := ChangeOf(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the change (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]decision.Effect{want.Rollout}, e.Effects); diff != "" {
		t.Errorf("the effects (-want +got):\n%s", diff)
	}
	row := Row{Tenant: decision.System, ID: e.ID, Kind: Change, Key: uuidText(e.ID), Digest: e.Digest, At: want.At,
		Principal: want.Actor, Ticket: want.Ticket, Bundle: want.Rollout.Live.Digest, Body: e.Body, Leaf: e.Leaf}
	if diff := cmp.Diff(row, e.Row); diff != "" {
		t.Errorf("the row (-want +got):\n%s", diff)
	}
	decided, _ := decided(t, 1, allow(request(t, 1), 1))
	if _, err := ChangeOf(decided.Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("a decision as a change: %v", err)
	}
	if _, err := Respond(e.Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change as a decision: %v", err)
	}
}

// What makes no sense is never written, and so never read.
func TestChangeRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*ChangeFacts){
		"actor is not 1 to":            func(c *ChangeFacts) { c.Actor = "" },
		"reason is not 1 to":           func(c *ChangeFacts) { c.Reason = "" },
		"reason is not 1 to 1024":      func(c *ChangeFacts) { c.Reason = strings.Repeat("x", 1025) },
		"ticket_id is not 0 to 128":    func(c *ChangeFacts) { c.Ticket = strings.Repeat("x", 129) },
		"action is unknown":            func(c *ChangeFacts) { c.Action = 0 },
		"action is unknown ":           func(c *ChangeFacts) { c.Action = Halt + 1 },
		"a halt leaves a candidate":    func(c *ChangeFacts) { c.Action = Halt },
		"version is not positive":      func(c *ChangeFacts) { c.Rollout.Version = 0 },
		"live: digest":                 func(c *ChangeFacts) { c.Rollout.Live = decision.BundleRef{} },
		"candidate: digest":            func(c *ChangeFacts) { c.Rollout.Candidate.Digest = strings.ToUpper(ref("b").Digest) },
		"the candidate is the live":    func(c *ChangeFacts) { c.Rollout.Candidate = c.Rollout.Live },
		"and how it is tried out":      func(c *ChangeFacts) { c.Rollout.Candidate = decision.BundleRef{} },
		"a candidate and no mode":      func(c *ChangeFacts) { c.Rollout.Mode = 0 },
		"mode is unknown":              func(c *ChangeFacts) { c.Rollout.Mode = decision.Canary + 1 },
		"a shadow has a share":         func(c *ChangeFacts) { c.Rollout.Mode = decision.Shadow },
		"a canary has no share":        func(c *ChangeFacts) { c.Rollout.Share = 0 },
		"a share or margin":            func(c *ChangeFacts) { c.Rollout.Share = decision.Whole + 1 },
		"a share or margin is more":    func(c *ChangeFacts) { c.Rollout.Margin.Errors = -1 },
		"tenants are not in order":     func(c *ChangeFacts) { c.Rollout.Tenants = []string{"b", "a"} },
		"or one is there twice":        func(c *ChangeFacts) { c.Rollout.Tenants = []string{"a", "a"} },
		"tenants is not 1 to 128":      func(c *ChangeFacts) { c.Rollout.Tenants = []string{""} },
		"more than 256 tenants":        func(c *ChangeFacts) { c.Rollout.Tenants = make([]string, 257) },
		"reason holds a control":       func(c *ChangeFacts) { c.Reason = "fine\x1b[2J" },
		"actor holds a control":        func(c *ChangeFacts) { c.Actor = "ann\u202e" },
		"string field contains invali": func(c *ChangeFacts) { c.Reason = "\xff" },
	} {
		c := canary(1)
		spoil(&c)
		_, err := Changed(idOf(1), c)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// The reserved tenant has changes, and nobody else has.
func TestChangesHaveATenantOfTheirOwn(t *testing.T) {
	foreign := change(t, 1)
	var m writv1.Record
	if err := proto.Unmarshal(foreign.Body, &m); err != nil {
		t.Fatal(err)
	}
	m.Tenant = "acme"
	body, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), "a change is not of the tenant") {
		t.Errorf("another tenant's change: %v", err)
	}
	req := request(t, 1)
	req.Caller.Tenant = decision.System
	if _, _, err := Decided(idOf(1), req, snapshot(), deny("policy.forbid")); err == nil || !strings.Contains(err.Error(), "no decisions") {
		t.Errorf("a decision of the reserved tenant: %v", err)
	}
}

// What the tables say of the rollout is what the records say, and the other way
// round.
func TestVerifyRollout(t *testing.T) {
	_, key := key(t, 1)
	for name, test := range map[string]struct {
		tamper func(*memory)
		want   string // what and a part of the detail; empty: all is well
	}{
		"untouched":           {func(*memory) {}, ""},
		"an archive to spare": {func(m *memory) { m.archives = append(m.archives, archiveOf("c")) }, ""},
		"a version is gone":   {func(m *memory) { m.versions = m.versions[1:] }, "rollout: the record makes version 1; the store lacks it"},
		"another's version":   {func(m *memory) { m.versions[0].Record = idOf(9) }, "rollout: the record makes version 1; the store has it as another record's"},
		"renumbered":          {func(m *memory) { m.versions[2].Version = 4 }, "rollout: the record makes version 3; the store lacks it"},
		"invented":            {func(m *memory) { m.versions = append(m.versions, VersionRow{RolloutChain, 4, idOf(9)}) }, "rollout: version 4: no record has made it"},
		"twice":               {func(m *memory) { m.versions = append(m.versions, m.versions[0]) }, "rollout: version 1: it is stored twice"},
		"version and record are gone": {func(m *memory) {
			m.versions = append(m.versions[:1:1], m.versions[2])
			m.pending = append(m.pending[:1:1], m.pending[2])
		}, "rollout: version 3: the one before it is missing"},
		"an archive is gone":      {func(m *memory) { m.archives = m.archives[1:] }, "archive: the record puts the archive"},
		"an archive is another's": {func(m *memory) { m.archives[0].Body = m.archives[1].Body }, "archive: the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{archives: []Archive{archiveOf("a"), archiveOf("b")}}
			for version := range int64(3) {
				m.commit(change(t, version+1))
			}
			test.tamper(m)
			report, err := Verify(context.Background(), m, []note.Verifier{key}, Options{Origin: origin, At: noon})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if p := report.Problem; p != nil {
				got = fmt.Sprintf("%s: %s", p.What, p.Detail)
			}
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("found %q, want %q", got, test.want)
			}
			if got == "" && (report.Changes != 3 || report.Archives != int64(len(m.archives))) {
				t.Errorf("the report: %+v", report)
			}
		})
	}
}
