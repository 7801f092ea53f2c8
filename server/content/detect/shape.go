package detect

import (
	"strconv"
	"strings"

	"github.com/writpdp/writ/server/content/detect/check"
)

// address looks at an e-mail address around an @.
func (r *reader) address(i int) {
	s := r.s
	start := i
	for start > 0 && i-start < 64 && mailbox(s[start-1]) {
		start--
	}
	for start < i && (s[start] == '.' || s[start] == '-' || s[start] == '\'') {
		start++
	}
	end, dot := i+1, -1
	for end < len(s) && end-i < 255 && (class[s[end]]&(alpha|digit|high) != 0 || s[end] == '-' || s[end] == '.') {
		if s[end] == '.' {
			dot = end
		}
		end++
	}
	for end > i && (s[end-1] == '.' || s[end-1] == '-') {
		end--
	}
	if dot >= end {
		dot = strings.LastIndexByte(s[i:end], '.') + i
	}
	if start == i || dot <= i+1 || end-dot < 3 || strings.Contains(s[i:end], "..") {
		return
	}
	for _, c := range []byte(s[dot+1 : end]) {
		if class[c]&(alpha|high) == 0 {
			return
		}
	}
	switch strings.ToLower(s[dot+1 : end]) {
	case "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "html", "json":
		return // an image for screens of twice the resolution, a package's file
	}
	if s[start:i] == "git" && end < len(s) && s[end] == ':' {
		return // a repository
	}
	if from := strings.LastIndexAny(s[max(0, start-96):start], " \t\r\n\"'<>"); strings.Contains(s[max(0, start-96)+from+1:start], "://") {
		return // who logs in, in a URL
	}
	r.add(email, start, end, 95, "domain")
}

func mailbox(c byte) bool {
	return class[c]&(alpha|digit|high) != 0 || strings.IndexByte(".!#$%&'*+-_~", c) >= 0
}

