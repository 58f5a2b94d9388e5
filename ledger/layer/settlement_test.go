package layer_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

func options() layer.Options {
	return layer.Options{
		State:           statetree.Options{Tables: []chain.Table{{Prefix: 'C', RowSize: 40}}, KeepVersions: 2},
		WriteAheadBytes: 20_000,
	}
}

func openOn(t *testing.T, s kv.Store) *layer.Settlement {
	t.Helper()
	l, err := layer.New(s, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// blockOf is what block h does: a function of h, so that whoever opens the layer
// at a height knows what it must hold. Every block moves the row and the key
// "height", and now and then it changes much.
func blockOf(h uint64) (chain.Changes, []chain.Change) {
	r := rand.New(rand.NewPCG(h, 1))
	set := map[string][]byte{"height": binary.BigEndian.AppendUint64(nil, h)}
	n := 5
	if h%7 == 0 {
		n = 500
	}
	table := chain.Table{Prefix: 'C', RowSize: 40}
	for range n {
		set[string(table.Key(uint64(r.IntN(5000))))] = fmt.Appendf(nil, "%040d", h)
		set[fmt.Sprintf("key %d", r.IntN(3000))] = fmt.Appendf(nil, "%d", h)
		set[fmt.Sprintf("key %d", r.IntN(3000))] = nil
	}
	var c chain.Changes
	for _, k := range slices.Sorted(maps.Keys(set)) {
		c = append(c, chain.Change{Key: []byte(k), Value: set[k]})
	}
	index := []chain.Change{
		{Key: fmt.Appendf(nil, "block/%d", h), Value: []byte("receipts")},
		{Key: fmt.Appendf(nil, "block/%d", h-10)},
		{Key: []byte("last"), Value: binary.BigEndian.AppendUint64(nil, h)},
	}
	return c, index
}

// advance commits blocks up to height.
func advance(l *layer.Settlement, height uint64) error {
	if l.Empty() {
		c, _ := blockOf(0)
		if _, err := l.Init(c); err != nil {
			return err
		}
	}
	for h := l.Height() + 1; h <= height; h++ {
		c, index := blockOf(h)
		if _, err := l.Prepare(h, c); err != nil {
			return err
		}
		if err := l.Commit(index); err != nil {
			return err
		}
	}
	return nil
}

// hashes returns the application hashes of heights 0 to n.
func hashes(t *testing.T, n uint64) []ledger.Hash {
	t.Helper()
	l := openOn(t, memkv.New())
	var out []ledger.Hash
	for h := range n + 1 {
		if err := advance(l, h); err != nil {
			t.Fatal(err)
		}
		out = append(out, l.AppHash())
	}
	return out
}

// checkWhole checks that state and index are those of one height, which it
// returns, with the right application hash. Of an empty layer it returns 0.
func checkWhole(t *testing.T, l *layer.Settlement, want []ledger.Hash) uint64 {
	t.Helper()
	h := l.Height()
	if l.Empty() {
		return 0
	}
	if l.AppHash() != want[h] {
		t.Fatalf("height %d with hash %s, want %s", h, l.AppHash(), want[h])
	}
	bound := binary.BigEndian.AppendUint64(nil, h)
	if err := l.Read(func(v chain.View) error {
		if got := v.Get([]byte("height")); !bytes.Equal(got, bound) {
			return fmt.Errorf("state of block %x", got)
		}
		return nil
	}); err != nil {
		t.Fatalf("at height %d: %v", h, err)
	}
	if h == 0 {
		return 0
	}
	if got, err := l.Index().Get([]byte("last")); err != nil || !bytes.Equal(got, bound) {
		t.Fatalf("at height %d: index of block %x, error %v", h, got, err)
	}
	n := 0
	if err := kv.Scan(l.Index(), []byte("block/"), func(_, _ []byte) error { n++; return nil }); err != nil || n != int(min(h, 10)) {
		t.Fatalf("at height %d: %d blocks in the index, error %v", h, n, err)
	}
	return h
}

func TestLife(t *testing.T) {
	t.Parallel()
	want := hashes(t, 30)
	dir := t.TempDir()
	open := func() *layer.Settlement {
		l, err := layer.Open(badgerkv.Small(dir), options())
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	if !l.Empty() || l.Height() != 0 {
		t.Errorf("a new layer is at height %d", l.Height())
	}
	for h := uint64(5); h <= 30; h += 5 {
		if err := advance(l, h); err != nil {
			t.Fatal(err)
		}
		checkWhole(t, l, want)
		if h == 15 {
			b := l.Consensus().NewBatch()
			if err := errors.Join(b.Set([]byte("x"), []byte("y")), b.Commit(false)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if _, err := l.Index().Get([]byte("last")); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("late read of the index: %v, want %v", err, kv.ErrClosed)
		}
		if err := l.Read(func(chain.View) error { return nil }); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("late read of the state: %v, want %v", err, kv.ErrClosed)
		}
		l = open()
		if got := checkWhole(t, l, want); got != h {
			t.Fatalf("opened again at height %d, want %d", got, h)
		}
	}
	if v, err := l.Consensus().Get([]byte("x")); err != nil || string(v) != "y" {
		t.Errorf("the consensus engine's stores hold %q, error %v", v, err)
	}
	if v, err := l.View("x").Get([]byte("x")); err != nil || v != nil {
		t.Errorf("another view holds %q, error %v", v, err)
	}
	schema := l.Schema()
	st, err := l.Prove([]byte("height"))
	if err != nil || schema.VerifyStatement(st) != nil || st.Height != 30 {
		t.Errorf("Prove = %+v, %v", st, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	l := openOn(t, memkv.New())
	c := chain.Changes{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}}
	first, err := l.Init(c)
	if err != nil || l.Empty() || l.Height() != 0 {
		t.Fatalf("Init = %s, %v at height %d", first, err, l.Height())
	}
	if again, err := l.Init(c); err != nil || again != first {
		t.Errorf("Init again = %s, %v, want %s", again, err, first)
	}
	c[0].Value = []byte("3")
	if _, err := l.Init(c); err == nil {
		t.Error("Init with another genesis succeeds")
	}
	if err := advance(l, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Init(c); err == nil {
		t.Error("Init at height 1 succeeds")
	}
}

// TestFailingStore has every commit in turn fail, before and after it takes
// effect, and opens what is left.
func TestFailingStore(t *testing.T) {
	t.Parallel()
	const blocks = 16
	want := hashes(t, blocks)
	plain := kvtest.NewFaulty(memkv.New())
	if err := advance(openOn(t, plain), blocks); err != nil {
		t.Fatal(err)
	}
	if plain.Commits() < blocks+5 {
		t.Fatalf("%d commits: nothing was written ahead", plain.Commits())
	}
	for n := 1; n <= plain.Commits(); n++ {
		for _, after := range []bool{false, true} {
			s := memkv.New()
			f := kvtest.NewFaulty(s)
			f.FailCommit(n, after)
			l := openOn(t, f)
			err := advance(l, blocks)
			if !errors.Is(err, kvtest.ErrInjected) {
				t.Fatalf("commit %d fails, advance: %v", n, err)
			}
			at := l.Height() // the index may be one block ahead now
			if !l.Empty() && l.AppHash() != want[at] {
				t.Fatalf("commit %d fails, readers see hash %s at height %d", n, l.AppHash(), at)
			}
			if _, err := l.Prepare(at+1, nil); err == nil {
				t.Fatalf("commit %d fails, a block after it is prepared", n)
			}
			again := openOn(t, s)
			h := checkWhole(t, again, want)
			if h != at && h != at+1 {
				t.Fatalf("commit %d fails at height %d, opened again at %d", n, at, h)
			}
			if err := advance(again, blocks); err != nil {
				t.Fatalf("commit %d fails, going on: %v", n, err)
			}
			checkWhole(t, again, want)
		}
	}
}

// TestTornLog cuts the write-ahead log of a store that was never closed at random
// places, as a loss of power would.
func TestTornLog(t *testing.T) {
	t.Parallel()
	const blocks = 12
	want := hashes(t, blocks)
	dir := filepath.Join(t.TempDir(), "store")
	o := badgerkv.Small(dir)
	l, err := layer.Open(o, options())
	if err != nil {
		t.Fatal(err)
	}
	if err := advance(l, blocks); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	if v, ok := os.LookupEnv("SEED"); ok {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("SEED is %q: it is a number", v)
		}
	}
	t.Logf("seed %d: SEED repeats it", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	seen := map[uint64]bool{}
	for range 12 {
		torn := t.TempDir()
		if err := copyTorn(dir, torn, r); err != nil {
			t.Fatal(err)
		}
		o.Dir = torn
		back, err := layer.Open(o, options())
		if err != nil {
			t.Fatalf("open a torn store: %v", err)
		}
		seen[checkWhole(t, back, want)] = true
		if err := advance(back, blocks); err != nil {
			t.Fatalf("go on after a torn log: %v", err)
		}
		checkWhole(t, back, want)
		if err := back.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(seen) < 2 {
		t.Errorf("every cut led to the same height %v", seen)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// copyTorn copies the files of a store and zeroes the end of its log.
func copyTorn(from, to string, r *rand.Rand) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return err
		}
		if strings.HasSuffix(f.Name(), ".mem") {
			end := len(bytes.TrimRight(b, "\x00"))
			clear(b[20+r.IntN(end-20):])
		}
		if err := os.WriteFile(filepath.Join(to, f.Name()), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// killedDir tells a test binary to commit blocks in that directory until it is
// killed.
const killedDir = "LAYER_TEST_DIR"

// TestKilled kills a process while it commits blocks, several times, and checks
// that nothing it reported as committed is lost.
func TestKilled(t *testing.T) {
	if dir, ok := os.LookupEnv(killedDir); ok {
		commitForever(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	want := hashes(t, 400)
	reported := uint64(0)
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := reported + 20 + uint64(round)*13
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			h, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
			if reported = h; h == stop {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		l, err := layer.Open(badgerkv.Small(dir), options())
		if err != nil {
			t.Fatalf("open after a kill: %v", err)
		}
		if h := checkWhole(t, l, want); h < reported {
			t.Errorf("opened at height %d, %d was committed", h, reported)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func commitForever(t *testing.T, dir string) {
	t.Helper()
	l, err := layer.Open(badgerkv.Small(dir), options())
	if err != nil {
		t.Fatal(err)
	}
	for {
		if err := advance(l, l.Height()+1); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(os.Stdout, l.Height()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunPrunes(t *testing.T) {
	t.Parallel()
	l := openOn(t, memkv.New())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	if err := advance(l, 60); err != nil {
		t.Fatal(err)
	}
	for l.Stats().Oldest < 60 { // Run was told and gets there
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	// Without Run, Commit keeps the backlog bounded.
	if err := advance(l, 300); err != nil {
		t.Fatal(err)
	}
	if st := l.Stats(); st.Version-st.Oldest > 110 {
		t.Errorf("versions %d to %d are kept", st.Oldest, st.Version)
	}
}
