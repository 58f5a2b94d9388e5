package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abcicli "github.com/cometbft/cometbft/abci/client"
	cfg "github.com/cometbft/cometbft/config"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Chain is one chain's agreement on this node. Its methods are safe for
// concurrent use; Start is called once.
type Chain struct {
	cfg     Config
	genesis *types.GenesisDoc
	signer  *Signer
	nodeKey *NodeKey
	store   kv.Store
	logger  *slog.Logger
	metrics prometheus.Registerer
	vectors []vector // registered by the start

	dbGate, appGate *gate
	faults          *storeFaults
	blocks          *blockFiles
	sweeping        atomic.Bool // the record of swept heights exists
	sweepRecord     sync.Mutex  // guards its making, and each change
	progress        *progress
	filling         filling
	turned          turned
	states          *trustedStates // of a start that looks for a snapshot, else nil
	searching       atomic.Bool    // this start began without blocks and looks for a snapshot
	fromGenesis     atomic.Bool    // it found none
	searchNote      atomic.Pointer[string]
	engineSearched  chan struct{} // closed when CometBFT has looked for a snapshot itself
	noteSearched    func()        // closes it; may be called more than once
	adapter         *adapter
	head            *head
	halt            *halt
	round           atomic.Int64
	loops           sync.WaitGroup

	closeLog func()        // see wal.go; may be called more than once
	giveUp   func()        // closes stopping; may be called more than once
	stopping chan struct{} // closed when a start that is under way has to end
	started  chan struct{} // closed when Start is over
	stopped  chan struct{} // closed when Stop is, or a start that failed

	state    atomic.Int32 // stateNew and so on; the fields below are set before stateRunning
	engineOn atomic.Bool  // CometBFT runs, or is about to: nobody there takes errors of the store

	ctx      context.Context //nolint:containedctx // bounds the loops between Start and Stop
	cancel   context.CancelFunc
	engine   *node.Node
	clients  []abcicli.Client
	dialer   *dialer
	presence *presence
	valset   validatorCache
	late     lateVotes
	turnout  turnout
	twins    *twinGuard

	announced *announcements // nil without Config.Announcements
	inquiry   *inquiry       // nil unless the application is an Answerer
}

// States of a Chain.
const (
	stateNew int32 = iota
	stateStarting
	stateRunning
	stateStopped
)

// New prepares a chain; nothing runs and nothing is written before Start.
//
// store holds this chain's blocks and consensus state and nothing else; hand in
// a prefixed view to share one database. signer and nodeKey identify this node;
// a node that is no validator needs both all the same. logger and metrics may
// serve several chains: all lines and metrics carry chain_id. metrics may be
// nil.
func New(c Config, g Genesis, signer *Signer, nodeKey *NodeKey, store kv.Store, app Application,
	logger *slog.Logger, metrics prometheus.Registerer,
) (*Chain, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	genesis, err := g.doc()
	if err != nil {
		return nil, err
	}
	if signer == nil || nodeKey == nil || store == nil || app == nil || logger == nil {
		return nil, errors.New("make chain: a nil argument")
	}
	if c.ListenAddr, err = concreteAddr(c.ListenAddr); err != nil {
		return nil, fmt.Errorf("make chain %q: pick a port: %w", g.ChainID, err)
	}
	logger = logger.With(slog.String("chain_id", g.ChainID))
	ch := &Chain{
		cfg: c, genesis: genesis, signer: signer, nodeKey: nodeKey,
		store: store, logger: logger, metrics: metrics,
		dbGate: newGate(), appGate: newGate(),
		blocks: newBlockFiles(blocksDir(c.Dir)),
		head:   &head{emptyBlocks: c.EmptyBlocks},
		halt:   newHalt(),

		progress: &progress{},
		stopping: make(chan struct{}), started: make(chan struct{}), stopped: make(chan struct{}),
	}
	ch.filling.rate = sourceRate
	ch.faults = &storeFaults{halt: ch.storeFailed, started: ch.engineOn.Load}
	ch.closeLog = sync.OnceFunc(func() { closeLog(ch.engine) })
	ch.giveUp = sync.OnceFunc(func() { close(ch.stopping) })
	ch.twins = newTwinGuard(c.DoubleSignCheckHeight < 0)
	ch.engineSearched = make(chan struct{})
	ch.noteSearched = sync.OnceFunc(func() { close(ch.engineSearched) })
	ch.adapter = &adapter{
		app: app, gate: ch.appGate, head: ch.head, halt: ch.halt, rounds: &voteRounds{}, retain: ch.retain,
		own: signer.Address, refused: newRefusals(logger, c.TimeoutPropose),
		progress: ch.progress, logger: logger, inbound: newInbound(c.MaxInbound, c.Peers),
	}
	ch.adapter.attach.Store(MaxExtension)
	ch.adapter.refused.member = ch.isMember
	return ch, nil
}

