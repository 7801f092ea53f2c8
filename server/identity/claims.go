package identity

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the claims.
const (
	maxName      = 2048 // bytes of `sub`, `on_behalf_of` and an actor's `sub`
	maxTokenID   = 256  // bytes of `jti`
	maxPurposes  = 32
	maxPurpose   = 64 // bytes
	maxTools     = 64
	maxActors    = 8
	maxAudiences = 32
	maxDate      = 253402300799 // the last second of the year 9999
)

// claims are what a token says.
type claims struct {
	issuer, subject, id        string
	onBehalfOf                 string
	audience, actors, purposes []string
	tools                      []string // empty: not narrowed to tools
	expires, issued, notBefore time.Time
	binding                    binding
}

// readClaims reads every claim that a decision needs and ignores the others, as
// RFC 7519 asks. The error is an *Error.
func readClaims(members map[string]any) (claims, error) {
	r := reader{members: members}
	c := claims{
		issuer:    r.name("iss", maxName),
		subject:   r.name("sub", maxName),
		id:        r.name("jti", maxTokenID),
		audience:  r.audience(),
		expires:   r.date("exp"),
		issued:    r.date("iat"),
		notBefore: r.date("nbf"),
		purposes:  r.purposes(),
		actors:    r.actors(),
		binding:   r.binding(),
	}
	r.scope()
	if _, ok := members["on_behalf_of"]; ok {
		c.onBehalfOf = r.name("on_behalf_of", maxName)
	}
	if value, ok := members["tools"]; ok {
		c.tools = r.tools(value)
	}
	return c, r.err
}

// reader reads claims and keeps the first problem.
type reader struct {
	about   string // what codes speak of; empty: "token"
	members map[string]any
	err     error
}

// fail refuses with a code of the token or the proof, of a claim and what is
// wrong with it.
func (r *reader) fail(claim, defect, format string, args ...any) {
	if r.err == nil {
		r.err = unclaimed(cmp.Or(r.about, "token")+"."+claim+"_"+defect, format, args...)
	}
}

// get is a required claim.
func (r *reader) get(claim string) (any, bool) {
	value, ok := r.members[claim]
	if !ok {
		r.fail(claim, "missing", "the claim %q is missing", claim)
	}
	return value, ok
}

// name is a required claim that names somebody or something.
func (r *reader) name(claim string, limit int) string {
	value, ok := r.get(claim)
	if !ok {
		return ""
	}
	return r.text(claim, value, limit)
}

// text checks a string. Control characters are refused: a name is stored,
// compared and shown to people.
func (r *reader) text(claim string, value any, limit int) string {
	s, ok := value.(string)
	switch {
	case !ok:
		r.fail(claim, "type", "the claim %q is not a string", claim)
	case s == "":
		r.fail(claim, "empty", "the claim %q is empty", claim)
	case len(s) > limit:
		r.fail(claim, "long", "the claim %q is longer than %d bytes", claim, limit)
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		r.fail(claim, "characters", "the claim %q has control characters", claim)
	}
	return s
}

// date is a required NumericDate.
func (r *reader) date(claim string) time.Time {
	value, ok := r.get(claim)
	if !ok {
		return time.Time{}
	}
	number, ok := value.(json.Number)
	if !ok {
		r.fail(claim, "type", "the claim %q is not a number", claim)
		return time.Time{}
	}
	seconds, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || seconds < 0 || seconds > maxDate {
		r.fail(claim, "range", "the claim %q is not a date from 1970 to 9999", claim)
		return time.Time{}
	}
	// To the microsecond, which is what a record holds: a token must not be
	// accepted for a moment longer than it is remembered.
	whole, part := math.Modf(seconds)
	return time.UnixMicro(int64(whole)*1e6 + int64(part*1e6))
}

func (r *reader) audience() []string {
	value, ok := r.get("aud")
	if !ok {
		return nil
	}
	list, many := value.([]any)
	if !many {
		list = []any{value}
	}
	if len(list) > maxAudiences {
		r.fail("aud", "many", `the claim "aud" names more than %d audiences`, maxAudiences)
		return nil
	}
	if many && len(list) == 0 {
		r.fail("aud", "empty", `the claim "aud" is empty`)
		return nil
	}
	audience := make([]string, len(list))
	for i, value := range list {
		audience[i] = r.text("aud", value, maxName)
	}
	return audience
}

