package exec

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// Executor runs one chain by its Rules. Its methods are safe for concurrent use,
// except that InitChain, Propose, Accept, Finalize and Commit are called by one
// goroutine at a time, as consensus does.
type Executor struct {
	cfg    Config
	layer  *layer.Settlement
	index  kv.Reader
	rules  Rules
	traits Traits
	domain chain.Domain // that records are signed for
	log    *slog.Logger

	secret   secret
	verifier *verifier
	records  *seen // whole records whose signatures hold
	claims   *seen // single claims that hold, of records that are not wholly known
	busy     busyRecords
	queue    *queue
	pool     *pool
	tracker  *tracker
	relays   *relayLane
	bundler  *bundler
	staged   *bundleCache // made by the bundler, on the way to Check
	proposed *bundleCache // decoded by Accept or Finalize
	recent   *recent
	trees    *resultsTrees
	flights  flights
	inFlight atomic.Int64 // Submits under way
	begun    atomic.Bool  // Run has begun and not ended
	running  atomic.Bool  // its goroutines serve
	head     atomic.Pointer[head]
	// headProof proves the results of the last block that had any, once it is
	// committed. The next commit writes it to the index.
	headProof atomic.Pointer[stateproof.Statement]
	moved     chan struct{} // capacity 1: the head did
	auditDue  chan struct{} // capacity 1: Run should count all money
	stats     counters

	inFlightBytes atomic.Int64 // of the records they submit

	haltOnce sync.Once
	halted   chan struct{} // closed when the chain halts
	haltErr  error         // set before halted is closed

	ahead *ahead

	electorates electorates
	seals       *seen // that hold

	certificates certificates
	certifier    *certifier
	proofs       *proofs
	patience     patience
	lacking      *gathering
	sent         sent

	retention   retention
	restoring   restoreState
	snapshotDue chan *statetree.Snapshot // capacity 1

	// Owned by Finalize and Commit.
	prepared *prepared
	proof    *chain.Change // of the head's results, for the index; nil if there is none
}

// head is the last durable commit.
type head struct {
	height  uint64
	appHash ledger.Hash
}

// newExecutor returns the Executor of a chain with these rules over its layer. Nothing is
// read yet: see load. The configuration is valid and complete.
func newExecutor(cfg Config, l *layer.Settlement, rules Rules, log *slog.Logger) *Executor {
	traits := rules.Traits()
	e := &Executor{
		cfg: cfg, layer: l, rules: rules, traits: traits, log: log,
		domain:   traits.Records,
		secret:   newSecret(),
		verifier: &verifier{workers: cfg.Workers, keys: newKeyCache(cfg.Keys), now: cfg.Now},
		records:  newSeen(cfg.Remembered),
		claims:   newSeen(cfg.Remembered),
		pool:     newPool(cfg),
		tracker:  newTracker(cfg),
		staged:   newBundleCache(4 * chain.MaxBundleSize),
		seals:    newSeen(rememberedSeals),
		proposed: newBundleCache(4 * max(traits.BlockBytes, chain.MaxBundleSize)),
		recent:   newRecent(cfg),
		trees:    newResultsTrees(),
		moved:    make(chan struct{}, 1),
		auditDue: make(chan struct{}, 1),
		halted:   make(chan struct{}),

		snapshotDue: make(chan *statetree.Snapshot, 1),
	}
	e.relays = newRelayLane(cfg, rules, l, log)
	if traits.Relays {
		e.pool.maxBytes -= e.pool.maxBytes / relayShare
	}
	e.queue = newQueue(e.verifier, cfg.CollectDelay)
	e.certificates = certificates{l.View("certificates")}
	e.certifier, e.proofs, e.lacking = newCertifier(), newProofs(), newGathering()
	e.bundler = newBundler(e)
	e.ahead = newAhead(e.execute, e.signAhead)
	return e
}

// Domain returns the chain, or service, and network that records must be signed for.
func (e *Executor) Domain() chain.Domain { return e.domain }

