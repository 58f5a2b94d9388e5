package journal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client/journal"
)

// open opens a journal and returns it with what it replayed.
func open(t *testing.T, dir string, cfg journal.Config) (*journal.Journal, []string) {
	t.Helper()
	var got []string
	j, err := journal.Open(dir, cfg, func(r []byte) error { got = append(got, string(r)); return nil })
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, got
}

func appendAll(t *testing.T, j *journal.Journal, records ...string) (last uint64) {
	t.Helper()
	for _, r := range records {
		seq, err := j.Append([]byte(r), uint64(len(r)))
		if err != nil {
			t.Fatalf("append %q: %v", r, err)
		}
		last = seq
	}
	return last
}

func closeIt(t *testing.T, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func TestReopenReplaysEverythingInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want []string
	for round := range 3 {
		j, got := open(t, dir, journal.Config{})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d replays (-want +got):\n%s", round, diff)
		}
		records := []string{fmt.Sprint("a", round), fmt.Sprint("b", round), strings.Repeat("c", journal.MaxRecord)}
		appendAll(t, j, records...)
		want = append(want, records...)
		closeIt(t, j)
	}
}

func TestRecordSizeIsChecked(t *testing.T) {
	t.Parallel()
	j, _ := open(t, t.TempDir(), journal.Config{})
	for name, record := range map[string][]byte{"empty": nil, "too long": make([]byte, journal.MaxRecord+1)} {
		if _, err := j.Append(record, 0); !errors.Is(err, journal.ErrRecordSize) {
			t.Errorf("%s: got %v, want %v", name, err, journal.ErrRecordSize)
		}
	}
}

// TestGroups checks when records reach the disk. The clock is virtual: it moves
// only while everybody waits.
func TestGroups(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		cfg     journal.Config
		records int
		weight  uint64
		after   time.Duration
		want    uint64
	}{
		{"not before the interval", journal.Config{}, 100, 0, journal.DefaultInterval - 1, 0},
		{"at the interval", journal.Config{}, 100, 0, journal.DefaultInterval, 100},
		{"own interval", journal.Config{Interval: time.Second}, 1, 0, time.Second, 1},
		{"enough records", journal.Config{Records: 10}, 10, 0, 0, 10},
		{"one record too few", journal.Config{Records: 10}, 9, 0, 0, 0},
		{"enough weight", journal.Config{Weight: 1000}, 4, 250, 0, 4},
		{"too little weight", journal.Config{Weight: 1001}, 4, 250, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				j, _ := open(t, dir, tt.cfg)
				for i := range tt.records {
					if _, err := j.Append([]byte{1, byte(i)}, tt.weight); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				<-time.After(tt.after) // of the bubble: virtual time
				synctest.Wait()
				if got := j.Durable(); got != tt.want {
					t.Errorf("%d records are on disk, want %d", got, tt.want)
				}
				exposed := (uint64(tt.records) - tt.want) * tt.weight
				if got := j.Exposed(); got != exposed {
					t.Errorf("exposed weight %d, want %d", got, exposed)
				}
			})
		})
	}
}

func TestWaitHurriesTheGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		j, _ := open(t, dir, journal.Config{Interval: time.Hour})
		seq := appendAll(t, j, "a", "b")
		if err := j.Wait(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(from); waited != 0 {
			t.Errorf("waited %s for the interval", waited)
		}
		if err := j.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := j.Wait(ctx, seq+1); !errors.Is(err, context.Canceled) {
			t.Errorf("wait for a record that never comes: %v", err)
		}
	})
}

// TestTornTail cuts the log after every byte, and damages every byte of the last
// record: what was whole is replayed, the rest is kept beside, and the journal
// goes on.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, journal.Config{})
	records := []string{"first", "second record", "third"}
	appendAll(t, j, records...)
	closeIt(t, j)
	whole := read(t, filepath.Join(dir, logName(1)))
	ends := []int{16} // of the header and of every record
	for _, r := range records {
		ends = append(ends, ends[len(ends)-1]+6+len(r))
	}
	if ends[len(ends)-1] != len(whole) {
		t.Fatalf("log has %d bytes, want %d", len(whole), ends[len(ends)-1])
	}
	for n := range len(whole) {
		checkTorn(t, fmt.Sprintf("cut at %d", n), whole[:n], records, ends)
	}
	for n := ends[2]; n < len(whole); n++ {
		damaged := slices.Clone(whole)
		damaged[n] ^= 0x40
		checkTorn(t, fmt.Sprintf("damaged at %d", n), damaged, records[:2], ends[:3])
	}
	checkTorn(t, "zeros after the end", append(slices.Clone(whole), make([]byte, 4096)...), records, ends)
}