// concreteAddr replaces an empty host by all addresses and port 0 by a free one.
func concreteAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if n, err := strconv.Atoi(port); err != nil || n != 0 {
		return net.JoinHostPort(host, port), err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	return addr, l.Close()
}

// ID is the chain id.
func (c *Chain) ID() string { return c.genesis.ChainID }

// ListenAddr is the host:port peers connect to, with the port that was picked
// if the configured one was 0.
func (c *Chain) ListenAddr() string { return c.cfg.ListenAddr }

// PeerAddr is what other nodes put into Config.Peers to reach this one:
// nodeid@host:port. If it listens on all addresses, Config.ExternalAddr must say
// which one they can reach.
func (c *Chain) PeerAddr() string {
	addr := c.cfg.ExternalAddr
	if addr == "" {
		addr = c.cfg.ListenAddr
	}
	return c.nodeKey.ID() + "@" + addr
}

// Start waits for a remote signer to connect, brings the application up to the
// block store, which may mean to apply all its blocks again, and joins the network.
// It returns when that has begun; ctx bounds it, not the life of the chain. A start that fails releases what it
// took. If the application failed, the error is [ErrHalted]; if the sign state
// was lost, [ErrSignStateBehind].
func (c *Chain) Start(ctx context.Context) error {
	if !c.state.CompareAndSwap(stateNew, stateStarting) {
		return fmt.Errorf("start chain %q: started or stopped before", c.ID())
	}
	defer close(c.started)
	if err := c.start(ctx); err != nil {
		c.state.Store(stateStopped)
		close(c.stopped)
		return fmt.Errorf("start chain %q: %w", c.ID(), err)
	}
	c.state.Store(stateRunning)
	return nil
}

func (c *Chain) start(ctx context.Context) error {
	if err := c.awaitSigner(ctx); err != nil {
		return err
	}
	if err := c.signer.claim(c.ID()); err != nil {
		return err
	}
	if err := c.assemble(ctx); err != nil {
		c.abandon()
		return err
	}
	if wait := time.Until(c.genesis.GenesisTime); wait > 0 {
		c.logger.InfoContext(ctx, "waiting for the genesis time", slog.Duration("wait", wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.abandon()
			return ctx.Err()
		case <-c.stopping:
			c.abandon()
			return ErrNotRunning
		}
	}
	if err := c.holdSync(); err != nil {
		c.abandon()
		return err
	}
	if !c.engine.ConsensusReactor().WaitSync() {
		if err := c.endStored(); err != nil {
			c.abandon()
			return err
		}
	}
	c.adapter.inbound.look(c.engine.Switch().Peers().Copy)
	c.engineOn.Store(true)
	if err := contain(c.engine.Start); err != nil {
		c.abandon()
		return err
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.loop("collect votes", func() { c.collectVotes(c.ctx) })
	if c.inquiry != nil {
		c.loop("answer peers", func() { c.inquiry.run(c.ctx) })
	}
	c.dialer = &dialer{own: c.nodeKey.key.ID(), switcher: c.engine.Switch(), logger: c.logger, wg: &c.loops}
	c.dialer.set(c.ctx, c.cfg.Peers)
	c.loop("watch", func() { c.watch(c.ctx) })
	c.loop("remove old headers", func() { c.sweep(c.ctx) })
	c.loop("follow the progress", func() { c.follow(c.ctx) })
	if c.searching.Load() && !c.engine.ConsensusReactor().WaitSync() {
		c.searching.Store(false) // the only validator waits for nobody
	}
	if c.filling.held.Load() {
		c.loop("fetch headers", func() {
			c.fillFirst(c.ctx)
			if c.ctx.Err() == nil {
				c.began(c.letSync())
				c.fillOn(c.ctx)
			}
		})
	}
	if c.searching.Load() {
		c.loop("look for a snapshot", func() { c.search(c.ctx, c.states) })
	}
	return nil
}

// awaitSigner waits until the consensus key is known.
func (c *Chain) awaitSigner(ctx context.Context) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.stopping:
			cancel()
		case <-wait.Done():
		}
	}()
	err := c.signer.Await(wait)
	select {
	case <-c.stopping:
		return ErrNotRunning
	default:
		return err
	}
}

