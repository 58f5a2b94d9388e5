package comet_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// sealOf is what the test's validators attach to their votes.
func sealOf(b comet.Block, validator []byte) []byte {
	sum := sha256.Sum256(slices.Concat(binary.BigEndian.AppendUint64(nil, b.Height), b.Hash, validator))
	return sum[:]
}

// extendAll makes every member attach sealOf to its votes.
func (n *network) extendAll() {
	for _, m := range n.members {
		m.app.extend = func(b comet.Block) ([]byte, error) { return sealOf(b, m.signer.Address()), nil }
	}
}

// settle broadcasts transaction number i at a member and waits until some have
// it.
func (n *network) settle(t *testing.T, at, i int, members ...int) {
	t.Helper()
	n.broadcast(t, at, tx(i))
	for _, m := range members {
		n.members[m].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs > i })
	}
}

// wantExtensions wants right extensions of more than two thirds of four at
// height, and returns how many there are.
func (n *network) wantExtensions(t *testing.T, i int, height uint64) int {
	t.Helper()
	chain := n.members[i].chain
	hash, extensions, err := chain.Extensions(height)
	if err != nil {
		t.Fatalf("member %d: Extensions(%d): %v", i, height, err)
	}
	info, err := chain.Block(height)
	if err != nil || !bytes.Equal(info.Hash, hash) {
		t.Fatalf("member %d: extensions of block %x, Block(%d) = %x, %v", i, hash, height, info.Hash, err)
	}
	if len(extensions) < 3 || len(extensions) > 4 {
		t.Errorf("member %d: %d extensions at height %d", i, len(extensions), height)
	}
	for j, e := range extensions {
		if want := sealOf(comet.Block{Height: height, Hash: hash}, e.Validator); !bytes.Equal(e.Data, want) {
			t.Errorf("member %d: height %d: extension of %x is %x, want %x", i, height, e.Validator, e.Data, want)
		}
		for _, other := range extensions[:j] {
			if bytes.Equal(other.Validator, e.Validator) {
				t.Errorf("member %d: height %d: two extensions of %x", i, height, e.Validator)
			}
		}
	}
	return len(extensions)
}

func TestExtensionsArriveAndStay(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "extend", 5)
	n.genesis.Validators = n.genesis.Validators[:4]
	n.extendAll()
	for i := range 4 {
		n.start(t, i)
	}
	for i := range 4 {
		n.waitReady(t, i)
	}
	sent := 0
	for ; sent < 3; sent++ {
		n.settle(t, sent, sent, 0, 1, 2, 3)
	}
	last := n.rest(t)
	for i := range 4 {
		for h := uint64(1); h <= last; h++ {
			n.wantExtensions(t, i, h)
		}
	}
	// With the votes that come late, all of them are there; but who hears that the
	// others agreed before it voted does not vote any more, so a block may lack one.
	polls := 0
	eventually(t, 5*time.Second, "four extensions everywhere", func() bool {
		if polls++; polls%1000 == 0 {
			n.settle(t, 0, sent, 0, 1, 2, 3)
			sent++
			last = n.rest(t)
		}
		for i := range 4 {
			if n.wantExtensions(t, i, last) < 4 {
				return false
			}
		}
		return true
	})
	if _, _, err := n.members[0].chain.Extensions(last + 100); !errors.Is(err, comet.ErrNotFound) {
		t.Errorf("Extensions of no block = %v", err)
	}

	// One restarts, then all at once: what a block needs of the last one is stored.
	n.stop(t, 3)
	n.restart(t, 3)
	n.wantExtensions(t, 3, last)
	n.settle(t, 0, sent, 0, 1, 2, 3)
	for i := range 4 {
		n.stop(t, i)
	}
	for i := range 4 {
		n.restart(t, i)
	}
	for i := range 4 {
		n.waitReady(t, i)
	}
	n.settle(t, 0, sent+1, 0, 1, 2, 3)

	// A fifth node, without a vote, fetches all blocks with their extensions.
	n.start(t, 4)
	n.members[4].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs == sent+2 })
	for h := uint64(1); h <= last; h++ {
		n.wantExtensions(t, 4, h)
	}
	n.waitReady(t, 4)
	n.settle(t, 1, sent+2, 4)
	n.wantExtensions(t, 4, n.members[4].chain.LatestHeight())
}

