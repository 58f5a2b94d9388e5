package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/kv"
)

// MaxPage is the most items that a list call returns.
const MaxPage = 1_000

// maxScan is how many rows a list call looks at before it returns what it has.
const maxScan = 4_000

// Cursor is a place in the order of executed records.
type Cursor struct {
	Height   uint64
	Position uint32 // in the block
}

// indexPlace is where the index has the receipt of a record.
type indexPlace struct {
	Cursor

	validUntil uint64 // of a record without effect: the last block that may execute it; 0 if there is none
}

// maxPlaces is how often a record is looked up whose place changes meanwhile. It
// does so once when a later block executes it, and once when it is pruned.
const maxPlaces = 4

// indexed returns the status of an executed record, and ok=false if the index
// does not have it.
func (e *Executor) indexed(hash ledger.Hash) (s RecordStatus, ok bool, err error) {
	for range maxPlaces {
		at, ok, err := e.locate(hash)
		if err != nil || !ok {
			return RecordStatus{}, false, err
		}
		receipt, err := e.receipt(at.Cursor)
		pruned := errors.Is(err, ErrPruned)
		if err != nil && !pruned {
			return RecordStatus{}, false, err
		}
		if !pruned {
			s = e.executed(at, &receipt)
			if s.Stage == StageRefused || receipt.Consumed {
				return s, true, nil
			}
		}
		still, err := e.stillAt(hash, at)
		if err != nil {
			return RecordStatus{}, false, err
		}
		if still {
			return s, !pruned, nil
		}
	}
	return RecordStatus{}, false, fmt.Errorf("look up %s: its place in the index changes all the time", hash)
}

// locate returns where the record named hash was executed.
func (e *Executor) locate(hash ledger.Hash) (at indexPlace, ok bool, err error) {
	b, err := e.index.Get(keyOf(idxHash, hash[:]))
	if err != nil {
		return indexPlace{}, false, fmt.Errorf("look up %s: %w", hash, err)
	}
	if b == nil {
		return indexPlace{}, false, nil
	}
	r := codec.NewReader(b)
	at.Cursor = Cursor{Height: r.Uvarint(1<<64 - 1), Position: uint32(r.Uvarint(1<<32 - 1))}
	if r.Remaining() > 0 {
		at.validUntil = r.Uvarint(1<<64 - 1)
	}
	if err := r.Done(); err != nil {
		return indexPlace{}, false, fmt.Errorf("look up %s: %w", hash, err)
	}
	return at, true, nil
}

// stillAt reports whether the record named hash has that place.
func (e *Executor) stillAt(hash ledger.Hash, place indexPlace) (bool, error) {
	at, ok, err := e.locate(hash)
	return ok && at == place, err
}

// listed returns the status of a record that a list has at a place. One that had
// no effect there and was executed by a later block is REFUSED there.
func (e *Executor) listed(at Cursor, receipt *Receipt) (RecordStatus, error) {
	s := RecordStatus{Hash: receipt.Hash, Stage: StageFinal, Height: at.Height, TxIndex: at.Position, Receipt: receipt}
	if !receipt.Passing {
		return s, nil
	}
	named, ok, err := e.locate(receipt.Hash)
	if err != nil {
		return RecordStatus{}, err
	}
	if ok && named.Cursor == at {
		s = e.executed(named, receipt)
		if s.Stage == StageRefused {
			return s, nil
		}
		still, err := e.stillAt(receipt.Hash, named)
		if err != nil || still {
			return s, err
		}
	}
	s.Stage = StageRefused
	return s, nil
}

func (e *Executor) receipt(at Cursor) (Receipt, error) {
	if at.Height < e.KeptFrom() {
		return Receipt{}, e.pruned("receipt %d of block %d", at.Position, at.Height)
	}
	b, err := e.index.Get(receiptKey(at.Height, at.Position))
	if err != nil {
		return Receipt{}, fmt.Errorf("read receipt: %w", err)
	}
	if b == nil {
		return Receipt{}, e.pruned("receipt %d of block %d", at.Position, at.Height)
	}
	return e.rules.DecodeReceipt(b)
}

// Committed returns what the committed block at height did, from the index, or an error
// wrapping ErrPruned. Details of receipts are not kept.
func (e *Executor) Committed(height uint64) (b *Committed, err error) {
	defer contain("read block", &err)
	if recent, _, _ := e.recent.get(height); recent != nil {
		return recent, nil
	}
	if height < e.KeptFrom() {
		return nil, e.pruned("block %d", height)
	}
	raw, err := e.index.Get(keyOf(idxBlock, nil, height))
	if err != nil {
		return nil, fmt.Errorf("read block %d: %w", height, err)
	}
	if raw == nil {
		return nil, e.pruned("block %d", height)
	}
	b, receipts, err := e.rules.DecodeBlock(height, raw)
	if err != nil {
		return nil, err
	}
	b.Receipts = make([]Receipt, receipts)
	for i := range b.Receipts {
		if b.Receipts[i], err = e.receipt(Cursor{height, uint32(i)}); err != nil {
			return nil, err
		}
	}
	return b, e.rules.Complete(b)
}

// scan calls f for the index entries with prefix from key on, until f returns
// false.
func (e *Executor) scan(from, prefix []byte, f func(key, value []byte) bool) error {
	return walk(e.index.Iterate(from, kv.PrefixEnd(prefix), false), f)
}

func walk(it kv.Iterator, f func(key, value []byte) bool) error {
	defer func() { _ = it.Close() }()
	for it.Next() {
		if !f(it.Key(), it.Value()) {
			return nil
		}
	}
	return it.Err()
}

// TxFilter selects executed records by one account.
type TxFilter struct {
	Account ledger.Address
	Paid    bool // records that pay Account, instead of those it signed
}

// ListTxs returns up to limit executed records, newest first, older than before
// (all, if before is nil), and the cursor to go on from, nil if there are no
// more. Those below KeptFrom are left out. One that was REFUSED and executed later
// is listed at both places. It must not be called from within Read.
func (e *Executor) ListTxs(f TxFilter, before *Cursor, limit int) (page []RecordStatus, next *Cursor, err error) {
	limit = max(1, min(limit, MaxPage))
	kind := byte(idxSigner)
	if f.Paid {
		kind = idxPaid
	}
	prefix := keyOf(kind, f.Account[:])
	from := keyOf(kind, f.Account[:], e.KeptFrom())
	to := kv.PrefixEnd(prefix)
	if before != nil {
		to = keyOf(kind, f.Account[:], before.Height+1)
	}
	var found []Cursor
	err = walk(e.index.Iterate(from, to, true), func(key, value []byte) bool {
		height := binary.BigEndian.Uint64(key[len(prefix):])
		for _, position := range slices.Backward(readPositions(value)) {
			if before == nil || height < before.Height || position < before.Position {
				found = append(found, Cursor{Height: height, Position: position})
			}
		}
		return len(found) <= limit
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list transactions: %w", err)
	}
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1]
		next = &last
	}
	for _, at := range found {
		receipt, err := e.receipt(at)
		if err != nil {
			return nil, nil, err
		}
		s, err := e.listed(at, &receipt)
		if err != nil {
			return nil, nil, err
		}
		page = append(page, s)
	}
	return page, next, nil
}

func readPositions(b []byte) []uint32 {
	var positions []uint32
	r := codec.NewReader(b)
	last := uint64(0)
	for r.Remaining() > 0 && r.Err() == nil {
		last += r.Uvarint(1<<32 - 1)
		positions = append(positions, uint32(last))
	}
	return positions
}
