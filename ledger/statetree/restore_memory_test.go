package statetree_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// sparsePages appends the records of a tree of the pages [from, to) of table 'C',
// each with one row, and returns its height.
func sparsePages(b []byte, from, to uint64) (records []byte, height byte) {
	if to-from == 1 {
		b = append(b, 2, 1, 'C')
		b = binary.BigEndian.AppendUint64(b, from)
		b = append(b, 1)
		return append(b, make([]byte, 127+40)...), 0
	}
	middle := from + (to-from)/2
	b, left := sparsePages(b, from, middle)
	b, right := sparsePages(b, middle, to)
	height = max(left, right) + 1
	return append(b, 0, 1, height), height
}

// TestRestoreMemory restores a chunk of pages with one row each, which are 64 kB and
// more in memory: 4,096 of them would be 430 MB at once. It is not parallel, since it
// counts what the process allocates.
func TestRestoreMemory(t *testing.T) { //nolint:paralleltest // see above
	const pages, limit = 4_096, 64 << 20
	records, _ := sparsePages(nil, 0, pages)
	tree := open(t, memkv.New(), options())
	want := statetree.Summary{Height: 9, AppHash: ledger.Hash{1}, Version: 1, Leaves: pages, Rows: pages}
	r, err := tree.Restore(want)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := r.Add(records); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("a chunk of %d bytes took %d bytes of memory, want %d at most", len(records), got, limit)
	}
	if err := r.Finish(); !errors.Is(err, statetree.ErrRestore) { // nobody knows its hash
		t.Errorf("Finish: %v", err)
	}
}

// TestRestoreWithoutParents refuses leaves that no inner nodes join, of which
// memory would have to be kept.
func TestRestoreWithoutParents(t *testing.T) {
	t.Parallel()
	tree := open(t, memkv.New(), options())
	r, err := tree.Restore(statetree.Summary{Height: 9, Version: 1, Leaves: 1 << 40, Rows: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	for page := range uint64(200) {
		leaf, _ := sparsePages(nil, page, page+1)
		if failed = r.Add(leaf); failed != nil {
			break
		}
	}
	if !errors.Is(failed, statetree.ErrRestore) {
		t.Errorf("200 leaves alone: %v", failed)
	}
	if err := r.Abort(); err != nil {
		t.Error(err)
	}
}
