// Package quick says yes to messages that keep the rules in their proto files,
// without the cost of an interpreter. It says yes only where it is sure: whatever
// else, valid or not, is for protovalidate to judge and to explain. The rules are
// read from the descriptors, so the proto files remain their only source.
package quick

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Rules are compiled rules by the messages that they are about, as far as all of
// a message's are of kinds that this package knows. Immutable.
type Rules struct {
	messages map[reflect.Type]*message // nil: not all are
}

// message is the rules of one message.
type message struct {
	checks []check // of the pointer to it
	fields []field
}

type field struct {
	index  int // in the generated struct
	checks []check
}

// check is one rule. Its value is a generated struct's field, an element of one,
// or a pointer to a message: Go's reflection reads them without allocations, and
// protobuf's does not.
type check func(reflect.Value) bool

// Compile reads the rules of messages. An error is a descriptor that cannot be
// read.
func Compile(messages ...proto.Message) (Rules, error) {
	r := Rules{map[reflect.Type]*message{}}
	for _, m := range messages {
		if _, err := r.compile(reflect.TypeOf(m), m.ProtoReflect().Descriptor()); err != nil {
			return Rules{}, err
		}
	}
	return r, nil
}

// Keeps reports whether a message surely keeps all its rules; false says nothing.
func (r Rules) Keeps(m proto.Message) bool {
	rules := r.messages[reflect.TypeOf(m)]
	v := reflect.ValueOf(m)
	return rules != nil && !v.IsNil() && rules.keeps(v)
}

func (m *message) keeps(v reflect.Value) bool {
	if !all(m.checks, v) {
		return false
	}
	s := v.Elem()
	for i := range m.fields {
		if !all(m.fields[i].checks, s.Field(m.fields[i].index)) {
			return false
		}
	}
	return true
}

func all(checks []check, v reflect.Value) bool {
	for _, holds := range checks {
		if !holds(v) {
			return false
		}
	}
	return true
}

// compile is nil when a rule of the message, or of one in it, is of a kind that
// is not known, or when the message can hold itself.
func (r Rules) compile(pointer reflect.Type, desc protoreflect.MessageDescriptor) (*message, error) {
	if m, ok := r.messages[pointer]; ok {
		return m, nil
	}
	r.messages[pointer] = nil
	rules, err := protovalidate.ResolveMessageRules(desc)
	if err != nil {
		return nil, fmt.Errorf("reading the rules of %s: %w", desc.FullName(), err)
	}
	m := &message{}
	known := desc.Oneofs().Len() == 0 && walk(rules, func(rule protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		return rule.FullName() == "buf.validate.MessageRules.cel"
	})
	for _, rule := range rules.GetCel() {
		holds, ok := twins[string(desc.FullName())+": "+rule.GetExpression()]
		known, m.checks = known && ok, append(m.checks, holds)
	}
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		at, ok := fieldOf(pointer.Elem(), fd)
		if !ok || fd.IsMap() {
			known = false
			continue
		}
		rules, err := protovalidate.ResolveFieldRules(fd)
		if err != nil {
			return nil, fmt.Errorf("reading the rules of %s: %w", fd.FullName(), err)
		}
		checks, ok, err := r.field(at.Type, fd, rules, fd.IsList())
		if err != nil {
			return nil, err
		}
		known, m.fields = known && ok, append(m.fields, field{at.Index[0], checks})
	}
	if !known {
		return nil, nil
	}
	r.messages[pointer] = m
	return m, nil
}

