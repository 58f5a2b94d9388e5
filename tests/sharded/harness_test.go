package sharded_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/relay"
	"github.com/tributary-network/tributary/zone"
)

const (
	home       = 1 // the zone of all accounts
	serviceID  = 1
	fortune    = 1_000_000 * ledger.DropsPerCoin
	operators  = 900 // keys of validators from here on
	relayers   = 950
	hangs      = 90 * time.Second
	blockPause = 10 * time.Millisecond // between two blocks of a chain
)

// keyOf returns the i-th test key.
func keyOf(i int) ledger.PrivateKey {
	return ledger.NewPrivateKey(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))))
}

func consensusOf(i int) staking.Address {
	key := keyOf(operators + i).Public()
	sum := sha256.Sum256(key[:])
	return staking.Address(sum[:])
}

func blsOf(tb testing.TB, i int) *bls.SecretKey {
	tb.Helper()
	seed := sha256.Sum256(fmt.Appendf(nil, "bls %d", i))
	k, err := bls.NewSecretKey(seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// genesisOf returns a chain with validators, funded accounts 0 to accounts-1, and one
// service with so many shards in the one zone.
func genesisOf(tb testing.TB, validators, accounts int, shards uint8, epoch uint64) settlement.Genesis {
	tb.Helper()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = epoch
	g := settlement.Genesis{Name: "test", Time: 1_700_000_000_000, Params: params}
	fund := func(key int) {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: keyOf(key).Address(home), Balance: fortune})
	}
	for i := range accounts {
		fund(i)
	}
	for i := range validators {
		fund(relayers + i)
		key := keyOf(operators + i)
		v := staking.GenesisValidator{Operator: key.Address(home)}
		v.ConsensusKey = key.Public()
		v.BLSKey, v.Proof = blsOf(tb, i).Public(), staking.Prove(blsOf(tb, i), ledger.NetworkID{}, v.Operator, v.ConsensusKey)
		v.Name = fmt.Sprintf("validator-%d", i)
		v.MaxCommission = 10_000
		v.MinSelf, v.SelfStake = params.Staking.MinSelfStake, 10*params.Staking.MinStake
		g.Validators = append(g.Validators, v)
	}
	g.Services = []zone.ServiceType{{
		ID: serviceID, Name: "content", SpecHash: ledger.HashOf("content"), Unit: zone.Unit{Name: "chunk", Size: 1 << 20},
		Shards: shards, CommitteeSize: zone.MinCommittee, Owner: keyOf(0).Address(home), Version: 1,
		Zones: zone.Registry{{Number: home, Policy: zone.DefaultPolicy("here")}},
	}}
	if err := g.Validate(); err != nil {
		tb.Fatal(err)
	}
	return g
}

// votes is what a replica saw of the votes for blocks.
type votes struct {
	mu     sync.Mutex
	hashes map[uint64][]byte
	seen   map[uint64][]exec.VoteExtension
	txs    map[uint64][][]byte // and the blocks themselves
}

func newVotes() *votes {
	return &votes{hashes: map[uint64][]byte{}, seen: map[uint64][]exec.VoteExtension{}, txs: map[uint64][][]byte{}}
}

func (v *votes) set(b *exec.Block, extensions []exec.VoteExtension) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hashes[b.Height], v.seen[b.Height], v.txs[b.Height] = b.Hash, extensions, b.Txs
}

func (v *votes) bundles(height uint64) ([][]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.txs[height], nil
}

func (v *votes) extensions(height uint64) ([]byte, []exec.VoteExtension, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.hashes[height], v.seen[height], nil
}

// replica is one chain at one validator.
type replica struct {
	at    int // the validator
	exec  *exec.Executor
	layer *layer.Settlement
	votes *votes
	net   *chainNet

	store  *memkv.Store // what a crash leaves
	tables []tableOf
	reopen func(cfg exec.Config, l *layer.Settlement) (*exec.Executor, error)

	mu      sync.Mutex
	mempool [][]byte
}

// chainNet is a chain at all validators, which agree on what its driver says.
type chainNet struct {
	id       ledger.ChainID
	time     int64
	replicas []*replica
	work     chan struct{} // capacity 1: there is something for a block

	runs sync.WaitGroup     // executors that run
	kill context.CancelFunc // ends their Run
	// at is called by who makes blocks when half of the replicas have committed a block and
	// one has executed it, and again when all have committed it. Nil does nothing.
	at func(whole bool, b exec.Block)

	mu     sync.Mutex // held while a block is made
	halted bool       // no blocks are made, as if the chain had lost its quorum
}

