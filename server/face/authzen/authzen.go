// Package authzen speaks the OpenID AuthZEN Authorization API over HTTP and JSON.
// It owns the translation of one evaluation into a writ.v1.DecideRequest and of
// the answer back, and nothing else: it identifies, decides and records nothing,
// so the same question has the same answer here and over gRPC.
//
// It follows the Authorization API 1.0 (January 2026), the COAZ-MCP binding,
// draft 1 of 2026-02-13, the Obligations profile, draft 1 of 2026-07-03, and the
// Access Request and Approval profile, draft 1 as of 2026-11 (accessrequest.go).
//
// # Request
//
//	subject            {"type": "agent" or "identity", "id": the token's `sub` or "",
//	                   "properties": {"token"}}; the token may stand in
//	                   context.principal_token instead, never in both. A DPoP proof
//	                   is beside it, as "proof" or context.principal_proof
//	action.name        resource
//	"tools/list"       {"type": "mcp_server", "id": server of the candidates that name none}
//	"tools/call"       {"type": "tool", "id": "server/name", "properties": {"definition_digest"}};
//	                   or, as COAZ-MCP writes it, "id": name, with "server" in the properties
//	"tools/result"     as "tools/call"; "result", "prompt" and "connect" are Writ's own
//	"prompt"           {"type": "destination", "id": host, "properties": {"vendor", "region", "url",
//	                    "scheme", "port", "method", "addresses", "redirected_from"}}
//	"connect"          as "prompt"
//	context            purpose, session_id, plan_depth, tenant, ticket_id, call_decision_id,
//	                   arguments: the tool's arguments, passed on byte for byte,
//	                   cost: {calls, tokens, micros, currency},
//	                   content: {media_type, and data: a text, or document: any JSON},
//	                   candidates: [{server, name, definition_digest}],
//	                   resource: {type, id, properties}, the thing acted upon,
//	                   destination: {host, vendor, region}, where the resource is none,
//	                   return_documents: whether the answer is to hold what was redacted,
//	                   extra: free facts, trace: {traceparent, tracestate},
//	                   supported_obligations: "step-up", "notification", "custom",
//	                   approval: {id, approved_at, approved_until}, the approval of an
//	                   access request, in the place of ticket_id
//
// X-Request-ID is the request_id, so here it must be a UUIDv7 in lower case;
// without one the face makes one. It is in the response. The traceparent and
// tracestate headers stand in for context.trace.
//
// Without supported_obligations the draft says that nothing is known, and the
// caller is taken to meet whatever Writ issues. "custom" means redact, route,
// filter_tools, limit_output, watermark and delay; what is not advertised is ignored.
//
// # Response
//
// decision is true unless the effect is a denial. The context holds the fields of
// the DecideResponse under their names, with id for decision_id and enums without
// their prefix. An obligation is "step-up", "notification" or "custom" with
// "vendor": "writ" and the native type as "action"; the parameters of a route are
// under "destination". reason_admin and reason_user repeat the first reason that
// denies. ticket_request is the DecideResponse's access_request under another
// name. Where access requests are served and the denied call's ticket can be asked
// for, access_request is that of the profile, and evaluation_id names the denial.
//
// An error has the body {"error": {"reason", "message"}}, with the name of a
// writ.v1.ErrorReason or, where HTTP itself refuses, of the HTTP status; where a
// token is refused also "code", the rule that it breaks.
//
// # Departures
//
// Unknown keys and null are refused, although the API asks receivers to ignore
// unknown fields: one that is ignored could be the one that would have denied.
// Nesting and the number of values are bounded for the whole body, so a document
// inside may be a few levels less deep than over gRPC.
package authzen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// The paths that are served.
const (
	evaluationPath = "/access/v1/evaluation"
	metadataPath   = "/.well-known/authzen-configuration"
)

// MaxBody is the largest request body, in bytes.
const MaxBody = 4 << 20

