package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// Chain is a chain that this node runs, as far as it is read. Its methods are safe
// for concurrent use.
type Chain interface {
	// Read calls f with the state after the last committed block and its height. v is
	// of that one block, and is not used after f returns, whose error Read returns. An
	// error of its own means that nothing can be read at the moment. No commit waits for
	// f, which may read other chains and ask them for certificates.
	Read(f func(v chain.View, height uint64) error) error
	// Certificate returns the certificate of a committed block, and an error if this
	// node has none: not yet, or not any more.
	Certificate(height uint64) (cert.Certificate, error)
	// Outbox returns the outbox of a committed block, an empty one if it tells nobody
	// anything, and ok=false if this node does not have it any more.
	Outbox(height uint64) (box *link.Outbox, ok bool, err error)
}

// Main is the main chain on this node.
type Main interface {
	Chain
	// Certified returns the newest statement about the row under key that a certificate
	// of main leads to, and that certificate; an error if there is none yet.
	Certified(key []byte) (cert.Certificate, *stateproof.Statement, error)
	// Watch asks for a newer statement about the row under key, as soon as there is a
	// certificate: it may be called again while it waits. An error means that there will
	// be none.
	Watch(key []byte) error
	// Handover returns what leads from main's committee of the epoch before to that of
	// epoch, and an error if this node cannot show that.
	Handover(epoch uint64) (cert.Certificate, *stateproof.Statement, error)
	// Posts returns what the block at height was sent about heights of shards, and ok=false
	// if this node does not have it, or not any more.
	Posts(height uint64) (posts Posts, ok bool, err error)
	// Submit hands in a signed record. Nil means that it waits for a block; an error with
	// a chain.RuleError, that main would refuse it now; any other, that it may be tried
	// again later. It is over when ctx is.
	Submit(ctx context.Context, raw []byte) error
}

// Shard is a shard that this node runs.
type Shard interface {
	Chain
	// SubmitRelay hands in an encoded shardblock.Relay. The errors are those of
	// Main.Submit. What waits already is taken without an error.
	SubmitRelay(ctx context.Context, payload []byte) error
}

// Remote reaches shards that this node does not run, by nodes that do. Whatever it
// answers is believed only as far as it decides what is worth sending: the shard
// verifies all it takes. It is safe for concurrent use.
type Remote interface {
	// Survey returns what a shard has. links are those of whose ways it answers, in
	// their order, at most MaxWays.
	Survey(ctx context.Context, id shard.ID, links []link.Link) (Survey, error)
	// SubmitRelay is that of Shard.
	SubmitRelay(ctx context.Context, id shard.ID, payload []byte) error
	// Outbox returns the whole outbox of a block of a shard, nil if that has nothing for the
	// places from first to last. Who asks knows its root.
	Outbox(ctx context.Context, id shard.ID, height uint64, first, last link.Place) (*link.Outbox, error)
}

// MaxWays is of how many links the ways are asked for at once.
const MaxWays = 512

// Config is what a Relay works with.
type Config struct {
	Main   Main
	Remote Remote // nil: shards that this node does not run are left to others
	// Network is what main's records are signed for.
	Network ledger.NetworkID
	// Self returns the consensus address of this node's validator, zero if it has none or
	// that is not known yet. It says when it is this node's turn. Several goroutines call
	// it. Nil means that there is none.
	Self func() [committee.AddressSize]byte
	// Key and Zone are the account that signs what goes to main, and pays for it. Nil: the
	// node sends nothing to main.
	Key  *ledger.PrivateKey
	Zone byte
	// Eager pays for anchors that are not due yet where a shard has something for other
	// chains, so that it arrives some blocks of main earlier.
	Eager bool
	// Block is how long a block of main takes: what waiting in blocks is worth while main
	// stands still. The default is DefaultBlock.
	Block time.Duration
	// Now reads the clock, and Jitter gives numbers from 0 to 1, so that nodes do not try
	// again together. Both are called by several goroutines.
	Now    func() time.Time
	Jitter func() float64
	Log    *slog.Logger
}

