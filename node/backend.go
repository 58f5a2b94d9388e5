package node

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/telemetry"
)

// backend is what the API asks the node.
type backend struct{ node *Node }

// Info implements api.Node.
func (b backend) Info() api.NodeInfo {
	return api.NodeInfo{
		Version: b.node.version, Moniker: b.node.cfg.Node.Moniker, ID: b.node.nodeKey.ID(), Started: b.node.started,
	}
}

// Chain implements api.Node.
func (b backend) Chain() api.ChainInfo { return chainInfo(&b.node.main.sample.Load().chain) }

// chainInfo translates how a chain does for the API.
func chainInfo(s *comet.Status) api.ChainInfo {
	info := api.ChainInfo{CatchingUp: s.CatchingUp, Validator: s.Validator, Peers: s.Peers}
	if s.CatchingUp && s.Sync.Phase != comet.SyncNone {
		info.Sync = &api.SyncProgress{
			Snapshot: s.Sync.Phase == comet.SyncSnapshot, Height: s.Sync.Height, Target: s.Sync.Target,
			Chunks: s.Sync.Chunks, TotalChunks: s.Sync.TotalChunks, BlocksPerSecond: s.Sync.BlocksPerSecond,
			TimeLeft: s.Sync.TimeLeft, Idle: s.Sync.Idle, Stalled: s.Sync.Stalled,
			Note: s.Sync.Note,
		}
	}
	if s.Halt != nil {
		info.Halted, info.HaltReason = true, s.Halt.Error()
	}
	return info
}

// Chain returns how the main chain runs on the node, as of a moment ago.
func (n *Node) Chain() api.ChainInfo { return backend{n}.Chain() }

// Ready implements api.Node.
func (b backend) Ready() (ok bool, reason string) {
	s := b.node.main.sample.Load()
	return s.ready, s.reason
}

// Header implements api.Node.
func (b backend) Header(height uint64) (h api.Header, ok bool) {
	info, err := b.node.main.chain.Block(height)
	if err != nil {
		return api.Header{}, false
	}
	h = api.Header{
		Height: info.Height, Time: info.Time, Hash: info.Hash, AppHash: info.AppHash, Proposer: info.Proposer,
		Size: int64(info.Size),
	}
	if header, commit, err := b.node.main.chain.SignedHeader(height); err == nil {
		h.Signed, h.Commit = header, commit
	}
	return h, true
}

// LightBlock implements api.Node.
func (b backend) LightBlock(id ledger.ChainID, height uint64) (l api.LightBlock, from uint64, ok bool) {
	h := b.node.main
	if id != ledger.MainChain {
		if h = b.node.shards.find(id); h == nil {
			return l, 0, false
		}
	}
	header, validators, err := h.chain.LightBlock(height)
	if err != nil {
		return api.LightBlock{}, h.chain.LightBlocksFrom(), false
	}
	return api.LightBlock{SignedHeader: header, ValidatorSet: validators}, 0, true
}

// Turnout implements api.Node.
func (b backend) Turnout() api.Turnout {
	t, err := b.node.main.chain.Turnout()
	if err != nil { // it is starting or stopping, or cannot read its blocks, which halts it elsewhere
		return api.Turnout{}
	}
	out := api.Turnout{Blocks: t.Blocks(), To: t.To, Of: make(map[staking.Address]api.Attendance, len(t.Of))}
	for who, a := range t.Of {
		out.Of[address([]byte(who))] = api.Attendance(a)
	}
	return out
}

// AddEvidence implements api.Node.
func (b backend) AddEvidence(evidence []byte) error {
	err := b.node.main.chain.AddEvidence(evidence)
	if errors.Is(err, comet.ErrBadEvidence) {
		return fmt.Errorf("%w: %w", api.ErrBadEvidence, err)
	}
	return err
}

// checks is what /readyz tells.
func (n *Node) checks() []telemetry.Check {
	s := n.main.sample.Load()
	list := []telemetry.Check{{Name: "chain/" + mainName, Ready: s.ready, Detail: s.reason}}
	return append(list, n.shards.checks()...)
}
