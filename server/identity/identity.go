// Package identity owns who asks and for whom: it turns a verified X.509-SVID
// into the calling enforcement point with its tenant, and a principal token into
// the agent that acts. It reads no clock, no file and no network: keys come from
// a KeySource, time is an argument. All that it remembers is which signatures
// were good. That a token is accepted once is the commit's guard, on the digest
// that this package computes.
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
	// Code says which rule a token or a proof breaks: one of Codes. Empty in
	// errors about the caller.
	Code string
	// Problem is what is wrong. It quotes nothing of the token, the certificate
	// or a claim's value.
	Problem string
}

func (e *Error) Error() string { return e.Problem }

func unknown(format string, args ...any) error {
	return &Error{Reason: writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN, Problem: fmt.Sprintf(format, args...)}
}

// invalid, expired and unclaimed refuse with a code of Codes.

func invalid(code, format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID, code, fmt.Sprintf(format, args...)}
}

func expired(code, format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED, code, fmt.Sprintf(format, args...)}
}

func unclaimed(code, format string, args ...any) error {
	return &Error{writv1.ErrorReason_ERROR_REASON_TOKEN_CLAIMS, code, fmt.Sprintf(format, args...)}
}
