package stage_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/egress"
)

// connection is a request to connect somewhere.
func connection(t *testing.T, in egress.StatedConnection) *decision.Request {
	t.Helper()
	req := call(t)
	req.Phase, req.Tool, req.Arguments = decision.Connect, decision.ToolRef{}, nil
	req.Connection = egress.Connect(in)
	req.Destination.Host = req.Connection.To.Host
	return req
}

func TestEgressOfArguments(t *testing.T) {
	for _, test := range []struct{ name, args, want string }{
		{"nowhere", `{"path":"/a"}`, "abstain"},
		{"somewhere", `{"path":"https://example.com/"}`, "abstain"},
		{"a private address", `{"path":"http://10.0.0.1/"}`, "deny, egress.address"},
		{"two of them at one place", `{"path":["http://10.0.0.1/","http://10.0.0.1/"]}`, "deny, egress.address, egress.address"},
		{"several things", `{"path":"gopher://x/","url":"localhost"}`, "deny, egress.scheme, egress.name"},
	} {
		req := call(t)
		req.Arguments = object(t, test.args)
		f := stage.Egress(req, snapshot(t, nil), &decision.Decision{})
		judged(t, f, test.want)
		if f.URLs == nil || len(f.Obligations) != 0 {
			t.Errorf("%s: got %+v", test.name, f)
		}
	}
	req := call(t)
	req.Arguments = object(t, `{"path":[`+strings.Repeat(`"http://10.0.0.1/",`, 600)+`""]}`)
	f := stage.Egress(req, snapshot(t, nil), &decision.Decision{})
	if len(f.Reasons) != 16 {
		t.Errorf("%d reasons", len(f.Reasons))
	}
	req.Tool.Name = "other"
	if f := stage.Egress(req, snapshot(t, nil), &decision.Decision{}); f.URLs != nil || f.Verdict != decision.Abstain {
		t.Errorf("of a tool that nobody pinned: %+v", f)
	}
}

