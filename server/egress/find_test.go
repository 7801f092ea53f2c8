package egress_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/egress"
)

func object(t testing.TB, data string) *document.Document {
	t.Helper()
	d, err := document.ParseObject([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// told is what was found, one line each.
func told(f egress.Facts) (all []string) {
	kinds := map[egress.Kind]string{egress.Stated: "stated", egress.Guessed: "guessed", egress.Nested: "nested"}
	for _, u := range f.Found {
		all = append(all, fmt.Sprintf("%s %s %s:%d %d %s", kinds[u.Kind], u.Scheme, u.Host, u.Port, u.Problem, u.Pointer))
	}
	return all
}

func TestFind(t *testing.T) {
	tests := []struct {
		name, args string
		places     []string
		want       []string
	}{
		{"nothing", `{"a":"text","b":1,"c":null,"d":["x",{"e":true}]}`, nil, nil},
		{"a text that is a URL", `{"a":"https://example.com/x"}`, nil, []string{"stated https example.com:443 0 /a"}},
		{"a text with a URL in it", `{"a":"see https://example.com/x"}`, nil, nil},
		{"a text that begins with one", `{"a":"https://example.com is the site"}`, nil, []string{"stated https example.com:443 0 /a"}},
		{"no URLs", `{"a":"note: this","b":"https: yes","c":"data: 12 rows","d":"C:\\dir","e":"a://","f":"12:30"}`, nil, []string{"stated a :0 0 /e"}},
		{"in lists and objects", `{"a":[{"b":"http://a.example/"},"http://b.example/"]}`, nil, []string{"stated http a.example:80 0 /a/0/b", "stated http b.example:80 0 /a/1"}},
		{"in JSON in a string", `{"a":"{\"b\":[\"http://a.example/\"]}"}`, nil, []string{"stated http a.example:80 0 /a/b/0"}},
		{"in JSON in JSON in a string", `{"a":"[\"[\\\"http://a.example/\\\"]\"]"}`, nil, []string{"stated http a.example:80 0 /a/0/0"}},
		{"in JSON behind spaces", `{"a":" \n[\"http://a.example/\"]"}`, nil, []string{"stated http a.example:80 0 /a/0"}},
		{"in JSON that can be read in two ways", `{"a":"{\"b\":1,\"b\":\"http://10.0.0.1/\"}"}`, nil, []string{"nested http 10.0.0.1:80 0 /a"}},
		{"in JSON too deep", `{"a":"[\"[\\\"[\\\\\\\"http://10.0.0.1/\\\\\\\"]\\\"]\"]"}`, nil, []string{"nested http 10.0.0.1:80 0 /a/0/0"}},
		{"a text of several lines", `{"a":"https://example.com/x\nwhich is the page"}`, nil, []string{"stated https example.com:443 0 /a"}},
		{"a host on two lines", `{"a":"http://10.0.\n0.1/"}`, nil, []string{"stated http 10.0.0.1:80 2 /a"}},
		{"behind a wide space", `{"a":"\u3000http://10.0.0.1/"}`, nil, []string{"stated http :0 1 /a"}},
		{"where URLs stand, in brackets", `{"url":"<http://10.0.0.1/>","a":"<http://10.0.0.1/>"}`, nil, []string{"nested http 10.0.0.1:80 0 /url"}},
		{"a broken JSON in a string", `{"a":"{http://a.example/"}`, nil, nil},
		{"names", `{"baseUrl":"a.example","callback_url":"b.example","x-endpoint":"c.example:80","URL":"d.example","curly":"e.example","link":"/relative","href":"#top","site":"?q","uri":"./x"}`, nil,
			[]string{"guessed http d.example:80 0 /URL", "guessed http a.example:80 0 /baseUrl", "guessed http b.example:80 0 /callback_url", "guessed http c.example:80 0 /x-endpoint"}},
		{"a name of a list", `{"urls":["a.example","//b.example/x","\\\\c.example"]}`, nil,
			[]string{"guessed http a.example:80 0 /urls/0", "guessed http b.example:80 0 /urls/1", "guessed http c.example:80 0 /urls/2"}},
		{"a place", `{"to":[{"at":"10.0.0.1"}]}`, []string{"/to/*/at"}, []string{"guessed http 10.0.0.1:80 0 /to/0/at"}},
		{"no host", `{"url":"12345","host":"a b","uri":"::1"}`, nil, []string{"guessed http ::1:80 0 /uri"}},
		{"a scheme that is not read", `{"url":"mailto:a@b.example","a":"mailto:a@b.example","b":"s3://bucket/key"}`, nil,
			[]string{"stated s3 :0 0 /b", "stated mailto :0 0 /url"}},
		{"nested", `{"a":"https://example.com/?u=http%3a%2f%2f10.0.0.1%2f&v=//b.example"}`, nil,
			[]string{"stated https example.com:443 0 /a", "nested http b.example:80 0 /a", "nested http 10.0.0.1:80 0 /a"}},
		{"an escaped name", `{"a/b":{"~":"http://a.example/"}}`, nil, []string{"stated http a.example:80 0 /a~1b/~0"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, told(egress.NewFinder(test.places).Find(object(t, test.args)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestFindIsBounded(t *testing.T) {
	many := make([]string, 600)
	for i := range many {
		many[i] = fmt.Sprintf("http://h%d.example/", i)
	}
	text, err := json.Marshal(map[string]any{"a": many})
	if err != nil {
		t.Fatal(err)
	}
	f := egress.NewFinder(nil).Find(object(t, string(text)))
	if !f.Cut || len(f.Found) != 512 {
		t.Errorf("%d found, cut %t", len(f.Found), f.Cut)
	}
	inner := "https://example.com/?" + strings.Repeat("&u=http://10.0.0.1/", 100)
	f = egress.NewFinder(nil).Find(object(t, `{"a":"`+inner+`"}`))
	if last := f.Found[len(f.Found)-1]; len(f.Found) != 3 || last.Problem != egress.TooLong {
		t.Errorf("%d found in one, the last %+v", len(f.Found), last)
	}
	// What is behind many others is not let through.
	for name, hide := range map[string]string{
		"different URLs": "https://example.com/?" + strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 40 {
				if !yield(fmt.Sprintf("u=http://h%d.example/", i)) {
					return
				}
			}
		}), "&") + "&u=http://10.0.0.1/",
		"the same URL":  "https://example.com/?" + strings.Repeat("u=http://a.example/&", 100) + "u=http://10.0.0.1/",
		"a long user":   "https://example.com/?u=http://" + strings.Repeat("a", 900) + "@10.0.0.1/",
		"a longer user": "https://example.com/?u=http://" + strings.Repeat("a", 2000) + "@10.0.0.1/",
	} {
		refused := false
		for _, u := range egress.NewFinder(nil).Find(object(t, `{"a":"`+hide+`"}`)).Found {
			refused = refused || egress.Standard().Judge(u, egress.Asker{}, "", false) != nil
		}
		if !refused {
			t.Errorf("%s hide a private address", name)
		}
	}
}

// The places are what a finder is known by.
func TestDigest(t *testing.T) {
	a, b := egress.NewFinder([]string{"/a", "/b"}), egress.NewFinder([]string{"/b", "/a", "/a"})
	if a.Digest() != b.Digest() || a.Digest() == egress.NewFinder(nil).Digest() || a.Digest() == egress.NewFinder([]string{"/a"}).Digest() {
		t.Error("digests are not those of the places")
	}
	if f := a.Find(object(t, `{}`)); f.By != a.Digest() {
		t.Error("it is not said who looked")
	}
}

// FuzzFind holds what is found to what a text says: a plain URL of an address that
// is not public is refused, wherever it stands and whatever surrounds it.
func FuzzFind(f *testing.F) {
	for _, seed := range [][2]string{{"url", "https://example.com/"}, {"a", "x"}, {"callbackUrl", "//x"}, {"q", `{"a":"http://x/"}`}, {"href", "[::1]:80"}} {
		f.Add(seed[0], seed[1])
	}
	rules := egress.Standard()
	f.Fuzz(func(t *testing.T, name, text string) {
		data, err := json.Marshal(map[string]any{name: text, "nested": "http://a.example/?u=" + text, "list": []string{"http://10.1.2.3/" + text}})
		if err != nil {
			return
		}
		d, err := document.ParseObject(data)
		if err != nil {
			return
		}
		facts := egress.NewFinder([]string{"/p"}).Find(d)
		refused := false
		for _, u := range facts.Found {
			why := rules.Judge(u, egress.Asker{}, "", false)
			refused = refused || u.Pointer == "/list/0" && why != nil
			if why != nil && (why.Text == "" || why.Lift == "" || len(text) > 8 && strings.Contains(why.Text, text)) {
				t.Errorf("%q: %+v", text, why)
			}
		}
		if !refused {
			t.Errorf("%q: a private address is not refused: %v", text, told(facts))
		}
	})
}

// What is read takes no longer than its size allows: an authority of many @, labels,
// dots or digits, and thousands of URLs in one another.
func TestFindIsQuick(t *testing.T) {
	for _, part := range []string{"@", "a@", ".", "1.", "%40", "xn--a.", "é", "http://", "//", "%2f", "[", ":", "\\", "?u=http://", "1", "0x1.", "ａ."} {
		long := "http://x" + strings.Repeat(part, 8000/len(part))
		text, err := json.Marshal(map[string]any{"a": slices.Repeat([]string{long, "https://example.com/?" + long[7:], strings.Repeat(part, 8000/len(part))}, 40)})
		if err != nil {
			t.Fatal(err)
		}
		d := object(t, string(text))
		allocated := testing.AllocsPerRun(1, func() { egress.NewFinder(nil).Find(d) })
		if allocated > 2e6 {
			t.Errorf("%q: %.0f allocations", part, allocated)
		}
	}
}
