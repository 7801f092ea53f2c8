package main

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Two servers on one database, and requests that race for tokens, four for each:
// every token is accepted for exactly one of them.
func TestServersAcceptATokenOnce(t *testing.T) {
	s := migrated(t)
	const tokens, copies, workers = 2500, 4, 64
	config := credentials.NewTLS(&tls.Config{RootCAs: s.ca.pool(), Certificates: []tls.Certificate{s.ca.issue(t, nil, testGateway)}, ServerName: "localhost"})
	servers := []writv1.DecisionServiceClient{s.serve(t).dial(t, config), s.serve(t).dial(t, config)}

	type race struct {
		in            *writv1.DecideRequest
		token, server int
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	// some are the copies of a few tokens, in any order, so that they race.
	some := func(first int) (all []race) {
		for token := first; token < min(first+workers/copies, tokens); token++ {
			in := s.listing(t)
			for c := range copies {
				in := proto.CloneOf(in)
				in.RequestId = uuid.Must(uuid.NewV7()).String()
				all = append(all, race{in, token, c % len(servers)})
			}
		}
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all
	}

	var mu sync.Mutex // guards the counts
	allowed, denied := make([]int, tokens), map[string]int{}
	ask := make(chan race)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for r := range ask {
				out, err := servers[r.server].Decide(t.Context(), r.in)
				mu.Lock()
				switch {
				case err != nil:
					t.Errorf("token %d: %v", r.token, err)
				case out.Effect == writv1.Effect_EFFECT_ALLOW:
					allowed[r.token]++
				default:
					denied[fmt.Sprint(out.Reasons[0].Code)]++
				}
				mu.Unlock()
			}
		})
	}
	for first := 0; first < tokens; first += workers / copies {
		for _, r := range some(first) {
			ask <- r
		}
	}
	close(ask)
	wait.Wait()
	for token, n := range allowed {
		if n != 1 {
			t.Errorf("token %d was accepted %d times", token, n)
		}
	}
	if got, want := denied["token.replayed"], tokens*(copies-1); got != want {
		t.Errorf("%d requests were denied for their token, want %d: %v", got, want, denied)
	}
	if out := succeed(t, "log", "verify", "--database-file", s.path("database"), "--key", s.path("log.pub")); out == "" {
		t.Error("the log says nothing")
	}
}
