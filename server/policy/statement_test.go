package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/writpdp/writ/document"
)

const rest = "\npermit (principal, action, resource);"

func TestParse(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a policy", "@id(\"a\")" + rest, ""},
		{"every plain annotation", "@id(\"a-1.b_c\") @owner(\"o\") @description(\"d\") @reason(\"r\")" + rest, ""},
		{"a bare annotation", "@id(\"a\") @owner" + rest, ""},
		{"no @id", "@owner(\"o\")" + rest, "p.cedar:1:1: the policy has no @id"},
		{"no @id in the second", "@id(\"a\")" + rest + "\n\n  permit (principal, action, resource);", "p.cedar:4:3: the policy has no @id"},
		{"an empty @id", "@id" + rest, `p.cedar:1:1: the @id "" is not of the form`},
		{"an @id in capitals", "@id(\"A\")" + rest, `the @id "A" is not of the form`},
		{"an @id with a space", "@id(\"a b\")" + rest, `the @id "a b" is not of the form`},
		{"an @id with a line", "@id(\"a\\nb\")" + rest, `the @id "a\nb" is not of the form`},
		{"a long @id", "@id(\"" + strings.Repeat("a", 129) + "\")" + rest, "is not of the form"},
		{"@id twice", "@id(\"a\") @id(\"b\")" + rest, "p.cedar:1:13: \"(\": duplicate annotation: @id"},
		{"an unknown annotation", "@id(\"a\") @oblige(\"redact\")" + rest, `p.cedar:1:1: policy "a": the annotation @oblige means nothing here`},
		{"two unknown annotations", "@id(\"a\") @zz @aa" + rest, "the annotation @aa means nothing here"},
		{"a parameter of no obligation", "@id(\"a\") @fields(\"/x\")" + rest, "the annotation @fields means nothing here"},
		{"a parameter of another obligation", "@id(\"a\") @obligate(\"watermark\") @text(\"t\") @acr(\"x\")" + rest, "the annotation @acr means nothing here"},
		{"a long reason", "@id(\"a\") @reason(\"" + strings.Repeat("r", 2049) + "\")" + rest, "@reason is longer than 2048 bytes"},
		{"no effect", "@id(\"a\")\nallow (principal, action, resource);", `p.cedar:2:7: "(": unexpected effect: allow`},
		{"no end", "@id(\"a\")\npermit (principal, action, resource)", "p.cedar:2:37: \"\": exact got  want ;"},
		{"a broken condition", "@id(\"a\")\npermit (principal, action, resource) when { 1 + };", "p.cedar:2:50: \";\": invalid primary"},
		{"an open string", "@id(\"a\")\npermit (principal, action, resource) when { \"x", "p.cedar:2:45: literal not terminated"},
		{"an unknown escape", "@id(\"a\")\npermit (principal, action, resource) when { \"\\q\" == \"\" };", "p.cedar:2:45: invalid char escape"},
		{"a large number", "@id(\"a\")" + rest + "\n// é\n  @id(\"b\")\npermit (principal, action, resource) when { 99999999999999999999 > 1 };\n@id(\"c\")" + rest, "p.cedar:4:3: strconv.ParseInt"},
		{"an unknown function", "@id(\"a\")\npermit (principal, action, resource) when { now() };", "p.cedar:2:49: \")\": `now` is not a function"},
		{"invalid UTF-8", "@id(\"a\")\npermit (principal, action, resource) when { \"\xff\" == \"\" };", "p.cedar:2:45: invalid UTF-8 encoding"},
		{"invalid UTF-8 first", "\xff@id(\"a\")" + rest, "p.cedar:1:1: invalid UTF-8 encoding"},
		{"@requires", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) unless { context has ticket };", ""},
		{"@requires with a negation", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) when { true && !(context has ticket) };", ""},
		{"@requires with a ticket's attribute", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) unless { context has ticket.id };", ""},
		{"@requires of something else", "@id(\"a\") @requires(\"mfa\")\nforbid (principal, action, resource) unless { context has ticket };", `@requires("mfa"): only "ticket" can be required`},
		{"@requires on a permit", "@id(\"a\") @requires(\"ticket\")\npermit (principal, action, resource) when { context has ticket };", `@requires("ticket") belongs on a forbid`},
		{"@requires that nothing lifts", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource);", "on a forbid that no ticket lifts"},
		{"@requires the wrong way round", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) when { context has ticket };", "on a forbid that no ticket lifts"},
		{"@requires of something else's ticket", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) unless { principal has ticket };", "on a forbid that no ticket lifts"},
		{"@requires of another attribute", "@id(\"a\") @requires(\"ticket\")\nforbid (principal, action, resource) unless { context has session };", "on a forbid that no ticket lifts"},
		{"@obligate on a forbid", "@id(\"a\") @obligate(\"watermark\") @text(\"t\")\nforbid (principal, action, resource);", "@obligate belongs on a permit"},
		{"an unknown obligation", "@id(\"a\") @obligate(\"encrypt\")" + rest, `@obligate("encrypt") is no obligation`},
		{"redact", "@id(\"a\") @obligate(\"redact\") @fields(\"/a /b/*/c~1d\") @method(\"remove\")" + rest, ""},
		{"redact by masking", "@id(\"a\") @obligate(\"redact\") @fields(\"/a\") @method(\"mask\")" + rest, ""},
		{"redact by something else", "@id(\"a\") @obligate(\"redact\") @fields(\"/a\") @method(\"burn\")" + rest, `@method("burn") is none of`},
		{"redact without fields", "@id(\"a\") @obligate(\"redact\")" + rest, `@obligate("redact") needs @fields`},
		{"redact with empty fields", "@id(\"a\") @obligate(\"redact\") @fields(\" \")" + rest, "@fields has none"},
		{"redact with too many fields", "@id(\"a\") @obligate(\"redact\") @fields(\"" + strings.Repeat("/a ", 65) + "\")" + rest, "more than 64 words"},
		{"redact with a field that is none", "@id(\"a\") @obligate(\"redact\") @fields(\"/a b\")" + rest, `the JSON pointer "b" does not start with /`},
		{"redact with a broken field", "@id(\"a\") @obligate(\"redact\") @fields(\"/a~b\")" + rest, "a ~ that escapes nothing"},
		{"route", "@id(\"a\") @obligate(\"route\") @region(\"eu\")" + rest, ""},
		{"route by a vendor", "@id(\"a\") @obligate(\"route\") @vendor(\"v\")" + rest, ""},
		{"route nowhere", "@id(\"a\") @obligate(\"route\")" + rest, "needs @region or @vendor"},
		{"route to an empty region", "@id(\"a\") @obligate(\"route\") @region(\"\")" + rest, "needs @region or @vendor"},
		{"limit_output", "@id(\"a\") @obligate(\"limit_output\") @max_bytes(\"1\")" + rest, ""},
		{"limit_output without a limit", "@id(\"a\") @obligate(\"limit_output\")" + rest, "needs @max_bytes"},
		{"limit_output of nothing", "@id(\"a\") @obligate(\"limit_output\") @max_bytes(\"0\")" + rest, `@max_bytes("0") is not a positive number`},
		{"limit_output of less", "@id(\"a\") @obligate(\"limit_output\") @max_bytes(\"-1\")" + rest, "is not a positive number"},
		{"limit_output of too much", "@id(\"a\") @obligate(\"limit_output\") @max_bytes(\"9223372036854775808\")" + rest, "is not a positive number"},
		{"limit_output of no number", "@id(\"a\") @obligate(\"limit_output\") @max_bytes(\"64 KiB\")" + rest, "is not a positive number"},
		{"notify", "@id(\"a\") @obligate(\"notify\") @to(\"x\") @body(\"y\")" + rest, ""},
		{"notify nobody", "@id(\"a\") @obligate(\"notify\") @body(\"y\")" + rest, "needs @to"},
		{"notify of nothing", "@id(\"a\") @obligate(\"notify\") @to(\"x\") @body(\"\")" + rest, "@body is empty"},
		{"notify with a long name", "@id(\"a\") @obligate(\"notify\") @to(\"" + strings.Repeat("x", 257) + "\") @body(\"y\")" + rest, "@to is longer than 256 bytes"},
		{"step_up", "@id(\"a\") @obligate(\"step_up\") @acr(\"x\")" + rest, ""},
		{"step_up to nothing", "@id(\"a\") @obligate(\"step_up\") @acr(\"\")" + rest, "@acr is empty"},
		{"watermark", "@id(\"a\") @obligate(\"watermark\") @text(\"x\")" + rest, ""},
		{"watermark with nothing", "@id(\"a\") @obligate(\"watermark\") @text" + rest, "@text is empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 5 { // the first mistake is the same every time
				statements, err := parse("p.cedar", []byte(test.text))
				if test.want == "" {
					if err != nil || len(statements) != 1 {
						t.Fatalf("%d policies, %v", len(statements), err)
					}
				} else if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "p.cedar:") {
					t.Fatalf("got %v, want %q", err, test.want)
				}
			}
		})
	}
}

