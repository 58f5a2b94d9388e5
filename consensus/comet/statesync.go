package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	cfg "github.com/cometbft/cometbft/config"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/light/provider"
	lightdb "github.com/cometbft/cometbft/light/store/db"
	"github.com/cometbft/cometbft/node"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"
)

// Defaults of [StateSync].
const (
	DefaultTrustPeriod   = 7 * 24 * time.Hour
	DefaultDiscoveryTime = 5 * time.Second
	DefaultSearchTime    = 30 * time.Second
)

const (
	// headerPatience is how long a header that the network is about to make is
	// waited for, headerInterval how often it is asked for.
	headerPatience = 20 * time.Second
	headerInterval = 250 * time.Millisecond
	// sourceTimeout bounds one question to a source.
	sourceTimeout = 10 * time.Second
)

// LightSource is a node that is asked for headers, over whatever way. It is safe
// for concurrent use.
type LightSource interface {
	// LightBlock returns the header of the block at height with the commit that
	// signs it, and the validators that voted, in CometBFT's protobuf encoding
	// (types.SignedHeader, types.ValidatorSet), as [Chain.LightBlock] does. Height
	// 0 is the last block. An error that is ErrNotFound says that the node has no
	// such block; any other that it cannot be asked now.
	LightBlock(ctx context.Context, height uint64) (signedHeader, validators []byte, err error)
	// String names the node in messages.
	String() string
}

// EvidenceTaker is a LightSource that also takes evidence, as [Chain.AddEvidence]
// does.
type EvidenceTaker interface {
	TakeEvidence(ctx context.Context, evidence []byte) error
}

// StateSync says that a node without blocks joins from a snapshot of its peers, and
// whom it believes what the chain's state is. A node that has blocks ignores it.
type StateSync struct {
	// Sources are asked for headers, at least one; each is checked against the
	// others. What they say must be signed by the chain's validators, as far as
	// the trusted header tells who they are. [StateSync.Needed] of them must answer
	// at the start; one that answers otherwise than the others stops it.
	Sources []LightSource
	// TrustHeight and TrustHash are a header that the operator knows to be right.
	// Without them the last header on which all Sources that answer agree is
	// trusted, for which there must be two or more.
	TrustHeight uint64
	TrustHash   []byte // 32 bytes
	// TrustPeriod is how old a header may be to be trusted, by this node's clock: less
	// than the time after which a validator can no longer be punished. On a chain that
	// idled no stake leaves, and its headers are no worse for it; so a header that is
	// older will do if two or more sources agree that the chain went on for less than
	// that since. One source alone could pretend that, with the keys of validators
	// whose stake is gone; then it needs TrustIdle.
	TrustPeriod time.Duration
	// TrustIdle believes a single source that the chain idled: that its newest header is
	// the chain's.
	TrustIdle bool
	// Anchored says that the trusted header is beyond doubt and of the last days, as
	// another chain vouches for it: it never gets too old, a source that has another one
	// is left out, and headers below it are those that it leads to. If no source
	// answers, block sync begins, unless Only is set.
	Anchored bool
	// Few is the length of a chain, in blocks, of which all are fetched if a peer has the
	// first, and no snapshot is looked for. Zero: one is in any case.
	Few uint64
	// Only says that this node cannot begin with the first block, so that it looks for a
	// snapshot until there is one.
	Only bool
	// DiscoveryTime is how long peers get to offer snapshots before the best of them
	// is tried; then they are asked again. Zero means DefaultDiscoveryTime.
	DiscoveryTime time.Duration
	// SearchTime is how long snapshots are looked for, while there is a peer to ask.
	// If none could be restored by then, because nobody offers one or all were
	// refused, the node fetches all blocks instead, as soon as a peer has the first.
	// While nobody has, it goes on looking for either. Zero means DefaultSearchTime.
	SearchTime time.Duration
}

// Needed is how many of Sources must answer: more than half of them, two at least,
// or one if there is a trusted header.
func (s *StateSync) Needed() int {
	if s.TrustHeight > 0 {
		return 1
	}
	return max(2, len(s.Sources)/2+1)
}

