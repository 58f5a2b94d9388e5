package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
)

// maxLeaf is more than the longest encoding of a leaf of an outbox, in bytes.
const maxLeaf = 2 * link.MaxPayload

// Outbox returns what the committed block at height tells other chains, empty if nothing,
// or an error wrapping ErrPruned. It is kept as long as the block's receipts, and from the
// leaves anybody makes what an import takes (link.Outbox.Import). It must not be modified.
func (e *Executor) Outbox(height uint64) (*link.Outbox, error) {
	if b, _, _ := e.recent.get(height); b != nil && b.outbox != nil {
		return b.outbox, nil
	}
	if height < e.KeptFrom() || height > e.head.Load().height {
		return nil, e.pruned("outbox of block %d", height)
	}
	raw, err := e.index.Get(keyOf(idxOutbox, nil, height))
	if err != nil {
		return nil, fmt.Errorf("read the outbox of block %d: %w", height, err)
	}
	if raw == nil { // it tells nothing, or was removed meanwhile
		if block, err := e.index.Get(keyOf(idxBlock, nil, height)); err != nil {
			return nil, fmt.Errorf("read the outbox of block %d: %w", height, err)
		} else if block == nil {
			return nil, e.pruned("outbox of block %d", height)
		}
		return link.OutboxOf(nil)
	}
	box, err := decodeOutbox(raw)
	if err != nil {
		return nil, fmt.Errorf("read the outbox of block %d: %w", height, err)
	}
	return box, nil
}

// encodeOutbox writes the leaves of an outbox, each behind its length u32.
func encodeOutbox(box *link.Outbox) []byte {
	w := codec.NewWriter(1 << 10)
	for _, leaf := range box.Leaves() {
		w.Bytes32(leaf.Encode())
	}
	return w.Bytes()
}

func decodeOutbox(raw []byte) (*link.Outbox, error) {
	r := codec.NewReader(raw)
	var leaves []link.Leaf
	for r.Remaining() > 0 && r.Err() == nil {
		leaf, err := link.DecodeLeaf(r.Bytes32(maxLeaf))
		if err != nil {
			return nil, fmt.Errorf("decode leaf %d: %w", len(leaves), err)
		}
		leaves = append(leaves, leaf)
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("decode leaf %d: %w", len(leaves), err)
	}
	return link.OutboxOf(leaves)
}

// outboxItems is what an outbox needs in memory, in things of some 100 bytes.
func outboxItems(box *link.Outbox) (items int) {
	for _, leaf := range box.Leaves() {
		items += 4
		if leaf.Message != nil {
			items += len(leaf.Message.Payload) / 100
		}
	}
	return items
}
