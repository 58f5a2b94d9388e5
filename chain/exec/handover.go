package exec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// ErrNoHandover means that this node cannot prove the committee of an epoch to
// somebody who knows the one before: it is not elected yet, or this node has no
// certificate of either block after its election. It goes on looking for one while
// votes for those blocks may still come, asks its peers for signatures, and looks again
// whenever it is asked. If no node has one, the chain of hand-overs has a gap
// for good: whoever trusts an older committee must get to trust this or a newer one from
// another source, by its hash.
var ErrNoHandover = errors.New("no hand-over")

// handoversKept is of how many epochs hand-overs are kept: a year and more of
// hours, at some KB each.
const handoversKept = 10_000

// maxRecord is more than the longest encoding of a committee.Record, in bytes.
const maxRecord = 1 << 18

// Handover proves the committee of an epoch to whoever knows that of the epoch
// before, which signed Certificate: Record is a statement about the state after the
// certified block, that of staking.CommitteeKey(epoch).
type Handover struct {
	Record      *stateproof.Statement
	Certificate cert.Certificate
}

// handovers keeps hand-overs in a part of the layer's store that is in no hash. A
// node proves its newest state only, so the proof is made when the block is
// committed; the certificate follows a moment later, if ever.
//
//	's' | epoch | height    the statement about the state after the block at height
//	'k' | epoch | height    what the committee signs of that block
//	'c' | epoch | height    the certificate of that block
type handovers struct{ store kv.Store }

const (
	handoverStatement   = 's'
	handoverCheckpoint  = 'k'
	handoverCertificate = 'c'
)

func (e *Executor) handovers() handovers { return handovers{e.layer.View("handovers")} }

func handoverKey(what byte, epoch, height uint64) []byte {
	return binary.BigEndian.AppendUint64(keyOf(what, nil, epoch), height)
}

