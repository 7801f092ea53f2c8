// Package adversarial asks a whole PDP, through each of its faces, what an attacker
// would ask, and holds it to what must happen: which stage refuses and with which
// code, or that it passes, and why that is so. The attacks are files of suites/.
//
//	go test -v ./test/adversarial | grep -E 'suite|not run'
package adversarial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/policy/suite"
	"github.com/writpdp/writ/test"
)

// file is one suite. In texts {{.}} is the value of each, and functions of
// texts make what would be too long for a file.
type file struct {
	// Least is how many cases there are at least.
	Least int    `yaml:"least"`
	Cases []raid `yaml:"cases"`
}

// raid is one attack, or one for each value of Each.
type raid struct {
	Name string `yaml:"name"`
	// Each are values, one case for each.
	Each []string `yaml:"each"`
	// Because says why what passes does: wanted of each case with a step that must.
	Because string `yaml:"because"`
	// Detects says that the case is about what detectors find.
	Detects bool   `yaml:"detects"`
	Steps   []step `yaml:"steps"`
	// Tickets are there beforehand, of the tenant acme.
	Tickets []test.GivenTicket `yaml:"tickets"`
}

// step is a question and what must come of it.
type step struct {
	test.Step `yaml:",inline"`
	// Tenant is the caller's, without acme; Caller its SPIFFE ID.
	Tenant string `yaml:"tenant"`
	Caller string `yaml:"caller"`
	// Want is "deny STAGE/CODE…" with reasons that there must be, "error REASON…" with
	// those of which one must be the error's, either where a face has it otherwise,
	// with | between, "answer" for a prelude that must not be
	// denied, and "pass" for an attack that gets through.
	Want string `yaml:"want"`
}

var texts = template.FuncMap{
	"head":    func(s string) string { head, _, _ := strings.Cut(s, " "); return head },
	"tail":    func(s string) string { _, tail, _ := strings.Cut(s, " "); return tail },
	"rep":     strings.Repeat,
	"replace": func(s, old, by string) string { return strings.ReplaceAll(s, old, by) },
	"secret": func() string {
		return secret{Name: "for a suite", Prefix: "ghp_", Alphabet: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", Length: 36}.made()
	},
	"quote": func(s string) (string, error) { text, err := json.Marshal(s); return string(text), err },
	"many": func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	},
}

// load reads a suite.
func load(t *testing.T, name string) file {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&f); err != nil {
		t.Fatalf("%s: %s", name, yaml.FormatError(err, false, true))
	}
	var all []raid
	for _, r := range f.Cases {
		if len(r.Each) == 0 {
			all = append(all, r.of(t, ""))
		}
		for _, value := range r.Each {
			all = append(all, r.of(t, value))
		}
	}
	f.Cases = all
	return f
}

