package adversarial

import (
	"encoding/json"
	"net/http"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/test"
)

func (x *target) askGRPC(t *testing.T, _ *step, in *writv1.DecideRequest) outcome {
	t.Helper()
	a, err := writv1.NewDecisionServiceClient(x.conn).Decide(t.Context(), in)
	if err != nil {
		return outcome{reasons: []string{reasonOf(err)}}
	}
	return outcome{effect: a.Effect.String()[len("EFFECT_"):], reasons: reasons(a.Reasons), id: a.DecisionId}
}

// reasonOf is the reason of an error, or its code where it has none.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return status.Code(err).String()
}

func (x *target) askJSON(t *testing.T, s *step, in *writv1.DecideRequest) outcome {
	t.Helper()
	status, text, err := test.Evaluate(t.Context(), x.BaseURL, in.RequestId, body(t, s, in))
	if err != nil {
		t.Fatal(err)
	}
	var a told
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%d: %.200s", status, text)
	}
	if status != http.StatusOK {
		return outcome{reasons: []string{a.Error.Reason}}
	}
	out := outcome{effect: a.Context.Effect, id: a.Context.ID}
	for _, r := range a.Context.Reasons {
		if r.Lift != "" {
			out.reasons = append(out.reasons, r.Stage+"/"+r.Code)
		}
	}
	return out
}