// What a record tells is used if the same finder looked, and else nothing is known.
func TestEgressOfARecord(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	partial, err := document.Partial([]byte(`{"path":"[redacted]"}`), []string{"/path"}, document.Digest{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Arguments = partial
	seen := egress.Facts{By: egress.NewFinder(nil).Digest(), Found: []egress.Found{{Kind: egress.Stated, Target: egress.Target{Scheme: "https", Host: "example.com", Port: 443}}}}
	for _, test := range []struct {
		name string
		led  *egress.Facts
		list string // the host of an allow list
		want decision.Verdict
	}{
		{"no record", nil, "", decision.Undetermined},
		{"another finder", &egress.Facts{By: [32]byte{1}}, "", decision.Undetermined},
		{"the same finder", &seen, "", decision.Abstain},
		{"the same finder and its list", &seen, "example.com", decision.Abstain},
		{"the same finder and another list", &seen, "example.org", decision.Deny},
	} {
		snap.Led, snap.Bundle.Egress = test.led, egress.Standard()
		if test.list != "" {
			snap.Bundle.Egress.Allow = []egress.Rule{{ID: "list", Hosts: []string{test.list}}}
		}
		f := stage.Egress(req, snap, &decision.Decision{})
		if f.Verdict != test.want || f.URLs == nil || f.URLs.Unknown != (test.want == decision.Undetermined) {
			t.Errorf("%s: got %+v", test.name, f)
		}
	}
}

func TestEgressOfConnections(t *testing.T) {
	lists := &egress.Rules{Schemes: []string{"https"}, Ports: []uint16{443}, Allow: []egress.Rule{
		{ID: "ledger", Hosts: []string{"ledger.corp"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Methods: []string{"GET"}, Connections: true}}}
	for _, test := range []struct {
		name string
		in   egress.StatedConnection
		want string // of the egress stage
		to   string // of the route stage
	}{
		{"a vendor", egress.StatedConnection{Host: "us.ai", Addresses: []string{"8.8.8.8"}}, "abstain", "abstain"},
		{"a vendor at a private address", egress.StatedConnection{Host: "us.ai", Addresses: []string{"10.0.0.1"}}, "deny, egress.address", "abstain"},
		{"a list", egress.StatedConnection{URL: "https://ledger.corp/", Addresses: []string{"10.20.0.1"}}, "abstain", "abstain"},
		{"a list by another method", egress.StatedConnection{URL: "https://ledger.corp/", Method: "post"}, "deny, egress.method", "abstain"},
		{"a list's host elsewhere", egress.StatedConnection{URL: "https://ledger.corp/", Addresses: []string{"10.21.0.1"}}, "deny, egress.address", "abstain"},
		{"nobody's", egress.StatedConnection{URL: "https://example.com/"}, "deny, egress.host", "deny, route.vendor_unknown"},
		{"another within", egress.StatedConnection{URL: "https://ledger.corp/?u=http://10.0.0.1/"}, "deny, egress.nested", "abstain"},
		{"a redirect that leaves TLS", egress.StatedConnection{Host: "us.ai", Scheme: "http", RedirectedFrom: "https://us.ai/"}, "deny, egress.scheme, egress.redirect", "abstain"},
		{"no address", egress.StatedConnection{Host: "us.ai", Addresses: []string{"x"}}, "deny, egress.address", "abstain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, snap := connection(t, test.in), snapshot(t, nil)
			snap.Bundle.Egress = lists
			f := stage.Egress(req, snap, &decision.Decision{})
			judged(t, f, test.want)
			judged(t, stage.Route(req, snap, &decision.Decision{}), test.to)
			pin := f.Obligations[0].Duty.(decision.Pin)
			if pin.Host != req.Connection.To.Host || !slices.Contains(pin.Refused, "169.254.169.254/32") || len(pin.Addresses) != len(test.in.Addresses) ||
				(len(pin.Permitted) > 0) != (pin.Host == "ledger.corp") {
				t.Errorf("got the pin %+v", pin)
			}
		})
	}
	// A connection to nowhere would be pinned to nothing.
	nowhere := connection(t, egress.StatedConnection{})
	nowhere.Connection = egress.Connection{}
	judged(t, stage.Egress(nowhere, snapshot(t, nil), &decision.Decision{}), "deny, egress.malformed")
	// A prompt's destination is judged, and not pinned.
	req := connection(t, egress.StatedConnection{URL: "https://a@us.ai/"})
	req.Phase = decision.Prompt
	f := stage.Egress(req, snapshot(t, nil), &decision.Decision{})
	judged(t, f, "deny, egress.userinfo")
	if len(f.Obligations) != 0 {
		t.Errorf("it is pinned: %+v", f)
	}
}

// Where data may be, by what is found in it.
func TestRouteByData(t *testing.T) {
	soon, ended := now.Add(time.Hour), now
	tests := []struct {
		name      string
		labels    []string
		receives  []string
		contracts []decision.Contract
		residency []decision.Residency
		host      string // that it goes to; empty: nowhere
		says      string
	}{
		{"nothing is found", nil, nil, nil, nil, "us.ai", ""},
		{"what the vendor receives", []string{"pii"}, []string{"pii"}, nil, nil, "us.ai", ""},
		{"what it does not", []string{"pii", "secret"}, []string{"pii"}, nil, nil, "", "us.ai (the vendor does not receive data labelled secret); eu.ai"},
		{"what strangers wrote", []string{"untrusted-content"}, nil, nil, nil, "us.ai", ""},
		{"what nobody could look into", []string{"uninspected"}, []string{"pii"}, nil, nil, "", "does not receive data labelled uninspected"},
		{"a contract", nil, nil, []decision.Contract{{ID: "c", Kind: "dpa", Until: soon}}, nil, "us.ai", ""},
		{"a contract that ended", nil, nil, []decision.Contract{{ID: "c", Kind: "dpa", Until: ended}}, nil, "", "the contract c ended at 2026-11-23T10:00:00Z"},
		{"a contract without an end", nil, nil, []decision.Contract{{ID: "c", Kind: "dpa"}}, nil, "us.ai", ""},
		{"a contract for a region", nil, nil, []decision.Contract{{ID: "c", Kind: "dpa", Regions: []string{"eu"}}}, nil, "eu.ai", "the contract c is not for the region us"},
		{"a contract for other data", []string{"pii"}, []string{"pii"}, []decision.Contract{{ID: "c", Kind: "dpa", Labels: []string{"financial"}}}, nil, "", "the contract c does not cover data labelled pii"},
		{"one of two contracts", []string{"pii"}, []string{"pii"}, []decision.Contract{{ID: "b", Kind: "dpa", Until: ended}, {ID: "c", Kind: "dpa", Labels: []string{"pii"}}}, nil, "us.ai", ""},
		{"residency of a label", []string{"health"}, []string{"health"}, nil, []decision.Residency{{ID: "r", Labels: []string{"health"}, Regions: []string{"eu"}}}, "eu.ai", "residency r requires eu"},
		{"residency of another label", []string{"pii"}, []string{"pii"}, nil, []decision.Residency{{ID: "r", Labels: []string{"health"}, Regions: []string{"eu"}}}, "us.ai", ""},
		{"residency of a tenant", nil, nil, nil, []decision.Residency{{ID: "r", Tenants: []string{"acme"}, Regions: []string{"eu"}}}, "eu.ai", "residency r"},
		{"residency of another tenant", nil, nil, nil, []decision.Residency{{ID: "r", Tenants: []string{"bolt"}, Regions: []string{"eu"}}}, "us.ai", ""},
		{"residency of a tenant's data", nil, nil, nil, []decision.Residency{{ID: "r", Tenants: []string{"acme"}, Labels: []string{"pii"}, Regions: []string{"eu"}}}, "us.ai", ""},
		{"residency nowhere", nil, nil, nil, []decision.Residency{{ID: "r", Regions: []string{"ap"}}}, "", "eu2.ai (region eu, residency r requires ap)"},
		{"a kind of contract", nil, nil, []decision.Contract{{ID: "c", Kind: "dpa", Until: soon}}, []decision.Residency{{ID: "r", Contract: "dpa"}}, "us.ai", ""},
		{"another kind of contract", nil, nil, []decision.Contract{{ID: "c", Kind: "terms"}}, []decision.Residency{{ID: "r", Contract: "dpa"}}, "", "residency r: the vendor has no contract of the kind dpa"},
		{"no contract of the kind", nil, nil, nil, []decision.Residency{{ID: "r", Contract: "dpa"}}, "", "no contract of the kind dpa"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, nil)
			req.Phase, req.Destination = decision.Prompt, decision.Destination{Host: "us.ai"}
			snap.Bundle.Vendors["ai"].Receives, snap.Bundle.Vendors["ai"].Contracts, snap.Bundle.Residency = test.receives, test.contracts, test.residency
			d := &decision.Decision{}
			if test.labels != nil {
				d.Findings = []decision.Finding{{Inspection: &detect.Inspection{Findings: []detect.Finding{{Labels: test.labels}}}}}
			}
			f := stage.Route(req, snap, d)
			got := "us.ai"
			if f.Verdict == decision.Deny {
				got = ""
			} else if len(f.Obligations) > 0 {
				got = f.Obligations[0].Duty.(decision.Route).Host
			}
			if said := ""; got != test.host {
				t.Errorf("it goes to %q, want %q", got, test.host)
			} else if len(f.Reasons) > 0 {
				if said = f.Reasons[0].Text; !strings.Contains(said, test.says) || test.says == "" {
					t.Errorf("got %q, want %q", said, test.says)
				}
			}
		})
	}
}

