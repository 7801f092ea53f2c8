package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func TestShapes(t *testing.T) {
	var check func(s *shape, done map[*shape]bool)
	check = func(s *shape, done map[*shape]bool) {
		if done[s] {
			return
		}
		done[s] = true
		if len(s.fields) > 64 {
			t.Errorf("%s has a field beyond 63, which strict cannot count", s.name)
		}
		for _, f := range s.fields {
			if f.child != nil {
				check(f.child, done)
			}
		}
	}
	check(recordShape, map[*shape]bool{})
}

func TestRowOfRefusesBytes(t *testing.T) {
	e, _ := decided(t, 1, allow(request(t, 1), 1))
	with := func(b ...byte) []byte { return append(bytes.Clone(e.Body), b...) }
	nested := func(inner []byte) []byte {
		b := protowire.AppendTag(nil, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
		b = protowire.AppendTag(b, 4, protowire.BytesType)
		return protowire.AppendBytes(b, inner)
	}
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"empty":             {nil, "empty"},
		"too large":         {make([]byte, MaxBody+1), "larger than"},
		"cut short":         {e.Body[:len(e.Body)-1], "cut short"},
		"trailing zero":     {with(0), "cut short or malformed"},
		"unknown field":     {with(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)...), "unknown field 99"},
		"unknown inside":    {nested([]byte{0x78, 1}), "Timestamp has an unknown field 15"},
		"field twice":       {with(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)...), "more than one of field 1"},
		"both of the oneof": {with(protowire.AppendBytes(protowire.AppendTag(nil, 11, protowire.BytesType), nil)...), "more than one of field 11"},
		"wrong wire type":   {protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1), "unknown field 2"},
		"invalid UTF-8":     {protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte{0xff}), "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := RowOf(c.body); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRowOfRefusesMeaning(t *testing.T) {
	call, _ := decided(t, 1, allow(request(t, 1), 1))
	denial, _ := decided(t, 2, deny("policy.forbid"))
	settled := settle(t, 1, call)
	d := func(m *writv1.Record) *writv1.DecisionEvent { return m.GetDecision() }
	s := func(m *writv1.Record) *writv1.SettlementEvent { return m.GetSettlement() }
	redeem := []*writv1.EffectFacts{{Effect: &writv1.EffectFacts_RedeemedTicket{RedeemedTicket: "CHG-1"}}}
	for name, c := range map[string]struct {
		body   []byte
		change func(*writv1.Record)
		want   string
	}{
		"version":            {call.Body, func(m *writv1.Record) { m.Version = 2 }, "version 2"},
		"no version":         {call.Body, func(m *writv1.Record) { m.Version = 0 }, "version 0"},
		"tenant":             {call.Body, func(m *writv1.Record) { m.Tenant = strings.Repeat("t", 129) }, "tenant"},
		"upper-case id":      {call.Body, func(m *writv1.Record) { m.Id = strings.ToUpper(m.Id) }, "id is not a UUID"},
		"braced id":          {call.Body, func(m *writv1.Record) { m.Id = "{" + m.Id + "}" }, "id is not a UUID"},
		"zero id":            {call.Body, func(m *writv1.Record) { m.Id = uuidText([16]byte{}) }, "id is not a UUID"},
		"other id":           {call.Body, func(m *writv1.Record) { d(m).Response.DecisionId = uuidText(idOf(9)) }, "decision_id is not"},
		"request id":         {call.Body, func(m *writv1.Record) { d(m).Response.RequestId = "x" }, "request_id"},
		"request digest":     {call.Body, func(m *writv1.Record) { m.RequestDigest = m.RequestDigest[1:] }, "request_digest"},
		"no time":            {call.Body, func(m *writv1.Record) { m.At = nil }, "at is absent"},
		"nanoseconds":        {call.Body, func(m *writv1.Record) { m.At.Nanos++ }, "microsecond"},
		"no event":           {call.Body, func(m *writv1.Record) { m.Event = nil }, "no event"},
		"no response":        {call.Body, func(m *writv1.Record) { d(m).Response = nil }, "no response"},
		"no principal":       {call.Body, func(m *writv1.Record) { d(m).Principal = nil }, "no principal"},
		"receipt":            {call.Body, func(m *writv1.Record) { d(m).Response.Receipt = &writv1.Receipt{} }, "first answer"},
		"replayed":           {call.Body, func(m *writv1.Record) { d(m).Response.Replayed = true }, "first answer"},
		"no effect":          {call.Body, func(m *writv1.Record) { d(m).Response.Effect = 0 }, "effect is unknown"},
		"unknown effect":     {call.Body, func(m *writv1.Record) { d(m).Response.Effect = 5 }, "effect is unknown"},
		"phase":              {call.Body, func(m *writv1.Record) { d(m).Phase = 6 }, "phase is unknown"},
		"token":              {call.Body, func(m *writv1.Record) { d(m).Principal.TokenDigest = nil }, "token_digest"},
		"no expiry":          {call.Body, func(m *writv1.Record) { d(m).Principal.TokenExpiresAt = nil }, "token_expires_at"},
		"arguments":          {call.Body, func(m *writv1.Record) { d(m).ArgumentsDigest = []byte{1} }, "a digest"},
		"empty effect":       {call.Body, func(m *writv1.Record) { d(m).Effects = []*writv1.EffectFacts{{}} }, "effect is empty"},
		"window":             {call.Body, func(m *writv1.Record) { charge(m).WindowStart = &timestamppb.Timestamp{Nanos: 1} }, "window_start"},
		"window zero":        {call.Body, func(m *writv1.Record) { charge(m).WindowStart = &timestamppb.Timestamp{} }, "window_start"},
		"unit":               {call.Body, func(m *writv1.Record) { d(m).Response.Budgets[0].Unit = 4 }, "unit"},
		"resets":             {call.Body, func(m *writv1.Record) { d(m).Response.Budgets[0].ResetsAt.Nanos = -1 }, "resets_at"},
		"commit":             {call.Body, func(m *writv1.Record) { d(m).Response.BundleCommit = strings.Repeat("c", 72) }, "bundle_commit"},
		"denial with effect": {denial.Body, func(m *writv1.Record) { d(m).Effects = redeem }, "a denial has"},
		"decision id":        {settled.Body, func(m *writv1.Record) { s(m).DecisionId = "" }, "decision_id"},
		"settlement id":      {settled.Body, func(m *writv1.Record) { s(m).Response.SettlementId = "" }, "settlement_id is not"},
		"outcome":            {settled.Body, func(m *writv1.Record) { s(m).Outcome = 0 }, "outcome"},
		"settlement redeems": {settled.Body, func(m *writv1.Record) { s(m).Effects = redeem }, "other than a charge"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &writv1.Record{}
			if err := proto.Unmarshal(c.body, m); err != nil {
				t.Fatal(err)
			}
			c.change(m)
			body, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

// charge is the first charge of a decision.
func charge(m *writv1.Record) *writv1.Charge {
	for _, e := range m.GetDecision().Effects {
		if c := e.GetCharge(); c != nil {
			return c
		}
	}
	return nil
}

// TestRowIsReadBack is what lets a commit derive the row from the message: the
// bytes give the same.
func TestRowIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, d := arbitrary(t)
		e, response, err := Decided(idOf(1), req, snapshot(), d)
		if err != nil {
			t.Fatal(err)
		}
		r, err := decode(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.Row, r.Row); diff != "" {
			t.Fatalf("row (-committed +read back):\n%s", diff)
		}
		if diff := cmp.Diff(e.Effects, r.effects); diff != "" {
			t.Fatalf("effects (-committed +read back):\n%s", diff)
		}
		if replay, err := Respond(e.Body); err != nil || !proto.Equal(response, replay) {
			t.Fatalf("the answer read back differs: %v", err)
		}
	})
}

