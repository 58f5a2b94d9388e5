package service

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// laneRef names a lane in the order of settlements: epoch, payee, index, lane.
type laneRef struct {
	bucket uint8
	epoch  uint64 // 0 for pending lanes
	payee  ledger.Address
	index  uint64
	lane   uint8
}

// compare orders lanes by payee, channel and lane.
func (r laneRef) compare(o laneRef) int {
	return cmp.Or(r.payee.Compare(o.payee), cmp.Compare(r.index, o.index), cmp.Compare(r.lane, o.lane))
}

// parseRef reads what follows the table in a key of moved (with an epoch) or
// pending lanes. It panics on a key that this package did not make.
func parseRef(key []byte, epoch bool) laneRef {
	ref, rest := laneRef{bucket: key[1]}, key[tableKeySize:]
	if epoch && len(rest) >= 8 {
		ref.epoch, rest = binary.BigEndian.Uint64(rest), rest[8:]
	}
	if len(rest) != laneRefSize {
		panic(fmt.Errorf("key %x of a lane has %d bytes after its table, want %d", key, len(rest), laneRefSize))
	}
	copy(ref.payee[:], rest)
	ref.index = binary.BigEndian.Uint64(rest[ledger.AddressSize:])
	ref.lane = rest[laneRefSize-1]
	return ref
}

// head is the next key of one bucket in a merge.
type head struct {
	key  []byte
	next func() ([]byte, []byte, bool)
	stop func()
}

// merge is the keys of a table over all buckets of a shard, ascending by what follows the
// table: a heap of the buckets that have any more. The view must not be written to
// meanwhile.
type merge struct {
	v     chain.View
	table byte
	heads []head
}

// merging returns the keys of a table of which what follows the table is not below from.
func merging(v chain.View, s *Shard, table byte, from []byte) *merge {
	m := &merge{v: v, table: table}
	for bucket := int(s.First); bucket <= int(s.Last); bucket++ {
		if h, ok := m.open(uint8(bucket), from); ok {
			m.heads = append(m.heads, h)
		}
	}
	heap.Init(m)
	return m
}

// open returns the keys of a bucket, and ok=false if there are none.
func (m *merge) open(bucket uint8, from []byte) (h head, ok bool) {
	key := tableKey(bucket, m.table, len(from))
	rows := m.v.Range(key)
	if len(from) > 0 {
		rows = chain.RangeFrom(m.v, key, append(key, from...))
	}
	if !some(rows) {
		return head{}, false // most buckets; a coroutine for each would cost more than the look
	}
	h.next, h.stop = iter.Pull2(rows)
	if h.key, _, ok = h.next(); !ok {
		h.stop()
	}
	return h, ok
}

// least returns the next key, nil after the last.
func (m *merge) least() []byte {
	if len(m.heads) == 0 {
		return nil
	}
	return m.heads[0].key
}

// advance goes on to the key after the least.
func (m *merge) advance() {
	h := &m.heads[0]
	var ok bool
	h.key, _, ok = h.next()
	m.settle(ok)
}

// pass goes on to the first key of which what follows the table is not below from, without
// a walk over those before it.
func (m *merge) pass(from []byte) {
	for len(m.heads) > 0 && bytes.Compare(m.heads[0].key[tableKeySize:], from) < 0 {
		h := &m.heads[0]
		bucket := h.key[1]
		h.stop()
		next, ok := m.open(bucket, from)
		*h = next
		m.settle(ok)
	}
}

// settle puts the first head, which is another one, in its place, or drops it.
func (m *merge) settle(ok bool) {
	if ok {
		heap.Fix(m, 0)
	} else {
		heap.Remove(m, 0)
	}
}

// close ends the reading.
func (m *merge) close() {
	for i := range m.heads {
		m.heads[i].stop()
	}
}

// Len, Less and Swap are those of heap.Interface.
func (m *merge) Len() int { return len(m.heads) }

func (m *merge) Less(i, j int) bool {
	return bytes.Compare(m.heads[i].key[tableKeySize:], m.heads[j].key[tableKeySize:]) < 0
}

func (m *merge) Swap(i, j int) { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }

// Push is part of heap.Interface; nothing is ever pushed.
func (m *merge) Push(any) { panic("a merge only shrinks") }

// Pop removes the last head.
func (m *merge) Pop() any {
	last := len(m.heads) - 1
	m.heads = m.heads[:last]
	return nil
}

// merged yields the keys of a table over all buckets of the shard, ascending by
// what follows the table. v must not be written to meanwhile.
func merged(v chain.View, s *Shard, table byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		m := merging(v, s, table, nil)
		defer m.close()
		for key := m.least(); key != nil && yield(key); key = m.least() {
			m.advance()
		}
	}
}

// some reports whether there is anything in rows.
func some(rows iter.Seq2[[]byte, []byte]) bool {
	for range rows {
		return true
	}
	return false
}

// settle makes the settlements of lanes that moved in epochs that are over, as many
// as one block may. It must run before anything else writes to the state.
func (b *block) settle() []Settlement {
	if !b.epoch.Settling {
		return nil
	}
	limit, left := int(b.params.SettleEntries), false
	refs := make([]laneRef, 0, min(limit, 1024))
	for key := range merged(b.state, &b.shard, tableMoved) {
		ref := parseRef(key, true)
		if ref.epoch >= b.epoch.Number {
			break
		}
		if len(refs) == limit {
			left = true
			break
		}
		refs = append(refs, ref)
	}
	b.epoch.Settling = left
	out := batches(b.state, refs, int(b.params.BatchEntries))
	for i := range refs {
		b.settled(&refs[i])
	}
	return out
}

