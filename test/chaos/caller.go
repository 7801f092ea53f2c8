package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/test/bench/workload"
)

const (
	callers = 24
	// answerTime is how long a caller waits for one answer before it asks another
	// server.
	answerTime = 2 * time.Second
	// generation is how long one set of humans is asked for.
	generation = 4 * time.Second
	// shared is how many requests show the same token, of those that share.
	shared = 3
)

// load is what all callers have in common.
type load struct {
	site  *site
	start time.Time
	// ends is when no new question is asked any more.
	ends  context.Context
	drawn atomic.Int64 // of the shared tokens
	count counts

	mu      sync.Mutex // guards all below
	pool    map[int64]identityOf
	tickets []ticketOf
}

// counts are what the callers count.
type counts struct{ answered, allowed, denied, retried, settled, gone, refused atomic.Int64 }

// identityOf is a token with what it says.
type identityOf struct{ token, jti, agent, human string }

type ticketOf struct{ id, agent string }

func (l *load) since() int64 { return int64(time.Since(l.start)) }

// mint makes a token of a random agent for one of the present humans.
func (l *load) mint(r *rand.Rand, agent int) (identityOf, error) {
	now := time.Now()
	jti, err := uuid.NewV7()
	if err != nil {
		return identityOf{}, err
	}
	id := identityOf{jti: jti.String(), agent: workload.Agent(agent),
		human: l.human(r)}
	id.token, err = l.site.minter.Mint(identity.Claims{Issuer: workload.Issuer, Audience: workload.Audience, Subject: id.agent,
		OnBehalfOf: id.human, Purposes: []string{"support"}, Lifetime: identity.MaxLifetime}, now, id.jti)
	return id, err
}

// human is one of those that are asked for now. Most is done for one of them, whose
// budgets run out however slowly it goes.
func (l *load) human(r *rand.Rand) string {
	return fmt.Sprintf("clerk-%d-%d", time.Since(l.start)/generation, max(0, r.IntN(10)-5))
}

// share is a token that other callers show as well, at about the same time.
func (l *load) share(r *rand.Rand) (identityOf, error) {
	n := l.drawn.Add(1) / shared
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.pool[n]
	if !ok {
		var err error
		if id, err = l.mint(r, r.IntN(workload.Agents)); err != nil {
			return id, err
		}
		l.pool[n] = id
		delete(l.pool, n-64)
	}
	return id, nil
}

// ticket is one of the newest tickets, if there is any.
func (l *load) ticket(r *rand.Rand) (ticketOf, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tickets) == 0 {
		return ticketOf{}, false
	}
	newest := l.tickets[max(0, len(l.tickets)-4):]
	return newest[r.IntN(len(newest))], true
}

// caller asks one question after the other.
type caller struct {
	*load
	random  *rand.Rand
	journal *journal
}

// run asks until the load ends. The error is one of this program.
func (c *caller) run(ctx context.Context) error {
	for c.ends.Err() == nil && ctx.Err() == nil {
		q, in, err := c.draw()
		if err != nil {
			return err
		}
		if err := c.journal.write(line{Asked: q}); err != nil {
			return err
		}
		answer, err := c.insist(ctx, in)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if err := c.more(ctx, in, answer); err != nil {
			return err
		}
	}
	return nil
}

// draw makes a question.
func (c *caller) draw() (*asked, *writv1.DecideRequest, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	q := &asked{ID: id.String(), Tokens: 1 + c.random.Int64N(400), Micros: 1 + c.random.Int64N(200_000)}
	tool, arguments := "filesystem/list_directory", `{"path":"/srv/files/"}`
	var who identityOf
	kind := c.random.IntN(100)
	if t, ok := c.ticket(c.random); ok && kind < 15 {
		tool, arguments, q.Ticket = "stripe/create_refund", `{"payment_intent":"pi_1","amount":9000}`, t.id
		for i := range workload.Agents {
			if workload.Agent(i) == t.agent {
				who, err = c.mint(c.random, i)
			}
		}
	} else if kind < 40 {
		who, err = c.share(c.random)
	} else {
		who, err = c.mint(c.random, c.random.IntN(workload.Agents))
	}
	if err != nil {
		return nil, nil, err
	}
	q.Agent, q.Human, q.JTI = who.agent, who.human, who.jti
	server, called, _ := strings.Cut(tool, "/")
	name := decision.ToolName{Server: server, Name: called}
	return q, &writv1.DecideRequest{
		RequestId: q.ID, Phase: writv1.Phase_PHASE_CALL, PrincipalToken: who.token, Purpose: "support", TicketId: q.Ticket,
		Tool:                 &writv1.Tool{Server: name.Server, Name: name.Name, DefinitionDigest: c.site.bundle.Tools[name].Digest},
		Arguments:            []byte(arguments),
		Cost:                 &writv1.Cost{Calls: 1, Tokens: q.Tokens, Micros: q.Micros, Currency: "USD"},
		SupportedObligations: []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark"},
	}, nil
}

