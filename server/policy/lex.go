package policy

import (
	"fmt"
	"unicode/utf8"
)

// Bounds of Cedar text. The parser recurses, and a process that runs out of
// stack dies, so depth and size are bounded before it sees a byte.
const (
	maxCedarFile      = 8 << 20
	maxCedarStatement = 64 << 10
	maxCedarDepth     = 64
	// maxCedarChain bounds the accesses and signs of one statement, and
	// maxCedarPath those in a row: the time to validate `has a.b.c` grows with
	// the cube of its length.
	maxCedarChain = 2048
	maxCedarPath  = 32
)

// checkCedar walks Cedar policy or schema text without recursion and refuses
// what is nested or long beyond the bounds. Strings and comments are told apart
// as Cedar's own scanners do, or brackets could hide from one of the two.
func checkCedar(file string, text []byte) error {
	if len(text) > maxCedarFile {
		return fmt.Errorf("%s: larger than %d bytes", file, maxCedarFile)
	}
	s := scanner{text: text, line: 1}
	start, depth, ifs, chain, path := 0, 0, 0, 0, 0
	for s.next() {
		if s.pos-start > maxCedarStatement {
			return fmt.Errorf("%s:%d:%d: a statement longer than %d bytes", file, s.line, s.column, maxCedarStatement)
		}
		switch s.char {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(0, depth-1)
		case '.', '!', '-':
			chain++
			path++
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
		if !letter(s.char) && !space(s.char) && s.char != '.' && s.char != '!' && s.char != '-' {
			path = 0
		}
		if chain > maxCedarChain || path > maxCedarPath {
			return fmt.Errorf("%s:%d:%d: more than %d accesses or signs in a statement, or %d in a row", file, s.line, s.column, maxCedarChain, maxCedarPath)
		}
	}
	return nil
}

// scanner steps over Cedar text, leaving out strings and comments.
type scanner struct {
	text         []byte
	pos          int // of char
	char         byte
	line, column int
	after        int // position after char
}

func (s *scanner) next() bool {
	for s.after < len(s.text) {
		if s.piece() == other {
			return true
		}
	}
	return false
}

// kind is what the scanner has stepped over.
type kind uint8

const (
	other   kind = iota // one byte
	literal             // a string
	comment
)

// piece steps over one string, one comment or one other byte, from pos to after.
func (s *scanner) piece() kind {
	s.pos, s.char = s.after, s.text[s.after]
	s.step()
	switch {
	case s.char == '"':
		s.skipString()
		return literal
	case s.char == '/' && s.after < len(s.text) && s.text[s.after] == '/':
		for s.after < len(s.text) && s.text[s.after] != '\n' {
			s.step()
		}
		return comment
	case s.char == '/' && s.after < len(s.text) && s.text[s.after] == '*':
		s.skipComment()
		return comment
	}
	return other
}

// step goes one byte on; a column is a character.
func (s *scanner) step() {
	switch c := s.text[s.after]; {
	case c == '\n':
		s.line, s.column = s.line+1, 0
	case utf8.RuneStart(c):
		s.column++
	}
	s.after++
}

// skipComment goes to the end of a block comment. Comments do not nest, and the
// * that opens one does not close it.
func (s *scanner) skipComment() {
	s.step()
	for star := false; s.after < len(s.text); {
		c := s.text[s.after]
		s.step()
		if star && c == '/' {
			return
		}
		star = c == '*'
	}
}

func (s *scanner) skipString() {
	for s.after < len(s.text) {
		c := s.text[s.after]
		s.step()
		switch c {
		case '"':
			return
		case '\\':
			if s.after < len(s.text) {
				s.step()
			}
		}
	}
}

// word reports whether a keyword stands at the current position on its own.
func (s *scanner) word(w string) bool {
	end := s.pos + len(w)
	if end > len(s.text) || string(s.text[s.pos:end]) != w {
		return false
	}
	return (s.pos == 0 || !letter(s.text[s.pos-1])) && (end == len(s.text) || !letter(s.text[end]))
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func letter(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
