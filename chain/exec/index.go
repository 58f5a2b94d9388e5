package exec

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The index, written in the same commit as the state but part of no hash.
// Heights and rows are u64, positions in a block u32, both big-endian, so that
// keys are in order of time.
//
//	'b' | height               block: time, clock, totals, events; results root if it has one
//	'r' | height | position    receipt
//	't' | hash                 height and position of the record's receipt; if that
//	                           had no effect, the record's valid_until
//	's' | signer | height      positions of the signer's records
//	'y' | payee | height       positions of records that pay somebody
//	'i' | channel id           row of the channel
//	'f' | payer | row          number of channels opened in rows from there
//	'g' | payee | row          a channel
//	'x' | row                  what remains of a closed channel
//	'p' | height               proof of the block's results in the state
//	'q' | height               payees in 'y' of that height, 21 bytes each
//	'n'                        hash of the genesis
//	'l'                        height and position (u32) of the first receipt that
//	                           was not removed yet
//	'k' | height               checkpoint of a block that may have to be certified yet
//
// What it keeps of staking is in stakingindex.go.
const (
	idxBlock   = 'b'
	idxReceipt = 'r'
	idxHash    = 't'
	idxSigner  = 's'
	idxPaid    = 'y'
	idxID      = 'i'
	idxPayer   = 'f'
	idxPayee   = 'g'
	idxClosed  = 'x'
	idxProof   = 'p'
	idxPayees  = 'q'
	idxNetwork = 'n'
	idxKept    = 'l'

	idxCheckpoint = 'k'
)

// receiptWire is the size in bytes of most receipts without entries.
const receiptWire = 128

func keyOf(prefix byte, name []byte, numbers ...uint64) []byte {
	k := make([]byte, 0, 1+len(name)+8*len(numbers))
	k = append(append(k, prefix), name...)
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func receiptKey(height uint64, position uint32) []byte {
	return binary.BigEndian.AppendUint32(keyOf(idxReceipt, nil, height), position)
}

// indexer collects the index entries of one block.
type indexer struct {
	pairs  chain.Changes
	height uint64
	// positions by key, in the order the keys came up
	order []string
	lists map[string][]uint32
}

// indexBlock returns the index entries of a finalized block.
func (e *Executor) indexBlock(p *prepared) (chain.Changes, error) {
	x := &indexer{height: p.block.Height, lists: make(map[string][]uint32)}
	x.add(keyOf(idxBlock, nil, x.height), encodeBlock(p))
	if x.height == 1 {
		x.add([]byte{idxNetwork}, e.domain.Network[:])
	}
	if e.proof != nil {
		x.pairs = append(x.pairs, *e.proof)
	}
	named := make(map[ledger.Hash]bool, len(p.records))
	for i := range p.result.Receipts {
		receipt := &p.result.Receipts[i]
		x.add(receiptKey(x.height, uint32(i)), encodeReceipt(receipt))
		names, err := e.names(p.records[i], receipt, named)
		if err != nil {
			return nil, err
		}
		if !names {
			continue
		}
		named[receipt.Hash] = true
		w := codec.NewWriter(8)
		w.Uvarint(x.height)
		w.Uvarint(uint64(i))
		if !consumed(receipt) {
			w.Uvarint(p.records[i].tx.ValidUntil)
		}
		x.add(keyOf(idxHash, receipt.Hash[:]), w.Bytes())
		x.list(keyOf(idxSigner, receipt.Signer[:], x.height), uint32(i))
		for _, payee := range payeesOf(&p.records[i].tx) {
			if payee != receipt.Signer {
				x.list(keyOf(idxPaid, payee[:], x.height), uint32(i))
			}
		}
	}
	var payees []byte
	for _, key := range x.order {
		if key[0] == idxPaid {
			payees = append(payees, key[1:1+ledger.AddressSize]...)
		}
		w := codec.NewWriter(2 * len(x.lists[key]))
		last := uint32(0)
		for _, position := range x.lists[key] {
			w.Uvarint(uint64(position - last))
			last = position
		}
		x.add([]byte(key), w.Bytes())
	}
	if payees != nil {
		x.add(keyOf(idxPayees, nil, x.height), payees)
	}
	x.channels(p.result.Events)
	x.pairs = append(x.pairs, e.indexStaking(p)...)
	checkpoints, err := e.indexCheckpoint(p)
	x.pairs = append(x.pairs, checkpoints...)
	return x.pairs, err
}

// names reports whether the receipt says what became of the record of that
// name. The first effect stands; what had none gives way to what has one.
func (e *Executor) names(r *record, receipt *settlement.Receipt, named map[ledger.Hash]bool) (bool, error) {
	switch {
	case !aboutRecord(r, receipt):
		return false, nil
	case consumed(receipt):
		return true, nil
	case named[receipt.Hash]:
		return false, nil
	}
	old, err := e.index.Get(keyOf(idxHash, receipt.Hash[:]))
	return old == nil, err
}

func (x *indexer) add(key, value []byte) {
	x.pairs = append(x.pairs, chain.Change{Key: key, Value: value})
}

func (x *indexer) list(key []byte, position uint32) {
	k := string(key)
	if _, ok := x.lists[k]; !ok {
		x.order = append(x.order, k)
	}
	x.lists[k] = append(x.lists[k], position)
}

// channels indexes channels opened and closed.
func (x *indexer) channels(events []settlement.Event) {
	for i := range events {
		ev := &events[i]
		if ev.Kind.Closed() {
			x.add(keyOf(idxClosed, nil, ev.Index), encodeClosed(ev, x.height))
		}
		if ev.Kind != settlement.EventOpened {
			continue
		}
		w := codec.NewWriter(8)
		w.Uvarint(ev.Index)
		x.add(keyOf(idxID, ev.ID[:]), w.Bytes())
		x.add(keyOf(idxPayee, ev.Payee[:], ev.Index), []byte{})
		if i > 0 && ev.TxIndex == events[i-1].TxIndex && events[i-1].Kind == ev.Kind && events[i-1].Payer == ev.Payer {
			continue // in the run that began before
		}
		run := uint64(1)
		for j := i + 1; j < len(events) && events[j].Kind == ev.Kind && events[j].TxIndex == ev.TxIndex && events[j].Payer == ev.Payer; j++ {
			run++
		}
		w = codec.NewWriter(2)
		w.Uvarint(run)
		x.add(keyOf(idxPayer, ev.Payer[:], ev.Index), w.Bytes())
	}
}

// payeesOf returns whom a record is to pay, each once: the payee of a batch, the
// recipients of a transfer.
func payeesOf(tx *chain.Tx) []ledger.Address {
	switch tx.Kind {
	case chain.KindSettle:
		if len(tx.Payload) >= ledger.AddressSize { // the payload begins with it
			return []ledger.Address{ledger.Address(tx.Payload[:ledger.AddressSize])}
		}
	case chain.KindTransfer:
		t, err := settlement.DecodeTransfer(tx.Payload)
		if err != nil {
			return nil
		}
		var to []ledger.Address
		for i := range t.Payments {
			to = append(to, t.Payments[i].To)
		}
		slices.SortFunc(to, ledger.Address.Compare)
		return slices.Compact(to)
	default:
	}
	return nil
}

// encodeReceipt writes a receipt densely: about 15 bytes an entry.
func encodeReceipt(r *settlement.Receipt) []byte {
	w := codec.NewWriter(receiptWire + 16*len(r.Entries))
	w.Fixed(r.Hash[:])
	w.Uint8(uint8(r.Kind))
	w.Uvarint(uint64(r.Code))
	w.Fixed(r.Signer[:])
	for _, n := range []uint64{r.Nonce, uint64(r.Fee), uint64(r.Paid), uint64(r.Burned), r.FirstChannel, uint64(r.Opened)} {
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
		w.Uvarint(uint64(en.Redeemed))
	}
	return w.Bytes()
}

func decodeReceipt(b []byte) (settlement.Receipt, error) {
	const limit = 1<<64 - 1
	var r settlement.Receipt
	rd := codec.NewReader(b)
	rd.Into(r.Hash[:])
	r.Kind = chain.Kind(rd.Uint8())
	r.Code = chain.Code(rd.Uvarint(1<<16 - 1))
	rd.Into(r.Signer[:])
	r.Nonce = rd.Uvarint(limit)
	r.Fee, r.Paid, r.Burned = amount(rd), amount(rd), amount(rd)
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
		en.Paid, en.Burned, en.Redeemed = amount(rd), amount(rd), amount(rd)
	}
	if err := rd.Done(); err != nil {
		return r, fmt.Errorf("decode receipt: %w", err)
	}
	return r, nil
}

