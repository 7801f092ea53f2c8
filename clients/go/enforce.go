package writ

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Permitted is what the action may be: exactly this, and nothing else.
type Permitted struct {
	// Decision is the answer that permits it. Its budgets say how much was
	// reserved, which is the most that the action may use.
	Decision Decision
	// Arguments are to be used in place of those that were asked about.
	Arguments json.RawMessage
	// Content is the prompt to send in place of the one that was asked about.
	Content Content
	// Destination is the only place to connect to; zero: the call named none.
	Destination Destination
	pin         *pinned // that Dial keeps; nil: none
	// MaxOutput is the most bytes that may come back, so that reading can stop
	// there; 0: there is no limit. The client refuses a longer result itself.
	MaxOutput int64
}

// Result is what came of an action.
type Result struct {
	// Content is all that came back: for a tool call the result object, as JSON.
	// What goes to the agent around it goes unexamined.
	Content Content
	// Failed says that the action ran and failed, and that Content says how, as
	// in a tool result with isError.
	Failed bool
	// Cost is what the action cost. None: what was reserved is charged.
	Cost Cost
}

// Next runs a permitted action. It returns an error when there is no result to
// show: that error goes to Enforce's caller unexamined, and of the Result only
// the cost is used. The error wraps ErrNotRun when the action certainly never
// ran, and ErrUnknown when it cannot tell; any other error but a context's means
// that the action ran and failed.
type Next func(context.Context, Permitted) (Result, error)

// Enforce puts a tool call behind Writ. It asks whether the call may run, meets
// the obligations, runs next with what was permitted, asks whether the result may
// go on, and returns the result as it may be shown. It reports the end to Writ
// in any case, also when ctx has ended meanwhile and when next panics; that can
// take up to Config.Timeout after next has returned.
//
// The errors are *Denied, *Unmet, *BrokenAnswer, those of next, and, when there
// is no answer, others with a gRPC status inside. Next runs only after a whole
// answer whose obligations are met. An error after it has run wraps ErrWithheld:
// the call took effect, and its result is not to be seen.
//
// The question about the result repeats what was asked about the call, the
// arguments as they were before any redaction included, because Writ compares
// them with the call's. It may bring the call's token.
func (c *Client) Enforce(ctx context.Context, call Call, next Next) (Result, error) {
	call.Phase = PhaseCall
	return c.enforce(ctx, call, next)
}

// EnforcePrompt puts a prompt behind Writ, as Enforce does for a tool call: next
// sends Permitted.Content to Permitted.Destination. What the model answers is
// limited and marked as commanded, and not asked about.
func (c *Client) EnforcePrompt(ctx context.Context, call Call, next Next) (Result, error) {
	call.Phase = PhasePrompt
	return c.enforce(ctx, call, next)
}

// EnforceConnect puts an outbound connection behind Writ, as Enforce does for a
// tool call: next connects to Permitted.Destination, by Permitted.Dial. What comes back is limited
// and marked as commanded, and not asked about.
func (c *Client) EnforceConnect(ctx context.Context, call Call, next Next) (Result, error) {
	call.Phase = PhaseConnect
	return c.enforce(ctx, call, next)
}

// enforce is the one path of every action.
func (c *Client) enforce(ctx context.Context, call Call, next Next) (Result, error) {
	if next == nil {
		return Result{}, errors.New("there is no function to run the action")
	}
	call = call.clone() // what was asked about is what runs
	d, err := c.Decide(ctx, call)
	if err != nil {
		return Result{}, err
	}
	if !d.Allowed() {
		return Result{}, &Denied{Phase: call.Phase, Decision: d}
	}
	p := newPlan(call, d)
	defer func() { c.report(ctx, p.tally.Report) }()
	if err := c.prepare(ctx, p, nil); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("running the permitted action: %w", err)
	}
	p.tally.Outcome = OutcomeUnknown // and so it stays if next panics
	result, err := next(ctx, p.permitted())
	p.tally.ran(ctx, result, err)
	if err != nil {
		return Result{}, err
	}
	if p.pin != nil {
		if !p.pin.taken.Load() {
			return Result{}, fmt.Errorf("%w: %w", ErrWithheld, p.unmet(p.pin.obligation, errors.New("the connection was not made by Permitted.Dial")))
		}
		p.tally.meet(p.pin.obligation.ID)
	}
	if result.Content, err = c.release(ctx, call, p, result.Content); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrWithheld, err)
	}
	return result, nil
}

// permitted copies what next gets, because the question about the result needs
// the originals.
func (p *plan) permitted() Permitted {
	content := p.call.Content
	content.Data = bytes.Clone(content.Data)
	return Permitted{Decision: p.decision, Arguments: bytes.Clone(p.call.Arguments), Content: content,
		Destination: p.call.Destination, pin: p.pin, MaxOutput: p.limit.MaxBytes}
}

// release returns what may go on of a result. asked is the call as it was asked.
func (c *Client) release(ctx context.Context, asked Call, p *plan, content Content) (Content, error) {
	if err := p.fits(content); err != nil {
		return Content{}, err
	}
	if asked.Phase != PhaseCall || asked.SkipResult {
		return finish(content, p)
	}
	asked.Phase, asked.CallDecisionID, asked.Content = PhaseResult, p.decision.ID, content
	if content.none() {
		asked.Content.MediaType = MediaText // an empty result is an empty text
	}
	d, err := c.Decide(ctx, asked)
	if err != nil {
		return Content{}, err
	}
	if !d.Allowed() {
		return Content{}, &Denied{Phase: PhaseResult, Decision: d}
	}
	r := newPlan(asked, d)
	defer c.reportObligations(ctx, r.tally)
	if err := c.prepare(ctx, r, p); err != nil {
		return Content{}, err
	}
	if r.redact != nil {
		content = r.call.Content
	}
	if content, err = finish(content, p, r); err != nil {
		return Content{}, err
	}
	r.tally.Outcome = OutcomeSucceeded
	return content, nil
}

// reportObligations settles a decision that reserves nothing, on a list or a
// result. Only what became of its obligations is news.
func (c *Client) reportObligations(ctx context.Context, t *tally) {
	if len(t.Obligations) > 0 {
		c.report(ctx, t.Report)
	}
}

// ran notes how the action ended.
func (t *tally) ran(ctx context.Context, r Result, err error) {
	switch {
	case err == nil && !r.Failed:
		t.Outcome = OutcomeSucceeded
	case err == nil:
		t.Outcome = OutcomeFailed
	case errors.Is(err, ErrNotRun):
		t.Outcome = OutcomeNotRun
		return // and so it cost nothing
	case errors.Is(err, ErrUnknown), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		t.Outcome = OutcomeUnknown
	default:
		t.Outcome = OutcomeFailed
	}
	if t.Actual = r.Cost; t.Actual != (Cost{}) {
		// In a report 0 calls would give the call itself back.
		t.Actual.Calls = max(1, t.Actual.Calls)
	}
}
