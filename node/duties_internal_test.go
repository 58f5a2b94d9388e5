package node

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

// TestDuties: a node runs what its validator is drawn for in this epoch and the next, what
// it is leaving, and what ends here.
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
	left := []duty{{Shard: 2, From: 3, Members: 4, Leaving: true}, {Shard: 3, From: 2, Members: 4, Leaving: true}}
	for _, row := range []struct {
		name          string
		now, next     []shard.Assignment
		ended, ending []shard.ID
		leaving       []duty
		most          int
		want          []duty
		left          int
	}{
		{name: "nothing is drawn", most: 9},
		{name: "others", now: []shard.Assignment{drawn(2, 0), drawn(3)}, next: []shard.Assignment{drawn(2, 70)}, most: 9},
		{name: "now and next", now: all, next: all, most: 9, want: []duty{{Shard: 2, From: 4, Members: 2}, {Shard: 3, From: 4, Members: 1}, {Shard: 5, From: 4, Members: 3}}},
		{
			name: "leaves and comes", now: []shard.Assignment{drawn(9, 7)}, next: []shard.Assignment{drawn(9, 0), drawn(2, 7)}, most: 9,
			want: []duty{{Shard: 2, From: 5, Members: 1}, {Shard: 9, From: 4, Members: 1}},
		},
		{name: "ends", now: all[:1], ending: []shard.ID{2, 4}, most: 9, want: []duty{{Shard: 2, From: 4, Members: 2}, {Shard: 4, From: 4, Members: 0}}},
		{name: "ended", now: all, next: all[:1], ended: []shard.ID{2, 5}, ending: []shard.ID{5}, most: 9, want: []duty{{Shard: 3, From: 4, Members: 1}}},
		{name: "no room for the next", now: []shard.Assignment{drawn(9, 7)}, next: all, most: 2, want: []duty{{Shard: 2, From: 5, Members: 2}, {Shard: 9, From: 4, Members: 1}}, left: 2},
		{name: "is left", next: all[:1], leaving: left, most: 9, want: []duty{left[0], left[1]}},
		{name: "comes back while it is left", now: all[:1], next: all, leaving: left, most: 9, want: []duty{{Shard: 2, From: 4, Members: 2}, left[1], {Shard: 5, From: 5, Members: 3}}},
		{name: "is left and has ended", leaving: left, ended: []shard.ID{2}, ending: []shard.ID{3}, most: 9, want: left[1:]},
		{name: "what waits for it goes first", now: all[2:], next: all[:1], leaving: left[1:], most: 2, want: []duty{left[1], {Shard: 5, From: 4, Members: 3}}, left: 1},
		{name: "no room", now: all, most: 1, want: []duty{{Shard: 2, From: 4, Members: 2}}, left: 2},
	} {
		got, left := duties(7, 4, row.now, row.next, row.ended, row.ending, row.leaving, row.most)
		if diff := cmp.Diff(row.want, got); diff != "" || left != row.left {
			t.Errorf("%s: %d left, want %d (-want +got):\n%s", row.name, left, row.left, diff)
		}
	}
}

