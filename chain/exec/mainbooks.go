package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// receiptWire is the size in bytes of most receipts without entries.
const receiptWire = 128

// EncodeReceipt is that of Books.
func (m *mainRules) EncodeReceipt(r *Receipt) []byte { return encodeReceipt(mainReceipt(r)) }

// DecodeReceipt is that of Books.
func (m *mainRules) DecodeReceipt(raw []byte) (Receipt, error) {
	r, err := decodeReceipt(raw)
	return receiptOf(&r), err
}

// EncodeBlock is that of Books.
func (m *mainRules) EncodeBlock(b *Committed) []byte { return encodeBlock(b) }

// DecodeBlock is that of Books.
func (m *mainRules) DecodeBlock(height uint64, raw []byte) (b *Committed, receipts uint32, err error) {
	return decodeBlock(height, raw)
}

// Complete is that of Books: receipts, what happened to the stake, and the names of
// channels lie elsewhere in the index.
func (m *mainRules) Complete(b *Committed) error {
	r := bodyOf[*settlement.Result](b.Body)
	r.Receipts = make([]settlement.Receipt, len(b.Receipts))
	for i := range b.Receipts {
		r.Receipts[i] = *mainReceipt(&b.Receipts[i])
	}
	var err error
	if r.Staking, err = m.stakingOf(b.Height); err != nil {
		return err
	}
	return m.exec.Read(func(v chain.View, _ uint64) error { return m.nameChannels(v, r.Events) })
}

// ResultsKey is that of Books.
func (m *mainRules) ResultsKey() []byte { return settlement.ResultsKey() }

// ResultsHeight is that of Books.
func (m *mainRules) ResultsHeight(value []byte) (uint64, error) {
	r, err := settlement.DecodeResults(value)
	return r.Height, err
}

// ResultLeaves is that of Books.
func (m *mainRules) ResultLeaves(b *Committed) [][]byte {
	r := bodyOf[*settlement.Result](b.Body)
	return settlement.ResultLeaves(r.Receipts, r.Events)
}

// encodeReceipt writes a receipt densely: about 16 bytes an entry.
func encodeReceipt(r *settlement.Receipt) []byte {
	w := codec.NewWriter(receiptWire + 16*len(r.Entries))
	w.Fixed(r.Hash[:])
	w.Uint8(uint8(r.Kind))
	w.Uvarint(uint64(r.Code))
	w.Fixed(r.Signer[:])
	for _, n := range []uint64{r.Nonce, uint64(r.Fee), uint64(r.Paid), uint64(r.Burned), uint64(r.OwnerFee), r.FirstChannel, uint64(r.Opened)} {
		w.Uvarint(n)
	}
	if r.Kind == chain.KindSettle {
		w.Fixed(r.ResultsRoot[:])
	}
	w.Uvarint(uint64(len(r.Entries)))
	last := uint64(0)
	for i := range r.Entries {
		en := &r.Entries[i]
		w.Uvarint(en.Index - last) // ascending
		last = en.Index
		w.Uint8(en.Lane)
		code := uint64(en.Code) << 1
		if en.Closed {
			code |= 1
		}
		w.Uvarint(code)
		w.Uvarint(uint64(en.Paid))
		w.Uvarint(uint64(en.Burned))
		w.Uvarint(uint64(en.OwnerFee))
		w.Uvarint(uint64(en.Redeemed))
	}
	if hasOutcomes(r.Kind) {
		w.Fixed(r.ResultsRoot[:])
		w.Bytes32(r.Outcomes())
	}
	return w.Bytes()
}

// hasOutcomes reports whether receipts of a kind have settlement.Receipt.Outcomes.
func hasOutcomes(k chain.Kind) bool { return k == chain.KindAnchor || k == chain.KindImport }

