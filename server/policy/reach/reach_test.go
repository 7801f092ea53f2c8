package reach_test

import (
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"

	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/policytest"
	"github.com/writpdp/writ/server/policy/reach"
)

// outcomes writes what can be: y, n and f.
func outcomes(o reach.Outcome) string {
	out := ""
	for i, letter := range []string{"y", "n", "f"} {
		if o.Has(1 << i) {
			out += letter
		}
	}
	return out
}

// What conditions come to in a call of s/t on its server.
func TestEnd(t *testing.T) {
	tests := []struct{ condition, want string }{
		{"true", "y"},
		{"false", "n"},
		{"1 + 1 == 2", "y"},
		{"9223372036854775807 + 1 > 0", "f"},
		{"context.phase == \"CALL\"", "y"},
		{"context.phase == \"RESULT\"", "n"},
		{"context.phase != \"RESULT\"", "y"},
		{"[\"RESULT\", \"PROMPT\"].contains(context.phase)", "n"},
		{"context.tool.server == \"s\" && context.tool.name == \"t\"", "y"},
		{"context.tool.classes.contains(\"destructive\")", "n"},
		{"context has content", "n"},
		{"context has ticket", "yn"},
		{"context has ticket && !(context has ticket)", "n"},
		{"context has ticket || !(context has ticket)", "y"},
		{"context.purpose == \"p\"", "yn"},
		{"context.purpose == \"p\" && context.purpose == \"q\"", "n"},
		{"context.purpose == \"p\" && context.purpose != \"p\"", "n"},
		{"(context.purpose == \"p\" || context.purpose == \"q\") && context.purpose == \"r\"", "n"},
		{"(context.purpose == \"p\" || context.purpose == \"q\") && context.purpose == \"q\"", "yn"},
		{"[\"p\", \"q\"].contains(context.purpose) && context.purpose == \"r\"", "n"},
		{"[\"p\", \"q\"].contains(context.purpose) && [\"r\"].contains(context.purpose)", "n"},
		{"context.purpose == \"p\" && [\"p\", \"q\"].contains(context.purpose)", "yn"},
		{"!([\"p\", \"q\"].contains(context.purpose)) && context.purpose == \"p\"", "n"},
		{"principal == Agent::\"a\" && principal == Agent::\"b\"", "n"},
		{"principal in Team::\"t\"", "yn"},
		{"principal in Team::\"none\"", "n"},
		{"principal in Team::\"u\"", "n"},
		{"principal in [Team::\"none\", Team::\"t\"]", "yn"},
		{"principal == Agent::\"a\" && principal in Team::\"t\"", "yn"},
		{"principal == Agent::\"b\" && principal in Team::\"t\"", "n"},
		{"principal is Agent", "y"},
		{"resource is Thing", "n"},
		{"resource is Server", "y"},
		{"resource == Server::\"s\"", "y"},
		{"resource == Server::\"z\"", "n"},
		{"resource in Team::\"t\"", "y"},
		{"resource in Team::\"u\"", "n"},
		{"action in Action::\"read-only\"", "y"},
		{"action in [Action::\"z\", Action::\"prompt\"]", "n"},
		{"resource has zone && resource.zone == \"eu\"", "y"},
		{"resource.zone == \"us\"", "n"},
		{"principal.level > 3", "ynf"},
		{"principal has level && principal.level > 3", "yn"},
		{"principal == Agent::\"b\" && principal.level > 3", "nf"},
		{"principal == Agent::\"a\" && principal.level > 3", "n"},
		{"Agent::\"b\".level > 3", "f"},
		{"Agent::\"b\" has level", "n"},
		{"Agent::\"a\".level == 3", "y"},
		{"context has onBehalfOf && context.onBehalfOf.vip", "ynf"},
		{"context has onBehalfOf && context.onBehalfOf has vip && context.onBehalfOf.vip", "yn"},
		{"context.args has few && context.args.few < 10", "yn"},
		{"context.args has few && context.args.few >= 10", "n"},
		{"context.args has few && context.args.few > 8", "yn"},
		{"context.args has few && context.args.few < 0", "n"},
		{"context.args has few && context.args.few == 11", "n"},
		{"context.args has few && context.args.few * 1000 > 5", "yn"},
		{"context.args has few && context.args.few * 9223372036854775807 > 5", "ynf"},
		{"context.args has n && context.args.n * 2 > 5", "ynf"},
		{"context.args has n && context.args.n < 100 && context.args.n > -100 && context.args.n * 2 > 5", "yn"},
		{"context.args has n && context.args.n < 100 && context.args.n * 2 > 5", "ynf"},
		{"context.args has n && context.args.n > 5 && context.args.n < 5", "n"},
		{"context.args has n && context.args.n > 5 && context.args.n <= 6 && context.args.n == 6", "yn"},
		{"context.args has n && context.args.n >= 5 && context.args.n <= 5 && context.args.n > 4", "yn"},
		{"context.args has n && context.args.n >= 5 && !(context.args.n > 4)", "n"},
		{"context.args has n && (context.args.n == 1 || context.args.n == 5) && context.args.n > 5", "n"},
		{"context.args has n && (context.args.n == 1 || context.args.n == 5) && context.args.n > 4", "yn"},
		{"context.args has n && (context.args.n == 5 || context.args.n == 1) && context.args.n > 4", "yn"},
		{"context.args has n && (context.args.n < 1 || context.args.n > 5) && context.args.n == 3", "yn"}, // a hull, not two ranges
		{"context.args has n && -context.args.n < 0", "ynf"},
		{"if context has ticket then context.phase == \"RESULT\" else false", "n"},
		{"if context has ticket then context.ticket.id == \"x\" else context.phase == \"CALL\"", "yn"},
		{"(if context has ticket then context.purpose == \"p\" else context.purpose == \"q\") && context.purpose == \"r\"", "n"},
		{"context.args.w like \"a*\" && !(context.args.w like \"a*\")", "n"},
		{"\"abc\" like \"a*\"", "y"},
		{"context.extra has flag && context.extra.flag && !context.extra.flag", "n"},
		{"{a: context.purpose == \"p\"}.a", "yn"},
		{"context.now < datetime(\"2026-01-01\")", "yn"},
		{"context.now.offset(duration(\"1d\")) > context.now", "ynf"},
		{"datetime(\"2026-01-01\") < datetime(\"2027-01-01\")", "y"},
		{"context.args has d && context.args.d.lessThan(decimal(\"1.0\"))", "yn"},
	}
	for _, test := range tests {
		src, err := policy.Read(policytest.Bundle("@id(\"p\") permit (principal, action == Action::\"s/t\", resource) when { " + test.condition + " };"))
		if err != nil {
			t.Fatal(err)
		}
		st := src.Statements[0]
		if strings.HasPrefix(st.Invalid, "unexpected") || strings.Contains(st.Invalid, "unable to guarantee") {
			t.Errorf("%s: %s", test.condition, st.Invalid)
		}
		for _, m := range src.Moments() {
			if m.Action.ID != "s/t" || m.Phase != "CALL" || m.Resource != "Server" {
				continue
			}
			x := reach.New(src)
			end := x.End(reach.Whole(st.Policy), x.Set(m, nil))
			if got := outcomes(end.Can); got != test.want {
				t.Errorf("%s: got %s, want %s", test.condition, got, test.want)
			}
			if failing := strings.Contains(test.want, "f"); failing != (len(end.Mishaps) > 0) {
				t.Errorf("%s: %d mishaps", test.condition, len(end.Mishaps))
			}
		}
	}
}

// Only requests of the purposes that are named count.
func TestEndOfPurposes(t *testing.T) {
	src, err := policy.Read(policytest.Bundle("@id(\"p\") permit (principal, action == Action::\"s/t\", resource) when { context.purpose == \"q\" };"))
	if err != nil {
		t.Fatal(err)
	}
	x, e, m := reach.New(src), reach.Whole(src.Statements[0].Policy), src.Moments()[2]
	for _, test := range []struct {
		purposes []cedar.Value
		want     string
	}{{nil, "yn"}, {[]cedar.Value{cedar.String("p")}, "n"}, {[]cedar.Value{cedar.String("p"), cedar.String("q")}, "yn"}} {
		if got := outcomes(x.End(e, x.Set(m, test.purposes)).Can); got != test.want {
			t.Errorf("%v: got %s, want %s", test.purposes, got, test.want)
		}
	}
}
