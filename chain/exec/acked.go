package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/shard/link"
)

// Which block took in which messages, kept as long as its outbox:
//
//	'a' | link | next u64      height of the block whose outbox was the first to acknowledge
//	                           the messages of the link below next, and up to which they were
//	                           before
const idxAcked = 'a'

// ackedKey is where messages of a link are up to next, excluded.
func ackedKey(l link.Link, next uint64) []byte {
	const linkSize = 2 * link.PlaceSize
	ack := link.Ack{Link: l}
	return keyOf(idxAcked, ack.Encode()[:linkSize], next)
}

// ackedRows returns the index entries of the acknowledgements of a block that say something
// new. v is the state before the block.
func ackedRows(v chain.View, height uint64, box *link.Outbox) (rows chain.Changes) {
	if box == nil {
		return nil
	}
	for _, leaf := range box.Leaves() {
		if leaf.Ack == nil {
			continue
		}
		before := link.InboundAt(v, leaf.Ack.Link).Next
		if before >= leaf.Ack.Next { // listed again
			continue
		}
		w := codec.NewWriter(8)
		w.Uvarint(height)
		w.Uvarint(before)
		rows = append(rows, chain.Change{Key: ackedKey(leaf.Ack.Link, leaf.Ack.Next), Value: w.Bytes()})
	}
	return rows
}

// Took returns the height of the block that took in a message, whose outbox acknowledges
// it; ok is false if there is none or it is not kept.
func (e *Executor) Took(l link.Link, seq uint64) (height uint64, ok bool, err error) {
	if seq+1 == 0 {
		return 0, false, nil
	}
	it := e.index.Iterate(ackedKey(l, seq+1), kv.PrefixEnd(ackedKey(l, 1<<64-1)), false)
	if it.Next() {
		r := codec.NewReader(it.Value())
		height = r.Uvarint(noLimit)
		ok = r.Uvarint(noLimit) <= seq && height >= e.KeptFrom()
		err = r.Done()
	}
	if err == nil {
		err = it.Err()
	}
	if bad := it.Close(); err == nil {
		err = bad
	}
	if err != nil {
		return 0, false, fmt.Errorf("look up message %d of link %s: %w", seq, l, err)
	}
	return height, ok, nil
}

// forgetAcked removes what leads to the acknowledgements of a block.
func (x *pruner) forgetAcked(height uint64) error {
	raw, err := x.exec.index.Get(keyOf(idxOutbox, nil, height))
	if err != nil || raw == nil {
		return err
	}
	r := codec.NewReader(raw)
	for r.Remaining() > 0 && r.Err() == nil {
		leaf, err := link.DecodeLeaf(r.Bytes32(maxLeaf))
		if err != nil {
			return fmt.Errorf("decode the outbox: %w", err)
		}
		if leaf.Ack == nil {
			continue
		}
		key := ackedKey(leaf.Ack.Link, leaf.Ack.Next)
		row, err := x.exec.index.Get(key)
		if err != nil {
			return err
		}
		if row != nil && codec.NewReader(row).Uvarint(noLimit) == height { // not that of one listed again
			x.remove(key)
			x.records++
		}
	}
	return r.Err()
}
