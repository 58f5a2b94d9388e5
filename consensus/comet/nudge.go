package comet

import (
	"cmp"
	"slices"
	"time"

	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/p2p"
	protomem "github.com/cometbft/cometbft/proto/tendermint/mempool"
	"github.com/cometbft/cometbft/types"
)

const (
	// nudgeAfter is how long work waits for a block before peers are reminded of it, and
	// the least time until they are again.
	nudgeAfter = time.Second
	// nudgeBytes is how many bytes of a transaction make that time as much longer.
	nudgeBytes = 64 << 10
	// nudgeAmong is among how many of those that have waited longest the smallest
	// transaction is looked for.
	nudgeAmong = 100
)

// nudges says when peers are reminded of what waits. It is owned by Chain.watch.
type nudges struct{ next time.Time }

// due reports whether peers are to be reminded at now, where work has waited for so long.
func (n *nudges) due(now time.Time, waited time.Duration) bool {
	if waited < nudgeAfter {
		n.next = time.Time{} // there was a block
		return false
	}
	return !now.Before(n.next)
}

// sent notes that a transaction of so many bytes was sent to all peers. Where blocks are
// late since the machine or the network is busy, to send a large one again and again would
// take what the block needs.
func (n *nudges) sent(now time.Time, size int) {
	n.next = now.Add(nudgeAfter + time.Duration(size)*nudgeAfter/nudgeBytes)
}

// nudge sends the smallest waiting transaction to all peers once more, and returns its
// size. CometBFT sends each only once, and a peer that is still fetching blocks then throws
// it away; without any transaction it would wait for one for ever, although the others need
// its vote to go on.
func (c *Chain) nudge() (size int) {
	txs := c.engine.Mempool().ReapMaxTxs(nudgeAmong)
	if len(txs) == 0 {
		return 0
	}
	tx := slices.MinFunc(txs, func(a, b types.Tx) int { return cmp.Compare(len(a), len(b)) })
	msg := &protomem.Txs{Txs: [][]byte{tx}}
	c.engine.Switch().Peers().ForEach(func(peer p2p.Peer) {
		peer.TrySend(p2p.Envelope{ChannelID: mempool.MempoolChannel, Message: msg})
	})
	return len(tx)
}
