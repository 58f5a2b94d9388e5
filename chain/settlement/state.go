package settlement

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of the block rules, beside that of the channel protocol:
//
//	'A' | row u64    dense: an account, AccountRowSize bytes
//	'a' | address    the account's row u64
//	'b'              the books: totals, supply, number of accounts
//	'p'              the parameters
//	'r'              the results of the last block that had any
//	's'              the settlement clock's stretches
//	't' | home 6 | index u64   what waits to be told to the home of a channel
//	'u' | home 6               number u64 of channels of which something waits
//
// Those of chain/staking and chain/registry are listed there.
const (
	prefixAccount    = 'A'
	prefixAccountRow = 'a'
	prefixBooks      = 'b'
	prefixParams     = 'p'
	prefixResults    = 'r'
	prefixClock      = 's'
	prefixWaiting    = 't'
	prefixHome       = 'u'
)

// Tables returns the dense tables of the state.
func Tables() []chain.Table {
	return []chain.Table{accounts(), channel.Channels(), channel.LaneRows(), staking.Validators()}
}

// ChannelKey returns the state key of channel index.
func ChannelKey(index uint64) []byte { return channel.Key(index) }

// ResultsKey returns the state key of the last block's Results.
func ResultsKey() []byte { return []byte{prefixResults} }

// TotalsKey returns the state key of the totals.
func TotalsKey() []byte { return []byte{prefixBooks} }

// ParamsKey returns the state key of the parameters.
func ParamsKey() []byte { return []byte{prefixParams} }

// ClockKey returns the state key of the settlement clock; it is absent until
// the clock stretches for the first time.
func ClockKey() []byte { return []byte{prefixClock} }

// Totals is where the money is.
type Totals struct {
	Accounts ledger.Amount
	Escrow   ledger.Amount // deposits less what was paid out
	Rent     ledger.Amount
	Burned   ledger.Amount
	Fees     ledger.Amount // collected, not yet distributed
	Staked   ledger.Amount // bonded and unbonding
	Rewards  ledger.Amount // given to validators and delegators, not claimed
	Minted   ledger.Amount // ever; part of the supply, and of no place
}

// Sum returns the sum of the totals, which is the supply.
func (t *Totals) Sum() ledger.Amount {
	return t.Accounts + t.Escrow + t.Rent + t.Burned + t.Fees + t.Staked + t.Rewards
}

// books is what the block rules count.
type books struct {
	Totals
	supply ledger.Amount
	rows   uint64 // number of accounts; they are never deleted
}

func (b *books) encode() []byte {
	w := codec.NewWriter(10 * 8)
	for _, a := range []ledger.Amount{b.Accounts, b.Escrow, b.Rent, b.Burned, b.Fees, b.Staked, b.Rewards, b.Minted, b.supply} {
		w.Uint64(uint64(a))
	}
	w.Uint64(b.rows)
	return w.Bytes()
}

func readBooks(v chain.View) books {
	var b books
	r := codec.NewReader(v.Get(TotalsKey()))
	for _, a := range []*ledger.Amount{&b.Accounts, &b.Escrow, &b.Rent, &b.Burned, &b.Fees, &b.Staked, &b.Rewards, &b.Minted, &b.supply} {
		*a = ledger.Amount(r.Uint64())
	}
	b.rows = r.Uint64()
	if err := r.Done(); err != nil {
		panic(fmt.Errorf("read totals: %w", err))
	}
	return b
}

// ReadTotals returns the totals in v. It panics if they cannot be decoded.
func ReadTotals(v chain.View) Totals { return readBooks(v).Totals }

// Supply returns the supply: that of the genesis and what was minted since. It
// panics if it cannot be decoded.
func Supply(v chain.View) ledger.Amount { return readBooks(v).supply }

// ChannelAt returns the channel at index, and ok=false if it does not exist or
// is closed.
func ChannelAt(v chain.View, index uint64) (channel.Channel, bool) { return channel.At(v, index) }

// LaneAt returns a lane of the channel at index, zero if nothing was redeemed
// on it, and ok=false if the channel or the lane does not exist.
func LaneAt(v chain.View, index uint64, lane uint8) (channel.Lane, bool) {
	return channel.LaneAt(v, index, lane)
}

// ChannelCount returns the number of channels ever opened, which is the index of
// the next one.
func ChannelCount(v chain.View) uint64 { return channel.ReadCounters(v).Channels }

// OpenChannels returns the number of channels that are open or closing.
func OpenChannels(v chain.View) uint64 { return channel.ReadCounters(v).Open }

// NextDeadline returns the earliest sigma at which a channel is due, and
// ok=false if there is no channel.
func NextDeadline(v chain.View) (sigma uint64, ok bool) { return channel.NextDeadline(v) }

// Results is what the state keeps of the last block that had transactions or
// closed channels.
type Results struct {
	Height    uint64
	Clock     uint64 // sigma
	Root      ledger.Hash
	Receipts  uint32 // number of receipts, the first leaves of Root
	Finalised uint32 // number of channels closed by the chain, the other leaves
}

// Encode returns the value of ResultsKey.
func (r *Results) Encode() []byte {
	w := codec.NewWriter(16 + ledger.HashSize + 8)
	w.Uint64(r.Height)
	w.Uint64(r.Clock)
	w.Fixed(r.Root[:])
	w.Uint32(r.Receipts)
	w.Uint32(r.Finalised)
	return w.Bytes()
}

// DecodeResults reads a value written by Encode.
func DecodeResults(b []byte) (Results, error) {
	var res Results
	r := codec.NewReader(b)
	res.Height, res.Clock = r.Uint64(), r.Uint64()
	r.Into(res.Root[:])
	res.Receipts, res.Finalised = r.Uint32(), r.Uint32()
	if err := r.Done(); err != nil {
		return Results{}, fmt.Errorf("decode results: %w", err)
	}
	return res, nil
}
