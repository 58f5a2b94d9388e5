package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

// TestDuties: a node runs what its validator is drawn for in this epoch and the next, and
// what ends here.
func TestDuties(t *testing.T) {
	t.Parallel()
	drawn := func(id shard.ID, rows ...uint64) shard.Assignment {
		a := shard.Assignment{Shard: id}
		for _, row := range rows {
			a.Committee.Members = append(a.Committee.Members, committee.Member{Validator: row, Power: 1})
		}
		return a
	}
	all := []shard.Assignment{drawn(2, 0, 7), drawn(3, 7), drawn(5, 7, 9, 0)}
	for _, row := range []struct {
		name          string
		now, next     []shard.Assignment
		ended, ending []shard.ID
		most          int
		want          []duty
		left          int
	}{
		{name: "nothing is drawn", most: 9},
		{name: "others", now: []shard.Assignment{drawn(2, 0), drawn(3)}, next: []shard.Assignment{drawn(2, 70)}, most: 9},
		{name: "now and next", now: all, next: all, most: 9, want: []duty{{2, 4, 2}, {3, 4, 1}, {5, 4, 3}}},
		{
			name: "leaves and comes", now: []shard.Assignment{drawn(9, 7)}, next: []shard.Assignment{drawn(9, 0), drawn(2, 7)}, most: 9,
			want: []duty{{2, 5, 1}, {9, 4, 1}},
		},
		{name: "ends", now: all[:1], ending: []shard.ID{2, 4}, most: 9, want: []duty{{2, 4, 2}, {4, 4, 0}}},
		{name: "ended", now: all, next: all[:1], ended: []shard.ID{2, 5}, ending: []shard.ID{5}, most: 9, want: []duty{{3, 4, 1}}},
		{name: "no room for the next", now: []shard.Assignment{drawn(9, 7)}, next: all, most: 2, want: []duty{{2, 5, 2}, {9, 4, 1}}, left: 2},
		{name: "no room", now: all, most: 1, want: []duty{{2, 4, 2}}, left: 2},
	} {
		got, left := duties(7, 4, row.now, row.next, row.ended, row.ending, row.most)
		if diff := cmp.Diff(row.want, got); diff != "" || left != row.left {
			t.Errorf("%s: %d left, want %d (-want +got):\n%s", row.name, left, row.left, diff)
		}
	}
}
