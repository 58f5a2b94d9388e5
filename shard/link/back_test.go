package link_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard/link"
)

// returns is what a destination sends back as it likes: its committee lies.
type returns struct {
	a     *node
	known anchored
	sent  []link.Message
	seq   uint64 // of the next bounce
	lies  uint64 // heights that were anchored
}

func newReturns(tb testing.TB, messages int) *returns {
	tb.Helper()
	r := &returns{a: newNode(2, here), known: anchored{}}
	r.send(tb, messages)
	return r
}

func (r *returns) send(tb testing.TB, messages int) {
	tb.Helper()
	r.a.block(tb, r.known, func(c *link.Context) {
		for range messages {
			r.sent = append(r.sent, send(tb, c, forth, fmt.Sprint("message ", len(r.sent))))
		}
	})
}

// bounce returns the bounce of a message as an honest destination makes it.
func (r *returns) bounce(of uint64) link.Message {
	m := &r.sent[of]
	return link.Message{
		Link: forth.Reverse(), Seq: r.seq, Kind: m.Kind, OriginTx: m.OriginTx, Sender: m.Recipient, Recipient: m.Sender,
		Of: of, Code: chain.CodeInvalidValue, Payload: m.Payload,
	}
}

// bring brings leaves, certified and anchored whatever they say.
func (r *returns) bring(tb testing.TB, leaves ...link.Leaf) error {
	tb.Helper()
	encoded := make([][]byte, len(leaves))
	for i, l := range leaves {
		encoded[i] = l.Encode()
	}
	tree, err := merkle.New(encoded)
	if err != nil {
		tb.Fatal(err)
	}
	proof, err := tree.Range(0, uint64(len(leaves)))
	if err != nil {
		tb.Fatal(err)
	}
	r.lies++
	r.known[[2]uint64{3, r.lies}] = &posted{
		Anchored: link.Anchored{Outbox: tree.Root(), Clock: r.lies, Newest: r.lies}, places: []link.Place{there},
	}
	in := &link.Import{Shard: 3, Height: r.lies, Range: proof, Leaves: leaves}
	var refused error
	r.a.block(tb, r.known, func(c *link.Context) {
		before, rows := c.State.Len(), rowsOf(r.a)
		drops := link.Dropped(r.a.state, in)
		if _, refused = c.Apply(in, r.known, r.a); refused != nil {
			if c.State.Len() != before {
				tb.Errorf("%v, and %d rows changed", refused, c.State.Len()-before)
			}
			return
		}
		for _, l := range leaves {
			if l.Message != nil {
				r.seq++
			}
		}
		o := link.OutboundAt(c.State, forth)
		if now, _ := o.UnderWay(); rows+o.Next != outbound(r.a, forth).Next+now+drops {
			tb.Errorf("%d rows become %d, %d were to be dropped", rows, now, drops)
		}
	})
	o := outbound(r.a, forth)
	if messages, size := o.UnderWay(); messages != rowsOf(r.a) || size != bytesOf(r.a) || o.Kept > o.Acked || o.Acked > o.Next {
		tb.Fatalf("%d messages of %d bytes under way by %+v, the state has %d of %d", messages, size, *o, rowsOf(r.a), bytesOf(r.a))
	}
	return refused
}

func rowsOfForth() []byte {
	k := link.MessageKey(forth, 0)
	return k[:len(k)-8]
}

func rowsOf(n *node) (rows uint64) {
	for range n.state.Range(rowsOfForth()) {
		rows++
	}
	return rows
}

func bytesOf(n *node) (size uint64) {
	for _, v := range n.state.Range(rowsOfForth()) {
		size += uint64(len(v))
	}
	return size
}

func ackOf(next, bounced uint64) link.Leaf {
	return link.Leaf{Ack: &link.Ack{Link: forth, Next: next, Bounced: bounced}}
}

func leafOf(m link.Message) link.Leaf { return link.Leaf{Message: &m} }

// TestBounceIsWhatWasSent: each row changes one thing of a bounce, and nothing but the
// code of why it failed may be changed.
func TestBounceIsWhatWasSent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(m *link.Message)
		want   chain.Code
	}{
		{"as it was sent", func(*link.Message) {}, chain.CodeOK},
		{"for another reason", func(m *link.Message) { m.Code = chain.CodeMessageExpired }, chain.CodeOK},
		{"another payload", func(m *link.Message) { m.Payload = []byte("message 9") }, chain.CodeNeverSent},
		{"a longer payload", func(m *link.Message) { m.Payload = append(slices.Clone(m.Payload), 0) }, chain.CodeNeverSent},
		{"another kind", func(m *link.Message) { m.Kind++ }, chain.CodeNeverSent},
		{"another sender", func(m *link.Message) { m.Sender[0]++ }, chain.CodeNeverSent},
		{"another recipient", func(m *link.Message) { m.Recipient[0]++ }, chain.CodeNeverSent},
		{"another origin", func(m *link.Message) { m.OriginTx[0]++ }, chain.CodeNeverSent},
		{"the number of another message", func(m *link.Message) { m.Of = 2 }, chain.CodeNeverSent},
		{"the number of none", func(m *link.Message) { m.Of = 3 }, chain.CodeNeverSent},
	} {
		for _, acked := range []bool{false, true} {
			r := newReturns(t, 3)
			if acked {
				wantCode(t, "acknowledgement", r.bring(t, ackOf(3, 2)), chain.CodeOK)
			}
			m := r.bounce(1)
			row.change(&m)
			wantCode(t, fmt.Sprintf("%s, acknowledged: %t", row.name, acked), r.bring(t, leafOf(m)), row.want)
		}
	}
}