// TestLeaves: who served a shard runs on with it until the main chain has a height of a
// committee that it is not in.
func TestLeaves(t *testing.T) {
	t.Parallel()
	const id, self, other, epoch = shard.ID(3), uint64(7), uint64(8), uint64(12)
	state := chain.NewOverlay(rows{})
	for e, row := range map[uint64]uint64{7: self, 8: self, 9: other, 10: self, 11: self, 12: other} {
		drawn := shard.Short{Seats: []shard.Seat{{Validator: 1, Power: 1}, {Validator: row, Power: 1}}}
		state.Set(registry.AssignmentKey(e, id), drawn.Encode())
	}
	params := anchor.LocalParams()
	params.MaxLag = 4
	at := func(epoch uint64) anchor.State { return anchor.State{Last: cert.Checkpoint{Epoch: epoch}} }
	for _, row := range []struct {
		name  string
		epoch uint64
		state anchor.State
		from  uint64 // 0: it does not
	}{
		{"nothing of this epoch is anchored", 12, at(11), 11},
		{"nothing of the epoch before is", 12, at(10), 11},
		{"nothing for so long that nothing is anchored any more", 12, at(7), 0},
		{"this epoch is anchored", 12, at(12), 0},
		{"it left before", 10, at(8), 8},
		{"it left before, and another committee has voted", 10, at(9), 0},
		{"a committee passed over", 10, at(7), 8},
		{"it began with others, and nothing is anchored", 10, anchor.State{Begins: 9}, 0},
		{"it began with this one, and nothing is anchored", 10, anchor.State{Begins: 8}, 8},
		{"others were drawn anew", 12, anchor.State{Last: cert.Checkpoint{Epoch: 11}, Generation: 1, RedrawEpoch: 12}, 0},
		{"it was drawn anew, with this one", 12, anchor.State{Last: cert.Checkpoint{Epoch: 9}, Generation: 1, RedrawEpoch: 11}, 11},
		{"it is replaced, and has not ended", 12, anchor.State{Until: 10, Last: cert.Checkpoint{Epoch: 9}}, 10},
		{"it is replaced, by others to the end", 12, anchor.State{Until: 9, Last: cert.Checkpoint{Epoch: 9}}, 0},
		{"it has ended", 12, anchor.State{Until: 11, End: 5, Last: cert.Checkpoint{Epoch: 10}}, 0},
		{"the first epoch", 0, anchor.State{}, 0},
	} {
		d, ok := leaves(state, &params, id, &row.state, row.epoch, self)
		want := duty{}
		if row.from > 0 {
			want = duty{Shard: id, From: row.from, Members: 2, Leaving: true}
		}
		if d != want || ok != (row.from > 0) {
			t.Errorf("%s: %+v, %t, want %+v", row.name, d, ok, want)
		}
	}
}

// TestLeaving: a node finds what its validator is leaving when it starts, and when an epoch
// begins; within one it looks at what it runs.
func TestLeaving(t *testing.T) {
	t.Parallel()
	const epoch, row = 6, 7
	s := newShards(&Node{log: slog.New(slog.DiscardHandler)})
	s.node.genesis.Params.Anchors = anchor.LocalParams()
	v := rows{}
	for _, id := range []shard.ID{2, 3, 4} {
		v.anchored(id, anchor.State{Last: cert.Checkpoint{Epoch: epoch - 1}})
		v.drawn(epoch-1, id, 1, row)
	}
	v.anchored(5, anchor.State{Last: cert.Checkpoint{Epoch: epoch}})
	v.drawn(epoch-1, 5, 1, row)
	s.runs[3], s.runs[5] = &shardRun{id: 3}, &shardRun{id: 5}
	look := func(when string, want ...shard.ID) {
		t.Helper()
		var got []shard.ID
		for _, d := range s.leaving(v, epoch, row) {
			got = append(got, d.Shard)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: leaves shards %v, want %v", when, got, want)
		}
	}
	look("at the start", 2, 3, 4)
	s.looked, s.epoch = time.Now(), epoch-1
	look("in a new epoch", 2, 3, 4)
	s.epoch = epoch
	look("in the same epoch", 3)
}

// TestGone: a shard that this node leaves is looked at again once the main chain has
// something of those after it.
func TestGone(t *testing.T) {
	t.Parallel()
	s := newShards(&Node{log: slog.New(slog.DiscardHandler)})
	r := &shardRun{id: 3, duty: duty{Shard: 3, From: 5, Leaving: true}}
	s.runs[3] = r
	for _, row := range []struct {
		state anchor.State
		want  bool
	}{
		{anchor.State{Last: cert.Checkpoint{Epoch: 4}}, false},
		{anchor.State{Last: cert.Checkpoint{Epoch: 5}}, false},
		{anchor.State{Last: cert.Checkpoint{Epoch: 6}}, true},
		{anchor.State{Last: cert.Checkpoint{Epoch: 5}, RedrawEpoch: 6}, true},
	} {
		if r.compare(&row.state); s.gone() != row.want {
			t.Errorf("anchored in epoch %d, drawn anew in epoch %d: gone over %t", row.state.Last.Epoch, row.state.RedrawEpoch, s.gone())
		}
	}
	s.take(t.Context(), []duty{{Shard: 3, From: 7, Members: 4}})
	if s.gone() || r.duty.Leaving {
		t.Error("it serves again, and is still looked at")
	}
	r.compare(&anchor.State{Last: cert.Checkpoint{Epoch: 8}})
	if s.gone() {
		t.Error("it serves, and is taken for gone")
	}
}
