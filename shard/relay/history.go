package relay

import (
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
)

// MaxHistory is the highest height of a shard up to which blocks older than
// anchor.Window are proved: the proof takes all checkpoints from the first on. What is
// not carried in time is listed again beyond that.
const MaxHistory = 1 << 14

// history is the checkpoints of a shard from height 1 on, as far as they were needed.
// It is owned by one goroutine.
type history struct{ list []cert.Checkpoint }

// prove returns the proof that a height is among the anchored ones of s, and ok=false
// if this node cannot make it.
func (h *history) prove(c Chain, s *anchor.State, height uint64) (p anchor.Proof, ok bool) {
	if s.Tree.Size > MaxHistory {
		return anchor.Proof{}, false
	}
	for next := uint64(len(h.list)) + 1; next <= s.Tree.Size; next++ {
		certificate, err := c.Certificate(next)
		if err != nil {
			return anchor.Proof{}, false
		}
		h.list = append(h.list, certificate.Checkpoint)
	}
	p, err := anchor.Prove(h.list[:s.Tree.Size], height)
	return p, err == nil && p.Verify(s) == nil
}
