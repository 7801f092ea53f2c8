package detect

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ways is how many ways a custom detector has to find something.
func (c Custom) ways() int {
	n := 0
	for _, has := range []bool{c.Regex != "", len(c.Terms) > 0, c.Hashes != ""} {
		if has {
			n++
		}
	}
	return n
}

// custom looks for what the bundle's own expressions match.
func (r *reader) custom() {
	for _, c := range r.set.custom {
		if r.set.detectors[c.detector].off {
			continue
		}
		r.spend(1 + len(r.s)/64)
		for _, m := range c.all(r.s, r.set.findings+1) {
			r.add(c.detector, m[0], m[1], 90, "regex")
		}
	}
}

// all are the places that an expression matches, of its group.
func (c custom) all(s string, most int) [][2]int {
	var places [][2]int
	for _, m := range c.regex.FindAllStringSubmatchIndex(s, most) {
		if start, end := m[2*c.group], m[2*c.group+1]; start >= 0 && end > start {
			places = append(places, [2]int{start, end})
		}
	}
	return places
}

// exactSet is the hashes of a column's values.
type exactSet struct {
	detector    int
	salt        []byte
	least, most int // lengths of the values that are hashed
	sums        map[[16]byte]struct{}
}

// Bounds of a file of hashes.
const (
	maxHashes = 1_000_000
	leastTold = 4  // the shortest value that is told by its hash, in characters
	mostTold  = 64 // and the longest
)

// header begins a file of hashes: the form, the salt, and the lengths of the values.
const header = "writ-hashes-1"

// normal is a value as it is hashed: ASCII letters and digits in lower case, and what
// is beyond ASCII.
func normal(dst []byte, value string) []byte {
	for i := range len(value) {
		c := value[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if class[c]&(alpha|digit|high) != 0 {
			dst = append(dst, c)
		}
	}
	return dst
}

func sumOf(salt, value []byte) (sum [16]byte) {
	h := hmac.New(sha256.New, salt)
	h.Write(value)
	copy(sum[:], h.Sum(nil))
	return sum
}

// Hashes makes the file that a detector's hashes are in, of values one a line. It holds
// the salt and no values; but who has it can try values, so few possible ones, as
// telephone numbers are, can be found out from it.
func Hashes(salt []byte, values []string) ([]byte, error) {
	if len(salt) < 16 {
		return nil, errors.New("the salt is shorter than 16 bytes")
	}
	sums, least, most := map[string]bool{}, mostTold, leastTold
	for n, v := range values {
		value := normal(nil, v)
		if len(value) == 0 {
			continue
		}
		if len(value) < leastTold || len(value) > mostTold {
			return nil, fmt.Errorf("value %d is not of %d to %d letters and digits", n+1, leastTold, mostTold)
		}
		least, most = min(least, len(value)), max(most, len(value))
		sum := sumOf(salt, value)
		sums[hex.EncodeToString(sum[:])] = true
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %x %d %d\n", header, salt, least, most)
	for _, sum := range sorted(sums) {
		out.WriteString(sum + "\n")
	}
	return out.Bytes(), nil
}

// hashes reads a file of hashes.
func (s *Set) hashes(number int, name string, read func(string) ([]byte, error), sum func([]byte)) error {
	if read == nil {
		return errors.New("there are no files")
	}
	data, err := read(name)
	if err != nil {
		return err
	}
	sum(data)
	first, rest, _ := strings.Cut(string(data), "\n")
	e := exactSet{detector: number, sums: map[[16]byte]struct{}{}}
	var form, salt string
	if n, err := fmt.Sscanf(first, "%s %s %d %d", &form, &salt, &e.least, &e.most); err != nil || n != 4 || form != header {
		return fmt.Errorf("%s:1: it does not begin with %q, a salt and two lengths", name, header)
	}
	if e.salt, err = hex.DecodeString(salt); err != nil || len(e.salt) < 16 || e.least < leastTold || e.most > mostTold {
		return fmt.Errorf("%s:1: the salt is not of 16 bytes or more, or the lengths are not within %d to %d", name, leastTold, mostTold)
	}
	line := 1
	for text := range strings.Lines(rest) {
		line++
		var one [16]byte
		if n, err := hex.Decode(one[:], []byte(strings.TrimSpace(text))[:min(32, len(strings.TrimSpace(text)))]); err != nil || n != 16 || len(strings.TrimSpace(text)) != 32 {
			return fmt.Errorf("%s:%d: not a hash", name, line)
		}
		if e.sums[one] = struct{}{}; len(e.sums) > maxHashes {
			return fmt.Errorf("%s: more than %d hashes", name, maxHashes)
		}
	}
	s.exactSets = append(s.exactSets, e)
	return nil
}

// exact looks for values whose hashes the bundle has: up to four tokens from one on,
// with one character between.
func (r *reader) exact(i int) {
	for n := range r.set.exactSets {
		e := &r.set.exactSets[n]
		if r.set.detectors[e.detector].off {
			continue
		}
		var buffer [mostTold + 64]byte
		value, end := buffer[:0], r.tokens[i].start-1
		for t := i; t < len(r.tokens) && t-i < 5 && (t == i || r.tokens[t].start == end+1); t++ {
			end = r.tokens[t].end
			if value = normal(value, r.s[r.tokens[t].start:end]); len(value) > e.most {
				break
			}
			if len(value) < e.least {
				continue
			}
			r.spend(1)
			if _, known := e.sums[sumOf(e.salt, value)]; known {
				r.add(e.detector, r.tokens[i].start, end, 99, "hash")
			}
		}
	}
}
