package audit

import (
	"errors"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
)

// resultFacts is what a record keeps of a content as a tool result.
func resultFacts(looked *result.Looked, call *decision.CallFacts) *writv1.ResultFacts {
	if looked == nil || looked.Form == 0 {
		return nil
	}
	facts := &writv1.ResultFacts{Form: writv1.ResultForm(looked.Form), Values: looked.Size.Values, Depth: looked.Size.Depth,
		Schema: looked.Schema, Fits: looked.Fits}
	if call != nil {
		facts.MaxOutput = call.MaxOutput
	}
	return facts
}

// checkResult refuses what resultFacts cannot have written.
func checkResult(facts *writv1.ResultFacts) error {
	switch {
	case facts == nil:
		return nil
	case facts.Form < writv1.ResultForm_RESULT_FORM_WHOLE || facts.Form > writv1.ResultForm_RESULT_FORM_FOREIGN:
		return errors.New("result: its form is unknown")
	case facts.Values < 0 || facts.Depth < 0 || facts.MaxOutput < 0:
		return errors.New("result: a size is negative")
	case facts.Fits && !facts.Schema:
		return errors.New("result: it fits a schema that there is not")
	}
	return nil
}

// lookedOf is what a decision's record tells of the content as a tool result; of no
// form: nothing.
func lookedOf(e *writv1.DecisionEvent) *result.Looked {
	facts := e.Result
	if facts == nil {
		return &result.Looked{}
	}
	return &result.Looked{Form: result.Form(facts.Form), Schema: facts.Schema, Fits: facts.Fits,
		Size: result.Limits{Bytes: e.ContentSize, Values: facts.Values, Depth: facts.Depth}}
}

// maxOutput is the tightest of a call's obligations that limit its result; 0: none
// does.
func maxOutput(obligations []*writv1.Obligation) int64 {
	most := int64(0)
	for _, o := range obligations {
		if limit := o.GetLimitOutput(); limit != nil && (most == 0 || limit.MaxBytes < most) {
			most = limit.MaxBytes
		}
	}
	return most
}
