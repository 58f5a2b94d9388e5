package link_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard/link"
)

// TestThereAndBack follows messages over all that can become of them.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	var sent []link.Message
	a.block(t, known, func(c *link.Context) {
		for _, payload := range []string{"one", "no, two", "three"} {
			sent = append(sent, send(t, c, forth, payload))
		}
		d := draft(forth, "late")
		d.Lifetime = 1
		m, err := c.Send(d)
		wantCode(t, "send", err, chain.CodeOK)
		sent = append(sent, m)
	})
	in := a.carry(t, there)
	for known[[2]uint64{2, 1}].Newest < 3 { // two blocks more are anchored
		known[[2]uint64{2, 1}].Newest++
	}
	var receipts []link.Receipt
	b.block(t, known, func(c *link.Context) {
		var err error
		receipts, err = c.Apply(in, known, b)
		wantCode(t, "apply", err, chain.CodeOK)
	})
	receipt := func(n int, r link.Result, code chain.Code) link.Receipt {
		return link.Receipt{Link: forth, Seq: uint64(n), OriginTx: sent[n].OriginTx, Result: r, Code: code}
	}
	if diff := cmp.Diff([]link.Receipt{
		receipt(0, link.Executed, 0), receipt(1, link.Bounced, chain.CodeInsufficientBalance),
		receipt(2, link.Executed, 0), receipt(3, link.Expired, chain.CodeMessageExpired),
	}, receipts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]link.Message{sent[0], sent[2]}, b.executed); diff != "" {
		t.Errorf("executed: %s", diff)
	}
	if got := string(b.state.Get([]byte{'!'})); got != "three" {
		t.Errorf("state %q: what a refused message did was not undone", got)
	}
	wantIn := link.Inbound{Next: 4, Seen: 3, Bounced: 2, Listed: 1}
	if got := link.InboundAt(b.state, forth); got != wantIn {
		t.Errorf("inbound %+v, want %+v", got, wantIn)
	}
	if got, want := outbound(a, forth).Unacked(), uint64(4); got != want {
		t.Errorf("%d unacknowledged, want %d", got, want)
	}

	back := b.carry(t, here)
	a.block(t, known, func(c *link.Context) {
		receipts, err := c.Apply(back, known, a)
		wantCode(t, "apply what comes back", err, chain.CodeOK)
		if len(receipts) != 3 || receipts[0].Result != link.Acked || receipts[0].Seq != 4 || receipts[2].Result != link.Returned {
			t.Errorf("receipts %+v", receipts)
		}
	})
	bounce := func(seq uint64, m link.Message, code chain.Code) link.Message {
		return link.Message{
			Link: forth.Reverse(), Seq: seq, Kind: m.Kind, OriginTx: m.OriginTx, Sender: m.Recipient, Recipient: m.Sender,
			Of: m.Seq, Code: code, Payload: m.Payload,
		}
	}
	if diff := cmp.Diff([]link.Message{bounce(0, sent[1], chain.CodeInsufficientBalance), bounce(1, sent[3], chain.CodeMessageExpired)}, a.returned); diff != "" {
		t.Errorf("returned: %s", diff)
	}
	if diff := cmp.Diff([]link.Message{sent[1], sent[3]}, a.answered); diff != "" {
		t.Errorf("returned, as they were sent: %s", diff)
	}
	wantOut := link.Outbound{Next: 4, Acked: 4, Kept: 4, Bounced: 2, Returned: 2, Back: 4, Progress: 2}
	if got := link.OutboundAt(a.state, forth); got != wantOut {
		t.Errorf("outbound %+v, want %+v", got, wantOut)
	}
	if _, ok := link.MessageAt(a.state, forth, 3); ok {
		t.Error("an acknowledged message is still in the state")
	}

	b.block(t, known, func(c *link.Context) {
		_, err := c.Apply(a.carry(t, there), known, b)
		wantCode(t, "apply the last acknowledgement", err, chain.CodeOK)
	})
	if len(b.boxes[2].Leaves()) != 0 || !b.boxes[2].Root().IsZero() {
		t.Error("an acknowledgement is acknowledged")
	}
	for k := range b.state.Range(append(link.BucketPrefix(there.Bucket), 'm')) {
		t.Errorf("message %x is left over", k)
	}
}

