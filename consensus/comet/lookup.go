package comet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/types"
)

// BlockInfo is the header of a block and what is known without its contents.
type BlockInfo struct {
	Height          uint64
	Time            time.Time
	Hash            []byte // 32 bytes
	Proposer        []byte // consensus address, 20 bytes
	AppHash         []byte // state after the block before
	LastResultsHash []byte // receipts of the block before
	DataHash        []byte // Merkle root of the transactions
	TxCount         int
	Size            int // bytes, with the last commit and the header
}

// CommitInfo is the proof that a block was agreed on.
type CommitInfo struct {
	Height     uint64
	Round      int32
	BlockHash  []byte
	Signatures []CommitSignature // in the order of the validator set
}

// CommitSignature is one validator's part in a commit.
type CommitSignature struct {
	Validator []byte // consensus address; nil if absent
	Voted     bool   // for this block, rather than for none
	Time      time.Time
	Signature []byte
}

// PeerInfo is a connected node.
type PeerInfo struct {
	ID       string
	Addr     string // of the connection
	Outbound bool   // this node dialled
	Since    time.Time
	Height   uint64 // as it said last; 0 if it said nothing yet
	Alive    bool   // heard of within the last seconds
}

// running returns the engine if the chain was started and not stopped.
func (c *Chain) running() (n *node.Node, ok bool) {
	if c.state.Load() != stateRunning {
		return nil, false
	}
	return c.engine, true
}

// load runs f on the block store, which panics where it cannot read.
func (c *Chain) load(f func(n *node.Node) error) error {
	n, running := c.running()
	if !running {
		return ErrNotRunning
	}
	err := contain(func() error { return f(n) })
	if errors.Is(err, ErrNotFound) && c.faults.failed.Load() {
		return c.halt.err() // it may be there
	}
	return err
}

// LatestHeight returns the height of the last stored block, 0 if there is none.
// Its transactions may not be final in the application yet; see
// [Status].Height.
func (c *Chain) LatestHeight() uint64 {
	n, running := c.running()
	if !running {
		return 0
	}
	return uint64(n.BlockStore().Height())
}

// Block returns the header of the block at height, or [ErrNotFound].
func (c *Chain) Block(height uint64) (BlockInfo, error) {
	var info BlockInfo
	err := c.load(func(n *node.Node) error {
		meta := n.BlockStore().LoadBlockMeta(int64(height))
		if meta == nil {
			return fmt.Errorf("%w: height %d", ErrNotFound, height)
		}
		h := meta.Header
		info = BlockInfo{
			Height:          height,
			Time:            h.Time,
			Hash:            meta.BlockID.Hash,
			Proposer:        h.ProposerAddress,
			AppHash:         h.AppHash,
			LastResultsHash: h.LastResultsHash,
			DataHash:        h.DataHash,
			TxCount:         meta.NumTxs,
			Size:            meta.BlockSize,
		}
		return nil
	})
	return info, err
}

// Txs returns the transactions of the block at height, or [ErrNotFound].
func (c *Chain) Txs(height uint64) ([][]byte, error) {
	var txs [][]byte
	err := c.load(func(n *node.Node) error {
		block := n.BlockStore().LoadBlock(int64(height))
		if block == nil {
			return fmt.Errorf("%w: height %d", ErrNotFound, height)
		}
		txs = block.Txs.ToSliceOfBytes()
		return nil
	})
	return txs, err
}

// Commit returns the votes by which the block at height was agreed on, or
// [ErrNotFound].
func (c *Chain) Commit(height uint64) (CommitInfo, error) {
	var info CommitInfo
	err := c.load(func(n *node.Node) error {
		commit := loadCommit(n, int64(height))
		if commit == nil {
			return fmt.Errorf("%w: commit of height %d", ErrNotFound, height)
		}
		info = CommitInfo{Height: height, Round: commit.Round, BlockHash: commit.BlockID.Hash}
		for _, s := range commit.Signatures {
			info.Signatures = append(info.Signatures, CommitSignature{
				Validator: s.ValidatorAddress,
				Voted:     s.BlockIDFlag == types.BlockIDFlagCommit,
				Time:      s.Timestamp,
				Signature: s.Signature,
			})
		}
		return nil
	})
	return info, err
}

