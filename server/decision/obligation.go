package decision

import (
	"time"

	"github.com/writpdp/writ/document"
)

// Obligation is one thing the caller must do for an allow to hold.
type Obligation struct {
	// ID is unique within the decision. Set when it is answered.
	ID string
	// Policy is the id of the policy that asks; empty: a stage does.
	Policy string
	Duty   Duty
}

// Duty is what is to be done: one of the types below.
type Duty interface {
	// Type is the obligation's type on every wire.
	Type() string
}

// Redact changes the arguments, or else the content.
type Redact struct {
	Content bool
	Edits   []document.Edit
}

// Route changes where data goes. Why is for a person.
type Route struct{ Vendor, Region, Host, Why string }

// FilterTools narrows a list: indexes of the candidates to keep, ascending.
type FilterTools struct{ Keep []int }

// LimitOutput bounds the result, in bytes.
type LimitOutput struct{ MaxBytes int64 }

// Notify tells somebody before the action takes effect.
type Notify struct{ To, Body string }

// StepUp has the human authenticate more strongly first.
type StepUp struct{ ACRValue string }

// Watermark marks the output.
type Watermark struct{ Text string }

// Delay has the action wait.
type Delay struct{ For time.Duration }

// Pin has a connection be made to checked addresses alone: of Host to Addresses, if
// there are any, and of any host to none that Refused holds, but for those that
// Permitted gives Host back. Addresses and ranges are written as netip does.
type Pin struct {
	Host                          string
	Addresses, Refused, Permitted []string
}

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

// Type is "pin".
func (Pin) Type() string { return "pin" }
