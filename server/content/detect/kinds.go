package detect

import (
	"strings"
	"sync"

	"github.com/writpdp/writ/server/content/detect/words"
)

// kind is a set of what words say of a value beside them: that it is a phone number,
// that it is a secret, that it is none of these.
type kind uint64

const (
	ofPhone kind = 1 << iota
	ofCard
	ofSSN
	ofITIN
	ofNINO
	ofNHS
	ofVAT
	ofDNI
	ofNIR
	ofSteuer
	ofPESEL
	ofBSN
	ofBelgian
	ofNIF
	ofPersonnummer
	ofHETU
	ofCPR
	ofFodsel
	ofNational // some national id, of whichever country
	ofPassport
	ofLicence
	ofBirth
	ofIP
	ofGeo
	ofLatitude
	ofLongitude
	ofName   // a person's
	ofPerson // what has the name is a person
	ofTitle  // Mr, Dr
	ofSecret
	ofToken   // what may be a secret, if it looks like one
	ofHash    // what looks like a secret and is none
	ofOther   // numbers that are no one's: orders, invoices, parts
	ofVersion // of software
	justName  // "name" alone
	justID    // "id" alone, in the name of a member
)

// spoken are the words of each kind, in lower case. A word stands for itself alone:
// no letter may stand directly before or after it.
var spoken = map[kind]string{
	ofPhone: `phone|phones|telephone|tel|mobile|cell|cellphone|phone number|phonenumber|mobile number|fax|call|text me|whatsapp|sms|msisdn|
		telefon|telefonnummer|handy|handynummer|rufnummer|mobil|téléphone|portable|móvil|teléfono|telefono|cellulare|telefone|telemóvel|telefoon|mobiel|puhelin|numer telefonu|tlf|puhelinnumero|gsm|komórka|tél|telefoonnummer|telefonnr|téléphone portable|numéro de téléphone`,
	ofCard: `card|card number|cardnumber|credit card|creditcard|debit card|pan|cc|ccnum|cc number|card no|payment card|visa|mastercard|amex|american express|
		kreditkarte|kartennummer|kreditkartennummer|carte|carte bancaire|carte bleue|tarjeta|carta di credito|cartão|creditcardnummer|numer karty|kortnummer|kort|betalingskort|kortti|luottokortti|korttinumero|karta|karta kredytowa`,
	ofSSN:    `ssn|ssns|social security|social security number|social security no|socialsecurity|socialsecuritynumber|soc sec`,
	ofITIN:   `itin|individual taxpayer|individual taxpayer identification|individual taxpayer identification number`,
	ofNINO:   `nino|national insurance|national insurance number|nationalinsurance|nationalinsurancenumber|ni number|ninumber|ni no|nat ins`,
	ofNHS:    `nhs|nhs number|nhsnumber|nhs no|national health service`,
	ofVAT:    `vat|vat id|vatid|vat number|vatnumber|vat no|vat reg|ust-id|ust id|ustid|ustidnr|umsatzsteuer-id|tva|btw|btw-nummer|moms|partita iva|iva|nip|ico dph|dph|alv|áfa`,
	ofDNI:    `dni|nie|nif|documento nacional|documento de identidad`,
	ofNIR:    `nir|insee|sécurité sociale|securite sociale|numéro de sécurité sociale|numero de securite sociale|sécu|carte vitale`,
	ofSteuer: `steuer-id|steuerid|steuer id|steuer-idnr|steueridentifikationsnummer|steuerliche identifikationsnummer|identifikationsnummer|idnr|tin`,
	ofPESEL:  `pesel|numer pesel`,
	ofBSN:    `bsn|burgerservicenummer|sofinummer|sofi`,
	ofBelgian: `rijksregisternummer|rijksregister|numéro national|numero national|registre national|niss|insz|
		national register number|national number`,
	ofNIF:          `nif|contribuinte|número de contribuinte|numero de contribuinte|número fiscal`,
	ofPersonnummer: `personnummer|personnr|samordningsnummer|pnr`,
	ofHETU:         `hetu|henkilötunnus|henkilotunnus|sotu`,
	ofCPR:          `cpr|cpr-nummer|cpr nummer|cpr-nr|cprnr|personnummer`,
	ofFodsel:       `fødselsnummer|fodselsnummer|fnr|personnummer|d-nummer`,
	ofNational: `national id|nationalid|national identification|national identity|national identification number|national identity number|personal number|personal id|
		personal identification|personal identification number|personal identity number|personal code|identity number|identity card|identity code|id number|idnumber|id card|id no|
		tax id|taxid|tax number|taxnumber|tax identification|tax identification number|taxpayer|taxpayer id|government id|citizen id|citizen number|social insurance`,
	ofPassport:  `passport|passport number|passportnumber|passport no|passports|reisepass|reisepassnummer|passnummer|passeport|pasaporte|passaporto|passaporte|paspoort|paspoortnummer|pass-nr|pasnummer|pas|passi|passin numero|paszport|numer paszportu|passnr|pass`,
	ofLicence:   `driving licence|driving license|driver licence|driver license|drivers licence|drivers license|driver's licence|driver's license|drivinglicence|driverlicense|driverslicense|drivinglicense|licence number|license number|licencenumber|licensenumber|dl number|dl no|dln|führerschein|führerscheinnummer|permis de conduire|permiso de conducir|carnet de conducir|patente di guida|rijbewijs|rijbewijsnummer|körkort|körkortsnummer|kørekort|kørekortnummer|førerkort|førerkortnummer|ajokortti|ajokortin numero|prawo jazdy|numer prawa jazdy|carta de condução|licencia de conducir`,
	ofBirth:     `dob|d.o.b|date of birth|dateofbirth|birth date|birthdate|birthday|birth day|born|born on|geburtsdatum|geburtstag|geboren|geb|date de naissance|né le|née le|fecha de nacimiento|data di nascita|data de nascimento|geboortedatum|födelsedatum|data urodzenia|fødselsdato|fødselsdag|født|syntymäaika|syntynyt|urodzony|urodzona|född|fecha nacimiento|nacido|nacida|nato il|nata il|nascido|nascida|né|née|geb.`,
	ofIP:        `ip|ip address|ipaddress|ipv4|ipv6|remote addr|client ip`,
	ofGeo:       `geo|geolocation|gps|coordinates|coordinate|coords|location|position|lat long|latlng|latlong|lat lng|lnglat|lonlat|geopoint|waypoint|koordinaten|coordonnées|coordenadas|coordinate gps`,
	ofLatitude:  `lat|latitude|breitengrad`,
	ofLongitude: `lon|lng|long|longitude|längengrad`,
	ofName: `first name|firstname|last name|lastname|full name|fullname|middle name|middlename|surname|given name|givenname|given names|family name|familyname|
		maiden name|cardholder|cardholder name|card holder|account holder|accountholder|holder name|person name|personname|legal name|patient name|customer name|customername|employee name|contact name|contactname|client name|recipient name|sender name|beneficiary name|author name|owner name|guest name|student name|member name|user's name|
		vorname|nachname|nom de famille|prénom|apellido|apellidos|nome completo|cognome|achternaam|voornaam|förnamn|efternamn|nazwisko|imię|next of kin|signed by|contact person|attn`,
	ofPerson: `person|customer|patient|employee|contact|client|recipient|sender|user|member|owner|author|passenger|guest|applicant|borrower|student|tenant|manager|buyer|
		seller|traveler|traveller|beneficiary|insured|holder|cardholder|billing|shipping|assignee|reporter|requester|people|persons|users|customers|patients|employees|contacts|passengers|candidate|lead`,
	ofTitle: `mr|mrs|ms|dr|prof|herr|frau|mme|monsieur|madame|señor|señora|sr|sra|signor|signora|dear|sehr geehrter herr|sehr geehrte frau`,
	ofSecret: `password|passwd|passwort|pwd|passphrase|passcode|secret|secrets|client secret|clientsecret|app secret|shared secret|secret key|secretkey|secret access key|secretaccesskey|
		api key|apikey|api-key|api secret|apisecret|api token|apitoken|x-api-key|private key|privatekey|access key|accesskey|authorization|proxy-authorization|proxy authorization|auth token|authtoken|
		access token|accesstoken|refresh token|refreshtoken|session token|sessiontoken|id token|bearer|bearer token|credential|credentials|encryption key|encryptionkey|signing key|signing secret|webhook secret|
		master key|connection string|connectionstring|set-cookie|session cookie|otp|pin code|cvv|cvc|cvv2|card verification|kennwort|mot de passe|contraseña|wachtwoord|hasło|lösenord`,
	ofToken: `token|key|auth|session|sessionid|session id|cookie|signature|sig|jwt|oauth|bot token|pat|ssh|aws`,
	ofHash: `sha|sha1|sha256|sha-256|sha512|sha-512|md5|digest|checksum|hash|commit|etag|integrity|fingerprint|revision|blob|tree|crc|crc32|uuid|guid|
		page token|pagetoken|next page token|nextpagetoken|cursor|continuation token|sync token|csrf|csrf token|xsrf|nonce|trace id|traceid|span id|spanid|request id|requestid|public key|publickey|thumbprint|idempotency key|partition key|cache key|sort key|primary key|foreign key`,
	ofOther: `order|order id|order number|ordernumber|order no|invoice|invoice number|invoice no|tracking|tracking number|trackingnumber|reference|reference number|ref|sku|serial|serial number|serialnumber|part number|
		partnumber|part no|model|model number|ticket|ticket number|case number|case|transaction|transaction id|transactionid|shipment|batch|lot|isbn|ean|upc|gtin|barcode|imei|asin|build|build number|job|
		timestamp|epoch|created|updated|modified|ts|time|duration|elapsed|size|bytes|offset|length|count|total|quantity|qty|amount|price|balance|subtotal|pid|port|sequence|seq|line|row|index|
		confirmation|confirmation number|booking|reservation|customer id|customer number|user id|account id|device id|product|product id|item|item number|article|bestellnummer|rechnungsnummer|auftragsnummer|rechnung|sendungsnummer|artikelnummer|commande|facture|pedido|factura|ordine|fattura`,
	ofVersion: `version|ver|release|firmware|driver version|semver|upgrade|upgraded to|tag|chrome|build`,
	justName:  `name|nombre|nom|naam|namn|imie|nome`,
	justID:    `id|uid|oid|gid|identifier|number|no|num|nr`,
}

