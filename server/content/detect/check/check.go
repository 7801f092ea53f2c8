// Package check tells numbers that people and accounts are known by from numbers
// that only look like them: by check digits, dates, and the ranges that are given
// out. Every function takes the number without separators, letters in upper case, and
// answers false for what has another form. Each is linear in the length, and none
// allocates.
package check

// digits reports whether a string is of so many digits.
func digits(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func letter(b byte) bool { return 'A' <= b && b <= 'Z' }

// number is the value of digits; of 18 at most.
func number(s string) int {
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// weighted is the sum of digits, each times its weight.
func weighted(s string, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += int(s[i]-'0') * w
	}
	return sum
}

// modulo is the remainder of digits and letters (A is 10), read as one number.
func modulo(s string, m int) int {
	r := 0
	for i := range len(s) {
		switch c := s[i]; {
		case letter(c):
			r = (r*100 + int(c-'A') + 10) % m
		default:
			r = (r*10 + int(c-'0')) % m
		}
	}
	return r
}

// Luhn reports whether digits end in their check digit (ISO/IEC 7812-1).
func Luhn(s string) bool {
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return len(s) > 1 && sum%10 == 0
}

// mod1110 is the check digit of ISO 7064, MOD 11,10.
func mod1110(s string) int {
	p := 10
	for i := range len(s) {
		sum := (int(s[i]-'0') + p) % 10
		if sum == 0 {
			sum = 10
		}
		p = sum * 2 % 11
	}
	return (11 - p) % 10
}

// day reports whether a year, month and day are a day of some year.
func day(year, month, d int) bool {
	if month < 1 || month > 12 || d < 1 {
		return false
	}
	last := [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
	if month == 2 && (year%4 == 0 && year%100 != 0 || year%400 == 0) {
		last = 29
	}
	return d <= last
}

// Day reports whether a date exists.
func Day(year, month, d int) bool { return year > 0 && day(year, month, d) }

// anyCentury reports whether a date exists whose year has two digits.
func anyCentury(year, month, d int) bool {
	return day(1900+year, month, d) || day(2000+year, month, d)
}

// Card reports whether digits are a payment card's number: the length and the first
// digits of a scheme (ISO/IEC 7812), and Luhn's check digit.
func Card(s string) bool {
	n := len(s)
	if n < 13 || n > 19 || !digits(s, n) {
		return false
	}
	one, two, three, four, six := number(s[:1]), number(s[:2]), number(s[:3]), number(s[:4]), number(s[:6])
	known := false
	switch {
	case one == 4: // Visa
		known = n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		known = n == 16
	case two == 34, two == 37: // American Express
		known = n == 15
	case three >= 300 && three <= 305, three == 309, two == 36, two == 38, two == 39: // Diners Club
		known = n == 14 || n >= 16
	case four == 6011, three >= 644 && three <= 649, two == 65, six >= 622126 && six <= 622925: // Discover
		known = n >= 16
	case four >= 3528 && four <= 3589: // JCB
		known = n >= 16
	case two == 62, two == 81: // UnionPay
		known = n >= 16
	case four >= 2200 && four <= 2204: // Mir
		known = n >= 16
	case two == 50, two >= 56 && two <= 58, two == 63, two == 67, two == 60: // Maestro, RuPay
		known = n >= 16
	}
	return known && Luhn(s)
}

// ibanLength is how long an IBAN of a country is (ISO 13616 registry).
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
	"CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
	"FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28,
	"IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
	"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
	"NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24,
	"SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26,
	"UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// IBANLength is how long an IBAN that begins with a country's two letters is; 0:
// there is none.
func IBANLength(country string) int { return ibanLength[country] }

// IBAN reports whether an account number has its country's length and its check
// digits (ISO 13616, MOD 97-10).
func IBAN(s string) bool {
	if len(s) < 15 || len(s) != ibanLength[s[:2]] || !digits(s[2:4], 2) {
		return false
	}
	for i := 4; i < len(s); i++ {
		if !letter(s[i]) && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	r := modulo(s[4:], 97)
	for i := range 4 {
		r = remainder(r, s[i])
	}
	return r == 1
}

func remainder(r int, c byte) int {
	if letter(c) {
		return (r*100 + int(c-'A') + 10) % 97
	}
	return (r*10 + int(c-'0')) % 97
}

// SSN reports whether nine digits can be a US Social Security number: it has no check
// digit, but area, group and serial are never zero, and some areas are not given out.
func SSN(s string) bool {
	if !digits(s, 9) {
		return false
	}
	area := number(s[:3])
	return area != 0 && area != 666 && area < 900 && s[3:5] != "00" && s[5:] != "0000" && s != "123456789"
}

// ITIN reports whether nine digits can be a US Individual Taxpayer Identification
// Number: it has no check digit, but ranges of the fourth and fifth.
func ITIN(s string) bool {
	if !digits(s, 9) || s[0] != '9' {
		return false
	}
	g := number(s[3:5])
	return g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g <= 92 || g >= 94 && g <= 99
}

// NINO reports whether nine characters can be a UK National Insurance number: it has
// no check digit, but letters that are not given out.
func NINO(s string) bool {
	if len(s) != 9 || !letter(s[0]) || !letter(s[1]) || !digits(s[2:8], 6) || s[8] < 'A' || s[8] > 'D' {
		return false
	}
	switch s[:2] {
	case "BG", "GB", "NK", "KN", "TN", "NT", "ZZ":
		return false
	}
	for _, c := range []byte("DFIQUV") {
		if s[0] == c || s[1] == c {
			return false
		}
	}
	return s[1] != 'O'
}

// NHS reports whether ten digits end in the check digit of an NHS number (MOD 11).
func NHS(s string) bool {
	if !digits(s, 10) || s[:9] == "000000000" {
		return false
	}
	c := 11 - weighted(s, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	return c%11 == int(s[9]-'0') && c != 10
}