// Config is what a face needs; every field is required but where its zero value is
// said.
type Config struct {
	// AccessRequests are asked for tickets; nil: they are not served.
	AccessRequests *AccessRequests
	// Decide is the path of a decision behind every face. Its errors carry a
	// gRPC status. It must be safe for concurrent use.
	Decide func(context.Context, decision.Caller, *writv1.DecideRequest) (*writv1.DecideResponse, error)
	// Caller identifies who sent a request. An error without a gRPC status is
	// answered as CALLER_UNKNOWN, and its text stays inside.
	Caller func(*http.Request) (decision.Caller, error)
	// BaseURL is the decision point's identifier in the metadata, an https URL
	// without path; http is for loopback addresses only.
	BaseURL string
	// NewID makes the request_id of a request that brings none: a UUIDv7.
	NewID func() string
}

// Handler serves evaluations and the metadata, and nothing else. It refuses an
// incomplete configuration.
func Handler(c Config) (http.Handler, error) {
	if c.Decide == nil || c.Caller == nil || c.NewID == nil {
		return nil, errors.New("configuring the AuthZEN face: Decide, Caller or NewID is missing")
	}
	metadata, err := describe(c.BaseURL, c.AccessRequests != nil)
	if err != nil {
		return nil, fmt.Errorf("configuring the AuthZEN face: %w", err)
	}
	return face{c, metadata}, nil
}

type face struct {
	Config
	metadata []byte
}

func (f face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.EscapedPath() {
	case evaluationPath:
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, transport(http.StatusMethodNotAllowed, "an evaluation is asked for with POST"))
			return
		}
		f.evaluate(w, r)
	case metadataPath:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, transport(http.StatusMethodNotAllowed, "the metadata is read with GET"))
			return
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		write(w, http.StatusOK, f.metadata)
	default:
		if f.AccessRequests != nil && (r.URL.EscapedPath() == requestsPath || strings.HasPrefix(r.URL.EscapedPath(), requestsPath+"/")) {
			f.requests(w, r)
			return
		}
		refuse(w, transport(http.StatusNotFound, "there is no such endpoint"))
	}
}

// evaluate is the path of one evaluation: identify, decode, translate, decide,
// translate back.
func (f face) evaluate(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	id, err := requestID(r.Header, f.NewID)
	if id != "" {
		w.Header().Set("X-Request-ID", id)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	caller, err := f.Caller(r)
	if err != nil {
		refuse(w, callerProblem(err))
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	req, err := translate(body, r.Header)
	if err != nil {
		refuse(w, err)
		return
	}
	req.RequestId = id
	resp, err := f.Decide(r.Context(), caller, req)
	if err != nil {
		refuse(w, err)
		return
	}
	answer, err := encode(resp, f.requestable(resp))
	if err != nil {
		refuse(w, err)
		return
	}
	write(w, http.StatusOK, answer)
}

// readBody reads a JSON body of bounded size.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, named := params["charset"]
	switch {
	case err != nil, media != "application/json", named && !strings.EqualFold(charset, "utf-8"), len(r.Header.Values("Content-Type")) > 1:
		return nil, transport(http.StatusUnsupportedMediaType, "the Content-Type is not application/json")
	case r.Header.Get("Content-Encoding") != "":
		return nil, transport(http.StatusUnsupportedMediaType, "the body has a Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, transport(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", MaxBody))
	}
	if err != nil {
		return nil, jsonProblem("the body ended early")
	}
	return body, nil
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The caller is gone if this fails, and there is nobody to tell.
	_, _ = w.Write(body)
}

// describe is the metadata document. Search and batches are not served, which
// the API expresses by leaving their endpoints out.
func describe(base string, requests bool) ([]byte, error) {
	base = strings.TrimSuffix(base, "/")
	u, err := url.Parse(base)
	if err != nil {
		return nil, errors.New("parsing the base URL: not a URL")
	}
	if u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.ContainsAny(base, "?#") {
		return nil, errors.New("the base URL is not a scheme and a host alone")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("the base URL is not https")
	}
	document := struct {
		Point        string   `json:"policy_decision_point"`
		Evaluation   string   `json:"access_evaluation_endpoint"`
		Requests     string   `json:"access_request_endpoint,omitzero"`
		Capabilities []string `json:"capabilities,omitzero"`
		Obligations  []string `json:"supported_obligations"`
	}{Point: base, Evaluation: base + evaluationPath, Obligations: []string{typeStepUp, typeNotification, typeCustom}}
	if requests {
		document.Requests, document.Capabilities = base+requestsPath, []string{"urn:openid:authzen:capability:access-request"}
	}
	return json.Marshal(document)
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
