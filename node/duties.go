package node

import (
	"cmp"
	"slices"

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
