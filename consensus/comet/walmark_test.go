package comet_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// lines collects what is logged. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.data.Bytes(), []byte(text))
}

// A node that stops in its first height after block sync finds its votes again.
func TestVotesOfTheFirstHeightAfterBlockSync(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		torn bool // what the log ended with before block sync
	}{{name: "whole log"}, {name: "torn log", torn: true}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			const victim, observer = 3, 4
			n := newNetwork(t, "mark", 5)
			n.genesis.Validators = n.genesis.Validators[:observer]
			n.startAll(t)
			var sent int
			n.advance(t, 0, &sent)
			n.stop(t, victim)
			if row.torn {
				tear(t, filepath.Join(n.members[victim].dir, "chain", "wal", "wal"))
			}
			n.stop(t, observer)
			for range 3 {
				n.advance(t, 0, &sent)
			}
			eventually(t, hangs, "there is nothing to do", func() bool {
				first, _, idle := comet.OwnPrevote(n.members[0].chain)
				for _, m := range n.members[1:victim] {
					height, _, also := comet.OwnPrevote(m.chain)
					idle = idle && also && height == first
				}
				return idle
			})

			// Those with the last block vanish while it fetches the one before, and the
			// observer has less, so that it believes to have caught up.
			height := n.members[0].chain.LatestHeight()
			there, release := make(chan struct{}), make(chan struct{})
			n.members[victim].app.setOnBlock(func(b comet.Block) error {
				if b.Height == height-1 {
					close(there)
					<-release
				}
				return nil
			})
			n.restart(t, victim)
			<-there
			for i := range victim {
				n.stop(t, i)
			}
			n.restart(t, observer)
			close(release)
			eventually(t, hangs, "it has voted", func() bool {
				at, voted, _ := comet.OwnPrevote(n.members[victim].chain)
				return voted && at == height
			})
			n.stop(t, victim)
			n.members[victim].app.setOnBlock(nil)

			out := &lines{}
			n.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			n.restart(t, victim)
			n.log = nil
			eventually(t, hangs, "the log was read", func() bool {
				return out.has("Replay: Done") || out.has("error on catchup replay")
			})
			if out.has("error on catchup replay") || out.has("cannot replay height") {
				t.Error("the votes of the first height are not in the log")
			}
			if at, voted, _ := comet.OwnPrevote(n.members[victim].chain); at != height || !voted {
				t.Errorf("at height %d it has forgotten its vote at %d", at, height)
			}
			for i := range victim {
				n.restart(t, i)
			}
			n.members[victim].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == sent })
			n.waitReady(t, 0)
			n.advance(t, 0, &sent)
			n.members[victim].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == sent })
			if out.has("conflicting data") {
				t.Error("it was about to sign twice")
			}
		})
	}
}

// tear leaves half a line at the end of a log.
func tear(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, data[:20]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A consensus log that cannot be written halts its chain when block sync is over, and not
// the process.
func TestConsensusLogThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "nolog", 4)
	n.startAll(t)
	var sent int
	n.advance(t, 0, &sent)
	n.stop(t, 3)
	wal := filepath.Join(n.members[3].dir, "chain", "wal")
	if err := errors.Join(os.RemoveAll(wal), os.WriteFile(wal, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n.restart(t, 3)
	eventually(t, hangs, "it halts", func() bool { return n.members[3].chain.Status().Halt != nil })
	if r := n.members[3].chain.Status().Halt.Reason; !strings.Contains(r, wal) {
		t.Errorf("reason %q", r)
	}
	n.advance(t, 0, &sent)
	n.stop(t, 3)
	if err := os.Remove(wal); err != nil {
		t.Fatal(err)
	}
	n.restart(t, 3)
	n.members[3].app.waitFor(t, hangs, func(txs int, _ uint64) bool { return txs == sent })
	n.waitReady(t, 3)
	n.advance(t, 3, &sent)
}
