package node

import (
	"testing"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// TestBelieved: what a shard began from is believed of more than a third of the power.
func TestBelieved(t *testing.T) {
	t.Parallel()
	of := func(epoch, power uint64) told {
		return told{shardblock.Genesis{Service: service.Genesis{Epoch: epoch}}, power}
	}
	for _, row := range []struct {
		name string
		list []told
		want uint64 // epoch, 0 = nobody is believed
	}{
		{name: "nobody"},
		{name: "a third", list: []told{of(1, 10), of(1, 23)}},
		{name: "more", list: []told{of(1, 10), of(1, 24)}, want: 1},
		{name: "they differ", list: []told{of(1, 33), of(2, 33), of(3, 33)}},
		{name: "liars in between", list: []told{of(2, 33), of(1, 30), of(3, 1), of(1, 4)}, want: 1},
	} {
		g, ok := believed(row.list, 100)
		if ok != (row.want != 0) || g.Service.Epoch != row.want {
			t.Errorf("%s: epoch %d, %v; want %d", row.name, g.Service.Epoch, ok, row.want)
		}
	}
}

// TestFits: a genesis must be that of the shard.
func TestFits(t *testing.T) {
	t.Parallel()
	network := ledger.NetworkID{1}
	row := anchor.State{Service: 1, Zone: 2, Buckets: shard.Range{First: 128, Last: 255}, Since: 2, Begins: 3, Origin: 1, Base: 4}
	good := func() shardblock.Genesis {
		return shardblock.Genesis{Generation: 1, Clock: 4, Service: service.Genesis{
			Network: network, Epoch: 3, Shard: service.Shard{Chain: 5, Service: 1, Zone: 2, First: 128, Last: 255},
		}}
	}
	if g := good(); !fits(&g, network, 5, &row) {
		t.Error("what fits does not")
	}
	for name, change := range map[string]func(*shardblock.Genesis){
		"network": func(g *shardblock.Genesis) { g.Service.Network[0]++ },
		"shard":   func(g *shardblock.Genesis) { g.Service.Shard.Chain++ },
		"service": func(g *shardblock.Genesis) { g.Service.Shard.Service++ },
		"zone":    func(g *shardblock.Genesis) { g.Service.Shard.Zone++ },
		"first":   func(g *shardblock.Genesis) { g.Service.Shard.First++ },
		"last":    func(g *shardblock.Genesis) { g.Service.Shard.Last-- },
		"epoch":   func(g *shardblock.Genesis) { g.Service.Epoch++ },
		"clock":   func(g *shardblock.Genesis) { g.Clock++ },

		"generation": func(g *shardblock.Genesis) { g.Generation++ },
	} {
		g := good()
		if change(&g); fits(&g, network, 5, &row) {
			t.Errorf("another %s fits", name)
		}
	}
}
