package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cometbft/cometbft/blocksync"
	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/p2p"
	bcproto "github.com/cometbft/cometbft/proto/tendermint/blocksync"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
)

// CometBFT's state sync looks for snapshots without end, and leaves its goroutine
// behind when the node stops. So it is asked to look but once here (its discovery
// time is zero), which fails at the start of the node; after that this package looks,
// in rounds of the same reactor, and goes on by all blocks if nothing comes of it.

const (
	noteNoSnapshot = "no snapshot was found, so all blocks are fetched"
	// noteOnlySnapshot is for a node that cannot begin with the first block.
	noteOnlySnapshot = "no snapshot was found, and this node cannot begin with the first block; it goes on looking"
	// strandedRemedy is what helps a node that wants blocks that nobody has.
	strandedRemedy = "connect a node that keeps all blocks, or begin anew from a snapshot (state sync)"
	// beganInVain is for a node that found no snapshot, but no block either.
	beganInVain = "no snapshot was found, and nobody gives the first block either; " +
		"connect a node that keeps all blocks, or start this one again to look for a snapshot once more"
	// strandedAfter is how long a node that makes blocks with the others may be behind
	// them before it is said that nobody has what it lacks. They are a block ahead
	// for a moment all the time.
	strandedAfter = 10 * time.Second
)

// found is what a round of the search came to.
type found struct {
	state  sm.State
	commit *types.Commit
	err    error
}

// search looks for a snapshot, round by round, until one is restored, or there was
// none for states.cfg.SearchTime and a peer has the blocks from the first on. Then
// block sync begins. It ends early with ctx, or if the chain halts.
func (c *Chain) search(ctx context.Context, states *trustedStates) {
	select {
	case <-c.engineSearched:
	case <-ctx.Done():
		return
	}
	if c.few(ctx, &states.cfg) {
		c.logger.InfoContext(ctx, "the chain is short; all blocks are fetched")
		c.began(c.beginAtGenesis(ctx))
		return
	}
	var looked time.Duration // while there was a peer to ask
	var told time.Time
	for ctx.Err() == nil && c.halt.get() == nil {
		began := time.Now()
		// What peers have is known of what they said when they connected.
		c.engine.Switch().BroadcastAsync(p2p.Envelope{ChannelID: blocksync.BlocksyncChannel, Message: &bcproto.StatusRequest{}})
		result, over := c.searchOnce(ctx, states)
		switch {
		case over:
			return
		case result.err == nil:
			c.began(c.beginAfter(ctx, result.state, result.commit))
			return
		case c.restored(ctx):
			// It has the snapshot's state, so it cannot begin at the genesis.
			c.began(result.err)
			return
		}
		if c.engine.Switch().Peers().Size() > 0 {
			looked += time.Since(began)
		}
		if looked < states.cfg.SearchTime {
			continue
		}
		offering, refused := states.offers.count()
		attrs := []any{
			slog.Duration("looked", looked.Round(time.Second)), slog.Int("peers", c.engine.Switch().Peers().Size()),
			slog.Int("peers_offering", offering), slog.Int("peers_refused", refused), slog.Any("err", states.lastProblem()),
		}
		lowest, known := c.lowestTold()
		if known && lowest <= c.genesis.InitialHeight && !states.cfg.Only {
			c.logger.WarnContext(ctx, "no snapshot found; all blocks are fetched instead", attrs...)
			c.began(c.beginAtGenesis(ctx))
			return
		}
		note := strandedNote(c.genesis.InitialHeight, lowest, known)
		if states.cfg.Only {
			note = noteOnlySnapshot
		}
		c.searchNote.Store(&note)
		if time.Since(told) >= repeatInterval {
			told = time.Now()
			c.logger.WarnContext(ctx, "no snapshot found, and nobody has the first block any more; still looking for either: "+strandedRemedy,
				append(attrs, slog.Int64("lowest_block", lowest))...)
		}
	}
}