func (r *reader) purposes() []string {
	value, ok := r.get("purposes")
	if !ok {
		return nil
	}
	return r.names("purposes", value, maxPurposes, "purpose", "a purpose's id", isPurpose)
}

// names is a claim that lists what it is for, each by its whole name and once.
// one is what each of them is, form what it has to be.
func (r *reader) names(claim string, value any, most int, one, form string, is func(string) bool) []string {
	list, ok := value.([]any)
	switch {
	case !ok:
		r.fail(claim, "type", "the claim %q is not an array", claim)
	case len(list) == 0:
		r.fail(claim, "empty", "the claim %q is empty", claim)
	case len(list) > most:
		r.fail(claim, "many", "the claim %q has more than %d %s", claim, most, claim)
	}
	if r.err != nil {
		return nil
	}
	names := make([]string, 0, len(list))
	for _, value := range list {
		s, ok := value.(string)
		switch {
		case !ok:
			r.fail(claim, "item", "the claim %q holds something that is not a string", claim)
		case strings.Contains(s, "*"):
			r.fail(claim, "wildcard", "the claim %q holds a wildcard: every %s must be named", claim, one)
		case !is(s):
			r.fail(claim, "form", "the claim %q holds something that is not %s", claim, form)
		case slices.Contains(names, s):
			r.fail(claim, "twice", "the claim %q holds a %s twice", claim, one)
		}
		names = append(names, s)
	}
	return names
}

// CheckScope refuses purposes and tools that no token could carry; no tools: any.
func CheckScope(purposes, tools []string) error {
	list := func(of []string) []any {
		all := make([]any, len(of))
		for i, s := range of {
			all[i] = s
		}
		return all
	}
	r := reader{members: map[string]any{"purposes": list(purposes)}}
	r.purposes()
	if len(tools) > 0 {
		r.tools(list(tools))
	}
	return r.err
}

// isPurpose matches ^[a-z0-9][a-z0-9._-]{0,63}$.
func isPurpose(s string) bool {
	if s == "" || len(s) > maxPurpose || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	})
}

// tools is the optional list of the only tools that a token is for. A tool is
// named whole, as "server/name": there is no way to say all, or all of a server,
// for a list that can only grow shorter must not grow by what a server adds.
func (r *reader) tools(value any) []string {
	tools := r.names("tools", value, maxTools, "tool", "a tool's name", isTool)
	slices.Sort(tools)
	return tools
}

// isTool matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9_./-]{1,128}$.
func isTool(s string) bool {
	server, name, ok := strings.Cut(s, "/")
	if !ok || server == "" || len(server) > 64 || name == "" || len(name) > 128 || strings.IndexByte("._-", server[0]) >= 0 {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/'
	})
}

// actors is the optional delegation chain of RFC 8693: who acts now first, then
// who acted before. Other members of an `act` say nothing about the chain.
func (r *reader) actors() []string {
	var actors []string
	for members := r.members; ; {
		value, ok := members["act"]
		if !ok {
			return actors
		}
		act, ok := value.(map[string]any)
		if !ok {
			r.fail("act", "type", `the claim "act" is not an object`)
			return nil
		}
		if len(actors) == maxActors {
			r.fail("act", "deep", `the claim "act" is a chain of more than %d actors`, maxActors)
			return nil
		}
		sub, ok := act["sub"]
		if !ok {
			r.fail("act.sub", "missing", `the claim "act" has no "sub"`)
			return nil
		}
		actors = append(actors, r.text("act.sub", sub, maxName))
		members = act
	}
}

// scope refuses a `scope` that asks for everything. Writ goes by purposes and
// looks at no scope, but such a token opens elsewhere whatever it is brought to.
func (r *reader) scope() {
	value, ok := r.members["scope"]
	if !ok {
		return
	}
	scope, ok := value.(string)
	switch {
	case !ok:
		r.fail("scope", "type", `the claim "scope" is not a string`)
	case strings.Contains(scope, "*"):
		r.fail("scope", "wildcard", `the claim "scope" holds a wildcard`)
	}
}
