package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// budgetsFile is budgets.yaml, by id.
type budgetsFile map[string]struct {
	Description string `yaml:"description"`
	// Unit is calls, tokens or money.
	Unit string `yaml:"unit"`
	// Currency is the ISO 4217 code of money.
	Currency string `yaml:"currency"`
	// Cap is the most in a window: calls, tokens, or millionths of the
	// currency's main unit.
	Cap int64 `yaml:"cap"`
	// Window is hour, day, lifetime, sliding, running or rate.
	Window string `yaml:"window"`
	// Length is how long a sliding window is, and the time in which a rate grants
	// its cap.
	Length time.Duration `yaml:"length"`
	// Burst is the most that a rate grants at once; 0: the cap.
	Burst int64 `yaml:"burst"`
	// Unsettled is how long a reservation waits to be settled before the budget has
	// it back; 0: it stays.
	Unsettled time.Duration `yaml:"unsettled"`
	// Zone is the IANA time zone of hour and day; empty: UTC.
	Zone string `yaml:"zone"`
	// Per keeps the budget apart by tenant, agent, human, tool, server,
	// purpose, vendor, session, arguments.
	Per []string `yaml:"per"`
	// Purposes, Tools and Agents narrow what is counted.
	Purposes []string `yaml:"purposes"`
	Tools    []string `yaml:"tools"`
	Agents   []string `yaml:"agents"`
}

// breakersFile is breakers.yaml, by id.
type breakersFile map[string]struct {
	Description string `yaml:"description"`
	// Failures in turn open the breaker.
	Failures int64 `yaml:"failures"`
	// Open is for how long, at first; Longest at most.
	Open    time.Duration `yaml:"open"`
	Longest time.Duration `yaml:"longest"`
	// Backoff is what a call waits after the first failure; 0: it does not.
	Backoff time.Duration `yaml:"backoff"`
	// Per keeps the breaker apart, as a budget.
	Per []string `yaml:"per"`
	// Purposes, Tools and Agents narrow what is watched.
	Purposes []string `yaml:"purposes"`
	Tools    []string `yaml:"tools"`
	Agents   []string `yaml:"agents"`
}

var (
	units      = byName(decision.Calls, decision.Tokens, decision.Micros)
	windows    = byName(decision.Hour, decision.Day, decision.Lifetime, decision.Sliding, decision.Running, decision.Rate)
	dimensions = byName(decision.ByTenant, decision.ByAgent, decision.ByHuman, decision.ByTool, decision.ByServer, decision.ByPurpose,
		decision.ByVendor, decision.BySession, decision.ByArguments)
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
)

func byName[T fmt.Stringer](all ...T) map[string]T {
	names := map[string]T{}
	for _, one := range all {
		names[one.String()] = one
	}
	return names
}

func (f budgetsFile) budgets(b *decision.Bundle) error {
	for _, id := range slices.Sorted(maps.Keys(f)) {
		in := f[id]
		rule := decision.BudgetRule{ID: id, Unit: units[in.Unit], Currency: in.Currency, Cap: in.Cap,
			Window: windows[in.Window], Length: int64(in.Length / time.Second), Burst: in.Burst, Unsettled: in.Unsettled,
			Agents: in.Agents, Purposes: in.Purposes}
		if rule.Window == decision.Rate && rule.Burst == 0 {
			rule.Burst = rule.Cap
		}
		zone, err := time.LoadLocation(in.Zone)
		rule.Zone = zone
		switch {
		case checkName("budget", id) != nil:
			err = checkName("budget", id)
		case rule.Unit == 0:
			err = fmt.Errorf("the unit %q is not calls, tokens or money", in.Unit)
		case rule.Unit == decision.Micros && !currencyForm.MatchString(in.Currency), rule.Unit != decision.Micros && in.Currency != "":
			err = fmt.Errorf("money has a currency of three capitals, and nothing else has one")
		case in.Cap < 0:
			err = fmt.Errorf("the cap %d is negative", in.Cap)
		case rule.Window == 0:
			err = fmt.Errorf("the window %q is not hour, day, lifetime, sliding, running or rate", in.Window)
		case err != nil || in.Zone == "Local":
			err = fmt.Errorf("the zone %q is not a time zone", in.Zone)
		default:
			err = checkWindow(&rule, in.Length)
		}
		if err == nil {
			rule.Per, rule.Tools, err = counted(b, in.Per, in.Tools, in.Purposes)
		}
		if err != nil {
			return fmt.Errorf("budget %q: %w", id, err)
		}
		b.Budgets = append(b.Budgets, rule)
	}
	return nil
}

