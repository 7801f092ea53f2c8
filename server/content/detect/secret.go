package detect

import (
	"encoding/base64"
	"strings"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect/leak"
)

// specials are the words that secrets of a fixed form have, and who looks there.
var specials = map[string]func(r *reader, start, end int){
	"://":                            (*reader).url,
	"eyj":                            (*reader).token,
	"private key":                    (*reader).key,
	"discord.com/api/webhooks/":      (*reader).webhook,
	"discordapp.com/api/webhooks/":   (*reader).webhook,
	"hooks.zapier.com/hooks/catch/":  (*reader).webhook,
	"hooks.slack.com/":               (*reader).webhook,
	"chat.googleapis.com/v1/spaces/": (*reader).webhook,
	"outlook.office.com/webhook/":    (*reader).webhook,
	"webhook.office.com/webhookb2/":  (*reader).webhook,
	"hook.integromat.com/":           (*reader).webhook,
	"maker.ifttt.com/trigger/":       (*reader).webhook,
	"api.telegram.org/bot":           (*reader).webhook,
}

// databases are the schemes of URLs that lead to a database or a queue.
var databases = map[string]bool{"postgres": true, "postgresql": true, "mysql": true, "mariadb": true, "mongodb": true, "mongodb+srv": true, "redis": true,
	"rediss": true, "amqp": true, "amqps": true, "mssql": true, "sqlserver": true, "oracle": true, "clickhouse": true, "cockroachdb": true, "couchdb": true,
	"cassandra": true, "neo4j": true, "bolt": true, "ldap": true, "ldaps": true, "nats": true, "kafka": true, "snowflake": true, "db2": true, "jdbc": true}

// solid are the characters of URLs and of words that are secrets.
func solid(c byte) bool {
	return class[c]&(alpha|digit|high) != 0 || strings.IndexByte("-._~:/?#[]@!$&'()*+,;=%", c) >= 0
}

// url looks at who logs in by a URL, with which password.
func (r *reader) url(start, end int) {
	s := r.s
	scheme := start
	for scheme > 0 && start-scheme < 24 && (class[s[scheme-1]]&(alpha|digit) != 0 || s[scheme-1] == '+') {
		scheme--
	}
	stop, login := end, -1
	for stop < len(s) && stop-end < 512 && s[stop] > ' ' && strings.IndexByte("\"'<>`/?#", s[stop]) < 0 {
		if s[stop] == '@' {
			login = stop
		}
		stop++
	}
	if login < 0 || scheme == start {
		return
	}
	_, password, ok := strings.Cut(s[end:login], ":")
	if !ok || placeholder(password) {
		return
	}
	for stop < len(s) && stop-end < 1024 && solid(s[stop]) {
		stop++
	}
	if databases[strings.ToLower(s[scheme:start])] {
		r.add(databaseURL, scheme, stop, 96, "userinfo")
		return
	}
	r.add(namedSecret, login-len(password), login, 85, "userinfo")
}

// placeholder reports whether a text stands where a secret will.
func placeholder(s string) bool {
	if len(s) < 3 || strings.IndexByte("<${*[%", s[0]) >= 0 || strings.Trim(s, "xX*.-_•#?") == "" {
		return true
	}
	switch strings.ToLower(s) {
	case "password", "passwd", "pass", "secret", "token", "changeme", "redacted", "null", "none", "true", "false", "example", "required", "optional", "string", "hidden",
		"undefined", "your-password", "yourpassword", "your_password", "masked", "n/a", "unset", "basic", "bearer", "digest", "negotiate":
		return true
	}
	return strings.HasPrefix(strings.ToLower(s), "your")
}

// token looks at a JSON Web Token: three parts, of which the first says how it is
// signed.
func (r *reader) token(start, _ int) {
	s := r.s
	if s[start:start+3] != "eyJ" || start > 0 && (class[s[start-1]]&(alpha|digit) != 0 || s[start-1] == '_' || s[start-1] == '.') {
		return
	}
	var dots [3]int
	n, end := 0, start
	for end < len(s) && (class[s[end]]&(alpha|digit) != 0 || s[end] == '-' || s[end] == '_' || s[end] == '.' || s[end] == '=') {
		if s[end] == '.' {
			if n == 2 {
				break
			}
			dots[n] = end
			n++
		}
		end++
	}
	if n != 2 || dots[0]-start > 4096 || dots[1]-dots[0] < 3 {
		return
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s[start:dots[0]], "="))
	if err != nil || header[0] != '{' || !strings.Contains(string(header), `"alg"`) {
		return
	}
	r.add(jwt, start, end, 97, "jose-header")
}

// key looks at a private key as PEM and OpenPGP have it.
func (r *reader) key(start, end int) {
	s := r.s
	begin := strings.LastIndex(strings.ToUpper(s[max(0, start-64):start]), "-----BEGIN")
	if begin < 0 {
		return
	}
	begin += max(0, start-64)
	rest := s[end:min(len(s), end+16)]
	if !strings.HasPrefix(rest, "-----") && !strings.HasPrefix(strings.ToUpper(rest), " BLOCK-----") {
		return
	}
	stop := min(len(s), end+16<<10)
	if i := strings.Index(s[end:stop], "-----END"); i >= 0 {
		stop = end + i + len("-----END")
		if i := strings.Index(s[stop:min(len(s), stop+64)], "-----"); i >= 0 {
			stop += i + len("-----")
		}
	} else {
		for stop > end && s[stop-1]&0xc0 == 0x80 {
			stop-- // to the beginning of a character
		}
		if stop < len(s) && stop > end {
			stop--
			for stop > end && s[stop]&0xc0 == 0x80 {
				stop--
			}
		}
	}
	r.add(privateKey, begin, stop, 98, "pem")
}

