package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/node/directory"
	"github.com/tributary-network/tributary/node/home"
)

// newLonelyNode is a node in memory that knows no other one, and nothing of the main chain.
func newLonelyNode(t *testing.T) *Node {
	t.Helper()
	n := &Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler), inMemory: true}
	n.cfg.Shards.Memtable, n.cfg.Snapshots.Interval = 16<<20, 100
	n.main, n.shards = newHosted(mainName, n.log), newShards(n)
	var err error
	n.directory, err = directory.New(directory.Config{
		Now: time.Now, Members: func(ledger.ChainID) []ledger.PublicKey { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if store := n.shards.opened(); store != nil {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return n
}

// grow makes a state at a height in a part of a store, and returns its root.
func grow(t *testing.T, n *Node, part kv.Store, height uint64) (root ledger.Hash) {
	t.Helper()
	l, err := layer.New(part, n.shardLayer())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Init(chain.Changes{{Key: []byte("k"), Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	for h := uint64(1); h <= height; h++ {
		if _, err := l.Prepare(h, nil); err != nil || l.Commit(nil) != nil {
			t.Fatal(err)
		}
	}
	root = l.AppHash()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestTakeBackKeepsWhatIsHere: what a node has of a shard goes only when the anchored state
// cannot be made of it and somebody else has it, so that an error that passes does not
// destroy the last copy.
func TestTakeBackKeepsWhatIsHere(t *testing.T) {
	t.Parallel()
	const height = 3
	for name, row := range map[string]struct {
		anchored uint64
		prepare  func(t *testing.T, n *Node, b *takeBack)
		want     error // nil is any
		gone     bool
	}{
		"a shard that it began from is in use": {height, func(t *testing.T, n *Node, b *takeBack) {
			t.Helper()
			b.genesis.Service.Parents = []service.Parent{{}}
			b.genesis.Service.Parents[0].Shard.Chain = 7
			if _, ok := n.shards.parts.take(7); !ok {
				t.Fatal("it is taken")
			}
		}, shardblock.ErrNotFounded, false},
		"a state that it began from is nowhere": {height, func(_ *testing.T, _ *Node, b *takeBack) {
			b.genesis.Service.Parents = []service.Parent{{}}
			b.genesis.Service.Parents[0].Shard.Chain = 7
		}, errStateElsewhere, false},
		"a state that it began from is nowhere, and others went on": {height + 1, func(_ *testing.T, _ *Node, b *takeBack) {
			b.genesis.Service.Parents = []service.Parent{{}}
			b.genesis.Service.Parents[0].Shard.Chain = 7
		}, errStateElsewhere, true},
		"the disk fails": {height + 1, func(t *testing.T, _ *Node, b *takeBack) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(b.dir, "snapshots"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, false},
		"it is another state": {height, func(t *testing.T, n *Node, b *takeBack) {
			t.Helper()
			grow(t, n, b.part, height)
		}, errStateElsewhere, false},
		"it is another state, and others went on": {height + 1, func(t *testing.T, n *Node, b *takeBack) {
			t.Helper()
			grow(t, n, b.part, height)
		}, errStateElsewhere, true},
		"it is another state, and others are far ahead": {height + 200, func(t *testing.T, n *Node, b *takeBack) {
			t.Helper()
			grow(t, n, b.part, height)
		}, errStateElsewhere, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newLonelyNode(t)
			b := n.newTakeBack(&generation{id: 2, number: 1, height: height, root: ledger.Hash{1}, anchored: row.anchored}, &shardblock.Genesis{}, memkv.New())
			if err := errors.Join(os.MkdirAll(b.dir, 0o700), put(b.part, "i/x", []byte("y"))); err != nil {
				t.Fatal(err)
			}
			block := filepath.Join(b.dir, "block")
			if err := os.WriteFile(block, []byte("b"), 0o600); err != nil {
				t.Fatal(err)
			}
			row.prepare(t, n, b)
			if err := b.bring(t.Context()); err == nil || row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("error %v, want %v", err, row.want)
			}
			index, err := b.part.Get([]byte("i/x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(block); (index == nil) != row.gone || (err != nil) != row.gone {
				t.Errorf("the index is gone: %t, the files: %v; want %t", index == nil, err, row.gone)
			}
		})
	}
}

// TestLost: which errors say that a state cannot be made of what is here.
func TestLost(t *testing.T) {
	t.Parallel()
	b := &takeBack{gen: &generation{height: 3, anchored: 3}}
	for _, row := range []struct {
		err  error
		want bool
	}{
		{comet.ErrNotFound, true},
		{comet.ErrDamaged, true},
		{layer.ErrChunk, true},
		{exec.ErrOtherGenesis, true},
		{errOtherState, true},
		{errPartTaken, false},
		{shardblock.ErrNotFounded, false},
		{errStateElsewhere, false},
		{os.ErrPermission, false},
		{kv.ErrClosed, false},
	} {
		if got := b.lost(errors.Join(errors.New("rebuild"), row.err)); got != row.want {
			t.Errorf("%v: %t", row.err, got)
		}
	}
}

// TestAncestorStays: what is here of a shard that another one takes over from stays while
// nobody gives its last state.
func TestAncestorStays(t *testing.T) {
	t.Parallel()
	n := newLonelyNode(t)
	store, release, err := n.shards.occupy(7)
	if err != nil {
		t.Fatal(err)
	}
	part := kv.Prefixed(store, shardPrefix(7))
	root := grow(t, n, part, 3)
	if err := put(part, "c/block", []byte("b")); err != nil {
		t.Fatal(err)
	}
	release()
	p := service.Parent{Height: 4, StateRoot: ledger.Hash{1}}
	p.Shard.Chain = 7
	if _, err := n.openAncestor(t.Context(), &shardRun{id: 2}, &p); !errors.Is(err, errStateElsewhere) {
		t.Errorf("error %v", err)
	}
	l, err := layer.New(part, n.shardLayer())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if block, err := part.Get([]byte("c/block")); err != nil || l.Height() != 3 || l.AppHash() != root || block == nil {
		t.Errorf("height %d, root %s, a block %q, %v", l.Height(), l.AppHash(), block, err)
	}
}
