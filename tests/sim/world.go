package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// DefaultBlocks is how many blocks all chains together make before the network gets
// well again; in long runs, which one seed in ten is, it is how many main makes.
const DefaultBlocks = 200

// longPart says that one run in so many is long.
const longPart = 10

// Counts say what happened, so that a simulation in which nothing happens fails.
type Counts struct {
	Blocks, Replayed, Stalls, Crashes, InvalidBlocks, Partitions int
	Dropped, Repeated, CutOff                                    int
	Opened, Closed, Booked, RefusedEntries, Redeemed, Earned     int
	Sent, Executed, Bounced, Expired, Returned, Listed           int
	Waited, Congested, LostOutboxes                              int
	Anchored, Older, BadCertificates, BadAnchors                 int
	Lies, Gaps, Repeats, ForgedCheckpoints, Corrupt              int
	// What lying shards send back, and of it what others refuse as never sent.
	ForgedReturns, RefusedReturns int
	Epochs, Unproved              int
	// Runs of so many blocks of main; in trouble, what was listed again in any run, and
	// merges that shards wanted by the loads of their blocks, and not of masks they had.
	Long, Relisted, Lightened int
	// Of splits and merges: those that held, heirs that began, parents that nobody has any
	// more when they do, what was sent from a shard to itself, bookings that came to a shard
	// that had ended, heirs without a state since a corrupt committee forged the end of a
	// parent, and reports of loads.
	Splits, Merges, Heirs, Forgotten, Inward, Ended, Dead, Reports int
	// Of relays: to a place that is not there, longer than may be, with more than they
	// need, with bytes behind them, by blocks of main that are not the newest, what one
	// that withholds did not bring, and blocks of main that are none.
	Misled, Oversized, Padded, Trailing, Stale, Withheld, FalseHeads int
	// Farewells are channels that payers closed after their payees were gone.
	Farewells int
	// Of shards that go on with another committee, or another generation: how often,
	// blocks that are worth nothing then, those of them that somebody anchors all the same,
	// and who brings a shard the committee that it would have had.
	Redraws, Undone, Obsolete, Outdated int
	// Crossed are messages that one shard executed and another sent, Ways the pairs of such
	// shards.
	Crossed, Ways int
	// Conflicts are two versions of a height that a corrupt committee certified, of which
	// main was told, FalseConflicts one beside what others forged.
	Conflicts, FalseConflicts int
}

