package spire_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition.
const patience = 90 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-end.C:
			t.Fatalf("waited %s in vain: %s", patience, what)
		case <-again.C:
		}
	}
}

// process is a program that runs until the test ends.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu    sync.Mutex // guards lines
	lines []string   // of both outputs
}

// start runs a program, as a user unless that is 0. each is told its lines.
func start(t testing.TB, user uint32, each func(line string), env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(name), cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, env...)
	p.cmd.Dir = "/"
	// The test may be killed: its children must not stay.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if user != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
	}
	read, write, err := os.Pipe()
	must(t, err)
	p.cmd.Stdout, p.cmd.Stderr = write, write
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	must(t, p.cmd.Start())
	must(t, write.Close())
	go func() {
		defer close(p.ended)
		defer read.Close()
		for in := bufio.NewScanner(read); in.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			p.mu.Unlock()
			if each != nil {
				each(in.Text())
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("the last words of %s:\n%s", p.name, p.tail(40))
		}
	})
	return p
}

func (p *process) tail(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[max(0, len(p.lines)-n):], "\n")
}

// count is how many lines match.
func (p *process) count(pattern string) int {
	match := regexp.MustCompile(pattern)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, line := range p.lines {
		if match.MatchString(line) {
			n++
		}
	}
	return n
}

// stop ends a process and returns its exit code; -1: a signal ended it.
func (p *process) stop(t testing.TB, signal os.Signal) int {
	t.Helper()
	must(t, p.cmd.Process.Signal(signal))
	<-p.ended
	_ = p.cmd.Wait() // the state says it all
	return p.cmd.ProcessState.ExitCode()
}

// domain is a trust domain: a SPIRE server, and an agent where it has one.
type domain struct {
	name, programs, dir  string
	server, workloadAPI  string // sockets
	port                 int
	agentProcess, itself *process
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newDomain starts a SPIRE server.
func newDomain(t testing.TB, programs, dir, name string) *domain {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	d := &domain{name: name, programs: programs, dir: dir, server: filepath.Join(dir, "server.sock"),
		workloadAPI: filepath.Join(dir, "agent", "api.sock"), port: freePort(t)}
	must(t, os.WriteFile(d.path("server.conf"), fmt.Appendf(nil, `
server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = "%s"
  trust_domain = "%s"
  data_dir = "%s"
  ca_ttl = "24h"
  experimental { cache_reload_interval = "1s" }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "%s" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`, d.port, d.server, name, dir, d.path("server.sqlite3")), 0o600))
	d.itself = start(t, 0, nil, nil, d.program("spire-server"), "run", "-config", d.path("server.conf"))
	until(t, "the SPIRE server of "+name, func() bool {
		_, err := d.try("healthcheck")
		return err == nil
	})
	return d
}

func (d *domain) path(name string) string    { return filepath.Join(d.dir, name) }
func (d *domain) program(name string) string { return filepath.Join(d.programs, name) }

// try asks the server with its command line.
func (d *domain) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	verb := len(args)
	for i, a := range args { // flags come after the words
		if strings.HasPrefix(a, "-") {
			verb = i
			break
		}
	}
	all := append(append(append([]string(nil), args[:verb]...), "-socketPath", d.server), args[verb:]...)
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, d.program("spire-server"), all...)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("spire-server %s: %w: %s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), nil
}

func (d *domain) ask(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	must(t, err)
	return out
}

// agent starts the domain's agent, which proves its node by a join token.
func (d *domain) agent(t testing.TB) {
	t.Helper()
	must(t, os.Mkdir(filepath.Dir(d.workloadAPI), 0o755))
	must(t, os.WriteFile(d.path("bootstrap.pem"), []byte(d.ask(t, "bundle", "show")), 0o600))
	token := regexp.MustCompile(`(?m)^Token: (\S+)$`).FindStringSubmatch(d.ask(t, "token", "generate", "-spiffeID", d.id("node")))
	if token == nil {
		t.Fatal("the SPIRE server gives no join token")
	}
	must(t, os.Mkdir(d.path("agent.data"), 0o700))
	must(t, os.WriteFile(d.path("agent.conf"), fmt.Appendf(nil, `
agent {
  data_dir = "%s"
  server_address = "127.0.0.1"
  server_port = "%d"
  socket_path = "%s"
  trust_bundle_path = "%s"
  trust_domain = "%s"
  experimental { sync_interval = "1s" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
`, d.path("agent.data"), d.port, d.workloadAPI, d.path("bootstrap.pem"), d.name), 0o600))
	d.agentProcess = start(t, 0, nil, nil, d.program("spire-agent"), "run", "-config", d.path("agent.conf"), "-joinToken", token[1])
	until(t, "the SPIRE agent", func() bool {
		return exec.Command(d.program("spire-agent"), "healthcheck", "-socketPath", d.workloadAPI).Run() == nil
	})
}

// agentSVID is the serial number of the agent's own SVID.
func (d *domain) agentSVID(t testing.TB) string {
	t.Helper()
	serial := regexp.MustCompile(`(?m)^Serial number\s*: (\S+)$`).FindStringSubmatch(d.ask(t, "agent", "list"))
	if serial == nil {
		t.Fatal("the SPIRE server has no agent")
	}
	return serial[1]
}

func (d *domain) id(path string) string { return "spiffe://" + d.name + "/" + path }

// register gives the processes of a user an SVID. It returns the entry's id.
func (d *domain) register(t testing.TB, path string, user uint32, more ...string) string {
	t.Helper()
	out := d.ask(t, append([]string{"entry", "create", "-parentID", d.id("node"), "-spiffeID", d.id(path), "-selector", fmt.Sprint("unix:uid:", user),
		"-x509SVIDTTL", fmt.Sprint(int(svidLife.Seconds()))}, more...)...)
	entry := regexp.MustCompile(`(?m)^Entry ID\s*: (\S+)$`).FindStringSubmatch(out)
	if entry == nil {
		t.Fatalf("no entry: %s", out)
	}
	return entry[1]
}

// bundle is a file with the domain's authorities.
func (d *domain) bundle(t testing.TB) string {
	t.Helper()
	file := d.path("bundle.pem")
	must(t, os.WriteFile(file, []byte(d.ask(t, "bundle", "show")), 0o644))
	return file
}

// authority finds an authority of `localauthority x509 show`, such as Active.
func (d *domain) authority(t testing.TB, state string) string {
	t.Helper()
	out := d.ask(t, "localauthority", "x509", "show")
	found := regexp.MustCompile(`(?s)` + state + ` X\.509 authority:\n\s*Authority ID: (\S+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no authority is %s: %s", state, out)
	}
	return found[1]
}
