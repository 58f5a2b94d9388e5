package e2e_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

// Somebody registers a service by the command, three of four operators serve it, and
// without any traffic two epochs later its shards are assigned to them: on every node
// the same, and as anybody draws. A channel names the service at once. The nodes run the
// shards without having been started again, and what is booked there through any node is
// earned and paid to the last drop.
func TestServiceIsRegisteredAndServed(t *testing.T) {
	t.Parallel()
	net := network(t, oneZone(1, testnet.Storage, testnet.Proxy), exactly, briefly)
	var pids []int
	for i := range net.Nodes {
		pids = append(pids, net.PID(i))
	}
	if _, err := net.Announce(); err != nil {
		t.Fatal(err)
	}
	u := newUser(t)
	u.flags = []string{"--testnet", net.Dir}
	var services []struct {
		ID    uint32 `json:"id"`
		Name  string `json:"name"`
		Zones []struct {
			Shards int `json:"shards"`
		} `json:"zones"`
	}
	u.read(&services, "service", "list")
	if len(services) != 3 || services[0].Name != "content" || len(services[0].Zones) != 1 || services[0].Zones[0].Shards != 1 {
		t.Fatalf("services of the genesis: %+v", services)
	}
	u.ok("service", "register", "video", "--id", "7", "--spec", u.file("video.md", "videos"), "--unit", "chunk:262144", "--zone", "0:here", "--shards", "2", "--from", "alice")
	for i := range 3 {
		u.ok("validator", "serve", "video", "--from", net.Nodes[i].Name)
	}
	u.refused(exitError, []string{"NOT_OPERATOR", "tributary validator list"}, "validator", "serve", "video", "--from", "bob")

	c := dial(t, net, 0)
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	payer, err := pay.OpenPayer(pay.PayerConfig{
		Domain: c.Domain(), Account: pay.NewIdentity(testnet.Key("carol"), 0), Chain: c.Account(pay.NewIdentity(testnet.Key("carol"), 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	early, err := payer.Open(t.Context(), []pay.OpenSpec{{
		Payee: testnet.Address("bob"), Key: testnet.Key("voucher"), Deposit: ledger.DropsPerCoin,
		ExpiresAt: status.Chains[0].Height + 50_000, Challenge: 20, Service: 7,
	}})
	if err != nil {
		t.Fatalf("a channel for the service: %v", err)
	}
	u.refused(exitError, []string{"PAYEE_ZONE", "zone 5", "which has zones [0]", "take the payee's address in one of them"},
		"channel", "open", "--from", "alice", "--to", "bob@5", "--deposit", "1", "--service", "7")

	type shardShown struct {
		ID      uint32 `json:"id"`
		Members []struct {
			Validator uint64 `json:"validator"`
			Power     uint64 `json:"power"`
		} `json:"members"`
	}
	var shards []shardShown
	await(t, 2*time.Minute, "the service has its shards", func(context.Context) bool {
		shards = nil
		u.read(&shards, "shard", "map", "video")
		return len(shards) == 2 && len(shards[0].Members) == 3 && len(shards[1].Members) == 3
	})
	for _, s := range shards {
		for _, m := range s.Members {
			if m.Validator == 3 {
				t.Errorf("validator 3 serves shard %d and never said so", s.ID)
			}
		}
		for i := range net.Nodes {
			var drawn struct {
				shardShown
				Recomputed bool `json:"recomputed"`
			}
			here := newUser(t)
			here.flags = []string{"--node", net.Nodes[i].GRPC}
			here.read(&drawn, "shard", "show", strconv.FormatUint(uint64(s.ID), 10))
			if !drawn.Recomputed || len(drawn.Members) != 3 {
				t.Errorf("%s: shard %d is %+v", net.Nodes[i].Name, s.ID, drawn)
			}
		}
	}

	u7 := startUsageIn(t, net, 1, 1, 7)
	if _, err := c.AwaitUsage(t.Context(), early[0].ID(), nil); err != nil {
		t.Errorf("the channel that was there before the shards: %v", err)
	}
	end := u7.begin(t)
	u7.more(t, 7, 8, "bookings on the service")
	end()
	u7.verify(t, net)
	for i := range net.Nodes {
		hosted := hosts(t.Context(), net, i)
		for _, s := range shards {
			if _, runs := hosted[shard.ID(s.ID)]; runs != (i < 3) {
				t.Errorf("%s runs shard %d: %v", net.Nodes[i].Name, s.ID, runs)
			}
		}
		if pid := net.PID(i); pid != pids[i] {
			t.Errorf("%s was process %d, and is %d", net.Nodes[i].Name, pids[i], pid)
		}
	}
}
