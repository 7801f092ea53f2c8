package writ

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Defaults of Config.
const (
	defaultTimeout        = 5 * time.Second
	defaultAttemptTimeout = time.Second
)

// Config says how to reach Writ and what the client can do.
type Config struct {
	// Addr is Writ's address as host:port. Required without Conn.
	Addr string
	// TLS proves the caller to Writ and Writ to the caller; its certificate is
	// the caller's X.509-SVID. Nil: plaintext, which is refused for any address
	// that is not a loopback address. A configuration that verifies nothing is
	// refused too.
	TLS *tls.Config
	// Conn is used instead of a connection of the client's own; Addr and TLS are
	// then refused. Its security is the business of who made it, and so is
	// closing it. Nil: the client connects to Addr.
	Conn grpc.ClientConnInterface
	// Token returns a fresh token of the agent. It is called once for each
	// decision, because Writ accepts a token once; only for the result of a call
	// it may be the call's. Its time counts against Timeout. Nil: every Call brings its own.
	Token func(context.Context) (string, error)
	// Timeout bounds one question or one report: token, attempts and the pauses
	// between them. Zero: 5 seconds.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt. Zero: 1 second.
	AttemptTimeout time.Duration
	// Handlers meet the obligations that the client cannot meet alone.
	Handlers Handlers
	// OnSettleError is told of a report that did not reach Writ, after the
	// action ran and its result was permitted. The report can be given to
	// Settle again. Nil: a warning through slog, without values.
	OnSettleError func(Report, error)
	// NewID returns a new request id, a UUIDv7 in lower case. It must never
	// return the same twice: Writ would give the first answer again. Nil: the
	// default generator. It must be safe for concurrent use.
	NewID func() string
	// Jitter returns a random number in [0, 1), by which the pauses between
	// attempts differ. Nil: math/rand/v2. It must be safe for concurrent use.
	Jitter func() float64
}

// Handlers meet the obligations that the client cannot meet alone. The types of
// those that are set are sent with every question, so that Writ denies what the
// caller could not carry out. A handler's error denies. Handlers run before the
// action or, in the phase RESULT, before the result goes on, bounded by the
// caller's context alone. They must be safe for concurrent use. The Call is the
// question with its phase, redacted and routed as commanded.
type Handlers struct {
	// Notify tells somebody. Nil: not supported.
	Notify func(context.Context, Call, Notify) error
	// StepUp has the human behind the agent authenticate more strongly, and
	// returns once that has happened. Nil: not supported.
	StepUp func(context.Context, Call, StepUp) error
	// Watermark returns the function that will mark the output. It is asked
	// before the action, so that what cannot be marked does not run. Nil: not
	// supported.
	Watermark func(context.Context, Call, Watermark) (Marker, error)
}

// Marker returns the content with a mark on it. An error withholds the content.
type Marker func(Content) (Content, error)

// Client asks one Writ. It is safe for concurrent use.
type Client struct {
	decisions      writv1.DecisionServiceClient
	closer         io.Closer // nil: the connection is somebody else's
	token          func(context.Context) (string, error)
	timeout        time.Duration
	attemptTimeout time.Duration
	handlers       Handlers
	supported      []string
	onSettleError  func(Report, error)
	newID          func() string
	jitter         func() float64
}

// New returns a client. It does not connect yet: the first question does.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout < 0 || cfg.AttemptTimeout < 0 {
		return nil, errors.New("a timeout is negative")
	}
	c := &Client{
		token:          cfg.Token,
		timeout:        cmp.Or(cfg.Timeout, defaultTimeout),
		attemptTimeout: cmp.Or(cfg.AttemptTimeout, defaultAttemptTimeout),
		handlers:       cfg.Handlers,
		supported:      cfg.Handlers.supported(),
		onSettleError:  cfg.OnSettleError,
		newID:          cfg.NewID,
		jitter:         cfg.Jitter,
	}
	if c.onSettleError == nil {
		c.onSettleError = warn
	}
	if c.newID == nil {
		c.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if c.jitter == nil {
		c.jitter = rand.Float64
	}
	if cfg.Conn != nil {
		if cfg.Addr != "" || cfg.TLS != nil {
			return nil, errors.New("a connection excludes an address and TLS settings")
		}
		c.decisions = writv1.NewDecisionServiceClient(cfg.Conn)
		return c, nil
	}
	conn, err := dial(cfg.Addr, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("connecting to writ: %w", err)
	}
	c.decisions, c.closer = writv1.NewDecisionServiceClient(conn), conn
	return c, nil
}

// Close ends the client's own connection. Questions in flight fail.
func (c *Client) Close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}

// supported are the obligation types that the client can meet.
func (h Handlers) supported() []string {
	types := []string{Redact{}.Type(), Route{}.Type(), FilterTools{}.Type(), LimitOutput{}.Type(), Delay{}.Type(), Pin{}.Type()}
	if h.Notify != nil {
		types = append(types, Notify{}.Type())
	}
	if h.StepUp != nil {
		types = append(types, StepUp{}.Type())
	}
	if h.Watermark != nil {
		types = append(types, Watermark{}.Type())
	}
	return types
}

// warn says that a report was lost. The error's text stays out: it comes from
// elsewhere.
func warn(r Report, err error) {
	slog.Warn("settling a decision failed",
		"decision_id", r.DecisionID, "outcome", r.Outcome.String(), "code", status.Code(err).String())
}
