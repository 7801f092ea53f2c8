package policy

import (
	"bytes"
	"fmt"
)

// Bounds of YAML text. The parser takes time and stack that grow with the square
// of the nesting, and a bundle's files are a few levels deep.
const (
	maxYAMLFile  = 1 << 20
	maxYAMLDepth = 32
	maxYAMLLine  = 16 << 10
)

// checkYAML refuses, before it is parsed, what is nested or long beyond the
// bounds. It counts brackets wherever they stand, in strings too.
func checkYAML(file string, text []byte) error {
	if len(text) > maxYAMLFile {
		return fmt.Errorf("%s: larger than %d bytes", file, maxYAMLFile)
	}
	depth, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		if len(line) > maxYAMLLine {
			return fmt.Errorf("%s:%d: a line longer than %d bytes", file, number, maxYAMLLine)
		}
		indent := len(line) - len(bytes.TrimLeft(line, " \t-?"))
		if indent > 4*maxYAMLDepth {
			return fmt.Errorf("%s:%d: nested deeper than %d", file, number, maxYAMLDepth)
		}
		for i, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if depth > maxYAMLDepth {
				return fmt.Errorf("%s:%d:%d: nested deeper than %d", file, number, i+1, maxYAMLDepth)
			}
		}
	}
	return nil
}
