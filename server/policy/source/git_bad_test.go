package source

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// entry is a line of a raw tree.
func entry(t testing.TB, mode, name, hash string) string {
	t.Helper()
	raw, err := hex.DecodeString(hash)
	must(t, err)
	return mode + " " + name + "\x00" + string(raw)
}

// Trees that lead elsewhere, or that are no trees.
func TestGitTrees(t *testing.T) {
	r := newRepository(t)
	first := r.put(t, "writ.yaml", "x")
	blob := r.git(t, "rev-parse", "HEAD:writ.yaml")
	link := r.object(t, "blob", "/etc/passwd")
	good := entry(t, "100644", "writ.yaml", blob)
	deep := r.object(t, "tree", good)
	for range maxDepth {
		deep = r.object(t, "tree", entry(t, "40000", "d", deep))
	}
	bomb := r.object(t, "tree", good)
	for range 10 { // ten to the tenth files, in eleven objects
		var tree strings.Builder
		for i := range 10 {
			tree.WriteString(entry(t, "40000", string(rune('a'+i)), bomb))
		}
		bomb = r.object(t, "tree", tree.String())
	}
	var many strings.Builder
	for i := range maxFiles + 1 {
		many.WriteString(entry(t, "100644", fmt.Sprintf("f%05d", i), blob))
	}
	for name, c := range map[string]struct{ tree, says string }{
		"link":               {good + entry(t, "120000", "x", link), "x: a symbolic link"},
		"link to a part":     {entry(t, "120000", "writ.yaml", link), "writ.yaml: a symbolic link"},
		"link below":         {entry(t, "40000", "cedar", r.object(t, "tree", entry(t, "120000", "x", link))), "cedar/x: a symbolic link"},
		"submodule":          {good + entry(t, "160000", "sub", first), "sub: a submodule"},
		"up":                 {entry(t, "40000", "..", r.object(t, "tree", good)), `the name ".."`},
		"up as a file":       {entry(t, "100644", "..", blob), `the name ".."`},
		"here":               {entry(t, "40000", ".", r.object(t, "tree", good)), `the name "."`},
		"path":               {entry(t, "100644", "../../etc/x", blob), "the name"},
		"root":               {entry(t, "100644", "/etc/x", blob), "the name"},
		"backslash":          {entry(t, "100644", `..\x`, blob), "the name"},
		"control":            {entry(t, "100644", "a\nb", blob), "not a name within the tree"},
		"bidirectional":      {entry(t, "100644", "a\u202eb", blob), "not a name within the tree"},
		"no UTF-8":           {entry(t, "100644", "a\xff", blob), "not a name within the tree"},
		"long name":          {entry(t, "100644", strings.Repeat("n", maxName+1), blob), "a name longer"},
		"twice":              {good + good, "duplicate"},
		"file and directory": {good + entry(t, "40000", "writ.yaml", r.object(t, "tree", good)), "duplicate"},
		"mode":               {entry(t, "100000", "x", blob), "of the mode"},
		"setuid":             {entry(t, "104755", "x", blob), "of the mode"},
		"deep":               {entry(t, "40000", "d", deep), "deeper than"},
		"bomb":               {entry(t, "40000", "d", bomb), "more than"},
		"many":               {many.String(), "more than 10000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := r.object(t, "tree", c.tree)
			commit := r.object(t, "commit", "tree "+tree+"\nauthor a <a@example.org> 0 +0000\ncommitter a <a@example.org> 0 +0000\n\nx\n")
			must(t, os.WriteFile(filepath.Join(r.dir, ".git/refs/heads/main"), []byte(commit+"\n"), 0o600))
			_, err := fetch(t, newGit(t, GitConfig{URL: r.url()}), Position{})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			if len(fmt.Sprint(err)) > 1000 {
				t.Errorf("an error of %d bytes", len(fmt.Sprint(err)))
			}
		})
	}
}

