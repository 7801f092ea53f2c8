package develop

import (
	"fmt"
	"strconv"
	"strings"
)

// card is a payment card's number as its brands number them.
func (r *draw) card() string {
	brand := r.pick("visa", "visa", "mastercard", "mastercard", "mastercard2", "amex", "discover", "jcb", "diners")
	lead, length := "4", 16
	switch brand {
	case "mastercard":
		lead = strconv.Itoa(51 + r.IntN(5))
	case "mastercard2":
		lead = strconv.Itoa(2221 + r.IntN(500))
	case "amex":
		lead, length = r.pick("34", "37"), 15
	case "discover":
		lead = r.pick("6011", "65")
	case "jcb":
		lead = strconv.Itoa(3528 + r.IntN(62))
	case "diners":
		lead, length = r.pick("36", "38"), 14
	}
	n := lead + r.some(digits, length-1-len(lead))
	n += luhn(n)
	groups := []int{4, 4, 4, 4}
	switch length {
	case 15:
		groups = []int{4, 6, 5}
	case 14:
		groups = []int{4, 6, 4}
	}
	return r.grouped(n, groups, "", " ", "-")
}

// grouped writes a number in groups, between them one of the separators.
func (r *draw) grouped(n string, groups []int, separators ...string) string {
	var parts []string
	for _, g := range groups {
		parts = append(parts, n[:g])
		n = n[g:]
	}
	if n != "" {
		parts = append(parts, n)
	}
	return strings.Join(parts, r.pick(separators...))
}

func (r *draw) iban(country string) string {
	var account string
	switch country {
	case "DE":
		account = r.some("1234567", 1) + r.some(digits, 17)
	case "GB":
		account = r.some(letters, 4) + r.some(digits, 14)
	case "FR":
		bank, branch, own := r.some(digits, 5), r.some(digits, 5), r.some(digits, 11)
		account = bank + branch + own + fmt.Sprintf("%02d", 97-(89*number(bank)+15*number(branch)+3*number(own))%97)
	case "ES":
		bank, own := r.some(digits, 8), r.some(digits, 10)
		account = bank + control(bank, 4, 8, 5, 10, 9, 7, 3, 6) + control(own, 1, 2, 4, 8, 5, 10, 9, 7, 3, 6) + own
	case "IT":
		own := r.some(digits, 22)
		account = oddEven(own) + own
	case "NL":
		account = r.some(letters, 4) + "0" + r.eleven(9)
	case "BE":
		n := r.some("123456789", 1) + r.some(digits, 9)
		rest := number(n) % 97
		if rest == 0 {
			rest = 97
		}
		account = fmt.Sprintf("%s%02d", n, rest)
	case "PL":
		bank := r.some(digits, 7)
		account = bank + strconv.Itoa((10-weigh(bank, 3, 9, 7, 1, 3, 9, 7)%10)%10) + r.some(digits, 16)
	case "PT":
		n := r.some(digits, 19)
		account = n + fmt.Sprintf("%02d", 98-mod97(n+"00"))
	case "SE":
		account = r.some(digits, 20)
	case "FI":
		n := r.some(digits, 13)
		account = n + luhn(n)
	case "DK":
		account = r.some(digits, 14)
	case "NO":
		for account == "" {
			n := r.some(digits, 10)
			if rest := weigh(n, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11; rest != 1 {
				account = n + strconv.Itoa((11-rest)%11)
			}
		}
	}
	n := country + fmt.Sprintf("%02d", 98-mod97(account+country+"00")) + account
	if r.chance(40) {
		var groups []int
		for range len(n) / 4 {
			groups = append(groups, 4)
		}
		return r.grouped(n, groups, " ")
	}
	return n
}

// control is a Spanish account's.
func control(s string, weights ...int) string {
	switch c := 11 - weigh(s, weights...)%11; c {
	case 10:
		return "1"
	case 11:
		return "0"
	default:
		return strconv.Itoa(c)
	}
}

// eleven is n digits that pass the Dutch test of eleven for accounts.
func (r *draw) eleven(n int) string {
	for {
		s, sum := r.some("123456789", 1)+r.some(digits, n-1), 0
		for i := range n {
			sum += int(s[i]-'0') * (n - i)
		}
		if sum%11 == 0 {
			return s
		}
	}
}

// odd are the values of 0 to 9, and of A to J, at odd places in Italian codes; odder
// those of K to Z.
var (
	odd   = []int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21}
	odder = []int{2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
)

// oddEven is the check letter of Italian codes.
func oddEven(s string) string {
	sum := 0
	for i, c := range s {
		n := int(c - '0')
		if c >= 'A' {
			n = int(c - 'A')
		}
		switch {
		case i%2 == 1:
			sum += n
		case n < 10:
			sum += odd[n]
		default:
			sum += odder[n-10]
		}
	}
	return string(letters[sum%26])
}

func (r *draw) vat(country string) string {
	n := ""
	switch country {
	case "DE":
		n = r.some("123456789", 1) + r.some(digits, 7)
		n += iso7064(n)
	case "FR":
		siren := r.some(digits, 8)
		siren += luhn(siren)
		n = fmt.Sprintf("%02d", (12+3*(number(siren)%97))%97) + siren
	case "ES":
		own := r.some(digits, 7)
		n = r.some("ABEH", 1) + own + luhn(own)
	case "IT":
		n = r.some(digits, 7) + fmt.Sprintf("%03d", 1+r.IntN(100))
		n += luhn(n)
	case "NL":
		for n == "" {
			own := r.some("123456789", 1) + r.some(digits, 7)
			if rest := weigh(own, 9, 8, 7, 6, 5, 4, 3, 2) % 11; rest != 10 {
				n = own + strconv.Itoa(rest) + "B" + fmt.Sprintf("%02d", 1+r.IntN(20))
			}
		}
	case "BE":
		own := "0" + r.some("456789", 1) + r.some(digits, 6)
		n = own + fmt.Sprintf("%02d", 97-number(own)%97)
	case "PL":
		for n == "" {
			own := r.some("56789", 1) + r.some("123456789", 2) + r.some(digits, 6)
			if rest := weigh(own, 6, 5, 7, 2, 3, 4, 5, 6, 7) % 11; rest != 10 {
				n = own + strconv.Itoa(rest)
			}
		}
	case "PT":
		n = portuguese("5" + r.some(digits, 7))
	case "SE":
		own := "556" + r.some(digits, 6)
		n = own + luhn(own) + "01"
	case "FI":
		for n == "" {
			own := r.some("012", 1) + r.some(digits, 6)
			if rest := weigh(own, 7, 9, 10, 5, 8, 4, 2) % 11; rest != 1 {
				n = own + strconv.Itoa((11-rest)%11)
			}
		}
	case "DK":
		for n == "" {
			own := r.some("123", 1) + r.some(digits, 6)
			if rest := weigh(own, 2, 7, 6, 5, 4, 3, 2) % 11; rest != 1 {
				n = own + strconv.Itoa((11-rest)%11)
			}
		}
	}
	return country + n
}
