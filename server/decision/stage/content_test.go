package stage_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

// What nobody can look into is denied, unless the bundle names its kind, and no reason
// holds a value.
func TestContent(t *testing.T) {
	image := base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n" + strings.Repeat("\x00\x01", 40)))
	with := func(change func(*detect.Form)) *detect.Set {
		var form detect.Form
		change(&form)
		set, err := form.Compile(nil)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	usual := detect.Default()
	small := with(func(f *detect.Form) { f.Limits.Bytes = 40 })
	few := with(func(f *detect.Form) { f.Limits.Findings = 1 })
	for _, c := range []struct {
		name, text string
		set        *detect.Set
		want       []string
		found      []string
	}{
		{"no detectors", fmt.Sprintf(`{"a":%q}`, image), nil, nil, nil},
		{"nothing", `{"a":"b"}`, usual, nil, nil},
		{"an address", `{"a":"ada@example.org"}`, usual, nil, []string{"email"}},
		{"an image", fmt.Sprintf(`{"a":%q}`, image), usual, []string{"content.uninspected"}, nil},
		{"an image that may pass", fmt.Sprintf(`{"a":%q}`, image), with(func(f *detect.Form) { f.Uninspected = []string{"image"} }), nil, nil},
		{"too large", `{"a":"` + strings.Repeat("b", 60) + `"}`, small, []string{"content.oversize"}, nil},
		{"too much", `{"a":"ada@example.org bob@example.org"}`, few, []string{"content.too_much"}, []string{"email"}},
	} {
		req := &decision.Request{Phase: decision.Call, Arguments: object(t, c.text)}
		f := stage.Content(req, &decision.Snapshot{Bundle: &decision.Bundle{Detect: c.set}}, &decision.Decision{})
		var got []string
		for _, r := range f.Reasons {
			got = append(got, r.Code)
			if strings.Contains(r.Text+r.Lift, image) || strings.Contains(r.Text, "ada@") {
				t.Errorf("%s: a reason holds a value: %s", c.name, r.Text)
			}
		}
		if !slices.Equal(got, c.want) || !slices.Equal(f.Inspection.Detectors(), c.found) {
			t.Errorf("%s: got %q and %q, want %q and %q", c.name, got, f.Inspection.Detectors(), c.want, c.found)
		}
		if denied := f.Verdict == decision.Deny; denied != (len(c.want) > 0) {
			t.Errorf("%s: the verdict is %v", c.name, f.Verdict)
		}
	}
}
