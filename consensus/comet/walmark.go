package comet

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/cometbft/cometbft/consensus"
	auto "github.com/cometbft/cometbft/libs/autofile"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	sm "github.com/cometbft/cometbft/state"
)

const consensusReactorName = "CONSENSUS"

// consensusStart stands before CometBFT's consensus where block sync hands over to it.
//
// It ends the last height in the consensus log, which CometBFT v0.40 does only for heights
// that it made itself: what a node votes for in its first height after block sync would not
// be found again by its next start. It would forget what it is locked on, and could only
// refuse to sign anything else at that height and round, but vote for another block in the
// next.
//
// And it contains a start of consensus that fails, as CometBFT panics then, on a goroutine
// of block sync, which would take the process down.
type consensusStart struct {
	*consensus.Reactor

	mark func(height int64) error
	halt func(err error)
}

// guardStart puts a consensusStart in the place of the node's consensus. It is an option of
// CometBFT's constructor.
func (c *Chain) guardStart(n *node.Node) {
	inner := n.ConsensusReactor()
	if r, ok := n.Switch().Reactor(consensusReactorName); !ok || r != p2p.Reactor(inner) {
		return
	}
	node.CustomReactors(map[string]p2p.Reactor{consensusReactorName: &consensusStart{
		Reactor: inner, mark: c.endHeight,
		halt: func(err error) {
			height, _, _, _, _ := c.head.snapshot()
			_ = c.halt.set(uint64(height)+1, HaltConsensus, err.Error()) //nolint:gosec // not negative
		},
	}})(n)
}

// SwitchToConsensus is called by block sync, once.
func (s *consensusStart) SwitchToConsensus(state sm.State, skipWAL bool) {
	err := s.mark(state.LastBlockHeight)
	if err == nil {
		err = contain(func() error { s.Reactor.SwitchToConsensus(state, skipWAL); return nil })
	}
	if err != nil {
		s.halt(fmt.Errorf("start consensus: %w", err))
	}
}

// endHeight writes into the consensus log that a height is over, unless it says so. The log
// must not be open. What comes later is of the next height.
func (c *Chain) endHeight(height int64) (err error) {
	if height <= 0 { // a new log begins so
		return nil
	}
	path := c.cfg.engine().Consensus.WalFile()
	wal, err := consensus.NewWAL(path)
	if err != nil {
		return fmt.Errorf("open the consensus log %q: %w", path, err)
	}
	wal.SetLogger(c.engineLogger())
	group := wal.Group()
	defer func() { err = errors.Join(err, closeHead(group)) }()
	reader, found, err := wal.SearchForEndHeight(height, &consensus.WALSearchOptions{IgnoreDataCorruptionErrors: true})
	if found {
		return reader.Close()
	}
	if err == nil {
		_, _, err = wal.SearchForEndHeight(height, &consensus.WALSearchOptions{})
	}
	if err != nil && consensus.IsDataCorruptionError(err) {
		// What is written behind a torn line might not be found.
		c.logger.Warn("a file of the consensus log is torn; another one is begun", slog.String("file", path), slog.Any("err", err))
		if err = contain(func() error { group.RotateFile(); return nil }); err != nil {
			return fmt.Errorf("begin a file of the consensus log %q: %w", path, err)
		}
	}
	if err := wal.WriteSync(consensus.EndHeightMessage{Height: height}); err != nil {
		return fmt.Errorf("write to the consensus log %q: %w", path, err)
	}
	return nil
}

// closeHead closes the file that a group writes to, and ends what watches it, if that can be
// found. The group is not running.
func closeHead(group *auto.Group) error {
	signals := private[chan os.Signal](group.Head, "hupc")
	if signals == nil {
		return nil
	}
	signal.Stop(*signals) // Close closes it, and nothing may be sent there any more
	return group.Head.Close()
}

// endStored is endHeight for a node that begins with consensus.
func (c *Chain) endStored() error {
	state, err := c.stateStore().Load()
	if err != nil {
		return fmt.Errorf("load the state of consensus: %w", err)
	}
	return c.endHeight(state.LastBlockHeight)
}
