package identity

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/writpdp/writ/server/decision"
)

// Parent is what an exchange narrows: a principal token, or what a configuration
// grants an agent that has none.
type Parent struct {
	// Subject is the agent, OnBehalfOf the human it acts for; empty: none.
	Subject, OnBehalfOf string
	// Actors is the delegation chain, current actor first.
	Actors []string
	// Purposes and Audience may be asked for. Tools too; none: every tool may.
	Purposes, Tools, Audience []string
	// NotBefore and Expires bound when it is valid; zero: from ever on.
	NotBefore, Expires time.Time
}

// Holder is who acts: the agent, or the newest of those that it was delegated to.
func (p Parent) Holder() string {
	if len(p.Actors) > 0 {
		return p.Actors[0]
	}
	return p.Subject
}

// Ask is what is asked of an exchange. Every list holds each value once.
type Ask struct {
	// Actor is who acts from now on, as it was proved.
	Actor string
	// OnBehalfOf is a human who was proved too; empty: nobody was.
	OnBehalfOf string
	// Purposes are the scope; at least one. Tools and Audience may be empty: as
	// the parent's.
	Purposes, Tools, Audience []string
	// Lifetime is how long; 0: as long as may be.
	Lifetime time.Duration
}

// Limits bound every exchange.
type Limits struct {
	// MaxLifetime of a token: at most the package's.
	MaxLifetime time.Duration
	// MaxDepth is the longest delegation chain: at most MaxDelegation.
	MaxDepth int
}

// MaxDelegation is the longest delegation chain of a token.
const MaxDelegation = maxActors

// Grant is what an exchange gives: what its tokens say, but for their `jti`.
// Times are whole seconds.
type Grant struct {
	Subject, OnBehalfOf               string
	Actors, Purposes, Tools, Audience []string
	Issued, NotBefore, Expires        time.Time
}

// claims are what a token of an issuer says that gives this, with a `jti`.
func (g Grant) claims(issuer, id string) jwt.MapClaims {
	claims := jwt.MapClaims{
		"iss": issuer, "sub": g.Subject, "aud": g.Audience, "jti": id, "purposes": g.Purposes,
		"iat": g.Issued.Unix(), "nbf": g.NotBefore.Unix(), "exp": g.Expires.Unix(),
	}
	if g.OnBehalfOf != "" {
		claims["on_behalf_of"] = g.OnBehalfOf
	}
	if act := chain(g.Actors); act != nil {
		claims["act"] = act
	}
	if len(g.Tools) > 0 {
		claims["tools"] = g.Tools
	}
	return claims
}

// chain nests actors as RFC 8693 does, the current one outermost.
func chain(actors []string) map[string]any {
	var act map[string]any
	for i := len(actors) - 1; i >= 0; i-- {
		outer := map[string]any{"sub": actors[i]}
		if act != nil {
			outer["act"] = act
		}
		act = outer
	}
	return act
}

// Refusal says why an exchange gives nothing, with all reasons.
type Refusal struct{ Reasons []decision.Reason }

// Error is the reasons, each with its code.
func (r *Refusal) Error() string {
	var lines []string
	for _, reason := range r.Reasons {
		lines = append(lines, reason.Code+": "+reason.Text)
	}
	return strings.Join(lines, " ")
}

func (r *Refusal) add(code, text, lift string) {
	r.Reasons = append(r.Reasons, decision.Reason{Code: code, Text: text, Lift: lift})
}

