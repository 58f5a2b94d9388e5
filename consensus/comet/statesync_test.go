package comet_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// memSnapshots are the snapshots of a memApp: its state in chunks of 16 bytes,
// each with its hash in the metadata.
type memSnapshots struct {
	every uint64
	lie   func(chunk []byte) []byte // what is sent instead of a chunk
	forge func(*comet.Snapshot)     // what is offered instead of a snapshot

	mu    sync.Mutex
	made  map[uint64][]byte // state by height
	asked int               // chunks given away

	offered comet.Snapshot // being taken
	taken   []byte
	refused int // offers that were malformed
	want    []byte
}

const memChunk = 16

var _ comet.Snapshotter = (*memApp)(nil)

// make makes a snapshot of a, whose lock is held, if it is time.
func (s *memSnapshots) make(a *memApp) {
	if s == nil || s.every == 0 || a.height%s.every != 0 {
		return
	}
	state := binary.BigEndian.AppendUint64(nil, a.height)
	state = binary.BigEndian.AppendUint64(state, uint64(a.txs))
	state = append(state, a.hash[:]...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = make(map[uint64][]byte)
	}
	s.made[a.height] = state
	delete(s.made, a.height-5*s.every)
}

func (a *memApp) Snapshots() []comet.Snapshot {
	if a.snaps == nil {
		return nil
	}
	a.snaps.mu.Lock()
	defer a.snaps.mu.Unlock()
	var list []comet.Snapshot
	for height, state := range a.snaps.made {
		m := comet.Snapshot{Height: height, Format: 1}
		for chunk := range slices.Chunk(state, memChunk) {
			sum := sha256.Sum256(chunk)
			m.Metadata = append(m.Metadata, sum[:]...)
			m.Chunks++
		}
		sum := sha256.Sum256(m.Metadata)
		m.Hash = sum[:]
		if a.snaps.forge != nil {
			a.snaps.forge(&m)
		}
		list = append(list, m)
	}
	return list
}

func (a *memApp) SnapshotChunk(height uint64, _, index uint32) ([]byte, error) {
	a.snaps.mu.Lock()
	defer a.snaps.mu.Unlock()
	state := a.snaps.made[height]
	if int(index) >= len(state)/memChunk {
		return nil, errBoom
	}
	a.snaps.asked++
	chunk := bytes.Clone(state[index*memChunk : (index+1)*memChunk])
	if a.snaps.lie != nil {
		chunk = a.snaps.lie(chunk)
	}
	return chunk, nil
}

func (a *memApp) OfferSnapshot(m comet.Snapshot, appHash []byte) error {
	s := a.snaps
	if s == nil || m.Format != 1 || len(m.Metadata) != int(m.Chunks)*32 {
		if s != nil {
			s.refused++
		}
		return comet.ErrSnapshotRefused
	}
	s.offered, s.taken, s.want = m, nil, bytes.Clone(appHash)
	return nil
}

