package writ_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func TestRedactArguments(t *testing.T) {
	remove := redact(writv1.Target_TARGET_ARGUMENTS, "/card/number", "/items/0", "/items/2")
	for _, e := range remove.GetRedact().Edits {
		e.Method = writv1.Method_METHOD_REMOVE
	}
	second := redact(writv1.Target_TARGET_ARGUMENTS, "/items/1/x")
	second.Id = "redact-2"
	tests := []struct {
		name, arguments string
		obligations     []*writv1.Obligation
		want            string // empty: it cannot be done
	}{
		{"nested", `{"card":{"number":"4111","name":"A"},"n":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/card/number")},
			`{"card":{"name":"A","number":"[redacted]"},"n":1}`},
		{"removal counts in the document as sent", `{"card":{"number":"4111"},"items":[1,{"x":2},3,4]}`, []*writv1.Obligation{remove, second},
			`{"card":{},"items":[{"x":"[redacted]"},4]}`},
		{"escaped names", `{"a/b":{"c~d":1}}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a~1b/c~0d")}, `{"a/b":{"c~d":"[redacted]"}}`},
		{"a document in a string", `{"body":"{\"to\":[{\"mail\":\"a@example.com\"}]}"}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/body/to/0/mail")},
			`{"body":"{\"to\":[{\"mail\":\"[redacted]\"}]}"}`},
		{"a document in a document in a string", `{"b":"{\"c\":\"{\\\"d\\\":1}\"}"}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/b/c/d")},
			`{"b":"{\"c\":\"{\\\"d\\\":\\\"[redacted]\\\"}\"}"}`},
		{"nothing there", `{"a":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/b")}, ""},
		{"below a number", `{"a":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a/b")}, ""},
		{"below a string that is no document", `{"a":"text"}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a/b")}, ""},
		{"one of two is not there", `{"a":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a", "/b")}, ""},
		{"the whole", `{"a":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "")}, ""},
		{"a broken pointer", `{"a":1}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "a")}, ""},
		{"no arguments", ``, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a")}, ""},
		{"duplicate keys", `{"a":1,"a":2}`, []*writv1.Obligation{redact(writv1.Target_TARGET_ARGUMENTS, "/a")}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
				resp := allow(req, test.obligations...)
				resp.Effect = writv1.Effect_EFFECT_REDACT
				return resp, nil
			}}
			c := client(t, p, writ.Config{})
			question := refund()
			question.Arguments, question.SkipResult = json.RawMessage(test.arguments), true
			got, ran := "", false
			_, err := c.Enforce(t.Context(), question, func(_ context.Context, p writ.Permitted) (writ.Result, error) {
				got, ran = string(p.Arguments), true
				return writ.Result{}, nil
			})
			if got != test.want || ran != (test.want != "") {
				t.Errorf("got %s, want %s (error: %v)", got, test.want, err)
			}
			var unmet *writ.Unmet
			if (test.want == "") != errors.As(err, &unmet) {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

func TestRedactContent(t *testing.T) {
	tests := []struct {
		name, media, data, pointer string
		want                       string // empty: it cannot be done
	}{
		{"a text block", "", `{"content":[{"type":"text","text":"{\"data\":[{\"email\":\"a@example.com\"}]}"}]}`, "/content/0/text/data/0/email",
			`{"content":[{"text":"{\"data\":[{\"email\":\"[redacted]\"}]}","type":"text"}]}`},
		{"a whole text", writ.MediaText, "a \"secret\" <text>\n", "", "[redacted]"},
		{"a document that is a text", writ.MediaText, `{"a":{"b":1}}`, "/a/b", `{"a":{"b":"[redacted]"}}`},
		{"below a text that is no document", writ.MediaText, "text", "/a", ""},
		{"a text that is not UTF-8", writ.MediaText, "\xff", "", ""},
		{"a document that is none", writ.MediaJSON, "text", "", ""},
		{"another media type", "image/png", "{}", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
				if req.GetPhase() == call {
					return allow(req), nil
				}
				return allow(req, redact(writv1.Target_TARGET_CONTENT, test.pointer)), nil
			}}
			c := client(t, p, writ.Config{})
			result := writ.Result{Content: writ.Content{MediaType: test.media, Data: []byte(test.data)}}
			got, err := c.Enforce(t.Context(), refund(), returns(new(int), result, nil))
			if string(got.Content.Data) != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %s, want %s (error: %v)", got.Content.Data, test.want, err)
			}
			if err == nil && got.Content.MediaType != test.media {
				t.Errorf("got the media type %q, want %q", got.Content.MediaType, test.media)
			}
		})
	}
}

func TestErrorsHoldNoValues(t *testing.T) {
	p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
		return allow(req, redact(writv1.Target_TARGET_ARGUMENTS, "/a/b")), nil
	}}
	const planted = "hunter2"
	c := client(t, p, writ.Config{Token: func(context.Context) (string, error) { return planted, nil }})
	for _, arguments := range []string{`{"a":"hunter2"}`, `{"a":"{\"hunter2"}`, `{"a":hunter2}`, `{"a":{"c":"hunter2"}}`, `["hunter2"]`} {
		question := refund()
		question.Arguments = json.RawMessage(arguments)
		_, err := c.Enforce(t.Context(), question, returns(new(int), writ.Result{}, nil))
		if err == nil || contains(err, planted) {
			t.Errorf("got the error %v", err)
		}
	}
}