// TestSilent: where nothing goes back, what fails is consumed with its code, and leaves
// nothing in the state but that it arrived.
func TestSilent(t *testing.T) {
	t.Parallel()
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	a.block(t, known, func(c *link.Context) {
		send(t, c, forth, "no")
		d := draft(forth, "late")
		d.Lifetime = 1
		_, err := c.Send(d)
		wantCode(t, "send", err, chain.CodeOK)
		send(t, c, forth, "yes")
	})
	known[[2]uint64{2, 1}].Newest = 3
	b.block(t, known, func(c *link.Context) {
		c.Silent = true
		receipts, err := c.Apply(a.carry(t, there), known, b)
		wantCode(t, "apply", err, chain.CodeOK)
		for i, want := range []link.Receipt{
			{Result: link.Passed, Code: chain.CodeInsufficientBalance}, {Result: link.Passed, Code: chain.CodeMessageExpired}, {Result: link.Executed},
		} {
			if got := receipts[i]; got.Result != want.Result || got.Code != want.Code {
				t.Errorf("message %d is %s (%s), want %s (%s)", i, got.Result, got.Code, want.Result, want.Code)
			}
		}
	})
	if out := link.OutboundAt(b.state, forth.Reverse()); out != (link.Outbound{}) || len(b.boxes[1].Leaves()) != 1 {
		t.Errorf("%d leaves, and the link back is %+v, want an acknowledgement", len(b.boxes[1].Leaves()), out)
	}
	if in := link.InboundAt(b.state, forth); in.Next != 3 || in.Bounced != 0 {
		t.Errorf("inbound %+v", in)
	}
	a.block(t, known, func(c *link.Context) {
		_, err := c.Apply(b.carry(t, here), known, a)
		wantCode(t, "apply what comes back", err, chain.CodeOK)
	})
	if out := outbound(a, forth); out.Kept != 3 {
		t.Errorf("messages are kept that will not come back: %+v", *out)
	}
}

// TestExpiryIsExact: at its expiry a message still executes, one checkpoint later
// it does not; and what a link was told of anchors is not forgotten.
func TestExpiryIsExact(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		newest uint64
		want   link.Result
	}{{513, link.Executed}, {514, link.Expired}} {
		a, b, known := newNode(2, here), newNode(3, there), anchored{}
		a.block(t, known, func(c *link.Context) { send(t, c, forth, "first") })
		first := a.carry(t, there)
		a.block(t, known, func(c *link.Context) { send(t, c, forth, "second") })
		second := a.carry(t, there)
		known[[2]uint64{2, 1}].Newest = row.newest
		c := b.context()
		got, err := c.Apply(first, known, b)
		if err != nil || got[0].Result != row.want {
			t.Errorf("newest %d: %v, %v, want %v", row.newest, got, err, row.want)
		}
		in := link.InboundAt(c.State, forth)
		in.Seen = 600
		c.State.Set(link.InboundKey(forth), in.Encode())
		if got, err := c.Apply(second, known, b); err != nil || got[0].Result != link.Expired {
			t.Errorf("after 600 was seen: %v, %v", got, err)
		}
	}
}

// scene is a link in the middle of its work: three messages forth of which one was
// taken and acknowledged, and a bounce on its way back.
type scene struct {
	a, b  *node
	known anchored
	forth *link.Import // messages 1 and 2 forth
	back  *link.Import // the acknowledgement of message 0, and its bounce
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{a: newNode(2, here), b: newNode(3, there, main), known: anchored{}}
	s.a.block(t, s.known, func(c *link.Context) { send(t, c, forth, "no, zero") })
	first := s.a.carry(t, there)
	s.a.block(t, s.known, func(c *link.Context) {
		send(t, c, forth, "one")
		send(t, c, forth, "two")
		send(t, c, link.Link{Src: here, Dst: main}, "to main")
	})
	s.forth = s.a.carry(t, there)
	s.b.block(t, s.known, func(c *link.Context) {
		_, err := c.Apply(first, s.known, s.b)
		wantCode(t, "first message", err, chain.CodeOK)
	})
	s.back = s.b.carry(t, here)
	return s
}

