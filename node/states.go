package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
)

const (
	// keptStates is how many states of a shard are kept for others.
	keptStates = 2
	// stateAbsent is for how long a state that was looked for in vain is not looked for
	// again.
	stateAbsent = 10 * time.Second
	// statesSwept is how often states are removed that nobody needs any more.
	statesSwept = time.Minute
	// statesSnapshots is how many snapshots a shard has to have before nobody needs the
	// state any more that it began with, since who comes then joins by one.
	statesSnapshots = 2
)

// states gives states of shards to nodes that go on from them and do not have them: what
// the main chain names, as far as it is in this node's store or was put aside. The chunks
// are made when they are asked for first, one state at a time, and kept as files. It is
// safe for concurrent use.
type states struct {
	node *Node
	log  *slog.Logger
	wake chan struct{} // capacity 1: due was added to

	mu     sync.Mutex
	kept   map[shard.ID]*layer.Snapshots
	due    []stateName
	ready  []readyState
	ended  bool                    // run has
	absent map[stateName]time.Time // looked for in vain
}

// stateName names a state.
type stateName struct {
	id   shard.ID
	root ledger.Hash
}

// readyState is a state that is about to be put aside.
type readyState struct {
	id    shard.ID
	state *statetree.Snapshot
}

func newStates(n *Node) *states {
	return &states{
		node: n, log: n.module("states"), wake: make(chan struct{}, 1),
		kept: map[shard.ID]*layer.Snapshots{}, absent: map[stateName]time.Time{},
	}
}

// dir is where the states of a shard lie that are kept for others.
func (s *states) dir(id shard.ID) string {
	return filepath.Join(s.node.home.Data(), "states", shardName(id))
}

// Describe implements api.ShardStates.
func (s *states) Describe(id shard.ID, root ledger.Hash) ([]byte, error) {
	if m, _, ok := s.find(id, root); ok {
		return m.Encode(), nil
	}
	if !s.node.namesState(id, root) {
		return nil, fmt.Errorf("state %s of shard %d: %w", root, id, exec.ErrUnknown)
	}
	return nil, s.want(stateName{id, root})
}

// want has the chunks of a state made, and returns api.ErrStateInPreparation. If nobody makes
// them, as on a node that runs no shards, the error wraps exec.ErrUnknown.
func (s *states) want(name stateName) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.node.cfg.Shards.Enabled || s.ended || time.Since(s.absent[name]) < stateAbsent {
		return fmt.Errorf("state %s of shard %d: %w", name.root, name.id, exec.ErrUnknown)
	}
	if slices.Contains(s.due, name) {
		return api.ErrStateInPreparation
	}
	s.due = append(s.due, name)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return api.ErrStateInPreparation
}

// offer puts a state aside for others, beside all else, and closes it.
func (s *states) offer(id shard.ID, state *statetree.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // a shard was still about to start
		_ = state.Close() // it was only read
		return
	}
	s.ready = append(s.ready, readyState{id, state})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// putAside puts aside what was offered.
func (s *states) putAside(ctx context.Context) {
	s.mu.Lock()
	ready := s.ready
	s.ready = nil
	s.mu.Unlock()
	for _, r := range ready {
		if ctx.Err() == nil {
			err := contained(s.log, "put a state aside", func() error { return s.keep(ctx, r.id, r.state) })
			if err != nil && ctx.Err() == nil {
				s.log.LogAttrs(ctx, slog.LevelWarn, "put the state of a shard aside for others", slog.String("shard", shardName(r.id)), slog.Any("err", err))
			}
		}
		_ = r.state.Close() // it was only read
	}
}

// begin lets states be put aside, again after a panic of run.
func (s *states) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = false
}

// end closes what is offered and was not put aside.
func (s *states) end(ctx context.Context) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.putAside(ctx)
}

// Chunk implements api.ShardStates.
func (s *states) Chunk(id shard.ID, root ledger.Hash, index uint32) ([]byte, error) {
	m, chunk, ok := s.find(id, root)
	if !ok {
		return nil, fmt.Errorf("state %s of shard %d: %w", root, id, exec.ErrUnknown)
	}
	raw, err := chunk(m.State.Height, index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("chunk %d of state %s of shard %d: %w", index, root, id, exec.ErrUnknown)
	}
	return raw, err
}

