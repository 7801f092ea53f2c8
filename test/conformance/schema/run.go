package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
)

// group is one schema of the suite with documents.
type group struct {
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
	Tests       []struct {
		Description string          `json:"description"`
		Data        json.RawMessage `json:"data"`
		Valid       bool            `json:"valid"`
	} `json:"tests"`
}

// tally is what came of all tests.
type tally struct {
	agree, invalid int            // invalid of those that agree are refused
	design         map[string]int // stricter by design, by how
	differ         []string
}

// ours are tests with which Writ does not agree, by name, with the reason.
var ours = map[string]string{
	"optional/format/ecmascript-regex.json: \\a is not an ECMA 262 control escape: when used as a pattern": "a regular expression of RE2",
}

// run runs every file of the draft, those of its optional formats included.
func run(dir string) (*tally, error) {
	t := &tally{design: map[string]int{}}
	files := 0
	for _, pattern := range []string{"draft2020-12/*.json", "draft2020-12/optional/format/*.json"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("listing the suite: %w", err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("reading the suite: %w", err)
			}
			var groups []group
			if err := json.Unmarshal(data, &groups); err != nil {
				return nil, fmt.Errorf("reading %s: %w", name, err)
			}
			short, err := filepath.Rel(filepath.Join(dir, "draft2020-12"), name)
			if err != nil {
				return nil, fmt.Errorf("naming a file of the suite: %w", err)
			}
			for _, g := range groups {
				t.group(short, g)
			}
			files++
		}
	}
	if files < 40 {
		return nil, fmt.Errorf("%s holds %d files of the suite, and not the whole", dir, files)
	}
	return t, nil
}

func (t *tally) group(file string, g group) {
	schema, err := document.Parse(g.Schema)
	if err != nil {
		t.design["a schema that is no strict JSON"] += len(g.Tests)
		return
	}
	compiled, err := content.Compile(schema)
	if err != nil {
		how := t.refused(file, err)
		if how == "" {
			t.differ = append(t.differ, fmt.Sprintf("%s: %s: the schema is refused: %v", file, g.Description, err))
			return
		}
		t.design[how] += len(g.Tests)
		return
	}
	for _, test := range g.Tests {
		name := fmt.Sprintf("%s: %s: %s", file, g.Description, test.Description)
		d, err := document.Parse(test.Data)
		if err != nil {
			t.design["a document that not all read alike"]++
			continue
		}
		found := compiled.Check(d)
		switch {
		case (found == nil) == test.Valid:
			t.agree++
			if !test.Valid {
				t.invalid++
			}
		case found == nil && ours[name] != "":
			t.design[ours[name]]++
		case found == nil:
			t.differ = append(t.differ, name+": taken")
		case strictly(found):
			t.design["a property or element that no schema names"]++
		case strings.HasPrefix(file, "format") && found[0].Keyword == "format":
			t.design["a format that is asserted"]++ // the suite's required part has them as annotations
		default:
			t.differ = append(t.differ, fmt.Sprintf("%s: refused: %v", name, found))
		}
	}
}

// strictly reports whether all that was found is what closing a schema adds.
func strictly(found []content.Violation) bool {
	return !slices.ContainsFunc(found, func(v content.Violation) bool {
		return v.Keyword != content.UnknownProperty && v.Keyword != content.UnknownElement && v.Keyword != "not" && v.Keyword != "oneOf"
	})
}

// refused says by what design a schema is refused; empty: by none.
func (t *tally) refused(file string, err error) string {
	for text, how := range map[string]string{
		"not a JSON object":         "a schema that is no object",
		"dynamic":                   "a dynamic reference",
		"out of the schema":         "a reference out of the schema",
		"dialect":                   "another dialect or vocabulary",
		"inside has an $id":         "an $id inside",
		"itself for the same value": "a schema that refers to itself for one value",
		"the format":                "an unknown format",
	} {
		if strings.Contains(err.Error(), text) {
			return how
		}
	}
	return ""
}

func (t *tally) print(out io.Writer, show int) {
	sum := 0
	for _, how := range slices.Sorted(maps.Keys(t.design)) {
		fmt.Fprintf(out, "stricter by design, %s: %d\n", how, t.design[how])
		sum += t.design[how]
	}
	for i, d := range t.differ {
		if i == show {
			fmt.Fprintf(out, "and %d more\n", len(t.differ)-show)
			break
		}
		fmt.Fprintln(out, "differs:", d)
	}
	fmt.Fprintf(out, "%d of them are documents that both refuse; %d are stricter by design and not compared\n", t.invalid, sum)
	fmt.Fprintf(out, "%d of %d\n", t.agree, t.agree+len(t.differ))
}
