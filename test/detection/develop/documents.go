package develop

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/writpdp/writ/test/detection/corpus"
)

// maker makes a document of one kind with a country's people in it. Of each hundred
// documents share are of this kind.
type maker struct {
	kind  string
	share int
	json  bool
	make  func(*draw, *locale) *prose
}

var makers = []maker{
	{"customers", 12, true, customers}, {"ticket", 12, true, ticket}, {"chat", 6, true, chat}, {"file result", 6, true, fileResult},
	{"mail", 12, false, letter}, {"log", 9, false, accessLog}, {"code", 8, false, code}, {"settings", 8, false, settings},
	{"Markdown", 8, false, runbook}, {"CSV", 7, false, export},
	{"orders", 5, true, orders}, {"build log", 4, false, build}, {"telemetry", 3, true, telemetry},
}

// Documents are n documents; the same seed makes the same ones.
func Documents(seed uint64, n int) []corpus.Document {
	r := &draw{rand.New(rand.NewPCG(seed, 1))}
	var kinds []maker
	for _, m := range makers {
		for range m.share {
			kinds = append(kinds, m)
		}
	}
	all := make([]corpus.Document, n)
	for i := range all {
		m, l := kinds[i%len(kinds)], &locales[r.IntN(len(locales))]
		p := m.make(r, l)
		all[i] = corpus.Document{ID: fmt.Sprintf("develop-%d", i), Kind: m.kind, Locale: l.code, JSON: m.json, Text: p.String(), Labels: p.labels, Decoys: p.decoys}
	}
	return all
}

// id is one of a country's numbers for people.
func (r *draw) id(l *locale) (kind, value) {
	k := l.ids[r.IntN(len(l.ids))]
	return k, is(k.detector, k.make(r))
}

func (r *draw) account(l *locale) value { return is("iban", r.iban(r.ibanCountry(l))) }

func (r *draw) ibanCountry(l *locale) string {
	if l.country == "US" || r.chance(15) {
		return r.pick("DE", "GB", "FR", "ES", "IT", "NL", "BE", "PL", "PT", "SE", "FI", "DK", "NO")
	}
	return l.country
}

func (r *draw) vatOf(l *locale) value {
	country := l.country
	if country == "US" || country == "GB" || country == "NO" {
		country = r.pick("DE", "FR", "IT", "NL", "SE")
	}
	return is("eu-vat", r.vat(country))
}

// bait is a decoy with the words before it.
func (r *draw) bait() []any {
	d := decoys[r.IntN(len(decoys))]
	return []any{d.words, decoy(d.name, d.make(r))}
}

// baits are members that look like something.
func (r *draw) baits(n int) []member {
	var out []member
	taken := map[string]bool{}
	for range n {
		d := decoys[r.IntN(len(decoys))]
		if !taken[d.key] {
			taken[d.key] = true
			out = append(out, member{d.key, decoy(d.name, d.make(r))})
		}
	}
	return out
}

// secret is one secret with the name that settings give it.
func (r *draw) secret() (name string, v value) {
	switch r.IntN(9) {
	case 0, 1:
		key := r.cloudKey()
		if strings.HasPrefix(key, "AIza") {
			return "GOOGLE_KEY", is("cloud-key", key)
		}
		return "AWS_ACCESS_KEY_ID", is("cloud-key", key)
	case 2:
		return "GIT_TOKEN", is("oauth-token", r.oauthToken())
	case 3:
		return r.pick("STRIPE_KEY", "MAIL_API_KEY", "API_KEY"), is("api-key", r.apiKey())
	case 4:
		return "DATABASE_URL", is("database-url", r.database())
	case 5:
		return "ALERT_HOOK", is("webhook-url", r.webhook())
	case 6:
		return "SESSION_TOKEN", is("jwt", r.jwt())
	case 7:
		return r.pick("CLIENT_SECRET", "DB_PASSWORD", "SIGNING_SECRET"), is("high-entropy", r.entropy())
	}
	return "TLS_KEY", is("private-key", r.privateKey())
}

func customers(r *draw, l *locale) *prose {
	var list []any
	for range 1 + r.IntN(3) {
		k, id := r.id(l)
		m := []member{{"id", "cus_" + r.some(base62, 14)}, {r.pick("name", "full_name", "customer_name"), r.name(l)}, {"email", r.mail(l)}}
		if r.chance(60) {
			m = append(m, member{r.pick("phone", "mobile", "phone_number"), is("phone", l.phones(r))})
		}
		if r.chance(55) {
			m = append(m, member{r.pick(k.keys...), id})
		}
		if r.chance(30) {
			m = append(m, member{r.pick("dob", "date_of_birth", "birthDate"), is("date-of-birth", r.date(l))})
		}
		if r.chance(30) {
			m = append(m, member{r.pick("iban", "bank_account"), r.account(l)})
		}
		if r.chance(25) {
			m = append(m, member{"card", []member{{"number", is("payment-card", r.card())}, {"exp", "09/28"}, {"brand", "visa"}}})
		}
		if r.chance(25) {
			m = append(m, member{r.pick("vat", "vat_id", "tax_id"), r.vatOf(l)})
		}
		if r.chance(12) {
			m = append(m, member{r.pick("passport", "passport_number"), is("passport", r.passport(l.country))})
		}
		if r.chance(12) {
			m = append(m, member{"driving_licence", is("driving-licence", r.licence(l.country))})
		}
		if r.chance(15) {
			lat, lon := fmt.Sprintf("%d.%05d", 36+r.IntN(28), r.IntN(100000)), fmt.Sprintf("%d.%05d", r.IntN(30), r.IntN(100000))
			m = append(m, member{"location", []member{{"latitude", numeral(is("geo-coordinates", lat))}, {"longitude", numeral(is("geo-coordinates", lon))}}})
		}
		list = append(list, append(m, r.baits(1+r.IntN(3))...))
	}
	tree := []member{{"object", "list"}, {"data", list}, {"has_more", false}}
	if r.chance(50) {
		return render([]member{{"content", []any{[]member{{"type", "text"}, {"text", holder{tree}}}}}}, "")
	}
	return render(tree, r.pick("", "  "))
}

