package exec

import (
	"encoding/binary"
	"log/slog"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
)

// rememberedSeals is how many seals that hold are remembered, from Accept to
// Finalize.
const rememberedSeals = 256

// seal returns the seal of the block at height as a bundle, or nil if this node is
// no member of its committee.
func (e *Executor) seal(height uint64) []byte {
	if e.traits.Staking == nil {
		return nil
	}
	el, err := e.electorateOf(height)
	if err != nil {
		e.log.Error("no seal", slog.Uint64("height", height), slog.Any("err", err))
		return nil
	}
	if el == nil {
		return nil
	}
	member, ok := el.holder(e.cfg.BLS)
	if !ok {
		e.log.Warn("this node proposes a block without a seal, which will be refused: "+
			"its BLS key is not one of the epoch's committee", slog.Uint64("height", height))
		return nil
	}
	seal := chain.Seal{Height: height, Signature: e.cfg.BLS.Sign(staking.SealMessage(e.traits.Chain, e.traits.Staking, height))}
	e.seals.add(e.sealMemo(el, member, &seal)) // so that this node need not verify it
	return seal.Encode()
}

// sealMemo is what is remembered of a member's seal that holds.
func (e *Executor) sealMemo(el *electorate, member int, seal *chain.Seal) fingerprint {
	m := &el.committee.Members[member]
	return e.secret.fingerprint([]byte("seal"), binary.BigEndian.AppendUint64(nil, seal.Height), m.BLSKey[:], seal.Signature[:])
}

// checkSeal returns the block's seal, nil if it has none and needs none. If the
// proposer is a member of the committee, the block must begin with its seal; else it
// must have none; and it must have none elsewhere. A bundle that cannot be decoded is
// nil. el is nil without a committee.
func (e *Executor) checkSeal(el *electorate, b *Block, bundles []*bundle) (*BlockSeal, error) {
	for i, other := range bundles {
		if i > 0 && other != nil && other.seal != nil {
			return nil, chain.Refuse(chain.CodeInvalidValue, "bundle %d is a seal, which may only come first", i)
		}
	}
	if e.traits.Staking == nil { // blocks have no seals
		el = nil
	}
	member, required := el.memberOf(b.Proposer)
	var seal *chain.Seal
	if len(bundles) > 0 && bundles[0] != nil {
		seal = bundles[0].seal
	}
	switch {
	case !required && seal == nil:
		return nil, nil
	case !required:
		return nil, chain.Refuse(chain.CodeInvalidValue, "a seal by %x, which is not in the committee", b.Proposer)
	case seal == nil:
		return nil, chain.Refuse(chain.CodeInvalidValue, "the block does not begin with the seal of its proposer %x", b.Proposer)
	case seal.Height != b.Height:
		return nil, chain.Refuse(chain.CodeInvalidValue, "the seal is for block %d", seal.Height)
	}
	memo := e.sealMemo(el, member, seal)
	if !e.seals.has(memo) {
		if !el.keys[member].Verify(staking.SealMessage(e.traits.Chain, e.traits.Staking, b.Height), bls.Signature(seal.Signature)) {
			return nil, chain.Refuse(chain.CodeBadSignature, "the seal of proposer %x", b.Proposer)
		}
		e.seals.add(memo)
	}
	return &BlockSeal{Height: b.Height, Member: member, Signature: seal.Signature[:]}, nil
}
