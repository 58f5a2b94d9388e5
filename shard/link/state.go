package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of links. Local is the place of the chain, with its bucket first;
// peer is the other end.
//
//	'x' | bucket | 'o' | service u32 | zone | peer 6             an Outbound
//	'x' | bucket | 'm' | service u32 | zone | peer 6 | seq u64   a message that is not acknowledged
//	'x' | bucket | 'i' | service u32 | zone | peer 6             an Inbound
const (
	prefix       = 'x'
	kindOutbound = 'o'
	kindMessage  = 'm'
	kindInbound  = 'i'

	rowKeySize     = 1 + PlaceSize + 1 + PlaceSize
	messageKeySize = rowKeySize + 8
)

// BucketPrefix begins the keys of all links that a bucket has. A bucket that
// moves takes them along as they are.
func BucketPrefix(bucket uint8) []byte { return []byte{prefix, bucket} }

func key(local Place, kind byte, peer Place) []byte {
	k := make([]byte, 0, messageKeySize)
	k = append(k, prefix, local.Bucket, kind)
	k = binary.BigEndian.AppendUint32(k, local.Service)
	k = append(k, local.Zone)
	return append(k, peer.bytes()...)
}

// OutboundKey returns the state key of a link at its source.
func OutboundKey(l Link) []byte { return key(l.Src, kindOutbound, l.Dst) }

// InboundKey returns the state key of a link at its destination.
func InboundKey(l Link) []byte { return key(l.Dst, kindInbound, l.Src) }

// MessageKey returns the state key of a message at its source.
func MessageKey(l Link, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key(l.Src, kindMessage, l.Dst), seq)
}

// IsOutboundKey reports whether a state key is that of a link at its source.
func IsOutboundKey(k []byte) bool {
	_, kind, _, ok := splitKey(k)
	return ok && kind == kindOutbound && len(k) == rowKeySize
}

// Inherited returns a row of the state of links as a chain has it that took it over from
// another one: what that listed or made progress with last has no height here, so it may be
// listed again at once. Rows of messages stay as they are.
func Inherited(key, value []byte) []byte {
	_, kind, _, ok := splitKey(key)
	if !ok || len(key) != rowKeySize || len(value) < 8 || kind == kindMessage {
		return value
	}
	out := bytes.Clone(value) // Progress and Listed are the last number of each
	binary.BigEndian.PutUint64(out[len(out)-8:], math.MaxUint64)
	return out
}

// splitKey takes apart a key of the state of links.
func splitKey(k []byte) (local Place, kind byte, peer Place, ok bool) {
	if len(k) != rowKeySize && len(k) != messageKeySize || k[0] != prefix {
		return Place{}, 0, Place{}, false
	}
	local = Place{Bucket: k[1], Service: binary.BigEndian.Uint32(k[3:]), Zone: k[7]}
	return local, k[2], readPlace(codec.NewReader(k[8 : 8+PlaceSize])), true
}

// Outbound is a link at its source.
type Outbound struct {
	// Next is the number of the next message, Acked that of the first one that is
	// not acknowledged. Messages from Acked to Next-1 are in the state, Bytes
	// encoded in all.
	Next, Acked, Bytes uint64
	// Bounced messages go back or went back, as the destination said last, with
	// BouncedBytes; Returned of them arrived, with ReturnedBytes. One can arrive
	// before it is said.
	Bounced, BouncedBytes   uint64
	Returned, ReturnedBytes uint64
	// Progress is the height of the last block in which the link stopped being
	// empty, was acknowledged further or was listed again.
	Progress uint64
}

// Unacked returns how many messages are not acknowledged.
func (o *Outbound) Unacked() uint64 { return o.Next - o.Acked }

// UnderWay returns what the limits of sending count: messages and bytes that are
// not acknowledged or are on their way back.
func (o *Outbound) UnderWay() (messages, size uint64) {
	messages, size = o.Unacked(), o.Bytes
	if o.Bounced > o.Returned {
		messages += o.Bounced - o.Returned
	}
	if o.BouncedBytes > o.ReturnedBytes {
		size += o.BouncedBytes - o.ReturnedBytes
	}
	return messages, size
}

