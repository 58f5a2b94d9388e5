package comet_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// atTx runs f when a block holds want.
func atTx(want []byte, f func() error) func(comet.Block) error {
	return func(b comet.Block) error {
		for _, tx := range b.Txs {
			if string(tx) == string(want) {
				return f()
			}
		}
		return nil
	}
}

func TestApplicationFailureHaltsOneChain(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "halt", 4)
	other := newNetwork(t, "other", 1)
	n.startAll(t)
	other.startAll(t)

	n.members[0].app.setOnBlock(atTx(tx(1), func() error { panic("first line\nsecond line") }))
	n.broadcast(t, 1, tx(1))
	for i := 1; i < 4; i++ {
		n.members[i].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
	}
	eventually(t, 5*time.Second, "member 0 halted", func() bool { return n.members[0].chain.Status().Halt != nil })
	halt := n.members[0].chain.Status().Halt
	if halt.Reason != "finalize: panic: first line" || halt.Cause != comet.HaltApplication || halt.Height != 2 {
		t.Errorf("halt = %+v", halt)
	}
	if ok, reason := n.healthy(0); ok || !strings.Contains(reason, "first line") {
		t.Errorf("health of the halted member = %v, %q", ok, reason)
	}
	if err := n.members[0].chain.Broadcast(tx(2)); !errors.Is(err, comet.ErrHalted) {
		t.Errorf("Broadcast on the halted member = %v", err)
	}
	if b, err := n.members[0].chain.Block(1); err != nil || b.Height != 1 {
		t.Errorf("blocks of a halted chain stay readable: %+v, %v", b, err)
	}
	// Three of four go on, and say that one is missing.
	n.broadcast(t, 1, tx(2))
	for i := 1; i < 4; i++ {
		n.members[i].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 2 })
		eventually(t, 5*time.Second, "less power", func() bool {
			s := n.members[i].chain.Status()
			return s.ConnectedPower == 30 && s.TotalPower == 40
		})
		if ok, reason := n.healthy(i); !ok {
			t.Errorf("member %d: %s", i, reason)
		}
	}
	// All of them fail: the chain stands, the process and the other chain live.
	for i := 1; i < 4; i++ {
		n.members[i].app.setOnBlock(atTx(tx(3), func() error { return errBoom }))
	}
	n.broadcast(t, 1, tx(3))
	for i := 1; i < 4; i++ {
		eventually(t, 10*time.Second, "all halted", func() bool { return n.members[i].chain.Status().Halt != nil })
		if r := n.members[i].chain.Status().Halt.Reason; r != "finalize: boom" {
			t.Errorf("member %d: reason %q", i, r)
		}
	}
	other.broadcast(t, 0, tx(9))
	other.members[0].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == 1 })

	// The block that fails is stored, so a restart meets it in the handshake.
	n.stop(t, 1)
	n.reload(t, 1)
	err := n.tryStart(t, 1)
	var h *comet.HaltError
	if !errors.As(err, &h) || h.Reason != "finalize: boom" {
		t.Errorf("start of a chain whose next block fails = %v", err)
	}
	// Once the application is mended, it goes on.
	for i := range 4 {
		n.members[i].app.setOnBlock(nil)
		n.stop(t, i)
		n.restart(t, i)
	}
	for i := range 4 {
		n.members[i].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs == 3 })
	}
}

// TestDifferingStateHalts lets one application come to another state than the
// others: in the round in which they vote, and when it fetches old blocks.
func TestDifferingStateHalts(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "differs", 4)
	n.members[3].app.light = true // it hashes but the beginning of transactions
	n.startAll(t)
	for i := range 3 {
		n.broadcast(t, 0, append(make([]byte, 8), byte(i)))
		n.members[0].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == i+1 })
	}
	for _, when := range []string{"voting", "fetching blocks"} {
		eventually(t, 10*time.Second, "halted", func() bool { return n.members[3].chain.Status().Halt != nil })
		halt := n.members[3].chain.Status().Halt
		t.Log(halt)
		if halt.Cause != comet.HaltAppHash {
			t.Errorf("%s: halt %+v, want cause %d", when, halt, comet.HaltAppHash)
		}
		if when == "voting" {
			n.stop(t, 3)
			n.members[3].store, n.members[3].app = newStore(t), newMemApp()
			n.members[3].app.light = true
			n.restart(t, 3)
		}
	}
}

