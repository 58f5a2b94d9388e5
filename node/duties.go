package node

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// duty is a shard that a node has to run.
type duty struct {
	Shard shard.ID
	// From is the epoch from which its validator serves it: the present one, or the next,
	// before which the node fetches what there is.
	From uint64
	// Members is the size of the committee, 0 of a shard that ends.
	Members int
}

// duties returns the shards that a node must run whose validator has a row of the main
// chain's state: those that it is drawn for in the epoch, and in the next one, which
// have to be fetched until then. now and next say who serves in the two. Shards that
// are ended, their last blocks anchored, make no other; those that are ending, in no
// epoch's map any more, stay until they have. Not more than most are returned: those of
// the epoch go first, then the lowest numbers. They are ascending by number, and left
// counts those that had no room.
func duties(row, epoch uint64, now, next []shard.Assignment, ended, ending []shard.ID, most int) (list []duty, left int) {
	add := func(d duty) {
		if !slices.Contains(ended, d.Shard) && !slices.ContainsFunc(list, func(o duty) bool { return o.Shard == d.Shard }) {
			list = append(list, d)
		}
	}
	for from, drawn := range [][]shard.Assignment{now, next} {
		for i := range drawn {
			a := &drawn[i]
			if _, member := a.Committee.FindValidator(row); member {
				add(duty{Shard: a.Shard, From: epoch + uint64(from), Members: len(a.Committee.Members)}) //nolint:gosec // 0 or 1
			}
		}
	}
	for _, id := range ending {
		add(duty{Shard: id, From: epoch})
	}
	slices.SortFunc(list, func(a, b duty) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Shard, b.Shard)) })
	if len(list) > most {
		list, left = list[:most], len(list)-most
	}
	slices.SortFunc(list, func(a, b duty) int { return cmp.Compare(a.Shard, b.Shard) })
	return list, left
}

// duties returns what the state of the main chain says that this node has to run.
func (s *shards) duties() (list []duty, err error) {
	n := s.node
	key := n.signer.PubKey()
	if len(key) != ledger.PublicKeySize {
		return nil, nil // a remote signer has not told it yet
	}
	row, registered, err := n.registration(n.genesis.Validators, ledger.PublicKey(key))
	if err != nil || registered.IsZero() {
		return nil, err
	}
	left, alone, heads := 0, map[shard.ID]bool{}, map[shard.ID]uint64{}
	for id, r := range s.runs {
		alone[id], heads[id] = !n.runElsewhere(id), r.head()
	}
	err = n.main.exec.Read(func(v chain.View, height uint64) error {
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		now, next := registry.Assignments(v, epoch), registry.Assignments(v, epoch+1)
		known := slices.Collect(maps.Keys(s.runs))
		if s.looked.IsZero() {
			known = append(known, s.unfinished(v, epoch, row)...)
		}
		for _, drawn := range [][]shard.Assignment{now, next} { // also of shards that ended in this epoch
			for i := range drawn {
				known = append(known, drawn[i].Shard)
			}
		}
		var ended, ending []shard.ID
		for _, id := range known {
			switch row, ok := anchor.Read(v, id); {
			case !ok || row.Until == 0:
			case row.Finished() && (alone[id] || s.runs[id] == nil || heads[id] >= row.End):
				// Who lacks its last blocks, and finds nobody who still runs it, has its
				// heirs begin with the state that others give.
				ended = append(ended, id)
			case row.Finished():
				ending = append(ending, id) // this node has its last blocks to fetch
			case row.Until <= epoch:
				ending = append(ending, id)
			}
		}
		list, left = duties(row, epoch, now, next, ended, ending, n.cfg.Shards.Max)
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = left
	return list, err
}

// unfinished returns the shards that are replaced and not anchored to their end, which a
// node has to run that starts: those that its validator, which has a row, was drawn to
// end, or whose blocks are here, if the main chain has forgotten who was.
func (s *shards) unfinished(v chain.View, epoch, row uint64) (ids []shard.ID) {
	for id, a := range anchor.Unfinished(v) {
		if a.Until == 0 || a.Until > epoch {
			continue
		}
		drawn, known := registry.ReadShort(v, a.Until, id)
		if slices.ContainsFunc(drawn.Seats, func(s shard.Seat) bool { return s.Validator == row }) || !known && s.node.hasShard(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
