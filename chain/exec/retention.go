package exec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// KeepAll as Config.KeepBlocks or Config.KeepReceipts keeps everything.
const KeepAll = math.MaxUint64

const (
	// pruneRecords is how many records one step removes from the index. Commit
	// waits for a step under way: a few milliseconds.
	pruneRecords = 128
	// maxPruneBacklog is how many blocks may wait for Run before Commit itself
	// removes some.
	maxPruneBacklog = 256
)

// PrunedError says that this node no longer has something. It is ErrPruned.
type PrunedError struct {
	What     string // "block 12"
	KeptFrom uint64 // the first height of which this node has such things
	Epochs   bool   // KeptFrom is an epoch instead
}

// Error says what is gone, and what is not.
func (p *PrunedError) Error() string {
	return fmt.Sprintf("%s: pruned, kept from %s %d", p.What, p.Unit(), p.KeptFrom)
}

// Unit is what KeptFrom counts: "height" or "epoch".
func (p *PrunedError) Unit() string {
	if p.Epochs {
		return "epoch"
	}
	return "height"
}

// Is makes errors.Is(err, ErrPruned) true.
func (p *PrunedError) Is(target error) bool { return target == ErrPruned }

// retention is how far back the index reaches.
type retention struct {
	from atomic.Uint64 // the first height that is kept
	due  chan struct{} // capacity 1: there may be something to remove

	mu   sync.Mutex // held by Commit while it reads and writes the index, and by each step
	next Cursor     // what is removed next; all before it is gone
}

// KeptFrom returns the first height whose blocks and receipts the index has.
// What lies below is refused with a PrunedError.
func (e *Executor) KeptFrom() uint64 { return e.retention.from.Load() }

// pruned says that what is gone.
func (e *Executor) pruned(what string, args ...any) error {
	return &PrunedError{What: fmt.Sprintf(what, args...), KeptFrom: e.KeptFrom()}
}

// prunedEpochs says that what is gone, and that such things are kept from an epoch on.
func (e *Executor) prunedEpochs(from uint64, what string, args ...any) error {
	return &PrunedError{What: fmt.Sprintf(what, args...), KeptFrom: from, Epochs: true}
}

// below returns the first height to keep of what goes back keep blocks from head.
func below(head, keep uint64) uint64 {
	if head < keep {
		return 1
	}
	return head + 1 - keep
}

// loadRetention reads how far back the index reaches.
func (e *Executor) loadRetention() error {
	r := &e.retention
	r.due = make(chan struct{}, 1)
	r.next = Cursor{Height: 1}
	raw, err := e.index.Get([]byte{idxKept})
	switch {
	case err != nil:
		return fmt.Errorf("read where the index begins: %w", err)
	case len(raw) == 12:
		r.next = Cursor{Height: binary.BigEndian.Uint64(raw), Position: binary.BigEndian.Uint32(raw[8:])}
	case raw != nil:
		return fmt.Errorf("the index begins at %x: the store is damaged", raw)
	}
	first := r.next.Height
	if r.next.Position > 0 {
		first++
	}
	r.from.Store(max(first, below(e.layer.Height(), e.cfg.KeepReceipts)))
	signal(r.due)
	return nil
}

func (c Cursor) encode() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, c.Height), c.Position)
}

// commitIndexed makes the finalized block durable with its index.
func (e *Executor) commitIndexed(p *prepared) error {
	e.retention.mu.Lock()
	defer e.retention.mu.Unlock()
	pairs, err := e.indexBlock(p)
	if err != nil {
		return fmt.Errorf("index block %d: %w", p.block.Height, err)
	}
	for i := range pairs {
		e.stats.indexBytes.Add(uint64(len(pairs[i].Key) + len(pairs[i].Value)))
	}
	if err := e.layer.Commit(pairs); err != nil {
		return fmt.Errorf("commit block %d: %w", p.block.Height, err)
	}
	return nil
}

// retain moves the retention on to a new head, and returns the first height
// whose block consensus must keep.
func (e *Executor) retain(height uint64) (blocks uint64, err error) {
	r := &e.retention
	if first := below(height, e.cfg.KeepReceipts); first > r.from.Load() {
		r.from.Store(first)
		signal(r.due)
	}
	r.mu.Lock()
	late := r.from.Load() > r.next.Height+maxPruneBacklog
	r.mu.Unlock()
	if late {
		_, err = e.pruneStep()
	}
	return e.keptBlocks(below(height, e.cfg.KeepBlocks)), errors.Join(err, e.offerState(height))
}

