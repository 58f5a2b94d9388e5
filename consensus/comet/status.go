package comet

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
	sm "github.com/cometbft/cometbft/state"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Status is how a chain does on this node, at one moment.
type Status struct {
	ChainID string
	Running bool // started and not stopped; a halted chain counts as running

	Height        uint64    // last committed block, 0 before the first
	LastBlockTime time.Time // from its header; zero before the first
	LastCommit    time.Time // when this node committed it; zero if before the start
	Round         int32     // of the height being agreed on; above 0 something is slow
	NetworkHeight uint64    // highest height that this node has or a peer it trusts says; see ClockSkew

	CatchingUp bool       // fetching blocks, not voting yet
	Sync       SyncStatus // how far it is; as of up to a second ago
	// Headers is how far a node that joined by a snapshot is with the headers that
	// evidence may be about. While one is missing, a block with such evidence would
	// halt the node.
	Headers HeaderStatus
	Halt    *HaltError // nil unless halted
	Signer  error      // why this node does not sign, or nil

	Validator      bool  // this node's key is in the current validator set
	ConnectedPower int64 // of validators that can vote and be heard, this one included
	TotalPower     int64 // of the current validator set
	Peers          int   // connected
	WantedPeers    int   // configured
	// PeerProblem says why a configured peer that answers cannot be connected: it is of
	// another network, or another node than it should be. Empty if there is no such.
	PeerProblem string

	// Refused are the votes for the block being agreed on that this node refused, by the
	// validator whose name they bear, which is unproven: see MaxPeerExtension.
	// RefusedVotes is how many there were since the start.
	Refused      []RefusedVote
	RefusedVotes uint64

	MempoolTxs   int
	MempoolBytes int64
	// PendingSince is when the oldest work without a block since began to wait:
	// transactions, the empty block that carries a new application hash, or any
	// block if empty ones are made. Zero if there is none.
	PendingSince time.Time

	// ClockSkew is the median of the peers' clocks minus this node's, as far as
	// heartbeats tell (they may be late, so it errs towards the past); 0 without
	// peers. Of peers only those count that proved to be of a present validator,
	// or that this node is to dial: anyone may connect and say anything. Blocks are refused at Config.BlockTimeTolerance.
	ClockSkew time.Duration
}

// Halt stops the chain for good on this node, for an application that found out
// between two blocks that it cannot go on. Of several reasons the first counts.
func (c *Chain) Halt(reason error) {
	height, _, _, _, _ := c.head.snapshot()
	cause := HaltApplication
	if errors.Is(reason, kv.ErrFailed) {
		cause = HaltStore
	}
	_ = c.halt.set(uint64(height), cause, reason.Error())
}

// HealthLimits says what [Status.Health] tolerates. The zero value means the
// defaults.
type HealthLimits struct {
	// Stall is how long work may wait for a block. Default 5 s.
	Stall time.Duration
	// ClockSkew is how far this clock may differ from the peers'. Default 30 s.
	ClockSkew time.Duration
	// IgnoreQuorum is for a node that is not connected to the validators
	// itself: it cannot tell whether they reach each other.
	IgnoreQuorum bool
}

const (
	defaultStall     = 5 * time.Second
	defaultClockSkew = 30 * time.Second
)

// Health says whether the chain can be relied on at now, and if not why, in one
// line. An idle chain that makes no empty blocks is healthy. It depends on
// nothing but its arguments.
func (s Status) Health(now time.Time, limits HealthLimits) (ok bool, reason string) {
	def(&limits.Stall, defaultStall)
	def(&limits.ClockSkew, defaultClockSkew)
	switch {
	case s.Halt != nil:
		return false, s.Halt.Error()
	case !s.Running && s.Signer != nil:
		return false, fmt.Sprintf("%v: %v", ErrNotRunning, s.Signer)
	case !s.Running:
		return false, ErrNotRunning.Error()
	case s.Validator && s.Signer != nil:
		return false, s.Signer.Error()
	case s.CatchingUp && s.NetworkHeight <= s.Height:
		return false, fmt.Sprintf("catching up: at height %d, and no peer of %d has told of a higher one", s.Height, s.Peers) + s.note()
	case s.CatchingUp:
		return false, fmt.Sprintf("catching up: height %d of %d", s.Height, s.NetworkHeight) + s.note() + s.peerProblem()
	case !limits.IgnoreQuorum && !s.quorum():
		return false, fmt.Sprintf("quorum unreachable: voting power %d of %d connected", s.ConnectedPower, s.TotalPower) + s.peerProblem()
	case s.ClockSkew > limits.ClockSkew || s.ClockSkew < -limits.ClockSkew:
		return false, fmt.Sprintf("clock differs from the peers' by %v", s.ClockSkew.Round(time.Millisecond))
	case !s.PendingSince.IsZero() && now.Sub(s.PendingSince) > limits.Stall:
		return false, fmt.Sprintf("no block for %v although work is pending", now.Sub(s.PendingSince).Round(time.Millisecond)) + s.refused()
	case s.Headers.Missing() > 0:
		return false, s.Headers.String() + "; until all are there, a block with evidence about one that is missing would halt this node"
	}
	return true, ""
}