// Chain returns the chain itself and its network: what its committee signs checkpoints of.
func (e *Executor) Chain() chain.Domain { return e.traits.Chain }

// Head returns the height and application hash of the last durable commit, or 0
// and the hash of the state so far before the first.
func (e *Executor) Head() (height uint64, appHash []byte) {
	h := e.head.Load()
	return h.height, h.appHash[:]
}

// Read calls f with the state at the head, which does not change during the
// call, and its height. What v hands out must not be kept. f must be short,
// since commits wait for it, and must not call methods that read the state:
// Read, Committed, ListTxs, Proof and the like. A panic becomes an error.
func (e *Executor) Read(f func(v chain.View, height uint64) error) (err error) {
	defer contain("read the state", &err)
	return e.layer.Read(func(v chain.View) error { return f(v, e.layer.Height()) })
}

// ReadSnapshot is Read of the store alone: no commit waits for f, which may take its time
// and read other chains, and this one again. A row takes longer than in Read.
func (e *Executor) ReadSnapshot(f func(v chain.View, height uint64) error) (err error) {
	defer contain("read the state", &err)
	s, err := e.layer.OpenSnapshot()
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return f(s, s.Height())
}

// ReadHead is Read with the application hash of the state.
func (e *Executor) ReadHead(f func(v chain.View, height uint64, appHash ledger.Hash) error) (err error) {
	defer contain("read the state", &err)
	return e.layer.Read(func(v chain.View) error { return f(v, e.layer.Height(), e.layer.AppHash()) })
}

// halt stops the chain on err, once, with one line.
func (e *Executor) halt(height uint64, err error) {
	e.haltOnce.Do(func() {
		e.haltErr = fmt.Errorf("%w at block %d: %w", ErrHalted, height, err)
		close(e.halted)
		e.log.Error("chain halted", slog.Uint64("height", height), slog.Any("err", err))
	})
}

func (e *Executor) isHalted() bool {
	select {
	case <-e.halted:
		return true
	default:
		return false
	}
}

// haltError returns why the chain halted; it must have.
func (e *Executor) haltError() error {
	<-e.halted
	return e.haltErr
}

// Halted returns a channel that is closed when the chain halts.
func (e *Executor) Halted() <-chan struct{} { return e.halted }

// HaltError returns why the chain halted, wrapping ErrHalted, or nil.
func (e *Executor) HaltError() error {
	if !e.isHalted() {
		return nil
	}
	return e.haltErr
}

// counters are what Stats counts.
type counters struct {
	submitted, refused, remembered  atomic.Uint64
	bundles, retries, rebroadcast   atomic.Uint64
	dropped, ticks, blocks, records atomic.Uint64
	ahead                           atomic.Uint64
	finalizeNanos, commitNanos      atomic.Int64
	applyNanos, prepareNanos        atomic.Int64
	audits, checks, checksRefused   atomic.Uint64
	entries, indexBytes             atomic.Uint64
	certificates, uncertified       atomic.Uint64
	extensionsEmpty                 atomic.Uint64
	extensionsWrong                 atomic.Uint64
}

// Stats are counters since Open, and present sizes. Durations are in
// nanoseconds and 0 without Config.Now.
type Stats struct {
	Submitted, Refused uint64 // calls of Submit, and those that returned an error
	InFlight           int    // calls under way
	InFlightBytes      int64  // of the records they submit

	SignaturesVerified uint64 // by this node, for whatever reason
	SignaturesFailed   uint64 // of those, did not hold
	VerifyBatches      uint64
	VerifyNanos        int64
	RecordsRemembered  uint64 // records met again, whose signatures were skipped

	BundlesSent, BroadcastRetries, Rebroadcast, Ticks uint64
	Checks, ChecksRefused                             uint64 // bundles that Check had to examine

	Blocks, Records, Entries uint64 // finalized
	Ahead                    uint64 // of the blocks, whose execution began before they were agreed on
	FinalizeNanos            int64  // that consensus waited for Finalize
	ApplyNanos, PrepareNanos int64  // of executions, ahead or not, agreed on or not
	CommitNanos              int64
	Audits                   uint64
	IndexBytes               uint64 // keys and values written to the index

	Certificates      uint64 // made here
	Uncertified       uint64 // blocks of which none was made
	CertificateHeight uint64 // of the newest certificate, 0 if there is none; it lags the head for a moment
	ExtensionsEmpty   uint64 // votes for certified or given up blocks that carried no signature
	ExtensionsWrong   uint64 // such votes that carried a wrong one

	Relays                    int // that wait
	RelayBytes                int64
	RelaysDropped             uint64 // waited in vain
	PoolBundles, PoolRecords  int
	PoolBytes                 int64
	PendingRecords, Queued    int
	PendingBytes              int64
	Dropped                   uint64
	RememberedRecords, Recent int
}

