package pay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// PayerConfig is what a Payer works with. Only Domain is always needed.
type PayerConfig struct {
	Domain chain.Domain
	// Account pays for channels. Its key is not needed for signing vouchers.
	Account Identity
	// Chain is needed to open, fund and close channels.
	Chain Chain
	// Dir is where the payer keeps what it has signed; empty means nowhere, and
	// the payee's answer OutOfDate tells it after a restart.
	Dir string
	// Durable makes every signature wait until it is in the journal, so that a
	// restarted payer never signs less than it has. It needs Dir, and costs an
	// fsync for each group of payments.
	Durable bool
	Journal journal.Config // Live is set by the Payer
	TopUp   TopUpPolicy
	Log     *slog.Logger // nil means none
}

// TopUpPolicy says when Payer.Run raises a deposit. The zero value never does.
type TopUpPolicy struct {
	Below ledger.Amount // raise when less than this can still be signed
	By    ledger.Amount // by this much
	Limit ledger.Amount // but never to a total above this; 0 means no limit
}

// Payer signs vouchers on any number of channels.
type Payer struct {
	cfg    PayerConfig
	domain domain

	journal *journal.Journal // nil without Dir
	low     chan *PayerChannel

	mu       sync.Mutex
	channels map[ledger.Hash]*PayerChannel
	marks    map[laneKey]mark // from the journal, of channels not tracked yet
}

// laneKey names a lane.
type laneKey struct {
	channel ledger.Hash
	lane    uint8
}

// mark is how much has been signed on a lane.
type mark struct {
	owed  ledger.Amount
	units uint64
}

const lowQueue = 1024

// OpenPayer returns a Payer that remembers what its journal says. The caller
// must Close it.
func OpenPayer(cfg PayerConfig) (*Payer, error) {
	if cfg.Durable && cfg.Dir == "" {
		return nil, errors.New("open payer: Durable needs Dir")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Payer{
		cfg: cfg, domain: newDomain(cfg.Domain), low: make(chan *PayerChannel, lowQueue),
		channels: make(map[ledger.Hash]*PayerChannel), marks: make(map[laneKey]mark),
	}
	if cfg.Dir == "" {
		return p, nil
	}
	jc := cfg.Journal
	jc.Live, jc.Log = p.live, cfg.Log
	j, err := journal.Open(cfg.Dir, jc, p.replay)
	if err != nil {
		return nil, fmt.Errorf("open payer: %w", err)
	}
	p.journal = j
	return p, nil
}

// Close writes what waits for the journal and closes it.
func (p *Payer) Close() error {
	if p.journal == nil {
		return nil
	}
	return p.journal.Close()
}

// Track adds a channel whose vouchers key signs. Lanes that were redeemed on
// must be in the record, which they are in one from Chain.Channel. Tracking a
// channel again returns the same PayerChannel, brought up to date.
func (p *Payer) Track(record Channel, key ledger.PrivateKey) (*PayerChannel, error) {
	switch {
	case key.Public() != record.VoucherKey:
		return nil, fmt.Errorf("track channel %s: the key is %s, its vouchers are signed by %s", record.ID, key.Public(), record.VoucherKey)
	case !record.lanesKnown():
		return nil, fmt.Errorf("track channel %s: its record lacks the lanes that were redeemed on", record.ID)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.channels[record.ID]
	if !ok {
		c = &PayerChannel{payer: p, key: key, record: record}
		for lane := range uint8(channel.Lanes) {
			k := laneKey{record.ID, lane}
			if m, ok := p.marks[k]; ok {
				c.raise(lane, m)
				delete(p.marks, k)
			}
		}
		p.channels[record.ID] = c
	}
	c.merge(&record)
	return c, nil
}

// Channel returns a tracked channel.
func (p *Payer) Channel(id ledger.Hash) (*PayerChannel, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.channels[id]
	return c, ok
}

// Channels yields the tracked channels as of the call, in no order.
func (p *Payer) Channels() iter.Seq[*PayerChannel] {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*PayerChannel, 0, len(p.channels))
	for _, c := range p.channels {
		all = append(all, c)
	}
	return func(yield func(*PayerChannel) bool) {
		for _, c := range all {
			if !yield(c) {
				return
			}
		}
	}
}

// Forget stops tracking a channel that is closed.
func (p *Payer) Forget(id ledger.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.channels, id)
}

