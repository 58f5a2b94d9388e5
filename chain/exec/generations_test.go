package exec_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard"
)

// reopen opens the chain of a node anew, as its generations went on.
func (n *shardMember) reopen(resumes ...shardblock.Resume) {
	n.t.Helper()
	l, err := layer.New(n.store, layer.Options{})
	if err == nil {
		n.exec, err = exec.OpenGenerations(n.cfg, l, *n.gen, resumes, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// resumeAt returns how generation 1 goes on from a height, in epoch 1 and with the
// validators from 101 on.
func (n *shardNet) resumeAt(height uint64, root ledger.Hash) shardblock.Resume {
	return shardblock.Resume{
		Generation: 1, Height: height, StateRoot: root, Record: registry.EpochRecord{Epoch: 1, Sigma: 7, First: shardtest.EpochBlocks + 1},
		Assignment: shard.Assignment{Shard: shardID, Committee: shardtest.CommitteeOf(n.t, 1, 101, 102, 103, 104)},
	}
}

// rows returns what lies under a prefix of a store.
func rows(t *testing.T, s kv.Store, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := kv.Scan(s, []byte(prefix), func(key, value []byte) error {
		out[string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// generationWorld is a shard of which main has anchored the blocks up to a height, and which
// has made more.
type generationWorld struct {
	*shardNet

	payer, payee ledger.PrivateKey
	id           ledger.Hash
	blocks       []exec.Block // from height 1 on
	root         ledger.Hash  // at anchored
	resume       shardblock.Resume
	index        map[string]string // at anchored
}

const anchored = 7

// newGenerationWorld makes anchored blocks, and then those that beyond returns.
func newGenerationWorld(t *testing.T, beyond func(w *generationWorld) [][][]byte) *generationWorld {
	t.Helper()
	w := &generationWorld{shardNet: newShardNet(t, 5, nil), payer: keyOf(1), payee: keyOf(2)}
	var relay []byte
	w.id, relay = w.notices(3, w.payer, w.payee)
	w.make(chain.EncodeRelay(relay))
	for total := uint64(1); total < anchored; total++ {
		if total%2 == 0 {
			w.make()
			continue
		}
		w.make(w.book(total))
	}
	_, root := w.nodes[0].exec.Head()
	w.root = ledger.Hash(root)
	w.resume = w.resumeAt(anchored, w.root)
	w.index = rows(t, w.nodes[0].store, "i/")
	for _, bundles := range beyond(w) {
		w.make(bundles...)
	}
	return w
}

func (w *generationWorld) book(total uint64) []byte {
	return chain.EncodeRecords([][]byte{booking(w.payer, w.payee, w.id, total)})
}

// make makes the next block on all nodes.
func (w *generationWorld) make(bundles ...[]byte) {
	w.t.Helper()
	w.blocks = append(w.blocks, w.nodes[0].next(bundles...))
	w.block(bundles...)
}

// stored returns a block that was made.
func (w *generationWorld) stored(height uint64) (exec.Block, error) {
	if height == 0 || height > uint64(len(w.blocks)) {
		return exec.Block{}, errors.New("no such block")
	}
	return w.blocks[height-1], nil
}

// takeBack takes back what a node made beyond what is anchored, and opens the generation.
func (w *generationWorld) takeBack(n *shardMember) {
	w.t.Helper()
	n.reopen()
	if err := n.exec.ForgetAbove(anchored); err != nil {
		w.t.Fatal(err)
	}
	w.check(n, "when the index is taken back")
	if err := layer.Discard(n.store); err != nil {
		w.t.Fatal(err)
	}
	n.reopen()
	if _, err := n.exec.InitChain(nil); err != nil {
		w.t.Fatal(err)
	}
	if err := n.exec.Rebuild(w.t.Context(), anchored, w.stored); err != nil {
		w.t.Fatal(err)
	}
	if err := n.exec.Recall(); err != nil {
		w.t.Fatal(err)
	}
	n.reopen(w.resume)
	w.settled(n)
}

// check compares the index of a node with that at the anchored height.
func (w *generationWorld) check(n *shardMember, when string) {
	w.t.Helper()
	got := rows(w.t, n.store, "i/")
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want, ok := w.index[key]; (!ok || want != got[key]) && key[0] != 'i' && key[0] != 'p' {
			w.t.Errorf("%s: row %q of the index is %x, was %x", when, key, got[key], want)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.index)) {
		if _, ok := got[key]; !ok && key[0] != 'i' && key[0] != 'k' {
			w.t.Errorf("%s: row %q of the index is gone", when, key)
		}
	}
}

// settled checks that a node is at the anchored height in everything.
func (w *generationWorld) settled(n *shardMember) {
	w.t.Helper()
	if height, root := n.exec.Head(); height != anchored || !bytes.Equal(root, w.root[:]) {
		w.t.Fatalf("it is at height %d with %x, want %d and %s", height, root, anchored, w.root)
	}
	w.check(n, "at the end")
	got := rows(w.t, n.store, "i/")
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if key[0] == 'i' && got[key] != w.index[key] {
			w.t.Errorf("channel %x of the index is %x, was %x", key, got[key], w.index[key])
		}
	}
	for key := range rows(w.t, n.store, "v/certificates/") {
		if key[len(key)-1] > anchored {
			w.t.Errorf("a certificate of block %x is left", key)
		}
	}
}

// goOn makes blocks of generation 1 on nodes that have the anchored state, and checks them.
func (w *generationWorld) goOn() {
	w.t.Helper()
	w.blocks = w.blocks[:anchored]
	total := uint64(100)
	w.make(w.book(total))
	for range 3 {
		total++
		w.make(w.book(total))
	}
	for _, n := range w.nodes {
		for height := uint64(anchored + 1); height <= anchored+4; height++ {
			w.certified(n, height, 101, 102, 103, 104)
			c, err := n.exec.Certificate(height)
			if err != nil || c.Checkpoint.Generation != 1 || c.Checkpoint.Epoch != 1 {
				w.t.Errorf("certificate of block %d: %+v, %v", height, c.Checkpoint, err)
			}
		}
		if e, err := n.exec.Earnings(w.payee.Address(zone)); err != nil || e.Total.Amount != total {
			w.t.Errorf("earnings %+v: %v", e, err)
		}
		if s, err := n.exec.Standing(); err != nil || s.Generation != 1 || s.Since != anchored+1 || s.Epoch != 1 {
			w.t.Errorf("standing %+v: %v", s, err)
		}
		for _, booked := range []uint64{1, 5, 103} {
			if booked < 100 && n.exec.KeptFrom() > 1 {
				continue // it joined
			}
			raw := booking(w.payer, w.payee, w.id, booked)
			if s, err := n.exec.Status(chain.TxHash(raw)); err != nil || s.Stage != exec.StageFinal {
				w.t.Errorf("booking %d: %+v, %v", booked, s, err)
			}
		}
		if s, err := n.exec.Status(chain.TxHash(booking(w.payer, w.payee, w.id, 50))); err == nil {
			w.t.Errorf("a booking that was taken back is %+v", s)
		}
	}
}

// TestGenerationTakesBack: nodes that made more than is anchored take it back, each in its
// own way, one of them at the second try; with one that has only the state they come to the
// same blocks, and certify them as the committee of the generation; and who executes all
// blocks from the first on comes to the same.
func TestGenerationTakesBack(t *testing.T) {
	t.Parallel()
	w := newGenerationWorld(t, func(w *generationWorld) [][][]byte {
		_, opened := w.notices(4, w.payer, keyOf(3))
		return [][][]byte{{chain.EncodeRelay(opened)}, {w.book(50)}, {}, {w.book(51)}}
	})
	for i, n := range w.nodes[:4] {
		if i == 3 { // it is killed in the middle
			n.reopen()
			if err := errors.Join(n.exec.ForgetAbove(anchored+2), layer.Discard(n.store)); err != nil {
				t.Fatal(err)
			}
		}
		w.takeBack(n)
	}
	w.nodes[4] = w.joined(t, w.nodes[0])
	w.goOn()

	replayed := w.bare(4)
	replayed.reopen(w.resume)
	if _, err := replayed.exec.InitChain(nil); err != nil {
		t.Fatal(err)
	}
	if err := replayed.exec.Rebuild(t.Context(), uint64(len(w.blocks)), w.stored); err != nil {
		t.Fatal(err)
	}
	_, want := w.nodes[0].exec.Head()
	if height, got := replayed.exec.Head(); height != anchored+4 || !bytes.Equal(got, want) {
		t.Errorf("executing all blocks comes to %x at height %d, want %x", got, height, want)
	}
}

// joined returns a node that has nothing but the state of another one, which is at the
// anchored height.
func (w *generationWorld) joined(t *testing.T, from *shardMember) *shardMember {
	t.Helper()
	snapshots, err := layer.OpenSnapshots(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	source, err := layer.New(from.store, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := source.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	m, err := snapshots.Make(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.bare(4)
	l, err := layer.New(fresh.store, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Restore(m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Chunks {
		chunk, err := snapshots.Chunk(m.State.Height, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Add(uint32(i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	fresh.reopen(w.resume)
	for _, total := range []uint64{1, 5} { // it knows the channel, and not who booked before
		if _, err := fresh.exec.Status(chain.TxHash(booking(w.payer, w.payee, w.id, total))); !errors.Is(err, exec.ErrUnknown) {
			t.Errorf("booking %d: %v", total, err)
		}
	}
	if _, err := fresh.exec.Channel(w.id); err != nil {
		t.Error(err)
	}
	return fresh
}

// TestGenerationAfterEmptyBlocks: blocks that did nothing are taken back without executing
// any.
func TestGenerationAfterEmptyBlocks(t *testing.T) {
	t.Parallel()
	w := newGenerationWorld(t, func(*generationWorld) [][][]byte { return [][][]byte{{}, {}, {}} })
	for _, n := range w.nodes {
		n.reopen()
		if err := n.exec.ForgetAbove(anchored); err != nil {
			t.Fatal(err)
		}
		l, err := layer.New(n.store, layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.AppHash() != w.root || l.Rewind(0) == nil || l.Rewind(anchored+9) == nil {
			t.Fatal("it can be rewound to anywhere")
		}
		if err := errors.Join(l.Rewind(anchored), n.exec.Recall(), l.Close()); err != nil {
			t.Fatal(err)
		}
		n.reopen(w.resume)
		w.settled(n)
	}
	w.goOn()
}

// TestGenerationWithinAnEpoch: a node that has executed blocks of a committee certifies
// those of another one of the same epoch by that one.
func TestGenerationWithinAnEpoch(t *testing.T) {
	t.Parallel()
	w := newGenerationWorld(t, func(*generationWorld) [][][]byte { return nil })
	w.resume.Record = registry.EpochRecord{First: 1}
	w.resume.Assignment.Committee = shardtest.CommitteeOf(t, 0, 101, 102, 103, 104)
	for i, n := range w.nodes {
		w.nodes[i] = w.bare(i)
		w.nodes[i].reopen(w.resume)
		if _, err := w.nodes[i].exec.InitChain(nil); err != nil {
			t.Fatal(err)
		}
		if err := w.nodes[i].exec.Rebuild(t.Context(), anchored, w.stored); err != nil {
			t.Fatal(err)
		}
		if _, want := n.exec.Head(); !bytes.Equal(want, w.root[:]) {
			t.Fatal("another state")
		}
	}
	for height := uint64(anchored + 1); height < anchored+4; height++ {
		w.make(w.book(100 + height))
		for _, n := range w.nodes {
			w.certified(n, height, 101, 102, 103, 104)
		}
	}
}

// TestGenerationsInOrder: what is no order of generations is refused, and of two that go on
// from one height the later one counts.
func TestGenerationsInOrder(t *testing.T) {
	t.Parallel()
	w := newGenerationWorld(t, func(*generationWorld) [][][]byte { return nil })
	next := w.resume
	next.Generation = 3
	next.Assignment.Committee = shardtest.CommitteeOf(t, 1, 100, 101, 102, 104)
	n := w.nodes[0]
	for name, resumes := range map[string][]shardblock.Resume{
		"falling": {next, w.resume}, "twice": {w.resume, w.resume}, "none": {{}},
		"lower": {w.resume, func() shardblock.Resume { r := next; r.Height = 2; return r }()},
	} {
		l, err := layer.New(n.store, layer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.OpenGenerations(n.cfg, l, *n.gen, resumes, slog.New(slog.DiscardHandler)); !errors.Is(err, shardblock.ErrBadResume) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range w.nodes {
		n.reopen(w.resume, next)
	}
	w.make(w.book(100))
	w.certified(w.nodes[1], anchored+1, 100, 101, 102, 104)
	if s, err := n.exec.Standing(); err != nil || s.Generation != 3 {
		t.Errorf("standing %+v: %v", s, err)
	}
}

// TestStateOfAnotherGenesis: what a shard made that began with another genesis is told from
// what cannot be read.
func TestStateOfAnotherGenesis(t *testing.T) {
	t.Parallel()
	w := newShardNet(t, 5, nil)
	w.block()
	n, other := w.nodes[0], *w.nodes[0].gen
	other.Generation++
	l, err := layer.New(n.store, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.OpenGenerations(n.cfg, l, other, nil, slog.New(slog.DiscardHandler)); !errors.Is(err, exec.ErrOtherGenesis) {
		t.Errorf("error %v", err)
	}
}
