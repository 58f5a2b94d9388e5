package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of a shard. What belongs to an account begins with 'B' and the
// account's bucket, so that a bucket is one range of keys, which splits and merges
// move as it is:
//
//	'B' | bucket | 'C' | index u64                 a channel, of its payer's bucket
//	'B' | bucket | 'L' | index u64 | lane u8       its lanes from 1 to 63; lane 0 is
//	                                               in the channel
//	'B' | bucket | 'M' | epoch u64 | payee 21 | index u64 | lane u8
//	                                               the lane moved in that epoch and is
//	                                               to be settled at its end
//	'B' | bucket | 'P' | payee 21 | index u64 | lane u8
//	                                               the lane was settled, and the main
//	                                               chain has not paid: epoch u64
//	'B' | bucket | 'E' | payee 21                  what a provider has earned
//	'B' | bucket | 'R'                             what is left of what is gone: Rest
//
// What belongs to the shard itself is made anew when a shard begins:
//
//	'b'    the totals
//	'e'    the epoch
//	'g'    the shard
//	'p'    the parameters
//	'r'    the results of the last block that had any
//	'v' | zone u8     of which buckets of the zone earnings may wait: 256 bits
//	'w' | payee 21    earnings of a payee of another shard that no link had room for
const (
	prefixBucket = 'B'
	tableChannel = 'C'
	tableLane    = 'L'
	tableMoved   = 'M'
	tablePending = 'P'
	tableEarned  = 'E'
	tableRest    = 'R'

	prefixTotals  = 'b'
	prefixEpoch   = 'e'
	prefixShard   = 'g'
	prefixParams  = 'p'
	prefixResults = 'r'
	prefixQueues  = 'v'
	prefixWaiting = 'w'

	bucketKeySize = 2
	tableKeySize  = 3
)

// BucketKey returns the prefix of all keys of a bucket.
func BucketKey(bucket uint8) []byte { return []byte{prefixBucket, bucket} }

// ChannelKey returns the state key of channel index, whose payer is in bucket.
func ChannelKey(bucket uint8, index uint64) []byte {
	return binary.BigEndian.AppendUint64(tableKey(bucket, tableChannel, 8), index)
}

// EarningsKey returns the state key of what payee has earned.
func EarningsKey(payee ledger.Address) []byte {
	return append(tableKey(payee.Bucket(), tableEarned, ledger.AddressSize), payee[:]...)
}

// TotalsKey returns the state key of the totals.
func TotalsKey() []byte { return []byte{prefixTotals} }

// EpochKey returns the state key of the epoch.
func EpochKey() []byte { return []byte{prefixEpoch} }

// ShardKey returns the state key of the shard.
func ShardKey() []byte { return []byte{prefixShard} }

// ParamsKey returns the state key of the parameters.
func ParamsKey() []byte { return []byte{prefixParams} }

// ResultsKey returns the state key of the last block's Results.
func ResultsKey() []byte { return []byte{prefixResults} }

func tableKey(bucket uint8, table byte, room int) []byte {
	k := make([]byte, tableKeySize, tableKeySize+room)
	k[0], k[1], k[2] = prefixBucket, bucket, table
	return k
}

func laneKey(bucket uint8, index uint64, lane uint8) []byte {
	return append(binary.BigEndian.AppendUint64(tableKey(bucket, tableLane, 9), index), lane)
}

func movedKey(bucket uint8, epoch uint64, payee *ledger.Address, index uint64, lane uint8) []byte {
	k := binary.BigEndian.AppendUint64(tableKey(bucket, tableMoved, 8+laneRefSize), epoch)
	return appendLaneRef(k, payee, index, lane)
}

func pendingKey(bucket uint8, payee *ledger.Address, index uint64, lane uint8) []byte {
	return appendLaneRef(tableKey(bucket, tablePending, laneRefSize), payee, index, lane)
}

func waitingKey(payee ledger.Address) []byte { return append([]byte{prefixWaiting}, payee[:]...) }

func restKey(bucket uint8) []byte { return tableKey(bucket, tableRest, 0) }

const laneRefSize = ledger.AddressSize + 8 + 1

func appendLaneRef(k []byte, payee *ledger.Address, index uint64, lane uint8) []byte {
	return append(binary.BigEndian.AppendUint64(append(k, payee[:]...), index), lane)
}

// Sums are the three things that are counted and conserved. They are counters modulo 2^64:
// differences are right whatever the counters are. No money bounds Units, which are what
// payers sign, and a committee that lies may say any amount: a counter that stopped at the
// top would stop for everybody who pays the payee. Only the amount of a message is bounded
// (holds), and what is said of one epoch of a payee (Earned).
type Sums struct {
	Amount uint64 // drops that payers signed away
	Units  uint64 // billing units of the service
	Work   uint64 // units that were paid for: see Params.UnitsPerDrop
}

