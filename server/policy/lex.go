package policy

import (
	"fmt"
)

// Bounds of Cedar text. The parser recurses, and a process that runs out of
// stack dies, so depth and size are bounded before it sees a byte.
const (
	maxCedarFile      = 8 << 20
	maxCedarStatement = 64 << 10
	maxCedarDepth     = 64
	// maxCedarChain bounds the accesses and unary operators of one statement:
	// `has a.b.c` becomes a tree of the square of its length.
	maxCedarChain = 2048
)

// checkCedar walks Cedar policy or schema text without recursion and refuses
// what is nested or long beyond the bounds. Strings and comments are told apart
// as Cedar's own scanners do, or brackets could hide from one of the two.
func checkCedar(file string, text []byte) error {
	if len(text) > maxCedarFile {
		return fmt.Errorf("%s: larger than %d bytes", file, maxCedarFile)
	}
	s := scanner{text: text, line: 1}
	start, depth, ifs, chain := 0, 0, 0, 0
	for s.next() {
		if s.pos-start > maxCedarStatement {
			return fmt.Errorf("%s:%d:%d: a statement longer than %d bytes", file, s.line, s.column, maxCedarStatement)
		}
		switch s.char {
		case '(', '[', '{', '<':
			depth++ // < compares too, and then nothing closes it before the end
		case ')', ']', '}', '>':
			depth = max(0, depth-1)
		case '.', '!', '-':
			chain++
		case ';':
			if start, chain = s.pos, 0; depth <= 1 { // 1 in a schema's namespace
				ifs = 0
			}
		case 'i':
			if s.word("if") {
				ifs++
			}
		}
		if depth+ifs > maxCedarDepth {
			return fmt.Errorf("%s:%d:%d: nested deeper than %d", file, s.line, s.column, maxCedarDepth)
		}
		if chain > maxCedarChain {
			return fmt.Errorf("%s:%d:%d: more than %d accesses and operators in a statement", file, s.line, s.column, maxCedarChain)
		}
	}
	return nil
}
