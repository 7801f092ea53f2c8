package detect

import (
	"maps"
	"slices"
)

// The labels of the detectors that are built in.
const (
	pii       = "pii"
	financial = "financial"
	secret    = "secret"
	health    = "health"
)

// The detectors that are built in, by their number in every set.
const (
	email = iota
	phone
	paymentCard
	iban
	usSSN
	usITIN
	ukNINO
	ukNHS
	euVAT
	esDNI
	esNIE
	itCodiceFiscale
	frNIR
	deSteuerID
	plPESEL
	nlBSN
	beNationalNumber
	ptNIF
	sePersonnummer
	fiHETU
	dkCPR
	noFodselsnummer
	passport
	drivingLicence
	dateOfBirth
	ipAddress
	macAddress
	geoCoordinates
	personName
	privateKey
	jwt
	databaseURL
	webhookURL
	cloudKey
	oauthToken
	apiKey
	highEntropy
	namedSecret
	builtins // how many there are
)

// detector is one of a set.
type detector struct {
	id     string
	labels []string
	off    bool
}

// builtIn are the detectors that every bundle has, in the order of their numbers.
func builtIn() []detector {
	d := func(id string, labels ...string) detector { return detector{id: id, labels: labels} }
	return []detector{
		email: d("email", pii), phone: d("phone", pii),
		paymentCard: d("payment-card", financial, pii), iban: d("iban", financial, pii),
		usSSN: d("us-ssn", pii), usITIN: d("us-itin", pii), ukNINO: d("uk-nino", pii), ukNHS: d("uk-nhs", health, pii),
		euVAT: d("eu-vat", financial), esDNI: d("es-dni", pii), esNIE: d("es-nie", pii), itCodiceFiscale: d("it-codice-fiscale", pii),
		frNIR: d("fr-nir", health, pii), deSteuerID: d("de-steuer-id", pii), plPESEL: d("pl-pesel", pii), nlBSN: d("nl-bsn", pii),
		beNationalNumber: d("be-national-number", pii), ptNIF: d("pt-nif", pii), sePersonnummer: d("se-personnummer", pii),
		fiHETU: d("fi-hetu", pii), dkCPR: d("dk-cpr", pii), noFodselsnummer: d("no-fodselsnummer", pii),
		passport: d("passport", pii), drivingLicence: d("driving-licence", pii), dateOfBirth: d("date-of-birth", pii),
		ipAddress: d("ip-address", pii), macAddress: d("mac-address", pii), geoCoordinates: d("geo-coordinates", pii),
		personName: d("person-name", pii), privateKey: d("private-key", secret), jwt: d("jwt", secret),
		databaseURL: d("database-url", secret), webhookURL: d("webhook-url", secret), cloudKey: d("cloud-key", secret),
		oauthToken: d("oauth-token", secret), apiKey: d("api-key", secret), highEntropy: d("high-entropy", secret),
		namedSecret: d("named-secret", secret),
	}
}

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
