package shardblock

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/shard/link"
)

// TestRoomOfPlaces: places of a zone that nothing acknowledges for, be they a shard of it or
// all but one, leave room for the others, and all together no more than what makes a shard
// refuse half of its users.
func TestRoomOfPlaces(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		still      int // the first buckets of the zone, as many
		most, each uint64
	}{
		{"half of the zone", 128, 512, 2},
		{"half of a sixteenth", 8, 48, 2},
		{"all but one", 255, 1_022, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := &work{
				state: chain.NewOverlay(nothing{}), config: Config{Params: DefaultParams()}, height: 1,
				shard: service.Shard{Chain: 9, Service: 7, Zone: 0, Last: 255},
			}
			send := func(bucket int) bool {
				m := service.EarningsMessage{Payee: [21]byte{1, byte(bucket), 1}}
				return w.send(service.Message{To: service.Place{Zone: 1, Bucket: uint8(bucket)}, Kind: service.KindEarnings, Recipient: m.Payee, Payload: m.Encode()})
			}
			sent := func() (n uint64) {
				for _, out := range link.Outbounds(w.state, 0) {
					messages, _ := out.UnderWay()
					n += messages
				}
				return n
			}
			for range 100 { // blocks
				w.under = underWays{}
				for bucket := range row.still {
					send(bucket)
				}
			}
			if got := sent(); got > row.most || got < row.most/2 {
				t.Errorf("%d messages wait for who stands still, want %d at most and about as many", got, row.most)
			}
			w.under = underWays{}
			for bucket := row.still; bucket < 256; bucket++ {
				for i := range row.each {
					if !send(bucket) {
						t.Fatalf("bucket %d, which lives, takes %d messages", bucket, i)
					}
				}
			}
			if got, limit := sent(), w.config.Params.Capacity.Outbox/8; got > limit {
				t.Errorf("%d messages are under way to the zone, want %d at most", got, limit)
			}
		})
	}
}
