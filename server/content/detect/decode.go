package detect

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// magic are the first bytes of what is no text, and what that is.
var magic = []struct{ bytes, kind string }{
	{"\x1f\x8b", "gzip"}, {"\x89PNG", "image"}, {"\xff\xd8\xff", "image"}, {"GIF8", "image"}, {"BM", "image"}, {"II*\x00", "image"}, {"MM\x00*", "image"},
	{"ID3", "audio"}, {"OggS", "audio"}, {"fLaC", "audio"}, {"\xff\xfb", "audio"}, {"\xff\xf3", "audio"},
	{"PK\x03\x04", "archive"}, {"BZh", "archive"}, {"\xfd7zXZ", "archive"}, {"(\xb5/\xfd", "archive"}, {"7z\xbc\xaf", "archive"}, {"%PDF", "pdf"},
}

// binaryKind is what bytes that are no text are; so is what is short: empty.
func binaryKind(b []byte) string {
	if len(b) > 12 && string(b[:4]) == "RIFF" {
		if string(b[8:12]) == "WEBP" {
			return "image"
		}
		return "audio"
	}
	for _, m := range magic {
		if len(b) >= 32 && strings.HasPrefix(string(b[:min(len(b), 8)]), m.bytes) {
			return m.kind
		}
	}
	if len(b) > maxBinary {
		return "binary"
	}
	return ""
}

// readable reports whether a byte can be in a text.
func readable(c byte) bool { return c >= ' ' && c != 0x7f || c == '\n' || c == '\t' || c == '\r' }

// printable reports whether bytes are a text that somebody could have encoded.
func printable(b []byte) bool {
	for _, c := range b {
		if !readable(c) {
			return false
		}
	}
	return utf8.Valid(b)
}

// unhex is the text that hexadecimal digits encode; empty: none.
func unhex(run string) string {
	var head [4]byte
	if n, _ := hex.Decode(head[:], []byte(run[:8])); n < 4 || !readable(head[0]) || !readable(head[1]) || !readable(head[2]) || !readable(head[3]) {
		return ""
	}
	b, err := hex.DecodeString(run)
	if err != nil || !printable(b) {
		return ""
	}
	return string(b)
}

// unbase64 is the text that a run encodes, or what it is that is no text. Of a run
// that is a text only up to some place the text is that part.
func unbase64(run string, scratch *[]byte) (text, binary string) {
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	// Most runs are no text from the first bytes on, nor in the last.
	end, tail := len(run)-len(run)%4, false
	if !softly(run[:8]) {
		if tail = len(run) >= 24 && softly(run[end-8:end]); !tail && len(run) < 44 {
			return "", ""
		}
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(run, "-_") {
		encoding = base64.RawURLEncoding
	}
	if need := encoding.DecodedLen(len(run)); cap(*scratch) < need {
		*scratch = make([]byte, need)
	}
	b := (*scratch)[:cap(*scratch)]
	n, err := encoding.Decode(b, []byte(run))
	if err != nil {
		return "", ""
	}
	b = b[:n]
	if kind := binaryKind(b); kind != "" && !printable(b) {
		if kind != "binary" || !tail {
			return "", kind
		}
	}
	b = stretch(b, tail)
	if len(b) < 6 || !utf8.Valid(b) {
		return "", ""
	}
	return string(b), ""
}

// softly reports whether what characters of base64 encode, four by four, can all be
// of a text.
func softly(run string) bool {
	for ; len(run) >= 4; run = run[4:] {
		v := uint32(sextet[run[0]])<<18 | uint32(sextet[run[1]])<<12 | uint32(sextet[run[2]])<<6 | uint32(sextet[run[3]])
		if !readable(byte(v>>16)) || !readable(byte(v>>8)) || !readable(byte(v)) {
			return false
		}
	}
	return true
}

// sextet is what a character of either alphabet of base64 stands for.
var sextet = func() (v [256]byte) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	for i := range len(letters) {
		v[letters[i]] = byte(i)
	}
	v['+'], v['-'], v['/'], v['_'] = 62, 62, 63, 63
	return v
}()

// stretch is the part of bytes that is a text: the first, or the last.
func stretch(b []byte, tail bool) []byte {
	if !tail {
		for i, c := range b {
			if !readable(c) {
				return b[:i]
			}
		}
		return b
	}
	for i := len(b) - 1; i >= 0; i-- {
		if !readable(b[i]) {
			return b[i+1:]
		}
	}
	return b
}