// world is a main chain and its shards at some validators.
type world struct {
	tb     testing.TB
	gen    settlement.Genesis
	main   *chainNet
	mains  []*exec.Main
	shards map[shard.ID]*chainNet
	hosted []map[shard.ID]*exec.Shard // by validator
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // of the whole test, for what runs beside it
	group  sync.WaitGroup
	relays []*relay.Relay
	moved  chan struct{} // closed and replaced after each block of any chain

	certifyDelay time.Duration // of all chains
	// late lets nodes ask each other for signatures, unless it is nil. Validators that it
	// names have no part in this and vote without a signature.
	late func(at int) (silent bool)
	// away are those that do not vote, and commit the blocks when they are decided.
	away   func(at int) bool
	movedM sync.Mutex
}

// newWorld starts all chains, without relays.
func newWorld(tb testing.TB, gen settlement.Genesis) *world {
	tb.Helper()
	return newWorldWith(tb, gen, time.Millisecond)
}

// newWorldWith is newWorld with the time between certificates for which nobody waits.
func newWorldWith(tb testing.TB, gen settlement.Genesis, certifyDelay time.Duration) *world {
	tb.Helper()
	return newWorldOf(tb, gen, func(w *world) { w.certifyDelay = certifyDelay })
}

// newWorldOf is newWorld with what change makes of it.
func newWorldOf(tb testing.TB, gen settlement.Genesis, change func(*world)) *world {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(tb.Context())
	w := &world{tb: tb, gen: gen, shards: map[shard.ID]*chainNet{}, log: log, ctx: ctx, moved: make(chan struct{}), certifyDelay: time.Millisecond}
	change(w)
	tb.Cleanup(func() {
		cancel()
		w.group.Wait()
	})
	w.main = &chainNet{id: ledger.MainChain, time: gen.Time, work: make(chan struct{}, 1)}
	for i := range gen.Validators {
		w.hosted = append(w.hosted, map[shard.ID]*exec.Shard{})
		r, cfg := w.replica(i, settlement.Tables()...)
		m, err := exec.OpenMain(cfg, r.layer, gen, slog.New(slog.DiscardHandler))
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := m.InitChain(gen.Encode()); err != nil {
			tb.Fatal(err)
		}
		r.exec, r.net = m.Executor, w.main
		r.reopen = func(cfg exec.Config, l *layer.Settlement) (*exec.Executor, error) {
			m, err := exec.OpenMain(cfg, l, gen, slog.New(slog.DiscardHandler))
			if err != nil {
				return nil, err
			}
			w.mains[i] = m
			return m.Executor, nil
		}
		w.main.replicas, w.mains = append(w.main.replicas, r), append(w.mains, m)
	}
	w.start(w.main)
	return w
}

func (w *world) replica(i int, tables ...tableOf) (*replica, exec.Config) {
	w.tb.Helper()
	v := newVotes()
	r := &replica{at: i, votes: v, store: memkv.New(), tables: tables}
	return r, w.mount(r)
}

// mount opens the layer of a replica over its store.
func (w *world) mount(r *replica) exec.Config {
	w.tb.Helper()
	l, err := layer.New(r.store, layer.Options{State: statetree.Options{Tables: r.tables}})
	if err != nil {
		w.tb.Fatal(err)
	}
	i, v := r.at, r.votes
	r.layer = l
	cfg := exec.Config{BLS: blsOf(w.tb, i), Extensions: v.extensions, CertifyDelay: w.certifyDelay, TickInterval: 50 * time.Millisecond, Network: w.network()}
	if w.late != nil && !w.late(i) {
		cfg.CommitRound, cfg.Ask = v.commitRound, func(question []byte) { w.ask(r, question) }
	}
	return cfg
}

func (w *world) network() ledger.NetworkID { return w.gen.Hash() }

// found starts a shard by the state of main.
func (w *world) found(id shard.ID) *chainNet {
	w.tb.Helper()
	n := &chainNet{id: id, time: w.gen.Time, work: make(chan struct{}, 1)}
	for i := range w.mains {
		if !w.serves(i, id) {
			continue
		}
		var g shardblock.Genesis
		err := w.mains[i].Read(func(v view, _ uint64) (err error) {
			p, err := settlement.ReadParams(v)
			if err != nil {
				return err
			}
			g, err = shardblock.FromMain(v, w.network(), &p.Staking, &p.Anchors, id)
			return err
		})
		if err != nil {
			w.tb.Fatal(err)
		}
		r, cfg := w.replica(i)
		s, err := exec.OpenShard(cfg, r.layer, g, w.log.With(slog.Uint64("shard", uint64(id))))
		if err != nil {
			w.tb.Fatal(err)
		}
		if _, err := s.InitChain(g.Encode()); err != nil {
			w.tb.Fatal(err)
		}
		w.host(n, r, i, s, g)
	}
	w.shards[id] = n
	w.start(n)
	return n
}

