package pay_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// TestCloseAmongAHundredThousandVouchers: 100,000 vouchers are on their way in
// batches, from fifty payers at once, when the chain says that each of their
// channels closes, while a batch is being accepted. What was accepted is redeemed,
// to the drop; what comes later is refused.
func TestCloseAmongAHundredThousandVouchers(t *testing.T) {
	t.Parallel()
	const payers, batches, size, price = 50, 20, 100, 7
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, payers, pay.RedeemPolicy{Threshold: 5_000, BudgetBps: ledger.BasisPoints})
		accepted, refused := make([]int, payers), make([]int, payers)
		var wg sync.WaitGroup
		for i, c := range s.channels {
			wg.Go(func() {
				var closing sync.WaitGroup
				for k := range batches {
					offers := make([]pay.Offer, size)
					for j := range offers {
						v, err := c.Pay(t.Context(), uint8(j%3), price, 1)
						if err != nil {
							t.Error(err)
							return
						}
						offers[j] = pay.Offer{Voucher: v, Price: price}
					}
					if k == 2+i%(batches-4) {
						closing.Go(func() {
							r := s.records[i]
							r.CloseAt = 100
							s.payee.Apply(event(channel.EventCloseRequested, r, func(e *pay.Event) { e.Deadline = 100 }))
						})
					}
					for j, res := range s.payee.AcceptBatch(t.Context(), offers) {
						switch {
						case errors.Is(res.Err, pay.Closing.Err()):
							refused[i]++
						case res.Err != nil:
							t.Errorf("channel %d, voucher %d of batch %d: %v", i, j, k, res.Err)
						case refused[i] > 0:
							t.Errorf("channel %d, voucher %d of batch %d is accepted after others were refused", i, j, k)
						default:
							accepted[i]++
						}
					}
					closing.Wait()
				}
			})
		}
		wg.Wait()
		s.pass(10 * time.Second)
		all := 0
		for i := range payers {
			if accepted[i] == 0 || refused[i] == 0 || accepted[i]+refused[i] != batches*size {
				t.Errorf("channel %d: %d accepted and %d refused of %d", i, accepted[i], refused[i], batches*size)
			}
			all += accepted[i]
			s.want(i, ledger.Amount(accepted[i]*price))
		}
		if total, _ := s.payee.Total(); total.Unredeemed != 0 || total.UnderWay != 0 {
			t.Errorf("the payee says %+v", total)
		}
		t.Logf("%d of %d accepted and redeemed", all, payers*batches*size)
	})
}
