package node

import (
	"context"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
)

// BreakRules makes the rules halt between two blocks.
func (n *Node) BreakRules() error {
	_, err := n.main.exec.Finalize(exec.Block{Height: 1 << 40})
	return err
}

// Halt returns why consensus halted, or nil.
func (n *Node) Halt() *comet.HaltError { return n.main.chain.Status().Halt }

// Registration is who is registered with a consensus key, in a genesis with founders
// or by the state.
func (n *Node) Registration(founders []genesis.Validator, key []byte) (row uint64, registered bls.PublicKey, err error) {
	return n.registration(founders, ledger.PublicKey(key))
}

// Height returns the height of the chain on this node.
func (n *Node) Height() uint64 { return n.main.chain.Status().Height }

// Hosting lists the shards of the node.
func (n *Node) Hosting() []api.HostedShard {
	list, _ := n.shards.Hosting()
	return list
}

// ShardsDir is where the shards' files lie, ServiceDir the store that they share.
func (n *Node) ShardsDir() string { return n.shardsDir() }

// ServiceDir: see ShardsDir.
func (n *Node) ServiceDir() string { return n.serviceDir() }

// Left is how many shards the node has no room for.
func (n *Node) Left() int {
	_, left := n.shards.Hosting()
	return left
}

// Ready says whether the node is ready, and if not why.
func (n *Node) Ready() (ok bool, reason string) { return backend{n}.Ready() }

// Geneses counts the shards whose genesis the node keeps.
func (n *Node) Geneses(context.Context) (count int) {
	for id := shard.FirstID; id < shard.FirstID+16; id++ {
		if _, err := n.shards.Genesis(id); err == nil {
			count++
		}
	}
	return count
}

// BreakShard makes the rules of a shard halt between two blocks.
func (n *Node) BreakShard(id shard.ID) error {
	_, err := n.shards.find(id).exec.Finalize(exec.Block{Height: 1 << 40})
	return err
}

// HaltShard makes a shard halt as one whose consensus failed.
func (n *Node) HaltShard(id shard.ID, reason error) { n.shards.find(id).chain.Halt(reason) }

// SeeThrough lets a shard see its store through what f returns.
func (n *Node) SeeThrough(f func(id shard.ID, store kv.Store) kv.Store) { n.shards.through = f }

// Checks is what /readyz tells.
func (n *Node) Checks() []telemetry.Check { return n.checks() }

// ShardStates is what the metrics tell of the shards as a whole.
func (n *Node) ShardStates() telemetry.ShardStates { return n.shards.states() }
