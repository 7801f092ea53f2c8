package decision

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unit is what a budget counts.
type Unit uint8

// The units, with the numbers of writ.v1.Unit.
const (
	Calls Unit = iota + 1
	Tokens
	Micros
)

// String is the unit as a bundle writes it.
func (u Unit) String() string { return name(u, "calls", "tokens", "money") }

// name is the word for a number that counts from 1.
func name[N ~uint8](n N, words ...string) string {
	if n == 0 || int(n) > len(words) {
		return fmt.Sprintf("unknown(%d)", uint8(n))
	}
	return words[n-1]
}

// Window is how long a budget lasts.
type Window uint8

// The windows. Hour and Day are of the calendar in the budget's time zone.
const (
	Lifetime Window = iota + 1
	Hour
	Day
	Sliding // whatever span of BudgetRule.Length
	Running // what is under way: reserved, and neither settled nor lapsed
	Rate    // as a token bucket: Burst at once, and Cap in each Length
)

// String is the window as a bundle writes it.
func (w Window) String() string {
	return name(w, "lifetime", "hour", "day", "sliding", "running", "rate")
}

// Dimension is what a budget is kept apart by.
type Dimension uint8

// The dimensions.
const (
	ByTenant Dimension = iota + 1
	ByAgent
	ByHuman
	ByTool
	ByServer
	ByPurpose
	ByVendor
	BySession   // counts what has a session, and nothing else
	ByArguments // counts what has arguments: the tool, its definition and they
)

// String is the dimension as a bundle writes it.
func (d Dimension) String() string {
	return name(d, "tenant", "agent", "human", "tool", "server", "purpose", "vendor", "session", "arguments")
}

// BudgetRule is one budget of the bundle: a cap on one unit in each window, kept
// apart for every combination of the dimensions in Per.
type BudgetRule struct {
	ID       string
	Unit     Unit
	Currency string // of Micros
	Cap      int64
	Window   Window
	Zone     *time.Location // of Hour and Day; nil: UTC
	// Length is the span of Sliding, and that in which Rate grants Cap, in seconds.
	Length int64
	// Burst is the most that Rate grants at once.
	Burst int64
	// Unsettled is how long a reservation waits for its settlement; then it lapses,
	// and the budget has it back. 0: it stays, as if it had been spent.
	Unsettled time.Duration
	Per       []Dimension
	// Purposes, Tools and Agents, where not empty, are the only ones counted.
	Purposes []string
	Tools    []ToolPattern
	Agents   []string
}

// BudgetKey names one counter: a budget, whose share of it, and the window.
type BudgetKey struct {
	// Budget is the budget's id. Counters that do not hold a sum of what was charged
	// for good have their sort and a slash before it.
	Budget  string
	Subject string
	// Start is the window's first second in Unix time; 0 where it has none.
	Start int64
}

// The sorts of counters, as BudgetKey.Budget begins.
const (
	sortRunning = "running/"
	sortRate    = "rate/"
	sortBreaker = "breaker/"
	// What a session's events come to.
	sortLabels = "labels/"
	sortCount  = "count/"
	sortSum    = "sum/"
	sortLatch  = "latch/"
)

// Rule is the id of the budget or breaker.
func (k BudgetKey) Rule() string {
	if _, id, sorted := strings.Cut(k.Budget, "/"); sorted {
		return id
	}
	return k.Budget
}

// Rate and Breaker report whether the counter is one's.
func (k BudgetKey) Rate() bool    { return strings.HasPrefix(k.Budget, sortRate) }
func (k BudgetKey) Breaker() bool { return strings.HasPrefix(k.Budget, sortBreaker) }

// Session reports whether the counter is of a session's labels or of a chain value.
func (k BudgetKey) Session() bool {
	for _, sort := range [...]string{sortLabels, sortCount, sortSum, sortLatch} {
		if strings.HasPrefix(k.Budget, sort) {
			return true
		}
	}
	return false
}

// Sum reports whether the counter holds the sum of what was charged to it. Any
// other holds what the last effects on it came to, in their order.
func (k BudgetKey) Sum() bool {
	return !k.Rate() && !k.Breaker()
}

// Counts reports whether a budget counts a request at all.
func (b *BudgetRule) Counts(req *Request) bool {
	if req.Phase != Call && req.Phase != Prompt && req.Phase != Connect {
		return false
	}
	if len(b.Purposes) > 0 && !slices.Contains(b.Purposes, req.Purpose) {
		return false
	}
	if len(b.Agents) > 0 && !slices.Contains(b.Agents, req.Principal.Subject) {
		return false
	}
	for _, d := range b.Per {
		if d == BySession && req.Session == "" || d == ByArguments && req.Arguments == nil {
			return false
		}
	}
	return len(b.Tools) == 0 || slices.ContainsFunc(b.Tools, func(p ToolPattern) bool { return p.Match(req.Tool.ToolName) })
}

// Need is how much of the budget a cost takes. Money in another currency than
// the budget's cannot be compared: ok is false.
func (b *BudgetRule) Need(c Cost) (n int64, ok bool) {
	switch b.Unit {
	case Calls:
		return c.Calls, true
	case Tokens:
		return c.Tokens, true
	case Micros:
		return c.Micros, c.Micros == 0 || c.Currency == b.Currency
	}
	return math.MaxInt64, false
}