func ticket(r *draw, l *locale) *prose {
	p := &prose{}
	p.put(l.dear, ",\n\n")
	k, id := r.id(l)
	sentences := [][]any{
		{"The charge on ", l.card, " ", is("payment-card", r.card()), " came twice.\n"},
		{"You can call me under ", is("phone", l.phones(r)), " after five.\n"},
		{l.account, ": ", r.account(l), "\n"},
		{r.pick(k.words...), id, "\n"},
		{l.born, ": ", is("date-of-birth", r.date(l)), "\n"},
		{"Please write to ", r.mail(l), " instead.\n"},
		{"VAT ", r.vatOf(l), "\n"},
		{l.pass, ": ", is("passport", r.passport(l.country)), "\n"},
	}
	for _, i := range r.Perm(len(sentences))[:1+r.IntN(4)] {
		p.put(sentences[i]...)
	}
	for range 1 + r.IntN(3) {
		p.put(r.bait()...).put("\n")
	}
	p.put("\n", l.regards, "\n")
	return render([]member{
		{"id", 10000 + r.IntN(90000)}, {"subject", r.pick("Refund", "Delivery", "Login", "Invoice")}, {"requester", []member{{"name", r.name(l)}, {"email", r.mail(l)}}},
		{"created_at", r.moment()}, {"priority", r.pick("low", "normal", "high")}, {"description", p}, {"custom", r.baits(2)},
	}, r.pick("", "  "))
}

func chat(r *draw, l *locale) *prose {
	var turns []any
	say := func(role string, parts ...any) {
		turns = append(turns, []member{{"role", role}, {"content", (&prose{}).put(parts...)}})
	}
	say("user", "What is the state of ", decoy("order number", r.some(digits, 11)), "?")
	say("assistant", "I need something to identify you.")
	if r.chance(60) {
		k, id := r.id(l)
		say("user", r.pick(k.words...), id)
	} else {
		say("user", "My mail is ", r.mail(l), " and my phone ", is("phone", l.phones(r)), ".")
	}
	if r.chance(30) {
		name, v := r.secret()
		say("user", name+"=", v, "\nwhy does that not work?")
	}
	say("assistant", append([]any{"Thank you. "}, r.bait()...)...)
	return render([]member{{"model", "m-1"}, {"messages", turns}}, "")
}

func fileResult(r *draw, l *locale) *prose {
	text := settings(r, l)
	return render([]member{{"content", []any{[]member{{"type", "text"}, {"text", text}}}}, {"isError", false}}, "")
}

func letter(r *draw, l *locale) *prose {
	p := &prose{}
	p.put("From: ", r.mail(l), "\nTo: ", r.mail(l), "\nDate: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <", r.some(hexes, 20), ".1>\nSubject: ",
		r.pick("Your order", "Account", "Question"), " ", decoy("order number", r.some(digits, 10)), "\n\n", l.dear, ",\n\n")
	k, id := r.id(l)
	lines := [][]any{
		{l.name, ": ", r.name(l)},
		{l.phone, ": ", is("phone", l.phones(r))},
		{l.account, ": ", r.account(l)},
		{r.pick(k.words...), id},
		{l.born, ": ", is("date-of-birth", r.date(l))},
		{l.drive, ": ", is("driving-licence", r.licence(l.country))},
		{l.card, ": ", is("payment-card", r.card())},
		{"GPS: ", r.place()},
		{"VAT ID ", r.vatOf(l)},
	}
	for _, i := range r.Perm(len(lines))[:2+r.IntN(4)] {
		p.put(lines[i]...).put("\n")
	}
	p.put("\n").put(r.bait()...).put(".\n").put(r.bait()...).put(".\n\n", l.regards, "\n")
	return p
}

