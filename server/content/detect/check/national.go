package check

// dniLetters are the check letters of Spain's DNI and NIE, by the remainder of 23.
const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// DNI reports whether eight digits end in the letter of a Spanish DNI.
func DNI(s string) bool {
	return len(s) == 9 && digits(s[:8], 8) && s[:8] != "00000000" && s[8] == dniLetters[number(s[:8])%23]
}

// NIE reports whether a number of a foreigner in Spain ends in its letter.
func NIE(s string) bool {
	return len(s) == 9 && s[0] >= 'X' && s[0] <= 'Z' && digits(s[1:8], 7) &&
		s[8] == dniLetters[(int(s[0]-'X')*10_000_000+number(s[1:8]))%23]
}

// odd are the values of the odd places of an Italian codice fiscale, for 0 to 9 and A
// to Z.
var odd = [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// CodiceFiscale reports whether sixteen characters are an Italian codice fiscale,
// with its check letter. Digits may be the letters that stand for them where two
// people would have the same.
func CodiceFiscale(s string) bool {
	if len(s) != 16 {
		return false
	}
	sum := 0
	for i := range 15 {
		c := s[i]
		v := 0
		switch {
		case letter(c):
			v = int(c-'A') + 10
		case c >= '0' && c <= '9':
			v = int(c - '0')
		default:
			return false
		}
		if number := i >= 6 && i != 8 && i != 11; number == letter(c) && (!number || !omocode(c)) {
			return false
		}
		if i%2 == 0 {
			sum += odd[v]
		} else if v >= 10 {
			sum += v - 10
		} else {
			sum += v
		}
	}
	return month(s[8]) && s[15] == byte('A'+sum%26)
}

// omocode reports whether a letter stands for a digit.
func omocode(c byte) bool {
	switch c {
	case 'L', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'U', 'V':
		return true
	}
	return false
}

func month(c byte) bool {
	switch c {
	case 'A', 'B', 'C', 'D', 'E', 'H', 'L', 'M', 'P', 'R', 'S', 'T':
		return true
	}
	return false
}

// NIR reports whether fifteen characters are a French NIR (INSEE number) with its key.
// 2A and 2B are Corsica.
func NIR(s string) bool {
	if len(s) != 15 || (s[0] < '1' || s[0] > '4') && s[0] != '7' && s[0] != '8' {
		return false
	}
	body := [13]byte([]byte(s[:13]))
	switch s[5:7] {
	case "2A":
		body[5], body[6] = '1', '9'
	case "2B":
		body[5], body[6] = '1', '8'
	}
	text := string(body[:])
	if !digits(text, 13) || !digits(s[13:], 2) {
		return false
	}
	m := number(s[3:5])
	if (m < 1 || m > 12) && (m < 20 || m > 42) && (m < 50 || m > 99) {
		return false
	}
	return 97-number(text)%97 == number(s[13:])
}

// SteuerID reports whether eleven digits are a German tax identification number: among
// the first ten one stands twice or three times, and the last is a check digit.
func SteuerID(s string) bool {
	if !digits(s, 11) || s[0] == '0' {
		return false
	}
	var count [10]int
	for i := range 10 {
		count[s[i]-'0']++
	}
	twice, thrice := 0, 0
	for _, n := range count {
		switch {
		case n == 2:
			twice++
		case n == 3:
			thrice++
		case n > 3:
			return false
		}
	}
	return twice+thrice == 1 && mod1110(s[:10]) == int(s[10]-'0')
}

// PESEL reports whether eleven digits are a Polish PESEL: a date and a check digit.
func PESEL(s string) bool {
	if !digits(s, 11) {
		return false
	}
	month := number(s[2:4])
	century := [...]int{1900, 2000, 2100, 2200, 1800}[month/20]
	return day(century+number(s[:2]), month%20, number(s[4:6])) &&
		(10-weighted(s, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10 == int(s[10]-'0')
}

// BSN reports whether nine digits pass the test of eleven of a Dutch BSN.
func BSN(s string) bool {
	return digits(s, 9) && s != "000000000" && weighted(s, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0
}

// BelgianNumber reports whether eleven digits are a Belgian national number: a date
// and two check digits (MOD 97), those of people born from 2000 on with a 2 before.
func BelgianNumber(s string) bool {
	if !digits(s, 11) {
		return false
	}
	month := number(s[2:4])
	if month > 40 {
		month -= 40
	} else if month > 20 {
		month -= 20
	}
	if d := number(s[4:6]); !(month == 0 && d == 0) && !anyCentury(number(s[:2]), month, d) {
		return false
	}
	body, want := number(s[:9]), number(s[9:])
	return 97-body%97 == want || 97-(2_000_000_000+body)%97 == want
}

// NIF reports whether nine digits are a Portuguese NIF with its check digit.
func NIF(s string) bool {
	if !digits(s, 9) {
		return false
	}
	switch s[0] {
	case '0', '4':
		return false
	}
	c := 11 - weighted(s, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if c >= 10 {
		c = 0
	}
	return c == int(s[8]-'0')
}

// Personnummer reports whether ten or twelve digits are a Swedish personal identity
// number: a date (its day raised by 60 in a coordination number) and Luhn's digit.
func Personnummer(s string) bool {
	if digits(s, 12) {
		if century := s[:2]; century != "18" && century != "19" && century != "20" {
			return false
		}
		return day(number(s[:4]), number(s[4:6]), number(s[6:8])%60) && Luhn(s[2:])
	}
	return digits(s, 10) && anyCentury(number(s[:2]), number(s[2:4]), number(s[4:6])%60) && Luhn(s)
}

const hetuLetters = "0123456789ABCDEFHJKLMNPRSTUVWXY"

// HETU reports whether eleven characters, the seventh a sign of the century, are a
// Finnish personal identity code with its check character.
func HETU(s string) bool {
	if len(s) != 11 || !digits(s[:6], 6) || !digits(s[7:10], 3) {
		return false
	}
	switch s[6] {
	case '+', '-', 'A', 'B', 'C', 'D', 'E', 'F', 'U', 'V', 'W', 'X', 'Y':
	default:
		return false
	}
	if n := number(s[7:10]); n < 2 {
		return false
	}
	return anyCentury(number(s[4:6]), number(s[2:4]), number(s[:2])) &&
		s[10] == hetuLetters[(number(s[:6])*1000+number(s[7:10]))%31]
}

// CPR reports whether ten digits begin with a date, as a Danish CPR number does. Since
// 2007 it has no check digit.
func CPR(s string) bool {
	return digits(s, 10) && anyCentury(number(s[4:6]), number(s[2:4]), number(s[:2]))
}

// Fodselsnummer reports whether eleven digits are a Norwegian birth number, or a D
// number (its day raised by 40): a date and two check digits (MOD 11).
func Fodselsnummer(s string) bool {
	if !digits(s, 11) || !anyCentury(number(s[4:6]), number(s[2:4])%40, number(s[:2])%40) {
		return false
	}
	k1 := (11 - weighted(s, 3, 7, 6, 1, 8, 9, 4, 5, 2)%11) % 11
	k2 := (11 - weighted(s, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11
	return k1 == int(s[9]-'0') && k2 == int(s[10]-'0')
}
