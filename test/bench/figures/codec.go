package main

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// encoded is the load generator's codec: it sends bytes that were encoded before
// the measurement and hands out the answer's bytes, so that a decision costs the
// generator what an echo does.
type encoded struct{}

// Name is that of the codec on the other side.
func (encoded) Name() string { return "proto" }

// Marshal takes a []byte.
func (encoded) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal fills a *[]byte, whose memory it uses again.
func (encoded) Unmarshal(data mem.BufferSlice, v any) error {
	into := v.(*[]byte)
	n := data.Len()
	if cap(*into) < n {
		*into = make([]byte, n)
	}
	*into = (*into)[:n]
	data.CopyTo(*into)
	return nil
}

const effectField = 3 // of DecideResponse

// allowed reads no more of an answer than that it allows, and all of one that
// does not.
func allowed(answer []byte) error {
	for b := answer; len(b) > 0; {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		b = b[n:]
		if number == effectField && typ == protowire.VarintType {
			if effect, _ := protowire.ConsumeVarint(b); effect == uint64(writv1.Effect_EFFECT_ALLOW) {
				return nil
			}
			break
		}
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			break
		}
		b = b[n:]
	}
	var d writv1.DecideResponse
	if err := proto.Unmarshal(answer, &d); err != nil {
		return errors.New("an answer cannot be read")
	}
	return fmt.Errorf("an answer is %s and not an allow: %v", d.Effect, d.Reasons)
}
