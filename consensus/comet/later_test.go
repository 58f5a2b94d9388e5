package comet_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cometbft/cometbft/store"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// generation makes the chain that goes on after height of a shard of n, whose state has
// hash then: of members that have that state, with everything else new.
func (n *network) generation(t *testing.T, id, number uint32, height uint64, hash [32]byte, voters ...int) *network {
	t.Helper()
	s := n.shard(t, id, voters...)
	s.genesis.ChainID = comet.GenerationChainID(n.genesis.ChainID, id, number)
	s.genesis.InitialHeight, s.genesis.AppHash = height+1, hash[:]
	for i, m := range s.members {
		m.dir, m.signer = filepath.Join(n.members[i].dir, s.genesis.ChainID), forChain(t, n.members[i].signer, s.genesis.ChainID)
		m.app.height, m.app.hash = height, hash
	}
	return s
}

// TestChainThatBeginsLater: a chain begins with a block above 1 from the state of all its
// members, keeps its heights, and goes on after restarts, also of a member that stopped
// between storing the first block and executing it, or its own state.
func TestChainThatBeginsLater(t *testing.T) {
	t.Parallel()
	const before = 7
	main := newNetwork(t, "later", 4)
	hash := sha256.Sum256([]byte("state"))
	s := main.generation(t, 2, 1, before, hash, 0, 1, 2, 3)
	s.members[0].app.commit = func() error { return errBoom } // the first block is stored by then
	for i := range s.members {
		s.start(t, i)
	}
	for i := range s.members[1:] {
		s.waitReady(t, i+1)
	}
	var sent int
	s.advance(t, 1, &sent)
	eventually(t, hangs, "the member that fails is halted", func() bool { return s.members[0].chain.Status().Halt != nil })
	if status := s.members[1].chain.Status(); status.Height <= before {
		t.Errorf("height %d", status.Height)
	}
	s.stop(t, 0)
	if lowest, highest := stored(t, s, 0).Range(); lowest != before+1 || highest != before+1 {
		t.Errorf("blocks %d to %d are stored", lowest, highest)
	}
	s.members[0].app.commit = nil
	s.start(t, 0)
	for i := range s.members {
		s.waitReady(t, i)
	}
	for range 3 {
		s.advance(t, 0, &sent)
	}
	for i := range s.members {
		s.members[i].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs >= sent })
		s.stop(t, i)
	}
	b := stored(t, s, 1)
	lowest, highest := b.Range()
	if lowest != before+1 || highest <= lowest {
		t.Errorf("blocks %d to %d", lowest, highest)
	}
	total := 0
	replayed := newMemApp()
	replayed.height, replayed.hash = before, hash
	for h := lowest; h <= highest; h++ {
		block, err := b.Block(h)
		if err != nil || block.Height != h || len(block.Hash) != 32 {
			t.Fatalf("block %d: %+v, %v", h, block, err)
		}
		total += len(block.Txs)
		if _, err := replayed.Finalize(block); err != nil {
			t.Fatal(err)
		}
		if _, err := replayed.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if _, head := s.members[1].app.Head(); total != sent || !bytes.Equal(replayed.hash[:], head) {
		t.Errorf("%d transactions in the stored blocks, want %d; state %x, want %x", total, sent, replayed.hash, head)
	}
	if _, err := b.Block(before); err == nil {
		t.Error("a block before the first")
	}
	for i := range s.members {
		s.start(t, i)
	}
	for i := range s.members {
		s.waitReady(t, i)
	}
	s.advance(t, 2, &sent)
}

// TestStateLagsFirstBlock: the first block is stored and executed, and CometBFT's own state
// is not.
func TestStateLagsFirstBlock(t *testing.T) {
	t.Parallel()
	const before = 3
	main := newNetwork(t, "laterlag", 1)
	s := main.generation(t, 2, 1, before, sha256.Sum256([]byte("state")), 0)
	s.start(t, 0)
	s.members[0].app.waitFor(t, 20*time.Second, func(_ int, height uint64) bool { return height > before })
	s.stop(t, 0)
	app := s.members[0].app
	if app.height != before+1 {
		t.Fatalf("it made %d blocks, want the first, after which it waits for transactions", app.height-before)
	}
	if err := comet.ForgetState(s.members[0].store); err != nil {
		t.Fatal(err)
	}
	s.start(t, 0)
	var sent int
	s.advance(t, 0, &sent)
}

// TestChainThatBeginsLaterRefuses what does not fit.
func TestChainThatBeginsLaterRefuses(t *testing.T) {
	t.Parallel()
	main := newNetwork(t, "laterno", 1)
	s := main.generation(t, 2, 1, 5, [32]byte{1}, 0)
	s.members[0].app.hash = [32]byte{2}
	if err := s.tryStart(t, 0); err == nil {
		t.Error("it starts with another state")
	}
	s.members[0].app.height = 9
	if err := s.tryStart(t, 0); err == nil {
		t.Error("it starts with a later state")
	}
	for i, change := range []func(*comet.Genesis){
		func(g *comet.Genesis) { g.AppHash = nil },
		func(g *comet.Genesis) { g.InitialHeight = 1 },
		func(g *comet.Genesis) { g.InitialHeight = 1 << 63 },
	} {
		g := s.genesis
		change(&g)
		if err := g.Validate(); err == nil {
			t.Error(fmt.Sprint("genesis ", i, " is taken"))
		}
	}
}

// TestStoredBlockIsDamaged: a block whose file is not whole is told from one that is not
// there, and from one that cannot be read.
func TestStoredBlockIsDamaged(t *testing.T) {
	t.Parallel()
	dir, kvStore := t.TempDir(), memkv.New()
	files := filepath.Join(dir, "blocks")
	db, done := comet.NewBlockDatabase(kv.Prefixed(kvStore, []byte("blockstore/")), files)
	block := types.MakeBlock(1, []types.Tx{make([]byte, 8_000)}, &types.Commit{}, nil)
	block.Version.Block, block.ChainID = version.BlockProtocol, "c"
	block.ValidatorsHash, block.NextValidatorsHash, block.ConsensusHash = make([]byte, 32), make([]byte, 32), make([]byte, 32)
	block.ProposerAddress = make([]byte, 20)
	parts, err := block.MakePartSet(types.BlockPartSizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	store.NewBlockStore(db).SaveBlock(block, parts, &types.Commit{Height: 1})
	done()
	for _, row := range []struct {
		name  string
		spoil func(path string) error
		want  error
	}{
		{"whole", func(string) error { return nil }, nil},
		{"cut off", func(path string) error { return os.Truncate(path, 100) }, comet.ErrDamaged},
		{"gone", os.Remove, comet.ErrNotFound},
	} {
		names, err := filepath.Glob(filepath.Join(files, "*"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		if err := row.spoil(names[0]); err != nil {
			t.Fatal(err)
		}
		b, err := comet.OpenBlocks(kvStore, dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Block(1); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
		b.Close()
	}
}

func stored(t *testing.T, n *network, i int) *comet.StoredBlocks {
	t.Helper()
	b, err := comet.OpenBlocks(n.members[i].store, filepath.Join(n.members[i].dir, "chain"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
