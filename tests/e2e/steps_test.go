package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

var stepSeeds = flag.Int("steps.seeds", 0, "how often TestShardsKilledAtEachStep takes all steps, each time in another order; 0 takes half of them once")

// step is a moment of a block on the way of what is booked from one shard to another: see
// chain/exec/faultpoint.go.
type step struct{ deed, moment string }

func (s step) String() string { return s.deed + ", " + s.moment }

// allSteps are the steps in the order of the ways: from main to a shard, and from one shard
// to another. A message is executed and acknowledged by the same block of the destination,
// so what comes between an import and its acknowledgement is the block of main that anchors
// it.
func allSteps() (list []step) {
	for _, deed := range deeds() {
		for _, moment := range []string{"executed", "agreed", "stored", "told"} {
			list = append(list, step{deed, moment})
		}
	}
	return list
}

// halfOfSteps are two moments of each deed, one before the block is committed and one after
// it, in turns the first and the second of these.
func halfOfSteps() (list []step) {
	for i, deed := range deeds() {
		for _, moment := range [][]string{{"executed", "stored"}, {"agreed", "told"}}[i%2] {
			list = append(list, step{deed, moment})
		}
	}
	return list
}

func deeds() []string {
	return []string{"tells", "told", "sends", "anchors-messages", "imports", "anchors-acks", "acknowledged"}
}

// Nodes kill themselves at each step that a message takes from one shard over main to
// another and its acknowledgement back, and from main to a shard: before they vote for the
// block, when it is agreed on and not stored, when it is stored and nobody was told, and
// when all were. Two at a time do, so that chains lose their quorum too. Each comes back
// without help, what goes on meanwhile is counted once, within half a minute of the last
// repair everything has arrived, and at the end all is paid to the last drop on all nodes
// and every shard knows what main knows.
func TestShardsKilledAtEachStep(t *testing.T) {
	t.Parallel()
	if given {
		t.Skip("the program that is given may have no fault points")
	}
	dir := t.TempDir()
	file := func(i int) string { return filepath.Join(dir, strconv.Itoa(i)) }
	net := network(t, oneZone(2), exactly, func(o *testnet.Options) {
		o.Environ = func(i int) []string { return []string{"FAULT_POINT=" + file(i)} }
	})
	u := startUsageIn(t, net, 1, 1, testnet.Content)
	u.submitted(t, net, 0, u.books[0])
	u.proposerKilled(t, net, 1, u.books[1])

	end, endTurn := u.spread(t, dial(t, net, 0, 1, 2, 3)), u.turn(t, net)
	begin, steps := time.Now(), allSteps()
	if *stepSeeds == 0 {
		steps = halfOfSteps()
	}
	var repaired [2]time.Time              // by lane
	for seed := range max(1, *stepSeeds) { //nolint:paralleltest // see group
		random := rand.New(rand.NewPCG(uint64(seed), 0)) //nolint:gosec // it can be done again
		var lanes [2][]step
		for i, s := range steps {
			lanes[i%2] = append(lanes[i%2], s)
		}
		if seed > 0 {
			list := slices.Clone(steps)
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			lanes = [2][]step{list[:len(list)/2], list[len(list)/2:]}
		}
		var group sync.WaitGroup // and not parallel tests, which would wait for their turn while the network runs
		for lane, list := range lanes {
			draw := rand.New(rand.NewPCG(uint64(seed), uint64(lane))) //nolint:gosec // likewise
			group.Go(func() {
				t.Run(fmt.Sprintf("seed %d lane %d", seed, lane), func(t *testing.T) {
					for i, s := range list {
						victim, nth := 2*lane+i%2, 1
						if seed > 0 {
							victim, nth = 2*lane+draw.IntN(2), 1+draw.IntN(3)
						}
						repaired[lane] = killedAt(t, net, victim, s, nth, file(victim))
					}
				})
			})
		}
		group.Wait()
		if t.Failed() {
			break
		}
	}
	t.Logf("%d kills after %v, %d bookings", max(1, *stepSeeds)*len(steps), time.Since(begin).Round(time.Millisecond), u.done(testnet.Content))
	end()
	endTurn()
	u.drained(t, dial(t, net, 0))
	soon(t, "all is earned after the last node that was killed was ready", min(time.Since(repaired[0]), time.Since(repaired[1])))
	u.verify(t, net)
	quiet(t, net)
}

