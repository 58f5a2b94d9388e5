package pay_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func BenchmarkSign(b *testing.B) {
	ctx := context.Background()
	record, key := testChannel(1)
	record.Deposit = ledger.MaxAmount
	c := track(b, openPayer(b, pay.PayerConfig{}), record, key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Pay(ctx, 0, 1, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "vouchers/s")
}

func BenchmarkSignJournalled(b *testing.B) {
	ctx := context.Background()
	record, key := testChannel(1)
	record.Deposit = ledger.MaxAmount
	c := track(b, openPayer(b, pay.PayerConfig{Dir: b.TempDir()}), record, key)
	for b.Loop() {
		if _, err := c.Pay(ctx, 0, 1, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "vouchers/s")
}

// benchVouchers returns n vouchers, spread over some channels.
func benchVouchers(b *testing.B, n, channels int) ([]pay.Channel, []pay.Offer) {
	b.Helper()
	payer := openPayer(b, pay.PayerConfig{})
	records := make([]pay.Channel, channels)
	all := make([]*pay.PayerChannel, channels)
	for i := range all {
		record, key := testChannel(uint64(i))
		record.Deposit = ledger.MaxAmount
		records[i], all[i] = record, track(b, payer, record, key)
	}
	offers := make([]pay.Offer, n)
	for i := range offers {
		offers[i] = pay.Offer{Voucher: mustPay(b, all[i%channels], 0, 1), Price: 1}
	}
	return records, offers
}

func BenchmarkAccept(b *testing.B) {
	const n = 8192
	records, offers := benchVouchers(b, n, 64)
	for _, batch := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			ctx := context.Background()
			var p *pay.Payee
			accepted := 0
			for b.Loop() {
				at := accepted % n
				if at == 0 {
					b.StopTimer()
					p = openPayee(b, pay.PayeeConfig{Dir: b.TempDir()}, records...)
					b.StartTimer()
				}
				if batch == 1 {
					if _, err := p.Accept(ctx, offers[at].Voucher, 1); err != nil {
						b.Fatal(err)
					}
				} else {
					for _, r := range p.AcceptBatch(ctx, offers[at:at+batch]) {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
					}
				}
				accepted += batch
			}
			b.ReportMetric(float64(accepted)/b.Elapsed().Seconds(), "vouchers/s")
		})
	}
}

func BenchmarkReveal(b *testing.B) {
	ctx := context.Background()
	record, key := testChannel(1)
	record.Deposit = ledger.MaxAmount
	payer := openPayer(b, pay.PayerConfig{})
	c := track(b, payer, record, key)
	p := openPayee(b, pay.PayeeConfig{Dir: b.TempDir()}, record)
	left := 0
	for b.Loop() {
		if left == 0 {
			commitment, err := c.CommitHash(ctx, 0, pay.HashTerms{UnitPrice: 1, Steps: channel.MaxHashSteps})
			if err == nil {
				err = p.AcceptCommitment(ctx, commitment)
			}
			if err != nil {
				b.Fatal(err)
			}
			left = channel.MaxHashSteps
		}
		left--
		r, err := c.Reveal(ctx, 0)
		if err == nil {
			_, err = p.AcceptReveal(ctx, r, 1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "payments/s")
}

// BenchmarkMemory measures what a payee keeps in memory for each lane.
func BenchmarkMemory(b *testing.B) {
	for _, lanes := range []int{1, 8} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			const total = 200_000
			for b.Loop() {
				before := heap()
				p := openPayee(b, pay.PayeeConfig{})
				p.Apply(pay.Update{Listing: pay.ListingBegins})
				var record pay.Channel
				record.Payee, record.Deposit, record.Redeemed = payeeID.Address, testDeposit, 8
				record.Lanes = make([]pay.LaneState, lanes)
				for l := range record.Lanes {
					record.Lanes[l] = pay.LaneState{Lane: uint8(l), Redeemed: 1}
				}
				for i := range total / lanes {
					record.Index = uint64(i)
					record.ID = ledger.HashOf("bench", []byte(fmt.Sprint(i)))
					p.Apply(pay.Update{Channel: &record})
				}
				p.Apply(pay.Update{Listing: pay.ListingEnds})
				b.ReportMetric(float64(heap()-before)/total, "B/lane")
				runtime.KeepAlive(p)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
