// Package pgtest gives tests databases on a real PostgreSQL server: a private
// one, which each test process starts when it needs it and which ends with the
// process, or one for a whole run of tests, named by the environment variable
// WRIT_TEST_POSTGRES (see the command cluster).
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable that holds the URL of a running
// server, of whose superuser the tests may make use.
const Variable = "WRIT_TEST_POSTGRES"

// server is the process's one server. A cluster that nobody can reach any more
// would be collected, its pipe closed and its server stopped, so it is held here.
var server = sync.OnceValues(func() (*Cluster, error) {
	if dsn := os.Getenv(Variable); dsn != "" {
		return &Cluster{DSN: dsn}, nil
	}
	return Start(context.Background())
})

// DSN is the URL of a new, empty database, which is dropped with the test. A test
// on a machine without PostgreSQL fails: it never skips.
func DSN(t testing.TB) string {
	t.Helper()
	cluster, err := server()
	if err != nil {
		t.Fatal(err)
	}
	admin := cluster.DSN
	name := "t_" + strings.ToLower(rand.Text())
	if err := execute(admin, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping a database: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil || u.Scheme == "" {
		t.Fatalf("%s is not a URL", Variable)
	}
	u.Path = "/" + name
	return u.String()
}

func execute(dsn, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, text)
	return err
}