func TestEngineFailures(t *testing.T) {
	t.Parallel()
	const other = "wrong Block.Header.AppHash.  Expected AB, got CD"
	for _, test := range []struct {
		name, msg, text string
		cause           comet.HaltCause
		reason          string
		halts           bool
	}{
		{"other state when voting", "CONSENSUS FAILURE!!!", "+2/3 committed an invalid block: " + other, comet.HaltAppHash, "consensus failure: +2/3 committed an invalid block: " + other, true},
		{"other failure", "CONSENSUS FAILURE!!!", "AppHash of nothing", comet.HaltConsensus, "consensus failure: AppHash of nothing", true},
		{"other state when fetching", "Error in validation", other, comet.HaltAppHash, "state differs from the network's: " + other, true},
		{"a bad block of a peer", "Error in validation", "wrong signature", 0, "", false},
		{"anything", "Stopping peer for error", other, 0, "", false},
	} {
		cause, reason, halts := comet.EngineFailure(test.msg, test.text)
		if cause != test.cause || reason != test.reason || halts != test.halts {
			t.Errorf("%s: %d, %q, %v, want %d, %q, %v", test.name, cause, reason, halts, test.cause, test.reason, test.halts)
		}
	}
}

func TestRestartAndReplay(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "replay", 4)
	n.startAll(t)
	for i := range 5 {
		n.broadcast(t, 0, tx(i))
		n.members[0].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == i+1 })
	}
	n.stop(t, 3)
	n.broadcast(t, 0, tx(5))
	n.members[0].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 6 })

	// The application lost everything: all blocks are applied again.
	n.members[3].app = newMemApp()
	begin := time.Now()
	n.restart(t, 3)
	n.members[3].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs == 6 })
	n.waitReady(t, 3)
	t.Logf("restarted, replayed and caught up after %v", time.Since(begin))
	eventually(t, 5*time.Second, "same state", func() bool {
		h0, a0 := n.members[0].app.Head()
		h3, a3 := n.members[3].app.Head()
		return h0 == h3 && string(a0) == string(a3)
	})

	// An application ahead of its blocks is refused, not a panic.
	n.stop(t, 3)
	n.members[3].store = newStore(t)
	n.reload(t, 3)
	if err := n.tryStart(t, 3); !errors.Is(err, comet.ErrApplicationAhead) {
		t.Errorf("start with an application ahead of the blocks = %v", err)
	}
	// Wiped together, the node fetches everything.
	n.members[3].app = newMemApp()
	n.members[3].store = newStore(t)
	n.restart(t, 3)
	n.members[3].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs == 6 })
}

func TestPanicDuringBlockSync(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "sync", 4)
	n.startAll(t)
	n.stop(t, 3)
	for i := range 4 {
		n.broadcast(t, 0, tx(i))
		n.members[0].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs == i+1 })
	}
	n.members[3].app.setOnBlock(func(b comet.Block) error {
		if len(b.Txs) > 0 {
			panic("cannot apply")
		}
		return nil
	})
	n.restart(t, 3)
	eventually(t, 10*time.Second, "halted", func() bool { return n.members[3].chain.Status().Halt != nil })
	if r := n.members[3].chain.Status().Halt.Reason; r != "finalize: panic: cannot apply" {
		t.Errorf("reason %q", r)
	}
	// The same in Commit, where CometBFT holds the lock of its mempool.
	n.stop(t, 3)
	n.members[3].store, n.members[3].app = newStore(t), newMemApp()
	n.members[3].app.commit = func() error { return errBoom }
	n.restart(t, 3)
	eventually(t, 10*time.Second, "halted", func() bool { return n.members[3].chain.Status().Halt != nil })
	if s := n.members[3].chain.Status(); s.Halt.Reason != "commit: boom" || !s.CatchingUp {
		t.Errorf("status %+v", s)
	}
	if err := n.members[3].chain.Broadcast(tx(9)); !errors.Is(err, comet.ErrHalted) {
		t.Errorf("Broadcast = %v", err)
	}
	n.stop(t, 3)
	// Mended, it goes on from what is stored.
	n.reload(t, 3)
	n.members[3].app.commit = nil
	n.restart(t, 3)
	n.members[3].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs == 4 })
}

func TestQuorumLostAndBack(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "quorum", 4)
	n.startAll(t)
	n.stop(t, 2)
	n.stop(t, 3)
	begin := time.Now()
	eventually(t, 10*time.Second, "unhealthy without work, for want of a quorum", func() bool {
		ok, reason := n.healthy(0)
		return !ok && strings.Contains(reason, "quorum")
	})
	t.Logf("unhealthy after %v", time.Since(begin))
	n.broadcast(t, 0, tx(1))
	begin = time.Now()
	n.restart(t, 2)
	for _, i := range []int{0, 1, 2} {
		n.members[i].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
	}
	t.Logf("progress %v after one returned", time.Since(begin))
	n.waitReady(t, 0)
}

