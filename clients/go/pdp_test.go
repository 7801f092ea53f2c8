package writ_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"

	_ "google.golang.org/grpc/encoding/proto"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// pdp is a decision service that answers as told and remembers what it was
// asked.
type pdp struct {
	writv1.UnimplementedDecisionServiceServer
	// decide answers the n-th attempt, counted from 1. Nil: allow.
	decide func(n int, req *writv1.DecideRequest) (*writv1.DecideResponse, error)
	// hangs makes every attempt wait until its caller gives up.
	hangs bool
	// settle answers the n-th report. Nil: take it.
	settle func(ctx context.Context, n int, req *writv1.SettleRequest) (*writv1.SettleResponse, error)

	mu       sync.Mutex // guards the fields below
	asked    []*writv1.DecideRequest
	wire     [][]byte // the bytes of asked
	reports  []*writv1.SettleRequest
	settling int
}

func (p *pdp) Decide(ctx context.Context, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	p.mu.Lock()
	p.asked = append(p.asked, req)
	n := len(p.asked)
	p.mu.Unlock()
	if p.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if p.decide == nil {
		return allow(req), nil
	}
	return p.decide(n, req)
}

func (p *pdp) Settle(ctx context.Context, req *writv1.SettleRequest) (*writv1.SettleResponse, error) {
	p.mu.Lock()
	p.settling++
	n := p.settling
	p.mu.Unlock()
	if p.settle != nil {
		if resp, err := p.settle(ctx, n, req); resp != nil || err != nil {
			return resp, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports = append(p.reports, req)
	return &writv1.SettleResponse{SettlementId: settlementID}, nil
}

// questions are what was asked so far, and how often.
func (p *pdp) questions() []*writv1.DecideRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*writv1.DecideRequest(nil), p.asked...)
}

// outcomes are the reports so far by decision.
func (p *pdp) outcomes() map[string]*writv1.SettleRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]*writv1.SettleRequest{}
	for _, r := range p.reports {
		all[r.GetDecisionId()] = r
	}
	return all
}

// wireCodec keeps the bytes of questions as they came in.
type wireCodec struct {
	encoding.CodecV2
	p *pdp
}

func (c wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*writv1.DecideRequest); ok {
		c.p.mu.Lock()
		c.p.wire = append(c.p.wire, data.Materialize())
		c.p.mu.Unlock()
	}
	return c.CodecV2.Unmarshal(data, v)
}

// serve runs the service in memory until stop is called.
func (p *pdp) serve() (conn *grpc.ClientConn, stop func()) {
	lis := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.ForceServerCodecV2(wireCodec{encoding.GetCodecV2("proto"), p}))
	writv1.RegisterDecisionServiceServer(server, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(lis)
	}()
	conn, err := grpc.NewClient("passthrough:///writ", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		panic(err)
	}
	return conn, func() {
		conn.Close()
		server.Stop()
		<-served
	}
}

