// Package identity owns who asks and for whom: it turns a verified X.509-SVID
// into the calling enforcement point with its tenant, and a principal token into
// the agent that acts. It reads no clock and no file, and it remembers nothing:
// that a token is accepted once is the commit's guard, on the digest that this
// package computes.
package identity

import (
	"fmt"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Error says why an identity was refused. It is safe to show to the caller.
type Error struct {
	// Reason is one of CALLER_UNKNOWN, TOKEN_INVALID, TOKEN_EXPIRED and
	// TOKEN_CLAIMS.
	Reason writv1.ErrorReason
	// Problem is what is wrong. It quotes nothing of the token, the certificate
	// or a claim's value.
	Problem string
}

func (e *Error) Error() string { return e.Problem }

func unknown(format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID, fmt.Sprintf(format, args...)}
}

func expired(format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED, fmt.Sprintf(format, args...)}
}

func unclaimed(format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_CLAIMS, fmt.Sprintf(format, args...)}
}
