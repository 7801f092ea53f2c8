package policy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/access"
	"github.com/writpdp/writ/server/policy/clause"
	"github.com/writpdp/writ/server/policy/session"
)

// DirTests is the directory of a bundle's tests. It is no part of the bundle: a
// server does not read it, and its files are not in the digest, because what
// tests say changes no decision.
const DirTests = "tests"

// Statement is one policy as the tools of its author see it.
type Statement struct {
	ID string
	// Tenant is whose requests it is asked for; empty: everybody's.
	Tenant string
	// Effect is "permit", "forbid" or "oblige".
	Effect string
	// Annotations are all of them, by name.
	Annotations map[string]string
	// Text is the policy in Cedar's own layout, without annotations.
	Text    string
	Clauses []clause.Clause
	// Position is where it stands in the bundle.
	Position cedar.Position
}

// At is the position as file:line:column.
func (s Statement) At() string { return place(s.Position) }

// Statements are the bundle's policies in the order of their ids.
func (s *Set) Statements() []Statement {
	all := make([]Statement, len(s.index.statements))
	for i, st := range s.index.statements {
		all[i] = written(st.id, st.ast, st.policy.Position())
		all[i].Tenant = st.tenant
		if st.obligate != nil {
			all[i].Effect = "oblige"
		}
	}
	return all
}

func written(id string, p *ast.Policy, at cedar.Position) Statement {
	s := Statement{ID: id, Effect: "permit", Annotations: map[string]string{}, Text: clause.Normal(p), Clauses: clause.Of(p), Position: at}
	for _, a := range p.Annotations {
		s.Annotations[string(a.Key)] = string(a.Value)
	}
	if p.Effect == ast.EffectForbid {
		s.Effect = "forbid"
	}
	return s
}

