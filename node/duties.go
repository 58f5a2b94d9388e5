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
	// Leaving says that others serve it by now, of whom the shard has not taken notice: From
	// is the last epoch in which this validator did.
	Leaving bool
}

// duties returns the shards that a node must run whose validator has a row of the main
// chain's state: those that it is drawn for in the epoch, those that it is leaving, and
// those of the next epoch, which have to be fetched until then. now and next say who serves
// in the two. Shards that are ended, their last blocks anchored, make no other; those that
// are ending, in no epoch's map any more, stay until they have. Not more than most are
// returned: those that it is leaving go first, which wait for it and not for long, then
// those of the epoch, then the lowest numbers. They are ascending by number, and left
// counts those that had no room.
func duties(row, epoch uint64, now, next []shard.Assignment, ended, ending []shard.ID, leaving []duty, most int) (list []duty, left int) {
	add := func(d duty) {
		if !slices.Contains(ended, d.Shard) && !slices.ContainsFunc(list, func(o duty) bool { return o.Shard == d.Shard }) {
			list = append(list, d)
		}
	}
	drawn := func(all []shard.Assignment, from uint64) {
		for i := range all {
			a := &all[i]
			if _, member := a.Committee.FindValidator(row); member {
				add(duty{Shard: a.Shard, From: from, Members: len(a.Committee.Members)})
			}
		}
	}
	drawn(now, epoch)
	for _, d := range leaving {
		add(d)
	}
	drawn(next, epoch+1)
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
		list, left = duties(row, epoch, now, next, ended, ending, s.leaving(v, epoch, row), n.cfg.Shards.Max)
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

// leaving returns the shards that the validator that has a row is leaving. Between epochs
// only those that run here are looked at: nobody begins to leave then.
func (s *shards) leaving(v chain.View, epoch, row uint64) (list []duty) {
	look := func(id shard.ID, a *anchor.State) {
		if d, ok := leaves(v, &s.node.genesis.Params.Anchors, id, a, epoch, row); ok {
			list = append(list, d)
		}
	}
	if s.looked.IsZero() || epoch != s.epoch {
		for id, a := range anchor.Unfinished(v) {
			look(id, &a)
		}
		return list
	}
	for id := range s.runs {
		if a, ok := anchor.Read(v, id); ok {
			look(id, &a)
		}
	}
	return list
}

// leaves reports whether the validator that has a row served a shard, of which main says a,
// before epoch, and has to run on with it: the record of an epoch is taken by blocks that the
// committee before it votes for, and so are the shardblock.CommitteeDelay blocks from there.
// By the main chain a shard has gone over to a committee when a height of its epoch is
// anchored. Until then that of any epoch since the last one anchored may be the one that
// votes, as shards pass epochs over. A generation begins with an epoch of its own
// (anchor.State.Floor): nobody waits for who is not drawn for it. So it never lasts longer
// than a generation that stands still, nor than the epochs that anchors may lag.
func leaves(v chain.View, rules *anchor.Params, id shard.ID, a *anchor.State, epoch, row uint64) (d duty, ok bool) {
	if a.Finished() || rules.Lost(a, epoch) {
		return d, false
	}
	end := epoch // of the epochs that it may be in besides this one
	if a.Until > 0 {
		end = min(end, a.Until+1)
	}
	for e := end; e > a.Floor(); e-- {
		drawn, _ := registry.ReadShort(v, e-1, id)
		if slices.ContainsFunc(drawn.Seats, func(s shard.Seat) bool { return s.Validator == row }) {
			return duty{Shard: id, From: e - 1, Members: len(drawn.Seats), Leaving: true}, true
		}
	}
	return d, false
}
