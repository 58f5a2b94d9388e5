package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
)

// ErrNotConserved means that usage was counted twice or lost, or that more was
// booked on a channel than its deposit. The chain must halt.
var ErrNotConserved = errors.New("usage is not conserved")

// tally is what rows of the state hold.
type tally struct {
	booked   Sums // by channels, ended ones included
	lanes    Sums // the same by lanes
	earned   Sums
	waiting  Sums
	stuck    Sums
	channels uint64
}

func sumsAt(b []byte) Sums {
	return Sums{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
}

func laneSumsAt(b []byte) Sums {
	return Sums{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[offLaneWork:])}
}

// count adds what a key holds; a nil value holds nothing.
func (t *tally) count(key, value []byte) error {
	if value != nil && key[0] == prefixWaiting && len(value) == SumsSize {
		t.waiting = t.waiting.Plus(sumsAt(value))
		return nil
	}
	if value == nil || len(key) < tableKeySize || key[0] != prefixBucket {
		return nil
	}
	switch table := key[2]; {
	case table == tableChannel && len(value) == ChannelSize:
		booked, deposit := sumsAt(value[offBooked:]), binary.BigEndian.Uint64(value[offDeposit:])
		if booked.Amount > deposit {
			return fmt.Errorf("%w: channel %x has booked %d drops of a deposit of %d", ErrNotConserved, key, booked.Amount, deposit)
		}
		t.booked, t.lanes = t.booked.Plus(booked), t.lanes.Plus(laneSumsAt(value[offLane0:]))
		t.channels++
	case table == tableLane && len(value) == LaneSize:
		t.lanes = t.lanes.Plus(laneSumsAt(value))
	case table == tableEarned && len(value) >= SumsSize:
		t.earned = t.earned.Plus(sumsAt(value))
	case table == tableRest && len(value) == 2*SumsSize:
		ended := sumsAt(value)
		t.booked, t.lanes, t.stuck = t.booked.Plus(ended), t.lanes.Plus(ended), t.stuck.Plus(sumsAt(value[SumsSize:]))
	case table == tableMoved || table == tablePending:
	default:
		return fmt.Errorf("%w: row %x has %d bytes, and no row of that table has as many", ErrNotConserved, key, len(value))
	}
	return nil
}

// conserved checks a block in time proportional to what it did: what rows of
// channels, lanes and providers gained and lost must be what the totals say, what
// receipts, messages and imports say too, and the totals must balance. It trusts
// none of them.
func conserved(v chain.View, changes chain.Changes, inbox []Inbound, res *Result, before *Totals) error {
	var was, is tally
	for i := range changes {
		c := &changes[i]
		if err := was.count(c.Key, v.Get(c.Key)); err != nil {
			return err
		}
		if err := is.count(c.Key, c.Value); err != nil {
			return err
		}
	}
	var receipts Sums
	for i := range res.Receipts {
		receipts = receipts.Plus(res.Receipts[i].Booked)
	}
	sent := messageSums(res.Messages)
	received, returned := inboundSums(inbox, res.Imports)
	after := &res.Totals
	for _, row := range []struct {
		name      string
		got, want Sums
	}{
		{"rows of channels", is.booked.Minus(was.booked), after.Booked.Minus(before.Booked)},
		{"rows of lanes", is.lanes.Minus(was.lanes), after.Booked.Minus(before.Booked)},
		{"rows of providers", is.earned.Minus(was.earned), after.Earned.Minus(before.Earned)},
		{"rows of what waits", is.waiting.Minus(was.waiting), after.Waiting.Minus(before.Waiting)},
		{"rows of rests", is.stuck.Minus(was.stuck), after.Stuck.Minus(before.Stuck)},
		{"receipts", receipts, after.Booked.Minus(before.Booked)},
		{"messages sent", sent, after.Sent.Minus(before.Sent)},
		{"messages received", received, after.Received.Minus(before.Received)},
		{"messages returned", returned, after.Returned.Minus(before.Returned)},
	} {
		if row.got != row.want {
			return fmt.Errorf("%w: %s changed by %+v, the totals by %+v", ErrNotConserved, row.name, row.got, row.want)
		}
	}
	if got, want := is.channels-was.channels, after.Channels-before.Channels; got != want {
		return fmt.Errorf("%w: %d channels more, the totals say %d", ErrNotConserved, int64(got), int64(want))
	}
	return after.check()
}

func messageSums(messages []Message) (sum Sums) {
	for i := range messages {
		if m, err := DecodeEarningsMessage(messages[i].Payload); err == nil {
			sum = sum.Plus(m.Sums)
		}
	}
	return sum
}

func inboundSums(inbox []Inbound, results []ImportResult) (received, returned Sums) {
	for i := range inbox {
		if inbox[i].Kind != KindEarnings || results[i].Code != chain.CodeOK {
			continue
		}
		m, err := DecodeEarningsMessage(inbox[i].Payload)
		switch {
		case err != nil:
		case inbox[i].Fate == Fresh:
			received = received.Plus(m.Sums)
		default:
			returned = returned.Plus(m.Sums)
		}
	}
	return received, returned
}

