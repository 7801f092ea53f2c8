package server

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// The digest covers every field of a request but the token, its proof, the trace and
// the tenant, which the caller has, and what this version does not know.
func TestRequestDigestCoversEveryField(t *testing.T) {
	seen := map[[32]byte]string{}
	add := func(name string, in *writv1.DecideRequest) [32]byte {
		t.Helper()
		sum, err := requestDigest(in, decision.Caller{Tenant: "acme", SPIFFEID: "spiffe://gateway"}, decision.Principal{Subject: "agent", Actors: []string{"a", "b"}})
		if err != nil {
			t.Fatal(err)
		}
		if want := plainDigest(t, in, "acme", "spiffe://gateway", "", "agent", "", "a", "b"); sum != want {
			t.Errorf("%s: got %x, want %x", name, sum, want)
		}
		return sum
	}
	seen[add("nothing", &writv1.DecideRequest{})] = "nothing"
	fields := (&writv1.DecideRequest{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		in := &writv1.DecideRequest{}
		set(in.ProtoReflect(), field)
		sum := add(string(field.Name()), in)
		want := ""
		if slices.Contains([]string{"principal_token", "principal_proof", "trace", "tenant"}, string(field.Name())) {
			want = "nothing"
		}
		if seen[sum] != want {
			t.Errorf("%s hashes like %q, want %q", field.Name(), seen[sum], want)
		}
		if want == "" {
			seen[sum] = string(field.Name())
		}
	}
	in := &writv1.DecideRequest{}
	in.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01})
	if other, known := seen[add("unknown", in)]; known {
		t.Errorf("an unknown field hashes like %q", other)
	}
}

// set gives a field some value that is not its zero.
func set(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch value := m.NewField(field); {
	case field.IsList() && field.Message() != nil:
		value.List().AppendMutable()
		m.Set(field, value)
	case field.IsList():
		value.List().Append(protoreflect.ValueOfString("x"))
		m.Set(field, value)
	case field.Message() != nil:
		m.Set(field, value)
	case field.Kind() == protoreflect.StringKind:
		m.Set(field, protoreflect.ValueOfString("x"))
	case field.Kind() == protoreflect.BoolKind:
		m.Set(field, protoreflect.ValueOfBool(true))
	case field.Kind() == protoreflect.BytesKind:
		m.Set(field, protoreflect.ValueOfBytes([]byte("x")))
	case field.Kind() == protoreflect.EnumKind:
		m.Set(field, protoreflect.ValueOfEnum(1))
	case field.Kind() == protoreflect.Uint32Kind:
		m.Set(field, protoreflect.ValueOfUint32(1))
	default:
		panic("a field of a new kind: " + field.FullName())
	}
}

// plainDigest is the definition: SHA-256 over the message without token, proof, trace
// and tenant, and over the parts, each after its length.
func plainDigest(t *testing.T, in *writv1.DecideRequest, parts ...string) [32]byte {
	t.Helper()
	bare := proto.CloneOf(in)
	bare.PrincipalToken, bare.PrincipalProof, bare.Trace, bare.Tenant = "", "", nil, ""
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, part := range append([]string{string(data)}, parts...) {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(part))), part...)
	}
	return sha256.Sum256(all)
}
