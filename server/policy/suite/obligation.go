package suite

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/writpdp/writ/server/decision"
)

// obligation is one as files write it, with the words of the annotations that
// ask for it. What is left out is not looked at.
type obligation struct {
	Type   string `yaml:"type"`
	Policy string `yaml:"policy"`
	// Target of a redact is arguments or content, Method mask or remove.
	Target string   `yaml:"target"`
	Method string   `yaml:"method"`
	Fields []string `yaml:"fields"` // pointers, all of them
	// Of a route.
	Vendor string `yaml:"vendor"`
	Region string `yaml:"region"`
	Host   string `yaml:"host"`
	// Keep are the tools that a filter_tools leaves.
	Keep     []string `yaml:"keep"`
	MaxBytes int64    `yaml:"max_bytes"`
	To       string   `yaml:"to"`
	Body     string   `yaml:"body"`
	ACR      string   `yaml:"acr"`
	Text     string   `yaml:"text"`
	Millis   int64    `yaml:"millis"`
	// Addresses and Permitted are those of a pin, besides its host.
	Addresses []string `yaml:"addresses"`
	Permitted []string `yaml:"permitted"`
}

func obligationOf(req *decision.Request, in decision.Obligation) obligation {
	o := obligation{Type: in.Duty.Type(), Policy: in.Policy}
	switch duty := in.Duty.(type) {
	case decision.Redact:
		o.Target, o.Fields = "arguments", []string{}
		if duty.Content {
			o.Target = "content"
		}
		for i, e := range duty.Edits {
			method := e.Method.String()
			if i > 0 && o.Method != method {
				method = "both"
			}
			o.Fields, o.Method = append(o.Fields, e.Pointer), method
		}
	case decision.Route:
		o.Vendor, o.Region, o.Host = duty.Vendor, duty.Region, duty.Host
	case decision.FilterTools:
		o.Keep = []string{}
		for _, i := range duty.Keep {
			o.Keep = append(o.Keep, req.Candidates[i].String())
		}
	case decision.LimitOutput:
		o.MaxBytes = duty.MaxBytes
	case decision.Notify:
		o.To, o.Body = duty.To, duty.Body
	case decision.StepUp:
		o.ACR = duty.ACRValue
	case decision.Watermark:
		o.Text = duty.Text
	case decision.Pin:
		o.Host, o.Addresses, o.Permitted = duty.Host, duty.Addresses, duty.Permitted
	case decision.Delay:
		o.Millis = duty.For.Milliseconds()
	}
	return o
}

// within reports whether another obligation has all that this one names.
func (o obligation) within(other obligation) bool {
	want, got := reflect.ValueOf(o), reflect.ValueOf(other)
	for i := range want.NumField() {
		if f := want.Field(i); !f.IsZero() && !reflect.DeepEqual(f.Interface(), got.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// String is the obligation as a file would say it.
func (o obligation) String() string {
	var parts []string
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			name := v.Type().Field(i).Tag.Get("yaml")
			parts = append(parts, fmt.Sprintf("%s: %v", name, f.Interface()))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func obligationsListed(all []obligation) string {
	var texts []string
	for _, o := range all {
		texts = append(texts, o.String())
	}
	return listed(texts)
}
