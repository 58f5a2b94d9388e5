package layer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// limited is a store whose batches have at most 5,000 writes.
type limited struct{ kv.Store }

func (l limited) NewBatch() kv.Batch { return &limitedBatch{Batch: l.Store.NewBatch()} }

type limitedBatch struct {
	kv.Batch

	writes int
}

func (b *limitedBatch) Set(key, value []byte) error {
	b.writes++
	return b.Batch.Set(key, value)
}

func (b *limitedBatch) Delete(key []byte) error {
	b.writes++
	return b.Batch.Delete(key)
}

func (b *limitedBatch) Commit(sync bool) error {
	if b.writes > 5_000 {
		b.Discard()
		return kv.ErrBatchTooLarge
	}
	return b.Batch.Commit(sync)
}

const wideKeys = 6_000

// advanceWide is advance, but every third block has an index of wideKeys entries
// besides, which a limited store does not take in one batch.
func advanceWide(l *layer.Settlement, height uint64) error {
	if err := advance(l, 0); err != nil {
		return err
	}
	for h := l.Height() + 1; h <= height; h++ {
		c, index := blockOf(h)
		if h%3 == 0 {
			bound := binary.BigEndian.AppendUint64(nil, h)
			for i := range wideKeys {
				e := chain.Change{Key: fmt.Appendf(nil, "wide/%05d", i), Value: bound}
				if h%2 == 0 && i%5 == 1 {
					e.Value = nil
				}
				index = append(index, e)
			}
		}
		if _, err := l.Prepare(h, c); err != nil {
			return err
		}
		if err := l.Commit(index); err != nil {
			return err
		}
	}
	return nil
}

// checkWide checks that the wide index is that of the last block that had one.
func checkWide(t *testing.T, l *layer.Settlement) {
	t.Helper()
	last := l.Height() / 3 * 3
	want := wideKeys
	if last == 0 {
		want = 0
	} else if last%2 == 0 {
		want -= wideKeys / 5
	}
	n := 0
	if err := kv.Scan(l.Index(), []byte("wide/"), func(key, value []byte) error {
		n++
		if binary.BigEndian.Uint64(value) != last {
			return fmt.Errorf("%s is of block %x", key, value)
		}
		return nil
	}); err != nil || n != want {
		t.Fatalf("at height %d: %d wide keys, want %d, error %v", l.Height(), n, want, err)
	}
}

// TestJournalInterrupted lets every commit fail in turn, before and after it took
// effect, those of the journal included, and opens the layer again.
func TestJournalInterrupted(t *testing.T) {
	t.Parallel()
	const blocks = 7
	want := hashes(t, blocks)
	plain := kvtest.NewFaulty(limited{memkv.New()})
	l := openOn(t, plain)
	if err := advanceWide(l, blocks); err != nil {
		t.Fatal(err)
	}
	if l.Journalled() != blocks/3 {
		t.Fatalf("%d commits took the journal, want %d", l.Journalled(), blocks/3)
	}
	checkWhole(t, l, want)
	checkWide(t, l)
	if err := kv.Scan(plain, []byte("j/"), func(key, _ []byte) error { return fmt.Errorf("%q is left", key) }); err != nil {
		t.Error(err)
	}
	for n := 1; n <= plain.Commits(); n++ {
		for _, after := range []bool{false, true} {
			s := memkv.New()
			f := kvtest.NewFaulty(limited{s})
			f.FailCommit(n, after)
			l := openOn(t, f)
			if err := advanceWide(l, blocks); !errors.Is(err, kvtest.ErrInjected) && !errors.Is(err, kv.ErrBatchTooLarge) {
				t.Fatalf("commit %d fails, advance: %v", n, err)
			}
			at := l.Height()
			again := openOn(t, limited{s})
			if h := checkWhole(t, again, want); h != at && h != at+1 {
				t.Fatalf("commit %d fails at height %d, opened again at %d", n, at, h)
			}
			checkWide(t, again)
			if err := advanceWide(again, blocks); err != nil {
				t.Fatalf("commit %d fails, going on: %v", n, err)
			}
			checkWhole(t, again, want)
			checkWide(t, again)
		}
	}
}

// TestTooLarge has blocks that a badger store does not take in one batch, by
// bytes, by number of writes and by a single value.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	o := badgerkv.Small(t.TempDir())
	l, err := layer.Open(o, options())
	if err != nil {
		t.Fatal(err)
	}
	if err := advance(l, 3); err != nil {
		t.Fatal(err)
	}
	var c chain.Changes
	for i := range 20_000 {
		c = append(c, chain.Change{Key: fmt.Appendf(nil, "k%08d", i), Value: make([]byte, 64)})
	}
	root, err := l.Prepare(4, c)
	if err != nil {
		t.Fatal(err)
	}
	index := []chain.Change{{Key: []byte("one"), Value: make([]byte, 2<<20)}, {Key: []byte("none"), Value: []byte{}}}
	if err := l.Commit(index); err != nil {
		t.Fatal(err)
	}
	if l.Journalled() != 1 {
		t.Errorf("%d commits took the journal, want 1", l.Journalled())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = layer.Open(o, options()); err != nil {
		t.Fatal(err)
	}
	if l.Height() != 4 || l.AppHash() != root {
		t.Errorf("opened again at height %d with hash %s, want 4 and %s", l.Height(), l.AppHash(), root)
	}
	for _, e := range index {
		if got, err := l.Index().Get(e.Key); err != nil || got == nil || len(got) != len(e.Value) {
			t.Errorf("%s: %d bytes (nil: %v), error %v, want %d", e.Key, len(got), got == nil, err, len(e.Value))
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamagedJournal opens layers whose journal cannot be read.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"\x00", "\x00\x05key", "\x00\x01k\x00\x00", "\x00\x01k\x00\x00\x00\x09value"} {
		s := memkv.New()
		b := s.NewBatch()
		if err := errors.Join(b.Set([]byte("j/\x00\x00\x00\x00"), []byte(value)), b.Commit(true)); err != nil {
			t.Fatal(err)
		}
		if _, err := layer.New(s, options()); err == nil {
			t.Errorf("a layer with the journal %q opens", value)
		}
	}
}
