package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// ShardResult is what a block of a shard did: Committed.Body on a shard. It is shared,
// and not to be modified.
type ShardResult struct {
	Height uint64
	// Epoch is that of the committee that signs the block.
	Epoch uint64
	// Level is how congested the shard was before the block.
	Level route.Level
	// Ended says that this is the shard's last block.
	Ended    bool
	Receipts []service.Receipt // one for each record, in order
	// Bookings are the leaves of the block's usage root, in their order: those of the
	// entries of Receipts that were booked.
	Bookings []service.Booking
	// Imports is what became of the leaves that the block took in.
	Imports []link.Receipt
	// Codes are those of the messages that the rules of the service saw, in their order:
	// the last leaves of the results root.
	Codes  []chain.Code
	Totals service.Totals

	// Channels that became known, and that ended. A block that was read back has none.
	opened []channelPlace
	closed []ledger.Hash
}

// channelPlace is where the state of a shard has a channel.
type channelPlace struct {
	id     ledger.Hash
	bucket uint8
	index  uint64
}

// shardResultOf keeps of a block what is told of it. v is the state before it.
func shardResultOf(v chain.View, res *shardblock.Result) *ShardResult {
	out := &ShardResult{
		Height: res.Service.Height, Epoch: res.Epoch, Level: res.Level, Ended: res.Ended,
		Receipts: res.Service.Receipts, Bookings: res.Service.Bookings, Totals: res.Service.Totals,
	}
	for i := range res.Service.Imports {
		out.Codes = append(out.Codes, res.Service.Imports[i].Code)
	}
	known := make(map[service.Place]map[uint64]ledger.Hash)
	for i := range res.Imports {
		out.Imports = append(out.Imports, res.Imports[i].Receipts...)
		for _, m := range res.Imports[i].Executed() {
			out.note(v, m, known)
		}
	}
	return out
}

// note notes a channel that a message makes known, or ends. known are those that the
// block made known before.
func (r *ShardResult) note(v chain.View, m *link.Message, known map[service.Place]map[uint64]ledger.Hash) {
	switch service.MessageKind(m.Kind) {
	case service.KindOpened:
		n, err := channel.DecodeOpenedNotice(m.Payload)
		if err != nil {
			return
		}
		home := service.HomeOf(n.Payer)
		if known[home] == nil {
			known[home] = make(map[uint64]ledger.Hash)
		}
		known[home][n.Index] = n.ID
		r.opened = append(r.opened, channelPlace{n.ID, home.Bucket, n.Index})
	case service.KindClosed:
		n, err := channel.DecodeClosedNotice(m.Payload)
		if err != nil {
			return
		}
		home := service.HomeOf(n.Payer)
		id, ok := known[home][n.Index]
		if !ok {
			c, there := service.ChannelAt(v, home.Bucket, n.Index)
			id, ok = c.ID, there
		}
		if ok {
			r.closed = append(r.closed, id)
		}
	case service.KindChanged, service.KindRedeemed, service.KindEarnings:
	}
}

// shardReceipt returns the receipt of a shard in r.
func shardReceipt(r *Receipt) *service.Receipt { return bodyOf[*service.Receipt](r.Body) }

// EncodeReceipt is that of Books.
func (s *shardRules) EncodeReceipt(r *Receipt) []byte { return shardReceipt(r).Encode() }

// DecodeReceipt is that of Books.
func (s *shardRules) DecodeReceipt(raw []byte) (Receipt, error) {
	r, err := service.DecodeReceipt(raw)
	return shardReceiptOf(&r), err
}

// EncodeBlock is that of Books. Numbers are uvarints, signed ones of which are never
// below 0:
//
//	time | size | relays | leaves of the outbox | receipts | epoch | level | ended u8 | totals |
//	results root 32 | outbox root 32 |
//	count x (channel 32 | lane u8 | seq | units | cumulative | usage root 32) |
//	count x (link 12 | seq | origin u8 [32] | result u8 | code) | count x code
func (s *shardRules) EncodeBlock(b *Committed) []byte {
	r := bodyOf[*ShardResult](b.Body)
	w := codec.NewWriter(256 + 96*len(r.Bookings) + 24*len(r.Imports))
	for _, n := range []uint64{uint64(b.Time), uint64(b.Size), uint64(b.Relays), uint64(b.Outbox), uint64(len(b.Receipts)), r.Epoch, uint64(r.Level)} {
		w.Uvarint(n)
	}
	w.Bool(r.Ended)
	for _, n := range shardTotals(&r.Totals) {
		w.Uvarint(*n)
	}
	w.Fixed(b.ResultsRoot[:])
	w.Fixed(b.OutboxRoot[:])
	w.Uvarint(uint64(len(r.Bookings)))
	for i := range r.Bookings {
		k := &r.Bookings[i]
		w.Fixed(k.ChannelID[:])
		w.Uint8(k.Lane)
		w.Uvarint(k.Seq)
		w.Uvarint(k.Units)
		w.Uvarint(uint64(k.Cumulative))
		w.Fixed(k.UsageRoot[:])
	}
	w.Uvarint(uint64(len(r.Imports)))
	for i := range r.Imports {
		writeImported(w, &r.Imports[i])
	}
	w.Uvarint(uint64(len(r.Codes)))
	for _, code := range r.Codes {
		w.Uvarint(uint64(code))
	}
	return w.Bytes()
}