func (a *memApp) ApplySnapshotChunk(index uint32, chunk []byte) error {
	s := a.snaps
	sum := sha256.Sum256(chunk)
	if int(index) != len(s.taken)/memChunk || !bytes.Equal(sum[:], s.offered.Metadata[index*32:][:32]) {
		return fmt.Errorf("chunk %d: %w", index, comet.ErrChunkRefused)
	}
	s.taken = append(s.taken, chunk...)
	if len(s.taken) < int(s.offered.Chunks)*memChunk {
		return nil
	}
	if !bytes.Equal(s.taken[16:], s.want) {
		return fmt.Errorf("the whole: %w", comet.ErrSnapshotRefused)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.height, a.txs = binary.BigEndian.Uint64(s.taken), int(binary.BigEndian.Uint64(s.taken[8:]))
	copy(a.hash[:], s.taken[16:])
	return nil
}

// source is a member as somebody to ask for headers.
type source struct {
	m    *member
	fake func(header []byte) []byte
}

func (s source) String() string { return s.m.addr }

func (s source) LightBlock(_ context.Context, height uint64) (header, validators []byte, err error) {
	if height == 0 {
		height = s.m.chain.LatestHeight()
	}
	header, validators, err = s.m.chain.LightBlock(height)
	if err == nil && s.fake != nil {
		header = s.fake(header)
	}
	return header, validators, err
}

// stateSyncNetwork runs four validators that make a snapshot every forty blocks and
// keep five, and returns a fifth node that was not started.
func stateSyncNetwork(t *testing.T, name string) (nw *network, joiner *member) {
	t.Helper()
	nw = newNetwork(t, name, 5)
	nw.genesis.Validators = nw.genesis.Validators[:4]
	nw.config = func(c *comet.Config) { c.EmptyBlocks = true }
	for _, m := range nw.members {
		m.app.snaps = &memSnapshots{every: 40}
		m.app.retain = func(height uint64) uint64 { return max(height, 1001) - 1000 } // more than the snapshots need
	}
	for i := range 4 {
		nw.start(t, i)
	}
	for i := range 4 {
		nw.waitReady(t, i)
	}
	for i := range 10 {
		nw.broadcast(t, i%4, tx(i))
	}
	nw.members[0].app.waitFor(t, 60*time.Second, func(_ int, height uint64) bool { return height >= 90 })
	return nw, nw.members[4]
}

// join starts the fifth node with state sync and waits until it is live.
func (n *network) join(t *testing.T, how *comet.StateSync) {
	t.Helper()
	joiner := n.members[4]
	if how.SearchTime == 0 { // however slow the machine is, it is to be a snapshot
		how.SearchTime = 10 * hangs
	}
	n.config = func(c *comet.Config) { c.EmptyBlocks, c.StateSync = true, how }
	n.start(t, 4)
	eventually(t, 60*time.Second, "joining", func() bool { return !joiner.chain.Status().CatchingUp })
	n.config = func(c *comet.Config) { c.EmptyBlocks = true }
}

func TestStateSync(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync")
	// One of the four sends wrong chunks. It is asked for none any more, while
	// the others have what is missing.
	liar := nw.members[1]
	liar.app.snaps.lie = func(chunk []byte) []byte { chunk[0] ^= 1; return chunk }
	phases := make(map[comet.SyncPhase]bool)
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if c := joiner.chain; c != nil {
				phases[c.Status().Sync.Phase] = true
			}
		}
	}()
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}})
	_, height := joiner.app.count()
	nw.broadcast(t, 4, tx(1_000))
	joiner.app.waitFor(t, 20*time.Second, func(txs int, h uint64) bool { return txs == 11 && h > height+5 })
	close(stop)
	<-watched
	if !phases[comet.SyncSnapshot] {
		t.Error("the status never told of a snapshot")
	}
	s := joiner.chain.Status()
	if s.Sync.Phase != comet.SyncNone && s.CatchingUp {
		t.Errorf("status: %+v", s.Sync)
	}
	base := joiner.chain.Base()
	if base < 40 {
		t.Errorf("blocks are there from height %d on, so it was no snapshot", base)
	}
	for h := base; h < height; h++ {
		ours, err := joiner.chain.Block(h)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := nw.members[0].chain.Block(h)
		if err != nil || !bytes.Equal(ours.Hash, theirs.Hash) {
			t.Fatalf("block %d: %v", h, err)
		}
	}
	// Of before the snapshot it has what it fetched for evidence, which may come later.
	if got := nw.turnoutOf(t, 4); got.To < height-1 || got.Blocks() == 0 {
		t.Errorf("turnout of blocks %d to %d at height %d", got.From, got.To, height)
	}
	eventually(t, 60*time.Second, "turnout of what is fetched below the snapshot", func() bool {
		got := nw.turnoutOf(t, 4)
		return got.Blocks() == uint32(min(got.To, comet.TurnoutBlocks)) // From is above base if the machine was slow
	})
	if liar.app.snaps.asked > 1+4 { // four are fetched at a time
		t.Errorf("the liar was asked for %d chunks", liar.app.snaps.asked)
	}
	// A restart with the setting still there goes on from its blocks.
	nw.stop(t, 4)
	nw.config = func(c *comet.Config) {
		c.EmptyBlocks, c.StateSync = true, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}}
	}
	nw.restart(t, 4)
	_, height = joiner.app.count()
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
}

// TestStateSyncAfterACrash restores the application and then loses the process
// before CometBFT knows of it.
func TestStateSyncAfterACrash(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-crash")
	best := nw.restoreByHand(t)
	if err := nw.tryStart(t, 4); !errors.Is(err, comet.ErrApplicationAhead) {
		t.Errorf("without state sync: %v", err)
	}
	nw.reload(t, 4)
	trusted, err := nw.members[2].chain.Block(best.Height)
	if err != nil {
		t.Fatal(err)
	}
	nw.join(t, &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}}, TrustHeight: best.Height, TrustHash: trusted.Hash})
	_, height := joiner.app.count()
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > height+3 })
	if base := joiner.chain.Base(); base != best.Height+1 {
		t.Errorf("blocks from %d on, the snapshot was at %d", base, best.Height)
	}
}

