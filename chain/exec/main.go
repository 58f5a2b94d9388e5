package exec

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/layer"
)

// Main runs the main chain, by the rules of chain/settlement. It is the Executor with
// what only the main chain has, and with its answers in the types of the main chain.
type Main struct {
	*Executor

	main *mainRules
}

// OpenMain returns the main chain that genesis begins, over its layer. genesis must be
// the one that the layer's state began with.
func OpenMain(cfg Config, l *layer.Settlement, genesis settlement.Genesis, log *slog.Logger) (*Main, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := genesis.Validate(); err != nil {
		return nil, fmt.Errorf("open chain: genesis: %w", err)
	}
	cfg = cfg.withDefaults()
	rules := newMainRules(&cfg, genesis)
	m := &Main{Executor: newExecutor(cfg, l, rules, log), main: rules}
	rules.exec = m.Executor
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	return m, nil
}

// Params returns the consensus parameters.
func (m *Main) Params() settlement.Params { return m.main.params }

// Status is what this node knows of a record of the main chain.
type Status struct {
	Hash       ledger.Hash
	Stage      Stage
	Height     uint64              // of the block; at INCLUDED, FINAL and REFUSED
	TxIndex    uint32              // position in the block's records; likewise
	Receipt    *settlement.Receipt // likewise; shared, not to be modified
	DropReason string              // of DROPPED
	ValidUntil uint64              // of REFUSED: the last block that may execute it, 0 if there is no last one
}

// mainStatus is s with the receipt of the main chain.
func mainStatus(s *RecordStatus) Status {
	out := Status{
		Hash: s.Hash, Stage: s.Stage, Height: s.Height, TxIndex: s.TxIndex,
		DropReason: s.DropReason, ValidUntil: s.ValidUntil,
	}
	if s.Receipt != nil {
		out.Receipt = mainReceipt(s.Receipt)
	}
	return out
}

// mainReceipt returns the receipt of the main chain in r.
func mainReceipt(r *Receipt) *settlement.Receipt { return bodyOf[*settlement.Receipt](r.Body) }

// Submit is Executor.Submit.
func (m *Main) Submit(ctx context.Context, raw []byte) (Status, error) {
	s, err := m.Executor.Submit(ctx, raw)
	return mainStatus(&s), err
}

// Simulate is Executor.Simulate.
func (m *Main) Simulate(ctx context.Context, raw []byte) (settlement.Receipt, error) {
	r, err := m.Executor.Simulate(ctx, raw)
	if err != nil {
		return settlement.Receipt{}, err
	}
	return *mainReceipt(&r), nil
}

// Status is Executor.Status.
func (m *Main) Status(hash ledger.Hash) (Status, error) {
	s, err := m.Executor.Status(hash)
	return mainStatus(&s), err
}

// Wait is Executor.Wait.
func (m *Main) Wait(ctx context.Context, hash ledger.Hash, stage Stage) (Status, error) {
	s, err := m.Executor.Wait(ctx, hash, stage)
	return mainStatus(&s), err
}

// ListTxs is Executor.ListTxs.
func (m *Main) ListTxs(f TxFilter, before *Cursor, limit int) (page []Status, next *Cursor, err error) {
	list, next, err := m.Executor.ListTxs(f, before, limit)
	for i := range list {
		page = append(page, mainStatus(&list[i]))
	}
	return page, next, err
}

// TxProof is a RecordProof of the main chain: Receipt.Leaf() is leaf TxIndex, and State
// proves that the state holds Results under settlement.ResultsKey.
type TxProof struct {
	RecordProof

	Receipt settlement.Receipt
	Results settlement.Results
}

// Proof is Executor.Proof.
func (m *Main) Proof(hash ledger.Hash) (*TxProof, error) {
	p, err := m.Executor.Proof(hash)
	if err != nil {
		return nil, err
	}
	out := &TxProof{RecordProof: *p, Receipt: *mainReceipt(&p.Receipt)}
	if out.Results, err = settlement.DecodeResults(p.State.Value); err != nil {
		return nil, err
	}
	return out, nil
}
