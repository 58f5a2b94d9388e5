package badgerkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
)

// ErrRolledBack is returned by Open when the store is not what it was when it was
// last synced: its MANIFEST, which lists its tables, was cut off, damaged, removed or
// replaced by an older one. badger would take the list as it is, delete every table
// that is not on it, and go on from whatever is left.
var ErrRolledBack = errors.New("the store is not what was last synced to disk")

// manifestMark remembers, in a file beside the MANIFEST, how much of it was on disk
// at the last sync. Badger only appends to a MANIFEST, but for a rewriting after ten
// thousand deleted tables, so what was there once must be what it begins with.
//
// The file is replaced, synced, after each sync that finds the MANIFEST changed,
// which is when a memtable was written or tables were merged, and not with each
// block. What it says may lag behind, but never runs ahead of what is on disk.
type manifestMark struct {
	size   int64  // bytes of the MANIFEST, whole records
	sum    uint32 // CRC-32C of them
	newest uint64 // highest number a table had so far; 0 if there was none
}

const (
	manifestMarkFile = "MANIFEST.mark"
	manifestMarkTag  = "tribmark"
	// manifestTries is how often a MANIFEST is read that badger writes to.
	manifestTries = 5
	// manifestMarkSize is the length of the file in bytes:
	// tag | size u64 | sum u32 | newest u64 | CRC-32C of all that u32.
	manifestMarkSize = len(manifestMarkTag) + 8 + 4 + 8 + 4
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// encode returns the content of the file.
func (m manifestMark) encode() []byte {
	b := append(make([]byte, 0, manifestMarkSize), manifestMarkTag...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.size)) //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint32(b, m.sum)
	b = binary.BigEndian.AppendUint64(b, m.newest)
	return binary.BigEndian.AppendUint32(b, castagnoli(b))
}

// decodeManifestMark reads what encode wrote.
func decodeManifestMark(b []byte) (m manifestMark, err error) {
	body := manifestMarkSize - 4
	if len(b) != manifestMarkSize || string(b[:len(manifestMarkTag)]) != manifestMarkTag ||
		binary.BigEndian.Uint32(b[body:]) != castagnoli(b[:body]) {
		return m, fmt.Errorf("%s is damaged", manifestMarkFile)
	}
	b = b[len(manifestMarkTag):]
	size := binary.BigEndian.Uint64(b)
	if size > 1<<40 {
		return m, fmt.Errorf("%s is damaged", manifestMarkFile)
	}
	return manifestMark{size: int64(size), sum: binary.BigEndian.Uint32(b[8:]), newest: binary.BigEndian.Uint64(b[12:])}, nil
}

// manifest is a MANIFEST as it lies on disk.
type manifest struct {
	whole  []byte // its whole records
	torn   bool   // a part of a record follows
	tables map[uint64]badger.TableManifest
}

// readManifest reads and checks the MANIFEST in o.Dir, after it made sure that what
// it reads is on disk. The error wraps fs.ErrNotExist if there is none.
func readManifest(o Options) (m manifest, err error) {
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	list, end, err := badger.ReplayManifestFile(f, 0, o.badger())
	if err != nil {
		return m, err
	}
	m.tables, m.whole = list.Tables, make([]byte, end)
	if _, err := f.ReadAt(m.whole, 0); err != nil && !errors.Is(err, io.EOF) {
		return m, err
	}
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	m.torn = info.Size() > end
	return m, f.Sync()
}

// mark returns what is to be remembered of m after last.
func (m *manifest) mark(last manifestMark) manifestMark {
	next := manifestMark{size: int64(len(m.whole)), sum: castagnoli(m.whole), newest: last.newest}
	for number := range m.tables {
		next.newest = max(next.newest, number)
	}
	return next
}

// checkManifest returns an error that wraps ErrRolledBack if the MANIFEST in o.Dir
// does not continue what the mark beside it says was there, and else the mark; the
// zero one if there is none yet. It must come before badger opens the directory.
func checkManifest(o Options) (mark manifestMark, err error) {
	raw, err := os.ReadFile(filepath.Join(o.Dir, manifestMarkFile))
	marked := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mark, err
	}
	if marked {
		if mark, err = decodeManifestMark(raw); err != nil {
			return mark, fmt.Errorf("%w: %w; if nothing else was damaged, remove that file", ErrRolledBack, err)
		}
	}
	tables, err := tableFiles(o.Dir)
	if err != nil {
		return mark, err
	}
	m, err := readManifest(o)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !marked && len(tables) == 0:
		return mark, nil
	case err != nil:
		return mark, fmt.Errorf("%w: its MANIFEST, which lists %d tables, cannot be read: %w", ErrRolledBack, len(tables), err)
	case !marked || int64(len(m.whole)) >= mark.size && castagnoli(m.whole[:mark.size]) == mark.sum:
		return mark, nil
	}
	// Rewritten since, or damaged. A rewritten one is whole, and nothing that it lacks
	// is still there.
	at := slices.IndexFunc(tables, func(number uint64) bool {
		_, listed := m.tables[number]
		return !listed && number <= mark.newest
	})
	switch {
	case at >= 0:
		return mark, fmt.Errorf("%w: its MANIFEST has %d bytes that hold, at the last sync it had %d, and table %s is not on it",
			ErrRolledBack, len(m.whole), mark.size, tableName(tables[at]))
	case m.torn:
		return mark, fmt.Errorf("%w: its MANIFEST ends in a part of a record, after %d bytes; at the last sync it had %d",
			ErrRolledBack, len(m.whole), mark.size)
	}
	return mark, nil
}

// tableFiles returns the numbers of the files with tables in dir, ascending.
func tableFiles(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		if digits, ok := strings.CutSuffix(e.Name(), tableSuffix); ok {
			if number, err := strconv.ParseUint(digits, 10, 64); err == nil {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func tableName(number uint64) string { return fmt.Sprintf("%06d%s", number, tableSuffix) }

// keep writes the mark of the MANIFEST as it is, if it changed.
func (l *logSync) keep() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(filepath.Join(l.dir, badger.ManifestFilename))
	if err != nil {
		return fmt.Errorf("look at the MANIFEST: %w", err)
	}
	if l.manifest != nil && os.SameFile(info, l.manifest) && info.Size() == l.manifest.Size() {
		return nil
	}
	m, err := readManifest(l.opts)
	for tries := 1; err != nil && tries < manifestTries; tries++ { // badger may have written while it was read
		m, err = readManifest(l.opts)
	}
	if err != nil {
		return fmt.Errorf("read the MANIFEST: %w", err)
	}
	next := m.mark(l.mark)
	if err := replaceSynced(filepath.Join(l.dir, manifestMarkFile), next.encode()); err != nil {
		return fmt.Errorf("mark the MANIFEST: %w", err)
	}
	l.mark, l.manifest = next, info
	return nil
}

// replaceSynced writes a file whole or not at all, and durably.
func replaceSynced(path string, data []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}