// fieldOf finds a field in the generated struct, by the number in its tag.
func fieldOf(typ reflect.Type, fd protoreflect.FieldDescriptor) (reflect.StructField, bool) {
	for i := range typ.NumField() {
		if tag := strings.Split(typ.Field(i).Tag.Get("protobuf"), ","); len(tag) > 1 && tag[1] == fmt.Sprint(fd.Number()) {
			return typ.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

// walk calls f for every rule that is set; false: one was not known to it.
func walk(rules proto.Message, f func(rule protoreflect.FieldDescriptor, v protoreflect.Value) bool) bool {
	known := true
	rules.ProtoReflect().Range(func(rule protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		known = f(rule, v)
		return known
	})
	return known && len(rules.ProtoReflect().GetUnknown()) == 0
}

// field compiles the rules of a field, or of the elements of a list, which are of
// the type typ in Go.
func (r Rules) field(typ reflect.Type, fd protoreflect.FieldDescriptor, rules *validate.FieldRules, list bool) (checks []check, known bool, err error) {
	ignoresZero := false
	known = walk(rules, func(rule protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case rule.Name() == "ignore":
			ignoresZero = v.Enum() == validate.Ignore_IGNORE_IF_ZERO_VALUE.Number() && !fd.IsList()
			return ignoresZero
		case rule.Message() == nil || rule.IsList() || fd.Message() != nil && !list:
			return false // required, CEL, and what is said of a message in a field
		}
		return walk(v.Message().Interface(), func(rule protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if rule.FullName() == "buf.validate.RepeatedRules.items" {
				return true // below
			}
			c := ruleOf(rule, v, fd)
			checks = append(checks, c)
			return c != nil
		})
	})
	switch {
	case list:
		inner, ok, err := r.field(typ.Elem(), fd, rules.GetRepeated().GetItems(), false)
		if err != nil {
			return nil, false, err
		}
		known, checks = known && ok, append(checks, each(inner)) // after the count of elements
	case fd.Message() != nil:
		m, err := r.compile(typ, fd.Message())
		if err != nil {
			return nil, false, err
		}
		known = known && m != nil
		// A message in a field may be missing, and one in a list may not.
		checks = append(checks, func(v reflect.Value) bool { return v.IsNil() && !fd.IsList() || !v.IsNil() && m.keeps(v) })
	case fd.HasPresence():
		known = false
	}
	if ignoresZero {
		held := checks
		checks = []check{func(v reflect.Value) bool { return v.IsZero() || all(held, v) }}
	}
	return checks, known, nil
}

func each(checks []check) check {
	return func(v reflect.Value) bool {
		for i := range v.Len() {
			if !all(checks, v.Index(i)) {
				return false
			}
		}
		return true
	}
}

const uuidPattern = `^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`

// ruleOf compiles one rule of a field; nil: it is of no known kind.
func ruleOf(rule protoreflect.FieldDescriptor, is protoreflect.Value, of protoreflect.FieldDescriptor) check {
	switch rule.FullName() {
	case "buf.validate.StringRules.pattern":
		match := matcher(is.String())
		return func(v reflect.Value) bool { return match(v.String()) }
	case "buf.validate.StringRules.uuid":
		if !is.Bool() {
			return nil
		}
		match := matcher(uuidPattern)
		return func(v reflect.Value) bool { return match(v.String()) }
	case "buf.validate.StringRules.in":
		var allowed []string
		for i := range is.List().Len() {
			allowed = append(allowed, is.List().Get(i).String())
		}
		return func(v reflect.Value) bool { return slices.Contains(allowed, v.String()) }
	case "buf.validate.StringRules.min_len":
		return func(v reflect.Value) bool { return uint64(utf8.RuneCountInString(v.String())) >= is.Uint() }
	case "buf.validate.StringRules.max_bytes", "buf.validate.BytesRules.max_len", "buf.validate.RepeatedRules.max_items":
		return func(v reflect.Value) bool { return uint64(v.Len()) <= is.Uint() }
	case "buf.validate.RepeatedRules.min_items":
		return func(v reflect.Value) bool { return uint64(v.Len()) >= is.Uint() }
	case "buf.validate.RepeatedRules.unique":
		if !is.Bool() || of.Kind() != protoreflect.StringKind {
			return nil
		}
		return unique
	case "buf.validate.Int64Rules.gte":
		return func(v reflect.Value) bool { return v.Int() >= is.Int() }
	case "buf.validate.UInt32Rules.lte":
		return func(v reflect.Value) bool { return v.Uint() <= is.Uint() }
	case "buf.validate.Int64Rules.lte":
		return func(v reflect.Value) bool { return v.Int() <= is.Int() }
	case "buf.validate.EnumRules.defined_only":
		values := of.Enum().Values()
		return func(v reflect.Value) bool { return values.ByNumber(protoreflect.EnumNumber(v.Int())) != nil }
	case "buf.validate.EnumRules.not_in":
		var refused []int64
		for i := range is.List().Len() {
			refused = append(refused, is.List().Get(i).Int())
		}
		return func(v reflect.Value) bool { return !slices.Contains(refused, v.Int()) }
	}
	return nil
}

// fewItems bounds the lists that are compared all with all.
const fewItems = 64

func unique(v reflect.Value) bool {
	if v.Len() > fewItems {
		return false
	}
	for i := range v.Len() {
		for j := range i {
			if v.Index(i).String() == v.Index(j).String() {
				return false
			}
		}
	}
	return true
}
