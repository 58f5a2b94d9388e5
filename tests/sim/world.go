package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// DefaultBlocks is how many blocks all chains together make before the network gets
// well again.
const DefaultBlocks = 200

// Counts say what happened, so that a simulation in which nothing happens fails.
type Counts struct {
	Blocks, Replayed, Stalls, Crashes, InvalidBlocks, Partitions int
	Dropped, Repeated, CutOff                                    int
	Opened, Closed, Booked, RefusedEntries, Redeemed             int
	Sent, Executed, Bounced, Expired, Returned, Listed           int
	Waited, Congested, LostOutboxes                              int
	Anchored, Older, BadCertificates, BadAnchors                 int
	Lies, Gaps, Repeats, ForgedCheckpoints, Corrupt              int
	Epochs, Unproved                                             int
}

func (c *Counts) all() []*int {
	return []*int{
		&c.Blocks, &c.Replayed, &c.Stalls, &c.Crashes, &c.InvalidBlocks, &c.Partitions,
		&c.Dropped, &c.Repeated, &c.CutOff,
		&c.Opened, &c.Closed, &c.Booked, &c.RefusedEntries, &c.Redeemed,
		&c.Sent, &c.Executed, &c.Bounced, &c.Expired, &c.Returned, &c.Listed,
		&c.Waited, &c.Congested, &c.LostOutboxes,
		&c.Anchored, &c.Older, &c.BadCertificates, &c.BadAnchors,
		&c.Lies, &c.Gaps, &c.Repeats, &c.ForgedCheckpoints, &c.Corrupt,
		&c.Epochs, &c.Unproved,
	}
}

// Add adds the counts of another run.
func (c *Counts) Add(d *Counts) {
	for i, n := range d.all() {
		*c.all()[i] += *n
	}
}

// scenario is what is special in a run, by its seed.
type scenario struct {
	corrupt    bool // a shard of which malicious members hold two thirds or more
	halts      bool // a shard stands still for a while
	loseLeaves bool // nodes lose outboxes for good
	hasty      bool // messages between shards live for a few anchors only
	narrow     bool // links have room for a few messages only
	crowded    bool // shards refuse users early
}

// World is a network of one seed. It is owned by one goroutine.
type World struct {
	rng       *rand.Rand
	keys      *Keys
	net       network
	cfg       scenario
	chains    []*node // main, then the shards
	genesis   []chain.Changes
	liar      *node
	now       uint64 // ms
	queue     events
	order     uint64
	chaos     bool
	cut       []bool // who is on the far side of a partition
	blocks    int
	fault     Fault
	supply    ledger.Amount
	addresses [keyCount]ledger.Address
	accounts  []*account
	byID      map[ledger.Hash]*account
	track     tracker
	counts    Counts
	digest    ledger.Hash
}

// failure is what ends a run: an invariant that does not hold.
type failure struct{ text string }

func (w *World) failf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// ErrFailed means that an invariant did not hold; the text says which, and the seed.
var ErrFailed = errors.New("simulation failed")

// Config says what to run.
type Config struct {
	Seed uint64
	// Blocks is how many blocks all chains together make in trouble; DefaultBlocks if 0.
	Blocks int
	Fault  Fault
}

// Run runs a seed. The digest is that of all that was committed: two runs of a seed have
// the same. The error is ErrFailed, with the seed in its text.
func Run(c Config, keys *Keys) (counts Counts, digest ledger.Hash, err error) {
	if c.Blocks == 0 {
		c.Blocks = DefaultBlocks
	}
	w := &World{rng: rand.New(rand.NewPCG(c.Seed, 20)), keys: keys, byID: map[ledger.Hash]*account{}, blocks: c.Blocks, fault: c.Fault}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%w: %s (at %d ms, %d blocks; again with SEED=%d go test -run TestSimulation ./tests/sim)",
				ErrFailed, f.text, w.now, w.counts.Blocks, c.Seed)
		default:
			err = fmt.Errorf("%w: panic: %v (again with SEED=%d go test -run TestSimulation ./tests/sim)\n%s", ErrFailed, f, c.Seed, debug.Stack())
		}
	}()
	w.found()
	w.trouble()
	w.recover()
	w.finish()
	for _, n := range w.chains {
		w.digest = ledger.HashOf("sim/world", w.digest[:], n.digest[:])
	}
	return w.counts, w.digest, nil
}

