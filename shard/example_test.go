package shard_test

import (
	"fmt"

	"github.com/tributary-network/tributary/shard"
)

// The main chain at the end of each epoch: it plans, applies and assigns. A heavy
// shard is announced to split in epoch 1, and has split in epoch 3.
func Example() {
	m, err := shard.Establish(shard.Empty(0), shard.Change{Kind: shard.Found, Service: 1, Count: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	pools := []shard.Pool{pool(1, 4, equal(40)...)}
	in := shard.Inputs{Seed: seedOf(0), Map: m, Pools: pools}
	in.Previous = shard.Assign(in) // epoch 0
	in.Map = shard.Apply(m)
	in.Previous = shard.Assign(in) // epoch 1

	for epoch := range 3 { // the last blocks of these epochs
		var loads []shard.Load
		if epoch == 1 {
			loads = []shard.Load{{Shard: 2, Heavy: 1<<60 - 1}}
		}
		if m, err = shard.Announce(m, shard.Plan(m, loads, nil)...); err != nil {
			fmt.Println(err)
			return
		}
		for _, c := range m.Announced() {
			fmt.Printf("epoch %d: announced is the %s\n", m.Epoch(), &c)
		}
		m = shard.Apply(m)
		in.Seed, in.Map = seedOf(epoch), shard.Apply(m)
		in.Previous = shard.Assign(in)
		fmt.Printf("epoch %d: in epoch %d serve", epoch, in.Map.Epoch())
		for _, a := range in.Previous {
			if s, ok := in.Map.Find(a.Shard); ok {
				fmt.Printf(" %s by %d", s.Buckets, len(a.Committee.Members))
			} else {
				fmt.Printf(" (%d ends)", a.Shard)
			}
		}
		fmt.Println()
	}
	// Output:
	// epoch 0: in epoch 2 serve 00-7f by 4 80-ff by 4
	// epoch 1: announced is the split of shards [2] in zone 0 of service 1 from epoch 3
	// epoch 1: in epoch 3 serve (2 ends) 80-ff by 4 00-3f by 4 40-7f by 4
	// epoch 2: announced is the split of shards [2] in zone 0 of service 1 from epoch 3
	// epoch 2: in epoch 4 serve 80-ff by 4 00-3f by 4 40-7f by 4
}
