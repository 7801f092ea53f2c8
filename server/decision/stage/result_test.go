package stage_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// answered is a result of the call with a content, of a tool that says that it
// answers a number.
func answered(t *testing.T, text string) (*decision.Request, *decision.Snapshot) {
	t.Helper()
	snap, req := snapshot(t, nil), call(t)
	output, err := content.Compile(object(t, `{"properties":{"n":{"type":"integer"}},"required":["n"]}`))
	if err != nil {
		t.Fatal(err)
	}
	snap.Bundle.Tools[read].Output = output
	req.Phase = decision.Result
	req.Content = decision.Content{Document: object(t, text), Size: len(text)}
	return req, snap
}

const whole = `{"content":[],"structuredContent":{"n":1}}`

func TestResult(t *testing.T) {
	for _, c := range []struct {
		name, content string
		change        func(*decision.Request, *decision.Snapshot)
		want          string
	}{
		{"as the tool says", whole, nil, "abstain"},
		{"of another shape", `{"content":[],"structuredContent":{"n":"x","m":1}}`, nil, "deny, tool.result, tool.result"},
		{"a text", whole, func(r *decision.Request, _ *decision.Snapshot) { r.Content = decision.Content{Text: "x", Size: 1} }, "deny, tool.result"},
		{"a text that the bundle lets pass, of a tool with a schema", whole, func(r *decision.Request, s *decision.Snapshot) {
			r.Content, s.Bundle.Foreign = decision.Content{Text: "x", Size: 1}, true
		}, "deny, tool.result"},
		{"a text that the bundle lets pass", whole, func(r *decision.Request, s *decision.Snapshot) {
			r.Content, s.Bundle.Foreign, s.Bundle.Tools[read].Output = decision.Content{Text: "x", Size: 1}, true, nil
		}, "abstain"},
		{"an unknown block", `{"content":[{"type":"x"}],"structuredContent":{"n":1}}`, nil, "deny, tool.result"},
		{"an unknown block that the bundle lets pass", `{"content":[{"type":"x"}],"structuredContent":{"n":1}}`, func(_ *decision.Request, s *decision.Snapshot) { s.Bundle.Blocks = true }, "abstain"},
		{"an unknown block in a foreign one", `{"content":[{"type":"x"},1],"structuredContent":{"n":1}}`, func(_ *decision.Request, s *decision.Snapshot) { s.Bundle.Blocks = true }, "deny, tool.result"},
		{"larger than the tool may", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Bundle.Tools[read].Limits = result.Limits{Bytes: int64(len(whole)) - 1}
		}, "deny, tool.result_size"},
		{"as large as it may", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Bundle.Tools[read].Limits = result.Limits{Bytes: int64(len(whole)), Values: 4, Depth: 2}
		}, "abstain"},
		{"larger than its call may", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Call = &decision.CallFacts{Allowed: true, MaxOutput: int64(len(whole)) - 1}
		}, "deny, tool.result_size"},
		{"of more values than the tool may", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Bundle.Tools[read].Limits = result.Limits{Values: 3, Depth: 1}
		}, "deny, tool.result_size"},
		{"wrong in every way", `{"content":[],"structuredContent":{}}`, func(_ *decision.Request, s *decision.Snapshot) {
			s.Bundle.Tools[read].Limits = result.Limits{Bytes: 1}
		}, "deny, tool.result, tool.result_size"},
		{"of another definition", `{}`, func(r *decision.Request, _ *decision.Snapshot) { r.Tool.Digest = "d2" }, "abstain"},
		{"of an unknown tool", `{}`, func(r *decision.Request, _ *decision.Snapshot) { r.Tool.Name = "x" }, "abstain"},
		{"as a record says", `{}`, func(_ *decision.Request, s *decision.Snapshot) {
			s.Looked = &result.Looked{Form: result.Whole, Schema: true, Fits: true}
		}, "abstain"},
		{"not fitting, as a record says", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Looked = &result.Looked{Form: result.Whole, Schema: true}
		}, "deny, tool.result"},
		{"large, as a record says", whole, func(_ *decision.Request, s *decision.Snapshot) {
			s.Looked = &result.Looked{Form: result.Whole, Schema: true, Fits: true, Size: result.Limits{Values: 9}}
			s.Bundle.Tools[read].Limits = result.Limits{Values: 8}
		}, "deny, tool.result_size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, snap := answered(t, c.content)
			if c.change != nil {
				c.change(req, snap)
			}
			judged(t, stage.Result(req, snap, nil), c.want)
		})
	}
}

// A record of before there were facts of results tells nothing: where something
// depends on it, it is undetermined.
func TestResultUnknown(t *testing.T) {
	req, snap := answered(t, whole)
	snap.Looked = &result.Looked{}
	if f := stage.Result(req, snap, nil); f.Verdict != decision.Undetermined || len(f.Withheld) != 1 {
		t.Errorf("got %+v", f)
	}
	snap.Bundle.Tools[read].Output, snap.Bundle.Foreign, snap.Bundle.Blocks = nil, true, true
	judged(t, stage.Result(req, snap, nil), "abstain")
}

// What a result is looked at for is said, and never what it holds; a call is told
// where to stop reading.
func TestResultFacts(t *testing.T) {
	req, snap := answered(t, whole)
	f := stage.Result(req, snap, nil)
	want := &result.Looked{Form: result.Whole, Size: result.Limits{Bytes: int64(len(whole)), Values: 4, Depth: 2}, Schema: true, Fits: true}
	if diff := cmp.Diff(want, f.Looked); diff != "" {
		t.Error(diff)
	}
	req.Phase, snap.Bundle.Tools[read].Limits = decision.Call, result.Limits{Bytes: 9, Values: 1}
	f = stage.Result(req, snap, nil)
	if diff := cmp.Diff([]decision.Obligation{{Duty: decision.LimitOutput{MaxBytes: 9}}}, f.Obligations); diff != "" || f.Looked != nil {
		t.Errorf("%s %v", diff, f.Looked)
	}
}
