package exec

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Closed is what the index keeps of a channel whose record is deleted.
type Closed struct {
	Index    uint64
	ID       ledger.Hash
	Payer    ledger.Address
	Payee    ledger.Address
	Kind     settlement.EventKind // how it was closed
	Height   uint64               // of the block that closed it
	Deposit  ledger.Amount
	Redeemed ledger.Amount // burn and fees included
	Refunded ledger.Amount // rent included
	// FeesNumber is that of its fees, see channel.FeesAt; 0 if it had none.
	FeesNumber uint32
}

func encodeClosed(ev *settlement.Event, height uint64) []byte {
	w := codec.NewWriter(128)
	w.Fixed(ev.ID[:])
	w.Fixed(ev.Payer[:])
	w.Fixed(ev.Payee[:])
	w.Uint8(uint8(ev.Kind))
	for _, n := range []uint64{height, uint64(ev.Deposit), uint64(ev.Redeemed), uint64(ev.Refunded), uint64(ev.FeesNumber)} {
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
	c.FeesNumber = uint32(r.Uvarint(1<<32 - 1))
	if err := r.Done(); err != nil {
		return c, fmt.Errorf("decode closed channel %d: %w", index, err)
	}
	return c, nil
}

// ChannelIndex returns the row of the channel with id, whether it is open or
// closed.
func (m *Main) ChannelIndex(id ledger.Hash) (index uint64, ok bool) { return m.main.channelIndex(id) }

func (m *mainRules) channelIndex(id ledger.Hash) (index uint64, ok bool) {
	b, err := m.exec.index.Get(keyOf(idxID, id[:]))
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
// Payee, Deposit, Redeemed and FeesNumber of Channel are known, and Fees and Closed.
type ChannelInfo struct {
	Index uint64
	State ChannelState
	channel.Channel
	Fees   channel.Fees // those at its opening
	Closed *Closed      // nil unless closed
}

// Channel returns the channel at row index, and ok=false if there never was one.
func (m *Main) Channel(index uint64) (info ChannelInfo, ok bool, err error) {
	err = m.Read(func(v chain.View, _ uint64) error {
		info, ok, err = m.main.channelAt(v, index)
		return err
	})
	return info, ok, err
}

func (m *mainRules) channelAt(v chain.View, index uint64) (ChannelInfo, bool, error) {
	info := ChannelInfo{Index: index, State: ChannelOpen}
	if c, ok := settlement.ChannelAt(v, index); ok {
		info.Channel, info.Fees = c, channel.FeesAt(v, c.FeesNumber)
		if c.Closing() {
			info.State = ChannelClosing
		}
		return info, true, nil
	}
	b, err := m.exec.index.Get(keyOf(idxClosed, nil, index))
	if err != nil || b == nil {
		return info, false, err
	}
	c, err := decodeClosed(index, b)
	if err != nil {
		return info, false, err
	}
	info.State, info.Closed = ChannelClosed, &c
	info.ID, info.Payer, info.Payee, info.Deposit, info.Redeemed = c.ID, c.Payer, c.Payee, c.Deposit, c.Redeemed
	info.FeesNumber, info.Fees = c.FeesNumber, channel.FeesAt(v, c.FeesNumber)
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
func (m *Main) ListChannels(f ChannelFilter, from uint64, limit int) (page []ChannelInfo, next uint64, err error) {
	limit = max(1, min(limit, MaxPage))
	err = m.Read(func(v chain.View, _ uint64) error {
		rows, end, err := m.channelRows(v, f, from)
		if err != nil {
			return err
		}
		next = end
		for _, row := range rows {
			if len(page) == limit {
				next = row
				return nil
			}
			info, ok, err := m.main.channelAt(v, row)
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
func (m *Main) channelRows(v chain.View, f ChannelFilter, from uint64) (rows []uint64, next uint64, err error) {
	count := settlement.ChannelCount(v)
	switch {
	case !f.Payee.IsZero():
		prefix := keyOf(idxPayee, f.Payee[:])
		err = m.scan(keyOf(idxPayee, f.Payee[:], from), prefix, func(key, _ []byte) bool {
			rows = append(rows, binary.BigEndian.Uint64(key[len(prefix):]))
			return len(rows) <= maxScan
		})
	case !f.Payer.IsZero():
		prefix := keyOf(idxPayer, f.Payer[:])
		start := from - min(from, channel.MaxOpens) // a run that began before may reach from
		err = m.scan(keyOf(idxPayer, f.Payer[:], start), prefix, func(key, value []byte) bool {
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
