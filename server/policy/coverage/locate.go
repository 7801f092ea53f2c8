package coverage

import (
	"bytes"
	"slices"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/clause"
)

// span is a part of a text, from start up to, not including, end.
type span struct{ start, end int }

// locate finds the clauses of a policy in its text, which is blank but for what
// policy.Blank leaves. A condition that is written otherwise than it was taken
// apart, such as `has a.b`, stands for all its clauses.
func locate(blank []byte, p policy.Statement) []span {
	l := locator{text: blank, at: p.Position.Offset}
	scope, conditions := l.policy()
	spans := make([]span, len(p.Clauses))
	next := map[int]int{} // of each condition's parts
	for i, c := range p.Clauses {
		switch {
		case c.Kind <= clause.Resource && len(scope) == 3:
			spans[i] = scope[map[clause.Kind]int{clause.Principal: 0, clause.Action: 1, clause.Resource: 2}[c.Kind]]
		case c.Condition >= 0 && c.Condition < len(conditions):
			whole := conditions[c.Condition]
			parts := l.parts(whole, c.Kind == clause.When)
			clauses := 0
			for _, other := range p.Clauses {
				if other.Condition == c.Condition {
					clauses++
				}
			}
			if spans[i] = whole; len(parts) == clauses {
				spans[i] = parts[next[c.Condition]]
				next[c.Condition]++
			}
		}
	}
	return spans
}

// locator reads one policy. It is given what Cedar has parsed, and where it does
// not understand it finds nothing.
type locator struct {
	text []byte
	at   int
}

func (l *locator) space() {
	for l.at < len(l.text) && bytes.IndexByte([]byte(" \t\r\n"), l.text[l.at]) >= 0 {
		l.at++
	}
}

func (l *locator) word() string {
	l.space()
	start := l.at
	for l.at < len(l.text) && letter(l.text[l.at]) {
		l.at++
	}
	return string(l.text[start:l.at])
}

func letter(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// group is what stands between the bracket that comes next and its partner.
func (l *locator) group() (span, bool) {
	l.space()
	depth, start := 0, l.at+1
	for ; l.at < len(l.text); l.at++ {
		switch l.text[l.at] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
		if depth == 0 {
			l.at++
			return span{start, l.at - 1}, l.at > start
		}
	}
	return span{}, false
}

// policy finds the three parts of the scope and the conditions' expressions.
func (l *locator) policy() (scope, conditions []span) {
	for l.space(); l.at < len(l.text) && l.text[l.at] == '@'; l.space() {
		l.at++
		l.word()
		if l.space(); l.at < len(l.text) && l.text[l.at] == '(' {
			l.group()
		}
	}
	if word := l.word(); word != "permit" && word != "forbid" {
		return nil, nil
	}
	if all, ok := l.group(); ok {
		scope = l.divide(all, ",")
	}
	for word := l.word(); word == "when" || word == "unless"; word = l.word() {
		body, ok := l.group()
		if !ok {
			break
		}
		conditions = append(conditions, l.trim(body))
	}
	return scope, conditions
}

// parts takes an expression apart as the clauses are: at && or, for an unless,
// at ||, also within brackets around the whole of a part.
func (l *locator) parts(s span, when bool) []span {
	s = l.trim(s)
	if inner, ok := l.bracketed(s); ok {
		return l.parts(inner, when)
	}
	inside := locator{text: l.text, at: s.start}
	if inside.word() == "if" {
		return []span{s}
	}
	divided := l.divide(s, "||")
	if when {
		if len(divided) > 1 {
			return []span{s}
		}
		divided = l.divide(s, "&&")
	}
	if len(divided) == 1 {
		return divided
	}
	var all []span
	for _, part := range divided {
		if inner, ok := l.bracketed(part); ok {
			all = slices.Concat(all, l.parts(inner, when))
		} else {
			all = append(all, part)
		}
	}
	return all
}

// bracketed reports whether brackets stand around the whole of a span.
func (l *locator) bracketed(s span) (span, bool) {
	if s.start >= s.end || l.text[s.start] != '(' {
		return s, false
	}
	inside := locator{text: l.text[:s.end], at: s.start}
	inner, ok := inside.group()
	return inner, ok && inside.at == s.end
}

// divide cuts a span at a separator that stands in no brackets.
func (l *locator) divide(s span, separator string) []span {
	var all []span
	depth, start := 0, s.start
	for i := s.start; i < s.end; i++ {
		switch l.text[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
		if depth == 0 && bytes.HasPrefix(l.text[i:s.end], []byte(separator)) {
			all = append(all, l.trim(span{start, i}))
			start = i + len(separator)
			i = start - 1
		}
	}
	return append(all, l.trim(span{start, s.end}))
}

func (l *locator) trim(s span) span {
	for s.start < s.end && bytes.IndexByte([]byte(" \t\r\n"), l.text[s.start]) >= 0 {
		s.start++
	}
	for s.end > s.start && bytes.IndexByte([]byte(" \t\r\n"), l.text[s.end-1]) >= 0 {
		s.end--
	}
	return s
}
