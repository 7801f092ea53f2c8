package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/writpdp/writ/"

// lattice is who may import what of ours: imports run down. A package that is
// not here may not exist, and widening a line is a change of the design.
// Tests may import what they need.
var lattice = map[string]string{
	"document":                    "",
	"proto/writ/v1":               "",
	"policies":                    "",
	"policies/policiestest":       "policies",
	"migrations":                  "",
	"server/content":              "document",
	"server/content/detect":       "document server/content/detect/check server/content/detect/leak server/content/detect/words",
	"server/decision":             "document server/content server/content/detect server/content/result server/egress",
	"server/decision/stage":       "document server/content server/content/detect server/content/result server/decision server/egress",
	"server/policy":               "address document server/content server/content/detect server/content/result server/decision server/egress server/policy/access server/policy/clause server/policy/partial server/policy/redact server/policy/session",
	"server/policy/session":       "server/decision server/policy/clause",
	"server/policy/access":        "server/decision",
	"server/audit":                "address document proto/writ/v1 server/content/detect server/content/result server/decision server/egress server/secret",
	"server/identity":             "document proto/writ/v1 server/decision server/identity/crowd server/secret",
	"server/identity/crowd":       "",
	"server/secret":               "",
	"server/signer":               "server/secret",
	"server/identity/jwks":        "server/identity",
	"server/face/authzen":         "document proto/writ/v1 server/decision",
	"server/face/webhook":         "document server/audit server/decision server/secret server/ticket",
	"server/quick":                "proto/writ/v1",
	"server":                      "document proto/writ/v1 server/audit server/decision server/egress server/face/authzen server/identity server/pseudonym server/quick server/respond server/ticket",
	"store/lane":                  "server/audit server/decision",
	"store/sqlite":                "migrations server/audit server/decision store/lane",
	"store/postgres":              "migrations server/audit server/decision store/lane",
	"store/spool":                 "server/audit server/decision store/lane",
	"clients/go":                  "address document proto/writ/v1",
	"server/policy/clause":        "",
	"server/policy/suite":         "document server/decision server/decision/stage server/egress server/policy",
	"server/policy/coverage":      "server/decision server/policy server/policy/clause",
	"server/policy/table":         "server/decision server/decision/stage server/policy",
	"server/policy/diff":          "server/decision server/policy server/policy/prove server/policy/table",
	"server/policy/policytest":    "document server/decision server/policy",
	"server/policy/prove":         "document server/content/detect server/decision server/egress server/policy",
	"server/policy/prove/symcc":   "server/policy/prove",
	"server/policy/report":        "server/policy/coverage",
	"server/policy/reach":         "server/policy",
	"server/policy/listing":       "document",
	"server/policy/lint":          "address document server/decision server/egress server/policy server/policy/listing server/policy/reach",
	"server/policy/trust":         "",
	"server/policy/source/pack":   "",
	"server/policy/source":        "server/policy/source/pack server/policy/trust",
	"server/policy/follow":        "server/decision server/policy server/policy/source server/policy/trust",
	"server/policy/archive":       "server/decision server/policy",
	"server/respond":              "server/audit server/decision",
	"server/ticket":               "server/audit server/decision",
	"server/rollout":              "server/audit server/decision server/policy/archive",
	"server/policy/partial":       "document",
	"server/transport":            "",
	"server/telemetry":            "",
	"server/clock":                "",
	"server/replay":               "document proto/writ/v1 server/audit server/decision server/decision/stage",
	"server/content/detect/check": "",
	"server/content/detect/leak":  "server/content/detect/words",
	"server/content/detect/words": "",
	"address":                     "",
	"server/egress":               "address document",
	"server/content/result":       "document server/content",
	"server/policy/redact":        "document server/content server/content/detect server/decision",
	"server/pseudonym":            "document server/secret",
}

// anything may be imported by these: the binary, and what is only for tests.
var anything = []string{"cmd/", "test", "store/storetest", "clients/go/writtest"}

