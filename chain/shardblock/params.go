package shardblock

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
	"github.com/tributary-network/tributary/zone"
)

// Params are the consensus parameters of a shard, beside those of its service.
type Params struct {
	// Capacity is the backlog at which the shard is full. Of it Outbox and Bytes count:
	// those that the shard sent and are not acknowledged, or are and may come back.
	Capacity route.Capacity
	// Lifetime is for how many anchored checkpoints of the shard its messages live, 1 to
	// link.MaxLifetime.
	Lifetime uint64
	// UnderWay is how many messages a link has under way at most, 1 to link.MaxUnacked,
	// and UnderWayBytes how many bytes of them, 1 to link.MaxUnackedBytes.
	UnderWay, UnderWayBytes uint64
	// HeavyBytes is the size in bytes above which a block is heavy, at least 1.
	HeavyBytes uint64
	// MessageBytes is how long the payload of a message is at most, 1 to link.MaxPayload.
	MessageBytes uint64
}

// DefaultParams are the parameters to start with.
func DefaultParams() Params {
	return Params{
		Capacity: route.DefaultCapacity(), Lifetime: link.DefaultLifetime,
		UnderWay: link.MaxUnacked, UnderWayBytes: link.MaxUnackedBytes, MessageBytes: link.MaxPayload,
		HeavyBytes: uint64(zone.DefaultLimits().HeavyBytes),
	}
}

// settleAhead is how many epochs of main a channel must live on for its bookings to wait for
// the settlement at the end of their epoch: it begins then one epoch later, and main has as
// long again to be told and to pay.
const settleAhead = 3

// limited returns the parameters of a shard of a zone with these limits, and makes those
// of its service fit them.
func limited(l *zone.Limits, p *service.Params) Params {
	p.MaxBlockBytes = int64(l.BlockBytes)
	out := DefaultParams()
	out.Lifetime, out.UnderWay, out.UnderWayBytes = uint64(l.ExpiryAnchors), uint64(l.LinkMessages), uint64(l.LinkBytes)
	out.MessageBytes, out.HeavyBytes = uint64(l.MessageBytes), uint64(l.HeavyBytes)
	return out
}

// shared returns how many messages may be under way to all zones together above the first to
// each sixteenth of a zone. Both make an eighth of the capacity at most, and a quarter is what
// a shard has before it refuses users: places that stand still, however many of whatever
// zones, stop nobody who pays others.
//
// A sixteenth has a sixteenth of what is free, and twice as much for places without any
// message. So a zone that stands still leaves a third of what it found at least, and one
// that lives has room after any number of them; and so it is with the shards of a zone, as
// each has its sixteenths, or its places. What has no room waits, netted.
func (p *Params) shared() uint64 { return p.Capacity.Outbox / 8 }

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	if err := p.Capacity.Validate(); err != nil {
		return fmt.Errorf("capacity: %w", err)
	}
	switch {
	case p.Lifetime == 0 || p.Lifetime > link.MaxLifetime:
		return fmt.Errorf("lifetime is %d anchors, want 1 to %d", p.Lifetime, uint64(link.MaxLifetime))
	case p.UnderWay == 0 || p.UnderWay > link.MaxUnacked:
		return fmt.Errorf("under_way is %d messages, want 1 to %d", p.UnderWay, uint64(link.MaxUnacked))
	case p.UnderWayBytes == 0 || p.UnderWayBytes > link.MaxUnackedBytes:
		return fmt.Errorf("under_way_bytes is %d, want 1 to %d", p.UnderWayBytes, uint64(link.MaxUnackedBytes))
	case p.HeavyBytes == 0:
		return errors.New("heavy_bytes is 0, want at least 1")
	case p.MessageBytes == 0 || p.MessageBytes > link.MaxPayload:
		return fmt.Errorf("message_bytes is %d, want 1 to %d", p.MessageBytes, uint64(link.MaxPayload))
	}
	return nil
}

func (p *Params) fields() [9]*uint64 {
	c := &p.Capacity
	return [9]*uint64{&c.Inbox, &c.Outbox, &c.Bytes, &c.MissedAnchors, &p.Lifetime, &p.UnderWay, &p.UnderWayBytes, &p.HeavyBytes, &p.MessageBytes}
}

func (p *Params) write(w *codec.Writer) {
	for _, v := range p.fields() {
		w.Uint64(*v)
	}
}

func (p *Params) read(r *codec.Reader) {
	for _, v := range p.fields() {
		*v = r.Uint64()
	}
}
