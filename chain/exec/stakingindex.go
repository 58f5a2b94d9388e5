package exec

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// What the index keeps of staking, beside what it keeps of blocks:
//
//	'e' | height               what happened to validators, stake and epochs
//	'v' | epoch                candidates of the election of the epoch's committee
const (
	idxStaking    = 'e'
	idxCandidates = 'v'
)

// indexStaking returns the index entries of what a block did to the stake.
func (m *mainRules) indexStaking(r *settlement.Result) (pairs []chain.Change) {
	if len(r.Staking) > 0 {
		pairs = append(pairs, chain.Change{Key: keyOf(idxStaking, nil, r.Height), Value: encodeStaking(r.Staking)})
	}
	if r.Election == nil {
		return pairs
	}
	next := r.Election.Committee.Epoch
	pairs = append(pairs, chain.Change{Key: keyOf(idxCandidates, nil, next), Value: committee.EncodeCandidates(r.Candidates)})
	if last := m.electionsKept(); next > last {
		pairs = append(pairs, chain.Change{Key: keyOf(idxCandidates, nil, next-last-1)})
	}
	return pairs
}

// electionsKept is of how many epochs before the last the index has the candidates:
// of those whose committee the state remembers.
func (m *mainRules) electionsKept() uint64 {
	if m.keep == KeepAll {
		return math.MaxUint64
	}
	return uint64(m.params.Staking.UnbondingEpochs) + uint64(m.params.Staking.EvidenceEpochs) + 2
}

// Candidates returns all who could be elected for the committee of an epoch,
// ascending by row, or an error wrapping ErrPruned if the index does not have them:
// the committee is not elected yet, or forgotten, or was elected before this node's
// index begins. Their hash is in the state, see staking.ReadElection.
func (m *Main) Candidates(epoch uint64) (list []committee.Candidate, err error) {
	if epoch == 0 {
		return m.firstCandidates(), nil
	}
	raw, err := m.index.Get(keyOf(idxCandidates, nil, epoch))
	if err != nil {
		return nil, fmt.Errorf("read the candidates of epoch %d: %w", epoch, err)
	}
	if raw == nil {
		from, err := m.candidatesFrom()
		if err != nil {
			return nil, err
		}
		return nil, m.prunedEpochs(from, "candidates of epoch %d", epoch)
	}
	return committee.DecodeCandidates(raw)
}

// candidatesFrom returns the first epoch after the first of whose election the index
// has, or will have, the candidates.
func (m *Main) candidatesFrom() (first uint64, err error) {
	first = m.main.params.Staking.Epoch(m.head.Load().height+2) + 1 // the next that is elected
	err = m.scan([]byte{idxCandidates}, []byte{idxCandidates}, func(key, _ []byte) bool {
		first = min(first, binary.BigEndian.Uint64(key[1:]))
		return false
	})
	if err != nil {
		return 0, fmt.Errorf("read where candidates begin: %w", err)
	}
	return first, nil
}

// firstCandidates are the validators of the genesis: every one is electable.
func (m *Main) firstCandidates() []committee.Candidate {
	list := make([]committee.Candidate, len(m.main.genesis.Validators))
	for i := range list {
		v := &m.main.genesis.Validators[i]
		list[i] = committee.Candidate{
			Validator: uint64(i), ConsensusKey: v.ConsensusKey, BLSKey: v.BLSKey,
			Stake: uint64(v.SelfStake), SelfStake: uint64(v.SelfStake),
		}
	}
	return list
}

// stakingOf reads what the block at height did to the stake.
func (m *mainRules) stakingOf(height uint64) ([]staking.Event, error) {
	raw, err := m.exec.index.Get(keyOf(idxStaking, nil, height))
	if err != nil || raw == nil {
		return nil, err
	}
	return decodeStaking(raw)
}

// encodeStaking writes events densely: about 40 bytes each.
func encodeStaking(events []staking.Event) []byte {
	w := codec.NewWriter(8 + 48*len(events))
	w.Uvarint(uint64(len(events)))
	for i := range events {
		ev := &events[i]
		w.Uint8(uint8(ev.Kind))
		w.Uint8(uint8(ev.Fault))
		w.Bool(!ev.Delegator.IsZero())
		if !ev.Delegator.IsZero() {
			w.Fixed(ev.Delegator[:])
		}
		for _, n := range []uint64{
			uint64(ev.TxIndex + 1), ev.Validator, ev.To, uint64(ev.Amount), uint64(ev.Reward),
			ev.Epoch, ev.Height, ev.Power, uint64(ev.Code),
		} {
			w.Uvarint(n)
		}
	}
	return w.Bytes()
}

func decodeStaking(raw []byte) ([]staking.Event, error) {
	const limit = math.MaxUint64
	r := codec.NewReader(raw)
	n := r.Uvarint(limit)
	if n > uint64(r.Remaining()) {
		return nil, fmt.Errorf("decode staking events: %d in %d bytes", n, r.Remaining())
	}
	events := make([]staking.Event, n)
	for i := range events {
		ev := &events[i]
		ev.Kind, ev.Fault = staking.EventKind(r.Uint8()), staking.Fault(r.Uint8())
		if r.Bool() {
			r.Into(ev.Delegator[:])
		}
		ev.TxIndex = int(r.Uvarint(1<<32)) - 1
		ev.Validator, ev.To = r.Uvarint(limit), r.Uvarint(limit)
		ev.Amount, ev.Reward = amount(r), amount(r)
		ev.Epoch, ev.Height, ev.Power = r.Uvarint(limit), r.Uvarint(limit), r.Uvarint(limit)
		ev.Code = chain.Code(r.Uvarint(math.MaxUint16))
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("decode staking events: %w", err)
	}
	return events, nil
}

// totalsFields are the totals that the index keeps, in their order.
func totalsFields(t *settlement.Totals) []*ledger.Amount {
	return []*ledger.Amount{&t.Accounts, &t.Escrow, &t.Rent, &t.Burned, &t.Fees, &t.Staked, &t.Rewards, &t.Minted}
}