// Handover returns the hand-over to the committee of an epoch, from 1 on. If there is
// no certificate, it tries to make one of the votes that this node has by now. The
// errors are ErrNoHandover, and ErrPruned if the committee was elected before this
// node's record of them begins.
func (m *Main) Handover(epoch uint64) (*Handover, error) {
	if epoch == 0 {
		return nil, fmt.Errorf("%w to epoch 0: its committee is in the genesis", ErrNoHandover)
	}
	heights := m.handoverHeights(epoch)
	for _, height := range heights {
		if out, err := m.handoverAt(epoch, height); out != nil || err != nil {
			return out, err
		}
	}
	for _, height := range heights {
		if done, err := m.certifyLate(epoch, height); err != nil {
			return nil, err
		} else if done {
			return m.handoverAt(epoch, height)
		}
	}
	first, err := m.handoversFrom()
	if err == nil && epoch < first {
		err = m.prunedEpochs(first, "hand-over to epoch %d", epoch)
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w to epoch %d", ErrNoHandover, epoch)
}

// handoverHeights returns the heights of the blocks whose states have the committee of
// an epoch and whose certificates the committee before signs.
func (e *Executor) handoverHeights(epoch uint64) [2]uint64 {
	last := e.traits.Staking.LastBlock(epoch - 1)
	return [2]uint64{last - 1, last}
}

// handoverAt returns the hand-over by the block at height, nil if there is none.
func (e *Executor) handoverAt(epoch, height uint64) (*Handover, error) {
	h := e.handovers()
	statement, err := h.store.Get(handoverKey(handoverStatement, epoch, height))
	if err != nil {
		return nil, fmt.Errorf("read the hand-over to epoch %d: %w", epoch, err)
	}
	certificate, err := h.store.Get(handoverKey(handoverCertificate, epoch, height))
	if err != nil {
		return nil, fmt.Errorf("read the hand-over to epoch %d: %w", epoch, err)
	}
	if statement == nil || certificate == nil {
		return nil, nil //nolint:nilnil // none is no error
	}
	out := &Handover{}
	if out.Record, err = decodeRecordStatement(epoch, height, statement); err != nil {
		return nil, err
	}
	out.Certificate, err = cert.Decode(certificate)
	return out, err
}

// handoversFrom returns the first epoch of which this node has, or will have, proofs of
// the committee.
func (e *Executor) handoversFrom() (first uint64, err error) {
	first = e.traits.Staking.Epoch(e.head.Load().height+2) + 1 // the next that is elected
	prefix := []byte{handoverStatement}
	err = walk(e.handovers().store.Iterate(prefix, kv.PrefixEnd(prefix), false), func(key, _ []byte) bool {
		if len(key) == 17 {
			first = min(first, binary.BigEndian.Uint64(key[1:]))
		}
		return false
	})
	if err != nil {
		return 0, fmt.Errorf("read where hand-overs begin: %w", err)
	}
	return first, nil
}

// proveElection keeps the proof of the next committee's record in the state at the
// head, if the block at height, which is the head, is one of the two that end an
// epoch. It is called while nobody writes to the state.
func (e *Executor) proveElection(height uint64) error {
	p := e.traits.Staking
	if height == 0 || !e.endsEpoch(height) {
		return nil
	}
	next := p.Epoch(height) + 1
	s, err := e.layer.Prove(staking.CommitteeKey(next))
	if err != nil || s.Value == nil || s.Height != height {
		return err
	}
	raw, err := encodeStatement(s)
	if err != nil {
		return err
	}
	b := e.handovers().store.NewBatch()
	defer b.Discard()
	if err := b.Set(handoverKey(handoverStatement, next, height), raw); err != nil {
		return fmt.Errorf("store the hand-over to epoch %d: %w", next, err)
	}
	// The index does not keep what is to be certified for as long as this.
	checkpoint, err := e.index.Get(keyOf(idxCheckpoint, nil, height))
	if err != nil {
		return fmt.Errorf("read the checkpoint of the head: %w", err)
	}
	if checkpoint != nil {
		if err := b.Set(handoverKey(handoverCheckpoint, next, height), checkpoint); err != nil {
			return fmt.Errorf("store the hand-over to epoch %d: %w", next, err)
		}
	}
	if next > handoversKept && e.cfg.KeepReceipts != KeepAll {
		old := next - handoversKept
		last := p.LastBlock(old - 1)
		for _, what := range []byte{handoverStatement, handoverCheckpoint, handoverCertificate} {
			for _, height := range []uint64{last - 1, last} {
				if err := b.Delete(handoverKey(what, old, height)); err != nil {
					return fmt.Errorf("prune the hand-over to epoch %d: %w", old, err)
				}
			}
		}
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("store the hand-over to epoch %d: %w", next, err)
	}
	return nil
}

// certifyElection keeps the certificate of one of the two blocks that end an epoch,
// which outlives the others.
func (e *Executor) certifyElection(certificate *cert.Certificate) error {
	height := certificate.Checkpoint.Height
	if !e.endsEpoch(height) {
		return nil
	}
	next := certificate.Checkpoint.Epoch + 1
	b := e.handovers().store.NewBatch()
	defer b.Discard()
	if err := b.Set(handoverKey(handoverCertificate, next, height), certificate.Encode()); err != nil {
		return fmt.Errorf("store the hand-over to epoch %d: %w", next, err)
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("store the hand-over to epoch %d: %w", next, err)
	}
	return nil
}

// decodeRecordStatement reads the statement about the record of an epoch's committee
// that encodeStatement wrote.
func decodeRecordStatement(epoch, height uint64, raw []byte) (*stateproof.Statement, error) {
	s, err := decodeStatement(height, staking.CommitteeKey(epoch), maxRecord, raw)
	if err != nil {
		return nil, fmt.Errorf("decode the hand-over to epoch %d: %w", epoch, err)
	}
	return s, nil
}
