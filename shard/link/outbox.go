package link

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// Outbox is what a block tells other places. It is immutable.
type Outbox struct {
	leaves []Leaf // in the order of Leaf.Compare, each once
	tree   *merkle.Tree
}

// NewOutbox returns the outbox of a block by what the block changed: a leaf for
// every message that it wrote, new or listed again, and for every Inbound the
// acknowledgement of that link. changes are those of the whole block, or at least
// those of the state of links.
func NewOutbox(changes chain.Changes) (*Outbox, error) {
	var leaves []Leaf
	from := sort.Search(len(changes), func(i int) bool { return bytes.Compare(changes[i].Key, []byte{prefix}) >= 0 })
	for _, c := range changes[from:] {
		local, kind, peer, ok := splitKey(c.Key)
		if !ok {
			break // past the state of links
		}
		if c.Value == nil {
			continue
		}
		switch kind {
		case kindMessage:
			m, err := DecodeMessage(c.Value)
			if err != nil {
				return nil, fmt.Errorf("outbox: message %x: %w", c.Key, err)
			}
			leaves = append(leaves, Leaf{Message: &m})
		case kindInbound:
			in, err := DecodeInbound(c.Value)
			if err != nil {
				return nil, fmt.Errorf("outbox: %w", err)
			}
			leaves = append(leaves, Leaf{Ack: &Ack{
				Link: Link{Src: peer, Dst: local}, Next: in.Next, Bounced: in.Bounced,
			}})
		}
	}
	slices.SortFunc(leaves, Leaf.Compare)
	return newOutbox(leaves)
}

// OutboxOf returns the outbox that has these leaves, which it keeps. They must be in the
// order of Leaf.Compare, each once. Whether a block had it is for the caller to know, by
// its root.
func OutboxOf(leaves []Leaf) (*Outbox, error) {
	for i := range leaves {
		if i > 0 && leaves[i-1].Compare(leaves[i]) >= 0 {
			return nil, fmt.Errorf("outbox: leaf %d is not in the order of an outbox", i)
		}
	}
	return newOutbox(leaves)
}

func newOutbox(leaves []Leaf) (*Outbox, error) {
	box := Outbox{leaves: leaves}
	encoded := make([][]byte, len(leaves))
	for i, l := range leaves {
		encoded[i] = l.Encode()
	}
	tree, err := merkle.New(encoded)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	box.tree = tree
	return &box, nil
}

// Root returns the outbox root, zero if the block tells nobody anything.
func (b *Outbox) Root() ledger.Hash {
	if len(b.leaves) == 0 {
		return ledger.Hash{}
	}
	return b.tree.Root()
}

// Leaves returns the leaves in their order. The caller does not change them.
func (b *Outbox) Leaves() []Leaf { return b.leaves }

// Span returns the range of leaves whose destinations are from first to last:
// leaves begin to end-1, none if begin is end.
func (b *Outbox) Span(first, last Place) (begin, end int) {
	begin = sort.Search(len(b.leaves), func(i int) bool { return b.leaves[i].To().Compare(first) >= 0 })
	end = sort.Search(len(b.leaves), func(i int) bool { return b.leaves[i].To().Compare(last) > 0 })
	return begin, max(begin, end)
}

// Import returns what proves the leaves begin to end-1 to their destination, where
// shard's block at height has the outbox. merkle.ErrRange: there are no such
// leaves. It does not look at the limits of an import.
func (b *Outbox) Import(shard ledger.ChainID, height uint64, begin, end int) (Import, error) {
	if begin < 0 || end < begin {
		return Import{}, fmt.Errorf("leaves %d to %d of %d: %w", begin, end, len(b.leaves), merkle.ErrRange)
	}
	proof, err := b.tree.Range(uint64(begin), uint64(end))
	if err != nil {
		return Import{}, err
	}
	return Import{Shard: shard, Height: height, Range: proof, Leaves: b.leaves[begin:end]}, nil
}