// DefaultBlock is the default of Config.Block.
const DefaultBlock = 3 * time.Second

// Why nothing is sent to main.
var (
	errNoAccount = errors.New("the relayer's account does not exist: send it some coins")
	errPoor      = errors.New("the relayer's account cannot pay the fee: send it some coins")
	errReserve   = errors.New("the relayer's account has too little for fees that are not paid back: send it some coins")
	errNoNonce   = errors.New("all nonces of the relayer's account are in use")
)

// Relay carries what chains have for each other. Its methods are safe for concurrent
// use.
type Relay struct {
	cfg      Config
	log      *slog.Logger
	counters Counters

	mu     sync.Mutex
	hosted map[shard.ID]Shard
	since  map[shard.ID]uint64    // the value of change when hosted got it
	change uint64                 // how often hosted has changed
	lanes  map[duty]chan struct{} // to wake them
	asks   map[ask]struct{}
	look   chan struct{} // wakes Run
}

// New returns a Relay that does nothing before Run. It returns an error that names
// the field of cfg that is missing.
func New(cfg Config) (*Relay, error) {
	if cfg.Block == 0 {
		cfg.Block = DefaultBlock
	}
	if cfg.Self == nil {
		cfg.Self = func() (none [committee.AddressSize]byte) { return none }
	}
	switch {
	case cfg.Main == nil:
		return nil, errors.New("relay: Config.Main is missing")
	case cfg.Now == nil:
		return nil, errors.New("relay: Config.Now is missing: give it a clock")
	case cfg.Jitter == nil:
		return nil, errors.New("relay: Config.Jitter is missing: give it a source of numbers")
	case cfg.Log == nil:
		return nil, errors.New("relay: Config.Log is missing: give it a logger")
	case cfg.Block < 0:
		return nil, fmt.Errorf("relay: Config.Block is %s: it is more than nothing", cfg.Block)
	}
	return &Relay{
		cfg: cfg, log: cfg.Log, hosted: make(map[shard.ID]Shard), since: make(map[shard.ID]uint64), lanes: make(map[duty]chan struct{}),
		asks: make(map[ask]struct{}), look: make(chan struct{}, 1),
	}, nil
}

// Host says that this node runs a shard from now on. A second call replaces it.
func (r *Relay) Host(id shard.ID, s Shard) {
	r.mu.Lock()
	r.change++
	r.hosted[id], r.since[id] = s, r.change
	r.mu.Unlock()
	r.Wake()
}

// Drop says that this node does not run a shard any more.
func (r *Relay) Drop(id shard.ID) {
	r.mu.Lock()
	delete(r.hosted, id)
	delete(r.since, id)
	r.change++
	r.mu.Unlock()
	r.Wake()
}

// Wake says that something may have changed: a block of a chain, a certificate, or
// who is reached by Remote. It does not wait. What has nothing to do looks once and
// goes to sleep again.
func (r *Relay) Wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	poke(r.look)
	for _, c := range r.lanes {
		poke(c)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch asks for a proof of a row of main.
func (r *Relay) watch(key []byte) {
	if err := r.cfg.Main.Watch(key); err != nil {
		r.counters.Failed.Add(1)
	}
}

// Counters returns what was done since New.
func (r *Relay) Counters() Snapshot { return r.counters.snapshot() }

// shards returns what this node runs, by what name it runs each of them, which is another
// one whenever it is opened, and how often that has changed.
func (r *Relay) shards() (hosted map[shard.ID]Shard, since map[shard.ID]uint64, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.hosted), maps.Clone(r.since), r.change
}

// maxLanes is how many chains are brought something at most.
const maxLanes = 1_024

// duty names a lane: the chain that is brought something, and whether that is fetched.
type duty struct {
	id    shard.ID
	pulls bool
}

