package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	"github.com/tributary-network/tributary/shard"
)

// A node joins a shard as one joins the main chain, by a snapshot or by all blocks, but
// for whom it believes: the main chain has the checkpoint of the last height that is
// anchored, so headers need nobody's word and no trust period. They are asked of the
// nodes of those who serve the shard.
const (
	// shardFewShare is the part of the interval between snapshots that the chain of a
	// shard must be longer than to be joined by one, where peers have all its blocks.
	shardFewShare = 2
	// shardSources is how many nodes are asked for headers.
	shardSources = 8
	// shardSourcesWait is how long a shard that has no blocks here waits for somebody to
	// ask before it looks what blocks its peers have.
	shardSourcesWait = 30 * time.Second
	// shardDiscovery is how long peers get to offer snapshots, shardSearch how long one is
	// looked for while peers have all blocks.
	shardDiscovery = 2 * time.Second
	shardSearch    = 20 * time.Second
	// strandedFor is how long a shard may lack blocks that nobody has before it is fetched
	// anew.
	strandedFor = 20 * time.Second
)

var (
	// errNobodyTells says that a shard's headers are not to be had yet.
	errNobodyTells = errors.New("nobody who serves the shard has told yet where it is asked for headers")
	// errStranded says that a shard has to be fetched anew.
	errStranded = errors.New("the shard went on without this node, and nobody has the blocks that it lacks")
)

// shardSync returns how a shard joins its network whose consensus has its blocks in store: nil if all
// blocks are fetched, since none is anchored or nobody can be asked. A patient one, that
// has no block yet, is refused with errNobodyTells while nobody can.
func (n *Node) shardSync(id shard.ID, store kv.Store, patient bool) (*comet.StateSync, error) {
	var row anchor.State
	var serving committee.Committee
	if err := n.main.exec.Read(func(v chain.View, height uint64) error {
		row, _ = anchor.Read(v, id)
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		if row.Until > 0 {
			epoch = min(epoch, row.Until) // nobody serves it later
		}
		a, _ := registry.ReadAssignment(v, epoch, id)
		serving = a.Committee
		return nil
	}); err != nil {
		return nil, err
	}
	if row.Height() == row.Resumed { // of the chain as it runs since
		return nil, nil //nolint:nilnil // all blocks are fetched
	}
	how := &comet.StateSync{
		TrustHeight: row.Height(), TrustHash: row.Last.BlockHash[:], Anchored: true,
		Few:           uint64(n.cfg.Snapshots.Interval / shardFewShare), //nolint:gosec // bounded by the settings
		DiscoveryTime: shardDiscovery, SearchTime: shardSearch,
	}
	for _, endpoint := range n.tellers(id, &serving) {
		how.Sources = append(how.Sources, &shardSource{peers: n.peers, endpoint: endpoint, id: id})
	}
	if len(how.Sources) > 0 {
		return how, nil
	}
	if begun, err := comet.Begun(store); err != nil || !begun && patient {
		return nil, errors.Join(err, fmt.Errorf("shard %d: %w", id, errNobodyTells))
	}
	return nil, nil //nolint:nilnil // all blocks are fetched
}

// tellers returns the nodes to ask for a shard's headers: of its committee, then of other
// validators that run it.
func (n *Node) tellers(id shard.ID, serving *committee.Committee) (list []string) {
	for _, m := range n.askable(id, serving) {
		list = append(list, m.endpoint)
	}
	for _, e := range n.directory.Hosts(id) {
		own := e.NodeID == n.nodeKey.ID() || e.Validator == (ledger.PublicKey{})
		if !own && e.GRPC != "" && (e.TLS || api.Loopback(e.GRPC)) && !slices.Contains(list, e.GRPC) {
			n.doors.note(e.GRPC, e.TLS)
			list = append(list, e.GRPC)
		}
	}
	return list[:min(len(list), shardSources)]
}

// shardSource is a node that runs a shard and is asked for its headers over the API. It
// implements comet.LightSource.
type shardSource struct {
	peers    *api.Peers
	endpoint string
	id       shard.ID
}

// String returns the address.
func (s *shardSource) String() string { return s.endpoint }

// LightBlock implements comet.LightSource.
func (s *shardSource) LightBlock(ctx context.Context, height uint64) (signedHeader, validators []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	var resp consensusv1.GetLightBlockResponse
	err = s.peers.Call(ctx, s.endpoint, consensusv1.ConsensusService_GetLightBlock_FullMethodName,
		&consensusv1.GetLightBlockRequest{ChainId: uint32(s.id), Height: height}, &resp)
	if code := status.Code(err); code == codes.NotFound || code == codes.DataLoss { // it has no such block, or no longer
		return nil, nil, fmt.Errorf("%w: %w", comet.ErrNotFound, err)
	}
	return resp.GetSignedHeader(), resp.GetValidatorSet(), err
}

// patient reports whether a shard waits for somebody who tells its headers, as it does
// for a while.
func (r *shardRun) patient(now time.Time) bool {
	if r.sought.IsZero() {
		r.sought = now
	}
	return now.Sub(r.sought) < shardSourcesWait
}

// hasShard reports whether this node ran a shard and has not removed its files.
func (n *Node) hasShard(id shard.ID) bool {
	_, err := os.Stat(filepath.Join(n.shardsDir(), shardName(id)))
	return err == nil
}
