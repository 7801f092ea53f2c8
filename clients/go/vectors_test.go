package writ_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// A client does with a prompt what the shared vectors say, edits on the wire and all,
// and lets none through that cannot be edited.
func TestRedactionVectors(t *testing.T) {
	data, err := os.ReadFile("../../document/testdata/redaction-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name     string
		Document json.RawMessage
		Text     *string
		Edits    []struct {
			Pointer, Method, Replacement string
			Start, End                   uint32
		}
		Result json.RawMessage
		Error  bool
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			in := &writv1.Redact{Target: writv1.Target_TARGET_CONTENT}
			for _, e := range v.Edits {
				in.Edits = append(in.Edits, &writv1.Edit{Pointer: e.Pointer, Method: writv1.Method(writv1.Method_value["METHOD_"+strings.ToUpper(e.Method)]),
					Start: e.Start, End: e.End, Replacement: e.Replacement})
			}
			p := &pdp{decide: func(_ int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
				resp := allow(req, &writv1.Obligation{Id: "redact-1", Type: "redact", Params: &writv1.Obligation_Redact{Redact: in}})
				resp.Effect = writv1.Effect_EFFECT_REDACT
				return resp, nil
			}}
			question := writ.Call{Purpose: "support", Destination: writ.Destination{Host: "model.example"}}
			question.Content = writ.Content{MediaType: writ.MediaJSON, Data: v.Document}
			if v.Text != nil {
				question.Content = writ.Content{MediaType: writ.MediaText, Data: []byte(*v.Text)}
			}
			var got []byte
			ran := false
			_, err := client(t, p, writ.Config{}).EnforcePrompt(t.Context(), question, func(_ context.Context, p writ.Permitted) (writ.Result, error) {
				got, ran = p.Content.Data, true
				return writ.Result{}, nil
			})
			if v.Error {
				if err == nil || ran {
					t.Errorf("ran with %s, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.Text != nil {
				if got, err = json.Marshal(string(got)); err != nil {
					t.Fatal(err)
				}
			}
			if a, b := canonical(t, got), canonical(t, v.Result); !bytes.Equal(a, b) {
				t.Errorf("got %s, want %s", a, b)
			}
		})
	}
}

func canonical(t *testing.T, data []byte) []byte {
	d, err := document.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return d.Canonical()
}