// find returns the manifest of a state that is there in chunks, and what reads these.
func (s *states) find(id shard.ID, root ledger.Hash) (m layer.Manifest, chunk func(uint64, uint32) ([]byte, error), ok bool) {
	if kept, err := s.open(id, false); err == nil && kept != nil {
		for _, m := range kept.List() {
			if m.State.AppHash == root {
				return m, kept.Chunk, true
			}
		}
	}
	if h := s.node.shards.find(id); h != nil { // those that it makes for who joins
		for _, m := range h.exec.Snapshots() {
			if m.State.AppHash == root {
				return m, h.exec.SnapshotChunk, true
			}
		}
	}
	return m, nil, false
}

// open returns the states of a shard that are kept. Where there are none it returns nil,
// unless a place for them is to be made.
func (s *states) open(id shard.ID, create bool) (*layer.Snapshots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.kept[id]; kept != nil {
		return kept, nil
	}
	dir := s.dir(id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil //nolint:nilnil // there are none
	}
	kept, err := layer.OpenSnapshots(dir, keptStates)
	if err != nil {
		return nil, err
	}
	s.kept[id] = kept
	return kept, nil
}

// run makes the chunks of states that were asked for until ctx ends, and removes those
// that nobody needs any more.
func (s *states) run(ctx context.Context) error {
	sweep := time.NewTicker(statesSwept)
	defer sweep.Stop()
	s.begin()
	defer s.end(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			s.sweep(ctx)
		case <-s.wake:
		}
		s.putAside(ctx)
		for name, ok := s.next(); ok && ctx.Err() == nil; name, ok = s.next() {
			s.make(ctx, name)
		}
	}
}

// next returns a state that is to be made, if there is one.
func (s *states) next() (name stateName, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return name, false
	}
	return s.due[0], true
}

// make makes the chunks of a state, if it is here.
func (s *states) make(ctx context.Context, name stateName) {
	err := contained(s.log, "put a state aside", func() error { return s.export(ctx, name) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = s.due[1:]
	if err == nil {
		return
	}
	if len(s.absent) >= keptStates*int(shard.MaxShards) {
		clear(s.absent)
	}
	s.absent[name] = time.Now()
	if ctx.Err() == nil && !errors.Is(err, exec.ErrUnknown) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "put the state of a shard aside for others", slog.String("shard", shardName(name.id)), slog.Any("err", err))
	}
}

func (s *states) export(ctx context.Context, name stateName) error {
	state, err := s.node.shards.openState(name)
	if errors.Is(err, exec.ErrUnknown) {
		return s.node.shards.takeBackFor(ctx, name)
	}
	if err != nil {
		return err
	}
	defer func() { _ = state.Close() }() // it was only read
	return s.keep(ctx, name.id, state)
}

// keep puts a state aside for others.
func (s *states) keep(ctx context.Context, id shard.ID, state *statetree.Snapshot) error {
	kept, err := s.open(id, true)
	if err != nil {
		return err
	}
	m, err := kept.Make(ctx, state)
	if err == nil {
		s.log.LogAttrs(ctx, slog.LevelInfo, "the state of a shard is put aside for others", slog.String("shard", shardName(id)),
			slog.Uint64("height", m.State.Height), slog.String("state_root", m.State.AppHash.String()), slog.Uint64("bytes", m.Bytes), slog.Int("chunks", len(m.Chunks)))
	}
	return err
}

// sweep removes what nobody needs any more.
func (s *states) sweep(ctx context.Context) {
	entries, err := os.ReadDir(filepath.Join(s.node.home.Data(), "states"))
	if err != nil {
		return // there are none
	}
	for _, e := range entries {
		id, ok := parseShardName(e.Name())
		if !ok || s.node.wanted(id) {
			continue
		}
		s.mu.Lock()
		delete(s.kept, id)
		err := os.RemoveAll(s.dir(id))
		s.mu.Unlock()
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "remove states of a shard", slog.String("shard", e.Name()), slog.Any("err", err))
		}
	}
}

