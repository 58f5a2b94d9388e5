package badgerkv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

// TestRemovePrefix: what begins with a prefix goes, in pieces and for good, the rest stays,
// and the disk gets smaller.
func TestRemovePrefix(t *testing.T) {
	t.Parallel()
	o := badgerkv.Small(t.TempDir())
	s, err := badgerkv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 20_000
	random := rand.NewChaCha8([32]byte{})
	value := make([]byte, 1_000)
	for i := 0; i < rows; i += 200 {
		b := s.NewBatch()
		for k := i; k < i+200; k++ {
			_, _ = random.Read(value)
			for _, prefix := range []string{"s1/", "s2/", "s20/"} {
				if err := b.Set(fmt.Appendf(nil, "%s%08d", prefix, k*7919%rows), value); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	before, errBefore := s.Size()
	mine, errMine := s.SizeOf([]byte("s2/"))
	if errBefore != nil || errMine != nil || mine < rows*200 || mine > rows*1_200 {
		t.Errorf("%d bytes are estimated for %d, in %d: %v, %v", mine, rows*1_000, before.Tables, errBefore, errMine)
	}
	steps := 0
	if err := s.RemovePrefix([]byte("s2/"), func() bool { steps++; return steps <= 3 }); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "s2/"); n == 0 || n == rows {
		t.Errorf("%d of %d rows are there after three steps", n, rows)
	}
	if err := s.RemovePrefix([]byte("s2/"), func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	after, err := s.Size()
	if err != nil || after.Tables > before.Tables*3/4 {
		t.Errorf("the tables take %d bytes, %d before a third went: %v", after.Tables, before.Tables, err)
	}
	t.Logf("tables: %d KiB, %d KiB after a third was removed, %d KiB of it by estimate", before.Tables>>10, after.Tables>>10, mine>>10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerkv.Open(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for prefix, want := range map[string]int{"s1/": rows, "s2/": 0, "s20/": rows} {
		if n := count(t, s, prefix); n != want {
			t.Errorf("%d rows of %s are there, want %d", n, prefix, want)
		}
	}
}

func count(t *testing.T, s kv.Store, prefix string) (n int) {
	t.Helper()
	it := s.Iterate([]byte(prefix), kv.PrefixEnd([]byte(prefix)), false)
	for it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestValuesAreGivenBack: long values that were deleted leave the disk also when the store is so
// young that badger compacts nothing by itself, and those that are left are there.
func TestValuesAreGivenBack(t *testing.T) {
	t.Parallel()
	o := badgerkv.Small(t.TempDir())
	o.ValueLogFileSize = 1 << 20
	s, err := badgerkv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 400
	value := make([]byte, 20_000)
	random := rand.NewChaCha8([32]byte{1})
	write := func(i int, v []byte) {
		t.Helper()
		b := s.NewBatch()
		err := b.Delete(fmt.Appendf(nil, "%04d", i))
		if v != nil {
			err = b.Set(fmt.Appendf(nil, "%04d", i), v)
		}
		if err := errors.Join(err, b.Commit(true)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range rows {
		_, _ = random.Read(value)
		write(i, append(fmt.Appendf(nil, "%d ", i), value...))
	}
	if files := badgerkv.ValueFiles(s); files < 7 {
		t.Errorf("%d files of the value log are known to be durable", files)
	}
	before, err := s.Size()
	if err != nil || before.Tables != 0 {
		t.Fatalf("the store is not young: %+v, %v", before, err)
	}
	for i := range rows {
		if i%5 != 0 {
			write(i, nil)
		}
	}
	if err := s.CompactAll(); err != nil {
		t.Fatal(err)
	}
	files := 0
	for more := true; more; files++ {
		if more, err = s.CollectGarbage(0.5); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.Size()
	if err != nil || after.ValueLog > before.ValueLog/2 || files < 4 {
		t.Errorf("the value log takes %d bytes, %d before four fifths went, after %d rewrites; %v", after.ValueLog, before.ValueLog, files, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerkv.Open(o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range rows {
		got, err := s.Get(fmt.Appendf(nil, "%04d", i))
		if err != nil || (got != nil) != (i%5 == 0) || got != nil && !strings.HasPrefix(string(got), fmt.Sprintf("%d ", i)) {
			t.Fatalf("value %d has %d bytes, %v", i, len(got), err)
		}
	}
}