// SumsSize is the length of encoded Sums in bytes.
const SumsSize = 24

// Plus returns s+o.
func (s Sums) Plus(o Sums) Sums {
	return Sums{s.Amount + o.Amount, s.Units + o.Units, s.Work + o.Work}
}

// Minus returns s-o.
func (s Sums) Minus(o Sums) Sums {
	return Sums{s.Amount - o.Amount, s.Units - o.Units, s.Work - o.Work}
}

// holds reports whether one message can say s and o: of more drops than there are it is
// refused.
func (s Sums) holds(o Sums) bool {
	sum := s.Amount + o.Amount
	return sum >= s.Amount && sum <= uint64(ledger.MaxAmount)
}

// upTo returns s+o, or of each number the most that there is: MaxAmount drops.
func (s Sums) upTo(o Sums) Sums {
	sum := s.Plus(o)
	if !s.holds(o) {
		sum.Amount = uint64(ledger.MaxAmount)
	}
	if sum.Units < s.Units {
		sum.Units = math.MaxUint64
	}
	if sum.Work < s.Work {
		sum.Work = math.MaxUint64
	}
	return sum
}

func writeSums(w *codec.Writer, s Sums) {
	w.Uint64(s.Amount)
	w.Uint64(s.Units)
	w.Uint64(s.Work)
}

func readSums(r *codec.Reader) Sums { return Sums{r.Uint64(), r.Uint64(), r.Uint64()} }

// Lane is what is known of one lane of a channel: its best voucher, and how far it
// is settled.
type Lane struct {
	Cumulative ledger.Amount
	Units      uint64
	UsageRoot  ledger.Hash
	Signature  ledger.Signature // of the payer, over the voucher
	Work       uint64           // of all units
	Seq        uint64           // how many vouchers were booked
	Settled    ledger.Amount    // cumulative of the last voucher that went into a settlement
	Redeemed   ledger.Amount    // paid out by the main chain, as far as known
	Moved      uint64           // one more than the epoch under which it waits for settlement; 0 if it does not
}

// LaneSize is the length of an encoded Lane in bytes.
const LaneSize = 8 + 8 + ledger.HashSize + ledger.SignatureSize + 5*8

// Sums returns what was booked on the lane.
func (l *Lane) Sums() Sums { return Sums{uint64(l.Cumulative), l.Units, l.Work} }

// Unsettled reports whether the best voucher is worth more than what was settled
// and what was paid.
func (l *Lane) Unsettled() bool { return l.Cumulative > max(l.Settled, l.Redeemed) }

// Pending reports whether a settlement of the lane has not been paid.
func (l *Lane) Pending() bool { return l.Settled > l.Redeemed }

// Encode returns the value of the lane: cumulative u64 | units u64 |
// usage_root 32 | signature 64 | work u64 | seq u64 | settled u64 |
// redeemed u64 | moved u64.
func (l *Lane) Encode() []byte {
	w := codec.NewWriter(LaneSize)
	l.write(w)
	return w.Bytes()
}

func (l *Lane) write(w *codec.Writer) {
	w.Uint64(uint64(l.Cumulative))
	w.Uint64(l.Units)
	w.Fixed(l.UsageRoot[:])
	w.Fixed(l.Signature[:])
	w.Uint64(l.Work)
	w.Uint64(l.Seq)
	w.Uint64(uint64(l.Settled))
	w.Uint64(uint64(l.Redeemed))
	w.Uint64(l.Moved)
}

func (l *Lane) read(r *codec.Reader) {
	l.Cumulative, l.Units = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(l.UsageRoot[:])
	r.Into(l.Signature[:])
	l.Work, l.Seq = r.Uint64(), r.Uint64()
	l.Settled, l.Redeemed = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
	l.Moved = r.Uint64()
}

// DecodeLane reads a value written by Encode.
func DecodeLane(b []byte) (Lane, error) {
	var l Lane
	r := codec.NewReader(b)
	l.read(r)
	if err := r.Done(); err != nil {
		return Lane{}, fmt.Errorf("decode lane: %w", err)
	}
	return l, nil
}

// Channel is what a shard knows of a channel that has its home here.
type Channel struct {
	ID         ledger.Hash
	Payer      ledger.Address
	Payee      ledger.Address
	VoucherKey ledger.PublicKey
	Deposit    ledger.Amount // as far as the main chain has told
	ExpiresAt  uint64        // sigma, as far as the main chain has told
	ClosesAt   uint64        // likewise, since the payer requested the close; 0 before
	Booked     Sums          // over all lanes
	Lanes      uint64        // bit i: lane i is there
	Lane0      Lane
}

