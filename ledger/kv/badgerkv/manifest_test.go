package badgerkv_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

// filled makes a store of several tables, written in three runs, and returns its
// MANIFEST after each.
func filled(t *testing.T, o badgerkv.Options) (manifests [][]byte) {
	t.Helper()
	for run := range 3 {
		s, err := badgerkv.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			b := s.NewBatch()
			for j := range 100 {
				if err := b.Set(fmt.Appendf(nil, "%d/%d/%d", run, i, j), make([]byte, 900)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Commit(true); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, readFile(t, filepath.Join(o.Dir, "MANIFEST")))
	}
	return manifests
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// recordEnds returns where the records of a MANIFEST end.
func recordEnds(manifest []byte) (ends []int) {
	for at := 8; at < len(manifest); {
		at += 8 + int(binary.BigEndian.Uint32(manifest[at:]))
		ends = append(ends, at)
	}
	return ends
}

// TestRolledBackManifest opens a store whose list of tables is not what it was: it
// is refused before anything is deleted, so that the right list heals it.
func TestRolledBackManifest(t *testing.T) {
	t.Parallel()
	o := tiny(t.TempDir())
	manifests := filled(t, o)
	path, mark := filepath.Join(o.Dir, "MANIFEST"), filepath.Join(o.Dir, "MANIFEST.mark")
	right, rightMark := manifests[2], readFile(t, mark)
	if ends := recordEnds(right); len(ends) < 4 || ends[len(ends)-1] != len(right) {
		t.Fatalf("the records end at %v of %d bytes", ends, len(right))
	}
	type corruption struct{ manifest, mark []byte }
	bad := map[string]corruption{
		"removed":             {nil, rightMark},
		"empty":               {[]byte{}, rightMark},
		"of the first run":    {manifests[0], rightMark},
		"of the second run":   {manifests[1], rightMark},
		"a byte less":         {right[:len(right)-1], rightMark},
		"a byte changed":      {append(bytes.Clone(right[:len(right)-1]), right[len(right)-1]^1), rightMark},
		"removed, no mark":    {nil, nil},
		"a mark of two bytes": {right, []byte{1, 2}},
	}
	for _, end := range recordEnds(right)[:len(recordEnds(right))-1] {
		bad[fmt.Sprintf("cut off after a record, at %d", end)] = corruption{right[:end], rightMark}
	}
	put := func(name string, data []byte) {
		t.Helper()
		err := os.WriteFile(name, data, 0o600)
		if data == nil {
			err = os.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name, c := range bad {
		put(path, c.manifest)
		put(mark, c.mark)
		s, err := badgerkv.Open(o)
		if err == nil {
			t.Errorf("%s: it opened", name)
			err = s.Close()
		} else if !errors.Is(err, badgerkv.ErrRolledBack) || !strings.Contains(err.Error(), "MANIFEST") {
			t.Errorf("%s: %v, want %v and the file", name, err, badgerkv.ErrRolledBack)
		} else {
			err = nil
		}
		if err != nil {
			t.Error(err)
		}
	}
	put(path, right)
	put(mark, rightMark)
	for name, change := range map[string]func(right, rightMark []byte) (manifest, mark []byte){
		"as it was":                func(r, m []byte) ([]byte, []byte) { return r, m },
		"a torn record at the end": func(r, m []byte) ([]byte, []byte) { return append(bytes.Clone(r), 0, 0, 0, 9, 1), m },
		"of an older version":      func(r, _ []byte) ([]byte, []byte) { return r, nil },
		"rewritten since the mark": func(r, _ []byte) ([]byte, []byte) { return r, badgerkv.ManifestMark(1<<20, 7, 3) },
		"longer than at the mark":  func(r, _ []byte) ([]byte, []byte) { return r, badgerkv.ManifestMark(16, castagnoli(r[:16]), 0) },
	} {
		changed, changedMark := change(readFile(t, path), readFile(t, mark))
		put(path, changed)
		put(mark, changedMark)
		s, err := badgerkv.Open(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n := 0
		if err := kv.Scan(s, nil, func(_, _ []byte) error { n++; return nil }); err != nil || n != 3*20*100 {
			t.Errorf("%s: %d keys, %v, want %d", name, n, err, 3*20*100)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func TestManifestMarkGolden(t *testing.T) {
	t.Parallel()
	const want = "747269626d61726b00000000000004d200000007000000000000002a"
	if got := hex.EncodeToString(badgerkv.ManifestMark(1234, 7, 42)); !strings.HasPrefix(got, want) || len(got) != len(want)+8 {
		t.Errorf("mark is %s, want %s and a checksum", got, want)
	}
}

// FuzzManifestMark decodes anything: what it takes encodes to the same.
func FuzzManifestMark(f *testing.F) {
	f.Add(badgerkv.ManifestMark(1234, 7, 42))
	f.Add([]byte("tribmark"))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, _, again, err := badgerkv.DecodeManifestMark(b)
		if err == nil && (size < 0 || !bytes.Equal(again, b)) {
			t.Errorf("%x is taken for %x, size %d", b, again, size)
		}
	})
}
