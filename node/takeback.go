package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// errOtherState says that what is here becomes another state than the anchored one.
var errOtherState = errors.New("the state of the shard is another one")

// takeBack brings a shard's part of the store to the state that a generation goes on from:
// what this node executed beyond is taken back, what it lacks is fetched. The part belongs
// to whoever does it. All of it can be done again after a crash in the middle: which
// generation the state is of is written last.
type takeBack struct {
	node    *Node
	gen     *generation
	genesis *shardblock.Genesis
	part    kv.Store
	dir     string
	tell    func(string)
	run     *shardRun // nil for a shard that the node does not run
	log     *slog.Logger
}

func (n *Node) newTakeBack(gen *generation, g *shardblock.Genesis, store kv.Store) *takeBack {
	return &takeBack{
		node: n, gen: gen, genesis: g, part: kv.Prefixed(store, shardPrefix(gen.id)), dir: n.shardDir(gen.id),
		tell: func(string) {}, log: n.logOf(gen.id),
	}
}

// prepare does what is to be done before a generation runs here. Afterwards there is no
// state if nobody gives it, but main has anchored blocks of the generation, so that the node
// can join by a snapshot.
func (t *takeBack) prepare(ctx context.Context) error {
	number, err := prepared(t.part)
	switch {
	case err != nil || number == t.gen.number:
		return err
	case number > t.gen.number:
		return fmt.Errorf("%w: the main chain is at generation %d here, the shard at %d", shardblock.ErrNotFounded, t.gen.number, number)
	}
	began := time.Now()
	err = t.bring(ctx)
	elsewhere := errors.Is(err, errStateElsewhere) && t.gen.anchored > t.gen.height
	if err != nil && !elsewhere {
		return fmt.Errorf("prepare generation %d: %w", t.gen.number, err)
	}
	if err := os.Remove(filepath.Join(t.dir, shardHeightFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	t.log.LogAttrs(ctx, slog.LevelInfo, "the shard goes on with another generation", slog.Uint64("generation", uint64(t.gen.number)),
		slog.Uint64("height", t.gen.height), slog.Bool("state", !elsewhere), slog.Duration("took", time.Since(began).Round(time.Millisecond)))
	return setDurably(t.part, []byte(preparedKey), binary.BigEndian.AppendUint32(nil, t.gen.number))
}

// bring brings the part to the state of the generation.
func (t *takeBack) bring(ctx context.Context) error {
	if t.gen.height == 0 { // nothing was anchored, so nothing counts
		return t.clear()
	}
	l, err := layer.New(t.part, t.node.shardLayer())
	if err != nil {
		return err
	}
	if own, err := t.begun(l); err != nil {
		return errors.Join(err, l.Close())
	} else if own {
		l, err = t.own(ctx, l)
		if err == nil || ctx.Err() != nil || !t.lost(err) {
			return errors.Join(err, l.Close())
		}
		t.log.LogAttrs(ctx, slog.LevelWarn, "the anchored state of the shard cannot be made of what is here; it is fetched", slog.Any("err", err))
	}
	return t.fetch(ctx, l)
}

// lost reports whether an error of own says that the state cannot be made of what is here,
// however often it is tried. After any other one what is here stays: nobody else may have it.
func (t *takeBack) lost(err error) bool {
	if errors.Is(err, errStateElsewhere) { // a state that the shard began from
		return t.othersWentOn()
	}
	return slices.ContainsFunc([]error{comet.ErrNotFound, comet.ErrDamaged, layer.ErrSnapshot, exec.ErrOtherGenesis, errOtherState},
		func(reason error) bool { return errors.Is(err, reason) })
}

// othersWentOn reports whether others have the state, since they have made blocks after it.
func (t *takeBack) othersWentOn() bool { return t.gen.anchored > t.gen.height }

// fetch fetches the state in place of what is here, in l, which it closes. What is here is
// removed when somebody says that he has the state, or when others have gone on from it.
func (t *takeBack) fetch(ctx context.Context, l *layer.Settlement) error {
	if t.gen.anchored >= t.gen.height+t.node.underWay() { // others may not have the first blocks any more
		return errors.Join(fmt.Errorf("%w: it is under way", errStateElsewhere), l.Close(), t.clear())
	}
	err := t.node.fetchState(ctx, &wantedState{stateName{t.gen.id, t.gen.root}, t.gen.height}, func() (*layer.Settlement, error) {
		err := errors.Join(l.Close(), t.clear())
		if err == nil {
			err = t.reopen(&l)
		}
		return l, err
	}, t.tell)
	err = errors.Join(err, l.Close())
	if errors.Is(err, errStateElsewhere) && t.othersWentOn() { // it is joined by a snapshot
		err = errors.Join(err, t.clear())
	}
	return err
}

// reopen opens the layer anew, which was closed; after an error it is the closed one.
func (t *takeBack) reopen(l **layer.Settlement) error {
	made, err := layer.New(t.part, t.node.shardLayer())
	if err == nil {
		*l = made
	}
	return err
}

// clear removes all that is here of the shard but for its sign states.
func (t *takeBack) clear() error {
	return errors.Join(layer.Clear(t.part), os.RemoveAll(t.dir), os.MkdirAll(t.dir, 0o700))
}

// begun reports whether this node has run the shard: it has a state, or a part of the index
// of one that was about to be made again.
func (t *takeBack) begun(l *layer.Settlement) (bool, error) {
	if !l.Empty() {
		return true, nil
	}
	it := l.Index().Iterate(nil, nil, false)
	some := it.Next()
	return some, it.Close()
}

// own makes the state of what is here. It returns the layer that is open then.
func (t *takeBack) own(ctx context.Context, l *layer.Settlement) (*layer.Settlement, error) {
	snapshots, err := layer.OpenHeldSnapshots(filepath.Join(t.dir, "snapshots"), t.gen.height)
	if err != nil {
		return l, err
	}
	if l.Height() > t.gen.height {
		if err := t.forget(l, snapshots); err != nil {
			return l, err
		}
		if l.AppHash() == t.gen.root {
			err = l.Rewind(t.gen.height)
		} else if err = errors.Join(l.Close(), layer.Discard(t.part)); err == nil {
			err = t.reopen(&l)
		}
		if err != nil {
			return l, err
		}
	}
	if l.Height() < t.gen.height || l.Empty() {
		if err := t.rebuild(ctx, l, snapshots); err != nil {
			return l, err
		}
	}
	if l.Height() != t.gen.height || l.AppHash() != t.gen.root {
		return l, fmt.Errorf("%w: it is %s at height %d, main has anchored %s at %d", errOtherState, l.AppHash(), l.Height(), t.gen.root, t.gen.height)
	}
	s, err := t.open(l)
	if err != nil {
		return l, err
	}
	return l, s.Recall()
}

// forget takes back the index and the snapshots of what is above the generation's height.
func (t *takeBack) forget(l *layer.Settlement, snapshots *layer.Snapshots) error {
	s, err := t.open(l)
	if err != nil {
		return err
	}
	if err := s.ForgetAbove(t.gen.height); err != nil {
		return err
	}
	return snapshots.Drop(func(m *layer.Manifest) bool { return m.State.Height > t.gen.height })
}

// open opens the rules over a layer, whose state is of an earlier generation.
func (t *takeBack) open(l *layer.Settlement) (*exec.Shard, error) {
	c := exec.Config{Network: t.node.genesis.NetworkID(), KeepBlocks: exec.KeepAll, KeepReceipts: kept(t.node.cfg.Pruning.KeepReceipts)}
	return exec.OpenGenerations(c, l, *t.genesis, t.gen.earlier(), t.log)
}

// rebuild executes blocks again up to the generation's height: from where the layer is, or,
// if it has no state, from a snapshot or the genesis on.
func (t *takeBack) rebuild(ctx context.Context, l *layer.Settlement, snapshots *layer.Snapshots) error {
	if l.Empty() {
		if err := restoreOwn(l, snapshots, t.gen.height); err != nil {
			return err
		}
	}
	var s *exec.Shard
	var err error
	if l.Empty() {
		if s, err = t.initialise(ctx, l); err != nil {
			return err
		}
	} else if s, err = t.open(l); err != nil {
		return err
	}
	blocks := &ownBlocks{takeBack: t, layer: l}
	defer blocks.close()
	told := time.Now()
	return s.Rebuild(ctx, t.gen.height, func(height uint64) (exec.Block, error) {
		if t.tell(fmt.Sprintf("block %d of %d executed again", height, t.gen.height)); time.Since(told) >= stateTold {
			told = time.Now()
			t.log.LogAttrs(ctx, slog.LevelInfo, "blocks are executed again up to what is anchored", slog.Uint64("height", height), slog.Uint64("to", t.gen.height))
		}
		return blocks.block(height)
	})
}

// initialise makes the state of the genesis.
func (t *takeBack) initialise(ctx context.Context, l *layer.Settlement) (*exec.Shard, error) {
	run := t.run
	if run == nil {
		run = &shardRun{id: t.gen.id}
	}
	a, err := t.node.openAncestors(ctx, run, t.genesis)
	if err != nil {
		return nil, err
	}
	c := exec.Config{Network: t.node.genesis.NetworkID(), KeepBlocks: exec.KeepAll, KeepReceipts: kept(t.node.cfg.Pruning.KeepReceipts)}
	s, err := exec.OpenGenerations(c, l, *t.genesis, t.gen.earlier(), t.log, a.views()...)
	if err == nil {
		_, err = s.InitChain(nil)
	}
	return s, errors.Join(err, a.close())
}

// restoreOwn restores the newest snapshot that is not above a height, if there is one.
func restoreOwn(l *layer.Settlement, snapshots *layer.Snapshots, height uint64) error {
	var newest *layer.Manifest
	for _, m := range snapshots.List() {
		if m.State.Height <= height {
			newest = &m
		}
	}
	if newest == nil {
		return nil
	}
	r, err := l.Restore(*newest)
	if err != nil {
		return err
	}
	for i := range newest.Chunks {
		chunk, err := snapshots.Chunk(newest.State.Height, uint32(i)) //nolint:gosec // bounded by the format
		if err == nil {
			_, err = r.Add(uint32(i), chunk) //nolint:gosec // likewise
		}
		if err != nil {
			return errors.Join(err, r.Abort())
		}
	}
	return nil
}

// ownBlocks are the blocks of the generations before, as far as consensus has them here.
type ownBlocks struct {
	*takeBack

	layer  *layer.Settlement
	number uint32 // of the generation whose blocks are open
	open   *comet.StoredBlocks
}

func (b *ownBlocks) block(height uint64) (exec.Block, error) {
	number := b.gen.origin
	for _, r := range b.gen.earlier() {
		if r.Height < height {
			number = r.Generation
		}
	}
	if b.open == nil || b.number != number {
		b.close()
		var err error
		if b.open, err = comet.OpenBlocks(consensusStore(b.layer, number), filepath.Join(b.dir, consensusName(number))); err != nil {
			return exec.Block{}, err
		}
		b.number = number
	}
	block, err := b.open.Block(height)
	return exec.Block{Height: block.Height, Time: block.Time, Proposer: block.Proposer, Txs: block.Txs, Hash: block.Hash}, err
}

func (b *ownBlocks) close() {
	if b.open != nil {
		b.open.Close()
		b.open = nil
	}
}
