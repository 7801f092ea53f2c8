package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// counts are the server's instruments, with an attribute set made beforehand for
// each value: a decision pays for an addition alone.
type counts struct {
	decided    metric.Int64Counter
	byEffect   map[writv1.Effect][]metric.AddOption
	attributed metric.Int64Counter
	byLack     map[lack][]metric.AddOption
	refused    metric.Int64Counter
	byReason   map[string][]metric.AddOption // by the reason, as an ErrorInfo has it
	handshake  metric.Int64Counter
}

// newCounts makes the instruments. meter may be nil: nothing is counted.
func newCounts(meter metric.Meter) (*counts, error) {
	if meter == nil {
		meter = noop.Meter{}
	}
	c := &counts{byEffect: map[writv1.Effect][]metric.AddOption{}, byReason: map[string][]metric.AddOption{}, byLack: map[lack][]metric.AddOption{}}
	var errs [4]error
	c.decided, errs[0] = meter.Int64Counter("writ.decisions", metric.WithDescription("Decisions recorded, by effect."))
	c.refused, errs[1] = meter.Int64Counter("writ.refusals", metric.WithDescription("Requests that got an error and no decision, by its reason."))
	c.handshake, errs[2] = meter.Int64Counter("writ.handshakes.refused", metric.WithDescription("Connections to the gRPC listener that ended in the handshake."))
	c.attributed, errs[3] = meter.Int64Counter("writ.attributions", metric.WithDescription("Decisions recorded, by what their attribution lacks beside caller, agent, purpose and token."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("making the server's metrics: %w", err)
	}
	for n, name := range writv1.Effect_name {
		effect := strings.ToLower(strings.TrimPrefix(name, "EFFECT_"))
		c.byEffect[writv1.Effect(n)] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("effect", effect)))}
	}
	for l, name := range map[lack]string{{}: "nothing", {session: true}: "session", {human: true}: "human", {true, true}: "session_and_human"} {
		c.byLack[l] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("lacks", name)))}
	}
	for _, name := range writv1.ErrorReason_name {
		reason := strings.TrimPrefix(name, "ERROR_REASON_")
		c.byReason[reason] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", strings.ToLower(reason))))}
	}
	return c, nil
}

// lack is what the attribution of a decision lacks: the session that it belongs to,
// the human on whose behalf it was asked. All else is required of every request.
type lack struct{ session, human bool }

// decision counts a decision that was recorded.
func (c *counts) decision(ctx context.Context, req *decision.Request, effect writv1.Effect) {
	c.decided.Add(ctx, 1, c.byEffect[effect]...)
	c.attributed.Add(ctx, 1, c.byLack[lack{session: req.Session == "", human: req.Principal.OnBehalfOf == ""}]...)
}

// refusal counts an error that a caller gets; nil is none.
func (c *counts) refusal(ctx context.Context, err error) {
	if err == nil {
		return
	}
	reason := "UNSPECIFIED"
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	c.refused.Add(ctx, 1, c.byReason[reason]...)
}
