package decision

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Lock is a kill switch: what it hits, what it does, until when, by whom and why.
type Lock struct {
	// ID names it, unique among those in force.
	ID     string
	Target Target
	Effect LockEffect
	// Rate and Per are of what is throttled: so many in each Per are let through, of
	// every tenant.
	Rate int64
	Per  time.Duration
	// Until is when it ends by itself: from then on it hits nothing.
	Until time.Time
	// By is who set it, Reason why. Message is for who is stopped; empty: nothing
	// is told but that there is a lock.
	By, Reason, Message string
}

// Target is what a lock hits. The zero value hits everything.
type Target struct {
	// Tenant bounds it to one tenant's requests; empty: it is for all.
	Tenant string
	Kind   TargetKind
	// Value is what of the kind: as the kind says.
	Value string
}

// TargetKind is a sort of target.
type TargetKind uint8

// The kinds.
const (
	Everything TargetKind = iota // no value
	OfAgent                      // the principal's subject, exactly
	OfCaller                     // a SPIFFE ID, or a prefix of some that ends in "/"
	OfHuman                      // whom the agent acts for, or who stands in the delegation chain
	OfSession                    // a session
	OfTool                       // server/name
	OfServer                     // an MCP server
	OfClass                      // a class of tools
	OfVendor                     // a destination's vendor
	OfHost                       // a destination's host, and all below it
	OfPurpose                    // a purpose
)

// targetKinds are the names of the kinds, by their numbers.
var targetKinds = [...]string{"all", "agent", "caller", "human", "session", "tool", "server", "class", "vendor", "host", "purpose"}

func (k TargetKind) String() string {
	if int(k) < len(targetKinds) {
		return targetKinds[k]
	}
	return "unknown"
}

// String is the target as ParseTarget reads it, without its tenant.
func (t Target) String() string {
	if t.Kind == Everything {
		return t.Kind.String()
	}
	return t.Kind.String() + ":" + t.Value
}

// ParseTarget reads "all" or kind:value.
func ParseTarget(text string) (Target, error) {
	kind, value, valued := strings.Cut(text, ":")
	n := slices.Index(targetKinds[:], kind)
	if n < 0 {
		return Target{}, fmt.Errorf("%q is none of %s", kind, strings.Join(targetKinds[:], ", "))
	}
	t := Target{Kind: TargetKind(n), Value: value}
	if t.Kind == Everything && valued {
		return Target{}, errors.New(`"all" has no value`)
	}
	return t, t.Check()
}

// Bounds of a lock, in bytes.
const (
	maxLockID   = 64
	maxTarget   = 2048
	maxLockText = 1024
	// MaxLocks is how many can be in force at once.
	MaxLocks = 256
	// MaxLockTime is how long one can be in force: what has to last is a policy.
	MaxLockTime = 30 * 24 * time.Hour
)

// Check refuses a target that nothing could meet, or that would be another than it
// looks like.
func (t Target) Check() error {
	if t.Tenant != "" {
		if err := CheckTenant(t.Tenant); err != nil {
			return err
		}
	}
	switch {
	case t.Kind > OfPurpose:
		return errors.New("the kind of target is unknown")
	case t.Kind == Everything && t.Value != "":
		return errors.New("everything has no value")
	case t.Kind == Everything:
		return nil
	case t.Value == "" || len(t.Value) > maxTarget || !plain(t.Value):
		return fmt.Errorf("the %s is not 1 to %d bytes without spaces and control characters", t.Kind, maxTarget)
	case t.Kind == OfTool && !strings.Contains(t.Value, "/"):
		return errors.New("a tool is server/name")
	case t.Kind == OfCaller && !strings.HasPrefix(t.Value, "spiffe://"):
		return errors.New("a caller is a SPIFFE ID, or the beginning of some that ends in a slash")
	case t.Kind == OfHost && t.Value != strings.ToLower(t.Value):
		return errors.New("a host is in lower case")
	}
	return nil
}

// plain reports whether a text is shown as it is and has no spaces.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// LockEffect is what a lock does to what it hits.
type LockEffect uint8

// The effects, with the numbers of writ.v1.LockEffect.
const (
	LockDeny        LockEffect = iota + 1 // nothing takes effect
	LockReadOnly                          // no tool is called that is not read-only
	LockQuarantine                        // as LockDeny, and the record tells it apart
	LockBlockEgress                       // nothing goes to a destination
	LockThrottle                          // so many calls, prompts and connections get through
)

// lockEffects are the names of the effects, by their numbers.
var lockEffects = [...]string{"", "deny", "read-only", "quarantine", "block-egress", "throttle"}

func (e LockEffect) String() string {
	if e >= LockDeny && int(e) < len(lockEffects) {
		return lockEffects[e]
	}
	return "unknown"
}

