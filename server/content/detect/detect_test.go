package detect_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
)

// spans are what was found in a text, each as "detector: the text at the span".
func spans(in detect.Inspection, text string) []string {
	got := []string{}
	for _, f := range in.Findings {
		got = append(got, f.Detector+": "+text[f.Start:f.End])
	}
	return got
}

// secretOf makes a text that looks like a secret, for those who look for secrets in
// this file not to find one.
func secretOf(parts ...string) string { return strings.Join(parts, "") }

var texts = []struct {
	text string
	want []string // none: nothing is found
}{
	{"Write to ada.lovelace@example.org, please.", []string{"email: ada.lovelace@example.org"}},
	{"icons/logo@2x.png and git@example.org:team/repo.git and user@localhost", nil},
	{"pay with 4111 1111 1111 1111 today", []string{"payment-card: 4111 1111 1111 1111"}},
	{"card 4111-1111-1111-1111", []string{"payment-card: 4111-1111-1111-1111"}},
	{"amex 378282246310005", []string{"payment-card: 378282246310005"}},
	{"card 4111111111111112", nil},
	{"Order 4111111111111111 was shipped", nil},
	{"IBAN DE89 3704 0044 0532 0130 00.", []string{"iban: DE89 3704 0044 0532 0130 00"}},
	{"GB82WEST12345698765432", []string{"iban: GB82WEST12345698765432"}},
	{"GB83WEST12345698765432", nil},
	{"SSN: 536-22-8726", []string{"us-ssn: 536-22-8726"}},
	{"part 536-22-8726", nil},
	{"ITIN 912-70-1234", []string{"us-itin: 912-70-1234"}},
	{"National Insurance number AB 12 34 56 C", []string{"uk-nino: AB 12 34 56 C"}},
	{"NHS number 943 476 5919", []string{"uk-nhs: 943 476 5919"}},
	{"NHS number 943 476 5918", nil},
	{"VAT DE136695976", []string{"eu-vat: DE136695976"}},
	{"ATU13585627", []string{"eu-vat: ATU13585627"}},
	{"DNI 12345678Z", []string{"es-dni: 12345678Z"}},
	{"NIE X1234567L", []string{"es-nie: X1234567L"}},
	{"RSSMRA85T10A562S", []string{"it-codice-fiscale: RSSMRA85T10A562S"}},
	{"NIR 1 85 05 78 006 084 91", []string{"fr-nir: 1 85 05 78 006 084 91"}},
	{"Steuer-ID 86095742719", []string{"de-steuer-id: 86095742719"}},
	{"PESEL 44051401359", []string{"pl-pesel: 44051401359"}},
	{"BSN 111222333", []string{"nl-bsn: 111222333"}},
	{"rijksregisternummer 85.07.30-033.28", []string{"be-national-number: 85.07.30-033.28"}},
	{"NIF 123456789", []string{"pt-nif: 123456789"}},
	{"personnummer 811218-9876", []string{"se-personnummer: 811218-9876"}},
	{"henkilötunnus 131052-308T", []string{"fi-hetu: 131052-308T"}},
	{"CPR 070761-4285", []string{"dk-cpr: 070761-4285"}},
	{"fødselsnummer 01129955151", []string{"no-fodselsnummer: 01129955151"}},
	{"passport number C01X00T47", []string{"passport: C01X00T47"}},
	{"driver's license D1234567", []string{"driving-licence: D1234567"}},
	{"born 12 March 1985", []string{"date-of-birth: 12 March 1985"}},
	{"date of birth: 1985-03-12", []string{"date-of-birth: 1985-03-12"}},
	{"released 1985-03-12", nil},
	{"call +49 30 901820", []string{"phone: +49 30 901820"}},
	{"(415) 555-2671", []string{"phone: (415) 555-2671"}},
	{"phone 020 7946 0958", []string{"phone: 020 7946 0958"}},
	{"from 203.0.113.7 to 2001:db8::ff00:42:8329", []string{"ip-address: 203.0.113.7", "ip-address: 2001:db8::ff00:42:8329"}},
	{"version 1.2.3.4 of Chrome/120.0.0.1 at 12:30:45", nil},
	{"mac 00:1b:44:11:3a:b7", []string{"mac-address: 00:1b:44:11:3a:b7"}},
	{"GPS 52.52000, 13.40500", []string{"geo-coordinates: 52.52000, 13.40500"}},
	{"Dear Mr. John Smith, thanks", []string{"person-name: John Smith"}},
	{"postgres://app:hunter2secret@db.example.org:5432/app", []string{"database-url: postgres://app:hunter2secret@db.example.org:5432/app"}},
	{"https://discord.com/api/webhooks/123456789/abcDEF", []string{"webhook-url: https://discord.com/api/webhooks/123456789/abcDEF"}},
	{secretOf("AKIA", "Z7VRSQ5TJN2XMPLQ"), []string{"cloud-key: " + secretOf("AKIA", "Z7VRSQ5TJN2XMPLQ")}},
	{secretOf("ghp", "_x9Zq4LmT7vB2nK8sW1cR5yH3jD6fG0aP4eU9"), []string{"oauth-token: " + secretOf("ghp", "_x9Zq4LmT7vB2nK8sW1cR5yH3jD6fG0aP4eU9")}},
	{"password=hunter22x", []string{"named-secret: hunter22x"}},
	{"password: required", nil},
	{"The task id is 3fa85f64-5717-4562-b3fc-2c963f66afa6 at 1700000000123, commit 9fceb02d0ae598e95dc970b74767f19372d61af8", nil},
	{"2026-11-27T01:05:02.123456Z level=info port=8080 took 12.5ms", nil},
	{"The quick brown fox jumps over the lazy dog.", nil},
}

