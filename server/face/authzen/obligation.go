package authzen

import (
	"fmt"
	"slices"
	"strings"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// The obligation types of the draft that Writ issues.
const (
	typeStepUp       = "step-up"
	typeNotification = "notification"
	typeCustom       = "custom"
)

// vendor marks Writ's own custom obligations.
const vendor = "writ"

// types are the native types, each with its name in AuthZEN.
var types = []struct{ native, authzen string }{
	{"redact", typeCustom},
	{"route", typeCustom},
	{"filter_tools", typeCustom},
	{"limit_output", typeCustom},
	{"notify", typeNotification},
	{"step_up", typeStepUp},
	{"watermark", typeCustom},
	{"delay", typeCustom},
	{"pin", typeCustom},
}

// supported are the native types that a caller can meet, in the order above. nil
// means that the caller said nothing, and then it is taken to meet all: one that
// cannot meet an obligation must deny anyway.
func supported(names *[]string) []string {
	var native []string
	for _, t := range types {
		if names == nil || slices.Contains(*names, t.authzen) {
			native = append(native, t.native)
		}
	}
	return native
}

// obligation is an Obligation object. policy_id is beyond the draft, and absent
// where no policy asks.
type obligation struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Properties any    `json:"properties"`
	PolicyID   string `json:"policy_id,omitzero"`
}

// Properties by native type.
type (
	stepUp struct {
		ACRValue string `json:"acr_value"`
	}
	notification struct {
		To   string `json:"to"`
		Body string `json:"body"`
	}
	// custom begins the properties of every custom obligation.
	custom struct {
		Vendor string `json:"vendor"`
		Action string `json:"action"`
	}
	redact struct {
		custom
		Target string `json:"target"`
		Edits  []edit `json:"edits"`
	}
	edit struct {
		Pointer     string `json:"pointer"`
		Method      string `json:"method"`
		Start       uint32 `json:"start,omitzero"`
		End         uint32 `json:"end,omitzero"`
		Replacement string `json:"replacement,omitzero"`
	}
	route struct {
		custom
		Destination endpoint `json:"destination"`
		Reason      string   `json:"reason,omitzero"`
	}
	endpoint struct {
		Host   string `json:"host"`
		Vendor string `json:"vendor"`
		Region string `json:"region"`
	}
	filterTools struct {
		custom
		Keep []uint32 `json:"keep"`
	}
	limitOutput struct {
		custom
		MaxBytes int64 `json:"max_bytes"`
	}
	watermark struct {
		custom
		Text string `json:"text"`
	}
	delay struct {
		custom
		Millis int64 `json:"millis"`
	}
	pin struct {
		custom
		Host      string   `json:"host"`
		Addresses []string `json:"addresses,omitempty"`
		Refused   []string `json:"refused"`
		Permitted []string `json:"permitted,omitempty"`
	}
)

// translateObligation fails on one that it does not know, because leaving it out
// would allow without it.
func translateObligation(o *writv1.Obligation) (obligation, error) {
	out := obligation{ID: o.GetId(), Type: typeCustom, PolicyID: o.GetPolicyId()}
	switch p := o.GetParams().(type) {
	case *writv1.Obligation_StepUp:
		out.Type, out.Properties = typeStepUp, stepUp{p.StepUp.GetAcrValue()}
	case *writv1.Obligation_Notify:
		out.Type, out.Properties = typeNotification, notification{p.Notify.GetTo(), p.Notify.GetBody()}
	case *writv1.Obligation_Redact:
		r := redact{custom: custom{vendor, "redact"}, Target: short(p.Redact.GetTarget(), "TARGET_")}
		for _, e := range p.Redact.GetEdits() {
			r.Edits = append(r.Edits, edit{e.GetPointer(), short(e.GetMethod(), "METHOD_"), e.GetStart(), e.GetEnd(), e.GetReplacement()})
		}
		out.Properties = r
	case *writv1.Obligation_Route:
		r := p.Route
		out.Properties = route{custom{vendor, "route"}, endpoint{r.GetHost(), r.GetVendor(), r.GetRegion()}, r.GetReason()}
	case *writv1.Obligation_FilterTools:
		out.Properties = filterTools{custom{vendor, "filter_tools"}, p.FilterTools.GetKeep()}
	case *writv1.Obligation_LimitOutput:
		out.Properties = limitOutput{custom{vendor, "limit_output"}, p.LimitOutput.GetMaxBytes()}
	case *writv1.Obligation_Watermark:
		out.Properties = watermark{custom{vendor, "watermark"}, p.Watermark.GetText()}
	case *writv1.Obligation_Delay:
		out.Properties = delay{custom{vendor, "delay"}, p.Delay.GetMillis()}
	case *writv1.Obligation_Pin:
		out.Properties = pin{custom{vendor, "pin"}, p.Pin.GetHost(), p.Pin.GetAddresses(), p.Pin.GetRefused(), p.Pin.GetPermitted()}
	default:
		return obligation{}, internal()
	}
	return out, nil
}

// short is an enum value's name without the prefix of its type.
func short(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}
