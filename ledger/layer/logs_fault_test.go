package layer_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// TestLogsLost: an object whose bytes are gone or others is not handed out, is found by Verify, and
// is made good by sending it again.
func TestLogsLost(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	l := layer.NewLogs(store, layer.LogOptions{})
	s := newScribe(logOf("a", 0))
	var all []layer.Part
	for _, n := range []int{1_024, 1_024, 10, 10} {
		parts := s.grow(t, n)
		all = append(all, parts...)
		if _, err := l.Append(s.id, parts, nil); err != nil {
			t.Fatal(err)
		}
	}
	for at, p := range all {
		for _, change := range []func([]byte) []byte{
			func([]byte) []byte { return nil },
			func(b []byte) []byte { return b[:len(b)-1] },
			func(b []byte) []byte { b[len(b)/2]++; return b },
		} {
			name := lanelog.Name(p.Object)
			key := append([]byte("o/"), name[:]...)
			b := store.NewBatch()
			var err error
			if v := change(bytes.Clone(p.Object)); v == nil {
				err = b.Delete(key)
			} else {
				err = b.Set(key, v)
			}
			if err := errors.Join(err, b.Commit(true)); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Object(name); !errors.Is(err, layer.ErrLost) && !errors.Is(err, layer.ErrNotKept) {
				t.Errorf("object %d: %v", at, err)
			}
			if has, err := l.Has(name); has || err != nil {
				t.Errorf("object %d is there: %v, %v", at, has, err)
			}
			if err := l.Objects(s.id, 0, func(layer.Item, []byte) error { return nil }); !errors.Is(err, layer.ErrLost) || !strings.Contains(err.Error(), s.id.String()) {
				t.Errorf("all objects without %d: %v", at, err)
			}
			var lost []layer.Item
			if err := l.Verify(t.Context(), s.id, func(i layer.Item) error { lost = append(lost, i); return nil }); err != nil || len(lost) != 1 || lost[0].Name != name {
				t.Errorf("lost are %+v, %v; want object %d", lost, err, at)
			}
			if at%2 == 0 {
				err = l.Repair(p.Object)
			} else {
				_, err = l.Append(s.id, all[at:], nil)
			}
			if err != nil {
				t.Errorf("object %d sent again: %v", at, err)
			}
			s.checkRoot(t, l)
		}
	}
	other := newScribe(logOf("b", 0))
	for name, object := range map[string][]byte{
		"of another log":   other.grow(t, 3)[0].Object,
		"not the one kept": s.segment(t, 2_048, 2_068),
	} {
		if err := l.Repair(object); !errors.Is(err, layer.ErrNotKept) {
			t.Errorf("an object %s: %v", name, err)
		}
	}
	if err := l.Repair([]byte("x")); !errors.Is(err, lanelog.ErrEncoding) {
		t.Errorf("no object: %v", err)
	}
}

// TestLogsDamagedRows: a log whose rows do not go together is found out by Verify, and a row that
// nobody wrote by whoever reads it.
func TestLogsDamagedRows(t *testing.T) {
	t.Parallel()
	base := memkv.New()
	s := newScribe(logOf("a", 0))
	for _, n := range []int{2_048, 10, 20} {
		s.send(t, layer.NewLogs(base, layer.LogOptions{}), n)
	}
	lost := errors.New("an object is lost")
	rows := 0
	for key, value := range content(t, base) {
		for _, change := range []struct {
			name string
			to   []byte
			skip string // rows of which nobody can tell
		}{
			{"is gone", nil, "o"},
			{"is cut", []byte(value[:len(value)/2]), "o"},
			{"is another", flip(value, len(value)-41), "o"},
			{"has another beginning", flip(value, 1), "o"},
			{"has other sums", flip(value, 50), "o"},
			{"has more", append([]byte(value), 0), "o"},
		} {
			if strings.HasPrefix(key, change.skip) {
				continue
			}
			rows++
			store := base.Clone()
			b := store.NewBatch()
			err := b.Delete([]byte(key))
			if change.to != nil {
				err = b.Set([]byte(key), change.to)
			}
			if err := errors.Join(err, b.Commit(true)); err != nil {
				t.Fatal(err)
			}
			if err := layer.NewLogs(store, layer.LogOptions{}).Verify(t.Context(), s.id, func(layer.Item) error { return lost }); err == nil {
				t.Errorf("row %q %s, and the log is verified", key, change.name)
			}
		}
	}
	if rows != 6*5 {
		t.Errorf("%d rows were changed", rows)
	}
}

// flip returns a value with one bit changed.
func flip(value string, at int) []byte {
	b := []byte(value)
	b[at] ^= 1
	return b
}

