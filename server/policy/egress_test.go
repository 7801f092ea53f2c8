package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

func TestEgressFile(t *testing.T) {
	b, err := Load(small())
	if err != nil {
		t.Fatal(err)
	}
	want := &egress.Rules{Schemes: []string{"https"}, Ports: []uint16{443}, Allow: []egress.Rule{{ID: "a", Hosts: []string{"a.example", ".b.example"},
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("::1/128")}, Ports: []uint16{8443}, Methods: []string{"GET"},
		Purposes: []string{"p"}, Tools: []string{"s/t"}}}}
	if diff := cmp.Diff(want, b.Egress, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]decision.Residency{{ID: "r", Labels: []string{"x"}, Tenants: []string{"acme"}, Regions: []string{"eu"}, Contract: "dpa"}}, b.Residency); diff != "" {
		t.Errorf("residency (-want +got):\n%s", diff)
	}
	v := b.Vendors["v"]
	contracts := []decision.Contract{{ID: "c", Kind: "dpa", Until: time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC), Regions: []string{"eu"}, Labels: []string{"x"}}}
	if diff := cmp.Diff(contracts, v.Contracts); diff != "" || !cmp.Equal(v.Receives, []string{"x"}) {
		t.Errorf("receives %v, contracts (-want +got):\n%s", v.Receives, diff)
	}
	files := small()
	delete(files, fileEgress)
	if b, err = Load(files); err != nil || !cmp.Equal(b.Egress, egress.Standard()) {
		t.Errorf("without the file: %+v, %v", b.Egress, err)
	}
}

func TestBrokenEgress(t *testing.T) {
	for _, test := range []struct{ file, text, want string }{
		{fileEgress, "scheme: [https]\n", "egress.yaml:1:1"},
		{fileEgress, "schemes: [HTTPS]\n", `the scheme "HTTPS" is not of the form`},
		{fileEgress, "ports: [0]\n", "0 is no port"},
		{fileEgress, "ports: [65536]\n", "egress.yaml:1:"},
		{fileEgress, "allow: { A: { hosts: [a.example] } }\n", `the allow list "A" is not of the form`},
		{fileEgress, "allow: { a: { ports: [1] } }\n", "names neither hosts nor addresses"},
		{fileEgress, "allow: { a: { hosts: [A.example] } }\n", "is neither a host's name in ASCII and lower case"},
		{fileEgress, "allow: { a: { hosts: ['*'] } }\n", "is neither a host's name"},
		{fileEgress, "allow: { a: { hosts: ['a.*.example'] } }\n", "is neither a host's name"},
		{fileEgress, "allow: { a: { hosts: ['10.0.0.1'] } }\n", "is neither a host's name"},
		{fileEgress, "allow: { a: { hosts: [bücher.example] } }\n", "is neither a host's name"},
		{fileEgress, "allow: { a: { hosts: [metadata.google.internal] } }\n", "is a metadata service's"},
		{fileEgress, "allow: { a: { hosts: ['*.metadata.google.internal'] } }\n", "is a metadata service's"},
		{fileEgress, "allow: { a: { addresses: [10.0.0.1/8] } }\n", "has bits beyond its length"},
		{fileEgress, "allow: { a: { addresses: [x] } }\n", "is neither an address nor a range"},
		{fileEgress, "allow: { a: { addresses: ['fe80::1%eth0'] } }\n", "is neither an address nor a range"},
		{fileEgress, "allow: { a: { addresses: ['::ffff:10.0.0.1'] } }\n", "write it as an IPv4 address"},
		{fileEgress, "allow: { a: { addresses: [169.254.169.254] } }\n", "is a metadata service's"},
		{fileEgress, "allow: { a: { hosts: [a.example], methods: [get] } }\n", `the method "get"`},
		{fileEgress, "allow: { a: { hosts: [a.example], purposes: [x] } }\n", `there is no purpose "x"`},
		{fileEgress, "allow: { a: { hosts: [a.example], tools: [s/x] } }\n", `the tool "s/x" is in no manifest`},
		{fileEgress, "residency: { r: { labels: [x] } }\n", "names neither regions nor a contract"},
		{fileEgress, "residency: { r: { regions: [ap] } }\n", `no vendor is in the region "ap"`},
		{fileEgress, "residency: { r: { regions: [eu], labels: [X] } }\n", `the label "X"`},
		{fileVendors, "v: { endpoints: [{ region: eu, host: '2130706433' }] }\n", "is not read alike by all"},
		{fileVendors, "v: { endpoints: [{ region: eu, host: 127.1 }] }\n", "vendors.yaml"},
		{fileVendors, "v: { endpoints: [{ region: eu, host: v }], receives: [X] }\n", `the label "X"`},
		{fileVendors, "v: { endpoints: [{ region: eu, host: v }], contracts: { c: { until: 2027-01-01 } } }\n", `the kind of contract ""`},
		{fileVendors, "v: { endpoints: [{ region: eu, host: v }], contracts: { c: { kind: dpa, until: soon } } }\n", "until is no day"},
		{fileVendors, "v: { endpoints: [{ region: eu, host: v }], contracts: { c: { kind: dpa, regions: [us] } } }\n", `no endpoint is in the region "us"`},
		{fileTools, "s:\n  t: { urls: [x] }\n", `urls: "x"`},
	} {
		_, err := Load(broken(map[string]string{test.file: test.text}))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), strings.TrimSuffix(test.file, ".yaml")) && test.file != fileTools {
			t.Errorf("%s: got %v, want %q", test.text, err, test.want)
		}
	}
}