// Stats returns the counters.
func (e *Executor) Stats() Stats {
	c := &e.stats
	s := Stats{
		Submitted: c.submitted.Load(), Refused: c.refused.Load(),
		InFlight: int(e.inFlight.Load()), InFlightBytes: e.inFlightBytes.Load(),
		SignaturesVerified: e.verifier.signatures.Load(), SignaturesFailed: e.verifier.failed.Load(),
		VerifyBatches: e.verifier.batches.Load(), VerifyNanos: e.verifier.nanos.Load(),
		RecordsRemembered: c.remembered.Load(),
		BundlesSent:       c.bundles.Load(), BroadcastRetries: c.retries.Load(),
		Rebroadcast: c.rebroadcast.Load(), Ticks: c.ticks.Load(),
		Checks: c.checks.Load(), ChecksRefused: c.checksRefused.Load(),
		Blocks: c.blocks.Load(), Records: c.records.Load(), Entries: c.entries.Load(),
		FinalizeNanos: c.finalizeNanos.Load(), ApplyNanos: c.applyNanos.Load(),
		PrepareNanos: c.prepareNanos.Load(), CommitNanos: c.commitNanos.Load(),
		IndexBytes: c.indexBytes.Load(), Ahead: c.ahead.Load(),
		Audits: c.audits.Load(), Dropped: c.dropped.Load(),
		Queued: e.bundler.waiting(), RememberedRecords: e.records.len(), Recent: e.recent.len(),
	}
	s.Certificates, s.Uncertified, s.CertificateHeight = c.certificates.Load(), c.uncertified.Load(), e.certifier.latest.Load()
	s.ExtensionsEmpty, s.ExtensionsWrong = c.extensionsEmpty.Load(), c.extensionsWrong.Load()
	s.PoolBundles, s.PoolRecords, s.PoolBytes = e.pool.usage()
	s.PendingRecords, s.PendingBytes = e.tracker.usage()
	s.Relays, s.RelayBytes, s.RelaysDropped = e.relays.usage()
	return s
}

// load reads the head from the layer, and checks that the chain is genesis's.
func (e *Executor) load() error {
	e.index = e.layer.Index()
	e.head.Store(&head{height: e.layer.Height(), appHash: e.layer.AppHash()})
	if e.layer.Height() == 0 {
		return e.loadRetention() // InitChain compares the state
	}
	if begun, err := e.indexBegun(); err != nil {
		return err
	} else if !begun { // restored from a snapshot, just before a crash
		if err := e.reindex(); err != nil {
			return err
		}
	}
	network, err := e.index.Get([]byte{idxNetwork})
	if err != nil {
		return fmt.Errorf("read the genesis hash: %w", err)
	}
	if !bytes.Equal(network, e.traits.Identity[:]) {
		return fmt.Errorf("%w: the state belongs to network %x, the genesis is of %s", ErrOtherGenesis, network, e.traits.Identity)
	}
	if err := e.checkSealRecord(); err != nil {
		return err
	}
	if err := e.loadCertifier(); err != nil {
		return err
	}
	if err := e.loadRetention(); err != nil {
		return err
	}
	if err := e.loadProofs(); err != nil {
		return err
	}
	return e.proveHead()
}