// insist asks one server after the other, with the same request id, until there is
// an answer, and writes down what it is. nil: the run ended first.
func (c *caller) insist(ctx context.Context, in *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	at := c.random.IntN(replicas)
	for try := 0; ; try++ {
		began := c.since()
		asking, cancel := context.WithTimeout(ctx, answerTime)
		answer, err := c.site.replicas[at].client.Decide(asking, in)
		cancel()
		if err == nil {
			t := &told{ID: answer.RequestId, Replica: at, Began: began, Came: c.since(), Effect: int32(answer.Effect),
				Allowed: answer.Effect != writv1.Effect_EFFECT_DENY, Decision: answer.DecisionId, Replayed: answer.Replayed,
				Leaf: answer.Receipt.GetLeafHash(), Size: answer.Receipt.GetLogSize()}
			if t.Allowed {
				t.Charged = charged(answer.Budgets)
			}
			if try > 0 {
				c.count.retried.Add(1)
			}
			c.answered(t)
			return answer, c.journal.write(line{Told: t})
		}
		if ctx.Err() != nil {
			c.count.gone.Add(1)
			return nil, c.journal.write(line{Gone: in.RequestId})
		}
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.AlreadyExists || code == codes.PermissionDenied {
			return nil, fmt.Errorf("asking: %w", err) // the question is wrong
		}
		pause(ctx, time.Duration(10+c.random.IntN(90))*time.Millisecond)
		at = (at + 1 + c.random.IntN(replicas-1)) % replicas
	}
}

func (c *caller) answered(t *told) {
	c.count.answered.Add(1)
	if t.Allowed {
		c.count.allowed.Add(1)
	} else {
		c.count.denied.Add(1)
	}
}

// charged is what budgets were charged, by their ids.
func charged(lines []*writv1.BudgetLine) map[string]int64 {
	all := map[string]int64{}
	for _, l := range lines {
		all[l.Budget] = l.Reserved
	}
	return all
}

// more asks again, misuses the request id, and reports what the action cost, each
// of some answers.
func (c *caller) more(ctx context.Context, in *writv1.DecideRequest, answer *writv1.DecideResponse) error {
	if c.random.IntN(20) == 0 {
		if _, err := c.insist(ctx, in); err != nil {
			return err
		}
	}
	if c.random.IntN(50) == 0 {
		if err := c.misuse(ctx, in); err != nil {
			return err
		}
	}
	if answer.Effect == writv1.Effect_EFFECT_DENY || c.random.IntN(2) == 0 {
		return nil
	}
	// Half of them cost less than what was reserved, and some more.
	tokens, micros := c.random.Int64N(2*in.Cost.Tokens), c.random.Int64N(2*in.Cost.Micros)
	r := &reported{Decision: answer.DecisionId, Tokens: tokens, Micros: micros}
	if err := c.journal.write(line{Reported: r}); err != nil {
		return err
	}
	return c.settle(ctx, r)
}

// misuse asks another question under the same request id, which must be refused.
func (c *caller) misuse(ctx context.Context, in *writv1.DecideRequest) error {
	other := proto.CloneOf(in)
	other.SessionId = "another"
	asking, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := c.site.replicas[c.random.IntN(replicas)].client.Decide(asking, other)
	if err != nil {
		if status.Code(err) == codes.AlreadyExists {
			c.count.refused.Add(1)
		}
		return nil // not answered is not wrong
	}
	// Written down, it is a second answer to one request.
	return c.journal.write(line{Told: &told{ID: answer.RequestId, Decision: "another than " + answer.DecisionId, Effect: int32(answer.Effect)}})
}

// settle reports to one server after the other until there is an answer.
func (c *caller) settle(ctx context.Context, r *reported) error {
	in := &writv1.SettleRequest{DecisionId: r.Decision, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED, Actual: &writv1.Cost{Calls: 1, Tokens: r.Tokens, Micros: r.Micros}}
	if r.Micros > 0 {
		in.Actual.Currency = "USD"
	}
	for at := c.random.IntN(replicas); ctx.Err() == nil; at = (at + 1) % replicas {
		asking, cancel := context.WithTimeout(ctx, answerTime)
		answer, err := c.site.replicas[at].client.Settle(asking, in)
		cancel()
		if err == nil {
			c.count.settled.Add(1)
			return c.journal.write(line{Settled: &settled{Decision: r.Decision, Settlement: answer.SettlementId,
				Leaf: answer.Receipt.GetLeafHash(), Size: answer.Receipt.GetLogSize(), Charged: charged(answer.Budgets)}})
		}
		switch status.Code(err) {
		case codes.NotFound:
			// Its decision was told, and is gone: the checker misses it as well.
			return nil
		case codes.InvalidArgument, codes.AlreadyExists, codes.FailedPrecondition:
			return fmt.Errorf("settling: %w", err)
		}
		pause(ctx, time.Duration(10+c.random.IntN(90))*time.Millisecond)
	}
	return nil
}