// ChannelSize is the length of an encoded Channel in bytes.
const ChannelSize = offLane0 + LaneSize

// Offsets of the fields that conservation reads without decoding the rest.
const (
	offDeposit = ledger.HashSize + 2*ledger.AddressSize + ledger.PublicKeySize
	offBooked  = offDeposit + 3*8
	offLanes   = offBooked + SumsSize
	offLane0   = offLanes + 8

	offLaneWork = 8 + 8 + ledger.HashSize + ledger.SignatureSize
)

// Deadline returns the sigma at which the main chain closes the channel, as far as known.
func (c *Channel) Deadline() uint64 {
	if c.ClosesAt != 0 {
		return min(c.ClosesAt, c.ExpiresAt)
	}
	return c.ExpiresAt
}

// Encode returns the value of the channel: id 32 | payer 21 | payee 21 |
// voucher_key 32 | deposit u64 | expires_at u64 | closes_at u64 | booked 24 | lanes u64 |
// lane 0.
func (c *Channel) Encode() []byte {
	w := codec.NewWriter(ChannelSize)
	w.Fixed(c.ID[:])
	w.Fixed(c.Payer[:])
	w.Fixed(c.Payee[:])
	w.Fixed(c.VoucherKey[:])
	w.Uint64(uint64(c.Deposit))
	w.Uint64(c.ExpiresAt)
	w.Uint64(c.ClosesAt)
	writeSums(w, c.Booked)
	w.Uint64(c.Lanes)
	c.Lane0.write(w)
	return w.Bytes()
}

// DecodeChannel reads a value written by Encode.
func DecodeChannel(b []byte) (Channel, error) {
	var c Channel
	r := codec.NewReader(b)
	r.Into(c.ID[:])
	r.Into(c.Payer[:])
	r.Into(c.Payee[:])
	r.Into(c.VoucherKey[:])
	c.Deposit, c.ExpiresAt, c.ClosesAt = ledger.Amount(r.Uint64()), r.Uint64(), r.Uint64()
	c.Booked = readSums(r)
	c.Lanes = r.Uint64()
	c.Lane0.read(r)
	if err := r.Done(); err != nil {
		return Channel{}, fmt.Errorf("decode channel: %w", err)
	}
	return c, nil
}

// ChannelAt returns channel index, whose payer is in bucket, and ok=false if it is
// not known. It panics if it cannot be decoded: a replica that cannot read its own
// state must stop.
func ChannelAt(v chain.View, bucket uint8, index uint64) (Channel, bool) {
	b := v.Get(ChannelKey(bucket, index))
	if b == nil {
		return Channel{}, false
	}
	return must(DecodeChannel(b)), true
}

// Indexed is a channel with its index on the main chain.
type Indexed struct {
	Channel

	Index uint64
}

// Channels yields the channels whose payers are in bucket, ascending by index. It panics
// as ChannelAt does.
func Channels(v chain.View, bucket uint8) iter.Seq[Indexed] {
	return func(yield func(Indexed) bool) {
		for key, value := range v.Range(tableKey(bucket, tableChannel, 0)) {
			if !yield(Indexed{must(DecodeChannel(value)), binary.BigEndian.Uint64(key[tableKeySize:])}) {
				return
			}
		}
	}
}

// LaneOf returns a lane of c, which is ChannelAt(v, bucket, index): zero if
// nothing is known of it.
func LaneOf(v chain.View, c *Channel, index uint64, lane uint8) Lane {
	return must(laneOf(v, c, index, lane))
}

// LaneAt is LaneOf of a view that may not have all rows, as one of rows that somebody proved:
// ok is false if the lane's is not there, or is none.
func LaneAt(v chain.View, c *Channel, index uint64, lane uint8) (l Lane, ok bool) {
	l, err := laneOf(v, c, index, lane)
	return l, err == nil
}

func laneOf(v chain.View, c *Channel, index uint64, lane uint8) (Lane, error) {
	switch {
	case lane == 0:
		return c.Lane0, nil
	case lane >= channel.Lanes || c.Lanes>>lane&1 == 0:
		return Lane{}, nil
	default:
		return DecodeLane(v.Get(laneKey(c.Payer.Bucket(), index, lane)))
	}
}

// setLane puts a lane into c, and into the state unless it is lane 0. The caller
// stores c.
func setLane(o *chain.Overlay, c *Channel, index uint64, lane uint8, l *Lane) {
	c.Lanes |= 1 << lane
	if lane == 0 {
		c.Lane0 = *l
		return
	}
	o.Set(laneKey(c.Payer.Bucket(), index, lane), l.Encode())
}

