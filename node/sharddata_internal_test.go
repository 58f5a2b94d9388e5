package node

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/shard"
)

// rows is a state of the main chain with a few rows.
type rows map[string][]byte

func (r rows) Get(key []byte) []byte { return r[string(key)] }

func (r rows) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for k := range r {
				if bytes.HasPrefix([]byte(k), prefix) && !yield(k) {
					return
				}
			}
		}) {
			if !yield([]byte(k), r[k]) {
				return
			}
		}
	}
}

var _ chain.View = rows{}

// anchored sets the row of a shard.
func (r rows) anchored(id shard.ID, s anchor.State) {
	s.Buckets, s.Begins = shard.Range{Last: 255}, s.Since
	if s.Last.Epoch > 0 || s.End > 0 {
		s.Last.Height = max(1, s.End)
		for range s.Last.Height {
			s.Tree.Push(s.Last.Encode())
			s.Outboxes = append(s.Outboxes, ledger.Hash{})
		}
	}
	key := anchor.Key(id)
	r[string(key)] = s.Encode()
	if key[0] = '0'; !s.Finished() {
		r[string(key)] = []byte{1} // of what anchor.Unfinished yields
	}
}

// drawn has validators serve a shard in an epoch.
func (r rows) drawn(epoch uint64, id shard.ID, validators ...uint64) {
	s := shard.Short{Kept: true}
	for _, v := range validators {
		s.Seats = append(s.Seats, shard.Seat{Validator: v, Power: 1})
	}
	r[string(registry.AssignmentKey(epoch, id))] = s.Encode()
}

// TestUnfinished: a node that starts goes on with what its validator was drawn to end,
// until it is anchored to its end, and with what it has if nobody knows any more who was.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	dir := home.Dir(t.TempDir())
	n := &Node{home: dir}
	s := newShards(&Node{home: dir, log: slog.New(slog.DiscardHandler)})
	s.node = n
	v := rows{}
	for id, a := range map[shard.ID]anchor.State{
		2: {Since: 1, Until: 5}, 3: {Since: 1, Until: 5}, 4: {Since: 1, Until: 5, End: 1, Last: cert.Checkpoint{Epoch: 5}},
		5: {Since: 1, Until: 7}, 6: {Since: 1}, 7: {Since: 1, Until: 2}, 8: {Since: 1, Until: 2}, 9: {Since: 1, Until: 6},
	} {
		v.anchored(id, a)
	}
	v.drawn(5, 2, 70, 7)
	v.drawn(5, 3, 70)
	v.drawn(5, 4, 7)
	v.drawn(6, 9, 7)
	if err := os.MkdirAll(filepath.Join(n.shardsDir(), shardName(8)), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, want := s.unfinished(v, 6, 7), []shard.ID{2, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("shards %v are to be ended, want %v", got, want)
	}
}

