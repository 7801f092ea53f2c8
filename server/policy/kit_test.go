package policy_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// sample is a copy of the sample bundle's files.
func sample(t testing.TB) fstest.MapFS {
	t.Helper()
	files := policiestest.Sample()
	return files
}

func load(t testing.TB, files fs.FS) *decision.Bundle {
	t.Helper()
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(data string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(data), Mode: 0o444} }

// perAgent are n policies, each for an agent and a tool of its own.
func perAgent(n int) string {
	tools := []string{"filesystem/read_text_file", "stripe/create_refund", "memory/read_graph", "supabase/list_tables"}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "@id(\"agent-%d\")\npermit (principal == Agent::\"spiffe://example.org/agent/%d\", action == Action::%q, resource)\nwhen { context.purpose == \"support\" && context.phase == \"CALL\" };\n",
			i, i/len(tools), tools[i%len(tools)])
	}
	return b.String()
}