// Rest is what is left, in a bucket, of what the state no longer has.
type Rest struct {
	Ended Sums // booked on channels that are closed
	Stuck Sums // earnings that another shard bounced back, or that no message can say
}

// Encode returns the value of the rest: ended 24 | stuck 24.
func (t *Rest) Encode() []byte {
	w := codec.NewWriter(2 * SumsSize)
	writeSums(w, t.Ended)
	writeSums(w, t.Stuck)
	return w.Bytes()
}

// DecodeRest reads a value written by Encode.
func DecodeRest(b []byte) (Rest, error) {
	var t Rest
	r := codec.NewReader(b)
	t.Ended = readSums(r)
	t.Stuck = readSums(r)
	if err := r.Done(); err != nil {
		return Rest{}, fmt.Errorf("decode rest: %w", err)
	}
	return t, nil
}

func restOf(v chain.View, bucket uint8) Rest {
	b := v.Get(restKey(bucket))
	if b == nil {
		return Rest{}
	}
	return must(DecodeRest(b))
}

// Epoch is where the shard stands in time.
type Epoch struct {
	Number   uint64
	Sigma    uint64 // settlement clock of the main chain, as far as known
	Settling bool   // lanes that moved in earlier epochs remain to be settled
}

// Encode returns the value of EpochKey: number u64 | sigma u64 | settling u8.
func (e *Epoch) Encode() []byte {
	w := codec.NewWriter(17)
	w.Uint64(e.Number)
	w.Uint64(e.Sigma)
	w.Bool(e.Settling)
	return w.Bytes()
}

// DecodeEpoch reads a value written by Encode.
func DecodeEpoch(b []byte) (Epoch, error) {
	r := codec.NewReader(b)
	e := Epoch{Number: r.Uint64(), Sigma: r.Uint64(), Settling: r.Bool()}
	if err := r.Done(); err != nil {
		return Epoch{}, fmt.Errorf("decode epoch: %w", err)
	}
	return e, nil
}

// ReadEpoch returns the epoch of v. It panics if it cannot be decoded.
func ReadEpoch(v chain.View) Epoch { return must(DecodeEpoch(v.Get(EpochKey()))) }

// Settling reports whether lanes remain to be settled, so that the shard needs
// blocks even if there is nothing else to do.
func Settling(v chain.View) bool { return ReadEpoch(v).Settling }

// Moved reports whether a lane is worth more than what was settled of it, so that the
// start of another epoch leads to a settlement.
func Moved(v chain.View) bool {
	s := ReadShard(v)
	for bucket := int(s.First); bucket <= int(s.Last); bucket++ {
		for range v.Range(tableKey(uint8(bucket), tableMoved, 0)) {
			return true
		}
	}
	return false
}

// ReadShard returns the shard of v. It panics if it cannot be decoded.
func ReadShard(v chain.View) Shard { return must(DecodeShard(v.Get(ShardKey()))) }

// Totals are what a shard has counted since it began.
type Totals struct {
	Booked   Sums   // on channels that have or had their home here
	Received Sums   // by messages from other shards
	Returned Sums   // by own messages that came back
	Earned   Sums   // by payees that have their home here
	Sent     Sums   // by messages to other shards
	Waiting  Sums   // to be sent as soon as there is room
	Stuck    Sums   // came back and cannot be sent again, or too much for a message
	Channels uint64 // known now
}

func (t *Totals) sums() [7]*Sums {
	return [7]*Sums{&t.Booked, &t.Received, &t.Returned, &t.Earned, &t.Sent, &t.Waiting, &t.Stuck}
}

// Encode returns the value of TotalsKey: the sums in their order, 24 bytes each,
// and channels u64.
func (t *Totals) Encode() []byte {
	w := codec.NewWriter(7*SumsSize + 8)
	for _, s := range t.sums() {
		writeSums(w, *s)
	}
	w.Uint64(t.Channels)
	return w.Bytes()
}

// DecodeTotals reads a value written by Encode.
func DecodeTotals(b []byte) (Totals, error) {
	var t Totals
	r := codec.NewReader(b)
	for _, s := range t.sums() {
		*s = readSums(r)
	}
	t.Channels = r.Uint64()
	if err := r.Done(); err != nil {
		return Totals{}, fmt.Errorf("decode totals: %w", err)
	}
	return t, nil
}

// ReadTotals returns the totals of v. It panics if they cannot be decoded.
func ReadTotals(v chain.View) Totals { return must(DecodeTotals(v.Get(TotalsKey()))) }

// must returns what was decoded from the state, and panics if it could not be: a
// replica that cannot read its own state must stop.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// asRule returns the RuleError in err. Anything else is our own bug.
func asRule(err error) *chain.RuleError {
	var e *chain.RuleError
	if !errors.As(err, &e) {
		panic(err)
	}
	return e
}
