package egress_test

import (
	"encoding/json"
	"net/netip"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nlnwa/whatwg-url/url"

	"github.com/writpdp/writ/address"
	"github.com/writpdp/writ/server/egress"
)

// The web platform's own tests, as the library brings them: what is read is what they
// say, or refused.
func TestWebPlatform(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/nlnwa/whatwg-url").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "urltestdata.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, entry := range entries {
		var test struct {
			Input, Protocol, Hostname, Port string
			Failure                         bool
		}
		if json.Unmarshal(entry, &test) != nil {
			continue // a comment
		}
		got, problem := egress.Read(test.Input)
		if problem != egress.Fine || got.Port == 0 {
			continue
		}
		read++
		want := strings.Trim(strings.TrimSuffix(test.Hostname, "."), "[]")
		if a, err := netip.ParseAddr(want); err == nil {
			want = a.String()
		}
		if test.Failure || got.Host != want || got.Scheme+":" != test.Protocol || test.Port != "" && strconv.Itoa(int(got.Port)) != test.Port {
			t.Errorf("%q: got %+v, want %+v", test.Input, got, test)
		}
	}
	if read < 50 {
		t.Errorf("only %d of them were read", read)
	}
}

// rfc3986 is the expression of the standard's appendix B.
var rfc3986 = regexp.MustCompile(`^(([^:/?#]+):)?(//([^/?#]*))?([^?#]*)(\?([^#]*))?(#(.*))?`)

// naive are ways in which programs find a host: each is wrong, and in use.
var naive = map[string]func(string) string{
	"RFC 3986, the last @": func(text string) string {
		a := rfc3986.FindStringSubmatch(text)[4]
		return a[strings.LastIndexByte(a, '@')+1:]
	},
	"RFC 3986, the first @": func(text string) string {
		a := rfc3986.FindStringSubmatch(text)[4]
		if _, after, ok := strings.Cut(a, "@"); ok {
			return after
		}
		return a
	},
	"up to the next slash": func(text string) string {
		_, a, _ := strings.Cut(text, "://")
		a, _, _ = strings.Cut(a, "/")
		if i := strings.LastIndexByte(a, '@'); i >= 0 {
			return a[i+1:]
		}
		return strings.TrimRight(strings.FieldsFunc(a+" ", func(r rune) bool { return r == '?' || r == '#' || r == ' ' })[0], "")
	},
	"backslashes are slashes": func(text string) string {
		a := rfc3986.FindStringSubmatch(strings.ReplaceAll(text, `\`, "/"))[4]
		return a[strings.LastIndexByte(a, '@')+1:]
	},
}

// FuzzRead holds what is read to every other way of reading: a host that is
// allowed is the host for all of them.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/", "http://a@b@c/", `http://good.com\@evil.com`, "http://good.com#@evil.com/", "http:/example.com", "http://0x7f.1/", "http://[::1]:80/",
		"http://bücher.de/", "http://ex%41mple.com/", "HTTP://EXAMPLE.com.:80", "//example.com", "http://127.0.0.1./", "http://１.1.1.1", "http://a:b@c:1/?@d", "ws://x.y:1#@z",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, problem := egress.Read(text)
		if again, p := egress.Read(text); again != got || p != problem {
			t.Fatalf("%q is read in two ways", text)
		}
		if problem != egress.Fine || got.Port == 0 {
			return
		}
		same := func(by, host string) {
			t.Helper()
			host, _, _ = strings.Cut(strings.TrimPrefix(host, "["), "]")
			if a, err := netip.ParseAddr(host); err == nil {
				host = a.String()
			} else if i := strings.LastIndexByte(host, ':'); i >= 0 {
				host = host[:i]
			}
			read, p := egress.ReadHost(strings.ToLower(host))
			if p != egress.Fine || read.Host != got.Host {
				t.Errorf("%q: %s reads %q, and not %q", text, by, host, got.Host)
			}
		}
		for by, read := range naive {
			same(by, read(text))
		}
		w, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q: the WHATWG standard does not read it: %v", text, err)
		}
		same("WHATWG", strings.Trim(w.Hostname(), "[]"))
		if g, err := neturl.Parse(text); err == nil {
			same("Go", g.Hostname())
			if p := g.Port(); p != "" && p != strconv.Itoa(int(got.Port)) {
				t.Errorf("%q: Go reads the port %s, and not %d", text, p, got.Port)
			}
		}
		if got.Addr.IsValid() != (strings.Trim(got.Host, "0123456789.") == "" || strings.Contains(got.Host, ":")) {
			t.Errorf("%q: the host %q and the address %v", text, got.Host, got.Addr)
		}
		if got.Addr.IsValid() && address.Of(got.Addr) == address.Public && !got.Addr.IsGlobalUnicast() {
			t.Errorf("%q: %v is public", text, got.Addr)
		}
	})
}
