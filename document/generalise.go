package document

import (
	"encoding/base32"
	"net/netip"
	"regexp"
	"strings"
)

var base32hex = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// Forms of what is generalised. Each is anchored: a text that holds more than one
// of them is none.
var (
	formYear     = regexp.MustCompile(`^[12][0-9]{3}$`)
	formISODate  = regexp.MustCompile(`^([12][0-9]{3})-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12][0-9]|3[01])(?:[T ][0-9:.]{5,18}(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?)?$`)
	formDayDate  = regexp.MustCompile(`^(?:0?[1-9]|[12][0-9]|3[01])[./-](?:0?[1-9]|[12][0-9]|3[01])[./-]([12][0-9]{3})$`)
	formMail     = regexp.MustCompile(`^[^@\s]+@([A-Za-z0-9.-]+)$`)
	formMailLeft = regexp.MustCompile(`^@[A-Za-z0-9.-]+$`)
	formMAC      = regexp.MustCompile(`^((?:[0-9A-Fa-f]{2}[:-]){3})(?:[0-9A-Fa-f]{2}[:-]){2}[0-9A-Fa-f]{2}$`)
	formUK       = regexp.MustCompile(`^([A-Za-z]{1,2}[0-9][A-Za-z0-9]?) ?[0-9][A-Za-z]{2}$`)
	formCanada   = regexp.MustCompile(`^([A-Za-z][0-9][A-Za-z]) ?[0-9][A-Za-z][0-9]$`)
	formZIP      = regexp.MustCompile(`^([0-9]{3})[0-9]{2}(?:-[0-9]{4})?$`)
	formPlace    = regexp.MustCompile(`^(-?[0-9]{1,3}\.[0-9])[0-9]*(, ?)(-?[0-9]{1,3}\.[0-9])[0-9]*$`)
	// formCoarse is what some of these become: it stays as it is.
	formCoarse = regexp.MustCompile(`^(?:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.\*|(?:[0-9a-f]{1,4}:){3}\*|(?:[0-9A-Fa-f]{2}[:-]){3}\*|[0-9]{3}\*\*|[A-Z]{1,2}[0-9][A-Z0-9]?\*|[A-Z][0-9][A-Z]\*)$`)
)

// maxGeneral is the longest text that is generalised, in bytes: whatever is longer
// has none of the forms.
const maxGeneral = 320

// Generalise makes a text less exact: a date its year, an IPv4 address its first
// three numbers and an IPv6 address its first three groups, a MAC address its
// maker's part, an e-mail address its domain, a postcode of the United Kingdom or
// Canada its first part and a ZIP code its first three digits, coordinates one
// digit after the point. What is left has not the form of what it was, and is left
// alone when it comes again. Any other text becomes Mask.
func Generalise(text string) string {
	if len(text) > maxGeneral {
		return Mask
	}
	if m := formISODate.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if m := formDayDate.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	if formYear.MatchString(text) || formCoarse.MatchString(text) || formMailLeft.MatchString(text) {
		return text
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return generalAddress(a)
	}
	if m := formMail.FindStringSubmatch(text); m != nil {
		return "@" + m[1]
	}
	if m := formMAC.FindStringSubmatch(text); m != nil {
		return m[1] + "*"
	}
	if m := formZIP.FindStringSubmatch(text); m != nil {
		return m[1] + "**"
	}
	for _, form := range []*regexp.Regexp{formUK, formCanada} {
		if m := form.FindStringSubmatch(text); m != nil {
			return strings.ToUpper(m[1]) + "*"
		}
	}
	if m := formPlace.FindStringSubmatch(text); m != nil {
		return m[1] + m[2] + m[3]
	}
	return Mask
}

// generalAddress is the network of an address: /24 of IPv4, /48 of IPv6. An IPv4
// address in an IPv6 one is the former, and a zone is left out.
func generalAddress(a netip.Addr) string {
	if a = a.Unmap(); a.Is4() {
		text := a.String()
		return text[:strings.LastIndexByte(text, '.')] + ".*"
	}
	b := a.As16()
	group := func(i int) string {
		const digits = "0123456789abcdef"
		s := strings.TrimLeft(string([]byte{digits[b[i]>>4], digits[b[i]&15], digits[b[i+1]>>4], digits[b[i+1]&15]}), "0")
		if s == "" {
			return "0"
		}
		return s
	}
	return group(0) + ":" + group(2) + ":" + group(4) + ":*"
}
