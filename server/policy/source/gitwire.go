package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"

	"github.com/writpdp/writ/server/policy/source/pack"
)

// Bounds of what a Git server may send, in bytes.
const (
	maxRefs = 32 << 20
	maxPack = 128 << 20
)

// ask chooses what to fetch by what a server has; nil: nothing.
type ask func(*packp.AdvRefs) (*packp.UploadPackRequest, error)

// wireError is that a server could not be reached or understood.
type wireError struct{ error }

func (e *wireError) Unwrap() error { return e.error }

// talk holds one conversation with the server's upload-pack. It returns what was
// fetched, or nil where nothing was asked for.
func (g *Git) talk(ctx context.Context, a ask) (*pack.Objects, error) {
	var got *pack.Objects
	var err error
	switch g.url.Scheme {
	case "ssh":
		got, err = g.overSSH(ctx, a)
	case "file":
		got, err = g.overPipe(ctx, a)
	default:
		got, err = g.overHTTP(ctx, a)
	}
	if err != nil {
		if ctx.Err() != nil { // else it would say that a connection was closed
			err = context.Cause(ctx)
		}
		return nil, &wireError{fmt.Errorf("fetching from %s: %w", g.url, err)}
	}
	return got, nil
}

// overHTTP is Git's smart protocol in its stateless form.
func (g *Git) overHTTP(ctx context.Context, a ask) (*pack.Objects, error) {
	client, err := newClient(g.CAFile)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	body, err := g.call(ctx, client, http.MethodGet, "/info/refs?service=git-upload-pack", nil, "application/x-git-upload-pack-advertisement")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	request, err := choose(&limited{body, maxRefs}, a)
	if err != nil || request == nil {
		return nil, err
	}
	var question bytes.Buffer
	if err := encode(&question, request); err != nil {
		return nil, err
	}
	answer, err := g.call(ctx, client, http.MethodPost, "/git-upload-pack", &question, "application/x-git-upload-pack-result")
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return receive(&limited{answer, maxPack}, request)
}

func (g *Git) call(ctx context.Context, client *http.Client, method, path string, body io.Reader, want string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(g.url.String(), "/")+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "git/writ")
	if body != nil {
		request.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	}
	if g.PasswordFile != "" {
		password, err := readSecret(g.PasswordFile)
		if err != nil {
			return nil, err
		}
		request.SetBasicAuth(g.Username, password)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	got := response.Header.Get("Content-Type")
	if response.StatusCode != http.StatusOK || got != want {
		response.Body.Close()
		return nil, fmt.Errorf("the server answered %d with a %.60q, which is no Git repository's", response.StatusCode, got)
	}
	return response.Body, nil
}

// newClient is a client for one fetch. It follows no redirection: credentials
// and trust are for the address that was configured.
func newClient(caFile string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("reading the server's authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", caFile)
		}
	}
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("it redirects to %s: name the final address", r.URL.Host)
		},
	}, nil
}

// readSecret reads a file of one line.
func readSecret(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("%s: not one line", file)
	}
	return secret, nil
}

// overSSH runs upload-pack on the server.
func (g *Git) overSSH(ctx context.Context, a ask) (*pack.Objects, error) {
	config, address, err := g.sshConfig()
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // what waits for the server wakes
	transport, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	client := ssh.NewClient(transport, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := session.Start("git-upload-pack '" + g.url.Path + "'"); err != nil {
		return nil, err
	}
	return converse(in, out, a)
}

func (g *Git) sshConfig() (*ssh.ClientConfig, string, error) {
	pem, err := os.ReadFile(g.SSHKeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("reading the key of ssh: %w", err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, "", fmt.Errorf("%s: not an SSH key without a passphrase", g.SSHKeyFile)
	}
	hosts, err := knownhosts.NewDB(g.KnownHostsFile)
	if err != nil {
		return nil, "", fmt.Errorf("reading the known hosts: %w", err)
	}
	port := g.url.Port()
	if port == "" {
		port = "22"
	}
	address := net.JoinHostPort(g.url.Hostname(), port)
	algorithms := hosts.HostKeyAlgorithms(address)
	if len(algorithms) == 0 {
		return nil, "", fmt.Errorf("%s has no key of %s", g.KnownHostsFile, address)
	}
	return &ssh.ClientConfig{
		User: g.url.User.Username(), Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: hosts.HostKeyCallback(), HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-writ",
	}, address, nil
}

// overPipe serves a repository of this machine with its git.
func (g *Git) overPipe(ctx context.Context, a ask) (got *pack.Objects, err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "git", "upload-pack", g.url.Path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GIT_PROTOCOL=version=0"}
	cmd.WaitDelay = time.Second
	complaint := &complaint{}
	cmd.Stderr = complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was told to end; what it sent has been judged
		if err != nil && len(complaint.text) > 0 {
			err = fmt.Errorf("%w (git says: %s)", err, strings.TrimSpace(string(complaint.text)))
		}
	}()
	return converse(in, out, a)
}

// complaint keeps the beginning of what a process says on its standard error.
type complaint struct{ text []byte }

func (c *complaint) Write(p []byte) (int, error) {
	c.text = append(c.text, p[:min(len(p), 512-len(c.text))]...)
	return len(p), nil
}

// converse is the protocol over a stream that both write to.
func converse(in io.WriteCloser, out io.Reader, a ask) (*pack.Objects, error) {
	defer in.Close()
	stream := &limited{out, maxRefs}
	request, err := choose(stream, a)
	if err != nil {
		return nil, err
	}
	if request == nil {
		return nil, pktline.NewEncoder(in).Flush()
	}
	if err := encode(in, request); err != nil {
		return nil, err
	}
	stream.left = maxPack
	return receive(stream, request)
}

func choose(r io.Reader, a ask) (*packp.UploadPackRequest, error) {
	refs := packp.NewAdvRefs()
	if err := refs.Decode(r); err != nil {
		return nil, fmt.Errorf("reading what the repository has: %w", err)
	}
	request, err := a(refs)
	if request == nil || err != nil {
		return nil, err
	}
	with := []capability.Capability{capability.NoProgress, capability.Sideband64k}
	if request.Filter != "" {
		with = append(with, capability.Filter)
	}
	with = slices.DeleteFunc(with, func(c capability.Capability) bool { return !refs.Capabilities.Supports(c) })
	for _, c := range with {
		if err := request.Capabilities.Set(c); err != nil {
			return nil, fmt.Errorf("asking for objects: %w", err)
		}
	}
	return request, nil
}

func encode(w io.Writer, request *packp.UploadPackRequest) error {
	err := request.UploadRequest.Encode(w)
	if err == nil {
		err = request.UploadHaves.Encode(w, false)
	}
	if err == nil {
		err = pktline.NewEncoder(w).EncodeString("done\n")
	}
	if err != nil {
		return fmt.Errorf("asking for objects: %w", err)
	}
	return nil
}

func receive(r io.Reader, request *packp.UploadPackRequest) (*pack.Objects, error) {
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(r)); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	var packed io.Reader = response
	if request.Capabilities.Supports(capability.Sideband64k) { // so that the server can say what is wrong
		packed = sideband.NewDemuxer(sideband.Sideband64k, response)
	}
	got, err := pack.Unpack(packed)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("reading the server's answer: %w", io.ErrUnexpectedEOF)
	}
	return got, err
}