// pruneIndex removes old blocks from the index until ctx ends.
func (e *Executor) pruneIndex(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.retention.due:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = e.pruneStep(); err != nil {
				if ctx.Err() == nil {
					e.halt(e.head.Load().height, err)
				}
				more = false
			}
		}
	}
}

// pruneStep removes up to pruneRecords records, and reports whether there are
// more. The removal and the record of how far it got are one batch.
func (e *Executor) pruneStep() (more bool, err error) {
	defer contain("prune the index", &err)
	r := &e.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	x := &pruner{exec: e, at: r.next, removed: make(map[string]bool)}
	first := r.from.Load()
	for x.records < pruneRecords && x.at.Height < first {
		if err := x.block(); err != nil {
			return false, fmt.Errorf("prune block %d from the index: %w", x.at.Height, err)
		}
	}
	if x.at == r.next {
		return false, nil
	}
	x.pairs = append(x.pairs, chain.Change{Key: []byte{idxKept}, Value: x.at.encode()})
	if err := e.layer.UpdateIndex(x.pairs); err != nil {
		return false, err
	}
	r.next = x.at
	return r.next.Height < first, nil
}

// pruner collects what one step removes.
type pruner struct {
	exec    *Executor
	at      Cursor
	records int
	pairs   chain.Changes
	removed map[string]bool // keys in pairs that may come up again
}

func (x *pruner) remove(key []byte) {
	x.pairs = append(x.pairs, chain.Change{Key: key})
}

func (x *pruner) removeOnce(key []byte) {
	if !x.removed[string(key)] {
		x.removed[string(key)] = true
		x.remove(key)
	}
}

// block removes records of the block at x.at, and when none is left the block.
func (x *pruner) block() error {
	height, index := x.at.Height, x.exec.index
	key := keyOf(idxBlock, nil, height)
	raw, err := index.Get(key)
	if err != nil {
		return err
	}
	if raw == nil { // the index began later
		x.records++
		x.at = Cursor{Height: height + 1}
		return nil
	}
	b, receipts, err := x.exec.rules.DecodeBlock(height, raw)
	if err != nil {
		return err
	}
	for ; x.at.Position < receipts; x.at.Position++ {
		if x.records >= pruneRecords {
			return nil
		}
		x.records++
		if err := x.receipt(); err != nil {
			return err
		}
	}
	payees := keyOf(idxPayees, nil, height)
	list, err := index.Get(payees)
	if err != nil {
		return err
	}
	for ; len(list) >= ledger.AddressSize; list = list[ledger.AddressSize:] {
		x.remove(keyOf(idxPaid, list[:ledger.AddressSize], height))
		x.records++
	}
	rows, err := x.exec.rules.Forget(b, x.removed)
	if err != nil {
		return err
	}
	x.records += len(rows)
	x.pairs = append(x.pairs, rows...)
	x.remove(payees)
	x.remove(keyOf(idxProof, nil, height))
	x.remove(keyOf(idxCheckpoint, nil, height))
	if err := x.forgetAcked(height); err != nil {
		return err
	}
	x.remove(keyOf(idxOutbox, nil, height))
	if err := x.forgetProofs(height); err != nil {
		return err
	}
	if s := x.exec.traits.Staking; s != nil && height > s.EpochBlocks {
		x.remove(keyOf(idxSeal, nil, height-s.EpochBlocks)) // of an epoch that has ended: this block is in a later one
	}
	x.remove(key)
	x.at = Cursor{Height: height + 1}
	return nil
}

// receipt removes the receipt at x.at and what leads to it. A record whose name
// leads elsewhere keeps its name.
func (x *pruner) receipt() error {
	key := receiptKey(x.at.Height, x.at.Position)
	raw, err := x.exec.index.Get(key)
	if err != nil {
		return err
	}
	if raw == nil {
		return nil
	}
	r, err := x.exec.rules.DecodeReceipt(raw)
	if err != nil {
		return err
	}
	x.remove(key)
	x.removeOnce(keyOf(idxSigner, r.Signer[:], x.at.Height))
	named, ok, err := x.exec.locate(r.Hash)
	if err != nil {
		return err
	}
	if ok && named.Cursor == x.at {
		x.remove(keyOf(idxHash, r.Hash[:]))
	}
	return nil
}
