// Package beacon makes the seed of an epoch from the seals of its blocks.
//
// The proposer of every block signs the block's place (network, chain, epoch,
// height) with its BLS key. That signature is unique: the proposer cannot
// choose among several, and all seals of an epoch count, those of blocks without
// records too. So all that a proposer can do is to give up its block, for which
// another will be made and sealed by somebody else: one bit, at the price of a
// block. The last proposers of an epoch see what the seed would be before they
// decide; nobody else does. The seals are folded by hash in the order of the
// heights, beginning with the seed before; Seed does it all:
//
//	acc := Start(seed of the epoch before, epoch)
//	acc  = Fold(acc, height, seal)      for each block of the epoch that has a seal
//	seed := Close(acc, epoch)
//
// The seed of epoch e is closed in its last block and decides epoch e+2, when
// nobody can still choose a stake or a transaction by it. Epochs 0 and 1 have
// no such seed: theirs is the hash of the genesis, which is also the seed before
// that of epoch 0. A block has no seal only if its proposer is not in the committee,
// or if more than two thirds of the power agreed on a block that is invalid.
//
// Only what consensus orders is folded: never a block hash, a choice of the
// proposer or a subset of votes, because whoever picks those picks the seed.
//
// It belongs to row 1a of the dependency order: pure functions, no state.
// Whether a seal is its proposer's signature of Message is checked by the
// caller with bls.Key.Verify.
package beacon

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// tagSeal opens every message that a seal signs. It ends in a zero byte, as a
// checkpoint's does, and no other message begins with it.
const tagSeal = "trib/seal/1\x00"

// Lag is how many epochs after its own a seed is used.
const Lag = 2

// Message returns what the proposer of the block at height signs: the tag
// "trib/seal/1", a zero byte, network 32, chain 4, epoch 8, height 8.
func Message(network ledger.NetworkID, chain ledger.ChainID, epoch, height uint64) []byte {
	w := codec.NewWriter(len(tagSeal) + ledger.HashSize + 20)
	w.Fixed([]byte(tagSeal))
	w.Fixed(network[:])
	w.Uint32(uint32(chain))
	w.Uint64(epoch)
	w.Uint64(height)
	return w.Bytes()
}

// Start returns what the seals of epoch are folded into, given the seed that
// the epoch before closed, or the hash of the genesis for epoch 0.
func Start(previous ledger.Hash, epoch uint64) ledger.Hash {
	return ledger.HashOf("trib/beacon/start/1", previous[:], number(epoch))
}

// Fold adds the verified seal of the block at height. Heights ascend.
func Fold(acc ledger.Hash, height uint64, seal bls.Signature) ledger.Hash {
	return ledger.HashOf("trib/beacon/fold/1", acc[:], number(height), seal[:])
}

// Close returns the seed that epoch leaves.
func Close(acc ledger.Hash, epoch uint64) ledger.Hash {
	return ledger.HashOf("trib/beacon/close/1", acc[:], number(epoch))
}

// Seed returns the seed that epoch leaves: the seals of its blocks, of which the
// first is at height first, folded into the seed that the epoch before left, or the
// hash of the genesis for epoch 0. A seal is a bls.Signature, or of no bytes for a
// block that has none; any other length is the caller's fault and panics.
func Seed(previous ledger.Hash, epoch, first uint64, seals [][]byte) ledger.Hash {
	acc := Start(previous, epoch)
	for i, seal := range seals {
		if len(seal) > 0 {
			acc = Fold(acc, first+uint64(i), bls.Signature(seal))
		}
	}
	return Close(acc, epoch)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
