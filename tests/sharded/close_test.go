package sharded_test

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// TestPayerClosesOnPayeeThatIsGone: a payee books and goes away; the payer closes the channel
// long before the epoch ends, and all that was booked is paid before it is refunded.
func TestPayerClosesOnPayeeThatIsGone(t *testing.T) {
	t.Parallel()
	w, _, p := newPair(t, 4_000)
	w.book(p, w.pay(p, 400_000, 400_000))
	w.until("what was booked is anchored", func() bool { return w.earned(p.payee).Total.Amount == 400_000 })
	if got := w.redeemed(p); got != 0 {
		t.Fatalf("%d drops are paid before anybody asks", got)
	}
	c := channel.RequestClose{Channel: channel.Ref{Index: p.index, ID: p.id}}
	w.onMain(p.payer, chain.KindRequestClose, c.Encode())
	var paid ledger.Amount
	w.until("main has paid or closed the channel", func() bool {
		paid = max(paid, w.redeemed(p))
		return paid == p.cumulative || w.gone(p)
	})
	if paid != p.cumulative {
		t.Errorf("the channel is closed and paid %d drops, %d were booked", paid, p.cumulative)
	}
	w.until("the home knows that the channel is closed", func() bool {
		_, ok := w.known(p)
		return !ok
	})
	w.conserved()
}

// newPair starts two shards with epochs of so many blocks, relays and traffic, and a
// channel from a payer in the first to a payee in the second, which its home knows.
func newPair(t *testing.T, epoch uint64) (w *world, ids []shard.ID, p *pipe) {
	t.Helper()
	w = newWorld(t, genesisOf(t, 4, 24, 2, epoch))
	ids = w.foundAll()
	for i := range w.mains {
		w.relayAt(i)
	}
	w.traffic(25 * time.Millisecond)
	p = w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	return w, ids, p
}

// gone reports whether main has closed a channel.
func (w *world) gone(p *pipe) (gone bool) {
	w.tb.Helper()
	w.readMain(func(v view) {
		_, open := channel.At(v, p.index)
		gone = !open
	})
	return gone
}
