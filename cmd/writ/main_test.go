package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the engine "sqlite"

	"github.com/writpdp/writ/test/prover"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"writ": func() { os.Exit(run(os.Args[1:], streams{out: os.Stdout, err: os.Stderr})) },
		"sql":  func() { os.Exit(execute(os.Args[1], os.Args[2])) },
	})
}

// execute runs a statement on an SQLite file, as whoever may write to it can.
func execute(file, statement string) int {
	db, err := sql.Open("sqlite", "file:"+file)
	if err == nil {
		_, err = db.Exec(statement)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sql:", err)
		return 1
	}
	return 0
}

// The scripts run the binary as a person would.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script", nil) }

// These run it with the real tools that it proves with.
func TestProveScripts(t *testing.T) {
	cedar, cvc5 := prover.Programs(t)
	runScripts(t, "testdata/prove", map[string]string{"CEDAR": cedar, "CVC5": cvc5})
}

func runScripts(t *testing.T, dir string, vars map[string]string) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			for name, value := range vars {
				env.Setenv(name, value)
			}
			return nil
		}})
}