// Files that are far larger than what is sent cost no more than what is held.
func TestGitBombs(t *testing.T) {
	r := newRepository(t)
	r.put(t, "acme/writ.yaml", "x")
	zeros := filepath.Join(r.dir, "zeros")
	must(t, os.WriteFile(zeros, nil, 0o600))
	must(t, os.Truncate(zeros, 100<<20))
	r.git(t, "add", "zeros")
	r.commit(t)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found := take(t, newGit(t, GitConfig{URL: r.url(), Directory: "acme"}), Position{}) // somebody else's file
	if got := contents(t, found.Files); got != "writ.yaml=x;" {
		t.Errorf("got %s", got)
	}
	_, err := fetch(t, newGit(t, GitConfig{URL: r.url()}), Position{})
	if err == nil || !strings.Contains(err.Error(), "zeros: larger than") {
		t.Errorf("a huge file: got %v", err)
	}
	runtime.ReadMemStats(&after)
	if spent := (after.TotalAlloc - before.TotalAlloc) >> 20; spent > 32 {
		t.Errorf("a file of 100 MiB took %d MiB", spent)
	}

	r.git(t, "rm", "--quiet", "--cached", "zeros")
	must(t, os.Remove(zeros))
	for i := range 20 { // each may be, all together may not
		r.write(t, fmt.Sprintf("z%d", i), strings.Repeat("\x00", 7<<20)+fmt.Sprint(i))
	}
	r.commit(t)
	var refusal *Refusal
	if _, err := fetch(t, newGit(t, GitConfig{URL: r.url(), Directory: "acme"}), Position{}); !errors.As(err, &refusal) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("many large files: got %v", err)
	}
}

// A server that never answers, or never ends, costs one attempt's time and
// little else.
func TestGitHangs(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	host := newSSHKey(t)
	known := filepath.Join(t.TempDir(), "known_hosts")
	write(t, known, "[127.0.0.1]:"+port(silent)+" "+host.public+"\n")
	for name, c := range map[string]GitConfig{
		"http": {URL: "http://" + silent.Addr().String() + "/p"},
		"ssh":  {URL: "ssh://git@" + silent.Addr().String() + "/p", SSHKeyFile: newSSHKey(t).file, KnownHostsFile: known},
		"slow": {URL: server(t, func(w http.ResponseWriter, r *http.Request) {
			advertise(w, strings.Repeat("a", 40))
			<-r.Context().Done()
		}) + "/p"},
		"stuck": {URL: server(t, stuck) + "/p"},
	} {
		t.Run(name, func(t *testing.T) {
			slow := errors.New("too slow")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, slow)
			defer cancel()
			ended := make(chan error, 1)
			go func() { _, err := newGit(t, c).Fetch(ctx, Position{}); ended <- err }()
			select {
			case err := <-ended:
				var refusal *Refusal
				if !errors.Is(err, slow) || errors.As(err, &refusal) {
					t.Errorf("got %v, want %v", err, slow)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it waits for ever")
			}
		})
	}
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func server(t testing.TB, f http.HandlerFunc) string {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// advertise says that the repository has a branch main.
func advertise(w http.ResponseWriter, hash string) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	fmt.Fprint(w, packet("# service=git-upload-pack\n"), "0000", packet(hash+" refs/heads/main\x00shallow\n"))
	w.(http.Flusher).Flush()
}

// stuck sends half a pack.
func stuck(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		advertise(w, strings.Repeat("a", 40))
		fmt.Fprint(w, "0000")
		return
	}
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	fmt.Fprint(w, "0000", packet("NAK\n"), "PACK\x00\x00\x00\x02\x00\x00\x00\x01")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// answer is a server that has a branch main and answers every request for
// objects alike.
func answer(t testing.TB, hash string, respond func(io.Writer)) string {
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			advertise(w, hash)
			fmt.Fprint(w, "0000")
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		fmt.Fprint(w, packet("shallow "+hash), "0000", packet("NAK\n"))
		respond(w)
	}) + "/p"
}

