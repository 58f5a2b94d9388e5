package exec

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// Shard runs a shard of a service, by the rules of chain/shardblock. It is the Executor
// with what only shards have, and with its answers in the types of shards.
type Shard struct {
	*Executor

	shard *shardRules
}

// OpenShard returns the shard that genesis begins, over its layer. genesis must be the one
// that the layer's state began with. parents are the last states of the shards that it
// takes over from, in the order of the genesis; they are looked at by InitChain alone, and
// a shard that has begun needs none.
func OpenShard(cfg Config, l *layer.Settlement, genesis shardblock.Genesis, log *slog.Logger, parents ...chain.View) (*Shard, error) {
	return OpenGenerations(cfg, l, genesis, nil, log, parents...)
}

// OpenGenerations is OpenShard for a shard whose committee was drawn anew, as often as
// resumes say, in their order: how each generation went on from the one before it. The
// first block of the last one is the next after its height, and the layer's state has to be
// that of this height, or of one that the generation has come to.
func OpenGenerations(cfg Config, l *layer.Settlement, genesis shardblock.Genesis, resumes []shardblock.Resume, log *slog.Logger, parents ...chain.View) (*Shard, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := genesis.Validate(); err != nil {
		return nil, fmt.Errorf("open shard: genesis: %w", err)
	}
	rules, err := newShardRules(genesis, resumes, parents, cfg.Heads)
	if err != nil {
		return nil, fmt.Errorf("open shard %d: %w", genesis.Service.Shard.Chain, err)
	}
	s := &Shard{Executor: newExecutor(cfg.withDefaults(), l, rules, log), shard: rules}
	rules.exec = s.Executor
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open shard %d: %w", genesis.Service.Shard.Chain, err)
	}
	return s, nil
}

// Genesis returns what the shard began from.
func (s *Shard) Genesis() shardblock.Genesis { return s.shard.genesis }

// ShardStatus is what this node knows of a record of a shard.
type ShardStatus struct {
	Hash       ledger.Hash
	Stage      Stage            // StageFinal is durable on this node, and not yet anchored
	Height     uint64           // of the block; at INCLUDED, FINAL and REFUSED
	TxIndex    uint32           // position in the block's records; likewise
	Receipt    *service.Receipt // likewise; shared, not to be modified
	DropReason string           // of DROPPED
	ValidUntil uint64           // of REFUSED: the last block that may execute it, 0 if there is no last one
}

func shardStatus(s *RecordStatus) ShardStatus {
	out := ShardStatus{
		Hash: s.Hash, Stage: s.Stage, Height: s.Height, TxIndex: s.TxIndex,
		DropReason: s.DropReason, ValidUntil: s.ValidUntil,
	}
	if s.Receipt != nil {
		out.Receipt = shardReceipt(s.Receipt)
	}
	return out
}

// Submit is Executor.Submit. While the shard is congested the error wraps a
// *route.CongestedError.
func (s *Shard) Submit(ctx context.Context, raw []byte) (ShardStatus, error) {
	r, err := s.Executor.Submit(ctx, raw)
	return shardStatus(&r), err
}

// Simulate is Executor.Simulate.
func (s *Shard) Simulate(ctx context.Context, raw []byte) (service.Receipt, error) {
	r, err := s.Executor.Simulate(ctx, raw)
	if err != nil {
		return service.Receipt{}, err
	}
	return *shardReceipt(&r), nil
}

// Status is Executor.Status.
func (s *Shard) Status(hash ledger.Hash) (ShardStatus, error) {
	r, err := s.Executor.Status(hash)
	return shardStatus(&r), err
}

// Wait is Executor.Wait.
func (s *Shard) Wait(ctx context.Context, hash ledger.Hash, stage Stage) (ShardStatus, error) {
	r, err := s.Executor.Wait(ctx, hash, stage)
	return shardStatus(&r), err
}

// ListTxs is Executor.ListTxs; those that pay an account are bookings of its vouchers.
func (s *Shard) ListTxs(f TxFilter, before *Cursor, limit int) (page []ShardStatus, next *Cursor, err error) {
	list, next, err := s.Executor.ListTxs(f, before, limit)
	for i := range list {
		page = append(page, shardStatus(&list[i]))
	}
	return page, next, err
}

// ShardBlock is a committed block of a shard and what it did. It is shared, and not to be
// modified.
type ShardBlock struct {
	*ShardResult

	Time   int64 // Unix milliseconds, from the header
	Size   int64 // bytes of the bundles
	Relays int   // relay bundles
	Outbox int   // leaves of the outbox

	ResultsRoot, OutboxRoot, UsageRoot ledger.Hash
}

func shardBlock(b *Committed) *ShardBlock {
	return &ShardBlock{
		ShardResult: bodyOf[*ShardResult](b.Body), Time: b.Time, Size: b.Size, Relays: b.Relays, Outbox: b.Outbox,
		ResultsRoot: b.ResultsRoot, OutboxRoot: b.OutboxRoot, UsageRoot: b.UsageRoot,
	}
}

// Block returns what the committed block at height did, from the index, or an error
// wrapping ErrPruned. Details of receipts are not kept.
func (s *Shard) Block(height uint64) (*ShardBlock, error) {
	b, err := s.Committed(height)
	if err != nil {
		return nil, err
	}
	return shardBlock(b), nil
}

// ShardFeed is a Feed of the blocks of a shard.
type ShardFeed struct{ feed *Feed }

// Follow is Executor.Subscribe.
func (s *Shard) Follow(from uint64) *ShardFeed { return &ShardFeed{s.Subscribe(from)} }

// Height returns the height of the block that Next will return.
func (f *ShardFeed) Height() uint64 { return f.feed.Height() }

