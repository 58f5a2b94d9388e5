package comet

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/node"
)

const (
	// walKeepFiles is how many rotated files of the consensus log stay in any
	// case, 10 MB each; walKeepHeights how many finished heights.
	walKeepFiles   = 2
	walKeepHeights = 2
)

// trimmer removes rotated files of the consensus log that hold only heights
// finished long ago. A restart reads the log from the last finished height on;
// CometBFT itself keeps a gigabyte for each chain, which cannot be set.
type trimmer struct {
	head string // path of the file being written; rotated ones are head.000 and so on
	seen []seenFile
}

// seenFile says that all rotated files up to index were complete when height
// was finished.
type seenFile struct {
	height int64
	index  int
}

// trim removes what is not needed when height is finished. It is called every
// few seconds.
func (t *trimmer) trim(height int64) error {
	files, err := t.rotated()
	if err != nil || len(files) == 0 {
		return err
	}
	if n := len(t.seen); n == 0 || t.seen[n-1].height < height {
		t.seen = append(t.seen, seenFile{height, files[len(files)-1]})
	}
	old := -1
	for len(t.seen) > 0 && t.seen[0].height <= height-walKeepHeights {
		old = t.seen[0].index
		t.seen = t.seen[1:]
	}
	for _, index := range files[:max(0, len(files)-walKeepFiles)] {
		if index > old {
			return nil
		}
		if err := os.Remove(t.path(index)); err != nil {
			return err
		}
	}
	return nil
}

// rotated lists the rotated files, ascending.
func (t *trimmer) rotated() ([]int, error) {
	names, err := filepath.Glob(t.head + ".*")
	if err != nil {
		return nil, err
	}
	var files []int
	for _, name := range names {
		index, err := strconv.Atoi(strings.TrimPrefix(name, t.head+"."))
		if err == nil && t.path(index) == name {
			files = append(files, index)
		}
	}
	slices.Sort(files)
	return files, nil
}

// path is the file of an index, as CometBFT names it.
func (t *trimmer) path(index int) string {
	digits := strconv.Itoa(index)
	return t.head + "." + strings.Repeat("0", max(0, 3-len(digits))) + digits
}

// walTimeout bounds how long the end of the consensus log is waited for.
const walTimeout = 5 * time.Second

// closeLog ends what CometBFT leaves running of its consensus log: it closes the file and
// not the object that keeps it, which then closes the file again every second, for ever,
// and waits for a signal. Nothing exported leads to that object; if a version of CometBFT
// keeps it elsewhere, it is left as it is.
func closeLog(n *node.Node) {
	state := private[*consensus.State](n, "consensusState")
	if state == nil || *state == nil {
		return
	}
	log := private[consensus.WAL](*state, "wal")
	if log == nil {
		return
	}
	file, ok := (*log).(*consensus.BaseWAL)
	if !ok {
		return // it was not opened
	}
	select {
	case <-file.Quit():
	case <-time.After(walTimeout):
		return // it is still written to
	}
	_ = closeHead(file.Group()) // what was written is synced
}

// private returns the field of a struct with a name that is not exported, or nil if it
// has none of that type.
func private[T any](of any, name string) *T {
	field := reflect.ValueOf(of).Elem().FieldByName(name)
	if !field.IsValid() || field.Type() != reflect.TypeFor[T]() {
		return nil
	}
	return (*T)(field.Addr().UnsafePointer())
}
