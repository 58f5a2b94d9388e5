package sim

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
)

const (
	// farewellBlocks is how long a channel must live on to be closed by its payer in the end.
	farewellBlocks = 60
	// farewellRounds is in how many rounds all that is over.
	farewellRounds = 60
)

// farewell lets payees book once more and go away, and then payers close: no payee redeems
// anything and no epoch ends, and still main pays what was booked a round before, see event.
// The network is well, and shards were told of no epoch after until.
func (w *World) farewell(until uint64) {
	var leaving []*account
	sigma := settlement.Clock(w.main().view, w.main().height()+1)
	for _, a := range w.open() {
		home := w.ownerOf(place(service.HomeOf(w.address(a.payer))))
		if home.dead || !w.honest(home) || a.closing || a.expires < sigma+farewellBlocks {
			continue
		}
		w.voucher(a, w.pick(lanesUsed), 3+w.rng.Uint64N(200))
		leaving = append(leaving, a)
	}
	w.bookEverything()
	round := func() {
		w.now += 1_000
		if w.reshaped() {
			w.round(until)
		} else {
			w.round(0) // a split or a merge that was announced meanwhile
		}
	}
	for range 2 {
		round()
	}
	if !w.reshaped() {
		leaving = nil // a shard that hands over makes no blocks for a while
	}
	for _, a := range leaving {
		booked := uint64(0)
		for _, lane := range a.booked {
			booked += lane
		}
		a.due = min(a.deposit, booked)
		w.counts.Farewells++
		c := channel.RequestClose{Channel: channel.Ref{Index: a.index, ID: a.id}}
		w.mainTx(a.payer, chain.KindRequestClose, c.Encode())
	}
	for range farewellRounds {
		round()
		gone := !slices.ContainsFunc(leaving, func(a *account) bool { return !a.closed })
		if gone && w.settled(until) && w.quiet() && w.reshaped() {
			return
		}
	}
	w.failf("payers that close do not come to rest: %s", w.unrest())
}