// settled marks a lane as settled up to its best voucher, until the main chain
// says that it was paid.
func (b *block) settled(ref *laneRef) {
	c, _ := ChannelAt(b.state, ref.bucket, ref.index)
	l := LaneOf(b.state, &c, ref.index, ref.lane)
	l.Settled, l.Moved = l.Cumulative, 0
	b.state.Delete(movedKey(ref.bucket, ref.epoch, &ref.payee, ref.index, ref.lane))
	b.pend(ref, ref.epoch)
	setLane(b.state, &c, ref.index, ref.lane, &l)
	b.state.Set(ChannelKey(ref.bucket, ref.index), c.Encode())
}

// ends reports whether a channel ends, as far as is known, before a settlement at the end
// of the epoch would surely be paid.
func (b *block) ends(c *Channel) bool {
	return c.ClosesAt != 0 || c.ExpiresAt <= b.epoch.Sigma+b.params.Ahead
}

// hurry settles a lane up to its best voucher before its epoch ends. The caller stores l.
func (b *block) hurry(ref *laneRef, l *Lane) {
	if l.Moved != 0 {
		b.state.Delete(movedKey(ref.bucket, l.Moved-1, &ref.payee, ref.index, ref.lane))
	}
	l.Settled, l.Moved = l.Cumulative, 0
	b.pend(ref, b.epoch.Number)
	b.hurried = append(b.hurried, *ref)
}

// hurryAll settles all lanes of a channel that moved. The caller stores c.
func (b *block) hurryAll(c *Channel, index uint64) {
	for set := c.Lanes; set != 0; set &= set - 1 {
		ref := laneRef{bucket: c.Payer.Bucket(), payee: c.Payee, index: index, lane: uint8(bits.TrailingZeros64(set))}
		if l := LaneOf(b.state, c, index, ref.lane); l.Unsettled() {
			b.hurry(&ref, &l)
			setLane(b.state, c, index, ref.lane, &l)
		}
	}
}

// settledEarly makes the settlements of the lanes that could not wait for the end of their
// epoch, each once, with their best vouchers at the end of the block.
func (b *block) settledEarly() []Settlement {
	slices.SortFunc(b.hurried, laneRef.compare)
	refs := slices.DeleteFunc(slices.Compact(b.hurried), func(ref laneRef) bool {
		return b.state.Get(pendingKey(ref.bucket, &ref.payee, ref.index, ref.lane)) == nil // closed or paid in the same block
	})
	for i := range refs {
		refs[i].epoch = b.epoch.Number
	}
	return batches(b.state, refs, int(b.params.BatchEntries))
}

// pend notes that a lane waits for payment since an epoch, if it does not since an earlier one.
func (b *block) pend(ref *laneRef, epoch uint64) {
	if key := pendingKey(ref.bucket, &ref.payee, ref.index, ref.lane); b.state.Get(key) == nil {
		b.state.Set(key, binary.BigEndian.AppendUint64(nil, epoch))
	}
}

// batches makes batches of at most size entries of the lanes in refs, which are in
// the order of settlements, with their best vouchers.
func batches(v chain.View, refs []laneRef, size int) []Settlement {
	var out []Settlement
	for i := range refs {
		ref := &refs[i]
		c, ok := ChannelAt(v, ref.bucket, ref.index)
		if !ok {
			panic(fmt.Errorf("lane %d of channel %d is to be settled, and the channel is not there", ref.lane, ref.index))
		}
		last := len(out) - 1
		if i == 0 || ref.payee != refs[i-1].payee || ref.epoch != refs[i-1].epoch || len(out[last].Batch.Entries) == size {
			out = append(out, Settlement{Epoch: ref.epoch, Batch: channel.Batch{Payee: ref.payee, Mode: channel.BestEffort}})
			last++
		}
		l := LaneOf(v, &c, ref.index, ref.lane)
		out[last].Batch.Entries = append(out[last].Batch.Entries, channel.Entry{
			Index: ref.index, Lane: ref.lane, Claim: channel.ClaimVoucher,
			Cumulative: l.Cumulative, Units: l.Units, UsageRoot: l.UsageRoot, Signature: l.Signature,
		})
	}
	return out
}

// Overdue returns on how many lanes, and how many drops in all, a settlement waits for
// payment since an epoch before the last: nobody carries it, or it is worth less than its
// fee. It looks at limit lanes at most, and counts none of the others.
func Overdue(v chain.View, limit int) (lanes int, amount ledger.Amount) {
	s, now := ReadShard(v), ReadEpoch(v).Number
	for bucket := int(s.First); bucket <= int(s.Last); bucket++ {
		for key, value := range v.Range(tableKey(uint8(bucket), tablePending, 0)) {
			if limit--; limit < 0 {
				return lanes, amount
			}
			if since := binary.BigEndian.Uint64(value); since+1 >= now {
				continue
			}
			ref := parseRef(key, false)
			c, _ := ChannelAt(v, ref.bucket, ref.index)
			l := LaneOf(v, &c, ref.index, ref.lane)
			lanes++
			amount += l.Settled - l.Redeemed // of all lanes at most the sum of deposits
		}
	}
	return lanes, amount
}
