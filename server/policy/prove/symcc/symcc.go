// Package symcc is the prover for changes of policies: it runs Cedar's own command
// line, whose symbolic compiler asks the solver cvc5. The tools run without a shell,
// on files in a directory of their own that is gone afterwards, for a bounded time
// and with a bounded output.
package symcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/writpdp/writ/server/policy/prove"
)

// What Writ is tested with.
const (
	CedarVersion = "4.14.1"
	CVC5Version  = "1.4.2"
)

// how says how the tools are installed.
const how = `Install Cedar's command line with its symbolic compiler, and the solver cvc5:
  cargo install cedar-policy-cli --version ` + CedarVersion + ` --locked --features analyze
  python3 -m pip install cvc5==` + CVC5Version + `    and put deploy/policy-ci/cvc5 on the PATH, which makes it a command
  (or the makers' own cvc5 1.3.1, which Cedar's tests run)
They are looked for on the PATH; the variables CEDAR and CVC5 name others. Writ is tested with these versions.`

// Tool is the two programs.
type Tool struct {
	cedar, cvc5 string
	versions    string
	patience    time.Duration
}

// Find finds the programs, by name on the PATH or by path, and sees that they are
// what they should be. Patience bounds each question. The error says what is missing
// and how to install it.
func Find(ctx context.Context, cedar, cvc5 string, patience time.Duration) (*Tool, error) {
	t := &Tool{patience: patience}
	var missing []string
	look := func(name, variable string) string {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (%s): %v", name, variable, unwrapped(err)))
		}
		return path
	}
	t.cedar, t.cvc5 = look(cedar, "CEDAR"), look(cvc5, "CVC5")
	if len(missing) > 0 {
		return nil, fmt.Errorf("looking for the provers: %s\n%s", strings.Join(missing, "; "), how)
	}
	var versions []string
	for _, ask := range [][]string{{t.cedar, "--version"}, {t.cvc5, "--version"}} {
		out, err := t.run(ctx, ask[0], ask[1:])
		if err != nil {
			return nil, fmt.Errorf("asking %s for its version: %w\n%s", ask[0], err, how)
		}
		first, _, _ := strings.Cut(out, "\n")
		versions = append(versions, strings.TrimSpace(first))
	}
	t.versions = strings.Join(versions, ", ")
	if _, err := t.run(ctx, t.cedar, []string{"symcc", "--help"}); err != nil {
		return nil, fmt.Errorf("%s (%s) has no symbolic compiler: it is built without the feature `analyze`\n%s", t.cedar, versions[0], how)
	}
	return t, nil
}

func unwrapped(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// String names the programs and their versions.
func (t *Tool) String() string { return t.versions }

// What the tool prints of an answer.
const (
	property = "Policy set 1 implies policy set 2: "
	verified = "✓ " + property + "VERIFIED\n"
	violated = "✗ " + property + "DOES NOT HOLD\n  Counterexample found:\n"
)

// Ask puts a question; it is a prove.Ask.
func (t *Tool) Ask(ctx context.Context, q prove.Question) (prove.Answer, error) {
	dir, err := os.MkdirTemp("", "writ-prove-")
	if err != nil {
		return prove.Answer{}, fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, data := range map[string][]byte{"schema": q.Schema, "first": q.First, "second": q.Second} {
		if err := os.WriteFile(at(name), data, 0o600); err != nil {
			return prove.Answer{}, fmt.Errorf("writing a file for the prover: %w", err)
		}
	}
	out, err := t.run(ctx, t.cedar, []string{"symcc", "--cvc5-path=" + t.cvc5, "--principal-type=" + q.Principal, "--action=" + q.Action,
		"--resource-type=" + q.Resource, "--schema=" + at("schema"), "implies", "--policies1=" + at("first"), "--policies2=" + at("second")})
	switch {
	case err != nil:
		return prove.Answer{}, err
	case out == verified:
		return prove.Answer{Holds: true}, nil
	case strings.HasPrefix(out, violated):
		return prove.Answer{Example: out[len(violated):]}, nil
	}
	return prove.Answer{}, errors.New("the prover's answer is not one that is known")
}

// Bounds of what a program prints, in bytes.
const (
	maxOutput  = 4 << 20
	maxProblem = 16 << 10
)

// settle is how long a program that was told to end may take.
const settle = 2 * time.Second

// run runs a program to its end and returns what it prints.
func (t *Tool) run(ctx context.Context, program string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "NO_COLOR=1")
	// Cedar's command line starts the solver: both are ended together.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error {
		if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return fs.ErrInvalid // it has ended already
	}
	c.WaitDelay = settle
	out, problem := bounded{left: maxOutput}, bounded{left: maxProblem, cut: true}
	c.Stdout, c.Stderr = &out, &problem
	err := c.Run()
	switch {
	case out.over:
		return "", fmt.Errorf("the output is longer than %d bytes", maxOutput)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("no answer within %s", t.patience)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && problem.kept.Len() > 0:
		return "", errors.New(oneLine(problem.kept.String()))
	case err != nil:
		return "", fmt.Errorf("running %s: %w", filepath.Base(program), err)
	}
	return out.kept.String(), nil
}

// oneLine is a message of the tool's without its layout.
func oneLine(message string) string {
	var parts []string
	for line := range strings.Lines(message) {
		if line = strings.Trim(line, " \t\r\n×├╰─▶│·╭┬╮╯"); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, ": ")
}

// bounded keeps what is printed up to a bound. Beyond it, what is printed is an
// error, or with cut is not kept.
type bounded struct {
	kept bytes.Buffer
	left int
	cut  bool
	over bool // more was printed
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.kept.Write(p[:n])
	b.over = b.over || n < len(p)
	if b.over && !b.cut {
		return n, io.ErrShortWrite // which ends the program
	}
	return len(p), nil
}
