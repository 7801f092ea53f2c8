package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc/credentials"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/policy"
)

// The scripts run `writ serve` on PostgreSQL, without TLS, and change what its
// bundle is made from. They have further commands:
//
//	token FILE           makes a principal token
//	await FILE REGEXP    waits until a file matches
//	serving LOG          waits until the server of a log serves, and sets GRPC, HTTP and PROBES
//	ready REGEXP         waits until /readyz of PROBES answers what matches
func TestServeScripts(t *testing.T) {
	var s *site
	testscript.Run(t, testscript.Params{
		Dir: "testdata/serve", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			s = newSiteIn(t, env.WorkDir) // one script at a time: none is parallel
			succeed(t, "migrate", "--database-file", s.path("database"))
			env.Setenv("GIT_CONFIG_GLOBAL", env.WorkDir+"/gitconfig")
			env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"token": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(s.token(t)), 0o600))
			},
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				await(ts, args[1], func() string {
					text, err := os.ReadFile(ts.MkAbs(args[0]))
					ts.Check(err)
					return string(text)
				})
			},
			"serving": func(ts *testscript.TestScript, _ bool, args []string) {
				line := await(ts, `(?m)^.*"msg":"serving".*$`, func() string {
					text, err := os.ReadFile(ts.MkAbs(args[0]))
					if err != nil {
						return err.Error() // not yet
					}
					return string(text)
				})
				var at struct{ GRPC, HTTP, Probes string }
				ts.Check(json.Unmarshal([]byte(line), &at))
				ts.Setenv("GRPC", at.GRPC)
				ts.Setenv("HTTP", at.HTTP)
				ts.Setenv("PROBES", at.Probes)
			},
			"ready": func(ts *testscript.TestScript, _ bool, args []string) {
				await(ts, args[0], func() string {
					response, err := http.Get("http://" + ts.Getenv("PROBES") + "/readyz")
					ts.Check(err)
					defer response.Body.Close()
					body, err := io.ReadAll(response.Body)
					ts.Check(err)
					return fmt.Sprintf("%d %s", response.StatusCode, body)
				})
			},
		},
	})
}

// await looks until what it sees matches, and returns what matched.
func await(ts *testscript.TestScript, pattern string, look func() string) string {
	wanted, err := regexp.Compile(pattern)
	ts.Check(err)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(time.Minute)
	for {
		seen := look()
		if wanted.MatchString(seen) {
			return wanted.FindString(seen)
		}
		select {
		case <-again.C:
		case <-late:
			ts.Fatalf("no %s in:\n%s", pattern, strings.TrimSpace(seen))
		}
	}
}

// A server under load moves from bundle to bundle and back: every question is
// answered, by one bundle or the other.
func TestServeMoves(t *testing.T) {
	s := migrated(t)
	s.write(t, "writ.yaml", strings.Replace(goodConfig, "bundle: policies\n", "bundle:\n  directory: policies\n  trust: none\n  poll: 1s\n", 1))
	p := s.serve(t)
	client := p.dial(t, credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway))))
	ctx, stop := context.WithCancel(t.Context())
	digests := make(chan string)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				answer, err := client.Decide(t.Context(), s.listing(t))
				if err != nil || answer.Effect != writv1.Effect_EFFECT_ALLOW {
					t.Errorf("got %v, %v", answer, err)
					return
				}
				select {
				case digests <- answer.BundleDigest:
				case <-ctx.Done():
				}
			}
		})
	}
	defer group.Wait()
	defer stop()
	manifest := s.path("policies/writ.yaml")
	text, err := os.ReadFile(manifest)
	must(t, err)
	for i, want := range []string{"", s.bundle.Digest} {
		if i == 0 {
			must(t, os.WriteFile(manifest, append([]byte("# another\n"), text...), 0o600))
			b, err := policy.Load(os.DirFS(s.path("policies")))
			must(t, err)
			want = b.Digest
		} else {
			must(t, os.WriteFile(manifest, text, 0o600))
		}
		for late := time.After(time.Minute); ; {
			var got string
			select {
			case got = <-digests:
			case <-late:
				t.Fatalf("it does not move to %s: %s", want, p.stderr)
			}
			if got == want {
				break
			}
		}
	}
}
