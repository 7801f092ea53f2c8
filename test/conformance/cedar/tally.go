package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
	exptypes "github.com/cedar-policy/cedar-go/x/exp/types"

	"github.com/writpdp/writ/server/policy"
)

// test is one test of the corpus, and what Rust Cedar answered.
type test struct {
	Schema   string `json:"schema"`
	Policies string `json:"policies"`
	Entities string `json:"entities"`
	Requests []struct {
		Description string           `json:"description"`
		Principal   cedar.EntityUID  `json:"principal"`
		Action      cedar.EntityUID  `json:"action"`
		Resource    cedar.EntityUID  `json:"resource"`
		Context     cedar.Record     `json:"context"`
		Decision    cedar.Decision   `json:"decision"`
		Reasons     []cedar.PolicyID `json:"reason"`
		Errors      []cedar.PolicyID `json:"errors"`
	} `json:"requests"`
}

// verdicts are what Rust Cedar's validator said of a test.
type verdicts struct {
	Policies struct {
		PerPolicy map[cedar.PolicyID]struct {
			Strict     bool `json:"strict"`
			Permissive bool `json:"permissive"`
		} `json:"perPolicy"`
	} `json:"policyValidation"`
	Entities struct {
		PerEntity map[string]struct {
			Errors []string `json:"errors"`
		} `json:"perEntity"`
	} `json:"entityValidation"`
	Requests []struct {
		Strict     *bool `json:"strict"`
		Permissive *bool `json:"permissive"`
	} `json:"requestValidation"`
}

// The kinds of comparisons, in the order of the report.
const (
	kindBundle     = "policies, as bundles are validated"
	kindStrict     = "policies, strict"
	kindPermissive = "policies, permissive"
	kindEntity     = "entities"
	kindRequest    = "requests, strict"
	kindLoose      = "requests, permissive"
	kindDecision   = "decisions, reasons and errors"
)

var kinds = []string{kindBundle, kindStrict, kindPermissive, kindEntity, kindRequest, kindLoose, kindDecision}

// count is how often a kind was compared, agreed, and was rejected by Rust Cedar.
type count struct{ all, agreed, rejected int }

// tally counts comparisons by kind and remembers the differences.
type tally struct {
	counts      map[string]*count
	differences []string
}

func newTally() *tally {
	t := &tally{counts: map[string]*count{}}
	for _, kind := range kinds {
		t.counts[kind] = &count{}
	}
	return t
}

// compare counts one comparison.
func (t *tally) compare(kind, what string, want, got any, rejected bool) {
	c := t.counts[kind]
	c.all++
	if rejected {
		c.rejected++
	}
	if w, g := fmt.Sprint(want), fmt.Sprint(got); w == g {
		c.agreed++
	} else {
		t.differences = append(t.differences, fmt.Sprintf("%s: %s: want %s, got %s", kind, what, w, g))
	}
}

// verdict compares whether something is valid.
func (t *tally) verdict(kind, what string, want bool, got error) {
	t.compare(kind, what, want, got == nil, !want)
}

func (t *tally) agreed() bool {
	for _, c := range t.counts {
		if c.all == 0 || c.agreed != c.all {
			return false
		}
	}
	return true
}

func (t *tally) print(out io.Writer, show int) {
	for _, difference := range t.differences[:min(show, len(t.differences))] {
		fmt.Fprintln(out, difference)
	}
	for _, kind := range kinds {
		c := t.counts[kind]
		rejected := ""
		if kind != kindDecision {
			rejected = fmt.Sprintf(", %d to be rejected", c.rejected)
		}
		fmt.Fprintf(out, "%s: %d agree, %d disagree%s\n", kind, c.agreed, c.all-c.agreed, rejected)
	}
	c := t.counts[kindDecision]
	fmt.Fprintf(out, "%d of %d\n", c.agreed, c.all)
}

