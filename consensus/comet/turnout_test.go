package comet_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// turnoutOf returns the turnout of member i, after comparing it with the commits.
func (n *network) turnoutOf(t *testing.T, i int) comet.Turnout {
	t.Helper()
	chain := n.members[i].chain
	got, err := chain.Turnout()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]comet.Attendance{}
	for h := got.From; h != 0 && h <= got.To; h++ {
		commit, err := chain.Commit(h)
		if err != nil {
			t.Fatal(err)
		}
		validators, err := chain.Validators(h)
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range validators {
			a := want[string(v.Address)]
			a.Blocks++
			if bytes.Equal(commit.Signatures[j].Validator, v.Address) {
				a.Signed++
			}
			want[string(v.Address)] = a
		}
	}
	if len(want) != len(got.Of) {
		t.Errorf("member %d: of %d validators, want %d", i, len(got.Of), len(want))
	}
	for address, a := range want {
		if got.Of[address] != a {
			t.Errorf("member %d: %x has %+v of blocks %d to %d, by the commits %+v", i, address, got.Of[address], got.From, got.To, a)
		}
	}
	return got
}

// However often it is asked for, the turnout is that of the last hundred blocks, and
// the same after a start.
func TestTurnoutOfTheLastBlocks(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "turnout", 1)
	n.config = func(c *comet.Config) { c.EmptyBlocks, c.TimeoutCommit = true, time.Millisecond }
	n.start(t, 0)
	m := n.members[0]
	own := m.signer.Address()
	for _, height := range []uint64{1, 2, 20, 21, 130, 135} {
		m.app.waitFor(t, time.Minute, func(_ int, h uint64) bool { return h >= height })
		got := n.turnoutOf(t, 0)
		blocks := got.Blocks()
		if got.To+2 < height || blocks != uint32(min(got.To, comet.TurnoutBlocks)) || got.Of[string(own)] != (comet.Attendance{Blocks: blocks, Signed: blocks}) && blocks > 0 {
			t.Errorf("at height %d: %d blocks, %d to %d: %+v", height, blocks, got.From, got.To, got.Of)
		}
	}
	n.stop(t, 0)
	n.restart(t, 0)
	if got := n.turnoutOf(t, 0); got.Blocks() != comet.TurnoutBlocks || got.Of[string(own)].Signed != comet.TurnoutBlocks {
		t.Errorf("after a start: blocks %d to %d: %+v", got.From, got.To, got.Of)
	}
	m.app.waitFor(t, time.Minute, func(_ int, h uint64) bool { return h >= 250 }) // all rows are other ones
	if got := n.turnoutOf(t, 0); got.To < 245 || got.Blocks() != comet.TurnoutBlocks {
		t.Errorf("much later: blocks %d to %d: %+v", got.From, got.To, got.Of)
	}
	n.stop(t, 0)
	n.reload(t, 0)
}

// Who stops loses turnout, who joins has that of the blocks since, and all nodes tell
// the same of the same blocks.
func TestTurnoutFallsAndBegins(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "turnout-falls", 5)
	n.genesis.Validators = n.genesis.Validators[:4]
	for _, m := range n.members {
		m.app.update = func(b comet.Block) []comet.ValidatorUpdate {
			for _, x := range b.Txs {
				if bytes.Equal(x, tx(1)) {
					return []comet.ValidatorUpdate{{PubKey: n.members[4].signer.PubKey(), Power: 10}}
				}
			}
			return nil
		}
	}
	n.startAll(t)
	address := func(i int) string { return string(n.members[i].signer.Address()) }
	n.settle(t, 0, 0, 0, 1, 2, 3, 4)
	n.settle(t, 1, 1, 0, 1, 2, 3, 4)
	for i := range 3 {
		n.settle(t, 0, 2+i, 0, 1, 2, 3, 4)
	}
	before := n.turnoutOf(t, 0)
	if got := before.Of[address(4)]; got.Blocks == 0 || got.Blocks >= before.Blocks() {
		t.Errorf("who joined has %+v of %d blocks", got, before.Blocks())
	}
	n.stop(t, 3)
	for i := range 4 {
		n.settle(t, 0, 5+i, 0, 1, 2, 4)
	}
	after := n.turnoutOf(t, 0)
	gone := after.Of[address(3)]
	if missed := gone.Blocks - gone.Signed; gone.Blocks != after.Blocks() || missed < 3 || missed < before.Of[address(3)].Blocks-before.Of[address(3)].Signed {
		t.Errorf("who stopped has %+v of %d blocks, had %+v", gone, after.Blocks(), before.Of[address(3)])
	}
	// Nothing is left to do, so they come to rest at the same block.
	n.rest(t)
	eventually(t, hangs, "both tell of the same blocks", func() bool {
		one, other := n.turnoutOf(t, 0), n.turnoutOf(t, 4)
		if one.To != other.To {
			return false
		}
		if got, want := other.Of[address(3)], one.Of[address(3)]; got != want || want.Blocks == 0 {
			t.Errorf("another node tells %+v, want %+v", got, want)
		}
		return true
	})
}