// client returns a client of p. A nil cfg.Token gives a new token each time.
func client(t *testing.T, p *pdp, cfg writ.Config) *writ.Client {
	t.Helper()
	conn, stop := p.serve()
	t.Cleanup(stop)
	cfg.Conn = conn
	if cfg.Token == nil {
		cfg.Token = tokens()
	}
	if cfg.OnSettleError == nil {
		cfg.OnSettleError = func(r writ.Report, err error) { t.Errorf("report %v on %s was lost: %v", r.Outcome, r.DecisionID, err) }
	}
	c, err := writ.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tokens is a source of tokens that are never the same.
func tokens() func(context.Context) (string, error) {
	var mu sync.Mutex
	n := 0
	return func(context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("token-%d", n), nil
	}
}

const settlementID = "01980000-0000-7000-8000-0000000000ff"

// decisionID is the id that the fake gives to its decisions in a phase.
func decisionID(phase writv1.Phase) string {
	return fmt.Sprintf("01980000-0000-7000-8000-%012d", phase)
}

// allow allows a request on the given obligations. A list without a filter gets
// one that keeps all.
func allow(req *writv1.DecideRequest, obligations ...*writv1.Obligation) *writv1.DecideResponse {
	resp := &writv1.DecideResponse{
		DecisionId: decisionID(req.GetPhase()), RequestId: req.GetRequestId(),
		Effect: writv1.Effect_EFFECT_ALLOW, Obligations: obligations,
		Reasons: []*writv1.Reason{{Stage: "policy", Code: "policy.permit", Text: "The policy \"p\" permits this."}},
	}
	filtered := false
	for _, o := range obligations {
		filtered = filtered || o.GetType() == "filter_tools"
	}
	if req.GetPhase() == writv1.Phase_PHASE_LIST && !filtered {
		keep := make([]uint32, len(req.GetCandidates()))
		for i := range keep {
			keep[i] = uint32(i)
		}
		resp.Obligations = append(resp.Obligations, filter(keep...))
	}
	return resp
}

func deny(req *writv1.DecideRequest, text, lift string) *writv1.DecideResponse {
	return &writv1.DecideResponse{
		DecisionId: decisionID(req.GetPhase()), RequestId: req.GetRequestId(), Effect: writv1.Effect_EFFECT_DENY,
		Reasons: []*writv1.Reason{
			{Stage: "policy", Code: "policy.permit", Text: "The policy \"p\" permits this."},
			{Stage: "budget", Code: "budget.exhausted", Text: text, Lift: lift},
		},
	}
}

func filter(keep ...uint32) *writv1.Obligation {
	return &writv1.Obligation{Id: "filter_tools-1", Type: "filter_tools",
		Params: &writv1.Obligation_FilterTools{FilterTools: &writv1.FilterTools{Keep: keep}}}
}

func redact(target writv1.Target, pointers ...string) *writv1.Obligation {
	r := &writv1.Redact{Target: target}
	for _, pointer := range pointers {
		r.Edits = append(r.Edits, &writv1.Edit{Pointer: pointer, Method: writv1.Method_METHOD_MASK})
	}
	return &writv1.Obligation{Id: "redact-1", Type: "redact", Params: &writv1.Obligation_Redact{Redact: r}}
}

func route(host string) *writv1.Obligation {
	return &writv1.Obligation{Id: "route-1", Type: "route",
		Params: &writv1.Obligation_Route{Route: &writv1.Route{Vendor: "anthropic", Region: "eu", Host: host}}}
}

func limit(n int64) *writv1.Obligation {
	return &writv1.Obligation{Id: "limit_output-1", Type: "limit_output",
		Params: &writv1.Obligation_LimitOutput{LimitOutput: &writv1.LimitOutput{MaxBytes: n}}}
}

func notify() *writv1.Obligation {
	return &writv1.Obligation{Id: "notify-1", Type: "notify",
		Params: &writv1.Obligation_Notify{Notify: &writv1.Notify{To: "security-oncall", Body: "A refund."}}}
}

func stepUp() *writv1.Obligation {
	return &writv1.Obligation{Id: "step_up-1", Type: "step_up",
		Params: &writv1.Obligation_StepUp{StepUp: &writv1.StepUp{AcrValue: "urn:example:loa:3"}}}
}

func watermark() *writv1.Obligation {
	return &writv1.Obligation{Id: "watermark-1", Type: "watermark",
		Params: &writv1.Obligation_Watermark{Watermark: &writv1.Watermark{Text: "generated"}}}
}

func delay(millis int64) *writv1.Obligation {
	return &writv1.Obligation{Id: "delay-1", Type: "delay", Params: &writv1.Obligation_Delay{Delay: &writv1.Delay{Millis: millis}}}
}

func pin() *writv1.Obligation {
	return &writv1.Obligation{Id: "pin-1", Type: "pin", Params: &writv1.Obligation_Pin{Pin: &writv1.Pin{Host: "api.anthropic.com", Refused: []string{"10.0.0.0/8"}}}}
}

// unknown is an obligation from a later version of the wire: its parameters are
// in a field that this one does not have.
func unknown() *writv1.Obligation {
	o := &writv1.Obligation{Id: "geofence-1", Type: "geofence"}
	o.ProtoReflect().SetUnknown([]byte{0x8a, 0x06, 0x02, 0x0a, 0x00}) // field 97: a message
	return o
}
