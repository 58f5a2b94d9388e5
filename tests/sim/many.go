package sim

import (
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// Networks with many shards have a payer, a payee and a relay for each, so that messages
// cross from all shards to all.

const (
	// fewShards is how many shards a shape of the seeds has at most.
	fewShards = 4
	// MostShards is how many a network of this simulation begins with at most.
	MostShards = 64 * shard.MaxShards
	// manySeats is how many seats each of many shards has.
	manySeats = 4
)

// manyShards returns the shape with so many shards, in zones of shard.MaxShards, or with
// a few more; it has more than fewShards.
func manyShards(n int) shape {
	zones := (min(n, MostShards) + shard.MaxShards - 1) / shard.MaxShards
	return shape{uint8(zones), shard.MaxShards, manySeats, 0}
}

func (s shape) count() int { return int(s.zones) * int(s.shards) }

func (s shape) many() bool { return s.count() > fewShards }

// crowd returns who uses a network.
func (s shape) crowd() crowd {
	if n := s.count(); s.many() {
		return crowd{payers: n, payees: n, relays: n, soon: 8 * n, most: 10 * n}
	}
	return crowd{payers: 4, payees: 6, relays: 3, soon: 3, most: 10}
}

// maxLive is how many shards there are before nobody asks for a split any more.
func (s shape) maxLive() int { return max(7, s.count()) }

// crowded returns the keys and addresses of a network with many shards: each has the home
// of one payer and one payee; the others live anywhere.
func crowded(s shape) (public []ledger.PublicKey, addresses []ledger.Address) {
	const name = "sim/crowd"
	who := s.crowd()
	free, next := make([][]ledger.PublicKey, s.shards), uint64(0)
	home := func(i int) (ledger.PublicKey, ledger.Address) { // of the i-th shard
		zone, at := byte(i/int(s.shards)), i%int(s.shards)
		for len(free[at]) == 0 {
			key := publicKey(name, next)
			next++
			in := int(ledger.NewAddress(zone, key).Bucket()) * int(s.shards) / shard.Buckets
			free[in] = append(free[in], key)
		}
		key := free[at][0]
		free[at] = free[at][1:]
		return key, ledger.NewAddress(zone, key)
	}
	for i := range who.ownerKey() + 1 {
		var key ledger.PublicKey
		var a ledger.Address
		if i < who.payers+who.payees {
			key, a = home(i % who.payers)
		} else {
			key = publicKey("sim/relay", uint64(i))
			a = ledger.NewAddress(byte(i%int(s.zones)), key)
		}
		public, addresses = append(public, key), append(addresses, a)
	}
	return public, addresses
}

// pair returns who opens the next channel with whom: of many payers one after the other, all
// of them with payees that are as far away, so that none is left out.
func (w *World) pair() (payer, payee int) {
	if !w.shape.many() {
		return w.pick(w.payers), w.payeeKey(w.pick(w.payees))
	}
	if w.pairs%w.payers == 0 {
		w.away = 1 + w.pick(w.payees-1)
	}
	payer = w.pairs % w.payers
	w.pairs++
	return payer, w.payeeKey((payer + w.away) % w.payees)
}

// carriers is how many relays anchor shards once the network is well, so that one account
// does not have more transactions in a block than it may.
func (w *World) carriers() int {
	if w.shape.many() {
		return w.relays
	}
	return 1
}

// carryAll lets a relay take a bit of all that a chain has for others.
func (w *World) carryAll(i int, from *node, reach func(*node) bool) {
	for _, to := range w.running() {
		if (from != to || !from.isMain()) && len(from.parcels[to]) > 0 && !to.dead && reach(to) {
			w.carry(i, from, to)
		}
	}
}

// crossing counts messages that shards execute of each other.
type crossing struct{ from, to *node }

// crossed notes a message that one shard executed and another sent.
func (w *World) crossed(from, to *node) {
	if from != to && !from.isMain() && !to.isMain() {
		w.ways[crossing{from, to}]++
		w.counts.Crossed++
	}
}

// finishMany: of many shards that are well each has had messages to others and from others.
func (w *World) finishMany() {
	w.counts.Ways = len(w.ways)
	if !w.shape.many() {
		return
	}
	sent, taken := map[*node]int{}, map[*node]int{}
	for way, n := range w.ways {
		sent[way.from] += n
		taken[way.to] += n
	}
	for _, n := range w.live {
		if w.honest(n) && (sent[n] == 0 || taken[n] == 0) {
			w.failf("shard %d has %d messages to other shards and %d from others", n.id, sent[n], taken[n])
		}
	}
}