func writeImported(w *codec.Writer, m *link.Receipt) {
	w.Fixed(m.Link.Encode())
	w.Uvarint(m.Seq)
	w.Bool(!m.OriginTx.IsZero())
	if !m.OriginTx.IsZero() {
		w.Fixed(m.OriginTx[:])
	}
	w.Uint8(uint8(m.Result))
	w.Uvarint(uint64(m.Code))
}

func readImported(r *codec.Reader) (m link.Receipt, err error) {
	if raw := r.Fixed(link.Size); r.Err() == nil {
		if m.Link, err = link.DecodeLink(raw); err != nil {
			return m, err
		}
	}
	m.Seq = r.Uvarint(noLimit)
	if r.Bool() {
		r.Into(m.OriginTx[:])
	}
	m.Result, m.Code = link.Result(r.Uint8()), chain.Code(r.Uvarint(1<<16-1))
	return m, nil
}

// noLimit is that of uvarints of any size.
const noLimit = 1<<64 - 1

func shardTotals(t *service.Totals) (list []*uint64) {
	for _, s := range []*service.Sums{&t.Booked, &t.Received, &t.Returned, &t.Earned, &t.Sent, &t.Waiting, &t.Stuck} {
		list = append(list, &s.Amount, &s.Units, &s.Work)
	}
	return append(list, &t.Channels)
}

// DecodeBlock is that of Books.
func (s *shardRules) DecodeBlock(height uint64, raw []byte) (b *Committed, receipts uint32, err error) {
	res := &ShardResult{Height: height}
	b = &Committed{Height: height, Body: res}
	r := codec.NewReader(raw)
	b.Time, b.Size = int64(r.Uvarint(noLimit)), int64(r.Uvarint(noLimit))
	b.Relays, b.Outbox = int(r.Uvarint(1<<32-1)), int(r.Uvarint(1<<32-1))
	receipts = uint32(r.Uvarint(1<<32 - 1))
	res.Epoch, res.Level, res.Ended = r.Uvarint(noLimit), route.Level(r.Uvarint(uint64(route.Full))), r.Bool()
	for _, n := range shardTotals(&res.Totals) {
		*n = r.Uvarint(noLimit)
	}
	r.Into(b.ResultsRoot[:])
	r.Into(b.OutboxRoot[:])
	if err := readShardLists(r, res); err != nil {
		return nil, 0, fmt.Errorf("decode block %d: %w", height, err)
	}
	if err := r.Done(); err != nil {
		return nil, 0, fmt.Errorf("decode block %d: %w", height, err)
	}
	b.UsageRoot = service.UsageRoot(res.Bookings)
	return b, receipts, nil
}

// readShardLists reads what a block booked and took in.
func readShardLists(r *codec.Reader, res *ShardResult) error {
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		var k service.Booking
		r.Into(k.ChannelID[:])
		k.Lane, k.Seq, k.Units, k.Cumulative = r.Uint8(), r.Uvarint(noLimit), r.Uvarint(noLimit), amount(r)
		r.Into(k.UsageRoot[:])
		res.Bookings = append(res.Bookings, k)
	}
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		m, err := readImported(r)
		if err != nil {
			return err
		}
		res.Imports = append(res.Imports, m)
	}
	for n := r.Uvarint(uint64(r.Remaining())); n > 0 && r.Err() == nil; n-- {
		res.Codes = append(res.Codes, chain.Code(r.Uvarint(1<<16-1)))
	}
	return r.Err()
}

// Complete is that of Books: receipts lie elsewhere in the index.
func (s *shardRules) Complete(b *Committed) error {
	r := bodyOf[*ShardResult](b.Body)
	r.Receipts = make([]service.Receipt, len(b.Receipts))
	for i := range b.Receipts {
		r.Receipts[i] = *shardReceipt(&b.Receipts[i])
	}
	return nil
}

// ResultsKey is that of Books.
func (s *shardRules) ResultsKey() []byte { return service.ResultsKey() }

// ResultsHeight is that of Books.
func (s *shardRules) ResultsHeight(value []byte) (uint64, error) {
	r, err := service.DecodeResults(value)
	return r.Height, err
}

// ResultLeaves is that of Books.
func (s *shardRules) ResultLeaves(b *Committed) [][]byte {
	r := bodyOf[*ShardResult](b.Body)
	imports := make([]service.ImportResult, len(r.Codes))
	for i := range imports {
		imports[i].Code = r.Codes[i]
	}
	return service.ResultLeaves(r.Receipts, imports)
}
