package develop

import (
	"fmt"
	"strings"
)

// kind is something that people have, with the words for it in their language.
type kind struct {
	detector string
	// words stand before it in a text, keys are names that members have.
	words, keys []string
	make        func(*draw) string
}

// locale is a country's people.
type locale struct {
	code, country string
	given, family []string
	domains       []string
	phones        func(*draw) string
	dates         string // how a date is written: %[1]d the year, %[2]d the month, %[3]d the day
	// words: of a telephone, a mail, a birth, an account, a card, a name, dear, regards, a passport, a licence.
	phone, mail, born, account, card, name, dear, regards, pass, drive string
	ids                                                                []kind
}

func phone(formats ...string) func(*draw) string {
	return func(r *draw) string {
		var b strings.Builder
		for _, c := range r.pick(formats...) {
			switch c {
			case '#':
				b.WriteString(r.some(digits, 1))
			case '@':
				b.WriteString(r.some("23456789", 1))
			default:
				b.WriteRune(c)
			}
		}
		return b.String()
	}
}

var locales = []locale{
	{code: "en-US", country: "US", given: []string{"Olivia", "Marcus", "Denise", "Tyrone", "Heather", "Carlos"}, family: []string{"Whitfield", "Okafor", "Delgado", "Petersen", "Yamada"},
		domains: []string{"example.com", "mail.example.net", "acme-corp.com"}, dates: "%02[2]d/%02[3]d/%[1]d",
		phones: phone("(212) @##-####", "415-@##-####", "+1 303 @## ####", "+1-617-@##-####", "713.@##.####", "+1206@######"),
		phone:  "Phone", mail: "Email", born: "Date of birth", account: "IBAN", card: "Card", name: "Name", dear: "Dear", regards: "Best regards", pass: "Passport no.", drive: "Driver's license",
		ids: []kind{
			{"us-ssn", []string{"SSN: ", "Social Security number ", "ssn "}, []string{"ssn", "social_security_number"}, (*draw).ssn},
			{"us-itin", []string{"ITIN: ", "taxpayer ITIN "}, []string{"itin"}, (*draw).itin}}},
	{code: "en-GB", country: "GB", given: []string{"Alistair", "Priya", "Gemma", "Rhys", "Eleanor"}, family: []string{"Braithwaite", "Chaudhry", "MacLeod", "Pemberton"},
		domains: []string{"example.co.uk", "mail.example.org"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("07400 @#####", "020 7@## ####", "+44 20 7@## ####", "+44 7400 @#####", "0161 @## ####", "+447812@#####"),
		phone:  "Tel", mail: "E-mail", born: "DOB", account: "IBAN", card: "Card number", name: "Full name", dear: "Dear", regards: "Kind regards", pass: "Passport number", drive: "Driving licence",
		ids: []kind{
			{"uk-nino", []string{"NINO: ", "National Insurance number ", "NI number: "}, []string{"nino", "national_insurance_number"}, (*draw).nino},
			{"uk-nhs", []string{"NHS number: ", "NHS no. "}, []string{"nhs_number", "nhsNumber"}, (*draw).nhs}}},
	{code: "de-DE", country: "DE", given: []string{"Jürgen", "Annika", "Matthias", "Heike", "Björn"}, family: []string{"Müller", "Hoffmann", "Schreiber", "Großkopf"},
		domains: []string{"example.de", "post.example.de"}, dates: "%02[3]d.%02[2]d.%[1]d",
		phones: phone("030 @#######", "+49 89 @#######", "0171 @######", "+49 160 @#######", "+49 (0)40 @######", "0221/@######"),
		phone:  "Telefon", mail: "E-Mail", born: "Geburtsdatum", account: "IBAN", card: "Kartennummer", name: "Name", dear: "Hallo", regards: "Viele Grüße", pass: "Reisepass-Nr.", drive: "Führerschein-Nr.",
		ids: []kind{{"de-steuer-id", []string{"Steuer-ID: ", "Steueridentifikationsnummer ", "IdNr. "}, []string{"steuer_id", "steuerId", "idnr"}, (*draw).steuerID}}},
	{code: "fr-FR", country: "FR", given: []string{"Amélie", "Thierry", "Hélène", "Youssef"}, family: []string{"Lefèvre", "Moreau", "Benali", "d'Arcy"},
		domains: []string{"example.fr", "courriel.example.fr"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("06 1# ## ## ##", "01 4@ ## ## ##", "+33 6 2# ## ## ##", "+33 1 4@ ## ## ##", "0767######"),
		phone:  "Téléphone", mail: "Courriel", born: "Date de naissance", account: "IBAN", card: "Carte bancaire", name: "Nom", dear: "Bonjour", regards: "Cordialement", pass: "Passeport n°", drive: "Permis de conduire",
		ids: []kind{{"fr-nir", []string{"NIR : ", "Numéro de sécurité sociale : ", "n° SS "}, []string{"nir", "numero_securite_sociale"}, (*draw).nir}}},
	{code: "es-ES", country: "ES", given: []string{"Lucía", "Íñigo", "Montserrat", "Javier"}, family: []string{"Fernández", "Ibáñez", "Núñez", "Castro"},
		domains: []string{"example.es", "correo.example.es"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("6@# ## ## ##", "91@ ## ## ##", "+34 6@# ### ###", "+34 93@ ## ## ##"),
		phone:  "Teléfono", mail: "Correo", born: "Fecha de nacimiento", account: "IBAN", card: "Tarjeta", name: "Nombre", dear: "Hola", regards: "Un saludo", pass: "Pasaporte n.º", drive: "Permiso de conducir",
		ids: []kind{
			{"es-dni", []string{"DNI: ", "NIF ", "con DNI "}, []string{"dni", "nif"}, (*draw).dni},
			{"es-nie", []string{"NIE: ", "con NIE "}, []string{"nie"}, (*draw).nie}}},
	{code: "it-IT", country: "IT", given: []string{"Ginevra", "Raffaele", "Nicolò", "Chiara"}, family: []string{"Bianchi", "D'Angelo", "Ricciardi", "Moretti"},
		domains: []string{"example.it", "posta.example.it"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("347 @######", "06 @#######", "+39 333 @######", "+39 02 @#######"),
		phone:  "Telefono", mail: "E-mail", born: "Data di nascita", account: "IBAN", card: "Carta", name: "Nome", dear: "Gentile", regards: "Cordiali saluti", pass: "Passaporto n.", drive: "Patente n.",
		ids: []kind{{"it-codice-fiscale", []string{"Codice fiscale: ", "C.F. "}, []string{"codice_fiscale", "codiceFiscale", "cf"}, (*draw).codiceFiscale}}},
	{code: "nl-NL", country: "NL", given: []string{"Sanne", "Joris", "Fenna", "Thijs"}, family: []string{"de Vries", "van den Berg", "Hoekstra", "Smit"},
		domains: []string{"example.nl", "bedrijf.example.nl"}, dates: "%02[3]d-%02[2]d-%[1]d",
		phones: phone("06-1#######", "020 @######", "+31 6 2#######", "+31 30 @######"),
		phone:  "Telefoon", mail: "E-mail", born: "Geboortedatum", account: "IBAN", card: "Kaartnummer", name: "Naam", dear: "Beste", regards: "Met vriendelijke groet", pass: "Paspoortnummer", drive: "Rijbewijsnummer",
		ids: []kind{{"nl-bsn", []string{"BSN: ", "Burgerservicenummer ", "bsn "}, []string{"bsn", "burgerservicenummer"}, (*draw).bsn}}},
	{code: "nl-BE", country: "BE", given: []string{"Wout", "Lotte", "Bram", "Elise"}, family: []string{"Peeters", "Janssens", "Claes", "Wouters"},
		domains: []string{"example.be", "kantoor.example.be"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("0475 @# ## ##", "02 5## ## ##", "+32 486 @# ## ##", "+32 2 5## ## ##"),
		phone:  "Tel.", mail: "E-mail", born: "Geboren op", account: "IBAN", card: "Kaart", name: "Naam", dear: "Beste", regards: "Groeten", pass: "Paspoort nr.", drive: "Rijbewijs nr.",
		ids: []kind{{"be-national-number", []string{"Rijksregisternummer: ", "RRN ", "INSZ "}, []string{"rijksregisternummer", "nationalNumber"}, (*draw).belgian}}},
	{code: "pl-PL", country: "PL", given: []string{"Agnieszka", "Łukasz", "Małgorzata", "Paweł"}, family: []string{"Wiśniewska", "Dąbrowski", "Zając", "Nowak"},
		domains: []string{"example.pl", "poczta.example.pl"}, dates: "%02[3]d.%02[2]d.%[1]d",
		phones: phone("50# ### ###", "22 @## ## ##", "+48 60# ### ###", "+48 12 @## ## ##"),
		phone:  "Telefon", mail: "E-mail", born: "Data urodzenia", account: "IBAN", card: "Karta", name: "Imię i nazwisko", dear: "Szanowna Pani", regards: "Pozdrawiam", pass: "Paszport nr", drive: "Prawo jazdy nr",
		ids: []kind{{"pl-pesel", []string{"PESEL: ", "nr PESEL "}, []string{"pesel"}, (*draw).pesel}}},
	{code: "pt-PT", country: "PT", given: []string{"Inês", "Duarte", "Conceição", "Tomás"}, family: []string{"Gonçalves", "Figueiredo", "Simões", "Lopes"},
		domains: []string{"example.pt", "correio.example.pt"}, dates: "%02[3]d/%02[2]d/%[1]d",
		phones: phone("91@ ### ###", "21@ ### ###", "+351 96@ ### ###"),
		phone:  "Telefone", mail: "E-mail", born: "Data de nascimento", account: "IBAN", card: "Cartão", name: "Nome", dear: "Caro", regards: "Cumprimentos", pass: "Passaporte n.º", drive: "Carta de condução",
		ids: []kind{{"pt-nif", []string{"NIF: ", "Contribuinte n.º ", "N.º de contribuinte "}, []string{"nif", "contribuinte"}, (*draw).nif}}},
	{code: "sv-SE", country: "SE", given: []string{"Åsa", "Gustav", "Märta", "Elias"}, family: []string{"Lindström", "Bergqvist", "Öberg", "Nyman"},
		domains: []string{"example.se", "mejl.example.se"}, dates: "%[1]d-%02[2]d-%02[3]d",
		phones: phone("070-@## ## ##", "08-@## ## ##", "+46 70 @## ## ##", "+46 73@######"),
		phone:  "Telefon", mail: "E-post", born: "Födelsedatum", account: "IBAN", card: "Kortnummer", name: "Namn", dear: "Hej", regards: "Vänliga hälsningar", pass: "Passnummer", drive: "Körkort nr",
		ids: []kind{{"se-personnummer", []string{"Personnummer: ", "pnr "}, []string{"personnummer", "pnr"}, (*draw).personnummer}}},
	{code: "fi-FI", country: "FI", given: []string{"Päivi", "Jukka", "Aino", "Väinö"}, family: []string{"Virtanen", "Hämäläinen", "Korhonen", "Mäkelä"},
		domains: []string{"example.fi", "posti.example.fi"}, dates: "%[3]d.%[2]d.%[1]d",
		phones: phone("040 @######", "050 @## ####", "+358 40 @######", "+358 9 2######"),
		phone:  "Puhelin", mail: "Sähköposti", born: "Syntymäaika", account: "IBAN", card: "Korttinumero", name: "Nimi", dear: "Hei", regards: "Terveisin", pass: "Passin numero", drive: "Ajokortin numero",
		ids: []kind{{"fi-hetu", []string{"Henkilötunnus: ", "hetu "}, []string{"henkilotunnus", "hetu"}, (*draw).hetu}}},
	{code: "da-DK", country: "DK", given: []string{"Søren", "Kirsten", "Mads", "Freja"}, family: []string{"Jørgensen", "Kjær", "Østergaard", "Holm"},
		domains: []string{"example.dk", "post.example.dk"}, dates: "%02[3]d-%02[2]d-%[1]d",
		phones: phone("20 @# ## ##", "+45 33 @# ## ##", "+45 40@#####"),
		phone:  "Telefon", mail: "E-mail", born: "Fødselsdato", account: "IBAN", card: "Kortnummer", name: "Navn", dear: "Kære", regards: "Venlig hilsen", pass: "Pasnummer", drive: "Kørekort nr.",
		ids: []kind{{"dk-cpr", []string{"CPR-nr.: ", "CPR ", "Personnummer: "}, []string{"cpr", "cpr_nummer"}, (*draw).cpr}}},
	{code: "nb-NO", country: "NO", given: []string{"Ingrid", "Håkon", "Sigrid", "Bjørn"}, family: []string{"Solberg", "Kristiansen", "Aasen", "Bakke"},
		domains: []string{"example.no", "epost.example.no"}, dates: "%02[3]d.%02[2]d.%[1]d",
		phones: phone("22 @# ## ##", "+47 90# ## ###", "+47 41# ## ###", "92# ## ###"),
		phone:  "Telefon", mail: "E-post", born: "Fødselsdato", account: "IBAN", card: "Kortnummer", name: "Navn", dear: "Hei", regards: "Hilsen", pass: "Passnummer", drive: "Førerkort nr.",
		ids: []kind{{"no-fodselsnummer", []string{"Fødselsnummer: ", "fnr "}, []string{"fodselsnummer", "fnr"}, (*draw).fodselsnummer}}},
}

func (r *draw) name(l *locale) value {
	return is("person-name", r.pick(l.given...)+" "+r.pick(l.family...))
}

var ascii = strings.NewReplacer("ü", "ue", "ö", "oe", "ä", "ae", "ß", "ss", "é", "e", "è", "e", "í", "i", "ñ", "n", "á", "a", "ò", "o", "ú", "u", "ł", "l", "ś", "s", "ą", "a", "ę", "e",
	"ó", "o", "ç", "c", "ã", "a", "õ", "o", "å", "a", "ø", "o", "æ", "ae", "ê", "e", "Ł", "l", "Í", "i", "Å", "a", "Ö", "oe", "Ø", "o", "'", "", " ", "")

func (r *draw) mail(l *locale) value {
	given, family := strings.ToLower(ascii.Replace(r.pick(l.given...))), strings.ToLower(ascii.Replace(r.pick(l.family...)))
	box := r.pick(given+"."+family, given[:1]+family, family+r.some(digits, 2), given+"_"+family, given+"-"+family+"+news")
	return is("email", box+"@"+r.pick(l.domains...))
}

func (r *draw) date(l *locale) string {
	year, month, day := r.birth()
	if r.chance(30) {
		return fmt.Sprintf("%d-%02d-%02d", year, month, day)
	}
	return fmt.Sprintf(l.dates, year, month, day)
}

// net is an address of a network.
func (r *draw) net() value {
	switch r.IntN(4) {
	case 0:
		return is("ip-address", fmt.Sprintf("2001:db8:%s:%s::%s", r.some("123456789abcdef", 1)+r.some(hexes, 3), r.some("123456789abcdef", 1)+r.some(hexes, 2), r.some("123456789abcdef", 1)+r.some(hexes, 1)))
	case 1:
		return is("ip-address", fmt.Sprintf("10.%d.%d.%d", r.IntN(256), r.IntN(256), 1+r.IntN(254)))
	}
	return is("ip-address", fmt.Sprintf("%d.%d.%d.%d", 11+r.IntN(200), r.IntN(256), r.IntN(256), 1+r.IntN(254)))
}

func (r *draw) mac() value {
	var parts []string
	for range 6 {
		parts = append(parts, r.some(hexes, 2))
	}
	text := strings.Join(parts, r.pick(":", ":", "-"))
	if r.chance(30) {
		text = strings.ToUpper(text)
	}
	return is("mac-address", text)
}

func (r *draw) place() value {
	return is("geo-coordinates", fmt.Sprintf("%d.%05d, %s%d.%05d", 36+r.IntN(28), r.IntN(100000), r.pick("", "", "-"), r.IntN(30), r.IntN(100000)))
}
