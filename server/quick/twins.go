package quick

import (
	"reflect"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// twins are the rules over several fields, which the proto files have in CEL,
// each by its message and its text: when the text changes, its twin is none any
// more, and protovalidate judges.
var twins = map[string]check{
	"writ.v1.DecideRequest: !(this.phase in [3, 4]) || has(this.tool)": twin(func(in *writv1.DecideRequest) bool {
		return in.Phase != writv1.Phase_PHASE_CALL && in.Phase != writv1.Phase_PHASE_RESULT || in.Tool != nil
	}),
	"writ.v1.DecideRequest: (this.phase == 1) == (size(this.candidates) > 0)": twin(func(in *writv1.DecideRequest) bool {
		return (in.Phase == writv1.Phase_PHASE_LIST) == (len(in.Candidates) > 0)
	}),
	"writ.v1.DecideRequest: (this.phase == 4) == (this.call_decision_id != '')": twin(func(in *writv1.DecideRequest) bool {
		return (in.Phase == writv1.Phase_PHASE_RESULT) == (in.CallDecisionId != "")
	}),
	"writ.v1.DecideRequest: (this.phase in [2, 4]) == has(this.content)": twin(func(in *writv1.DecideRequest) bool {
		return (in.Phase == writv1.Phase_PHASE_PROMPT || in.Phase == writv1.Phase_PHASE_RESULT) == (in.Content != nil)
	}),
	"writ.v1.DecideRequest: !(this.phase in [2, 5]) || has(this.destination)": twin(func(in *writv1.DecideRequest) bool {
		return in.Phase != writv1.Phase_PHASE_PROMPT && in.Phase != writv1.Phase_PHASE_CONNECT || in.Destination != nil
	}),
	"writ.v1.Cost: (this.micros > 0) == (this.currency != '')": twin(func(c *writv1.Cost) bool {
		return (c.Micros > 0) == (c.Currency != "")
	}),
}

func twin[M any](holds func(M) bool) check {
	return func(v reflect.Value) bool { return holds(v.Interface().(M)) }
}
