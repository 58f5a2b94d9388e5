package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

func openSnapshots(t *testing.T, dir string) *layer.Snapshots {
	t.Helper()
	s, err := layer.OpenSnapshots(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.SetChunkBytes(8_000)
	return s
}

func makeSnapshot(t *testing.T, s *layer.Snapshots, l *layer.Settlement) layer.Manifest {
	t.Helper()
	state, err := l.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Make(t.Context(), state)
	if err := errors.Join(err, state.Close()); err != nil {
		t.Fatal(err)
	}
	return m
}

// chunksOf reads all chunks of a snapshot.
func chunksOf(t *testing.T, s *layer.Snapshots, m *layer.Manifest) [][]byte {
	t.Helper()
	chunks := make([][]byte, len(m.Chunks))
	for i := range chunks {
		var err error
		if chunks[i], err = s.Chunk(m.State.Height, uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	return chunks
}

func take(l *layer.Settlement, m layer.Manifest, chunks [][]byte) error {
	r, err := l.Restore(m)
	if err != nil {
		return err
	}
	for i := range chunks {
		if _, err := r.Add(uint32(i), chunks[i]); err != nil {
			return errors.Join(err, r.Abort())
		}
	}
	return r.Abort()
}

// someSnapshot returns the chunks of the state at height 30 and what made them.
func someSnapshot(t *testing.T) (*memkv.Store, layer.Manifest, [][]byte) {
	t.Helper()
	store := memkv.New()
	l := openOn(t, store)
	if err := advance(l, 30); err != nil {
		t.Fatal(err)
	}
	s := openSnapshots(t, t.TempDir())
	m := makeSnapshot(t, s, l)
	if len(m.Chunks) < 5 {
		t.Fatalf("%d chunks", len(m.Chunks))
	}
	return store.Clone(), m, chunksOf(t, s, &m)
}

func stateOf(t *testing.T, s kv.Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, space := range []string{"s/d", "s/m"} {
		if err := kv.Scan(s, []byte(space), func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestRestoreEqualsReplay(t *testing.T) {
	t.Parallel()
	from, m, chunks := someSnapshot(t)
	to := memkv.New()
	l := openOn(t, to)
	if err := take(l, m, chunks); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stateOf(t, from), stateOf(t, to)); diff != "" {
		t.Fatalf("(-replayed +restored):\n%s", diff)
	}
	want := hashes(t, 60)
	for h := l.Height() + 1; h <= 60; h++ {
		if err := advance(l, h); err != nil {
			t.Fatal(err)
		}
		if l.AppHash() != want[h] {
			t.Fatalf("application hash after block %d is %s, want %s", h, l.AppHash(), want[h])
		}
		if _, err := l.Prune(2); err != nil {
			t.Fatal(err)
		}
	}
	if got := openOn(t, to.Clone()); got.Height() != 60 || got.AppHash() != want[60] {
		t.Errorf("opened again: height %d", got.Height())
	}
}

func TestHostileChunks(t *testing.T) {
	t.Parallel()
	_, m, chunks := someSnapshot(t)
	other := memkv.New()
	l := openOn(t, other)
	if err := advance(l, 31); err != nil {
		t.Fatal(err)
	}
	s := openSnapshots(t, t.TempDir())
	next := makeSnapshot(t, s, l)
	foreign := chunksOf(t, s, &next)
	tests := map[string]struct {
		index uint32
		chunk []byte
	}{
		"none":                 {2, nil},
		"a bit flipped":        {2, append(bytes.Clone(chunks[2][:100]), append([]byte{chunks[2][100] ^ 1}, chunks[2][101:]...)...)},
		"truncated":            {2, chunks[2][:len(chunks[2])-1]},
		"longer":               {2, append(bytes.Clone(chunks[2]), 0)},
		"ten times the size":   {2, bytes.Repeat(chunks[2], 10)},
		"beyond every limit":   {2, make([]byte, layer.MaxSnapshotChunk+1)},
		"the one before":       {2, chunks[1]},
		"the one before again": {1, chunks[1]},
		"the one after":        {3, chunks[3]},
		"out of range":         {uint32(len(chunks)), chunks[2]},
		"of another snapshot":  {2, foreign[2]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memkv.New()
			l := openOn(t, store)
			r, err := l.Restore(m)
			if err != nil {
				t.Fatal(err)
			}
			for i := range uint32(2) {
				if done, err := r.Add(i, chunks[i]); done || err != nil {
					t.Fatal(done, err)
				}
			}
			before := store.Len()
			if done, err := r.Add(test.index, test.chunk); done || !errors.Is(err, layer.ErrChunk) || !errors.Is(err, layer.ErrSnapshot) {
				t.Errorf("Add = %v, %v", done, err)
			}
			if store.Len() != before || !l.Empty() || r.Next() != 2 {
				t.Errorf("%d keys instead of %d, chunk %d is next", store.Len(), before, r.Next())
			}
			for i := r.Next(); int(i) < len(chunks); i++ {
				if done, err := r.Add(i, chunks[i]); err != nil || done != (int(i) == len(chunks)-1) {
					t.Fatal(i, done, err)
				}
			}
			if l.AppHash() != m.State.AppHash || l.Height() != 30 {
				t.Errorf("height %d", l.Height())
			}
		})
	}
}

// TestHostileManifests restores snapshots whose chunks fit their manifest, which
// lies: nothing is left of any.
func TestHostileManifests(t *testing.T) {
	t.Parallel()
	_, m, chunks := someSnapshot(t)
	tests := map[string]func(*layer.Manifest, *[][]byte){
		"another application hash": func(m *layer.Manifest, _ *[][]byte) { m.State.AppHash = ledger.Hash{1} },
		"another height":           func(m *layer.Manifest, _ *[][]byte) { m.State.Version++ },
		"a chunk lacks":            func(m *layer.Manifest, c *[][]byte) { m.Chunks = m.Chunks[:len(m.Chunks)-1]; *c = (*c)[:len(*c)-1] },
		"a chunk twice": func(m *layer.Manifest, c *[][]byte) {
			m.Chunks, *c = slices.Insert(slices.Clone(m.Chunks), 2, m.Chunks[1]), slices.Insert(slices.Clone(*c), 2, (*c)[1])
		},
		"garbage in a chunk": func(m *layer.Manifest, c *[][]byte) {
			m.Chunks, *c = slices.Clone(m.Chunks), slices.Clone(*c)
			(*c)[3] = []byte("garbage")
			m.Chunks[3] = ledger.HashOf("tributary/snapshot/chunk", (*c)[3])
		},
		"fewer rows": func(m *layer.Manifest, _ *[][]byte) { m.State.Rows-- },
	}
	for name, lie := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memkv.New()
			l := openOn(t, store)
			hostile, bytes := m, chunks
			lie(&hostile, &bytes)
			if err := take(l, hostile, bytes); !errors.Is(err, layer.ErrSnapshot) || errors.Is(err, layer.ErrChunk) {
				t.Errorf("Restore: %v", err)
			}
			if store.Len() != 0 || !l.Empty() {
				t.Errorf("%d keys are left", store.Len())
			}
			if err := take(l, m, chunks); err != nil || l.AppHash() != m.State.AppHash {
				t.Errorf("the honest one after it: %v", err)
			}
		})
	}
}

func TestRestoreCrashes(t *testing.T) {
	t.Parallel()
	_, m, chunks := someSnapshot(t)
	for n, done := 1, false; !done; n++ {
		inner := memkv.New()
		faulty := kvtest.NewFaulty(inner)
		l := openOn(t, faulty)
		faulty.FailCommit(n, n%2 == 0)
		if done = take(l, m, chunks) == nil; done {
			break
		}
		again := openOn(t, inner.Clone())
		if again.AppHash() == m.State.AppHash {
			continue
		}
		if !again.Empty() {
			t.Fatalf("half a state after %d writes", n)
		}
		if err := advance(again, 3); err != nil { // from the genesis as well
			t.Fatal(err)
		}
	}
}

func TestRestoreOverAState(t *testing.T) {
	t.Parallel()
	_, m, chunks := someSnapshot(t)
	l := openOn(t, memkv.New())
	if err := advance(l, 3); err != nil {
		t.Fatal(err)
	}
	if err := take(l, m, chunks); !errors.Is(err, statetree.ErrNotEmpty) {
		t.Errorf("Restore: %v", err)
	}
	if err := advance(l, 5); err != nil {
		t.Error(err)
	}
}

func TestSnapshotsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSnapshots(t, dir)
	l := openOn(t, memkv.New())
	if _, ok := s.Oldest(); ok {
		t.Error("there is a snapshot")
	}
	for h := uint64(10); h <= 40; h += 10 {
		if err := advance(l, h); err != nil {
			t.Fatal(err)
		}
		m := makeSnapshot(t, s, l)
		if again := makeSnapshot(t, s, l); again.Hash() != m.Hash() {
			t.Error("made twice, it differs")
		}
	}
	want := []uint64{30, 40}
	for round := range 2 {
		var got []uint64
		for _, m := range s.List() {
			got = append(got, m.State.Height)
			chunksOf(t, s, &m)
		}
		if oldest, ok := s.Oldest(); !slices.Equal(got, want) || oldest != want[0] || !ok {
			t.Errorf("snapshots %v, the oldest %d", got, oldest)
		}
		if _, err := s.Chunk(20, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a chunk of a dropped snapshot: %v", err)
		}
		if _, err := s.Chunk(40, 1_000); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a chunk that never was: %v", err)
		}
		if round == 0 {
			s = openSnapshots(t, dir)
		}
	}
	// Damage on disk is served to nobody.
	path := filepath.Join(dir, "00000000000000000040", "000001.chunk")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Chunk(40, 1); !errors.Is(err, layer.ErrChunk) {
		t.Errorf("a damaged chunk: %v", err)
	}
}

