package suite

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// duties are one of each type, with the words that a file has for them.
var duties = []struct {
	duty decision.Duty
	want obligation
}{
	{decision.Redact{Content: true, Edits: []document.Edit{{Pointer: "/a"}, {Pointer: "/b", Method: document.Removed}}},
		obligation{Target: "content", Method: "both", Fields: []string{"/a", "/b"}}},
	{decision.Redact{Edits: []document.Edit{{Pointer: "/a", Method: document.Removed}}}, obligation{Target: "arguments", Method: "remove", Fields: []string{"/a"}}},
	{decision.Route{Vendor: "v", Region: "r", Host: "h"}, obligation{Vendor: "v", Region: "r", Host: "h"}},
	{decision.FilterTools{Keep: []int{1}}, obligation{Keep: []string{"s/u"}}},
	{decision.FilterTools{}, obligation{Keep: []string{}}},
	{decision.LimitOutput{MaxBytes: 7}, obligation{MaxBytes: 7}},
	{decision.Notify{To: "t", Body: "b"}, obligation{To: "t", Body: "b"}},
	{decision.StepUp{ACRValue: "a"}, obligation{ACR: "a"}},
	{decision.Watermark{Text: "t"}, obligation{Text: "t"}},
	{decision.Delay{For: 250 * time.Millisecond}, obligation{Millis: 250}},
	{decision.Pin{Host: "h", Addresses: []string{"8.8.8.8"}, Refused: []string{"10.0.0.0/8"}, Permitted: []string{"10.1.0.0/16"}},
		obligation{Host: "h", Addresses: []string{"8.8.8.8"}, Permitted: []string{"10.1.0.0/16"}}},
}

func TestObligationOf(t *testing.T) {
	req := &decision.Request{Candidates: []decision.ToolRef{{ToolName: decision.ToolName{Server: "s", Name: "t"}}, {ToolName: decision.ToolName{Server: "s", Name: "u"}}}}
	var types []string
	for _, d := range duties {
		d.want.Type, d.want.Policy = d.duty.Type(), "p"
		got := obligationOf(req, decision.Obligation{Policy: "p", Duty: d.duty})
		if diff := cmp.Diff(d.want, got); diff != "" {
			t.Errorf("%s: %s", d.duty.Type(), diff)
		}
		if !got.within(got) || !(obligation{Type: d.want.Type}).within(got) || (obligation{Type: d.want.Type, Policy: "q"}).within(got) {
			t.Errorf("%s: what is within what is wrong", d.want)
		}
		types = append(types, d.want.Type)
	}
	// All that are on the wire have words.
	params := (&writv1.Obligation{}).ProtoReflect().Descriptor().Oneofs().ByName("params").Fields()
	for i := range params.Len() {
		if name := string(params.Get(i).Name()); !slices.Contains(types, name) || !slices.Contains(supported, name) {
			t.Errorf("the obligation %s has no words", name)
		}
	}
}

// Every word that is given is looked at.
func TestWithin(t *testing.T) {
	whole := obligation{Type: "t", Policy: "p", Target: "a", Method: "m", Fields: []string{"f"}, Vendor: "v", Region: "r", Host: "h", Keep: []string{"k"},
		MaxBytes: 1, To: "t", Body: "b", ACR: "a", Text: "x", Millis: 1, Addresses: []string{"a"}, Permitted: []string{"p"}}
	v := reflect.ValueOf(&whole).Elem()
	for i := range v.NumField() {
		other := whole
		f := reflect.ValueOf(&other).Elem().Field(i)
		if f.IsZero() {
			t.Errorf("%s is not tried", v.Type().Field(i).Name)
		}
		f.SetZero()
		if whole.within(other) || !other.within(whole) {
			t.Errorf("%s is not looked at", v.Type().Field(i).Name)
		}
	}
}