// openState opens a state of a shard that the store has as the last one: of a shard that
// runs, or does not any more.
func (s *shards) openState(name stateName) (*statetree.Snapshot, error) {
	missing := fmt.Errorf("state %s of shard %d: %w", name.root, name.id, exec.ErrUnknown)
	var l *layer.Settlement
	if h := s.find(name.id); h != nil {
		l = h.layer
	} else {
		if _, err := os.Stat(s.node.serviceDir()); err != nil && s.opened() == nil {
			return nil, missing
		}
		store, release, err := s.occupy(name.id)
		if errors.Is(err, errPartTaken) {
			return nil, missing // it is about to start, to stop or to be removed
		}
		if err != nil {
			return nil, err
		}
		defer release()
		if l, err = layer.New(kv.Prefixed(store, shardPrefix(name.id)), s.node.shardLayer()); err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // what is opened below outlives it
	}
	if l.AppHash() != name.root {
		return nil, missing
	}
	state, err := l.OpenSnapshot()
	if err != nil {
		return nil, err
	}
	if state.AppHash() != name.root { // it went on meanwhile
		return nil, errors.Join(missing, state.Close())
	}
	return state, nil
}

// namesState reports whether the main chain says that somebody goes on from a state.
func (n *Node) namesState(id shard.ID, root ledger.Hash) (named bool) {
	_ = n.main.exec.Read(func(v chain.View, _ uint64) error { // a store that is closed names none
		row, ok := anchor.Read(v, id)
		named = ok && (row.Finished() && row.Last.StateRoot == root || row.Resumed > 0 && row.ResumedRoot == root)
		return nil
	})
	return named
}

// underWay is after how many heights of a chain nobody needs the state any more that it
// began with.
func (n *Node) underWay() uint64 {
	return statesSnapshots * uint64(n.cfg.Snapshots.Interval) //nolint:gosec // bounded by the settings
}

// wanted reports whether other nodes may need the state of a shard that this one does not
// run any more: while an heir has not got going, or its present generation.
func (n *Node) wanted(id shard.ID) (wanted bool) {
	err := n.main.exec.Read(func(v chain.View, _ uint64) error {
		row, ok := anchor.Read(v, id)
		m, on := registry.ReadMap(v)
		if !ok || !on {
			return nil
		}
		if !row.Finished() {
			wanted = row.Until > 0 || row.Height() < row.Resumed+n.underWay()
			return nil
		}
		for _, heir := range m.Heirs(id) {
			began, founded := anchor.Read(v, heir.ID)
			wanted = wanted || !founded || began.Height() < n.underWay()
		}
		return nil
	})
	return wanted || err != nil
}

// takeBackFor makes the state that a generation of a shard goes on from, for others: of a
// shard that this node ran before and does not run any more. The states get it when it is
// there.
func (s *shards) takeBackFor(ctx context.Context, name stateName) error {
	n := s.node
	missing := fmt.Errorf("state %s of shard %d: %w", name.root, name.id, exec.ErrUnknown)
	gen, err := n.generationOf(name.id)
	if err != nil {
		return err
	}
	if _, err := os.Stat(n.shardDir(name.id)); err != nil || gen.height == 0 || gen.root != name.root {
		return missing
	}
	store, release, err := s.occupy(name.id)
	if errors.Is(err, errPartTaken) {
		return missing
	}
	if err != nil {
		return err
	}
	defer release()
	g, err := n.shardGenesis(ctx, name.id)
	if err != nil {
		return err
	}
	t := n.newTakeBack(&gen, &g, store)
	if number, err := prepared(t.part); err != nil || number >= gen.number {
		return errors.Join(err, missing)
	}
	l, err := layer.New(t.part, n.shardLayer())
	if err != nil {
		return err
	}
	if own, err := t.begun(l); err != nil || !own {
		return errors.Join(err, missing, l.Close())
	}
	if l, err = t.own(ctx, l); err != nil {
		return errors.Join(err, l.Close())
	}
	state, err := l.OpenSnapshot()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(n.states.keep(ctx, name.id, state), state.Close(), l.Close())
}
