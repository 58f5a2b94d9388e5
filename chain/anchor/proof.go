package anchor

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// Proof proves that a checkpoint is anchored, against the State of its shard: anybody
// gets that with a state proof of Key against an application hash of the main chain.
// It holds for the tree of Size heights, and is made anew when more are anchored.
type Proof struct {
	Checkpoint cert.Checkpoint
	Size       uint64
	Path       []ledger.Hash
}

// Prove returns the proof of a height, given the checkpoints of all heights of a shard
// that are anchored, from 1 on. It costs a hash or two for each of them.
func Prove(checkpoints []cert.Checkpoint, height uint64) (Proof, error) {
	if height == 0 || height > uint64(len(checkpoints)) {
		return Proof{}, fmt.Errorf("prove height %d of %d: there is no such height", height, len(checkpoints))
	}
	leaves := make([][]byte, len(checkpoints))
	for i := range checkpoints {
		leaves[i] = checkpoints[i].Encode()
	}
	tree, err := merkle.New(leaves)
	if err != nil {
		return Proof{}, fmt.Errorf("prove height %d: %w", height, err)
	}
	path, err := tree.Path(height - 1)
	if err != nil {
		return Proof{}, fmt.Errorf("prove height %d: %w", height, err)
	}
	return Proof{Checkpoint: checkpoints[height-1], Size: tree.Size(), Path: path}, nil
}

// Verify returns an error that wraps merkle.ErrProof unless the checkpoint is one of
// those that s has anchored. s is that of the shard which the checkpoint names.
func (p *Proof) Verify(s *State) error {
	h := p.Checkpoint.Height
	if h == 0 || p.Size != s.Tree.Size {
		return fmt.Errorf("height %d in a tree of %d, %d are anchored: %w", h, p.Size, s.Tree.Size, merkle.ErrProof)
	}
	if err := merkle.Verify(s.Root(), p.Checkpoint.Encode(), h-1, p.Size, p.Path); err != nil {
		return fmt.Errorf("height %d of %d: %w", h, p.Size, err)
	}
	return nil
}

// Encode returns the canonical encoding: checkpoint, size 8, number of hashes 1, 32
// bytes each.
func (p *Proof) Encode() []byte {
	w := codec.NewWriter(cert.CheckpointSize + 9 + len(p.Path)*ledger.HashSize)
	w.Fixed(p.Checkpoint.Encode())
	w.Uint64(p.Size)
	w.Uint8(uint8(len(p.Path)))
	for i := range p.Path {
		w.Fixed(p.Path[i][:])
	}
	return w.Bytes()
}

// DecodeProof reads what Encode wrote, or refuses with CodeMalformed.
func DecodeProof(b []byte) (Proof, error) {
	r := codec.NewReader(b)
	raw := r.Fixed(cert.CheckpointSize)
	p := Proof{Size: r.Uint64()}
	n := int(r.Uint8())
	if r.Err() == nil && n > merkle.MaxPath {
		return Proof{}, chain.Refuse(chain.CodeMalformed, "proof of a checkpoint with %d hashes, at most %d", n, merkle.MaxPath)
	}
	for range n {
		h := r.Fixed(ledger.HashSize)
		if h == nil {
			break
		}
		p.Path = append(p.Path, ledger.Hash(h))
	}
	if err := r.Done(); err != nil {
		return Proof{}, chain.Refuse(chain.CodeMalformed, "proof of a checkpoint: %v", err)
	}
	var err error
	if p.Checkpoint, err = cert.DecodeCheckpoint(raw); err != nil {
		return Proof{}, chain.Refuse(chain.CodeMalformed, "proof of a checkpoint: %v", err)
	}
	return p, nil
}

// Known is what imports of messages may rely on (link.Anchors): the last Window heights
// of each shard, and what was proved. It is owned by one goroutine.
type Known struct {
	state  chain.View
	rows   map[shard.ID]*State   // that were read; nil if there is none
	proved map[place]ledger.Hash // outbox roots
}

// place is a height of a shard.
type place struct {
	shard  shard.ID
	height uint64
}

// NewKnown returns what the state of the main chain says, or a view of its rows that
// were proved. It reads the row of each shard once, and does not learn what is anchored
// after that.
func NewKnown(v chain.View) *Known {
	return &Known{state: v, rows: map[shard.ID]*State{}, proved: map[place]ledger.Hash{}}
}

// row returns what is known of a shard.
func (k *Known) row(id shard.ID) (*State, bool) {
	s, read := k.rows[id]
	if !read {
		if row, ok := Read(k.state, id); ok {
			s = &row
		}
		k.rows[id] = s
	}
	return s, s != nil
}

// Prove adds a checkpoint. It refuses with CodeUnknownShard or CodeNotAnchored.
func (k *Known) Prove(p *Proof) error {
	c := &p.Checkpoint
	s, ok := k.row(c.Chain)
	if !ok {
		return chain.Refuse(chain.CodeUnknownShard, "shard %d is not founded", c.Chain)
	}
	if err := p.Verify(s); err != nil {
		return chain.Refuse(chain.CodeNotAnchored, "%v", err)
	}
	k.proved[place{c.Chain, c.Height}] = c.OutboxRoot
	return nil
}

// Anchored returns what is anchored at a height of a shard.
func (k *Known) Anchored(id ledger.ChainID, height uint64) (link.Anchored, bool) {
	s, ok := k.row(id)
	if !ok {
		return link.Anchored{}, false
	}
	root, ok := s.Outbox(height)
	if !ok {
		if root, ok = k.proved[place{id, height}]; !ok {
			return link.Anchored{}, false
		}
	}
	return link.Anchored{Outbox: root, Clock: s.Base + height, Newest: s.Clock()}, true
}

// Owned reports whether a place belonged to a shard at one of its heights: a shard
// has the same buckets for ever.
func (k *Known) Owned(id ledger.ChainID, height uint64, p link.Place) bool {
	s, ok := k.row(id)
	return ok && height > 0 && height <= s.Height() &&
		p.Service == s.Service && p.Zone == s.Zone && s.Buckets.Contains(shard.Bucket(p.Bucket))
}