func checkTorn(t *testing.T, name string, file []byte, records []string, ends []int) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, logName(1)), file)
	var want []string
	good := 0
	for i, end := range ends {
		if len(file) >= end {
			good = end
			want = records[:i]
		}
	}
	j, got := open(t, dir, journal.Config{})
	if !slices.Equal(got, want) {
		t.Errorf("%s: replayed %q, want %q", name, got, want)
	}
	appendAll(t, j, "next")
	closeIt(t, j)
	torn, err := filepath.Glob(filepath.Join(dir, "*.torn"))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case good == len(file) && torn != nil:
		t.Errorf("%s: saved a torn end of a whole file", name)
	case good != len(file) && len(torn) != 1:
		t.Errorf("%s: saved %q, want one torn end", name, torn)
	case good != len(file) && string(read(t, torn[0])) != string(file[good:]):
		t.Errorf("%s: the torn end was not saved as it was", name)
	}
	j, got = open(t, dir, journal.Config{})
	if want := append(slices.Clone(want), "next"); !slices.Equal(got, want) {
		t.Errorf("%s: replayed %q the next time, want %q", name, got, want)
	}
	closeIt(t, j)
}

func TestDamageThatNoCrashExplains(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"a log before the last", func(t *testing.T, dir string) {
			t.Helper()
			flip(t, filepath.Join(dir, logName(2)), 20)
		}},
		{"end of a log before the last", func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, logName(2))
			b := read(t, path)
			write(t, path, b[:len(b)-1])
		}},
		{"snapshot", func(t *testing.T, dir string) {
			t.Helper()
			flip(t, filepath.Join(dir, "0000000000000002.snap"), 20)
		}},
		{"missing log", func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, logName(2)))
		}},
		{"header of the last log", func(t *testing.T, dir string) {
			t.Helper()
			flip(t, filepath.Join(dir, logName(3)), 3)
		}},
		{"log of another number", func(t *testing.T, dir string) {
			t.Helper()
			write(t, filepath.Join(dir, logName(3)), read(t, filepath.Join(dir, logName(2))))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			layOut(t, dir)
			j, got := open(t, dir, journal.Config{})
			if want := []string{"snapshot", "log 2", "log 3"}; !slices.Equal(got, want) {
				t.Fatalf("undamaged journal replays %q, want %q", got, want)
			}
			closeIt(t, j)
			tt.damage(t, dir)
			_, err := journal.Open(dir, journal.Config{}, func([]byte) error { return nil })
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatalf("open: %v, want %v", err, journal.ErrCorrupt)
			}
			// The lock is free again.
			_, err = journal.Open(dir, journal.Config{}, func([]byte) error { return nil })
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("open again: %v, want %v", err, journal.ErrCorrupt)
			}
		})
	}
}

// layOut writes what a crash right after a compaction leaves: a snapshot, the
// log it replaces, the two logs after it, and a snapshot that was not finished.
func layOut(t *testing.T, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, logName(1)), file(1, "log 1"))
	write(t, filepath.Join(dir, "0000000000000002.snap"), file(2, "snapshot"))
	write(t, filepath.Join(dir, logName(2)), file(2, "log 2"))
	write(t, filepath.Join(dir, logName(3)), file(3, "log 3"))
	write(t, filepath.Join(dir, "0000000000000003.snap.tmp"), []byte("half"))
	write(t, filepath.Join(dir, "notes.txt"), []byte("not ours"))
}

