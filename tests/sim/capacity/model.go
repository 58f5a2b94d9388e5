package main

import (
	"math"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// Costs are what operations take: microseconds of one processor, bytes on the wire, and
// the weight that blocks of main count.
type Costs struct {
	BookVerify, BookApply float64 // a booking: its share of signatures, the rules
	Send                  float64 // a message: sending it, and its leaf of the outbox
	Import, ImportLeaf    float64 // an import, and each message or acknowledgement in it
	Vote, Assemble        float64 // a member's signature of a block; making the certificate of a committee
	CertVerify            float64 // verifying one
	Anchor, AnchorHeight  float64 // on main: a run of heights, and each height
	SettleVerify, Settle  float64 // on main: an entry of a settlement

	BookBytes                        float64
	ImportBytes, LeafBytes           float64
	AnchorBytes, AnchorHeightBytes   float64
	SettleBytes                      float64
	AnchorWeight, AnchorHeightWeight float64
	SettleWeight                     float64
}

// Network is what is assumed of the network.
type Network struct {
	Validators float64 // all of which run main, and shards by lot
	Seats      float64 // of a shard

	Cores     float64 // of a validator, for main and all its shards
	Busy      float64 // share of them that is used at most
	Book      float64 // microseconds per booking beside signatures and rules: store, pool, consensus, index
	Node      float64 // the same per entry of a settlement, anchor or import
	Bandwidth float64 // of a validator, likewise for all, bytes per second, both directions together
	Gossip    float64 // bytes that a validator sends and receives for each byte of a block

	MainInterval      time.Duration // and of shards, unless shards.block_interval says more
	ShardIntervalMost time.Duration // that shards.block_interval may say
	Finality          time.Duration // from a block's time to its certificate
	Relay             time.Duration // from there to the pool of another chain

	BlockBytes   float64 // of a block of main
	BlockWeight  float64 // likewise
	ShardBytes   float64 // of a block of a shard
	PerPayee     float64 // bookings of a payee in a second: those of a block go as one message
	Settled      float64 // entries of settlements for each booking
	Units        float64 // billing units that a booking is about
	Unacked      float64 // messages under way on a link
	Buckets      float64 // of a zone: a shard's links to each shard
	AnchorMost   int     // heights per anchor, at most
	AnchorsShare float64 // of main that anchors have whatever else main is asked for
}

// defaultNetwork returns a network with the parameters that a genesis has by default.
func defaultNetwork() Network {
	main, limits := settlement.DefaultParams(), zone.DefaultLimits()
	return Network{
		Validators: 1_000, Seats: members,
		Cores: 2, Busy: 0.7, Book: 80, Node: 15, Bandwidth: 12.5e6, Gossip: 4.4,
		MainInterval: time.Duration(main.BlockInterval) * time.Millisecond, ShardIntervalMost: time.Minute,
		Finality: 100 * time.Millisecond, Relay: 200 * time.Millisecond,
		BlockBytes: float64(main.MaxBlockBytes), BlockWeight: float64(main.MaxBlockWeight()), ShardBytes: float64(limits.BlockBytes),
		PerPayee: 64, Settled: 1.0 / 60, Units: 32, Unacked: float64(limits.LinkMessages), Buckets: shard.Buckets,
		AnchorMost: anchor.Window, AnchorsShare: 1.0 / exec.ShardsPart,
	}
}

// Load is how busy a part of the network is: 1 is all that it can do.
type Load struct {
	Part  string
	Share float64
}

// The parts. Processors and lines are those of a validator, on which main and its seats
// come together: the name says which of them has more of it.
const (
	seatsCPU       = "CPU of a validator, mostly for its seats"
	mainCPU        = "CPU of a validator, mostly for main"
	seatsBandwidth = "bandwidth of a validator, mostly for its seats"
	mainBandwidth  = "bandwidth of a validator, mostly for main"
	shardBytes     = "bytes of a shard's blocks"
	linkRoom       = "room of a link"
)

// mainParts are in the order of Main.
func mainParts() [4]string {
	return [4]string{mainCPU, "bytes of main's blocks", "weight of main's blocks", mainBandwidth}
}

// Main is the shares that something takes of main: of the processors of a validator, of
// the bytes and of the weight of its blocks, and of the bandwidth of a validator.
type Main [4]float64

func (m Main) plus(o Main) Main {
	for i := range m {
		m[i] += o[i]
	}
	return m
}

// most returns the largest share and which one it is.
func (m Main) most() (share float64, at int) {
	for i := range m {
		if m[i] > m[at] {
			at = i
		}
	}
	return m[at], at
}

// Plan is how a network of so many shards is run.
type Plan struct {
	Shards   int
	Interval time.Duration // of shards' blocks
	Heights  int           // per anchor: a run that waits for main gets longer
}

// enough is the share of what the best plan carries that a plan must carry.
const enough = 0.95

// plan returns the plan for so many shards: of those in which anchors take no more than
// their share of main and that carry about as much as any, the one in which messages
// arrive first.
func (n *Network) plan(c *Costs, shards int) Plan {
	var plans []Plan
	var carries []float64
	for interval := n.MainInterval; interval <= n.ShardIntervalMost; interval *= 2 {
		for heights := 1; heights <= n.AnchorMost; heights *= 2 {
			p := Plan{Shards: shards, Interval: interval, Heights: heights}
			if share, _ := n.anchors(c, p).most(); share <= n.AnchorsShare {
				each, _ := n.most(c, p)
				plans, carries = append(plans, p), append(carries, each)
			}
		}
	}
	if len(plans) == 0 {
		return Plan{Shards: shards, Interval: n.ShardIntervalMost, Heights: n.AnchorMost}
	}
	best, least := -1, enough*slices.Max(carries)
	for i, p := range plans {
		if carries[i] >= least && (best < 0 || n.latency(p) < n.latency(plans[best])) {
			best = i
		}
	}
	return plans[best]
}

// anchors returns what anchors take of main.
func (n *Network) anchors(c *Costs, p Plan) Main {
	heights := float64(p.Shards) / p.Interval.Seconds() // a second
	runs := heights / float64(p.Heights)
	return n.anchorsOf(c, runs, heights)
}

// anchorsOf returns what so many runs with so many heights in a second take.
func (n *Network) anchorsOf(c *Costs, runs, heights float64) Main {
	return n.share(
		runs*(c.Anchor+n.Node)+heights*c.AnchorHeight,
		runs*c.AnchorBytes+heights*c.AnchorHeightBytes,
		runs*c.AnchorWeight+heights*c.AnchorHeightWeight,
	)
}

// settle returns what settlements take of main at so many bookings a second in all.
func (n *Network) settle(c *Costs, bookings float64) Main {
	entries := bookings * n.Settled
	return n.share(entries*(c.SettleVerify+c.Settle+n.Node), entries*c.SettleBytes, entries*c.SettleWeight)
}

// share returns what microseconds, bytes and weight a second are of main.
func (n *Network) share(micros, size, weight float64) Main {
	interval := n.MainInterval.Seconds()
	return Main{micros / 1e6 / (n.Cores * n.Busy), size * interval / n.BlockBytes, weight * interval / n.BlockWeight, size * n.Gossip / n.Bandwidth}
}

// messages returns how many messages and imports a shard takes in a second, if each
// shard books so much.
func (n *Network) messages(p Plan, bookings float64) (messages, imports float64) {
	others := float64(p.Shards - 1)
	if others == 0 {
		return 0, 0
	}
	// A payee's bookings of a block go as one message.
	interval := p.Interval.Seconds()
	perBlock := bookings / n.PerPayee * others / float64(p.Shards)
	// Messages and as many acknowledgements come from others at random; each other one
	// that has any is an import.
	leaves := 2 * perBlock
	sources := others * (1 - math.Pow(1-1/max(others, 2), leaves))
	if others == 1 {
		sources = min(1, leaves)
	}
	return perBlock / interval, sources / interval
}

// loads returns how busy each part is if each shard books so many vouchers a second.
func (n *Network) loads(c *Costs, p Plan, bookings float64) []Load {
	messages, imports := n.messages(p, bookings)
	interval, cpu := p.Interval.Seconds(), 1e6*n.Cores*n.Busy
	block := (c.Vote+c.Assemble)/interval + c.CertVerify/n.MainInterval.Seconds()
	work := bookings*(c.BookVerify+c.BookApply+n.Book) + messages*(c.Send+2*c.ImportLeaf) + imports*(c.Import+n.Node)
	size := bookings*c.BookBytes + 2*messages*c.LeafBytes + imports*c.ImportBytes
	// A message is under way until its acknowledgement has come back.
	underWay := messages * 2 * n.latency(p) / max(1, n.Buckets*float64(p.Shards-1))
	all := bookings * float64(p.Shards)
	main, seats := n.anchors(c, p).plus(n.settle(c, all)), n.seats(p)
	parts := mainParts()
	return []Load{
		together(seats*(work+block)/cpu, seatsCPU, main[0], mainCPU),
		together(seats*size*n.Gossip/n.Bandwidth, seatsBandwidth, main[3], mainBandwidth),
		{shardBytes, size * interval / n.ShardBytes},
		{linkRoom, underWay / n.Unacked},
		{parts[1], main[1]},
		{parts[2], main[2]},
	}
}

// seats returns how many seats a validator has, if they are dealt evenly: who has one
// less is not who limits the network. Lots give some validators more.
func (n *Network) seats(p Plan) float64 {
	return math.Ceil(n.Seats * float64(p.Shards) / max(n.Validators, n.Seats))
}

// together returns the load of what a validator has for its seats and for main.
func together(seats float64, seatsPart string, main float64, mainPart string) Load {
	if seats < main {
		return Load{mainPart, seats + main}
	}
	return Load{seatsPart, seats + main}
}

// latency returns about how many seconds a message takes.
func (n *Network) latency(p Plan) float64 {
	wait := p.Interval * time.Duration(p.Heights) / 2
	return (wait + n.MainInterval/2 + n.Finality + n.Relay + p.Interval/2).Seconds()
}

// busiest returns the part that is busiest.
func busiest(loads []Load) Load {
	most := loads[0]
	for _, l := range loads[1:] {
		if l.Share > most.Share {
			most = l
		}
	}
	return most
}

// most returns how many bookings a second each shard can take, and what limits it.
func (n *Network) most(c *Costs, p Plan) (bookings float64, first Load) {
	low, high := 0.0, 1e9
	for range 100 {
		middle := (low + high) / 2
		if busiest(n.loads(c, p, middle)).Share > 1 {
			high = middle
		} else {
			low = middle
		}
	}
	return low, busiest(n.loads(c, p, low))
}

// enough returns the network with as few validators as carry, with so many shards, about
// what any number of them would.
func (n *Network) enough(c *Costs, shards int) *Network {
	with := func(seats int) (*Network, float64) {
		r := *n
		r.Validators = math.Ceil(n.Seats * float64(shards) / float64(seats))
		each, _ := r.most(c, r.plan(c, shards))
		return &r, each
	}
	best, all := with(1)
	few, many := 1, shards+1 // seats of a validator: few carry enough, many do not
	for many-few > 1 {
		middle := (few + many) / 2
		if r, each := with(middle); each >= enough*all {
			few, best = middle, r
		} else {
			many = middle
		}
	}
	return best
}