// lexicon is the words and what they say.
type lexicon struct {
	list  []string
	kinds []kind
}

var vocabulary = sync.OnceValue(func() lexicon {
	said := map[string]kind{}
	for k, list := range spoken {
		for word := range strings.SplitSeq(list, "|") {
			said[strings.TrimSpace(word)] |= k
		}
	}
	var l lexicon
	for _, word := range sorted(said) {
		l.list, l.kinds = append(l.list, word), append(l.kinds, said[word])
	}
	return l
})

// nameWords finds the words in members' names.
var nameWords = sync.OnceValue(func() *words.Automaton {
	a, err := words.New(vocabulary().list)
	if err != nil {
		panic(err) // the words are those above
	}
	return a
})

// not are words after one for a secret in a name that make it the name of something
// about a secret: secret_name, token_type, password_changed_at.
var not = func() map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq(`type count name names id ids url uri endpoint expires expiry expiration at in limit length policy hint created updated version field fields
		required enabled disabled reset strength arn path file ref reference status ttl lifetime issuer audience scope scopes format usage used max min budget rotation algorithm alg size label group manager provider location changed valid validity set present exists store`) {
		all[word] = true
	}
	return all
}()

// named is what the name of a member says of its value.
type named struct {
	kinds kind
	// spelt is the name as words.
	spelt string
	// text says that the name is long enough to hold something itself.
	text bool
}

