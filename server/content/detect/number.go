package detect

import (
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/writpdp/writ/server/content/detect/check"
)

// joined is up to nine tokens with single separators between, as one.
type joined struct {
	text   []byte
	start  int
	end    int
	digits int
	shape  uint64 // lengths of the tokens, four bits each
	sep    byte   // the one separator; 0: none, 0xff: several
	count  int
}

// maxJoined is the longest number, in characters.
const maxJoined = 34

// number looks at every number that begins with a token.
func (r *reader) number(i int) {
	var buffer [maxJoined + 32]byte
	j := joined{text: buffer[:0], start: r.tokens[i].start}
	s := r.s
	if j.start > 0 && (s[j.start-1] == '_' || s[j.start-1] == '$' || s[j.start-1] == '#') {
		return
	}
	r.spend(1)
	r.exact(i)
	r.address4(i)
	if r.tokens[i].digits > 0 {
		r.phoneAt(i)
		r.formless(i)
	}
	for n := i; n < len(r.tokens) && n-i < 9; n++ {
		t := r.tokens[n]
		if n > i {
			if t.start-j.end != 1 {
				break
			}
			sep := s[j.end]
			switch sep {
			case ' ', '-', '.', '/', '+':
			default:
				return
			}
			if j.sep == 0 {
				j.sep = sep
			} else if j.sep != sep {
				j.sep = 0xff
			}
		}
		if len(j.text)+t.end-t.start > maxJoined {
			break
		}
		for _, c := range []byte(s[t.start:t.end]) {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			j.text = append(j.text, c)
		}
		j.end, j.digits, j.count = t.end, j.digits+t.digits, j.count+1
		j.shape = j.shape<<4 | uint64(min(t.end-t.start, 15))
		if len(j.text) >= 8 && j.digits >= 5 && r.bounded(&j) {
			r.judge(&j)
		}
	}
}

// bounded reports whether a number stands for itself: no longer number goes on with
// the same separator, or with a point.
func (r *reader) bounded(j *joined) bool {
	s := r.s
	if j.end < len(s) && (s[j.end] == '_' || s[j.end] == '@') {
		return false
	}
	goes := func(at, next int) bool {
		if at < 0 || next < 0 || at >= len(s) || next >= len(s) || class[s[next]]&digit == 0 {
			return false
		}
		return s[at] == '.' || s[at] == '-' && j.sep != ' ' || s[at] == j.sep && j.sep != 0 && j.sep != ' ' || s[at] == '/' && j.count > 1
	}
	return !goes(j.start-1, j.start-2) && !goes(j.end, j.end+1)
}

// judge tells what a number is. Where check digits leave much to chance, or there are
// none, words must say what it is.
func (r *reader) judge(j *joined) {
	text := string(j.text)
	if j.digits == len(text) {
		r.judgeDigits(j, text)
		return
	}
	r.judgeMixed(j, text)
}

// grouped reports whether a number is written in one piece or in groups of one of the
// shapes, and with one separator.
func (j *joined) grouped(shapes ...uint64) bool {
	if j.count == 1 {
		return true
	}
	for _, s := range shapes {
		if j.shape == s {
			return true
		}
	}
	return false
}

// sure is the confidence in something that was checked, where words may say so too.
func sure(said bool) uint8 {
	if said {
		return 99
	}
	return 88
}

func (r *reader) judgeDigits(j *joined, text string) {
	var k kind
	asked := false
	about := func() kind {
		if !asked {
			k, asked = r.near(j.start, j.end), true
		}
		return k
	}
	found := func(detector int, said kind, need bool, confidence uint8, validator string) {
		is := about()&said != 0
		if is || !need && about()&(ofOther|justID) == 0 {
			if is {
				confidence = max(confidence, 96)
			}
			r.add(detector, j.start, j.end, confidence, validator)
		}
	}
	switch n := len(text); {
	case n == 9 && j.grouped(0x324, 0x333, 0x423):
		if check.SSN(text) && j.grouped(0x324) {
			found(usSSN, ofSSN, true, 80, "")
		}
		if check.ITIN(text) && j.grouped(0x324) {
			found(usITIN, ofITIN|ofSSN, true, 80, "")
		}
		if check.BSN(text) {
			found(nlBSN, ofBSN|ofNational, true, 88, "mod-11")
		}
		if check.NIF(text) {
			found(ptNIF, ofNIF|ofNational, true, 87, "mod-11")
		}
	case n == 10 && j.grouped(0x334, 0x64):
		if check.NHS(text) && j.shape != 0x64 {
			found(ukNHS, ofNHS, true, 97, "mod-11")
		}
		if check.Personnummer(text) && j.shape != 0x334 {
			found(sePersonnummer, ofPersonnummer|ofNational, true, 90, "luhn")
		}
		if code := r.s[j.start:j.end]; len(code) == 11 && check.HETU(code) {
			found(fiHETU, ofHETU|ofNational, false, 91, "mod-31")
		}
		if check.CPR(text) && j.shape != 0x334 {
			found(dkCPR, ofCPR, true, 80, "date")
		}
	case n == 11 && j.grouped(0x2333, 0x65, 0x22232, 0x632):
		if check.Fodselsnummer(text) && j.grouped(0x65) {
			found(noFodselsnummer, ofFodsel|ofNational, false, 92, "mod-11")
		}
		if check.BelgianNumber(text) && j.grouped(0x22232, 0x632) {
			found(beNationalNumber, ofBelgian|ofNational, false, 91, "mod-97")
		}
		if check.PESEL(text) && j.count == 1 {
			found(plPESEL, ofPESEL|ofNational, true, 90, "mod-10")
		}
		if check.SteuerID(text) && j.grouped(0x2333) {
			found(deSteuerID, ofSteuer|ofNational, false, 89, "mod-11-10")
		}
	case n == 12 && j.grouped(0x84):
		if check.Personnummer(text) {
			found(sePersonnummer, ofPersonnummer|ofNational, true, 90, "luhn")
		}
	}
	if len(text) == 15 && check.NIR(text) && j.grouped(0x1222332, 0xd2) {
		found(frNIR, ofNIR|ofNational, false, 92, "mod-97")
	}
	if len(text) >= 13 && check.Card(text) {
		uniform := j.sep == 0 || j.sep != 0xff && j.sep != '/' && j.sep != '+'
		found(paymentCard, ofCard, !uniform || !j.grouped(0x4444, 0x465, 0x464, 0x44443, 0x44441, 0x66, 0x6d), 93, "luhn")
	}
}

