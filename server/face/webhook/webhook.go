// Package webhook takes approvals from where changes are tracked, such as Jira or
// ServiceNow, and makes tickets of them. It owns the proof of a delivery and the way
// from a tracker's JSON to a ticket; it stores nothing itself.
//
// A delivery is signed as Standard Webhooks 1.0 has it: the headers webhook-id,
// webhook-timestamp (Unix seconds) and webhook-signature, a list of "v1," with the
// base64 of an HMAC-SHA256 over id.timestamp.body. One that is not signed so, or is
// more than five minutes old or ahead, is answered with 401 and leaves nothing behind.
// The same id comes to the same change, however often it is delivered.
//
// Only the members that the mapping names are looked at: a tracker may send whatever
// else it wants.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/secret"
	"github.com/writpdp/writ/server/ticket"
)

const (
	// maxBody is the largest delivery, in bytes.
	maxBody = 256 << 10
	// tolerance is how old a delivery may be, or how far ahead.
	tolerance = 5 * time.Minute
	// maxSignatures bounds those of one delivery.
	maxSignatures = 8
	// MinSecret is the shortest key, in bytes.
	MinSecret = 24
)

// Config is what a source is made of. Every field is required but where its zero value
// is said.
type Config struct {
	// Name names the source in records, as "webhook:" and the name.
	Name string
	// Keys sign deliveries: any of them, so that they can be changed one by one.
	Keys []secret.Bytes
	// Tenant is whose tickets it makes.
	Tenant string
	// Mapping is the way from a delivery to a ticket.
	Mapping Mapping
	// Store keeps tickets.
	Store ticket.Store
	// Bundle is the one in force: who has which role, and what approvers it wants.
	Bundle func() *decision.Bundle
	// Now is the clock, and NewID makes UUIDv7s.
	Now   func() time.Time
	NewID func() ([16]byte, error)
	// Log is told what fails, and never a value of a delivery.
	Log *slog.Logger
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// Key reads a key of Standard Webhooks: base64, with or without "whsec_" before it.
func Key(text string) (secret.Bytes, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil {
		return secret.Bytes{}, errors.New("the key is not base64, with or without whsec_ before it")
	}
	if len(key) < MinSecret {
		return secret.Bytes{}, fmt.Errorf("the key is shorter than %d bytes", MinSecret)
	}
	return secret.Of(key), nil
}

// Handler takes the deliveries of a source.
func Handler(c Config) (http.Handler, error) {
	if !nameForm.MatchString(c.Name) {
		return nil, fmt.Errorf("the name %q is not of the form %s", c.Name, nameForm)
	}
	if len(c.Keys) == 0 {
		return nil, errors.New("there is no key")
	}
	if err := decision.CheckTenant(c.Tenant); err != nil {
		return nil, err
	}
	if err := c.Mapping.check(); err != nil {
		return nil, fmt.Errorf("the mapping: %w", err)
	}
	return &source{c}, nil
}

type source struct{ Config }

// answer is what a tracker is told.
type answer struct {
	status int
	// Ticket and State are of the ticket, where there is one.
	Ticket string `json:"ticket,omitempty"`
	State  string `json:"state,omitempty"`
	// Code and Message say why nothing was done.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.take(w, r)
	body, err := json.Marshal(a)
	if err != nil {
		body = []byte("{}") // of strings: cannot happen
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // whoever left does not read it
}

// take is the path of a delivery: bound, prove, read, map, change.
func (s *source) take(w http.ResponseWriter, r *http.Request) answer {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return answer{status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the delivery is larger than %d bytes", maxBody)}
	}
	if err != nil {
		return answer{status: http.StatusBadRequest, Message: "the delivery ended early"}
	}
	id, ok := s.proved(r.Header, body)
	if !ok {
		s.Log.Warn("a delivery is not proved", "webhook", s.Name)
		return answer{status: http.StatusUnauthorized, Message: "the delivery is not signed by this source, or not now"}
	}
	d, err := document.ParseObject(body)
	if err != nil {
		return answer{status: http.StatusBadRequest, Message: "the delivery is not a strict JSON object"}
	}
	ask, what, err := s.Mapping.read(d)
	switch {
	case err != nil:
		return answer{status: http.StatusUnprocessableEntity, Code: "webhook.mapping", Message: err.Error()}
	case what == nothing:
		return answer{status: http.StatusOK, Message: "it is neither an approval nor a rejection"}
	}
	return s.change(r.Context(), id, sha256.Sum256(body), ask, what)
}

// proved tells the delivery's id, if it is signed by a key of the source, and now.
func (s *source) proved(h http.Header, body []byte) (id string, ok bool) {
	one := func(name string) string {
		if all := h.Values(name); len(all) == 1 && len(all[0]) <= 1024 {
			return all[0]
		}
		return ""
	}
	id, stamp := one("webhook-id"), one("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || len(id) > 256 || strings.Contains(id, ".") || err != nil {
		return "", false
	}
	if off := s.Now().Sub(time.Unix(seconds, 0)); off > tolerance || off < -tolerance {
		return "", false
	}
	signatures := strings.Fields(one("webhook-signature"))
	if len(signatures) > maxSignatures {
		return "", false
	}
	for _, key := range s.Keys {
		mac := hmac.New(sha256.New, key.Reveal())
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, text := range signatures {
			version, signature, _ := strings.Cut(text, ",")
			got, err := base64.StdEncoding.DecodeString(signature)
			if version == "v1" && err == nil && hmac.Equal(want, got) {
				ok = true
			}
		}
	}
	return id, ok
}

// change asks for the ticket, where the delivery says what it is to cover, and then
// approves or rejects it. Each step has a key of its own, so a delivery that comes
// again, or after a crash between the two, does only what is left.
func (s *source) change(ctx context.Context, id string, digest [32]byte, ask *ask, what act) answer {
	by := func(step, actor string) (ticket.By, error) {
		record, err := s.NewID()
		sum := sha256.Sum256([]byte(id))
		return ticket.By{Caller: decision.Caller{Tenant: s.Tenant}, Actor: actor, Roles: s.Bundle().Roles[actor], Reason: ask.reason, Source: "webhook:" + s.Name,
			Reference: ask.reference, Key: "webhook:" + s.Name + ":" + hex.EncodeToString(sum[:]) + ":" + step, Digest: digest, At: s.Now(), ID: record}, err
	}
	if ask.terms != nil {
		asked, err := by("ask", ask.requester)
		if err == nil {
			err = s.request(ctx, *ask.terms, asked)
		}
		if err != nil {
			return s.failed(ctx, err)
		}
	}
	judged, err := by("judge", ask.actor)
	if err != nil {
		return s.failed(ctx, err)
	}
	do := ticket.Approve
	if what == rejects {
		do = ticket.Reject
	}
	done, err := do(ctx, s.Store, ask.ticket, judged)
	if err != nil {
		return s.failed(ctx, err)
	}
	return answer{status: http.StatusOK, Ticket: done.Ticket.ID, State: done.Ticket.State.String()}
}

// request asks for a ticket. One that is there must be the same: else somebody could
// prepare another under the id of a change, and have the change's approvers approve it.
func (s *source) request(ctx context.Context, t decision.Ticket, by ticket.By) error {
	b := s.Bundle()
	t.Needs, t.Roles = max(1, b.Approvals), b.ApproverRoles
	if t.Scope != "" {
		if err := b.Policies.CheckScope(t.Scope, t.Tool); err != nil {
			return &ticket.Refusal{Code: "ticket.terms", Text: err.Error()}
		}
	}
	_, err := ticket.Request(ctx, s.Store, t, by)
	refusal, ok := errors.AsType[*ticket.Refusal](err)
	if !ok || refusal.Code != "ticket.exists" {
		return err
	}
	stored, err := s.Store.Ticket(ctx, s.Tenant, t.ID)
	if err != nil {
		return err
	}
	there, err := audit.TicketOf(&stored, t.ID)
	if err != nil {
		return err
	}
	same := there.Principal == t.Principal && there.Tool == t.Tool && there.ToolDigest == t.ToolDigest && there.ArgumentsDigest == t.ArgumentsDigest &&
		there.Scope == t.Scope && there.MaxUses == max(1, t.MaxUses) && there.Needs == t.Needs && slices.Equal(there.Roles, t.Roles) &&
		(t.NotBefore.IsZero() || there.NotBefore.Equal(t.NotBefore)) && (t.NotAfter.IsZero() || there.NotAfter.Equal(t.NotAfter)) &&
		there.Resource == t.Resource && there.Bundle == t.Bundle && there.Requester == by.Actor
	if !same {
		return refusal
	}
	return nil
}

// failed is the answer to what could not be done. A tracker delivers again what is
// answered with a status of 500 or more.
func (s *source) failed(ctx context.Context, err error) answer {
	if refusal, ok := errors.AsType[*ticket.Refusal](err); ok {
		return answer{status: http.StatusConflict, Code: refusal.Code, Message: refusal.Text}
	}
	switch {
	case errors.Is(err, ticket.ErrUnknown):
		return answer{status: http.StatusNotFound, Code: "ticket.unknown", Message: "there is no such ticket"}
	case errors.Is(err, audit.ErrReused):
		return answer{status: http.StatusConflict, Code: "webhook.reused", Message: "the webhook-id was used for another delivery"}
	}
	s.Log.ErrorContext(ctx, "a delivery could not be recorded", "webhook", s.Name, "error", err)
	return answer{status: http.StatusServiceUnavailable, Message: "the change could not be recorded: deliver it again"}
}