// Encode returns the canonical encoding: next, acked, bytes, bounced, bytes
// bounced, returned, bytes returned and progress, 8 each.
func (o *Outbound) Encode() []byte {
	return encodeNumbers(o.Next, o.Acked, o.Bytes, o.Bounced, o.BouncedBytes, o.Returned, o.ReturnedBytes, o.Progress)
}

// DecodeOutbound reads what Encode wrote.
func DecodeOutbound(b []byte) (Outbound, error) {
	n, err := decodeNumbers[[8]uint64](b)
	if err != nil {
		return Outbound{}, fmt.Errorf("decode outbound link: %w", err)
	}
	return Outbound{
		Next: n[0], Acked: n[1], Bytes: n[2], Bounced: n[3], BouncedBytes: n[4],
		Returned: n[5], ReturnedBytes: n[6], Progress: n[7],
	}, nil
}

// Inbound is a link at its destination.
type Inbound struct {
	// Next is the number of the next message.
	Next uint64
	// Seen is the newest anchor clock of the source that the link was told.
	Seen uint64
	// Bounced messages were sent back, with BouncedBytes.
	Bounced, BouncedBytes uint64
	// Listed is the height of the last block whose outbox acknowledges the link.
	Listed uint64
}

// Encode returns the canonical encoding: next, seen, bounced, bytes bounced and
// listed, 8 each.
func (i *Inbound) Encode() []byte {
	return encodeNumbers(i.Next, i.Seen, i.Bounced, i.BouncedBytes, i.Listed)
}

// DecodeInbound reads what Encode wrote.
func DecodeInbound(b []byte) (Inbound, error) {
	n, err := decodeNumbers[[5]uint64](b)
	if err != nil {
		return Inbound{}, fmt.Errorf("decode inbound link: %w", err)
	}
	return Inbound{Next: n[0], Seen: n[1], Bounced: n[2], BouncedBytes: n[3], Listed: n[4]}, nil
}

func encodeNumbers(numbers ...uint64) []byte {
	w := codec.NewWriter(8 * len(numbers))
	for _, n := range numbers {
		w.Uint64(n)
	}
	return w.Bytes()
}

func decodeNumbers[T [5]uint64 | [8]uint64](b []byte) (n T, err error) {
	r := codec.NewReader(b)
	for i := range len(n) {
		n[i] = r.Uint64()
	}
	return n, r.Done()
}

// OutboundAt returns a link at its source, the zero value if nothing was ever
// sent.
func OutboundAt(v chain.View, l Link) Outbound {
	b := v.Get(OutboundKey(l))
	if b == nil {
		return Outbound{}
	}
	o, err := DecodeOutbound(b)
	mustRead(l, err)
	return o
}

// InboundAt returns a link at its destination, the zero value if nothing ever
// arrived.
func InboundAt(v chain.View, l Link) Inbound {
	b := v.Get(InboundKey(l))
	if b == nil {
		return Inbound{}
	}
	i, err := DecodeInbound(b)
	mustRead(l, err)
	return i
}

// MessageAt returns a message that is not acknowledged, and ok=false if there is
// none with that number.
func MessageAt(v chain.View, l Link, seq uint64) (m Message, ok bool) {
	b := v.Get(MessageKey(l, seq))
	if b == nil {
		return Message{}, false
	}
	m, err := DecodeMessage(b)
	mustRead(l, err)
	return m, true
}

// Outbounds yields the links that a bucket has sent on, ascending by source and
// destination.
func Outbounds(v chain.View, bucket uint8) iter.Seq2[Link, Outbound] {
	return func(yield func(Link, Outbound) bool) {
		for k, b := range v.Range(append(BucketPrefix(bucket), kindOutbound)) {
			local, _, peer, _ := splitKey(k)
			l := Link{Src: local, Dst: peer}
			o, err := DecodeOutbound(b)
			mustRead(l, err)
			if !yield(l, o) {
				return
			}
		}
	}
}

// mustRead panics if a stored value cannot be decoded: a replica that cannot read
// its own state must stop.
func mustRead(l Link, err error) {
	if err != nil {
		panic(fmt.Errorf("read link %s: %w", l, err))
	}
}