// host adds a replica of a shard, which validator i runs.
func (w *world) host(n *chainNet, r *replica, i int, s *exec.Shard, g shardblock.Genesis) {
	r.exec, r.net = s.Executor, n
	r.reopen = func(cfg exec.Config, l *layer.Settlement) (*exec.Executor, error) {
		s, err := exec.OpenShard(cfg, l, g, w.log.With(slog.Uint64("shard", uint64(n.id))))
		if err != nil {
			return nil, err
		}
		w.hosted[i][n.id] = s
		return s.Executor, nil
	}
	w.hosted[i][n.id] = s
	n.replicas = append(n.replicas, r)
}

// serves reports whether a validator is in the first committee of a shard.
func (w *world) serves(i int, id shard.ID) (ok bool) {
	w.readMain(func(v view) {
		a, found := registry.ReadAssignment(v, 0, id)
		if found {
			_, ok = a.Committee.FindAddress(consensusOf(i))
		}
	})
	return ok
}

// start runs a chain until the test ends.
func (w *world) start(n *chainNet) {
	w.run(n)
	w.group.Go(func() {
		pause := time.NewTicker(blockPause)
		defer pause.Stop()
		for {
			select {
			case <-w.ctx.Done():
				return
			case <-n.work:
			}
			select {
			case <-w.ctx.Done():
				return
			case <-pause.C:
			}
			if n.step(w) {
				w.announce()
			}
		}
	})
}

func (w *world) announce() {
	w.movedM.Lock()
	defer w.movedM.Unlock()
	close(w.moved)
	w.moved = make(chan struct{})
}

func (w *world) next() <-chan struct{} {
	w.movedM.Lock()
	defer w.movedM.Unlock()
	return w.moved
}

// until waits until something holds, looking after every block.
func (w *world) until(what string, holds func() bool) {
	w.tb.Helper()
	w.untilBy(100*time.Millisecond, what, holds)
}

// untilBy is until, and looks that often even if no chain makes a block.
func (w *world) untilBy(every time.Duration, what string, holds func() bool) {
	w.tb.Helper()
	timeout := time.NewTimer(hangs)
	defer timeout.Stop()
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		moved := w.next()
		if holds() {
			return
		}
		select {
		case <-moved:
		case <-again.C:
		case <-timeout.C:
			w.tb.Fatalf("%s: not after %s; %s", what, hangs, w.heights())
		}
	}
}

func (w *world) heights() string {
	var b bytes.Buffer
	h, _ := w.main.replicas[0].exec.Head()
	fmt.Fprintf(&b, "main is at %d", h)
	for id, n := range w.shards {
		h, _ := n.replicas[0].exec.Head()
		fmt.Fprintf(&b, ", shard %d at %d", id, h)
	}
	for i, r := range w.relays {
		fmt.Fprintf(&b, "\nrelay %d: %+v", i, r.Counters())
	}
	for _, e := range w.executors() {
		fmt.Fprintf(&b, "\nchain %d: %+v", e.Chain().Chain, e.Stats())
	}
	return b.String()
}

// executors returns one of each chain.
func (w *world) executors() []*exec.Executor {
	list := []*exec.Executor{w.mains[0].Executor}
	for _, n := range w.shards {
		list = append(list, n.replicas[0].exec)
	}
	return list
}

// broadcast is what consensus does with a bundle: it checks it here and then at every
// other replica.
func (n *chainNet) broadcast(from *replica, bundle []byte) error {
	if err := from.receive(bundle); err != nil {
		return err
	}
	for _, r := range n.replicas {
		if r != from {
			_ = r.receive(bundle)
		}
	}
	n.poke()
	return nil
}

func (r *replica) receive(bundle []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.mempool {
		if bytes.Equal(have, bundle) {
			return nil
		}
	}
	if err := r.exec.Check(bundle, false); err != nil {
		return err
	}
	r.mempool = append(r.mempool, bundle)
	return nil
}

