package exec

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// tagAttest separates what Attest signs from seals and checkpoints.
const tagAttest = "trib/attest/1"

// attested is what Attest signs of msg.
func (e *Executor) attested(msg []byte) []byte {
	w := codec.NewWriter(len(tagAttest) + ledger.HashSize + 8 + len(msg))
	w.Fixed([]byte(tagAttest))
	w.Fixed(e.traits.Chain.Network[:])
	w.Uint32(uint32(e.traits.Chain.Chain))
	w.Fixed(msg)
	return w.Bytes()
}

// Attest signs a message between nodes with this node's BLS key. It is nil if the
// node has none.
func (e *Executor) Attest(msg []byte) (proof []byte) {
	if e.cfg.BLS == nil {
		return nil
	}
	signature := e.cfg.BLS.Sign(e.attested(msg))
	return signature[:]
}

// Attested reports whether proof is what Attest returns to the validator that is
// registered with this consensus key. known is false if none is, by the state at
// the head. To find out takes about 2 ms, and next to nothing if none is.
func (m *Main) Attested(consensusKey, msg, proof []byte) (known, ok bool) {
	if len(consensusKey) != ledger.PublicKeySize || len(proof) != bls.SignatureSize {
		return false, false
	}
	var registered bls.PublicKey
	err := m.Read(func(v chain.View, _ uint64) error {
		var row uint64
		if row, known = staking.ValidatorByConsensusAddress(v, staking.AddressOf(ledger.PublicKey(consensusKey))); known {
			validator, _ := staking.ReadValidator(v, row)
			registered = validator.BLSKey
		}
		return nil
	})
	if err != nil || !known {
		return false, false
	}
	key, err := bls.ParseKey(registered)
	return true, err == nil && key.Verify(m.attested(msg), bls.Signature(proof))
}
