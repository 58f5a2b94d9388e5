package node

import "github.com/tributary-network/tributary/shard"

// shardPeers returns the peers of a shard's chain as other nodes tell of them.
func (n *Node) shardPeers(shard.ID) []string { return nil }

// mainEpoch returns the epoch of the main chain's next block.
func (n *Node) mainEpoch() uint64 {
	height, _ := n.main.exec.Head()
	return n.genesis.Params.Staking.Epoch(height + 1)
}
