package service_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// TestGenesisForm: each row breaks one thing of a sound genesis.
func TestGenesisForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		spoil func(*service.Genesis)
		want  string // in the error; "" if it is sound
	}{
		{"sound", func(*service.Genesis) {}, ""},
		{"no parents", func(g *service.Genesis) { g.Parents = nil }, ""},
		{"no network", func(g *service.Genesis) { g.Network = ledger.Hash{} }, "network"},
		{"main chain", func(g *service.Genesis) { g.Shard.Chain = ledger.MainChain }, "chain is 1"},
		{"id of a domain", func(g *service.Genesis) { g.Shard.Chain = service.FirstServiceDomain }, "chain is"},
		{"service", func(g *service.Genesis) { g.Shard.Service = 1 << 31 }, "service is"},
		{"buckets", func(g *service.Genesis) { g.Shard.First = 192 }, "ascending"},
		{"params", func(g *service.Genesis) { g.Params.MinAdvance = 0 }, "min_advance"},
		{"gap between parents", func(g *service.Genesis) { g.Parents[1].Shard.First++ }, "each bucket once"},
		{"parents overlap", func(g *service.Genesis) { g.Parents[1].Shard.First-- }, "each bucket once"},
		{"parents end early", func(g *service.Genesis) { g.Parents[1].Shard.Last = 190 }, "no parent has bucket 191"},
		{"parents begin late", func(g *service.Genesis) { g.Parents[0].Shard.First = 65 }, "each bucket once"},
		{"parent of no use", func(g *service.Genesis) { g.Shard.Last = 100 }, "none of the shard's"},
		{"parent before", func(g *service.Genesis) { g.Shard.First = 128 }, "none of the shard's"},
		{"parent of another zone", func(g *service.Genesis) { g.Parents[1].Shard.Zone++ }, "zone"},
		{"parent of another service", func(g *service.Genesis) { g.Parents[1].Shard.Service++ }, "service"},
		{"its own parent", func(g *service.Genesis) { g.Parents[1].Shard.Chain = 44 }, "never used again"},
		{"parent without blocks", func(g *service.Genesis) { g.Parents[1].Height = 0 }, "height is 0"},
		{"parent without state", func(g *service.Genesis) { g.Parents[1].StateRoot = ledger.Hash{} }, "state_root"},
	} {
		g := goldenGenesis()
		row.spoil(&g)
		_, err := service.DecodeGenesis(g.Encode())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestParamsForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		spoil func(*service.Params)
	}{
		{"min_advance", func(p *service.Params) { p.MinAdvance = 0 }},
		{"min_advance", func(p *service.Params) { p.MinAdvance = 1<<40 + 1 }},
		{"units_per_drop", func(p *service.Params) { p.UnitsPerDrop = 0 }},
		{"settle_entries", func(p *service.Params) { p.SettleEntries = 0 }},
		{"settle_entries", func(p *service.Params) { p.SettleEntries = 65_537 }},
		{"batch_entries", func(p *service.Params) { p.BatchEntries = 0 }},
		{"batch_entries", func(p *service.Params) { p.BatchEntries = service.MaxBatchEntries + 1 }},
		{"max_block_bytes", func(p *service.Params) { p.MaxBlockBytes = chain.MaxBundleSize - 1 }},
		{"max_block_bytes", func(p *service.Params) { p.MaxBlockBytes = 64<<20 + 1 }},
	} {
		p := service.DefaultParams()
		row.spoil(&p)
		if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), row.name) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func (s *shard) as(id ledger.ChainID, first, last uint8, parents ...*shard) *shard {
	s.t.Helper()
	g := service.Genesis{
		Network: testNetwork, Params: s.params, Epoch: service.ReadEpoch(s.view).Number + 1, Sigma: 9,
		Shard: service.Shard{Chain: id, Service: testService, Zone: s.place.Zone, First: first, Last: last},
	}
	var views []chain.View
	for _, p := range parents {
		g.Parents = append(g.Parents, service.Parent{Shard: p.place, Height: p.height, StateRoot: ledger.Hash{1}})
		views = append(views, p.view)
	}
	changes, err := g.State(views...)
	if err != nil {
		s.t.Fatal(err)
	}
	return &shard{t: s.t, params: s.params, place: g.Shard, view: newState(changes)}
}

