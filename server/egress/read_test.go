package egress_test

import (
	"testing"

	"github.com/writpdp/writ/server/egress"
)

func TestRead(t *testing.T) {
	tests := []struct {
		url     string
		problem egress.Problem
		scheme  string
		host    string
		port    uint16
	}{
		{"https://example.com", egress.Fine, "https", "example.com", 443},
		{"HTTPS://Example.COM:443/a?b#c", egress.Fine, "https", "example.com", 443},
		{"http://example.com:8080/%zz a\\b", egress.Fine, "http", "example.com", 8080},
		{"https://example.com./", egress.Fine, "https", "example.com", 443},
		{"http://a_b.example.com/", egress.Fine, "http", "a_b.example.com", 80},
		{"https://8.8.8.8/", egress.Fine, "https", "8.8.8.8", 443},
		{"https://[2606:4700::1111]:8443/", egress.Fine, "https", "2606:4700::1111", 8443},
		{"https://bücher.example.com/", egress.Fine, "https", "xn--bcher-kva.example.com", 443},
		{"https://例え.jp/", egress.Fine, "https", "xn--r8jz45g.jp", 443},
		{"wss://example.com/", egress.Fine, "wss", "example.com", 443},
		{"javascript:alert(1)", egress.Fine, "javascript", "", 0},
		{"gopher://127.0.0.1:70/_x", egress.Fine, "gopher", "", 0},
		{"example.com", egress.Malformed, "", "", 0},
		{"http://", egress.Malformed, "http", "", 0},
		{"http://exa mple.com/", egress.Malformed, "http", "", 0},
		{"http://example.com:99999/", egress.Malformed, "http", "", 0},
		{"http://example.com:0/", egress.Malformed, "http", "example.com", 0},
		{"http://a..b/", egress.Ambiguous, "http", "a..b", 80},
		{"http://u:p@example.com/", egress.Userinfo, "http", "example.com", 80},
		{"http://a@b@example.com/", egress.Ambiguous, "http", "example.com", 80},
		{"http://good.com#@evil.com/", egress.Ambiguous, "http", "good.com", 80},
		{"http://good.com?@evil.com/", egress.Ambiguous, "http", "good.com", 80},
		{"http://good.com\\@evil.com/", egress.Ambiguous, "http", "good.com", 80},
		{"http:example.com", egress.Ambiguous, "http", "example.com", 80},
		{"http:///example.com", egress.Ambiguous, "http", "example.com", 80},
		{" http://example.com", egress.Ambiguous, "http", "example.com", 80},
		{"http://exa\tmple.com", egress.Ambiguous, "http", "example.com", 80},
		{"ht\ntp://example.com", egress.Ambiguous, "http", "example.com", 80},
		{"http://example.com/\r\nHost: x", egress.Ambiguous, "http", "example.com", 80},
		{"http://2130706433/", egress.Ambiguous, "http", "127.0.0.1", 80},
		{"http://0x7f.1/", egress.Ambiguous, "http", "127.0.0.1", 80},
		{"http://127.0.0.1./", egress.Ambiguous, "http", "127.0.0.1", 80},
		{"http://[::ffff:7f00:1]/", egress.Fine, "http", "::ffff:127.0.0.1", 80},
		{"http://[fe80::1%25eth0]/", egress.Malformed, "http", "", 0},
		{"http://[[::1]]/", egress.Ambiguous, "http", "::1", 80},
		{"http://ex%61mple.com/", egress.Ambiguous, "http", "example.com", 80},
		{"http://１２７.0.0.1/", egress.Ambiguous, "http", "127.0.0.1", 80},
		{"http://ⓔxample.com/", egress.Ambiguous, "http", "example.com", 80},
		{"http://faß.de/", egress.Ambiguous, "http", "xn--fa-hia.de", 80},
		{"http://exa\u00admple.com/", egress.Ambiguous, "http", "example.com", 80},
		{"http://example。com/", egress.Ambiguous, "http", "example.com", 80},
		{"http://аpple.com/", egress.Confusable, "http", "xn--pple-43d.com", 80},
		{"http://аррӏе.com/", egress.Confusable, "http", "xn--80ak6aa92e.com", 80},
		{"http://xn--80ak6aa92e.com/", egress.Confusable, "http", "xn--80ak6aa92e.com", 80},
	}
	for _, test := range tests {
		got, problem := egress.Read(test.url)
		if problem != test.problem || got.Scheme != test.scheme || got.Host != test.host || got.Port != test.port {
			t.Errorf("%q: got %+v, problem %d, want %s %s %d, problem %d", test.url, got, problem, test.scheme, test.host, test.port, test.problem)
		}
	}
}

func TestReadHost(t *testing.T) {
	tests := []struct {
		host    string
		problem egress.Problem
		want    string
	}{
		{"example.com", egress.Fine, "example.com"}, {"example.com.", egress.Fine, "example.com"}, {"10.0.0.1", egress.Fine, "10.0.0.1"},
		{"::1", egress.Fine, "::1"}, {"fe80::1", egress.Fine, "fe80::1"}, {"localhost", egress.Fine, "localhost"},
		{"2130706433", egress.Ambiguous, "127.0.0.1"}, {"127.1", egress.Ambiguous, "127.0.0.1"}, {"0x7f.0.0.1", egress.Ambiguous, "127.0.0.1"},
		{"a..b", egress.Ambiguous, "a..b"}, {"", egress.Malformed, ""}, {"a:80", egress.Malformed, ""}, {":", egress.Malformed, ""}, {"a/b", egress.Malformed, ""},
		{"1.2.3.4.5", egress.Malformed, ""},
	}
	for _, test := range tests {
		if got, problem := egress.ReadHost(test.host); problem != test.problem || got.Host != test.want {
			t.Errorf("%q: got %+v, problem %d, want %s, problem %d", test.host, got, problem, test.want, test.problem)
		}
	}
}
