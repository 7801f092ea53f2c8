package policy

import (
	"strings"
	"testing"

	"github.com/writpdp/writ/server/policy/clause"
)

func TestCheckCedar(t *testing.T) {
	const policy = `permit (principal, action, resource) when { `
	deep := strings.Repeat("(", 1_000_000)
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"a policy", policy + "context.a == [1, {b: (2)}] };", ""},
		{"many policies", strings.Repeat(policy+"((true)) };\n", 10_000), ""},
		{"as deep as may be", policy + strings.Repeat("(", 63) + "true" + strings.Repeat(")", 63) + " };", ""},
		{"one deeper", policy + strings.Repeat("(", 64) + "true" + strings.Repeat(")", 64) + " };", "f:1:108: nested deeper than 64"},
		{"a million (", policy + deep, "f:1:108: nested deeper than 64"},
		{"a million [", policy + strings.Repeat("[", 1_000_000), "nested deeper than 64"},
		{"a million {", strings.Repeat("{", 1_000_000), "nested deeper than 64"},
		{"a million if", policy + strings.Repeat("if ", 1_000_000), "nested deeper than 64"},
		{"ifs and brackets", policy + strings.Repeat("if (", 40), "nested deeper than 64"},
		{"names that hold if", policy + strings.Repeat("iffy || diff || if_ || _if || if1 || ", 60) + "true };", ""},
		{"a million !", policy + strings.Repeat("!", 1_000_000), "in a row"},
		{"a million ! with spaces", policy + strings.Repeat("! \n", 1_000_000), "in a row"},
		{"a million -", policy + strings.Repeat("-", 1_000_000), "in a row"},
		{"a long path", policy + "principal has a" + strings.Repeat(".a", 40) + " };", "in a row"},
		{"a long path with comments", policy + "principal has a" + strings.Repeat(".a/**/", 40) + " };", "in a row"},
		{"many short paths", policy + strings.Repeat("context.a.b.c == 1 && ", 900) + "true };", "more than 2048 accesses"},
		{"many short paths in many policies", strings.Repeat(policy+strings.Repeat("context.a.b.c == 1 && ", 100)+"true };", 20), ""},
		{"a long statement", policy + strings.Repeat("true && ", 10_000), "a statement longer than 65536 bytes"},
		{"a long string", policy + `"` + strings.Repeat("a", 100_000) + `" == "" };`, "a statement longer than 65536 bytes"},
		{"a long string before the end", `@id("` + strings.Repeat("a", 100_000) + `";`, "a statement longer than 65536 bytes"},
		{"a string of 10 MB", policy + `"` + strings.Repeat("(", 10<<20) + `" };`, "larger than 8388608 bytes"},
		{"brackets in strings", policy + `"` + strings.Repeat("(", 1000) + `" == "\"((((" };`, ""},
		{"brackets in comments", strings.Repeat("// ((((((((((\n/* [[[[[[[[[ */", 100), ""},
		{"a quote in a comment", policy + `/* " */ ` + deep + ` /* " */`, "nested deeper than 64"},
		{"a quote in a line's comment", policy + "// \"\n" + deep, "f:2:64: nested deeper than 64"},
		{"a comment that looks closed", policy + "/*/ (" + strings.Repeat("(", 100) + " */ true };", ""},
		{"a comment in a comment", policy + "/* /* */" + deep, "nested deeper than 64"},
		{"stars that close", policy + "/***/" + deep, "nested deeper than 64"},
		{"slashes in a string", policy + `"//" == "/*" && ` + deep, "nested deeper than 64"},
		{"an escaped quote", policy + `"\"` + strings.Repeat("(", 100) + `" == "" };`, ""},
		{"an escaped backslash", policy + `"\\" == ` + deep, "nested deeper than 64"},
		{"closing brackets first", strings.Repeat(")", 1000) + deep, "nested deeper than 64"},
		{"ends in brackets", policy + strings.Repeat("(;", 1000), "nested deeper than 64"},
		{"a comment that hides an end", policy + `/* } " */ ` + deep + ` /* "; */`, "nested deeper than 64"},
		{"an open string", policy + `"` + strings.Repeat("(", 1000), ""},
		{"an open comment", policy + `/*` + strings.Repeat("(", 1000), ""},
		{"ends with a backslash", `"\`, ""},
		{"ends with a slash", `/`, ""},
		{"characters of several bytes", "// é\nä(" + strings.Repeat("é", 5) + deep, "f:2:71: nested deeper than 64"},
		{"a namespace", "namespace A {\n" + strings.Repeat("entity B;\n", 10_000) + "}", ""},
		{"a million Set<", "type A = " + strings.Repeat("Set<", 1_000_000), "a statement longer than 65536 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := checkCedar("f", []byte(test.text))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// What checkCedar lets pass, Cedar reads or refuses, in policies and schemas.
func TestWhatPassesEnds(t *testing.T) {
	const policy = "@id(\"a\") permit (principal, action, resource) when { "
	for name, text := range map[string]string{
		"sets in sets":     "type A = " + strings.Repeat("Set<", 10_000) + "Long" + strings.Repeat(">", 10_000) + ";",
		"ands":             policy + strings.Repeat("true && ", 7000) + "true };",
		"ors":              policy + strings.Repeat("true||", 9000) + "true };",
		"sums":             policy + strings.Repeat("1+", 20_000) + "1 == 1 };",
		"brackets":         policy + strings.Repeat("context[\"a\"]", 1) + strings.Repeat("[\"a\"]", 10_000) + " };",
		"elements":         policy + "[" + strings.Repeat("1,", 30_000) + "1].contains(1) };",
		"an open string":   policy + "\"((((",
		"an open comment":  policy + "/* ((((",
		"a stray byte":     policy + "\xff };",
		"a null byte":      policy + "\x00 };",
		"namespaces":       strings.Repeat("namespace A { ", 60) + strings.Repeat("}", 60),
		"annotations":      strings.Repeat("@a ", 20_000),
		"an end in a name": "entity A::\"x\";",
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkCedar("f", []byte(text)); err != nil {
				t.Fatalf("it does not pass: %v", err)
			}
			_, _ = parse("f", []byte(text))
			_, _ = resolve("f", []byte(text), nil)
		})
	}
}

func FuzzPolicyFile(f *testing.F) {
	schema := string(small()[fileSchema].Data)
	for _, seed := range []string{
		string(small()["cedar/a.cedar"].Data), schema, "/* \" */ ( /* \"; */", "@id(\"a\") permit (principal, action, resource) when { if true then -1 < !2 else [\"a\"].contains(context.b[\"c\"]) };",
		"@id(\"a\")\n@requires(\"ticket\")\nforbid (principal is Agent in Team::\"x\", action in [Action::\"s/t\"], resource == Server::\"s\") unless { context has ticket.id };",
		"@id(\"a\") @obligate(\"route\") @region(\"eu\") permit (principal, action, resource) when { ip(\"::1\").isLoopback() && decimal(\"1.0\").lessThan(decimal(\"2.0\")) };",
		"namespace A { type B = { c?: Set<Long>, \"d\\u{e9}\": A::B }; entity E in [E] tags String; entity F enum [\"x\"]; action \"x\", y in [z]; }",
		"@id(\"a\") permit (principal, action, resource) when { principal like \"a\\*b*\" || \"\\x41\\0\" == \"\\u{1f600}\" };",
	} {
		f.Add(seed)
	}
	generated, err := actions(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		statements, err := parse("f.cedar", []byte(text))
		if err != nil && !strings.HasPrefix(err.Error(), "f.cedar:") || err != nil && len(err.Error()) > 2*maxMessage {
			t.Errorf("%d bytes of error: %.200s", len(err.Error()), err)
		}
		for _, s := range statements {
			if s.id == "" || s.policy == nil || !strings.HasPrefix(s.at(), "f.cedar:") {
				t.Errorf("a statement that is not whole: %+v", s)
			}
			for _, c := range clause.Of(s.ast) {
				c.Leaves()
			}
		}
		if _, err := resolve("f.cedarschema", []byte(schema+text), generated); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
	})
}
