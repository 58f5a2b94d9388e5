package comet_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	dbm "github.com/cometbft/cometbft-db"
	cmtstore "github.com/cometbft/cometbft/proto/tendermint/store"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

func partKey(height, index int) []byte { return fmt.Appendf(nil, "P:%d:%d", height, index) }

// part makes a block part of its own content.
func part(height, index, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d.%d|", height, index), size/4+1)[:size]
}

func saveBlock(tb tester, db dbm.DB, base, height, parts, size int) {
	tb.Helper()
	batch := db.NewBatch()
	for i := range parts {
		if err := batch.Set(partKey(height, i), part(height, i, size)); err != nil {
			tb.Fatal(err)
		}
	}
	record(tb, batch, base, height)
}

// record writes the block store's record and the batch.
func record(tb tester, batch dbm.Batch, base, height int) {
	tb.Helper()
	state := cmtstore.BlockStoreState{Base: int64(base), Height: int64(height)}
	raw, err := state.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	if err := batch.Set([]byte("blockStore"), raw); err != nil {
		tb.Fatal(err)
	}
	if err := batch.WriteSync(); err != nil {
		tb.Fatal(err)
	}
	if err := batch.Close(); err != nil {
		tb.Fatal(err)
	}
}

func files(tb tester, dir string) int {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		tb.Fatal(err)
	}
	return len(names)
}

func wantPart(tb tester, db dbm.DB, key, want []byte) {
	tb.Helper()
	got, err := db.Get(key)
	if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		tb.Errorf("Get(%s) = %d bytes, %v, want %d bytes", key, len(got), err, len(want))
	}
}

func TestBlockFiles(t *testing.T) {
	t.Parallel()
	const last, size = 3*comet.BlockFileHeights + 5, 5_000
	dir, store := filepath.Join(t.TempDir(), "blocks"), memkv.New()
	db, _ := comet.NewBlockDatabase(store, dir)
	if files(t, dir) != 0 {
		t.Error("files were made before there is a block")
	}
	saveBlock(t, db, 1, 1, 1, 100)
	if files(t, dir) != 0 {
		t.Error("a small part went to a file")
	}
	for h := 2; h <= last; h++ {
		saveBlock(t, db, 1, h, 2, size)
	}
	if n := files(t, dir); n != 4 {
		t.Errorf("%d files, want 4", n)
	}
	// What a killed process leaves is all there.
	db, closeFiles := comet.NewBlockDatabase(store, dir)
	wantPart(t, db, partKey(1, 0), part(1, 0, 100))
	for h := 2; h <= last; h++ {
		wantPart(t, db, partKey(h, 1), part(h, 1, size))
	}
	if v, err := store.Get(partKey(5, 0)); err != nil || len(v) > 20 {
		t.Errorf("the store holds %d bytes of a large part, %v", len(v), err)
	}
	// A height stored again after a crash, in a file that is there already.
	saveBlock(t, db, 1, last, 2, size+1)
	wantPart(t, db, partKey(last, 1), part(last, 1, size+1))

	base := 2*comet.BlockFileHeights + 1
	record(t, db.NewBatch(), base, last)
	if n := files(t, dir); n != 2 {
		t.Errorf("%d files after pruning, want 2", n)
	}
	wantPart(t, db, partKey(2, 0), nil)
	for h := base; h <= last-1; h++ {
		wantPart(t, db, partKey(h, 0), part(h, 0, size))
	}
	closeFiles()
	wantPart(t, db, partKey(last, 0), nil)
	if err := db.Set(partKey(last+1, 0), part(0, 0, size)); err == nil {
		t.Error("a part was added to closed files")
	}
}

func TestBlockFilesDamaged(t *testing.T) {
	t.Parallel()
	tests := map[string]func([]byte) []byte{
		"a bit flipped": func(b []byte) []byte { b[2_000] ^= 1; return b },
		"cut off":       func(b []byte) []byte { return b[:4_500] },
		"empty":         func([]byte) []byte { return nil },
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, store := filepath.Join(t.TempDir(), "blocks"), memkv.New()
			db, _ := comet.NewBlockDatabase(store, dir)
			saveBlock(t, db, 1, 1, 1, 5_000)
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			raw, err := os.ReadFile(names[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(names[0], damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			db, _ = comet.NewBlockDatabase(store, dir)
			if v, err := db.Get(partKey(1, 0)); !errors.Is(err, comet.ErrDamaged) {
				t.Errorf("%d bytes were read from a damaged file: %v", len(v), err)
			}
		})
	}
}

// TestBlockFilesModel compares the block store's database with a map over random
// histories of saving, pruning and restarts.
func TestBlockFilesModel(t *testing.T) {
	t.Parallel()
	root, run := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		dir := filepath.Join(root, strconv.Itoa(run))
		store := memkv.New()
		db, closeFiles := comet.NewBlockDatabase(store, dir)
		base, height := 1, 0
		sizes := make(map[int]int)
		t.Repeat(map[string]func(*rapid.T){
			"save": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "blocks") {
					height++
					sizes[height] = rapid.SampledFrom([]int{10, 4095, 4096, 6000}).Draw(t, "size")
					saveBlock(t, db, base, height, 1, sizes[height])
				}
			},
			"prune": func(t *rapid.T) {
				if height < 2 {
					return
				}
				base = rapid.IntRange(base, height).Draw(t, "base")
				batch := db.NewBatch()
				for h := range sizes {
					if h < base {
						delete(sizes, h)
						if err := batch.Delete(partKey(h, 0)); err != nil {
							t.Fatal(err)
						}
					}
				}
				record(t, batch, base, height)
			},
			"restart": func(*rapid.T) {
				closeFiles()
				db, closeFiles = comet.NewBlockDatabase(store, dir)
			},
			"": func(t *rapid.T) {
				for h := max(1, base-1); h <= height; h++ {
					var want []byte
					if size, ok := sizes[h]; ok {
						want = part(h, 0, size)
					}
					wantPart(t, db, partKey(h, 0), want)
				}
				if n, most := files(t, dir), height/comet.BlockFileHeights-base/comet.BlockFileHeights+1; n > most {
					t.Fatalf("%d files for the heights %d to %d", n, base, height)
				}
			},
		})
		closeFiles()
	})
}

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}
