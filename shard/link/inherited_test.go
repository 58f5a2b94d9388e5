package link_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

// TestInherited: a chain that took links over may list them again in its first block,
// whatever the heights of the chain before; nothing else of them changes.
func TestInherited(t *testing.T) {
	t.Parallel()
	l := link.Link{Src: link.Place{Service: 1, Bucket: 1}, Dst: link.Place{Service: 1, Bucket: 2}}
	everywhere := func(link.Place) bool { return true }
	out := link.Outbound{Next: 9, Acked: 4, Kept: 3, Bytes: 5, Returns: 1, ReturnBytes: 2, Bounced: 2, Returned: 1, Back: 3, Progress: 7}
	in := link.Inbound{Next: 4, Seen: 5, Bounced: 6, Listed: 8}
	for _, height := range []uint64{1, 8, 30, 5_000} {
		o := chain.NewOverlay(newMemory())
		o.Set(link.OutboundKey(l), link.Inherited(link.OutboundKey(l), out.Encode()))
		o.Set(link.InboundKey(l), link.Inherited(link.InboundKey(l), in.Encode()))
		c := &link.Context{State: o, Here: everywhere, Height: height}
		gotOut, gotIn := link.OutboundAt(o, l), link.InboundAt(o, l)
		gotOut.Progress, gotIn.Listed = out.Progress, in.Listed
		if gotOut != out || gotIn != in {
			t.Errorf("%+v and %+v are taken over as %+v and %+v", out, in, gotOut, gotIn)
		}
		if err := c.Reack(l); err != nil {
			t.Errorf("height %d: %v", height, err)
		}
		if err := c.Relist(l); err != nil {
			t.Errorf("height %d: %v", height, err)
		}
		if err := c.Relist(l); err == nil {
			t.Errorf("height %d: it is listed twice", height)
		}
	}
	message := []byte("any bytes at all")
	for _, key := range [][]byte{link.MessageKey(l, 3), {'x'}, []byte("something else")} {
		if got := link.Inherited(key, message); !bytes.Equal(got, message) {
			t.Errorf("row %x changes to %q", key, got)
		}
	}
}
