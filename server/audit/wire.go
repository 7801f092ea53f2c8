package audit

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// shape is what the wire form of a message may hold. Protobuf's own parser
// takes unknown fields, and of a field that stands twice the last; two readers
// could then see two records in the same bytes.
type shape struct {
	name   string
	fields []field // by number
}

type field struct {
	known bool
	typ   protowire.Type
	once  uint64 // bit of a field, or of its oneof; 0: it may repeat
	child *shape // nil: no message
}

// recordShape is constant: it is read off the generated descriptor.
var recordShape = shapeOf((*writv1.Record)(nil).ProtoReflect().Descriptor(), map[protoreflect.FullName]*shape{})

func shapeOf(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*shape) *shape {
	if s := known[d.FullName()]; s != nil {
		return s
	}
	s := &shape{name: string(d.Name())}
	known[d.FullName()] = s
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		number := int(fd.Number())
		for len(s.fields) <= number {
			s.fields = append(s.fields, field{})
		}
		f := &s.fields[number]
		f.known, f.typ = true, wireType(fd)
		if first := number; fd.Cardinality() != protoreflect.Repeated {
			if one := fd.ContainingOneof(); one != nil {
				first = int(one.Fields().Get(0).Number())
			}
			f.once = 1 << first // fails the shape test from field 64 on
		}
		if fd.Message() != nil {
			f.child = shapeOf(fd.Message(), known)
		}
	}
	return s
}

func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	if fd.IsPacked() {
		return protowire.BytesType
	}
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	}
	return protowire.VarintType
}

// check reports the first field that is unknown, stands twice or is cut short.
// It descends as deep as the schema, which is not recursive.
func (s *shape) check(b []byte) error {
	var seen uint64
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%s is cut short or malformed", s.name)
		}
		b = b[n:]
		if int(number) >= len(s.fields) || !s.fields[number].known || s.fields[number].typ != typ {
			return fmt.Errorf("%s has an unknown field %d", s.name, number)
		}
		f := &s.fields[number]
		if seen&f.once != 0 {
			return fmt.Errorf("%s has more than one of field %d or its alternatives", s.name, number)
		}
		seen |= f.once
		if f.child == nil {
			if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
				return fmt.Errorf("%s is cut short or malformed", s.name)
			}
			b = b[n:]
			continue
		}
		inner, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return fmt.Errorf("%s is cut short or malformed", s.name)
		}
		if err := f.child.check(inner); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// strict bounds a body before anything is built from it.
func strict(body []byte) error {
	if len(body) == 0 {
		return errors.New("the body is empty")
	}
	if len(body) > MaxBody {
		return fmt.Errorf("the body is larger than %d bytes", MaxBody)
	}
	return recordShape.check(body)
}
