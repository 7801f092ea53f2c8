package quick

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// matcher is a pattern as protovalidate matches it. A row of ASCII classes with
// counts, such as ^[a-z][a-z0-9_]{0,63}$, is matched byte by byte, each class
// taking as many as it can: a yes is a match, and where one would have to give
// some back it says no.
func matcher(pattern string) func(string) bool {
	if re, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		if row, maybe, ok := rowOf(re); ok {
			return func(s string) bool { return s == "" && maybe || match(row, s) }
		}
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return func(string) bool { return false } // protovalidate says why
	}
	return re.MatchString
}

// class is a class of bytes, and how many of it there must and may be.
type class struct {
	has         [utf8.RuneSelf]bool
	least, most int // most -1: without bound
}

func match(row []class, s string) bool {
	at := 0
	for i := range row {
		c, from := &row[i], at
		for at < len(s) && at-from != c.most && s[at] < utf8.RuneSelf && c.has[s[at]] {
			at++
		}
		if at-from < c.least {
			return false
		}
	}
	return at == len(s)
}

// rowOf takes a pattern apart that is ^row$, or ^(row)?$, which also matches
// nothing at all.
func rowOf(re *syntax.Regexp) (row []class, maybe, ok bool) {
	last := len(re.Sub) - 1
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText || re.Sub[last].Op != syntax.OpEndText {
		return nil, false, false
	}
	parts := re.Sub[1:last]
	if len(parts) == 1 && parts[0].Op == syntax.OpQuest && parts[0].Sub[0].Op == syntax.OpCapture {
		maybe, parts = true, parts[0].Sub[0].Sub
		if parts[0].Op == syntax.OpConcat {
			parts = parts[0].Sub
		}
	}
	for _, part := range parts {
		least, most := 1, 1
		if part.Op == syntax.OpRepeat {
			least, most, part = part.Min, part.Max, part.Sub[0]
		}
		switch {
		case slices.ContainsFunc(part.Rune, func(r rune) bool { return r >= utf8.RuneSelf }):
			return nil, false, false
		case part.Op == syntax.OpCharClass:
			row = append(row, classOf(part.Rune, least, most))
		case part.Op == syntax.OpLiteral && part.Flags&syntax.FoldCase == 0 && least == 1 && most == 1:
			for _, r := range part.Rune {
				row = append(row, classOf([]rune{r, r}, 1, 1))
			}
		default:
			return nil, false, false
		}
	}
	return row, maybe, true
}

// classOf takes the ranges of a class as regexp has them: firsts and lasts.
func classOf(ranges []rune, least, most int) class {
	c := class{least: least, most: most}
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			c.has[r] = true
		}
	}
	return c
}
