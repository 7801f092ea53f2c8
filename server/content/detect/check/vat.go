package check

// VAT reports whether a text is a VAT identification number of a member state, with
// the state's letters before: its form, and its check digits where the state has
// published some. checked says that it has.
func VAT(s string) (valid, checked bool) {
	if len(s) < 4 || len(s) > 14 {
		return false, false
	}
	body := s[2:]
	switch s[:2] {
	case "AT":
		return vatAT(body), true
	case "BE":
		return digits(body, 10) && (body[0] == '0' || body[0] == '1') && 97-number(body[:8])%97 == number(body[8:]), true
	case "BG":
		return digits(body, 9) && vatBG(body), true
	case "CY":
		return len(body) == 9 && digits(body[:8], 8) && letter(body[8]) && vatCY(body), true
	case "CZ":
		return digits(body, 8) && vatCZ(body), true
	case "DE":
		return digits(body, 9) && body[0] != '0' && mod1110(body[:8]) == int(body[8]-'0'), true
	case "DK":
		return digits(body, 8) && body[0] != '0' && weighted(body, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0, true
	case "EE":
		return digits(body, 9) && body[:2] == "10" && weighted(body, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0, true
	case "EL":
		return digits(body, 9) && vatEL(body), true
	case "ES":
		return vatES(body), true
	case "FI":
		return digits(body, 8) && weighted(body, 7, 9, 10, 5, 8, 4, 2, 1)%11 == 0, true
	case "FR":
		return digits(body, 11) && Luhn(body[2:]) && (12+3*(number(body[2:])%97))%97 == number(body[:2]), true
	case "HR":
		return digits(body, 11) && mod1110(body[:10]) == int(body[10]-'0'), true
	case "HU":
		return digits(body, 8) && weighted(body, 9, 7, 3, 1, 9, 7, 3, 1)%10 == 0, true
	case "IE":
		return vatIE(body), true
	case "IT":
		return digits(body, 11) && body[:7] != "0000000" && Luhn(body), true
	case "LT":
		return (digits(body, 9) || digits(body, 12)) && vatLT(body), true
	case "LU":
		return digits(body, 8) && number(body[:6])%89 == number(body[6:]), true
	case "LV":
		return digits(body, 11) && vatLV(body), true
	case "MT":
		return digits(body, 8) && 37-weighted(body, 3, 4, 6, 7, 8, 9)%37 == number(body[6:]), true
	case "NL":
		return vatNL(s), true
	case "PL":
		return digits(body, 10) && weighted(body, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == int(body[9]-'0'), true
	case "PT":
		return NIF(body), true
	case "RO":
		return len(body) >= 6 && len(body) <= 10 && digits(body, len(body)) && vatRO(body), true
	case "SE":
		return digits(body, 12) && body[10:] == "01" && Luhn(body[:10]), true
	case "SI":
		return digits(body, 8) && body[0] != '0' && vatSI(body), true
	case "SK":
		return digits(body, 10) && body[0] != '0' && number(body)%11 == 0, true
	}
	return false, false
}

func vatAT(s string) bool {
	if len(s) != 9 || s[0] != 'U' || !digits(s[1:], 8) {
		return false
	}
	sum := 4
	for i := 1; i < 8; i++ {
		d := int(s[i] - '0')
		if i%2 == 0 {
			d = d/5 + d*2%10
		}
		sum += d
	}
	return (10-sum%10)%10 == int(s[8]-'0')
}

func vatBG(s string) bool {
	c := weighted(s, 1, 2, 3, 4, 5, 6, 7, 8) % 11
	if c == 10 {
		c = weighted(s, 3, 4, 5, 6, 7, 8, 9, 10) % 11 % 10
	}
	return c == int(s[8]-'0')
}

func vatCY(s string) bool {
	sum := 0
	for i := range 8 {
		d := int(s[i] - '0')
		if i%2 == 0 {
			d = odd[d]
		}
		sum += d
	}
	return s[:2] != "12" && byte('A'+sum%26) == s[8]
}

func vatCZ(s string) bool {
	c := (11 - weighted(s, 8, 7, 6, 5, 4, 3, 2)%11) % 10
	if weighted(s, 8, 7, 6, 5, 4, 3, 2)%11 == 0 {
		c = 1
	}
	return s[0] != '9' && c == int(s[7]-'0')
}

func vatEL(s string) bool {
	return weighted(s, 256, 128, 64, 32, 16, 8, 4, 2)%11%10 == int(s[8]-'0')
}

// vatES is a company's (CIF), or a person's DNI or NIE.
func vatES(s string) bool {
	if DNI(s) || NIE(s) {
		return true
	}
	if len(s) != 9 || !letter(s[0]) || !digits(s[1:8], 7) {
		return false
	}
	sum := 0
	for i := 1; i < 8; i++ {
		d := int(s[i] - '0')
		if i%2 == 1 {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	c := (10 - sum%10) % 10
	switch s[0] {
	case 'A', 'B', 'E', 'H':
		return s[8] == byte('0'+c)
	case 'K', 'P', 'Q', 'S', 'N', 'W', 'R':
		return s[8] == "JABCDEFGHI"[c]
	case 'C', 'D', 'F', 'G', 'J', 'L', 'M', 'U', 'V':
		return s[8] == byte('0'+c) || s[8] == "JABCDEFGHI"[c]
	}
	return false
}

func vatIE(s string) bool {
	if len(s) != 8 && len(s) != 9 || !digits(s[:7], 7) || !letter(s[7]) {
		return false
	}
	sum := weighted(s, 8, 7, 6, 5, 4, 3, 2)
	if len(s) == 9 {
		if s[8] < 'A' || s[8] > 'I' && s[8] != 'W' {
			return false
		}
		if s[8] != 'W' {
			sum += int(s[8]-'A'+1) * 9
		}
	}
	return s[7] == "WABCDEFGHIJKLMNOPQRSTUV"[sum%23]
}

func vatLT(s string) bool {
	n := len(s) - 1
	sum, again := 0, 0
	for i := range n {
		d := int(s[i] - '0')
		sum += d * (1 + i%9)
		again += d * (1 + (i+2)%9)
	}
	c := sum % 11
	if c == 10 {
		c = again % 11 % 10
	}
	return s[n-1] == '1' && c == int(s[n]-'0')
}

// vatLV is a company's; that of a person is a date.
func vatLV(s string) bool {
	if s[0] < '4' {
		return false
	}
	c := 3 - weighted(s, 9, 1, 4, 8, 3, 10, 2, 5, 7, 6)%11
	switch {
	case c < -1:
		c += 11
	case c == -1:
		return false
	}
	return c == int(s[10]-'0')
}

// vatNL ends in B and two digits; what stands before is a BSN, or the whole passes
// MOD 97-10.
func vatNL(s string) bool {
	if len(s) != 14 || !digits(s[2:11], 9) || s[11] != 'B' || !digits(s[12:], 2) || s[12:] == "00" {
		return false
	}
	return BSN(s[2:11]) || modulo(s, 97) == 1
}

func vatRO(s string) bool {
	weights := [...]int{7, 5, 3, 2, 1, 7, 5, 3, 2}
	sum := 0
	for i := range len(s) - 1 {
		sum += int(s[i]-'0') * weights[len(weights)-len(s)+1+i]
	}
	return sum*10%11%10 == int(s[len(s)-1]-'0')
}

func vatSI(s string) bool {
	c := 11 - weighted(s, 8, 7, 6, 5, 4, 3, 2)%11
	return c < 11 && c%10 == int(s[7]-'0')
}
