package source

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshServer serves a repository by SSH to one key, with Git's own upload-pack.
func sshServer(t testing.TB, r repository, host, client sshKey) string {
	t.Helper()
	private, err := os.ReadFile(host.file)
	must(t, err)
	signer, err := ssh.ParsePrivateKey(private)
	must(t, err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) != client.public {
			return nil, io.EOF
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, config)
		}
	}()
	return "ssh://git@" + l.Addr().String() + r.dir + "/.git"
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offer := range channels {
		channel, asked, err := offer.Accept()
		if err != nil {
			return
		}
		for request := range asked {
			var line struct{ Command string }
			if request.Type != "exec" || ssh.Unmarshal(request.Payload, &line) != nil {
				_ = request.Reply(false, nil)
				continue
			}
			_ = request.Reply(true, nil)
			cmd := exec.Command("sh", "-c", line.Command)
			cmd.Stdin, cmd.Stdout = channel, channel
			_ = cmd.Run()
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
			channel.Close()
		}
	}
}

// By SSH, with a key of a file, to a host whose key is known.
func TestGitSSH(t *testing.T) {
	r := newRepository(t)
	first := r.put(t, "writ.yaml", "1")
	host, client, other := newSSHKey(t), newSSHKey(t), newSSHKey(t, "-t", "ecdsa")
	url := sshServer(t, r, host, client)
	address := strings.TrimPrefix(url, "ssh://git@")
	h, p, err := net.SplitHostPort(address[:strings.Index(address, "/")])
	must(t, err)
	known := filepath.Join(t.TempDir(), "known_hosts")
	line := func(k sshKey) string { return "[" + h + "]:" + p + " " + k.public + "\n" }
	config := GitConfig{URL: url, SSHKeyFile: client.file, KnownHostsFile: known}

	write(t, known, line(host))
	if found := take(t, newGit(t, config), Position{}); found.Commit != first || contents(t, found.Files) != "writ.yaml=1;" {
		t.Errorf("got %+v", found)
	}
	if found := take(t, newGit(t, config), Position{Revision: first}); found.Files != nil {
		t.Errorf("unchanged: got %+v", found)
	}
	second := r.put(t, "writ.yaml", "2")
	if found := take(t, newGit(t, config), Position{Revision: first}); found.Commit != second {
		t.Errorf("got %+v", found)
	}
	for name, c := range map[string]struct {
		known string
		key   string
		says  string
	}{
		"another host's key":  {line(newSSHKey(t)), client.file, "key mismatch"},
		"another kind of key": {line(other), client.file, "no common algorithm for host key"},
		"no host's key":       {"", client.file, "has no key of"},
		"another client":      {line(host), other.file, "unable to authenticate"},
		"no client's key":     {line(host), known, "not an SSH key"},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, known, c.known)
			config := config
			config.SSHKeyFile = c.key
			if _, err := fetch(t, newGit(t, config), Position{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
}