// TestIdle: what is here of a shard is needed no more when others go on with it.
func TestIdle(t *testing.T) {
	t.Parallel()
	const id, row, epoch, keep = 2, 7, 20, 3
	lives := anchor.State{Since: 1, Last: cert.Checkpoint{Epoch: 19}}
	for _, c := range []struct {
		name  string
		state anchor.State
		drawn []uint64 // epochs in which the validator serves it
		want  bool
	}{
		{name: "others go on", state: lives, drawn: []uint64{16}, want: true},
		{name: "served lately", state: lives, drawn: []uint64{17}},
		{name: "serves", state: lives, drawn: []uint64{20}},
		{name: "is to serve", state: lives, drawn: []uint64{21}},
		{name: "nobody anchors it", state: anchor.State{Since: 1, Last: cert.Checkpoint{Epoch: 17}}},
		{name: "to be replaced", state: anchor.State{Since: 1, Until: 21, Last: cert.Checkpoint{Epoch: 20}}, want: true},
		{name: "not ended", state: anchor.State{Since: 1, Until: 9, Last: cert.Checkpoint{Epoch: 8}}},
		{name: "ended", state: anchor.State{Since: 1, Until: 17, End: 1, Last: cert.Checkpoint{Epoch: 17}}, want: true},
		{name: "ended lately", state: anchor.State{Since: 1, Until: 18, End: 1, Last: cert.Checkpoint{Epoch: 18}}},
	} {
		v := rows{}
		v.anchored(id, c.state)
		for _, e := range c.drawn {
			v.drawn(e, id, row, 8)
		}
		if got := idle(v, id, row, epoch, keep); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if idle(rows{}, id, row, epoch, keep) {
		t.Error("a shard that the main chain does not know is idle")
	}
}

// TestRemoveShard: the data of one shard go, at once or after a stop in the middle, and
// those of others stay.
func TestRemoveShard(t *testing.T) {
	t.Parallel()
	dir := home.Dir(t.TempDir())
	n := &Node{home: dir, log: slog.New(slog.DiscardHandler)}
	n.shards = newShards(n)
	s := n.shards
	open := func() *badgerkv.Store {
		t.Helper()
		store, err := badgerkv.Open(badgerkv.Small(n.serviceDir()))
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	for _, id := range []shard.ID{2, 20} {
		if err := os.MkdirAll(filepath.Join(n.shardsDir(), shardName(id), "snapshots"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			if err := put(kv.Prefixed(store, shardPrefix(id)), key, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := s.remove(stopped, store, 2); err == nil {
		t.Error("a removal that was stopped is told as done")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = open()
	defer func() { _ = store.Close() }()
	left, err := unfinishedRemovals(store)
	if err != nil || !slices.Equal(left, []shard.ID{2}) {
		t.Fatalf("removals to finish: %v, %v", left, err)
	}
	s.store = store
	s.doom(left...)
	release, ok := s.parts.take(2)
	if err := s.clear(t.Context()); err != nil || !ok || len(s.condemned()) != 1 {
		t.Errorf("a shard that is in use is removed: %v, %v", err, s.condemned())
	}
	release()
	if err := s.clear(t.Context()); err != nil || len(s.condemned()) != 0 {
		t.Errorf("clear: %v, %v", err, s.condemned())
	}
	for id, want := range map[shard.ID]int{2: 0, 20: 2} {
		keys := 0
		if err := kv.Scan(store, shardPrefix(id), func(_, _ []byte) error { keys++; return nil }); err != nil || keys != want {
			t.Errorf("%d keys of shard %d, want %d: %v", keys, id, want, err)
		}
		if here := n.hasShard(id); here != (want > 0) {
			t.Errorf("the directory of shard %d is there: %v", id, here)
		}
	}
	if left, err := unfinishedRemovals(store); err != nil || len(left) != 0 {
		t.Errorf("removals to finish: %v, %v", left, err)
	}
}

// TestStrandedInMemory: a shard that is to be fetched anew starts again once its data are
// removed, also on a node in memory.
func TestStrandedInMemory(t *testing.T) {
	t.Parallel()
	n := newLonelyNode(t)
	s := n.shards
	store, release, err := s.occupy(2)
	if err != nil {
		t.Fatal(err)
	}
	part := kv.Prefixed(store, shardPrefix(2))
	if err := put(part, "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	release()
	s.failed(t.Context(), &shardRun{id: 2}, errStranded)
	if _, _, err := s.occupy(2); !errors.Is(err, errPartTaken) {
		t.Errorf("it starts before its data are removed: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	tidied := make(chan error, 1)
	go func() { tidied <- s.tidy(ctx) }()
	defer func() {
		if stop(); <-tidied != nil {
			t.Error("it is not tidied to the end")
		}
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); len(s.condemned()) > 0; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("its data are not removed")
		}
	}
	_, release, err = s.occupy(2)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if value, err := part.Get([]byte("a")); value != nil || err != nil {
		t.Errorf("a row is left: %q, %v", value, err)
	}
}

// TestHalfRemoved: a shard whose removal a killed node had not finished is opened by nobody
// before it is: not to run it, not for its heirs, not to give its state.
func TestHalfRemoved(t *testing.T) {
	t.Parallel()
	n := &Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	n.cfg.Shards.Memtable = 1 << 20
	for name, use := range map[string]func(s *shards) error{
		"run it": func(s *shards) error {
			r := &shardRun{id: 2}
			r.place.ID = 2
			return s.host(t.Context(), r)
		},
		"take over from it": func(*shards) error {
			p := service.Parent{}
			p.Shard.Chain = 2
			_, err := n.openAncestor(t.Context(), &shardRun{id: 3}, &p)
			return err
		},
		"read what it did": func(s *shards) error {
			_, _, err := s.occupyBy(2, s.parts.borrow)
			return err
		},
		"give its state": func(s *shards) error {
			_, err := s.openState(stateName{2, ledger.Hash{}})
			return err
		},
	} {
		store, err := badgerkv.Open(badgerkv.Small(n.serviceDir()))
		if err != nil {
			t.Fatal(err)
		}
		err = put(kv.Prefixed(store, []byte(removingView)), shardName(2), []byte{1})
		if err := errors.Join(err, store.Close()); err != nil {
			t.Fatal(err)
		}
		n.shards = newShards(n)
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: it is opened: %v", name, p)
				}
			}()
			err := use(n.shards)
			if !errors.Is(err, errPartTaken) && !errors.Is(err, shardblock.ErrNotFounded) && !errors.Is(err, exec.ErrUnknown) {
				t.Errorf("%s: %v", name, err)
			}
			release, ok := n.shards.parts.take(2)
			if !ok {
				t.Fatalf("%s: its part was not given back", name)
			}
			release()
		}()
		if err := n.shards.clear(t.Context()); err != nil || len(n.shards.condemned()) != 0 {
			t.Errorf("%s: the removal is not finished: %v, %v", name, err, n.shards.condemned())
		}
		if err := n.shards.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoredParts: a shard that has only a state here is found, whatever its number.
func TestStoredParts(t *testing.T) {
	t.Parallel()
	n := &Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	n.shards = newShards(n)
	if ids, err := n.shards.here(); err != nil || len(ids) != 0 {
		t.Errorf("before there is a store: %v, %v", ids, err)
	}
	store, err := badgerkv.Open(badgerkv.Small(n.serviceDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	for _, key := range []string{"removing/s9", "s", "s2/a", "s2/b", "s20/a", "s3/a", "states/s7", "sx/a", "t4/a"} {
		if err := put(store, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []shard.ID{3, 5} {
		if err := os.MkdirAll(n.shardDir(id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	n.shards.store = store
	if ids, err := n.shards.here(); err != nil || !slices.Equal(ids, []shard.ID{2, 3, 5, 20}) {
		t.Errorf("here are %v, %v", ids, err)
	}
}

// TestOfferAfterTheEnd: a state that is offered while or after the node stops does not stay
// open.
func TestOfferAfterTheEnd(t *testing.T) {
	t.Parallel()
	l, err := layer.New(memkv.New(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, bad := l.Init(chain.Changes{{Key: []byte("k"), Value: []byte("v")}})
	if _, err := l.Prepare(1, nil); err != nil || bad != nil || l.Commit(nil) != nil {
		t.Fatal(err, bad)
	}
	s := newStates(&Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, when := range []string{"before", "after"} {
		state, err := l.OpenSnapshot()
		if err != nil {
			t.Fatal(err)
		}
		s.offer(2, state)
		if err := s.run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(s.ready) != 0 {
			t.Errorf("offered %s the end: it is left", when)
		}
	}
	state, err := l.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.offer(2, state)
	if len(s.ready) != 0 {
		t.Error("offered after the end: it is left")
	}
}
