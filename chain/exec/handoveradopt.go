package exec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// A node that joined by a snapshot has neither the hand-overs nor the candidates of the
// epochs before it, but it can check those of others: a hand-over by the committee
// before, from the genesis on, and candidates by their hash in the state.

// ErrWrongHandover means a hand-over, or candidates, that are not the chain's.
var ErrWrongHandover = errors.New("not the chain's")

// AdoptHandover keeps the hand-over to the committee of an epoch that somebody else
// made, if it holds. The committee before must be known here: from the genesis, the
// state or its own hand-over. The error is ErrWrongHandover if the hand-over is not
// right, and ErrNoHandover if the committee before is not known.
func (m *Main) AdoptHandover(epoch uint64, h *Handover) error {
	if !m.staked() || epoch == 0 {
		return fmt.Errorf("%w to epoch %d: there is none on this chain", ErrNoHandover, epoch)
	}
	before, err := m.committeeKnown(epoch - 1)
	if err != nil {
		return err
	}
	if err := m.checkHandover(before, h); err != nil {
		return fmt.Errorf("hand-over to epoch %d: %w: %w", epoch, ErrWrongHandover, err)
	}
	statement, err := encodeStatement(h.Record)
	if err != nil {
		return err
	}
	height := h.Certificate.Checkpoint.Height
	b := m.handovers().store.NewBatch()
	defer b.Discard()
	err = errors.Join(
		b.Set(handoverKey(handoverStatement, epoch, height), statement),
		b.Set(handoverKey(handoverCertificate, epoch, height), h.Certificate.Encode()),
	)
	if err == nil {
		err = b.Commit(false)
	}
	if err != nil {
		return fmt.Errorf("store the hand-over to epoch %d: %w", epoch, err)
	}
	return nil
}

// checkHandover returns an error unless h proves the committee after before to whoever
// knows before.
func (m *Main) checkHandover(before *committee.Committee, h *Handover) error {
	epoch, cp := before.Epoch+1, &h.Certificate.Checkpoint
	keys, err := before.Keys()
	if err != nil {
		return err
	}
	if err := h.Certificate.Verify(m.traits.Chain.Network, m.traits.Chain.Chain, before, keys); err != nil {
		return err
	}
	heights := m.handoverHeights(epoch)
	s := h.Record
	switch {
	case s == nil || s.Value == nil:
		return errors.New("it proves no committee")
	case cp.Height != heights[0] && cp.Height != heights[1]:
		return fmt.Errorf("it is by block %d, want %d or %d", cp.Height, heights[0], heights[1])
	case string(s.Key) != string(staking.CommitteeKey(epoch)) || s.Root != cp.StateRoot || s.Height != cp.Height:
		return errors.New("what it proves is not the committee, or of another state")
	}
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		return err
	}
	if err := schema.VerifyStatement(s); err != nil {
		return err
	}
	record, err := committee.DecodeRecord(s.Value)
	if err == nil && record.Committee.Epoch != epoch {
		err = fmt.Errorf("the committee is that of epoch %d", record.Committee.Epoch)
	}
	return err
}

// committeeKnown returns the committee of an epoch: by the rules, or from the hand-over
// to it. The chain has staking.
func (e *Executor) committeeKnown(epoch uint64) (*committee.Committee, error) {
	var c committee.Committee
	known := false
	if err := e.Read(func(v chain.View, _ uint64) error {
		c, known = e.rules.Committee(v, e.traits.Staking.FirstBlock(epoch))
		return nil
	}); err != nil || known {
		return &c, err
	}
	if epoch == 0 {
		return nil, fmt.Errorf("%w to epoch 0: its committee is in the genesis", ErrNoHandover)
	}
	for _, height := range e.handoverHeights(epoch) {
		h, err := e.handoverAt(epoch, height)
		if err != nil {
			return nil, err
		}
		if h == nil {
			continue
		}
		record, err := committee.DecodeRecord(h.Record.Value)
		return &record.Committee, err
	}
	return nil, fmt.Errorf("%w to epoch %d", ErrNoHandover, epoch)
}

// AdoptCandidates keeps the candidates of the election of an epoch's committee that
// somebody else has, if they elect it. The state must have the committee still. The
// error is ErrWrongHandover if they do not, and ErrPruned if it does not.
func (m *Main) AdoptCandidates(epoch uint64, list []committee.Candidate) error {
	var record committee.Record
	known := false
	if err := m.Read(func(v chain.View, _ uint64) error {
		record, known = staking.ReadElection(v, epoch)
		return nil
	}); err != nil {
		return err
	}
	if !known {
		return m.prunedEpochs(m.main.params.Staking.FirstCommittee(m.head.Load().height), "committee of epoch %d", epoch)
	}
	if err := record.Check(list); err != nil {
		return fmt.Errorf("candidates of epoch %d: %w: %w", epoch, ErrWrongHandover, err)
	}
	entry := chain.Change{Key: keyOf(idxCandidates, nil, epoch), Value: committee.EncodeCandidates(list)}
	return m.layer.UpdateIndex([]chain.Change{entry})
}

// MissingHandovers returns the epochs, ascending, to whose committees this node cannot
// hand over though they are or were in office, and may learn it from somebody else.
func (m *Main) MissingHandovers() (epochs []uint64, err error) {
	height := m.head.Load().height
	if !m.staked() || height == 0 {
		return nil, nil
	}
	type place [16]byte // epoch and height
	stated, whole := make(map[place]bool), make(map[uint64]bool)
	for _, what := range []byte{handoverStatement, handoverCertificate} {
		prefix := []byte{what}
		err := walk(m.handovers().store.Iterate(prefix, kv.PrefixEnd(prefix), false), func(key, _ []byte) bool {
			if len(key) != 17 {
				return true
			}
			if at := place(key[1:]); what == handoverStatement {
				stated[at] = true
			} else if stated[at] {
				whole[binary.BigEndian.Uint64(key[1:])] = true
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("look for missing hand-overs: %w", err)
		}
	}
	newest := m.main.params.Staking.Epoch(height)
	for epoch := max(1, newest-min(newest, handoversKept)); epoch <= newest; epoch++ {
		if !whole[epoch] {
			epochs = append(epochs, epoch)
		}
	}
	return epochs, nil
}

// MissingCandidates returns the epochs, ascending, whose committees the state remembers
// and whose candidates this node does not have.
func (m *Main) MissingCandidates() (epochs []uint64, err error) {
	height := m.head.Load().height
	if !m.staked() || height == 0 {
		return nil, nil
	}
	rules := &m.main.params.Staking
	for epoch := max(1, rules.FirstCommittee(height)); epoch <= rules.Epoch(height); epoch++ {
		raw, err := m.index.Get(keyOf(idxCandidates, nil, epoch))
		if err != nil {
			return nil, fmt.Errorf("look for missing candidates: %w", err)
		}
		if raw == nil {
			epochs = append(epochs, epoch)
		}
	}
	return epochs, nil
}
