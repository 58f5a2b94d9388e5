package comet_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	dbm "github.com/cometbft/cometbft-db"
	cmtstore "github.com/cometbft/cometbft/proto/tendermint/store"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

const (
	prunerEnv   = "COMET_TEST_PRUNER" // directory of the process that is killed
	prunerKeep  = 100
	prunerParts = 3
	prunerSize  = 64 << 10
)

// openPruner opens the stores that TestPruneIsKilled and its victim share.
func openPruner(tb tester, dir string) (db dbm.DB, base, height int, closeAll func()) {
	tb.Helper()
	store, err := badgerkv.Open(badgerkv.Small(filepath.Join(dir, "db")))
	if err != nil {
		tb.Fatal(err)
	}
	db, closeFiles := comet.NewBlockDatabase(kv.Prefixed(store, []byte("c/")), filepath.Join(dir, "blocks"))
	var record cmtstore.BlockStoreState
	raw, err := db.Get([]byte("blockStore"))
	if err != nil {
		tb.Fatal(err)
	}
	if err := record.Unmarshal(raw); err != nil {
		tb.Fatal(err)
	}
	return db, max(1, int(record.Base)), int(record.Height), func() {
		closeFiles()
		if err := store.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	}
}

// grow saves blocks and drops old ones, as CometBFT does, up to height.
func grow(tb tester, db dbm.DB, base, from, to int, saved func(height int)) {
	tb.Helper()
	for h := from + 1; h <= to; h++ {
		saveBlock(tb, db, base, h, prunerParts, prunerSize)
		saved(h)
		if h-base < prunerKeep+10 {
			continue
		}
		batch := db.NewBatch()
		for ; base < h-prunerKeep; base++ {
			for i := range prunerParts {
				if err := batch.Delete(partKey(base, i)); err != nil {
					tb.Fatal(err)
				}
			}
		}
		record(tb, batch, base, h)
	}
}

// onDisk returns the bytes that the files below dir really take.
func onDisk(tb testing.TB, dir string) int64 {
	tb.Helper()
	var total int64
	if err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			tb.Skipf("%T tells no blocks on disk on this system", info.Sys())
		}
		total += stat.Blocks * 512
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return total
}

// TestDiskStopsGrowing saves ten times what is kept: what the directory really
// takes on disk stays near that.
func TestDiskStopsGrowing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, base, height, closeAll := openPruner(t, dir)
	defer closeAll()
	var most int64
	grow(t, db, base, height, 10*prunerKeep, func(h int) {
		if h > 3*prunerKeep && h%50 == 0 {
			most = max(most, onDisk(t, dir))
		}
	})
	kept := int64(prunerKeep+10+comet.BlockFileHeights) * prunerParts * prunerSize
	t.Logf("at most %d MiB on disk, %d MiB are kept", most>>20, kept>>20)
	if most > kept+8<<20 {
		t.Errorf("%d bytes on disk, want at most %d", most, kept)
	}
}

// runPruner is the victim of TestPruneIsKilled.
func runPruner(dir string) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case prunerFailedError:
			err = r
		default:
			panic(r)
		}
	}()
	db, base, height, closeAll := openPruner(victim{}, dir)
	defer closeAll()
	grow(victim{}, db, base, height, height+100_000, func(h int) { fmt.Println("block", h) })
	return nil
}

// victim is the tester of a process that is no test.
type victim struct{}

type prunerFailedError string

func (p prunerFailedError) Error() string { return "pruner: " + string(p) }

func (victim) Helper()           {}
func (victim) Fatal(args ...any) { panic(prunerFailedError(fmt.Sprint(args...))) }
func (victim) Errorf(format string, args ...any) {
	panic(prunerFailedError(fmt.Sprintf(format, args...)))
}

// TestPruneIsKilled kills a process that saves and drops blocks at some moment, and
// looks for every block that the record says is there.
func TestPruneIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 6 {
		victim := exec.CommandContext(t.Context(), os.Args[0])
		victim.Env = append(os.Environ(), prunerEnv+"="+dir)
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		lines, seen := bufio.NewScanner(out), 0
		for lines.Scan() {
			if bytes.HasPrefix(lines.Bytes(), []byte("block")) {
				if seen++; seen == 130+37*round {
					break
				}
			}
		}
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = victim.Wait() // it was killed
		db, base, height, closeAll := openPruner(t, dir)
		if height < seen || height-base < prunerKeep-1 {
			t.Errorf("round %d: blocks %d to %d after %d were saved", round, base, height, seen)
		}
		for h := base; h <= height; h++ {
			for i := range prunerParts {
				wantPart(t, db, partKey(h, i), part(h, i, prunerSize))
			}
		}
		closeAll()
	}
}
