package service_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// TestUsageRootProvesBookings: each booking of a block is proved against the root,
// and nothing else is.
func TestUsageRootProvesBookings(t *testing.T) {
	t.Parallel()
	s, a := one(t, 0)
	var items []item
	for lane := range uint8(7) {
		items = append(items, item{a, a.voucher(lane, ledger.Amount(lane)+1, 9)})
	}
	res := s.block(service.Block{Txs: []service.BlockTx{booking(t, items...), booking(t, item{a, a.voucher(0, 5, 9)})}})
	if results, err := service.DecodeResults(s.view.Get(service.ResultsKey())); err != nil || results.UsageRoot != res.UsageRoot || results.Bookings != 8 || results.Root != res.ResultsRoot {
		t.Errorf("results in the state %+v", results)
	}
	for i, b := range res.Bookings {
		p, err := service.ProveBooking(res.Bookings, i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := service.DecodeBookingProof(p.Encode())
		if err != nil || !cmp.Equal(p, again) || again.Booking != b {
			t.Fatalf("proof %d: %v %s", i, err, cmp.Diff(p, again))
		}
		if err := again.Verify(res.UsageRoot); err != nil {
			t.Errorf("proof %d: %v", i, err)
		}
		for name, spoil := range map[string]func(*service.BookingProof){
			"channel":    func(p *service.BookingProof) { p.Booking.ChannelID[0] ^= 1 },
			"lane":       func(p *service.BookingProof) { p.Booking.Lane++ },
			"seq":        func(p *service.BookingProof) { p.Booking.Seq++ },
			"units":      func(p *service.BookingProof) { p.Booking.Units++ },
			"cumulative": func(p *service.BookingProof) { p.Booking.Cumulative++ },
			"usage root": func(p *service.BookingProof) { p.Booking.UsageRoot[31] ^= 1 },
			"index":      func(p *service.BookingProof) { p.Index = (p.Index + 1) % p.Size },
			"size":       func(p *service.BookingProof) { p.Size = 3 },
			"path":       func(p *service.BookingProof) { p.Path[0][0] ^= 1 },
		} {
			bad, err := service.DecodeBookingProof(p.Encode())
			if err != nil {
				t.Fatal(err)
			}
			spoil(&bad)
			if err := bad.Verify(res.UsageRoot); !errors.Is(err, merkle.ErrProof) {
				t.Errorf("proof %d with another %s: %v", i, name, err)
			}
		}
	}
	if _, err := service.ProveBooking(res.Bookings, 8); err == nil {
		t.Error("a booking is proved that there is not")
	}
	if res := s.block(service.Block{}); !res.UsageRoot.IsZero() {
		t.Error("a block without bookings has a usage root")
	}
}
