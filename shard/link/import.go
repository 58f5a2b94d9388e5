package link

import (
	"bytes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

const (
	// MaxImportLeaves is the largest number of leaves of an import.
	MaxImportLeaves = 2_048
	// MaxImportSize is the largest import in bytes, encoded. It leaves room in a
	// transaction for a proof that the outbox root is anchored.
	MaxImportSize = 960 << 10

	importOverhead = 4 + 8 + 8 + 8 + 1 + 2
)

// Import is a range of leaves of the outbox that a chain had at some height, and
// the proof. Anybody can make one, and it needs no signature.
type Import struct {
	Shard  ledger.ChainID
	Height uint64
	Range  merkle.Range
	Leaves []Leaf // 1 to MaxImportLeaves
}

// Size returns the length of the encoding.
func (i *Import) Size() int {
	size := importOverhead + len(i.Range.Path)*ledger.HashSize
	for _, l := range i.Leaves {
		size += 4 + l.size()
	}
	return size
}

// Encode returns the canonical encoding: shard 4, height 8, the range proof, number
// of leaves 2, and for each its length 4 and its bytes.
func (i *Import) Encode() []byte {
	w := codec.NewWriter(i.Size())
	w.Uint32(uint32(i.Shard))
	w.Uint64(i.Height)
	i.Range.Append(w)
	w.Uint16(uint16(len(i.Leaves)))
	for _, l := range i.Leaves {
		w.Bytes32(l.Encode())
	}
	return w.Bytes()
}

// DecodeImport reads what Encode wrote. It refuses with CodeTooLarge more than
// MaxImportSize bytes or MaxImportLeaves leaves, and with CodeMalformed whatever
// no outbox has. Payloads alias b.
func DecodeImport(b []byte) (Import, error) {
	if len(b) > MaxImportSize {
		return Import{}, chain.Refuse(chain.CodeTooLarge, "import of %d bytes, at most %d", len(b), MaxImportSize)
	}
	r := codec.NewReader(b)
	out := Import{Shard: ledger.ChainID(r.Uint32()), Height: r.Uint64()}
	var err error
	if out.Range, err = merkle.ReadRange(r); err != nil {
		return Import{}, chain.Refuse(chain.CodeMalformed, "import: %v", err)
	}
	n := int(r.Uint16())
	if n > MaxImportLeaves {
		return Import{}, chain.Refuse(chain.CodeTooLarge, "import of %d leaves, at most %d", n, MaxImportLeaves)
	}
	for range n {
		raw := r.Bytes32(MessageOverhead + 1 + MaxPayload)
		if r.Err() != nil {
			break
		}
		l, err := DecodeLeaf(raw)
		if err != nil {
			return Import{}, err
		}
		out.Leaves = append(out.Leaves, l)
	}
	if err := r.Done(); err != nil || n == 0 {
		return Import{}, chain.Refuse(chain.CodeMalformed, "import of %d leaves: %v", n, err)
	}
	return out, nil
}

// Anchors is what a chain knows of the checkpoints of others. Both methods answer
// from the chain's own state, or from what the transaction that carries the import
// proves against it: the same on every node, and never from what a node happens to
// have heard.
type Anchors interface {
	// Anchored returns a checkpoint of shard that the main chain anchored, and
	// ok=false if height is not known to be anchored.
	Anchored(shard ledger.ChainID, height uint64) (a Anchored, ok bool)
	// Owned reports whether p belonged to shard at that height of shard.
	Owned(shard ledger.ChainID, height uint64, p Place) bool
}

// Anchored is what imports need of an anchored checkpoint.
type Anchored struct {
	Outbox ledger.Hash // its outbox root
	Clock  uint64      // its anchor clock; see Message.Expiry
	// Newest is the anchor clock of the newest checkpoint of the same shard that is
	// known to be anchored, at least Clock. Only this makes messages expire.
	Newest uint64
}

// check is an import that is being checked: what each link would be after the
// leaves that were looked at.
type check struct {
	c      *Context
	in     *Import
	known  Anchors
	next   map[Link]uint64    // by link: the number that comes next
	sent   map[Link]*Outbound // by link, after what was acknowledged and came back so far
	room   map[Link]*Outbound // by opposite link, with a bounce for each message so far
	useful bool
}

// Check returns nil if the import may be applied, and the refusal otherwise. It
// changes nothing.
//
//	CodeTooLarge       too many leaves or bytes
//	CodeNotAnchored    the outbox root is not known to be anchored
//	CodeBadRange       the leaves are not in the outbox
//	CodeBadOrder       the leaves are not in the order of an outbox
//	CodeForeignPlace   a leaf is not for this chain, or its origin was not the
//	                   shard's at that height
//	CodeLinkGap        messages before the first of a link are missing
//	CodeLinkRepeat     the first message of a link was received already
//	CodeReturnsFull    there would be no room for the messages to go back
//	CodeNeverSent      an acknowledgement or a bounce of messages that were not
//	                   sent or came back before, or a bounce that is not what was
//	                   sent: the committee of the shard lies
//	CodeNothingNew     acknowledgements of what is acknowledged, and nothing else
func (c *Context) Check(in *Import, known Anchors) error {
	if err := c.prove(in, known); err != nil {
		return err
	}
	k := check{c: c, in: in, known: known, next: map[Link]uint64{}, sent: map[Link]*Outbound{}, room: map[Link]*Outbound{}}
	for _, l := range in.Leaves {
		if err := k.leaf(l); err != nil {
			return err
		}
	}
	if !k.useful {
		return chain.Refuse(chain.CodeNothingNew, "all that the import acknowledges is acknowledged")
	}
	return nil
}

// prove checks what needs nothing of this chain's links.
func (c *Context) prove(in *Import, known Anchors) error {
	if n, size := len(in.Leaves), in.Size(); n > MaxImportLeaves || size > MaxImportSize {
		return chain.Refuse(chain.CodeTooLarge, "import of %d leaves and %d bytes, at most %d and %d", n, size, MaxImportLeaves, MaxImportSize)
	}
	a, ok := known.Anchored(in.Shard, in.Height)
	if !ok {
		return chain.Refuse(chain.CodeNotAnchored, "height %d of chain %d is not known to be anchored", in.Height, in.Shard)
	}
	encoded := make([][]byte, len(in.Leaves))
	for i, l := range in.Leaves {
		encoded[i] = l.Encode()
	}
	if err := in.Range.Verify(a.Outbox, encoded); err != nil {
		return chain.Refuse(chain.CodeBadRange, "outbox of chain %d at height %d: %v", in.Shard, in.Height, err)
	}
	for i := 1; i < len(in.Leaves); i++ {
		if in.Leaves[i-1].Compare(in.Leaves[i]) >= 0 {
			return chain.Refuse(chain.CodeBadOrder, "leaf %d does not come after leaf %d", i, i-1)
		}
	}
	return nil
}

func (k *check) leaf(l Leaf) error {
	if !k.c.Here(l.To()) {
		return chain.Refuse(chain.CodeForeignPlace, "leaf for %s, which is not on this chain", l.To())
	}
	if !k.known.Owned(k.in.Shard, k.in.Height, l.From()) {
		return chain.Refuse(chain.CodeForeignPlace, "leaf from %s, which was not on chain %d at height %d", l.From(), k.in.Shard, k.in.Height)
	}
	if l.Ack != nil {
		return k.ack(l.Ack)
	}
	k.useful = true
	m := l.Message
	next, ok := k.next[m.Link]
	if !ok {
		next = InboundAt(k.c.State, m.Link).Next
	}
	switch {
	case m.Seq > next:
		return chain.Refuse(chain.CodeLinkGap, "message %d of link %s, next is %d", m.Seq, m.Link, next)
	case m.Seq < next:
		return chain.Refuse(chain.CodeLinkRepeat, "message %d of link %s, next is %d", m.Seq, m.Link, next)
	}
	k.next[m.Link] = next + 1
	return k.back(m)
}

// back checks that a bounce is one of a message that may come back, and that there is
// room for the bounce of anything else.
func (k *check) back(m *Message) error {
	way := m.Link.Reverse()
	if m.IsBounce() {
		return k.returned(m, way)
	}
	room := outboundIn(k.room, k.c.State, way)
	room.Next++
	room.Bytes += uint64(m.Size())
	if messages, size := room.UnderWay(); messages > ReturnCap || size > ReturnCapBytes {
		return chain.Refuse(chain.CodeReturnsFull, "link %s could not take message %d back: %d messages and %d bytes are under way; bring acknowledgements first",
			way, m.Seq, messages-1, size-uint64(m.Size()))
	}
	return nil
}

// returned checks that a bounce has exactly what was sent on a link as number m.Of, and
// that it has not come back before.
func (k *check) returned(m *Message, way Link) error {
	out := outboundIn(k.sent, k.c.State, way)
	switch {
	case m.Of >= out.Next:
		return chain.Refuse(chain.CodeNeverSent, "message %d of link %s comes back, %d were sent", m.Of, way, out.Next)
	case m.Of < out.Back:
		return chain.Refuse(chain.CodeNeverSent, "message %d of link %s comes back, after message %d or once more", m.Of, way, out.Back-1)
	case out.forgotten(m.Of): // passed over, or the link would stop for those after who lied
		out.cameBack(m.Of)
		return nil
	}
	sent, ok := MessageAt(k.c.State, way, m.Of)
	if !ok || sent.IsBounce() {
		return chain.Refuse(chain.CodeNeverSent, "message %d of link %s comes back, and is a bounce itself", m.Of, way)
	}
	want := sent.bounce(m.Code)
	want.Seq = m.Seq
	if !bytes.Equal(want.Encode(), m.Encode()) {
		return chain.Refuse(chain.CodeNeverSent, "message %d of link %s comes back as another one than was sent", m.Of, way)
	}
	out.cameBack(m.Of)
	return nil
}

// ack checks that an acknowledgement can be true.
func (k *check) ack(a *Ack) error {
	out := outboundIn(k.sent, k.c.State, a.Link)
	if a.Next <= out.Acked {
		return nil // an old one, harmless beside something new
	}
	k.useful = true
	// Fewer bounces than it said before, or than came back, is what an honest committee says
	// that comes after one that lied. It frees messages, and has nothing come back.
	if a.Next > out.Next || a.Bounced > out.Bounced && a.Bounced-out.Bounced > a.Next-out.Acked {
		return chain.Refuse(chain.CodeNeverSent, "link %s: %d received, %d bounced; %d were sent and %d acknowledged, %d bounced before",
			a.Link, a.Next, a.Bounced, out.Next, out.Acked, out.Bounced)
	}
	if a.Next >= out.Back && a.Bounced > out.Returned && a.Bounced-out.Returned > a.Next-out.Back {
		return chain.Refuse(chain.CodeNeverSent, "link %s: %d received, %d bounced; %d came back, the last of them message %d",
			a.Link, a.Next, a.Bounced, out.Returned, int64(out.Back)-1)
	}
	out.acknowledged(a)
	return nil
}

// outboundIn returns the link as known so far, which is that of the state at first.
func outboundIn(known map[Link]*Outbound, v chain.View, l Link) *Outbound {
	out, ok := known[l]
	if !ok {
		o := OutboundAt(v, l)
		out = &o
		known[l] = out
	}
	return out
}

// Dropped returns how many messages an import would have a chain with the state in v
// drop, if Check takes it; without that it is a number that means nothing.
func Dropped(v chain.View, in *Import) (messages uint64) {
	known := map[Link]*Outbound{}
	for _, l := range in.Leaves {
		switch m := l.Message; {
		case l.Ack != nil:
			if out := outboundIn(known, v, l.Ack.Link); l.Ack.Next > out.Acked {
				out.acknowledged(l.Ack)
			}
		case m.IsBounce():
			outboundIn(known, v, m.Link.Reverse()).cameBack(m.Of)
		}
	}
	for _, out := range known {
		messages += min(max(out.needed(), out.Kept), out.Next) - out.Kept
	}
	return messages
}
