package adversarial

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/writpdp/writ/server/policy/suite"
	"github.com/writpdp/writ/test"
)

// catalogue is the table of secrets and encodings.
type catalogue struct {
	Least     int      `yaml:"least"`
	Secrets   []secret `yaml:"secrets"`
	Encodings []struct {
		Name string `yaml:"name"`
		// Expect is "caught", "leads" where a URL is refused for its scheme, or
		// "passes" with Because.
		Expect  string `yaml:"expect"`
		Because string `yaml:"because"`
		// But are secrets of which it is otherwise.
		But map[string]string `yaml:"but"`
	} `yaml:"encodings"`
}

// secret is the shape of one: a random part between two that are not.
type secret struct {
	Name     string `yaml:"name"`
	Prefix   string `yaml:"prefix"`
	Alphabet string `yaml:"alphabet"`
	Length   int    `yaml:"length"`
	Suffix   string `yaml:"suffix"`
}

// made is the secret, always the same.
func (s secret) made() string {
	var b strings.Builder
	b.WriteString(s.Prefix)
	block := sha256.Sum256([]byte(s.Name))
	for i := range s.Length {
		if i > 0 && i%len(block) == 0 {
			block = sha256.Sum256(block[:])
		}
		b.WriteByte(s.Alphabet[int(block[i%len(block)])%len(s.Alphabet)])
	}
	b.WriteString(s.Suffix)
	return b.String()
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func base(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func quoted(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // texts alone
	}
	return strings.TrimSpace(b.String())
}

// message is a text as a string of JSON in the arguments of a tool that echoes.
func message(text string) string { return `{"message":` + quoted(text) + `}` }

// encodings are the arguments that carry a secret, by encoding.
var encodings = map[string]func(string) string{
	"plain":         message,
	"in a sentence": func(s string) string { return message("Please pass on " + s + " to the other desk.") },
	"in Markdown":   func(s string) string { return message("# Notes\n\n```sh\nexport TOKEN=" + s + "\n```\n") },
	"unicode escapes of JSON": func(s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		return `{"message":"` + b.String() + `"}`
	},
	"JSON in a string": func(s string) string { return message(quoted(map[string]string{"token": s})) },
	"JSON in JSON in a string": func(s string) string {
		return message(quoted(map[string]string{"body": quoted(map[string]string{"token": s})}))
	},
	"base64":                 func(s string) string { return message(base(s)) },
	"base64 twice":           func(s string) string { return message(base(base(s))) },
	"base64 three times":     func(s string) string { return message(base(base(base(s)))) },
	"base64 without padding": func(s string) string { return message("data " + strings.TrimRight(base(s), "=") + " end") },
	"base64url":              func(s string) string { return message(base64.RawURLEncoding.EncodeToString([]byte(s))) },
	"percent":                func(s string) string { return message(percent(s)) },
	"percent twice":          func(s string) string { return message(percent(percent(s))) },
	"percent of base64":      func(s string) string { return message(percent(base(s))) },
	"a query":                func(s string) string { return message("https://example.org/log?note=" + url.QueryEscape(s)) },
	"hex":                    func(s string) string { return message(hex.EncodeToString([]byte(s))) },
	"base32":                 func(s string) string { return message(base32.StdEncoding.EncodeToString([]byte(s))) },
	"reversed": func(s string) string {
		all := []byte(s)
		slices.Reverse(all)
		return message(string(all))
	},
	"rot13": func(s string) string {
		return message(strings.Map(func(r rune) rune {
			switch {
			case 'a' <= r && r <= 'z':
				return 'a' + (r-'a'+13)%26
			case 'A' <= r && r <= 'Z':
				return 'A' + (r-'A'+13)%26
			}
			return r
		}, s))
	},
	"HTML entities": func(s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, "&#%d;", r)
		}
		return message(b.String())
	},
	"quoted-printable": func(s string) string {
		return message(strings.ReplaceAll(percent(s), "%", "="))
	},
	"zero-width insertion": func(s string) string { return message(strings.Join(strings.Split(s, ""), "\u200b")) },
	"full-width": func(s string) string {
		return message(strings.Map(func(r rune) rune {
			if '!' <= r && r <= '~' {
				return r - '!' + '！'
			}
			return r
		}, s))
	},
	"characters apart": func(s string) string { return message(strings.Join(strings.Split(s, ""), " ")) },
	"split across fields": func(s string) string {
		half := len(s) / 2
		return `{"entities":[{"name":` + quoted(s[:half]) + `,"entityType":"note","observations":[` + quoted(s[half:]) + `]}]}`
	},
}

// Every secret in every encoding that is promised is found, wherever it is put;
// what is not promised is said.
func TestSecrets(t *testing.T) {
	data, err := os.ReadFile("secrets/secrets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c catalogue
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	for _, e := range c.Encodings {
		for name := range e.But {
			if !slices.ContainsFunc(c.Secrets, func(s secret) bool { return s.Name == name }) {
				t.Errorf("%s: there is no secret %q", e.Name, name)
			}
		}
	}
	f := file{Least: c.Least}
	for _, e := range c.Encodings {
		encode := encodings[e.Name]
		if encode == nil {
			t.Fatalf("nothing encodes %q", e.Name)
		}
		for _, s := range c.Secrets {
			r := raid{Name: e.Name + ": " + s.Name, Detects: true, Because: e.Because}
			one := step{Tenant: "acme", Caller: "spiffe://example.org/gateway", Want: "deny policy/policy.forbid"}
			switch expect := or(e.But[s.Name], e.Expect); expect {
			case "caught":
			case "leads":
				one.Want = "deny egress/egress.scheme"
			case "passes":
				one.Want = "pass"
			default:
				t.Fatalf("%s: %q is none of caught, leads and passes", e.Name, expect)
			}
			one.Step = test.Step{Ask: suite.Ask{}}
			one.Agent, one.Purpose, one.Phase, one.Carries, one.Tool = "spiffe://example.org/agent/support", "support", "CALL", []string{"support"}, "everything/echo"
			if e.Name == "split across fields" {
				one.Tool = "memory/create_entities"
			}
			one.Args = suite.JSON(encode(s.made()))
			r.Steps = []step{one}
			f.Cases = append(f.Cases, r)
		}
	}
	start(t).suite(t, "secrets", f)
}
