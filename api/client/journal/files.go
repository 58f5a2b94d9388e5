package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// A file is a header and frames:
//
//	magic 8 | number u64 || ( length u16 | crc32c u32 over length and record | record )*
//
// "NUMBER.log" holds what was appended; "NUMBER.snap" replaces every log with a
// smaller number.
const (
	magic      = "tribjnl\x01"
	headerSize = len(magic) + 8
	frameSize  = 2 + 4

	logSuffix       = ".log"
	snapshotSuffix  = ".snap"
	temporarySuffix = ".tmp"
	tornSuffix      = ".torn"
	lockName        = "LOCK"

	dirMode  = 0o700
	fileMode = 0o600
)

// checksum is CRC-32C over a frame's length and record. MakeTable returns the
// same table every time.
func checksum(length, record []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(length, table), table, record)
}

// appendFrame appends the frame of record to buf.
func appendFrame(buf, record []byte) []byte {
	at := len(buf)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(record)))
	buf = binary.BigEndian.AppendUint32(buf, checksum(buf[at:], record))
	return append(buf, record...)
}

func fileName(number uint64, suffix string) string { return fmt.Sprintf("%016x%s", number, suffix) }

func header(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(magic), number)
}

// logFile is a file that is appended to. It is owned by one goroutine.
type logFile struct {
	f      *os.File
	number uint64
	size   int64
}

// createFile creates the file at path, which must not exist, with its header.
func createFile(path string, number uint64) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	l := &logFile{f: f, number: number}
	if err := l.append(header(number)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// createLog creates log number in dir and makes its name durable.
func createLog(dir string, number uint64) (*logFile, error) {
	l, err := createFile(filepath.Join(dir, fileName(number, logSuffix)), number)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *logFile) write(data []byte) error {
	n, err := l.f.Write(data)
	l.size += int64(n)
	return err
}

// append writes data and syncs the file.
func (l *logFile) append(data []byte) error {
	if err := l.write(data); err != nil {
		return err
	}
	return l.f.Sync()
}

// Close closes the file.
func (l *logFile) Close() error { return l.f.Close() }

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir creates dir if necessary and takes its lock.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(fileMode))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrLocked
	}
	return lock, nil
}

// listing is the journal's files in a directory, ascending by number.
type listing struct {
	logs, snapshots []uint64
}

// list reads dir and removes temporary files that a crash left behind.
func list(dir string) (listing, error) {
	var l listing
	entries, err := os.ReadDir(dir)
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, temporarySuffix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return l, err
			}
			continue
		}
		suffix := filepath.Ext(name)
		number, err := strconv.ParseUint(strings.TrimSuffix(name, suffix), 16, 64)
		if err != nil || name != fileName(number, suffix) {
			continue // LOCK, and whatever others put here
		}
		switch suffix {
		case logSuffix:
			l.logs = append(l.logs, number)
		case snapshotSuffix:
			l.snapshots = append(l.snapshots, number)
		}
	}
	slices.Sort(l.logs)
	slices.Sort(l.snapshots)
	return l, nil
}

// removeBefore deletes the logs and snapshots that the snapshot of number
// replaces.
func removeBefore(dir string, number uint64) error {
	l, err := list(dir)
	if err != nil {
		return err
	}
	remove := func(numbers []uint64, suffix string) {
		for _, n := range numbers {
			if n < number {
				err = errors.Join(err, os.Remove(filepath.Join(dir, fileName(n, suffix))))
			}
		}
	}
	remove(l.logs, logSuffix)
	remove(l.snapshots, snapshotSuffix)
	return err
}