// few reports whether the chain is so short that all blocks are fetched, which a peer
// says to have. It waits for the first who tells, no longer than for snapshots.
func (c *Chain) few(ctx context.Context, how *StateSync) bool {
	if how.Few == 0 || how.Only {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, how.DiscoveryTime)
	defer cancel()
	for {
		c.engine.Switch().BroadcastAsync(p2p.Envelope{ChannelID: blocksync.BlocksyncChannel, Message: &bcproto.StatusRequest{}})
		if !pause(limited, dialPoll) {
			return false
		}
		lowest, known := c.lowestTold()
		first := c.genesis.InitialHeight
		if known && (lowest > first || c.highestTold() >= first+int64(how.Few)) { //nolint:gosec // of the settings
			return false
		}
		if known {
			return true
		}
	}
}

// searchOnce runs one round: peers are asked for snapshots, those that come within
// the discovery time are tried, the best first. over is true if ctx ended meanwhile;
// what CometBFT does then is cut off from everything by the gates.
func (c *Chain) searchOnce(ctx context.Context, states *trustedStates) (result found, over bool) {
	done := make(chan found, 1)
	go func() {
		var f found
		if err := contain(func() error {
			f.state, f.commit, f.err = states.offers.round(ctx, states)
			return nil
		}); err != nil {
			f.err = err
		}
		done <- f
	}()
	select {
	case result = <-done:
		return result, ctx.Err() != nil
	case <-ctx.Done():
		states.offers.stop()
		select {
		case <-done:
		case <-time.After(loopsTimeout / 2):
		}
		return found{}, true
	}
}

// restored reports whether the application has a state above the genesis.
func (c *Chain) restored(ctx context.Context) bool {
	info, err := c.adapter.Info(ctx, nil)
	return err == nil && info.LastBlockHeight > 0
}

// began ends the search, and halts the chain if what followed did not succeed.
func (c *Chain) began(err error) {
	c.searching.Store(false)
	c.searchNote.Store(nil)
	if err != nil && !errors.Is(err, errDetached) && c.ctx.Err() == nil {
		height, _, _, _, _ := c.head.snapshot()
		_ = c.halt.set(uint64(height), HaltConsensus, "state sync failed: "+err.Error())
	}
}

// holdSync keeps block sync from starting with the engine if headers are missing that
// the blocks it will take may need.
func (c *Chain) holdSync() error {
	return contain(func() error {
		_, _, missing, err := c.incomplete()
		if missing && c.adapter.syncing != nil {
			c.filling.held.Store(true)
			c.adapter.syncing.wait.Store(true)
		}
		return err
	})
}

// letSync starts block sync that was held back.
func (c *Chain) letSync() error {
	c.filling.held.Store(false)
	c.adapter.syncing.wait.Store(false)
	return contain(c.adapter.syncing.Start)
}