// diary is what a test has done to a store: the logs, and what was acknowledged.
type diary struct {
	scribes []*scribe
	acked   []uint64
}

// step sends a number of entries of one log, both chosen by n, and remembers that it was taken.
func (d *diary) step(tb testing.TB, l *layer.Logs, n int) error {
	tb.Helper()
	i := n % len(d.scribes)
	s := d.scribes[i]
	parts := s.grow(tb, []int{1, 3, 400, 1_030, 40}[n%5])
	if _, err := l.Append(s.id, parts, s.claim(tb)); err != nil {
		return err
	}
	d.acked[i] = s.log.Size()
	return nil
}

func newDiary() *diary {
	d := &diary{acked: make([]uint64, 3)}
	for lane := range uint16(3) {
		d.scribes = append(d.scribes, newScribe(logOf("a", lane)))
	}
	return d
}

// checkAcked checks that all that was taken is there, and of what was not at most the call that was
// cut off.
func (d *diary) checkAcked(tb testing.TB, l *layer.Logs) {
	tb.Helper()
	for i, s := range d.scribes {
		head, err := l.Head(s.id)
		if d.acked[i] == 0 && errors.Is(err, layer.ErrNotKept) {
			continue
		}
		if err != nil || head.Root.Size != d.acked[i] && head.Root.Size != s.log.Size() {
			tb.Fatalf("log %s: %d entries are kept, %v; %d were taken, %d sent", s.id, head.Root.Size, err, d.acked[i], s.log.Size())
		}
		whole := newScribe(s.id)
		whole.grow(tb, int(head.Root.Size))
		whole.checkRoot(tb, l)
	}
}

// TestLogsFailingStore has every commit in turn fail, before and after it takes effect, and opens
// what is left.
func TestLogsFailingStore(t *testing.T) {
	t.Parallel()
	const steps = 12
	for n := 1; n <= steps; n++ {
		for _, after := range []bool{false, true} {
			store := memkv.New()
			f := kvtest.NewFaulty(store)
			f.FailCommit(n, after)
			l := layer.NewLogs(f, layer.LogOptions{})
			d := newDiary()
			var err error
			step := 0
			for ; step < steps && err == nil; step++ {
				err = d.step(t, l, step)
			}
			if !errors.Is(err, kvtest.ErrInjected) || step != n {
				t.Fatalf("commit %d fails, step %d: %v", n, step, err)
			}
			if _, err := l.Append(d.scribes[0].id, nil, nil); !errors.Is(err, kvtest.ErrInjected) {
				t.Fatalf("commit %d fails, and it goes on: %v", n, err)
			}
			again := layer.NewLogs(store, layer.LogOptions{})
			d.checkAcked(t, again)
			for i, s := range d.scribes { // what was not taken is sent again
				if s.log.Size() == d.acked[i] {
					continue
				}
				fresh := newScribe(s.id)
				fresh.grow(t, int(d.acked[i]))
				parts := fresh.grow(t, int(s.log.Size()-d.acked[i]))
				if _, err := again.Append(s.id, parts, s.claim(t)); err != nil {
					t.Fatalf("commit %d fails (after: %v), sent again: %v", n, after, err)
				}
				s.checkKept(t, again)
			}
		}
	}
}