func (s *StateSync) validate() error {
	switch {
	case len(s.Sources) == 0:
		return errors.New("state sync: no sources of headers")
	case (s.TrustHeight == 0) != (len(s.TrustHash) == 0):
		return errors.New("state sync: trust height and trust hash go together")
	case s.Anchored && s.TrustHeight == 0:
		return errors.New("state sync: an anchored header without height and hash")
	case s.TrustHeight > 0 && len(s.TrustHash) != 32:
		return fmt.Errorf("state sync: trust hash has %d bytes, want 32", len(s.TrustHash))
	case s.TrustHeight == 0 && len(s.Sources) < 2:
		return errors.New("state sync: one source is not enough without a trusted height and hash; add a second, or give them")
	case s.TrustPeriod < 0 || s.DiscoveryTime < 0 || s.SearchTime < 0:
		return errors.New("state sync: a negative duration")
	}
	return nil
}

// trustedStates is statesync.StateProvider: what the headers, verified from a
// trusted one on, say of the state at a height.
type trustedStates struct {
	cfg     StateSync
	chainID string
	initial int64
	params  *types.ConsensusParams
	logger  cmtlog.Logger

	offers *offers // nil if no snapshots are looked for

	mu      sync.Mutex    // the light client is not safe for concurrent use
	sources []LightSource // those that answered at the start; nil before
	client  *light.Client
	below   descent
	problem error // the last
}

var _ statesync.StateProvider = (*trustedStates)(nil)

func newTrustedStates(s StateSync, genesis *types.GenesisDoc, logger cmtlog.Logger) *trustedStates {
	if s.Anchored {
		s.TrustPeriod = math.MaxInt64
	}
	def(&s.TrustPeriod, DefaultTrustPeriod)
	def(&s.DiscoveryTime, DefaultDiscoveryTime)
	def(&s.SearchTime, DefaultSearchTime)
	return &trustedStates{cfg: s, chainID: genesis.ChainID, initial: genesis.InitialHeight, params: genesis.ConsensusParams, logger: logger}
}

// verified returns the verified header at height with its validators. It waits for
// one that is just being made.
func (s *trustedStates) verified(ctx context.Context, height uint64) (*types.LightBlock, error) {
	patience, cancel := context.WithTimeout(ctx, headerPatience)
	defer cancel()
	tick := time.NewTicker(headerInterval)
	defer tick.Stop()
	for {
		b, err := s.verify(ctx, height)
		if err == nil || !errors.Is(err, provider.ErrLightBlockNotFound) && !errors.Is(err, provider.ErrHeightTooHigh) &&
			!errors.Is(err, provider.ErrNoResponse) {
			return b, err
		}
		select {
		case <-tick.C:
		case <-patience.Done():
			return nil, fmt.Errorf("header of height %d: %w", height, err)
		}
	}
}

