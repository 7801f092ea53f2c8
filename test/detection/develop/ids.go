package develop

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Numbers of people and of their accounts, with their check digits.

const (
	digits  = "0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// luhn is the check digit to be put after digits.
func luhn(s string) string {
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return strconv.Itoa((10 - sum%10) % 10)
}

// weigh is the sum of digits times weights.
func weigh(s string, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += int(s[i]-'0') * w
	}
	return sum
}

// iso7064 is the check digit of MOD 11,10.
func iso7064(s string) string {
	product := 10
	for _, c := range s {
		sum := (int(c-'0') + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	return strconv.Itoa((11 - product) % 10)
}

// mod97 is the rest of a number whose letters count from 10.
func mod97(s string) int {
	var n strings.Builder
	for _, c := range s {
		if c >= 'A' {
			fmt.Fprint(&n, c-'A'+10)
		} else {
			n.WriteRune(c)
		}
	}
	b, _ := new(big.Int).SetString(n.String(), 10)
	return int(new(big.Int).Mod(b, big.NewInt(97)).Int64())
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

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

// portuguese puts the check digit after eight others.
func portuguese(s string) string {
	check := 11 - weigh(s, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if check > 9 {
		check = 0
	}
	return s + strconv.Itoa(check)
}

func (r *draw) ssn() string {
	area := 1 + r.IntN(898)
	if area >= 666 {
		area++
	}
	return fmt.Sprintf("%03d-%02d-%04d", area, 1+r.IntN(99), 1+r.IntN(9999))
}

func (r *draw) itin() string {
	group := 70 + r.IntN(19)
	if r.chance(50) {
		group = 50 + r.IntN(16)
	}
	return fmt.Sprintf("9%02d-%02d-%04d", r.IntN(100), group, r.IntN(10000))
}

func (r *draw) nino() string {
	prefix := r.pick("AB", "CE", "EG", "HK", "JL", "JW", "LA", "MX", "NP", "PW", "RS", "SH", "TL", "WK", "YZ", "ZX")
	return r.grouped(prefix+r.some(digits, 6)+r.some("ABCD", 1), []int{2, 2, 2, 2}, "", " ")
}

func (r *draw) nhs() string {
	for {
		n := r.some("4679", 1) + r.some(digits, 8)
		if check := (11 - weigh(n, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11; check != 10 {
			return r.grouped(n+strconv.Itoa(check), []int{3, 3}, " ", " ", "", "-")
		}
	}
}

const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

func (r *draw) dni() string {
	n := r.some(digits, 8)
	return n + r.pick("", "", "-") + string(dniLetters[number(n)%23])
}

func (r *draw) nie() string {
	lead, n := r.IntN(3), r.some(digits, 7)
	return string("XYZ"[lead]) + n + r.pick("", "", "-") + string(dniLetters[(lead*10000000+number(n))%23])
}

func (r *draw) codiceFiscale() string {
	year, month, day := r.birth()
	if r.chance(50) {
		day += 40
	}
	code := r.some("BCDFGLMNPRSTV", 6) + fmt.Sprintf("%02d%c%02d", year%100, "ABCDEHLMPRST"[month-1], day) +
		r.pick("H501", "F205", "L219", "F839", "D612", "A944", "G273", "L736", "A662", "D969", "Z110", "Z404")
	return code + oddEven(code)
}

func (r *draw) nir() string {
	year, month, _ := r.birth()
	n := fmt.Sprintf("%s%02d%02d%02d%03d%03d", r.pick("1", "2"), year%100, month, 21+r.IntN(75), 1+r.IntN(600), 1+r.IntN(900))
	n += fmt.Sprintf("%02d", 97-number(n)%97)
	return r.grouped(n, []int{1, 2, 2, 2, 3, 3}, "", " ")
}

// steuerID has one digit twice among the first ten, and the others at most once.
func (r *draw) steuerID() string {
	order := r.Perm(10)
	first := append(order[:9:9], order[r.IntN(9)])
	r.Shuffle(10, func(i, j int) { first[i], first[j] = first[j], first[i] })
	if first[0] == 0 {
		first[0], first[1] = first[1], first[0]
	}
	if first[0] == 0 {
		return r.steuerID()
	}
	var s strings.Builder
	for _, d := range first {
		s.WriteString(strconv.Itoa(d))
	}
	return r.grouped(s.String()+iso7064(s.String()), []int{2, 3, 3}, "", " ")
}

func (r *draw) pesel() string {
	year, month, day := r.birth()
	if year >= 2000 {
		month += 20
	}
	n := fmt.Sprintf("%02d%02d%02d%s", year%100, month, day, r.some(digits, 4))
	return n + strconv.Itoa((10-weigh(n, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10)
}

func (r *draw) bsn() string {
	for {
		n := r.some("12345678", 1) + r.some(digits, 7)
		if rest := weigh(n, 9, 8, 7, 6, 5, 4, 3, 2) % 11; rest != 10 {
			return n + strconv.Itoa(rest)
		}
	}
}

func (r *draw) belgian() string {
	year, month, day := r.birth()
	n := fmt.Sprintf("%02d%02d%02d%03d", year%100, month, day, 1+r.IntN(997))
	of := number(n)
	if year >= 2000 {
		of += 2000000000
	}
	check := fmt.Sprintf("%02d", 97-of%97)
	if r.chance(70) {
		return n[:2] + "." + n[2:4] + "." + n[4:6] + "-" + n[6:] + "." + check
	}
	return n + check
}

func (r *draw) nif() string { return portuguese(r.some("12", 1) + r.some(digits, 7)) }

func (r *draw) personnummer() string {
	year, month, day := r.birth()
	n := fmt.Sprintf("%02d%02d%02d%s", year%100, month, day, r.some(digits, 3))
	check := luhn(n)
	century := r.pick("", "", strconv.Itoa(year/100))
	return century + n[:6] + r.pick("-", "-", "") + n[6:] + check
}

func (r *draw) hetu() string {
	year, month, day := r.birth()
	sign := "-"
	if year >= 2000 {
		sign = "A"
	}
	date, own := fmt.Sprintf("%02d%02d%02d", day, month, year%100), fmt.Sprintf("%03d", 2+r.IntN(898))
	return date + sign + own + string("0123456789ABCDEFHJKLMNPRSTUVWXY"[number(date+own)%31])
}

func (r *draw) cpr() string {
	for {
		year, month, day := r.birth()
		lead := r.some("0123", 1)
		if year >= 2000 {
			lead = r.some("4567", 1)
		}
		n := fmt.Sprintf("%02d%02d%02d", day, month, year%100) + lead + r.some(digits, 2)
		if rest := weigh(n, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11; rest != 1 {
			n += strconv.Itoa((11 - rest) % 11)
			return n[:6] + r.pick("-", "-", "") + n[6:]
		}
	}
}

func (r *draw) fodselsnummer() string {
	for {
		year, month, day := r.birth()
		own := 500 - 1 - r.IntN(500)
		if year >= 2000 {
			own += 500
		}
		n := fmt.Sprintf("%02d%02d%02d%03d", day, month, year%100, own)
		first := (11 - weigh(n, 3, 7, 6, 1, 8, 9, 4, 5, 2)%11) % 11
		if first == 10 {
			continue
		}
		n += strconv.Itoa(first)
		if second := (11 - weigh(n, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11; second != 10 {
			return n[:6] + r.pick("", " ") + n[6:] + strconv.Itoa(second)
		}
	}
}

// passport is a passport's number as its country writes it.
func (r *draw) passport(country string) string {
	switch country {
	case "US":
		return r.some(letters, 1) + r.some(digits, 8)
	case "DE":
		return r.some("CFGHJK", 1) + r.some("CFGHJKLMNPRTVWXYZ0123456789", 8)
	case "FR":
		return r.some(digits, 2) + r.some(letters, 2) + r.some(digits, 5)
	case "ES":
		return r.some(letters, 3) + r.some(digits, 6)
	case "IT", "PL", "FI":
		return r.some(letters, 2) + r.some(digits, 7)
	case "NL":
		return r.some("BCDFGHJKLMNPRSTVWXYZ", 2) + r.some("BCDFGHJKLM123456789", 6) + r.some(digits, 1)
	}
	return r.some("123456789", 1) + r.some(digits, 8)
}

// licence is a driving licence's number.
func (r *draw) licence(country string) string {
	switch country {
	case "US":
		return r.some(letters, 1) + r.some(digits, 7)
	case "GB":
		return r.some(letters, 5) + r.some(digits, 1) + fmt.Sprintf("%02d%02d", 1+r.IntN(12), 1+r.IntN(28)) + r.some(digits, 1) +
			r.some(letters, 2) + r.some("9", 1) + r.some(letters, 2)
	}
	return r.some(letters, 1) + r.some(digits, 3) + r.some(letters+digits, 7)
}
