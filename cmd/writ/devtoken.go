package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/signer"
)

// routes are what development mode serves beside the faces: tokens for anybody
// on this machine.
func (d *dev) routes() map[string]http.Handler {
	return map[string]http.Handler{"POST /dev/v1/token": http.HandlerFunc(d.token)}
}

// token mints a principal token: ?agent=…&purpose=…&on_behalf_of=…, all
// optional, purpose as often as wanted.
//
// A page in a browser must not get one by pointing a name of its own at
// loopback, so the Host must be a loopback address.
func (d *dev) token(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.Host) {
		http.Error(w, "only for loopback", http.StatusForbidden)
		return
	}
	q := r.URL.Query()
	claims := identity.Claims{
		Issuer: devIssuer, Audience: devAudience, Subject: devAgent,
		Purposes: []string{devPurpose}, OnBehalfOf: q.Get("on_behalf_of"), Lifetime: 5 * time.Minute,
	}
	if agent := q.Get("agent"); agent != "" {
		claims.Subject = agent
	}
	if purposes := q["purpose"]; len(purposes) > 0 {
		claims.Purposes = purposes
	}
	id, err := uuid.NewV7()
	if err != nil {
		http.Error(w, "no id could be made", http.StatusInternalServerError)
		return
	}
	token, err := d.minter.Mint(claims, time.Now(), id.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprint(w, token)
}

// devExchange exchanges the dev issuer's tokens for narrower ones of the same
// issuer. Nobody is granted anything: who wants a first token asks /dev/v1/token.
func devExchange(ctx context.Context, keyFile string, tokens *identity.Verifier) (*server.Exchange, error) {
	key, err := signer.Open(ctx, signer.Config{File: keyFile})
	if err != nil {
		return nil, err
	}
	mint, err := identity.NewMint(devIssuer, key)
	if err != nil {
		return nil, err
	}
	proofs, err := identity.NewProofs(identity.ProofConfig{Audience: devAudience})
	if err != nil {
		return nil, err
	}
	return &server.Exchange{Mint: mint, Parents: tokens, Proofs: proofs, Audience: []string{devAudience},
		Limits: identity.Limits{MaxLifetime: identity.MaxLifetime, MaxDepth: identity.MaxDelegation}}, nil
}

// toolName reads "server/tool".
func toolName(text string) decision.ToolName {
	server, name, _ := strings.Cut(text, "/")
	return decision.ToolName{Server: server, Name: name}
}