func (c *Counts) all() []*int {
	return []*int{
		&c.Blocks, &c.Replayed, &c.Stalls, &c.Crashes, &c.InvalidBlocks, &c.Partitions,
		&c.Dropped, &c.Repeated, &c.CutOff,
		&c.Opened, &c.Closed, &c.Booked, &c.RefusedEntries, &c.Redeemed, &c.Earned,
		&c.Sent, &c.Executed, &c.Bounced, &c.Expired, &c.Returned, &c.Listed,
		&c.Waited, &c.Congested, &c.LostOutboxes,
		&c.Anchored, &c.Older, &c.BadCertificates, &c.BadAnchors,
		&c.Lies, &c.Gaps, &c.Repeats, &c.ForgedCheckpoints, &c.Corrupt, &c.ForgedReturns, &c.RefusedReturns,
		&c.Epochs, &c.Unproved, &c.Long, &c.Relisted, &c.Lightened,
		&c.Splits, &c.Merges, &c.Heirs, &c.Forgotten, &c.Inward, &c.Ended, &c.Dead, &c.Reports,
		&c.Misled, &c.Oversized, &c.Padded, &c.Trailing, &c.Stale, &c.Withheld, &c.FalseHeads, &c.Farewells, &c.Redraws, &c.Undone, &c.Obsolete, &c.Outdated, &c.Crossed, &c.Ways, &c.Conflicts, &c.FalseConflicts,
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
	reshapes   bool // the owner asks for splits and merges
	busy       bool // shards want to split at first, and heirs to merge
	withholds  bool // a relay brings one shard nothing
	long       bool // the blocks to make are those of main
	grows      bool // the owner asks for splits alone: only loads make shards merge
}

// World is a network of one seed. It is owned by one goroutine.
type World struct {
	rng   *rand.Rand
	keys  *Keys
	net   network
	shape shape
	crowd
	cfg       scenario
	chains    []*node // main, then the shards, in the order in which they began
	byChain   map[ledger.ChainID]*node
	live      []*node // the shards that nothing has replaced yet
	owners    map[link.Place]*node
	liar      *node
	now       uint64 // ms
	queue     events
	order     uint64
	chaos     bool
	silent    *node  // a shard that nobody anchors until it has another committee, or nil
	cut       []bool // who is on the far side of a partition: relays, then chains
	blocks    int
	fault     Fault
	supply    ledger.Amount
	nonces    []map[uint64]bool // by key: those that were used since the last block of main
	public    []ledger.PublicKey
	addresses []ledger.Address // of public
	accounts  []*account
	byID      map[ledger.Hash]*account
	track     tracker
	ways      map[crossing]int
	pairs     int // channels that many payers wanted to open
	away      int // how far from their payers the payees of the present round are
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
	// Blocks is how many blocks all chains together, or in long runs main, make in trouble;
	// DefaultBlocks if 0.
	Blocks int
	// Shards is with how many shards the network begins, up to MostShards, if that is not up
	// to the seed: then 0. With many, runs are long.
	Shards int
	Fault  Fault
}

// Run runs a seed. The digest is that of all that was committed: two runs of a seed have
// the same. The error is ErrFailed, with the seed in its text.
func Run(c Config, keys *Keys) (counts Counts, digest ledger.Hash, err error) {
	if c.Blocks == 0 {
		c.Blocks = DefaultBlocks
	}
	w := &World{rng: rand.New(rand.NewPCG(c.Seed, 20)), keys: keys, byID: map[ledger.Hash]*account{}, blocks: c.Blocks, fault: c.Fault, ways: map[crossing]int{}}
	again := fmt.Sprintf("again with SEED=%d BLOCKS=%d go test -run TestSimulation ./tests/sim", c.Seed, c.Blocks)
	if c.Shards > 0 {
		again = fmt.Sprintf("again with SEED=%d BLOCKS=%d SHARDS=%d go test -run 'TestManyShards$' ./tests/sim", c.Seed, c.Blocks, c.Shards)
	}
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = fmt.Errorf("%w: %s (at %d ms, %d blocks; %s)", ErrFailed, f.text, w.now, w.counts.Blocks, again)
		default:
			err = fmt.Errorf("%w: panic: %v (%s)\n%s", ErrFailed, f, again, debug.Stack())
		}
	}()
	w.begin(c.Shards)
	w.trouble()
	w.recover()
	w.finish()
	w.finishMany()
	for _, n := range w.chains {
		w.digest = ledger.HashOf("sim/world", w.digest[:], n.digest[:])
	}
	return w.counts, w.digest, nil
}

func (w *World) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *World) pick(n int) int { return w.rng.IntN(n) }

// begin makes the places and the genesis of a seed, with so many shards if that is not 0.
func (w *World) begin(count int) {
	w.cfg = scenario{
		corrupt: w.chance(20), halts: w.chance(33), loseLeaves: w.chance(12),
		hasty: w.chance(25), narrow: w.chance(25), crowded: w.chance(20),
		reshapes: w.chance(45), busy: w.chance(20), withholds: w.chance(25),
	}
	if w.cfg.long = w.pick(longPart) == 0; w.cfg.long {
		w.counts.Long++
		w.cfg.loseLeaves = w.cfg.loseLeaves || w.chance(50)
		w.cfg.grows = !w.cfg.busy && w.chance(60)
		w.cfg.reshapes = w.cfg.reshapes || w.cfg.grows
	}
	w.shape = shapeOf(w.pick(shapes))
	if count > 0 {
		w.shape = manyShards(count)
		w.cfg.long, w.cfg.hasty, w.cfg.narrow, w.cfg.crowded, w.cfg.busy = true, false, false, false, false
	}
	f, err := w.keys.begin(w.shape)
	if err != nil {
		w.failf("genesis of main: %v", err)
	}
	w.net = network{
		id: f.network, sessions: map[sitting]*session{}, keys: w.keys, params: f.params, fault: w.fault, busy: w.cfg.busy,
		service: service.DefaultParams(), underWay: link.MaxUnacked, lifetime: link.DefaultLifetime, congested: 1 << 20,
	}
	w.net.service.UnitsPerDrop, w.net.service.SettleEntries, w.net.service.BatchEntries, w.net.service.MinAdvance = 2, 6, 4, 3
	w.net.service.Ahead = 3 * epochBlocks
	if w.cfg.hasty {
		w.net.lifetime = uint64(3 + w.pick(4))
	}
	if w.cfg.narrow {
		w.net.underWay = uint64(1 + w.pick(2))
	}
	if w.cfg.crowded {
		w.net.congested = uint64(8 + w.pick(12))
	}
	w.crowd, w.public, w.addresses = w.shape.crowd(), f.public, f.addresses
	for range w.public {
		w.nonces = append(w.nonces, map[uint64]bool{})
	}
	w.byChain, w.owners, w.track = map[ledger.ChainID]*node{}, map[link.Place]*node{}, newTracker()
	w.cut = make([]bool, w.relays)
	m := w.add(&node{id: ledger.MainChain, room: 16 * w.shape.count(), rules: &mainRules{net: &w.net}, genesis: f.changes})
	totals := settlement.ReadTotals(m.view)
	w.supply = totals.Sum()
	places, _ := registry.ReadMap(m.view)
	for s := range places.All() {
		w.found(s.ID)
	}
	if w.cfg.corrupt {
		w.liar = w.live[w.pick(len(w.live))]
		w.liar.tainted = true
		w.counts.Corrupt++
	}
}

