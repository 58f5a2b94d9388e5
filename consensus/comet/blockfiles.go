package comet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Block parts are nearly all of what a chain stores, are written once, in order
// of height, and are dropped in that order. So they lie in files of their own, a
// file for each blockFileHeights heights, and the store holds where: a pruned
// file is one unlink, without garbage to collect, and nothing of it stays mapped
// into memory.
//
// What keeps the two together: a part is appended before the store gets its
// place, and every synced write of the store first syncs the files. So whatever
// height the store's durable record says is stored, the parts up to it are on
// disk. Bytes of a block that was never recorded, or was recorded twice, only
// take space until their file goes. A file goes after the record of the lowest
// height kept, never before.
const (
	blockFileHeights = 64
	blockFileSuffix  = ".blocks"
	// blockFileMin is the size in bytes of the smallest part that goes to a file.
	blockFileMin = 4 << 10
	// blockPlaceSize is the size of the place of a part:
	// 0xB1 | offset u64 | length u32 | CRC-32C u32. No part begins with 0xB1.
	blockPlaceSize = 17
	blockPlaceMark = 0xB1
	// maxBlockHandles bounds the files kept open.
	maxBlockHandles = 8
)

// blockFiles is the parts of one chain's blocks. It is safe for concurrent use.
// Nothing is read or written before the first call that needs it.
type blockFiles struct {
	dir string

	mu      sync.Mutex
	closed  bool
	failed  error // of a sync: what is on disk is unknown
	handles map[int64]*blockFile
	fresh   bool // a file may have been made since the last sync of the directory
	clock   uint64
	base    int64 // the lowest height kept, as far as known
}

type blockFile struct {
	f     *os.File
	end   int64
	dirty bool
	used  uint64
}

func newBlockFiles(dir string) *blockFiles {
	return &blockFiles{dir: dir, handles: make(map[int64]*blockFile)}
}

var errBlockFilesClosed = errors.New("the block files are closed")

func (b *blockFiles) path(index int64) string {
	return filepath.Join(b.dir, fmt.Sprintf("%010d%s", index, blockFileSuffix))
}

// handle returns the open file of an index, making it if wanted. It returns nil
// if there is none.
func (b *blockFiles) handle(index int64, create bool) (*blockFile, error) {
	if b.closed {
		return nil, errBlockFilesClosed
	}
	b.clock++
	if h := b.handles[index]; h != nil {
		h.used = b.clock
		return h, nil
	}
	flags := os.O_RDWR
	if create {
		if err := b.makeDir(); err != nil {
			return nil, err
		}
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(b.path(index), flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b.fresh = b.fresh || create // it may have been made, or by a process that died before it synced
	b.evict()
	h := &blockFile{f: f, end: info.Size(), used: b.clock}
	b.handles[index] = h
	return h, nil
}

// makeDir makes the directory, if it is missing, so that a power loss leaves it.
func (b *blockFiles) makeDir() error {
	if found, err := exists(b.dir); found || err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(b.dir))
}

// evict closes the file used longest ago if too many are open. Files with
// unsynced bytes stay.
func (b *blockFiles) evict() {
	if len(b.handles) < maxBlockHandles {
		return
	}
	oldest, found := int64(0), false
	for index, h := range b.handles {
		if !h.dirty && (!found || h.used < b.handles[oldest].used) {
			oldest, found = index, true
		}
	}
	if found {
		_ = b.handles[oldest].f.Close() // everything in it is synced
		delete(b.handles, oldest)
	}
}

// add appends a part of the block at height and returns its place.
func (b *blockFiles) add(height int64, part []byte) (place []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed != nil {
		return nil, b.failed
	}
	h, err := b.handle(height/blockFileHeights, true)
	if err != nil {
		return nil, fmt.Errorf("store block %d: %w", height, err)
	}
	h.dirty = true
	if _, err := h.f.WriteAt(part, h.end); err != nil {
		return nil, fmt.Errorf("store block %d: %w", height, err)
	}
	place = make([]byte, 0, blockPlaceSize)
	place = append(place, blockPlaceMark)
	place = binary.BigEndian.AppendUint64(place, uint64(h.end))
	place = binary.BigEndian.AppendUint32(place, uint32(len(part)))
	place = binary.BigEndian.AppendUint32(place, checksum(part))
	h.end += int64(len(part))
	return place, nil
}

func checksum(part []byte) uint32 { return crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli)) }

// isBlockPlace reports whether a stored value is the place of a part, not a part.
func isBlockPlace(value []byte) bool {
	return len(value) == blockPlaceSize && value[0] == blockPlaceMark
}

