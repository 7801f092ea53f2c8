package spire_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/writpdp/writ/policies"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/test/spire"
)

const (
	// svidLife is short, so that SVIDs are renewed every ten seconds: SPIRE dates
	// them back by ten, and renews at half of the life.
	svidLife = 30 * time.Second
	// traffic is how long enforcement points ask, at least, and rotations how
	// often everybody's certificate is renewed meanwhile, at least.
	traffic   = 60 * time.Second
	rotations = 3
)

// Users whose processes SPIRE tells apart.
const (
	userPDP uint32 = 20001 + iota
	userFirst
	userSecond
	userStranger
)

func TestMain(m *testing.M) {
	if text := os.Getenv(job); text != "" {
		if err := pep(text); err != nil {
			fmt.Println("pep:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// scene is a trust domain with a PDP to be started in it.
type scene struct {
	dir    string
	domain *domain
	minter *identity.Minter
	digest string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test runs workloads as several users, and so has to be run by root")
	}
	root, err := filepath.Abs("../..")
	must(t, err)
	programs, err := spire.Build(t.Context(), root)
	if err != nil {
		t.Fatalf("this test needs SPIRE: %v", err)
	}
	s := &scene{}
	// A socket's path is short, and every user must get there.
	s.dir, err = os.MkdirTemp("/tmp", "spire-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(s.dir)) })
	must(t, os.Chmod(s.dir, 0o755))
	build := exec.Command("go", "build", "-o", s.path("writ"), "./cmd/writ")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building writ: %v\n%s", err, out)
	}
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(s.path("pep"), self, 0o755))
	here := s.path("programs") // where every user can run them
	must(t, os.CopyFS(here, os.DirFS(programs)))
	s.minter, err = identity.NewMinter(rand.Reader)
	must(t, err)
	bundle, err := policy.Load(policies.Files)
	must(t, err)
	s.digest = bundle.Tools[decision.ToolName{Server: "filesystem", Name: "list_directory"}].Digest
	s.domain = newDomain(t, here, s.path("home"), "example.org")
	s.domain.agent(t)
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

// pdp is a running `writ serve`.
type pdp struct {
	*process
	dir, grpc, http, probes string
}

// serve starts a PDP whose tls section is more than the Workload API.
func (s *scene) serve(t *testing.T, name, more string) *pdp {
	t.Helper()
	p := &pdp{dir: s.path(name)}
	must(t, os.Mkdir(p.dir, 0o755))
	must(t, os.CopyFS(filepath.Join(p.dir, "policies"), policies.Files))
	must(t, os.Mkdir(filepath.Join(p.dir, "data"), 0o700))
	out, err := exec.Command(s.path("writ"), "log", "keygen", "--origin", "writ.example.org/log", "--dir", p.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("making a log key: %v: %s", err, out)
	}
	for file, text := range map[string]string{
		"issuer.json": string(s.minter.JWKS()),
		"writ.yaml": `grpc: 127.0.0.1:0
http: 127.0.0.1:0
probes: 127.0.0.1:0
base_url: https://writ.example.org
bundle: policies
data_dir: data
log: { origin: writ.example.org/log, key_file: log.key }
tls:
  workload_api: environment
` + more + `
tokens:
  audience: writ
  issuers: [{ issuer: "https://issuer.example.org", jwks_file: issuer.json }]
callers:
  - { spiffe_id: "spiffe://example.org/gateway/*", tenant: acme }
  - { spiffe_id: "spiffe://partner.example/gateway/*", tenant: partner }
`} {
		must(t, os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o644))
	}
	must(t, filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(userPDP), int(userPDP))
	}))
	serving := make(chan struct{})
	p.process = start(t, userPDP, func(line string) {
		var l struct{ Msg, GRPC, HTTP, Probes string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "serving" {
			p.grpc, p.http, p.probes = l.GRPC, l.HTTP, l.Probes
			close(serving)
		}
	}, []string{"SPIFFE_ENDPOINT_SOCKET=unix://" + s.domain.workloadAPI}, s.path("writ"), "serve", "--config", filepath.Join(p.dir, "writ.yaml"))
	select {
	case <-serving:
	case <-p.ended:
		t.Fatalf("%s does not serve: %s", name, p.tail(10))
	case <-time.After(patience):
		t.Fatalf("%s is not serving yet: %s", name, p.tail(10))
	}
	return p
}

func (s *scene) assign(t *testing.T, p *pdp) assignment {
	t.Helper()
	key, err := s.minter.PEM()
	must(t, err)
	return assignment{GRPC: p.grpc, HTTP: p.http, Server: s.domain.id("writ"), WorkloadAPI: "unix://" + s.domain.workloadAPI, Issuer: key, Digest: s.digest}
}

// asker is a running enforcement point.
type asker struct {
	*process
	mu   sync.Mutex // guards last
	last tally
}

func (s *scene) ask(t *testing.T, p *pdp, user uint32) *asker {
	t.Helper()
	text, err := json.Marshal(s.assign(t, p))
	must(t, err)
	a := &asker{}
	a.process = start(t, user, func(line string) {
		var now tally
		if json.Unmarshal([]byte(line), &now) == nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.last = now
		}
	}, []string{job + "=" + string(text)}, s.path("pep"))
	return a
}