// add adds a chain that has its genesis.
func (w *World) add(n *node) *node {
	n.at, n.view = len(w.chains), NewState(n.genesis)
	n.boxes, n.parcels = map[uint64]*link.Outbox{}, map[*node][]parcel{}
	n.anchored, n.anchoredAt = map[ledger.ChainID][]cert.Checkpoint{}, map[ledger.ChainID][]uint64{}
	w.chains, w.byChain[n.id], w.cut = append(w.chains, n), n, append(w.cut, false)
	return n
}

// port is the place of a chain in the network, which relays come before.
func (w *World) port(n *node) int { return w.relays + n.at }

// ownerOf returns the chain of a place: of shards, the one that has it until its heirs
// begin.
func (w *World) ownerOf(p link.Place) *node {
	if isMain(p) {
		return w.main()
	}
	n := w.owners[p]
	if n == nil {
		w.failf("nobody owns %s", p)
	}
	return n
}

func (w *World) main() *node { return w.chains[0] }

// running returns main and the shards that nothing has replaced.
func (w *World) running() []*node { return append([]*node{w.main()}, w.live...) }

// honest reports whether no malicious members have, or had, power over a chain or one that
// it comes of.
func (w *World) honest(n *node) bool { return !n.tainted }

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
	case w.cut[from] != w.cut[w.port(to)]:
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

// made is how many of the blocks that a run is to make there are.
func (w *World) made() int {
	if w.cfg.long {
		return int(w.main().height())
	}
	return w.counts.Blocks
}

// trouble runs the network until it has made enough blocks.
func (w *World) trouble() {
	w.chaos = true
	for _, n := range w.chains {
		w.goes(n)
	}
	for i := range w.relays {
		w.every(700, func() { w.relay(i) })
	}
	for range max(1, w.shape.count()/fewShards) {
		w.every(350, w.user)
	}
	w.every(9_000, w.weather)
	if w.shape.stalls > 0 {
		w.every(8_000, w.silence)
	}
	if w.cfg.reshapes {
		w.after(w.pick(4_000), w.reshard)
		w.every(6_000, w.reshard)
	}
	const longest = 1 << 20 // ms
	for w.made() < w.blocks && w.now < longest*uint64(w.blocks) {
		e := heap.Pop(&w.queue).(event) //nolint:errcheck // the heap has events only
		w.now = e.at
		e.do()
	}
}

// goes lets a chain make blocks.
func (w *World) goes(n *node) {
	w.every(1_000, func() {
		if n == w.liar && (w.chance(12) || n.ending() && w.chance(60)) {
			w.forge()
		} else {
			w.produce(n, w.urged(n))
		}
	})
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
		for i := range n.down {
			n.down[i] = w.chance(8)
		}
	}
	if w.cfg.halts {
		w.live[0].halted = w.chance(60)
	}
}
