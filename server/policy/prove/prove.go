// Package prove says of a change of a bundle, for all requests at once, whether the
// new policies allow what the old ones did not, or the reverse.
//
// It writes, for every kind of request, what Writ makes of its policies as one Cedar
// expression for each bundle, has a prover compare the two, and decides each
// counterexample again with the bundles themselves. The prover is an argument; the
// package does no I/O. What cannot be proved is unknown and never taken for equal.
package prove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Side is one of the two bundles.
type Side struct {
	// Bundle is what decides.
	Bundle *decision.Bundle
	// Source is the same as it was written.
	Source *policy.Source
	// Schema is its whole Cedar schema, the tools' actions included.
	Schema []byte
}

// Question is put to the prover: whether every request of a kind that First allows
// is one that Second allows.
type Question struct {
	// Schema, First and Second are in Cedar's own language.
	Schema, First, Second []byte
	// Principal and Resource are entity types, Action is an entity.
	Principal, Action, Resource string
}

// Answer is the prover's.
type Answer struct {
	Holds bool
	// Example is a request for which it does not hold, as the prover prints it.
	Example string
}

// Ask puts a question. Its error says why there is no answer. It is called by
// several goroutines at once.
type Ask func(context.Context, Question) (Answer, error)

// Claim is what is known of a claim.
type Claim string

// The claims. The zero value is none of them.
const (
	Yes     Claim = "yes"
	No      Claim = "no"
	Unknown Claim = "unknown"
)

// Verdict is what a change does to what is allowed.
type Verdict string

// The verdicts. UnknownVerdict is where something could not be proved, whatever
// else could.
const (
	Equivalent     Verdict = "equivalent"
	Wider          Verdict = "wider"
	Narrower       Verdict = "narrower"
	Both           Verdict = "both"
	UnknownVerdict Verdict = "unknown"
)

// Proof is what became of a comparison.
type Proof struct {
	// Verdict is that of all environments together, and Wider and Narrower the
	// two claims that it comes from.
	Verdict  Verdict `json:"verdict"`
	Wider    Claim   `json:"wider"`
	Narrower Claim   `json:"narrower"`
	// Obligations says whether obligations differ where both bundles allow.
	Obligations Claim `json:"obligations_differ"`
	// Prover names the tools and their versions.
	Prover string `json:"prover"`
	// Environments are all kinds of requests, by action and resource type.
	Environments []Environment `json:"environments"`
}

