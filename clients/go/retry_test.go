package writ_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	writ "github.com/writpdp/writ/clients/go"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// failure is a status with Writ's reason, and how long to wait where wait is
// not 0.
func failure(code codes.Code, reason string, wait time.Duration) error {
	var with []protoadapt.MessageV1
	if reason != "" {
		with = append(with, &errdetails.ErrorInfo{Domain: "writ", Reason: reason})
	}
	if wait != 0 {
		with = append(with, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	s, err := status.New(code, "no").WithDetails(with...)
	if err != nil {
		panic(err)
	}
	return s.Err()
}

// TestRetry injects a fault into each of the first attempts of a question, on a
// clock of its own.
func TestRetry(t *testing.T) {
	hang := errors.New("no answer in time") // told to the fake alone
	tests := []struct {
		name     string
		faults   []error
		attempts int
		code     codes.Code    // OK: it succeeds in the end
		took     time.Duration // with jitter at a half
	}{
		{"none", nil, 1, codes.OK, 0},
		{"unavailable", []error{failure(codes.Unavailable, "", 0)}, 2, codes.OK, 37500 * time.Microsecond},
		{"not recorded, four times", []error{failure(codes.Unavailable, "NOT_RECORDED", 0), failure(codes.Unavailable, "NOT_RECORDED", 0),
			failure(codes.Unavailable, "NOT_RECORDED", 0), failure(codes.Unavailable, "NOT_RECORDED", 0)}, 5, codes.OK, 562500 * time.Microsecond},
		{"an answer lost", []error{hang}, 2, codes.OK, time.Second + 37500*time.Microsecond},
		{"the server's deadline", []error{failure(codes.DeadlineExceeded, "DEADLINE", 0)}, 2, codes.OK, 37500 * time.Microsecond},
		{"contended", []error{failure(codes.Aborted, "CONTENDED", 0)}, 2, codes.OK, 37500 * time.Microsecond},
		{"aborted otherwise", []error{failure(codes.Aborted, "", 0)}, 1, codes.Aborted, 0},
		{"overloaded", []error{failure(codes.ResourceExhausted, "OVERLOADED", 0)}, 2, codes.OK, 37500 * time.Microsecond},
		{"overloaded for two seconds", []error{failure(codes.ResourceExhausted, "OVERLOADED", 2*time.Second)}, 2, codes.OK, 2*time.Second + 37500*time.Microsecond},
		{"exhausted with a time", []error{failure(codes.ResourceExhausted, "", time.Second)}, 2, codes.OK, time.Second + 37500*time.Microsecond},
		{"exhausted for good", []error{failure(codes.ResourceExhausted, "", 0)}, 1, codes.ResourceExhausted, 0},
		{"overloaded for longer than there is time", []error{failure(codes.ResourceExhausted, "OVERLOADED", time.Hour)}, 1, codes.ResourceExhausted, 0},
		{"overloaded for ever", []error{failure(codes.ResourceExhausted, "OVERLOADED", 1<<63-1)}, 1, codes.ResourceExhausted, 0},
		{"a time in the past", []error{failure(codes.Unavailable, "", -time.Hour)}, 2, codes.OK, 37500 * time.Microsecond},
		{"invalid", []error{failure(codes.InvalidArgument, "FIELD_INVALID", 0)}, 1, codes.InvalidArgument, 0},
		{"invalid with a time", []error{failure(codes.InvalidArgument, "FIELD_INVALID", time.Second)}, 1, codes.InvalidArgument, 0},
		{"a token that is not taken", []error{failure(codes.Unauthenticated, "TOKEN_EXPIRED", 0)}, 1, codes.Unauthenticated, 0},
		{"an id used before", []error{failure(codes.AlreadyExists, "REQUEST_ID_REUSED", 0)}, 1, codes.AlreadyExists, 0},
		{"a defect", []error{failure(codes.Internal, "INTERNAL", 0)}, 1, codes.Internal, 0},
		{"a second fault for good", []error{failure(codes.Unavailable, "", 0), failure(codes.Internal, "", 0)}, 2, codes.Internal, 37500 * time.Microsecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pdp{}
				p.decide = func(n int, req *writv1.DecideRequest) (*writv1.DecideResponse, error) {
					if n > len(test.faults) {
						return allow(req), nil
					}
					if test.faults[n-1] == hang {
						time.Sleep(2 * time.Second) // the bubble's clock
					}
					return nil, test.faults[n-1]
				}
				tokensAsked := 0
				c := client(t, p, writ.Config{
					Jitter: func() float64 { return 0.5 },
					Token:  func(context.Context) (string, error) { tokensAsked++; return "token", nil },
				})
				question := refund()
				question.Phase = writ.PhaseCall
				start := time.Now()
				d, err := c.Decide(t.Context(), question)
				took := time.Since(start)
				if status.Code(err) != test.code || d.Allowed() != (test.code == codes.OK) {
					t.Errorf("got %v and %v, want the code %v", d.Effect, err, test.code)
				}
				if took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if tokensAsked != 1 {
					t.Errorf("got %d tokens, want 1", tokensAsked)
				}
				checkSame(t, p, test.attempts)
			})
		})
	}
}