// SignedHeader returns the header of the block at height and the commit that
// signs it, in CometBFT's protobuf encoding (types.Header, types.Commit), or
// [ErrNotFound].
func (c *Chain) SignedHeader(height uint64) (header, commit []byte, err error) {
	err = c.load(func(n *node.Node) error {
		meta := n.BlockStore().LoadBlockMeta(int64(height)) //nolint:gosec // beyond the range is not found
		votes := loadCommit(n, int64(height))               //nolint:gosec // beyond the range is not found
		if meta == nil || votes == nil {
			return fmt.Errorf("%w: signed header of height %d", ErrNotFound, height)
		}
		var err error
		if header, err = meta.Header.ToProto().Marshal(); err != nil {
			return fmt.Errorf("encode header: %w", err)
		}
		if commit, err = votes.ToProto().Marshal(); err != nil {
			return fmt.Errorf("encode commit: %w", err)
		}
		return nil
	})
	return header, commit, err
}

// loadCommit returns the votes for the block at height, or nil. Those for the
// last block are only this node's own collection.
func loadCommit(n *node.Node, height int64) *types.Commit {
	if height == n.BlockStore().Height() {
		return n.BlockStore().LoadSeenCommit(height)
	}
	return n.BlockStore().LoadBlockCommit(height)
}

// eachPeer calls f with every connected peer and what is known of it.
func (c *Chain) eachPeer(f func(p2p.Peer, contactView)) {
	n, running := c.running()
	if !running {
		return
	}
	now := time.Now()
	for _, peer := range n.Switch().Peers().Copy() {
		if contact, ok := peer.Get(presenceKey).(*contact); ok {
			f(peer, contact.view(now))
		}
	}
}

// Peers returns the connected nodes.
func (c *Chain) Peers() []PeerInfo {
	var peers []PeerInfo
	c.eachPeer(func(p p2p.Peer, v contactView) {
		peers = append(peers, PeerInfo{
			ID:       string(p.ID()),
			Addr:     p.RemoteAddr().String(),
			Outbound: p.IsOutbound(),
			Since:    v.since,
			Height:   v.height,
			Alive:    v.alive,
		})
	})
	return peers
}

// SetPeers replaces the nodes kept connected, as Config.Peers does for a start.
// Connections that exist stay. None of them counts towards Config.MaxInbound. A name and port that changes for a node id is a change:
// the old one is not dialled any more.
func (c *Chain) SetPeers(peers []string) error {
	for _, p := range peers {
		if err := checkPeer(p); err != nil {
			return err
		}
	}
	if _, running := c.running(); !running {
		return ErrNotRunning
	}
	c.adapter.inbound.keep(peers)
	c.dialer.set(c.ctx, peers)
	return nil
}

// checkGenesis compares the genesis the stores began with to the given one.
func (c *Chain) checkGenesis() error {
	stored, err := json.Marshal(c.engine.GenesisDoc())
	if err != nil {
		return err
	}
	given, err := json.Marshal(c.genesis)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, given) {
		return errors.New("the stores belong to a chain with another genesis")
	}
	return nil
}

// restoreHead sets what Status shows from the stores.
func (c *Chain) restoreHead() {
	store := c.engine.BlockStore()
	height, headerHash, blockTime := store.Height(), []byte(nil), time.Time{}
	if meta := store.LoadBlockMeta(height); meta != nil {
		headerHash, blockTime = meta.Header.AppHash, meta.Header.Time
	}
	applied, appHash := c.adapter.app.Head()
	if int64(applied) > height { // from a snapshot or a later first block, without blocks yet
		height, headerHash = int64(applied), appHash
	}
	c.head.restore(height, blockTime, appHash, headerHash)
}

// BlockBytes returns the size of the files with blocks, as far as it can be told.
func (c *Chain) BlockBytes() uint64 { return c.blocks.size() }