func TestSignStateLost(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "signstate", 4)
	n.config = func(c *comet.Config) { c.DoubleSignCheckHeight = 20 }
	n.startAll(t)
	for i := range 3 {
		n.broadcast(t, 0, tx(i))
		n.members[3].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == i+1 })
	}
	n.stop(t, 3)
	rewriteSignState(t, filepath.Join(n.members[3].dir, "config"))
	n.reload(t, 3)
	if err := n.tryStart(t, 3); !errors.Is(err, comet.ErrSignStateBehind) {
		t.Fatalf("start with an old sign state = %v", err)
	} else {
		t.Log(err)
	}
	// Even with empty stores it does not sign: the blocks it fetches hold its votes.
	n.members[3].store, n.members[3].app = newStore(t), newMemApp()
	n.restart(t, 3)
	n.members[3].app.waitFor(t, 15*time.Second, func(txs int, _ uint64) bool { return txs == 3 })
	// The first time that it is asked to: once it takes part in consensus.
	eventually(t, 10*time.Second, "it has caught up", func() bool { return !n.members[3].chain.Status().CatchingUp })
	sent := 3
	more := func() {
		n.broadcast(t, 0, tx(sent))
		sent++
		n.members[0].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs >= sent })
	}
	more()
	eventually(t, 10*time.Second, "refuses to sign", func() bool {
		return errors.Is(n.members[3].chain.Status().Signer, comet.ErrSignStateBehind)
	})
	if ok, reason := n.healthy(3); ok {
		t.Error("healthy without signing")
	} else {
		t.Log(reason)
	}
	// It signs again when enough blocks without its vote have passed.
	eventually(t, 10*time.Second, "signs again", func() bool {
		more()
		return n.members[3].chain.Status().Signer == nil
	})
}

func TestWrongGenesis(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "genesis", 1)
	n.startAll(t)
	n.stop(t, 0)
	n.reload(t, 0)
	n.genesis.AppState = []byte("another")
	if err := n.tryStart(t, 0); err == nil || !strings.Contains(err.Error(), "genesis") {
		t.Errorf("start with another genesis = %v", err)
	}
	n.reload(t, 0)
	n.genesis.AppState = []byte("genesis")
	n.start(t, 0)
	if got := fmt.Sprint(n.members[0].chain.ID()); got != "genesis" {
		t.Errorf("ID = %q", got)
	}
}

// Two of four nodes stand still without closing a connection, as under SIGSTOP.
// There is no work, so only the heartbeats can tell.
func TestFrozenQuorum(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "frozen", 4)
	frozen := make([]*freezer, 0, 2)
	for _, m := range n.members[2:] {
		f := newFreezer(t, m.addr)
		m.public, m.passive = f.addr, true
		frozen = append(frozen, f)
	}
	n.startAll(t)
	for _, f := range frozen {
		f.freeze(true)
	}
	begin := time.Now()
	eventually(t, 10*time.Second, "unhealthy", func() bool {
		ok, reason := n.healthy(0)
		return !ok && strings.HasPrefix(reason, "quorum unreachable")
	})
	if s := n.members[0].chain.Status(); s.Peers != 3 || !s.PendingSince.IsZero() {
		t.Errorf("connections were closed or work was pending: %+v", s)
	}
	t.Logf("unhealthy %v after two of four froze", time.Since(begin))
	n.broadcast(t, 0, tx(1))
	for _, f := range frozen {
		f.freeze(false)
	}
	begin = time.Now()
	for _, m := range n.members {
		m.app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
	}
	n.waitReady(t, 0)
	t.Logf("going on %v after they thawed", time.Since(begin))
}

// An application that refuses a proposal votes against it; one validator alone
// cannot stop the others.
func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "accept", 4)
	n.startAll(t)
	// Member 0 proposes what no honest node accepts, as a faulty one might.
	n.members[0].app.mu.Lock()
	n.members[0].app.propose = func([][]byte) [][]byte { return [][]byte{{0xff}} }
	n.members[0].app.mu.Unlock()
	for i := range 5 { // it proposes at least one of these heights
		n.broadcast(t, 1, tx(i))
		n.members[1].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == i+1 })
	}
	for i, m := range n.members {
		if s := m.chain.Status(); s.Halt != nil {
			t.Errorf("member %d halted: %v", i, s.Halt)
		}
	}
}