func decodeReceipt(b []byte) (settlement.Receipt, error) {
	const limit = 1<<64 - 1
	var r settlement.Receipt
	rd := codec.NewReader(b)
	rd.Into(r.Hash[:])
	r.Kind = chain.Kind(rd.Uint8())
	r.Code = chain.Code(rd.Uvarint(1<<16 - 1))
	rd.Into(r.Signer[:])
	r.Nonce = rd.Uvarint(limit)
	r.Fee, r.Paid, r.Burned, r.OwnerFee = amount(rd), amount(rd), amount(rd), amount(rd)
	r.FirstChannel, r.Opened = rd.Uvarint(limit), uint32(rd.Uvarint(1<<32-1))
	if r.Kind == chain.KindSettle {
		rd.Into(r.ResultsRoot[:])
	}
	n := rd.Uvarint(1 << 16)
	if n > uint64(rd.Remaining()) {
		return r, fmt.Errorf("decode receipt: %d entries in %d bytes", n, rd.Remaining())
	}
	if n > 0 {
		r.Entries = make([]settlement.EntryResult, n)
	}
	last := uint64(0)
	for i := range r.Entries {
		en := &r.Entries[i]
		last += rd.Uvarint(limit)
		en.Index, en.Lane = last, rd.Uint8()
		code := rd.Uvarint(1<<17 - 1)
		en.Code, en.Closed = chain.Code(code>>1), code&1 == 1
		en.Paid, en.Burned, en.OwnerFee, en.Redeemed = amount(rd), amount(rd), amount(rd), amount(rd)
	}
	if hasOutcomes(r.Kind) {
		rd.Into(r.ResultsRoot[:])
		if err := r.SetOutcomes(rd.Bytes32(chain.MaxTxSize)); err != nil {
			return r, err
		}
	}
	if err := rd.Done(); err != nil {
		return r, fmt.Errorf("decode receipt: %w", err)
	}
	return r, nil
}

func amount(r *codec.Reader) ledger.Amount { return ledger.Amount(r.Uvarint(1<<64 - 1)) }

// encodeBlock writes what a block did besides its receipts. Ids and parties of
// the events' channels are found by row.
func encodeBlock(b *Committed) []byte {
	r := bodyOf[*settlement.Result](b.Body)
	events := r.Events
	w := codec.NewWriter(64 + 16*len(events))
	w.Uvarint(uint64(b.Time))
	w.Uvarint(r.Clock)
	w.Uvarint(uint64(len(b.Receipts)))
	w.Uvarint(uint64(b.Size))
	t := &r.Totals
	for _, a := range totalsFields(t) {
		w.Uvarint(uint64(*a))
	}
	w.Uvarint(uint64(len(events)))
	last := uint64(0)
	for i := range events {
		ev := &events[i]
		w.Uint8(uint8(ev.Kind))
		w.Uvarint(zigzag(int64(ev.Index - last)))
		last = ev.Index
		w.Uvarint(uint64(ev.TxIndex + 1))
		for _, n := range []uint64{uint64(ev.Deposit), uint64(ev.Redeemed), uint64(ev.Refunded), ev.Deadline} {
			w.Uvarint(n)
		}
	}
	if !b.ResultsRoot.IsZero() {
		w.Fixed(b.ResultsRoot[:])
	}
	return w.Bytes()
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

func decodeBlock(height uint64, raw []byte) (*Committed, uint32, error) {
	const limit = 1<<64 - 1
	res := &settlement.Result{Height: height}
	b := &Committed{Height: height, Body: res}
	r := codec.NewReader(raw)
	b.Time, res.Clock = int64(r.Uvarint(limit)), r.Uvarint(limit)
	receipts := uint32(r.Uvarint(1<<32 - 1))
	b.Size = int64(r.Uvarint(limit))
	for _, a := range totalsFields(&res.Totals) {
		*a = amount(r)
	}
	n := r.Uvarint(limit)
	if n > uint64(r.Remaining()) {
		return nil, 0, fmt.Errorf("decode block %d: %d events in %d bytes", height, n, r.Remaining())
	}
	if n > 0 {
		res.Events = make([]settlement.Event, n)
	}
	last := uint64(0)
	for i := range res.Events {
		ev := &res.Events[i]
		ev.Kind = settlement.EventKind(r.Uint8())
		last += uint64(unzigzag(r.Uvarint(limit)))
		ev.Index = last
		ev.TxIndex = int(r.Uvarint(1<<32)) - 1
		ev.Deposit, ev.Redeemed, ev.Refunded = amount(r), amount(r), amount(r)
		ev.Deadline = r.Uvarint(limit)
	}
	if r.Remaining() > 0 {
		r.Into(b.ResultsRoot[:])
		res.ResultsRoot = b.ResultsRoot
	}
	if err := r.Done(); err != nil {
		return nil, 0, fmt.Errorf("decode block %d: %w", height, err)
	}
	return b, receipts, nil
}

// nameChannels fills in ids and parties of events.
func (m *mainRules) nameChannels(v chain.View, events []settlement.Event) error {
	for i := range events {
		ev := &events[i]
		info, ok, err := m.channelAt(v, ev.Index)
		if err != nil {
			return err
		}
		if !ok {
			return m.exec.pruned("channel %d of an event", ev.Index)
		}
		ev.ID, ev.Payer, ev.Payee = info.ID, info.Payer, info.Payee
	}
	return nil
}
