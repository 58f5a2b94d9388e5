package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
)

// A shard has served for a while when somebody becomes a validator, says that it serves,
// and is drawn. Its node fetches the shard by a snapshot and signs: with one of the others
// away nothing would be booked without it. At the end its state is that of all.
func TestValidatorJoinsAnOldShard(t *testing.T) {
	t.Parallel()
	const stride, newcomer, victim = 10, testnet.DefaultValidators, 1
	net := network(t, oneZone(1), exactly, briefly, func(o *testnet.Options) {
		o.FullNodes = 1
		o.Configure = func(_ int, c *config.Config) { c.Snapshots.Interval = stride }
	})
	u := startUsageIn(t, net, 1, 2, testnet.Content)
	end := u.begin(t)
	c := dial(t, net, 0)
	id := shardsOf(t, c, testnet.Content)[0].ID
	await(t, time.Minute, "the shard is old", func(ctx context.Context) bool {
		s, err := c.ShardStatus(ctx, id)
		return err == nil && s.Anchoring.Height > 3*stride
	})
	v := register(t, c, net, newcomer)
	if _, err := operator(c, net, newcomer).Serve(t.Context(), testnet.Content, true); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var members []client.ShardMember
	await(t, time.Minute, "the newcomer is drawn", func(context.Context) bool {
		members = shardsOf(t, c, testnet.Content)[0].Members
		return slices.ContainsFunc(members, func(m client.ShardMember) bool { return m.Validator == v.Number })
	})
	drawn := time.Now()
	await(t, time.Minute, "its node runs the shard", func(ctx context.Context) bool { return hosts(ctx, net, newcomer)[id] })
	t.Logf("drawn %v after it said that it serves, and its node ran the shard %v later", drawn.Sub(began).Round(time.Millisecond), time.Since(drawn).Round(time.Millisecond))
	if !strings.Contains(logOf(t, net, newcomer), "state restored") {
		t.Error("the newcomer did not begin with a snapshot")
	}

	away := validatorOf(t, c, testnet.Address(net.Nodes[victim].Name)).Number
	var total, without uint64
	for _, m := range members {
		if total += m.Power; m.Validator != v.Number && m.Validator != away {
			without += m.Power
		}
	}
	if 3*without > 2*total {
		t.Fatalf("members %+v: validators %d and %d are not needed", members, away, v.Number)
	}
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	u.more(t, testnet.Content, 4*len(u.books), "bookings with the newcomer's votes")
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	ready(t, net, victim)
	end()
	u.late = 1
	t.Logf("all was earned %v after the last booking", u.drained(t, c))
	u.verify(t, net)
	quiet(t, net)
}
