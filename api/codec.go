package api

import (
	"errors"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxParts is how many messages, strings and byte strings a request may
	// have, all in all. The largest batch has some 50,000.
	maxParts = 1 << 16
	// smallMessage is the size in bytes below which nothing is counted.
	smallMessage = 64 << 10
)

var errTooManyParts = errors.New("message has too many parts")

// boundedCodec is gRPC's codec, but refuses requests that would need far more
// memory than they have bytes: an empty message in a list takes two bytes on the
// wire and some hundred in memory.
type boundedCodec struct {
	encoding.CodecV2
}

// Unmarshal decodes data into v.
func (c boundedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok || data.Len() < smallMessage {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	parts := 0
	if countParts(b.ReadOnlyData(), m.ProtoReflect().Descriptor(), &parts); parts > maxParts {
		return errTooManyParts
	}
	return proto.Unmarshal(b.ReadOnlyData(), m)
}

// countParts adds the parts of message b of type d to parts, until these are too
// many or b cannot be read, which is left to Unmarshal.
func countParts(b []byte, d protoreflect.MessageDescriptor, parts *int) {
	for len(b) > 0 && *parts <= maxParts {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return
		}
		if kind == protowire.BytesType {
			*parts++
			if f := d.Fields().ByNumber(number); f != nil && f.Message() != nil {
				inner, _ := protowire.ConsumeBytes(b)
				countParts(inner, f.Message(), parts)
			}
		}
		b = b[size:]
	}
}