// TestSnapshotOfAnotherState: of two states at one height, as of a chain that went on from
// an earlier height, the snapshot is of the one that counts.
func TestSnapshotOfAnotherState(t *testing.T) {
	t.Parallel()
	s := openSnapshots(t, t.TempDir())
	first := makeSnapshot(t, s, withState(t, 1))
	second := makeSnapshot(t, s, withState(t, 2))
	if first.State.Height != second.State.Height || first.State.AppHash == second.State.AppHash {
		t.Fatalf("states %+v and %+v", first.State, second.State)
	}
	if list := s.List(); len(list) != 1 || list[0].State.AppHash != second.State.AppHash {
		t.Errorf("%d snapshots", len(list))
	}
	if err := take(openOn(t, memkv.New()), second, chunksOf(t, s, &second)); err != nil {
		t.Error(err)
	}
	if err := s.Drop(func(m *layer.Manifest) bool { return m.State.Height > 9 }); err != nil || len(s.List()) != 1 {
		t.Errorf("%d snapshots, error %v", len(s.List()), err)
	}
	if err := s.Drop(func(m *layer.Manifest) bool { return m.State.Height > 0 }); err != nil || len(s.List()) != 0 {
		t.Errorf("%d snapshots, error %v", len(s.List()), err)
	}
}

