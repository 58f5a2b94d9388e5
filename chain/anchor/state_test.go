package anchor_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// checkpoints returns those of the heights 1 to n of a shard.
func checkpoints(id shard.ID, n uint64) (list []cert.Checkpoint) {
	for h := uint64(1); h <= n; h++ {
		list = append(list, checkpoint(id, h, version{}))
	}
	return list
}

// anchored returns the state of shard one with n heights, which the rules would make.
func anchored(tb testing.TB, n uint64) *anchor.State {
	tb.Helper()
	s := &anchor.State{Service: 1, Zone: 3, Buckets: shard.Range{Last: 127}}
	list := checkpoints(one, n)
	for i := range list {
		s.Tree.Push(list[i].Encode())
		s.Last = list[i]
		s.Outboxes = append(s.Outboxes, list[i].OutboxRoot)
	}
	s.Outboxes = s.Outboxes[max(0, len(s.Outboxes)-anchor.Window):]
	return s
}

// TestStateRoundTrip: what is written is read, and it is as long as promised.
func TestStateRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 1, 2, 3, 63, 64, 65, 127, 200} {
		s := anchored(t, n)
		s.Since, s.Until, s.End, s.Base, s.From, s.Asked, s.RedrawEpoch, s.Redraws = 1, 20, n, 3, 4, 7, 5, 6
		s.Begins, s.Origin, s.Generation, s.Resumed, s.ResumedRoot = 2, 8, 9, n/2, ledger.HashOf("root")
		if n > 1 {
			s.Ends = []anchor.End{{Generation: 8, Height: n / 2}}
		}
		raw := s.Encode()
		again, err := anchor.DecodeState(raw)
		if diff := cmp.Diff(*s, again); err != nil || diff != "" {
			t.Fatalf("%d heights: error %v: %s", n, err, diff)
		}
		if len(raw) > anchor.MaxStateSize {
			t.Errorf("%d heights: %d bytes, at most %d", n, len(raw), anchor.MaxStateSize)
		}
	}
}

// TestStateOfRules: what the rules keep is what anybody derives from the checkpoints.
func TestStateOfRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Epoch, w.ctx.Rules.MaxLag = 12, 12
	w.take(run(t, one, 1, 40, version{}))
	w.take(run(t, one, 41, 90, version{}))
	want := anchored(t, 90)
	want.From = 100
	if diff := cmp.Diff(want, w.state(one)); diff != "" {
		t.Error(diff)
	}
	for _, h := range []uint64{26, 27, 90, 91} {
		if _, ok := w.state(one).Outbox(h); ok != (h > 26 && h <= 90) {
			t.Errorf("outbox of height %d is known: %v", h, ok)
		}
	}
}

