package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
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
func (e *Executor) indexed(hash ledger.Hash) (s Status, ok bool, err error) {
	for range maxPlaces {
		at, ok, err := e.locate(hash)
		if err != nil || !ok {
			return Status{}, false, err
		}
		receipt, err := e.receipt(at.Cursor)
		pruned := errors.Is(err, ErrPruned)
		if err != nil && !pruned {
			return Status{}, false, err
		}
		if !pruned {
			s = e.executed(at, &receipt)
			if s.Stage == StageRefused || consumed(&receipt) {
				return s, true, nil
			}
		}
		still, err := e.stillAt(hash, at)
		if err != nil {
			return Status{}, false, err
		}
		if still {
			return s, !pruned, nil
		}
	}
	return Status{}, false, fmt.Errorf("look up %s: its place in the index changes all the time", hash)
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
func (e *Executor) listed(at Cursor, receipt *settlement.Receipt) (Status, error) {
	s := Status{Hash: receipt.Hash, Stage: StageFinal, Height: at.Height, TxIndex: at.Position, Receipt: receipt}
	if !passing(receipt) {
		return s, nil
	}
	named, ok, err := e.locate(receipt.Hash)
	if err != nil {
		return Status{}, err
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

func (e *Executor) receipt(at Cursor) (settlement.Receipt, error) {
	if at.Height < e.KeptFrom() {
		return settlement.Receipt{}, e.pruned("receipt %d of block %d", at.Position, at.Height)
	}
	b, err := e.index.Get(receiptKey(at.Height, at.Position))
	if err != nil {
		return settlement.Receipt{}, fmt.Errorf("read receipt: %w", err)
	}
	if b == nil {
		return settlement.Receipt{}, e.pruned("receipt %d of block %d", at.Position, at.Height)
	}
	return decodeReceipt(b)
}

// BlockResult returns what the committed block at height did, from the index,
// or an error wrapping ErrPruned. Details of receipts are not kept.
func (e *Executor) BlockResult(height uint64) (b *BlockResult, err error) {
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
	b, receipts, err := decodeBlock(height, raw)
	if err != nil {
		return nil, err
	}
	b.Receipts = make([]settlement.Receipt, receipts)
	for i := range b.Receipts {
		if b.Receipts[i], err = e.receipt(Cursor{height, uint32(i)}); err != nil {
			return nil, err
		}
	}
	if b.Staking, err = e.stakingOf(height); err != nil {
		return nil, err
	}
	err = e.Read(func(v chain.View, _ uint64) error { return e.nameChannels(v, b.Events) })
	return b, err
}

func decodeBlock(height uint64, raw []byte) (*BlockResult, uint32, error) {
	const limit = 1<<64 - 1
	b := &BlockResult{Height: height}
	r := codec.NewReader(raw)
	b.Time, b.Clock = int64(r.Uvarint(limit)), r.Uvarint(limit)
	receipts := uint32(r.Uvarint(1<<32 - 1))
	b.Size = int64(r.Uvarint(limit))
	for _, a := range totalsFields(&b.Totals) {
		*a = amount(r)
	}
	n := r.Uvarint(limit)
	if n > uint64(r.Remaining()) {
		return nil, 0, fmt.Errorf("decode block %d: %d events in %d bytes", height, n, r.Remaining())
	}
	if n > 0 {
		b.Events = make([]settlement.Event, n)
	}
	last := uint64(0)
	for i := range b.Events {
		ev := &b.Events[i]
		ev.Kind = settlement.EventKind(r.Uint8())
		last += uint64(unzigzag(r.Uvarint(limit)))
		ev.Index = last
		ev.TxIndex = int(r.Uvarint(1<<32)) - 1
		ev.Deposit, ev.Redeemed, ev.Refunded = amount(r), amount(r), amount(r)
		ev.Deadline = r.Uvarint(limit)
	}
	if r.Remaining() > 0 {
		r.Into(b.ResultsRoot[:])
	}
	if err := r.Done(); err != nil {
		return nil, 0, fmt.Errorf("decode block %d: %w", height, err)
	}
	return b, receipts, nil
}

// nameChannels fills in ids and parties of events.
func (e *Executor) nameChannels(v chain.View, events []settlement.Event) error {
	for i := range events {
		ev := &events[i]
		info, ok, err := e.channelAt(v, ev.Index)
		if err != nil {
			return err
		}
		if !ok {
			return e.pruned("channel %d of an event", ev.Index)
		}
		ev.ID, ev.Payer, ev.Payee = info.ID, info.Payer, info.Payee
	}
	return nil
}

// ChannelIndex returns the row of the channel with id, whether it is open or
// closed.
func (e *Executor) ChannelIndex(id ledger.Hash) (index uint64, ok bool) {
	b, err := e.index.Get(keyOf(idxID, id[:]))
	if err != nil || b == nil {
		return 0, false
	}
	r := codec.NewReader(b)
	index = r.Uvarint(1<<64 - 1)
	return index, r.Done() == nil
}

// ChannelState is the state of a channel that exists or existed.
type ChannelState uint8

// The states. A filter of 0 is any.
const (
	ChannelOpen    ChannelState = 1
	ChannelClosing ChannelState = 2
	ChannelClosed  ChannelState = 3
)

// ChannelInfo is a channel as clients see it. Of a closed one only ID, Payer,
// Payee, Deposit and Redeemed of Channel are known, and Closed.
type ChannelInfo struct {
	Index uint64
	State ChannelState
	channel.Channel
	Closed *Closed // nil unless closed
}

// Channel returns the channel at row index, and ok=false if there never was one.
func (e *Executor) Channel(index uint64) (info ChannelInfo, ok bool, err error) {
	err = e.Read(func(v chain.View, _ uint64) error {
		info, ok, err = e.channelAt(v, index)
		return err
	})
	return info, ok, err
}

func (e *Executor) channelAt(v chain.View, index uint64) (ChannelInfo, bool, error) {
	info := ChannelInfo{Index: index, State: ChannelOpen}
	if c, ok := settlement.ChannelAt(v, index); ok {
		info.Channel = c
		if c.Closing() {
			info.State = ChannelClosing
		}
		return info, true, nil
	}
	b, err := e.index.Get(keyOf(idxClosed, nil, index))
	if err != nil || b == nil {
		return info, false, err
	}
	c, err := decodeClosed(index, b)
	if err != nil {
		return info, false, err
	}
	info.State, info.Closed = ChannelClosed, &c
	info.ID, info.Payer, info.Payee, info.Deposit, info.Redeemed = c.ID, c.Payer, c.Payee, c.Deposit, c.Redeemed
	return info, true, nil
}

// ChannelFilter selects channels. Zero fields select all; at most one of Payer
// and Payee is looked up, the other is compared.
type ChannelFilter struct {
	Payer, Payee ledger.Address
	State        ChannelState
}

// ListChannels returns up to limit channels with rows from index from on,
// ascending, and the row to go on from, 0 if there are no more. A page may be
// short, and even empty, although more follow.
func (e *Executor) ListChannels(f ChannelFilter, from uint64, limit int) (page []ChannelInfo, next uint64, err error) {
	limit = max(1, min(limit, MaxPage))
	err = e.Read(func(v chain.View, _ uint64) error {
		rows, end, err := e.channelRows(v, f, from)
		if err != nil {
			return err
		}
		next = end
		for _, row := range rows {
			if len(page) == limit {
				next = row
				return nil
			}
			info, ok, err := e.channelAt(v, row)
			if err != nil {
				return err
			}
			if ok && f.matches(&info) {
				page = append(page, info)
			}
		}
		return nil
	})
	return page, next, err
}

func (f *ChannelFilter) matches(c *ChannelInfo) bool {
	return (f.State == 0 || f.State == c.State) &&
		(f.Payer.IsZero() || f.Payer == c.Payer) &&
		(f.Payee.IsZero() || f.Payee == c.Payee)
}

// channelRows returns up to maxScan rows that f may select from row from on, and
// the row to go on from, 0 if there are no more.
func (e *Executor) channelRows(v chain.View, f ChannelFilter, from uint64) (rows []uint64, next uint64, err error) {
	count := settlement.ChannelCount(v)
	switch {
	case !f.Payee.IsZero():
		prefix := keyOf(idxPayee, f.Payee[:])
		err = e.scan(keyOf(idxPayee, f.Payee[:], from), prefix, func(key, _ []byte) bool {
			rows = append(rows, binary.BigEndian.Uint64(key[len(prefix):]))
			return len(rows) <= maxScan
		})
	case !f.Payer.IsZero():
		prefix := keyOf(idxPayer, f.Payer[:])
		start := from - min(from, channel.MaxOpens) // a run that began before may reach from
		err = e.scan(keyOf(idxPayer, f.Payer[:], start), prefix, func(key, value []byte) bool {
			first := binary.BigEndian.Uint64(key[len(prefix):])
			run, _ := binary.Uvarint(value)
			for row := max(first, from); row < first+run; row++ {
				rows = append(rows, row)
			}
			return len(rows) <= maxScan
		})
	default:
		for row := from; row < count && len(rows) <= maxScan; row++ {
			rows = append(rows, row)
		}
	}
	if len(rows) > maxScan {
		rows, next = rows[:maxScan], rows[maxScan]
	}
	return rows, next, err
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
func (e *Executor) ListTxs(f TxFilter, before *Cursor, limit int) (page []Status, next *Cursor, err error) {
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