// lane is what a chain is brought by: one goroutine, which owns all of it.
type lane interface {
	// round looks once and does what there is to be done. It returns after what time to
	// look again even if nothing happens; never, if that is negative.
	round(ctx context.Context) time.Duration
}

// never is a time after which nothing happens.
const never time.Duration = -1

// sooner returns the shorter of two times.
func sooner(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// Run carries until ctx is done. It is called once. It returns nil, or the error of a
// state that cannot be read as a state of these chains.
func (r *Relay) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	running := make(map[duty]context.CancelFunc)
	ended := make(chan duty, 2*maxLanes+1)
	defer func() {
		for _, cancel := range running {
			cancel()
		}
		_ = g.Wait()
		r.mu.Lock()
		clear(r.lanes)
		r.mu.Unlock()
	}()
	poke(r.look)
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-ended:
			delete(running, id)
			poke(r.look)
			continue
		case <-r.look:
		}
		wanted := r.wanted()
		for id, cancel := range running {
			if _, ok := wanted[id]; !ok {
				cancel()
			}
		}
		for id, made := range wanted {
			if running[id] != nil {
				continue
			}
			wake := make(chan struct{}, 1)
			one, cancel := context.WithCancel(ctx)
			running[id] = cancel
			r.mu.Lock()
			r.lanes[id] = wake
			r.mu.Unlock()
			g.Go(func() error {
				r.drive(one, made(), wake)
				r.mu.Lock()
				if r.lanes[id] == wake {
					delete(r.lanes, id)
				}
				r.mu.Unlock()
				cancel()
				ended <- id
				return nil
			})
		}
	}
}

// drive runs a lane until ctx is done.
func (r *Relay) drive(ctx context.Context, l lane, wake <-chan struct{}) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		again := r.once(ctx, l)
		r.counters.Rounds.Add(1)
		timer.Reset(minRest)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if again < 0 {
			again = math.MaxInt64
		}
		timer.Reset(max(again-minRest, 0))
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
	}
}

// once is a round of a lane. One that panics costs nothing but itself: what it found in a
// state or was told by others may be different the next time.
func (r *Relay) once(ctx context.Context, l lane) (again time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			r.counters.Failed.Add(1)
			r.log.LogAttrs(ctx, slog.LevelError, "a round of relaying panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			again = maxBackoff
		}
	}()
	return l.round(ctx)
}

// minRest is the least time from the end of a round until the next one, however often
// it is woken.
const minRest = 5 * time.Millisecond

// wanted returns what has to be brought something: main and the shards of this node,
// and those elsewhere for which this node may have something.
func (r *Relay) wanted() map[duty]func() lane {
	hosted, _, _ := r.shards()
	out := make(map[duty]func() lane)
	if len(hosted) == 0 {
		return out
	}
	open := func(id shard.ID) shardLane { return shardLane{r: r, id: id, pairs: make(map[ledger.ChainID]*pair)} }
	add := func(id shard.ID) {
		if len(out) < maxLanes {
			out[duty{id: id}] = func() lane { l := open(id); return &l }
		}
	}
	if r.cfg.Key != nil {
		out[duty{id: ledger.MainChain}] = func() lane { return newMainLane(r) }
	}
	for id := range hosted {
		add(id)
	}
	if r.cfg.Remote == nil {
		return out
	}
	elsewhere := false
	err := r.cfg.Main.Read(func(v chain.View, _ uint64) error {
		if m, ok := registry.ReadMap(v); ok {
			for s := range m.All() {
				elsewhere = elsewhere || hosted[s.ID] == nil
				add(s.ID)
			}
		}
		return nil
	})
	if err != nil {
		r.counters.Failed.Add(1)
	}
	for id := range hosted {
		if elsewhere {
			out[duty{id, true}] = func() lane { return &pullLane{shardLane: open(id), far: make(map[shard.ID]*distant)} }
		}
	}
	return out
}