// never is what packages must not import of others, by prefix of the package.
var never = []struct {
	under    string
	packages []string
}{
	{"server/decision", []string{"context", "net", "os", "log", "sync", "math/rand", "crypto/rand", "io", "database/sql"}},
	{"address", []string{"context", "net/http", "os", "io", "log"}},
	{"server/egress", []string{"context", "net/http", "os", "io", "log", "math/rand", "crypto/rand", "database/sql"}},
	{"server/content", []string{"context", "net", "os", "log", "math/rand", "crypto/rand", "database/sql"}},
	{"document", []string{"context", "net", "os", "log", "math/rand", "crypto/rand", "database/sql"}},
	{"server/policy/trust", []string{"net", "os", "log", "math/rand", "crypto/rand"}},
	{"server/policy/source/pack", []string{"context", "net", "os", "log"}},
	{"server", []string{"github.com/jackc/pgx", "modernc.org/sqlite", "database/sql"}},
	{"server/decision", []string{"google.golang.org", "go.opentelemetry.io", "github.com/cedar-policy"}},
	{"server/policy", []string{"google.golang.org/grpc"}},
	{"server/audit", []string{"google.golang.org/grpc"}},
	{"store", []string{"google.golang.org"}},
}

// addresses is below net and touches no network: it has the types of addresses.
const addresses = "net/netip"

// pure packages must not ask for the time: it is an argument.
var pure = []string{"address", "document", "server/egress", "server/content", "server/decision", "server/policy", "server/audit", "server/replay", "server/identity", "server/face", "server/rollout", "server/respond", "server/clock", "server/ticket"}

func TestImportsRunDown(t *testing.T) {
	seen := map[string]bool{}
	walkGo(t, func(dir, file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") || slices.ContainsFunc(anything, func(p string) bool {
			return dir == strings.TrimSuffix(p, "/") || strings.HasPrefix(dir, strings.TrimSuffix(p, "/")+"/")
		}) {
			return
		}
		allowed, known := lattice[dir]
		if !known {
			t.Errorf("%s: the package %s is not in the lattice", file, dir)
			return
		}
		seen[dir] = true
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if ours, ok := strings.CutPrefix(path, module); ok {
				if !slices.Contains(strings.Fields(allowed), ours) {
					t.Errorf("%s: %s may not import %s", file, dir, ours)
				}
				continue
			}
			for _, rule := range never {
				if within(dir, rule.under) && slices.ContainsFunc(rule.packages, func(p string) bool { return within(path, p) && path != addresses }) {
					t.Errorf("%s: %s may not import %s", file, dir, path)
				}
			}
		}
	})
	for dir := range lattice {
		if !seen[dir] {
			t.Errorf("the lattice names %s, which does not exist", dir)
		}
	}
}

// Time is an argument in everything pure.
func TestPureAsksForNoTime(t *testing.T) {
	walkGo(t, func(dir, file string, f *ast.File) {
		if strings.HasSuffix(file, "_test.go") || !slices.ContainsFunc(pure, func(p string) bool { return within(dir, p) }) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep"}, sel.Sel.Name) {
					t.Errorf("%s: time.%s in a package that is told the time", file, sel.Sel.Name)
				}
			}
			return true
		})
	})
}

// Tests wait for conditions, never for time to pass.
func TestNoSleepInTests(t *testing.T) {
	walkGo(t, func(_, file string, f *ast.File) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && !usesSynctest(f) {
				t.Errorf("%s: time.Sleep in a test without testing/synctest", file)
			}
			return true
		})
	})
}

func usesSynctest(f *ast.File) bool {
	return slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` })
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// walkGo visits every Go file of the module.
func walkGo(t *testing.T, visit func(dir, file string, f *ast.File)) {
	t.Helper()
	root := ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name := d.Name(); {
			case path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"):
				return filepath.SkipDir
			case path == filepath.Join(root, "tools"): // a module of its own
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(filepath.Dir(rel)), filepath.ToSlash(rel), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