// TestSplitAndMerge: children have the rows of their buckets as they are and go on
// where the parent stopped; a merge undoes it; what is in flight stays the same.
func TestSplitAndMerge(t *testing.T) {
	t.Parallel()
	s := newShard(t, smallParams(), wholeZone(0))
	var accounts []*account
	for i := range 12 {
		a := newAccount(uint64(i), keyOf("payer", i), keyOf("payee", i%3), 0, uint8(i%3), 1_000)
		accounts = append(accounts, a)
		s.main(a.opened())
	}
	for i, a := range accounts {
		s.block(service.Block{
			Txs:  []service.BlockTx{booking(t, item{a, a.voucher(0, 10, 3)}, item{a, a.voucher(9, 5, 3)})},
			Send: func(service.Message) bool { return i < 6 },
		})
	}
	s.block(service.Block{Inbox: []service.Inbound{accounts[0].closed()}, Send: func(service.Message) bool { return false }})
	parent := service.ReadTotals(s.view)
	low, high := s.as(2, 0, 127, s), s.as(3, 128, 255, s)
	lo, hi := service.ReadTotals(low.view), service.ReadTotals(high.view)
	if got, want := service.InFlight(lo, hi), service.InFlight(parent); got != want || want == (service.Sums{}) {
		t.Errorf("in flight %+v, before the split %+v", got, want)
	}
	if lo.Booked.Plus(hi.Booked) != parent.Booked || lo.Channels+hi.Channels != 11 || lo.Channels == 0 || hi.Channels == 0 || lo.Waiting != parent.Waiting || lo.Waiting == (service.Sums{}) {
		t.Errorf("children have %+v and %+v, the parent %+v", lo, hi, parent)
	}
	var sent int
	for _, child := range []*shard{low, high} {
		res := child.block(service.Block{})
		sent += len(res.Messages)
		for _, x := range res.Settlements { // what moved in the parent
			for _, e := range x.Batch.Entries {
				if !child.place.Owns(accounts[e.Index].home()) {
					t.Errorf("channel %d is settled by the wrong child", e.Index)
				}
			}
		}
	}
	if sent != 2 {
		t.Errorf("%d messages that waited were sent, want 2", sent)
	}
	for _, a := range accounts[1:] {
		for _, child := range []*shard{low, high} {
			got := child.block(service.Block{Txs: []service.BlockTx{booking(t, item{a, a.voucher(0, 11, 3)})}}).Receipts[0].Entries[0]
			if want := child.place.Owns(a.home()); got.Applied() != want || want && got.Seq != 2 {
				t.Errorf("channel %d: %s with seq %d", a.index, got.Code, got.Seq)
			}
		}
	}
	lo, hi = service.ReadTotals(low.view), service.ReadTotals(high.view)
	whole := low.as(4, 0, 255, low, high)
	merged := service.ReadTotals(whole.view)
	if service.InFlight(merged) != service.InFlight(lo, hi) || merged.Booked != lo.Booked.Plus(hi.Booked) {
		t.Errorf("merged %+v, of %+v and %+v", merged, lo, hi)
	}
	rows := func(views ...*state) map[string]string {
		m := map[string]string{}
		for _, v := range views {
			for k, b := range v.Range([]byte{'B'}) {
				m[fmt.Sprintf("%x", k)] = fmt.Sprintf("%x", b)
			}
		}
		return m
	}
	if diff := cmp.Diff(rows(low.view, high.view), rows(whole.view)); diff != "" {
		t.Errorf("rows changed by the merge: %s", diff)
	}
}
