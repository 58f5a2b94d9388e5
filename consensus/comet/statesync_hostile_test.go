package comet_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestStateSyncHostilePeers joins where two of four peers offer newer snapshots than
// the others: one made them up so that they fit their descriptions, the other's
// descriptions are malformed. One false snapshot of each is enough.
func TestStateSyncHostilePeers(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-hostile")
	forger, garbler := nw.members[1].app.snaps, nw.members[3].app.snaps
	for i, s := range []*memSnapshots{forger, garbler} {
		s.mu.Lock()
		for h := uint64(81); h < 89; h++ {
			s.made[h] = append(binary.BigEndian.AppendUint64(nil, h), make([]byte, 40)...)
			s.made[h][20] = byte(i)
		}
		s.mu.Unlock()
	}
	garbler.forge = func(m *comet.Snapshot) { m.Metadata = m.Metadata[1:] }
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}})
	_, height := joiner.app.count()
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
	forger.mu.Lock()
	defer forger.mu.Unlock()
	if forger.asked > 3+4 { // a snapshot has three chunks, four are fetched at a time
		t.Errorf("the forger was asked for %d chunks", forger.asked)
	}
	if joiner.app.snaps.refused > 1 {
		t.Errorf("%d malformed snapshots were looked at", joiner.app.snaps.refused)
	}
}

func TestOffers(t *testing.T) {
	t.Parallel()
	o := comet.NewOffers()
	offer := func(peer string, height uint64, n byte, want bool) {
		t.Helper()
		if got := o.Offer(peer, height, n); got != want {
			t.Errorf("%s offers %d/%d: %v", peer, height, n, got)
		}
	}
	begin := func(height uint64, n byte, want bool) {
		t.Helper()
		if got := o.Begin(height, n); got != want {
			t.Errorf("begin %d/%d: %v", height, n, got)
		}
	}
	offer("honest", 40, 0, true)
	// Snapshots of which no chunk ever comes: three, and no more.
	for n := range byte(5) {
		offer("mute", 50, n, true)
	}
	begin(50, 0, true)
	if !o.MayGive("mute") || o.MayGive("honest") || o.MayGive("stranger") {
		t.Error("chunks of those who did not offer the snapshot")
	}
	begin(50, 1, true)
	begin(50, 2, true)
	begin(50, 3, false)
	offer("mute", 60, 0, false)
	// Heights that nobody knows.
	offer("boaster", 1_000, 0, true)
	offer("boaster", 1_001, 0, true)
	for range 3 {
		if !o.Any(1_000) {
			t.Error("given up early")
		}
		o.Unknown(1_000)
	}
	if o.Any(1_001) {
		t.Error("the boaster is still believed")
	}
	// One that is false.
	offer("liar", 45, 0, true)
	offer("liar", 44, 0, true)
	begin(45, 0, true)
	if got := o.Refuse(); !slices.Equal(got, []string{"liar"}) {
		t.Errorf("refused are %v", got)
	}
	begin(44, 0, false)
	// No more than enough.
	for n := range byte(64) {
		offer("chatty", 30, n, true)
	}
	offer("chatty", 30, 64, false)
	offer("chatty", 30, 63, true)
	begin(40, 0, true)
	if !o.MayGive("honest") {
		t.Error("the honest one is not believed")
	}
}

