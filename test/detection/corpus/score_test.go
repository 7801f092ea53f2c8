package corpus

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdd(t *testing.T) {
	at := func(detector string, start, end int) Label { return Label{Detector: detector, Start: start, End: end} }
	for _, c := range []struct {
		name           string
		labels, decoys []Label
		found          []Label
		want           map[string]Row
	}{
		{"hit", []Label{at("email", 3, 9)}, nil, []Label{at("email", 4, 8)}, map[string]Row{"email": {Labelled: 1, Hit: 1, Right: 1}}},
		{"beside it", []Label{at("email", 3, 9)}, nil, []Label{at("email", 9, 12)}, map[string]Row{"email": {Labelled: 1, False: 1}}},
		{"of another type", []Label{at("email", 3, 9)}, nil, []Label{at("phone", 3, 9)}, map[string]Row{"email": {Labelled: 1}, "phone": {False: 1}}},
		{"at another pointer", []Label{at("email", 3, 9)}, nil, []Label{{Detector: "email", Pointer: "/a", Start: 3, End: 9}},
			map[string]Row{"email": {Labelled: 1, False: 1}}},
		{"the whole value", []Label{at("nl-bsn", 0, 0)}, nil, []Label{at("nl-bsn", 2, 11)}, map[string]Row{"nl-bsn": {Labelled: 1, Hit: 1, Right: 1}}},
		{"a credential by another name", []Label{at("cloud-key", 0, 20)}, nil, []Label{at("api-key", 0, 20)},
			map[string]Row{"cloud-key": {Labelled: 1, Hit: 1}, "api-key": {Right: 1}}},
		{"part of a secret", []Label{at("database-url", 0, 40)}, nil, []Label{at("email", 10, 30)}, map[string]Row{"database-url": {Labelled: 1}}},
		{"more than a secret", []Label{at("database-url", 5, 40)}, nil, []Label{at("email", 2, 30)},
			map[string]Row{"database-url": {Labelled: 1}, "email": {False: 1}}},
		{"a decoy", nil, []Label{at("order number", 0, 16)}, []Label{at("payment-card", 0, 16)}, map[string]Row{"payment-card": {False: 1}}},
		{"twice", []Label{at("email", 3, 9)}, nil, []Label{at("email", 3, 9), at("email", 4, 9)},
			map[string]Row{"email": {Labelled: 1, Hit: 1, Right: 2}}},
	} {
		s := New()
		s.Add(&Document{Kind: "ticket", Labels: c.labels, Decoys: c.decoys}, c.found)
		if diff := cmp.Diff(c.want, s.Rows); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestStructured(t *testing.T) {
	s := New()
	s.Add(&Document{Labels: []Label{{Detector: "email", End: 4}, {Detector: "person-name", Start: 5, End: 9}}}, []Label{{Detector: "email", End: 4}})
	if got, want := s.Structured(), (Row{Labelled: 1, Hit: 1, Right: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMistakes(t *testing.T) {
	s := New()
	s.Add(&Document{Kind: "ticket", Locale: "de-DE", Labels: []Label{{Detector: "email", End: 4}}, Decoys: []Label{{Detector: "order number", Start: 5, End: 9}}},
		[]Label{{Detector: "phone", Start: 5, End: 9}})
	var out strings.Builder
	s.Mistakes(&out)
	for _, want := range []string{"1 email in ticket de-DE", "1 phone for order number"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
}

func TestReadWrite(t *testing.T) {
	want := []Document{{ID: "a", Kind: "log", Locale: "en-US", Text: "a < b\n", Labels: []Label{{Detector: "email", End: 1}}}}
	var text strings.Builder
	if err := Write(&text, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(strings.NewReader(text.String()))
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
	if _, err := Read(strings.NewReader(`{"id":"a","colour":1}`)); err == nil {
		t.Error("a member that documents do not have is accepted")
	}
}
