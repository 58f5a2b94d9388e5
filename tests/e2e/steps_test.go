package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

// errSeen ends a watch that saw what it waited for.
var errSeen = errors.New("seen")

// step is a moment on the way of what is booked from one shard to another.
type step struct {
	name string
	// at is the shard whose blocks tell of the moment, the source or the destination.
	at func(*crossing) shard.ID
	// come reports whether the moment has come, by what a node tells of that shard.
	come func(*crossing, *client.ShardBlock) bool
	// proposer is killed instead of the node that told: it made the last block of main.
	proposer bool
}

// crossing is one booking of a payee in another shard, as one node sees it.
type crossing struct {
	source, home shard.ID
	booked       uint64 // height of the source that has the booking; owned by the watch of the source
}

func (j *crossing) atSource() shard.ID { return j.source }
func (j *crossing) atHome() shard.ID   { return j.home }

// bookedAt notes the block of the source that has the booking.
func (j *crossing) bookedAt(b *client.ShardBlock) bool {
	if j.booked == 0 && b.Bookings > 0 && b.Outbox > 0 {
		j.booked = b.Height
	}
	return j.booked != 0
}

// A node is killed right after it has told of each step that a message takes from one
// shard over main to another and its acknowledgement back. It comes back, the message is
// executed once, and at the end everything is paid to the last drop on all nodes.
func TestShardsKilledAtEachStep(t *testing.T) {
	t.Parallel()
	net := network(t, withServices, exactly)
	u := startUsage(t, net, 1, testnet.Content)
	for i, s := range []step{
		{name: "the booking is submitted and in no block"},
		{name: "the source has committed", at: (*crossing).atSource, come: (*crossing).bookedAt},
		{name: "main has committed the anchor", at: (*crossing).atSource, come: func(j *crossing, b *client.ShardBlock) bool {
			return j.bookedAt(b) && b.Anchored >= j.booked
		}},
		{name: "main has committed the anchor, its proposer", at: (*crossing).atSource, proposer: true, come: func(j *crossing, b *client.ShardBlock) bool {
			return j.bookedAt(b) && b.Anchored >= j.booked
		}},
		{name: "the destination has imported", at: (*crossing).atHome, come: func(_ *crossing, b *client.ShardBlock) bool { return b.Imports > 0 }},
		{name: "the destination has acknowledged", at: (*crossing).atHome, come: func(_ *crossing, b *client.ShardBlock) bool { return b.Outbox > 0 }},
		{name: "the source has the acknowledgement", at: (*crossing).atSource, come: func(j *crossing, b *client.ShardBlock) bool {
			return j.bookedAt(b) && b.Height > j.booked && b.Imports > 0
		}},
	} {
		u.killedAt(t, net, &s, i%len(net.Nodes), u.books[i%len(u.books)])
	}
	u.drained(t, dial(t, net, 0))
	u.verify(t, net)
	quiet(t, net)
}

// killedAt books once for b, kills the victim at the step, and waits until it is ready
// again and all is earned.
func (u *usageLoad) killedAt(t *testing.T, net *testnet.Network, s *step, victim int, b *usageBook) {
	t.Helper()
	var booking chan error
	book := func() {
		booking = make(chan error, 1)
		go func() { booking <- u.round(b) }()
	}
	if s.at == nil {
		u.submitTo(t, net, victim, b)
	} else {
		j := &crossing{home: b.home}
		for _, x := range u.books {
			if x.home != b.home {
				j.source = x.home // and other shards that have payers for b
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, started, begun := dial(t, net, victim), make(chan struct{}), false
		seen := make(chan error, 1)
		go func() {
			seen <- c.WatchShard(ctx, s.at(j), 0, func(x *client.ShardBlock) error {
				if !begun { // the first news say that it watches
					begun = true
					close(started)
				}
				if s.come(j, x) {
					return errSeen
				}
				return nil
			})
		}()
		select {
		case <-started:
		case err := <-seen:
			t.Fatalf("%s: %v", s.name, err)
		}
		book()
		if err := <-seen; !errors.Is(err, errSeen) {
			t.Fatalf("%s: %v", s.name, err)
		}
		if s.proposer {
			victim = proposerOf(t, net, c)
		}
	}
	if err := net.KillNode(victim); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if booking == nil {
		book()
	}
	if err := <-booking; err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	others := dial(t, net, (victim+1)%len(net.Nodes))
	u.drained(t, others)
	without := time.Since(begin).Round(time.Millisecond)
	if err := net.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	took := ready(t, net, victim)
	own := dial(t, net, victim)
	u.drained(t, own)
	t.Logf("%s: %s was killed; all was earned %v later without it, and it was ready %v after its start", s.name, net.Nodes[victim].Name, without, took)
}

// submitTo has a node take b's next bookings and does not wait for a block.
func (u *usageLoad) submitTo(t *testing.T, net *testnet.Network, node int, b *usageBook) {
	t.Helper()
	c := dial(t, net, node)
	account := c.Account(b.account.Identity())
	if _, err := account.BookUsage(t.Context(), b.service, u.entries(b), client.StageChecked); err != nil {
		t.Fatal(err)
	}
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
