// Package carry lets shard/relay work on the executors of this node: it says how their
// states, certificates and outboxes are read, how relays and records are handed in, and
// when there is something to look at.
package carry

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// Both implement what shard/relay asks for.
var (
	_ relay.Main  = Main{}
	_ relay.Shard = Shard{}
)

// Main is the main chain of this node as a relay.Main. It is safe for concurrent use.
type Main struct {
	*exec.Main

	// Bundles returns the bundles of the block at height. Nil: nobody has them.
	Bundles func(height uint64) ([][]byte, error)
}

// Read is that of relay.Chain.
func (m Main) Read(f func(v chain.View, height uint64) error) error { return m.ReadSnapshot(f) }

// Outbox is that of relay.Chain.
func (m Main) Outbox(height uint64) (box *link.Outbox, ok bool, err error) {
	return outbox(m.Executor, height)
}

// Handover is that of relay.Main.
func (m Main) Handover(epoch uint64) (cert.Certificate, *stateproof.Statement, error) {
	h, err := m.Main.Handover(epoch)
	if err != nil {
		return cert.Certificate{}, nil, err
	}
	return h.Certificate, h.Record, nil
}

// Posts is that of relay.Main.
func (m Main) Posts(height uint64) (posts relay.Posts, ok bool, err error) {
	block, err := m.BlockResult(height)
	if errors.Is(err, exec.ErrPruned) || m.Bundles == nil {
		return posts, false, nil
	}
	if err != nil {
		return posts, false, err
	}
	if !slices.ContainsFunc(block.Receipts, func(r settlement.Receipt) bool { return settlement.HasPairings(r.Kind) }) {
		return posts, true, nil
	}
	bundles, err := m.Bundles(height)
	if err != nil {
		return posts, false, nil //nolint:nilerr // consensus keeps fewer blocks, and gives none while it starts
	}
	at := 0 // the place of a record in the block
	for _, raw := range bundles {
		bundle, err := chain.DecodeBundle(raw)
		if err != nil {
			continue
		}
		for _, record := range bundle.Records {
			if at < len(block.Receipts) && settlement.HasPairings(block.Receipts[at].Kind) {
				post(&posts, m.Domain(), record, &block.Receipts[at])
			}
			at++
		}
	}
	return posts, true, nil
}

// post adds what a record says, as its receipt says what became of it.
func post(posts *relay.Posts, d chain.Domain, record []byte, r *settlement.Receipt) {
	tx, err := chain.DecodeTx(d, record)
	if err != nil {
		return
	}
	if tx.Kind == chain.KindAnchorConflict {
		if c, err := anchor.DecodeConflict(tx.Payload); err == nil && r.Code == chain.CodeOK {
			posts.Conflicts = append(posts.Conflicts, c)
		}
		return
	}
	a, err := anchor.DecodeAnchors(tx.Payload)
	if err != nil {
		return
	}
	for i := range a.Runs {
		taken := r.Code == chain.CodeOK && i < len(r.Runs) && r.Runs[i].Taken()
		posts.Runs = append(posts.Runs, relay.Posted{Run: a.Runs[i], Taken: taken})
	}
}

// Submit is that of relay.Main.
func (m Main) Submit(ctx context.Context, raw []byte) error {
	_, err := m.Main.Submit(ctx, raw)
	return err
}

// Shard is a shard of this node as a relay.Shard. It is safe for concurrent use.
type Shard struct{ *exec.Shard }

// Read is that of relay.Chain.
func (s Shard) Read(f func(v chain.View, height uint64) error) error { return s.ReadSnapshot(f) }

// Outbox is that of relay.Chain.
func (s Shard) Outbox(height uint64) (box *link.Outbox, ok bool, err error) {
	return outbox(s.Executor, height)
}

func outbox(e *exec.Executor, height uint64) (box *link.Outbox, ok bool, err error) {
	box, err = e.Outbox(height)
	if errors.Is(err, exec.ErrPruned) {
		return nil, false, nil
	}
	return box, err == nil, err
}

// Watch calls wake after every block of a chain and whenever it has a certificate more,
// until ctx is done. It returns nil then, or the error that ended it before: of a store
// that cannot be read, the halt of the chain, or ErrPanic, after which it may be called again.
func Watch(ctx context.Context, e *exec.Executor, wake func()) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(contained(func() error {
		head, _ := e.Head()
		feed := e.Subscribe(head + 1)
		for {
			_, err := feed.Next(ctx)
			_, gap := errors.AsType[*exec.GapError](err)
			switch {
			case err == nil, gap:
				wake()
			case ctx.Err() == nil:
				return fmt.Errorf("watch the blocks of chain %d: %w", e.Chain().Chain, err)
			default:
				return nil
			}
		}
	}))
	g.Go(contained(func() error {
		for {
			made := e.CertificateMade()
			wake()
			select {
			case <-ctx.Done():
				return nil
			case <-made:
			}
		}
	}))
	return g.Wait()
}

// ErrPanic means that what looks at a chain panicked. Where is in the text.
var ErrPanic = errors.New("panic")

// contained makes an error of a panic of run, which would end the process with all chains.
func contained(run func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
			}
		}()
		return run()
	}
}