// beginAfter starts block sync after the snapshot that leads to state, when the headers
// below it are there.
func (c *Chain) beginAfter(ctx context.Context, state sm.State, commit *types.Commit) error {
	err := contain(func() error {
		if err := c.beginFilling(state.LastBlockHeight); err != nil {
			return err
		}
		if err := c.stateStore().Bootstrap(state); err != nil {
			return err
		}
		return c.engine.BlockStore().SaveSeenCommit(state.LastBlockHeight, commit)
	})
	if err != nil {
		return err
	}
	c.searching.Store(false)
	c.filling.held.Store(true)
	c.fillFirst(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	c.filling.held.Store(false)
	c.loop("fetch headers", func() { c.fillOn(c.ctx) })
	return contain(func() error { return c.adapter.syncing.Enable(state) })
}

// beginAtGenesis starts block sync with the first block. CometBFT left out what it
// does at the start of a node without blocks, as the snapshot was to bring it.
func (c *Chain) beginAtGenesis(ctx context.Context) error {
	return contain(func() error {
		states := c.stateStore()
		state, err := states.LoadFromDBOrGenesisDoc(c.genesis)
		if err != nil {
			return err
		}
		handshake := consensus.NewHandshaker(states, state, c.engine.BlockStore(), c.genesis)
		handshake.SetLogger(c.engineLogger().With("module", "consensus"))
		handshake.SetEventBus(c.engine.EventBus())
		if err := handshake.HandshakeWithContext(ctx, c.engine.ProxyApp()); err != nil {
			return err
		}
		if state, err = states.Load(); err != nil {
			return err
		}
		c.restoreHead()
		c.progress.snapshot(0, 0, 0)
		if err := ctx.Err(); err != nil {
			return err
		}
		c.fromGenesis.Store(true)
		return c.adapter.syncing.Enable(state)
	})
}

// strandedNote says that nobody has the block that this node needs next.
func strandedNote(next, lowest int64, known bool) string {
	if !known {
		return "no peer has a snapshot, and none has told which blocks it has"
	}
	return fmt.Sprintf("no peer has block %d, the lowest that any has is %d; %s", next, lowest, strandedRemedy)
}

// lowestTold returns the lowest block that a peer says to have: one that this node is
// to dial if any of these says so, as anyone may connect and say anything. known is
// false if none has any.
func (c *Chain) lowestTold() (height int64, known bool) {
	wanted := false
	for _, peer := range c.engine.Switch().Peers().Copy() {
		base, top := c.adapter.syncing.claim(peer.ID())
		if top == 0 {
			continue
		}
		switch wants := c.dialer.wants(peer.ID()); {
		case wants && !wanted:
			height, known, wanted = base, true, true
		case wants == wanted && (!known || base < height):
			height, known = base, true
		}
	}
	return height, known
}

// highestTold returns the highest block that any peer says to have.
func (c *Chain) highestTold() (height int64) {
	for _, peer := range c.engine.Switch().Peers().Copy() {
		_, top := c.adapter.syncing.claim(peer.ID())
		height = max(height, top)
	}
	return height
}

// stranded reports whether the others are ahead and no peer has the block that this
// node needs next, and says so. CometBFT takes a peer without it for none, and itself
// for caught up. It is nothing that a stranger can bring about: see ahead.
func (c *Chain) stranded() (note string, yes bool) {
	height, _, at, _, nextVals := c.head.snapshot()
	if c.searching.Load() || time.Since(at) < strandedAfter {
		return "", false
	}
	others, lowest := c.ahead(height, c.validators(height, nextVals))
	switch {
	case others && c.fromGenesis.Load() && at.IsZero() && !c.engine.ConsensusReactor().WaitSync():
		return beganInVain, true
	case lowest > height+1:
		return strandedNote(height+1, lowest, true), true
	}
	return "", false
}

// ahead reports whether any of the peers whose height counts, see Status.ClockSkew, is
// above height, and the lowest block that any of these has: 0 if one of them did not
// tell. CometBFT says what a node has when it connects and when it is asked, so a peer
// that had none then may have all of them now. Nobody is ahead of a third of the
// validators, as there are no blocks without them.
func (c *Chain) ahead(height int64, vals []Validator) (others bool, lowest int64) {
	power := make(map[string]int64, len(vals))
	var total, here int64
	for _, v := range vals {
		power[string(v.PubKey)] = v.Power
		total += v.Power
	}
	untold := false
	c.eachPeer(func(peer p2p.Peer, v contactView) {
		weight, validator := power[string(v.validator)]
		if !v.heard || !validator && !c.dialer.wants(peer.ID()) {
			return
		}
		if v.height <= uint64(height) { //nolint:gosec // not negative
			here += weight
			delete(power, string(v.validator)) // it may have two connections
			return
		}
		if !v.alive {
			return
		}
		base, top := c.adapter.syncing.claim(peer.ID())
		others = true
		untold = untold || top == 0
		if lowest == 0 || base < lowest {
			lowest = base
		}
	})
	if here > 0 && 3*here >= total {
		return false, 0
	}
	if untold {
		lowest = 0
	}
	return others, lowest
}

// note is what there is to say of how this node catches up; empty if nothing.
func (c *Chain) note() string {
	if text := c.searchNote.Load(); text != nil {
		return *text
	}
	if text, yes := c.stranded(); yes {
		return text
	}
	if c.filling.held.Load() {
		return "blocks come after the headers that evidence may need: " + c.filling.get().String()
	}
	if c.fromGenesis.Load() {
		return noteNoSnapshot
	}
	return ""
}
