package e2e_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// keptBlocks is the least that a node can be told to keep.
const keptBlocks = 100

// A network settles for hundreds of blocks. All its nodes but the last forget old
// blocks, and their disks stop to fill with them. A node that comes late finds
// the first block with one of them only, and joins by a snapshot that they made; then it
// follows, and knows of no block before the snapshot.
func TestJoinBySnapshotWhereOldBlocksAreGone(t *testing.T) {
	t.Parallel()
	net := network(t, func(o *testnet.Options) {
		o.Params = func(p *settlement.Params) {
			p.MinChallenge, p.BlockInterval, p.Staking.EpochBlocks = 5, 50, 20
			p.Staking.Window, p.Staking.MaxMissed = staking.MaxWindow, staking.MaxWindow-1
			p.Staking.UnbondingEpochs, p.Staking.EvidenceEpochs = 4, 3 // for as long headers stay
		}
		o.Configure = func(i int, c *config.Config) {
			c.Consensus.TimeoutCommit.Duration = 50 * time.Millisecond
			c.Snapshots.Interval = 40
			if i < 3 {
				c.Pruning.KeepBlocks, c.Pruning.KeepReceipts = keptBlocks, keptBlocks
			} else {
				c.Pruning.KeepBlocks, c.Pruning.KeepReceipts = 0, 0
			}
		}
	})
	l := startLoad(t, net)
	end := l.begin(t)
	c := dial(t, net, 0)
	reach := func(height uint64) {
		await(t, 3*time.Minute, "the network goes on", func(ctx context.Context) bool {
			status, err := c.Status(ctx)
			return err == nil && status.Chains[0].Height >= height
		})
	}
	sizes := func() (pruned, archive int64) { return blocksOf(t, net, 0), blocksOf(t, net, 3) }
	const first, last = 200, 360
	reach(first)
	before, archiveBefore := sizes()
	reach(last)
	after, archiveAfter := sizes()
	t.Logf("blocks on disk: %d KiB, then %d with %d blocks kept; %d KiB, then %d with all", before>>10, after>>10, keptBlocks, archiveBefore>>10, archiveAfter>>10)
	if grown := archiveAfter - archiveBefore; grown < archiveBefore/2 || after-before > grown/4 {
		t.Errorf("the pruned node's blocks grew by %d bytes, the archive's by %d", after-before, grown)
	}
	await(t, time.Minute, "block 5 is forgotten", func(ctx context.Context) bool {
		_, err := c.Block(ctx, 5)
		answer, ok := errors.AsType[*client.Error](err)
		return ok && answer.Reason == "PRUNED" && answer.Metadata["kept_from"] != ""
	})

	// Two snapshots are kept, so one must stay for as long as a node takes to fetch
	// it, however slow the machine is.
	l.calm(4 * time.Second)
	u := newUser(t)
	u.ok("init", "latecomer", "--genesis", filepath.Join(net.Dir, "genesis.json"))
	begin := time.Now()
	process := u.background(append([]string{
		"start", "--state_sync.enabled", "--state_sync.sources", net.Nodes[0].GRPC + "," + net.Nodes[1].GRPC,
		"--state_sync.search_time", "1h", // however slow the machine is, it is to be a snapshot
	}, soloPorts()...)...)
	own, address := clientOf(t, process)
	phases := make(map[string]bool)
	await(t, 2*time.Minute, "the latecomer has caught up", func(ctx context.Context) bool {
		status, err := own.Status(ctx)
		if err != nil {
			return false
		}
		ch := status.Chains[0]
		if ch.Sync != nil && ch.Sync.Snapshot {
			phases["snapshot"] = true
		}
		return ch.Ready && ch.Height >= last
	})
	t.Logf("caught up %v after the start; seen on the way: %v", time.Since(begin).Round(time.Millisecond), phases)
	if !strings.Contains(process.output(), "state restored") {
		t.Errorf("it was no snapshot by which it joined:\n%s", process.output())
	}
	if !phases["snapshot"] {
		t.Error("the status never told of a snapshot")
	}
	if out := u.ok("status", "--node", address); !strings.Contains(out, "ready") {
		t.Errorf("its status is %s", out)
	}
	status, err := own.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := status.Chains[0].Height
	l.calm(0)
	l.more(t, 8, "settlements with the latecomer")
	await(t, time.Minute, "the latecomer follows", func(ctx context.Context) bool {
		status, err := own.Status(ctx)
		return err == nil && status.Chains[0].Height > live+5
	})
	end()
	await(t, time.Minute, "the latecomer has fetched the hand-overs and candidates of the epochs before it", func(ctx context.Context) bool {
		_, noHandover := own.Handover(ctx, 1)
		epoch := (live - 1) / net.Genesis.Params.Staking.EpochBlocks
		_, noCandidates := own.Election(ctx, epoch-5)
		return noHandover == nil && noCandidates == nil
	})
	trust, err := client.TrustCommittee(net.Genesis.Domain(), net.Genesis.Settlement().Committee())
	if err != nil {
		t.Fatal(err)
	}
	if _, handovers, err := own.FollowCommittees(t.Context(), trust, 15); err != nil || len(handovers) != 15 {
		t.Errorf("%d hand-overs since the genesis by the latecomer alone: %v", len(handovers), err)
	}
	ours, err := own.Block(t.Context(), live+3)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := c.Block(t.Context(), live+3)
	if err != nil || ours.Header.AppHash != theirs.Header.AppHash {
		t.Errorf("block %d is another one there: %v", live+3, err)
	}
	if code := process.end(t, syscall.SIGTERM, 15*time.Second); code != exitOK {
		t.Errorf("the latecomer ended with %d: %s", code, process.output())
	}
}

// A node that is to join by a snapshot says which source is no good.
func TestSourcesThatAreNoGood(t *testing.T) {
	t.Parallel()
	net := network(t, func(o *testnet.Options) { o.Validators = 1 })
	other := network(t, func(o *testnet.Options) { o.Validators, o.Name = 1, "local-other" })
	good := net.Nodes[0].GRPC
	for name, tt := range map[string]struct {
		sources string
		want    string
		code    int
	}{
		"too few":         {good, "state_sync.sources", exitError},
		"unreachable":     {good + ",127.0.0.1:1", "source 127.0.0.1:1: it does not answer", exitUnavailable},
		"another network": {good + "," + other.Nodes[0].GRPC, `it is of network "local-other"`, exitError},
	} {
		u := newUser(t)
		u.ok("init", "latecomer", "--genesis", filepath.Join(net.Dir, "genesis.json"))
		b := u.background(append([]string{"start", "--state_sync.enabled", "--state_sync.sources", tt.sources}, soloPorts()...)...)
		if code := b.wait(t, 40*time.Second); code != tt.code || !strings.Contains(b.output(), tt.want) {
			t.Errorf("%s: ended with %d, want %d and %q:\n%s", name, code, tt.code, tt.want, b.output())
		}
	}
}

// blocksOf is how much disk the blocks of a node take, in bytes.
func blocksOf(t *testing.T, net *testnet.Network, i int) (used int64) {
	t.Helper()
	dir := filepath.Join(net.Nodes[i].Home, "data", "consensus", "blocks")
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // files go while we look
		}
		if info, err := e.Info(); err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				used += s.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
