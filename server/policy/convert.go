package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
)

// record turns a JSON object into a Cedar record of a declared type. Members
// that the type does not declare stay out; null counts as absent. The error says
// where and never what, and is the first one by the members' names.
func record(typ resolved.RecordType, value any, at string) (cedar.Record, error) {
	members, ok := value.(map[string]any)
	if !ok {
		return cedar.Record{}, fmt.Errorf("%s is not an object", at)
	}
	out := make(cedar.RecordMap, len(typ))
	var wrong cedar.String
	var why error
	for name, attribute := range typ {
		if why != nil && wrong < name {
			continue
		}
		if member := members[string(name)]; member != nil {
			converted, err := convert(attribute.Type, member, at+"."+string(name))
			if err != nil {
				wrong, why = name, err
			}
			out[name] = converted
		} else if !attribute.Optional {
			wrong, why = name, fmt.Errorf("%s.%s is missing", at, name)
		}
	}
	if why != nil {
		return cedar.Record{}, why
	}
	return cedar.NewRecord(out), nil
}

func convert(typ resolved.IsType, value any, at string) (cedar.Value, error) {
	switch typ := typ.(type) {
	case resolved.StringType:
		if s, ok := value.(string); ok {
			return cedar.String(s), nil
		}
	case resolved.BoolType:
		if b, ok := value.(bool); ok {
			return cedar.Boolean(b), nil
		}
	case resolved.LongType:
		if n, ok := value.(json.Number); ok {
			return long(n, at)
		}
	case resolved.ExtensionType:
		return extension(string(typ), value, at)
	case resolved.RecordType:
		return record(typ, value, at)
	case resolved.SetType:
		list, ok := value.([]any)
		if !ok {
			break
		}
		if len(list) > maxSets && holdsSets(typ.Element) {
			return nil, fmt.Errorf("%s has more than %d elements", at, maxSets)
		}
		elements := make([]cedar.Value, len(list))
		for i, element := range list {
			converted, err := convert(typ.Element, element, at+"["+strconv.Itoa(i)+"]")
			if err != nil {
				return nil, err
			}
			elements[i] = converted
		}
		return cedar.NewSet(elements...), nil
	case resolved.EntityType:
		if s, ok := value.(string); ok {
			return cedar.NewEntityUID(cedar.EntityType(typ), cedar.String(s)), nil
		}
	}
	return nil, fmt.Errorf("%s is not of the declared type", at)
}

// maxSets bounds a set of sets: their hashes are sums, so a caller can choose
// many that are alike, and each is then compared with all before it.
const maxSets = 256

// holdsSets reports whether values of a type can be chosen to have the same hash.
func holdsSets(typ resolved.IsType) bool {
	switch typ := typ.(type) {
	case resolved.SetType:
		return true
	case resolved.RecordType:
		for _, attribute := range typ {
			if holdsSets(attribute.Type) {
				return true
			}
		}
	}
	return false
}

func long(n json.Number, at string) (cedar.Value, error) {
	if i, err := n.Int64(); err == nil {
		return cedar.Long(i), nil
	}
	f, err := n.Float64() // 1e3 and 1.0 are integers too
	if err != nil || f != math.Trunc(f) || math.Abs(f) > document.MaxSafeInteger {
		return nil, fmt.Errorf("%s is not an integer", at)
	}
	return cedar.Long(int64(f)), nil
}

func extension(name string, value any, at string) (cedar.Value, error) {
	if n, ok := value.(json.Number); ok && name == "decimal" {
		return decimal(n, at)
	}
	if s, ok := value.(string); ok {
		var v cedar.Value
		var err error
		switch name {
		case "ipaddr":
			v, err = types.ParseIPAddr(s)
		case "datetime":
			v, err = types.ParseDatetime(s)
		case "duration":
			v, err = types.ParseDuration(s)
		case "decimal":
			v, err = types.ParseDecimal(s)
		default:
			err = fmt.Errorf("unknown extension")
		}
		if err == nil {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%s is not a %s", at, name)
}

// decimal rounds a number half to even to the four places that a Cedar decimal
// has. What does not fit is refused rather than clipped, or an argument could be
// chosen so that no policy sees it.
func decimal(n json.Number, at string) (cedar.Value, error) {
	if i, err := n.Int64(); err == nil {
		if d, err := cedar.NewDecimal(i, 0); err == nil {
			return d, nil
		}
	} else if d, err := types.ParseDecimal(n.String()); err == nil {
		return d, nil // up to four places: nothing is to be rounded
	}
	// As a double, 10,000 times a number of fifteen digits is another number.
	exact, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil, fmt.Errorf("%s is not a number", at)
	}
	exact.Mul(exact, big.NewRat(10_000, 1))
	whole, rest := new(big.Int).DivMod(exact.Num(), exact.Denom(), new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(exact.Denom()); half > 0 || half == 0 && whole.Bit(0) == 1 {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsInt64() {
		return nil, fmt.Errorf("%s is out of the range of a decimal", at)
	}
	d, err := cedar.NewDecimal(whole.Int64(), -4)
	if err != nil {
		return nil, fmt.Errorf("%s is out of the range of a decimal", at)
	}
	return d, nil
}