// TestLogsTorn cuts the logs and the value log of a store that was never closed at random places,
// as a loss of power would: the logs are whole up to some point, objects that did not get there
// are lost and said to be, and sending all again makes everything good.
func TestLogsTorn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	o := badgerkv.Small(dir)
	l := openLogs(t, o)
	s := newScribe(logOf("a", 0))
	var all []layer.Part
	for _, n := range []int{300, 900, 2_000, 3, 3, 1_200, 50} {
		parts := s.grow(t, n)
		all = append(all, parts...)
		if _, err := l.Append(s.id, parts, nil); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sizes, lost := map[uint64]bool{}, 0
	for round := range 8 {
		torn := t.TempDir()
		if err := copyTorn(dir, torn, r); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			tearValues(t, torn, r)
		}
		o.Dir = torn
		back := openLogs(t, o)
		head, err := back.Head(s.id)
		if err != nil && !errors.Is(err, layer.ErrNotKept) {
			t.Fatal(err)
		}
		sizes[head.Root.Size] = true
		if err == nil {
			if err := back.Verify(t.Context(), s.id, func(layer.Item) error { lost++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := back.Append(s.id, sendFrom(all, head.Root.Size), nil); err != nil {
			t.Fatalf("with %d entries: %v", head.Root.Size, err)
		}
		if err := back.Verify(t.Context(), s.id, func(i layer.Item) error { return repair(back, all, i) }); err != nil {
			t.Fatal(err)
		}
		s.checkKept(t, back)
	}
	if len(sizes) < 2 || lost == 0 {
		t.Errorf("the cuts led to %v entries, and %d lost objects", sizes, lost)
	}
}

// sendFrom returns the objects with which a log of size entries goes on.
func sendFrom(all []layer.Part, size uint64) []layer.Part {
	for i, p := range all {
		first := uint64(0)
		if h, err := lanelog.ReadPiece(p.Object); err == nil {
			first = h.First
		} else if h, err := lanelog.ReadHeader(p.Object); err == nil {
			first = h.First
		}
		end := first + uint64(entriesOf(p.Object))
		if end > size {
			return all[i:]
		}
	}
	return nil
}

func entriesOf(object []byte) int {
	if h, err := lanelog.ReadPiece(object); err == nil {
		return h.Count
	}
	h, _ := lanelog.ReadHeader(object)
	return h.Count
}

// repair puts a lost object back.
func repair(l *layer.Logs, all []layer.Part, i layer.Item) error {
	for _, p := range all {
		if lanelog.Name(p.Object) == i.Name {
			return l.Repair(p.Object)
		}
	}
	return fmt.Errorf("nobody has %+v", i)
}

// tearValues zeroes the end of the value log.
func tearValues(t *testing.T, dir string, r *rand.Rand) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(files) == 0 {
		t.Fatalf("value log: %v, %v", files, err)
	}
	name := files[len(files)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(b, "\x00"))
	clear(b[20+r.IntN(end-20):])
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// killedLogs tells a test binary to append to logs in that directory until it is killed.
const killedLogs = "LOGS_TEST_DIR"

// TestLogsKilled kills a process while many append to a store, several times, and checks that
// nothing that was acknowledged is lost.
func TestLogsKilled(t *testing.T) {
	if dir, ok := os.LookupEnv(killedLogs); ok {
		appendForever(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	acked := make(map[uint16]uint64)
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLogsKilled$")
		cmd.Env = append(os.Environ(), killedLogs+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var lane uint16
			var size uint64
			if _, err := fmt.Sscanf(lines.Text(), "%d %d", &lane, &size); err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
			acked[lane] = size
			if n == 30+round*17 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		l := openLogs(t, badgerkv.Small(dir))
		for lane, size := range acked {
			head, err := l.Head(logOf("killed", lane))
			if err != nil || head.Root.Size < size {
				t.Errorf("lane %d has %d entries, %v; %d were acknowledged", lane, head.Root.Size, err, size)
				continue
			}
			s := newScribe(head.ID)
			s.grow(t, int(head.Root.Size))
			s.checkKept(t, l)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func appendForever(t *testing.T, dir string) {
	t.Helper()
	l := openLogs(t, badgerkv.Small(dir))
	var out sync.Mutex
	var wg sync.WaitGroup
	for lane := range uint16(4) {
		s := newScribe(logOf("killed", lane))
		if head, err := l.Head(s.id); err == nil {
			s.grow(t, int(head.Root.Size))
		}
		wg.Go(func() {
			for n := int(lane); ; n++ {
				s.send(t, l, []int{1, 90, 700}[n%3])
				out.Lock()
				_, err := fmt.Fprintln(os.Stdout, lane, s.log.Size())
				out.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLogsReadWhileAppending: readers see logs as they were at some moment, whole.
func TestLogsReadWhileAppending(t *testing.T) {
	t.Parallel()
	l := openLogs(t, badgerkv.Small(t.TempDir()))
	s := newScribe(logOf("a", 0))
	s.send(t, l, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	read := func() error {
		head, err := l.Head(s.id)
		if err != nil {
			return err
		}
		if full := head.Full.Size; full > 0 {
			if _, err := l.Path(s.id, 0, full, sumtree.Node{}); err != nil {
				return err
			}
		}
		size := uint64(0)
		err = l.Objects(s.id, 0, func(i layer.Item, _ []byte) error {
			if i.First != size {
				return fmt.Errorf("entry %d follows %d", i.First, size)
			}
			size = i.End()
			return nil
		})
		// A piece that its segment has replaced is said to be gone.
		if err != nil && !errors.Is(err, layer.ErrNotKept) {
			return err
		}
		if err == nil && size < head.Root.Size {
			return fmt.Errorf("%d of %d entries are read", size, head.Root.Size)
		}
		return l.Verify(ctx, s.id, func(i layer.Item) error { return fmt.Errorf("%+v is lost", i) })
	}
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := read(); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 60 {
		s.send(t, l, []int{1, 100, 400}[n%3])
	}
	cancel()
	wg.Wait()
	s.checkKept(t, l)
}
