package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
)

// What a record keeps of a result comes back, and its call's limit with it.
func TestResultFacts(t *testing.T) {
	looked := &result.Looked{Form: result.Unknown, Size: result.Limits{Bytes: 17, Values: 3, Depth: 2}, Schema: true, Fits: true}
	req := request(t, 3)
	req.Phase, req.CallID = decision.Result, idOf(7)
	req.Content = decision.Content{Document: parsed(t, `{"card":"secret"}`), Digest: [32]byte{1}, Size: 17}
	snap := snapshot()
	snap.Call = &decision.CallFacts{Allowed: true, MaxOutput: 4096}
	d := deny("tool.result")
	d.Findings[0].Looked = looked
	e, _, err := Decided(idOf(3), req, snap, d)
	if err != nil {
		t.Fatal(err)
	}
	q, err := QuestionOf(e.Body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(looked, q.Looked); diff != "" || q.Facts.Call.MaxOutput != 4096 {
		t.Errorf("the call's limit %d (-want +got):\n%s", q.Facts.Call.MaxOutput, diff)
	}
	d.Findings[0].Looked = nil
	if e, _, err = Decided(idOf(4), req, snap, d); err != nil {
		t.Fatal(err)
	}
	if q, err := QuestionOf(e.Body, nil); err != nil || *q.Looked != (result.Looked{}) {
		t.Errorf("nothing was looked at: %+v, %v", q.Looked, err)
	}
}

// Facts of a result that nothing writes are refused.
func TestBadResultFacts(t *testing.T) {
	good := &writv1.ResultFacts{Form: writv1.ResultForm_RESULT_FORM_WHOLE, Values: 1, Schema: true, Fits: true}
	if err := checkResult(good); err != nil {
		t.Error(err)
	}
	for name, break_ := range map[string]func(*writv1.ResultFacts){
		"no form":         func(f *writv1.ResultFacts) { f.Form = 0 },
		"another form":    func(f *writv1.ResultFacts) { f.Form = 4 },
		"no values":       func(f *writv1.ResultFacts) { f.Values = -1 },
		"no depth":        func(f *writv1.ResultFacts) { f.Depth = -1 },
		"a limit below 0": func(f *writv1.ResultFacts) { f.MaxOutput = -1 },
		"no schema":       func(f *writv1.ResultFacts) { f.Schema = false },
	} {
		bad := proto.CloneOf(good)
		break_(bad)
		if checkResult(bad) == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