// forge makes leaves of chain id at a height of their own, as a whole committee that
// lies could, and returns the import.
func (s *scene) forge(t *testing.T, id ledger.ChainID, places []link.Place, leaves ...link.Leaf) *link.Import {
	t.Helper()
	in := &link.Import{Shard: id, Height: 99, Leaves: leaves}
	var encoded [][]byte
	for _, l := range leaves {
		encoded = append(encoded, l.Encode())
	}
	tree, err := merkle.New(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if in.Range, err = tree.Range(0, uint64(len(leaves))); err != nil {
		t.Fatal(err)
	}
	s.known[[2]uint64{uint64(id), 99}] = &posted{Anchored: link.Anchored{Outbox: tree.Root(), Clock: 9, Newest: 9}, places: places}
	return in
}

// TestImportRefuses: each row breaks one thing of a good import, and changes
// nothing.
func TestImportRefuses(t *testing.T) {
	t.Parallel()
	msg := func(m link.Message) link.Leaf { return link.Leaf{Message: &m} }
	ack := func(next, bounced uint64) link.Leaf {
		return link.Leaf{Ack: &link.Ack{Link: forth, Next: next, Bounced: bounced}}
	}
	cut := func(s *scene, height uint64, begin, end int) *link.Import {
		in, err := s.a.boxes[height].Import(2, height, begin, end)
		if err != nil {
			t.Fatal(err)
		}
		return &in
	}
	edit := func(in *link.Import, change func(in *link.Import)) *link.Import {
		other := *in
		other.Leaves = slices.Clone(in.Leaves)
		change(&other)
		return &other
	}
	bounce := link.Message{Link: forth.Reverse(), Of: 0, Code: 24, Payload: []byte("no, zero")}
	for _, row := range []struct {
		name string
		make func(s *scene) (to *node, in *link.Import)
		want chain.Code
	}{
		{"good, forth", func(s *scene) (*node, *link.Import) { return s.b, s.forth }, chain.CodeOK},
		{"good, back", func(s *scene) (*node, *link.Import) { return s.a, s.back }, chain.CodeOK},
		{"a part", func(s *scene) (*node, *link.Import) { return s.b, cut(s, 2, 1, 2) }, chain.CodeOK},
		{"two links in one", func(s *scene) (*node, *link.Import) { return s.b, cut(s, 2, 0, 3) }, chain.CodeOK},
		{"a bounce without its acknowledgement", func(s *scene) (*node, *link.Import) {
			in, _ := s.b.boxes[1].Import(3, 1, 1, 2)
			return s.a, &in
		}, chain.CodeOK},
		{"a gap", func(s *scene) (*node, *link.Import) { return s.b, cut(s, 2, 2, 3) }, chain.CodeLinkGap},
		{"a repeat", func(s *scene) (*node, *link.Import) { return s.b, cut(s, 1, 0, 1) }, chain.CodeLinkRepeat},
		{"the other chain", func(s *scene) (*node, *link.Import) { return s.a, s.forth }, chain.CodeForeignPlace},
		{"a height that is not anchored", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Height = 3 })
		}, chain.CodeNotAnchored},
		{"another height", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Height = 1 })
		}, chain.CodeBadRange},
		{"another chain's outbox", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Shard, in.Height = 3, 1 })
		}, chain.CodeBadRange},
		{"a leaf left out", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Leaves = in.Leaves[:1] })
		}, chain.CodeBadRange},
		{"no leaves", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Leaves = nil })
		}, chain.CodeBadRange},
		{"leaves exchanged", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { slices.Reverse(in.Leaves) })
		}, chain.CodeBadRange},
		{"another payload", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) {
				m := *in.Leaves[0].Message
				m.Payload = []byte("lie")
				in.Leaves[0] = msg(m)
			})
		}, chain.CodeBadRange},
		{"too many leaves", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) { in.Leaves = slices.Repeat(in.Leaves, 1_025) })
		}, chain.CodeTooLarge},
		{"too many bytes", func(s *scene) (*node, *link.Import) {
			return s.b, edit(s.forth, func(in *link.Import) {
				m := *in.Leaves[0].Message
				m.Payload = make([]byte, link.MaxPayload)
				in.Leaves = slices.Repeat([]link.Leaf{msg(m)}, 15)
			})
		}, chain.CodeTooLarge},
		{"an outbox out of order", func(s *scene) (*node, *link.Import) {
			return s.b, s.forge(t, 2, s.a.places, s.forth.Leaves[1], s.forth.Leaves[0])
		}, chain.CodeBadOrder},
		{"a message twice", func(s *scene) (*node, *link.Import) {
			return s.b, s.forge(t, 2, s.a.places, s.forth.Leaves[0], s.forth.Leaves[0])
		}, chain.CodeBadOrder},
		{"a gap inside", func(s *scene) (*node, *link.Import) {
			m := *s.forth.Leaves[1].Message
			m.Seq = 3
			return s.b, s.forge(t, 2, s.a.places, s.forth.Leaves[0], msg(m))
		}, chain.CodeLinkGap},
		{"somebody else's link", func(s *scene) (*node, *link.Import) {
			return s.b, s.forge(t, 5, []link.Place{{Service: 9}}, s.forth.Leaves...)
		}, chain.CodeForeignPlace},
		{"a place that left the shard", func(s *scene) (*node, *link.Import) {
			s.known[[2]uint64{2, 2}].places = nil
			return s.b, s.forth
		}, chain.CodeForeignPlace},
		{"somebody else's acknowledgement", func(s *scene) (*node, *link.Import) {
			return s.a, s.forge(t, 5, []link.Place{{Service: 9}}, s.back.Leaves[0])
		}, chain.CodeForeignPlace},
		{"an acknowledgement that others want", func(s *scene) (*node, *link.Import) {
			return s.b, s.forge(t, 3, s.b.places, s.back.Leaves[0])
		}, chain.CodeForeignPlace},
		{"an acknowledgement of too much", func(s *scene) (*node, *link.Import) {
			return s.a, s.forge(t, 3, s.b.places, ack(4, 0))
		}, chain.CodeNeverSent},
		{"more bounced than acknowledged", func(s *scene) (*node, *link.Import) {
			l := *s.back.Leaves[0].Ack
			return s.a, s.forge(t, 3, s.b.places, ack(l.Next, 2))
		}, chain.CodeNeverSent},
		{"a bounce of nothing", func(s *scene) (*node, *link.Import) {
			m := bounce
			m.Of = 3
			return s.a, s.forge(t, 3, s.b.places, msg(m))
		}, chain.CodeNeverSent},
		{"an old acknowledgement", func(s *scene) (*node, *link.Import) {
			s.a.block(t, s.known, func(c *link.Context) {
				_, err := c.Apply(s.back, s.known, s.a)
				wantCode(t, "back", err, chain.CodeOK)
			})
			return s.a, s.forge(t, 3, s.b.places, s.back.Leaves[0])
		}, chain.CodeNothingNew},
		{"everything again", func(s *scene) (*node, *link.Import) {
			s.a.block(t, s.known, func(c *link.Context) {
				_, err := c.Apply(s.back, s.known, s.a)
				wantCode(t, "back", err, chain.CodeOK)
			})
			return s.a, s.back
		}, chain.CodeLinkRepeat},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			to, in := row.make(s)
			c := to.context()
			h := handler{}
			receipts, err := c.Apply(in, s.known, &h)
			wantCode(t, row.name, err, row.want)
			if row.want != chain.CodeOK && (c.State.Len() != 0 || receipts != nil || h.executed != nil || h.returned != nil) {
				t.Errorf("refused, with %d changes and receipts %v", c.State.Len(), receipts)
			}
			if row.want == chain.CodeOK && c.State.Len() == 0 {
				t.Error("taken without a change")
			}
		})
	}
}

// TestHandlerMustRefuseWithACode: anything else is a bug, and no bounce.
func TestHandlerMustRefuseWithACode(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	defer func() {
		if recover() == nil {
			t.Error("an error without a code is taken for a refusal")
		}
	}()
	_, err := s.b.context().Apply(s.forth, s.known, broken{})
	t.Errorf("applied with %v", err)
}

type broken struct{}

func (broken) Execute(*link.Context, *link.Message) error         { return merkle.ErrProof }
func (broken) Return(*link.Context, *link.Message, *link.Message) {}
