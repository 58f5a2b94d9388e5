package channel_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

func TestPayout(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		burn          uint32
		fees          channel.Fees
		before, after ledger.Amount
		want          channel.Payout
	}{
		"no fees": {200, channel.Fees{}, 0, 1_000, channel.Payout{Paid: 980, Burned: 20}},
		"nothing": {200, channel.Fees{Service: zone.Fees{ShareBps: 500, Entry: 3}}, 900, 900, channel.Payout{}},
		"of what the one before left": {
			1_000,
			channel.Fees{Zone: zone.Fees{ShareBps: 1_000}, Service: zone.Fees{ShareBps: 1_000}},
			0, 1_000,
			channel.Payout{Paid: 729, Burned: 100 + 90, OwnerFee: 81},
		},
		"entries": {
			0,
			channel.Fees{Zone: zone.Fees{Entry: 4}, Service: zone.Fees{Entry: 2}},
			100, 1_100,
			channel.Payout{Paid: 994, Burned: 4, OwnerFee: 2},
		},
		"a hundredth of the entry at most": {
			0,
			channel.Fees{Zone: zone.Fees{Entry: 4}, Service: zone.Fees{Entry: 2}},
			100, 299,
			channel.Payout{Paid: 197, Burned: 1, OwnerFee: 1},
		},
		"all is burned": {
			10_000,
			channel.Fees{Zone: zone.Fees{ShareBps: 5_000, Entry: 4}, Service: zone.Fees{ShareBps: 5_000, Entry: 2}},
			0, 1_000,
			channel.Payout{Burned: 1_000},
		},
		"the zone comes first": {
			9_950,
			channel.Fees{Zone: zone.Fees{Entry: 4}, Service: zone.Fees{Entry: 2}},
			0, 1_000,
			channel.Payout{Paid: 0, Burned: 995 + 4, OwnerFee: 1},
		},
		"the largest": {
			0,
			channel.Fees{Zone: zone.Fees{ShareBps: 5_000}, Service: zone.Fees{ShareBps: 5_000}},
			0, ledger.MaxAmount,
			channel.Payout{
				Burned: ledger.MaxAmount / 2, OwnerFee: (ledger.MaxAmount/2 + 1) / 2, Paid: (ledger.MaxAmount/2 + 1) / 2,
			},
		},
	} {
		rules := channel.Rules{BurnBps: row.burn}
		if got := rules.Payout(&row.fees, row.before, row.after); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}

// TestPayoutInSteps: whatever the fees, what an entry pays is divided without rest, and in
// however many steps a channel pays, the shares come to the same, and fees of entries take no
// more than a hundredth of it each.
func TestPayoutInSteps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(what string) zone.Fees {
			return zone.Fees{
				ShareBps: rapid.Uint32Range(0, zone.MaxShareBps).Draw(rt, "share of the "+what),
				Entry:    ledger.Amount(rapid.Uint64Range(0, 20).Draw(rt, "fee of the "+what)),
			}
		}
		rules := channel.Rules{BurnBps: rapid.Uint32Range(0, ledger.BasisPoints).Draw(rt, "burn")}
		fees := channel.Fees{Zone: draw("zone"), Service: draw("service")}
		shares := fees
		shares.Zone.Entry, shares.Service.Entry = 0, 0
		steps := rapid.SliceOfN(rapid.Uint64Range(0, 5_000), 1, 30).Draw(rt, "steps")
		var at ledger.Amount
		var all, plain channel.Payout
		for _, s := range steps {
			next := at + ledger.Amount(s)
			for _, x := range []struct {
				fees *channel.Fees
				sum  *channel.Payout
			}{{&fees, &all}, {&shares, &plain}} {
				p := rules.Payout(x.fees, at, next)
				if max(p.Paid, p.Burned, p.OwnerFee) > next-at || p.Paid+p.Burned+p.OwnerFee != next-at {
					rt.Fatalf("%+v of %d drops", p, next-at)
				}
				x.sum.Paid, x.sum.Burned, x.sum.OwnerFee = x.sum.Paid+p.Paid, x.sum.Burned+p.Burned, x.sum.OwnerFee+p.OwnerFee
			}
			at = next
		}
		if once := rules.Payout(&shares, 0, at); once != plain || once.Burned != rules.Burned(&shares, at) {
			rt.Fatalf("%+v in steps, %+v at once, %d burned", plain, once, rules.Burned(&shares, at))
		}
		if all.Burned-plain.Burned > at/100 || all.OwnerFee-plain.OwnerFee > at/100 {
			rt.Fatalf("fees of entries raise %+v to %+v of %d drops", plain, all, at)
		}
	})
}

func TestFeesEncoding(t *testing.T) {
	t.Parallel()
	fees := channel.Fees{Zone: zone.Fees{ShareBps: 5_000, Entry: 7}, Service: zone.Fees{ShareBps: 1, Entry: zone.MaxEntryFee}}
	encoded := fees.Encode()
	if got, err := channel.DecodeFees(encoded); err != nil || got != fees || len(encoded) != channel.FeesSize {
		t.Errorf("%+v of %d bytes, error %v", got, len(encoded), err)
	}
	encoded[0] = 1
	if _, err := channel.DecodeFees(encoded); err == nil {
		t.Error("fees beyond their range are decoded")
	}
	if _, err := channel.DecodeFees(encoded[1:]); err == nil {
		t.Error("fees that are cut off are decoded")
	}
}
