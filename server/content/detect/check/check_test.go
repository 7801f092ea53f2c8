package check

import (
	"testing"

	"pgregory.net/rapid"
)

var known = []struct {
	name string
	is   func(string) bool
	good []string
	bad  []string
}{
	{"card", Card, []string{"4111111111111111", "5555555555554444", "378282246310005", "30569309025904", "6011111111111117", "3530111333300000", "2223003122003222"}, []string{"4111111111111112", "1111111111111117", "411111111111111", ""}},
	{"iban", IBAN, []string{"DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606", "NL91ABNA0417164300", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"}, []string{"DE88370400440532013000", "DE8937040044053201300", "XX89370400440532013000", "GB82"}},
	{"ssn", SSN, []string{"536228726"}, []string{"000228726", "666228726", "900228726", "536008726", "536220000", "123456789"}},
	{"itin", ITIN, []string{"912701234"}, []string{"812701234", "912661234", "912931234"}},
	{"nino", NINO, []string{"AB123456C", "JG103759A"}, []string{"DA123456C", "AO123456C", "GB123456C", "AB123456E"}},
	{"nhs", NHS, []string{"9434765919", "4010232137"}, []string{"9434765918", "0000000000"}},
	{"dni", DNI, []string{"12345678Z", "00000001R"}, []string{"12345678A"}},
	{"nie", NIE, []string{"X1234567L", "Y1234567X", "Z1234567R"}, []string{"X1234567A", "W1234567L"}},
	{"codice", CodiceFiscale, []string{"RSSMRA85T10A562S", "MRTMTT91D08F205J"}, []string{"RSSMRA85T10A562T", "RSSMRA85Z10A562S"}},
	{"nir", NIR, []string{"185057800608491", "255081416802538"}, []string{"185057800608492", "585057800608491"}},
	{"steuer", SteuerID, []string{"86095742719", "47036892816", "65929970489"}, []string{"86095742718", "12345678901"}},
	{"pesel", PESEL, []string{"44051401359", "02070803628"}, []string{"44051401358", "44151401359"}},
	{"bsn", BSN, []string{"111222333", "123456782"}, []string{"123456789", "000000000"}},
	{"belgian", BelgianNumber, []string{"85073003328"}, []string{"85073003327", "85133003328"}},
	{"nif", NIF, []string{"123456789", "501964843"}, []string{"123456788"}},
	{"personnummer", Personnummer, []string{"8112189876", "198112189876"}, []string{"8112189875", "8113189876"}},
	{"hetu", HETU, []string{"131052-308T", "010594Y9021"}, []string{"131052-308S", "321052-308T"}},
	{"cpr", CPR, []string{"0707614285"}, []string{"3213614285"}},
	{"fodsel", Fodselsnummer, []string{"01129955151"}, []string{"01129955131"}},
	{"vat", func(s string) bool { ok, _ := VAT(s); return ok }, []string{"ATU13585627", "BE0428759497", "BG175074752", "CY10259033P", "CZ25123891", "DE136695976", "DK13585628", "EE100931558", "EL094259216",
		"ESA13585625", "FI20774740", "FR40303265045", "HR33392005961", "HU12892312", "IE6433435F", "IT00743110157", "LT119511515", "LU15027442", "LV40003521600", "MT11679112", "NL004495445B01", "PL8567346215", "PT501964843", "RO18547290", "SE123456789701", "SI50223054", "SK2022749619"},
		[]string{"DE136695975", "FR41303265045", "IT00743110158", "XX123456789", "NL004495446B01"}},
}

func TestKnown(t *testing.T) {
	for _, c := range known {
		for _, s := range c.good {
			if !c.is(s) {
				t.Errorf("%s: %s is none", c.name, s)
			}
		}
		for _, s := range c.bad {
			if c.is(s) {
				t.Errorf("%s: %s is one", c.name, s)
			}
		}
	}
}

// No text makes a check panic, and of a number with check digits most neighbours are
// none.
func TestAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[A-Z]{0,3}[0-9A-Z]{0,16}[-+]?[0-9A-Z]{0,5}`).Draw(t, "text")
		for _, c := range known {
			c.is(s)
		}
	})
}
