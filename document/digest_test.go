package document_test

import (
	"testing"

	"github.com/writpdp/writ/document"
)

// The digest is of what a document says and not of how it is written.
func TestDigestOfEqualDocuments(t *testing.T) {
	tests := []struct {
		canonical string
		others    []string
	}{
		{`{"a":1,"b":[true,null]}`, []string{
			`{"b":[true,null],"a":1}`, "{\n\t\"a\" : 1.0 , \"b\" : [ true , null ] }", `{"\u0061":1e0,"b":[true,null]}`, `{"a":10e-1,"b":[true,null]}`}},
		{`"é/\n\""`, []string{`"\u00e9\/\u000a\u0022"`, `"\u00E9/\n\""`}},
		{`[0,1e+21,1e-7,0.000001]`, []string{`[-0,1000000000000000000000.0,0.0000001,1e-6]`, `[0.0,10E20,1.0E-7,10E-7]`}},
		// Members in the order of their UTF-16 code units.
		{"{\"\U0001F600\":1,\"\uFFFD\":2}", []string{`{"\ufffd":2,"\ud83d\ude00":1}`}},
	}
	for _, test := range tests {
		want, err := document.Parse([]byte(test.canonical))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(want.Canonical()); got != test.canonical {
			t.Errorf("got the canonical form %s, want %s", got, test.canonical)
		}
		for _, other := range test.others {
			got, err := document.Parse([]byte(other))
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest() != want.Digest() {
				t.Errorf("%s has another digest than %s: it is %s", other, test.canonical, got.Canonical())
			}
		}
	}
}

func TestDigestOfDifferentDocuments(t *testing.T) {
	seen := map[document.Digest]string{}
	for _, data := range []string{
		`{}`, `[]`, `null`, `0`, `""`, `"0"`, `false`, `[[]]`, `[0]`, `{"a":null}`, `{"a":0}`, `{"A":0}`, `{"a":"0"}`, `[1,2]`, `[2,1]`,
		`0.1`, `0.30000000000000004`, `0.3`, `"é"`, `"e\u0301"`, `" "`, `{"a":{"b":1}}`, `{"a":{},"b":1}`,
	} {
		d, err := document.Parse([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[d.Digest()]; ok {
			t.Errorf("%s and %s have the same digest", data, other)
		}
		seen[d.Digest()] = data
	}
}
