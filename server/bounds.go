package server

import (
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// bounds are the lists of each message, by its full name, that have a bound in
// the proto files. They are held to it before anything looks at their elements:
// the rules tell of every broken element, and a message can hold a million.
type bounds map[protoreflect.FullName][]bound

type bound struct {
	field protoreflect.FieldDescriptor
	most  int
}

func (b bound) problem() string { return fmt.Sprintf("must contain no more than %d item(s)", b.most) }

// boundsOf reads the rules of messages and of what is in them.
func boundsOf(messages []proto.Message) (bounds, error) {
	b := bounds{}
	for _, m := range messages {
		if err := b.add(m.ProtoReflect().Descriptor()); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b bounds) add(desc protoreflect.MessageDescriptor) error {
	if _, known := b[desc.FullName()]; known {
		return nil
	}
	b[desc.FullName()] = nil
	for i := range desc.Fields().Len() {
		field := desc.Fields().Get(i)
		if field.IsList() {
			rules, err := protovalidate.ResolveFieldRules(field)
			if err != nil {
				return fmt.Errorf("reading the rules of %s: %w", field.FullName(), err)
			}
			if most := rules.GetRepeated(); most.HasMaxItems() {
				b[desc.FullName()] = append(b[desc.FullName()], bound{field, int(most.GetMaxItems())})
			}
		}
		if field.Message() != nil {
			if err := b.add(field.Message()); err != nil {
				return err
			}
		}
	}
	return nil
}

// check holds a message's own lists to their bounds.
func (b bounds) check(in proto.Message) error {
	m := in.ProtoReflect()
	for _, list := range b[m.Descriptor().FullName()] {
		if m.Get(list.field).List().Len() > list.most {
			return invalidField(string(list.field.Name()), list.problem())
		}
	}
	return nil
}
