package api_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// fakeShard is the chain of a shard on all nodes that run it.
type fakeShard struct {
	world *shardWorld
	is    shard.Shard

	mu      sync.Mutex
	chain   *shardtest.Shard
	blocks  []*exec.ShardBlock
	at      map[ledger.Hash]exec.ShardStatus
	changed chan struct{} // closed by the next block
	refuse  error         // what Submit fails with
	lose    bool          // Submit takes what comes and forgets it
	rules   bool          // SubmitRelay goes by the rules
	relays  [][]byte
	certify bool              // blocks have certificates
	forgot  ledger.Hash       // a record of which Status does not know
	tree    *statetree.Tree   // of the state after the last block
	store   kv.Store          // of tree
	rows    map[string][]byte // in tree
}

// grow brings the tree to the state after the last block, and the checkpoint of that to
// its root. f.mu is held.
func (f *fakeShard) grow() {
	t := f.world.t
	t.Helper()
	if f.tree == nil {
		f.store, f.rows = memkv.New(), make(map[string][]byte)
		var err error
		if f.tree, err = statetree.Open(f.store, statetree.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	var changes chain.Changes
	rows := make(map[string][]byte)
	for k, v := range f.chain.State.Range(nil) {
		rows[string(k)] = bytes.Clone(v)
		if old, ok := f.rows[string(k)]; !ok || !bytes.Equal(old, v) {
			changes = append(changes, chain.Change{Key: bytes.Clone(k), Value: bytes.Clone(v)})
		}
	}
	for k := range f.rows {
		if _, ok := rows[k]; !ok {
			changes = append(changes, chain.Change{Key: []byte(k)})
		}
	}
	slices.SortFunc(changes, func(a, b chain.Change) int { return bytes.Compare(a.Key, b.Key) })
	root, err := f.tree.Prepare(f.chain.Height, changes)
	b := f.store.NewBatch()
	if err := errors.Join(err, f.tree.WriteTo(b)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Commit(true), f.tree.Apply()); err != nil {
		t.Fatal(err)
	}
	f.rows, f.chain.Checkpoints[f.chain.Height-1].StateRoot = rows, root
}

// Watch implements api.ShardProofs: a row is proved when it is asked for.
func (f *fakeShard) Watch([]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.certify {
		return exec.ErrNoCertificate
	}
	return nil
}

// Certified implements api.ShardProofs.
func (f *fakeShard) Certified(key []byte) (cert.Certificate, *stateproof.Statement, error) {
	head, _ := f.Head()
	c, err := f.Certificate(head)
	if err != nil {
		return c, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := f.tree.Prove(key)
	return c, st, err
}

// block makes a block. f.mu is held.
func (f *fakeShard) block(relays []*shardblock.Relay, txs ...service.BlockTx) {
	res := f.chain.Block(relays, txs...)
	b := &exec.ShardBlock{
		ShardResult: &exec.ShardResult{Height: f.chain.Height, Receipts: res.Service.Receipts, Bookings: res.Service.Bookings},
		Time:        1_700_000_000_000 + int64(f.chain.Height), Outbox: len(res.Outbox.Leaves()), //nolint:gosec // of a test
	}
	f.blocks = append(f.blocks, b)
	for i := range b.Receipts {
		f.at[b.Receipts[i].Hash] = exec.ShardStatus{
			Hash: b.Receipts[i].Hash, Stage: exec.StageFinal, Height: f.chain.Height, TxIndex: uint32(i), Receipt: &b.Receipts[i],
		}
	}
	f.grow()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Submit implements api.ShardPool: a block is made at once.
func (f *fakeShard) Submit(_ context.Context, raw []byte) (exec.ShardStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tx, err := chain.DecodeTx(f.domain(), raw)
	if err != nil || f.refuse != nil {
		return exec.ShardStatus{}, errors.Join(f.refuse, err)
	}
	if have, ok := f.at[tx.Hash]; ok {
		return have, nil
	}
	if _, err := f.admit(&tx); err != nil {
		return exec.ShardStatus{}, err
	}
	if f.lose {
		return exec.ShardStatus{Hash: tx.Hash, Stage: exec.StageChecked}, nil
	}
	f.block(nil, service.BlockTx{Tx: tx})
	return f.at[tx.Hash], nil
}

func (f *fakeShard) domain() chain.Domain { return service.Domain(shardtest.Network(), f.is.Service) }

func (f *fakeShard) admit(tx *chain.Tx) (service.Receipt, error) {
	p, err := service.ReadParams(f.chain.State)
	if err != nil {
		return service.Receipt{}, err
	}
	r, _, err := service.Admit(f.chain.State, p, f.domain(), f.chain.Height+1, tx)
	return r, err
}

// Simulate implements api.ShardPool.
func (f *fakeShard) Simulate(_ context.Context, raw []byte) (service.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tx, err := chain.DecodeTx(f.domain(), raw)
	if err != nil {
		return service.Receipt{}, err
	}
	return f.admit(&tx)
}

// Status implements api.ShardPool.
func (f *fakeShard) Status(hash ledger.Hash) (exec.ShardStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.at[hash]; ok && hash != f.forgot {
		return s, nil
	}
	return exec.ShardStatus{}, exec.ErrUnknown
}

// Wait implements api.ShardPool.
func (f *fakeShard) Wait(_ context.Context, hash ledger.Hash, _ exec.Stage) (exec.ShardStatus, error) {
	return f.Status(hash)
}

// SubmitRelay implements api.ShardPool.
func (f *fakeShard) SubmitRelay(_ context.Context, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(payload) == "known" {
		return chain.Refuse(chain.CodeNothingNew, "all of it is known")
	}
	if f.rules {
		r, err := shardblock.DecodeRelay(payload)
		if err == nil {
			err = shardblock.Check(f.chain.State, f.chain.Height+1, r, f.chain.Verifiers.Certificate)
		}
		if err != nil {
			return err
		}
	}
	f.relays = append(f.relays, payload)
	return nil
}

// Pending implements api.ShardPool.
func (*fakeShard) Pending() (records int, size int64) { return 3, 400 }

// Head implements api.ShardState.
func (f *fakeShard) Head() (height uint64, appHash []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chain.Height == 0 {
		return 0, nil
	}
	hash := f.chain.Checkpoints[f.chain.Height-1].StateRoot
	return f.chain.Height, hash[:]
}

// Read implements api.ShardState.
func (f *fakeShard) Read(do func(v chain.View, height uint64) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return do(f.chain.State, f.chain.Height)
}

// Block implements api.ShardBlocks.
func (f *fakeShard) Block(height uint64) (*exec.ShardBlock, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if height == 0 || height > uint64(len(f.blocks)) {
		return nil, exec.ErrPruned
	}
	return f.blocks[height-1], nil
}

// Follow implements api.ShardBlocks.
func (f *fakeShard) Follow(from uint64) api.ShardReader {
	if from == 0 {
		head, _ := f.Head()
		from = head + 1
	}
	return &fakeReader{f, from}
}

type fakeReader struct {
	f    *fakeShard
	next uint64
}

func (r *fakeReader) Next(ctx context.Context) (*exec.ShardBlock, error) {
	for {
		r.f.mu.Lock()
		changed, blocks := r.f.changed, r.f.blocks
		r.f.mu.Unlock()
		if r.next <= uint64(len(blocks)) {
			r.next++
			return blocks[r.next-2], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Outbox implements api.ShardBlocks.
func (f *fakeShard) Outbox(height uint64) (*link.Outbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if box, ok := f.chain.Boxes[height]; ok {
		return box, nil
	}
	return nil, exec.ErrPruned
}

// Took implements api.ShardBlocks.
func (f *fakeShard) Took(l link.Link, seq uint64) (height uint64, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	height, ok = took(f.chain.Boxes, l, seq)
	return height, ok, nil
}

// took returns the first of these outboxes that acknowledges a message.
func took(boxes map[uint64]*link.Outbox, l link.Link, seq uint64) (height uint64, ok bool) {
	for _, height := range slices.Sorted(maps.Keys(boxes)) {
		for _, leaf := range boxes[height].Leaves() {
			if leaf.Ack != nil && leaf.Ack.Link == l && leaf.Ack.Next > seq {
				return height, true
			}
		}
	}
	return 0, false
}

// Certificate implements api.ShardBlocks: everybody whom the main chain drew signs.
func (f *fakeShard) Certificate(height uint64) (cert.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.certify || height == 0 || height > f.chain.Height {
		return cert.Certificate{}, exec.ErrNoCertificate
	}
	var a shard.Assignment
	err := f.world.exec.Read(func(v chain.View, _ uint64) error {
		a, _ = registry.ReadAssignment(v, 0, f.is.ID)
		return nil
	})
	if err != nil {
		return cert.Certificate{}, err
	}
	p := f.chain.Checkpoints[height-1]
	p.Epoch, p.CommitteeHash = 0, a.Committee.Hash()
	c := cert.Certificate{Checkpoint: p, Bitmap: []byte{1<<len(a.Committee.Members) - 1}}
	var list []bls.Signature
	for _, m := range a.Committee.Members {
		list = append(list, blsOf(int(m.Validator)).Sign(p.Message())) //nolint:gosec // a row
	}
	c.Signature, err = bls.Aggregate(list)
	return c, err
}

// LatestCertificate implements api.ShardBlocks.
func (f *fakeShard) LatestCertificate() (cert.Certificate, error) {
	head, _ := f.Head()
	return f.Certificate(head)
}

// Chain implements api.Shard.
func (*fakeShard) Chain() api.ChainInfo { return api.ChainInfo{Validator: true, Peers: 2} }