// Where URLs stand: by a schema's formats, and by the operator's word.
func TestPlaces(t *testing.T) {
	schema := `{"properties":{"a":{"type":"string","format":"uri"},"b":{"type":"array","items":{"$ref":"#/$defs/u"}},"c":{"anyOf":[{"type":"string","format":"hostname"},{"type":"null"}]},
		"d":{"type":"object","additionalProperties":{"format":"ipv4"}},"e":{"type":"string"},"r":{"$ref":"#/$defs/r"}},"$defs":{"u":{"format":"iri"},"r":{"properties":{"r":{"$ref":"#/$defs/r"},"x":{"format":"url"}}}}}`
	d, err := document.ParseObject([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	got, err := places(d.Value().(map[string]any), []string{"/e", "/items/*/href"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/a", "/b/*", "/c", "/d/*", "/r/x", "/r/r/x", "/e", "/items/*/href"} {
		if !strings.Contains(strings.Join(got, " ")+" ", want+" ") {
			t.Errorf("%s is not among %q", want, got)
		}
	}
	if len(got) > 16 {
		t.Errorf("%d places: %q", len(got), got)
	}
}

// Policies see where arguments lead, and what is said of a connection.
func TestJudgeURLs(t *testing.T) {
	b, err := Load(broken(map[string]string{"cedar/a.cedar": `@id("calls") permit (principal, action == Action::"s/t", resource) when { context.urls.hosts.contains("a.example") && context.urls.schemes == ["https"] };
@id("connects") permit (principal, action == Action::"connect", resource)
when { context.connection.scheme == "https" && context.connection.port == 8443 && context.connection.method == "GET" && context.connection.redirected };`}))
	if err != nil {
		t.Fatal(err)
	}
	args, err := document.ParseObject([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	found := func(urls ...string) *egress.Facts {
		f := &egress.Facts{}
		for _, url := range urls {
			target, problem := egress.Read(url)
			f.Found = append(f.Found, egress.Found{Kind: egress.Stated, Target: target, Problem: problem})
		}
		return f
	}
	tool := decision.ToolName{Server: "s", Name: "t"}
	call := decision.Request{Phase: decision.Call, Purpose: "p", Tool: decision.ToolRef{ToolName: tool}, Arguments: args}
	connect := func(in egress.StatedConnection) decision.Request {
		return decision.Request{Phase: decision.Connect, Purpose: "p", Destination: decision.Destination{Host: "a.example"}, Connection: egress.Connect(in)}
	}
	for _, test := range []struct {
		name string
		req  decision.Request
		urls *egress.Facts
		want string
	}{
		{"the host", call, found("https://a.example/", "https://b.example/"), "calls"},
		{"another host", call, found("https://b.example/"), ""},
		{"another scheme", call, found("https://a.example/", "memo://x"), ""},
		{"nobody looked", call, nil, ""},
		{"not known", call, &egress.Facts{Unknown: true}, "open"},
		{"a connection", connect(egress.StatedConnection{URL: "https://a.example:8443/", Method: "GET", RedirectedFrom: "https://b.example/"}), nil, "connects"},
		{"another connection", connect(egress.StatedConnection{URL: "https://a.example:8443/", Method: "POST", RedirectedFrom: "https://b.example/"}), nil, ""},
	} {
		r := b.Policies.Judge(decision.Query{Request: &test.req, Tool: b.Tools[test.req.Tool.ToolName], URLs: test.urls})
		got := ""
		for _, m := range r.Permits {
			got = m.Policy
		}
		if r.Open {
			got = "open"
		}
		if got != test.want || r.Refused.Code != "" || len(r.Errors) > 0 {
			t.Errorf("%s: got %q, want %q: %+v", test.name, got, test.want, r)
		}
	}
}
