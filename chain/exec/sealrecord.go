package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The seals of blocks are in the index and not in the state: an empty block, whose
// seal counts for the seed like any other, must not change the state, or an idle chain
// would make blocks for ever. A block's seal is written in the block's own commit, so
// the record is complete whenever the state is there. The rules get the seals of an
// epoch with its last block. Whoever begins with a snapshot begins after the end of an
// epoch, where nothing is recorded that will be needed.
//
// A record that is incomplete all the same is damage, or was written by a version that
// kept none. A node that guessed would make another seed than the others, so it does
// not start, or stops.

// ErrSealsMissing means that the index lacks seals of the running epoch, from which
// the next seed must be made.
var ErrSealsMissing = errors.New("seals of the running epoch are missing from the index: " +
	"this node cannot make the next seed; empty its data directory, so that it joins anew from a snapshot or from all blocks")

// BlockSeal is the seal of a block. It does not change.
type BlockSeal struct {
	Height uint64
	// Member is the place of the block's proposer in the committee of the epoch. It
	// says nothing if there is no seal.
	Member int
	// Signature is the proposer's over staking.SealMessage, verified, 48 bytes; nil if
	// the block has no seal that holds.
	Signature []byte
}

// encode returns the index entry of a seal: place of the member u32, signature 48; or
// nothing for a block without one, which is nil.
func (s *BlockSeal) encode() []byte {
	if s == nil {
		return []byte{}
	}
	w := codec.NewWriter(4 + bls.SignatureSize)
	w.Uint32(uint32(s.Member))
	w.Fixed(s.Signature)
	return w.Bytes()
}

func decodeSeal(height uint64, raw []byte) (BlockSeal, error) {
	s := BlockSeal{Height: height}
	if len(raw) == 0 {
		return s, nil
	}
	r := codec.NewReader(raw)
	s.Member = int(r.Uint32())
	s.Signature = bytes.Clone(r.Fixed(bls.SignatureSize)) // raw is the iterator's
	if err := r.Done(); err != nil {
		return s, fmt.Errorf("decode the seal of block %d: %w", height, err)
	}
	return s, nil
}

// staked reports whether the chain has staking, and so seals.
func (e *Executor) staked() bool { return e.traits.Staking != nil }

// scanSeals calls f for the seals of the blocks from first to last, as far as the
// index has them, until f returns false.
func (e *Executor) scanSeals(first, last uint64, f func(BlockSeal) bool) error {
	var fault error
	err := walk(e.index.Iterate(keyOf(idxSeal, nil, first), keyOf(idxSeal, nil, last+1), false), func(key, raw []byte) bool {
		var s BlockSeal
		if s, fault = decodeSeal(binary.BigEndian.Uint64(key[1:]), raw); fault != nil {
			return false
		}
		return f(s)
	})
	if err != nil {
		return fmt.Errorf("read the seals of blocks %d to %d: %w", first, last, err)
	}
	return fault
}

// epochSeals returns what the rules want of the seals for the block in p: those of all
// blocks of its epoch if it is the last one, or nil. The blocks before it are committed.
func (e *Executor) epochSeals(p *prepared) ([][]byte, error) {
	rules, height := e.traits.Staking, p.block.Height
	if !p.sealed {
		return nil, nil
	}
	epoch := rules.Epoch(height)
	if height != rules.LastBlock(epoch) {
		return nil, nil
	}
	seals, err := e.recordedSeals(rules.FirstBlock(epoch), height-1)
	if err != nil {
		return nil, err
	}
	if p.seal == nil {
		return append(seals, nil), nil
	}
	return append(seals, p.seal.Signature), nil
}

// recordedSeals returns the signatures of the blocks from first to last, of no bytes
// where a block has none, or an error that wraps ErrSealsMissing.
func (e *Executor) recordedSeals(first, last uint64) ([][]byte, error) {
	if last < first {
		return nil, nil
	}
	seals := make([][]byte, 0, last+2-first)
	next := first
	err := e.scanSeals(first, last, func(s BlockSeal) bool {
		if s.Height != next {
			return false
		}
		seals = append(seals, s.Signature)
		next++
		return true
	})
	if err != nil {
		return nil, err
	}
	if next <= last {
		return nil, fmt.Errorf("%w (block %d, of %d to %d)", ErrSealsMissing, next, first, last)
	}
	return seals, nil
}

// checkSealRecord returns an error that wraps ErrSealsMissing unless the index has the
// seals of all blocks of the running epoch up to the head.
func (e *Executor) checkSealRecord() error {
	height := e.layer.Height()
	if !e.staked() || height == 0 {
		return nil
	}
	rules := e.traits.Staking
	_, err := e.recordedSeals(rules.FirstBlock(rules.Epoch(height+1)), height)
	return err
}

// Seals returns the seals of up to limit blocks of an epoch, ascending by height, from
// height from on, which is moved into the epoch, and as far as there are blocks. They
// are kept one epoch longer than receipts (Config.KeepReceipts). The error is ErrPruned
// if the index does not have those of all blocks of the epoch up to the head.
func (m *Main) Seals(epoch, from uint64, limit int) ([]BlockSeal, error) {
	rules := &m.main.params.Staking
	first, last := rules.FirstBlock(epoch), rules.LastBlock(epoch)
	kept, err := m.sealsKept()
	if err != nil {
		return nil, err
	}
	if first < kept {
		return nil, m.prunedEpochs(rules.Epoch(kept+rules.EpochBlocks-1), "seals of the blocks of epoch %d", epoch)
	}
	var list []BlockSeal
	err = m.scanSeals(max(first, from), last, func(s BlockSeal) bool {
		list = append(list, s)
		return len(list) < limit
	})
	return list, err
}

// sealsKept returns the first height from which on the index has the seals of all
// blocks, which is the next one if it has none.
func (e *Executor) sealsKept() (uint64, error) {
	kept := e.head.Load().height + 1
	err := e.scanSeals(0, kept, func(s BlockSeal) bool {
		kept = s.Height
		return false
	})
	return kept, err
}