func TestDecodeStateRefuses(t *testing.T) {
	t.Parallel()
	edit := func(change func(s *anchor.State)) []byte {
		s := anchored(t, 5)
		change(s)
		return s.Encode()
	}
	good := edit(func(*anchor.State) {})
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", good[:len(good)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(good), 0), codec.ErrTrailing},
		{"a tree too large", edit(func(s *anchor.State) { s.Tree.Size = merkle.MaxSize + 1 }), merkle.ErrRange},
		{"buckets that are no range", edit(func(s *anchor.State) { s.Buckets.First = 3 }), anchor.ErrBadState},
		{"another last height", edit(func(s *anchor.State) { s.Last.Height++ }), anchor.ErrBadState},
		{"more than the end", edit(func(s *anchor.State) { s.End = 4 }), anchor.ErrBadState},
		{"less than the end", edit(func(s *anchor.State) { s.End = 6 }), anchor.ErrBadState},
		{"an end before the beginning", edit(func(s *anchor.State) { s.Since, s.Begins, s.Until = 3, 3, 3 }), anchor.ErrBadState},
		{"a beginning before the first epoch", edit(func(s *anchor.State) { s.Since = 3 }), anchor.ErrBadState},
		{"a generation beyond what is anchored", edit(func(s *anchor.State) { s.Generation, s.Resumed = 1, 6 }), anchor.ErrBadState},
		{"a generation that goes on after none", edit(func(s *anchor.State) { s.Generation, s.Resumed = 1, 3 }), anchor.ErrBadState},
		{"one that goes on elsewhere than that before ended", edit(func(s *anchor.State) {
			s.Generation, s.Resumed, s.Ends = 1, 3, []anchor.End{{Generation: 0, Height: 2}}
		}), anchor.ErrBadState},
		{"an end of the generation in force", edit(func(s *anchor.State) {
			s.Generation, s.Resumed, s.Ends = 1, 3, []anchor.End{{Generation: 0, Height: 2}, {Generation: 1, Height: 3}}
		}), anchor.ErrBadState},
		{"an end at height 0", edit(func(s *anchor.State) { s.Generation, s.Ends = 1, []anchor.End{{Generation: 0}} }), anchor.ErrBadState},
		{"a first end of another than made height 1", edit(func(s *anchor.State) {
			s.Generation, s.Resumed, s.Ends = 2, 3, []anchor.End{{Generation: 1, Height: 3}}
		}), anchor.ErrBadState},
		{"ends out of order", edit(func(s *anchor.State) {
			s.Generation, s.Resumed, s.Ends = 3, 3, []anchor.End{{Generation: 0, Height: 2}, {Generation: 2, Height: 2}, {Generation: 1, Height: 3}}
		}), anchor.ErrBadState},
		{"too many ends", edit(func(s *anchor.State) { s.Ends = make([]anchor.End, anchor.MaxEnds+1) }), anchor.ErrBadState},
		{"a first generation that goes on", edit(func(s *anchor.State) { s.Resumed = 1 }), anchor.ErrBadState},
		{"an origin to come", edit(func(s *anchor.State) { s.Origin = 1 }), anchor.ErrBadState},
		{"a last height of a generation to come", edit(func(s *anchor.State) { s.Last.Generation = 1 }), anchor.ErrBadState},
		{"another last outbox", edit(func(s *anchor.State) { s.Outboxes[4][0]++ }), anchor.ErrBadState},
		{"more outboxes than heights", edit(func(s *anchor.State) { s.Outboxes = append([]ledger.Hash{{1}}, s.Outboxes...) }), anchor.ErrBadState},
		{"a zero outbox that is written", func() []byte {
			s := anchored(t, 5)
			s.Outboxes[0] = ledger.Hash{7}
			return bytes.Replace(s.Encode(), s.Outboxes[0][:], make([]byte, ledger.HashSize), 1)
		}(), anchor.ErrBadState},
	} {
		if _, err := anchor.DecodeState(row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

// TestProofs: every height of trees of every size is proved, and with one byte changed
// nothing is.
func TestProofs(t *testing.T) {
	t.Parallel()
	const most = 40
	list := checkpoints(one, most)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Uint64Range(1, most).Draw(rt, "size")
		height := rapid.Uint64Range(1, size).Draw(rt, "height")
		s := anchored(t, size)
		p, err := anchor.Prove(list[:size], height)
		if err != nil {
			rt.Fatal(err)
		}
		if err := p.Verify(s); err != nil {
			rt.Fatal(err)
		}
		raw := p.Encode()
		raw[rapid.IntRange(0, len(raw)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if bad, err := anchor.DecodeProof(raw); err == nil {
			if err := bad.Verify(s); !errors.Is(err, merkle.ErrProof) {
				rt.Fatalf("height %d of %d, with a bit changed: %v", height, size, err)
			}
		}
		more := anchored(t, size+1)
		if err := p.Verify(more); !errors.Is(err, merkle.ErrProof) {
			rt.Fatalf("height %d of %d, where one more is anchored: %v", height, size, err)
		}
	})
	for _, h := range []uint64{0, most + 1} {
		if _, err := anchor.Prove(list, h); err == nil {
			t.Errorf("height %d of %d is proved", h, most)
		}
	}
}

// TestOneRoot: an application hash of the main chain proves a header of a shard, by
// way of the shard's row.
func TestOneRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.take(run(t, one, 1, 20, version{}), run(t, two, 1, 5, version{}))
	store := memkv.New()
	tree, err := statetree.Open(store, statetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Prepare(1, w.ctx.State.Changes()); err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	if err := errors.Join(tree.WriteTo(batch), batch.Commit(true), tree.Apply()); err != nil {
		t.Fatal(err)
	}
	// Whoever verifies has the root, a statement about the row, and a proof.
	statement, err := tree.Prove(anchor.Key(one))
	if err != nil {
		t.Fatal(err)
	}
	schema := tree.Schema()
	if err := schema.VerifyStatement(statement); err != nil {
		t.Fatal(err)
	}
	row, err := anchor.DecodeState(statement.Value)
	if err != nil {
		t.Fatal(err)
	}
	p, err := anchor.Prove(checkpoints(one, 20), 13)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(&row); err != nil {
		t.Error(err)
	}
	t.Logf("the row has %d bytes, the proof %d", len(statement.Value), len(p.Encode()))
}

// TestKnown: imports may rely on what the state has and what is proved, and on
// nothing else.
func TestKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ctx.Epoch, w.ctx.Rules.MaxLag = 12, 12
	w.take(run(t, one, 1, 64, version{}))
	w.take(run(t, one, 65, 70, version{}))
	s := w.state(one)
	s.Base = 1_000
	w.ctx.State.Set(anchor.Key(one), s.Encode())
	var known link.Anchors = anchor.NewKnown(w.ctx.State)
	for h := range uint64(72) {
		a, ok := known.Anchored(one, h)
		if ok != (h >= 7 && h <= 70) {
			t.Errorf("height %d is known: %v", h, ok)
		}
		if want := (link.Anchored{Outbox: checkpoint(one, h, version{}).OutboxRoot, Clock: 1_000 + h, Newest: 1_070}); ok && a != want {
			t.Errorf("height %d: %+v, want %+v", h, a, want)
		}
	}
	if _, ok := known.Anchored(99, 1); ok {
		t.Error("a shard that is not there is known")
	}
	k := anchor.NewKnown(w.ctx.State)
	p, err := anchor.Prove(checkpoints(one, 70), 3)
	if err != nil {
		t.Fatal(err)
	}
	forged := p
	forged.Checkpoint.OutboxRoot[0]++
	w.refused("another outbox", chain.CodeNotAnchored, func() error { return k.Prove(&forged) })
	forged = p
	forged.Checkpoint.Chain = two
	w.refused("another shard", chain.CodeNotAnchored, func() error { return k.Prove(&forged) })
	forged.Checkpoint.Chain = 99
	w.refused("no shard", chain.CodeUnknownShard, func() error { return k.Prove(&forged) })
	if err := k.Prove(&p); err != nil {
		t.Fatal(err)
	}
	if a, ok := k.Anchored(one, 3); !ok || a.Outbox != p.Checkpoint.OutboxRoot || a.Clock != 1_003 {
		t.Errorf("what was proved: %+v, %v", a, ok)
	}
	for _, row := range []struct {
		id     shard.ID
		height uint64
		place  link.Place
		want   bool
	}{
		{one, 70, link.Place{Service: 1, Zone: 3, Bucket: 127}, true},
		{one, 1, link.Place{Service: 1, Zone: 3}, true},
		{one, 71, link.Place{Service: 1, Zone: 3}, false},
		{one, 0, link.Place{Service: 1, Zone: 3}, false},
		{one, 70, link.Place{Service: 1, Zone: 3, Bucket: 128}, false},
		{one, 70, link.Place{Service: 1, Zone: 2}, false},
		{one, 70, link.Place{Service: 2, Zone: 3}, false},
		{one, 70, link.Place{}, false},
		{99, 1, link.Place{Service: 1, Zone: 3}, false},
	} {
		if got := k.Owned(row.id, row.height, row.place); got != row.want {
			t.Errorf("%s belonged to shard %d at height %d: %v", row.place, row.id, row.height, got)
		}
	}
}