// maxNamed bounds how much of a name is understood, in bytes.
const maxNamed = 128

// understand reads a member's name. The words that stand last in a name decide:
// order_phone is a phone number, and phone_order an order's.
func understand(name string) named {
	n := named{text: len(name) >= 9}
	if len(name) > maxNamed {
		return n
	}
	n.spelt = spell(name)
	last, secretEnd := 0, 0
	nameWords().Find(n.spelt, func(word, start, end int) bool {
		if !whole(n.spelt, start, end) {
			return true
		}
		k := vocabulary().kinds[word]
		n.kinds |= k
		last = max(last, end)
		if k&ofSecret != 0 {
			secretEnd = end
		}
		return true
	})
	if secretEnd > 0 {
		for word := range strings.FieldsSeq(n.spelt[secretEnd:]) {
			if not[word] {
				n.kinds &^= ofSecret | ofToken
			}
		}
	}
	if n.kinds&ofHash != 0 {
		n.kinds &^= ofToken
	}
	return n
}

// spell is a name as words in lower case with single spaces between: dateOfBirth,
// date_of_birth and DATE-OF-BIRTH are the same.
func spell(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 8)
	gap := false
	for i := range len(name) {
		c := name[i]
		upper := 'A' <= c && c <= 'Z'
		switch {
		case c == '_' || c == '-' || c == '.' || c == ' ' || c == '/' || c == ':' || c == '[' || c == ']':
			gap = b.Len() > 0
			continue
		case upper && i > 0 && lowerOrDigit(name[i-1]):
			gap = true
		case upper && i > 0 && i+1 < len(name) && 'A' <= name[i-1] && name[i-1] <= 'Z' && 'a' <= name[i+1] && name[i+1] <= 'z':
			gap = true
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		if upper {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

func lowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// whole reports whether a word stands for itself: no letter, digit or part of a
// character touches it.
func whole(s string, start, end int) bool {
	return (start == 0 || !wordly[s[start-1]] || !wordly[s[start]]) && (end == len(s) || !wordly[s[end]] || !wordly[s[end-1]])
}

// wordly are the bytes of words: letters, and those of characters beyond ASCII.
var wordly = func() (w [256]bool) {
	for c := range 256 {
		w[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	return w
}()
