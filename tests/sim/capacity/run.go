package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

const (
	// warm is how long a network runs before anything is counted, long how long after.
	warm = 60 * time.Second
	long = 240 * time.Second
	// minBlocks is how many blocks of a shard are run at least.
	minBlocks = 32
	// groups is into how many groups of messages, with one destination each, the messages
	// of a block are put. They have weights, so a block's work is what it would be.
	groups = 16
	bin    = 10 * time.Millisecond // of latencies
)

// Figures are what a run gives.
type Figures struct {
	Bookings float64       // a second, in all
	P50, P95 time.Duration // from the block that sends a message to the one that executes it
	Backlog  float64       // seconds of main's work that waited in the end, at most
}

// group is messages of one block for one shard.
type group struct {
	to     int
	weight float64
	sent   time.Duration
}

// happening is an event of a run.
type happening struct {
	at    time.Duration
	order int
	do    func()
}

type happenings []happening

// Len is part of heap.Interface.
func (h *happenings) Len() int { return len(*h) }

// Less is part of heap.Interface.
func (h *happenings) Less(i, j int) bool {
	a, b := &(*h)[i], &(*h)[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

// Swap is part of heap.Interface.
func (h *happenings) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push is part of heap.Interface.
func (h *happenings) Push(x any) { *h = append(*h, x.(happening)) } //nolint:errcheck // nothing else is pushed

// Pop is part of heap.Interface.
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// anchorJob is an anchor that waits for main, with what it makes provable.
type anchorJob struct {
	work   Main // seconds of it
	groups []group
}

// machine is a network that runs.
type machine struct {
	net    *Network
	costs  *Costs
	plan   Plan
	each   float64 // bookings a second of each shard
	seat   float64 // microseconds a second that a validator has for one of its seats
	rng    *rand.Rand
	now    time.Duration
	end    time.Duration
	queue  happenings
	order  int
	shards []lane
	// anchors and settlements wait for main.
	anchors []anchorJob
	settle  Main // seconds of it
	// latencies are counted by bins, weighted.
	latencies []float64
	booked    float64
}

// lane is one shard.
type lane struct {
	inbox   []group // what may be imported
	pending []group // sent since the last anchor
	blocks  int
	queued  float64 // bookings that wait
}

// simulate runs a network at so many bookings a second of each shard.
func simulate(n *Network, c *Costs, p Plan, each float64) Figures {
	m := &machine{net: n, costs: c, plan: p, each: each, rng: rand.New(rand.NewPCG(uint64(p.Shards), 1)), shards: make([]lane, p.Shards)}
	all := n.anchors(c, p).plus(n.settle(c, each*float64(p.Shards)))
	m.seat = 1e6 * n.Cores * n.Busy * max(0, 1-all[0]) / n.seats(p)
	m.end = max(warm+long, warm+minBlocks*p.Interval)
	for i := range m.shards {
		m.shards[i].blocks = m.rng.IntN(p.Heights) // anchors of shards are not in step
		m.after(time.Duration(m.rng.Int64N(int64(p.Interval))), func() { m.block(i) })
	}
	m.after(n.MainInterval, m.main)
	for len(m.queue) > 0 {
		e := heap.Pop(&m.queue).(happening) //nolint:errcheck // the heap has nothing else
		if m.now = e.at; m.now > m.end {
			break
		}
		e.do()
	}
	f := Figures{Bookings: m.booked / (m.end - warm).Seconds(), P50: m.quantile(0.50), P95: m.quantile(0.95)}
	waits := m.settle
	for _, a := range m.anchors {
		waits = waits.plus(a.work)
	}
	f.Backlog, _ = waits.most()
	return f
}

func (m *machine) after(d time.Duration, do func()) {
	m.order++
	heap.Push(&m.queue, happening{m.now + d, m.order, do})
}

// block is a block of a shard: imports first, as many as fit half of it while there are
// bookings, then bookings.
func (m *machine) block(i int) {
	s, c, n := &m.shards[i], m.costs, m.net
	m.after(m.plan.Interval*time.Duration(90+m.rng.IntN(21))/100, func() { m.block(i) })
	budget := m.seat*m.plan.Interval.Seconds() - c.Vote - c.Assemble - c.CertVerify*m.plan.Interval.Seconds()/n.MainInterval.Seconds()
	_, imports := n.messages(m.plan, m.each)
	budget -= imports * m.plan.Interval.Seconds() * (c.Import + n.Node)
	room := budget / 2
	taken := 0
	for _, g := range s.inbox {
		// The message here, and its acknowledgement at the other end, which others take for
		// those of this shard.
		work := g.weight * 2 * c.ImportLeaf
		if work > room && taken > 0 {
			break
		}
		room, budget = room-work, budget-work
		m.count(g)
		taken++
	}
	s.inbox = s.inbox[taken:]
	s.queued += m.each * m.plan.Interval.Seconds() * (0.9 + 0.2*m.rng.Float64())
	messages, _ := n.messages(m.plan, m.each)
	perBooking := c.BookVerify + c.BookApply + n.Book + messages/max(m.each, 1e-9)*c.Send
	booked := max(0, min(s.queued, budget/perBooking))
	s.queued -= booked
	if m.now >= warm {
		m.booked += booked
	}
	m.settle = m.settle.plus(n.settle(c, booked))
	m.send(i, booked/max(m.each, 1e-9)*messages)
	s.blocks++
	if s.blocks%m.plan.Heights == 0 {
		job := anchorJob{work: n.anchorsOf(c, 1, float64(m.plan.Heights)), groups: s.pending}
		s.pending = nil
		m.after(n.Finality+n.Relay, func() { m.anchors = append(m.anchors, job) })
	}
}

// send puts so many messages into groups.
func (m *machine) send(from int, messages float64) {
	if messages == 0 {
		return
	}
	for range groups {
		to := m.rng.IntN(m.plan.Shards - 1)
		if to >= from {
			to++
		}
		m.shards[from].pending = append(m.shards[from].pending, group{to: to, weight: messages / groups, sent: m.now})
	}
}

// main is a block of main: anchors first, then settlements.
func (m *machine) main() {
	m.after(m.net.MainInterval, m.main)
	budget, used := m.net.MainInterval.Seconds(), Main{}
	taken := 0
	for _, a := range m.anchors {
		next := used.plus(a.work)
		if most, _ := next.most(); most > budget {
			break
		}
		used = next
		taken++
		m.after(m.net.Finality+m.net.Relay, func() {
			for _, g := range a.groups {
				m.shards[g.to].inbox = append(m.shards[g.to].inbox, g)
			}
		})
	}
	m.anchors = m.anchors[taken:]
	for i := range m.settle {
		m.settle[i] = max(0, m.settle[i]-max(0, budget-used[i]))
	}
}

// count notes when messages are executed.
func (m *machine) count(g group) {
	if g.sent < warm {
		return
	}
	at := int((m.now - g.sent) / bin)
	for len(m.latencies) <= at {
		m.latencies = append(m.latencies, 0)
	}
	m.latencies[at] += g.weight
}

func (m *machine) quantile(q float64) time.Duration {
	all := 0.0
	for _, w := range m.latencies {
		all += w
	}
	sum := 0.0
	for at, w := range m.latencies {
		if sum += w; sum >= q*all && all > 0 {
			return time.Duration(at) * bin
		}
	}
	return 0
}
