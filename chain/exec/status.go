package exec

import (
	"context"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Stage is how far a record has come.
type Stage uint8

// The stages, in order. Dropped and Refused are no outcomes: a record may still be
// executed if anybody holds its bytes, and what it becomes then replaces them.
const (
	StageUnknown  Stage = 0
	StageReceived Stage = 1 // being checked
	StageChecked  Stage = 2 // correct as far as this node knows, and on its way
	StageIncluded Stage = 3 // executed in an agreed block
	StageFinal    Stage = 4 // that block is durable on this node
	StageDropped  Stage = 5 // given up by this node
	// StageRefused says that the record was in a durable block without any effect:
	// its nonce was not used, nobody paid a fee, and the reason may pass. This node
	// does not pursue it. It is over, and FINAL, once it cannot execute any more:
	// when its last block is past, or another record has used its nonce.
	StageRefused Stage = 6
)

// String returns the stage's name.
func (s Stage) String() string {
	switch s {
	case StageReceived:
		return "RECEIVED"
	case StageChecked:
		return "CHECKED"
	case StageIncluded:
		return "INCLUDED"
	case StageFinal:
		return "FINAL"
	case StageDropped:
		return "DROPPED"
	case StageRefused:
		return "REFUSED"
	case StageUnknown:
		fallthrough
	default:
		return "UNKNOWN"
	}
}

// RecordStatus is what this node knows of a record.
type RecordStatus struct {
	Hash       ledger.Hash
	Stage      Stage
	Height     uint64   // of the block; at INCLUDED, FINAL and REFUSED
	TxIndex    uint32   // position in the block's records; likewise
	Receipt    *Receipt // likewise; shared, not to be modified
	DropReason string   // of DROPPED
	ValidUntil uint64   // of REFUSED: the last block that may execute it, 0 if there is no last one
}

// settled reports whether the record was executed with an effect, so that
// sending it again cannot have one.
func (s *RecordStatus) settled() bool {
	return s.Stage >= StageIncluded && s.Receipt != nil && s.Receipt.Consumed
}

// Status returns what this node knows of the record named hash: in memory of
// records pending here and in the pool, and in the index of executed ones. The
// answer was true at one moment of the call. It fails with ErrUnknown, or because
// the index cannot be read. It must not be called from within Read.
func (e *Executor) Status(hash ledger.Hash) (RecordStatus, error) {
	// What waits is asked first: by the time it does not wait any more because a
	// block executed it, the index has it.
	known := e.tracker.look(hash)
	if known.isIncluded && known.included.Receipt.Consumed {
		return known.included, nil
	}
	waits := known.pending || e.pool.has(hash)
	s, ok, err := e.indexed(hash)
	switch {
	case err != nil:
		return RecordStatus{}, err
	case ok && s.Stage == StageFinal:
		return s, nil
	case known.isIncluded && !ok && !known.included.Receipt.Passing:
		return known.included, nil
	case waits:
		return RecordStatus{Hash: hash, Stage: StageChecked}, nil
	case ok:
		return s, nil
	case known.isDropped:
		return RecordStatus{Hash: hash, Stage: StageDropped, DropReason: known.dropReason}, nil
	}
	return RecordStatus{}, ErrUnknown
}

// executed is the status of a record that the index has at a place: FINAL, or
// REFUSED if its receipt may not be the last word. FINAL is true only if the
// place is still the record's afterwards.
func (e *Executor) executed(at indexPlace, receipt *Receipt) RecordStatus {
	s := RecordStatus{Hash: receipt.Hash, Stage: StageFinal, Height: at.Height, TxIndex: at.Position, Receipt: receipt}
	if receipt.Passing && e.mayExecute(receipt, at.validUntil) {
		s.Stage, s.ValidUntil = StageRefused, at.validUntil
	}
	return s
}

// mayExecute reports whether the record of a receipt that used no nonce may
// execute in a block above the head. It does not know whether the reason for
// which it did not has passed.
func (e *Executor) mayExecute(r *Receipt, validUntil uint64) bool {
	open := true // if the state cannot be read, nothing is said to be over
	_ = e.Read(func(v chain.View, height uint64) error {
		over := validUntil != 0 && validUntil <= height || e.rules.Spent(v, r.Slot)
		open = !over
		return nil
	})
	return open
}

// Wait returns the status of a record once it has reached stage or is DROPPED or
// REFUSED, or its present one, without an error, when ctx ends. The errors are
// those of Status, a BusyError and ErrHalted.
func (e *Executor) Wait(ctx context.Context, hash ledger.Hash, stage Stage) (RecordStatus, error) {
	for {
		changed, leave, err := e.tracker.wait(hash)
		if err != nil {
			return RecordStatus{}, err
		}
		s, err := e.Status(hash)
		switch {
		case err != nil:
			leave()
			return RecordStatus{}, err
		case s.Stage >= stage:
			leave()
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			leave()
			return s, nil
		case <-e.halted:
			leave()
			return s, e.haltError()
		}
	}
}
