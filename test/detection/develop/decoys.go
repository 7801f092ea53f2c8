package develop

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// value is one value with what it is: a detector's id, or, of a decoy, what it
// really is.
type value struct {
	text, detector, decoy string
}

func is(detector, text string) value { return value{text: text, detector: detector} }

func decoy(what, text string) value { return value{text: text, decoy: what} }

// decoys look like something that a detector looks for. Each comes with the words
// before it, and with the name that it has as a member.
var decoys = []struct {
	name, words, key string
	make             func(*draw) string
}{
	{"order number", "Order ", "order_number", func(r *draw) string { return r.some("123456789", 1) + r.some(digits, 9+r.IntN(3)) }},
	{"order number", "Order no. ", "orderId", func(r *draw) string { return fmt.Sprintf("ORD-%d-%s", 2023+r.IntN(4), r.some(digits, 8)) }},
	{"invoice number", "Invoice ", "invoice", func(r *draw) string { return fmt.Sprintf("INV/%d/%s", 2023+r.IntN(4), r.some(digits, 6)) }},
	{"commit", "commit ", "commit", func(r *draw) string { return r.some(hexes, 40) }},
	{"commit", "fixed in ", "revision", func(r *draw) string { return r.some(hexes, 7) }},
	{"digest", "sha256:", "digest", func(r *draw) string { return r.some(hexes, 64) }},
	{"digest", "md5 ", "etag", func(r *draw) string { return r.some(hexes, 32) }},
	{"UUID", "request ", "request_id", (*draw).uuid},
	{"version", "version ", "version", func(r *draw) string {
		return fmt.Sprintf("%d.%d.%d.%d", r.IntN(20), r.IntN(40), r.IntN(200), r.IntN(9000)+1000)
	}},
	{"version", "v", "appVersion", func(r *draw) string { return fmt.Sprintf("%d.%d.%d", r.IntN(20), r.IntN(40), r.IntN(200)) }},
	{"timestamp", "at ", "created", func(r *draw) string { return fmt.Sprint(1600000000 + r.IntN(190000000)) }},
	{"timestamp", "ts=", "timestamp", func(r *draw) string { return fmt.Sprint(1600000000000 + int64(r.IntN(190000000000))) }},
	{"timestamp", "on ", "updated_at", (*draw).moment},
	{"IMEI", "IMEI ", "imei", func(r *draw) string { n := "35" + r.some(digits, 12); return n + luhn(n) }},
	{"serial number", "Serial number: ", "serial", func(r *draw) string { return r.some(letters, 2) + r.some(digits, 2) + r.some(letters+digits, 8) }},
	{"serial number", "S/N ", "serialNumber", func(r *draw) string { return r.some(digits, 12) }},
	{"tracking number", "Tracking ", "tracking_code", func(r *draw) string { return "1Z" + r.some(letters+digits, 6) + r.some(digits, 10) }},
	{"tracking number", "Parcel ", "parcel", func(r *draw) string { return "00" + r.some(digits, 18) }},
	{"EAN", "EAN ", "ean", func(r *draw) string { return r.pick("400", "541", "871", "978") + r.some(digits, 10) }},
	{"product code", "Part ", "sku", func(r *draw) string {
		return r.some(letters, 2) + "-" + r.some(digits, 4) + "-" + r.some(letters, 2)
	}},
	{"product code", "Item ", "item", func(r *draw) string { return r.some(digits, 3) + "-" + r.some(digits, 4) + "-" + r.some(digits, 5) }},
	{"ticket number", "Case ", "case", func(r *draw) string { return "00" + r.some(digits, 7) }},
	{"reference", "Ref. ", "reference", func(r *draw) string { return r.some(digits, 9) }},
	{"dimensions", "Size ", "size", func(r *draw) string {
		return fmt.Sprintf("%d.%d x %d.%d mm", r.IntN(90), r.IntN(99), r.IntN(90), r.IntN(99))
	}},
	{"amounts", "Range ", "range", func(r *draw) string {
		return fmt.Sprintf("%d.%02d, %d.%02d", r.IntN(90), r.IntN(99), r.IntN(90), r.IntN(99))
	}},
	{"fingerprint", "fingerprint ", "fingerprint", func(r *draw) string {
		var parts []string
		for range 20 {
			parts = append(parts, r.some(hexes, 2))
		}
		return strings.Join(parts, ":")
	}},
	{"IBAN with a wrong check", "for example IBAN ", "example", func(r *draw) string { return "DE00" + r.some("123456789", 18) }},
	{"card with a wrong check", "for example card ", "sample", func(r *draw) string {
		n := "4" + r.some(digits, 14)
		return n + string('0'+(luhn(n)[0]-'0'+3)%10)
	}},
	{"SSN that cannot be", "never valid: ", "placeholder", func(r *draw) string {
		return r.pick("000", "666") + "-" + r.some("123456789", 2) + "-" + r.some("123456789", 4)
	}},
	{"remote of a repository", "git clone ", "remote", func(r *draw) string { return "git@github.com:acme/" + r.some(lower, 6) + ".git" }},
	{"package", "npm install ", "package", func(r *draw) string { return "@" + r.some(lower, 5) + "/" + r.some(lower, 7) + "@^1.2.3" }},
	{"placeholder of a secret", "password=", "password", func(r *draw) string {
		return r.pick("${DB_PASSWORD}", "<your-password>", "changeme", "********", "{{ .Values.password }}")
	}},
	{"database without a password", "postgres ", "dsn", func(r *draw) string { return "postgres://localhost:5432/" + r.some(lower, 6) }},
	{"public key", "", "public_key", func(r *draw) string { return pem(r.pick("PUBLIC KEY", "CERTIFICATE"), r.bytes(270)) }},
	{"image", "", "thumbnail", func(r *draw) string {
		return "data:image/png;base64," + base64.StdEncoding.EncodeToString(append([]byte("\x89PNG\r\n\x1a\n"), r.bytes(300)...))
	}},
	{"day", "due ", "due_date", (*draw).day},
	{"time", "from ", "slot", func(r *draw) string { return fmt.Sprintf("%02d:%02d:%02d", r.IntN(24), r.IntN(60), r.IntN(60)) }},
}

func (r *draw) uuid() string {
	return r.some(hexes, 8) + "-" + r.some(hexes, 4) + "-4" + r.some(hexes, 3) + "-a" + r.some(hexes, 3) + "-" + r.some(hexes, 12)
}