func TestTexts(t *testing.T) {
	for _, c := range texts {
		if got := spans(detect.Default().InspectText(c.text), c.text); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

// places are what was found in a document, each as "detector at its pointer".
func places(t testing.TB, set *detect.Set, text string) []string {
	t.Helper()
	d, err := document.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	in := set.Inspect(d)
	for _, f := range in.Findings {
		at := f.Detector + " at " + f.Pointer
		if f.Encoding != "" {
			at += " in " + f.Encoding
		}
		got = append(got, at)
	}
	for _, g := range in.Gaps {
		got = append(got, "gap "+g.Kind+" at "+g.Pointer)
	}
	return got
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var documents = []struct {
	text string
	want []string
}{
	{`{"card": 4111111111111111}`, []string{"payment-card at /card"}},
	{`{"order_id": 4111111111111111, "ts": 1700000000}`, nil},
	{`{"customerSSN": "536228726"}`, []string{"us-ssn at /customerSSN"}},
	{`{"dob": "1985-03-12"}`, []string{"date-of-birth at /dob"}},
	{`{"password": "correct horse"}`, []string{"named-secret at /password"}},
	{`{"password_hint": "the usual", "token_type": "Bearer", "next_page_token": "CAUQAA9zZXJ2aWNlcw"}`, nil},
	{`{"customer": {"name": "Ada Lovelace"}, "product": {"name": "Analytical Engine"}}`, []string{"person-name at /customer/name"}},
	{`{"location": {"lat": 52.520008, "lng": 13.404954}}`, []string{"geo-coordinates at /location/lat", "geo-coordinates at /location/lng"}},
	{`{"text": "{\"email\":\"ada@example.org\"}"}`, []string{"email at /text/email"}},
	{`{"4111 1111 1111 1111": 1}`, []string{"payment-card at /4111 1111 1111 1111 in name"}},
	{`["4111", "1111", "1111", "1111"]`, []string{"payment-card at /0 in split", "payment-card at /1 in split", "payment-card at /2 in split", "payment-card at /3 in split"}},
	{`{"part1": "41111111", "part2": "11111111"}`, []string{"payment-card at /part1 in split", "payment-card at /part2 in split"}},
	{fmt.Sprintf(`{"d": %q}`, b64("card 4111111111111111")), []string{"payment-card at /d in base64"}},
	{fmt.Sprintf(`{"d": %q}`, b64(b64("card 4111111111111111"))), []string{"payment-card at /d in base64+base64"}},
	{fmt.Sprintf(`{"d": "prefix/%s"}`, b64("card 4111111111111111")), []string{"payment-card at /d in base64"}},
	{fmt.Sprintf(`{"d": %q}`, hex.EncodeToString([]byte("card 4111111111111111"))), []string{"payment-card at /d in hex"}},
	{fmt.Sprintf(`{"d": %q}`, url.QueryEscape("ada@example.org is me")), []string{"email at /d in url"}},
	{`{"d": "\\u0034111 1111 1111 1111"}`, []string{"payment-card at /d in url"}},
	{`{"d": "4111\u200b1111\u200b1111\u200b1111"}`, []string{"payment-card at /d"}},
	{`{"d": "４１１１ １１１１ １１１１ １１１１"}`, []string{"payment-card at /d"}},
	{`{"d": "DЕ89 3704 0044 0532 0130 00"}`, []string{"iban at /d"}}, // a Cyrillic Е
	{`{"content": [{"type": "image", "mimeType": "image/x", "data": "AAEC"}, {"type": "audio", "data": "no base64"}]}`, []string{"gap image at /content/0/data", "gap audio at /content/1/data"}},
	{fmt.Sprintf(`{"content": [{"type": "image", "mimeType": "image/png", "data": %q}]}`, b64("\x89PNG\r\n\x1a\n"+strings.Repeat("\x00\x01", 40))), []string{"gap image at /content/0/data"}},
	{fmt.Sprintf(`{"content": [{"type": "resource", "resource": {"uri": "file:///a", "blob": %q}}]}`, b64("mail ada@example.org")), []string{"email at /content/0/resource/blob in base64"}},
	{fmt.Sprintf(`{"blob": %q}`, b64("\x1f\x8b"+strings.Repeat("\x08\x00\xff", 30))), []string{"gap gzip at /blob"}},
}

func TestDocuments(t *testing.T) {
	for _, c := range documents {
		if got := places(t, detect.Default(), c.text); !slices.Equal(got, append([]string{}, c.want...)) {
			t.Errorf("%s:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

// Spans lie within the string and on the edges of characters, whatever it holds.
func TestSpans(t *testing.T) {
	pieces := []string{"4111 1111 1111 1111", "ada@example.org", "１２", "\u200b", "é", " ", "-", "%34", "DE89370400440532013000", "password=x1y2z3q", "eyJ", "://a:bcd@", "+1 415 555 2671", b64("ada@example.org!!")}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(pieces), rapid.String()), 0, 12).Draw(t, "text"), "")
		if !utf8.ValidString(text) {
			t.Skip()
		}
		check(t, text, detect.Default().InspectText(text))
	})
}

func check(t interface{ Fatalf(string, ...any) }, text string, in detect.Inspection) {
	for _, f := range in.Findings {
		if f.Start < 0 || f.End > len(text) || f.Start >= f.End || f.Start > 0 && !utf8.RuneStart(text[f.Start]) || f.End < len(text) && !utf8.RuneStart(text[f.End]) {
			t.Fatalf("%q: the span %d:%d of %s", text, f.Start, f.End, f.Detector)
		}
		if f.Confidence < 1 || f.Confidence > 100 || len(f.Labels) == 0 {
			t.Fatalf("%q: %+v", text, f)
		}
	}
}

// What is found is found with clean text after it too.
func TestAppending(t *testing.T) {
	for _, c := range texts {
		longer := c.text + "\n\nThe quick brown fox jumps over the lazy dog."
		got := spans(detect.Default().InspectText(longer), longer)
		if len(got) < len(c.want) {
			t.Errorf("%q with clean text after: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestBundle(t *testing.T) {
	hashes, err := detect.Hashes([]byte("0123456789abcdef"), []string{"Q-77-1234", "acme gmbh"})
	if err != nil {
		t.Fatal(err)
	}
	form := detect.Form{Off: []string{"email"}, Labels: map[string][]string{"iban": {"bank"}}, Uninspected: []string{"image"},
		Custom: map[string]detect.Custom{
			"employee": {Labels: []string{"hr"}, Regex: `EMP-\d{6}`},
			"project":  {Labels: []string{"confidential"}, Terms: []string{"Bluebird"}},
			"supplier": {Labels: []string{"confidential"}, Hashes: "suppliers.txt"},
		}}
	set, err := form.Compile(func(string) ([]byte, error) { return hashes, nil })
	if err != nil {
		t.Fatal(err)
	}
	got := places(t, set, `{"a":"EMP-123456 ada@example.org","b":"the bluebird flies","c":"q 77 1234","d":"GB82WEST12345698765432"}`)
	want := []string{"employee at /a", "project at /b", "supplier at /c", "iban at /d"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := set.Labels("iban"); !slices.Equal(got, []string{"bank"}) {
		t.Errorf("labels %q", got)
	}
	if set.Digest() == detect.Default().Digest() || !set.Passes("image") || set.Passes("gzip") {
		t.Error("digest or what passes")
	}
	if strings.Contains(string(hashes), "acme") {
		t.Error("the file holds a value")
	}
}

func TestBadForms(t *testing.T) {
	for _, c := range []struct {
		form detect.Form
		want string
	}{
		{detect.Form{Off: []string{"nothing"}}, `off: there is no detector "nothing"`},
		{detect.Form{Uninspected: []string{"video"}}, `uninspected: "video" is none of`},
		{detect.Form{Regions: []string{"XX"}}, `regions: "XX" is no region`},
		{detect.Form{Custom: map[string]detect.Custom{"x": {Labels: []string{"a"}, Regex: "("}}}, "custom.x: reading the regular expression"},
		{detect.Form{Custom: map[string]detect.Custom{"x": {Labels: []string{"a"}, Regex: "a*"}}}, "custom.x: the regular expression matches an empty text"},
		{detect.Form{Custom: map[string]detect.Custom{"email": {Labels: []string{"a"}, Regex: "a"}}}, "custom.email: a built-in detector has the same id"},
		{detect.Form{Custom: map[string]detect.Custom{"x": {Labels: []string{"a"}}}}, "custom.x: it needs exactly one"},
	} {
		_, err := c.form.Compile(nil)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestBounds(t *testing.T) {
	var form detect.Form
	form.Limits.Findings, form.Limits.Bytes = 3, 200
	set, err := form.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	if in := set.InspectText(strings.Repeat("ada@example.org ", 9)); !in.Cut || len(in.Findings) != 3 {
		t.Errorf("of nine addresses %d, cut %v", len(in.Findings), in.Cut)
	}
	if in := set.InspectText(strings.Repeat("x", 201)); len(in.Gaps) != 1 || in.Gaps[0].Kind != "oversize" {
		t.Errorf("gaps %v", in.Gaps)
	}
}

// clean is a document of a tool's that holds nothing to be found.
func clean(size int) []byte {
	var items []any
	for n := 0; ; n++ {
		items = append(items, map[string]any{"id": 1000 + n, "title": "Quarterly planning notes", "status": "open", "priority": n % 5, "tags": []string{"planning", "draft"},
			"url": fmt.Sprintf("https://issues.example.org/projects/alpha/issues/%d", n), "updatedAt": "2026-11-27T01:05:02Z", "etag": fmt.Sprintf("3fa85f64-5717-4562-b3fc-%012d", n),
			"body": "The importer skips rows without a header. Steps: open the page, press import, choose the file.", "done": n%2 == 0, "ratio": 0.25})
		if data, _ := json.Marshal(items); len(data) >= size {
			return data
		}
		if n > 4000 {
			panic("no end")
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		d, err := document.Parse(clean(size))
		if err != nil {
			b.Fatal(err)
		}
		if in := detect.Default().Inspect(d); len(in.Findings)+len(in.Gaps) > 0 {
			b.Fatalf("the clean document holds %+v", in)
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(d.Canonical())))
			for b.Loop() {
				detect.Default().Inspect(d)
			}
		})
	}
}