// A proposal beyond the block's size is cut, not fatal.
func TestProposalTooLarge(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "large", 1)
	n.genesis.BlockMaxBytes = 128 << 10
	n.members[0].app.propose = func(pool [][]byte) [][]byte {
		if len(pool) == 0 {
			return nil
		}
		return append(pool, make([]byte, 100<<10), make([]byte, 100<<10))
	}
	n.startAll(t)
	n.broadcast(t, 0, []byte{1})
	n.members[0].app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs >= 1 })
	if s := n.members[0].chain.Status(); s.Halt != nil {
		t.Error(s.Halt)
	}
}

// A transaction as large as the payload fits a block beside what the application
// adds and the votes of the largest committee.
func TestBlockOverhead(t *testing.T) {
	t.Parallel()
	const payload = 1 << 20
	for _, validators := range []int{1, 4, 100, 1000} {
		txs := [][]byte{make([]byte, 64), make([]byte, payload)}
		size := payload + comet.BlockOverhead(validators)
		if kept := comet.Kept(txs, size, validators); kept != len(txs) {
			t.Errorf("%d validators, block of %d: %d of %d transactions kept", validators, size, kept, len(txs))
		}
		txs[1] = make([]byte, size)
		if kept := comet.Kept(txs, size, validators); kept != 1 {
			t.Errorf("%d validators: a transaction as large as the block is kept", validators)
		}
	}
}

func TestMempoolLimits(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "mempool", 2)
	n.config = func(c *comet.Config) { c.MempoolTxs, c.MaxTxBytes = 3, 1000 }
	n.startAll(t)
	n.stop(t, 1) // no more blocks
	for i := range 3 {
		n.broadcast(t, 0, tx(i))
	}
	chain := n.members[0].chain
	if err := chain.Broadcast(tx(9)); !errors.Is(err, comet.ErrMempoolFull) {
		t.Errorf("Broadcast into a full mempool = %v", err)
	}
	if err := chain.Broadcast(tx(1)); err != nil && !errors.Is(err, comet.ErrMempoolFull) {
		t.Errorf("Broadcast of a known transaction = %v", err)
	}
	if txs, bytes := chain.MempoolStats(); txs != 3 || bytes != 27 {
		t.Errorf("MempoolStats = %d, %d, want 3, 27", txs, bytes)
	}
	n.members[1].passive = true
	n.restart(t, 1)
	for i := range 2 {
		n.members[i].app.waitFor(t, 10*time.Second, func(txs int, _ uint64) bool { return txs == 3 })
	}
	if err := chain.Broadcast(append([]byte{1}, make([]byte, 1000)...)); !errors.Is(err, comet.ErrTxTooLarge) {
		t.Errorf("Broadcast of 1001 bytes = %v", err)
	}
	n.members[0].app.mu.Lock()
	n.members[0].app.onCheck = func([]byte) error { panic("in check") }
	n.members[0].app.mu.Unlock()
	var refused *comet.RefusedError
	if err := chain.Broadcast(tx(10)); !errors.As(err, &refused) || refused.Code() != 1<<16 {
		t.Errorf("Broadcast of what Check panics on = %v", err)
	}
	if s := chain.Status(); s.Halt != nil {
		t.Errorf("a panic in Check halted the chain: %v", s.Halt)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	if err := errors.Join(chain.Stop(ctx), chain.Stop(ctx)); err != nil {
		t.Error(err)
	}
	if err := chain.Broadcast(tx(11)); !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("Broadcast after Stop = %v", err)
	}
	if _, err := chain.Block(1); !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("Block after Stop = %v", err)
	}
	if err := chain.Start(ctx); err == nil {
		t.Error("a stopped chain started again")
	}
}

// A peer of another network is named, in the reason why the chain is not healthy.
func TestPeerOfAnotherNetwork(t *testing.T) {
	t.Parallel()
	others := newNetwork(t, "others", 1)
	others.startAll(t)
	n := newNetwork(t, "lost", 2)
	n.config = func(c *comet.Config) { c.Peers = []string{others.members[0].chain.PeerAddr()} }
	n.start(t, 0)
	eventually(t, hangs, "the peer is known to be wrong", func() bool {
		_, reason := n.healthy(0)
		return strings.Contains(reason, "different network") && strings.Contains(reason, others.members[0].nodeKey.ID())
	})
}
