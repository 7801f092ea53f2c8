package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/writpdp/writ/server"
)

// A role is a process of its own that is asked in JSON on its standard input and
// answers on its standard output, one line each, until its input ends.

// role is what a process does: the methods it answers, by name, and how it ends.
type role struct {
	methods map[string]func(json.RawMessage) (any, error)
	stop    func() error
}

type question struct {
	Method string `json:"method"`
	With   any    `json:"with,omitempty"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// method takes the JSON of its argument off a function.
func method[In, Out any](f func(In) (Out, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		var in In
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("reading the question: %w", err)
			}
		}
		return f(in)
	}
}

// none is an empty argument or answer.
type none struct{}

// play is the life of such a process.
func play(name string, in io.Reader, out io.Writer) error {
	start, ok := map[string]func(context.Context) (*role, error){"writ": playWrit, "echo": playEcho, "load": playLoad}[name]
	if !ok {
		return fmt.Errorf("there is no role %q", name)
	}
	// An interrupt from the terminal reaches the whole group; whoever started
	// this process ends it by closing its input.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	debug.SetGCPercent(server.GCPercent) // as the product does; for the echo too
	r, err := start(ctx)
	if err != nil {
		return err
	}
	r.methods["usage"] = method(usage)
	r.methods["profile"] = method(profile)
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q struct {
			Method string          `json:"method"`
			With   json.RawMessage `json:"with"`
		}
		if err := decoder.Decode(&q); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errors.Join(err, r.stop())
		}
		if err := encoder.Encode(r.answer(q.Method, q.With)); err != nil {
			return errors.Join(err, r.stop())
		}
	}
	return r.stop()
}

func (r *role) answer(name string, with json.RawMessage) answer {
	do, ok := r.methods[name]
	if !ok {
		return answer{Error: fmt.Sprintf("there is no method %q", name)}
	}
	value, err := do(with)
	if err != nil {
		return answer{Error: err.Error()}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Value: raw}
}

// usage is the CPU time of this process so far, in seconds.
func usage(none) (float64, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds(), nil
}

// profile starts a CPU profile of this process into a file, or with no name ends
// it.
func profile(file string) (none, error) {
	if file == "" {
		pprof.StopCPUProfile()
		return none{}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return none{}, fmt.Errorf("making the profile: %w", err)
	}
	return none{}, pprof.StartCPUProfile(f)
}

// process is a started role, seen from outside.
type process struct {
	name    string
	command *exec.Cmd
	input   io.Closer
	encoder *json.Encoder
	decoder *json.Decoder
}

func start(name string, complaints io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	command := exec.Command(self, "-role", name)
	command.Stderr = complaints
	// The group of the terminal's interrupt is not theirs, so that they end in
	// order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return &process{name: name, command: command, input: input, encoder: json.NewEncoder(input), decoder: json.NewDecoder(output)}, nil
}

// ask asks a process; value, if not nil, takes the answer. When ctx ends first,
// the process is killed.
func (p *process) ask(ctx context.Context, name string, with, value any) error {
	stop := context.AfterFunc(ctx, func() { p.command.Process.Kill() })
	defer stop()
	var a answer
	if err := errors.Join(p.encoder.Encode(question{name, with}), p.decoder.Decode(&a)); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("asking %s for %s: %w", p.name, name, err))
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s: %s", p.name, name, a.Error)
	}
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(a.Value, value); err != nil {
		return fmt.Errorf("asking %s for %s: %w", p.name, name, err)
	}
	return nil
}

// end lets the process finish and waits for it, killing it after ten seconds.
func (p *process) end() error {
	timer := time.AfterFunc(10*time.Second, func() { p.command.Process.Kill() })
	defer timer.Stop()
	closed := p.input.Close()
	if err := errors.Join(closed, p.command.Wait()); err != nil {
		return fmt.Errorf("ending %s: %w", p.name, err)
	}
	return nil
}