func arbitrary(t *rapid.T) (*decision.Request, *decision.Decision) {
	word := rapid.StringMatching(`[a-zé\n"]{0,12}`)
	req := &decision.Request{
		ID: idOf(rapid.IntRange(0, math.MaxInt32).Draw(t, "id")), Digest: sha256.Sum256([]byte(word.Draw(t, "digest"))),
		Caller: decision.Caller{SPIFFEID: word.Draw(t, "caller"), Tenant: "t" + word.Draw(t, "tenant")},
		Principal: decision.Principal{Subject: word.Draw(t, "subject"), Actors: rapid.SliceOfN(word, 0, 3).Draw(t, "actors"),
			Expires: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "expires"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))},
		Phase: decision.Phase(rapid.IntRange(1, 5).Draw(t, "phase")), Session: word.Draw(t, "session"), Purpose: word.Draw(t, "purpose"),
		Tool:   decision.ToolRef{ToolName: decision.ToolName{Server: word.Draw(t, "server"), Name: word.Draw(t, "name")}},
		Ticket: word.Draw(t, "ticket"), Supports: rapid.SliceOfN(word, 0, 3).Draw(t, "supports"),
		Resource: decision.Resource{Type: word.Draw(t, "type")}, CallID: idOf(rapid.IntRange(0, 9).Draw(t, "call")),
		Candidates: make([]decision.ToolRef, rapid.IntRange(0, 3).Draw(t, "candidates")),
	}
	d := &decision.Decision{}
	for range rapid.IntRange(0, 4).Draw(t, "findings") {
		f := decision.Finding{Stage: word.Draw(t, "stage"), Verdict: decision.Verdict(rapid.IntRange(0, 3).Draw(t, "verdict"))}
		for range rapid.IntRange(0, 2).Draw(t, "reasons") {
			f.Reasons = append(f.Reasons, decision.Reason{Code: word.Draw(t, "code"), Lift: word.Draw(t, "lift"), Policy: word.Draw(t, "policy")})
		}
		if rapid.Bool().Draw(t, "charges") {
			f.Budgets = []decision.BudgetLine{{Budget: "b", Unit: decision.Unit(rapid.IntRange(1, 3).Draw(t, "unit")), Reserved: 1}}
			f.Effects = []decision.Effect{decision.Charge{
				Key:    decision.BudgetKey{Budget: "b", Subject: word.Draw(t, "share"), Start: rapid.Int64Range(0, 1<<33).Draw(t, "start")},
				Amount: rapid.Int64().Draw(t, "amount"), Cap: rapid.Int64Range(0, math.MaxInt64).Draw(t, "cap"),
				Length: rapid.Int64Range(0, decision.MaxLength).Draw(t, "length"), Held: rapid.Bool().Draw(t, "held"),
				Lapses: time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "lapses"), 1000).UTC(),
			}, decision.Pace{
				Key: decision.BudgetKey{Budget: "rate/r", Subject: word.Draw(t, "share")}, Amount: rapid.Int64Range(0, 9).Draw(t, "taken"),
				Interval: rapid.Int64Range(1, 1e9).Draw(t, "interval"), Burst: rapid.Int64Range(1, 99).Draw(t, "burst"), At: noon.Truncate(time.Microsecond),
			}, decision.Pass{
				Key: decision.BudgetKey{Budget: "breaker/b", Subject: word.Draw(t, "share")}, At: noon.Truncate(time.Microsecond),
				Trip: decision.Trip{Failures: rapid.Int64Range(1, decision.MaxFailures).Draw(t, "failures"), Open: time.Millisecond,
					Longest: time.Duration(rapid.Int64Range(1, decision.MaxOpen.Milliseconds()).Draw(t, "longest")) * time.Millisecond},
			}, decision.Note{
				Key: decision.BudgetKey{Budget: "labels/session", Subject: word.Draw(t, "session")}, Op: decision.NoteJoin,
				Amount: rapid.Int64Range(1, 1<<60).Draw(t, "labels"), Guarded: true, Saw: rapid.Int64Range(0, 1<<60).Draw(t, "saw"),
			}, decision.Note{
				Key: decision.BudgetKey{Budget: "count/c", Subject: word.Draw(t, "session"), Start: 300}, Op: decision.NoteAdd,
				Amount: rapid.Int64Range(1, 99).Draw(t, "events"), Length: 3600,
			}, decision.Redeem{Ticket: "r" + word.Draw(t, "redeemed")}}
		}
		d.Findings = append(d.Findings, f)
	}
	return req, d
}