// webhook looks at a URL that whoever knows it may post to.
func (r *reader) webhook(start, end int) {
	s := r.s
	stop, digits := end, 0
	for stop < len(s) && stop-end < 512 && solid(s[stop]) {
		digits += int(class[s[stop]] & digit)
		stop++
	}
	for stop > end && strings.IndexByte(".,;:!?)'", s[stop-1]) >= 0 {
		stop--
	}
	if stop-end < 12 || digits == 0 {
		return
	}
	for start > 0 && end-start < 96 && solid(s[start-1]) && s[start-1] != '(' && s[start-1] != '=' && s[start-1] != '\'' {
		start--
	}
	r.add(webhookURL, start, stop, 95, "host")
}

// assigned looks at what is given to a name that says it is a secret.
func (r *reader) assigned(i int) {
	s := r.s
	p, quoted, sign := i, false, false
	for ; p < len(s) && p-i < 10; p++ {
		c := s[p]
		if c == ':' || c == '=' || c == '>' && sign {
			sign = true
		} else if c == '"' || c == '\'' || c == '`' {
			quoted = sign
		} else if c != ' ' && c != '\t' {
			break
		}
	}
	for _, scheme := range []string{"bearer ", "basic ", "token "} {
		if len(s)-p > len(scheme) && strings.EqualFold(s[p:p+len(scheme)], scheme) {
			p += len(scheme)
			sign = true
		}
	}
	bearer := i >= 6 && strings.EqualFold(s[i-6:i], "bearer")
	if !sign && !bearer || p == i {
		return
	}
	end, digits, letters := p, 0, 0
	for end < len(s) && end-p < 512 && s[end] > ' ' && strings.IndexByte("\"'`<>,;", s[end]) < 0 {
		digits += int(class[s[end]] & digit)
		if class[s[end]]&(alpha|high) != 0 {
			letters++
		}
		end++
	}
	value := s[p:end]
	if len(value) < 4 || placeholder(value) || !quoted && (digits == 0 || letters == 0 || len(value) < 6 || strings.ContainsAny(value, "([{$")) || bearer && len(value) < 12 {
		return
	}
	r.add(namedSecret, p, end, 80, "")
}

// minIsland is the shortest run that is decoded, in bytes.
const minIsland = 12

// maxBinary is how much that is encoded may be no text before it counts as something
// that was not looked into, in bytes: signatures and hashes are shorter.
const maxBinary = 1 << 10

// island looks at a run of the characters of base64 or hexadecimal digits: what it
// encodes, and whether it is so random that it must be a secret where words say that
// there is one.
func (r *reader) island(start, end int) {
	s := r.s
	for end < len(s) && s[end] == '=' && end-start < 1<<24 {
		end++
	}
	run := s[start:end]
	for run[len(run)-1] == '=' && len(run) > 1 {
		run = run[:len(run)-1]
	}
	r.spend(1)
	if len(run) >= 20 && len(run) <= 256 {
		r.random(start, start+len(run))
	}
	if r.decoded >= maxDecoded {
		return
	}
	if allHex(run) && len(run)%2 == 0 {
		if text := unhex(run); text != "" {
			r.within(text, start, end, "hex")
		}
		return
	}
	for shift := range min(4, len(run)-11) {
		text, binary := unbase64(run[shift:], &r.scratch)
		if shift == 0 && binary != "" {
			r.gap(binary)
			return
		}
		if text != "" {
			r.within(text, start, end, "base64")
		}
		if len(run) < 24 || shift == 0 && len(text) >= len(run)*3/4-2 {
			return // all of it is a text, or too short to have something before
		}
	}
}

// within reports what is in a decoded text as the island's.
func (r *reader) within(text string, start, end int, encoding string) {
	for _, m := range r.inspector.read(text, r.about, r.level+1, r.decoded+1) {
		m.start, m.end = start, end
		if m.encoding != "" {
			m.encoding = encoding + "+" + m.encoding
		} else {
			m.encoding = encoding
		}
		r.matches = append(r.matches, m)
	}
}

// random looks at a run that is too random to be words.
func (r *reader) random(start, end int) {
	k := r.near(start, end)
	if k&(ofSecret|ofToken) == 0 || k&ofHash != 0 {
		return
	}
	run := r.s[start:end]
	if isUUID(run) || placeholder(run) || r.redacted(start, end) {
		return
	}
	var has uint8
	for i := range len(run) {
		has |= class[run[i]]
	}
	least := 3.7
	if allHex(run) {
		least = 3.0
	}
	if has&(digit|alpha) == digit|alpha && leak.Entropy(run) >= least {
		r.add(highEntropy, start, end, 60, "entropy")
	}
}

// redacted reports whether a run is what a redaction has put in a value's place.
func (r *reader) redacted(start, end int) bool {
	before := r.s[:start]
	for _, mark := range [...]string{"[token:", "[hash:"} {
		if strings.HasSuffix(before, mark) && end < len(r.s) && document.IsReplacement(r.s[start-len(mark):end+1]) {
			return true
		}
	}
	return false
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') || !dash && !isHex(s[i]) {
			return false
		}
	}
	return true
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}
