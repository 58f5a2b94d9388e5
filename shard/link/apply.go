package link

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Handler is what the rules of a chain do with messages. c is of the block, with
// an overlay of its own as State; a handler may send.
type Handler interface {
	// Execute does what m says, or refuses with a RuleError whose code is not
	// CodeOK; then whatever it changed is undone and m goes back with the code. Any
	// other error is a bug and panics.
	Execute(c *Context, m *Message) error
	// Return takes back a message that failed: m is its bounce, and sent what was sent. It
	// cannot fail, and undoes for m.Recipient what sending took. The code of m is all that
	// the destination says; that it expired cannot be true before the clock is beyond
	// sent.Expiry.
	Return(c *Context, m, sent *Message)
}

// Result is what became of a leaf.
type Result uint8

// The results.
const (
	Executed Result = 1 // the message did what it says
	Bounced  Result = 2 // its handler refused it, and it goes back
	Expired  Result = 3 // it came too late, and goes back
	Returned Result = 4 // it was a bounce, and its sender has back what it sent
	Acked    Result = 5 // messages before Seq are acknowledged
	// Passed means that it is one that no honest source sends, the bounce of a message that
	// is forgotten, since fewer were said to come back, or failed where that does not go back
	// (Context.Silent): passed over, and does not go back.
	Passed Result = 6
)

// String returns the result's name: "executed".
func (r Result) String() string {
	switch r {
	case Executed:
		return "executed"
	case Bounced:
		return "bounced"
	case Expired:
		return "expired"
	case Returned:
		return "returned"
	case Acked:
		return "acked"
	case Passed:
		return "passed over"
	default:
		return "unknown"
	}
}

// Receipt says what became of a leaf of an import.
type Receipt struct {
	Link     Link
	Seq      uint64
	OriginTx ledger.Hash
	Result   Result
	Code     chain.Code // why it goes or came back; CodeOK otherwise
}

// Apply checks an import and does what it says. It refuses as Check does, and then
// has changed nothing. The receipts are in the order of the leaves; old
// acknowledgements have none.
func (c *Context) Apply(in *Import, known Anchors, h Handler) ([]Receipt, error) {
	if err := c.Check(in, known); err != nil {
		return nil, err
	}
	a, _ := known.Anchored(in.Shard, in.Height)
	var receipts []Receipt
	for _, l := range in.Leaves {
		if l.Ack == nil {
			receipts = append(receipts, c.take(l.Message, max(a.Newest, a.Clock), h))
		} else if r, ok := c.settle(l.Ack); ok {
			receipts = append(receipts, r)
		}
	}
	return receipts, nil
}

// settle drops the messages that a acknowledges, as far as they do not come back.
func (c *Context) settle(a *Ack) (Receipt, bool) {
	out := OutboundAt(c.State, a.Link)
	if a.Next <= out.Acked {
		return Receipt{}, false
	}
	out.acknowledged(a)
	out.Progress = c.Height
	c.drop(a.Link, &out)
	return Receipt{Link: a.Link, Seq: a.Next, Result: Acked}, true
}

// drop drops the messages of a link that are not needed any more, and stores the link.
func (c *Context) drop(l Link, out *Outbound) {
	for first := out.needed(); out.Kept < first; out.Kept++ {
		k := MessageKey(l, out.Kept)
		m, ok := MessageAt(c.State, l, out.Kept)
		if !ok {
			panic(fmt.Errorf("message %d of link %s is not in the state", out.Kept, l))
		}
		out.Bytes -= uint64(m.Size())
		if m.IsBounce() {
			out.Returns--
			out.ReturnBytes -= uint64(m.Size())
		}
		c.State.Delete(k)
	}
	c.State.Set(OutboundKey(l), out.Encode())
}

// take consumes the next message of its link.
func (c *Context) take(m *Message, seen uint64, h Handler) Receipt {
	in := InboundAt(c.State, m.Link)
	in.Next, in.Seen, in.Listed = in.Next+1, max(in.Seen, seen), c.Height
	r := Receipt{Link: m.Link, Seq: m.Seq, OriginTx: m.OriginTx}
	switch {
	case m.IsBounce():
		r.Result, r.Code = c.takeBack(m, h)
	case c.Void != nil && c.Void(m):
		r.Result, r.Code = Passed, chain.CodeUnknownKind
	case in.Seen > m.Expiry:
		r.Result, r.Code = Expired, chain.CodeMessageExpired
	default:
		r.Code = c.execute(m, h)
		r.Result = Executed
		if r.Code != chain.CodeOK {
			r.Result = Bounced
		}
	}
	failed := r.Result == Bounced || r.Result == Expired
	switch {
	case failed && c.Silent:
		r.Result = Passed
	case failed:
		b := m.bounce(r.Code)
		out := OutboundAt(c.State, b.Link)
		c.push(&b, &out)
		in.Bounced++
	}
	c.State.Set(InboundKey(m.Link), in.Encode())
	return r
}

// takeBack takes a bounce. One of a message that is forgotten is passed over: what that was is
// not known any more.
func (c *Context) takeBack(m *Message, h Handler) (Result, chain.Code) {
	way := m.Link.Reverse()
	out := OutboundAt(c.State, way)
	forgotten := out.forgotten(m.Of)
	sent, _ := MessageAt(c.State, way, m.Of) // drop may delete it; what is forgotten is gone
	out.cameBack(m.Of)
	c.drop(way, &out)
	if forgotten {
		return Passed, chain.CodeNeverSent
	}
	h.Return(c, m, &sent)
	return Returned, m.Code
}

func (c *Context) execute(m *Message, h Handler) chain.Code {
	sub := *c
	sub.State = chain.NewOverlay(c.State)
	err := h.Execute(&sub, m)
	if err == nil {
		c.State.Merge(sub.State)
		return chain.CodeOK
	}
	code, ok := chain.CodeOf(err)
	if !ok || code == chain.CodeOK {
		panic(fmt.Errorf("message %d of link %s: the handler must refuse with a code: %w", m.Seq, m.Link, err))
	}
	return code
}