// Next is Feed.Next.
func (f *ShardFeed) Next(ctx context.Context) (*ShardBlock, error) {
	b, err := f.feed.Next(ctx)
	if err != nil {
		return nil, err
	}
	return shardBlock(b), nil
}

// Congestion returns how much waits in the shard after its last block, as its own rules
// count it.
func (s *Shard) Congestion() (level route.Level, backlog route.Backlog, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		level, backlog = shardblock.Level(v), shardblock.Backlog(v)
		return nil
	})
	return level, backlog, err
}

// maxOverdue is how many lanes Overdue looks at.
const maxOverdue = 4_096

// Overdue returns on how many lanes, and how many drops, a settlement waits for payment for
// more than an epoch: see service.Overdue.
func (s *Shard) Overdue() (lanes int, amount ledger.Amount, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		lanes, amount = service.Overdue(v, maxOverdue)
		return nil
	})
	return lanes, amount, err
}

// Standing returns where the shard stands: its committee, and whether it ends.
func (s *Shard) Standing() (out shardblock.Status, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		out = shardblock.ReadStatus(v)
		return nil
	})
	return out, err
}

// Totals returns what the shard has counted since it began.
func (s *Shard) Totals() (out service.Totals, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		out = service.ReadTotals(v)
		return nil
	})
	return out, err
}

// Earnings returns what a payee, whose home the shard is, has earned; zero if nothing.
func (s *Shard) Earnings(payee ledger.Address) (out service.Earnings, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		out = service.EarningsOf(v, payee)
		return nil
	})
	return out, err
}

// Known is a channel that has its home on the shard, with its lanes.
type Known struct {
	service.Channel

	Index uint64
	Lanes []KnownLane // those that have bookings, ascending
}

// KnownLane is a lane of a channel.
type KnownLane struct {
	Number uint8
	service.Lane
}

// Channel returns a channel by its id, or an error wrapping ErrUnknown if it is not known
// here, not yet or not any more.
func (s *Shard) Channel(id ledger.Hash) (out Known, err error) {
	place, ok, err := s.shard.place(id)
	if err != nil {
		return Known{}, fmt.Errorf("look up channel %s: %w", id, err)
	}
	if !ok {
		return Known{}, fmt.Errorf("channel %s: %w", id, ErrUnknown)
	}
	return s.ChannelAt(place.bucket, place.index)
}

// ChannelAt returns a channel by the bucket of its payer and its index on the main chain.
// The error is that of Channel.
func (s *Shard) ChannelAt(bucket uint8, index uint64) (out Known, err error) {
	err = s.Read(func(v chain.View, _ uint64) error {
		c, ok := service.ChannelAt(v, bucket, index)
		if !ok {
			return fmt.Errorf("channel %d of bucket %d: %w", index, bucket, ErrUnknown)
		}
		out = Known{Channel: c, Index: index}
		for lane := range uint8(channel.Lanes) {
			if l := service.LaneOf(v, &c, index, lane); l.Seq > 0 {
				out.Lanes = append(out.Lanes, KnownLane{lane, l})
			}
		}
		return nil
	})
	return out, err
}

// Booked is a booking and where it is proved.
type Booked struct {
	service.Booking

	Height uint64
	Leaf   int // of the usage root of the block at Height
}

// Bookings returns up to limit bookings of a lane of a channel, ascending by their number,
// from seq on. Those of blocks below KeptFrom are left out, and so are those of a channel
// that ended, in time.
func (s *Shard) Bookings(id ledger.Hash, lane uint8, seq uint64, limit int) (list []Booked, err error) {
	limit = max(1, min(limit, MaxPage))
	var found []booked
	prefix := keyOf(idxBooked, append(id[:], lane))
	err = s.scan(bookedKey(id, lane, seq), prefix, func(key, value []byte) bool {
		b, bad := readBooked(key, value)
		if err = bad; err != nil {
			return false
		}
		found = append(found, b)
		return len(found) < limit
	})
	for i := 0; i < len(found) && err == nil; i++ {
		var block *ShardBlock
		at := &found[i]
		if at.height < s.KeptFrom() {
			continue
		}
		if block, err = s.Block(at.height); err == nil && at.leaf < len(block.Bookings) {
			list = append(list, Booked{block.Bookings[at.leaf], at.height, at.leaf})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list bookings of channel %s: %w", id, err)
	}
	return list, nil
}

// ProveBooking returns the proof of a booking against the usage root of its block, whose
// certificate is Executor.Certificate. The error wraps ErrUnknown or ErrPruned.
func (s *Shard) ProveBooking(id ledger.Hash, lane uint8, seq uint64) (p service.BookingProof, height uint64, err error) {
	key := bookedKey(id, lane, seq)
	raw, err := s.index.Get(key)
	if err != nil {
		return p, 0, fmt.Errorf("look up booking %d of lane %d of channel %s: %w", seq, lane, id, err)
	}
	if raw == nil {
		return p, 0, fmt.Errorf("booking %d of lane %d of channel %s: %w", seq, lane, id, ErrUnknown)
	}
	at, err := readBooked(key, raw)
	if err != nil {
		return p, 0, err
	}
	block, err := s.Block(at.height)
	if err != nil {
		return p, at.height, err
	}
	p, err = service.ProveBooking(block.Bookings, at.leaf)
	return p, at.height, err
}

// Ways returns the rows of links that lead here, and of those that lead back, at the
// height that it returns too: what a relay has to know of what is wanted.
func (s *Shard) Ways(links []link.Link) (in []link.Inbound, out []link.Outbound, height uint64, err error) {
	err = s.Read(func(v chain.View, at uint64) error {
		height = at
		for _, l := range links {
			in, out = append(in, link.InboundAt(v, l)), append(out, link.OutboundAt(v, l.Reverse()))
		}
		return nil
	})
	return in, out, height, err
}
