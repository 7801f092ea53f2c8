// Package suite reads a bundle's tests and runs them: questions about fixtures,
// with what must be answered. Each is decided by the stages that the server
// runs, on a snapshot that the suite states, so tickets, purposes and budgets
// count as they do there. It does no I/O but reading the bundle's files.
package suite

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// Case is one question with what must be answered.
type Case struct {
	// Suite and Name together name it; File and Place are where it stands.
	Suite, Name, File string
	Place

	// Request and Facts are put to the stages at the moment At.
	Request *decision.Request
	Facts   decision.Facts
	At      time.Time

	want want
	// cedar is the question in Cedar's own form; nil: it is in ours.
	cedar *cedarCase
}

// ID is what a filter is held against: "suite/name".
func (c *Case) ID() string { return c.Suite + "/" + c.Name }

// file is one file of tests.
type file struct {
	// Name of the suite; empty: the file's name.
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// Now is the moment at which every case is decided.
	Now time.Time `yaml:"now"`
	// Caller is the enforcement point's SPIFFE ID and Tenant whose it is; empty:
	// the one whose directory the file is in, or some.
	Caller string `yaml:"caller"`
	Tenant string `yaml:"tenant"`
	// The fixtures, by name.
	Principals map[string]Who              `yaml:"principals"`
	Requests   map[string]What             `yaml:"requests"`
	Tickets    map[string]Ticket           `yaml:"tickets"`
	Budgets    map[string]map[string]int64 `yaml:"budgets"`
	Sessions   map[string]session          `yaml:"sessions"`

	Matrix []matrix   `yaml:"matrix"`
	Cases  []caseFile `yaml:"cases"`
}

// session is one run of an agent.
type session struct {
	// ID is the run's id; empty: the fixture's name.
	ID   string `yaml:"id"`
	Held `yaml:",inline"`
	// Calls are those that were decided in it, for results to belong to.
	Calls map[string]struct {
		Principal word `yaml:"principal"`
		Request   word `yaml:"request"`
		Denied    bool `yaml:"denied"`
		Ticket    word `yaml:"ticket"` // that it redeemed
	} `yaml:"calls"`
}

// matrix is a table of principals by requests.
type matrix struct {
	Name    word                       `yaml:"name"`
	Session word                       `yaml:"session"`
	Budgets word                       `yaml:"budgets"`
	Expect  map[string]map[string]word `yaml:"expect"`
}

// caseFile is one case as it is written.
type caseFile struct {
	Name        word       `yaml:"name"`
	Description string     `yaml:"description"`
	Principal   word       `yaml:"principal"`
	Request     word       `yaml:"request"`
	With        changes    `yaml:"with"` // put over the request
	Session     word       `yaml:"session"`
	Call        word       `yaml:"call"` // of the session
	Ticket      word       `yaml:"ticket"`
	Budgets     word       `yaml:"budgets"`
	TokenUsed   bool       `yaml:"token_used"`
	Now         *time.Time `yaml:"now"`
	Expect      want       `yaml:"expect"`
}

// maxCases bounds the cases of a bundle.
const maxCases = 100_000

// Load reads the cases of a bundle: tests/*.yaml, and tests/*.json in the form
// that Cedar's own command line runs; and the same in tests/tenants/TENANT, which
// are about that tenant alone. What is wrong is said with file, line and column.
func Load(fsys fs.FS, b *decision.Bundle) ([]*Case, error) {
	tenants, err := policy.TenantDirectories(fsys, policy.DirTests)
	if err != nil {
		return nil, err
	}
	all, suites := []*Case(nil), map[string]string{}
	for _, tenant := range append([]string{""}, tenants...) {
		if all, err = load(fsys, b, tenant, all, suites); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b *Case) int { return strings.Compare(a.File, b.File) })
	return all, nil
}

// load adds the cases of a tenant's directory, or of everybody's. suites are the
// files of those that were read, by name.
func load(fsys fs.FS, b *decision.Bundle, tenant string, all []*Case, suites map[string]string) ([]*Case, error) {
	dir := policy.DirTests
	if tenant != "" {
		dir = policy.TenantDirectory(dir, tenant)
	}
	if strange, err := policy.List(fsys, dir, ".yml"); err != nil || len(strange) > 0 {
		return nil, cmp.Or(err, fmt.Errorf("%s: tests stand in files that end in .yaml or .json", strings.Join(strange, ", ")))
	}
	for _, form := range []struct {
		ext  string
		read func(name string, data []byte, tenant string, b *decision.Bundle) ([]*Case, error)
	}{{".yaml", readSuite}, {".json", readCedar}} {
		names, err := policy.List(fsys, dir, form.ext)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := policy.ReadFile(fsys, name)
			if err != nil {
				return nil, err
			}
			cases, err := form.read(name, data, tenant, b)
			if err != nil {
				return nil, err
			}
			if all = append(all, cases...); len(all) > maxCases {
				return nil, fmt.Errorf("%s: more than %d cases", policy.DirTests, maxCases)
			}
			for _, c := range cases {
				if other, taken := suites[c.Suite]; taken && other != name {
					return nil, fmt.Errorf("%s: the suite %q is in %s too", name, c.Suite, other)
				}
				suites[c.Suite] = name
			}
		}
	}
	return all, nil
}

// reader makes the cases of one file.
type reader struct {
	file
	name   string
	bundle *decision.Bundle
	caller decision.Caller
	taken  map[string]bool
}

