package channel

import (
	"crypto/sha256"

	"github.com/tributary-network/tributary/ledger"
)

const (
	hashLaneTag = "trib/hl1\x00"
	// hashStepSize is the length of what a step hashes: tag 9, zero padding 4,
	// value 32. It fits one block of SHA-256.
	hashStepSize = len(hashLaneTag) + 4 + ledger.HashSize
)

// HashStep returns w_(i-1) of w_i: SHA-256("trib/hl1" 0x00 | 4 zero bytes | w).
func HashStep(w ledger.Hash) ledger.Hash { return hashSteps(w, 1) }

// HashChain returns w_0 to w_steps of the chain that ends in tip = w_steps. The
// payer commits to w_0 and pays step k by revealing w_k; tip must be random and
// secret, and used for one commitment only.
func HashChain(tip ledger.Hash, steps uint16) []ledger.Hash {
	chain := make([]ledger.Hash, int(steps)+1)
	chain[steps] = tip
	for i := int(steps); i > 0; i-- {
		chain[i-1] = HashStep(chain[i])
	}
	return chain
}

// CheckPreimage reports whether preimage is w_step of the chain whose w_0 is
// root. It costs step hashes.
func CheckPreimage(root, preimage ledger.Hash, step uint16) bool {
	return hashSteps(preimage, step) == root
}

func hashSteps(w ledger.Hash, n uint16) ledger.Hash {
	var block [hashStepSize]byte
	copy(block[:], hashLaneTag)
	copy(block[hashStepSize-ledger.HashSize:], w[:])
	for range n {
		w = sha256.Sum256(block[:])
		copy(block[hashStepSize-ledger.HashSize:], w[:])
	}
	return w
}
