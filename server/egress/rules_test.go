package egress_test

import (
	"net/netip"
	"testing"

	"github.com/writpdp/writ/server/egress"
)

var allowing = &egress.Rules{Schemes: []string{"https", "http", "memo"}, Ports: []uint16{80, 443}, Allow: []egress.Rule{
	{ID: "docs", Hosts: []string{"docs.example.com", ".docs.example.com"}, Purposes: []string{"research"}, Methods: []string{"GET"}, Schemes: []string{"https"}},
	{ID: "ledger", Hosts: []string{"ledger.corp"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Ports: []uint16{8443}, Tools: []string{"books/*"}},
	{ID: "posts", Hosts: []string{"docs.example.com"}, Purposes: []string{"research"}, Methods: []string{"POST"}, Ports: []uint16{8443}},
	{ID: "out", Hosts: []string{"out.example.com"}, Purposes: []string{"gateway"}, Connections: true},
	{ID: "first", Hosts: []string{"docs.example.com"}, Purposes: []string{"both"}, Methods: []string{"GET"}},
	{ID: "second", Hosts: []string{"docs.example.com"}, Purposes: []string{"both"}, Methods: []string{"POST"}},
	{ID: "this", Hosts: []string{"localhost"}, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Purposes: []string{"development"}},
}}

func TestJudge(t *testing.T) {
	research, books, other := egress.Asker{Purpose: "research"}, egress.Asker{Purpose: "other", Server: "books", Tool: "read"}, egress.Asker{Purpose: "other"}
	tests := []struct {
		name   string
		url    string
		as     egress.Asker
		method string
		vendor bool
		want   string
	}{
		{"no list is for them", "https://anywhere.example/", other, "", false, ""},
		{"a scheme", "ws://anywhere.example/", other, "", false, "scheme"},
		{"a listed scheme that is not read", "memo://insights", other, "", false, ""},
		{"a port", "https://anywhere.example:8443/", other, "", false, "port"},
		{"a named host", "https://docs.example.com/", research, "GET", false, ""},
		{"no method is known", "https://docs.example.com/", research, "", false, ""},
		{"below a named host", "https://a.b.docs.example.com/", research, "GET", false, ""},
		{"a trailing dot", "https://docs.example.com./", research, "GET", false, ""},
		{"a suffix is of whole labels", "https://evildocs.example.com/", research, "GET", false, "host"},
		{"a prefix is nothing", "https://docs.example.com.evil.example/", research, "GET", false, "host"},
		{"a host of no list", "https://example.com/", research, "GET", false, "host"},
		{"a host of another's list", "https://ledger.corp:8443/", research, "", false, "name"},
		{"a scheme of no list", "http://docs.example.com/", research, "GET", false, "scheme"},
		{"a method of another list, on its port", "https://docs.example.com:8443/", research, "POST", false, ""},
		{"a method of another list", "https://docs.example.com/", research, "POST", false, "method"},
		{"a method that the second of two lists takes", "https://docs.example.com/", egress.Asker{Purpose: "both"}, "POST", false, ""},
		{"a vendor's host", "https://vendor.example/", research, "", true, ""},
		{"a vendor's port", "https://vendor.example:8443/", research, "", true, ""},
		{"a vendor's private address", "https://10.9.9.9/", research, "", true, ""},
		{"a vendor's metadata service", "https://169.254.169.254/", research, "", true, "address"},
		{"a name of this network on a list", "https://ledger.corp:8443/", books, "", false, ""},
		{"the scheme's port is not the list's", "https://ledger.corp/", books, "", false, "port"},
		{"an address of the list", "https://10.20.1.1:8443/", books, "", false, ""},
		{"an address, mapped", "https://[::ffff:10.20.1.1]:8443/", books, "", false, ""},
		{"an address beside the list", "https://10.21.1.1:8443/", books, "", false, "address"},
		{"a host of no list for a tool", "https://example.com/", books, "", false, "host"},
		{"a list for connections", "https://out.example.com/", egress.Asker{Purpose: "gateway", Connects: true}, "", false, ""},
		{"beside a list for connections", "https://example.com/", egress.Asker{Purpose: "gateway", Connects: true}, "", false, "host"},
		{"a list for connections is for no arguments", "https://example.com/", egress.Asker{Purpose: "gateway"}, "", false, ""},
		{"this machine", "http://localhost/", egress.Asker{Purpose: "development"}, "", false, ""},
		{"this machine's address", "http://127.0.0.1/", egress.Asker{Purpose: "development"}, "", false, ""},
		{"another address of it", "http://127.0.0.2/", egress.Asker{Purpose: "development"}, "", false, "address"},
		{"a user", "https://a@docs.example.com/", research, "GET", false, "userinfo"},
	}
	for _, test := range tests {
		target, problem := egress.Read(test.url)
		why := allowing.Judge(egress.Found{Kind: egress.Stated, Target: target, Problem: problem}, test.as, test.method, test.vendor)
		got := ""
		if why != nil {
			got = why.Code
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	target, _ := egress.Read("https://ledger.corp:8443/")
	books := egress.Asker{Server: "books", Tool: "read"}
	for _, test := range []struct {
		as        egress.Asker
		addresses []netip.Addr
		want      bool
	}{
		{books, []netip.Addr{netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("8.8.8.8")}, true},
		{books, []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.21.0.1")}, false},
		{egress.Asker{}, []netip.Addr{netip.MustParseAddr("10.20.0.1")}, false},
		{books, []netip.Addr{{}}, false},
		{books, nil, true},
	} {
		if why := allowing.Addresses(target, test.as, test.addresses, false); (why == nil) != test.want {
			t.Errorf("%v: got %v", test.addresses, why)
		}
	}
}

func TestConnect(t *testing.T) {
	tests := []struct {
		name    string
		in      egress.StatedConnection
		problem egress.Problem
		host    string
		port    uint16
		why     string // of its redirect
	}{
		{"a host", egress.StatedConnection{Host: "example.com"}, egress.Fine, "example.com", 0, ""},
		{"a host and a scheme", egress.StatedConnection{Host: "example.com", Scheme: "https"}, egress.Fine, "example.com", 443, ""},
		{"a host and a port", egress.StatedConnection{Host: "example.com", Scheme: "https", Port: 8443}, egress.Fine, "example.com", 8443, ""},
		{"an address", egress.StatedConnection{Host: "2001:db8::1"}, egress.Fine, "2001:db8::1", 0, ""},
		{"an integer", egress.StatedConnection{Host: "2130706433"}, egress.Ambiguous, "127.0.0.1", 0, ""},
		{"nothing", egress.StatedConnection{}, egress.Fine, "", 0, ""},
		{"a URL", egress.StatedConnection{URL: "https://example.com:8443/a"}, egress.Fine, "example.com", 8443, ""},
		{"a URL and its host", egress.StatedConnection{URL: "https://[::1]/", Host: "0:0::1", Scheme: "https", Port: 443}, egress.Fine, "::1", 443, ""},
		{"a URL and another host", egress.StatedConnection{URL: "https://example.com/", Host: "example.org"}, egress.Ambiguous, "example.com", 443, ""},
		{"a URL and another scheme", egress.StatedConnection{URL: "https://example.com/", Scheme: "http"}, egress.Ambiguous, "example.com", 443, ""},
		{"a URL and another port", egress.StatedConnection{URL: "https://example.com/", Port: 80}, egress.Ambiguous, "example.com", 443, ""},
		{"a redirect", egress.StatedConnection{URL: "https://example.com/", RedirectedFrom: "http://example.com/"}, egress.Fine, "example.com", 443, ""},
		{"a redirect from TLS", egress.StatedConnection{URL: "http://example.com/", RedirectedFrom: "https://example.com/"}, egress.Fine, "example.com", 80, "redirect"},
		{"a redirect from something", egress.StatedConnection{URL: "http://example.com/", RedirectedFrom: "https://a@b@c/"}, egress.Fine, "example.com", 80, "redirect"},
		{"a redirect from a decision", egress.StatedConnection{URL: "http://example.com/", RedirectedFrom: "01920000-0000-7000-8000-000000000001"}, egress.Fine, "example.com", 80, ""},
	}
	for _, test := range tests {
		c := egress.Connect(test.in)
		why := ""
		if refusal := c.Redirect(); refusal != nil {
			why = refusal.Code
		}
		if c.To.Problem != test.problem || c.To.Host != test.host || c.To.Port != test.port || why != test.why || c.Redirected() != (test.in.RedirectedFrom != "") {
			t.Errorf("%s: got %+v, %q", test.name, c, why)
		}
	}
}
