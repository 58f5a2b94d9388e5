package exec

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/layer"
)

// What the index of the main chain has beside that of every chain:
//
//	'i' | channel id           row of the channel
//	'f' | payer | row          number of channels opened in rows from there
//	'g' | payee | row          a channel
//	'x' | row                  what remains of a closed channel
//
// What it keeps of staking is in stakingindex.go, of services and shards in
// shardevents.go.
const (
	idxID     = 'i'
	idxPayer  = 'f'
	idxPayee  = 'g'
	idxClosed = 'x'
)

// mainIndexer collects rows of the index.
type mainIndexer struct {
	pairs  chain.Changes
	height uint64
}

func (x *mainIndexer) add(key, value []byte) {
	x.pairs = append(x.pairs, chain.Change{Key: key, Value: value})
}

// Entries is that of Index.
func (m *mainRules) Entries(b *Committed, _ []*chain.Tx) chain.Changes {
	r := bodyOf[*settlement.Result](b.Body)
	x := &mainIndexer{height: b.Height}
	x.channels(r.Events)
	x.pairs = append(x.pairs, m.indexStaking(r)...)
	return append(x.pairs, indexShards(r)...)
}

// channels indexes channels opened and closed.
func (x *mainIndexer) channels(events []settlement.Event) {
	for i := range events {
		ev := &events[i]
		if ev.Kind.Closed() {
			x.add(keyOf(idxClosed, nil, ev.Index), encodeClosed(ev, x.height))
		}
		if ev.Kind != settlement.EventOpened {
			continue
		}
		w := codec.NewWriter(8)
		w.Uvarint(ev.Index)
		x.add(keyOf(idxID, ev.ID[:]), w.Bytes())
		x.add(keyOf(idxPayee, ev.Payee[:], ev.Index), []byte{})
		if i > 0 && ev.TxIndex == events[i-1].TxIndex && events[i-1].Kind == ev.Kind && events[i-1].Payer == ev.Payer {
			continue // in the run that began before
		}
		run := uint64(1)
		for j := i + 1; j < len(events) && events[j].Kind == ev.Kind && events[j].TxIndex == ev.TxIndex && events[j].Payer == ev.Payer; j++ {
			run++
		}
		w = codec.NewWriter(2)
		w.Uvarint(run)
		x.add(keyOf(idxPayer, ev.Payer[:], ev.Index), w.Bytes())
	}
}

// reindexBatch is how many entries Reindex keeps in memory.
const reindexBatch = 50_000

// Reindex is that of Index: the channels that exist.
func (m *mainRules) Reindex(v chain.View, height uint64, add func(chain.Changes) error) error {
	x := &mainIndexer{height: height}
	for row := range settlement.ChannelCount(v) {
		if c, ok := settlement.ChannelAt(v, row); ok {
			x.channel(row, &c)
		}
		if len(x.pairs) >= reindexBatch {
			if err := add(x.pairs); err != nil {
				return err
			}
			x.pairs = x.pairs[:0]
		}
	}
	return add(x.pairs)
}

// channel indexes a channel that exists.
func (x *mainIndexer) channel(row uint64, c *channel.Channel) {
	w := codec.NewWriter(8)
	w.Uvarint(row)
	x.add(keyOf(idxID, c.ID[:]), w.Bytes())
	x.add(keyOf(idxPayee, c.Payee[:], row), []byte{})
	x.add(keyOf(idxPayer, c.Payer[:], row), []byte{1}) // a run of one
}

// SnapshotAt is that of Index: the last block of an epoch, but not of every epoch if
// epochs are short.
func (m *mainRules) SnapshotAt(height, stride uint64) bool {
	epoch := m.params.Staking.EpochBlocks
	return epoch > 0 && height%epoch == 0 && height/stride != (height-epoch)/stride
}

// CheckSnapshot is that of Index: the seals of the blocks before a state in its epoch are
// in no state.
func (m *mainRules) CheckSnapshot(height uint64) error {
	if epoch := m.params.Staking.EpochBlocks; m.staked() && height%epoch != 0 {
		return fmt.Errorf("snapshot of height %d: %w: it is not of the end of an epoch of %d blocks", height, layer.ErrSnapshot, epoch)
	}
	return nil
}

// mainPruner collects what is removed with a block.
type mainPruner struct {
	rules   *mainRules
	pairs   chain.Changes
	removed map[string]bool // keys that this step removes and that may come up again
}

func (x *mainPruner) remove(key []byte) {
	x.pairs = append(x.pairs, chain.Change{Key: key})
}

// Forget is that of Index.
func (m *mainRules) Forget(b *Committed, removed map[string]bool) (chain.Changes, error) {
	x := &mainPruner{rules: m, removed: removed}
	events := bodyOf[*settlement.Result](b.Body).Events
	for i := range events {
		if events[i].Kind.Closed() {
			if err := x.channel(events[i].Index); err != nil {
				return nil, err
			}
		}
	}
	x.remove(keyOf(idxStaking, nil, b.Height))
	shards, err := m.forgetShards(b.Height)
	return append(x.pairs, shards...), err
}

// channel removes a channel that was closed in a block that goes. Nothing that is
// kept refers to it: whatever happened to it happened before.
func (x *mainPruner) channel(row uint64) error {
	key := keyOf(idxClosed, nil, row)
	raw, err := x.rules.exec.index.Get(key)
	if err != nil || raw == nil {
		return err
	}
	c, err := decodeClosed(row, raw)
	if err != nil {
		return err
	}
	x.remove(key)
	x.removed[string(key)] = true
	x.remove(keyOf(idxPayee, c.Payee[:], row))
	if at, ok := x.rules.channelIndex(c.ID); ok && at == row { // an id may come back
		x.remove(keyOf(idxID, c.ID[:]))
	}
	return x.run(c.Payer, row)
}

// run removes the run of channels that payer opened together with the one in
// row, if that was the last of them.
func (x *mainPruner) run(payer ledger.Address, row uint64) error {
	prefix := keyOf(idxPayer, payer[:])
	return walk(x.rules.exec.index.Iterate(prefix, keyOf(idxPayer, payer[:], row+1), true), func(key, value []byte) bool {
		first := binary.BigEndian.Uint64(key[len(prefix):])
		n, _ := binary.Uvarint(value)
		for other := first + n; other > first; {
			other--
			if other != row && x.known(other) {
				return false
			}
		}
		x.remove(slices.Clone(key))
		return false
	})
}

// known reports whether the channel in row is open, or closed and still in the
// index.
func (x *mainPruner) known(row uint64) bool {
	if x.removed[string(keyOf(idxClosed, nil, row))] {
		return false
	}
	known := true
	_ = x.rules.exec.Read(func(v chain.View, _ uint64) error {
		if _, known = settlement.ChannelAt(v, row); known {
			return nil
		}
		raw, err := x.rules.exec.index.Get(keyOf(idxClosed, nil, row))
		known = raw != nil || err != nil
		return err
	})
	return known
}