func (a *asker) tally() tally {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// For a minute two enforcement points ask a PDP, all three with SVIDs that live
// for half a minute, and under them the trust domain's authority is exchanged: new
// one in, old one out. No request fails. Who is not registered, or not any more,
// and who is of another trust domain, gets nothing; the latter until federation is
// configured.
func TestSPIRE(t *testing.T) {
	s := newScene(t)
	entry := s.domain.register(t, "writ", userPDP)
	s.domain.ask(t, "entry", "create", "-data", "../../deploy/spire/entries.json") // what operators are given is taken
	s.domain.register(t, "gateway/first", userFirst)
	second := s.domain.register(t, "gateway/second", userSecond)
	p := s.serve(t, "pdp", "")
	askers := []*asker{s.ask(t, p, userFirst), s.ask(t, p, userSecond)}
	all := func(what string, holds func(tally) bool) {
		t.Helper()
		until(t, what, func() bool { return holds(askers[0].tally()) && holds(askers[1].tally()) })
	}
	all("both enforcement points get answers", func(a tally) bool { return a.Asked > 0 && a.Evaluated > 0 })
	begun := time.Now()
	before := []tally{askers[0].tally(), askers[1].tally()}
	renewed := p.count(`"msg":"certificate renewed"`)

	fromCommandLine(t, s, p)
	exchangeAuthority(t, s.domain, p, all)
	unregistered(t, s, p)

	until(t, "a minute of traffic and three rotations", func() bool {
		enough := time.Since(begun) >= traffic && p.count(`"msg":"certificate renewed"`)-renewed >= rotations
		for i, a := range askers {
			enough = enough && a.tally().Rotations-before[i].Rotations >= rotations
		}
		return enough
	})
	length := time.Since(begun)
	must(t, askers[0].stdin.Close()) // says once more how things stand
	<-askers[0].ended
	asked := 0
	for i, a := range askers {
		got := a.tally()
		t.Logf("enforcement point %d: %+v", i, got)
		if got.Failed != 0 || got.Asked < 500 || got.Evaluated < 50 {
			t.Errorf("%d requests failed of %d over gRPC and %d over JSON; the first: %s", got.Failed, got.Asked, got.Evaluated, got.First)
		}
		asked += got.Asked + got.Evaluated
	}
	t.Logf("%d requests in %s, the PDP's certificate renewed %d times", asked, length.Round(time.Second), p.count(`"msg":"certificate renewed"`)-renewed)

	// Who is taken out of SPIRE goes on to the end of its last SVID, and no longer.
	s.domain.ask(t, "entry", "delete", "-entryID", second)
	until(t, "a workload that was taken out is refused", func() bool { return askers[1].tally().Failed > 0 })
	askers[1].stop(t, os.Kill) // it would try again for long

	foreign(t, s, p, entry)
	s.verify(t, p, asked)
}

// verify stops a PDP and finds in its log at least what it was asked.
func (s *scene) verify(t *testing.T, p *pdp, asked int) {
	t.Helper()
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the PDP ended with %d", code)
	}
	out, err := exec.Command(s.path("writ"), "log", "verify", "--data", filepath.Join(p.dir, "data"), "--key", filepath.Join(p.dir, "log.pub"), "-o", "json").Output()
	var report struct {
		OK     bool
		Leaves int
	}
	if must(t, err); json.Unmarshal(out, &report) != nil || !report.OK || report.Leaves < asked {
		t.Errorf("the log: %s, want at least %d records", out, asked)
	}
}

// fromCommandLine asks as a person would, who is a registered user.
func fromCommandLine(t *testing.T, s *scene, p *pdp) {
	t.Helper()
	token, err := s.minter.Mint(identity.Claims{Issuer: issuer, Audience: audience, Subject: agentID, Purposes: []string{"support"}}, time.Now(), "by hand")
	must(t, err)
	must(t, os.WriteFile(s.path("token"), []byte(token), 0o644))
	command := exec.Command(s.path("writ"), "decide", "--addr", p.grpc, "--workload-api", "unix://"+s.domain.workloadAPI, "--server-id", s.domain.id("writ"),
		"--token-file", s.path("token"), "--tool", tool, "--args", `{"path":"/srv/files/"}`, "--wait", patience.String())
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userFirst, Gid: userFirst}}
	if out, err := command.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ALLOW") {
		t.Errorf("asked on the command line: %v: %s", err, out)
	}
}

// exchangeAuthority makes a new authority, has everybody's SVID come from it, and
// takes the old one out.
func exchangeAuthority(t *testing.T, d *domain, p *pdp, all func(string, func(tally) bool)) {
	t.Helper()
	old := d.authority(t, "Active")
	all("all SVIDs are of the first authority", func(a tally) bool {
		return a.Authority == old && a.ServerAuthority == old && a.Authorities == 1
	})
	d.ask(t, "localauthority", "x509", "prepare")
	fresh := d.authority(t, "Prepared")
	all("the new authority is known to the enforcement points", func(a tally) bool { return a.Authorities == 2 })
	until(t, "the new authority is known to the PDP", func() bool {
		return p.count(`"msg":"authorities changed","trust_domains":{"example.org":2}`) == 1
	})
	d.ask(t, "localauthority", "x509", "activate", "-authorityID", fresh)
	all("all SVIDs are of the new authority", func(a tally) bool { return a.Authority == fresh && a.ServerAuthority == fresh })
	// The agent must have an SVID of the new authority, too, before the old one
	// goes: else it is nobody to its server, and hands out what it has.
	node := d.agentSVID(t)
	d.ask(t, "localauthority", "x509", "taint", "-authorityID", old)
	until(t, "the agent's SVID is renewed", func() bool { return d.agentSVID(t) != node })
	d.ask(t, "localauthority", "x509", "revoke", "-authorityID", old)
	all("the old authority is gone", func(a tally) bool { return a.Authorities == 1 })
	until(t, "the old authority is gone from the PDP", func() bool {
		return p.count(`"msg":"authorities changed","trust_domains":{"example.org":1}`) == 1
	})
}