func (s *trustedStates) verify(ctx context.Context, height uint64) (*types.LightBlock, error) {
	if s.client == nil {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	if s.cfg.Anchored && height < s.cfg.TrustHeight {
		return s.descend(ctx, int64(height))
	}
	b, err := s.client.VerifyLightBlockAtHeight(ctx, int64(height), time.Now())
	if old := (light.ErrOldHeaderExpired{}); !errors.As(err, &old) {
		return b, err
	}
	at, errIdle := s.idleSince(ctx)
	if errIdle != nil {
		return nil, fmt.Errorf("the trusted header is too old for header %d: by this node's clock, more than the trust period of %v; "+
			"give the height and hash of a newer one; if the chain made no blocks since, %w", height, s.cfg.TrustPeriod, errIdle)
	}
	b, err = s.client.VerifyLightBlockAtHeight(ctx, int64(height), at)
	if old := (light.ErrOldHeaderExpired{}); errors.As(err, &old) {
		return nil, fmt.Errorf("the trusted header is too old for header %d: the chain went on for more than the trust period of %v after it; "+
			"give the height and hash of a newer one: %w", height, s.cfg.TrustPeriod, err)
	}
	return b, err
}

// idleSince returns the time of the newest header, if it may be believed that the chain
// made none since: because the operator says so, or two sources or more do, with headers
// that agree. Otherwise whoever speaks for the only source could keep the trust period
// from ever ending, by a chain whose last header is a little later than the trusted one.
func (s *trustedStates) idleSince(ctx context.Context) (time.Time, error) {
	providers := s.providers()
	if len(providers) < 2 && !s.cfg.TrustIdle {
		return time.Time{}, errors.New("name two or more sources, of different operators, that agree about it, " +
			"or say with trust_idle = true that you know the newest header of the only one to be the chain's")
	}
	if _, err := agreedHeader(ctx, providers); err != nil {
		return time.Time{}, fmt.Errorf("the sources have to agree about it: %w", err)
	}
	var newest time.Time
	for _, p := range providers {
		b, err := p.LightBlock(ctx, 0)
		if err != nil {
			return time.Time{}, fmt.Errorf("ask %s for its last header: %w", p, err)
		}
		if b.Time.After(newest) {
			newest = b.Time
		}
	}
	if now := time.Now(); newest.After(now) {
		return now, nil
	}
	return newest, nil
}

// providers are the sources that answered at the start.
func (s *trustedStates) providers() []provider.Provider {
	var out []provider.Provider
	for _, source := range s.sources {
		out = append(out, &lightProvider{source: source, chainID: s.chainID})
	}
	return out
}

// connect makes the light client, and with it the decision whom to trust.
func (s *trustedStates) connect(ctx context.Context) error {
	if err := s.choose(ctx); err != nil {
		return err
	}
	sources := s.providers()
	trust := light.TrustOptions{Period: s.cfg.TrustPeriod, Height: int64(s.cfg.TrustHeight), Hash: s.cfg.TrustHash}
	if s.cfg.TrustHeight == 0 {
		agreed, err := agreedHeader(ctx, sources)
		if err != nil {
			return err
		}
		trust.Height, trust.Hash = agreed.Height, agreed.Hash()
	}
	if len(sources) == 1 { // its word is checked against the trusted header only
		sources = append(sources, sources[0])
	}
	client, err := light.NewClient(ctx, s.chainID, trust, sources[0], sources[1:],
		lightdb.New(dbm.NewMemDB(), ""), light.Logger(s.logger), light.MaxRetryAttempts(5))
	if err != nil {
		return fmt.Errorf("verify headers: %w", err)
	}
	s.client = client
	return nil
}

// check asks the sources for the header to trust. CometBFT would take a source that
// does not answer, or that lies, for a snapshot that is no good, and look for
// another one for ever.
func (s *trustedStates) check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.choose(ctx); err != nil || s.cfg.TrustHeight > 0 {
		return err
	}
	_, err := agreedHeader(ctx, s.providers())
	return err
}

// errSourceAway says that a source cannot help now, and not that it is wrong.
var errSourceAway = errors.New("it does not answer")

// choose asks all sources, unless that was done, and keeps those that answer.
func (s *trustedStates) choose(ctx context.Context) error {
	if s.sources != nil {
		return nil
	}
	problems := make([]error, len(s.cfg.Sources))
	var asked sync.WaitGroup
	for i, source := range s.cfg.Sources {
		asked.Go(func() {
			problems[i] = contain(func() error { return s.checkSource(ctx, source) })
		})
	}
	asked.Wait()
	var answering []LightSource
	wrong := false
	for i, source := range s.cfg.Sources {
		if problems[i] == nil {
			answering = append(answering, source)
			continue
		}
		problems[i] = fmt.Errorf("source %s: %w", source, problems[i])
		wrong = wrong || !s.cfg.Anchored && !errors.Is(problems[i], errSourceAway)
	}
	needed := s.cfg.Needed()
	switch {
	case wrong:
		return errors.Join(problems...)
	case len(answering) < needed:
		return fmt.Errorf("%d of %d sources answer, and %d must: %w", len(answering), len(problems), needed, errors.Join(problems...))
	}
	for _, problem := range problems {
		if problem != nil {
			s.logger.Warn("a source of headers is left out, the others are enough", "needed", needed, "answering", len(answering), "err", problem)
		}
	}
	s.sources = answering
	return nil
}