func TestParseKeepsWhatItRead(t *testing.T) {
	statements, err := parse("p.cedar", []byte(`
@id("ask") @requires("ticket") @reason("Ask first.")
forbid (principal, action, resource) unless { context has ticket };
@id("hide") @obligate("redact") @fields("/a /b") @method("remove")
permit (principal, action, resource);
@id("stay") @obligate("route") @region("eu") @vendor("v")
permit (principal, action, resource);`))
	if err != nil {
		t.Fatal(err)
	}
	ask, hide, stay := statements[0], statements[1], statements[2]
	if ask.id != "ask" || !ask.forbid || !ask.ticket || ask.reason != "Ask first." || ask.obligate != nil || ask.at() != "p.cedar:2:1" {
		t.Errorf("got %+v at %s", ask, ask.at())
	}
	if hide.forbid || hide.obligate == nil || strings.Join(hide.obligate.redact.Fields, " ") != "/a /b" || hide.obligate.redact.Method != document.Removed || hide.at() != "p.cedar:4:1" {
		t.Errorf("got %+v", hide.obligate)
	}
	if rule := stay.obligate.route; rule == nil || rule.Policy != "stay" || rule.Region != "eu" || rule.Vendor != "v" {
		t.Errorf("got %+v", rule)
	}
}

func TestShadowMode(t *testing.T) {
	files := small()
	files["cedar/shadow.cedar"] = &fstest.MapFile{Mode: 0o444, Data: []byte("@id(\"watched\")\n@mode(\"shadow\")\nforbid (principal, action, resource);\n")}
	b, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(b.Policies.(*Set).index.statements); b.Shadow == nil || len(b.Shadow.Policies.(*Set).index.statements) != got+1 {
		t.Errorf("%d policies in force, shadow %v", got, b.Shadow)
	}
	if b.Shadow.Digest != b.Digest || b.Shadow.Shadow != nil {
		t.Error("the shadow is another bundle, or has a shadow of its own")
	}
	if b, err = Load(small()); err != nil || b.Shadow != nil {
		t.Errorf("without a policy in shadow mode: %v, %v", b.Shadow, err)
	}
	files["cedar/shadow.cedar"].Data = []byte("@id(\"watched\")\n@mode(\"shadwo\")\nforbid (principal, action, resource);\n")
	if _, err = Load(files); err == nil || !strings.Contains(err.Error(), `cedar/shadow.cedar:1:1: policy "watched": @mode("shadwo") is neither "enforce" nor "shadow"`) {
		t.Errorf("a misspelt mode: %v", err)
	}
}
