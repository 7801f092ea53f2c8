package writ

import (
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Obligation is one thing the caller must do for an allow to hold.
type Obligation struct {
	// ID is unique within the decision.
	ID string
	// Policy is the id of the policy that asks; empty: a stage of Writ does.
	Policy string
	// Duty is what is to be done.
	Duty Duty
}

// Duty is one of Redact, Route, FilterTools, LimitOutput, Notify, StepUp,
// Watermark, Delay and Pin.
type Duty interface {
	// Type is the obligation's type on the wire.
	Type() string
}

// Redact changes the arguments, or else the content. Every edit's pointer refers
// to the document as it was sent.
type Redact struct {
	Content bool
	Edits   []document.Edit
}

// Route changes where data goes. Why is for a person.
type Route struct{ Vendor, Region, Host, Why string }

// FilterTools narrows a tools/list: indexes of the candidates to keep, ascending.
type FilterTools struct{ Keep []int }

// LimitOutput bounds what may come back, in bytes; more is withheld.
type LimitOutput struct{ MaxBytes int64 }

// Notify tells somebody before the action takes effect.
type Notify struct{ To, Body string }

// StepUp has the human behind the agent authenticate more strongly first.
type StepUp struct{ ACRValue string }

// Watermark marks the output.
type Watermark struct{ Text string }

// Delay has the action wait first.
type Delay struct{ For time.Duration }

// Type is "redact".
func (Redact) Type() string { return "redact" }

// Type is "route".
func (Route) Type() string { return "route" }

// Type is "filter_tools".
func (FilterTools) Type() string { return "filter_tools" }

// Type is "limit_output".
func (LimitOutput) Type() string { return "limit_output" }

// Type is "notify".
func (Notify) Type() string { return "notify" }

// Type is "step_up".
func (StepUp) Type() string { return "step_up" }

// Type is "watermark".
func (Watermark) Type() string { return "watermark" }

// Type is "delay".
func (Delay) Type() string { return "delay" }

// longestDelay is the longest that a client waits, whatever it is told.
const longestDelay = 7 * 24 * time.Hour

// decodeObligations reads all obligations or none: a caller that understands
// half of them must deny.
func decodeObligations(in []*writv1.Obligation) ([]Obligation, error) {
	ids := make(map[string]bool, len(in))
	out := make([]Obligation, 0, len(in))
	for _, o := range in {
		id := o.GetId()
		if id == "" || len(id) > 64 || ids[id] {
			return nil, fmt.Errorf("an obligation's id is empty, too long or used twice")
		}
		ids[id] = true
		duty, err := decodeDuty(o)
		if err != nil {
			return nil, fmt.Errorf("the obligation %q %w", id, err)
		}
		out = append(out, Obligation{ID: id, Policy: o.GetPolicyId(), Duty: duty})
	}
	return out, nil
}

func decodeDuty(o *writv1.Obligation) (Duty, error) {
	duty, err := decodeParams(o)
	if err != nil {
		return nil, err
	}
	if o.GetType() != duty.Type() {
		return nil, fmt.Errorf("is said to be %.64q and is %q", o.GetType(), duty.Type())
	}
	// A part of a command that cannot be read cannot be obeyed.
	if unknownFields(o.ProtoReflect()) {
		return nil, fmt.Errorf("of the type %q has a part that this client does not know", duty.Type())
	}
	return duty, nil
}

func decodeParams(o *writv1.Obligation) (Duty, error) {
	var duty Duty
	whole := false
	switch params := o.GetParams().(type) {
	case *writv1.Obligation_Redact:
		redact, err := decodeRedact(params.Redact)
		return redact, err
	case *writv1.Obligation_Route:
		r := params.Route
		duty, whole = Route{Vendor: r.GetVendor(), Region: r.GetRegion(), Host: r.GetHost(), Why: r.GetReason()}, isHost(r.GetHost())
	case *writv1.Obligation_FilterTools:
		f := FilterTools{Keep: make([]int, 0, len(params.FilterTools.GetKeep()))}
		whole = params.FilterTools != nil
		for i, keep := range params.FilterTools.GetKeep() {
			whole = whole && (i == 0 || int(keep) > f.Keep[i-1])
			f.Keep = append(f.Keep, int(keep))
		}
		duty = f
	case *writv1.Obligation_LimitOutput:
		n := params.LimitOutput.GetMaxBytes()
		duty, whole = LimitOutput{MaxBytes: n}, n > 0
	case *writv1.Obligation_Notify:
		n := params.Notify
		duty, whole = Notify{To: n.GetTo(), Body: n.GetBody()}, n.GetTo() != "" && n.GetBody() != ""
	case *writv1.Obligation_StepUp:
		duty, whole = StepUp{ACRValue: params.StepUp.GetAcrValue()}, params.StepUp.GetAcrValue() != ""
	case *writv1.Obligation_Watermark:
		duty, whole = Watermark{Text: params.Watermark.GetText()}, params.Watermark.GetText() != ""
	case *writv1.Obligation_Delay:
		ms := params.Delay.GetMillis()
		duty, whole = Delay{For: time.Duration(ms) * time.Millisecond}, ms > 0 && ms <= longestDelay.Milliseconds()
	case *writv1.Obligation_Pin:
		duty, whole = decodePin(params.Pin)
	default:
		return nil, fmt.Errorf("has the type %.64q and no parameters that this client knows", o.GetType())
	}
	if !whole {
		return nil, fmt.Errorf("of the type %q has broken parameters", duty.Type())
	}
	return duty, nil
}

func decodeRedact(r *writv1.Redact) (Redact, error) {
	out := Redact{Content: r.GetTarget() == writv1.Target_TARGET_CONTENT}
	if !out.Content && r.GetTarget() != writv1.Target_TARGET_ARGUMENTS {
		return Redact{}, fmt.Errorf("redacts a target that this client does not know")
	}
	if n := len(r.GetEdits()); n == 0 || n > document.MaxEdits {
		return Redact{}, fmt.Errorf("redacts with no edits, or with more than %d", document.MaxEdits)
	}
	for _, e := range r.GetEdits() {
		m := e.GetMethod()
		if m < writv1.Method_METHOD_MASK || m > writv1.Method_METHOD_GENERALISE {
			return Redact{}, fmt.Errorf("redacts by a method that this client does not know")
		}
		if e.GetStart() > math.MaxInt32 || e.GetEnd() > math.MaxInt32 {
			return Redact{}, fmt.Errorf("redacts a span that is none")
		}
		out.Edits = append(out.Edits, document.Edit{Pointer: e.GetPointer(), Method: document.Method(m - 1),
			Start: int(e.GetStart()), End: int(e.GetEnd()), Replacement: e.GetReplacement()})
	}
	return out, nil
}

// isHost reports whether a host can be nothing but a host in whatever address or
// URL it is put into.
func isHost(host string) bool {
	return host != "" && len(host) <= 253 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.:-") == ""
}

// unknownFields reports whether a message or one below it holds fields that this
// client's version of the wire does not have.
func unknownFields(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range v.List().Len() {
				found = found || unknownFields(v.List().Get(i).Message())
			}
		default:
			found = unknownFields(v.Message())
		}
		return !found
	})
	return found
}