func (w *World) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *World) pick(n int) int { return w.rng.IntN(n) }

// found makes the places, committees and genesis of a seed.
func (w *World) found() {
	w.cfg = scenario{
		corrupt: w.chance(20), halts: w.chance(33), loseLeaves: w.chance(12),
		hasty: w.chance(25), narrow: w.chance(25), crowded: w.chance(20),
	}
	w.net = network{
		id: ledger.HashOf("sim/network"), seats: map[ledger.ChainID]*seats{}, keys: w.keys, anchor: anchor.LocalParams(),
		main: mainParams(), params: service.DefaultParams(), underWay: link.MaxUnacked, lifetime: link.DefaultLifetime, congested: 1 << 20,
	}
	w.net.anchor.MaxLag = 1 << 20 // shards stand still for as long as it takes
	w.net.params.UnitsPerDrop, w.net.params.SettleEntries, w.net.params.BatchEntries, w.net.params.MinAdvance = 2, 6, 4, 3
	w.net.fault = w.fault
	if w.cfg.hasty {
		w.net.lifetime = uint64(3 + w.pick(4))
	}
	if w.cfg.narrow {
		w.net.underWay = uint64(1 + w.pick(2))
	}
	if w.cfg.crowded {
		w.net.congested = uint64(8 + w.pick(12))
	}
	var shards []shard.Shard
	id := shard.FirstID
	for zone, n := range [][]int{{1, 1}, {2, 1}, {2, 2}, {4, 0}}[w.pick(4)] {
		for _, r := range shard.Divide(max(n, 1))[:n] {
			shards = append(shards, shard.Shard{ID: id, Service: serviceID, Zone: byte(zone), Buckets: r})
			id++
		}
	}
	var err error
	if w.net.places, err = shard.New(0, id, shards, nil); err != nil {
		w.failf("map: %v", err)
	}
	w.settleDown()
	w.seat(ledger.MainChain)
	w.add(ledger.MainChain, &mainRules{net: &w.net}, w.mainGenesis())
	for s := range w.net.places.All() {
		w.seat(s.ID)
		w.add(s.ID, &shardRules{net: &w.net, is: s}, w.shardGenesis(&s))
	}
	if w.cfg.corrupt {
		w.liar = w.chains[1+w.pick(len(w.chains)-1)]
		for i := 0; !w.liar.seats.corrupt(); i++ {
			w.liar.seats.malicious[i] = true
		}
		w.counts.Corrupt++
	}
	w.cut = make([]bool, len(w.chains)+relays)
	w.track = newTracker()
}

// seat gives a chain members, four to seven. Malicious ones have less than two thirds of
// the power.
func (w *World) seat(id ledger.ChainID) {
	powers := make([]uint64, 4+w.pick(maxSeats-3))
	for i := range powers {
		powers[i] = uint64(1 + w.pick(5))
	}
	s := newSeats(w.net.id, id, powers, w.keys)
	for i := range powers {
		s.malicious[i] = id != ledger.MainChain && w.chance(30)
		if s.corrupt() {
			s.malicious[i] = false
		}
	}
	w.net.seats[id] = s
}

// add adds a chain that has its members.
func (w *World) add(id ledger.ChainID, r rules, genesis chain.Changes) {
	w.genesis = append(w.genesis, genesis)
	w.chains = append(w.chains, &node{
		at: len(w.chains), id: id, rules: r, seats: w.net.seats[id], view: newState(genesis),
		boxes: map[uint64]*link.Outbox{}, parcels: map[*node][]parcel{}, anchoredAt: map[ledger.ChainID]uint64{}, anchored: map[ledger.ChainID][]cert.Checkpoint{},
	})
}

// shardGenesis begins a shard that has nothing yet.
func (w *World) shardGenesis(s *shard.Shard) chain.Changes {
	g := shardblock.Genesis{
		Service: service.Genesis{Network: w.net.id, Params: w.net.params, Shard: service.Shard{
			Chain: s.ID, Service: serviceID, Zone: s.Zone, First: uint8(s.Buckets.First), Last: uint8(s.Buckets.Last),
		}},
		EpochBlocks: epochBlocks, Main: w.net.seats[ledger.MainChain].at(0).committee, Committee: w.net.seats[s.ID].at(0).committee,
		Params: shardblock.Params{
			Capacity: route.Capacity{Inbox: 1, Outbox: w.net.congested, Bytes: 1 << 40, MissedAnchors: 1 << 40},
			Lifetime: w.net.lifetime, UnderWay: w.net.underWay, UnderWayBytes: link.MaxUnackedBytes, MessageBytes: link.MaxPayload,
		},
	}
	changes, err := g.State()
	if err != nil {
		w.failf("genesis of shard %d: %v", s.ID, err)
	}
	return changes
}

