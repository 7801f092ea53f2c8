package suite

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cedar-policy/cedar-go"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// cedarCase is a case in the form that `cedar run-tests` reads: a request in
// Cedar's terms with entities of its own.
type cedarCase struct {
	request  cedar.Request
	entities cedar.EntityMap
	decision string
	reason   []string
	errors   int
}

// cedarFile is one element of such a file.
type cedarFile struct {
	Name    string `json:"name"`
	Request *struct {
		Principal string         `json:"principal"`
		Action    string         `json:"action"`
		Resource  string         `json:"resource"`
		Context   jsontext.Value `json:"context"`
	} `json:"request"`
	Entities jsontext.Value `json:"entities"`
	Decision string         `json:"decision"`
	Reason   []string       `json:"reason"`
	Errors   *int           `json:"num_errors"`
}

// readCedar reads a file of Cedar's own tests. Entities in files of their own are
// refused: a file of tests is whole.
func readCedar(name string, data []byte, tenant string, _ *decision.Bundle) ([]*Case, error) {
	var in []jsontext.Value // integers are those of Cedar, so this is not a document
	if err := jsonv2.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%s: not a list of tests: %w", name, err)
	}
	var all []*Case
	taken := map[string]bool{}
	line, at := 1, 0
	for i, element := range in {
		offset := at + strings.Index(string(data[at:]), string(element))
		line, at = line+strings.Count(string(data[at:offset]), "\n"), offset
		column := offset - strings.LastIndexByte(string(data[:offset]), '\n')
		wrong := func(err error) error { return fmt.Errorf("%s:%d:%d: test %d: %w", name, line, column, i, err) }
		var one cedarFile
		if err := jsonv2.Unmarshal(element, &one, jsonv2.RejectUnknownMembers(true)); err != nil {
			return nil, wrong(fmt.Errorf("not a test: %w", err))
		}
		c := &Case{Suite: path.Join(tenant, strings.TrimSuffix(path.Base(name), ".json")), Name: one.Name, File: name, Place: Place{Line: line, Column: column}}
		if c.Name == "" {
			c.Name = fmt.Sprintf("test-%d", i)
		}
		if taken[c.Name] {
			return nil, wrong(fmt.Errorf("there is another test %q", c.Name))
		}
		taken[c.Name] = true
		var err error
		if c.cedar, err = one.read(); err != nil {
			return nil, wrong(err)
		}
		if asks := policy.TenantOf(c.cedar.request); tenant != "" && asks != tenant {
			return nil, wrong(fmt.Errorf("context.tenant is %q, and the directory is that of %q", asks, tenant))
		}
		all = append(all, c)
	}
	return all, nil
}

func (f *cedarFile) read() (*cedarCase, error) {
	switch {
	case f.Request == nil || f.Entities == nil || f.Reason == nil || f.Errors == nil:
		return nil, fmt.Errorf("request, entities, reason and num_errors are required")
	case f.Decision != "allow" && f.Decision != "deny":
		return nil, fmt.Errorf("the decision %q is not allow or deny", f.Decision)
	case f.Entities.Kind() == '"':
		return nil, fmt.Errorf("entities in another file are not read")
	}
	c := &cedarCase{decision: f.Decision, reason: f.Reason, errors: *f.Errors}
	for _, part := range []struct {
		name, text string
		into       *cedar.EntityUID
	}{{"principal", f.Request.Principal, &c.request.Principal}, {"action", f.Request.Action, &c.request.Action}, {"resource", f.Request.Resource, &c.request.Resource}} {
		if err := part.into.UnmarshalCedar([]byte(part.text)); err != nil {
			return nil, fmt.Errorf("the %s is no entity such as User::\"alice\"", part.name)
		}
	}
	if len(f.Request.Context) > 0 {
		if err := json.Unmarshal(f.Request.Context, &c.request.Context); err != nil {
			return nil, fmt.Errorf("the context cannot be read: %w", err)
		}
	}
	if err := json.Unmarshal(f.Entities, &c.entities); err != nil {
		return nil, fmt.Errorf("the entities cannot be read: %w", err)
	}
	return c, nil
}

// Authorizer puts requests in Cedar's own terms to policies, as policy.Set does.
type Authorizer interface {
	Authorize(cedar.Request, cedar.EntityMap) (decision.Ruling, error)
}

// run puts the case to the policies of a bundle.
func (c *cedarCase) run(b *decision.Bundle) []string {
	ruling, err := b.Policies.(Authorizer).Authorize(c.request, c.entities)
	if err != nil {
		return []string{fmt.Sprintf("The request or its entities do not fit the schema: %v.", err)}
	}
	got, reasons := "deny", ruling.Forbids
	if len(ruling.Forbids) == 0 {
		reasons = ruling.Permits
		if len(ruling.Permits) > 0 && len(ruling.Errors) == 0 {
			got = "allow"
		}
	}
	var ids, failures []string
	for _, m := range reasons {
		ids = append(ids, m.Policy)
	}
	if got != c.decision {
		failures = append(failures, fmt.Sprintf("The decision is %s and %s was expected, by %s.", got, c.decision, listed(ids)))
	}
	if missing := without(c.reason, ids); len(missing) > 0 {
		failures = append(failures, fmt.Sprintf("The policy %s was expected and is missing: there is %s.", strings.Join(missing, ", "), listed(ids)))
	}
	if len(ruling.Errors) != c.errors {
		failures = append(failures, fmt.Sprintf("%d policies could not be evaluated and %d were expected to be.", len(ruling.Errors), c.errors))
	}
	return failures
}