// FuzzRow feeds arbitrary bodies: never a panic, and what is accepted reads the
// same everywhere.
func FuzzRow(f *testing.F) {
	for _, e := range entries(f, 8) {
		f.Add(e.Body)
		f.Add(e.Body[:len(e.Body)/2])
		f.Add(append(bytes.Clone(e.Body), 0x08, 0x01))
	}
	f.Add([]byte{})
	f.Add([]byte{0x08, 0x01, 0x52, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		row, err := RowOf(body)
		_, err1 := Respond(body)
		_, err2 := RespondSettled(body)
		_, _ = Reservations(body)
		_, _ = CallFactsOf(Row{Body: body})
		if err != nil {
			if err1 == nil || err2 == nil {
				t.Fatal("a body without a row has an answer")
			}
			return
		}
		if (err1 == nil) == (err2 == nil) {
			t.Fatal("a record is a decision or a settlement")
		}
		if want := sha256.Sum256(append([]byte{0}, body...)); row.Leaf != want {
			t.Fatal("the leaf is not the RFC 6962 hash")
		}
		// What two readers take for the same record must come from one form of
		// it, but for the order of fields and the length of varints.
		m := &writv1.Record{}
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
			t.Fatal(err)
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		canonical, err := RowOf(again)
		if err != nil {
			t.Fatal(fmt.Errorf("the canonical form is refused: %w", err))
		}
		canonical.Body, canonical.Leaf = row.Body, row.Leaf
		if diff := cmp.Diff(row, canonical); diff != "" {
			t.Fatal(diff)
		}
	})
}