// Whatever happens to the extensions of however many validators, the chain goes on.
func TestNoExtensionStopsTheChain(t *testing.T) {
	t.Parallel()
	kinds := []struct {
		name   string
		extend func(comet.Block) ([]byte, error)
	}{
		{"error", func(comet.Block) ([]byte, error) { return []byte("half"), errBoom }},
		{"panic", func(comet.Block) ([]byte, error) { panic("no extension") }},
		{"too large to attach", func(comet.Block) ([]byte, error) { return make([]byte, comet.MaxExtension+1), nil }},
		{"garbage", func(comet.Block) ([]byte, error) { return bytes.Repeat([]byte{7}, comet.MaxExtension), nil }},
		{"none", func(comet.Block) ([]byte, error) { return nil, nil }},
	}
	n := newNetwork(t, "noext", 4)
	n.startAll(t)
	sent := 0
	for _, kind := range kinds {
		for bad := range 5 {
			for i, m := range n.members {
				m.app.mu.Lock()
				m.app.extend = func(b comet.Block) ([]byte, error) { return sealOf(b, m.signer.Address()), nil }
				if i < bad {
					m.app.extend = kind.extend
				}
				m.app.mu.Unlock()
			}
			quick(t, 3*time.Second, fmt.Sprintf("a block with %s from %d of 4", kind.name, bad), func() {
				n.settle(t, sent%4, sent, 0, 1, 2, 3)
				sent++
			})
		}
	}
	for i, m := range n.members {
		if s := m.chain.Status(); s.Halt != nil {
			t.Errorf("member %d halted: %v", i, s.Halt)
		}
	}
}

// The validators of block H+2 are those that block H made, and no round is lost.
func TestValidatorUpdatesTakeEffectTwoBlocksLater(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "valset", 8)
	n.genesis.Validators = n.genesis.Validators[:4]
	n.extendAll()
	// A round ends early only if something is missing, not because it is slow.
	n.config = func(c *comet.Config) { c.TimeoutPropose, c.TimeoutVote = hangs, hangs }
	var mu sync.Mutex
	changed := uint64(0)
	votes := map[uint64][]comet.LastVote{}
	for i, m := range n.members {
		m.app.update = func(b comet.Block) []comet.ValidatorUpdate {
			if i == 7 {
				mu.Lock()
				defer mu.Unlock()
				votes[b.Height] = b.LastVotes
			}
			if !slices.ContainsFunc(b.Txs, func(x []byte) bool { return bytes.Equal(x, tx(1)) }) {
				return nil
			}
			if i == 7 {
				changed = b.Height
			}
			var updates []comet.ValidatorUpdate
			for j, other := range n.members {
				updates = append(updates, comet.ValidatorUpdate{PubKey: other.signer.PubKey(), Power: int64(j / 4 * 10)})
			}
			return updates
		}
	}
	n.startAll(t)
	everybody := []int{0, 1, 2, 3, 4, 5, 6, 7}
	for i := range 6 {
		n.settle(t, i, i, everybody...)
	}
	mu.Lock()
	h := changed
	mu.Unlock()
	chain := n.members[7].chain
	for height, first := range map[uint64]int{h: 0, h + 1: 0, h + 2: 4, h + 3: 4} {
		want := map[string]bool{}
		for _, m := range n.members[first : first+4] {
			want[string(m.signer.Address())] = true
		}
		commit, err := chain.Commit(height)
		if err != nil {
			t.Fatal(err)
		}
		if commit.Round != 0 {
			t.Errorf("block %d needed %d rounds more", height, commit.Round)
		}
		signed := 0
		for _, s := range commit.Signatures {
			if s.Voted && want[string(s.Validator)] {
				signed++
			}
		}
		if signed < 3 || len(commit.Signatures) != 4 {
			t.Errorf("block %d: %d of the right validators signed, of %d", height, signed, len(commit.Signatures))
		}
		mu.Lock()
		last := votes[height+1]
		mu.Unlock()
		if len(last) != 4 {
			t.Fatalf("block %d has %d votes of the one before", height+1, len(last))
		}
		for _, v := range last {
			if !want[string(v.Validator)] || v.Power != 10 {
				t.Errorf("block %d: vote %+v of the block before", height+1, v)
			}
		}
		if n.wantExtensions(t, 7, height) < 3 {
			t.Errorf("block %d has too few extensions", height)
		}
	}
	if v := votes[1]; len(v) != 0 {
		t.Errorf("the first block has votes of one before: %v", v)
	}
	if s := n.members[0].chain.Status(); s.Validator || s.TotalPower != 40 {
		t.Errorf("a removed validator says %+v", s)
	}
}

