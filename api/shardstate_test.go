package api_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// oneState is a node's states: one of shard 2, with a root of ones, and one that is made.
type oneState struct{}

func (oneState) look(id shard.ID, root ledger.Hash) error {
	switch {
	case id == 2 && root == ledger.Hash{2}:
		return api.ErrStateInPreparation
	case id != 2 || root != ledger.Hash{1}:
		return fmt.Errorf("state %s: %w", root, exec.ErrUnknown)
	}
	return nil
}

func (s oneState) Describe(id shard.ID, root ledger.Hash) ([]byte, error) {
	return []byte("manifest"), s.look(id, root)
}

func (s oneState) Chunk(id shard.ID, root ledger.Hash, index uint32) ([]byte, error) {
	return bytes.Repeat([]byte{byte(index)}, 1<<20), s.look(id, root)
}

// TestShardStates: states are given by their roots, in chunks, by nodes that have them.
func TestShardStates(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"a": {2}}, func(c *api.Config) { c.States = oneState{} })
	c := s.nodes["a"].relays()
	root := func(b byte) []byte { h := ledger.Hash{b}; return h[:] }
	m, err := c.DescribeShardState(s.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 2, StateRoot: root(1)})
	if err != nil || string(m.GetManifest()) != "manifest" {
		t.Errorf("%v, %v", m, err)
	}
	chunk, err := c.GetShardStateChunk(s.ctx(), &servicev1.GetShardStateChunkRequest{ChainId: 2, StateRoot: root(1), Index: 3})
	if err != nil || len(chunk.GetChunk()) != 1<<20 || chunk.GetChunk()[7] != 3 {
		t.Errorf("%d bytes, %v", len(chunk.GetChunk()), err)
	}
	_, err = c.DescribeShardState(s.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 2, StateRoot: root(2)})
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonOverloaded)
	_, err = c.DescribeShardState(s.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 3, StateRoot: root(1)})
	wantProblem(t, err, codes.NotFound, api.ReasonPruned)
	_, err = c.GetShardStateChunk(s.ctx(), &servicev1.GetShardStateChunkRequest{ChainId: 2, StateRoot: root(3)})
	wantProblem(t, err, codes.NotFound, api.ReasonPruned)
	_, err = c.DescribeShardState(s.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 1, StateRoot: root(1)})
	wantBadField(t, err, "chain_id")
	_, err = c.DescribeShardState(s.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 2, StateRoot: []byte("short")})
	wantBadField(t, err, "state_root")

	none := newShardWorld(t, map[string][]shard.ID{"a": {2}})
	_, err = none.nodes["a"].relays().DescribeShardState(none.ctx(), &servicev1.DescribeShardStateRequest{ChainId: 2, StateRoot: root(1)})
	wantProblem(t, err, codes.NotFound, api.ReasonPruned)
}
