package writ

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// The pauses between attempts double from the first to the longest.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// retry makes attempts until one succeeds, fails for good, or ctx ends. ctx must
// have a deadline. Every attempt sends the same message, so Writ sees the same
// request id and content and answers it once, however often it arrives.
//
// The loop is the client's own because grpc's retry policy cannot do its work:
// grpc-go has no deadline for a single attempt, does not read RetryInfo, cannot
// tell CONTENDED from other causes of ABORTED, and stops at five attempts.
// Connections of the client's own have grpc's policy switched off, so that the
// two do not multiply.
func (c *Client) retry(ctx context.Context, attempt func(context.Context) error) error {
	deadline, _ := ctx.Deadline()
	for n := 1; ; n++ {
		err := c.once(ctx, attempt)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %d attempts: %w: %w", n, ctx.Err(), err)
		}
		pause, again := c.pause(err, n)
		if !again || time.Until(deadline) <= pause {
			return fmt.Errorf("after %d attempts: %w", n, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("after %d attempts: %w: %w", n, ctx.Err(), err)
		}
	}
}

func (c *Client) once(ctx context.Context, attempt func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.attemptTimeout)
	defer cancel()
	return attempt(ctx)
}

// pause is how long to wait after the n-th failure, and whether to try again at
// all.
func (c *Client) pause(err error, n int) (time.Duration, bool) {
	s, ok := status.FromError(err)
	if !ok {
		return 0, false
	}
	reason, wait, told := details(s)
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded:
	case codes.Aborted:
		if reason != writv1.ErrorReason_ERROR_REASON_CONTENDED {
			return 0, false
		}
	case codes.ResourceExhausted:
		// grpc uses the code for a message that is too large, which it stays.
		if !told && reason != writv1.ErrorReason_ERROR_REASON_OVERLOADED {
			return 0, false
		}
	default:
		return 0, false
	}
	step := min(longestPause, firstPause<<min(n-1, 10))
	// Jitter also on top of what the server asks for: it asks it of everyone.
	return wait + step/2 + time.Duration(c.jitter()*float64(step/2)), true
}

// details reads Writ's reason, and how long the server asks to wait where it
// does.
func details(s *status.Status) (reason writv1.ErrorReason, wait time.Duration, told bool) {
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == "writ" {
				name := "ERROR_REASON_" + strings.TrimPrefix(d.GetReason(), "ERROR_REASON_")
				reason = writv1.ErrorReason(writv1.ErrorReason_value[name])
			}
		case *errdetails.RetryInfo:
			if d.GetRetryDelay().IsValid() {
				// Bounded, or adding to it could make it negative.
				wait, told = min(max(0, d.GetRetryDelay().AsDuration()), 24*time.Hour), true
			}
		}
	}
	return reason, wait, told
}
