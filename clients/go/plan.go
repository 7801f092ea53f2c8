package writ

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/writpdp/writ/document"
)

// plan is what the obligations of one allowed decision come to.
type plan struct {
	call     Call // as it was asked, and changed as Writ commands
	decision Decision
	tally    *tally
	// arguments and content are edits of all redactions: their pointers refer
	// to the document as it was sent, so they are made at once. redact is the
	// first of those obligations, nil without any.
	arguments, content []document.Edit
	redact             *Obligation
	// route is where the data goes instead; nil: where it was going.
	route *Route
	// pin is what the connection is held to; nil: nothing.
	pin *pinned
	// limit bounds the output, by the obligation that is the tightest; its
	// MaxBytes is 0 where there is no limit.
	limit   LimitOutput
	limitBy Obligation
	// keep are the candidates to show; nil: no obligation says.
	keep []int
	// marks are put on the output.
	marks []mark
}

// pinned is a pin, and whether the action has taken the dialer that keeps it.
type pinned struct {
	duty       Pin
	obligation Obligation
	taken      atomic.Bool
}

// mark is one watermark that a handler has agreed to.
type mark struct {
	text  string
	put   Marker
	unmet func(error) error
	meet  func()
}

func newPlan(call Call, d Decision) *plan {
	return &plan{call: call, decision: d, tally: newTally(d)}
}

// prepare meets all obligations that come before the action or, for a RESULT,
// before it goes on. What needs no handler is done first, so that nobody is
// notified of an action that cannot be permitted. earlier is the plan of the call
// that a result belongs to, else nil.
func (c *Client) prepare(ctx context.Context, p, earlier *plan) error {
	for _, o := range p.decision.Obligations {
		if err := p.take(o, earlier); err != nil {
			return p.unmet(o, err)
		}
	}
	if p.redact != nil {
		if err := p.edit(); err != nil {
			return p.unmet(*p.redact, err)
		}
	}
	if p.route != nil {
		p.call.Destination = Destination{Host: p.route.Host, Vendor: p.route.Vendor, Region: p.route.Region}
	}
	for _, o := range p.decision.Obligations {
		switch o.Duty.(type) {
		case Redact, Route, FilterTools, LimitOutput:
			p.tally.meet(o.ID)
		}
	}
	for _, o := range p.decision.Obligations {
		if err := c.handle(ctx, p, o); err != nil {
			return p.unmet(o, err)
		}
	}
	return nil
}

func (p *plan) unmet(o Obligation, err error) error {
	return &Unmet{Phase: p.call.Phase, DecisionID: p.decision.ID, Obligation: o, Err: err}
}

// take notes what an obligation asks for, and refuses what makes no sense in
// the phase: something would be left undone.
func (p *plan) take(o Obligation, earlier *plan) error {
	phase := p.call.Phase
	switch duty := o.Duty.(type) {
	case Redact:
		if p.redact == nil {
			p.redact = &o
		}
		switch {
		case duty.Content && (phase == PhasePrompt || phase == PhaseResult):
			p.content = append(p.content, duty.Edits...)
			return nil
		case !duty.Content && (phase == PhaseCall || phase == PhaseConnect):
			p.arguments = append(p.arguments, duty.Edits...)
			return nil
		}
	case Route:
		return p.takeRoute(duty, earlier)
	case Pin:
		if phase == PhaseConnect && p.pin == nil {
			p.pin = &pinned{duty: duty, obligation: o}
			if p.call.Destination.Host == "" {
				p.call.Destination.Host = duty.Host // the URL's
			}
			return nil
		}
	case LimitOutput:
		if phase != PhaseList {
			if p.limit.MaxBytes == 0 || duty.MaxBytes < p.limit.MaxBytes {
				p.limit, p.limitBy = duty, o
			}
			return nil
		}
	case FilterTools:
		if phase == PhaseList {
			return p.takeFilter(duty)
		}
	case Notify, StepUp, Delay:
		return nil
	case Watermark:
		if phase != PhaseList {
			return nil
		}
	}
	return fmt.Errorf("there is nothing to meet it on in the phase %s", phase)
}

// takeRoute takes one route: data cannot go to two places. A result's data has
// travelled already, so it must have gone where the route says.
func (p *plan) takeRoute(r Route, earlier *plan) error {
	switch {
	case p.call.Destination == (Destination{}) && p.call.Connection.URL == "":
		return errors.New("the call names no destination that could be changed")
	case p.route != nil && *p.route != r:
		return errors.New("another obligation says another destination")
	case p.call.Phase == PhaseResult && (earlier == nil || earlier.route == nil || *earlier.route != r):
		return errors.New("the call went elsewhere")
	case p.call.Phase == PhaseList:
		return errors.New("a list goes nowhere")
	}
	p.route = &r
	return nil
}

