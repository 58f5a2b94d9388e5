package committee

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// MaxCandidates is the largest number of candidates that DecodeCandidates reads.
const MaxCandidates = 1 << 16

// candidateSize is the length of an encoded candidate.
const candidateSize = 8 + 32 + bls.PublicKeySize + 8 + 8

// ErrBadCandidates means candidates that are too many, not in ascending order
// of their rows, or that have more stake than drops can exist.
var ErrBadCandidates = errors.New("not a list of candidates")

// Candidate is a validator that can be elected: registered, neither jailed nor
// removed for good. Who is a candidate is chain/staking's rule.
type Candidate struct {
	// Validator is the row of the validator in the state of the main chain.
	Validator uint64
	// ConsensusKey is the Ed25519 key that votes blocks.
	ConsensusKey [32]byte
	// BLSKey is the key that signs checkpoints and seals. Its owner has proved
	// possession.
	BLSKey bls.PublicKey
	// Stake is what is bonded to the validator in all, SelfStake what it has
	// bonded itself (part of Stake), in drops.
	Stake, SelfStake uint64
}

// EncodeCandidates returns the canonical encoding: number 4, and per candidate,
// by ascending row, the row 8, consensus key 32, BLS key 96, stake 8, own stake
// 8. Rows are distinct; the order of list does not matter and is not changed.
func EncodeCandidates(list []Candidate) []byte {
	order := make([]*Candidate, len(list))
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortStableFunc(order, func(a, b *Candidate) int { return cmp.Compare(a.Validator, b.Validator) })
	w := codec.NewWriter(4 + candidateSize*len(list))
	w.Uint32(uint32(len(list)))
	for _, c := range order {
		w.Uint64(c.Validator)
		w.Fixed(c.ConsensusKey[:])
		w.Fixed(c.BLSKey[:])
		w.Uint64(c.Stake)
		w.Uint64(c.SelfStake)
	}
	return w.Bytes()
}

// DecodeCandidates reads what EncodeCandidates wrote, by ascending row. It
// returns ErrBadCandidates for a list that breaks what Candidate promises. BLS
// keys are not decoded.
func DecodeCandidates(b []byte) ([]Candidate, error) {
	r := codec.NewReader(b)
	n := int(r.Uint32())
	if r.Err() == nil && n > MaxCandidates {
		return nil, fmt.Errorf("%d candidates, at most %d: %w", n, MaxCandidates, ErrBadCandidates)
	}
	list := make([]Candidate, min(n, r.Remaining()/candidateSize))
	for i := range list {
		c := &list[i]
		c.Validator = r.Uint64()
		r.Into(c.ConsensusKey[:])
		r.Into(c.BLSKey[:])
		c.Stake, c.SelfStake = r.Uint64(), r.Uint64()
	}
	if len(list) < n {
		r.Fixed(candidateSize) // fails: fewer bytes remain
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("decode candidates: %w", err)
	}
	left := uint64(ledger.MaxAmount)
	for i, c := range list {
		switch {
		case i > 0 && c.Validator <= list[i-1].Validator:
			return nil, fmt.Errorf("candidate %d is validator %d after %d: %w", i, c.Validator, list[i-1].Validator, ErrBadCandidates)
		case c.Stake > left:
			return nil, fmt.Errorf("stakes above %d drops together: %w", uint64(ledger.MaxAmount), ErrBadCandidates)
		case c.SelfStake > c.Stake:
			return nil, fmt.Errorf("candidate %d has bonded %d drops of %d itself: %w", i, c.SelfStake, c.Stake, ErrBadCandidates)
		}
		left -= c.Stake
	}
	return list, nil
}

// HashCandidates returns the hash of the candidates' encoding.
func HashCandidates(list []Candidate) ledger.Hash {
	return ledger.HashOf("trib/candidates/1", EncodeCandidates(list))
}