func mainParams() settlement.Params {
	p := settlement.DefaultParams()
	p.Services = []uint32{serviceID}
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = 3, 5, 20
	return p
}

// wealth is what each account has on main at first, in drops.
const wealth = 10_000_000

func (w *World) mainGenesis() chain.Changes {
	g := settlement.Genesis{Name: "sim", Time: 1, Params: w.net.main}
	for i := range payers {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: w.address(i), Balance: wealth})
	}
	for i := range relays {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: w.address(relayKey(i)), Balance: wealth})
	}
	w.supply = wealth * (payers + relays)
	changes, err := g.State()
	if err != nil {
		w.failf("genesis of main: %v", err)
	}
	o := chain.NewOverlay(newState(changes))
	anchor.Sync(o, w.net.places, 0)
	return append(changes, o.Changes()...)
}

// ownerOf returns the chain of a place.
func (w *World) ownerOf(p link.Place) *node {
	id, ok := w.net.owner(p)
	if !ok {
		w.failf("nobody owns %s", p)
	}
	return w.chains[int(id-ledger.MainChain)]
}

func (w *World) main() *node { return w.chains[0] }

func (w *World) shards() []*node { return w.chains[1:] }

// honest reports whether no malicious members have power over a chain.
func (w *World) honest(n *node) bool { return n != w.liar }

// event is something that will happen.
type event struct {
	at, order uint64
	do        func()
}

// events is a heap of them, by time and then by the order in which they were made.
type events []event

// Len is part of heap.Interface.
func (e *events) Len() int { return len(*e) }

// Less is part of heap.Interface.
func (e *events) Less(i, j int) bool {
	a, b := &(*e)[i], &(*e)[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

// Swap is part of heap.Interface.
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }

// Push is part of heap.Interface.
func (e *events) Push(x any) { *e = append(*e, x.(event)) } //nolint:errcheck // after pushes events only

// Pop is part of heap.Interface.
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// after lets something happen in so many milliseconds.
func (w *World) after(ms int, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + uint64(ms), w.order, do})
}

// every lets something happen again and again, about so many milliseconds apart.
func (w *World) every(ms int, do func()) {
	w.after(ms/2+w.pick(ms), func() {
		do()
		w.every(ms, do)
	})
}

// send is the network: it delays, drops and repeats, and carries nothing across a
// partition.
func (w *World) send(from int, to *node, it item) {
	switch {
	case !w.chaos:
		to.put(it)
		return
	case w.cut[from] != w.cut[to.at]:
		w.counts.CutOff++
		return
	case w.chance(8):
		w.counts.Dropped++
		return
	}
	w.after(5+w.pick(1_200), func() { to.put(it) })
	if w.chance(8) {
		w.counts.Repeated++
		w.after(5+w.pick(6_000), func() { to.put(it) })
	}
}

// trouble runs the network until all chains together have made enough blocks.
func (w *World) trouble() {
	w.chaos = true
	for _, n := range w.chains {
		w.every(1_000, func() {
			if n == w.liar && w.chance(12) {
				w.forge()
			} else {
				w.produce(n, false)
			}
		})
	}
	for i := range relays {
		w.every(700, func() { w.relay(i) })
	}
	w.every(350, w.user)
	w.every(9_000, w.weather)
	const longest = 1 << 20 // ms
	for w.counts.Blocks < w.blocks && w.now < longest*uint64(w.blocks) {
		e := heap.Pop(&w.queue).(event) //nolint:errcheck // the heap has events only
		w.now = e.at
		e.do()
	}
}

// weather cuts the network in two, or heals it, lets members come and go, and stops a
// shard.
func (w *World) weather() {
	clear(w.cut)
	if w.chance(40) {
		w.counts.Partitions++
		for i := range w.cut {
			w.cut[i] = w.chance(40)
		}
	}
	for _, n := range w.chains {
		for i := range n.seats.down {
			n.seats.down[i] = w.chance(8)
		}
	}
	if w.cfg.halts {
		w.chains[1].halted = w.chance(60)
	}
}