// Key is the counter that a request falls into at a time.
func (b *BudgetRule) Key(req *Request, vendor string, at time.Time) BudgetKey {
	return b.KeyOf(share(b.Per, req, vendor), at)
}

// KeyOf is the counter of a share at a time.
func (b *BudgetRule) KeyOf(subject string, at time.Time) BudgetKey {
	key := BudgetKey{Budget: b.ID, Subject: subject, Start: b.Starts(at)}
	switch b.Window {
	case Running:
		key.Budget = sortRunning + b.ID
	case Rate:
		key.Budget = sortRate + b.ID
	}
	return key
}

// Around are all counters that what is left of a share depends on, its own first.
func (b *BudgetRule) Around(key BudgetKey) []BudgetKey {
	if b.Window != Sliding {
		return []BudgetKey{key}
	}
	return append([]BudgetKey{key}, beside(key, b.Length)...)
}

// Used is what is used of a share, given what each of its counters holds.
func (b *BudgetRule) Used(key BudgetKey, held map[BudgetKey]int64, at time.Time) int64 {
	if b.Window == Rate {
		return b.Burst - b.Pace(key, 0, at).Left(held[key])
	}
	var sum int64
	for _, k := range b.Around(key) {
		sum += held[k]
	}
	return sum
}

// Keys are all counters that a request's share depends on at a time, its own first.
func (b *BudgetRule) Keys(req *Request, vendor string, at time.Time) []BudgetKey {
	return b.Around(b.Key(req, vendor, at))
}

// share is a request's values of some dimensions.
func share(per []Dimension, req *Request, vendor string) string {
	parts := make([]byte, 0, 128)
	for _, d := range per {
		parts = part(parts, dimension(d, req, vendor))
	}
	return subjectOf(parts)
}

// part appends the value of one more dimension.
func part(to []byte, value string) []byte {
	if len(to) > 0 {
		to = append(to, ',')
	}
	return quote(to, value)
}

// subjectOf is a counter's subject for the quoted values of its dimensions.
func subjectOf(parts []byte) string {
	if len(parts) > maxSubject {
		return fmt.Sprintf("sha256:%x", sha256.Sum256(parts))
	}
	return string(parts)
}

// quote appends a value in quotes, so that none can imitate two. strconv looks
// every character up, and most values are plain ASCII.
func quote(to []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(to, value)
		}
	}
	to = append(to, '"')
	to = append(to, value...)
	return append(to, '"')
}

// maxSubject bounds a counter's subject, in bytes: a longer one is hashed.
const maxSubject = 1024

// Resets is when the window around a time ends; zero: never.
func (b *BudgetRule) Resets(at time.Time) time.Time {
	local := b.local(at)
	switch b.Window {
	case Hour:
		return time.Unix(hour(local)+3600, 0)
	case Day:
		y, m, d := local.Date()
		return midnight(y, m, d+1, local.Location())
	}
	return time.Time{}
}

// Starts is when the window around a time starts, in Unix time.
func (b *BudgetRule) Starts(at time.Time) int64 {
	local := b.local(at)
	switch b.Window {
	case Hour:
		return hour(local)
	case Day:
		y, m, d := local.Date()
		return midnight(y, m, d, local.Location()).Unix()
	case Sliding:
		return floor(at.Unix(), step(b.Length))
	}
	return 0
}

func (b *BudgetRule) local(at time.Time) time.Time {
	if b.Zone == nil {
		return at.UTC()
	}
	return at.In(b.Zone)
}

// hour is the first second of an hour. By elapsed time since local midnight it
// would break where the clock is set back, so an hour is an hour of Unix time
// shifted by the zone's minutes.
func hour(local time.Time) int64 {
	_, offset := local.Zone()
	return floor(local.Unix()+int64(offset), 3600) - int64(offset)
}

// midnight is the first moment of a day, or of the next that there is. Where the
// clock is set forward at midnight there is no 00:00, and where it is set back
// soon after there are two.
func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	from, to := t.ZoneBounds()
	ty, tm, td := t.Date() // earlier than y, m, d where there is no 00:00
	if time.Date(ty, tm, td, 0, 0, 0, 0, time.UTC).Before(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)) && !to.IsZero() {
		return to
	}
	if !from.IsZero() {
		_, before := from.Add(-time.Second).Zone()
		_, now := t.Zone()
		if first := t.Add(time.Duration(now-before) * time.Second); before > now && first.Before(from) {
			return first
		}
	}
	return t
}

func floor(n, step int64) int64 {
	if rest := n % step; rest < 0 {
		return n - rest - step
	} else {
		return n - rest
	}
}

func dimension(d Dimension, req *Request, vendor string) string {
	switch d {
	case ByTenant:
		return req.Caller.Tenant
	case ByAgent:
		return req.Principal.Subject
	case ByHuman:
		return req.Principal.OnBehalfOf
	case ByTool:
		return req.Tool.String()
	case ByServer:
		return req.Tool.Server
	case ByPurpose:
		return req.Purpose
	case ByVendor:
		return vendor
	case BySession:
		return req.Session
	case ByArguments:
		return fmt.Sprintf("%s %s %x", req.Tool, req.Tool.Digest, req.Arguments.Digest())
	}
	return ""
}
