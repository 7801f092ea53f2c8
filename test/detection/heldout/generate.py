"""Makes the held-out half of the corpus: generate.py [SEED] [N] > documents.jsonl

Values come from Faker, numbers with check digits are those that python-stdnum and
phonenumbers accept. It shares nothing with the generator of the other half. Versions
are pinned in requirements.txt, and the day is always the same, for ages count from it:
the same seed makes the same bytes.
"""

import base64
import json
import random
import string
import sys
from types import SimpleNamespace

import phonenumbers
from freezegun import freeze_time
from faker import Faker
from stdnum import luhn
from stdnum.be import nn
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.es import dni, nie
from stdnum.eu import vat
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.se import personnummer
from stdnum.us import itin, ssn

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 20261127
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 2600
R = random.Random(SEED)
ALNUM = string.ascii_letters + string.digits


def chars(alphabet, n):
    return "".join(R.choice(alphabet) for _ in range(n))


def digits(n):
    return chars(string.digits, n)


def hexa(n):
    return chars("0123456789abcdef", n)


class V:
    """A value: what finds it, or (as a decoy) what it really is."""

    def __init__(self, kind, text, decoy=False):
        self.kind, self.text, self.decoy = kind, str(text), decoy


def D(kind, text):
    return V(kind, text, True)


class Text:
    """A text with what is in it, by byte."""

    def __init__(self, *parts):
        self.data, self.labels, self.decoys = b"", [], []
        self.add(*parts)

    def add(self, *parts):
        for p in parts:
            if isinstance(p, V):
                start = len(self.data)
                self.data += p.text.encode()
                label = {"detector": p.kind, "start": start, "end": len(self.data)}
                (self.decoys if p.decoy else self.labels).append(label)
            elif isinstance(p, Text):
                base = len(self.data)
                self.data += p.data
                for mine, theirs in ((self.labels, p.labels), (self.decoys, p.decoys)):
                    mine += [dict(l, start=l["start"] + base, end=l["end"] + base) for l in theirs]
            else:
                self.data += str(p).encode()
        return self


def flatten(tree, pointer, labels, decoys):
    """The plain tree, with the labels of its values put where they belong."""
    if isinstance(tree, dict):
        return {k: flatten(v, f"{pointer}/{k.replace('~', '~0').replace('/', '~1')}", labels, decoys) for k, v in tree.items()}
    if isinstance(tree, list):
        return [flatten(v, f"{pointer}/{i}", labels, decoys) for i, v in enumerate(tree)]
    if isinstance(tree, V):
        tree = Text(tree)
    if isinstance(tree, Text):
        labels += [dict(l, pointer=pointer) for l in tree.labels]
        decoys += [dict(l, pointer=pointer) for l in tree.decoys]
        return tree.data.decode()
    return tree


def valid(make, check):
    for _ in range(100000):
        v = make()
        if check(v):
            return v
    raise SystemExit("no valid value after 100,000 tries")


# One line for each locale: its Faker, its country, what its people's numbers are
# called there, and words.
def people(code, country, ids, **words):
    f = Faker(code)
    f.seed_instance(R.randrange(2**32))
    return SimpleNamespace(code=code.replace("_", "-"), country=country, fake=f, ids=ids, **words)


def steuer():
    while True:
        order = list(range(10))
        R.shuffle(order)
        ten = order[:9] + [R.choice(order[:9])]
        R.shuffle(ten)
        if ten[0]:
            s = "".join(map(str, ten))
            for c in string.digits:
                if idnr.is_valid(s + c):
                    return s + c


def belgian(f):
    born = f.date_of_birth(minimum_age=20, maximum_age=80)
    first = born.strftime("%y%m%d") + f"{R.randint(1, 990):03}"
    n = first + f"{97 - int(('2' if born.year >= 2000 else '') + first) % 97:02}"
    return valid(lambda: n, nn.is_valid)