// assemble makes the CometBFT node, which replays blocks the application has
// not seen, and checks the sign state against the blocks.
func (c *Chain) assemble(ctx context.Context) error {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return err
	}
	provider, err := engineMetrics{registerer: c.metrics, chainID: c.ID(), rounds: &c.round, vectors: &c.vectors}.provider()
	if err != nil {
		return err
	}
	if err := c.openBlocks(); err != nil {
		return err
	}
	engineConfig, options, err := c.prepareStateSync(ctx)
	if err != nil {
		return err
	}
	if err := c.checkApplication(); err != nil {
		return err
	}
	if err := c.beginLater(ctx); err != nil {
		return err
	}
	if c.presence, err = newPresence(c.ID(), c.nodeKey.key.ID(), c.signer, attester{c.adapter}); err != nil {
		return err
	}
	err = contain(func() error {
		var err error
		c.engine, err = node.NewNodeWithContext(ctx, engineConfig, votes{c.signer, c.adapter.rounds, c.twins}, &c.nodeKey.key, creator{c},
			func() (*types.GenesisDoc, error) { return c.genesis, nil },
			c.database, provider, c.engineLogger(),
			append(options, c.adapter.guardSync, c.guardStart, node.CustomReactors(c.reactors()))...)
		return err
	})
	if halted := c.halt.err(); halted != nil {
		return halted
	}
	if err != nil {
		if p := (*panicError)(nil); errors.As(err, &p) {
			c.logger.ErrorContext(ctx, "engine panicked at start", slog.Any("err", err), slog.String("stack", string(p.stack)))
		}
		return err
	}
	if err := c.checkGenesis(); err != nil {
		return err
	}
	if err := c.checkSignState(); err != nil {
		return err
	}
	c.armTwinGuard()
	c.restoreHead()
	return nil
}

// reactors are ours beside CometBFT's.
func (c *Chain) reactors() map[string]p2p.Reactor {
	r := map[string]p2p.Reactor{presenceReactor: c.presence}
	if c.cfg.Announcements != nil {
		c.announced = newAnnouncements(*c.cfg.Announcements)
		r[announceReactor] = c.announced
	}
	if app, ok := c.adapter.app.(Answerer); ok {
		c.inquiry = newInquiry(answerer{c.adapter, app})
		r[askReactor] = c.inquiry
	}
	return r
}

// creator makes the connections to the application and remembers them, since
// CometBFT leaves them running if NewNode fails.
type creator struct{ chain *Chain }

func (c creator) NewABCIClient() (abcicli.Client, error) {
	client, err := proxy.NewConnSyncLocalClientCreator(c.chain.adapter).NewABCIClient()
	if err == nil {
		c.chain.clients = append(c.chain.clients, client)
	}
	return client, err
}

// database gives CometBFT its stores.
func (c *Chain) database(ctx *cfg.DBContext) (dbm.DB, error) { return c.view(ctx.ID), nil }

// view is one of CometBFT's stores.
func (c *Chain) view(id string) *database {
	d := newDatabase(kv.Prefixed(c.store, []byte(id+"/")), c.dbGate)
	d.faults = c.faults
	if id == blockDB {
		d.blocks = c.blocks
	}
	return d
}