// peerProblem is what a reason ends with that may come of a peer that is none.
func (s Status) peerProblem() string {
	if s.PeerProblem == "" {
		return ""
	}
	return "; " + s.PeerProblem
}

// note is what a reason ends with that may come of how this node catches up.
func (s Status) note() string {
	if s.Sync.Note == "" {
		return ""
	}
	return "; " + s.Sync.Note
}

// quorum reports whether the connected power exceeds two thirds.
func (s Status) quorum() bool {
	return s.TotalPower > 0 && s.ConnectedPower > s.TotalPower/3*2+s.TotalPower%3*2/3
}

// Status returns how the chain does. It does not block on consensus or stores.
func (c *Chain) Status() Status {
	height, blockTime, at, waiting, nextVals := c.head.snapshot()
	s := Status{
		ChainID:       c.ID(),
		Height:        uint64(height),
		LastBlockTime: blockTime,
		LastCommit:    at,
		Round:         int32(c.round.Load()),
		NetworkHeight: uint64(height),
		PendingSince:  waiting,
		Halt:          c.halt.get(),
		Signer:        c.signer.Err(),
		WantedPeers:   len(c.cfg.Peers),
	}
	engine, running := c.running()
	if !running {
		return s
	}
	s.Running = true
	s.Refused, s.RefusedVotes = c.adapter.refused.at(height + 1)
	s.Sync = c.progress.get()
	s.Headers = c.filling.get()
	s.CatchingUp = c.catchingUp()
	s.MempoolTxs = engine.Mempool().Size()
	s.MempoolBytes = engine.Mempool().SizeBytes()
	s.WantedPeers, s.PeerProblem = c.dialer.count(), c.dialer.problem()
	c.reach(&s, c.validators(height, nextVals))
	return s
}

// reach fills in what depends on peers: the power connected, the network's
// height and clock.
func (c *Chain) reach(s *Status, vals []Validator) {
	voting := make(map[string]bool, len(vals))
	own := string(c.signer.PubKey())
	if s.Halt == nil && !s.CatchingUp && s.Signer == nil {
		voting[own] = true
	}
	current := make(map[string]bool, len(vals))
	for _, v := range vals {
		current[string(v.PubKey)] = true
	}
	var skews []time.Duration
	c.eachPeer(func(peer p2p.Peer, v contactView) {
		s.Peers++
		if !v.alive || !v.heard {
			return
		}
		if current[string(v.validator)] || c.dialer.wants(peer.ID()) {
			skews = append(skews, v.skew)
			s.NetworkHeight = max(s.NetworkHeight, v.height)
		}
		if v.voting {
			voting[string(v.validator)] = true
		}
	})
	for _, v := range vals {
		s.TotalPower += v.Power
		if voting[string(v.PubKey)] {
			s.ConnectedPower += v.Power
		}
		if string(v.PubKey) == own {
			s.Validator = true
		}
	}
	if len(skews) > 0 {
		slices.Sort(skews)
		s.ClockSkew = skews[len(skews)/2]
	}
}

// validatorCache keeps the current validator set, which seldom changes.
type validatorCache struct {
	mu   sync.Mutex
	hash []byte // of the set, from a header; nil for the set at the start
	vals []Validator
}

// validators returns the set that votes on the block after height, whose hash
// is nextVals if known.
func (c *Chain) validators(height int64, nextVals []byte) []Validator {
	cache := &c.valset
	cache.mu.Lock()
	defer cache.mu.Unlock()
	if cache.vals != nil && (nextVals == nil || bytes.Equal(cache.hash, nextVals)) {
		return cache.vals
	}
	vals, err := c.loadValidators(height + 1)
	if err != nil {
		return cache.vals // the set of height+1 is stored just after the commit
	}
	cache.hash, cache.vals = nextVals, vals
	return vals
}

// Validator is a member of a validator set.
type Validator struct {
	PubKey  []byte // Ed25519, 32 bytes
	Address []byte // consensus address, 20 bytes
	Power   int64
}

// Validators returns the set that votes on the block at height, in CometBFT's
// order; heights up to one above the last block are known, unless pruned.
func (c *Chain) Validators(height uint64) ([]Validator, error) {
	if _, running := c.running(); !running {
		return nil, ErrNotRunning
	}
	return c.loadValidators(int64(height))
}

func (c *Chain) loadValidators(height int64) ([]Validator, error) {
	var out []Validator
	err := contain(func() error {
		set, err := c.stateStore().LoadValidators(height)
		if err != nil {
			return fmt.Errorf("%w: validators at %d: %w", ErrNotFound, height, err)
		}
		for _, v := range set.Validators {
			out = append(out, Validator{PubKey: v.PubKey.Bytes(), Address: v.Address, Power: v.VotingPower})
		}
		return nil
	})
	return out, err
}

// stateStore is a view of CometBFT's state, which it does not hand out itself.
func (c *Chain) stateStore() sm.Store {
	return sm.NewStore(c.view(stateDB), sm.StoreOptions{DiscardABCIResponses: true})
}
