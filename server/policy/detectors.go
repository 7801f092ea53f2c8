package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/goccy/go-yaml"

	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
)

// detectors reads what a bundle looks for in requests; nil: it has no detectors.yaml,
// and looks for nothing. The bundle has its labels.
func (f *files) detectors(b *decision.Bundle) (*detect.Set, error) {
	data, err := f.read(fileDetectors)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var form detect.Form
	if err := DecodeYAML(fileDetectors, data, &form); err != nil {
		return nil, err
	}
	set, err := form.Compile(func(name string) ([]byte, error) {
		if path.Dir(name) != dirHashes || path.Ext(name) != ".txt" {
			return nil, fmt.Errorf("the file %q is not one of %s/*.txt", name, dirHashes)
		}
		return f.read(name)
	})
	var wrong *detect.FormError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("%s: %w", yamlAt(fileDetectors, data, wrong.Path), err)
	}
	if err != nil {
		return nil, err
	}
	for _, id := range set.Detectors() {
		if _, unknown := b.LabelsOf(set.Labels(id)); len(unknown) > 0 {
			return nil, fmt.Errorf("%s: the detector %q: there is no label %q: declare it in %s", fileDetectors, id, unknown[0], fileLabels)
		}
	}
	return set, nil
}

// yamlAt is the place of what some keys lead to: file:line:column, or the file alone
// where there is no such place.
func yamlAt(file string, data []byte, keys []string) string {
	for ; len(keys) > 0; keys = keys[:len(keys)-1] {
		b := (&yaml.PathBuilder{}).Root()
		for _, key := range keys {
			b = b.Child(key)
		}
		node, err := b.Build().ReadNode(bytes.NewReader(data))
		if err == nil && node != nil && node.GetToken() != nil {
			at := node.GetToken().Position
			return fmt.Sprintf("%s:%d:%d", file, at.Line, at.Column)
		}
	}
	return file
}