// withState returns a layer at height 1 with a row.
func withState(t *testing.T, row byte) *layer.Settlement {
	t.Helper()
	l := openOn(t, memkv.New())
	if _, err := l.Init(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Prepare(1, chain.Changes{{Key: []byte("key"), Value: []byte{row}}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(nil); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestHeldSnapshot: of the snapshots up to a height the newest stays, whatever comes after.
func TestHeldSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSnapshots(t, dir)
	l := openOn(t, memkv.New())
	heights := func() (list []uint64) {
		for _, m := range s.List() {
			list = append(list, m.State.Height)
		}
		return list
	}
	for height := uint64(10); height <= 60; height += 10 {
		if err := advance(l, height); err != nil {
			t.Fatal(err)
		}
		makeSnapshot(t, s, l)
		if height == 10 && s.Hold(9) || height == 20 && !s.Hold(25) {
			t.Errorf("at %d it is held wrongly", height)
		}
	}
	if got := heights(); !slices.Equal(got, []uint64{20, 30, 40, 50, 60}) {
		t.Errorf("snapshots %v, want the one at 20 and all above", got)
	}
	again, err := layer.OpenHeldSnapshots(dir, 45)
	if err != nil {
		t.Fatal(err)
	}
	if s = again; !slices.Equal(heights(), []uint64{40, 50, 60}) {
		t.Errorf("snapshots %v after a start, want the one at 40 and all above", heights())
	}
	s.Hold(55)
	if err := advance(l, 70); err != nil {
		t.Fatal(err)
	}
	makeSnapshot(t, s, l)
	if got := heights(); !slices.Equal(got, []uint64{50, 60, 70}) {
		t.Errorf("snapshots %v, want the one at 50 and all above", got)
	}
}

// TestClear: a layer that was cleared has nothing of what it had, wherever that was
// interrupted and begun again.
func TestClear(t *testing.T) {
	t.Parallel()
	for n, done := 1, false; !done; n++ {
		store := memkv.New()
		l := openOn(t, store)
		if err := advance(l, 12); err != nil {
			t.Fatal(err)
		}
		b := l.View("more").NewBatch()
		if err := errors.Join(b.Set([]byte("k"), []byte("v")), b.Commit(true), l.Reindex([]chain.Change{{Key: []byte("i"), Value: []byte("v")}}), l.Close()); err != nil {
			t.Fatal(err)
		}
		faulty := kvtest.NewFaulty(store)
		faulty.FailCommit(n, n%2 == 0)
		if done = layer.Clear(faulty) == nil; done && n < 4 {
			t.Fatalf("%d writes", n)
		}
		again := openOn(t, store) // whatever is left can be opened
		if raw, err := again.Index().Get([]byte("i")); again.Empty() && raw != nil || err != nil {
			t.Errorf("after %d writes: index %q without a state, error %v", n, raw, err)
		}
		if err := errors.Join(again.Close(), layer.Clear(store)); err != nil {
			t.Fatal(err)
		}
		if state := stateOf(t, store); len(state) != 0 {
			t.Errorf("after %d writes: %d keys are left", n, len(state))
		}
	}
}

// TestUnfinishedSnapshots leaves what a crash leaves: none of it counts, and
// nothing that is not a snapshot is touched.
func TestUnfinishedSnapshots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSnapshots(t, dir)
	l := openOn(t, memkv.New())
	if err := advance(l, 10); err != nil {
		t.Fatal(err)
	}
	m := makeSnapshot(t, s, l)
	whole := filepath.Join(dir, "00000000000000000010")
	for name, damage := range map[string]func(copied string) error{
		"00000000000000000020.partial": func(string) error { return nil },
		"00000000000000000021":         func(string) error { return nil }, // its manifest says 10
		"00000000000000000022":         func(c string) error { return os.Remove(filepath.Join(c, "manifest")) },
		"00000000000000000023":         func(c string) error { return os.Remove(filepath.Join(c, "000001.chunk")) },
		"00000000000000000024":         func(c string) error { return os.Truncate(filepath.Join(c, "000002.chunk"), 1) },
		"00000000000000000025":         func(c string) error { return os.Truncate(filepath.Join(c, "manifest"), 50) },
		"precious":                     func(string) error { return nil },
		"26":                           func(string) error { return nil },
	} {
		copied := filepath.Join(dir, name)
		if err := os.CopyFS(copied, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if err := damage(copied); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := advance(l, 11); err != nil {
		t.Fatal(err)
	}
	state, err := l.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Make(ctx, state); !errors.Is(err, context.Canceled) {
		t.Errorf("Make with an ended context: %v", err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSnapshots(t, dir)
	if list := s.List(); len(list) != 1 || list[0].Hash() != m.Hash() {
		t.Errorf("%d snapshots", len(list))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"00000000000000000010", "26", "precious"}; !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
}

// TestManifestBounds breaks one thing of a description at a time: each is refused before
// a chunk is fetched.
func TestManifestBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*layer.Manifest)
		ok   bool
	}{
		{"right", func(*layer.Manifest) {}, true},
		{"as many bytes as its chunks hold", func(m *layer.Manifest) { m.Bytes = 2 * layer.MaxSnapshotChunk }, true},
		{"more bytes than its chunks hold", func(m *layer.Manifest) { m.Bytes = 2*layer.MaxSnapshotChunk + 1 }, false},
		{"bytes without end", func(m *layer.Manifest) { m.Bytes = math.MaxUint64 }, false},
		{"the version after its height", func(m *layer.Manifest) { m.State.Version = 10 }, true},
		{"a version of later", func(m *layer.Manifest) { m.State.Version = 11 }, false},
		{"no version", func(m *layer.Manifest) { m.State.Version = 0 }, false},
		{"no chunks", func(m *layer.Manifest) { m.Chunks, m.Bytes = nil, 0 }, false},
		{"the most chunks", func(m *layer.Manifest) { m.Chunks = make([]ledger.Hash, layer.MaxSnapshotChunks) }, true},
		{"too many chunks", func(m *layer.Manifest) { m.Chunks = make([]ledger.Hash, layer.MaxSnapshotChunks+1) }, false},
		{"another format", func(m *layer.Manifest) { m.Format++ }, false},
	} {
		m := layer.Manifest{
			Format: layer.SnapshotFormat, State: statetree.Summary{Height: 9, Version: 3, Leaves: 2, Rows: 1},
			Bytes: 100, Chunks: []ledger.Hash{{1}, {2}},
		}
		tt.edit(&m)
		if _, err := layer.DecodeManifest(m.Encode()); (err == nil) != tt.ok || err != nil && !errors.Is(err, layer.ErrSnapshot) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	m := layer.Manifest{
		Format: layer.SnapshotFormat, State: statetree.Summary{Height: 9, Version: 3, Leaves: 2, Rows: 1},
		Bytes: 100, Chunks: []ledger.Hash{{1}, {2}},
	}
	f.Add(m.Encode())
	f.Add([]byte("tributary state snapshot"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := layer.DecodeManifest(b)
		if err != nil {
			if !errors.Is(err, layer.ErrSnapshot) {
				t.Errorf("DecodeManifest: %v", err)
			}
			return
		}
		if !bytes.Equal(m.Encode(), b) {
			t.Errorf("%x is not the only encoding", b)
		}
	})
}

func TestIndexBesideBlocks(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	l := openOn(t, store)
	if err := advance(l, 3); err != nil {
		t.Fatal(err)
	}
	if err := l.UpdateIndex([]chain.Change{{Key: []byte("new"), Value: []byte("1")}, {Key: []byte("last")}}); err != nil {
		t.Fatal(err)
	}
	if v, err := l.Index().Get([]byte("new")); err != nil || string(v) != "1" {
		t.Errorf("new: %q, %v", v, err)
	}
	if v, err := l.Index().Get([]byte("last")); err != nil || v != nil {
		t.Errorf("last: %q, %v", v, err)
	}
}
