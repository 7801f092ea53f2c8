package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// maxMessage bounds a message: a batch of 64 full requests does not fit, one
// request with a full payload of each kind does.
const maxMessage = 4 << 20

// workers answer calls: goroutines whose stacks have grown once to what a
// decision takes. A call that finds none idle gets one of its own.
const workers = 64

// validated are the messages whose rules are compiled at start.
func validated() []proto.Message {
	return []proto.Message{&writv1.DecideRequest{}, &writv1.DecideBatchRequest{}, &writv1.ExplainRequest{}, &writv1.SettleRequest{}, &writv1.ExchangeRequest{},
		&writv1.BudgetServiceListRequest{}, &writv1.BudgetServiceGetRequest{}, &writv1.BudgetServiceChangeRequest{},
		&writv1.RequestTicketRequest{}, &writv1.CreateTicketRequest{}, &writv1.ApproveTicketRequest{}, &writv1.RejectTicketRequest{}, &writv1.RevokeTicketRequest{},
		&writv1.GetTicketRequest{}, &writv1.ListTicketsRequest{}, &writv1.RevealRequest{}, &writv1.ForgetRequest{}}
}

// newGRPC makes a server of all methods. more say how callers connect.
func (s *Server) newGRPC(more ...grpc.ServerOption) *grpc.Server {
	g := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto"), s.bounds}),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(1024), grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 10 * time.Second,
			MaxConnectionAge: maxAge, MaxConnectionAgeGrace: ageGrace}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(func(ctx context.Context, cause any) error {
			err := s.panicked(cause)
			s.counts.refusal(ctx, err)
			return err
		}))),
	}, more...)...)
	g.RegisterService(described(writv1.DecisionService_ServiceDesc), &service{s: s})
	g.RegisterService(described(writv1.TokenService_ServiceDesc), &tokenService{s: s})
	g.RegisterService(described(writv1.BudgetService_ServiceDesc), &budgetService{s: s})
	g.RegisterService(described(writv1.TicketService_ServiceDesc), &ticketService{s: s})
	g.RegisterService(described(writv1.SessionService_ServiceDesc), &sessionService{s: s})
	g.RegisterService(described(writv1.VaultService_ServiceDesc), &vaultService{s: s})
	healthy := health.NewServer()
	healthy.SetServingStatus(writv1.DecisionService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthy.SetServingStatus(writv1.SessionService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	if s.exchange != nil {
		healthy.SetServingStatus(writv1.TokenService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
	if s.budgets != nil {
		healthy.SetServingStatus(writv1.BudgetService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
	if s.tickets != nil {
		healthy.SetServingStatus(writv1.TicketService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
	if s.vault != nil {
		healthy.SetServingStatus(writv1.VaultService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
	healthv1.RegisterHealthServer(g, healthy)
	reflection.Register(g)
	return g
}

// panicked turns a defect into an error: the caller denies, the process lives.
func (s *Server) panicked(cause any) error {
	return internal(s.log, "answering", fmt.Errorf("panic: %v\n%s", cause, debug.Stack()))
}

// service is the gRPC face: who calls, then the path.
type service struct {
	writv1.UnimplementedDecisionServiceServer
	s *Server
}

func (f *service) Decide(ctx context.Context, in *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	return answered(ctx, f.s, in, f.s.Decide)
}

func (f *service) DecideBatch(ctx context.Context, in *writv1.DecideBatchRequest) (*writv1.DecideBatchResponse, error) {
	return answered(ctx, f.s, in, f.s.DecideBatch)
}

func (f *service) Explain(ctx context.Context, in *writv1.ExplainRequest) (*writv1.ExplainResponse, error) {
	return answered(ctx, f.s, in, f.s.Explain)
}

func (f *service) Settle(ctx context.Context, in *writv1.SettleRequest) (*writv1.SettleResponse, error) {
	return answered(ctx, f.s, in, f.s.Settle)
}

// tokenService is the gRPC face of exchanges.
type tokenService struct {
	writv1.UnimplementedTokenServiceServer
	s *Server
}

func (f *tokenService) Exchange(ctx context.Context, in *writv1.ExchangeRequest) (*writv1.ExchangeResponse, error) {
	var until time.Time
	if state := stateOf(ctx); state != nil && len(state.VerifiedChains) > 0 {
		until = state.VerifiedChains[0][0].NotAfter
	}
	return answered(ctx, f.s, in, func(ctx context.Context, caller decision.Caller, in *writv1.ExchangeRequest) (*writv1.ExchangeResponse, error) {
		return f.s.Exchange(ctx, caller, until, in)
	})
}

// budgetService is the gRPC face of budgets.
type budgetService struct {
	writv1.UnimplementedBudgetServiceServer
	s *Server
}

func (f *budgetService) List(ctx context.Context, in *writv1.BudgetServiceListRequest) (*writv1.BudgetServiceListResponse, error) {
	return answered(ctx, f.s, in, f.s.ListBudgets)
}

func (f *budgetService) Get(ctx context.Context, in *writv1.BudgetServiceGetRequest) (*writv1.BudgetServiceGetResponse, error) {
	return answered(ctx, f.s, in, f.s.GetBudget)
}

func (f *budgetService) Change(ctx context.Context, in *writv1.BudgetServiceChangeRequest) (*writv1.BudgetServiceChangeResponse, error) {
	return answered(ctx, f.s, in, f.s.ChangeBudget)
}

// sessionService is the gRPC face of sessions.
type sessionService struct {
	writv1.UnimplementedSessionServiceServer
	s *Server
}

func (f *sessionService) Show(ctx context.Context, in *writv1.SessionServiceShowRequest) (*writv1.SessionServiceShowResponse, error) {
	return answered(ctx, f.s, in, f.s.ShowSession)
}

func (f *sessionService) Declassify(ctx context.Context, in *writv1.SessionServiceDeclassifyRequest) (*writv1.SessionServiceDeclassifyResponse, error) {
	return answered(ctx, f.s, in, f.s.Declassify)
}

// ticketService is the gRPC face of tickets.
type ticketService struct {
	writv1.UnimplementedTicketServiceServer
	s *Server
}

func (f *ticketService) RequestTicket(ctx context.Context, in *writv1.RequestTicketRequest) (*writv1.RequestTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.RequestTicket)
}

func (f *ticketService) CreateTicket(ctx context.Context, in *writv1.CreateTicketRequest) (*writv1.CreateTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.CreateTicket)
}

func (f *ticketService) ApproveTicket(ctx context.Context, in *writv1.ApproveTicketRequest) (*writv1.ApproveTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.ApproveTicket)
}

func (f *ticketService) RejectTicket(ctx context.Context, in *writv1.RejectTicketRequest) (*writv1.RejectTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.RejectTicket)
}

func (f *ticketService) RevokeTicket(ctx context.Context, in *writv1.RevokeTicketRequest) (*writv1.RevokeTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.RevokeTicket)
}

func (f *ticketService) GetTicket(ctx context.Context, in *writv1.GetTicketRequest) (*writv1.GetTicketResponse, error) {
	return answered(ctx, f.s, in, f.s.GetTicket)
}

func (f *ticketService) ListTickets(ctx context.Context, in *writv1.ListTicketsRequest) (*writv1.ListTicketsResponse, error) {
	return answered(ctx, f.s, in, f.s.ListTickets)
}

// vaultService is the gRPC face of what tokens of redactions stand for.
type vaultService struct {
	writv1.UnimplementedVaultServiceServer
	s *Server
}

func (f *vaultService) Reveal(ctx context.Context, in *writv1.RevealRequest) (*writv1.RevealResponse, error) {
	return answered(ctx, f.s, in, f.s.Reveal)
}

func (f *vaultService) Forget(ctx context.Context, in *writv1.ForgetRequest) (*writv1.ForgetResponse, error) {
	return answered(ctx, f.s, in, f.s.Forget)
}

// answered is what every gRPC method does.
func answered[In, Out any](ctx context.Context, s *Server, in In, do func(context.Context, decision.Caller, In) (Out, error)) (out Out, err error) {
	defer func() { s.counts.refusal(ctx, err) }()
	caller, err := s.callerOf(stateOf(ctx))
	if err != nil {
		return out, err
	}
	if err := s.enter(); err != nil {
		return out, err
	}
	defer s.leave()
	return do(ctx, caller, in)
}

// stateOf is the connection of a call; nil: it is plain.
func stateOf(ctx context.Context) *tls.ConnectionState {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return &info.State
		}
	}
	return nil
}

func (s *Server) callerOf(state *tls.ConnectionState) (decision.Caller, error) {
	caller, err := s.caller(state)
	var refused *identity.Error
	switch {
	case errors.As(err, &refused):
		return decision.Caller{}, fail(refused.Reason, refused.Problem)
	case err != nil:
		return decision.Caller{}, internal(s.log, "telling who calls", err)
	}
	if state != nil && len(state.PeerCertificates) > 0 {
		caller.Certificate = sha256.Sum256(state.PeerCertificates[0].Raw)
	}
	return caller, nil
}

// throttled is Decide for the faces that are not gRPC: with its bound on calls
// at a time and its recovery from defects.
func (s *Server) throttled(ctx context.Context, caller decision.Caller, in *writv1.DecideRequest) (answer *writv1.DecideResponse, err error) {
	defer func() { s.counts.refusal(ctx, err) }()
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	defer func() {
		if cause := recover(); cause != nil {
			answer, err = nil, s.panicked(cause)
		}
	}()
	return s.Decide(ctx, caller, in)
}

// enter takes one of the slots, or refuses: a queue would only make everybody
// late.
func (s *Server) enter() error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
		return fail(errOverloaded, "the server works on as many calls as it takes; ask again with the same request_id")
	}
}

func (s *Server) leave() { <-s.slots }