// colons looks at a MAC or IPv6 address that has a colon, and says up to where.
func (r *reader) colons(i int) int {
	s := r.s
	start, end := i, i
	for start > 0 && i-start < 5 && (isHex(s[start-1]) || s[start-1] == ':') {
		start--
	}
	for end < len(s) && end-start < 46 && (isHex(s[end]) || s[end] == ':' || s[end] == '.') {
		end++
	}
	for end > i && s[end-1] == '.' {
		end--
	}
	if end-start < 6 || start > 0 && (class[s[start-1]]&(alpha|digit) != 0 || s[start-1] == '_' || s[start-1] == ':') || end < len(s) && (class[s[end]]&(alpha|digit) != 0 || s[end] == '_' || s[end] == ':') {
		return end
	}
	text := strings.TrimSuffix(s[start:end], ":")
	switch {
	case mac(text, ':'):
		r.add(macAddress, start, start+len(text), 95, "form")
	case strings.Count(text, ":") >= 2 && ipv6(text):
		r.add(ipAddress, start, start+len(text), 92, "ipv6")
	}
	return end
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func mac(s string, sep byte) bool {
	if len(s) != 17 {
		return false
	}
	for i := range len(s) {
		if i%3 == 2 && s[i] != sep || i%3 != 2 && !isHex(s[i]) {
			return false
		}
	}
	return s != "00:00:00:00:00:00"
}

// ipv6 reports whether a text is an IPv6 address (RFC 4291), not ::, ::1.
func ipv6(s string) bool {
	groups, skipped, rest := 0, false, s
	if strings.HasPrefix(rest, "::") {
		skipped, rest = true, rest[2:]
	}
	for rest != "" {
		n := 0
		for n < len(rest) && isHex(rest[n]) {
			n++
		}
		if n < len(rest) && rest[n] == '.' {
			if !ipv4(rest) {
				return false
			}
			groups += 2
			rest = ""
			break
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		if rest = rest[n:]; rest == "" {
			break
		}
		if strings.HasPrefix(rest, "::") {
			if skipped {
				return false
			}
			skipped, rest = true, rest[2:]
			continue
		}
		if rest = rest[1:]; rest == "" {
			return false
		}
	}
	return groups == 8 && !skipped || skipped && groups < 8 && groups > 1
}

func ipv4(s string) bool {
	parts := strings.SplitN(s, ".", 5)
	if len(parts) != 4 {
		return false
	}
	for _, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || len(p) > 3 || n > 255 || len(p) > 1 && p[0] == '0' {
			return false
		}
	}
	return true
}

// address4 looks at an IPv4 address, or a MAC address with hyphens, that begins with
// a token.
func (r *reader) address4(i int) {
	s, t := r.s, r.tokens[i]
	if t.end < len(s) && s[t.end] == '-' && t.end-t.start == 2 && t.start+17 <= len(s) && mac(s[t.start:t.start+17], '-') {
		if (t.start == 0 || s[t.start-1] != '-') && (t.start+17 == len(s) || s[t.start+17] != '-' && class[s[t.start+17]]&(alpha|digit) == 0) {
			r.add(macAddress, t.start, t.start+17, 95, "form")
		}
		return
	}
	if i+3 >= len(r.tokens) || t.end-t.start > 3 || t.end >= len(s) || s[t.end] != '.' {
		return
	}
	last := r.tokens[i+3]
	if last.end-t.start > 15 || !ipv4(s[t.start:last.end]) || s[t.start:last.end] == "0.0.0.0" {
		return
	}
	if t.start > 0 {
		switch c := s[t.start-1]; {
		case c == '.' || c == '-' || c == '_':
			return
		case c == '/' && t.start > 1 && class[s[t.start-2]]&alpha != 0:
			return // a program and its version
		}
	}
	if last.end < len(s) && (s[last.end] == '-' || s[last.end] == '_' || s[last.end] == '.' && last.end+1 < len(s) && class[s[last.end+1]]&(digit|alpha) != 0) {
		return
	}
	k := r.near(t.start, last.end)
	if k&ofVersion != 0 && k&ofIP == 0 {
		return
	}
	r.add(ipAddress, t.start, last.end, 90, "ipv4")
}

// formless looks at numbers that only words tell: dates of birth, passports, driving
// licences, coordinates, beginning with a token.
func (r *reader) formless(i int) {
	if r.about&(ofBirth|ofPassport|ofLicence|ofGeo) == 0 && len(r.hits) == 0 && class[r.s[max(0, r.tokens[i].start-1)]] == 0 && r.tokens[i].digits < 2 {
		return
	}
	r.coordinates(i)
	t := r.tokens[i]
	k := r.near(t.start, t.end)
	if k&ofBirth != 0 {
		if end := r.date(i); end > 0 {
			r.add(dateOfBirth, t.start, end, 85, "date")
			return
		}
	}
	if k&(ofPassport|ofLicence) == 0 || t.start > 0 && strings.IndexByte("-/.", r.s[t.start-1]) >= 0 || r.date(i) > 0 {
		return
	}
	// The digits and the letters of the nearest word count.
	if n := t.end - t.start; k&ofPassport != 0 && n >= 6 && n <= 10 && t.digits >= 4 && r.s[t.start:t.end] == strings.ToUpper(r.s[t.start:t.end]) {
		r.add(passport, t.start, t.end, 80, "")
		return
	}
	if k&ofLicence == 0 {
		return
	}
	end, length, digits := t.end, t.end-t.start, t.digits
	for n := i + 1; n < len(r.tokens) && n-i < 5 && r.tokens[n].start == end+1 && (r.s[end] == '-' || r.s[end] == ' ' && r.tokens[n].digits > 0); n++ {
		end, length, digits = r.tokens[n].end, length+r.tokens[n].end-r.tokens[n].start, digits+r.tokens[n].digits
	}
	if length >= 6 && length <= 20 && digits >= 4 {
		r.add(drivingLicence, t.start, end, 80, "")
	}
}

var months = map[string]int{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
	"mär": 3, "mai": 5, "okt": 10, "dez": 12, "ene": 1, "abr": 4, "ago": 8, "dic": 12, "fév": 2, "avr": 4, "juin": 6, "juil": 7, "aoû": 8, "déc": 12,
	"gen": 1, "mag": 5, "giu": 6, "lug": 7, "set": 9, "ott": 10, "maj": 5, "out": 10, "mei": 5}

// date is where a date ends that begins with a token; 0: none does.
func (r *reader) date(i int) int {
	s, t := r.s, r.tokens[i]
	n, err := strconv.Atoi(s[t.start:t.end])
	if err != nil {
		return 0
	}
	if t.end-t.start == 8 && (check.Day(n/10000, n/100%100, n%100) && born(n/10000) || check.Day(n%10000, n/10000%100, n/1000000) && born(n%10000)) {
		return t.end
	}
	if i+2 < len(r.tokens) {
		a, b := r.tokens[i+1], r.tokens[i+2]
		if a.start == t.end+1 && b.start == a.end+1 && s[t.end] == s[a.end] && strings.IndexByte("-/. ", s[t.end]) >= 0 {
			m, err1 := strconv.Atoi(s[a.start:a.end])
			end := min(b.end, b.start+4)
			if t.end-t.start == 4 {
				end = min(b.end, b.start+2)
			}
			d, err2 := strconv.Atoi(s[b.start:end])
			if err1 == nil && err2 == nil {
				switch {
				case t.end-t.start == 4:
					if born(n) && check.Day(n, m, d) {
						return end
					}
				case end == b.end && (end-b.start == 4 && born(d) || end-b.start == 2) && t.end-t.start <= 2:
					if d < 100 {
						d += 1900
					}
					if check.Day(d, m, n) || check.Day(d, n, m) {
						return end
					}
				}
			}
		}
	}
	return r.spelt(i, n)
}

// spelt is where a date ends that has its month as a word: 12 March 1985, 12th of
// March 1985; March 12, 1985 begins at the month, and is found from the day on.
func (r *reader) spelt(i, day int) int {
	s, t := r.s, r.tokens[i]
	if day < 1 || day > 31 {
		return 0
	}
	end := min(len(s), t.end+28)
	rest := strings.TrimLeft(strings.TrimPrefix(s[t.end:end], "."), " -")
	word := strings.ToLower(rest[:strings.IndexFunc(rest+" ", func(c rune) bool { return c == ' ' || c == '-' || c == '.' || c == ',' })])
	after := rest[min(len(rest), len(word)):]
	month := months[word[:min(len(word), 3)]]
	if month == 0 && len(word) >= 4 {
		month = max(months[word[:4]], months[word[:min(len(word), 5)]])
	}
	if month == 0 {
		// March 12, 1985
		before := strings.Fields(strings.ToLower(s[max(0, t.start-12):t.start]))
		if len(before) == 0 {
			return 0
		}
		last := before[len(before)-1]
		if month, after = months[last[:min(len(last), 3)]], s[t.end:end]; month == 0 {
			return 0
		}
	}
	year := strings.TrimLeft(after, " -,.")
	if len(year) < 4 {
		return 0
	}
	n, err := strconv.Atoi(year[:4])
	if err != nil || !born(n) || !check.Day(n, month, day) {
		return 0
	}
	return end - len(s[t.end:end]) + strings.Index(s[t.end:end], year[:4]) + 4
}

// born reports whether somebody who is spoken of can be born in a year.
func born(year int) bool { return year >= 1880 && year <= 2099 }

// coordinates looks at a latitude and a longitude, both with decimals.
func (r *reader) coordinates(i int) {
	if i+3 >= len(r.tokens) {
		return
	}
	s := r.s
	a, b, c, d := r.tokens[i], r.tokens[i+1], r.tokens[i+2], r.tokens[i+3]
	if a.end >= len(s) || s[a.end] != '.' || b.start != a.end+1 || d.start != c.end+1 || s[c.end] != '.' || c.start-b.end > 4 ||
		a.end-a.start > 3 || c.end-c.start > 3 || b.end-b.start < 3 || d.end-d.start < 3 || a.start > 0 && s[a.start-1] == '.' {
		return
	}
	if gap := strings.TrimSuffix(strings.TrimSpace(s[b.end:c.start]), "-"); strings.TrimSpace(gap) != "," && gap != ";" && gap != "" || b.end == c.start {
		return
	}
	lat, err1 := strconv.ParseFloat(s[a.start:b.end], 64)
	lon, err2 := strconv.ParseFloat(s[c.start:d.end], 64)
	if err1 != nil || err2 != nil || lat > 180 || lon > 180 {
		return
	}
	start := a.start
	if start > 0 && s[start-1] == '-' {
		start--
	}
	if r.near(start, d.end)&(ofGeo|ofLatitude|ofLongitude) != 0 {
		r.add(geoCoordinates, start, d.end, 85, "range")
	}
}

// person looks at a name after a word that says that one follows.
func (r *reader) person(k kind, i int) {
	s := r.s
	if k&ofName != 0 {
		rest := strings.TrimLeft(s[i:min(len(s), i+6)], " \t\"'")
		if rest == "" || rest[0] != ':' && rest[0] != '=' {
			return
		}
		i += strings.IndexAny(s[i:], ":=") + 1
	} else if i < len(s) && s[i] == '.' {
		i++
	}
	for n := 0; n < 3 && i < len(s) && strings.IndexByte(" \t\"'", s[i]) >= 0; n++ {
		i++
	}
	if end := proper(s, i); end > i && i > 0 && !titled(s[i:end]) {
		r.add(personName, i, end, 65, "")
	}
}

// titled reports whether a text is a title alone, which stands before another.
func titled(s string) bool {
	switch s {
	case "Mr", "Mrs", "Ms", "Dr", "Prof", "Herr", "Frau":
		return true
	}
	return false
}

// proper is where one to four words with capitals end that begin at i; i: there are
// none.
func proper(s string, i int) int {
	end, p := i, i
	for range 4 {
		n := p
		for n < len(s) && (class[s[n]]&(alpha|high) != 0 || (s[n] == '-' || s[n] == '\'') && n > p) {
			n++
		}
		initial := n == p+1 && n < len(s) && s[n] == '.'
		if n-p < 2 && !initial || s[p] > 'Z' && s[p] < 0x80 || s[p] < 'A' {
			break
		}
		if end = n; initial {
			n++
		}
		if n >= len(s) || s[n] != ' ' {
			break
		}
		p = n + 1
	}
	if end-i < 2 {
		return i
	}
	return end
}