func accessLog(r *draw, l *locale) *prose {
	p := &prose{}
	for range 3 + r.IntN(5) {
		switch r.IntN(5) {
		case 0:
			p.put(r.net(), " - - [23/Nov/2026:10:00:00 +0000] \"GET /orders/", decoy("order number", r.some(digits, 10)), " HTTP/1.1\" 200 ", r.some("123456789", 4), "\n")
		case 1:
			p.put(r.moment(), " INFO login user=", r.mail(l), " ip=", r.net(), " session=", decoy("UUID", r.uuid()), "\n")
		case 2:
			p.put(r.moment(), " DEBUG dhcp lease ", r.net(), " to ", r.mac(), "\n")
		case 3:
			p.put(r.moment(), " WARN Authorization: Bearer ", is("jwt", r.jwt()), "\n")
		default:
			p.put(r.moment(), " ERROR build ").put(r.bait()...).put("\n")
		}
	}
	return p
}

func code(r *draw, l *locale) *prose {
	p := &prose{}
	switch r.IntN(3) {
	case 0:
		name, v := r.secret()
		p.put("import os\n\n", name, " = \"\"\"", v, "\"\"\"\n\ndef send(order):\n    # ").put(r.bait()...).put("\n    return post(order, timeout=30)\n")
	case 1:
		_, id := r.id(l)
		p.put("package orders\n\n// Contact: ", r.mail(l), "\nconst retries = 3\n\nfunc TestLookup(t *testing.T) {\n\t// ", r.pick(l.ids[0].words...))
		if id.detector != l.ids[0].detector {
			id = is(l.ids[0].detector, l.ids[0].make(r))
		}
		p.put(id, "\n\tgot := Lookup(\"", decoy("UUID", r.uuid()), "\")\n}\n")
	default:
		p.put("const config = {\n  host: '", r.net(), "',\n  revision: '", decoy("commit", r.some(hexes, 40)), "',\n  hook: '", is("webhook-url", r.webhook()), "',\n};\n// ").put(r.bait()...).put("\n")
	}
	return p
}

func settings(r *draw, _ *locale) *prose {
	p := &prose{}
	p.put("# production\nLOG_LEVEL=info\nBUILD=", decoy("commit", r.some(hexes, 40)), "\n")
	for range 1 + r.IntN(3) {
		name, v := r.secret()
		p.put(name, "=", v, "\n")
	}
	p.put("BIND=", r.net(), "\nREGION=eu-1\nPASSWORD_FILE=/run/secrets/db\nIMAGE=registry.example.org/app@sha256:", decoy("digest", r.some(hexes, 64)), "\n")
	return p
}

func runbook(r *draw, l *locale) *prose {
	p := &prose{}
	p.put("# Runbook: ", r.pick("payments", "mail", "search"), "\n\nOwner: ", r.mail(l), ", ", l.phone, " ", is("phone", l.phones(r)), "\n\n## Hosts\n\n| host | address | hardware |\n|---|---|---|\n")
	for range 1 + r.IntN(3) {
		p.put("| node-", r.some(digits, 2), " | ", r.net(), " | ", r.mac(), " |\n")
	}
	p.put("\n## Access\n\n```sh\n")
	name, v := r.secret()
	p.put("export ", name, "='", v, "'\n```\n\n- ").put(r.bait()...).put("\n- ").put(r.bait()...).put("\n\nSite: geo ", r.place(), "\n")
	return p
}

func export(r *draw, l *locale) *prose {
	p := &prose{}
	k := l.ids[r.IntN(len(l.ids))]
	p.put("id,name,email,phone,", k.keys[0], ",iban,order\n")
	for i := range 2 + r.IntN(5) {
		p.put(fmt.Sprint(i+1), ",", r.name(l), ",", r.mail(l), ",", is("phone", l.phones(r)), ",", is(k.detector, k.make(r)), ",", r.account(l), ",", decoy("order number", r.some(digits, 10)), "\n")
	}
	return p
}

func orders(r *draw, _ *locale) *prose {
	var list []any
	for range 2 + r.IntN(4) {
		list = append(list, append([]member{{"qty", 1 + r.IntN(9)}, {"price", float64(r.IntN(100000)) / 100}}, r.baits(4)...))
	}
	return render([]member{{"orders", list}, {"page", 1}, {"cursor", decoy("cursor", r.some(base62, 32))}}, r.pick("", "  "))
}

func build(r *draw, _ *locale) *prose {
	p := &prose{}
	for range 6 + r.IntN(8) {
		p.put(r.moment(), " ", r.pick("compiling", "testing", "publishing", "caching"), " ").put(r.bait()...).put("\n")
	}
	p.put("ok  \t", strings.Repeat("x", 1+r.IntN(4)), "\t0.", r.some(digits, 3), "s\n")
	return p
}

func telemetry(r *draw, _ *locale) *prose {
	var points []any
	for range 4 + r.IntN(8) {
		points = append(points, []member{
			{"ts", numeral(decoy("timestamp", fmt.Sprint(1600000000000+int64(r.IntN(190000000000)))))},
			{"value", numeral(decoy("measure", fmt.Sprintf("%d.%04d", r.IntN(100), r.IntN(10000))))},
			{"trace_id", decoy("trace", r.some(hexes, 32))}, {"span_id", decoy("trace", r.some(hexes, 16))},
		})
	}
	return render([]member{{"resource", []member{{"service.name", "orders"}, {"service.version", decoy("version", "1.24.7")}}}, {"points", points}}, "")
}