// TestWrongChunk gives a chunk that is not the one described: it is fetched again, and
// whoever sent it gives none any more, of this snapshot or another.
func TestWrongChunk(t *testing.T) {
	t.Parallel()
	giver, app, o := newMemApp(), newMemApp(), comet.NewOffers()
	giver.snaps, giver.height, app.snaps = &memSnapshots{every: 1}, 7, &memSnapshots{}
	giver.snaps.make(giver)
	m := giver.Snapshots()[0]
	if err := app.OfferSnapshot(m, giver.hash[:]); err != nil {
		t.Fatal(err)
	}
	for _, peer := range []string{"liar", "honest"} {
		o.Offer(peer, 7, 0)
		o.Offer(peer, 8, 0)
	}
	if !o.Begin(7, 0) || !o.MayGive("liar") {
		t.Fatal("the snapshot is not tried, or not with everybody who has it")
	}
	chunk, err := giver.SnapshotChunk(7, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(chunk)
	wrong[0] ^= 1
	refetch, reject, err := o.ApplyChunk(app, 0, wrong, "liar")
	if err != nil || !slices.Equal(refetch, []uint32{0}) || !slices.Equal(reject, []string{"liar"}) {
		t.Errorf("a wrong chunk: fetched again %d, not asked again %v, %v", refetch, reject, err)
	}
	if refetch, reject, err = o.ApplyChunk(app, 0, chunk, "honest"); err != nil || refetch != nil || reject != nil {
		t.Errorf("the right one: %d, %v, %v", refetch, reject, err)
	}
	for _, height := range []uint64{7, 8} {
		if !o.Begin(height, 0) || o.MayGive("liar") || !o.MayGive("honest") {
			t.Errorf("snapshot of height %d: may give: the liar %v, the honest one %v", height, o.MayGive("liar"), o.MayGive("honest"))
		}
	}
}

// TestStateSyncTrustPeriod joins a chain that has been idle for longer than the
// trust period, but not with a header that is older than that on the chain's clock; and
// not if one source alone says that it idled, which may be the last header of a fork.
func TestStateSyncTrustPeriod(t *testing.T) {
	t.Parallel()
	nw, _ := stateSyncNetwork(t, "statesync-period")
	for i := range 4 {
		m := nw.members[i]
		eventually(t, 20*time.Second, "height 90", func() bool { return m.chain.LatestHeight() >= 90 })
	}
	early, late := header(t, nw, 5), header(t, nw, 75)
	span := nwTime(t, nw, 80).Sub(nwTime(t, nw, 75))
	// The sources know the first eighty blocks, and are silent about later ones.
	idle := []comet.LightSource{idleSource{source{m: nw.members[0]}, 80}, idleSource{source{m: nw.members[2]}, 80}}
	until := comet.StateSync{Sources: idle, TrustPeriod: span + 1} // over since block 81
	until.TrustHeight, until.TrustHash = 75, late
	if _, err := joinState(t, nw, until, 78); err != nil {
		t.Errorf("an idle chain: %v", err)
	}
	until.TrustHeight, until.TrustHash = 5, early
	if _, err := joinState(t, nw, until, 78); err == nil || !strings.Contains(err.Error(), "give the height and hash of a newer one") {
		t.Errorf("a trusted header of long ago: %v", err)
	}

	until.TrustHeight, until.TrustHash, until.Sources = 75, late, idle[:1]
	for _, away := range [][]comet.LightSource{idle[:1], {idle[0], absent{errBoom}}} {
		until.Sources = away
		if _, err := joinState(t, nw, until, 78); err == nil || !strings.Contains(err.Error(), "trust_idle") || !strings.Contains(err.Error(), "this node's clock") {
			t.Errorf("one source of %d answers, that the chain idles: %v", len(away), err)
		}
	}
	until.TrustIdle = true
	if _, err := joinState(t, nw, until, 78); err != nil {
		t.Errorf("one source, and the operator says that the chain idles: %v", err)
	}
	until.TrustHeight, until.TrustHash = 5, early
	if _, err := joinState(t, nw, until, 78); err == nil || !strings.Contains(err.Error(), "the chain went on") {
		t.Errorf("a trusted header of long ago, and the operator says that the chain idles: %v", err)
	}
	// One that lies about it, and one that does not.
	until = comet.StateSync{Sources: []comet.LightSource{idle[0], source{m: nw.members[2]}}, TrustPeriod: span + 1, TrustHeight: 75, TrustHash: late}
	if _, err := joinState(t, nw, until, 78); err == nil || !strings.Contains(err.Error(), "the chain went on") {
		t.Errorf("one of two sources says that the chain idles: %v", err)
	}
}

func header(t *testing.T, nw *network, height uint64) []byte {
	t.Helper()
	b, err := nw.members[0].chain.Block(height)
	if err != nil {
		t.Fatal(err)
	}
	return b.Hash
}

func nwTime(t *testing.T, nw *network, height uint64) time.Time {
	t.Helper()
	b, err := nw.members[0].chain.Block(height)
	if err != nil {
		t.Fatal(err)
	}
	return b.Time
}

// idleSource is a source of a chain whose last block is at a height.
type idleSource struct {
	source
	last uint64
}

func (s idleSource) LightBlock(ctx context.Context, height uint64) (header, validators []byte, err error) {
	if height > s.last {
		return nil, nil, comet.ErrNotFound
	}
	if height == 0 {
		height = s.last
	}
	return s.source.LightBlock(ctx, height)
}
