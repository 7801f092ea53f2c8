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
