package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
)

// maxOutput bounds results; a key that is not there bounds nothing.
type maxOutput struct {
	Bytes  *int64 `yaml:"bytes"`
	Values *int64 `yaml:"values"`
	Depth  *int64 `yaml:"depth"`
}

func (m maxOutput) limits() (result.Limits, error) {
	var l result.Limits
	for _, one := range []struct {
		key  string
		in   *int64
		into *int64
	}{{"bytes", m.Bytes, &l.Bytes}, {"values", m.Values, &l.Values}, {"depth", m.Depth, &l.Depth}} {
		if one.in == nil {
			continue
		}
		if *one.in < 1 {
			return l, fmt.Errorf("%s is not a positive number", one.key)
		}
		*one.into = *one.in
	}
	return l, nil
}

// limits are the tightest of a tool and of its classes.
func (m *manifest) limits(own maxOutput, classes []string) (result.Limits, error) {
	l, err := own.limits()
	if err != nil {
		return l, err
	}
	for _, class := range classes {
		more, err := m.Results.MaxOutput[class].limits()
		if err != nil {
			return l, fmt.Errorf("of the class %q: %w", class, err)
		}
		l = l.Tighter(more)
	}
	return l, nil
}

// results reads what becomes of results that are not as MCP has them.
func (m *manifest) results(b *decision.Bundle) error {
	for _, one := range []struct {
		key, word string
		into      *bool
	}{{"results.foreign", m.Results.Foreign, &b.Foreign}, {"results.unknown_blocks", m.Results.UnknownBlocks, &b.Blocks}} {
		switch one.word {
		case "", "deny":
		case "allow":
			*one.into = true
		default:
			return fmt.Errorf("%s: %s: %q is neither deny nor allow", fileManifest, one.key, one.word)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(m.Results.MaxOutput)) {
		if _, err := m.Results.MaxOutput[class].limits(); err != nil {
			return fmt.Errorf("%s: results.max_output: %s: %w", fileManifest, class, err)
		}
	}
	if len(m.Schemas.Formats) > maxFormats {
		return fmt.Errorf("%s: schemas.formats: more than %d", fileManifest, maxFormats)
	}
	return nil
}

// maxFormats bounds the formats that say nothing.
const maxFormats = 64