// checkSource returns what is wrong with a source; an error that is errSourceAway if
// it says nothing.
func (s *trustedStates) checkSource(ctx context.Context, source LightSource) error {
	height := s.cfg.TrustHeight
	ask, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	header, validators, err := source.LightBlock(ask, height)
	switch {
	case errors.Is(err, ErrNotFound) && height == 0:
		return fmt.Errorf("%w: it has no blocks yet, so there is nothing to join: %w", errSourceAway, err)
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("%w: it does not have the trusted header, of height %d: %w", errSourceAway, height, err)
	case err != nil:
		return fmt.Errorf("%w: it cannot be asked: %w", errSourceAway, err)
	}
	b, err := decodeLightBlock(header, validators)
	if err == nil {
		err = b.ValidateBasic(s.chainID)
	}
	if err != nil {
		return fmt.Errorf("what it says is no header of chain %q: %w", s.chainID, err)
	}
	if height > 0 && !bytes.Equal(b.Hash(), s.cfg.TrustHash) {
		return fmt.Errorf("it has header %X at height %d, not the trusted one, %X: one of them is wrong", b.Hash(), b.Height, s.cfg.TrustHash)
	}
	return nil
}

// lastProblem returns why a snapshot that was offered could not be judged, or nil.
func (s *trustedStates) lastProblem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// AppHash implements statesync.StateProvider: the header after height has it.
func (s *trustedStates) AppHash(ctx context.Context, height uint64) (hash []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { // CometBFT tells nobody
		if err != nil {
			s.problem = err
		}
	}()
	if s.offers != nil && !s.offers.any(height) {
		return nil, fmt.Errorf("nobody who may be believed offers a snapshot of height %d", height)
	}
	next, err := s.verified(ctx, height+1)
	if err != nil {
		if s.offers != nil {
			s.offers.unknown(height)
		}
		return nil, err
	}
	if _, err := s.nextValidators(ctx, next); err != nil {
		return nil, err
	}
	return next.AppHash, nil
}

// nextValidators returns the validators of the height after b. They are in the
// header after b, which an idle chain may not have; but seldom are they others.
func (s *trustedStates) nextValidators(ctx context.Context, b *types.LightBlock) (*types.ValidatorSet, error) {
	if bytes.Equal(b.NextValidatorsHash, b.ValidatorsHash) {
		return b.ValidatorSet.CopyIncrementProposerPriority(1), nil
	}
	next, err := s.verified(ctx, uint64(b.Height)+1)
	if err != nil {
		return nil, err
	}
	return next.ValidatorSet, nil
}

// Commit implements statesync.StateProvider.
func (s *trustedStates) Commit(ctx context.Context, height uint64) (*types.Commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.verified(ctx, height)
	if err != nil {
		return nil, err
	}
	return b.Commit, nil
}

// State implements statesync.StateProvider: CometBFT's state after the block at
// height. Consensus parameters are those of the genesis, which never change.
func (s *trustedStates) State(ctx context.Context, height uint64) (sm.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, err := s.verified(ctx, height)
	if err != nil {
		return sm.State{}, err
	}
	current, err := s.verified(ctx, height+1)
	if err != nil {
		return sm.State{}, err
	}
	nextValidators, err := s.nextValidators(ctx, current)
	if err != nil {
		return sm.State{}, err
	}
	if hash := s.params.Hash(); !bytes.Equal(hash, current.ConsensusHash) {
		return sm.State{}, fmt.Errorf("header %d has consensus parameters %X, the genesis %X", current.Height, current.ConsensusHash, hash)
	}
	return sm.State{
		ChainID:                          s.chainID,
		InitialHeight:                    s.initial,
		Version:                          cmtstate.Version{Consensus: current.Version, Software: version.TMCoreSemVer},
		LastBlockHeight:                  last.Height,
		LastBlockTime:                    last.Time,
		LastBlockID:                      last.Commit.BlockID,
		AppHash:                          current.AppHash,
		LastResultsHash:                  current.LastResultsHash,
		LastValidators:                   last.ValidatorSet,
		Validators:                       current.ValidatorSet,
		NextValidators:                   nextValidators,
		LastHeightValidatorsChanged:      current.Height + 1,
		ConsensusParams:                  *s.params,
		LastHeightConsensusParamsChanged: current.Height,
	}, nil
}

