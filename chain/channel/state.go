package channel

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of the protocol:
//
//	'C' | index u64                    dense: the channel's row, RowSize bytes
//	'L' | row u64                      dense: a lane from 1 to 63, LaneRowSize bytes
//	'l' | index u64                    where the channel's lanes from 1 to 63 are:
//	                                   lane u8 | row u64 each, ascending by lane;
//	                                   no key if there are none
//	'd' | deadline u64 | group u64     bitmap of 1,024 bits: bit i (from the top
//	                                   of byte 0) is channel group*1024+i
//	'$'                                fees of channels, see Fees
//	'n'                                counters: channels ever opened u64, lane
//	                                   rows ever made u64, channels open u64
//
// A channel's lane 0 lives in its row. Row numbers are never used again.
const (
	prefixChannel   = PrefixChannel
	prefixLane      = 'L'
	prefixDirectory = 'l'
	prefixDeadline  = 'd'
	prefixCounters  = 'n'

	groupBits    = 10
	bitmapSize   = 1 << groupBits / 8
	deadlineSize = 17
)

// PrefixChannel begins the keys under which the protocol holds money; see Held.
const PrefixChannel = 'C'

// Channels is the dense table of channels.
func Channels() chain.Table { return chain.Table{Prefix: prefixChannel, RowSize: RowSize} }

// LaneRows is the dense table of lanes 1 to 63.
func LaneRows() chain.Table { return chain.Table{Prefix: prefixLane, RowSize: LaneRowSize} }

// Counters count channels and lanes.
type Counters struct {
	Channels uint64 // ever opened: the index of the next channel
	Lanes    uint64 // rows of the lane table ever made
	Open     uint64 // channels that are open or closing now
}

// CountersKey returns the key of the counters.
func CountersKey() []byte { return []byte{prefixCounters} }

// Encode returns the value of CountersKey.
func (c *Counters) Encode() []byte {
	w := codec.NewWriter(24)
	w.Uint64(c.Channels)
	w.Uint64(c.Lanes)
	w.Uint64(c.Open)
	return w.Bytes()
}

// DecodeCounters reads a value written by Encode.
func DecodeCounters(b []byte) (Counters, error) {
	r := codec.NewReader(b)
	c := Counters{Channels: r.Uint64(), Lanes: r.Uint64(), Open: r.Uint64()}
	if err := r.Done(); err != nil {
		return Counters{}, fmt.Errorf("decode counters: %w", err)
	}
	return c, nil
}

// ReadCounters returns the counters of v. It panics if they cannot be decoded:
// a replica that cannot read its own state must stop.
func ReadCounters(v chain.View) Counters {
	b := v.Get(CountersKey())
	if b == nil {
		return Counters{}
	}
	c, err := DecodeCounters(b)
	if err != nil {
		panic(err)
	}
	return c
}

// Key returns the state key of channel index.
func Key(index uint64) []byte { return Channels().Key(index) }

// At returns the channel at index, and ok=false if it does not exist or is
// closed. It panics if the row cannot be decoded.
func At(v chain.View, index uint64) (Channel, bool) {
	b := v.Get(Key(index))
	if b == nil {
		return Channel{}, false
	}
	c, err := Decode(b)
	if err != nil {
		panic(fmt.Errorf("channel %d: %w", index, err))
	}
	return c, true
}

// LaneAt returns lane of the channel at index: zero if nothing was redeemed on
// it yet, ok=false if the channel or the lane does not exist.
func LaneAt(v chain.View, index uint64, lane uint8) (Lane, bool) {
	b := rowAt(v, index)
	if b == nil || lane >= Lanes {
		return Lane{}, false
	}
	l, _ := laneOf(v, b, index, lane)
	return l, true
}

// NextDeadline returns the earliest sigma at which a channel is due, and
// ok=false if there is no channel.
func NextDeadline(v chain.View) (sigma uint64, ok bool) {
	for k := range v.Range([]byte{prefixDeadline}) {
		deadline, _ := splitDeadline(k)
		return deadline, true
	}
	return 0, false
}

func rowAt(v chain.View, index uint64) row {
	b := v.Get(Channels().Key(index))
	if b != nil && len(b) != RowSize {
		panic(fmt.Errorf("channel %d: %w", index, rowError("channel", len(b), RowSize)))
	}
	return b
}

// erase deletes the record of channel index, whose present row is r, its lanes
// and its deadline, and counts it out.
func erase(o *chain.Overlay, index uint64, r row) {
	eraseLanes(o, r, index)
	unschedule(o, r.deadline(), index)
	o.Delete(Channels().Key(index))
}

// countClosed takes n channels off the number of open ones.
func countClosed(o *chain.Overlay, n uint64) {
	if n == 0 {
		return
	}
	c := ReadCounters(o)
	c.Open -= n
	o.Set(CountersKey(), c.Encode())
}

func deadlineKey(deadline, group uint64) []byte {
	k := make([]byte, deadlineSize)
	k[0] = prefixDeadline
	binary.BigEndian.PutUint64(k[1:], deadline)
	binary.BigEndian.PutUint64(k[9:], group)
	return k
}

// splitDeadline panics on a key that deadlineKey did not make.
func splitDeadline(k []byte) (deadline, group uint64) {
	if len(k) != deadlineSize {
		panic(fmt.Errorf("deadline key %x: %w", k, rowError("key", len(k), deadlineSize)))
	}
	return binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint64(k[9:])
}

// reschedule moves channel index from one deadline to another.
func reschedule(o *chain.Overlay, from, to, index uint64) {
	if from != to {
		unschedule(o, from, index)
		schedule(o, to, index)
	}
}

// schedule puts channel index, which is not there, into the queue of deadlines.
func schedule(o *chain.Overlay, deadline, index uint64) { flip(o, deadline, index) }

// unschedule takes channel index, which is there, out of the queue of deadlines.
func unschedule(o *chain.Overlay, deadline, index uint64) { flip(o, deadline, index) }

// flip inverts the bit of index at deadline. An empty bitmap has no key.
func flip(o *chain.Overlay, deadline, index uint64) {
	key := deadlineKey(deadline, index>>groupBits)
	bitmap := make([]byte, bitmapSize)
	copy(bitmap, o.Get(key))
	i := index & (1<<groupBits - 1)
	bitmap[i>>3] ^= 0x80 >> (i & 7)
	for _, b := range bitmap {
		if b != 0 {
			o.Set(key, bitmap)
			return
		}
	}
	o.Delete(key)
}

// due returns the channels whose deadline is at most clock, ascending by
// deadline, then index, as many as one block finalises.
func due(v chain.View, clock uint64) []uint64 {
	var indexes []uint64
	lanes := 0
	for _, index := range Deadlines(v, 0, clock) {
		lanes += bits.OnesCount64(rowAt(v, index).furtherLanes())
		if len(indexes) == FinaliseLimit || lanes > FinaliseLanes {
			break
		}
		indexes = append(indexes, index)
	}
	return indexes
}

func rowError(what string, got, want int) error {
	return fmt.Errorf("%s of %d bytes, want %d", what, got, want)
}