// engineLogger watches CometBFT's log for failures it reports nowhere else.
func (c *Chain) engineLogger() cmtlog.Logger {
	return newLogger(c.logger.Handler(), func(msg string, keyvals []any) {
		if msg == msgStateSyncFailed { // as it must, see join.go
			c.noteSearched()
		}
		cause, reason, halts := engineFailure(msg, fmt.Sprint(keyval(keyvals, "err")))
		if halts {
			height, _, _, _, _ := c.head.snapshot()
			_ = c.halt.set(uint64(height)+1, cause, reason)
		}
	})
}

// engineFailure reports whether a line of level error in CometBFT's log means
// that the chain is halted, and why. CometBFT says so in words only.
func engineFailure(msg, text string) (cause HaltCause, reason string, halts bool) {
	// The block is signed by two thirds in both cases, so it is our state that
	// differs.
	differs := strings.Contains(text, wrongAppHash)
	switch {
	case msg == msgConsensusFailure && differs:
		return HaltAppHash, "consensus failure: " + text, true
	case msg == msgConsensusFailure:
		return HaltConsensus, "consensus failure: " + text, true
	case msg == msgSyncValidation && differs:
		return HaltAppHash, "state differs from the network's: " + text, true
	}
	return 0, "", false
}

// abandon undoes a start that failed.
func (c *Chain) abandon() {
	c.stopEngine()
	ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
	defer cancel()
	_ = c.appGate.close(ctx)
	_ = c.dbGate.close(ctx)
	c.blocks.close()
	c.forgetMetrics()
	c.signer.release()
}

const (
	// abandonTimeout bounds the undoing of a failed start.
	abandonTimeout = 5 * time.Second
	// loopsTimeout is how long Stop waits for dial attempts before it closes
	// the door behind them; a connection made later would leak.
	loopsTimeout = time.Second
)

// stopEngine stops the CometBFT node and what it leaves running. It may be
// called more than once.
func (c *Chain) stopEngine() {
	c.twins.decide()
	if c.engine != nil {
		if c.engine.IsRunning() {
			if syncing := c.adapter.syncing; syncing != nil {
				// First of all, and to its end: consensus that block sync starts while
				// it is being stopped would never stop.
				_ = contain(syncing.Stop)
			}
			_ = contain(c.engine.Stop)
		} else {
			_ = c.engine.EventBus().Stop()
		}
		_ = c.engine.ProxyApp().Stop()
		c.closeLog()
	}
	for _, client := range c.clients {
		if client.IsRunning() {
			_ = client.Stop()
		}
	}
}

// Stop leaves the network and stops the chain. When it returns nil, neither the
// stores nor the application are used any more, and both may be closed. If ctx
// ends first it returns an error; the stores are cut off even so, and a
// consensus still running on this chain ends at its next access to them. During a
// start it waits for that, and a second Stop waits for the first.
func (c *Chain) Stop(ctx context.Context) error {
	if c.state.CompareAndSwap(stateNew, stateStopped) {
		close(c.started)
		close(c.stopped)
		return nil
	}
	c.giveUp()
	select {
	case <-c.started:
	case <-ctx.Done():
		return fmt.Errorf("stop chain %q, which is starting: %w", c.ID(), ctx.Err())
	}
	if c.state.CompareAndSwap(stateRunning, stateStopped) {
		defer close(c.stopped)
		return c.stop(ctx)
	}
	select {
	case <-c.stopped:
	case <-ctx.Done():
		return fmt.Errorf("stop chain %q, which is stopping: %w", c.ID(), ctx.Err())
	}
	if err := errors.Join(c.appGate.close(ctx), c.dbGate.close(ctx)); err != nil { // the first gave up
		return fmt.Errorf("stop chain %q: %w", c.ID(), err)
	}
	return nil
}

// stop stops what start started.
func (c *Chain) stop(ctx context.Context) error {
	c.cancel()
	c.dialer.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		looped := make(chan struct{})
		go func() {
			defer close(looped)
			c.loops.Wait()
		}()
		select {
		case <-looped:
		case <-time.After(loopsTimeout):
		}
		c.stopEngine()
		<-looped
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	err = errors.Join(err, c.appGate.close(ctx), c.dbGate.close(ctx))
	c.blocks.close()
	c.forgetMetrics()
	c.signer.release()
	if err != nil {
		return fmt.Errorf("stop chain %q: %w", c.ID(), err)
	}
	return nil
}