func TestOpenCleansUpAfterACompaction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layOut(t, dir)
	j, _ := open(t, dir, journal.Config{})
	closeIt(t, j)
	want := []string{"0000000000000002.log", "0000000000000002.snap", "0000000000000003.log", "LOCK", "notes.txt"}
	if diff := cmp.Diff(want, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// register is a set of lanes, as an owner of a journal has them.
type register struct {
	mu     sync.Mutex
	values map[uint16]uint64
}

func (r *register) apply(record []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := binary.BigEndian.Uint16(record)
	r.values[k] = max(r.values[k], binary.BigEndian.Uint64(record[2:]))
	return nil
}

func (r *register) live() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for k, v := range r.values {
			if !yield(record(k, v)) {
				return
			}
		}
	}
}

func record(k uint16, v uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(nil, k), v)
}

func TestCompactionKeepsWhatIsLive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const lanes, writers, each = 64, 4, 20_000
	reg := &register{values: make(map[uint16]uint64)}
	cfg := journal.Config{CompactAt: 32 << 10, Records: 256, Live: reg.live}
	j, _ := open(t, dir, cfg)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := record(uint16(w*lanes/writers+i%(lanes/writers)), uint64(i))
				if err := reg.apply(r); err != nil {
					t.Error(err)
				}
				if _, err := j.Append(r, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Compactions run beside appends. Once the disk keeps up with them, the
	// journal is as small as what is live.
	all := int64(writers * each * (6 + 10))
	for round := 0; dirSize(t, dir) > all/4; round++ {
		if round == 10_000 {
			t.Fatalf("the journal has %d bytes, %d were appended", dirSize(t, dir), all)
		}
		if _, err := j.Append(record(0, 0), 1); err != nil {
			t.Fatal(err)
		}
		if err := j.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	closeIt(t, j)
	again := &register{values: make(map[uint16]uint64)}
	j, err := journal.Open(dir, journal.Config{}, again.apply)
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, j)
	if diff := cmp.Diff(reg.values, again.values); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
}

func TestOneUserAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, journal.Config{})
	if _, err := journal.Open(dir, journal.Config{}, nil); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("second open: %v, want %v", err, journal.ErrLocked)
	}
	closeIt(t, j)
	open(t, dir, journal.Config{})
}

func TestFailureIsFinal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := journal.Open(dir, journal.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Break(); err != nil {
		t.Fatal(err)
	}
	seq := appendAll(t, j, "lost")
	if err := j.Wait(t.Context(), seq); !errors.Is(err, os.ErrClosed) {
		t.Errorf("wait: %v, want %v", err, os.ErrClosed)
	}
	if _, err := j.Append([]byte("after"), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append: %v, want %v", err, os.ErrClosed)
	}
	if err := j.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v, want %v", err, os.ErrClosed)
	}
	if _, got := open(t, dir, journal.Config{}); got != nil {
		t.Errorf("replayed %q", got)
	}
}

func TestClosedJournal(t *testing.T) {
	t.Parallel()
	j, _ := open(t, t.TempDir(), journal.Config{})
	seq := appendAll(t, j, "kept")
	closeIt(t, j)
	closeIt(t, j)
	if _, err := j.Append([]byte("late"), 0); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append: %v, want %v", err, journal.ErrClosed)
	}
	if err := j.Wait(t.Context(), seq); err != nil {
		t.Errorf("wait for what was written: %v", err)
	}
	if err := j.Wait(t.Context(), seq+1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("wait for more: %v, want %v", err, journal.ErrClosed)
	}
}

func TestReplayErrorEndsOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, journal.Config{})
	appendAll(t, j, "a")
	closeIt(t, j)
	boom := errors.New("no such lane")
	if _, err := journal.Open(dir, journal.Config{}, func([]byte) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("open: %v, want %v", err, boom)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(file(1, "a", "bb"))
	f.Add(file(1))
	f.Add([]byte{})
	f.Add(append(file(1, "x"), 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, logName(1)), data)
		var first, second []string
		j, err := journal.Open(dir, journal.Config{}, func(r []byte) error { first = append(first, string(r)); return nil })
		if errors.Is(err, journal.ErrCorrupt) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		closeIt(t, j)
		j, second = open(t, dir, journal.Config{})
		closeIt(t, j)
		if !slices.Equal(first, second) {
			t.Errorf("replayed %q, then %q", first, second)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	j, err := journal.Open(b.TempDir(), journal.Config{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := make([]byte, 147)
	b.SetBytes(int64(len(r)))
	for b.Loop() {
		if _, err := j.Append(r, 1); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