// check reports whether the totals balance.
func (t *Totals) check() error {
	if in, out := t.Booked.Plus(t.Received).Plus(t.Returned), t.Earned.Plus(t.Sent).Plus(t.Waiting).Plus(t.Stuck); in != out {
		return fmt.Errorf("%w: booked, received and returned are %+v; earned, sent, waiting and stuck %+v", ErrNotConserved, in, out)
	}
	return nil
}

// InFlight returns what is between the shards of a service, given the totals of
// all of them: the sums of the earnings messages in their outboxes, each counted
// until its destination has taken it in or its source has it back.
func InFlight(shards ...Totals) Sums {
	var s Sums
	for i := range shards {
		s = s.Plus(shards[i].Sent).Minus(shards[i].Received).Minus(shards[i].Returned)
	}
	return s
}

// Audit recounts everything in v and compares it with the totals, and checks that
// lanes, channels and what is to be settled fit each other. It takes time
// proportional to the state.
func Audit(v chain.View) (Totals, error) {
	s, t, e := ReadShard(v), ReadTotals(v), ReadEpoch(v)
	found, err := recount(v, &s, &e)
	if err != nil {
		return Totals{}, err
	}
	got := t
	got.Booked, got.Earned, got.Channels = found.booked, found.earned, found.channels
	got.Waiting, got.Stuck = found.waiting, found.stuck
	if got != t {
		return got, fmt.Errorf("%w: found %+v, the totals say %+v", ErrNotConserved, got, t)
	}
	return t, t.check()
}

// recount counts all rows of the shard and checks each.
func recount(v chain.View, s *Shard, e *Epoch) (tally, error) {
	var t tally
	var lanes, refs, wantLanes, wantRefs int
	for key, value := range v.Range([]byte{prefixBucket}) {
		if len(key) < tableKeySize || !s.Owns(Place{s.Zone, key[1]}) {
			return t, fmt.Errorf("%w: row %x is of none of the buckets %d to %d", ErrNotConserved, key, s.First, s.Last)
		}
		if err := t.count(key, value); err != nil {
			return t, err
		}
		switch key[2] {
		case tableLane:
			lanes++
		case tableMoved, tablePending:
			refs++
		case tableChannel:
			l, r, err := auditChannel(v, key, value, e)
			if err != nil {
				return t, fmt.Errorf("%w: channel %x: %w", ErrNotConserved, key, err)
			}
			wantLanes, wantRefs = wantLanes+l, wantRefs+r
		case tableEarned:
			if _, err := DecodeEarnings(value); err != nil {
				return t, fmt.Errorf("%w: provider %x: %w", ErrNotConserved, key, err)
			}
		}
	}
	for key, value := range v.Range([]byte{prefixWaiting}) {
		if err := t.count(key, value); err != nil {
			return t, err
		}
		if row := v.Get(queuesKey(key[1])); len(row) != queuesSize || row[key[2]/8]>>(key[2]%8)&1 == 0 {
			return t, fmt.Errorf("%w: row %x waits in a queue that nobody looks at", ErrNotConserved, key)
		}
	}
	if lanes != wantLanes || refs != wantRefs {
		return t, fmt.Errorf("%w: %d rows of lanes and %d to be settled or paid, channels have %d and %d", ErrNotConserved, lanes, refs, wantLanes, wantRefs)
	}
	if t.lanes != t.booked {
		return t, fmt.Errorf("%w: lanes have booked %+v, channels %+v", ErrNotConserved, t.lanes, t.booked)
	}
	return t, nil
}

// auditChannel checks one channel and returns how many lanes of it have a row, and
// how many keys there are of lanes that moved or are pending.
func auditChannel(v chain.View, key, value []byte, e *Epoch) (rows, refs int, err error) {
	c, err := DecodeChannel(value)
	if err != nil {
		return 0, 0, err
	}
	bucket, index := key[1], binary.BigEndian.Uint64(key[tableKeySize:])
	if c.Payer.Bucket() != bucket {
		return 0, 0, fmt.Errorf("its payer is of bucket %d", c.Payer.Bucket())
	}
	var sum Sums
	for lane := range uint8(channel.Lanes) {
		if c.Lanes>>lane&1 == 0 {
			continue
		}
		l, err := laneOf(v, &c, index, lane)
		if err != nil {
			return 0, 0, fmt.Errorf("lane %d: %w", lane, err)
		}
		sum = sum.Plus(l.Sums())
		if (l.Moved != 0) != l.Unsettled() || l.Moved > e.Number+1 {
			return 0, 0, fmt.Errorf("lane %d has %d drops, %d settled and %d paid, and waits under %d", lane,
				uint64(l.Cumulative), uint64(l.Settled), uint64(l.Redeemed), l.Moved)
		}
		if l.Moved != 0 {
			refs++
			if v.Get(movedKey(bucket, l.Moved-1, &c.Payee, index, lane)) == nil {
				return 0, 0, fmt.Errorf("lane %d does not wait for settlement", lane)
			}
		}
		if l.Pending() {
			refs++
			if v.Get(pendingKey(bucket, &c.Payee, index, lane)) == nil {
				return 0, 0, fmt.Errorf("lane %d does not wait for payment", lane)
			}
		}
	}
	if sum != c.Booked {
		return 0, 0, fmt.Errorf("lanes have booked %+v, the channel %+v", sum, c.Booked)
	}
	return bits.OnesCount64(c.Lanes >> 1), refs, nil
}