// checkSame checks that there were n attempts and that all sent the same bytes.
func checkSame(t *testing.T, p *pdp, n int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wire) != n {
		t.Fatalf("got %d attempts, want %d", len(p.wire), n)
	}
	for i := range p.wire {
		if !bytes.Equal(p.wire[i], p.wire[0]) {
			t.Errorf("attempt %d differs from the first", i+1)
		}
		if got, want := p.asked[i].GetRequestId(), p.asked[0].GetRequestId(); got != want || got == "" {
			t.Errorf("attempt %d has the request id %q, want %q", i+1, got, want)
		}
	}
}

func TestRetryEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pdp{decide: func(int, *writv1.DecideRequest) (*writv1.DecideResponse, error) {
			return nil, status.Error(codes.Unavailable, "no")
		}}
		c := client(t, p, writ.Config{})
		start := time.Now()
		if _, err := c.Decide(t.Context(), writ.Call{Phase: writ.PhaseCall}); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 5*time.Second || took < 3*time.Second {
			t.Errorf("took %v, want close to 5s", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		if _, err := c.Decide(ctx, writ.Call{Phase: writ.PhaseCall}); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("took %v, want at most the caller's 100ms", took)
		}
	})
}

func TestRetryEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &pdp{decide: func(int, *writv1.DecideRequest) (*writv1.DecideResponse, error) {
			time.AfterFunc(time.Millisecond, cancel) // into the pause
			return nil, status.Error(codes.Unavailable, "no")
		}}
		c := client(t, p, writ.Config{})
		start := time.Now()
		_, err := c.Decide(ctx, writ.Call{Phase: writ.PhaseCall})
		if !errors.Is(err, context.Canceled) || status.Code(err) != codes.Unavailable || time.Since(start) != time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		checkSame(t, p, 1)
	})
}

func TestSettleRetriesTheSameReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards seen
		var seen []string
		p := &pdp{settle: func(_ context.Context, n int, req *writv1.SettleRequest) (*writv1.SettleResponse, error) {
			mu.Lock()
			seen = append(seen, req.String())
			mu.Unlock()
			switch n {
			case 1:
				return nil, failure(codes.Unavailable, "NOT_RECORDED", 0)
			case 2:
				time.Sleep(2 * time.Second)
				return nil, status.Error(codes.Unavailable, "late")
			}
			return nil, nil
		}}
		c := client(t, p, writ.Config{})
		if _, err := c.Enforce(t.Context(), refund(), returns(new(int), jsonResult(`{}`), nil)); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(seen) != 3 || seen[0] != seen[1] || seen[1] != seen[2] {
			t.Errorf("got the reports %q", seen)
		}
	})
}

func TestSettlingHasATimeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pdp{settle: func(ctx context.Context, _ int, _ *writv1.SettleRequest) (*writv1.SettleResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		lost := 0
		c := client(t, p, writ.Config{OnSettleError: func(_ writ.Report, err error) {
			if lost++; status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		call := refund()
		call.SkipResult = true
		_, err := c.Enforce(ctx, call, func(context.Context, writ.Permitted) (writ.Result, error) {
			cancel()
			return jsonResult(`{}`), nil
		})
		if err != nil || lost != 1 || time.Since(start) > 5*time.Second {
			t.Errorf("got %v and %d lost reports after %v", err, lost, time.Since(start))
		}
	})
}