// Apply brings tracked channels up to date. News of others is ignored.
func (p *Payer) Apply(u Update) {
	if u.Channel != nil {
		if c, ok := p.Channel(u.Channel.ID); ok {
			c.merge(u.Channel)
		}
	}
	if u.Event != nil {
		if c, ok := p.Channel(u.Event.ID); ok {
			c.apply(u.Event)
		}
	}
}

// Follow applies updates until they end, and returns the error they end with.
func (p *Payer) Follow(updates iter.Seq2[Update, error]) error {
	for u, err := range updates {
		if err != nil {
			return err
		}
		p.Apply(u)
	}
	return nil
}

// Run tops channels up as the policy says until ctx ends, and then returns nil.
func (p *Payer) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.low:
			if err := c.refill(ctx); err != nil && ctx.Err() == nil {
				p.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "channel could not be topped up",
					slog.String("channel", c.ID().String()), slog.Any("error", err))
			}
		}
	}
}

// The payer's journal holds, for each lane, how much has been signed:
//
//	channel_id 32 | lane u8 | owed u64 | units u64
const markSize = ledger.HashSize + 1 + 8 + 8

func appendMark(dst []byte, k laneKey, m mark) []byte {
	dst = append(append(dst, k.channel[:]...), k.lane)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.owed))
	return binary.BigEndian.AppendUint64(dst, m.units)
}

func (p *Payer) replay(record []byte) error {
	if len(record) != markSize || record[ledger.HashSize] >= channel.Lanes {
		return fmt.Errorf("%w: record of %d bytes in the journal of a payer", ErrEncoding, len(record))
	}
	k := laneKey{ledger.Hash(record[:ledger.HashSize]), record[ledger.HashSize]}
	m := mark{
		owed:  ledger.Amount(binary.BigEndian.Uint64(record[ledger.HashSize+1:])),
		units: binary.BigEndian.Uint64(record[ledger.HashSize+9:]),
	}
	if m.owed > p.marks[k].owed {
		p.marks[k] = m
	}
	return nil
}

// live yields every mark.
func (p *Payer) live() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		buf := make([]byte, 0, markSize)
		p.mu.Lock()
		waiting := maps.Clone(p.marks)
		p.mu.Unlock()
		for k, m := range waiting {
			if !yield(appendMark(buf[:0], k, m)) {
				return
			}
		}
		for c := range p.Channels() {
			for lane := range uint8(channel.Lanes) {
				m, ok := c.mark(lane)
				if ok && !yield(appendMark(buf[:0], laneKey{c.ID(), lane}, m)) {
					return
				}
			}
		}
	}
}

// keep journals a mark and, if the payer is durable, waits for the disk.
func (p *Payer) keep(ctx context.Context, k laneKey, m mark, delta ledger.Amount) error {
	if p.journal == nil {
		return nil
	}
	var buf [markSize]byte
	seq, err := p.journal.Append(appendMark(buf[:0], k, m), uint64(delta))
	if err == nil && p.cfg.Durable {
		err = p.journal.Wait(ctx, seq)
	}
	return err
}

// VoucherKey returns the n-th voucher key of a secret seed. A payer that keeps
// the seed can find the keys of all its channels again.
func VoucherKey(seed [ledger.SeedSize]byte, n uint64) ledger.PrivateKey {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], n)
	return ledger.NewPrivateKey(ledger.HashOf("trib/voucher-key/1", seed[:], number[:]))
}