// Narrow is the one place that decides what an exchange gives. Whatever the
// parent and whatever is asked, the grant allows nothing that the parent does not:
// its purposes, tools and audience are among the parent's, it is valid only while
// the parent is and no longer than ten minutes, it is for the same agent and human,
// and its chain is the parent's, with the actor in front if that is another than
// holds the parent. A human is added only where the parent has none. What is asked
// beyond that is not cut off but refused: who asks for more than there is should
// learn of it. The error is a *Refusal.
func Narrow(p Parent, a Ask, l Limits, at time.Time) (Grant, error) {
	g := Grant{Subject: p.Subject, OnBehalfOf: p.OnBehalfOf, Actors: slices.Clone(p.Actors), Issued: at.UTC().Truncate(time.Second)}
	r := &Refusal{}
	if g.OnBehalfOf == "" {
		g.OnBehalfOf = a.OnBehalfOf
	} else if a.OnBehalfOf != "" && a.OnBehalfOf != g.OnBehalfOf {
		r.add("exchange.on_behalf_of", "The token that is exchanged acts for another human than the one who was proved.",
			"Exchange a token of the same human, or name no human.")
	}
	if a.Actor != p.Holder() {
		g.Actors = slices.Concat([]string{a.Actor}, p.Actors)
	}
	if len(g.Actors) > min(l.MaxDepth, MaxDelegation) {
		r.add("exchange.depth", fmt.Sprintf("The delegation chain would have %d actors; at most %d may be in it.", len(g.Actors), min(l.MaxDepth, MaxDelegation)),
			"Delegate from nearer to the agent that began.")
	}
	if len(a.Purposes) == 0 {
		r.add("exchange.purposes", "No purpose is named.", "Name the purposes that are needed.")
	}
	g.Purposes = within(r, a.Purposes, p.Purposes, "exchange.purposes", "purposes")
	g.Audience = p.Audience
	if len(a.Audience) > 0 {
		g.Audience = within(r, a.Audience, p.Audience, "exchange.audience", "audience")
	}
	switch {
	case len(a.Tools) == 0:
		g.Tools = p.Tools
	case len(p.Tools) == 0:
		g.Tools = a.Tools
	default:
		g.Tools = within(r, a.Tools, p.Tools, "exchange.tools", "tools")
	}
	g.Purposes, g.Audience, g.Tools = slices.Sorted(slices.Values(g.Purposes)), slices.Sorted(slices.Values(g.Audience)), slices.Sorted(slices.Values(g.Tools))
	g.limit(r, p, a, l)
	if len(r.Reasons) > 0 {
		return Grant{}, r
	}
	return g, nil
}

// limit sets when the grant is valid, in whole seconds that are all the parent's.
func (g *Grant) limit(r *Refusal, p Parent, a Ask, l Limits) {
	g.NotBefore = g.Issued
	if p.NotBefore.After(g.NotBefore) {
		g.NotBefore = p.NotBefore.UTC().Add(time.Second - 1).Truncate(time.Second)
	}
	latest := g.Issued.Add(min(l.MaxLifetime, MaxLifetime))
	if !p.Expires.IsZero() && p.Expires.Before(latest) {
		latest = p.Expires
	}
	latest = latest.UTC().Truncate(time.Second)
	g.Expires = latest
	if a.Lifetime > 0 {
		g.Expires = g.Issued.Add(a.Lifetime).Truncate(time.Second)
	}
	switch {
	case g.Expires.After(latest):
		r.add("exchange.lifetime", fmt.Sprintf("A token from this exchange can be valid for at most %s.", max(0, latest.Sub(g.Issued))),
			"Ask for a shorter time, or for none, or exchange a token that is valid for longer.")
	case !g.Expires.After(g.NotBefore):
		r.add("exchange.lifetime", "What is exchanged is about to expire, or not valid yet.", "Exchange a fresher token.")
	}
}

// within is what is asked of what is there; what is asked beyond it is refused by
// name. The names are the asker's own.
func within(r *Refusal, asked, there []string, code, what string) []string {
	var beyond []string
	for _, one := range asked {
		if !slices.Contains(there, one) {
			beyond = append(beyond, one)
		}
	}
	if len(beyond) > 0 {
		text := fmt.Sprintf("Among the %s that are asked for are some that are not there to be given: %s.", what, strings.Join(beyond[:min(len(beyond), 4)], ", "))
		r.add(code, cut(text, 1024), "Ask for what the exchanged token carries, or the grant names.")
	}
	return asked
}

// cut is at most so many bytes of a text.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// constraints are claims that hold a token to somebody. What comes of an exchange
// does not have them, so a token that has one would be widened by it.
var constraints = []string{"cnf", "may_act"}

// unconstrained refuses a token that is held to somebody.
func unconstrained(claims map[string]any) error {
	for _, claim := range constraints {
		if _, ok := claims[claim]; ok {
			return unclaimed("identity.bound", "a token with the claim %q is not exchanged", claim)
		}
	}
	return nil
}

// Parent is what a principal token allows, with the principal that it proves. The
// error is an *Error.
func (v *Verifier) Parent(token string, at time.Time) (Parent, decision.Principal, error) {
	principal, err := v.Verify(Presented{Token: token}, at)
	if err != nil {
		return Parent{}, decision.Principal{}, err
	}
	t, err := split(token) // what Verify has proved
	if err != nil {
		return Parent{}, decision.Principal{}, err
	}
	if err := unconstrained(t.claims); err != nil {
		return Parent{}, decision.Principal{}, err
	}
	c, err := readClaims(t.claims)
	if err != nil {
		return Parent{}, decision.Principal{}, err
	}
	from := c.issued
	if c.notBefore.After(from) {
		from = c.notBefore
	}
	return Parent{Subject: c.subject, OnBehalfOf: c.onBehalfOf, Actors: c.actors, Purposes: c.purposes, Tools: c.tools,
		Audience: c.audience, NotBefore: from, Expires: c.expires}, principal, nil
}