// of is the case of one value.
func (r raid) of(t *testing.T, value string) raid {
	t.Helper()
	write := func(text string) string {
		if !strings.Contains(text, "{{") {
			return text
		}
		parsed, err := template.New(r.Name).Funcs(texts).Parse(text)
		var b strings.Builder
		if err == nil {
			err = parsed.Execute(&b, value)
		}
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		return b.String()
	}
	named := value
	value = write(value) // which may be made too
	r.Name, r.Steps = write(r.Name), slices.Clone(r.Steps)
	if value != "" && !strings.Contains(r.Name, value) {
		r.Name += ": " + named // as the file has it: a name is no place for a secret
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		for _, field := range []*string{&s.Tool, &s.Purpose, &s.Session, &s.Text, &s.Ticket, &s.Digest, &s.Agent, &s.Tenant, &s.Caller,
			&s.Resource.ID, &s.Resource.Type, &s.Destination.Host, &s.Destination.Vendor, &s.Destination.Region, &s.Want} {
			*field = write(*field)
		}
		for _, field := range []*suite.JSON{&s.Args, &s.Content, &s.Context, &s.Resource.Properties} {
			*field = suite.JSON(write(string(*field)))
		}
		s.Agent, s.Purpose, s.Phase, s.Tenant = or(s.Agent, "spiffe://example.org/agent/support"), or(s.Purpose, "support"), or(s.Phase, "CALL"), or(s.Tenant, "acme")
		s.Caller = or(s.Caller, writtest.Caller)
		if len(s.Carries) == 0 {
			s.Carries = []string{s.Purpose}
		}
	}
	return r
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// target is a PDP on the sample bundle with what the attacks need beside it.
type target struct {
	*writtest.PDP
	conn *grpc.ClientConn
	as   atomic.Pointer[step]
	now  func() time.Time
}

func start(t *testing.T) *target {
	t.Helper()
	files := policiestest.Sample()
	add := os.DirFS("bundle")
	err := fs.WalkDir(add, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(add, name)
		if have := files[name]; have != nil {
			data = append(append(bytes.Clone(have.Data), '\n'), data...)
		}
		files[name] = policiestest.Sample()["writ.yaml"]
		copied := *files[name]
		copied.Data = data
		files[name] = &copied
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	x := &target{now: func() time.Time { return time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC) }}
	x.as.Store(&step{Tenant: "acme", Caller: writtest.Caller})
	x.PDP = writtest.Start(t, writtest.Config{Bundle: files, Now: x.now,
		Tenant: func() string { return x.as.Load().Tenant }, Caller: func() string { return x.as.Load().Caller }})
	x.conn, err = grpc.NewClient(x.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}

// outcome is what came of a question, alike from every face.
type outcome struct {
	effect  string   // empty: an error
	reasons []string // STAGE/CODE of a denial, or the error's reason
	id      string
}

func (o outcome) String() string {
	return strings.TrimSpace(o.effect + " " + strings.Join(o.reasons, " "))
}

// broken says how an outcome is not what a step wants; empty: it is.
func (o outcome) broken(want string) string {
	for one := range strings.SplitSeq(want, " | ") {
		if o.is(one) {
			return ""
		}
	}
	return fmt.Sprintf("got %s, want %s", o, want)
}

func (o outcome) is(want string) bool {
	kind, rest, _ := strings.Cut(want, " ")
	reasons := strings.Fields(rest)
	switch kind {
	case "deny":
		return o.effect == "DENY" && len(reasons) > 0 && !slices.ContainsFunc(reasons, func(r string) bool { return !slices.Contains(o.reasons, r) })
	case "error":
		return o.effect == "" && slices.ContainsFunc(reasons, func(r string) bool { return slices.Contains(o.reasons, r) })
	case "answer", "pass":
		return o.effect != "" && o.effect != "DENY"
	}
	return false
}

// play asks a case's questions through a face.
func (x *target) play(t *testing.T, r raid, ask func(*testing.T, *step, *writv1.DecideRequest) outcome) {
	var calls, tokens []string
	for i := range r.Steps {
		s := &r.Steps[i]
		x.as.Store(s)
		token, err := x.Token(writtest.Agent{Subject: s.Agent, OnBehalfOf: s.OnBehalfOf, Purposes: s.Carries, Tools: s.CarriesTools})
		if err != nil {
			t.Fatal(err)
		}
		if s.Token > 0 {
			token = tokens[s.Token-1]
		}
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		in := s.Request(x.Bundle, id.String(), token, calls)
		got := ask(t, s, in)
		if problem := got.broken(s.Want); problem != "" {
			t.Errorf("step %d: %s", i+1, problem)
		}
		calls, tokens = append(calls, got.id), append(tokens, token)
	}
}

// passes reports whether a case is of an attack that gets through.
func (r raid) passes() bool {
	return slices.ContainsFunc(r.Steps, func(s step) bool { return s.Want == "pass" })
}

func TestSuites(t *testing.T) {
	x := start(t)
	names, err := filepath.Glob("suites/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d suites, %v", len(names), err)
	}
	for _, name := range names {
		f := load(t, name)
		x.suite(t, strings.TrimSuffix(filepath.Base(name), ".yaml"), f)
	}
	x.Verify(t)
}

// suite runs the cases of one suite and prints how many there were.
func (x *target) suite(t *testing.T, name string, f file) {
	refused, passed, waiting := 0, 0, 0
	seen := map[string]bool{}
	t.Run(name, func(t *testing.T) {
		for _, r := range f.Cases {
			if seen[r.Name] || len(r.Steps) == 0 {
				t.Errorf("the case %q is there twice, or empty", r.Name)
			}
			seen[r.Name] = true
			switch {
			case r.passes() && r.Because == "":
				t.Errorf("%s passes, and nobody says why", r.Name)
			case r.Detects && x.Bundle.Detect == nil:
				waiting++
				continue
			case r.passes():
				passed++
			default:
				refused++
			}
			for _, given := range r.Tickets {
				made, err := given.Made(x.now())
				if err != nil {
					t.Fatal(err)
				}
				x.AddTicketOf(t, "acme", *made)
			}
			for face, ask := range map[string]func(*testing.T, *step, *writv1.DecideRequest) outcome{"grpc": x.askGRPC, "json": x.askJSON} {
				t.Run(short(r.Name)+"/"+face, func(t *testing.T) { x.play(t, r, ask) })
			}
		}
	})
	if all := refused + passed + waiting; all < f.Least {
		t.Errorf("the suite %s has %d cases, there must be at least %d", name, all, f.Least)
	}
	t.Logf("suite %-16s %3d cases: %3d refused, %2d pass for a reason that is said, %3d not run for want of detectors", name, len(f.Cases), refused, passed, waiting)
}

func short(name string) string {
	if len(name) > 80 {
		return name[:80]
	}
	return name
}

type object = map[string]any

// told is an error or an answer of the JSON face.
type told struct {
	Decision bool
	Context  struct {
		ID      string
		Effect  string
		Reasons []struct{ Stage, Code, Lift string }
	}
	Error struct{ Reason string }
}

func reasons(all []*writv1.Reason) []string {
	var out []string
	for _, r := range all {
		if r.Lift != "" {
			out = append(out, r.Stage+"/"+r.Code)
		}
	}
	return out
}

// body is a question in AuthZEN's terms, with its documents as they are.
func body(t *testing.T, s *step, in *writv1.DecideRequest) []byte {
	t.Helper()
	raw := map[string]string{} // a document that is broken cannot go through the encoder
	put := func(document []byte) string {
		mark := fmt.Sprintf("document %d", len(raw))
		raw[`"`+mark+`"`] = string(document)
		return mark
	}
	context := object{"purpose": in.Purpose}
	if len(in.SupportedObligations) == 0 {
		context["supported_obligations"] = []string{}
	}
	for key, value := range map[string]string{"session_id": in.SessionId, "ticket_id": in.TicketId, "call_decision_id": in.CallDecisionId} {
		if value != "" {
			context[key] = value
		}
	}
	if len(in.Arguments) > 0 {
		context["arguments"] = put(in.Arguments)
	}
	if len(in.Context) > 0 {
		context["extra"] = put(in.Context)
	}
	if len(s.Content) > 0 {
		context["content"] = object{"media_type": "application/json", "document": put(in.Content.Data)}
	}
	if s.Text != "" {
		context["content"] = object{"media_type": "text/plain", "data": s.Text}
	}
	if r := in.Resource; r != nil {
		resource := object{"type": r.Type, "id": r.Id}
		if len(r.Properties) > 0 {
			resource["properties"] = put(r.Properties)
		}
		context["resource"] = resource
	}
	action := strings.ToLower(s.Phase)
	var resource object
	switch in.Phase {
	case writv1.Phase_PHASE_CALL, writv1.Phase_PHASE_RESULT:
		action = map[string]string{"CALL": "tools/call", "RESULT": "tools/result"}[s.Phase]
		resource = object{"type": "tool", "id": in.Tool.GetServer() + "/" + in.Tool.GetName(), "properties": object{"definition_digest": in.Tool.GetDefinitionDigest()}}
		if in.Tool.GetDefinitionDigest() == "" {
			delete(resource, "properties")
		}
	default:
		d := in.Destination
		resource = object{"type": "destination", "id": d.GetHost(), "properties": object{"vendor": d.GetVendor(), "region": d.GetRegion()}}
	}
	data, err := json.Marshal(object{
		"subject": object{"type": "agent", "id": s.Agent, "properties": object{"token": in.PrincipalToken}},
		"action":  object{"name": action}, "resource": resource, "context": context,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, mark := range slices.Sorted(maps.Keys(raw)) {
		text = strings.Replace(text, mark, raw[mark], 1)
	}
	return []byte(text)
}
