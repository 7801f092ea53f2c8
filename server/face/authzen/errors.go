package authzen

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// domain is that of Writ's google.rpc.ErrorInfo.
const domain = "writ"

// problem is why there is no answer, as the caller is told.
type problem struct {
	status  int
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Code says which rule a token breaks; empty: it is about no token.
	Code string `json:"code,omitzero"`
}

func (p *problem) Error() string { return p.Message }

// transport is a refusal by HTTP's own rules, named after its status.
func transport(status int, message string) error {
	name := strings.ReplaceAll(strings.ToUpper(http.StatusText(status)), " ", "_")
	return &problem{status: status, Reason: name, Message: message}
}

func fieldProblem(message string) error {
	return &problem{status: http.StatusBadRequest, Reason: name(writv1.ErrorReason_ERROR_REASON_FIELD_INVALID), Message: message}
}

func jsonProblem(message string) error {
	return &problem{status: http.StatusBadRequest, Reason: name(writv1.ErrorReason_ERROR_REASON_JSON_INVALID), Message: message}
}

func tokenProblem(message string) error {
	return &problem{status: http.StatusUnauthorized, Reason: name(writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID), Message: message}
}

// internal says nothing of the cause.
func internal() *problem {
	return &problem{status: http.StatusInternalServerError, Reason: name(writv1.ErrorReason_ERROR_REASON_INTERNAL), Message: "the server failed to answer"}
}

// callerProblem is why a caller was not identified.
func callerProblem(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	return &problem{status: http.StatusUnauthorized, Reason: name(writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN), Message: "the caller has no SPIFFE identity that Writ knows"}
}

// name is a reason as it stands in an ErrorInfo.
func name(r writv1.ErrorReason) string {
	return strings.TrimPrefix(r.String(), "ERROR_REASON_")
}

// statuses are the codes that a caller may be told about, with the reason of an
// error that brings none. Every other code is an internal error.
var statuses = map[codes.Code]struct {
	status int
	reason writv1.ErrorReason
}{
	codes.InvalidArgument:    {http.StatusBadRequest, writv1.ErrorReason_ERROR_REASON_FIELD_INVALID},
	codes.Unauthenticated:    {http.StatusUnauthorized, writv1.ErrorReason_ERROR_REASON_TOKEN_INVALID},
	codes.PermissionDenied:   {http.StatusForbidden, writv1.ErrorReason_ERROR_REASON_CALLER_FORBIDDEN},
	codes.NotFound:           {http.StatusNotFound, writv1.ErrorReason_ERROR_REASON_DECISION_UNKNOWN},
	codes.AlreadyExists:      {http.StatusConflict, writv1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED},
	codes.FailedPrecondition: {http.StatusConflict, writv1.ErrorReason_ERROR_REASON_NOT_ALLOWED},
	codes.Aborted:            {http.StatusConflict, writv1.ErrorReason_ERROR_REASON_CONTENDED},
	codes.ResourceExhausted:  {http.StatusTooManyRequests, writv1.ErrorReason_ERROR_REASON_OVERLOADED},
	codes.Unavailable:        {http.StatusServiceUnavailable, writv1.ErrorReason_ERROR_REASON_NOT_RECORDED},
	codes.DeadlineExceeded:   {http.StatusGatewayTimeout, writv1.ErrorReason_ERROR_REASON_DEADLINE},
}

// explain turns an error into what the caller is told: this package's problems
// as they are, gRPC statuses by the table, anything else without its text.
func explain(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	to, ok := statuses[s.Code()]
	if !ok {
		return internal()
	}
	p := &problem{status: to.status, Reason: name(to.reason), Message: s.Message()}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain && info.GetReason() != "" {
			p.Reason, p.Code = info.GetReason(), info.GetMetadata()["code"]
		}
	}
	return p
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	p := explain(err)
	if p.status == http.StatusUnauthorized {
		// RFC 9110 wants a challenge. The caller proves itself with its
		// certificate, the agent with the token in the body.
		challenge := `Bearer realm="writ", error="invalid_token"`
		if p.Reason == name(writv1.ErrorReason_ERROR_REASON_CALLER_UNKNOWN) {
			challenge = `MutualTLS realm="writ"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	body, err := json.Marshal(struct {
		Error *problem `json:"error"`
	}{p})
	if err != nil { // a message that is not UTF-8
		p, body = internal(), []byte(`{"error":{"reason":"INTERNAL","message":"the server failed to answer"}}`)
	}
	write(w, p.status, body)
}
