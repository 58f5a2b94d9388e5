package exec_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// sealedHistory is a chain with staking, of epochs of 20 blocks, most of which are
// empty, and the hashes they led to.
type sealedHistory struct {
	gen    settlement.Genesis
	domain chain.Domain
	blocks []exec.Block
	hashes [][]byte
}

const sealedEpoch = 20

func newSealedHistory(t *testing.T, blocks uint64) *sealedHistory {
	t.Helper()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = sealedEpoch
	h := &sealedHistory{gen: withValidators(genesisOf(4, params), 4)}
	n := newNode(t, &network{}, h.gen, exec.Config{}, false)
	h.domain = n.exec.Domain()
	people := []*account{accountOf(0), accountOf(1)}
	for height := uint64(1); height <= blocks; height++ {
		var txs [][]byte
		if height%7 == 0 {
			txs = append(txs, chain.EncodeRecords([][]byte{people[0].transfer(h.domain, people[1].addr, 1)}))
		}
		b := sealedAt(&h.gen, h.domain, height, txs)
		switch height {
		case 5: // a stranger's block, which has no seal
			stranger := consensusOf(77)
			b.Proposer, b.Txs = stranger[:], b.Txs[1:]
		case 26: // a block that nobody should have agreed on: its seal does not hold
			b.Txs[0] = (&chain.Seal{Height: height}).Encode()
		}
		h.blocks = append(h.blocks, b)
		h.hashes = append(h.hashes, n.decide(b).AppHash)
	}
	return h
}

// seed is the seed that an epoch leaves, by the blocks themselves.
func (h *sealedHistory) seed(t *testing.T, epoch uint64) ledger.Hash {
	t.Helper()
	previous := h.gen.Hash()
	if epoch > 0 {
		previous = h.seed(t, epoch-1)
	}
	acc := beacon.Start(previous, epoch)
	for _, b := range h.blocks[epoch*sealedEpoch : (epoch+1)*sealedEpoch] {
		if len(b.Txs) == 0 {
			continue
		}
		bundle, err := chain.DecodeBundle(b.Txs[0])
		if err != nil {
			t.Fatal(err)
		}
		if bundle.Seal != nil && b.Height != 26 {
			acc = beacon.Fold(acc, b.Height, bundle.Seal.Signature)
		}
	}
	return beacon.Close(acc, epoch)
}

// replay applies the blocks up to a height on n and wants the hashes they led to.
func (h *sealedHistory) replay(t *testing.T, n *node, to uint64) {
	t.Helper()
	for n.height() < to {
		at := n.height()
		if out := n.decide(h.blocks[at]); !bytes.Equal(out.AppHash, h.hashes[at]) {
			t.Fatalf("block %d: app hash %x, was %x", at+1, out.AppHash, h.hashes[at])
		}
	}
}

