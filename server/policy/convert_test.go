package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
)

func value(t testing.TB, data string) any {
	t.Helper()
	d, err := document.Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d.Value()
}

func TestConvert(t *testing.T) {
	decimal := func(s string) cedar.Value {
		d, err := types.ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	longs, ext := resolved.SetType{Element: resolved.LongType{}}, func(name string) resolved.IsType { return resolved.ExtensionType(name) }
	inner := resolved.RecordType{"n": {Type: resolved.LongType{}}, "s": {Type: resolved.StringType{}, Optional: true}}
	tests := []struct {
		name string
		typ  resolved.IsType
		data string
		want any // a cedar.Value, or the error
	}{
		{"a string", resolved.StringType{}, `"é"`, cedar.String("é")},
		{"no string", resolved.StringType{}, `1`, "x is not of the declared type"},
		{"true", resolved.BoolType{}, `true`, cedar.True},
		{"no boolean", resolved.BoolType{}, `"true"`, "x is not of the declared type"},
		{"an integer", resolved.LongType{}, `-7`, cedar.Long(-7)},
		{"an integer with an exponent", resolved.LongType{}, `1e3`, cedar.Long(1000)},
		{"an integer with a fraction", resolved.LongType{}, `5.0`, cedar.Long(5)},
		{"the largest integer", resolved.LongType{}, `9007199254740991`, cedar.Long(9007199254740991)},
		{"a fraction", resolved.LongType{}, `0.5`, "x is not an integer"},
		{"a huge number", resolved.LongType{}, `1e21`, "x is not an integer"},
		{"a number as text", resolved.LongType{}, `"1"`, "x is not of the declared type"},
		{"a decimal", ext("decimal"), `12.5`, decimal("12.5")},
		{"a decimal of an integer", ext("decimal"), `-3`, decimal("-3.0")},
		{"a decimal as text", ext("decimal"), `"0.0001"`, decimal("0.0001")},
		{"a decimal as text that is none", ext("decimal"), `"1e3"`, "x is not a decimal"},
		{"a decimal that is rounded down", ext("decimal"), `0.00004`, decimal("0.0")},
		{"a decimal that is rounded up", ext("decimal"), `0.00006`, decimal("0.0001")},
		{"a decimal half way to an odd one", ext("decimal"), `0.00005`, decimal("0.0")},
		{"a decimal half way to an even one", ext("decimal"), `0.00015`, decimal("0.0002")},
		{"a negative decimal that is rounded", ext("decimal"), `-1.00006`, decimal("-1.0001")},
		{"a large decimal", ext("decimal"), `922337203685477`, decimal("922337203685477.0")},
		{"the largest decimal", ext("decimal"), `922337203685477.5`, decimal("922337203685477.5")},
		{"fifteen digits and a fraction", ext("decimal"), `99999999999.9999`, decimal("99999999999.9999")},
		{"too large a decimal", ext("decimal"), `922337203685478`, "x is out of the range of a decimal"},
		{"too small a decimal", ext("decimal"), `-922337203685478`, "x is out of the range of a decimal"},
		{"far too large a decimal", ext("decimal"), `1e308`, "x is out of the range of a decimal"},
		{"the smallest double", ext("decimal"), `5e-324`, decimal("0.0")},
		{"an address", ext("ipaddr"), `"::1/128"`, func() cedar.Value { v, _ := types.ParseIPAddr("::1"); return v }()},
		{"no address", ext("ipaddr"), `"hunter2"`, "x is not a ipaddr"},
		{"a time", ext("datetime"), `"2026-11-23T10:00:00Z"`, func() cedar.Value { v, _ := types.ParseDatetime("2026-11-23T10:00:00Z"); return v }()},
		{"no time", ext("datetime"), `1`, "x is not a datetime"},
		{"a duration", ext("duration"), `"1h30m"`, func() cedar.Value { v, _ := types.ParseDuration("90m"); return v }()},
		{"an unknown extension", ext("money"), `"1"`, "x is not a money"},
		{"an entity", resolved.EntityType("Human"), `"a::\"b\""`, cedar.NewEntityUID("Human", `a::"b"`)},
		{"no entity", resolved.EntityType("Human"), `{"type":"Human","id":"a"}`, "x is not of the declared type"},
		{"a set", longs, `[2,1,2.0]`, cedar.NewSet(cedar.Long(1), cedar.Long(2))},
		{"an empty set", longs, `[]`, cedar.NewSet()},
		{"no set", longs, `{"0":1}`, "x is not of the declared type"},
		{"a set of something else", longs, `[1,"2"]`, "x[1] is not of the declared type"},
		{"a set with null", longs, `[null]`, "x[0] is not of the declared type"},
		{"a set of sets", resolved.SetType{Element: longs}, `[[1],[],[1]]`, cedar.NewSet(cedar.NewSet(cedar.Long(1)), cedar.NewSet())},
		{"too many sets of sets", resolved.SetType{Element: longs}, `[` + strings.Repeat("[],", 256) + `[]]`, "x has more than 256 elements"},
		{"many integers", longs, `[` + strings.Repeat("1,", 1000) + `1]`, cedar.NewSet(cedar.Long(1))},
		{"a record", inner, `{"n":1,"s":"a","other":true}`, cedar.NewRecord(cedar.RecordMap{"n": cedar.Long(1), "s": cedar.String("a")})},
		{"a record with null", inner, `{"n":1,"s":null}`, cedar.NewRecord(cedar.RecordMap{"n": cedar.Long(1)})},
		{"a record that lacks something", inner, `{"s":"a"}`, "x.n is missing"},
		{"a record that has null", inner, `{"n":null}`, "x.n is missing"},
		{"no record", inner, `[]`, "x is not an object"},
		{"deep in a record", resolved.RecordType{"a": {Type: resolved.SetType{Element: inner}}}, `{"a":[{"n":1},{"n":"hunter2"}]}`, "x.a[1].n is not of the declared type"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := convert(test.typ, value(t, test.data), "x")
			if want, ok := test.want.(cedar.Value); ok {
				if err != nil || !want.Equal(got) {
					t.Errorf("got %v, %v, want %v", got, err, want)
				}
			} else if err == nil || err.Error() != test.want {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

// Sets that are alike in their sums must not make the conversion slow.
func TestConvertBoundsSetsOfSets(t *testing.T) {
	var pairs []string
	for i := range 20_000 {
		pairs = append(pairs, fmt.Sprintf("[%d,%d]", i, 100_000-i))
	}
	nested := resolved.SetType{Element: resolved.RecordType{"s": {Type: resolved.SetType{Element: resolved.LongType{}}}}}
	data := strings.ReplaceAll(strings.ReplaceAll("["+strings.Join(pairs, ",")+"]", "[", `{"s":[`), "]", "]}")
	data = "[" + strings.TrimSuffix(strings.TrimPrefix(data, `{"s":[`), "]}") + "]"
	if _, err := convert(nested, value(t, data), "x"); err == nil {
		t.Error("a set of twenty thousand sets is taken")
	}
}
