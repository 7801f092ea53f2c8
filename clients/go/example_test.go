package writ_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// example connects a client to a service that answers as told. In a program,
// Config has Addr and TLS in place of Conn.
func example(answer func(*writv1.DecideRequest) *writv1.DecideResponse) (c *writ.Client, stop func()) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) { return answer(req), nil }}
	conn, stop := p.serve()
	c, err := writ.New(writ.Config{Conn: conn, Token: tokens()})
	if err != nil {
		log.Fatal(err)
	}
	return c, stop
}

func ExampleNew() {
	_, err := writ.New(writ.Config{Addr: "writ.example.com:7070"})
	fmt.Println(err)
	// Output:
	// connecting to writ: plaintext to "writ.example.com:7070" is refused: tokens and arguments would cross the network; set TLS, or use a loopback address
}

func ExampleClient_Enforce() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse {
		if req.GetPhase() == writv1.Phase_PHASE_CALL {
			return allow(req, redact(writv1.Target_TARGET_ARGUMENTS, "/email"))
		}
		return allow(req, redact(writv1.Target_TARGET_CONTENT, "/content/0/text/card"))
	})
	defer stop()

	result, err := client.Enforce(context.Background(), writ.Call{
		Session:   "run-7",
		Purpose:   "support",
		Tool:      writ.Tool{Server: "stripe", Name: "create_customer", Definition: []byte(`{"name":"create_customer"}`)},
		Arguments: json.RawMessage(`{"email":"ann@example.com","name":"Ann"}`),
	}, func(_ context.Context, permitted writ.Permitted) (writ.Result, error) {
		// Here the gateway calls the tool, with these arguments and no others.
		fmt.Printf("calling with %s\n", permitted.Arguments)
		return writ.Result{Content: writ.Content{
			MediaType: writ.MediaJSON,
			Data:      []byte(`{"content":[{"type":"text","text":"{\"id\":\"cus_1\",\"card\":\"4111\"}"}]}`),
		}}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result.Content.Data)
	// Output:
	// calling with {"email":"[redacted]","name":"Ann"}
	// {"content":[{"text":"{\"card\":\"[redacted]\",\"id\":\"cus_1\"}","type":"text"}]}
}

func ExampleClient_Enforce_denied() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse {
		resp := deny(req, "Refunds above 50.00 need an approved ticket.", "Have a ticket approved for this agent, tool and arguments.")
		resp.AccessRequest = &writv1.AccessRequest{Type: "ticket", Tool: "stripe/create_refund"}
		return resp
	})
	defer stop()

	_, err := client.Enforce(context.Background(), writ.Call{Purpose: "support", Tool: writ.Tool{Server: "stripe", Name: "create_refund"}},
		func(context.Context, writ.Permitted) (writ.Result, error) {
			fmt.Println("never printed")
			return writ.Result{}, nil
		})
	fmt.Println(err)
	if denied, ok := errors.AsType[*writ.Denied](err); ok && denied.AccessRequest != nil {
		fmt.Println("approval can be asked for:", denied.AccessRequest.Tool)
	}
	// Output:
	// Refunds above 50.00 need an approved ticket. Have a ticket approved for this agent, tool and arguments.
	// approval can be asked for: stripe/create_refund
}

func ExampleClient_EnforcePrompt() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse {
		return allow(req, route("eu.anthropic.com"))
	})
	defer stop()

	result, err := client.EnforcePrompt(context.Background(), writ.Call{
		Purpose:     "support",
		Destination: writ.Destination{Host: "api.anthropic.com"},
		Content:     writ.Content{MediaType: writ.MediaJSON, Data: []byte(`{"messages":[]}`)},
		Cost:        writ.Cost{Tokens: 4000},
	}, func(_ context.Context, permitted writ.Permitted) (writ.Result, error) {
		fmt.Printf("sending %s to %s\n", permitted.Content.Data, permitted.Destination.Host)
		return writ.Result{Content: writ.Content{Data: []byte(`{"answer":"Hello."}`)}, Cost: writ.Cost{Tokens: 12}}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result.Content.Data)
	// Output:
	// sending {"messages":[]} to eu.anthropic.com
	// {"answer":"Hello."}
}

func ExampleClient_EnforceConnect() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse {
		return deny(req, "The purpose \"support\" does not grant the vendor \"pastebin\".", "Act under a purpose that grants the vendor.")
	})
	defer stop()

	_, err := client.EnforceConnect(context.Background(), writ.Call{Purpose: "support", Destination: writ.Destination{Host: "pastebin.example"}},
		func(context.Context, writ.Permitted) (writ.Result, error) {
			fmt.Println("never printed")
			return writ.Result{}, nil
		})
	fmt.Println(err)
	// Output:
	// The purpose "support" does not grant the vendor "pastebin". Act under a purpose that grants the vendor.
}

func ExampleClient_FilterTools() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse { return allow(req, filter(0)) })
	defer stop()

	tools, err := client.FilterTools(context.Background(), writ.Call{Purpose: "support"}, []writ.Tool{
		{Server: "stripe", Name: "list_customers", Definition: []byte(`{"name":"list_customers"}`)},
		{Server: "stripe", Name: "create_refund", Definition: []byte(`{"name":"create_refund"}`)},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, tool := range tools {
		fmt.Printf("%s\n", tool.Definition)
	}
	// Output:
	// {"name":"list_customers"}
}

func ExampleClient_Decide() {
	client, stop := example(func(req *writv1.DecideRequest) *writv1.DecideResponse { return allow(req, limit(1024)) })
	defer stop()

	// Whoever decides without Enforce meets the obligations, or denies, and
	// reports how it ended.
	decision, err := client.Decide(context.Background(), writ.Call{
		Phase: writ.PhaseConnect, Purpose: "support", Destination: writ.Destination{Host: "api.stripe.com"}})
	if err != nil || !decision.Allowed() {
		log.Fatal("denied")
	}
	report := writ.Report{DecisionID: decision.ID, Outcome: writ.OutcomeSucceeded}
	for _, obligation := range decision.Obligations {
		switch duty := obligation.Duty.(type) {
		case writ.LimitOutput:
			fmt.Println("reading at most", duty.MaxBytes, "bytes")
			report.Obligations = append(report.Obligations, writ.ObligationReport{ID: obligation.ID, Met: true})
		default:
			report.Outcome = writ.OutcomeNotRun
		}
	}
	if _, err := client.Settle(context.Background(), report); err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Outcome)
	// Output:
	// reading at most 1024 bytes
	// SUCCEEDED
}