// takeFilter narrows the candidates; with two filters a tool must pass both.
func (p *plan) takeFilter(f FilterTools) error {
	for _, i := range f.Keep {
		if i < 0 || i >= len(p.call.Candidates) {
			return errors.New("it keeps a tool that was not asked about")
		}
	}
	if p.keep == nil {
		p.keep = slices.Clone(f.Keep)
		return nil
	}
	p.keep = slices.DeleteFunc(p.keep, func(i int) bool { return !slices.Contains(f.Keep, i) })
	return nil
}

// edit makes all redactions.
func (p *plan) edit() error {
	if len(p.arguments) > 0 {
		doc, err := document.ParseObject(p.call.Arguments)
		if err != nil {
			return err
		}
		if doc, err = doc.Apply(p.arguments); err != nil {
			return err
		}
		if _, object := doc.Value().(map[string]any); !object {
			return errors.New("what is left of the arguments is no JSON object")
		}
		p.call.Arguments = slices.Clone(doc.Canonical())
	}
	if len(p.content) == 0 {
		return nil
	}
	var err error
	p.call.Content, err = redacted(p.call.Content, p.content)
	return err
}

// redacted edits a content.
func redacted(c Content, edits []document.Edit) (Content, error) {
	switch c.MediaType {
	case "", MediaJSON:
		doc, err := document.Parse(c.Data)
		if err != nil {
			return Content{}, err
		}
		if doc, err = doc.Apply(edits); err != nil {
			return Content{}, err
		}
		c.Data = slices.Clone(doc.Canonical())
	case MediaText:
		if !utf8.Valid(c.Data) {
			return Content{}, errors.New("the text is not UTF-8")
		}
		left, err := document.ApplyText(string(c.Data), edits)
		if err != nil {
			return Content{}, err
		}
		c.Data = []byte(left)
	default:
		return Content{}, errors.New("the content's media type is unknown")
	}
	return c, nil
}

// handle calls the handler of an obligation that has one, with a copy of the
// call, so that it cannot change what will run.
func (c *Client) handle(ctx context.Context, p *plan, o Obligation) error {
	var err error
	switch duty := o.Duty.(type) {
	case Notify:
		if c.handlers.Notify == nil {
			return errNoHandler
		}
		err = c.handlers.Notify(ctx, p.call.clone(), duty)
	case StepUp:
		if c.handlers.StepUp == nil {
			return errNoHandler
		}
		err = c.handlers.StepUp(ctx, p.call.clone(), duty)
	case Watermark:
		if c.handlers.Watermark == nil {
			return errNoHandler
		}
		put, err := c.handlers.Watermark(ctx, p.call.clone(), duty)
		if err != nil {
			return err
		}
		if put == nil {
			return errors.New("its handler returned nothing to mark with")
		}
		p.marks = append(p.marks, mark{text: duty.Text, put: put,
			unmet: func(err error) error { return p.unmet(o, err) },
			meet:  func() { p.tally.meet(o.ID) }})
		return nil
	case Delay:
		err = wait(ctx, duty.For)
	default:
		return nil
	}
	if err == nil {
		p.tally.meet(o.ID)
	}
	return err
}

// wait returns after a time, or with an error once nobody waits for it any more.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}

var errNoHandler = errors.New("the client has no handler for it")

// fits refuses an output that is longer than the limit. Refusing is what the
// obligation asks for; the output is withheld.
func (p *plan) fits(c Content) error {
	if p.limit.MaxBytes == 0 || int64(len(c.Data)) <= p.limit.MaxBytes {
		return nil
	}
	return p.unmet(p.limitBy, fmt.Errorf("the output is longer than %d bytes", p.limit.MaxBytes))
}

// finish marks an output for all plans that apply to it, the call's and the
// result's, and then measures what goes on.
func finish(c Content, plans ...*plan) (Content, error) {
	put := map[string]bool{}
	for _, p := range plans {
		for _, m := range p.marks {
			if !put[m.text] { // the same mark twice is one mark
				marked, err := m.put(c)
				if err != nil {
					return Content{}, m.unmet(err)
				}
				c, put[m.text] = marked, true
			}
			m.meet()
		}
	}
	for _, p := range plans {
		if err := p.fits(c); err != nil {
			return Content{}, err
		}
	}
	return c, nil
}
