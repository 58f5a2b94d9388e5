package comet_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestRemoteSignerWithoutRecord gives a validator, whose key voted in the blocks it
// has, a remote signer. A node that has no record of that key's signatures is new to
// it: what was signed before is for the remote signer to know. A record that does not
// know the votes in the blocks was lost, though, and the node does not start.
func TestRemoteSignerWithoutRecord(t *testing.T) {
	t.Parallel()
	nw := newNetwork(t, "c", 4)
	m := nw.members[0]
	nw.startAll(t)
	address := m.signer.Address()
	sent := 0
	voted := func(i int, after uint64) bool { // the key signed a block above after, as member i knows
		nw.settle(t, 1, sent, i)
		sent++
		return nw.votedAt(t, i, address) > after
	}
	eventually(t, hangs, "the node has a block with a vote of its own", func() bool { return voted(0, 0) })
	nw.stop(t, 0)

	key, err := comet.LoadSigner(filepath.Join(m.dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	mirror := filepath.Join(m.dir, "mirror")
	client, disconnect := connect(t, mirror, key)
	disconnect = sync.OnceFunc(disconnect)
	t.Cleanup(disconnect) // after the chain stops
	m.signer = client
	if err := nw.tryStart(t, 0); err != nil {
		t.Fatalf("without a record of the remote signer's votes: %v", err)
	}
	last := nw.members[1].chain.LatestHeight()
	eventually(t, hangs, "the key votes by the remote signer", func() bool { return voted(1, last) })
	nw.stop(t, 0)
	disconnect()

	rewriteSignState(t, mirror)
	client, disconnect = connect(t, mirror, key)
	t.Cleanup(disconnect) // after the chain stops
	m.signer = client
	if err := nw.tryStart(t, 0); !errors.Is(err, comet.ErrSignStateBehind) {
		t.Errorf("with a record that was lost: %v", err)
	}
}
