package exec

import (
	"context"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// BlockResult is a committed block of the main chain and what it did.
type BlockResult struct {
	Height   uint64
	Time     int64                // Unix milliseconds, from the header
	Clock    uint64               // sigma
	Size     int64                // bytes of the bundles
	Receipts []settlement.Receipt // shared, not to be modified
	Events   []settlement.Event   // shared, not to be modified
	Staking  []staking.Event      // likewise; what happened to validators, stake and epochs
	Totals   settlement.Totals
	// ResultsRoot is the root over receipts and channels that the chain closed, as
	// the state has it; zero for a block without any.
	ResultsRoot ledger.Hash
}

// mainBlock is b in the types of the main chain.
func mainBlock(b *Committed) *BlockResult {
	r := bodyOf[*settlement.Result](b.Body)
	return &BlockResult{
		Height: b.Height, Time: b.Time, Clock: r.Clock, Size: b.Size,
		Receipts: r.Receipts, Events: r.Events, Staking: r.Staking, Totals: r.Totals,
		ResultsRoot: b.ResultsRoot,
	}
}

// BlockResult returns what the committed block at height did, from the index,
// or an error wrapping ErrPruned. Details of receipts are not kept.
func (m *Main) BlockResult(height uint64) (*BlockResult, error) {
	b, err := m.Committed(height)
	if err != nil {
		return nil, err
	}
	return mainBlock(b), nil
}

// Subscription is a Feed of the blocks of the main chain.
type Subscription struct{ feed *Feed }

// Subscribe is Executor.Subscribe.
func (m *Main) Subscribe(from uint64) *Subscription {
	return &Subscription{m.Executor.Subscribe(from)}
}

// Height returns the height of the block that Next will return.
func (s *Subscription) Height() uint64 { return s.feed.Height() }

// Next is Feed.Next.
func (s *Subscription) Next(ctx context.Context) (*BlockResult, error) {
	b, err := s.feed.Next(ctx)
	if err != nil {
		return nil, err
	}
	return mainBlock(b), nil
}
