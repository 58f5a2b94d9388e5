package comet_test

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// Extensions are made for the round of the vote that they go with, and those that are
// handed out are of the round in which the block was decided.
func TestExtensionsKnowTheirRound(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "rounds", 4)
	var spoiled atomic.Int32
	for _, m := range n.members {
		m.app.extend = func(b comet.Block) ([]byte, error) {
			return binary.BigEndian.AppendUint32(nil, b.Round), nil
		}
		m.app.propose = func(mempool [][]byte) [][]byte {
			if len(mempool) > 0 && spoiled.Add(1) <= 2 {
				return [][]byte{{0xff}} // nobody votes for it: the next round has to decide
			}
			return mempool
		}
	}
	n.startAll(t)
	n.settle(t, 0, 0, 0, 1, 2, 3)
	chain := n.members[1].chain
	highest := uint32(0)
	for height := uint64(1); height <= chain.Status().Height; height++ {
		_, extensions, err := chain.Extensions(height)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range extensions {
			if len(e.Data) != 4 || binary.BigEndian.Uint32(e.Data) != e.Round || e.Round != extensions[0].Round {
				t.Errorf("height %d: extension %x of round %d, the first is of %d", height, e.Data, e.Round, extensions[0].Round)
			}
			highest = max(highest, e.Round)
		}
	}
	if highest < 2 {
		t.Errorf("no block was decided after round %d", highest)
	}
}