func readSuite(name string, data []byte, tenant string, b *decision.Bundle) ([]*Case, error) {
	r := &reader{name: name, bundle: b, taken: map[string]bool{}}
	if err := policy.DecodeYAML(name, data, &r.file); err != nil {
		return nil, err
	}
	if r.Now.IsZero() {
		return nil, fmt.Errorf("%s: now is missing: tests do not read the clock", name)
	}
	if r.Name == "" {
		r.Name = path.Join(tenant, strings.TrimSuffix(path.Base(name), path.Ext(name)))
	}
	if tenant != "" && r.Tenant != "" && r.Tenant != tenant {
		return nil, fmt.Errorf("%s: the tenant is %q, and the directory is that of %q", name, r.Tenant, tenant)
	}
	r.caller = caller(r.Caller, cmp.Or(r.Tenant, tenant))
	for _, fixture := range slices.Sorted(maps.Keys(r.Budgets)) {
		if err := knownBudgets(b, r.Budgets[fixture]); err != nil {
			return nil, fmt.Errorf("%s: budgets.%s: %w", name, fixture, err)
		}
	}
	var all []*Case
	for i := range r.Matrix {
		cases, err := r.matrix(&r.Matrix[i])
		if err != nil {
			return nil, err
		}
		if all = append(all, cases...); len(all) > maxCases {
			return nil, fmt.Errorf("%s: more than %d cases", name, maxCases)
		}
	}
	for i := range r.Cases {
		c, err := r.one(&r.Cases[i])
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// caller is the enforcement point that asks.
func caller(id, tenant string) decision.Caller {
	return decision.Caller{SPIFFEID: cmp.Or(id, "spiffe://example.org/gateway"), Tenant: cmp.Or(tenant, "example")}
}

// wrong is an error at a place of the file.
func (r *reader) wrong(p Place, format string, args ...any) error {
	if p == (Place{}) { // what should be there is not
		return fmt.Errorf("%s: %s", r.name, fmt.Sprintf(format, args...))
	}
	return fmt.Errorf("%s:%d:%d: %s", r.name, p.Line, p.Column, fmt.Sprintf(format, args...))
}

func (r *reader) matrix(m *matrix) ([]*Case, error) {
	if len(m.Expect) == 0 {
		return nil, r.wrong(m.Name.Place, "the matrix expects nothing")
	}
	columns, cells := map[string]bool{}, 0
	for _, row := range m.Expect {
		if cells += len(row); cells > maxCases { // aliases make them of little text
			return nil, r.wrong(m.Name.Place, "the matrix has more than %d cells", maxCases)
		}
		for request := range row {
			columns[request] = true
		}
	}
	requests := slices.Sorted(maps.Keys(columns))
	var all []*Case
	for _, principal := range slices.Sorted(maps.Keys(m.Expect)) {
		row := m.Expect[principal]
		for _, request := range requests {
			cell, ok := row[request]
			if !ok {
				return nil, r.wrong(m.Name.Place, "the matrix says nothing of %s and %s", principal, request)
			}
			at := func(text string) word { return word{text: text, Place: cell.Place} }
			name := principal + " " + request
			if m.Name.text != "" {
				name = m.Name.text + ": " + name
			}
			c, err := r.one(&caseFile{Name: at(name), Principal: at(principal), Request: at(request), Session: m.Session, Budgets: m.Budgets,
				Expect: want{Effect: cell}})
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	return all, nil
}

// one makes one case.
func (r *reader) one(in *caseFile) (*Case, error) {
	c := &Case{Suite: r.Name, Name: in.Name.text, File: r.name, Place: in.Name.Place, At: r.Now, want: in.Expect}
	if in.Now != nil {
		c.At = *in.Now
	}
	if c.Name == "" {
		return nil, r.wrong(in.Principal.Place, "a case has no name")
	}
	if r.taken[c.Name] {
		return nil, r.wrong(c.Place, "there is another case %q", c.Name)
	}
	r.taken[c.Name] = true
	if err := in.Expect.check(); err != nil {
		return nil, r.wrong(c.Place, "%v", err)
	}
	ask, err := r.ask(in.Principal, in.Request)
	if err != nil {
		return nil, err
	}
	if err := in.With.over(&ask.What); err != nil {
		return nil, fmt.Errorf("%s:%s", r.name, policy.YAMLMessage(err))
	}
	run, err := r.session(in.Session)
	if err != nil {
		return nil, err
	}
	ask.Session, ask.Ticket = run.ID, in.Ticket.text
	if c.Request, err = ask.Request(r.bundle, r.caller); err != nil {
		return nil, r.wrong(c.Place, "%v", err)
	}
	c.Facts.TokenUsed = in.TokenUsed
	if c.Facts.Ticket, err = r.ticket(in.Ticket); err != nil {
		return nil, err
	}
	if err := r.result(c, in, run); err != nil {
		return nil, err
	}
	if err := r.budgets(c, in.Budgets); err != nil {
		return nil, err
	}
	if err := run.Used(r.bundle, c.Request, c.At, c.Facts.Used); err != nil {
		return nil, r.wrong(in.Session.Place, "%v", err)
	}
	return c, nil
}

// ask puts a principal and a request together.
func (r *reader) ask(principal, request word) (Ask, error) {
	who, ok := r.Principals[principal.text]
	if !ok {
		return Ask{}, r.wrong(principal.Place, "there is no principal %q", principal.text)
	}
	what, ok := r.Requests[request.text]
	if !ok {
		return Ask{}, r.wrong(request.Place, "there is no request %q", request.text)
	}
	return Ask{Who: who, What: what}, nil
}

func (r *reader) session(name word) (session, error) {
	if name.text == "" {
		return session{}, nil
	}
	run, ok := r.Sessions[name.text]
	if !ok {
		return run, r.wrong(name.Place, "there is no session %q", name.text)
	}
	if run.ID == "" {
		run.ID = name.text
	}
	return run, nil
}
