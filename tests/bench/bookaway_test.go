package main

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// Books of fewer channels go on where those of all were booked, not where they were signed.
func TestFewerChannels(t *testing.T) {
	t.Parallel()
	w, k := &bookWorld{}, &book{earned: 7}
	for i := range 3 {
		k.channels = append(k.channels, openChannel{key: accountKey(i), index: uint64(i)})
	}
	w.prepare([]*book{k}, 5)
	k.ready = k.ready[2:] // two were booked
	less := fewer([]*book{k}, 2)
	w.prepare(less, 1)
	got := less[0].ready
	if len(got) != 1 || less[0].earned != 7 {
		t.Fatalf("%d bookings after %d earned", len(got), less[0].earned)
	}
	cumulative := func(u *service.Usage) (list []ledger.Amount) {
		for _, e := range u.Batch.Entries {
			list = append(list, e.Cumulative)
		}
		return list
	}
	if list := cumulative(got[0]); len(list) != 2 || list[0] != 3*bookPrice || list[1] != 3*bookPrice {
		t.Errorf("cumulative amounts %v, want 2 of %d", list, 3*bookPrice)
	}
}

// Slices add up to their sums, whatever lies between them, and the ratio is of the sums.
func TestSlicesTogether(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_000, 0)
	at := func(from, to, cpu int, entries int64) slice {
		s := slice{rounds: 2, blocks: [3]uint64{3, 2, 1}}
		s.from.at, s.to.at = begin.Add(time.Duration(from)*time.Second), begin.Add(time.Duration(to)*time.Second)
		s.from.cpu, s.to.cpu = time.Duration(from)*time.Second, time.Duration(from+cpu)*time.Second
		s.entries = entries
		return s
	}
	var v versus
	v.home = v.home.with(at(0, 2, 4, 1_000)).with(at(30, 32, 8, 1_000))
	v.away = v.away.with(at(10, 14, 9, 1_000)).with(at(20, 24, 9, 1_000))
	if got := v.home.perSecond(); got != 500 {
		t.Errorf("%v bookings a second, want 500", got)
	}
	if got, want := v.home.cpu(), 12e6/2_000/validators; got != want {
		t.Errorf("%v us, want %v", got, want)
	}
	if got := v.ratio(); got != 1.5 {
		t.Errorf("ratio %v, want 1.5", got)
	}
	if v.away.rounds != 4 || v.away.blocks != [3]uint64{6, 4, 2} {
		t.Errorf("%d rounds, blocks %v", v.away.rounds, v.away.blocks)
	}
}
