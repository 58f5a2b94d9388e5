package link

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Context is where and when links are used: one block of one chain. State may be
// an overlay for one transaction; what is undone with it was never sent.
type Context struct {
	State *chain.Overlay
	// Here reports whether the chain owns a place in this block.
	Here func(Place) bool
	// Void reports whether a message is one that no honest source sends. It is consumed in
	// its turn all the same, and does nothing; but it does not go back. Nil: there are none.
	Void func(*Message) bool
	// Silent says that nothing goes back from here, because no honest source misses what
	// fails: it is passed over, with its code. What goes back stays in the state until its
	// source acknowledges it, which one that lies never does.
	Silent bool
	// Height is that of the block.
	Height uint64
	// Clock is the anchor clock that the block's checkpoint will have: that of the
	// chain's first block less one, and Height.
	Clock uint64
}

// Draft is a message to be sent.
type Draft struct {
	Link              Link
	Kind              uint16
	OriginTx          ledger.Hash
	Sender, Recipient ledger.Address
	// Lifetime is for how many anchored checkpoints of the source the message may
	// wait, at most MaxLifetime; 0 means DefaultLifetime.
	Lifetime uint64
	Payload  []byte // at most MaxPayload bytes; kept, not copied
}

// Send appends a message to the outbox of its link. It refuses, and changes
// nothing, with
//
//	CodeInvalidValue   a link from a place to itself, a lifetime above MaxLifetime
//	CodeTooLarge       a payload of more than MaxPayload bytes
//	CodeForeignPlace   the chain does not own the source
//	CodeLinkFull       MaxUnacked messages are under way
//	CodeLinkBytes      MaxUnackedBytes bytes would be exceeded
//
// The last two pass by themselves: see RetryAfter.
func (c *Context) Send(d Draft) (Message, error) {
	lifetime := d.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	m := Message{
		Link: d.Link, Kind: d.Kind, OriginTx: d.OriginTx, Sender: d.Sender, Recipient: d.Recipient,
		Expiry: c.Clock + lifetime, Payload: d.Payload,
	}
	switch {
	case d.Link.Src == d.Link.Dst:
		return Message{}, chain.Refuse(chain.CodeInvalidValue, "link from %s to itself", d.Link.Src)
	case lifetime > MaxLifetime:
		return Message{}, chain.Refuse(chain.CodeInvalidValue, "lifetime of %d anchors, at most %d", lifetime, MaxLifetime)
	case len(d.Payload) > MaxPayload:
		return Message{}, chain.Refuse(chain.CodeTooLarge, "payload of %d bytes, at most %d", len(d.Payload), MaxPayload)
	case !c.Here(d.Link.Src):
		return Message{}, chain.Refuse(chain.CodeForeignPlace, "link %s does not begin on this chain", d.Link)
	}
	out := OutboundAt(c.State, d.Link)
	messages, size := out.UnderWay()
	if messages >= MaxUnacked {
		return Message{}, chain.Refuse(chain.CodeLinkFull, "link %s has %d messages under way, at most %d; send again in %d blocks",
			d.Link, messages, MaxUnacked, retryBlocks)
	}
	if size+uint64(m.Size()) > MaxUnackedBytes {
		return Message{}, chain.Refuse(chain.CodeLinkBytes, "link %s has %d bytes under way and cannot take %d more, at most %d; send again in %d blocks",
			d.Link, size, m.Size(), MaxUnackedBytes, retryBlocks)
	}
	c.push(&m, &out)
	return m, nil
}

// retryBlocks is about how long an acknowledgement takes.
const retryBlocks = 8

// RetryAfter returns after how many blocks what was refused with code may be
// tried again unchanged, and ok=false if it has to change.
func RetryAfter(code chain.Code) (blocks uint64, ok bool) {
	switch code {
	case chain.CodeLinkFull, chain.CodeLinkBytes, chain.CodeReturnsFull:
		return retryBlocks, true
	case chain.CodeNotAnchored, chain.CodeLinkGap:
		return 1, true
	case chain.CodeNotDue:
		return RelistBlocks, true
	default:
		return 0, false
	}
}

// push gives m its number and stores it and the link, which is out.
func (c *Context) push(m *Message, out *Outbound) {
	m.Seq = out.Next
	if out.Unacked() == 0 {
		out.Progress = c.Height
	}
	out.Next++
	out.Bytes += uint64(m.Size())
	if m.IsBounce() {
		out.Returns++
		out.ReturnBytes += uint64(m.Size())
	}
	c.State.Set(MessageKey(m.Link, m.Seq), m.Encode())
	c.State.Set(OutboundKey(m.Link), out.Encode())
}

// Relist lists the first messages of a link that are not acknowledged once more,
// in the outbox of this block, so that they can be proved without the leaves of
// earlier blocks: up to RelistMessages and RelistBytes, and one at least. Anybody
// may ask for it. It refuses, and changes nothing, with
//
//	CodeForeignPlace   the chain does not own the source
//	CodeNothingNew     everything is acknowledged
//	CodeNotDue         the link made progress in the last RelistBlocks blocks
func (c *Context) Relist(l Link) error {
	if !c.Here(l.Src) {
		return chain.Refuse(chain.CodeForeignPlace, "link %s does not begin on this chain", l)
	}
	out := OutboundAt(c.State, l)
	if out.Unacked() == 0 {
		return chain.Refuse(chain.CodeNothingNew, "link %s has nothing that is not acknowledged", l)
	}
	if err := c.due(l, out.Progress); err != nil {
		return err
	}
	size := 0
	for seq := out.Acked; seq < out.Next && seq < out.Acked+RelistMessages; seq++ {
		k := MessageKey(l, seq)
		b := c.State.Get(k)
		if size += len(b); size > RelistBytes && seq > out.Acked {
			break
		}
		c.State.Set(k, b)
	}
	out.Progress = c.Height
	c.State.Set(OutboundKey(l), out.Encode())
	return nil
}

// Reack acknowledges a link once more, in the outbox of this block. Anybody may
// ask for it. It refuses, and changes nothing, with
//
//	CodeForeignPlace   the chain does not own the destination
//	CodeLinkNotFound   nothing ever arrived
//	CodeNotDue         the link was acknowledged in the last RelistBlocks blocks
func (c *Context) Reack(l Link) error {
	if !c.Here(l.Dst) {
		return chain.Refuse(chain.CodeForeignPlace, "link %s does not end on this chain", l)
	}
	in := InboundAt(c.State, l)
	if in.Next == 0 {
		return chain.Refuse(chain.CodeLinkNotFound, "nothing arrived on link %s", l)
	}
	if err := c.due(l, in.Listed); err != nil {
		return err
	}
	in.Listed = c.Height
	c.State.Set(InboundKey(l), in.Encode())
	return nil
}

// due returns an error if not RelistBlocks blocks have passed since. A height
// above the block's is that of another chain, from which the link came.
func (c *Context) due(l Link, since uint64) error {
	if since <= c.Height && c.Height-since < RelistBlocks {
		return chain.Refuse(chain.CodeNotDue, "link %s was listed or made progress at height %d, ask again at %d", l, since, since+RelistBlocks)
	}
	return nil
}
