package chains

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"text/tabwriter"
	"time"

	writ "github.com/writpdp/writ/clients/go"
	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/policies/policiestest"
)

// What the sample policies must do.
const (
	minScenarios = 60
	minTasks     = 60
	minBenign    = 0.9
)

// taint is the file of the policies that look at what a session has seen.
const taint = "cedar/taint.cedar"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// stage is a Writ with a bundle, and how its agents ask it. Each script has a tenant of
// its own: no budget and no ticket is another's.
type stage struct {
	pdp    *writtest.PDP
	guards map[string]*writ.Client
	tenant atomic.Pointer[string]
}

func build(t *testing.T, bundle fstest.MapFS) *stage {
	t.Helper()
	s := &stage{guards: map[string]*writ.Client{}}
	s.tenant.Store(new(string))
	s.pdp = writtest.Start(t, writtest.Config{Bundle: bundle, Now: func() time.Time { return noon }, Tenant: func() string { return *s.tenant.Load() }})
	handlers := writ.Handlers{
		Notify: func(_ context.Context, _ writ.Call, _ writ.Notify) error { return nil },
		StepUp: func(_ context.Context, _ writ.Call, _ writ.StepUp) error { return nil },
		Watermark: func(_ context.Context, _ writ.Call, _ writ.Watermark) (writ.Marker, error) {
			return func(c writ.Content) (writ.Content, error) { return c, nil }, nil
		},
	}
	for as, agent := range who {
		s.guards[as] = s.pdp.Client(t, agent, handlers)
	}
	return s
}

// play runs a script, asking Writ or nobody.
func (s *stage) play(t *testing.T, tenant string, sc script, guarded bool) *agents {
	t.Helper()
	a := &agents{t: t, pdp: s.pdp, script: sc}
	if guarded {
		s.tenant.Store(&tenant)
		approve(t, s.pdp, tenant, sc)
		a.guards = s.guards
	}
	a.run()
	return a
}

// outcome is what became of the scripts.
type outcome struct {
	attacks, without, with int
	benign, done           int
	// useful counts tasks that were done although an attack came in.
	useful int
	// named are attacks that succeeded, and tasks that were not done.
	named []string
	table strings.Builder
}

func playAll(t *testing.T, bundle fstest.MapFS) *outcome {
	t.Helper()
	s := build(t, bundle)
	benign, attacked := stories(t)
	o := &outcome{}
	out := tabwriter.NewWriter(&o.table, 2, 0, 2, ' ', 0)
	fmt.Fprintln(out, "scenario\twithout Writ\twith Writ\ttask")
	for i, sc := range attacked {
		if sc.attack.Needs == "detectors" && s.pdp.Bundle.Detect == nil {
			fmt.Fprintf(out, "%s\t-\t-\tthe bundle declares no detectors\n", sc.name)
			continue
		}
		o.attacks++
		without := s.play(t, "", sc, false).succeeded()
		a := s.play(t, fmt.Sprintf("attack-%d", i), sc, true)
		if without {
			o.without++
		} else {
			t.Errorf("%s: it fails without Writ too, and proves nothing", sc.name)
		}
		if a.succeeded() {
			o.with++
			o.named = append(o.named, sc.name)
		}
		if a.stopped == 0 {
			o.useful++
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", sc.name, said(without, "succeeds", "fails"), said(a.succeeded(), "SUCCEEDS", "fails"), said(a.stopped == 0, "done", "stopped"))
	}
	for i, sc := range benign {
		o.benign++
		if a := s.play(t, "", sc, false); a.stopped > 0 {
			t.Errorf("%s: it is not done without Writ either", sc.name)
		}
		a := s.play(t, fmt.Sprintf("task-%d", i), sc, true)
		if a.stopped == 0 {
			o.done++
			continue
		}
		o.named = append(o.named, sc.name)
		fmt.Fprintf(out, "%s\t\t\tSTOPPED\n", sc.name)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return o
}

func said(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

func (o *outcome) String() string {
	return fmt.Sprintf("attacks that succeed: %d of %d without Writ, %d with it\ntasks done: %d of %d (%.3f) unattacked, %d of %d while attacked",
		o.without, o.attacks, o.with, o.done, o.benign, float64(o.done)/float64(o.benign), o.useful, o.attacks)
}

// The sample policies stop every attack, and let people work.
func TestSamplePolicies(t *testing.T) {
	sample := policiestest.Sample()
	o := playAll(t, sample)
	t.Logf("\n%s\n%s", o.table.String(), o)
	if o.attacks < minScenarios || o.benign < minTasks {
		t.Errorf("%d scenarios and %d tasks, want at least %d and %d", o.attacks, o.benign, minScenarios, minTasks)
	}
	if o.without != o.attacks || o.with != 0 {
		t.Errorf("%d of %d attacks succeed without Writ and %d with it, want all and none: %q", o.without, o.attacks, o.with, o.named)
	}
	if share := float64(o.done) / float64(o.benign); share < minBenign {
		t.Errorf("%.3f of the tasks are done, want at least %.2f: %q", share, minBenign, o.named)
	}
}

// Without the policies about taint attacks succeed: the scenarios would show it.
func TestWithoutTaint(t *testing.T) {
	sample := policiestest.Sample()
	delete(sample, taint)
	o := playAll(t, sample)
	t.Logf("without %s\n%s", taint, o)
	if o.with < 20 || o.done != o.benign {
		t.Errorf("%d attacks succeed and %d of %d tasks are done; want at least 20, and all: %q", o.with, o.done, o.benign, o.named)
	}
}
