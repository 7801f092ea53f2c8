package authzen

import (
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/writpdp/writ/document"
)

// evaluation is an Access Evaluation request. A pointer tells apart what was not
// given, a jsontext.Value is passed on as it stood.
type evaluation struct {
	Subject *struct {
		Type       *string `json:"type"`
		ID         *string `json:"id"`
		Properties struct {
			Token string `json:"token"`
			Proof string `json:"proof"`
		} `json:"properties"`
	} `json:"subject"`
	Action *struct {
		Name       *string  `json:"name"`
		Properties struct{} `json:"properties"`
	} `json:"action"`
	Resource *struct {
		Type       *string        `json:"type"`
		ID         *string        `json:"id"`
		Properties jsontext.Value `json:"properties"`
	} `json:"resource"`
	Context facts `json:"context"`
}

// facts is the request's context.
type facts struct {
	PrincipalToken       string         `json:"principal_token"`
	PrincipalProof       string         `json:"principal_proof"`
	Purpose              string         `json:"purpose"`
	SessionID            string         `json:"session_id"`
	PlanDepth            uint32         `json:"plan_depth"`
	ReturnDocuments      bool           `json:"return_documents"`
	Tenant               string         `json:"tenant"`
	TicketID             string         `json:"ticket_id"`
	CallDecisionID       string         `json:"call_decision_id"`
	Arguments            jsontext.Value `json:"arguments"`
	Extra                jsontext.Value `json:"extra"`
	Cost                 *cost          `json:"cost"`
	Content              *content       `json:"content"`
	Candidates           []tool         `json:"candidates"`
	Resource             *resource      `json:"resource"`
	Destination          *destination   `json:"destination"`
	SupportedObligations *[]string      `json:"supported_obligations"`
	Trace                *trace         `json:"trace"`
	Approval             *approval      `json:"approval"`
}

type cost struct {
	Calls    int64  `json:"calls"`
	Tokens   int64  `json:"tokens"`
	Micros   int64  `json:"micros"`
	Currency string `json:"currency"`
}

type content struct {
	MediaType string         `json:"media_type"`
	Data      *string        `json:"data"`
	Document  jsontext.Value `json:"document"`
}

// tool is a candidate.
type tool struct {
	Server           *string `json:"server"`
	Name             string  `json:"name"`
	DefinitionDigest string  `json:"definition_digest"`
}

type resource struct {
	Type       string         `json:"type"`
	ID         string         `json:"id"`
	Properties jsontext.Value `json:"properties"`
}

type destination struct {
	Host string `json:"host"`
	destinationProperties
}

type trace struct {
	Traceparent string `json:"traceparent"`
	Tracestate  string `json:"tracestate"`
}

// Properties of the resource, by its type.
type (
	toolProperties struct {
		Server           *string `json:"server"`
		DefinitionDigest string  `json:"definition_digest"`
	}
	destinationProperties struct {
		Vendor         string   `json:"vendor"`
		Region         string   `json:"region"`
		URL            string   `json:"url"`
		Scheme         string   `json:"scheme"`
		Port           uint32   `json:"port"`
		Method         string   `json:"method"`
		Addresses      []string `json:"addresses"`
		RedirectedFrom string   `json:"redirected_from"`
	}
)

var errNull = errors.New("null")

// strict refuses unknown keys, and null in place of a value: whether null means
// absent or empty, two readers could tell differently. Values that are passed on
// may hold it.
var strict = json.JoinOptions(
	json.RejectUnknownMembers(true),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, into any) error {
		if _, raw := into.(*jsontext.Value); !raw && dec.PeekKind() == 'n' {
			return errNull
		}
		return errors.ErrUnsupported // go on as usual
	})),
)

// parse reads a body as one JSON value, and as nothing but an evaluation.
func parse(body []byte) (*evaluation, error) {
	if _, err := document.Parse(body); err != nil {
		if broken, ok := errors.AsType[*document.Error](err); ok {
			return nil, jsonProblem(place(broken.Pointer) + broken.Problem)
		}
		return nil, jsonProblem("the body is not JSON")
	}
	var e evaluation
	if err := decode(body, &e, ""); err != nil {
		return nil, err
	}
	switch {
	case e.Subject == nil, e.Subject.Type == nil, e.Subject.ID == nil:
		return nil, fieldProblem("at /subject: type or id is missing")
	case e.Action == nil, e.Action.Name == nil:
		return nil, fieldProblem("at /action: name is missing")
	case e.Resource == nil, e.Resource.Type == nil, e.Resource.ID == nil:
		return nil, fieldProblem("at /resource: type or id is missing")
	}
	return &e, nil
}

// decode reads JSON strictly. The pointer is that of the data in the body.
func decode(data []byte, into any, pointer string) error {
	err := json.Unmarshal(data, into, strict)
	if err == nil {
		return nil
	}
	wrong, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return jsonProblem("the body is not JSON")
	}
	at := place(pointer + string(wrong.JSONPointer))
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fieldProblem(at + "unknown key")
	case errors.Is(err, errNull):
		return fieldProblem(at + "null is not a value; leave the key out")
	}
	return fieldProblem(at + "a value of another type or range is wanted")
}

// place names a key path, bounded because the caller chose it.
func place(pointer string) string {
	if pointer == "" {
		return ""
	}
	if len(pointer) > 256 {
		pointer = strings.ToValidUTF8(pointer[:256], "") + "..."
	}
	return "at " + pointer + ": "
}

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// requestID is the caller's idempotency key, or a new one. With an error it is
// what the caller sent, if that is short enough to be echoed.
func requestID(h http.Header, newID func() string) (string, error) {
	sent := h.Values("X-Request-ID")
	switch {
	case len(sent) == 0:
		return newID(), nil
	case len(sent) == 1 && uuid7.MatchString(sent[0]):
		return sent[0], nil
	case len(sent) == 1 && len(sent[0]) <= 128:
		return sent[0], fieldProblem("X-Request-ID is not a UUIDv7 in lower case")
	}
	return "", fieldProblem("X-Request-ID is not one UUIDv7 in lower case")
}

// checkSubject holds the subject against the token, so that the caller and the
// decision speak of the same agent. The token proves nothing here: whoever
// decides verifies it.
func checkSubject(subject, token string) error {
	if subject == "" {
		return nil
	}
	if len(token) > maxToken {
		return fieldProblem("the principal token is too large")
	}
	// What cannot be read here is read by nobody: the verifier decodes with the
	// same rules.
	parts := strings.Split(token, ".")
	if len(parts) != 3 || strings.ContainsAny(token, "\r\n") {
		return tokenProblem("the principal token is not a signed JWT")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return tokenProblem("the principal token is not a signed JWT")
	}
	claims, err := document.ParseObject(data)
	if err != nil {
		return tokenProblem("the principal token's claims are not a strict JSON object")
	}
	if claims.Value().(map[string]any)["sub"] != subject {
		return fieldProblem("at /subject/id: not the subject of the principal token")
	}
	return nil
}
