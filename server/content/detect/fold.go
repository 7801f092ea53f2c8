package detect

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDecoded is how often something is decoded: twice base64, or percent-encoding
// within base64.
const maxDecoded = 2

// alike are letters that look like those of ASCII.
var alike = func() map[rune]byte {
	m := map[rune]byte{}
	for _, pair := range []struct{ odd, plain string }{
		{"АВЕКМНОРСТХІЈЅаеорсухіјѕһԁɡ", "ABEKMHOPCTXIJSaeopcyxijshdg"},
		{"ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo"},
	} {
		i := 0
		for _, r := range pair.odd {
			m[r] = pair.plain[i]
			i++
		}
	}
	return m
}()

// plain is what a character beyond ASCII stands for: a byte of ASCII, nothing (drop),
// or itself (neither).
func plain(r rune) (b byte, drop bool) {
	switch {
	case r >= 0xff01 && r <= 0xff5e: // full width
		return byte(r - 0xff01 + '!'), false
	case r >= 0xe0020 && r <= 0xe007e: // tags, which nobody sees and models read
		return byte(r - 0xe0000), false
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff, r == 0xad, r == 0x180e, r == 0x34f,
		r >= 0xfe00 && r <= 0xfe0f, r == 0xe0001, r == 0xe007f, r == 0x115f, r == 0x1160, r == 0x3164:
		return 0, true
	case r >= 0x2010 && r <= 0x2015, r == 0x2212, r == 0xfe58, r == 0xfe63, r == 0x2043, r == 0x30fb:
		return '-', false
	case r == 0xa0, r >= 0x2000 && r <= 0x200a, r == 0x202f, r == 0x205f, r == 0x3000:
		return ' ', false
	case r == 0x2024, r == 0x3002, r == 0xfe52:
		return '.', false
	case r >= 0x2460 && r <= 0x2468: // circled
		return byte(r - 0x2460 + '1'), false
	case r >= 0x2070 && r <= 0x2079:
		return byte(r - 0x2070 + '0'), false
	case r >= 0x2080 && r <= 0x2089:
		return byte(r - 0x2080 + '0'), false
	case r >= 0x1d7ce && r <= 0x1d7ff: // mathematical
		return byte('0' + (r-0x1d7ce)%10), false
	case r == 0xb2, r == 0xb3:
		return byte(r - 0xb2 + '2'), false
	case r == 0xb9:
		return '1', false
	}
	if b, ok := alike[r]; ok {
		return b, false
	}
	if r > 0x300 && unicode.IsDigit(r) { // digits of a script stand in order, from one whose value is zero
		zero := r
		for n := 0; n < 9 && unicode.IsDigit(zero-1); n++ {
			zero--
		}
		return byte('0' + (r-zero)%10), false
	}
	return 0, false
}

// fold is a text without what hides what it says: no zero-width characters, and those
// that look like ASCII as ASCII. back is, for each byte and the end, its place in the
// text; nil: there was nothing to fold.
func fold(s string) (folded string, back []int32) {
	var out []byte
	kept := 0 // up to where the text is in out
	for i := 0; i < len(s); {
		if s[i] < 0x80 {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		b, drop := plain(r)
		if b != 0 || drop {
			if back == nil {
				out, back = make([]byte, 0, len(s)), make([]int32, 0, len(s)+1)
			}
			out, back = keep(out, back, s, kept, i)
			if !drop {
				out, back = append(out, b), append(back, int32(i))
			}
			kept = i + size
		}
		i += size
	}
	if back == nil {
		return s, nil
	}
	out, back = keep(out, back, s, kept, len(s))
	return string(out), append(back, int32(len(s)))
}

// keep copies a part of a text.
func keep(out []byte, back []int32, s string, from, to int) ([]byte, []int32) {
	for i := from; i < to; i++ {
		out, back = append(out, s[i]), append(back, int32(i))
	}
	return out, back
}

// unescape is a text with what is written as %41, \x41, \u0041 or &#65; as what it
// stands for, and back as fold's; nil: there is none, or it is no text.
func unescape(s string) (text string, back []int32) {
	var out []byte
	kept := 0
	for i := 0; i < len(s); {
		if class[s[i]] != coded {
			i++
			continue
		}
		r, size := escape(s[i:])
		if size == 0 {
			i++
			continue
		}
		if back == nil {
			out, back = make([]byte, 0, len(s)), make([]int32, 0, len(s)+1)
		}
		out, back = keep(out, back, s, kept, i)
		if r < 0x100 && s[i] == '%' {
			out, back = append(out, byte(r)), append(back, int32(i))
		} else {
			n := len(out)
			out = utf8.AppendRune(out, r)
			for range len(out) - n {
				back = append(back, int32(i))
			}
		}
		i += size
		kept = i
	}
	if back == nil {
		return s, nil
	}
	out, back = keep(out, back, s, kept, len(s))
	if !utf8.Valid(out) {
		return s, nil
	}
	return string(out), append(back, int32(len(s)))
}

// escape reads one escaped character; of size 0: there is none.
func escape(s string) (r rune, size int) {
	number := func(from, to, base int) (rune, int) {
		if to > len(s) {
			return 0, 0
		}
		n, err := strconv.ParseUint(s[from:to], base, 21)
		if err != nil || n == 0 || !utf8.ValidRune(rune(n)) {
			return 0, 0
		}
		return rune(n), to
	}
	switch {
	case s[0] == '%':
		return number(1, 3, 16)
	case strings.HasPrefix(s, `\x`):
		return number(2, 4, 16)
	case strings.HasPrefix(s, `\u`):
		return number(2, 6, 16)
	case strings.HasPrefix(s, "&#"):
		end := strings.IndexByte(s[:min(len(s), 10)], ';')
		if end < 3 {
			return 0, 0
		}
		from, base := 2, 10
		if s[2] == 'x' || s[2] == 'X' {
			from, base = 3, 16
		}
		r, size = number(from, end, base)
		if size > 0 {
			size++
		}
	}
	return r, size
}