// What a server says is wrong is in the error.
func TestGitComplains(t *testing.T) {
	r := newRepository(t)
	r.put(t, "writ.yaml", "x")
	lost := r.put(t, "writ.yaml", "y")
	must(t, os.RemoveAll(filepath.Join(r.dir, ".git/objects", r.git(t, "rev-parse", lost+":writ.yaml")[:2])))
	for name, url := range over(t, r) {
		if _, err := fetch(t, newGit(t, GitConfig{URL: url}), Position{}); err == nil || !strings.Contains(err.Error(), "repository corruption on the remote side") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A server that lies, talks too much or nonsense.
func TestGitLies(t *testing.T) {
	r := newRepository(t)
	r.put(t, "writ.yaml", "x")
	asked := strings.Repeat("a", 40)
	redirected := server(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("it was followed") })
	for name, c := range map[string]struct{ url, says string }{
		"nothing":          {server(t, func(http.ResponseWriter, *http.Request) {}) + "/p", "no Git repository's"},
		"not there":        {server(t, http.NotFound) + "/p", "answered 404"},
		"a page":           {server(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }) + "/p", "no Git repository's"},
		"elsewhere":        {server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, redirected, http.StatusFound) }) + "/p", "redirects to"},
		"nonsense":         {server(t, nonsense) + "/p", "reading what the repository has"},
		"refs for ever":    {server(t, refsForEver) + "/p", errTooMuch.Error()},
		"another commit":   {answer(t, asked, func(w io.Writer) { w.Write(packed(t, r)) }), "the commit: the server did not send it"},
		"no pack":          {answer(t, asked, func(io.Writer) {}), "reading a pack"},
		"half a pack":      {answer(t, asked, func(w io.Writer) { w.Write(packed(t, r)[:40]) }), "reading a pack"},
		"a bit":            {answer(t, asked, func(w io.Writer) { p := packed(t, r); p[len(p)-1] ^= 1; w.Write(p) }), "checksum"},
		"too many objects": {answer(t, asked, func(w io.Writer) { w.Write([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff")) }), "more than 200000 objects"},
		"a huge header": {answer(t, asked, func(w io.Writer) {
			w.Write([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\xbf\xff\xff\xff\xff\xff\xff\xff\x7f"))
		}), "larger than"},
		"an error": {server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, packet("ERR access denied\x1b[2J"))
		}) + "/p", "reading what the repository has"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fetch(t, newGit(t, GitConfig{URL: c.url}), Position{})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			var refusal *Refusal
			if errors.As(err, &refusal) && refusal.Revision != asked {
				t.Errorf("it refuses %q", refusal.Revision)
			}
		})
	}
}

func nonsense(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	fmt.Fprint(w, "zzzz", strings.Repeat("x", 100_000))
}

func refsForEver(w http.ResponseWriter, r *http.Request) {
	advertise(w, strings.Repeat("a", 40))
	line := []byte(packet(strings.Repeat("b", 40) + " refs/heads/" + strings.Repeat("x", 60_000) + "\n"))
	for r.Context().Err() == nil {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

// packed is all of a repository.
func packed(t testing.TB, r repository) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pack")
	command(t, r.dir, r.git(t, "rev-parse", "HEAD")+"\n", "sh", "-c", "git pack-objects --revs -q --stdout >"+name)
	data, err := os.ReadFile(name)
	must(t, err)
	return data
}

// Credentials come from files, and no error tells them.
func TestGitCredentials(t *testing.T) {
	r := newRepository(t)
	hash := r.put(t, "writ.yaml", "x")
	url := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "writ" || password != "canary-secret" {
				w.Header().Set("WWW-Authenticate", "Basic")
				http.Error(w, "who are you", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	file := filepath.Join(t.TempDir(), "password")
	g := newGit(t, GitConfig{URL: url, Username: "writ", PasswordFile: file})
	for _, c := range []struct{ password, says string }{
		{"canary-secret\n", ""},
		{"canary-wrong", "answered 401"},
		{"canary-two\nlines", "not one line"},
		{"", "not one line"},
		{"canary-secret", ""}, // it is read every time
	} {
		write(t, file, c.password)
		found, err := fetch(t, g, Position{})
		if c.says == "" && (err != nil || found.Commit != hash) {
			t.Errorf("got %+v, %v", found, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("got %v, want %s", err, c.says)
		}
	}
	if _, err := fetch(t, newGit(t, GitConfig{URL: url}), Position{}); err == nil || !strings.Contains(err.Error(), "answered 401") {
		t.Errorf("without: got %v", err)
	}
}

// Over TLS the server is who the configured authorities say.
func TestGitTLS(t *testing.T) {
	r := newRepository(t)
	hash := r.put(t, "writ.yaml", "x")
	plain, err := url.Parse(r.serve(t, nil))
	must(t, err)
	s := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: plain.Host})
	}})
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	file := filepath.Join(t.TempDir(), "ca.pem")
	for _, c := range []struct{ authorities, says string }{
		{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), ""},
		{"nonsense", "no certificate in it"},
	} {
		write(t, file, c.authorities)
		found, err := fetch(t, newGit(t, GitConfig{URL: s.URL + "/.git", CAFile: file}), Position{})
		if c.says == "" && (err != nil || found.Commit != hash) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("got %+v, %v, want %s", found, err, c.says)
		}
	}
	if _, err := fetch(t, newGit(t, GitConfig{URL: s.URL + "/.git"}), Position{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("by the system's authorities: got %v", err)
	}
}
