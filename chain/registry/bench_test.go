package registry_test

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// frozen is a state that is only read, as that of the block before is.
type frozen struct {
	keys   []string
	values map[string][]byte
}

func freeze(o *chain.Overlay) *frozen {
	f := &frozen{values: map[string][]byte{}}
	for _, c := range o.Changes() {
		if c.Value != nil {
			f.keys, f.values[string(c.Key)] = append(f.keys, string(c.Key)), c.Value
		}
	}
	slices.Sort(f.keys)
	return f
}

func (f *frozen) Get(key []byte) []byte { return f.values[string(key)] }

func (f *frozen) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		at, _ := slices.BinarySearch(f.keys, string(prefix))
		for _, k := range f.keys[at:] {
			if !strings.HasPrefix(k, string(prefix)) || !yield([]byte(k), f.values[k]) {
				return
			}
		}
	}
}

// full returns a registry with as many shards as a map can hold: 1,024 services with 16
// shards each, of seats seats, all of which are served by so many validators.
func full(tb testing.TB, validators int, seats uint32) registry.Context {
	tb.Helper()
	rules := staking.LocalParams()
	var services []zone.ServiceType
	for id := range uint32(registry.MaxServices) {
		s := service(id+1, fmt.Sprintf("s%d", id), 0)
		s.Shards, s.CommitteeSize = shard.MaxShards, seats
		services = append(services, s)
	}
	var list []staking.GenesisValidator
	for i := range validators {
		g := staking.GenesisValidator{Operator: ledger.NewAddress(0, ledger.NewPrivateKey([32]byte{byte(i), byte(i >> 8), 9}).Public())}
		binary.BigEndian.PutUint64(g.ConsensusKey[:], uint64(i+1))
		g.BLSKey = bls.PublicKey{byte(i + 1), byte((i + 1) >> 8)}
		g.Name, g.SelfStake = fmt.Sprintf("v%d", i), rules.MinStake+ledger.Amount(i)*ledger.DropsPerCoin
		list = append(list, g)
	}
	o := chain.NewOverlay(nothing{})
	staking.Start(o, &rules, ledger.HashOf("genesis"), list)
	p := registry.LocalParams()
	registry.Start(o, &p, &rules, services)
	if m, _ := registry.ReadMap(o); m.Len() != shard.MaxMapShards {
		tb.Fatalf("%d shards", m.Len())
	}
	return registry.Context{State: o, Rules: &p, Epochs: &rules}
}

// written is how many bytes of keys and values a block writes.
func written(o *chain.Overlay) (sum int) {
	for _, c := range o.Changes() {
		sum += len(c.Key) + len(c.Value)
	}
	return sum
}

// BenchmarkEpochEnd measures the last two blocks of an epoch with a full map: what they
// write, and what the assignments would have written with the keys of all members.
func BenchmarkEpochEnd(b *testing.B) {
	for _, seats := range []uint32{16, 32} {
		b.Run(fmt.Sprintf("%d seats", seats), func(b *testing.B) {
			c := full(b, 300, seats)
			state := freeze(c.State)
			candidates := staking.Candidates(state)
			var pools, turn int
			for b.Loop() {
				c.State = chain.NewOverlay(state)
				c.Height = c.Epochs.LastBlock(0) - 1
				c.End(candidates)
				pools = written(c.State)
				last := chain.NewOverlay(c.State)
				c.State, c.Height = last, c.Epochs.LastBlock(0)
				seed := ledger.HashOf("seed")
				last.Set(staking.SeedKey(2), seed[:])
				c.End(nil)
				turn = written(last)
			}
			long := 0
			for _, a := range registry.Assignments(c.State, 2) {
				long += len(registry.AssignmentKey(2, a.Shard)) + len(a.Encode())
			}
			b.ReportMetric(float64(pools), "B-pools")
			b.ReportMetric(float64(turn), "B-turn")
			b.ReportMetric(float64(long), "B-with-keys")
		})
	}
}

// BenchmarkFullMap measures the transactions that read the map of shards when it is full,
// whether they are taken or refused: settlement's mapWeight is of this.
func BenchmarkFullMap(b *testing.B) {
	c := full(b, 4, zone.MinCommittee)
	c.Height = 1
	m, _ := registry.ReadMap(c.State)
	s := service(registry.MaxServices+1, "more", 0)
	full := s // one service less, so that it comes to the map
	whole := freeze(c.State)
	c.State.Delete(registry.ServiceKey(registry.MaxServices))
	c.State.Delete(append([]byte{'N'}, "s1023"...))
	less := freeze(c.State)
	for name, do := range map[string]func() error{
		"reshard refused": func() error {
			return c.Reshard(address(2), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: 2}})
		},
		"split refused": func() error {
			return c.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: 2}})
		},
		"register refused": func() error { return c.Register(address(1), &s) },
		"map is full":      func() error { return c.Register(address(1), &full) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.State = chain.NewOverlay(whole)
				if name == "map is full" {
					c.State = chain.NewOverlay(less)
				}
				if err := do(); err == nil {
					b.Fatal("taken")
				}
			}
		})
	}
	b.Run("decode", func(b *testing.B) {
		raw := m.Encode()
		b.ReportMetric(float64(len(raw)), "B")
		for b.Loop() {
			if _, err := shard.Decode(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
