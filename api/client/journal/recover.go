package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// recoverDir replays the newest snapshot and every log after it, repairs the
// torn end of the last log, and returns that log for appending, and the size of
// the snapshot.
func recoverDir(dir string, log *slog.Logger, replay func([]byte) error) (*logFile, int64, error) {
	files, err := list(dir)
	if err != nil {
		return nil, 0, err
	}
	first, snapshot := uint64(1), int64(0)
	if n := len(files.snapshots); n > 0 {
		first = files.snapshots[n-1]
		path := filepath.Join(dir, fileName(first, snapshotSuffix))
		if snapshot, err = replayWhole(path, first, replay); err != nil {
			return nil, 0, err
		}
		if err := removeBefore(dir, first); err != nil {
			return nil, 0, err
		}
	}
	var logs []uint64
	for _, number := range files.logs {
		if number >= first {
			logs = append(logs, number)
		}
	}
	if len(logs) == 0 {
		last, err := createLog(dir, first)
		return last, snapshot, err
	}
	for i, number := range logs {
		if want := first + uint64(i); number != want {
			return nil, 0, fmt.Errorf("%w: %s is missing", ErrCorrupt, fileName(want, logSuffix))
		}
	}
	end := len(logs) - 1
	for _, number := range logs[:end] {
		if _, err := replayWhole(filepath.Join(dir, fileName(number, logSuffix)), number, replay); err != nil {
			return nil, 0, err
		}
	}
	last, err := replayLast(dir, logs[end], log, replay)
	return last, snapshot, err
}

// replayWhole replays a file that was complete when the journal went on to the
// next one, and returns its size.
func replayWhole(path string, number uint64, replay func([]byte) error) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	good, size, err := scan(f, number, replay)
	if err == nil && good != size {
		err = fmt.Errorf("%w: %s cannot be read from byte %d on", ErrCorrupt, path, good)
	}
	return size, err
}

// replayLast replays the log that was being written, cuts off what a crash tore,
// and leaves it open at its end.
func replayLast(dir string, number uint64, log *slog.Logger, replay func([]byte) error) (*logFile, error) {
	path := filepath.Join(dir, fileName(number, logSuffix))
	f, err := os.OpenFile(path, os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	l := &logFile{f: f, number: number}
	var size int64
	l.size, size, err = scan(f, number, replay)
	switch {
	case err != nil:
	case l.size < int64(headerSize) && size > int64(headerSize):
		// The header was synced before anything followed it.
		err = fmt.Errorf("%w: %s does not begin like a journal", ErrCorrupt, path)
	case l.size != size:
		if err = saveTorn(dir, l, size); err == nil {
			log.Warn("journal cut off a torn end", slog.String("file", path),
				slog.Int64("offset", l.size), slog.Int64("bytes", size-l.size))
			err = l.truncate()
		}
	}
	if err == nil && l.size == 0 {
		err = l.append(header(number))
	}
	if err == nil {
		_, err = f.Seek(l.size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// saveTorn copies what follows l.size to a file of its own.
func saveTorn(dir string, l *logFile, size int64) error {
	torn := make([]byte, size-l.size)
	if _, err := l.f.ReadAt(torn, l.size); err != nil {
		return fmt.Errorf("copy torn end: %w", err)
	}
	name := fmt.Sprintf("%s-%d%s", fileName(l.number, logSuffix), l.size, tornSuffix)
	if err := os.WriteFile(filepath.Join(dir, name), torn, fileMode); err != nil {
		return fmt.Errorf("copy torn end: %w", err)
	}
	return syncDir(dir)
}

func (l *logFile) truncate() error {
	if err := l.f.Truncate(l.size); err != nil {
		return err
	}
	if _, err := l.f.Seek(l.size, io.SeekStart); err != nil {
		return err
	}
	return l.f.Sync()
}

// scan reads a file from its beginning and passes every whole record to replay.
// It returns how many bytes it understood, and how many there are. Its error is
// replay's or the disk's.
func scan(f *os.File, number uint64, replay func([]byte) error) (good, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = info.Size()
	r := bufio.NewReaderSize(f, 256<<10)
	head := make([]byte, headerSize)
	if n, err := io.ReadFull(r, head); n < headerSize {
		return 0, size, ignoreEOF(err)
	}
	if !bytes.Equal(head, header(number)) {
		return 0, size, nil
	}
	good = int64(headerSize)
	frame := make([]byte, frameSize+MaxRecord)
	for {
		record, err := readFrame(r, frame)
		if record == nil {
			return good, size, ignoreEOF(err)
		}
		if err := replay(record); err != nil {
			return good, size, fmt.Errorf("replay record at byte %d: %w", good, err)
		}
		good += int64(frameSize + len(record))
	}
}

// readFrame reads one frame into buf and returns its record, or nil if there is
// no whole and undamaged one.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:frameSize]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	if n == 0 || n > MaxRecord {
		return nil, nil
	}
	record := buf[frameSize : frameSize+n]
	if _, err := io.ReadFull(r, record); err != nil {
		return nil, err
	}
	if checksum(buf[:2], record) != binary.BigEndian.Uint32(buf[2:]) {
		return nil, nil
	}
	return record, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