// restoreByHand gives the application of the fifth node, which does not run, the
// newest snapshot of the first.
func (n *network) restoreByHand(t *testing.T) comet.Snapshot {
	t.Helper()
	joiner := n.members[4]
	from := n.members[0].app
	snaps := from.Snapshots()
	best := slices.MaxFunc(snaps, func(a, b comet.Snapshot) int { return int(a.Height) - int(b.Height) })
	next, err := n.members[0].chain.Block(best.Height + 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := joiner.app.OfferSnapshot(best, next.AppHash); err != nil {
		t.Fatal(err)
	}
	for i := range best.Chunks {
		chunk, err := from.SnapshotChunk(best.Height, 1, i)
		if err != nil {
			t.Fatal(err)
		}
		if err := joiner.app.ApplySnapshotChunk(i, chunk); err != nil {
			t.Fatal(err)
		}
	}
	return best
}

// TestStateSyncBeforeTheFirstBlock ends a node when CometBFT has the state of the
// snapshot and no block yet: it must start again, even if nobody is named any more
// whom to trust.
func TestStateSyncBeforeTheFirstBlock(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-firstblock")
	best := nw.restoreByHand(t)
	trusted, err := nw.members[2].chain.Block(best.Height)
	if err != nil {
		t.Fatal(err)
	}
	how := &comet.StateSync{Sources: []comet.LightSource{source{m: nw.members[0]}}, TrustHeight: best.Height, TrustHash: trusted.Hash}
	address := joiner.addr
	joiner.addr, joiner.passive = freeAddrs(t, 1)[0], true // no peers, so no blocks
	nw.config = func(c *comet.Config) { c.EmptyBlocks, c.StateSync = true, how }
	nw.start(t, 4)
	nw.stop(t, 4)
	if err := comet.LoseSeenCommit(joiner.store, best.Height); err != nil {
		t.Fatal(err)
	}
	nw.config = func(c *comet.Config) { c.EmptyBlocks = true }
	nw.reload(t, 4)
	if err := nw.tryStart(t, 4); err == nil || !strings.Contains(err.Error(), "whom to trust") {
		t.Errorf("without the commit and without state sync: %v", err)
	}
	nw.config = func(c *comet.Config) { c.EmptyBlocks, c.StateSync = true, how }
	nw.restart(t, 4)
	nw.stop(t, 4)
	joiner.addr, joiner.passive = address, false
	nw.config = func(c *comet.Config) { c.EmptyBlocks = true }
	nw.restart(t, 4)
	joiner.app.waitFor(t, 20*time.Second, func(_ int, h uint64) bool { return h > best.Height+3 })
	if base := joiner.chain.Base(); base != best.Height+1 {
		t.Errorf("blocks from %d on, the snapshot was at %d", base, best.Height)
	}
}

// TestStateSyncWhomToTrust wants a node not to start from headers that are not the
// chain's.
func TestStateSyncWhomToTrust(t *testing.T) {
	t.Parallel()
	nw, joiner := stateSyncNetwork(t, "statesync-trust")
	honest := []comet.LightSource{source{m: nw.members[0]}, source{m: nw.members[2]}}
	flip := func(header []byte) []byte { h := bytes.Clone(header); h[len(h)/2] ^= 1; return h }
	states := func(s comet.StateSync) error {
		_, err := joinState(t, nw, s, 60)
		return err
	}
	if err := states(comet.StateSync{Sources: honest}); err != nil {
		t.Errorf("honest sources: %v", err)
	}
	trusted, err := nw.members[3].chain.Block(60)
	if err != nil {
		t.Fatal(err)
	}
	if err := states(comet.StateSync{Sources: honest[:1], TrustHeight: 60, TrustHash: trusted.Hash}); err != nil {
		t.Errorf("one source and a trusted header: %v", err)
	}
	dead := absent{errBoom}
	for name, some := range map[string]comet.StateSync{
		"two of three":                 {Sources: []comet.LightSource{dead, honest[0], honest[1]}},
		"one of three, trusted header": {Sources: []comet.LightSource{dead, honest[1], dead}, TrustHeight: 60, TrustHash: trusted.Hash},
	} {
		if err := states(some); err != nil {
			t.Errorf("%s answer: %v", name, err)
		}
	}
	if err := states(comet.StateSync{Sources: []comet.LightSource{honest[0], dead, dead}}); err == nil {
		t.Error("one of three answers: no error")
	}
	for name, bad := range map[string]comet.StateSync{
		"a wrong trusted hash": {Sources: honest, TrustHeight: 60, TrustHash: make([]byte, 32)},
		"forged headers":       {Sources: []comet.LightSource{source{nw.members[0], flip}, source{nw.members[2], flip}}},
		"a liar and one that is honest": {
			Sources: []comet.LightSource{source{m: nw.members[0]}, source{nw.members[2], flip}},
		},
	} {
		if err := states(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, bad := range map[string]comet.StateSync{
		"no sources":     {},
		"one source":     {Sources: honest[:1]},
		"no trust hash":  {Sources: honest, TrustHeight: 5},
		"no height":      {Sources: honest, TrustHash: trusted.Hash},
		"short hash":     {Sources: honest, TrustHeight: 5, TrustHash: []byte{1}},
		"negative times": {Sources: honest, TrustPeriod: -1},
	} {
		c := comet.Config{Dir: t.TempDir(), ListenAddr: joiner.addr, StateSync: &bad}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "state sync") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// absent is a source that cannot be asked.
type absent struct{ err error }

func (absent) String() string { return "somebody:9090" }

func (a absent) LightBlock(context.Context, uint64) (header, validators []byte, err error) {
	return nil, nil, a.err
}

// TestStateSyncSaysWhatIsWrongWithSources wants a start to fail with the reason.
func TestStateSyncSaysWhatIsWrongWithSources(t *testing.T) {
	t.Parallel()
	nw, _ := stateSyncNetwork(t, "statesync-sources")
	honest := source{m: nw.members[0]}
	trusted, err := nw.members[3].chain.Block(60)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		how  comet.StateSync
		want []string
	}{
		"one that cannot be asked": {
			comet.StateSync{Sources: []comet.LightSource{honest, absent{errBoom}}},
			[]string{"1 of 2 sources answer, and 2 must", "source somebody:9090", "it cannot be asked", errBoom.Error()},
		},
		"two of four that cannot be asked": {
			comet.StateSync{Sources: []comet.LightSource{honest, absent{errBoom}, source{m: nw.members[2]}, absent{errBoom}}},
			[]string{"2 of 4 sources answer, and 3 must"},
		},
		"one that disagrees, of enough": {
			comet.StateSync{Sources: []comet.LightSource{honest, source{m: nw.members[1]}, source{nw.members[2], func([]byte) []byte { return []byte{1} }}}},
			[]string{nw.members[2].addr, "no header of chain"},
		},
		"one without blocks": {
			comet.StateSync{Sources: []comet.LightSource{honest, absent{comet.ErrNotFound}}}, []string{"somebody:9090", "no blocks yet"},
		},
		"one without the trusted header": {
			comet.StateSync{Sources: []comet.LightSource{absent{comet.ErrNotFound}}, TrustHeight: 60, TrustHash: trusted.Hash}, []string{"somebody:9090", "height 60"},
		},
		"another trusted header": {
			comet.StateSync{Sources: []comet.LightSource{honest}, TrustHeight: 61, TrustHash: trusted.Hash}, []string{honest.String(), "at height 61, not the trusted one"},
		},
		"garbage": {
			comet.StateSync{Sources: []comet.LightSource{honest, source{nw.members[2], func([]byte) []byte { return []byte{1} }}}}, []string{nw.members[2].addr, "no header of chain"},
		},
	} {
		nw.reload(t, 4)
		nw.config = func(c *comet.Config) { c.StateSync = &tt.how }
		err := nw.tryStart(t, 4)
		if err == nil {
			t.Fatalf("%s: the start succeeded", name)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
}

func joinState(t *testing.T, nw *network, s comet.StateSync, height uint64) (appHash []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	return comet.TrustedState(ctx, s, nw.genesis, height)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	p, now := comet.NewProgress(), time.Unix(1_000, 0)
	if s := p.Look(now, comet.SyncSnapshot, 0, 0); s.Stalled || s.TimeLeft != 0 {
		t.Errorf("at first: %+v", s)
	}
	if s := p.Look(now.Add(31*time.Second), comet.SyncSnapshot, 0, 900); !s.Stalled || s.Idle != 31*time.Second {
		t.Errorf("nothing for 31 s: %+v", s)
	}
	p.Snapshot(500, 1, 4)
	if s := p.Look(now.Add(32*time.Second), comet.SyncSnapshot, 0, 900); s.Stalled || s.Chunks != 1 || s.TotalChunks != 4 || s.Height != 500 {
		t.Errorf("after a chunk: %+v", s)
	}
	var s comet.SyncStatus
	for i := range 100 {
		s = p.Look(now.Add(time.Duration(40+i)*time.Second), comet.SyncBlocks, uint64(500+20*i), 10_000)
	}
	if s.BlocksPerSecond < 19 || s.BlocksPerSecond > 21 || s.Stalled {
		t.Errorf("20 blocks a second: %+v", s)
	}
	if want := time.Duration(10_000-500-20*99) * time.Second / 20; s.TimeLeft < want*9/10 || s.TimeLeft > want*11/10 {
		t.Errorf("time left %v, want about %v", s.TimeLeft, want)
	}
	if s = p.Look(now.Add(200*time.Second), comet.SyncNone, 10_000, 10_000); s.Stalled || s.Phase != comet.SyncNone || s.TimeLeft != 0 || s.Idle != 0 {
		t.Errorf("at the end: %+v", s)
	}
}