// get returns the part of the block at height that lies at place, or nil if its
// file was dropped.
func (b *blockFiles) get(height int64, place []byte) ([]byte, error) {
	if binary.BigEndian.Uint64(place[1:]) > 1<<48 || binary.BigEndian.Uint32(place[9:]) > 1<<28 {
		return nil, fmt.Errorf("read block %d: its place is %x: %w", height, place, ErrDamaged)
	}
	b.mu.Lock()
	h, err := b.handle(height/blockFileHeights, false)
	b.mu.Unlock()
	part, err := b.read(h, err, height, place)
	if !errors.Is(err, os.ErrClosed) {
		return part, err
	}
	// The file was closed under the reader: once more, keeping others off.
	b.mu.Lock()
	defer b.mu.Unlock()
	h, err = b.handle(height/blockFileHeights, false)
	return b.read(h, err, height, place)
}

// read reads a part from the file that handle returned, with its error.
func (b *blockFiles) read(h *blockFile, err error, height int64, place []byte) ([]byte, error) {
	if errors.Is(err, errBlockFilesClosed) || err == nil && h == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read block %d: %w", height, err)
	}
	part := make([]byte, binary.BigEndian.Uint32(place[9:]))
	offset := int64(binary.BigEndian.Uint64(place[1:]))
	if _, err := h.f.ReadAt(part, offset); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read block %d: %s ends before byte %d: %w", height, b.path(height/blockFileHeights), offset+int64(len(part)), ErrDamaged)
	} else if err != nil {
		return nil, fmt.Errorf("read block %d: %w", height, err)
	}
	if checksum(part) != binary.BigEndian.Uint32(place[13:]) {
		return nil, fmt.Errorf("read block %d: %s at byte %d: %w", height, b.path(height/blockFileHeights), offset, ErrDamaged)
	}
	return part, nil
}

// sync makes every part added so far durable. After an error nothing can be
// added any more.
func (b *blockFiles) sync() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed != nil {
		return b.failed
	}
	for _, h := range b.handles {
		if !h.dirty {
			continue
		}
		if err := h.f.Sync(); err != nil {
			b.failed = fmt.Errorf("sync the block files: %w", err)
			return b.failed
		}
		h.dirty = false
	}
	if b.fresh {
		if err := syncDir(b.dir); err != nil {
			b.failed = fmt.Errorf("sync the block files: %w", err)
			return b.failed
		}
		b.fresh = false
	}
	return nil
}

// drop removes the files that hold no height from base on. It must follow the
// durable record of base.
func (b *blockFiles) drop(base int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if base/blockFileHeights <= b.base/blockFileHeights && b.base > 0 {
		return nil
	}
	indexes, err := b.list()
	if err != nil {
		return fmt.Errorf("drop old blocks: %w", err)
	}
	for _, index := range indexes {
		if index < base/blockFileHeights {
			if err := b.remove(index); err != nil {
				return fmt.Errorf("drop old blocks: %w", err)
			}
		}
	}
	b.base = base
	return nil
}

// clear removes all files: those of blocks that are not recorded any more.
func (b *blockFiles) clear() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	indexes, err := b.list()
	for _, index := range indexes {
		err = errors.Join(err, b.remove(index))
	}
	if err != nil {
		return fmt.Errorf("remove left-over blocks: %w", err)
	}
	return nil
}

func (b *blockFiles) remove(index int64) error {
	if h := b.handles[index]; h != nil {
		_ = h.f.Close() // its content is not wanted any more
		delete(b.handles, index)
	}
	if err := os.Remove(b.path(index)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// size returns how long the files are together, in bytes. Those that cannot be
// looked at count for nothing.
func (b *blockFiles) size() (total uint64) {
	b.mu.Lock()
	indexes, err := b.list()
	b.mu.Unlock()
	if err != nil {
		return 0
	}
	for _, index := range indexes {
		if info, err := os.Stat(b.path(index)); err == nil {
			total += uint64(info.Size())
		}
	}
	return total
}

// list returns the indexes of the files there are, ascending.
func (b *blockFiles) list() ([]int64, error) {
	entries, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var indexes []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), blockFileSuffix)
		if !ok {
			continue
		}
		if index, err := strconv.ParseInt(name, 10, 64); err == nil {
			indexes = append(indexes, index)
		}
	}
	return indexes, nil
}

// close closes the files. Reads find nothing from then on, and nothing can be
// added.
func (b *blockFiles) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, h := range b.handles {
		_ = h.f.Close() // what had to be durable was synced
	}
	clear(b.handles)
}

// partHeight returns the height in CometBFT's key of a block part, "P:" height
// ":" index.
func partHeight(key []byte) (height int64, ok bool) {
	rest, ok := strings.CutPrefix(string(key), "P:")
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, ":")
	if !ok {
		return 0, false
	}
	height, err := strconv.ParseInt(digits, 10, 64)
	return height, err == nil && height > 0
}

// blocksDir is where the block files of a chain lie whose directory is dir.
func blocksDir(dir string) string { return filepath.Join(dir, "blocks") }
