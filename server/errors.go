package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
)

// The reasons an error can have, by short names.
const (
	errField        = writv1.ErrorReason_ERROR_REASON_FIELD_INVALID
	errJSON         = writv1.ErrorReason_ERROR_REASON_JSON_INVALID
	errTokenInvalid = writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID
	errReused       = writv1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED
	errUnknown      = writv1.ErrorReason_ERROR_REASON_DECISION_UNKNOWN
	errNotAllowed   = writv1.ErrorReason_ERROR_REASON_NOT_ALLOWED
	errSettled      = writv1.ErrorReason_ERROR_REASON_SETTLED_DIFFERENTLY
	errContended    = writv1.ErrorReason_ERROR_REASON_CONTENDED
	errNotRecorded  = writv1.ErrorReason_ERROR_REASON_NOT_RECORDED
	errDeadline     = writv1.ErrorReason_ERROR_REASON_DEADLINE
	errOverloaded   = writv1.ErrorReason_ERROR_REASON_OVERLOADED
	errExchange     = writv1.ErrorReason_ERROR_REASON_EXCHANGE_REFUSED
	errNotSigned    = writv1.ErrorReason_ERROR_REASON_NOT_SIGNED
	errInternal     = writv1.ErrorReason_ERROR_REASON_INTERNAL
	errForbidden    = writv1.ErrorReason_ERROR_REASON_CALLER_FORBIDDEN

	errBudgetUnknown     = writv1.ErrorReason_ERROR_REASON_BUDGET_UNKNOWN
	errAdjustmentUnknown = writv1.ErrorReason_ERROR_REASON_ADJUSTMENT_UNKNOWN
	errAdjustmentsFull   = writv1.ErrorReason_ERROR_REASON_ADJUSTMENTS_FULL
	errNeedsTicket       = writv1.ErrorReason_ERROR_REASON_CHANGE_NEEDS_TICKET
	errTicket            = writv1.ErrorReason_ERROR_REASON_TICKET_REFUSED
	errLabelUnknown      = writv1.ErrorReason_ERROR_REASON_LABEL_UNKNOWN
	errTicketUnknown     = writv1.ErrorReason_ERROR_REASON_TICKET_UNKNOWN
	errVault             = writv1.ErrorReason_ERROR_REASON_VAULT_UNKNOWN
)

// code is the gRPC code of each reason, as error.proto says. A reason that is
// missing here is INTERNAL.
var code = map[writv1.ErrorReason]codes.Code{
	errField: codes.InvalidArgument,
	errJSON:  codes.InvalidArgument,
	writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN: codes.Unauthenticated,
	errTokenInvalid: codes.Unauthenticated,
	writv1.ErrorReason_ERROR_REASON_TOKEN_EXPIRED: codes.Unauthenticated,
	writv1.ErrorReason_ERROR_REASON_TOKEN_CLAIMS:  codes.Unauthenticated,
	errReused:      codes.AlreadyExists,
	errUnknown:     codes.NotFound,
	errNotAllowed:  codes.FailedPrecondition,
	errSettled:     codes.AlreadyExists,
	errContended:   codes.Aborted,
	errNotRecorded: codes.Unavailable,
	errDeadline:    codes.DeadlineExceeded,
	errOverloaded:  codes.ResourceExhausted,
	errForbidden:   codes.PermissionDenied,
	errExchange:    codes.PermissionDenied,
	errNotSigned:   codes.Unavailable,

	errBudgetUnknown:     codes.NotFound,
	errAdjustmentUnknown: codes.NotFound,
	errAdjustmentsFull:   codes.FailedPrecondition,
	errNeedsTicket:       codes.FailedPrecondition,
	errTicket:            codes.FailedPrecondition,
	errTicketUnknown:     codes.NotFound,
	errLabelUnknown:      codes.NotFound,
	errVault:             codes.NotFound,
}

// Bounds of what an error says. It travels in trailers, of which some clients
// take 8 KiB in all.
const (
	maxText       = 1024 // bytes
	maxViolations = 5
)

// fail is an error as every face knows it: a gRPC status with an ErrorInfo.
func fail(reason writv1.ErrorReason, message string, details ...*errdetails.BadRequest) error {
	return failWith(reason, "", message, details...)
}

// codeKey is where an ErrorInfo has which rule a token breaks.
const codeKey = "code"

// failWith is fail with the code of the rule that a token breaks; empty: none.
func failWith(reason writv1.ErrorReason, rule, message string, details ...*errdetails.BadRequest) error {
	c, known := code[reason]
	if !known {
		c = codes.Internal
	}
	if len(message) > maxText {
		message = strings.ToValidUTF8(message[:maxText], "") + "…"
	}
	st := status.New(c, message)
	info := &errdetails.ErrorInfo{Reason: strings.TrimPrefix(reason.String(), "ERROR_REASON_"), Domain: "writ"}
	if rule != "" {
		info.Metadata = map[string]string{codeKey: rule}
	}
	with, err := st.WithDetails(info)
	for _, d := range details {
		if err == nil {
			with, err = with.WithDetails(d)
		}
	}
	if err != nil {
		return st.Err() // the code alone still denies
	}
	return with.Err()
}

// internal hides a defect from the caller and tells the log.
func internal(log *slog.Logger, doing string, err error) error {
	log.Error("internal error", "doing", doing, "error", err)
	return fail(errInternal, "an internal error; the server's log has the cause")
}

// unrecorded maps what a ledger answers.
func (s *Server) unrecorded(ctx context.Context, doing string, err error) error {
	switch {
	case errors.Is(err, audit.ErrReused):
		return fail(errReused, "the request_id was used for another request")
	case errors.Is(err, audit.ErrFull):
		return fail(errOverloaded, "more decisions are waiting than the store takes; ask again with the same request_id")
	case ctx.Err() != nil:
		return fail(errDeadline, "the deadline passed before the record was durable; ask again with the same request_id")
	}
	s.log.Error("no record, no answer", "doing", doing, "error", err)
	return fail(errNotRecorded, "the record could not be made durable; ask again with the same request_id")
}

// invalidField names one field and what is wrong with it.
func invalidField(path, problem string) error {
	if path == "" {
		return fail(errField, problem)
	}
	return fail(errField, path+": "+problem, &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: path, Description: problem}}})
}

// invalidFields names the first fields that break their rules, and never a value.
func invalidFields(invalid *protovalidate.ValidationError) error {
	bad := &errdetails.BadRequest{}
	var texts []string
	for i, v := range invalid.Violations {
		if i == maxViolations {
			texts = append(texts, fmt.Sprintf("and %d more", len(invalid.Violations)-i))
			break
		}
		field := protovalidate.FieldPathString(v.Proto.GetField())
		text := v.Proto.GetMessage()
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field, Description: text})
		if field != "" {
			text = field + ": " + text
		}
		texts = append(texts, text)
	}
	return fail(errField, strings.Join(texts, "; "), bad)
}
