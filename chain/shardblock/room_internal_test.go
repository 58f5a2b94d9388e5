package shardblock

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/route"
	"github.com/tributary-network/tributary/zone"
)

// roomWork is a block of a shard that has sent nothing yet.
func roomWork() *work {
	return &work{
		state: chain.NewOverlay(nothing{}), config: Config{Params: DefaultParams()}, height: 1,
		shard: service.Shard{Chain: 9, Service: 7, Zone: 0, Last: 255},
	}
}

// earns sends what somebody in a bucket of a zone has earned, if there is room.
func (w *work) earns(number byte, bucket int) bool {
	m := service.EarningsMessage{Payee: ledger.Address{number, byte(bucket), 1}}
	return w.send(service.Message{To: service.Place{Zone: number, Bucket: uint8(bucket)}, Kind: service.KindEarnings, Recipient: m.Payee, Payload: m.Encode()})
}

// fill has a zone's first buckets take as much as they may in so many blocks.
func (w *work) fill(number byte, buckets, blocks int) {
	for range blocks {
		w.under = underWays{}
		for bucket := range buckets {
			w.earns(number, bucket)
		}
	}
	w.under = underWays{}
}

func (w *work) sent() (b route.Backlog) {
	b.Outbox, b.Bytes = underWay(w.state)
	return b
}

// TestRoomOfPlaces: places of a zone that nothing acknowledges for, be they a shard of it or
// all but one, leave room for the others.
func TestRoomOfPlaces(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		still int // the first buckets of the zone, as many
		most  uint64
	}{
		{"one", 1, 61},
		{"half of a sixteenth", 8, 61},
		{"half of the zone", 128, 364},
		{"all but one", 255, 534},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := roomWork()
			w.fill(1, row.still, 100)
			if got := w.sent().Outbox; got > row.most || got < row.most-10 {
				t.Errorf("%d messages wait for who stands still, want %d at most and about as many", got, row.most)
			}
			for bucket := row.still; bucket < 256; bucket++ {
				if !w.earns(1, bucket) {
					t.Fatalf("bucket %d, which lives, takes no message", bucket)
				}
			}
		})
	}
}

// TestRoomOfZones: however many zones stand still, one after the other or all at once, a shard
// goes on with its users, and a zone that lives has room.
func TestRoomOfZones(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		still  int // zones
		at     func(w *work, still int)
		room   int // for the zone that lives
		places int // as many of it have some
	}{
		{"three at once", 3, atOnce, 128, 128},
		{"three after each other", 3, afterEachOther, 48, 48},
		{"all but one at once", zone.MaxZones - 1, atOnce, 16, 16},
		{"all but one after each other", zone.MaxZones - 1, afterEachOther, 16, 16},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := roomWork()
			row.at(w, row.still)
			before, places := w.sent(), 0
			for bucket := range 256 {
				if w.earns(0, bucket) {
					places++
				}
			}
			for range 8 {
				w.fill(0, 256, 1)
			}
			b := w.sent()
			if room := b.Outbox - before.Outbox; room < uint64(row.room) || places < row.places {
				t.Errorf("the zone that lives has room for %d messages and at once for %d places, want %d and %d", room, places, row.room, row.places)
			}
			if level := w.config.Params.Capacity.Level(b); level > route.Threshold {
				t.Errorf("%d messages are under way, and users are refused: level %s", b.Outbox, level)
			}
		})
	}
}

func atOnce(w *work, still int) {
	for range 8 {
		for n := range still {
			w.fill(byte(n+1), 256, 1)
		}
	}
}

func afterEachOther(w *work, still int) {
	for n := range still {
		w.fill(byte(n+1), 256, 8)
	}
}