// TestBouncesComeBackOnce: before the acknowledgement and after it, each message comes
// back once, and not after a later one.
func TestBouncesComeBackOnce(t *testing.T) {
	t.Parallel()
	type step struct {
		of   int // -1: an acknowledgement of next and bounced
		next uint64
		back uint64
		want chain.Code
	}
	bounce := func(of int, want chain.Code) step { return step{of: of, want: want} }
	ack := func(next, bounced uint64, want chain.Code) step { return step{-1, next, bounced, want} }
	for _, row := range []struct {
		name  string
		steps []step
		kept  uint64
		back  int // messages that came back with an effect
	}{
		{"before the acknowledgement", []step{
			bounce(1, chain.CodeOK), bounce(1, chain.CodeNeverSent), bounce(0, chain.CodeNeverSent), ack(4, 1, chain.CodeOK), bounce(1, chain.CodeNeverSent),
			bounce(3, chain.CodeOK), bounce(2, chain.CodeNeverSent), bounce(4, chain.CodeOK),
		}, 2, 2},
		{"after it", []step{
			ack(4, 2, chain.CodeOK), bounce(1, chain.CodeOK), bounce(1, chain.CodeNeverSent), bounce(3, chain.CodeOK), bounce(3, chain.CodeNeverSent),
		}, 2, 2},
		{"in between", []step{
			ack(2, 1, chain.CodeOK), bounce(0, chain.CodeOK), bounce(3, chain.CodeOK), ack(3, 1, chain.CodeOK), ack(6, 3, chain.CodeOK), bounce(5, chain.CodeOK),
		}, 0, 3},
		{"none, it was said", []step{ack(4, 0, chain.CodeOK), bounce(1, chain.CodeOK), bounce(1, chain.CodeNeverSent)}, 2, 0},
		{"fewer than bounced, it was said, before somebody honest came", []step{
			ack(4, 1, chain.CodeOK), bounce(0, chain.CodeOK), bounce(1, chain.CodeOK), bounce(2, chain.CodeOK), ack(6, 4, chain.CodeOK), bounce(5, chain.CodeOK),
		}, 0, 2},
		{"fewer than came back", []step{bounce(0, chain.CodeOK), bounce(2, chain.CodeOK), ack(3, 1, chain.CodeOK)}, 3, 2},
		{"fewer came back than were said to", []step{
			ack(3, 3, chain.CodeOK), ack(4, 0, chain.CodeOK), ack(6, 1, chain.CodeOK), bounce(4, chain.CodeOK),
		}, 0, 1},
		{"what nobody counts came back", []step{
			bounce(0, chain.CodeOK), bounce(1, chain.CodeOK), ack(4, 0, chain.CodeOK), ack(6, 1, chain.CodeOK), bounce(4, chain.CodeOK), bounce(5, chain.CodeOK),
		}, 0, 3},
		{"more than could come back", []step{bounce(0, chain.CodeOK), bounce(2, chain.CodeOK), ack(4, 4, chain.CodeNeverSent), ack(4, 3, chain.CodeOK)}, 3, 2},
		{"never, though it was said", []step{ack(6, 1, chain.CodeOK)}, 6, 0},
		{"all of them", []step{ack(6, 6, chain.CodeOK), bounce(5, chain.CodeOK), bounce(4, chain.CodeNeverSent)}, 0, 1},
	} {
		r := newReturns(t, 6)
		for i, s := range row.steps {
			what := fmt.Sprintf("%s, step %d", row.name, i)
			if s.of < 0 {
				wantCode(t, what, r.bring(t, ackOf(s.next, s.back)), s.want)
			} else {
				wantCode(t, what, r.bring(t, leafOf(r.bounce(uint64(s.of)))), s.want)
			}
		}
		if got, back := rowsOf(r.a), len(r.a.returned); got != row.kept || back != row.back {
			t.Errorf("%s: %d messages are kept, want %d; %d came back, want %d: %+v", row.name, got, row.kept, back, row.back, *outbound(r.a, forth))
		}
	}
}

