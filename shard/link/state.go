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
//	'x' | bucket | 'm' | service u32 | zone | peer 6 | seq u64   a message, from Outbound.Kept on
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
	// not acknowledged.
	Next, Acked uint64
	// Kept is the number of the first message in the state, at most Acked: what is
	// acknowledged is kept as long as it may come back. Messages from Kept to Next-1
	// are there, Bytes encoded in all.
	Kept, Bytes uint64
	// Returns of the messages in the state are bounces, with ReturnBytes of the bytes.
	Returns, ReturnBytes uint64
	// Bounced messages go back or went back, as the destination said last; Returned of
	// them arrived. One can arrive before it is said. Neither is believed for ever: the next
	// acknowledgement may count fewer.
	Bounced, Returned uint64
	// Back is the number of the first message that may come back: those before it came
	// back, or did not when they could.
	Back uint64
	// Progress is the height of the last block in which the link stopped being
	// empty, was acknowledged further or was listed again.
	Progress uint64
}

// Unacked returns how many messages are not acknowledged.
func (o *Outbound) Unacked() uint64 { return o.Next - o.Acked }

// UnderWay returns what the limits of sending count, and what the link has in the
// state: messages and bytes that are not acknowledged, or are and may come back.
func (o *Outbound) UnderWay() (messages, size uint64) { return o.Next - o.Kept, o.Bytes }

// Own returns the part of UnderWay that the source sent by itself: without the bounces
// of what others sent.
func (o *Outbound) Own() (messages, size uint64) {
	return o.Next - o.Kept - o.Returns, o.Bytes - o.ReturnBytes
}

// needed returns the number of the first message that has to stay in the state.
// Bounces come in the order of what they answer. So nothing before Back comes back,
// and nothing that is acknowledged if as many came back as bounced.
func (o *Outbound) needed() uint64 {
	if o.Returned >= o.Bounced {
		return o.Acked
	}
	return max(o.Kept, min(o.Back, o.Acked))
}

// acknowledged notes an acknowledgement that is new. If more came back than it counts,
// beside those behind what it acknowledges, an earlier committee of the destination sent
// them back and did not count them: they are not taken for any that it counts later.
func (o *Outbound) acknowledged(a *Ack) {
	o.Acked, o.Bounced = a.Next, a.Bounced
	ahead := max(o.Back, o.Acked) - o.Acked
	o.Returned = min(o.Returned, o.Bounced+ahead)
}

// forgotten reports whether a message is gone and may come back all the same: an
// acknowledgement counted too few bounces, as a committee that lied does.
func (o *Outbound) forgotten(seq uint64) bool { return seq >= o.Back && seq < o.needed() }

// cameBack notes that a message came back. One that is forgotten was not counted before.
func (o *Outbound) cameBack(seq uint64) {
	if o.forgotten(seq) {
		o.Bounced++
	}
	o.Returned, o.Back = o.Returned+1, seq+1
}

// Encode returns the canonical encoding: next, acked, kept, bytes, returns, bytes of
// returns, bounced, returned, back and progress, 8 each.
func (o *Outbound) Encode() []byte {
	return encodeNumbers(o.Next, o.Acked, o.Kept, o.Bytes, o.Returns, o.ReturnBytes, o.Bounced, o.Returned, o.Back, o.Progress)
}

// DecodeOutbound reads what Encode wrote.
func DecodeOutbound(b []byte) (Outbound, error) {
	n, err := decodeNumbers[[10]uint64](b)
	if err != nil {
		return Outbound{}, fmt.Errorf("decode outbound link: %w", err)
	}
	return Outbound{
		Next: n[0], Acked: n[1], Kept: n[2], Bytes: n[3], Returns: n[4], ReturnBytes: n[5],
		Bounced: n[6], Returned: n[7], Back: n[8], Progress: n[9],
	}, nil
}

// Inbound is a link at its destination.
type Inbound struct {
	// Next is the number of the next message.
	Next uint64
	// Seen is the newest anchor clock of the source that the link was told.
	Seen uint64
	// Bounced messages were sent back.
	Bounced uint64
	// Listed is the height of the last block whose outbox acknowledges the link.
	Listed uint64
}

// Encode returns the canonical encoding: next, seen, bounced and listed, 8 each.
func (i *Inbound) Encode() []byte { return encodeNumbers(i.Next, i.Seen, i.Bounced, i.Listed) }

// DecodeInbound reads what Encode wrote.
func DecodeInbound(b []byte) (Inbound, error) {
	n, err := decodeNumbers[[4]uint64](b)
	if err != nil {
		return Inbound{}, fmt.Errorf("decode inbound link: %w", err)
	}
	return Inbound{Next: n[0], Seen: n[1], Bounced: n[2], Listed: n[3]}, nil
}

func encodeNumbers(numbers ...uint64) []byte {
	w := codec.NewWriter(8 * len(numbers))
	for _, n := range numbers {
		w.Uint64(n)
	}
	return w.Bytes()
}

func decodeNumbers[T [4]uint64 | [10]uint64](b []byte) (n T, err error) {
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

// MessageAt returns a message that is not acknowledged, or is and may come back, and
// ok=false if there is none with that number.
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
