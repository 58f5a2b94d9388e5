package link_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

func TestSendRefuses(t *testing.T) {
	t.Parallel()
	edit := func(change func(d *link.Draft)) link.Draft {
		d := draft(forth, "payload")
		change(&d)
		return d
	}
	for _, row := range []struct {
		name string
		d    link.Draft
		want chain.Code
	}{
		{"good", edit(func(*link.Draft) {}), chain.CodeOK},
		{"the longest payload", edit(func(d *link.Draft) { d.Payload = make([]byte, link.MaxPayload) }), chain.CodeOK},
		{"a payload too long", edit(func(d *link.Draft) { d.Payload = make([]byte, link.MaxPayload+1) }), chain.CodeTooLarge},
		{"the longest life", edit(func(d *link.Draft) { d.Lifetime = link.MaxLifetime }), chain.CodeOK},
		{"a life too long", edit(func(d *link.Draft) { d.Lifetime = link.MaxLifetime + 1 }), chain.CodeInvalidValue},
		{"a link to itself", edit(func(d *link.Draft) { d.Link.Dst = here }), chain.CodeInvalidValue},
		{"another chain's place", edit(func(d *link.Draft) { d.Link = forth.Reverse() }), chain.CodeForeignPlace},
	} {
		c := newNode(2, here).context()
		m, err := c.Send(row.d)
		wantCode(t, row.name, err, row.want)
		if (err == nil) != (c.State.Len() > 0) {
			t.Errorf("%s: %d changes", row.name, c.State.Len())
		}
		if err == nil {
			if got, ok := link.MessageAt(c.State, forth, 0); !ok || got.Expiry != m.Expiry || m.Expiry <= c.Clock {
				t.Errorf("%s: message %+v in the state, want %+v", row.name, got, m)
			}
		}
	}
}

// TestLimits: the last message that fits is sent, the next one is not, and when
// room is made it is.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		payload int
		want    chain.Code
	}{
		{"messages", 1, chain.CodeLinkFull},
		{"bytes", link.MaxPayload, chain.CodeLinkBytes},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, b, known := newNode(2, here), newNode(3, there), anchored{}
			d := draft(forth, "")
			d.Payload = make([]byte, row.payload)
			sent := 0
			a.block(t, known, func(c *link.Context) {
				var err error
				for ; err == nil; sent++ {
					before := c.State.Len()
					if _, err = c.Send(d); err != nil && c.State.Len() != before {
						t.Error("a refusal changed something")
					}
				}
				sent--
				wantCode(t, "one more", err, row.want)
				if blocks, ok := link.RetryAfter(row.want); !ok || blocks == 0 {
					t.Errorf("try again in %d blocks, %v", blocks, ok)
				}
			})
			messages, size := outbound(a, forth).UnderWay()
			if messages != uint64(sent) || messages != link.MaxUnacked && size+uint64(row.payload+link.MessageOverhead) <= link.MaxUnackedBytes {
				t.Errorf("%d messages and %d bytes under way, %d sent", messages, size, sent)
			}
			in, err := a.boxes[1].Import(2, 1, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			b.block(t, known, func(c *link.Context) {
				_, err := c.Apply(&in, known, b)
				wantCode(t, "apply", err, chain.CodeOK)
			})
			a.block(t, known, func(c *link.Context) {
				_, err := c.Apply(b.carry(t, here), known, a)
				wantCode(t, "acknowledgement", err, chain.CodeOK)
				_, err = c.Send(d)
				wantCode(t, "send when there is room", err, chain.CodeOK)
				_, err = c.Send(d)
				wantCode(t, "one more again", err, row.want)
			})
		})
	}
}

func outbound(n *node, l link.Link) *link.Outbound {
	o := link.OutboundAt(n.state, l)
	return &o
}