// TestBouncesDoNotComeBack: what a chain sent back cannot be sent back to it.
func TestBouncesDoNotComeBack(t *testing.T) {
	t.Parallel()
	r := newReturns(t, 1)
	m := link.Message{Link: forth.Reverse(), Expiry: 100, Payload: []byte("no")}
	wantCode(t, "a message that is refused", r.bring(t, leafOf(m)), chain.CodeOK)
	r.sent = append(r.sent, link.Message{Sender: m.Recipient, Recipient: m.Sender, Payload: m.Payload})
	if o := outbound(r.a, forth); o.Next != 2 || o.Returns != 1 {
		t.Fatalf("after a refusal: %+v", *o)
	}
	wantCode(t, "its bounce", r.bring(t, leafOf(r.bounce(1))), chain.CodeNeverSent)
}

// TestNeverReturned: a destination that does not send back what it says it does fills its
// own link and no other.
func TestNeverReturned(t *testing.T) {
	t.Parallel()
	r := newReturns(t, 2)
	wantCode(t, "acknowledgement", r.bring(t, ackOf(2, 1)), chain.CodeOK)
	full := 0
	for range 3 * link.MaxUnacked / 512 {
		r.a.block(t, r.known, func(c *link.Context) {
			for range 512 {
				m, err := c.Send(draft(forth, "more"))
				if err != nil {
					wantCode(t, "send", err, chain.CodeLinkFull)
					full++
					return
				}
				r.sent = append(r.sent, m)
			}
		})
		wantCode(t, "acknowledgement", ignore(r.bring(t, ackOf(uint64(len(r.sent)), 1)), chain.CodeNothingNew), chain.CodeOK)
	}
	if rows := rowsOf(r.a); full == 0 || rows > link.MaxUnacked {
		t.Errorf("%d messages are kept, and the link was full %d times", rows, full)
	}
	r.a.block(t, r.known, func(c *link.Context) {
		send(t, c, link.Link{Src: here, Dst: main}, "elsewhere")
	})
	wantCode(t, "the bounce at last", r.bring(t, leafOf(r.bounce(1))), chain.CodeOK)
	r.a.block(t, r.known, func(c *link.Context) { send(t, c, forth, "there is room again") })
}

func ignore(err error, code chain.Code) error {
	if got, _ := chain.CodeOf(err); got == code {
		return nil
	}
	return err
}

// TestReturnsProperty: whatever a destination says, in whatever order, each message that
// was sent comes back at most once and as it was sent, and what an honest one says is
// taken.
func TestReturnsProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r := newReturns(t, rapid.IntRange(1, 12).Draw(rt, "messages"))
		honest := rapid.Bool().Draw(rt, "honest")
		bounced := map[uint64]bool{} // of an honest destination: fixed by the number
		back := func(of uint64) bool { return of%3 == uint64(len(r.sent))%3 || bounced[of] }
		for of := range uint64(64) {
			bounced[of] = back(of)
		}
		count := func(next uint64) (n uint64) {
			for of := range next {
				if bounced[of] {
					n++
				}
			}
			return n
		}
		next, came := uint64(0), uint64(0) // what was acknowledged, and the first that may come back
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.IntRange(0, 5).Draw(rt, "send") == 0 {
				r.send(t, 1)
			}
			total := uint64(len(r.sent))
			if honest {
				for came < total && !bounced[came] {
					came++
				}
				if rapid.Bool().Draw(rt, "bounce") && came < total {
					wantCode(t, "an honest bounce", r.bring(t, leafOf(r.bounce(came))), chain.CodeOK)
					came++
				} else if next < total {
					next += rapid.Uint64Range(1, total-next).Draw(rt, "next")
					wantCode(t, "an honest acknowledgement", r.bring(t, ackOf(next, count(next))), chain.CodeOK)
				}
				continue
			}
			if rapid.Bool().Draw(rt, "bounce") {
				m := r.bounce(rapid.Uint64Range(0, total-1).Draw(rt, "of"))
				if rapid.IntRange(0, 3).Draw(rt, "forged") == 0 {
					m.Payload = r.sent[rapid.Uint64Range(0, total-1).Draw(rt, "as")].Payload
				}
				_ = r.bring(t, leafOf(m))
			} else {
				n := rapid.Uint64Range(1, total).Draw(rt, "next")
				_ = r.bring(t, ackOf(n, rapid.Uint64Range(0, n).Draw(rt, "bounced")))
			}
		}
		seen := map[uint64]bool{}
		for i := range r.a.returned {
			m := &r.a.returned[i]
			if seen[m.Of] || string(m.Payload) != string(r.sent[m.Of].Payload) {
				rt.Fatalf("message %d comes back as %q, before: %t", m.Of, m.Payload, seen[m.Of])
			}
			seen[m.Of] = true
		}
		if honest && next == uint64(len(r.sent)) && count(next) == uint64(len(seen)) && rowsOf(r.a) != 0 {
			rt.Fatalf("%d messages are kept after all: %+v", rowsOf(r.a), *outbound(r.a, forth))
		}
	})
}
