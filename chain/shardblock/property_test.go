package shardblock_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/shard/link"
)

// carrier brings what shards tell each other in any order and as often as it likes.
type carrier struct {
	*world
	rng  *rand.Rand
	pool map[*shardtest.Shard][]*shardblock.Relay
	paid []*payment
}

func (c *carrier) shards() [2]*shardtest.Shard { return [2]*shardtest.Shard{c.left, c.right} }

func (c *carrier) other(s *shardtest.Shard) *shardtest.Shard {
	if s == c.left {
		return c.right
	}
	return c.left
}

// span returns the leaves of a box for the places of a shard.
func span(box *link.Outbox, to *shardtest.Shard) (begin, end int) {
	s := &to.Genesis.Service.Shard
	return box.Span(link.Place{Service: s.Service, Zone: s.Zone, Bucket: s.First}, link.Place{Service: s.Service, Zone: s.Zone, Bucket: s.Last})
}

// settle makes a block of main that anchors a shard, and collects all that can then be
// proved to the other.
func (c *carrier) settle(s *shardtest.Shard) {
	s.Anchor(s.Height)
	c.main.Block()
	to := c.other(s)
	row, _ := anchor.Read(c.main, s.Genesis.Service.Shard.Chain)
	for h := uint64(1); h <= row.Height(); h++ {
		if begin, end := span(s.Boxes[h], to); begin < end {
			c.pool[to] = append(c.pool[to], s.Messages(h, begin, end))
			for at := begin; end-begin > 1 && at < end; at++ { // and its parts
				c.pool[to] = append(c.pool[to], s.Messages(h, at, at+1))
			}
		}
	}
	h := c.main.Height()
	for _, to := range c.shards() {
		if begin, end := span(c.main.Boxes[h], to); begin < end {
			c.pool[to] = append(c.pool[to], c.main.Notices(h, begin, end))
		}
	}
}

// some returns some of the relays for a shard, shuffled, some twice.
func (c *carrier) some(s *shardtest.Shard, all bool) (list []*shardblock.Relay) {
	for _, r := range c.pool[s] {
		for range 1 + c.rng.IntN(2) {
			if all || c.rng.IntN(3) == 0 {
				list = append(list, r)
			}
		}
	}
	c.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// step makes a block of a shard of what its proposer plans.
func (c *carrier) step(s *shardtest.Shard, all bool) (relayed int) {
	c.t.Helper()
	list := c.some(s, all)
	sizes := make([]int, len(list))
	for i := range list {
		sizes[i] = 1_000
	}
	var planned []*shardblock.Relay
	for _, i := range shardblock.Plan(s.State, s.Height+1, list, sizes, 0, 8_000, s.Verifiers.Certificate) {
		planned = append(planned, list[i])
	}
	var txs []service.BlockTx
	if !all {
		for _, p := range c.paid {
			if s.Genesis.Service.Shard.Owns(service.HomeOf(p.payer.Address(1))) && c.rng.IntN(2) == 0 {
				txs = append(txs, c.book(p, 1+c.rng.Uint64N(20)))
			}
		}
	}
	s.Block(planned, txs...)
	if _, err := shardblock.Audit(s.State); err != nil {
		c.t.Fatalf("shard %d: %v", s.Genesis.Service.Shard.Chain, err)
	}
	return len(planned)
}

// TestRelaysInAnyOrder: whatever order relays come in, how often and in which parts, nothing
// is lost or counted twice, and the same blocks make the same state again.
func TestRelaysInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		c := &carrier{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 1)), pool: map[*shardtest.Shard][]*shardblock.Relay{}}
		low, high := keyIn(t, "low", 0, 127), keyIn(t, "high", 128, 255)
		other := keyIn(t, "other", 128, 255)
		c.paid = []*payment{c.open(low, high, 10_000), c.open(high, low, 10_000), c.open(low, other, 10_000)}
		for range 30 {
			s := c.shards()[c.rng.IntN(2)]
			if c.rng.IntN(3) == 0 && c.main.Height() < shardtest.EpochBlocks-2 && s.Height > 0 {
				c.settle(s)
			} else {
				c.step(s, false)
			}
		}
		c.converge()
		c.compare(seed)
	}
}

// converge carries everything until nothing is left to carry.
func (c *carrier) converge() {
	c.t.Helper()
	for range 40 {
		moved := 0
		for _, s := range c.shards() {
			c.settle(s)
			c.handOver()
		}
		for _, s := range c.shards() {
			moved += c.step(s, true)
		}
		if a, b := shardblock.Backlog(c.left.State), shardblock.Backlog(c.right.State); moved == 0 && a.Outbox+b.Outbox == 0 {
			return
		}
	}
	c.t.Fatalf("messages are under way for ever: %+v and %+v", shardblock.Backlog(c.left.State), shardblock.Backlog(c.right.State))
}

// handOver tells both shards of the next committee of main.
func (c *carrier) handOver() {
	if c.main.Height()%shardtest.EpochBlocks != 0 {
		return
	}
	r := &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: []shardblock.Handover{c.main.Handover()}}}
	for _, s := range c.shards() {
		s.Block(relays(r))
	}
}

// compare requires that what was booked has been earned, and replays all blocks.
func (c *carrier) compare(seed uint64) {
	c.t.Helper()
	left, right := service.ReadTotals(c.left.State), service.ReadTotals(c.right.State)
	if f := service.InFlight(left, right); f != (service.Sums{}) {
		c.t.Errorf("seed %d: %+v is under way for ever", seed, f)
	}
	if booked, earned := left.Booked.Plus(right.Booked), left.Earned.Plus(right.Earned); booked != earned || booked.Amount == 0 {
		c.t.Errorf("seed %d: %+v booked and %+v earned", seed, booked, earned)
	}
	for _, s := range c.shards() {
		again := shardtest.Begin(c.main, s.Genesis)
		for _, b := range s.Blocks {
			again.Block(b.Relays, b.Txs...)
		}
		if again.State.Hash() != s.State.Hash() || again.Checkpoints[again.Height-1] != s.Checkpoints[s.Height-1] {
			c.t.Errorf("seed %d: the blocks of shard %d make another state again", seed, s.Genesis.Service.Shard.Chain)
		}
	}
}
