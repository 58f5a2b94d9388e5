package exec

import (
	"context"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// Stage is how far a record has come.
type Stage uint8

// The stages, in order. A record that was Dropped may still be executed if
// another node holds it; what it becomes then replaces Dropped.
const (
	StageUnknown  Stage = 0
	StageReceived Stage = 1 // being checked
	StageChecked  Stage = 2 // correct as far as this node knows, and on its way
	StageIncluded Stage = 3 // executed in an agreed block
	StageFinal    Stage = 4 // that block is durable on this node
	StageDropped  Stage = 5 // given up by this node
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
	case StageUnknown:
		fallthrough
	default:
		return "UNKNOWN"
	}
}

// Status is what this node knows of a record.
type Status struct {
	Hash       ledger.Hash
	Stage      Stage
	Height     uint64              // of the block; from INCLUDED on
	TxIndex    uint32              // position in the block's records; from INCLUDED on
	Receipt    *settlement.Receipt // from INCLUDED on; shared, not to be modified
	DropReason string              // of DROPPED
}

// Settled reports whether the record was executed with an effect, so that
// sending it again cannot have one.
func (s *Status) settled() bool {
	return s.Stage >= StageIncluded && s.Receipt != nil && consumed(s.Receipt)
}

// Status returns what this node knows of the record named hash: in memory of
// records pending here and in the pool, and in the index of executed ones.
func (e *Executor) Status(hash ledger.Hash) (Status, bool) {
	if s, ok := e.tracker.includedStatus(hash); ok {
		return s, true
	}
	s, ok := e.indexed(hash)
	if ok && consumed(s.Receipt) {
		return s, true
	}
	if e.tracker.isPending(hash) || e.pool.has(hash) {
		return Status{Hash: hash, Stage: StageChecked}, true
	}
	if ok {
		return s, true
	}
	if reason, dropped := e.tracker.dropReason(hash); dropped {
		return Status{Hash: hash, Stage: StageDropped, DropReason: reason}, true
	}
	return Status{}, false
}

// Wait returns the status of a record once it has reached stage or was dropped,
// or its present one, without an error, when ctx ends. The errors are
// ErrUnknown, a BusyError and ErrHalted.
func (e *Executor) Wait(ctx context.Context, hash ledger.Hash, stage Stage) (Status, error) {
	for {
		changed, leave, err := e.tracker.wait(hash)
		if err != nil {
			return Status{}, err
		}
		s, ok := e.Status(hash)
		switch {
		case !ok:
			leave()
			return Status{}, ErrUnknown
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

// consumed reports whether the receipt's record used up its nonce, so that it
// had whatever effect it will ever have. (Where transactions are free, a failed
// one is not told from one without effect; sending it again is then refused.)
func consumed(r *settlement.Receipt) bool {
	return r.Code == chain.CodeOK || r.Fee > 0
}