// pieces applies all of an outbox that is for p, as much as is taken, and returns
// the first refusal.
func pieces(t *testing.T, to *node, c *link.Context, from *node, height uint64, p link.Place, known anchored) error {
	t.Helper()
	begin, end := from.boxes[height].Span(p, p)
	for ; begin < end; begin++ {
		in, err := from.boxes[height].Import(from.id, height, begin, begin+1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Apply(&in, known, to); err != nil {
			return err
		}
	}
	return nil
}

// TestFullBothWays: two places that send all they may and refuse all they get, and
// get acknowledgements late or one-sidedly, stay within the caps and still finish.
func TestFullBothWays(t *testing.T) {
	t.Parallel()
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	flood := func(n *node, l link.Link) (sent int) {
		n.block(t, known, func(c *link.Context) {
			for {
				if _, err := c.Send(draft(l, "no")); err != nil {
					wantCode(t, "flood", err, chain.CodeLinkFull)
					return
				}
				sent++
			}
		})
		return sent
	}
	sent, full := flood(a, forth)+flood(b, forth.Reverse()), 0
	check := func() {
		for _, o := range []*link.Outbound{outbound(a, forth), outbound(b, forth.Reverse())} {
			if o.Unacked() > link.ReturnCap || o.Bytes > link.ReturnCapBytes {
				t.Fatalf("%d messages and %d bytes are kept", o.Unacked(), o.Bytes)
			}
		}
	}
	deliver := func(from, to *node, at link.Place, acks bool) {
		to.block(t, known, func(c *link.Context) {
			for h := uint64(1); h <= from.height; h++ {
				begin, end := from.boxes[h].Span(at, at)
				for ; begin < end; begin++ {
					l := from.boxes[h].Leaves()[begin]
					if l.Ack != nil && !acks || l.Message != nil && l.Message.Seq != link.InboundAt(c.State, l.Message.Link).Next {
						continue
					}
					in, err := from.boxes[h].Import(from.id, h, begin, begin+1)
					if err != nil {
						t.Fatal(err)
					}
					_, err = c.Apply(&in, known, to)
					switch code, _ := chain.CodeOf(err); code {
					case chain.CodeOK, chain.CodeNothingNew:
					case chain.CodeReturnsFull:
						full++
						return
					default:
						t.Fatal(err)
					}
				}
			}
		})
		check()
	}
	// Messages and their bounces go forth and back, more are sent for as long as
	// it is allowed, but nothing is acknowledged.
	for range 3 {
		deliver(a, b, there, false)
		deliver(b, a, here, false)
		sent += flood(a, forth) + flood(b, forth.Reverse())
		check()
	}
	if sent != 2*link.MaxUnacked {
		t.Errorf("%d were sent without an acknowledgement", sent)
	}
	// Acknowledgements of one side only, then both.
	for range 3 {
		deliver(a, b, there, true)
		deliver(b, a, here, false)
		sent += flood(a, forth) + flood(b, forth.Reverse())
		check()
	}
	for range 12 {
		deliver(a, b, there, true)
		deliver(b, a, here, true)
	}
	if full == 0 {
		t.Error("there was always room")
	}
	if o, p := outbound(a, forth), outbound(b, forth.Reverse()); o.Unacked() != 0 || p.Unacked() != 0 || len(a.returned)+len(b.returned) != sent {
		t.Errorf("left %+v and %+v; %d of %d came back", o, p, len(a.returned)+len(b.returned), sent)
	}
}

// TestListedAgain: what nobody can prove any more is proved by a later block, but
// not too often.
func TestListedAgain(t *testing.T) {
	t.Parallel()
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	a.block(t, known, func(c *link.Context) {
		wantCode(t, "nothing is there", c.Relist(forth), chain.CodeNothingNew)
		wantCode(t, "another chain's", c.Relist(forth.Reverse()), chain.CodeForeignPlace)
		wantCode(t, "another chain's acknowledgement", c.Reack(forth), chain.CodeForeignPlace)
		wantCode(t, "an acknowledgement of nothing", c.Reack(forth.Reverse()), chain.CodeLinkNotFound)
		for i := range link.RelistMessages + 5 {
			send(t, c, forth, fmt.Sprint("message ", i))
		}
		wantCode(t, "too soon", c.Relist(forth), chain.CodeNotDue)
	})
	a.height = link.RelistBlocks
	a.block(t, known, func(c *link.Context) {
		wantCode(t, "relist", c.Relist(forth), chain.CodeOK)
		wantCode(t, "at once again", c.Relist(forth), chain.CodeNotDue)
	})
	if n := len(a.boxes[a.height].Leaves()); n != link.RelistMessages {
		t.Errorf("%d messages are listed again, want %d", n, link.RelistMessages)
	}
	b.block(t, known, func(c *link.Context) {
		wantCode(t, "what is listed again", pieces(t, b, c, a, a.height, there, known), chain.CodeOK)
		wantCode(t, "what was listed first", pieces(t, b, c, a, 1, there, known), chain.CodeLinkRepeat)
	})
	b.height = link.RelistBlocks - 1
	b.block(t, known, func(c *link.Context) { wantCode(t, "too soon", c.Reack(forth), chain.CodeNotDue) })
	b.block(t, known, func(c *link.Context) { wantCode(t, "reack", c.Reack(forth), chain.CodeOK) })
	a.block(t, known, func(c *link.Context) {
		_, err := c.Apply(b.carry(t, here), known, a)
		wantCode(t, "acknowledgement", err, chain.CodeOK)
		if got := link.OutboundAt(c.State, forth); got.Unacked() != 5 || got.Progress != c.Height {
			t.Errorf("after it %+v", got)
		}
	})
	// A link that came from a chain with larger heights can be listed at once.
	heir := newNode(9, here)
	heir.state.apply(chain.Changes{})
	for k, v := range a.state.Range(link.BucketPrefix(here.Bucket)) {
		heir.state.apply(chain.Changes{{Key: k, Value: v}})
	}
	heir.block(t, known, func(c *link.Context) { wantCode(t, "relist by the heir", c.Relist(forth), chain.CodeOK) })
	b.block(t, known, func(c *link.Context) {
		wantCode(t, "the rest", pieces(t, b, c, heir, 1, there, known), chain.CodeOK)
	})
	if got := link.InboundAt(b.state, forth).Next; got != link.RelistMessages+5 {
		t.Errorf("%d messages arrived", got)
	}
}

// TestListsLittleAtOnce: large messages are listed again a few at a time.
func TestListsLittleAtOnce(t *testing.T) {
	t.Parallel()
	a, known := newNode(2, here), anchored{}
	a.block(t, known, func(c *link.Context) {
		for range 20 {
			send(t, c, forth, string(make([]byte, link.MaxPayload)))
		}
	})
	a.height = link.RelistBlocks
	a.block(t, known, func(c *link.Context) { wantCode(t, "relist", c.Relist(forth), chain.CodeOK) })
	if n := len(a.boxes[a.height].Leaves()); n != link.RelistBytes/link.MaxPayload-1 {
		t.Errorf("%d messages are listed again", n)
	}
}

// TestOutbounds: every link of a bucket is found, and nobody else's.
func TestOutbounds(t *testing.T) {
	t.Parallel()
	other := link.Place{Service: 1, Zone: 2, Bucket: 4}
	a, known := newNode(2, here, other), anchored{}
	links := []link.Link{{Src: here, Dst: main}, {Src: here, Dst: other}, {Src: here, Dst: there}}
	a.block(t, known, func(c *link.Context) {
		for _, l := range slices.Backward(links) {
			send(t, c, l, "x")
		}
		send(t, c, link.Link{Src: other, Dst: here}, "x")
	})
	var got []link.Link
	for l, o := range link.Outbounds(a.state, here.Bucket) {
		if got = append(got, l); o.Next != 1 {
			t.Errorf("link %s: %+v", l, o)
		}
	}
	if !slices.Equal(got, links) {
		t.Errorf("links %v, want %v", got, links)
	}
	if begin, end := a.boxes[1].Span(main, main); begin != 0 || end != 1 {
		t.Errorf("for main: %d to %d", begin, end)
	}
	if begin, end := a.boxes[1].Span(here, link.Place{Service: 1, Zone: 2, Bucket: 255}); begin != 1 || end != 4 {
		t.Errorf("for a zone: %d to %d", begin, end)
	}
	if begin, end := a.boxes[1].Span(link.Place{Service: 7}, link.Place{Service: 8}); begin != end {
		t.Errorf("for nobody: %d to %d", begin, end)
	}
	if _, err := a.boxes[1].Import(2, 1, 2, 2); err == nil {
		t.Error("an import of nothing")
	}
}
