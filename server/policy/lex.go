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
)

// checkCedar walks Cedar policy or schema text without recursion and refuses
// what is nested or long beyond the bounds. ends counts a statement's end: ';'
// in policies; a schema is one statement as far as brackets go.
func checkCedar(file string, text []byte) error {
	if len(text) > maxCedarFile {
		return fmt.Errorf("%s: larger than %d bytes", file, maxCedarFile)
	}
	s := scanner{text: text, line: 1}
	start, depth, ifs := 0, 0, 0
	for s.next() {
		switch s.char {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ';':
			if depth <= 0 {
				start, depth, ifs = s.pos, 0, 0
			}
		case 'i':
			if s.word("if") {
				ifs++
			}
		}
		if depth+ifs > maxCedarDepth {
			return fmt.Errorf("%s:%d:%d: nested deeper than %d", file, s.line, s.column, maxCedarDepth)
		}
		if s.pos-start > maxCedarStatement {
			return fmt.Errorf("%s:%d:%d: a statement longer than %d bytes", file, s.line, s.column, maxCedarStatement)
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
		s.pos, s.char = s.after, s.text[s.after]
		s.step()
		switch {
		case s.char == '"':
			s.skipString()
		case s.char == '/' && s.after < len(s.text) && s.text[s.after] == '/':
			for s.after < len(s.text) && s.text[s.after] != '\n' {
				s.step()
			}
		default:
			return true
		}
	}
	return false
}

func (s *scanner) step() {
	if s.text[s.after] == '\n' {
		s.line, s.column = s.line+1, 0
	} else {
		s.column++
	}
	s.after++
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

func letter(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
