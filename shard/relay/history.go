package relay

import (
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// MaxHistory is the highest height of a shard up to which blocks older than
// anchor.Window are proved: the proof takes all checkpoints from the first on. What is
// not carried in time is listed again beyond that.
const MaxHistory = 1 << 14

// history is the checkpoints of a shard from height 1 on, as far as they were needed.
// It is owned by one goroutine.
type history struct {
	list  []cert.Checkpoint
	known merkle.Frontier // over list
	tree  *merkle.Tree    // of the size for which a proof was made last
	wrong uint64          // at this size others are anchored than this node has
}

// reach reports whether heights among the anchored ones of s can be proved: this node
// has all of them, and they are those that are anchored. It makes no proof, and looks at
// each height once.
func (h *history) reach(c Chain, s *anchor.State) bool {
	size := s.Tree.Size
	if size > MaxHistory || size == h.wrong || uint64(len(h.list)) > size {
		return false
	}
	for next := uint64(len(h.list)) + 1; next <= size; next++ {
		certificate, err := c.Certificate(next)
		if err != nil {
			return false
		}
		h.list = append(h.list, certificate.Checkpoint)
		h.known.Push(certificate.Checkpoint.Encode())
	}
	if h.known.Root() == s.Root() {
		return true
	}
	*h = history{wrong: size} // a height has another version here
	return false
}

// prove returns the proof that a height is among the anchored ones of s, and ok=false
// if this node cannot make it.
func (h *history) prove(c Chain, s *anchor.State, height uint64) (p anchor.Proof, ok bool) {
	if height == 0 || height > s.Tree.Size || !h.reach(c, s) {
		return anchor.Proof{}, false
	}
	if h.tree == nil || h.tree.Size() != s.Tree.Size {
		leaves := make([][]byte, len(h.list))
		for i := range h.list {
			leaves[i] = h.list[i].Encode()
		}
		tree, err := merkle.New(leaves)
		if err != nil {
			return anchor.Proof{}, false
		}
		h.tree = tree
	}
	path, err := h.tree.Path(height - 1)
	return anchor.Proof{Checkpoint: h.list[height-1], Size: s.Tree.Size, Path: path}, err == nil
}

// forgotten reports whether a height can be proved neither by the window of anchored
// outboxes nor by a history, and never will be.
func forgotten(height, size uint64) bool { return height+anchor.Window <= size && size > MaxHistory }
