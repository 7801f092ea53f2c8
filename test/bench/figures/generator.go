package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/test/bench/workload"
)

// connections is how many the callers of one server share, as the callers of one
// gateway do.
const connections = 4

// pace is how far apart requests are, by their ids.
const pace = 50 * time.Microsecond

// patience ends a run that hangs.
const patience = 2 * time.Minute

// generatorConfig is what the load generator must know before it starts.
type generatorConfig struct {
	Trust *trust
	// Digest is that of workload.Tool's definition.
	Digest string
}

// drive is one run: a closed loop of callers, each asking its next question when
// it has the answer to the last.
type drive struct {
	Address  string
	Callers  int
	Requests int
	// Echo is the size of an echo's question on the wire; 0: decisions are asked.
	Echo int
}

// exchange are the sizes of one decision on the wire, in bytes.
type exchange struct{ Request, Response int }

// playLoad runs the load generator.
func playLoad(ctx context.Context) (*role, error) {
	g := &generator{connections: map[string][]*grpc.ClientConn{}}
	return &role{stop: g.close, methods: map[string]func(json.RawMessage) (any, error){
		"ready": method(func(c generatorConfig) (none, error) { return none{}, g.ready(c) }),
		"probe": method(func(address string) (exchange, error) { return g.probe(ctx, address) }),
		"drive": method(func(d drive) (sample, error) { return g.drive(ctx, d) }),
		"flip":  method(func(f flips) (stops, error) { return g.flip(ctx, f) }),
	}}, nil
}

type generator struct {
	trust       *trust
	agency      *workload.Agency
	connections map[string][]*grpc.ClientConn // by address
	asked       int
}

func (g *generator) ready(c generatorConfig) error {
	minter, err := identity.ReadMinter(c.Trust.Issuer)
	if err != nil {
		return err
	}
	g.trust, g.agency = c.Trust, workload.NewAgency(minter, c.Digest, rand.Reader)
	return nil
}

func (g *generator) close() error {
	var errs []error
	for _, all := range g.connections {
		for _, c := range all {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// dial returns the connections to a server.
func (g *generator) dial(address string) ([]*grpc.ClientConn, error) {
	if all := g.connections[address]; all != nil {
		return all, nil
	}
	config, err := g.trust.client()
	if err != nil {
		return nil, err
	}
	for range connections {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(encoded{}), grpc.StaticMethod()))
		if err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", address, err)
		}
		g.connections[address] = append(g.connections[address], c)
	}
	return g.connections[address], nil
}

// probe makes one decision and tells the sizes of both messages.
func (g *generator) probe(ctx context.Context, address string) (exchange, error) {
	all, err := g.dial(address)
	if err != nil {
		return exchange{}, err
	}
	questions, err := g.questions(drive{Requests: 1})
	if err != nil {
		return exchange{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var answer []byte
	err = all[0].Invoke(ctx, writv1.DecisionService_Decide_FullMethodName, questions[0], &answer, grpc.WaitForReady(true))
	if err == nil {
		err = allowed(answer)
	}
	return exchange{len(questions[0]), len(answer)}, err
}

// drive prepares every question, tokens included, and then asks them. The first
// tenth is not counted: until then the servers and connections warm up.
func (g *generator) drive(ctx context.Context, d drive) (sample, error) {
	all, err := g.dial(d.Address)
	if err != nil {
		return sample{}, err
	}
	questions, err := g.questions(d)
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(patience, cancel).Stop()
	r := &running{drive: d, questions: questions, warm: len(questions) / 10, latencies: make([]time.Duration, len(questions))}
	runtime.GC() // of what the preparation left
	before, err := usage(none{})
	if err != nil {
		return sample{}, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range d.Callers {
		group.Go(func() error { return r.call(ctx, all[i%len(all)]) })
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	end := time.Now()
	after, err := usage(none{})
	if err != nil {
		return sample{}, err
	}
	counted := r.latencies[r.warm:]
	slices.Sort(counted)
	return sample{
		Rate: float64(len(counted)) / end.Sub(r.start).Seconds(), Requests: len(questions),
		P50: percentile(counted, 0.5).Seconds(), P99: percentile(counted, 0.99).Seconds(),
		LoadCPU: (after - before) / float64(len(questions)),
	}, nil
}

// questions are the encoded requests of a run.
func (g *generator) questions(d drive) ([][]byte, error) {
	all := make([][]byte, d.Requests)
	if d.Echo > 0 {
		question, err := proto.Marshal(wrapperspb.Bytes(payload(d.Echo)))
		if err != nil {
			return nil, fmt.Errorf("encoding an echo: %w", err)
		}
		for i := range all {
			all[i] = question
		}
		return all, nil
	}
	var group errgroup.Group
	group.SetLimit(4)
	now, first, part := time.Now(), g.asked, max(1, len(all)/16)
	g.asked += len(all)
	for from := 0; from < len(all); from += part {
		group.Go(func() error {
			for i := from; i < min(from+part, len(all)); i++ {
				request, err := g.agency.Request(first+i, now, now.Add(time.Duration(i)*pace))
				if err != nil {
					return err
				}
				if all[i], err = proto.Marshal(request); err != nil {
					return fmt.Errorf("encoding a request: %w", err)
				}
			}
			return nil
		})
	}
	return all, group.Wait()
}

// running is a run under way.
type running struct {
	drive     drive
	questions [][]byte
	warm      int
	next      atomic.Int64

	start     time.Time // set by the caller of the first question that counts
	latencies []time.Duration
}

// call is the life of one caller.
func (r *running) call(ctx context.Context, c *grpc.ClientConn) error {
	name := writv1.DecisionService_Decide_FullMethodName
	if r.drive.Echo > 0 {
		name = echoMethod
	}
	var answer []byte
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.questions) {
			return nil
		}
		began := time.Now()
		if i == r.warm {
			r.start = began
		}
		if err := c.Invoke(ctx, name, r.questions[i], &answer); err != nil {
			return fmt.Errorf("asking: %w", err)
		}
		r.latencies[i] = time.Since(began)
		if r.drive.Echo > 0 {
			continue
		}
		if err := allowed(answer); err != nil {
			return err
		}
	}
}