func TestValidatorUpdatesAreChecked(t *testing.T) {
	t.Parallel()
	key := func(i byte) []byte { return bytes.Repeat([]byte{i}, 32) }
	for _, test := range []struct {
		name    string
		updates []comet.ValidatorUpdate
		ok      bool
	}{
		{"none", nil, true},
		{"two", []comet.ValidatorUpdate{{key(1), 5}, {key(2), 0}}, true},
		{"short key", []comet.ValidatorUpdate{{key(1)[:31], 5}}, false},
		{"negative power", []comet.ValidatorUpdate{{key(1), -1}}, false},
		{"too much power", []comet.ValidatorUpdate{{key(1), 1 << 62}}, false},
		{"a key twice", []comet.ValidatorUpdate{{key(1), 1}, {key(2), 1}, {key(1), 2}}, false},
	} {
		if err := comet.ValidatorUpdates(test.updates); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Proof of two votes in one step reaches the application with a block.
func TestEvidenceReachesTheApplication(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "evidence", 4)
	n.genesis.EvidenceMaxBlocks, n.genesis.EvidenceMaxAge = 50, time.Hour
	found := make(chan comet.Misbehavior, 100)
	n.members[2].app.onBlock = func(b comet.Block) error {
		for _, m := range b.Evidence {
			found <- m
		}
		return nil
	}
	n.startAll(t)
	for i := range 3 {
		n.settle(t, 0, i, 0, 1, 2, 3)
	}
	if err := comet.AddDuplicateVote(n.members[1].chain, n.members[3].signer, 2); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(hangs)
	for i := 3; ; i++ {
		n.settle(t, 0, i, 2)
		select {
		case m := <-found:
			if m.Kind != comet.DuplicateVote || m.Height != 2 || m.Power != 10 || m.TotalPower != 40 ||
				!bytes.Equal(m.Validator, n.members[3].signer.Address()) {
				t.Errorf("misbehaviour %+v", m)
			}
			return
		case <-deadline:
			t.Fatal("no block brought the evidence")
		default:
		}
	}
}

func TestGenesisBoundsEvidence(t *testing.T) {
	t.Parallel()
	g := comet.Genesis{ChainID: "g", Time: time.Now(), Validators: []comet.GenesisValidator{{PubKey: make([]byte, 32), Power: 1}}}
	for _, test := range []struct {
		blocks uint64
		age    time.Duration
		ok     bool
	}{{0, 0, true}, {100, time.Hour, true}, {1 << 63, 0, false}, {0, -1, false}} {
		g.EvidenceMaxBlocks, g.EvidenceMaxAge = test.blocks, test.age
		if err := g.Validate(); (err == nil) != test.ok {
			t.Error(fmt.Errorf("%d blocks, %v: %w", test.blocks, test.age, err))
		}
	}
}
