package document_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/writpdp/writ/document"
)

func TestToolDigest(t *testing.T) {
	// The digests are those of sha256sum over the canonical forms by hand.
	const (
		read = "0a5e2f53f2f8780dba79feaf926f475d25401280afc2effac4c742851b32fcff"
		none = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	)
	tests := []struct{ name, definition, want string }{
		{"canonical", `{"description":"Reads.","inputSchema":{"maximum":1,"properties":{"_meta":{"type":"object"}},"type":"object"},"name":"read"}`, read},
		{"order, spaces, escapes and number forms", `{ "name": "re\u0061d", "description": "Reads.",
			"inputSchema": {"type": "object", "maximum": 1.0e0, "properties": {"_meta": {"type": "object"}}} }`, read},
		{"its own _meta", `{"_meta":{"seen":17},"description":"Reads.","inputSchema":{"maximum":1,"properties":{"_meta":{"type":"object"}},"type":"object"},"name":"read"}`, read},
		{"a _meta of null", `{"_meta":null}`, none},
		{"nothing in it", `{}`, none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := document.ToolDigest([]byte(test.definition)); err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	other, err := document.ToolDigest([]byte(`{"description":"Reads.","inputSchema":{"maximum":1,"properties":{},"type":"object"},"name":"read"}`))
	if err != nil || other == read {
		t.Errorf("a _meta deeper in the definition does not count: %v", err)
	}
}

func TestToolDigestRefuses(t *testing.T) {
	for name, definition := range map[string]string{
		"nothing":        "",
		"an array":       "[]",
		"null":           "null",
		"two values":     "{} {}",
		"duplicate keys": `{"name":"hunter2","name":"b"}`,
		"invalid UTF-8":  "{\"name\":\"\xff\"}",
		"too deep":       strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
	} {
		got, err := document.ToolDigest([]byte(definition))
		var problem *document.Error
		if got != "" || !errors.As(err, &problem) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
