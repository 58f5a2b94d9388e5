package shardblock_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// resumed returns how a generation of the left shard goes on from its last block in an
// epoch with validators that were not there before.
func (w *world) resumed(generation uint32, epoch uint64, last bool) *shardblock.Resume {
	w.t.Helper()
	return &shardblock.Resume{
		Generation: generation, Height: w.left.Height, StateRoot: w.left.State.Hash(),
		Record:     registry.EpochRecord{Epoch: epoch, Sigma: 100 * epoch, First: shardtest.EpochBlocks*epoch + 1},
		Assignment: shard.Assignment{Shard: leftID, Committee: shardtest.CommitteeOf(w.t, epoch, 300, 301, 302, 303), Last: last},
	}
}

// apply makes the next block of the left shard, by a Resume if there is one.
func (w *world) apply(b shardblock.Block) (shardblock.Result, error) {
	changes, res, err := shardblock.Apply(w.left.State, b, w.left.Verifiers)
	if err == nil {
		w.left.State.Apply(changes)
		w.left.Height++
	}
	return res, err
}

// TestResume: a shard goes on from a height at which another committee was about to take
// over, with a third one and in a later epoch: its state stays, and the first block is of
// the epoch, without changes of validators.
func TestResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 63), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Assign(1, leftID, 200, 201, 202, 203)
	w.main.To(10)
	w.left.Block(relays(w.main.Notices(1, 0, 0)), w.book(p, 40))
	w.left.Block(relays(w.main.EpochRelay(1, leftID))) // they were to vote block 4
	if shardblock.ReadStatus(w.left.State).Since != 4 {
		t.Fatal("the committee of epoch 1 is not about to take over")
	}
	r := w.resumed(2, 3, false)
	over, err := r.Over(w.left.State)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := shardblock.Committee(over, 3); !ok || c.Hash() != r.Assignment.Committee.Hash() {
		t.Errorf("block 3 is voted by %+v", c)
	}
	if c, ok := shardblock.CommitteeOf(over, 3); !ok || c.Hash() != r.Assignment.Committee.Hash() {
		t.Errorf("in epoch 3 serve %+v", c)
	}
	res, err := w.apply(shardblock.Block{Height: 3, Resume: r, Txs: []service.BlockTx{w.book(p, 2)}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Epoch != 3 || res.Generation != 2 || len(res.Updates) != 0 || res.Ended || res.Service.Receipts[0].Code != chain.CodeOK {
		t.Errorf("block %+v", res)
	}
	for height := uint64(3); height < 6; height++ {
		if c, ok := shardblock.Committee(w.left.State, height); !ok || c.Hash() != r.Assignment.Committee.Hash() {
			t.Errorf("block %d is voted by %+v", height, c)
		}
	}
	if s := shardblock.ReadStatus(w.left.State); s.Epoch != 3 || s.Since != 3 || s.Generation != 2 || s.Ended != 0 || s.First != 3 || s.MainFirst != 31 {
		t.Errorf("status %+v", s)
	}
	if e := service.ReadEpoch(w.left.State); e.Number != 3 || e.Sigma != 300 {
		t.Errorf("epoch %+v", e)
	}
	if leaves := res.Outbox.Leaves(); len(leaves) == 0 || leaves[len(leaves)-1].Message == nil && leaves[0].Message == nil {
		t.Error("the load of the epochs before is not reported")
	}
	if _, err := shardblock.Audit(w.left.State); err != nil {
		t.Error(err)
	}
	// The next epoch comes as always.
	w.main.Assign(4, leftID, 300, 301, 302, 304)
	var handovers []shardblock.Handover
	for epoch := uint64(1); epoch < 5; epoch++ {
		w.main.To(shardtest.EpochBlocks * epoch)
		handovers = append(handovers, w.main.Handover())
	}
	w.left.Block(relays(&shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: handovers}}))
	if res := w.left.Block(relays(w.main.EpochRelay(4, leftID))); len(res.Updates) != 2 || res.Epoch != 3 || res.Generation != 2 {
		t.Errorf("block %+v", res)
	}
	w.left.Block(nil)
	if res := w.left.Block(nil); res.Epoch != 4 || res.Generation != 2 {
		t.Errorf("block %+v", res)
	}
}

// TestResumeInEpoch: others are drawn in the epoch in which the shard is already, and in
// an empty block.
func TestResumeInEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.To(10)
	w.left.Block(relays(headRelay(w.main.Heads[9])))
	res, err := w.apply(shardblock.Block{Height: 2, Resume: w.resumed(1, 0, false)})
	if err != nil || res.Epoch != 0 || res.Generation != 1 || res.Outbox.Root() != (ledger.Hash{}) {
		t.Errorf("block %+v: %v", res, err)
	}
	if c, _ := shardblock.CommitteeOf(w.left.State, 0); c.Members[0].Validator != 300 {
		t.Errorf("in epoch 0 serve %+v", c)
	}
	if s := shardblock.ReadStatus(w.left.State); s.Since != 2 || s.First != 0 || s.MainFirst != 1 {
		t.Errorf("status %+v", s)
	}
}

