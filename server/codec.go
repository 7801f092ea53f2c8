package server

import (
	"context"
	"slices"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers what codec rests on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// small is the size, in bytes, up to which a message is read without a
	// look ahead: it cannot expand to much.
	small = 64 << 10
	// tolerated is how many times its bound a list may hold before the whole
	// message is refused unread. Up to there it is an item of a batch that
	// fails, and not the batch.
	tolerated = 4
)

// described is a service, with bytes that are no acceptable message
// refused as FIELD_INVALID. gRPC would call them an internal error.
func described(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	desc.Methods = slices.Clone(desc.Methods)
	for i := range desc.Methods {
		handle := desc.Methods[i].Handler
		desc.Methods[i].Handler = func(srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return handle(srv, ctx, func(into any) error { return open(receive, into.(proto.Message)) }, interceptor)
		}
	}
	return &desc
}

// open receives a message in its envelope.
func open(receive func(any) error, into proto.Message) error {
	e := envelope{into: into}
	if err := receive(&e); err != nil {
		return err // gRPC's own, such as that of a message beyond maxMessage
	}
	return e.refused
}

// envelope is what codec puts a message into, or else why not.
type envelope struct {
	into    proto.Message
	refused error
}

// codec is gRPC's own, but for envelopes.
type codec struct {
	encoding.CodecV2
	bounds bounds
}

// Unmarshal reads a message.
func (c codec) Unmarshal(data mem.BufferSlice, into any) error {
	e, ok := into.(*envelope)
	if !ok {
		return c.CodecV2.Unmarshal(data, into)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	raw, desc := buffer.ReadOnlyData(), e.into.ProtoReflect().Descriptor()
	if len(raw) > small {
		if path, problem := c.bounds.survey(raw, desc); problem != "" {
			e.refused = invalidField(path, problem)
			return nil
		}
	}
	if proto.Unmarshal(raw, e.into) != nil {
		path, problem := c.bounds.survey(raw, desc)
		if problem == "" {
			problem = malformed
		}
		e.refused = invalidField(path, problem)
	}
	return nil
}

const malformed = "the message is malformed"

// survey looks through a message's bytes before memory is spent on them: an
// empty element is two bytes here and a hundred once it is read. It says what is
// wrong, if anything, and the path to it.
func (b bounds) survey(data []byte, desc protoreflect.MessageDescriptor) (path, problem string) {
	lists := b[desc.FullName()]
	counts := make([]int, len(lists))
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return "", malformed
		}
		size := protowire.ConsumeFieldValue(number, kind, data[n:])
		if size < 0 {
			return "", malformed
		}
		value := data[n : n+size]
		data = data[n+size:]
		field := desc.Fields().ByNumber(number)
		if field == nil || kind != protowire.BytesType {
			continue
		}
		for i, list := range lists {
			if list.field.Number() == number {
				if counts[i]++; counts[i] > tolerated*list.most {
					return string(field.Name()), list.problem()
				}
			}
		}
		if path, problem := b.look(value, field); problem != "" {
			return path, problem
		}
	}
	return "", ""
}

// look surveys one value of a field.
func (b bounds) look(value []byte, field protoreflect.FieldDescriptor) (path, problem string) {
	path = string(field.Name())
	content, _ := protowire.ConsumeBytes(value) // its size was found to be right
	switch {
	case field.Message() != nil:
		inner, problem := b.survey(content, field.Message())
		if inner != "" {
			path += "." + inner
		}
		return path, problem
	case field.Kind() == protoreflect.StringKind && !utf8.Valid(content):
		return path, "invalid UTF-8"
	}
	return path, ""
}
