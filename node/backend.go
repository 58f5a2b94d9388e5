package node

import (
	"github.com/tributary-network/tributary/api"
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
func (b backend) Chain() api.ChainInfo {
	s := b.node.sample.Load().chain
	info := api.ChainInfo{CatchingUp: s.CatchingUp, Validator: s.Validator, Peers: s.Peers}
	if s.Halt != nil {
		info.Halted, info.HaltReason = true, s.Halt.Error()
	}
	return info
}

// Ready implements api.Node.
func (b backend) Ready() (ok bool, reason string) {
	s := b.node.sample.Load()
	return s.ready, s.reason
}

// Header implements api.Node.
func (b backend) Header(height uint64) (h api.Header, ok bool) {
	info, err := b.node.chain.Block(height)
	if err != nil {
		return api.Header{}, false
	}
	h = api.Header{
		Height: info.Height, Time: info.Time, Hash: info.Hash, AppHash: info.AppHash, Proposer: info.Proposer,
		Size: int64(info.Size),
	}
	if header, commit, err := b.node.chain.SignedHeader(height); err == nil {
		h.Signed, h.Commit = header, commit
	}
	return h, true
}

// checks is what /readyz tells.
func (n *Node) checks() []telemetry.Check {
	s := n.sample.Load()
	return []telemetry.Check{{Name: "chain/main", Ready: s.ready, Detail: s.reason}}
}