// bootstrap makes CometBFT's state of an application that was restored from a
// snapshot while there are no blocks: by a crash after the restore, or by hand. It
// reports whether it did.
func (c *Chain) bootstrap(ctx context.Context, states *trustedStates) (did bool, err error) {
	height, appHash := c.adapter.app.Head()
	blocks := store.NewBlockStore(c.view(blockDB))
	state, err := c.stateStore().Load()
	if err != nil || int64(height) < c.genesis.InitialHeight || blocks.Height() > 0 {
		return false, err
	}
	if state.LastBlockHeight == int64(height) {
		return true, c.bootstrapped(ctx, states, blocks, int64(height))
	}
	if state.LastBlockHeight > 0 { // checkApplication says what is wrong
		return false, nil
	}
	if states == nil {
		return false, fmt.Errorf("%w: it is at height %d, no blocks are stored; state sync must say whom to trust",
			ErrApplicationAhead, height)
	}
	if state, err = states.State(ctx, height); err != nil {
		return false, fmt.Errorf("state at height %d: %w", height, err)
	}
	if !bytes.Equal(state.AppHash, appHash) {
		return false, fmt.Errorf("the application was restored with hash %X at height %d, the chain has %X; wipe both",
			appHash, height, state.AppHash)
	}
	if err := c.beginFilling(state.LastBlockHeight); err != nil {
		return false, err
	}
	if err := c.stateStore().Bootstrap(state); err != nil {
		return false, err
	}
	return true, c.bootstrapped(ctx, states, blocks, int64(height))
}

// bootstrapped adds what CometBFT wants besides its state at height while there is
// no block yet: the commit, and the height itself, which every start forgets.
func (c *Chain) bootstrapped(ctx context.Context, states *trustedStates, blocks *store.BlockStore, height int64) error {
	if blocks.LoadSeenCommit(height) == nil {
		if states == nil {
			return fmt.Errorf("the commit of height %d, that of the snapshot, is missing; state sync must say whom to trust", height)
		}
		commit, err := states.Commit(ctx, uint64(height))
		if err != nil {
			return fmt.Errorf("commit of height %d: %w", height, err)
		}
		if err := blocks.SaveSeenCommit(height, commit); err != nil {
			return err
		}
	}
	return c.stateStore().SetOfflineStateSyncHeight(height)
}

// prepareStateSync returns CometBFT's configuration and options for a start: with
// state sync if it is wanted and there are no blocks.
func (c *Chain) prepareStateSync(ctx context.Context) (engine *cfg.Config, options []node.Option, err error) {
	engine = c.cfg.engine()
	var states *trustedStates
	if c.cfg.StateSync != nil {
		states = newTrustedStates(*c.cfg.StateSync, c.genesis, c.engineLogger())
	}
	var empty bool
	if err := contain(func() error {
		did, err := c.bootstrap(ctx, states)
		if err != nil || did {
			return err
		}
		height, _ := c.adapter.app.Head()
		state, err := c.stateStore().Load()
		empty = height == 0 && state.LastBlockHeight == 0 && store.NewBlockStore(c.view(blockDB)).Height() == 0
		return err
	}); err != nil {
		return nil, nil, fmt.Errorf("state sync: %w", err)
	}
	if states == nil || !empty {
		return engine, nil, nil
	}
	switch err := states.check(ctx); {
	case err != nil && states.cfg.Anchored && !states.cfg.Only && ctx.Err() == nil:
		c.logger.WarnContext(ctx, "nobody tells headers to join by a snapshot; all blocks are fetched instead", slog.Any("err", err))
		return engine, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("state sync: %w", err)
	}
	engine.StateSync.Enable = true
	engine.StateSync.DiscoveryTime = 0 // see join.go
	engine.StateSync.TempDir = c.cfg.Dir
	states.offers = newOffers()
	c.adapter.offers, c.states = states.offers, states
	c.searching.Store(true)
	return engine, []node.Option{node.StateProvider(states), states.offers.install}, nil
}
