package service_test

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// counted is a state that finds keys without a walk, and counts what it yields.
type counted struct {
	*state

	yielded int
}

func (c *counted) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return c.RangeFrom(prefix, prefix) }

func (c *counted) RangeFrom(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		at, _ := slices.BinarySearch(c.keys, string(from))
		for _, k := range c.keys[at:] {
			if len(k) < len(prefix) || k[:len(prefix)] != string(prefix) {
				return
			}
			if c.yielded++; !yield([]byte(k), c.rows[k]) {
				return
			}
		}
	}
}

// pendingOf is a shard on which payees have so many lanes each that wait for payment, on
// channels of payers in all of its buckets, with what settlements claim of each.
func pendingOf(tb testing.TB, payees map[ledger.Address]int) (v *counted, want map[ledger.Address][]string) {
	tb.Helper()
	g := service.Genesis{Network: testNetwork, Shard: wholeZone(0), Params: service.DefaultParams()}
	changes, err := g.State()
	if err != nil {
		tb.Fatal(err)
	}
	want = map[ledger.Address][]string{}
	index := uint64(0)
	for payee, n := range payees {
		for range n {
			payer := ledger.Address{0, byte(index % 256)}
			bucket := payer.Bucket()
			c := service.Channel{Payer: payer, Payee: payee, Deposit: 9, ExpiresAt: 1_000, Lanes: 1, Lane0: service.Lane{Cumulative: 5, Settled: 5}}
			changes = append(changes, chain.Change{Key: service.ChannelKey(bucket, index), Value: c.Encode()},
				chain.Change{Key: service.PendingKey(bucket, &payee, index, 0), Value: binary.BigEndian.AppendUint64(nil, 0)})
			want[payee] = append(want[payee], fmt.Sprintf("%x %d/0 5", payee[:4], index))
			index++
		}
	}
	return &counted{state: newState(changes)}, want
}

// TestOutstandingPages: whatever a payee has, those after it come: no page has more of one
// payee than it may, and all pages together have every lane of who has no more.
func TestOutstandingPages(t *testing.T) {
	t.Parallel()
	first, second, third := ledger.Address{0, 1}, ledger.Address{0, 2}, ledger.Address{0, 3}
	v, lanes := pendingOf(t, map[ledger.Address]int{first: 40, second: 7, third: 3})
	for _, row := range []struct {
		limit, each int
		want        []string
		passed      bool
		pages       int
	}{
		{100, 100, slices.Concat(lanes[first], lanes[second], lanes[third]), false, 1},
		{50, 50, slices.Concat(lanes[first], lanes[second], lanes[third]), false, 1},
		{6, 6, slices.Concat(lanes[first], lanes[second], lanes[third]), false, 9},
		{10, 7, slices.Concat(lanes[first][:7], lanes[second], lanes[third]), true, 2},
		{10, 3, slices.Concat(lanes[first][:3], lanes[second][:3], lanes[third]), true, 1},
		{1, 1, slices.Concat(lanes[first], lanes[second], lanes[third]), false, 50},
	} {
		var got []string
		from, passed, pages := service.Spot{}, false, 0
		for pages < 100 {
			page := service.Outstanding(v, from, row.limit, row.each)
			got, passed, from = append(got, claims(page.List)...), passed || page.Passed, page.Next
			if pages++; from == (service.Spot{}) {
				break
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" || passed != row.passed || pages != row.pages {
			t.Errorf("%d lanes, %d of each payee: passed %v in %d pages, want %v in %d %s", row.limit, row.each, passed, pages, row.passed, row.pages, diff)
		}
	}
	channels := []service.Homed{{Bucket: 0, Index: 256}}
	for i := range uint64(50) {
		channels = append(channels, service.Homed{Bucket: (&ledger.Address{0, byte(i)}).Bucket(), Index: i})
	}
	if got := claims(service.OutstandingOn(v, channels)); !slices.Equal(got, slices.Concat(lanes[first], lanes[second], lanes[third])) {
		t.Errorf("of all channels: %v", got)
	}
	if got := claims(service.OutstandingOn(v, channels[:1])); len(got) != 0 {
		t.Errorf("of a channel that is not there: %v", got)
	}
}

// TestOutstandingCost: a page costs what is on it, wherever it begins and whatever is passed
// over.
func TestOutstandingCost(t *testing.T) {
	t.Parallel()
	const all, limit, each = 100_000, 500, 100
	most := ledger.Address{0, 2}
	payees := map[ledger.Address]int{most: all}
	for i := range byte(20) {
		payees[ledger.Address{0, 1, i}], payees[ledger.Address{0, 3, i}] = 50, 50
	}
	v, _ := pendingOf(t, payees)
	for name, from := range map[string]service.Spot{
		"the beginning": {}, "before it": {Payee: ledger.Address{0, 1, 19}}, "the middle of it": {Payee: most, Index: all / 2}, "behind it": {Payee: ledger.Address{0, 3}},
	} {
		for _, n := range []int{each, limit} {
			v.yielded = 0
			page := service.Outstanding(v, from, limit, n)
			// Each bucket is looked at, begun, and begun again behind who has too many.
			if got, most := v.yielded, limit+256*4; got > most || len(claims(page.List)) != limit {
				t.Errorf("from %s, %d of each: %d rows were read for %d lanes, at most %d", name, n, got, len(claims(page.List)), most)
			}
		}
	}
}