// longestUnsettled is the longest that a reservation waits for its settlement.
const longestUnsettled = 30 * 24 * time.Hour

// checkWindow holds what some windows need, and no other has.
func checkWindow(rule *decision.BudgetRule, length time.Duration) error {
	spans := rule.Window == decision.Sliding || rule.Window == decision.Rate
	switch {
	case spans && (length < time.Second || length%time.Second != 0 || rule.Length > decision.MaxLength):
		return fmt.Errorf("the length %s is not whole seconds, at least one and at most 366 days", length)
	case !spans && length != 0:
		return fmt.Errorf("only a sliding window and a rate have a length")
	case rule.Window != decision.Rate && rule.Burst != 0:
		return fmt.Errorf("only a rate has a burst")
	case rule.Window == decision.Rate && !rule.Pace(decision.BudgetKey{}, 0, time.Time{}).Whole():
		return fmt.Errorf("the burst %d is not positive, or takes the rate of %d in %s more than 366 days", rule.Burst, rule.Cap, length)
	case rule.Unsettled < 0 || rule.Unsettled > longestUnsettled:
		return fmt.Errorf("unsettled %s is not within 30 days", rule.Unsettled)
	case rule.Window == decision.Rate && rule.Unsettled != 0:
		return fmt.Errorf("what was taken of a rate is not settled")
	case rule.Window == decision.Running && rule.Unsettled == 0:
		return fmt.Errorf("what is running needs unsettled: when it counts as ended that nobody reports on")
	}
	return nil
}

// counted reads what a budget or a breaker is about.
func counted(b *decision.Bundle, per, tools, purposes []string) ([]decision.Dimension, []decision.ToolPattern, error) {
	var of []decision.Dimension
	for _, p := range per {
		of = append(of, dimensions[p])
	}
	if slices.Contains(of, 0) {
		return nil, nil, fmt.Errorf("per %q: not all are tenant, agent, human, tool, server, purpose, vendor, session or arguments", per)
	}
	for _, p := range purposes {
		if _, ok := b.Purposes[p]; !ok {
			return nil, nil, fmt.Errorf("there is no purpose %q", p)
		}
	}
	matched, err := patterns(b.Tools, tools)
	return of, matched, err
}

func (f breakersFile) breakers(b *decision.Bundle) error {
	for _, id := range slices.Sorted(maps.Keys(f)) {
		in := f[id]
		rule := decision.BreakerRule{ID: id, Trip: decision.Trip{Failures: in.Failures, Open: in.Open, Longest: max(in.Longest, in.Open)},
			Backoff: in.Backoff, Agents: in.Agents, Purposes: in.Purposes}
		err := checkName("breaker", id)
		switch {
		case err != nil:
		case slices.ContainsFunc(b.Budgets, func(rule decision.BudgetRule) bool { return rule.ID == id }):
			err = fmt.Errorf("a budget has the same id")
		case in.Failures < 1 || in.Failures > decision.MaxFailures:
			err = fmt.Errorf("failures are not 1 to %d", decision.MaxFailures)
		case in.Open < time.Millisecond || in.Open%time.Millisecond != 0 || rule.Longest%time.Millisecond != 0 || rule.Longest > decision.MaxOpen:
			err = fmt.Errorf("open and longest are not whole milliseconds, at least one and at most %s", decision.MaxOpen)
		case in.Longest != 0 && in.Longest < in.Open:
			err = fmt.Errorf("longest is shorter than open")
		case in.Backoff < 0 || in.Backoff%time.Millisecond != 0 || in.Backoff > rule.Longest:
			err = fmt.Errorf("backoff is not whole milliseconds, at most longest")
		default:
			rule.Per, rule.Tools, err = counted(b, in.Per, in.Tools, in.Purposes)
		}
		if err != nil {
			return fmt.Errorf("breaker %q: %w", id, err)
		}
		b.Breakers = append(b.Breakers, rule)
	}
	return nil
}
