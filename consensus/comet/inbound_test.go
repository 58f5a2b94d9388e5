package comet_test

import (
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestStrangersKeepNobodyOut: peers to keep that are named while a chain runs come in,
// however many strangers there are, of whom no more than may do.
func TestStrangersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "inbound", 4)
	n.config = func(c *comet.Config) { c.Peers, c.MaxInbound = nil, 1 }
	for i := range n.members {
		n.start(t, i)
	}
	host := n.members[0]
	dials := func(i int) {
		t.Helper()
		if err := n.members[i].chain.SetPeers([]string{host.nodeKey.ID() + "@" + host.addr}); err != nil {
			t.Fatal(err)
		}
	}
	in := func(i int) bool {
		for _, p := range host.chain.Peers() {
			if p.ID == n.members[i].nodeKey.ID() {
				return true
			}
		}
		return false
	}
	dials(1)
	eventually(t, hangs, "the first stranger is in", func() bool { return in(1) })
	dials(2)
	dials(3)
	// It cannot be dialled, so it must come in.
	if err := host.chain.SetPeers([]string{n.members[3].nodeKey.ID() + "@" + freeAddrs(t, 1)[0]}); err != nil {
		t.Fatal(err)
	}
	eventually(t, hangs, "the peer to keep is in", func() bool { return in(3) })
	if in(2) || !in(1) {
		t.Errorf("strangers in: %v, %v", in(1), in(2))
	}
}
