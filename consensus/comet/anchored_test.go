package comet_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// away is a source that cannot be asked.
type away struct{}

func (away) String() string { return "away" }

func (away) LightBlock(context.Context, uint64) (header, validators []byte, err error) {
	return nil, nil, errors.New("no route")
}

// late is a source that tells the truth about the trusted header only.
type late struct {
	source

	trusted uint64
}

func (l late) LightBlock(ctx context.Context, height uint64) (header, validators []byte, err error) {
	if height == l.trusted {
		return l.source.LightBlock(ctx, height)
	}
	return l.source.LightBlock(ctx, height+1)
}

// A header that another chain vouches for leads to the snapshots below it, whatever the
// sources say that have another one, or others below it.
func TestStateSyncAnchored(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "anchored")
	at := nw.members[2].chain.LatestHeight()
	trusted, err := nw.members[2].chain.Block(at)
	if err != nil {
		t.Fatal(err)
	}
	other, err := nw.members[2].chain.Block(at - 1)
	if err != nil {
		t.Fatal(err)
	}
	truth := source{m: nw.members[0]}
	forger := source{m: nw.members[1], fake: func(header []byte) []byte { header[len(header)/2] ^= 1; return header }}
	nw.join(t, &comet.StateSync{
		Sources:     []comet.LightSource{forger, away{}, late{truth, at}, truth},
		TrustHeight: at, TrustHash: trusted.Hash, Anchored: true, Few: 20,
	})
	_, height := joiner.app.count()
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
	if base := joiner.chain.Base(); base < 40 {
		t.Errorf("blocks are there from height %d on, so it was no snapshot", base)
	}
	if joiner.chain.Stranded() {
		t.Error("a node that has caught up is stranded")
	}

	// The hash counts, and not how many have another.
	nw.stop(t, 4)
	nw.wipe(t, 4)
	nw.config = func(c *comet.Config) {
		c.EmptyBlocks, c.StateSync = true, &comet.StateSync{
			Sources: []comet.LightSource{truth}, TrustHeight: at, TrustHash: other.Hash, Anchored: true, Only: true,
		}
	}
	if err := nw.tryStart(t, 4); err == nil {
		t.Error("a header that nobody has is trusted")
	}
}

// All blocks of a short chain are fetched, and those of any if nobody tells headers.
func TestStateSyncFew(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "few")
	at := nw.members[2].chain.LatestHeight()
	trusted, err := nw.members[2].chain.Block(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		sources []comet.LightSource
		few     uint64
	}{
		{"few", []comet.LightSource{source{m: nw.members[0]}}, 1_000_000},
		{"nobody tells", []comet.LightSource{away{}}, 0},
	} {
		nw.join(t, &comet.StateSync{Sources: row.sources, TrustHeight: at, TrustHash: trusted.Hash, Anchored: true, Few: row.few})
		_, height := joiner.app.count()
		joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
		if base := joiner.chain.Base(); base != 1 {
			t.Errorf("%s: blocks are there from height %d on", row.name, base)
		}
		nw.stop(t, 4)
		nw.wipe(t, 4)
	}
}

// wipe removes all but the keys of a member that does not run.
func (n *network) wipe(t *testing.T, i int) {
	t.Helper()
	m := n.members[i]
	if err := os.RemoveAll(filepath.Join(m.dir, "chain")); err != nil {
		t.Fatal(err)
	}
	m.store, m.app = newStore(t), newMemApp()
	m.app.snaps = &memSnapshots{}
	n.reload(t, i)
}