// What could not be looked into, or is not known, is not taken for harmless.
func TestRouteOfWhatIsUnknown(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	req.Phase, req.Destination = decision.Prompt, decision.Destination{Host: "us.ai"}
	for _, test := range []struct {
		found detect.Inspection
		want  decision.Verdict
	}{
		{detect.Inspection{}, decision.Abstain}, {detect.Inspection{Gaps: []detect.Gap{{Kind: "image"}}}, decision.Deny}, {detect.Inspection{Cut: true}, decision.Deny},
		{detect.Inspection{Unknown: true}, decision.Undetermined}, {detect.Inspection{Skipped: true}, decision.Abstain},
	} {
		d := &decision.Decision{Findings: []decision.Finding{{Inspection: &test.found}}}
		f := stage.Route(req, snap, d)
		if f.Verdict != test.want {
			t.Errorf("%+v: got %+v", test.found, f)
		}
		if diff := cmp.Diff(test.want == decision.Undetermined, len(f.Withheld) > 0); diff != "" {
			t.Errorf("%+v: %v", test.found, f.Withheld)
		}
	}
}

// A lock on a host, or on a vendor, stops what leads there.
func TestEgressToWhatIsLocked(t *testing.T) {
	lock := func(kind decision.TargetKind, value string, effect decision.LockEffect) decision.Lock {
		return decision.Lock{ID: "L", Target: decision.Target{Kind: kind, Value: value}, Effect: effect, Until: now.Add(time.Hour)}
	}
	for _, test := range []struct {
		name string
		lock decision.Lock
		url  string
		want string
	}{
		{"the host", lock(decision.OfHost, "example.com", decision.LockBlockEgress), "https://EXAMPLE.com./", "deny, lock.egress_blocked"},
		{"below the host", lock(decision.OfHost, "example.com", decision.LockDeny), "https://www.example.com/", "deny, lock.denied"},
		{"another host", lock(decision.OfHost, "example.com", decision.LockBlockEgress), "https://example.org/", "abstain"},
		{"a vendor", lock(decision.OfVendor, "ai", decision.LockBlockEgress), "https://us.ai/", "deny, lock.egress_blocked"},
		{"within another", lock(decision.OfHost, "example.com", decision.LockBlockEgress), "https://example.org/?u=https://example.com/", "deny, lock.egress_blocked"},
		{"a throttle", decision.Lock{ID: "L", Target: decision.Target{Kind: decision.OfHost, Value: "example.com"}, Effect: decision.LockThrottle, Rate: 1, Per: time.Minute, Until: now.Add(time.Hour)}, "https://example.com/", "abstain"},
		{"one that ended", decision.Lock{ID: "L", Target: decision.Target{Kind: decision.OfHost, Value: "example.com"}, Effect: decision.LockDeny, Until: now}, "https://example.com/", "abstain"},
	} {
		req, snap := call(t), snapshot(t, nil)
		req.Arguments = object(t, `{"path":"`+test.url+`"}`)
		snap.Control = &decision.Control{Version: 1, Locks: []decision.Lock{test.lock}}
		f := stage.Egress(req, snap, &decision.Decision{})
		judged(t, f, test.want)
		if (len(f.Locks) == 1) != (test.want != "abstain") {
			t.Errorf("%s: locks %v", test.name, f.Locks)
		}
	}
}
