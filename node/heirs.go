package node

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// errParentElsewhere says that a shard begins with a state that this node does not have.
var errParentElsewhere = errors.New("the last state of a shard that this one takes over from is not on this node")

// ancestors are the last states of the shards that another one takes over from, in the
// order of its genesis. They are open until it has begun.
type ancestors struct {
	layers    []*layer.Settlement
	snapshots []*statetree.Snapshot
}

// openAncestors opens them in the store that all shards share, where the shards have
// stopped. It returns nil for a shard that was founded with its zone.
func (n *Node) openAncestors(g *shardblock.Genesis, store kv.Store) (a *ancestors, err error) {
	if len(g.Service.Parents) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	a = &ancestors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for i := range g.Service.Parents {
		p := &g.Service.Parents[i]
		if n.shards.find(p.Shard.Chain) != nil {
			return a, fmt.Errorf("%w: shard %d runs here until it has made its last block", shardblock.ErrNotFounded, p.Shard.Chain)
		}
		l, err := layer.New(kv.Prefixed(store, shardPrefix(p.Shard.Chain)), n.shardLayer())
		if err != nil {
			return a, err
		}
		a.layers = append(a.layers, l)
		if l.Empty() {
			return a, fmt.Errorf("%w: shard %d", errParentElsewhere, p.Shard.Chain)
		}
		s, err := l.OpenSnapshot()
		if err != nil {
			return a, err
		}
		a.snapshots = append(a.snapshots, s)
		// Blocks after the last one are empty, and leave the state as it is.
		if s.Height() < p.Height || s.AppHash() != p.StateRoot {
			return a, fmt.Errorf("%w: shard %d ended at height %d with state %s, and has height %d and %s here",
				errParentElsewhere, p.Shard.Chain, p.Height, p.StateRoot, s.Height(), s.AppHash())
		}
	}
	return a, nil
}

// views returns the states.
func (a *ancestors) views() (list []chain.View) {
	if a == nil {
		return nil
	}
	for _, s := range a.snapshots {
		list = append(list, s)
	}
	return list
}

// close closes the states.
func (a *ancestors) close() error {
	if a == nil {
		return nil
	}
	var errs []error
	for _, s := range a.snapshots {
		errs = append(errs, s.Close())
	}
	for _, l := range a.layers {
		errs = append(errs, l.Close())
	}
	a.layers, a.snapshots = nil, nil
	return errors.Join(errs...)
}