// killedAt has the victim kill itself at the n-th block of a step, and waits until it is
// ready again, soon after its start, and its chain has more than that block. It returns when
// it was ready.
func killedAt(t *testing.T, net *testnet.Network, victim int, s step, nth int, file string) (repaired time.Time) {
	t.Helper()
	if err := os.WriteFile(file+".new", fmt.Appendf(nil, "%s %s %d", s.deed, s.moment, nth), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := os.Rename(file+".new", file); err != nil { // it is read at any time
		t.Fatal(err)
	}
	select {
	case <-net.Exited(victim):
	case <-time.After(patience):
		t.Fatalf("%s: %s did not come to it", s, net.Nodes[victim].Name)
	}
	waited := time.Since(begin).Round(time.Millisecond)
	passed, err := os.ReadFile(file + ".passed")
	if _, armed := os.Stat(file); err != nil || !errors.Is(armed, fs.ErrNotExist) {
		t.Fatalf("%s: %s ended for another reason: %v", s, net.Nodes[victim].Name, errors.Join(err, armed))
	}
	if err := errors.Join(os.Remove(file+".passed"), net.StartNode(victim)); err != nil {
		t.Fatal(err)
	}
	var id shard.ID
	var height uint64
	if _, err := fmt.Sscanf(string(passed), "chain %d height %d", &id, &height); err != nil {
		t.Fatalf("%s: %q: %v", s, passed, err)
	}
	begin = time.Now()
	took := ready(t, net, victim)
	soon(t, fmt.Sprintf("%s: %s is ready", s, net.Nodes[victim].Name), took)
	repaired = time.Now()
	c, name := dial(t, net, victim), net.Nodes[victim].Name
	await(t, 30*time.Second, fmt.Sprintf("%s: %s has blocks after %s", s, name, passed), func(ctx context.Context) bool {
		if id == ledger.MainChain {
			got, err := c.Status(ctx)
			return err == nil && got.Chains[0].Height > height
		}
		got, err := c.ShardStatus(ctx, id)
		return err == nil && got.Moniker == name && got.Height > height
	})
	t.Logf("%s: %s was killed at %s, block %d of these, after %v; it was ready %v after its start, and had more blocks of the chain after %v",
		s, name, passed, nth, waited, took, time.Since(begin).Round(time.Millisecond))
	return repaired
}

// spread books in the background, each payee when all that it had booked before is earned,
// so that blocks do one thing at a time. end ends that, and fails the test if a booking was
// refused.
func (u *usageLoad) spread(t *testing.T, c *client.Client) (end func()) {
	t.Helper()
	return beside(t, len(u.books), func(ctx context.Context, i int) (err error) {
		for ctx.Err() == nil && err == nil {
			if err = u.round(u.books[i]); err == nil {
				u.arrived(ctx, c, u.books[i])
			}
		}
		return err
	})
}

// arrived waits until b's payee has earned what it has booked, or ctx ends.
func (u *usageLoad) arrived(ctx context.Context, c *client.Client, b *usageBook) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := c.Earnings(ctx, b.account.Address(), strconv.FormatUint(uint64(b.service), 10))
		if err == nil && e.Total.Amount >= uint64(b.rounds*len(b.channels)*loadPrice) { //nolint:gosec // positive
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// submitted kills a node that has a booking of b in no block yet.
func (u *usageLoad) submitted(t *testing.T, net *testnet.Network, victim int, b *usageBook) {
	t.Helper()
	account := dial(t, net, victim).Account(b.account.Identity())
	if _, err := account.BookUsage(t.Context(), b.service, u.entries(b), client.StageChecked); err != nil {
		t.Fatal(err)
	}
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.round(b), net.StartNode(victim)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was killed with a booking in no block, and was ready %v after its start", net.Nodes[victim].Name, ready(t, net, victim))
}

// proposerKilled kills the node that made the block of main which anchors a booking of b.
func (u *usageLoad) proposerKilled(t *testing.T, net *testnet.Network, watcher int, b *usageBook) {
	t.Helper()
	var source shard.ID
	for _, x := range u.books {
		if x.home != b.home {
			source = x.home // and other shards that have payers for b
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, started, begun, booked := dial(t, net, watcher), make(chan struct{}), false, uint64(0)
	errSeen, seen := errors.New("seen"), make(chan error, 1)
	go func() {
		seen <- c.WatchShard(ctx, source, 0, func(x *client.ShardBlock) error {
			if !begun { // the first news say that it watches
				begun = true
				close(started)
			}
			if booked == 0 && x.Bookings > 0 && x.Outbox > 0 {
				booked = x.Height
			}
			if booked != 0 && x.Anchored >= booked {
				return errSeen
			}
			return nil
		})
	}()
	select {
	case <-started:
	case err := <-seen:
		t.Fatal(err)
	}
	booking := make(chan error, 1)
	go func() { booking <- u.round(b) }()
	if err := <-seen; !errors.Is(err, errSeen) {
		t.Fatalf("the booking is anchored: %v", err)
	}
	victim := proposerOf(t, net, c)
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-booking, net.StartNode(victim)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s made the block of main that anchors a booking and was killed, and was ready %v after its start", net.Nodes[victim].Name, ready(t, net, victim))
}

// proposerOf returns the node that made the newest block of main.
func proposerOf(t *testing.T, net *testnet.Network, c *client.Client) int {
	t.Helper()
	block, err := c.Block(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(net.Nodes, func(n testnet.Node) bool {
		i, err := strconv.Atoi(n.Name[len(n.Name)-1:])
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(net.Genesis.Validators[i-1].PublicKey)
		return bytes.Equal(sum[:len(block.Header.Proposer)], block.Header.Proposer)
	})
	if at < 0 {
		t.Fatalf("block %d is of nobody: %x", block.Header.Height, block.Header.Proposer)
	}
	return at
}
