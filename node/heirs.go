package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// ancestors are the last states of the shards that another one takes over from, in the
// order of its genesis. They are open until it has begun.
type ancestors struct{ snapshots []*statetree.Snapshot }

// openAncestors opens them in the store that all shards share, where the shards have
// stopped. A state that is not there, since the shard ran on other nodes, is fetched. It
// returns nil for a shard that was founded with its zone.
func (n *Node) openAncestors(ctx context.Context, r *shardRun, g *shardblock.Genesis) (a *ancestors, err error) {
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
		s, err := n.openAncestor(ctx, r, &g.Service.Parents[i])
		if err != nil {
			return a, err
		}
		a.snapshots = append(a.snapshots, s)
	}
	return a, nil
}

// openAncestor opens one of them.
func (n *Node) openAncestor(ctx context.Context, r *shardRun, p *service.Parent) (*statetree.Snapshot, error) {
	id := p.Shard.Chain
	store, release, err := n.shards.occupy(id)
	if errors.Is(err, errPartTaken) { // it makes its last block, another heir fetches its state, or it is being removed
		return nil, fmt.Errorf("%w: shard %d, which it takes over from, is in use here", shardblock.ErrNotFounded, id)
	}
	if err != nil {
		return nil, err
	}
	defer release()
	part := kv.Prefixed(store, shardPrefix(id))
	l, err := layer.New(part, n.shardLayer())
	if err != nil {
		return nil, err
	}
	// Blocks after the last one are empty, and leave the state as it is.
	if l.Empty() || l.Height() < p.Height || l.AppHash() != p.StateRoot {
		if l, err = n.replaceState(ctx, r, &wantedState{stateName{id, p.StateRoot}, p.Height}, part, l); err != nil {
			return nil, err
		}
	}
	defer func() { _ = l.Close() }() // what is opened here outlives it
	return l.OpenSnapshot()
}

// replaceState fetches a state into the part of the store that belongs to a shard which
// does not run, instead of whatever is there, in l: that goes when somebody says that he has
// the state.
func (n *Node) replaceState(ctx context.Context, r *shardRun, want *wantedState, part kv.Store, l *layer.Settlement) (*layer.Settlement, error) {
	err := n.fetchState(ctx, want, func() (*layer.Settlement, error) {
		if l.Empty() {
			return l, nil
		}
		if err := errors.Join(l.Close(), layer.Clear(part)); err != nil {
			return nil, err
		}
		made, err := layer.New(part, n.shardLayer())
		if err == nil {
			l = made
		}
		return l, err
	}, r.tell)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
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
	a.snapshots = nil
	return errors.Join(errs...)
}