func (r *reader) judgeMixed(j *joined, text string) {
	said := func(k kind) bool { return r.near(j.start, j.end)&k != 0 }
	other := func() bool { return said(ofOther) }
	switch len(text) {
	case 9:
		switch {
		case check.DNI(text) && j.grouped(0x81, 0x2331):
			if said(ofDNI|ofNational) || !other() {
				r.add(esDNI, j.start, j.end, sure(said(ofDNI)), "mod-23")
			}
		case check.NIE(text) && j.grouped(0x171, 0x81):
			if said(ofDNI|ofNational) || !other() {
				r.add(esNIE, j.start, j.end, sure(said(ofDNI)), "mod-23")
			}
		case check.NINO(text) && j.grouped(0x22221, 0x261):
			if is := said(ofNINO | ofNational); is || j.shape == 0x22221 && j.sep == ' ' && !other() {
				r.add(ukNINO, j.start, j.end, sure(is), "prefix")
			}
		}
	case 10, 11:
		// The sign of the century is a separator, or a letter.
		code := text
		if len(text) == 10 && j.shape == 0x64 && j.end-j.start == 11 {
			code = strings.ToUpper(r.s[j.start:j.end])
		}
		if check.HETU(code) {
			r.add(fiHETU, j.start, j.end, sure(said(ofHETU|ofNational)), "mod-31")
		}
	case 15:
		if check.NIR(text) && j.grouped(0x1222332, 0xd2) {
			r.add(frNIR, j.start, j.end, sure(said(ofNIR)), "mod-97")
		}
	case 16:
		if check.CodiceFiscale(text) {
			r.add(itCodiceFiscale, j.start, j.end, sure(false), "mod-26")
		}
	}
	if len(text) >= 15 && check.IBAN(text) && (j.count == 1 || j.shape>>(4*uint(j.count-1)) == 4) {
		r.add(iban, j.start, j.end, 98, "mod-97")
	}
	if len(text) <= 14 && text[0] >= 'A' && text[1] >= 'A' && j.sep != 0xff {
		if valid, _ := check.VAT(text); valid && (said(ofVAT|ofNational) || !other()) {
			r.add(euVAT, j.start, j.end, sure(said(ofVAT)), "vat-"+strings.ToLower(text[:2]))
		}
	}
}

// phoneAt looks at a phone number that begins with a token: with a plus, as Americans
// write it, or where words say that it is one.
func (r *reader) phoneAt(i int) {
	t, s := r.tokens[i], r.s
	if t.digits != t.end-t.start || t.digits > 15 || r.set.detectors[phone].off {
		return
	}
	start, plus := t.start, false
	if start > 0 && s[start-1] == '(' {
		start--
	}
	if start > 0 && s[start-1] == '+' {
		start, plus = start-1, true
	}
	if start > 0 && !phoneEdge(s[start-1]) {
		return
	}
	end, digits, gap := t.end, 0, 0
	for p := start; p < len(s) && digits < 16 && gap < 4; p++ {
		switch c := s[p]; {
		case class[c]&digit != 0:
			end, digits, gap = p+1, digits+1, 0
		case c == '+' && p == start:
		case strings.IndexByte(" -./()", c) >= 0:
			gap++
		default:
			gap = 4
		}
	}
	if digits < 7 || digits > 15 || end < len(s) && (class[s[end]]&(alpha|digit) != 0 || s[end] == '_' || s[end] == '@') {
		return
	}
	text := s[start:end]
	american := !plus && nanp(text)
	if !plus && !american && r.near(start, end)&ofPhone == 0 {
		return
	}
	if american && r.near(start, end)&(ofOther|ofNHS) != 0 {
		return
	}
	regions := r.set.regions
	switch {
	case plus:
		regions = []string{"ZZ"}
	case american:
		regions = []string{"US"}
	}
	for _, region := range regions {
		if !r.afford() {
			return
		}
		r.spend(2)
		n, err := phonenumbers.Parse(text, region)
		if err == nil && phonenumbers.IsValidNumber(n) {
			confidence := uint8(90)
			if american {
				confidence = 80
			}
			r.add(phone, start, end, confidence, "libphonenumber")
			return
		}
	}
}

func phoneEdge(c byte) bool {
	return class[c]&(alpha|digit) == 0 && c != '_' && c != '-' && c != '.' && c != '/' && c != '+' && c != '#'
}

// nanp reports whether a text is (415) 555-2671, 415-555-2671 or 415.555.2671.
func nanp(s string) bool {
	form := make([]byte, 0, 16)
	for i := 0; i < len(s) && len(form) < 16; i++ {
		c := s[i]
		if class[c]&digit != 0 {
			c = '0'
		}
		form = append(form, c)
	}
	switch string(form) {
	case "(000) 000-0000", "(000)000-0000", "(000) 000 0000", "000-000-0000", "000.000.0000":
		return true
	}
	return false
}
