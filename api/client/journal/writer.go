package journal

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// write is the journal's writer: it takes groups and syncs them until Close.
func (j *Journal) write() {
	defer close(j.done)
	for {
		select {
		case <-j.kick:
		case <-j.quit:
			j.flush()
			return
		}
		if !j.flush() {
			return
		}
		j.compactIfDue()
	}
}

// flush writes and syncs the present group. It reports false once the journal
// has failed.
func (j *Journal) flush() bool {
	j.mu.Lock()
	group, upTo := j.buf, j.appended
	j.buf, j.spare = j.spare[:0], nil
	j.records, j.writing, j.waiting = 0, j.waiting, 0
	j.timer.Stop()
	j.room.Broadcast()
	j.mu.Unlock()

	var err error
	if len(group) > 0 {
		err = j.file.append(group)
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	j.spare, j.writing = group, 0
	if err != nil {
		j.err = fmt.Errorf("write journal %q: %w", j.dir, err)
		j.room.Broadcast()
	} else {
		j.durable = upTo
	}
	close(j.synced)
	j.synced = make(chan struct{})
	return j.err == nil
}

// compactIfDue begins a new log file if the present one has grown, and replaces
// all older files by a snapshot in the background. The threshold follows the
// size of the live records, so that compaction costs at most one rewrite of them
// for every doubling.
func (j *Journal) compactIfDue() {
	if j.cfg.Live == nil || j.file.size < max(j.cfg.CompactAt, 2*j.snapshot.Load()) {
		return
	}
	select {
	case j.busy <- struct{}{}:
	default:
		return // the last compaction still runs
	}
	next, err := createLog(j.dir, j.file.number+1)
	if err != nil {
		<-j.busy
		j.cfg.Log.Warn("journal cannot begin a new log file", slog.String("dir", j.dir), slog.Any("error", err))
		return
	}
	old := j.file
	j.file = next
	if err := old.Close(); err != nil {
		j.cfg.Log.Warn("journal cannot close its old log file", slog.String("dir", j.dir), slog.Any("error", err))
	}
	j.compaction.Go(func() {
		defer func() { <-j.busy }()
		if err := j.compact(next.number); err != nil {
			j.cfg.Log.Warn("journal compaction did not finish", slog.String("dir", j.dir), slog.Any("error", err))
		}
	})
}

// compact writes the snapshot that replaces every file before number.
func (j *Journal) compact(number uint64) error {
	name := filepath.Join(j.dir, fileName(number, snapshotSuffix))
	size, err := j.writeSnapshot(name+temporarySuffix, number)
	if err != nil {
		return err
	}
	if err := os.Rename(name+temporarySuffix, name); err != nil {
		return err
	}
	if err := syncDir(j.dir); err != nil {
		return err
	}
	j.snapshot.Store(size)
	return removeBefore(j.dir, number)
}

func (j *Journal) writeSnapshot(path string, number uint64) (size int64, err error) {
	f, err := createFile(path, number)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	const chunk = 1 << 20
	buf := make([]byte, 0, chunk+frameSize+MaxRecord)
	for record := range j.cfg.Live() {
		select {
		case <-j.quit:
			return 0, ErrClosed
		default:
		}
		buf = appendFrame(buf, record)
		if len(buf) >= chunk {
			if err := f.write(buf); err != nil {
				return 0, err
			}
			buf = buf[:0]
		}
	}
	if err := f.append(buf); err != nil {
		return 0, err
	}
	return f.size, nil
}