func amount(r *codec.Reader) ledger.Amount { return ledger.Amount(r.Uvarint(1<<64 - 1)) }

// encodeBlock writes what a block did besides its receipts. Ids and parties of
// the events' channels are found by row.
func encodeBlock(p *prepared) []byte {
	events := p.result.Events
	w := codec.NewWriter(64 + 16*len(events))
	w.Uvarint(uint64(p.block.Time.UnixMilli()))
	w.Uvarint(p.result.Clock)
	w.Uvarint(uint64(len(p.result.Receipts)))
	w.Uvarint(uint64(p.size()))
	t := &p.result.Totals
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
	if !p.result.ResultsRoot.IsZero() {
		w.Fixed(p.result.ResultsRoot[:])
	}
	return w.Bytes()
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

// Closed is what the index keeps of a channel whose record is deleted.
type Closed struct {
	Index    uint64
	ID       ledger.Hash
	Payer    ledger.Address
	Payee    ledger.Address
	Kind     settlement.EventKind // how it was closed
	Height   uint64               // of the block that closed it
	Deposit  ledger.Amount
	Redeemed ledger.Amount // burn included
	Refunded ledger.Amount // rent included
}

func encodeClosed(ev *settlement.Event, height uint64) []byte {
	w := codec.NewWriter(128)
	w.Fixed(ev.ID[:])
	w.Fixed(ev.Payer[:])
	w.Fixed(ev.Payee[:])
	w.Uint8(uint8(ev.Kind))
	for _, n := range []uint64{height, uint64(ev.Deposit), uint64(ev.Redeemed), uint64(ev.Refunded)} {
		w.Uvarint(n)
	}
	return w.Bytes()
}

func decodeClosed(index uint64, b []byte) (Closed, error) {
	c := Closed{Index: index}
	r := codec.NewReader(b)
	r.Into(c.ID[:])
	r.Into(c.Payer[:])
	r.Into(c.Payee[:])
	c.Kind = settlement.EventKind(r.Uint8())
	c.Height = r.Uvarint(1<<64 - 1)
	c.Deposit, c.Redeemed, c.Refunded = amount(r), amount(r), amount(r)
	if err := r.Done(); err != nil {
		return c, fmt.Errorf("decode closed channel %d: %w", index, err)
	}
	return c, nil
}
