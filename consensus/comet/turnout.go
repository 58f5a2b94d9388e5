package comet

import (
	"bytes"
	"fmt"
	"maps"
	"sync"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/types"
)

// TurnoutBlocks is of how many blocks Turnout tells at most.
const TurnoutBlocks = 100

// Turnout tells who signed the last blocks, as the commits on the chain tell: that of
// a block is in the block after it, so the newest block is not among them. Empty
// blocks count as all others do.
type Turnout struct {
	// From and To are the first and the last of these blocks; both are 0 if there are
	// none. They are fewer than TurnoutBlocks if the chain has no more, or if this node
	// has no commits from before the snapshot that it began with.
	From, To uint64
	// Of has those that were validators of any of these blocks, by their consensus
	// address, 20 bytes.
	Of map[string]Attendance
}

// Attendance is one validator's part in a Turnout.
type Attendance struct {
	Blocks uint32 // on which it was to vote
	Signed uint32 // of those, whose commits have a precommit of it, for the block or for none
}

// Blocks returns how many blocks it tells of, at most TurnoutBlocks.
func (t *Turnout) Blocks() uint32 {
	if t.To == 0 {
		return 0
	}
	return uint32(t.To - t.From + 1) //nolint:gosec // at most TurnoutBlocks
}

// turnout keeps the last commits, so that each is read once: they are looked for
// when they are asked for, in the block store, which has those of blocks that this
// node fetched or applied again as well.
type turnout struct {
	mu   sync.Mutex
	rows []voted // consecutive heights, ascending; at most TurnoutBlocks
	told Turnout // of the rows
}

// voted is who signed a block.
type voted struct {
	height  int64
	set     []byte   // hash of the validator set
	members []string // consensus addresses, in CometBFT's order; shared by rows of one set
	signed  []bool   // for each member
}

// Turnout tells who signed the last blocks. The map is the caller's.
func (c *Chain) Turnout() (Turnout, error) {
	t := &c.turnout
	t.mu.Lock()
	defer t.mu.Unlock()
	err := c.load(func(n *node.Node) error { return t.read(c, n) })
	if err != nil {
		return Turnout{}, fmt.Errorf("read who signed the last blocks: %w", err)
	}
	out := t.told
	out.Of = maps.Clone(out.Of)
	return out, nil
}

// read brings the rows up to the last block whose commit is on the chain.
func (t *turnout) read(c *Chain, n *node.Node) error {
	last := n.BlockStore().Height() - 1
	first := max(1, last-TurnoutBlocks+1)
	changed := false
	defer func() {
		if changed {
			t.count()
		}
	}()
	if n := len(t.rows); n > 0 && t.rows[n-1].height < first-1 {
		t.rows, changed = nil, true
	}
	next := max(1, last) // without rows they grow downwards from the last one
	if n := len(t.rows); n > 0 {
		next = t.rows[n-1].height + 1
	}
	for h := next; h <= last; h++ {
		row, err := t.row(c, n, h)
		if err != nil {
			return err
		}
		if row == nil { // above a snapshot; what is below it stays unknown
			t.rows, changed = nil, true
			continue
		}
		t.rows, changed = append(t.rows, *row), true
	}
	for len(t.rows) > 0 && t.rows[0].height > first { // what a backfill brought meanwhile
		row, err := t.row(c, n, t.rows[0].height-1)
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		t.rows, changed = append([]voted{*row}, t.rows...), true
	}
	if changed {
		t.rows = append([]voted(nil), t.rows[max(0, len(t.rows)-TurnoutBlocks):]...)
	}
	return nil
}

// row reads who signed the block at height, nil if its commit, its header or its
// validators are not here.
func (t *turnout) row(c *Chain, n *node.Node, height int64) (*voted, error) {
	meta, commit := n.BlockStore().LoadBlockMeta(height), n.BlockStore().LoadBlockCommit(height)
	if meta == nil || commit == nil {
		return nil, nil
	}
	row := &voted{height: height, set: meta.Header.ValidatorsHash, signed: make([]bool, len(commit.Signatures))}
	for i := range t.rows {
		if bytes.Equal(t.rows[i].set, row.set) {
			row.members = t.rows[i].members
			break
		}
	}
	if row.members == nil {
		set, err := c.membersAt(height)
		if err != nil {
			return nil, nil //nolint:nilerr // not stored, or pruned
		}
		for _, v := range set.Validators {
			row.members = append(row.members, string(v.Address))
		}
	}
	if len(row.members) != len(commit.Signatures) {
		return nil, fmt.Errorf("the commit of block %d has %d votes of %d validators: the store is damaged", height, len(commit.Signatures), len(row.members))
	}
	for i := range commit.Signatures {
		row.signed[i] = commit.Signatures[i].BlockIDFlag != types.BlockIDFlagAbsent
	}
	return row, nil
}

// membersAt returns the validators of the block at height, in CometBFT's order but
// without saying whose turn it is, which would take a computation for each block since
// the set changed.
func (c *Chain) membersAt(height int64) (*types.ValidatorSet, error) {
	store := c.stateStore()
	if fast, ok := store.(interface {
		LoadValidatorsFast(height int64) (*types.ValidatorSet, error)
	}); ok {
		return fast.LoadValidatorsFast(height)
	}
	return store.LoadValidators(height)
}

// count sums the rows up.
func (t *turnout) count() {
	t.told = Turnout{Of: make(map[string]Attendance)}
	if len(t.rows) == 0 {
		return
	}
	t.told.From, t.told.To = uint64(t.rows[0].height), uint64(t.rows[len(t.rows)-1].height) //nolint:gosec // positive
	for i := range t.rows {
		row := &t.rows[i]
		for j, address := range row.members {
			a := t.told.Of[address]
			a.Blocks++
			if row.signed[j] {
				a.Signed++
			}
			t.told.Of[address] = a
		}
	}
}