func (r *replica) recheck(committed [][]byte) (left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keep [][]byte
	for _, have := range r.mempool {
		gone := false
		for _, tx := range committed {
			gone = gone || bytes.Equal(have, tx)
		}
		if !gone && r.exec.Check(have, true) == nil {
			keep = append(keep, have)
		}
	}
	r.mempool = keep
	return len(keep)
}

// stop lets a chain make no more blocks, or go on.
func (n *chainNet) stop(halted bool) {
	n.mu.Lock()
	n.halted = halted
	n.mu.Unlock()
	n.poke()
}

// step makes a block at all replicas, and reports whether it did.
func (n *chainNet) step(w *world) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.halted && w.ctx.Err() == nil && n.make(w)
}

// make is step, halted or not. The caller holds mu.
func (n *chainNet) make(w *world) bool {
	head, _ := n.replicas[0].exec.Head()
	height := head + 1
	by := n.replicas[int(height)%len(n.replicas)]
	by.mu.Lock()
	txs := by.exec.Propose(height, 1<<30, by.mempool)
	by.mu.Unlock()
	b := n.block(height, by.at, txs)
	extensions := make([]exec.VoteExtension, len(n.replicas))
	for i, r := range n.replicas {
		if err := r.exec.Accept(b); err != nil {
			w.tb.Errorf("chain %d at %d: Accept(%d): %v", n.id, r.at, height, err)
			return false
		}
		if w.away != nil && w.away(r.at) {
			continue
		}
		data, err := r.exec.Extend(b)
		if err != nil {
			w.tb.Errorf("chain %d at %d: Extend(%d): %v", n.id, r.at, height, err)
			return false
		}
		if w.late != nil && w.late(r.at) {
			data = nil
		}
		extensions[i] = exec.VoteExtension{Validator: consensusOf(r.at), Data: data}
	}
	extensions = slices.DeleteFunc(extensions, func(x exec.VoteExtension) bool { return x.Validator == staking.Address{} })
	var first []byte
	left := 0
	for i, r := range n.replicas {
		r.votes.set(&b, extensions)
		out, err := r.exec.Finalize(b)
		if ran := r.exec; err == nil && n.at != nil && i == len(n.replicas)/2 {
			if n.at(false, b); r.exec != ran { // it was killed, and does it again
				out, err = r.exec.Finalize(b)
			}
		}
		if err == nil {
			_, err = r.exec.Commit()
		}
		if err != nil {
			w.tb.Errorf("chain %d at %d: block %d: %v", n.id, r.at, height, err)
			return false
		}
		if i == 0 {
			first = out.AppHash
		} else if !bytes.Equal(first, out.AppHash) {
			w.tb.Errorf("chain %d at %d: app hash %x at height %d, want %x", n.id, r.at, out.AppHash, height, first)
		}
		left += r.recheck(txs)
	}
	if n.at != nil {
		n.at(true, b)
	}
	if left > 0 {
		n.poke()
	}
	return true
}

// traffic lets main make blocks all the time, as it does where it has users, until the
// function that it returns is called.
func (w *world) traffic(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	w.group.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.main.poke()
			}
		}
	})
	return cancel
}

// rests waits until no chain has made a block for so long.
func (w *world) rests(quiet time.Duration) {
	w.tb.Helper()
	timeout := time.NewTimer(hangs)
	defer timeout.Stop()
	for {
		still := time.NewTimer(quiet)
		select {
		case <-w.next():
			still.Stop()
		case <-still.C:
			return
		case <-timeout.C:
			still.Stop()
			w.tb.Fatalf("the network does not come to rest; %s", w.heights())
		}
	}
}

func (n *chainNet) poke() {
	select {
	case n.work <- struct{}{}:
	default:
	}
}

func (n *chainNet) block(height uint64, proposer int, txs [][]byte) exec.Block {
	hash := sha256.New()
	hash.Write(binary.BigEndian.AppendUint64(nil, height))
	hash.Write(binary.BigEndian.AppendUint64(nil, uint64(n.id)))
	for _, tx := range txs {
		sum := sha256.Sum256(tx)
		hash.Write(sum[:])
	}
	address := consensusOf(proposer)
	b := exec.Block{
		Height: height, Time: time.UnixMilli(n.time + int64(height)*1000), Txs: txs, Hash: hash.Sum(nil), Proposer: address[:],
	}
	if height > 1 {
		for _, r := range n.replicas {
			b.LastVotes = append(b.LastVotes, staking.Vote{Validator: consensusOf(r.at), Signed: true})
		}
	}
	return b
}
