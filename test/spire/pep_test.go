package spire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/server/identity"
)

// job is what a process of this test is told to be, in the environment.
const job = "WRIT_TEST_PEP"

// What the PDPs of this test believe.
const (
	issuer   = "https://issuer.example.org"
	audience = "writ"
	agentID  = "spiffe://example.org/agent/support"
	tool     = "filesystem/list_directory"
)

// assignment says whom an enforcement point asks.
type assignment struct {
	// GRPC and HTTP are a PDP's addresses and Server its SPIFFE ID.
	GRPC, HTTP, Server string
	// WorkloadAPI gives the SVID.
	WorkloadAPI string
	// Issuer is the key of the tokens' issuer, PEM.
	Issuer []byte
	// Digest pins the tool.
	Digest string
}

// tally is what an enforcement point says twice a second, one line of JSON.
type tally struct {
	// Asked over gRPC and Evaluated over JSON are the answers, of which the
	// slowest took Slowest; Failed counts everything that was none, and First is
	// the first of these.
	Asked, Evaluated, Failed int
	Slowest                  time.Duration
	First                    string
	// Rotations is how often the SVID was renewed, Authority the key id of who
	// signed the newest, and Authorities how many the trust domain has.
	Rotations   int
	Authority   string
	Authorities int
	// ServerAuthority is the key id of who signed the certificate of the PDP at
	// the newest connection, of which Connections were made.
	ServerAuthority string
	Connections     int
}

// pep asks until its standard input ends.
func pep(text string) error {
	var a assignment
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	svids, err := workloadapi.NewX509Source(waiting, workloadapi.WithClientOptions(workloadapi.WithAddr(a.WorkloadAPI)))
	if err != nil {
		return err
	}
	defer svids.Close()
	p, err := newPoint(a, svids, patience)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { p.ask(ctx) })
	}
	group.Go(func() { p.follow(ctx, svids) })
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the test says so
	stop()
	group.Wait()
	return p.say()
}

// point is an enforcement point that counts.
type point struct {
	a      assignment
	minter *identity.Minter
	client *writ.Client
	web    *http.Client

	mu sync.Mutex // guards tally
	tally
}

// newPoint asks with SVIDs, for as long as it takes up to a time.
func newPoint(a assignment, svids writ.SVIDs, within time.Duration) (*point, error) {
	p := &point{a: a}
	var err error
	if p.minter, err = identity.ReadMinter(a.Issuer); err != nil {
		return nil, err
	}
	id, err := spiffeid.FromString(a.Server)
	if err != nil {
		return nil, err
	}
	config, err := writ.SPIFFE(svids, id)
	if err != nil {
		return nil, err
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { // after the verification
		p.mu.Lock()
		defer p.mu.Unlock()
		p.Connections++
		p.ServerAuthority = hex.EncodeToString(state.PeerCertificates[0].AuthorityKeyId)
		return nil
	}
	conn, err := grpc.NewClient(a.GRPC, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithDisableRetry())
	if err != nil {
		return nil, err
	}
	// The client tries again what fails; what counts is that nothing does. A
	// machine that is busy may be slow, and that is no failure.
	p.client, err = writ.New(writ.Config{Conn: raw{conn, p}, Token: p.token, Timeout: within, AttemptTimeout: within})
	p.web = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: within}
	return p, err
}

// raw counts each attempt that fails.
type raw struct {
	grpc.ClientConnInterface
	p *point
}

func (r raw) Invoke(ctx context.Context, method string, in, out any, options ...grpc.CallOption) error {
	err := r.ClientConnInterface.Invoke(ctx, method, in, out, options...)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		r.p.failed(fmt.Errorf("%s: %w", method, err))
	}
	return err
}

func (p *point) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Failed++; p.First == "" {
		p.First = time.Now().UTC().Format(time.RFC3339Nano) + " " + err.Error()
	}
}

func (p *point) token(context.Context) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	return p.minter.Mint(identity.Claims{Issuer: issuer, Audience: audience, Subject: agentID, Purposes: []string{"support"}}, time.Now(), id.String())
}

// ask asks over gRPC, and each tenth time over JSON, until ctx is done.
func (p *point) ask(ctx context.Context) {
	again := time.NewTicker(40 * time.Millisecond)
	defer again.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		do, count := p.decide, &p.Asked
		if n%10 == 0 {
			do, count = p.evaluate, &p.Evaluated
		}
		begun := time.Now()
		err := do(context.WithoutCancel(ctx))
		if err != nil {
			p.failed(err)
			continue
		}
		p.mu.Lock()
		*count++
		p.Slowest = max(p.Slowest, time.Since(begun))
		p.mu.Unlock()
	}
}

func (p *point) decide(ctx context.Context) error {
	d, err := p.client.Decide(ctx, writ.Call{Phase: writ.PhaseCall, Purpose: "support", Arguments: json.RawMessage(`{"path":"/srv/files/"}`),
		Tool: writ.Tool{Server: "filesystem", Name: "list_directory", Digest: p.a.Digest}})
	if err == nil && !d.Allowed() {
		err = fmt.Errorf("the answer is %v", d.Effect)
	}
	return err
}

func (p *point) evaluate(ctx context.Context) error {
	token, err := p.token(ctx)
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"subject":{"type":"agent","id":"","properties":{"token":%q}},"action":{"name":"tools/call"},
		"resource":{"type":"tool","id":%q,"properties":{"definition_digest":%q}},
		"context":{"purpose":"support","arguments":{"path":"/srv/files/"}}}`, token, tool, p.a.Digest)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.a.HTTP+"/access/v1/evaluation", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.web.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"decision":true`))) {
		err = fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	return err
}

// follow counts rotations, and says how things stand.
func (p *point) follow(ctx context.Context, svids *workloadapi.X509Source) {
	say := time.NewTicker(500 * time.Millisecond)
	defer say.Stop()
	serial := ""
	for {
		svid, err := svids.GetX509SVID()
		if err != nil {
			p.failed(err)
			return
		}
		bundle, err := svids.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
		if err != nil {
			p.failed(err)
			return
		}
		p.mu.Lock()
		if now := svid.Certificates[0].SerialNumber.String(); now != serial {
			if serial != "" {
				p.Rotations++
			}
			serial = now
		}
		p.Authority, p.Authorities = hex.EncodeToString(svid.Certificates[0].AuthorityKeyId), len(bundle.X509Authorities())
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-svids.Updated():
		case <-say.C:
			if err := p.say(); err != nil {
				p.failed(err)
			}
		}
	}
}

func (p *point) say() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.NewEncoder(os.Stdout).Encode(p.tally)
}
