package sim

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// AnchorRule is what main keeps of the checkpoints of shards. Certificates have been
// verified before. Its rows begin with 0x01, as all of the simulation's own do.
// Implementations are stateless: they read and write the overlay only.
type AnchorRule interface {
	// Accept anchors a checkpoint, or refuses with a chain.RuleError and then has
	// changed nothing: heights of a shard are contiguous, and each has one version,
	// the first that came.
	Accept(o *chain.Overlay, c *cert.Checkpoint) error
	// Last returns the height of a shard that was anchored last, 0 if none was.
	Last(v chain.View, shard ledger.ChainID) uint64
	// Outbox returns the outbox root of an anchored checkpoint.
	Outbox(v chain.View, shard ledger.ChainID, height uint64) (ledger.Hash, bool)
}

// Contiguous is the AnchorRule in its plainest form.
type Contiguous struct{}

var _ AnchorRule = Contiguous{}

func anchorKey(kind byte, shard ledger.ChainID, numbers ...uint64) []byte {
	k := binary.BigEndian.AppendUint32([]byte{1, kind}, uint32(shard))
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

// Accept is that of AnchorRule.
func (Contiguous) Accept(o *chain.Overlay, c *cert.Checkpoint) error {
	last := Contiguous{}.Last(o, c.Chain)
	key := anchorKey('c', c.Chain, c.Height)
	hash := c.Hash()
	switch known := o.Get(key); {
	case c.Height <= last && len(known) == 2*ledger.HashSize && ledger.Hash(known[ledger.HashSize:]) != hash:
		return chain.Refuse(chain.CodeAnchorConflict, "height %d of chain %d is anchored with another checkpoint", c.Height, c.Chain)
	case c.Height <= last:
		return chain.Refuse(chain.CodeAnchorStale, "height %d of chain %d is anchored", c.Height, c.Chain)
	case c.Height != last+1:
		return chain.Refuse(chain.CodeAnchorGap, "height %d of chain %d, next is %d", c.Height, c.Chain, last+1)
	}
	o.Set(key, append(c.OutboxRoot[:], hash[:]...))
	o.Set(anchorKey('l', c.Chain), binary.BigEndian.AppendUint64(nil, c.Height))
	return nil
}

// Last is that of AnchorRule.
func (Contiguous) Last(v chain.View, shard ledger.ChainID) uint64 {
	return number(v.Get(anchorKey('l', shard)))
}

// Outbox is that of AnchorRule.
func (Contiguous) Outbox(v chain.View, shard ledger.ChainID, height uint64) (ledger.Hash, bool) {
	b := v.Get(anchorKey('c', shard, height))
	if b == nil {
		return ledger.Hash{}, false
	}
	return ledger.Hash(b[:ledger.HashSize]), true
}

// number reads a row with one number; nil is 0.
func number(b []byte) uint64 {
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
