package exec_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// provable is a chain whose block i+1 has sizes[i] transfers, and their hashes.
func provable(tb testing.TB, sizes ...int) (*node, [][]ledger.Hash) {
	tb.Helper()
	n := newNode(tb, &network{}, genesisOf(1, settlement.LocalParams()), exec.Config{RecentBlocks: 1}, false)
	a := accountOf(0)
	hashes := make([][]ledger.Hash, len(sizes))
	for i, size := range sizes {
		var txs [][]byte
		for records := range slices.Chunk(make([]struct{}, size), chain.BundleRecords/4) {
			var raw [][]byte
			for range records {
				raw = append(raw, a.transfer(n.exec.Domain(), keyOf(9).Address(zone), 1))
				hashes[i] = append(hashes[i], chain.TxHash(raw[len(raw)-1]))
			}
			txs = append(txs, chain.EncodeRecords(raw))
		}
		n.force(txs)
	}
	return n, hashes
}

func (n *node) prove(tb testing.TB, hash ledger.Hash) *exec.TxProof {
	tb.Helper()
	p, err := n.exec.Proof(hash)
	if err != nil {
		tb.Fatal(err)
	}
	if err := merkle.Verify(p.Results.Root, p.Receipt.Leaf(), uint64(p.TxIndex), p.Leaves, p.Path); err != nil || p.Receipt.Hash != hash {
		tb.Errorf("proof of %s is of %s: %v", hash, p.Receipt.Hash, err)
	}
	schema := n.layer.Schema()
	if err := schema.VerifyStatement(p.State); err != nil {
		tb.Errorf("state proof of %s: %v", hash, err)
	}
	return p
}

func TestABlockIsReadOnceForItsProofs(t *testing.T) {
	t.Parallel()
	n, hashes := provable(t, 50, 70, 1)
	var wait sync.WaitGroup
	reads := make([]uint64, 50)
	for i, hash := range hashes[0] { // at the same time
		wait.Go(func() { reads[i] = n.prove(t, hash).Read })
	}
	wait.Wait()
	slices.Sort(reads)
	if reads[49] != 50 || reads[48] != 0 {
		t.Errorf("50 proofs of a block of 50 read %v leaves", reads)
	}
	for i, want := range []uint64{0, 70, 1} {
		if got := n.prove(t, hashes[i][0]); got.Read != want || got.Height != uint64(i+1) {
			t.Errorf("proof from block %d: read %d, want %d", got.Height, got.Read, want)
		}
	}
}

func TestProofsRememberWithinTheirBounds(t *testing.T) {
	t.Parallel()
	n, hashes := provable(t, 10, 10, 10, 10, 40)
	read := func(block int) uint64 { return n.prove(t, hashes[block][3]).Read }
	for _, row := range []struct {
		name   string
		leaves int64
		blocks int
		prove  []int // block after block
		reads  []uint64
	}{
		{"the one used longest ago goes", 30, 9, []int{0, 1, 2, 0, 3, 0, 2, 1}, []uint64{10, 10, 10, 0, 10, 0, 0, 10}},
		{"so many blocks", 1000, 2, []int{0, 1, 1, 2, 1, 0}, []uint64{10, 10, 0, 10, 0, 10}},
		{"one that is larger than the bound", 30, 9, []int{0, 4, 4, 0, 4}, []uint64{10, 40, 0, 10, 40}},
	} {
		n.exec.LimitProofs(row.leaves, row.blocks)
		for i, block := range row.prove {
			if got := read(block); got != row.reads[i] {
				t.Errorf("%s: proof %d, from block %d, reads %d, want %d", row.name, i, block+1, got, row.reads[i])
			}
		}
	}
}

// BenchmarkProof proves receipts of one full block, which is no longer among the
// recent ones: the first, and those that follow.
func BenchmarkProof(b *testing.B) {
	const receipts = 20_000
	n, hashes := provable(b, receipts, 1)
	b.Run("first", func(b *testing.B) {
		for i := range b.N {
			n.exec.LimitProofs(1<<20, 9)
			n.prove(b, hashes[0][i%receipts])
		}
	})
	b.Run("again", func(b *testing.B) {
		n.prove(b, hashes[0][0])
		for i := range b.N {
			n.prove(b, hashes[0][i%receipts])
		}
	})
}