// ParseLockEffect reads the name of an effect.
func ParseLockEffect(text string) (LockEffect, error) {
	n := slices.Index(lockEffects[1:], text)
	if n < 0 {
		return 0, fmt.Errorf("%q is none of %s", text, strings.Join(lockEffects[1:], ", "))
	}
	return LockEffect(n + 1), nil
}

// Check refuses a lock that does not say all it must.
func (l *Lock) Check() error {
	if err := l.Target.Check(); err != nil {
		return err
	}
	switch {
	case l.ID == "" || len(l.ID) > maxLockID || !plain(l.ID):
		return fmt.Errorf("the id is not 1 to %d bytes without spaces and control characters", maxLockID)
	case l.Effect < LockDeny || l.Effect > LockThrottle:
		return errors.New("the effect is unknown")
	case l.Until.IsZero():
		return errors.New("it has no end")
	case l.Effect != LockThrottle && (l.Rate != 0 || l.Per != 0):
		return errors.New("only what throttles has a rate")
	case l.Effect == LockThrottle && (l.Rate < 1 || l.Rate > maxRate || l.Per < time.Second || l.Per > maxPer || l.Per%time.Millisecond != 0):
		return fmt.Errorf("the rate is not 1 to %d in a time of 1s to %s", maxRate, maxPer)
	}
	return nil
}

// Bounds of a throttle.
const (
	maxRate = 1_000_000
	maxPer  = 24 * time.Hour
)

// Pace is what one action takes of a throttle.
func (l *Lock) Pace(at time.Time) Pace {
	return Pace{Key: BudgetKey{Budget: sortRate + "lock:" + l.ID}, Amount: 1, Interval: (int64(l.Per) + l.Rate - 1) / max(1, l.Rate), Burst: l.Rate, At: at}
}

// Wants adds to the counters that a request needs those of the throttles that hit it.
func (c *Control) Wants(keys []BudgetKey, b *Bundle, req *Request, at time.Time) []BudgetKey {
	if c == nil {
		return keys
	}
	for i := range c.Locks {
		if l := &c.Locks[i]; l.Effect == LockThrottle && l.Hits(req, b.Tools[req.Tool.ToolName], b.Vendor(req.Destination), at) {
			keys = append(keys, l.Pace(at).Key)
		}
	}
	return keys
}

// ReadOnly is the class of tools that change nothing.
const ReadOnly = "read-only"

// Hits reports whether a lock concerns a request: whether its target meets it and
// its effect stops it. tool is the request's pinned tool, nil where there is none,
// and vendor the id of its destination's.
func (l *Lock) Hits(req *Request, tool *Tool, vendor string, at time.Time) bool {
	return at.Before(l.Until) && l.Target.meets(req, tool, vendor) && l.Effect.stops(req, tool)
}

// Stops reports whether a lock lets nothing of a request through: whether it hits it,
// and does not merely slow it down.
func (l *Lock) Stops(req *Request, tool *Tool, vendor string, at time.Time) bool {
	return l.Effect != LockThrottle && l.Hits(req, tool, vendor, at)
}

func (e LockEffect) stops(req *Request, tool *Tool) bool {
	switch e {
	case LockReadOnly:
		return (req.Phase == Call || req.Phase == List) && req.Tool.Name != "" && (tool == nil || !slices.Contains(tool.Classes, ReadOnly))
	case LockBlockEgress:
		return req.Destination != Destination{}
	case LockThrottle:
		return req.Phase == Call || req.Phase == Prompt || req.Phase == Connect
	}
	return true // also what is unknown
}

func (t *Target) meets(req *Request, tool *Tool, vendor string) bool {
	if t.Tenant != "" && t.Tenant != req.Caller.Tenant {
		return false
	}
	switch t.Kind {
	case Everything:
		return true
	case OfAgent:
		return req.Principal.Subject == t.Value || slices.Contains(req.Principal.Actors, t.Value)
	case OfCaller:
		return req.Caller.SPIFFEID == t.Value || strings.HasSuffix(t.Value, "/") && strings.HasPrefix(req.Caller.SPIFFEID, t.Value)
	case OfHuman:
		return req.Principal.OnBehalfOf == t.Value || slices.Contains(req.Principal.Actors, t.Value)
	case OfSession:
		return req.Session == t.Value
	case OfTool:
		return req.Tool.Server+"/"+req.Tool.Name == t.Value
	case OfServer:
		return req.Tool.Server == t.Value
	case OfClass:
		return tool != nil && slices.Contains(tool.Classes, t.Value)
	case OfVendor:
		return vendor == t.Value || req.Destination.Vendor == t.Value
	case OfHost:
		host := strings.TrimSuffix(strings.ToLower(req.Destination.Host), ".")
		return host == t.Value || strings.HasSuffix(host, "."+t.Value)
	case OfPurpose:
		return req.Purpose == t.Value
	}
	return true // what is unknown hits everything
}