// TestResumeLast: the end of a shard that is replaced is made by a generation that goes on
// for nothing else, whatever the one before was about to end with.
func TestResumeLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.AssignLast(1, leftID, 100, 101, 102, 103)
	w.main.To(10)
	w.left.Block(relays(w.main.EpochRelay(1, leftID)))
	if shardblock.ReadStatus(w.left.State).Ended != 3 {
		t.Fatal("the shard does not end with block 3")
	}
	r := w.resumed(1, 4, true)
	over, err := r.Over(w.left.State)
	if err != nil {
		t.Fatal(err)
	}
	if !shardblock.NeedsTick(over, 2) || shardblock.AdmitUsers(over, 2) != nil {
		t.Error("the last block is not wanted")
	}
	res, err := w.apply(shardblock.Block{Height: 2, Resume: r})
	if err != nil || !res.Ended || res.Epoch != 4 || res.Generation != 1 {
		t.Errorf("block %+v: %v", res, err)
	}
	if err := shardblock.AdmitUsers(w.left.State, 3); !errors.Is(err, shardblock.ErrEnded) {
		t.Errorf("users after the end: %v", err)
	}
}

// TestBadResume: each row breaks one thing.
func TestBadResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.Assign(1, leftID, 100, 101, 102, 103)
	w.main.To(10)
	w.left.Block(relays(w.main.EpochRelay(1, leftID)))
	if _, err := w.apply(shardblock.Block{Height: 2, Resume: w.resumed(3, 1, false)}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *shardblock.Resume, b *shardblock.Block){
		"another height":          func(_ *shardblock.Resume, b *shardblock.Block) { b.Height++ },
		"another shard":           func(r *shardblock.Resume, _ *shardblock.Block) { r.Assignment.Shard = rightID },
		"the same generation":     func(r *shardblock.Resume, _ *shardblock.Block) { r.Generation = 3 },
		"the first generation":    func(r *shardblock.Resume, _ *shardblock.Block) { r.Generation = 0 },
		"no state root":           func(r *shardblock.Resume, _ *shardblock.Block) { r.StateRoot = ledger.Hash{} },
		"from height 0":           func(r *shardblock.Resume, b *shardblock.Block) { r.Height, b.Height = 0, 1 },
		"nobody serves":           func(r *shardblock.Resume, _ *shardblock.Block) { r.Assignment.Committee.Members = nil },
		"an epoch before":         func(r *shardblock.Resume, _ *shardblock.Block) { r.Record.Epoch, r.Assignment.Committee.Epoch = 0, 0 },
		"the record of another":   func(r *shardblock.Resume, _ *shardblock.Block) { r.Record.Epoch = 5 },
		"a relay that is refused": func(_ *shardblock.Resume, b *shardblock.Block) { b.Relays = relays(w.main.EpochRelay(1, leftID)) },
	} {
		r := w.resumed(4, 1, false)
		b := shardblock.Block{Height: 3, Resume: r}
		change(r, &b)
		if _, _, err := shardblock.Apply(w.left.State, b, w.left.Verifiers); !shardblock.IsInvalid(err) {
			t.Errorf("%s: %v, want an invalid block", name, err)
		}
	}
	if _, _, err := shardblock.Apply(w.left.State, shardblock.Block{Height: 3, Resume: w.resumed(4, 1, false)}, w.left.Verifiers); err != nil {
		t.Errorf("as it is: %v", err)
	}
}

// TestResumeFromMain: what main says of a generation stays the same while it goes on, and
// the genesis with it.
func TestResumeFromMain(t *testing.T) {
	t.Parallel()
	o := chain.NewOverlay(shardtest.NewState(nil))
	if _, _, err := shardblock.ResumeFromMain(o, leftID); !errors.Is(err, shardblock.ErrNotFounded) {
		t.Errorf("of no shard: %v", err)
	}
	com := shardtest.CommitteeOf(t, 4, 100, 101)
	row := anchor.State{Service: shardtest.Service, Zone: 1, Buckets: shard.Whole(), Generation: 2, RedrawEpoch: 4}
	o.Set(anchor.Key(leftID), row.Encode())
	if _, ok, err := shardblock.ResumeFromMain(o, leftID); ok || err != nil {
		t.Errorf("of a generation from height 0: %v, %v", ok, err)
	}
	w := newWorld(t)
	for range 3 {
		w.left.Block(nil)
	}
	for i := range w.left.Checkpoints {
		row.Tree.Push(w.left.Checkpoints[i].Encode())
		row.Outboxes = append(row.Outboxes, ledger.Hash{})
	}
	row.Last, row.Resumed, row.ResumedRoot = w.left.Checkpoints[2], 2, ledger.HashOf("root at 2")
	row.Ends = []anchor.End{{Generation: 0, Height: 2}}
	o.Set(anchor.Key(leftID), row.Encode())
	if _, _, err := shardblock.ResumeFromMain(o, leftID); !errors.Is(err, shardblock.ErrNotFounded) {
		t.Errorf("without the record of the epoch: %v", err)
	}
	record := registry.EpochRecord{Epoch: 4, Sigma: 5, First: 41}
	o.Set(registry.EpochKey(4), record.Encode())
	if _, _, err := shardblock.ResumeFromMain(o, leftID); !errors.Is(err, shardblock.ErrNotFounded) {
		t.Errorf("without who serves in it: %v", err)
	}
	want := shardblock.Resume{Generation: 2, Height: 2, StateRoot: row.ResumedRoot, Record: record, Assignment: shard.Assignment{Shard: leftID, Committee: com}}
	raw := want.Encode()
	again, err := shardblock.DecodeResume(raw)
	if err != nil || !bytes.Equal(again.Encode(), raw) || again.Hash() != want.Hash() {
		t.Errorf("decoded %+v: %v", again, err)
	}
	for cut := range raw {
		if _, err := shardblock.DecodeResume(raw[:cut]); err == nil {
			t.Errorf("%d of %d bytes say how a shard goes on", cut, len(raw))
		}
	}
	if _, err := shardblock.DecodeResume(append(bytes.Clone(raw), 0)); err == nil {
		t.Error("one byte more says how a shard goes on")
	}
}
