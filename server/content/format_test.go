package content_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/content"
)

// Every format is asserted, of strings alone.
func TestFormats(t *testing.T) {
	tests := map[string]struct{ takes, refuses []string }{
		"date":                  {[]string{"2024-02-29", "2026-12-31"}, []string{"2026-02-29", "2026-13-01", "2026-1-1", "2026-04-31", "+026-01-01", "٢٠٢٦-01-01"}},
		"date-time":             {[]string{"2026-11-23T10:00:00Z", "2026-11-23t10:00:00.5+01:00", "2016-12-31T23:59:60Z"}, []string{"2026-11-23 10:00:00Z", "2026-11-23T10:00:00", "2026-11-23T24:00:00Z", "2026-02-30T00:00:00Z"}},
		"duration":              {[]string{"P1Y2M3DT4H5M6S", "P2W", "PT36H"}, []string{"P", "PT", "P1D2H", "P1W1D", "P1YT", "P-1D", "P1Y1D"}},
		"email":                 {[]string{"ada@example.org"}, []string{"ada", "a b@example.org", "@example.org", "ada@"}},
		"hostname":              {[]string{"example.org", "xn--bcher-kva.example"}, []string{"-a.example", "a_b.example", "a..example", ""}},
		"idn-email":             {[]string{"実例@実例.テスト", "ada@example.org"}, []string{"ada", "a b@example.org", "ada@-x", "a\u200b@example.org"}},
		"idn-hostname":          {[]string{"bücher.example", "実例.テスト"}, []string{"a\u200bb.example", "〮실례.테스트", "-bücher.example", "", "l·a"}},
		"ipv4":                  {[]string{"192.0.2.1"}, []string{"192.0.2", "192.0.2.01", "256.0.0.1", "+1.2.3.4", "0x7f.0.0.1", "1.2.3.4.", "2130706433"}},
		"ipv6":                  {[]string{"2001:db8::1", "::ffff:192.0.2.1"}, []string{"2001:db8::1%eth0", "::1::", "192.0.2.1", "12345::"}},
		"iri":                   {[]string{"https://example.org/ü"}, []string{"/ü", "https://2001:db8::1"}},
		"iri-reference":         {[]string{"/ü"}, []string{`\\host\share`}},
		"json-pointer":          {[]string{"", "/a~1b/0"}, []string{"a", "/a~2"}},
		"regex":                 {[]string{"^a+$"}, []string{"(", "^(?!x)"}},
		"relative-json-pointer": {[]string{"1/a", "0#"}, []string{"/a", "-1/a", "01"}},
		"time":                  {[]string{"10:00:00Z", "23:59:60Z", "00:29:60+00:30", "10:00:00-08:00"}, []string{"10:00:00", "24:00:00Z", "+1:00:00Z", "10:00:60Z", "10:00Z"}},
		"uri":                   {[]string{"https://example.org/a?b#c", "urn:a:b"}, []string{"/a", "example.org", "https://[::1", "https://a b/"}},
		"uri-reference":         {[]string{"/a", "https://example.org/"}, []string{`\\a`}},
		"uri-template":          {[]string{"https://example.org/{id}"}, []string{"https://example.org/{id"}},
		"uuid":                  {[]string{"2eb8aa08-aa98-11ea-b4aa-73b441d16380"}, []string{"2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g"}},
	}
	if diff := cmp.Diff(content.Formats, slices.Sorted(maps.Keys(tests))); diff != "" {
		t.Errorf("the formats (-asserted +tested):\n%s", diff)
	}
	for name, test := range tests {
		schema := compile(t, `{"properties":{"v":{"format":"`+name+`"}}}`)
		fits := func(value any) bool {
			data, err := json.Marshal(map[string]any{"v": value})
			if err != nil {
				t.Fatal(err)
			}
			return schema.Check(parse(t, string(data))) == nil
		}
		for _, value := range test.takes {
			if !fits(value) {
				t.Errorf("%s refuses %q", name, value)
			}
		}
		for _, value := range test.refuses {
			if fits(value) {
				t.Errorf("%s takes %q", name, value)
			}
		}
		if !fits(1) || !fits(nil) {
			t.Errorf("%s says something of values that are no strings", name)
		}
	}
}

// A text of a mebibyte is of no format of names, and that is found at once.
func TestLongFormats(t *testing.T) {
	long := strings.Repeat("üä", 1<<18)
	for _, name := range []string{"idn-hostname", "idn-email", "email", "hostname", "ipv4", "time", "date-time", "duration", "uuid", "regex"} {
		schema := compile(t, `{"properties":{"v":{"format":"`+name+`"}}}`)
		for _, text := range []string{long, "a@" + long, strings.Repeat("1.", 1<<19), "P" + strings.Repeat("1D", 1<<18)} {
			if found := schema.Check(parse(t, `{"v":"`+text+`"}`)); len(found) != 1 {
				t.Errorf("%s: got %v", name, found)
			}
		}
	}
}
