package writtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/server/decision"
)

// TestExample is how a gateway's own test uses the package: a real Writ, a
// client as the gateway has one, and a look at what its agent may do. With a
// bundle of one's own, Config has os.DirFS("policies") as its Bundle.
func TestExample(t *testing.T) {
	pdp := writtest.Start(t, writtest.Config{})
	agent := writtest.Agent{Subject: "spiffe://example.org/agent/support", Purposes: []string{"support"}}
	client := pdp.Client(t, agent, writ.Handlers{})

	sum := decision.ToolName{Server: "everything", Name: "get-sum"}
	call := writ.Call{
		Purpose:   "support",
		Tool:      writ.Tool{Server: sum.Server, Name: sum.Name, Digest: pdp.Bundle.Tools[sum].Digest},
		Arguments: json.RawMessage(`{"a": 2, "b": 40}`),
	}
	// Here the gateway calls the tool, with these arguments and no others.
	callTool := func(_ context.Context, permitted writ.Permitted) (writ.Result, error) {
		return writ.Result{Content: writ.Content{Data: []byte(`{"content":[{"type":"text","text":"42"}]}`)}}, nil
	}
	if _, err := client.Enforce(t.Context(), call, callTool); err != nil {
		t.Errorf("the support desk may add: %v", err)
	}

	call.Purpose = "billing" // which the agent's token does not carry
	_, err := client.Enforce(t.Context(), call, callTool)
	if denied, ok := errors.AsType[*writ.Denied](err); !ok {
		t.Errorf("got %v, want a denial", err)
	} else if denied.Reasons[0].Code != "purpose.not_carried" {
		t.Errorf("denied by %s: %v", denied.Reasons[0].Code, denied)
	}

	// Two answers about the calls, one about the result, and one report.
	if n := pdp.Verify(t); n != 4 {
		t.Errorf("the log holds %d records, want 4", n)
	}
}
