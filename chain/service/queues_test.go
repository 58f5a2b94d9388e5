package service_test

import (
	"iter"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// returned is a message of the shard's own that came back too late to be taken, so that
// what it carried is to be sent again.
func returned(payee ledger.Address, amount uint64) service.Inbound {
	m := service.EarningsMessage{Payee: payee, Sums: service.Sums{Amount: amount, Units: amount}}
	return service.Inbound{From: service.HomeOf(payee), Kind: service.KindEarnings, Payload: m.Encode(), Fate: service.Expired}
}

// waiterOf is a payee of zone 1.
func waiterOf(bucket, turn uint8, n int) ledger.Address {
	return ledger.Address{1, bucket, turn, byte(n >> 8), byte(n)}
}

// counting counts the rows that are read in order.
type counting struct {
	*state

	rows int
}

func (c *counting) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for k, v := range c.state.Range(prefix) {
			if c.rows++; !yield(k, v) {
				return
			}
		}
	}
}

func full(service.Message) bool { return false }

// TestWaitingIsBounded: a block reads a bounded number of the rows that wait for a zone that
// stands still, however many there are, and what waits goes once there is room.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	const payees = 6_000
	s := newShard(t, smallParams(), wholeZone(0))
	var in []service.Inbound
	for i := range payees {
		in = append(in, returned(waiterOf(uint8(i), uint8(i>>4), i), 5))
	}
	s.block(service.Block{Inbox: in, Send: full})
	c := &counting{state: s.view}
	tries := 0
	_, res, err := service.ApplyBlock(c, s.params, testDomain, service.Block{Height: s.height + 1, Send: func(service.Message) bool { tries++; return false }}, verify)
	if err != nil || len(res.Messages) != 0 {
		t.Fatalf("%d messages: %v", len(res.Messages), err)
	}
	if c.rows > 2*256+1 || tries != 256 {
		t.Errorf("%d rows read and %d messages tried with %d payees in 256 queues", c.rows, tries, payees)
	}
	sent := 0
	for range 3 {
		sent += len(s.block(service.Block{}).Messages)
	}
	if left := service.ReadTotals(s.view).Waiting; sent != payees || left != (service.Sums{}) {
		t.Errorf("%d of %d payees are told of, %+v waits", sent, payees, left)
	}
	c = &counting{state: s.view}
	if _, _, err := service.ApplyBlock(c, s.params, testDomain, service.Block{Height: s.height + 1}, verify); err != nil || c.rows != 0 {
		t.Errorf("%d rows read though nothing waits: %v", c.rows, err)
	}
}

// TestWaitingTakesTurns: a payee for whom something is added in each block does not keep
// others of its queue, or queues of others, from their turn.
func TestWaitingTakesTurns(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	greedy := waiterOf(0, 0, 0)
	told := map[ledger.Address]bool{}
	in := []service.Inbound{returned(greedy, 1)}
	const others = 40
	for i := 1; i <= others; i++ {
		in = append(in, returned(waiterOf(uint8(i%3), uint8(5*i), i), 1))
	}
	s.block(service.Block{Inbox: in, Send: full})
	for range 3 * 256 {
		left := 1 // a message a block
		res := s.block(service.Block{
			Inbox: []service.Inbound{returned(greedy, 1)},
			Send:  func(service.Message) bool { left--; return left >= 0 },
		})
		for _, m := range res.Messages {
			told[m.Recipient] = true
		}
	}
	if len(told) != others+1 {
		t.Errorf("%d payees are told of, want %d", len(told), others+1)
	}
}

// TestWaitingGoesWithNew: what waits for a payee and what a block adds go as one message.
func TestWaitingGoesWithNew(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	p := waiterOf(3, 3, 3)
	s.block(service.Block{Inbox: []service.Inbound{returned(p, 5)}, Send: full})
	res := s.block(service.Block{Inbox: []service.Inbound{returned(p, 2)}})
	if len(res.Messages) != 1 || service.ReadTotals(s.view).Waiting != (service.Sums{}) {
		t.Fatalf("%d messages", len(res.Messages))
	}
	if m, err := service.DecodeEarningsMessage(res.Messages[0].Payload); err != nil || m.Amount != 7 {
		t.Errorf("%+v, %v", m, err)
	}
	bad := s.view.clone()
	s.block(service.Block{Inbox: []service.Inbound{returned(p, 5)}, Send: full})
	for k, v := range s.view.Range(nil) {
		if k[0] != 'v' {
			bad.apply(chain.Changes{{Key: k, Value: v}})
		}
	}
	if _, err := service.Audit(bad); err == nil {
		t.Error("what waits in a queue that nobody looks at is not found")
	}
}