// Environment is one kind of request.
type Environment struct {
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`

	Verdict  Verdict `json:"verdict"`
	Wider    Finding `json:"wider"`
	Narrower Finding `json:"narrower"`
	// Obligations says whether obligations differ where both bundles allow, and
	// Duties are those that do or may.
	Obligations Claim  `json:"obligations_differ"`
	Duties      []Duty `json:"duties"`
}

// Finding is one claim and what it rests on.
type Finding struct {
	Claim Claim `json:"claim"`
	// Reason says why the claim is unknown.
	Reason string `json:"reason,omitempty"`
	// Example is a request for which the claim is true. Where the claim is
	// unknown it is one that the prover gave and that does not come out so.
	Example *Example `json:"example,omitempty"`
}

// Duty is something that obligating policies ask for.
type Duty struct {
	// Duty is in the words of the annotations.
	Duty string `json:"duty"`
	// More says that NEW asks for it where OLD does not, Less the reverse.
	More Finding `json:"more"`
	Less Finding `json:"less"`
}

// Of compares two bundles in all kinds of requests that Writ asks policies about. At
// most parallel questions are put at once. The error is of a context that ended.
func Of(ctx context.Context, old, new Side, ask Ask, parallel int) (*Proof, error) {
	all := environments(old, new)
	p := &Proof{Environments: make([]Environment, len(all))}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(max(1, parallel))
	for i, env := range all {
		work.Go(func() error {
			p.Environments[i] = env.compare(ctx, ask)
			return ctx.Err() // what was cut short is no finding
		})
	}
	if err := work.Wait(); err != nil {
		return nil, fmt.Errorf("comparing the bundles: %w", err)
	}
	p.sum()
	return p, nil
}

// sum derives the whole from its parts.
func (p *Proof) sum() {
	p.Wider, p.Narrower, p.Obligations = No, No, No
	for _, e := range p.Environments {
		p.Wider, p.Narrower, p.Obligations = worse(p.Wider, e.Wider.Claim), worse(p.Narrower, e.Narrower.Claim), worse(p.Obligations, e.Obligations)
	}
	p.Verdict = verdict(p.Wider, p.Narrower)
}

// worse is the claim of two kinds of requests together.
func worse(a, b Claim) Claim {
	for _, c := range []Claim{Yes, Unknown} {
		if a == c || b == c {
			return c
		}
	}
	if a == No && b == No {
		return No
	}
	return Unknown
}

func verdict(wider, narrower Claim) Verdict {
	switch [2]Claim{wider, narrower} {
	case [2]Claim{No, No}:
		return Equivalent
	case [2]Claim{Yes, No}:
		return Wider
	case [2]Claim{No, Yes}:
		return Narrower
	case [2]Claim{Yes, Yes}:
		return Both
	}
	return UnknownVerdict
}

// environment is one kind of request and what each bundle makes of it.
type environment struct {
	kind
	schema   []byte
	old, new *scene
	// wrong says why the two cannot be compared; nil: they can.
	wrong error
}

// environments are the kinds of requests that either bundle knows, in order.
func environments(old, new Side) []environment {
	was, is := newWorld(old), newWorld(new)
	found := map[kind]bool{}
	for _, w := range []*world{was, is} {
		for k := range w.moments {
			found[k] = true
		}
	}
	kinds := slices.SortedFunc(maps.Keys(found), func(a, b kind) int {
		return cmp.Or(strings.Compare(string(a.action.ID), string(b.action.ID)), strings.Compare(string(a.resource), string(b.resource)),
			strings.Compare(string(a.principal), string(b.principal)))
	})
	all := make([]environment, len(kinds))
	for i, k := range kinds {
		env := environment{kind: k, schema: new.Schema, old: was.scene(k), new: is.scene(k)}
		if env.new == nil {
			env.schema = old.Schema
		}
		env.wrong = env.differ()
		all[i] = env
	}
	return all
}

// compare finds out what the change does to one kind of request.
func (env environment) compare(ctx context.Context, ask Ask) Environment {
	e := Environment{Principal: string(env.principal), Action: string(env.action.ID), Resource: string(env.resource), Duties: []Duty{}}
	facts, was, is, err := env.written()
	if err != nil {
		e.Wider, e.Narrower, e.Obligations, e.Verdict = unknown(err), unknown(err), Unknown, UnknownVerdict
		return e
	}
	e.Wider, e.Narrower, e.Obligations = Finding{Claim: No}, Finding{Claim: No}, No
	if was.allowed != is.allowed { // else it is the same expression of the same request
		before, after := conjunction(facts, was.allowed), conjunction(facts, is.allowed)
		e.Wider = env.ask(ctx, ask, after, before, func(x *Example) bool { return x.New.Allowed && !x.Old.Allowed })
		e.Narrower = env.ask(ctx, ask, before, after, func(x *Example) bool { return x.Old.Allowed && !x.New.Allowed })
	}
	e.Verdict = verdict(e.Wider.Claim, e.Narrower.Claim)
	// Only where both allow: an obligation is attached to nothing else.
	common := conjunction(facts, was.allowed, is.allowed)
	for _, duty := range duties(was, is) {
		before, after := was.duty(duty), is.duty(duty)
		if before == after {
			continue
		}
		d := Duty{Duty: duty,
			More: env.ask(ctx, ask, conjunction(common, after), conjunction(common, before), func(x *Example) bool { return x.both() && x.New.asks(duty) && !x.Old.asks(duty) }),
			Less: env.ask(ctx, ask, conjunction(common, before), conjunction(common, after), func(x *Example) bool { return x.both() && x.Old.asks(duty) && !x.New.asks(duty) })}
		e.Obligations = worse(e.Obligations, worse(d.More.Claim, d.Less.Claim))
		if d.More.Claim != No || d.Less.Claim != No {
			e.Duties = append(e.Duties, d)
		}
	}
	return e
}

// written are the facts of a kind of request and what each bundle makes of it. The
// error says why the two cannot be compared.
func (env environment) written() (facts string, was, is judgement, err error) {
	if err = env.wrong; err != nil {
		return facts, was, is, err
	}
	if was, err = env.old.judge(); err != nil {
		return facts, was, is, fmt.Errorf("OLD: %w", err)
	}
	if is, err = env.new.judge(); err != nil {
		return facts, was, is, fmt.Errorf("NEW: %w", err)
	}
	if err = env.sameTool(); err != nil {
		return facts, was, is, err
	}
	facts, err = env.facts()
	return facts, was, is, err
}

// ask finds out whether first allows something that second does not. A
// counterexample counts when it comes out so with the bundles themselves.
func (env environment) ask(ctx context.Context, ask Ask, first, second string, shows func(*Example) bool) Finding {
	if len(first)+len(second) > maxText {
		return unknown(fmt.Errorf("the policies come to more than %d bytes", maxText))
	}
	answer, err := ask(ctx, Question{Schema: env.schema, First: permit(first), Second: permit(second),
		Principal: string(env.principal), Action: string(env.action.MarshalCedar()), Resource: string(env.resource)})
	switch {
	case err != nil:
		return unknown(err)
	case answer.Holds:
		return Finding{Claim: No}
	}
	example, err := env.replay(answer.Example)
	if err != nil {
		return unknown(fmt.Errorf("the prover's counterexample cannot be decided again: %w", err))
	}
	if !shows(example) {
		f := unknown(errors.New("the prover's counterexample does not come out so with the bundles"))
		f.Example = example
		return f
	}
	return Finding{Claim: Yes, Example: example}
}

// maxReason bounds the reason of a finding, in bytes: it can be a tool's message.
const maxReason = 2048

func unknown(why error) Finding {
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(why.Error(), ""))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return Finding{Claim: Unknown, Reason: text}
}

// maxText bounds the two expressions of a question, in bytes.
const maxText = 8 << 20

func permit(condition string) []byte {
	return []byte("permit (principal, action, resource) when { " + condition + " };\n")
}

// conjunction is that all of some expressions hold, asked in order.
func conjunction(expressions ...string) string {
	return "(" + strings.Join(expressions, ") && (") + ")"
}
