package settlement_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestGenesisNames: Validate names the first field that is wrong, and nothing
// decodes or starts that it refuses.
func TestGenesisNames(t *testing.T) {
	t.Parallel()
	rows := []struct {
		field  string
		change func(*settlement.Genesis)
	}{
		{"name", func(g *settlement.Genesis) { g.Name = "" }},
		{"name", func(g *settlement.Genesis) { g.Name = strings.Repeat("x", 51) }},
		{"time", func(g *settlement.Genesis) { g.Time = 0 }},
		{"time", func(g *settlement.Genesis) { g.Time = -1 }},
		{"accounts[1]", func(g *settlement.Genesis) { g.Accounts[1].Balance = 0 }},
		{"accounts[1]", func(g *settlement.Genesis) { g.Accounts[1].Address = g.Accounts[0].Address }},
		{"accounts[0]", func(g *settlement.Genesis) { g.Accounts[0].Address = ledger.Address{} }},
		{"accounts[1]", func(g *settlement.Genesis) { g.Accounts[1].Balance = ledger.MaxAmount }},
		{"tx_fee", func(g *settlement.Genesis) { g.Params.TxFee = 1 << 41 }},
		{"tx_fee", func(g *settlement.Genesis) { g.Params.TxFee = 0 }},
		{"open_fee", func(g *settlement.Genesis) { g.Params.OpenFee = 1 << 41 }},
		{"entry_fee", func(g *settlement.Genesis) { g.Params.EntryFee = 1 << 41 }},
		{"step_fee", func(g *settlement.Genesis) { g.Params.StepFee = 1 << 41 }},
		{"rent", func(g *settlement.Genesis) { g.Params.Rent = 1 << 41 }},
		{"min_deposit", func(g *settlement.Genesis) { g.Params.MinDeposit = 1 << 41 }},
		{"min_deposit", func(g *settlement.Genesis) { g.Params.MinDeposit = 0 }},
		{"min_deposit", func(g *settlement.Genesis) { g.Params.MinDeposit = 100*g.Params.EntryFee - 1 }},
		{"burn_bps", func(g *settlement.Genesis) { g.Params.BurnBps = 10_001 }},
		{"min_challenge", func(g *settlement.Genesis) { g.Params.MinChallenge = 0 }},
		{"default_challenge", func(g *settlement.Genesis) { g.Params.DefaultChallenge = g.Params.MinChallenge - 1 }},
		{"max_challenge", func(g *settlement.Genesis) { g.Params.MaxChallenge = g.Params.DefaultChallenge - 1 }},
		{"max_lifetime", func(g *settlement.Genesis) { g.Params.MaxLifetime = 3*uint64(g.Params.MaxChallenge) - 1 }},
		{"max_lifetime", func(g *settlement.Genesis) { g.Params.MaxLifetime = 1 << 60 }},
		{"max_block_bytes", func(g *settlement.Genesis) { g.Params.MaxBlockBytes = chain.MaxBundleSize - 1 }},
		{"max_block_bytes", func(g *settlement.Genesis) { g.Params.MaxBlockBytes = 1 << 30 }},
		{"reserved_bps", func(g *settlement.Genesis) { g.Params.ReservedBps = 3_001 }},
		{"max_stretch", func(g *settlement.Genesis) { g.Params.MaxStretch = 0 }},
		{"max_stretch", func(g *settlement.Genesis) { g.Params.MaxStretch = 65 }},
		{"services[1]", func(g *settlement.Genesis) { g.Params.Services = []uint32{4, 4} }},
		{"services has", func(g *settlement.Genesis) { g.Params.Services = make([]uint32, 1_025) }},
	}
	for _, row := range rows {
		g := goldenGenesis()
		row.change(&g)
		if err := g.Validate(); err == nil || !strings.Contains(err.Error(), row.field) {
			t.Errorf("Validate: %v, want it to name %s", err, row.field)
		}
		if _, err := settlement.DecodeGenesis(g.Encode()); err == nil {
			t.Errorf("a genesis with a bad %s decodes", row.field)
		}
		if _, err := g.State(); err == nil {
			t.Errorf("a genesis with a bad %s has a state", row.field)
		}
	}
}

func TestGenesisState(t *testing.T) {
	t.Parallel()
	for _, params := range []settlement.Params{settlement.DefaultParams(), settlement.LocalParams(), smallParams()} {
		g := goldenGenesis()
		g.Params = params
		again, err := settlement.DecodeGenesis(g.Encode())
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("decoded %+v, %v", again, err)
		}
		changes, err := g.State()
		if err != nil {
			t.Fatal(err)
		}
		s := newState(changes)
		read, err := settlement.ReadParams(s)
		if err != nil || !reflect.DeepEqual(read, params) {
			t.Errorf("params %+v, %v", read, err)
		}
		totals, err := settlement.Audit(s)
		if err != nil || totals != (settlement.Totals{Accounts: 5_000_001}) || settlement.Supply(s) != 5_000_001 {
			t.Errorf("totals %+v, %v", totals, err)
		}
		for row, want := range g.Accounts {
			a, at, ok := settlement.AccountByAddress(s, want.Address)
			if !ok || at != uint64(row) || a != (settlement.Account{Address: want.Address, Balance: want.Balance}) {
				t.Errorf("account %d is %+v at row %d", row, a, at)
			}
		}
		if _, ok := settlement.NextDeadline(s); ok || settlement.ChannelCount(s) != 0 || settlement.OpenChannels(s) != 0 || settlement.Clock(s, 1) != 1 {
			t.Error("there are channels at the start")
		}
		if s.Get(settlement.ResultsKey()) != nil {
			t.Error("there are results at the start")
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	seen := map[byte]bool{}
	for _, table := range settlement.Tables() {
		if seen[table.Prefix] || table.RowSize == 0 {
			t.Errorf("table %+v", table)
		}
		seen[table.Prefix] = true
	}
	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 1_000)
	b.ok(1, b.batch(1, b.voucher(ref, 5, 10)))
	for k, v := range b.view.Range(nil) {
		for _, table := range settlement.Tables() {
			if k[0] == table.Prefix && (len(k) != chain.RowKeySize || len(v) != table.RowSize) {
				t.Errorf("key %x of %d bytes in table %q of %d", k, len(v), table.Prefix, table.RowSize)
			}
		}
	}
}