// test runs one test. The error is of a corpus that cannot be read.
func (t *tally) test(files corpus, name string) error {
	var in test
	if err := read(files, name, &in); err != nil {
		return err
	}
	policies, s, entities, err := in.load(files)
	if err != nil {
		return err
	}
	all := maps.Collect(policies.All())
	verdicts, decides := strings.CutPrefix(name, "corpus-tests/")
	if !decides {
		return t.validate(files, strings.TrimSuffix(name, ".json")+".validation.json", in, all, s, entities)
	}
	index := policy.NewIndex(all, entities)
	for _, r := range in.Requests {
		decision, why := index.Authorize(entities, cedar.Request{Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: r.Context})
		var reasons, errors []cedar.PolicyID
		for _, reason := range why.Reasons {
			reasons = append(reasons, reason.PolicyID)
		}
		for _, e := range why.Errors {
			errors = append(errors, e.PolicyID)
		}
		t.compare(kindDecision, name+": "+r.Description, answer(r.Decision, r.Reasons, r.Errors), answer(decision, reasons, errors), false)
	}
	return t.validate(files, "corpus-tests-validation/"+strings.TrimSuffix(verdicts, ".json")+".validation.json", in, all, s, entities)
}

// answer is a decision to be compared; the corpus has reasons in no order.
func answer(decision cedar.Decision, reasons, errors []cedar.PolicyID) string {
	slices.Sort(reasons)
	slices.Sort(errors)
	return fmt.Sprintf("%v because of %q, errors in %q", decision, reasons, errors)
}

// load reads what a test names.
func (in test) load(files corpus) (*cedar.PolicySet, *resolved.Schema, cedar.EntityMap, error) {
	text, err := files.get(in.Policies)
	if err != nil {
		return nil, nil, nil, err
	}
	policies, err := cedar.NewPolicySetFromBytes(in.Policies, text)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the policies: %w", err)
	}
	if text, err = files.get(in.Schema); err != nil {
		return nil, nil, nil, err
	}
	var declared schema.Schema
	if err := declared.UnmarshalCedar(text); err != nil {
		return nil, nil, nil, fmt.Errorf("reading the schema: %w", err)
	}
	s, err := declared.Resolve()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("resolving the schema: %w", err)
	}
	if text, err = files.get(in.Entities); err != nil {
		return nil, nil, nil, err
	}
	var entities exptypes.EntityMap
	if strings.HasPrefix(in.Entities, "testdata/") { // they are to be read before they are rejected
		var plain cedar.EntityMap
		err = json.Unmarshal(text, &plain)
		entities = exptypes.EntityMap(plain)
	} else {
		err = entities.UnmarshalJSONWithSchema(text, s)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the entities: %w", err)
	}
	return policies, s, cedar.EntityMap(entities), nil
}

// validate compares the verdicts on one test's policies, entities and requests;
// the verdicts of Rust Cedar are in the file of that name.
func (t *tally) validate(files corpus, name string, in test, policies map[cedar.PolicyID]*cedar.Policy, s *resolved.Schema, entities cedar.EntityMap) error {
	var want verdicts
	if err := read(files, name, &want); err != nil {
		return err
	}
	bundle, strict, permissive := policy.NewValidator(s), validate.New(s), validate.New(s, validate.WithPermissive())
	for id, verdict := range want.Policies.PerPolicy {
		p, ok := policies[id]
		if !ok {
			return fmt.Errorf("there is no policy %q", id)
		}
		tree, what := (*ast.Policy)(p.AST()), name+": "+string(id)
		t.verdict(kindBundle, what, verdict.Strict, bundle.Check(tree))
		t.verdict(kindStrict, what, verdict.Strict, strict.Policy(string(id), tree))
		t.verdict(kindPermissive, what, verdict.Permissive, permissive.Policy(string(id), tree))
	}
	for uid, entity := range entities {
		verdict, ok := want.Entities.PerEntity[string(uid.Type)+"::"+string(uid.ID)]
		if !ok {
			return fmt.Errorf("there is no verdict on the entity %s", uid)
		}
		t.verdict(kindEntity, name+": "+uid.String(), len(verdict.Errors) == 0, strict.Entity(entity))
	}
	for i, verdict := range want.Requests {
		if i >= len(in.Requests) {
			return fmt.Errorf("there are verdicts on %d requests of %d", len(want.Requests), len(in.Requests))
		}
		r := in.Requests[i]
		request, what := cedar.Request{Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: r.Context}, name+": "+r.Description
		if verdict.Strict != nil {
			t.verdict(kindRequest, what, *verdict.Strict, strict.Request(request))
		}
		if verdict.Permissive != nil {
			t.verdict(kindLoose, what, *verdict.Permissive, permissive.Request(request))
		}
	}
	return nil
}

func read(files corpus, name string, into any) error {
	data, err := files.get(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}