// AccessStatements are the policies that say who may call, in the order of their
// ids; of a bundle that has none, those that hold then.
func AccessStatements(b *decision.Bundle) []Statement {
	policies, ok := b.Access.(*access.Policies)
	if !ok {
		return nil // not loaded by this package
	}
	var all []Statement
	for id, p := range policies.All() {
		all = append(all, written(string(id), (*ast.Policy)(p.AST()), p.Position()))
	}
	slices.SortFunc(all, func(a, b Statement) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Entities are those that the bundle declares, without the actions.
func (s *Set) Entities() cedar.EntityMap {
	declared := maps.Clone(s.entities)
	maps.DeleteFunc(declared, func(uid cedar.EntityUID, _ cedar.Entity) bool { return uid.Type == typeAction })
	return declared
}

// Resources are the types of entities that a tool acts upon, besides its server.
func (s *Set) Resources(t decision.ToolName) []string {
	var all []string
	action := s.schema.Actions[cedar.NewEntityUID(typeAction, cedar.String(t.String()))]
	if action.AppliesTo == nil {
		return nil
	}
	for _, typ := range action.AppliesTo.Resources {
		if typ != typeServer {
			all = append(all, string(typ))
		}
	}
	return all
}

// Tenants are those that have policies of their own, in order.
func (s *Set) Tenants() []string { return slices.Sorted(maps.Keys(s.index.tenants)) }

// Agents are the ids of the agents that the bundle knows, in order: those that it
// declares, and those that a tenant's policies and those of every tenant name; of
// no tenant, the latter alone.
func (s *Set) Agents(tenant string) []string {
	known := map[string]bool{}
	add := func(uid cedar.EntityUID) {
		if uid.Type == typeAgent && uid.ID != "" {
			known[string(uid.ID)] = true
		}
	}
	for uid := range s.entities {
		add(uid)
	}
	for _, st := range s.index.of(tenant) {
		add(anchorsOf(st.ast.Principal)[0].uid)
		for _, c := range st.ast.Conditions {
			ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
				if v, ok := n.(ast.NodeValue); ok {
					if uid, ok := v.Value.(cedar.EntityUID); ok {
						add(uid)
					}
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(known))
}

// Authorize puts a request of Cedar's own to all policies of every tenant and of
// the one that its context names, with entities in the place of the bundle's. As
// everywhere, a policy that fails denies and one that obliges permits nothing. The
// error says that request or entities do not fit the schema.
func (s *Set) Authorize(request cedar.Request, entities cedar.EntityMap) (decision.Ruling, error) {
	all := s.With(entities)
	request.Context = s.completed(request)
	validator := validate.New(s.schema)
	if err := validator.Entities(all); err != nil {
		return decision.Ruling{}, err
	}
	if err := validator.Request(request); err != nil {
		return decision.Ruling{}, err
	}
	var r decision.Ruling
	for _, st := range s.index.of(TenantOf(request)) {
		one := cedar.NewPolicySet()
		one.Add(cedar.PolicyID(st.id), cedar.NewPolicyFromAST((*publicast.Policy)(st.ast)))
		verdict, diagnostic := cedar.Authorize(one, all, request)
		switch {
		case len(diagnostic.Errors) > 0:
			r.Errors = append(r.Errors, st.match())
		case len(diagnostic.Reasons) == 0 || st.obligate != nil:
		case verdict == cedar.Allow:
			r.Permits = append(r.Permits, st.match())
		default:
			r.Forbids = append(r.Forbids, st.match())
		}
	}
	return r, nil
}

// completed is a request's context with what Writ itself finds out where the
// request says nothing of it: that nothing was found, and nothing came before.
func (s *Set) completed(request cedar.Request) cedar.Record {
	action := s.schema.Actions[request.Action]
	if action.AppliesTo == nil {
		return request.Context
	}
	context := request.Context.Map()
	nothing := cedar.RecordMap{attributeFound: foundRecord(&detect.Inspection{}), session.Taint: session.TaintOf(nil),
		session.Chain: session.ChainOf(s.chains, nil)}
	if context == nil {
		context = cedar.RecordMap{}
	}
	for name, value := range nothing {
		_, said := context[name]
		if _, has := action.AppliesTo.Context[name]; has && !said {
			context[name] = value
		}
	}
	return cedar.NewRecord(context)
}

// TenantOf is whose request of Cedar's own it is: what context.tenant says.
func TenantOf(request cedar.Request) string {
	tenant, _ := request.Context.Get("tenant")
	name, _ := tenant.(cedar.String)
	return string(name)
}

// With are entities together with the schema's actions.
func (s *Set) With(entities cedar.EntityMap) cedar.EntityMap {
	all := cedar.EntityMap{}
	maps.Copy(all, entities)
	for uid, action := range s.schema.Actions {
		all[uid] = action.Entity
	}
	return all
}

// ReadFile reads one file of a bundle's directory within the bounds of a bundle,
// and through no symbolic link.
func ReadFile(fsys fs.FS, name string) ([]byte, error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	return f.read(name)
}

// Declarations are a bundle's own part of its schema in Cedar's layout.
func Declarations(fsys fs.FS) (string, error) {
	text, err := ReadFile(fsys, fileSchema)
	if err != nil {
		return "", err
	}
	if err := checkCedar(fileSchema, text); err != nil {
		return "", err
	}
	var declared schema.Schema
	if err := declared.UnmarshalCedar(text); err != nil {
		return "", fmt.Errorf("%s: %w", fileSchema, err)
	}
	written, err := declared.MarshalCedar()
	return string(written), err
}

// List are the files of one directory of a bundle that end in ext, in the order
// of their names; none when there is no such directory.
func List(fsys fs.FS, dir, ext string) ([]string, error) {
	f := &files{fsys: fsys}
	return f.list(dir, ext)
}

// Blank is Cedar text of the same length in which quotes stand for strings and
// spaces for comments, so that what is left can be read byte by byte.
func Blank(text []byte) []byte {
	out := bytes.Clone(text)
	s := scanner{text: text, line: 1}
	for s.after < len(s.text) {
		switch s.piece() {
		case literal:
			copy(out[s.pos:s.after], bytes.Repeat([]byte{'"'}, s.after-s.pos))
		case comment:
			copy(out[s.pos:s.after], bytes.Repeat([]byte{' '}, s.after-s.pos))
		}
	}
	return out
}

// CheckCedar refuses Cedar text that is nested or long beyond the bounds of a
// bundle's files. Cedar's parser recurses: what it is given must have been held
// against this.
func CheckCedar(file string, text []byte) error { return checkCedar(file, text) }
