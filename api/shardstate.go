package api

import (
	"context"
	"errors"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// ErrStateInPreparation is what ShardStates say while the chunks of a state are made.
var ErrStateInPreparation = errors.New("the chunks of this state are being made")

// stateRetry is when to ask again for a state in preparation.
const stateRetry = 500 * time.Millisecond

// ShardStates gives states of shards to nodes that go on from them. It must be safe for
// concurrent use and must not make anybody wait for a state.
type ShardStates interface {
	// Describe returns the manifest of a state of a shard by its root, encoded, and Chunk
	// one of its chunks. The errors wrap exec.ErrUnknown if the node does not have the
	// state or does not give it, and ErrStateInPreparation.
	Describe(id shard.ID, root ledger.Hash) (manifest []byte, err error)
	Chunk(id shard.ID, root ledger.Hash, index uint32) (chunk []byte, err error)
}

// DescribeShardState implements RelayServiceServer.
func (r *relays) DescribeShardState(ctx context.Context, req *servicev1.DescribeShardStateRequest) (*servicev1.DescribeShardStateResponse, error) {
	resp := &servicev1.DescribeShardStateResponse{}
	err := r.stateOf(ctx, req.GetChainId(), req.GetStateRoot(), func(id shard.ID, root ledger.Hash) (out []byte, err error) {
		resp.Manifest, err = r.States.Describe(id, root)
		return resp.GetManifest(), err
	})
	return resp, err
}

// GetShardStateChunk implements RelayServiceServer.
func (r *relays) GetShardStateChunk(ctx context.Context, req *servicev1.GetShardStateChunkRequest) (*servicev1.GetShardStateChunkResponse, error) {
	resp := &servicev1.GetShardStateChunkResponse{}
	err := r.stateOf(ctx, req.GetChainId(), req.GetStateRoot(), func(id shard.ID, root ledger.Hash) (out []byte, err error) {
		resp.Chunk, err = r.States.Chunk(id, root, req.GetIndex())
		return resp.GetChunk(), err
	})
	return resp, err
}

// stateOf gets something of a state, for which the caller pays by its size.
func (r *relays) stateOf(ctx context.Context, chain uint32, name []byte, get func(id shard.ID, root ledger.Hash) ([]byte, error)) error {
	id := shard.ID(chain)
	if id < shard.FirstID || id > shard.MaxID {
		return invalid("chain_id", "%d is no shard; want %d to %d", id, shard.FirstID, shard.MaxID)
	}
	if len(name) != ledger.HashSize {
		return invalid("state_root", "%d bytes, want %d", len(name), ledger.HashSize)
	}
	root := ledger.Hash(name)
	if r.States == nil {
		return missing(ReasonPruned, ShardName(id), "this node gives no states of shards")
	}
	out, err := get(id, root)
	switch {
	case errors.Is(err, exec.ErrUnknown):
		return missing(ReasonPruned, ShardName(id), "this node does not have state %s of it to give", root)
	case errors.Is(err, ErrStateInPreparation):
		return exhausted(ReasonOverloaded, stateRetry, "%v; ask again in %v", ErrStateInPreparation, stateRetry)
	}
	r.rates.charge(callerIP(ctx), readTokens+len(out)/relayBytes)
	return err
}
