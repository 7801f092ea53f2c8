package writ

import (
	"context"
	"errors"
	"fmt"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Decide asks one question. A denial is an answer, not an error. An error means
// that there is no answer, or none that can be relied on (*BrokenAnswer), and the
// caller must deny.
//
// A caller of Decide meets the obligations itself, denies when it cannot, and
// reports the end of an allowed action with Settle. Enforce does all of that.
func (c *Client) Decide(ctx context.Context, call Call) (Decision, error) {
	asking, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.request(asking, call)
	if err != nil {
		return Decision{}, err
	}
	var resp *writv1.DecideResponse
	err = c.retry(asking, func(ctx context.Context) (err error) {
		resp, err = c.decisions.Decide(ctx, req)
		return err
	})
	if err != nil {
		return Decision{}, fmt.Errorf("asking writ: %w", err)
	}
	d, err := decode(req, resp)
	if err != nil {
		return Decision{}, c.refuse(ctx, req, resp, err)
	}
	return d, nil
}

// request builds the message that every attempt of a question sends.
func (c *Client) request(ctx context.Context, call Call) (*writv1.DecideRequest, error) {
	req, err := call.encode()
	if err != nil {
		return nil, err
	}
	token := call.Token
	if token == nil {
		token = c.token
	}
	if token == nil {
		return nil, errors.New("neither the call nor the client has a source of principal tokens")
	}
	if req.PrincipalToken, err = token(ctx); err != nil {
		return nil, fmt.Errorf("getting a principal token: %w", err)
	}
	if req.PrincipalToken == "" {
		return nil, errors.New("the principal token is empty")
	}
	if call.Proof != nil {
		if req.PrincipalProof, err = call.Proof(ctx, req.PrincipalToken); err != nil {
			return nil, fmt.Errorf("getting a proof for the principal token: %w", err)
		}
	}
	req.RequestId = c.newID()
	req.SupportedObligations = c.supported
	return req, nil
}

// refuse denies on an answer that is not understood. Where that can have been an
// allow of this request, Writ holds a reservation for it, and is told that
// nothing ran.
func (c *Client) refuse(ctx context.Context, req *writv1.DecideRequest, resp *writv1.DecideResponse, problem error) error {
	broken := &BrokenAnswer{Problem: problem.Error()}
	if !isUUID(resp.GetDecisionId()) || resp.GetRequestId() != req.GetRequestId() {
		return broken
	}
	broken.DecisionID = resp.GetDecisionId()
	if effect := resp.GetEffect(); effect == writv1.Effect_EFFECT_UNSPECIFIED || effect == writv1.Effect_EFFECT_DENY {
		return broken
	}
	report := Report{DecisionID: broken.DecisionID, Tenant: req.GetTenant(), Outcome: OutcomeNotRun}
	for _, o := range resp.GetObligations() {
		// An id that Writ could not have sent would spoil the report.
		if id := o.GetId(); id != "" && len(id) <= 64 {
			report.Obligations = append(report.Obligations, ObligationReport{ID: id})
		}
	}
	c.report(ctx, report)
	return broken
}