LOCALES = [
    people("en_US", "US", [
        ("us-ssn", ["social security no. ", "SSN ending the file is "], ["SSN", "socialSecurityNumber", "taxpayer_ssn"], lambda f: valid(f.ssn, ssn.is_valid)),
        ("us-itin", ["my ITIN is ", "ITIN# "], ["ITIN", "itin_number"], lambda f: valid(f.itin, itin.is_valid))],
        hi="Hi team", tel="cell", mail="reach me at", born="born on", acct="wire to", card="credit card", me="My name is", bye="Thanks", pas="US passport", lic="driver license number"),
    people("en_GB", "GB", [
        ("uk-nino", ["NI no: ", "her National Insurance no. is "], ["niNumber", "NINO", "national_insurance_no"], lambda f: valid(lambda: chars("ABCEGHJKLMNPRSTWXYZ", 1) + chars("ABCEGHJKLMNPRSTWXYZ", 1) + digits(6) + chars("ABCD", 1), lambda s: s[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ"))),
        ("uk-nhs", ["NHS No: ", "patient NHS number is "], ["nhsNo", "nhs"], lambda f: nhs.format(valid(lambda: digits(10), lambda s: s[0] in "467" and nhs.is_valid(s))))],
        hi="Good morning", tel="mobile", mail="my email is", born="d.o.b.", acct="pay into", card="debit card", me="This is", bye="Many thanks", pas="UK passport no", lic="driving licence no"),
    people("de_DE", "DE", [("de-steuer-id", ["meine Steuer-Identifikationsnummer lautet ", "St-IdNr.: "], ["steuerIdentifikationsnummer", "steuerid"], lambda f: steuer())],
        hi="Sehr geehrte Damen und Herren", tel="Handy", mail="erreichbar unter", born="geboren am", acct="Konto", card="Kreditkarte", me="mein Name ist", bye="Mit freundlichen Grüßen", pas="Passnummer", lic="Führerscheinnummer"),
    people("fr_FR", "FR", [("fr-nir", ["mon numéro de sécurité sociale est ", "N° sécu : "], ["numeroSecu", "nir_assure"], lambda f: valid(f.ssn, nir.is_valid))],
        hi="Madame, Monsieur", tel="portable", mail="mon adresse", born="née le", acct="RIB/IBAN", card="carte", me="je m'appelle", bye="Bien à vous", pas="passeport", lic="permis n°"),
    people("es_ES", "ES", [
        ("es-dni", ["mi DNI es ", "D.N.I. "], ["documentoDni", "DNI"], lambda f: valid(f.nif, dni.is_valid)),
        ("es-nie", ["mi NIE es ", "N.I.E. "], ["NIE", "numeroNie"], lambda f: valid(f.nie, nie.is_valid))],
        hi="Buenos días", tel="móvil", mail="mi correo es", born="nacido el", acct="cuenta", card="tarjeta de crédito", me="me llamo", bye="Gracias", pas="pasaporte", lic="carné de conducir"),
    people("it_IT", "IT", [("it-codice-fiscale", ["il mio codice fiscale è ", "CF "], ["codFiscale", "codice_fiscale"], lambda f: valid(f.ssn, codicefiscale.is_valid))],
        hi="Buongiorno", tel="cellulare", mail="la mia mail è", born="nato il", acct="conto corrente", card="carta di credito", me="mi chiamo", bye="Grazie mille", pas="passaporto", lic="patente"),
    people("nl_NL", "NL", [("nl-bsn", ["mijn BSN is ", "burgerservicenummer: "], ["BSN", "bsnNummer"], lambda f: valid(f.ssn, bsn.is_valid))],
        hi="Geachte heer/mevrouw", tel="mobiel", mail="mail mij op", born="geboren op", acct="rekening", card="creditcard", me="mijn naam is", bye="Hartelijke groet", pas="paspoort", lic="rijbewijs"),
    people("fr_BE", "BE", [("be-national-number", ["numéro national : ", "mon numéro de registre national est "], ["numeroNational", "niss"], lambda f: nn.format(belgian(f)))],
        hi="Bonjour à tous", tel="gsm", mail="courriel", born="né le", acct="compte", card="carte de crédit", me="je suis", bye="Bonne journée", pas="passeport n°", lic="permis de conduire"),
    people("pl_PL", "PL", [("pl-pesel", ["mój PESEL to ", "numer PESEL "], ["PESEL", "nrPesel"], lambda f: valid(f.pesel, pesel.is_valid))],
        hi="Dzień dobry", tel="kom.", mail="mój e-mail", born="urodzona", acct="rachunek", card="karta płatnicza", me="nazywam się", bye="Z poważaniem", pas="paszport", lic="prawo jazdy"),
    people("pt_PT", "PT", [("pt-nif", ["o meu NIF é ", "n.º contribuinte "], ["NIF", "numeroContribuinte"], lambda f: valid(lambda: R.choice("123") + digits(8), nif.is_valid))],
        hi="Bom dia", tel="telemóvel", mail="o meu e-mail é", born="nascido a", acct="conta", card="cartão de crédito", me="chamo-me", bye="Obrigado", pas="passaporte", lic="carta de condução"),
    people("sv_SE", "SE", [("se-personnummer", ["mitt personnummer är ", "pers.nr "], ["personNummer", "personnummer"], lambda f: valid(f.ssn, personnummer.is_valid))],
        hi="God dag", tel="mobil", mail="min mejl", born="född", acct="konto", card="kreditkort", me="jag heter", bye="Tack på förhand", pas="pass nr", lic="körkort"),
    people("fi_FI", "FI", [("fi-hetu", ["henkilötunnukseni on ", "HETU: "], ["HETU", "henkiloTunnus"], lambda f: valid(f.ssn, hetu.is_valid))],
        hi="Hyvää päivää", tel="matkapuhelin", mail="sähköpostini on", born="syntynyt", acct="tilinumero", card="luottokortti", me="nimeni on", bye="Ystävällisin terveisin", pas="passi", lic="ajokortti"),
    people("da_DK", "DK", [("dk-cpr", ["mit CPR-nummer er ", "cpr. "], ["CPR", "cprNummer"], lambda f: cpr.format(valid(lambda: f.date_of_birth(minimum_age=20, maximum_age=80).strftime("%d%m%y") + digits(4), lambda s: cpr.checksum(s) == 0 and cpr.is_valid(s))))],
        hi="Goddag", tel="mobil", mail="min mail", born="født", acct="konto", card="kreditkort", me="jeg hedder", bye="Mange tak", pas="pas nr.", lic="kørekort"),
    people("no_NO", "NO", [("no-fodselsnummer", ["mitt fødselsnummer er ", "f.nr. "], ["fodselsNummer", "personnummer"], lambda f: valid(f.ssn, fodselsnummer.is_valid))],
        hi="God morgen", tel="mobil", mail="min e-post", born="født", acct="konto", card="kredittkort", me="jeg heter", bye="Takk", pas="pass", lic="førerkort"),
]

VAT_SHAPES = {
    "DE": lambda: digits(9), "FR": lambda: digits(11), "ES": lambda: R.choice("ABEHP") + digits(8), "IT": lambda: digits(11),
    "NL": lambda: digits(9) + "B" + digits(2), "BE": lambda: "0" + digits(9), "PL": lambda: digits(10), "PT": lambda: "5" + digits(8),
    "SE": lambda: digits(10) + "01", "FI": lambda: digits(8), "DK": lambda: digits(8), "AT": lambda: "U" + digits(8),
}


def tax(l):
    country = l.country if l.country in VAT_SHAPES else R.choice(["AT", "DE", "BE"])
    return V("eu-vat", valid(lambda: country + VAT_SHAPES[country](), vat.is_valid))


def phone(l):
    def ok(s):
        try:
            return "x" not in s and phonenumbers.is_valid_number(phonenumbers.parse(s, l.country))
        except phonenumbers.NumberParseException:
            return False
    return V("phone", valid(l.fake.phone_number, ok))


def card(l):
    n = LOCALES[0].fake.credit_card_number(card_type=R.choice(["visa16", "mastercard", "amex", "discover", "jcb16"]))
    if len(n) == 16 and R.random() < 0.4:
        n = R.choice(" -").join(n[i:i + 4] for i in range(0, 16, 4))
    return V("payment-card", n)


def iban(l):
    n = l.fake.iban() if l.country != "US" else LOCALES[2].fake.iban()
    return V("iban", " ".join(n[i:i + 4] for i in range(0, len(n), 4)) if R.random() < 0.4 else n)


def ident(l):
    kind, words, keys, make = R.choice(l.ids)
    return R.choice(words), R.choice(keys), V(kind, make(l.fake))


def mail(l):
    return V("email", R.choice([l.fake.ascii_safe_email, l.fake.ascii_company_email, l.fake.ascii_free_email])())


def born(l):
    d = l.fake.date_of_birth(minimum_age=18, maximum_age=90)
    return V("date-of-birth", d.strftime(R.choice(["%Y-%m-%d", "%m/%d/%Y" if l.country == "US" else "%d.%m.%Y", "%d %B %Y" if l.country in ("US", "GB") else "%d/%m/%Y" ])))


def name(l):
    return V("person-name", l.fake.first_name() + " " + l.fake.last_name())


def passport(l):
    return V("passport", {"DE": lambda: "C" + chars("FGHJKLMNPRTVWXYZ0123456789", 8), "FR": lambda: digits(2) + chars(string.ascii_uppercase, 2) + digits(5),
        "ES": lambda: chars(string.ascii_uppercase, 3) + digits(6)}.get(l.country, lambda: chars(string.ascii_uppercase, 2) + digits(7) if l.country not in ("US", "GB") else R.choice("123456") + digits(8))())


def licence(l):
    return V("driving-licence", R.choice(string.ascii_uppercase) + digits(7) if l.country == "US" else chars(string.ascii_uppercase, 2) + digits(7) if l.country != "GB"
        else chars(string.ascii_uppercase, 5) + "7" + f"{R.randint(1, 12):02}{R.randint(1, 28):02}" + digits(1) + chars(string.ascii_uppercase, 2) + "9" + chars(string.ascii_uppercase, 2))


def address(l):
    return V("ip-address", R.choice([l.fake.ipv4, l.fake.ipv4_public, l.fake.ipv4_private, l.fake.ipv6])())


def mac(l):
    return V("mac-address", l.fake.mac_address())


def spot(l):
    lat, lon = l.fake.latitude(), l.fake.longitude()
    return V("geo-coordinates", f"{lat:.4f}, {lon:.4f}")


def raw(n):
    return bytes(R.randrange(256) for _ in range(n))


def b64(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


def pem(kind, body):
    text = base64.b64encode(body).decode()
    return "\n".join([f"-----BEGIN {kind}-----"] + [text[i:i + 64] for i in range(0, len(text), 64)] + [f"-----END {kind}-----"])


SECRETS = [
    ("aws_access_key_id", lambda: V("cloud-key", "AKIA" + chars(string.ascii_uppercase + "234567", 16))),
    ("gcp_browser_key", lambda: V("cloud-key", "AIza" + chars(ALNUM + "-_", 35))),
    ("digitalocean_token", lambda: V("cloud-key", "dop_v1_" + hexa(64))),
    ("github_token", lambda: V("oauth-token", "github_pat_" + chars(ALNUM, 22) + "_" + chars(ALNUM, 59))),
    ("gh_token", lambda: V("oauth-token", "ghp_" + chars(ALNUM, 36))),
    ("gitlab_token", lambda: V("oauth-token", "glpat-" + chars(ALNUM + "-", 20))),
    ("slack_token", lambda: V("oauth-token", "xoxp-" + digits(12) + "-" + digits(12) + "-" + digits(13) + "-" + hexa(32))),
    ("stripe_secret", lambda: V("api-key", "sk_live_" + chars(ALNUM, 24))),
    ("shopify_token", lambda: V("api-key", "shpat_" + hexa(32))),
    ("sendgrid", lambda: V("api-key", "SG." + chars(ALNUM, 22) + "." + chars(ALNUM, 43))),
    ("postman", lambda: V("api-key", "PMAK-" + hexa(24) + "-" + hexa(34))),
    ("linear", lambda: V("api-key", "lin_api_" + chars(ALNUM, 40))),
    ("npm_auth", lambda: V("api-key", "npm_" + chars(ALNUM, 36))),
    ("sqlalchemy_url", lambda: V("database-url", f"mysql+pymysql://{chars(string.ascii_lowercase, 6)}:{chars(ALNUM, 14)}@db{digits(1)}.example.net:3306/crm")),
    ("broker", lambda: V("database-url", f"amqp://{chars(string.ascii_lowercase, 5)}:{chars(ALNUM, 18)}@mq.example.org:5672/prod")),
    ("mongo_uri", lambda: V("database-url", f"mongodb://{chars(string.ascii_lowercase, 5)}:{chars(ALNUM, 16)}@m1.example.net:27017/stats")),
    ("pg", lambda: V("database-url", f"postgresql://{chars(string.ascii_lowercase, 7)}:{chars(ALNUM, 20)}@10.{R.randrange(256)}.0.7:5432/app")),
    ("slack_hook", lambda: V("webhook-url", "https://hooks.slack.com/services/T" + chars(string.ascii_uppercase + string.digits, 10) + "/B" + chars(string.ascii_uppercase + string.digits, 10) + "/" + chars(ALNUM, 24))),
    ("discord_hook", lambda: V("webhook-url", "https://discordapp.com/api/webhooks/" + "9" + digits(17) + "/" + chars(ALNUM + "-_", 68))),
    ("id_token", lambda: V("jwt", b64(json.dumps({"alg": "RS256", "kid": hexa(8)}).encode()) + "." + b64(json.dumps({"aud": "shop", "sub": hexa(12), "exp": 1790000000 + R.randrange(10**6)}).encode()) + "." + b64(raw(256)))),
    ("signing_key", lambda: V("private-key", pem(R.choice(["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY"]), raw(R.choice([118, 384, 1200]))))),
    ("secret_key", lambda: V("high-entropy", chars(ALNUM, R.randint(28, 48)))),
    ("db_password", lambda: V("high-entropy", chars(ALNUM + "+/", 32))),
    ("auth_token", lambda: V("high-entropy", hexa(48))),
]

uuid = lambda: f"{hexa(8)}-{hexa(4)}-4{hexa(3)}-8{hexa(3)}-{hexa(12)}"
version = lambda: f"{R.randrange(15)}.{R.randrange(60)}.{R.randrange(90)}.{R.randrange(300, 9999)}"
NOISE = [
    ("order", "purchase order", lambda: digits(10)), ("order_ref", "order reference", lambda: "PO" + digits(9)),
    ("shipment", "waybill", lambda: digits(12)), ("barcode", "GTIN", lambda: "50" + digits(11)),
    ("sha", "git SHA", lambda: hexa(40)), ("short", "git SHA", lambda: hexa(8)), ("checksum", "SHA-512", lambda: hexa(128)),
    ("traceparent", "trace", lambda: f"00-{hexa(32)}-{hexa(16)}-01"), ("guid", "UUID", uuid),
    ("build", "file version", lambda: "build " + version()), ("semver", "version", lambda: f"{R.randrange(9)}.{R.randrange(99)}.{R.randrange(99)}-rc.{R.randrange(9)}"),
    ("epoch", "timestamp", lambda: str(R.randrange(1500000000, 1800000000))), ("epoch_us", "timestamp", lambda: str(R.randrange(15 * 10**14, 18 * 10**14))),
    ("when", "timestamp", lambda: f"2025-{R.randint(1, 12):02}-{R.randint(1, 28):02} {R.randrange(24):02}:{R.randrange(60):02}:{R.randrange(60):02}"),
    ("imei", "IMEI", lambda: (lambda n: n + luhn.calc_check_digit(n))("86" + digits(12))), ("iccid", "ICCID", lambda: (lambda n: n + luhn.calc_check_digit(n))("8949" + digits(14))),
    ("meter", "meter reading", lambda: digits(8)), ("serial_no", "serial number", lambda: chars(string.ascii_uppercase, 3) + digits(9)),
    ("isbn", "ISBN", lambda: "978-3-" + digits(5) + "-" + digits(3) + "-" + digits(1)), ("doi", "DOI", lambda: f"10.{digits(4)}/{chars(string.ascii_lowercase, 5)}.{digits(7)}"),
    ("policy", "policy number", lambda: digits(3) + "/" + digits(6) + "-" + chars(string.ascii_uppercase, 1)), ("member_no", "membership number", lambda: digits(9)),
    ("account_code", "cost centre", lambda: digits(4) + "-" + digits(2) + "-" + digits(3)), ("resolution", "resolution", lambda: f"{R.randrange(640, 4000)}x{R.randrange(480, 2200)}"),
    ("bbox", "pixels", lambda: f"{R.randrange(900)}.{digits(1)}, {R.randrange(900)}.{digits(1)}"), ("price", "amount", lambda: f"{R.randrange(9999)}.{digits(2)} EUR"),
    ("font", "data URL", lambda: "data:font/woff2;base64," + base64.b64encode(raw(240)).decode()), ("photo", "data URL", lambda: "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff\xe0" + raw(260)).decode()),
    ("ssh_fingerprint", "fingerprint", lambda: "SHA256:" + base64.b64encode(raw(32)).decode().rstrip("=")), ("integrity", "integrity", lambda: "sha384-" + base64.b64encode(raw(48)).decode()),
    ("password", "placeholder", lambda: R.choice(["{{ vault_password }}", "REPLACE_ME", "xxxxxxxxxxxx", "$PASSWORD", "<redacted>"])),
    ("token_env", "name of a variable", lambda: "process.env." + R.choice(["API_TOKEN", "STRIPE_SECRET_KEY", "GITHUB_TOKEN"])),
    ("mention", "mention", lambda: "@" + chars(string.ascii_lowercase, 8)), ("flight", "flight", lambda: chars("ABKL", 2) + digits(4)), ("room", "room", lambda: digits(1) + "." + digits(3)),
    ("ratio", "ratio", lambda: f"{digits(2)}:{digits(2)}"), ("cas", "CAS number", lambda: digits(5) + "-" + digits(2) + "-" + digits(1)),
]


def noise():
    key, what, make = R.choice(NOISE)
    return key, D(what, make())


def noises(n):
    return dict(noise() for _ in range(n))


def hum():
    key, v = noise()
    return Text(key.replace("_", " "), " ", v)


def facts(l):
    """Sentences that a person writes in their language."""
    words, _, i = ident(l)
    return [
        Text(l.me, " ", name(l), "."), Text(l.tel, ": ", phone(l)), Text(l.mail, " ", mail(l)), Text(words, i), Text(l.born, " ", born(l)),
        Text(l.acct, " ", iban(l)), Text(l.card, " ", card(l)), Text(l.pas, " ", passport(l)), Text(l.lic, " ", licence(l)), Text("VAT no. ", tax(l)),
    ]


def crm(l):
    _, key, i = ident(l)
    record = {"uid": D("UUID", uuid()), "fullName": name(l), "contact": {"emailAddress": mail(l), "telephone": phone(l)}}
    for chance, k, v in ((0.7, key, i), (0.4, "iban", iban(l)), (0.3, "cardNumber", card(l)), (0.3, "vatNumber", tax(l)), (0.3, "dateOfBirth", born(l)), (0.15, "passportNo", passport(l)), (0.12, "driverLicense", licence(l))):
        if R.random() < chance:
            record[k] = v
    record["meta"] = noises(3)
    return {"result": {"records": [record], "total": 1}}


def staff(l):
    rows = []
    for _ in range(R.randint(1, 3)):
        _, key, i = ident(l)
        rows.append({"employee_name": name(l), key: i, "work_email": mail(l), "lastLoginIp": address(l), **noises(2)})
    return {"structuredContent": {"employees": rows}, "content": [{"type": "text", "text": f"{len(rows)} rows"}]}


def event(l):
    return {"id": "evt_" + chars(ALNUM, 24), "type": R.choice(["charge.failed", "device.seen", "user.updated"]), "client": {"ip": address(l), "hw": mac(l)},
        "payload": {"note": Text(*sum([[f, "\n"] for f in R.sample(facts(l), 2)], [])), **noises(4)}}


def block(l):
    return {"content": [{"type": "text", "text": letter(l)}]}


def letter(l):
    t = Text(l.hi, ",\n\n")
    for f in R.sample(facts(l), R.randint(1, 4)):
        t.add(f, "\n")
    for _ in range(R.randint(1, 3)):
        t.add("(", hum(), ")\n")
    return t.add("\n", l.bye, "\n")


def thread(l):
    return Text("Return-Path: <", mail(l), ">\nReceived: from mx.example.net ([", address(l), "])\nReply-To: ", mail(l), "\nSubject: Re: ", hum(), "\n\n", letter(l), "\n> ", hum(), "\n> ", hum(), "\n")


def syslog(l):
    t = Text()
    for _ in range(R.randint(3, 7)):
        t.add(f"Nov {R.randint(1, 28)} 0{R.randrange(10)}:{R.randrange(10, 60)}:{R.randrange(10, 60)} host sshd[{R.randrange(9999)}]: ")
        t.add(*R.choice([
            lambda: ("Accepted publickey for deploy from ", address(l), " port 50122 ssh2"), lambda: ("associated ", mac(l), " on wlan0"), lambda: ("msg=\"", hum(), "\""),
            lambda: ("smtp to=<", mail(l), "> relay=", address(l), " status=sent"), lambda: ("callback bearer=", SECRETS[19][1]()), lambda: (hum(), "; ", hum()),
        ])(), "\n")
    return t


def java(l):
    key, make = R.choice(SECRETS)
    v = make()
    if v.kind == "private-key":
        key, v = "stripe_secret", SECRETS[7][1]()
    return Text("public final class Settings {\n    /** ", hum(), " */\n    private static final String ", key.upper(), " = \"", v, "\";\n    // reported by ", mail(l), "\n    static final String HOST = \"", address(l), "\"; // ", hum(), "\n}\n")


def yaml(l):
    t = Text("service: shop\n", "commit: ", D("git SHA", hexa(40)), "\nenv:\n")
    for key, make in R.sample(SECRETS, R.randint(1, 3)):
        v = make()
        if v.kind == "private-key":
            t.add("  ", key, ": |\n")
            t.add(v, "\n")  # at the margin, as files are mounted
        else:
            t.add("  ", key, ": \"", v, "\"\n")
    for k, v in noises(3).items():
        t.add("  ", k, ": \"", v, "\"\n")
    return t


def tools(l):
    key, make = R.choice(SECRETS)
    return {"result": {"files": [{"path": "/srv/app/.env", "body": Text(key.upper(), "=", make(), "\nDEBUG=0\nVERSION=", D("version", version()), "\n")}]}}


def wiki(l):
    key, make = R.choice(SECRETS)
    return Text("## ", l.fake.word(), "\n\n* ", l.mail, " ", mail(l), "\n* ", l.tel, " ", phone(l), "\n* ", hum(), "\n* ", hum(), "\n\n    curl -H \"X-", key, ": ", make(), "\" https://api.example.net/v1\n\n",
        "Coordinates: ", spot(l), "\n\n1. ", address(l), "\n2. ", hum(), "\n")


def table(l):
    kind, words, keys, make = R.choice(l.ids)
    t = Text("customer;", keys[0], ";mail;card;ref\r\n")
    for _ in range(R.randint(2, 5)):
        t.add(name(l), ";", V(kind, make(l.fake)), ";", mail(l), ";", card(l), ";", D("UUID", uuid()), "\r\n")
    return t


def dump(l):
    t = Text("CREATE TABLE contact (id int, mail text, tel text, iban text, ref text);\n")
    for i in range(R.randint(2, 4)):
        t.add(f"INSERT INTO contact VALUES ({i}, '", mail(l), "', '", phone(l), "', '", iban(l), "', '", D("UUID", uuid()), "');\n")
    return t


def stock(l):
    return {"items": [noises(5) for _ in range(R.randint(2, 6))], "nextToken": D("cursor", chars(ALNUM, 44))}


def ci(l):
    t = Text()
    for _ in range(R.randint(6, 14)):
        t.add("[", str(R.randrange(1000)), "] ", hum(), "\n")
    return t


def places(l):
    return {"sites": [{"label": l.fake.word(), "gps": spot(l), **noises(2)} for _ in range(R.randint(1, 4))]}


KINDS = [("CRM record", crm, 13), ("staff list", staff, 7), ("event", event, 7), ("letter in a block", block, 7), ("e-mail thread", thread, 13), ("ticket", letter, 12), ("syslog", syslog, 8),
    ("Java", java, 6), ("YAML", yaml, 6), ("file in a result", tools, 4), ("wiki page", wiki, 6), ("semicolon table", table, 6), ("SQL", dump, 4), ("stock", stock, 6), ("CI log", ci, 5), ("sites", places, 2)]
WHEEL = [k for k in KINDS for _ in range(k[2])]


def main():
    for i in range(COUNT):
        kind, make, _ = WHEEL[i % len(WHEEL)]
        l = R.choice(LOCALES)
        made = make(l)
        d = {"id": f"heldout-{i}", "kind": kind, "locale": l.code}
        if isinstance(made, Text):
            d |= {"text": made.data.decode(), "labels": made.labels, "decoys": made.decoys}
        else:
            labels, decoys = [], []
            tree = flatten(made, "", labels, decoys)
            d |= {"json": True, "text": json.dumps(tree, ensure_ascii=R.random() < 0.3, indent=R.choice([None, 1])), "labels": labels, "decoys": decoys}
        print(json.dumps(d, ensure_ascii=False))


with freeze_time("2026-11-27"):
    main()
