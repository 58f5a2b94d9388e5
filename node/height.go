package node

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tributary-network/tributary/node/home"
)

// heightFile remembers, beside the store and not in it, how high the store was: a
// store that comes back lower was damaged, or replaced by an older one, and would
// go on as if the blocks above had never been.
//
// The height is written after its block is durable, so a store that is whole is
// never below it. To write it costs next to nothing, as it is synced every few
// seconds only; what a power loss takes makes the check weaker, not wrong.
type heightFile struct {
	path string

	mu     sync.Mutex
	f      *os.File
	height uint64
	synced time.Time
}

const (
	heightFileName = "settlement.height"
	// heightFormat is the whole file: the height and a checksum of its digits.
	heightFormat = "%020d %08x\n"
	heightDigits = 20
	heightSync   = 5 * time.Second
)

// ErrStoreBehind says that the store has lost blocks that were durable.
var ErrStoreBehind = errors.New("the store lost blocks that this node had")

func heightSum(digits string) uint32 { return crc32.ChecksumIEEE([]byte(digits)) }

func encodeHeight(height uint64) string {
	digits := fmt.Sprintf("%0*d", heightDigits, height)
	return fmt.Sprintf(heightFormat, height, heightSum(digits))
}

// decodeHeight reads what encodeHeight wrote.
func decodeHeight(text string) (height uint64, err error) {
	if _, err := fmt.Sscanf(text, "%d ", &height); err != nil || encodeHeight(height) != text {
		return 0, errors.New("it is damaged")
	}
	return height, nil
}

// openHeightFile returns the file at path, and the height in it; 0 if there is none,
// or it is damaged, as a power loss may leave it.
func openHeightFile(path string, log *slog.Logger) (*heightFile, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the height of the store: %w", err)
	}
	h := &heightFile{path: path}
	if err == nil {
		if h.height, err = decodeHeight(string(data)); err != nil {
			log.Warn("the file that remembers the height of the store is not used", slog.String("file", path), slog.Any("err", err))
		}
	}
	if h.f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the height of the store: %w", err)
	}
	return h, nil
}

// check returns an error that wraps ErrStoreBehind if the store is lower than it was,
// and ends with lost, what can be done about it.
func (h *heightFile) check(height uint64, lost string) error {
	if height >= h.height {
		return nil
	}
	return fmt.Errorf("%w: it ends at height %d, but was at %d; %s", ErrStoreBehind, height, h.height, lost)
}

// lostStore says what can be done about a store that is not what it was.
func lostStore(dir home.Dir) string {
	return fmt.Sprintf("restore the whole of %s from one backup, or remove it and let the node fetch the chain from its peers; "+
		"keep %s as it is in both cases, its sign state above all", dir.Data(), signerDir(dir))
}

// set remembers that the store is at height, durably.
func (h *heightFile) set(height uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil || height <= h.height {
		return nil
	}
	if _, err := h.f.WriteAt([]byte(encodeHeight(height)), 0); err != nil {
		return fmt.Errorf("write the height of the store: %w", err)
	}
	h.height = height
	if now := time.Now(); now.Sub(h.synced) >= heightSync {
		h.synced = now
		if err := h.f.Sync(); err != nil {
			return fmt.Errorf("write the height of the store: %w", err)
		}
	}
	return nil
}

// close syncs and closes the file.
func (h *heightFile) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil {
		return nil
	}
	err := errors.Join(h.f.Sync(), h.f.Close())
	h.f = nil
	return err
}
