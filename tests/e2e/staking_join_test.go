package e2e_test

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// Somebody with nothing but the program and the genesis joins a network that has
// gone through epochs: the node fetches a snapshot and the blocks after it, or all
// blocks as there is no snapshot yet; its operator registers it with three commands, and from the next epoch on that
// elects it the blocks have its signature. Then everything is taken back, and it
// leaves.
func TestStrangerJoinsByTheCommand(t *testing.T) {
	t.Parallel()
	for name, bySnapshot := range map[string]bool{"by blocks, for want of a snapshot": false, "by a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Two are kept: one must stay for as long as a node takes to fetch it. However
			// slow the machine is, it is to be a snapshot.
			interval, search := 50, "1h"
			if !bySnapshot {
				interval, search = 1_000_000, "5s"
			}
			net := network(t, func(o *testnet.Options) {
				o.Params = shortEpochs
				o.Configure = func(_ int, c *config.Config) { c.Snapshots.Interval = interval }
			})
			genesis := filepath.Join(net.Dir, "genesis.json")
			l := startLoad(t, net)
			end := l.begin(t)
			c := dial(t, net, 0)
			const late = 65 // there is a snapshot, if there is any
			await(t, time.Minute, "the network has been there for epochs", func(ctx context.Context) bool {
				status, err := c.Status(ctx)
				return err == nil && status.Chains[0].Height >= late
			})

			u := newUser(t)
			u.ok("init", "stranger", "--genesis", genesis)
			begin := time.Now()
			start := append([]string{
				"start", "--state_sync.enabled", "--state_sync.sources", net.Nodes[0].GRPC + "," + net.Nodes[1].GRPC,
				"--state_sync.search_time", search,
			}, soloPorts()...)
			process := u.background(start...)
			own, address := clientOf(t, process)
			await(t, time.Minute, "the node has caught up", func(ctx context.Context) bool {
				status, err := own.Status(ctx)
				return err == nil && status.Chains[0].Ready && status.Chains[0].Height >= late
			})
			t.Logf("caught up %v after the start", time.Since(begin).Round(time.Millisecond))
			if _, err := own.Block(t.Context(), 2); (err != nil) != bySnapshot {
				t.Errorf("block 2 of the stranger: %v", err)
			}

			u.flags = []string{"--node", address}
			u.ok("keys", "add", "operator", "--plain")
			var key struct {
				Address ledger.Address `json:"address"`
			}
			u.read(&key, "keys", "show", "operator")
			if _, err := c.Faucet(t.Context(), key.Address, 2*validatorStake); err != nil {
				t.Fatal(err)
			}
			await(t, 10*time.Second, "the money has arrived at the node", func(ctx context.Context) bool {
				have, err := own.Balance(ctx, key.Address)
				return err == nil && have != 0
			})
			u.ok("validator", "register", "--from", "operator", "--stake", "100000")
			registered := validatorOf(t, own, key.Address)
			v := until(t, c, registered.Number, "the stranger is elected", isActive)
			if v.Profile.Name != "stranger" || v.SelfStake != validatorStake {
				t.Errorf("registered is %+v", v)
			}
			t.Logf("signed block %d", signs(t, c, v))
			anybody := *u // a node that began with a snapshot cannot hand over from the genesis
			anybody.flags = []string{"--node", net.Nodes[0].GRPC}
			verifyByCommand(t, &anybody, genesis)
			if out := u.ok("validator", "list"); !strings.Contains(out, "stranger") || strings.Count(out, "active") != len(net.Nodes)+1 {
				t.Errorf("the validators are:\n%s", out)
			}

			u.ok("stake", "undelegate", "stranger", "all", "--from", "operator")
			until(t, c, v.Number, "the stranger has left", isOut)
			if code := process.end(t, syscall.SIGTERM, 15*time.Second); code != exitOK {
				t.Errorf("the stranger's node ended with %d: %s", code, process.output())
			}
			l.more(t, 8, "settlements without the stranger")
			end()
			l.verify(t, net)
		})
	}
}

// clientOf connects to a node that listens on a free port.
func clientOf(t *testing.T, b *background) (c *client.Client, address string) {
	t.Helper()
	port := regexp.MustCompile(`for":"grpc","address":"(127\.0\.0\.1:\d+)"`)
	await(t, 30*time.Second, "the node says where it listens", func(ctx context.Context) bool {
		found := port.FindStringSubmatch(b.output())
		if found == nil {
			return false
		}
		var err error
		address = found[1]
		c, err = client.Dial(ctx, address)
		return err == nil
	})
	t.Cleanup(func() { _ = c.Close() }) // the node may be gone
	return c, address
}

// verifyByCommand recomputes the present committee, and verifies a certificate
// without a node, from the genesis.
func verifyByCommand(t *testing.T, u *user, genesis string) {
	t.Helper()
	u.ok("committee", "recompute")
	file := filepath.Join(t.TempDir(), "block.cert")
	u.ok("query", "certificate", "latest", "--since", "0", "--out", file)
	u.ok("verify", "certificate", file, "--genesis", genesis)
}