func seedOf(t *testing.T, n *node, epoch uint64) (seed ledger.Hash) {
	t.Helper()
	if err := n.exec.Read(func(v chain.View, _ uint64) error {
		seed = staking.Seed(v, epoch)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return seed
}

// Every block's seal is in the seed, that of an empty block like any other, whatever
// happens to a node meanwhile; and nothing else is.
func TestSeedsAreMadeOfAllSeals(t *testing.T) {
	t.Parallel()
	const blocks = 3*sealedEpoch + 7
	h := newSealedHistory(t, blocks)
	for name, live := range map[string]func(t *testing.T, n *node){
		"in one go": func(t *testing.T, n *node) {
			t.Helper()
			h.replay(t, n, blocks)
		},
		"opened again before every block": func(t *testing.T, n *node) {
			t.Helper()
			for height := uint64(1); height <= blocks; height++ {
				h.replay(t, n, height)
				n.open(exec.Config{KeepReceipts: 3})
			}
		},
		"killed after every Finalize": func(t *testing.T, n *node) {
			t.Helper()
			for height := uint64(1); height <= blocks; height++ {
				if _, err := n.exec.Finalize(h.blocks[height-1]); err != nil {
					t.Fatal(err)
				}
				n.open(exec.Config{})
				h.replay(t, n, height)
			}
		},
		"with other blocks executed ahead": func(t *testing.T, n *node) {
			t.Helper()
			n.run()
			for height := uint64(1); height <= blocks; height++ {
				other := sealedAt(&h.gen, h.domain, height, [][]byte{chain.EncodeTick(height)})
				if err := n.exec.Accept(other); err != nil {
					t.Fatal(err)
				}
				if height%3 == 0 && !n.exec.WaitAhead(other) {
					t.Fatal("not executed ahead")
				}
				h.replay(t, n, height)
			}
		},
		"that keeps next to nothing": func(t *testing.T, n *node) {
			t.Helper()
			n.open(exec.Config{KeepReceipts: 1, KeepBlocks: 1})
			for height := uint64(1); height <= blocks; height++ {
				h.replay(t, n, height)
				n.prune()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &network{}, h.gen, exec.Config{}, false)
			live(t, n)
			for epoch := range uint64(3) {
				if got, want := seedOf(t, n, epoch+beacon.Lag), h.seed(t, epoch); got != want {
					t.Errorf("epoch %d leaves seed %s, its blocks make %s", epoch, got, want)
				}
			}
		})
	}
}

// A node that joins by a snapshot goes on at the beginning of an epoch, and so makes
// the same seeds as one that has all blocks. A state in the middle of an epoch is none
// to go on from.
func TestSeedsAfterASnapshot(t *testing.T) {
	t.Parallel()
	const blocks = 3*sealedEpoch + 7
	h := newSealedHistory(t, blocks)
	s, err := layer.OpenSnapshots(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, &network{}, h.gen, exec.Config{Snapshots: s, SnapshotStride: 2 * sealedEpoch}, true)
	h.replay(t, n, 2*sealedEpoch+3)
	tick(t, "a snapshot", func() bool { return len(n.exec.Snapshots()) == 1 })
	m := n.exec.Snapshots()[0]
	joined := &node{t: t, net: n.net, store: memkv.New(), gen: h.gen, arrived: make(chan struct{}, 1)}
	joined.open(exec.Config{})
	wrong := m
	wrong.State.Height--
	if err := joined.exec.OfferSnapshot(wrong.Encode(), wrong.State.AppHash[:]); !errors.Is(err, layer.ErrSnapshot) {
		t.Errorf("a snapshot in the middle of an epoch: %v", err)
	}
	if err := joined.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	for i := range m.Chunks {
		chunk, err := n.exec.SnapshotChunk(m.State.Height, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := joined.exec.ApplySnapshotChunk(uint32(i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	if joined.height() != 2*sealedEpoch {
		t.Fatalf("joined at %d", joined.height())
	}
	for joined.height() < blocks {
		h.replay(t, joined, joined.height()+1)
		joined.open(exec.Config{})
	}
	if got, want := seedOf(t, joined, 2+beacon.Lag), h.seed(t, 2); got != want {
		t.Errorf("seed %s, want %s", got, want)
	}
	if _, err := joined.exec.Seals(1, 0, 100); !isPrunedFrom(err, 2) {
		t.Errorf("seals of an epoch before the snapshot: %v", err)
	}
	if list, err := joined.exec.Seals(2, 0, 100); err != nil || len(list) != sealedEpoch {
		t.Errorf("%d seals of the epoch after the snapshot, %v", len(list), err)
	}
}

// committeeOf returns the committee of an epoch as the state has it.
func committeeOf(t *testing.T, n *node, epoch uint64) (c committee.Committee, ok bool) {
	t.Helper()
	if err := n.exec.Read(func(v chain.View, _ uint64) error {
		c, ok = staking.ReadCommittee(v, epoch)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return c, ok
}

func isPrunedFrom(err error, epoch uint64) bool {
	gone, ok := errors.AsType[*exec.PrunedError](err)
	return ok && errors.Is(err, exec.ErrPruned) && gone.Epochs && gone.KeptFrom == epoch
}

// A node whose record of the running epoch's seals has a hole does not start, and one
// that finds it later stops.
func TestMissingSealsStopANode(t *testing.T) {
	t.Parallel()
	const running = sealedEpoch + 13
	h := newSealedHistory(t, 2*sealedEpoch)
	lose := func(n *node, height uint64) {
		if err := n.layer.UpdateIndex([]chain.Change{{Key: binary.BigEndian.AppendUint64([]byte{'z'}, height)}}); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name   string
		height uint64
		stops  bool
	}{
		{"the first of the epoch", sealedEpoch + 1, true},
		{"one in the middle", sealedEpoch + 6, true},
		{"that of the head", running, true},
		{"one of the epoch before", sealedEpoch, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &network{}, h.gen, exec.Config{}, false)
			h.replay(t, n, running)
			lose(n, row.height)
			l, err := layer.New(n.store, layerOptions())
			if err != nil {
				t.Fatal(err)
			}
			_, err = exec.OpenMain(exec.Config{}, l, h.gen, slog.New(slog.DiscardHandler))
			if errors.Is(err, exec.ErrSealsMissing) != row.stops || !row.stops && err != nil {
				t.Errorf("Open: %v", err)
			}
			h.replay(t, n, 2*sealedEpoch-1)
			_, before := n.exec.Head()
			_, err = n.exec.Finalize(h.blocks[2*sealedEpoch-1])
			if errors.Is(err, exec.ErrSealsMissing) != row.stops || errors.Is(n.exec.HaltError(), exec.ErrHalted) != row.stops {
				t.Errorf("Finalize: %v, halted on %v", err, n.exec.HaltError())
			}
			if _, after := n.exec.Head(); !bytes.Equal(before, after) {
				t.Error("the state moved on")
			}
		})
	}
}

// Seals are listed with their proposers, and verify.
func TestSealsAreListed(t *testing.T) {
	t.Parallel()
	h := newSealedHistory(t, 5*sealedEpoch+3)
	n := newNode(t, &network{}, h.gen, exec.Config{KeepReceipts: sealedEpoch}, false)
	h.replay(t, n, 2*sealedEpoch+3)
	list := func(epoch uint64) []exec.BlockSeal {
		all, err := n.exec.Seals(epoch, 0, 1_000)
		if err != nil {
			t.Fatal(err)
		}
		var pages []exec.BlockSeal
		for from := uint64(0); ; {
			page, err := n.exec.Seals(epoch, from, 7)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			pages, from = append(pages, page...), page[len(page)-1].Height+1
		}
		if diff := cmp.Diff(all, pages); diff != "" {
			t.Errorf("in one page and in many:\n%s", diff)
		}
		return all
	}
	for epoch, want := range []int{sealedEpoch, sealedEpoch, 3, 0} {
		all := list(uint64(epoch))
		if len(all) != want {
			t.Fatalf("epoch %d: %d seals, want %d", epoch, len(all), want)
		}
		com, ok := committeeOf(t, n, uint64(epoch))
		if !ok {
			continue
		}
		keys, err := com.Keys()
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range all {
			if height := uint64(epoch)*sealedEpoch + uint64(i) + 1; s.Height != height {
				t.Fatalf("seal %d of epoch %d is of block %d", i, epoch, s.Height)
			}
			if s.Height == 5 || s.Height == 26 {
				if s.Signature != nil {
					t.Errorf("block %d has the seal %x", s.Height, s.Signature)
				}
				continue
			}
			if proposer := com.Members[s.Member].Address(); !bytes.Equal(proposer[:], h.blocks[s.Height-1].Proposer) ||
				!staking.CheckSeal(h.domain, &h.gen.Params.Staking, s.Height, keys[s.Member], s.Signature) {
				t.Errorf("the seal of block %d by member %d does not hold", s.Height, s.Member)
			}
		}
	}
	h.replay(t, n, 5*sealedEpoch+3)
	n.prune()
	if _, err := n.exec.Seals(2, 0, 10); !isPrunedFrom(err, 4) {
		t.Errorf("seals that are pruned: %v", err)
	}
	if list(4); len(list(5)) != 3 {
		t.Error("the running epoch's seals")
	}
}

// The encoding of a seal in the index never changes.
func TestSealEncoding(t *testing.T) {
	t.Parallel()
	signature := bytes.Repeat([]byte{7}, 48)
	if got := hex.EncodeToString(exec.EncodeSeal(&exec.BlockSeal{Height: 9, Member: 258, Signature: signature})); got != "00000102"+hex.EncodeToString(signature) {
		t.Errorf("a seal is %s", got)
	}
	if got := exec.EncodeSeal(nil); got == nil || len(got) != 0 {
		t.Errorf("no seal is %x", got)
	}
}

func FuzzSeal(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1}, 52))
	f.Add(bytes.Repeat([]byte{1}, 53))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := exec.DecodeSeal(3, raw)
		if err != nil {
			return
		}
		again := exec.EncodeSeal(nil)
		if s.Signature != nil {
			again = exec.EncodeSeal(&s)
		}
		if !bytes.Equal(again, raw) {
			t.Errorf("%x is not the only encoding of %+v", raw, s)
		}
	})
}
