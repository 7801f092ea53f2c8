package decision_test

import (
	"testing"

	"github.com/writpdp/writ/server/decision"
)

func TestMayAnswerEarly(t *testing.T) {
	name := func(tool string) decision.ToolName { return decision.ToolName{Server: "s", Name: tool} }
	tools := map[decision.ToolName]*decision.Tool{}
	for tool, classes := range map[string][]string{"read": {"read-only"}, "move": {"read-only", "destructive"}, "bare": nil} {
		tools[name(tool)] = &decision.Tool{ToolName: name(tool), Classes: classes}
	}
	for _, test := range []struct {
		async []string
		phase decision.Phase
		tool  string
		want  bool
	}{
		{nil, decision.Call, "read", false},
		{[]string{"read-only"}, decision.Call, "read", true},
		{[]string{"read-only"}, decision.Result, "read", false},
		{[]string{"read-only"}, decision.List, "read", false},
		{[]string{"read-only"}, decision.Call, "move", false},
		{[]string{"read-only", "destructive"}, decision.Call, "move", true},
		{[]string{"read-only"}, decision.Call, "bare", false},
		{[]string{"read-only"}, decision.Call, "unknown", false},
	} {
		b := &decision.Bundle{Tools: tools, Async: test.async}
		req := &decision.Request{Phase: test.phase, Tool: decision.ToolRef{ToolName: name(test.tool)}}
		if got := b.MayAnswerEarly(req); got != test.want {
			t.Errorf("%v, phase %v, %s: got %v, want %v", test.async, test.phase, test.tool, got, test.want)
		}
	}
}
