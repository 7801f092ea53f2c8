package content

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/net/idna"
)

// Formats are those that are asserted: all of draft 2020-12. Every other one is
// refused when a schema is compiled, unless the bundle names it, for whoever writes
// a format means that it is kept to.
var Formats = []string{"date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri", "iri-reference",
	"json-pointer", "regex", "relative-json-pointer", "time", "uri", "uri-reference", "uri-template", "uuid"}

// ours are the formats that the validator does not know, or reads more loosely than
// their standard. Of the form of a time only what it leaves open is checked here.
var ours = []*jsonschema.Format{
	text("email", func(s string) bool {
		return len(s) <= 254 && strings.LastIndexByte(s, '@') <= 64 && emailForm.MatchString(s)
	}),
	text("idn-email", isIDNEmail),
	text("idn-hostname", isIDNHostname),
	text("ipv4", regexp.MustCompile(`^`+address4+`$`).MatchString),
	text("time", isTime),
	text("date-time", func(s string) bool {
		return len(s) > 11 && (s[10] == 'T' || s[10] == 't') && dateForm.MatchString(s[:10]) && validDate(s[:10]) && isTime(s[11:])
	}),
	text("duration", durationForm.MatchString),
}

var (
	dateForm     = regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`)
	timeForm     = regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(\.[0-9]+)?([Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))$`)
	durationForm = regexp.MustCompile(`^P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T` + clock + `)?|T` + clock + `)$`)
)

// clock is the second half of a duration (RFC 3339, appendix A).
const clock = `([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S)`

// The parts of addresses.
const (
	octet    = `(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	address4 = octet + `(\.` + octet + `){3}`
	atom     = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	label    = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`
)

var emailForm = regexp.MustCompile(`^("[^"\\]+"|` + atom + `(\.` + atom + `)*)@(` + label + `(\.` + label + `)*|\[` + address4 + `\]|\[IPv6:[0-9A-Fa-f:.]{2,45}\])$`)

var errFormat = errors.New("it is not of the format")

// text is a format of strings; every other value has it.
func text(name string, is func(string) bool) *jsonschema.Format {
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		if s, ok := v.(string); ok && !is(s) {
			return errFormat
		}
		return nil
	}}
}

func validDate(s string) bool {
	number := func(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }
	year, month, day := number(s)*100+number(s[2:]), number(s[5:]), number(s[8:])
	switch month {
	case 2:
		leap := year%4 == 0 && (year%100 != 0 || year%400 == 0)
		return day <= 28 || leap && day == 29
	case 4, 6, 9, 11:
		return day <= 30
	}
	return true
}

// isTime is full-time of RFC 3339: a leap second is the last one of a day in UTC.
func isTime(s string) bool {
	m := timeForm.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	if m[3] != "60" {
		return true
	}
	number := func(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }
	at := number(m[1])*60 + number(m[2])
	if m[6] != "" {
		offset := number(m[7])*60 + number(m[8])
		if m[6] == "+" {
			offset = -offset
		}
		at = (at + offset + 24*60) % (24 * 60)
	}
	return at == 24*60-1
}

// hosts are international host names: IDNA 2008, held to the lengths of DNS.
var hosts = idna.New(idna.ValidateForRegistration(), idna.BidiRule(), idna.VerifyDNSLength(true), idna.StrictDomainName(true))

// maxHost is the longest international host name, in bytes: DNS takes 253 characters.
// What would be made of a longer one takes time that grows with its square.
const maxHost = 253 * utf8.UTFMax

func isIDNHostname(s string) bool {
	if len(s) > maxHost {
		return false
	}
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune("\u3002\uff0e\uff61", r) {
			return '.' // the separators of RFC 3490
		}
		return r
	}, s)
	ascii, err := hosts.ToASCII(s)
	if err != nil || ascii == "" {
		return false
	}
	readable, err := hosts.ToUnicode(ascii)
	return err == nil && !slices.ContainsFunc(strings.Split(readable, "."), func(label string) bool { return !inContext([]rune(label)) })
}

// inContext holds a label to the rules of RFC 5892, appendix A, that a table of
// characters cannot have.
func inContext(label []rune) bool {
	at := func(i int) rune {
		if i < 0 || i >= len(label) {
			return 0
		}
		return label[i]
	}
	within := func(low, high rune) bool {
		return slices.ContainsFunc(label, func(r rune) bool { return r >= low && r <= high })
	}
	for i, r := range label {
		ok := true
		switch r {
		case '\u302e', '\u302f', '\u0640', '\u07fa', '\u3031', '\u3032', '\u3033', '\u3034', '\u3035', '\u303b':
			ok = false
		case '\u00b7': // a middle dot
			ok = at(i-1) == 'l' && at(i+1) == 'l'
		case '\u0375': // keraia
			ok = unicode.Is(unicode.Greek, at(i+1))
		case '\u05f3', '\u05f4': // geresh, gershayim
			ok = unicode.Is(unicode.Hebrew, at(i-1))
		case '\u30fb': // a middle dot of katakana
			ok = slices.ContainsFunc(label, func(r rune) bool {
				return r != '\u30fb' && unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han)
			})
		}
		if !ok {
			return false
		}
	}
	return !within('\u0660', '\u0669') || !within('\u06f0', '\u06f9')
}

// isIDNEmail is a mailbox of RFC 6531: any text before the @, and a host after it.
func isIDNEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 {
		return false
	}
	for _, atom := range strings.Split(s[:at], ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return r == utf8.RuneError || r >= utf8.RuneSelf && !unicode.IsPrint(r) ||
				r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	return isIDNHostname(s[at+1:])
}

// Bounds of regular expressions.
const (
	// maxPattern is the longest one, in bytes.
	maxPattern = 4096
	// maxProgram is the largest that one becomes with its repetitions written out,
	// in instructions, and maxPrograms all of a schema together.
	maxProgram  = 4096
	maxPrograms = 65536
)

// pattern is a regular expression of a schema.
type pattern struct {
	*regexp.Regexp
	size int // in instructions
}

// expression compiles a regular expression of a schema.
func expression(text string) (jsonschema.Regexp, error) {
	size, err := programOf(text)
	if err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return pattern{compiled, size}, nil
}

// isExpression is the format "regex" of a document. It compiles nothing: a
// document may hold a great many.
func isExpression(text string) bool {
	_, err := programOf(text)
	return err == nil
}

// programOf is how large a regular expression becomes, found without writing out
// its repetitions.
func programOf(text string) (int, error) {
	if len(text) > maxPattern {
		return 0, fmt.Errorf("the regular expression is longer than %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, err
	}
	size := instructions(parsed)
	if size > maxProgram {
		return 0, fmt.Errorf("the regular expression has more than %d instructions when its repetitions are written out", maxProgram)
	}
	return size, nil
}

// instructions counts as the compiler does, or a little more; a count beyond
// maxProgram is not exact.
func instructions(re *syntax.Regexp) int {
	below := 0
	for _, sub := range re.Sub {
		below = min(below+instructions(sub), maxProgram+1)
	}
	switch re.Op {
	case syntax.OpLiteral:
		below = len(re.Rune)
	case syntax.OpCharClass:
		below = 1 + len(re.Rune)/16
	case syntax.OpCapture:
		below += 2
	case syntax.OpAlternate, syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		below += 1 + len(re.Sub)
	case syntax.OpRepeat:
		times := max(re.Max, re.Min+1)
		below = times * (below + 1)
	}
	return min(max(1, below), maxProgram+1)
}
