package link_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard/link"
)

// The simulation: chains that own places, split and merge; messages that carry
// value, some of which are refused and some of which are passed on; anchors that
// come late; relays that drop, repeat, reorder, delay and lie; leaves that nobody
// has any more; and a shard whose whole committee forges.

var simSeed = flag.Uint64("seed", 0, "run the simulation with this seed only")

const (
	simSeeds  = 1_000
	simTicks  = 60
	simMoney  = 1_000_000 // of each place at first
	simDrains = 60        // rounds in which everything has to end
)

// TestSimulation runs simSeeds seeds. A failure names its seed; -seed runs it again.
func TestSimulation(t *testing.T) {
	t.Parallel()
	const shares = 8
	for share := range uint64(shares) {
		t.Run(fmt.Sprint("share ", share), func(t *testing.T) {
			t.Parallel()
			var all simCounts
			for seed := 1 + share; seed <= simSeeds; seed += shares {
				if *simSeed != 0 && seed != *simSeed {
					continue
				}
				s := newSim(seed)
				s.run()
				if s.failure != "" {
					t.Fatalf("seed %d: %s (again with -run TestSimulation -seed %d)", seed, s.failure, seed)
				}
				all.add(&s.counts)
			}
			if *simSeed == 0 {
				all.check(t)
			}
		})
	}
	if *simSeed > simSeeds {
		t.Fatalf("seed %d is not one of 1 to %d", *simSeed, simSeeds)
	}
}

// TestSimulationRepeats: a seed gives the same run each time.
func TestSimulationRepeats(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := newSim(seed), newSim(seed)
		a.run()
		b.run()
		if a.digest != b.digest || a.counts != b.counts {
			t.Errorf("seed %d has two runs", seed)
		}
	}
}

// simCounts say what happened, so that a simulation in which nothing happens fails.
type simCounts struct {
	sent, executed, bounced, expired, returned, forwarded       int
	lies, repeats, gaps, relisted, reacked, lost, split, merged int
}

func (c *simCounts) add(d *simCounts) {
	for i, n := range d.all() {
		*c.all()[i] += *n
	}
}

func (c *simCounts) all() []*int {
	return []*int{
		&c.sent, &c.executed, &c.bounced, &c.expired, &c.returned, &c.forwarded,
		&c.lies, &c.repeats, &c.gaps, &c.relisted, &c.reacked, &c.lost, &c.split, &c.merged,
	}
}

func (c *simCounts) check(t *testing.T) {
	t.Helper()
	for i, n := range c.all() {
		if *n < 20 {
			t.Errorf("count %d is %d: %+v", i, *n, *c)
		}
	}
}

// simChain is a chain of the simulation.
type simChain struct {
	id          ledger.ChainID
	zone        byte
	first, last uint8
	base        uint64 // anchor clock before its first block
	state       *memory
	height      uint64
	anchored    uint64
	boxes       map[uint64]*link.Outbox // those with leaves that somebody has
	roots       map[uint64]ledger.Hash
	heights     []uint64 // of boxes, ascending
	ended       bool
}

func (c *simChain) owns(p link.Place) bool {
	return p.Service == 1 && p.Zone == c.zone && c.first <= p.Bucket && p.Bucket <= c.last
}

type message struct {
	l   link.Link
	seq uint64
}

// fate is what became of a value that was sent.
type fate struct{ value, executed, returned int }

type sim struct {
	*rand.Rand
	places  []link.Place
	chains  []*simChain // by id-2, ended ones too
	fates   map[uint64]*fate
	phases  map[message]link.Phase
	next    map[link.Link]uint64 // receipts so far
	acked   map[link.Link]uint64
	digest  ledger.Hash
	counts  simCounts
	failure string
}

func newSim(seed uint64) *sim {
	s := &sim{
		Rand:  rand.New(rand.NewPCG(seed, 0)),
		fates: map[uint64]*fate{}, phases: map[message]link.Phase{}, next: map[link.Link]uint64{}, acked: map[link.Link]uint64{},
	}
	for zone, buckets := range [][]uint8{{0, 60, 128, 200}, {10, 250}, {77}} {
		c := s.found(byte(zone), 0, 255, 0)
		for _, b := range buckets {
			s.places = append(s.places, link.Place{Service: 1, Zone: byte(zone), Bucket: b})
			c.state.apply(chain.Changes{{Key: []byte{'b', b}, Value: binary.BigEndian.AppendUint64(nil, simMoney)}})
		}
	}
	return s
}

func (s *sim) found(zone byte, first, last uint8, base uint64) *simChain {
	c := &simChain{
		id: ledger.ChainID(len(s.chains) + 2), zone: zone, first: first, last: last, base: base,
		state: newMemory(), boxes: map[uint64]*link.Outbox{}, roots: map[uint64]ledger.Hash{},
	}
	s.chains = append(s.chains, c)
	return c
}

// liar is the shard whose committee forges: it owns the last place.
func (s *sim) liar() link.Place { return s.places[len(s.places)-1] }

func (s *sim) owner(p link.Place) *simChain {
	for _, c := range s.chains {
		if !c.ended && c.owns(p) {
			return c
		}
	}
	panic(fmt.Sprintf("nobody owns %s", p))
}

func (s *sim) failf(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
	}
}

// Anchored and Owned say what main anchored: link.Anchors.
func (s *sim) Anchored(id ledger.ChainID, height uint64) (link.Anchored, bool) {
	if id < 2 || int(id)-2 >= len(s.chains) {
		return link.Anchored{}, false
	}
	c := s.chains[id-2]
	if height == 0 || height > c.anchored {
		return link.Anchored{}, false
	}
	return link.Anchored{Outbox: c.roots[height], Clock: c.base + height, Newest: c.base + c.anchored}, true
}

func (s *sim) Owned(id ledger.ChainID, _ uint64, p link.Place) bool { return s.chains[id-2].owns(p) }

// Execute and Return move the value: link.Handler.
func (s *sim) Execute(c *link.Context, m *link.Message) error {
	id, value, mode := parse(m.Payload)
	s.credit(c.State, m.Link.Dst, value)
	switch mode {
	case 1: // after it has changed something
		return chain.Refuse(chain.CodeUnderfunded, "refused")
	case 2:
		to := s.places[id%uint64(len(s.places))]
		if err := s.send(c, m.Link.Dst, to, value, 0); err != nil {
			return chain.Refuse(chain.CodeLinkFull, "cannot be passed on: %v", err)
		}
		s.counts.forwarded++
	}
	s.fates[id].executed++
	return nil
}

func (s *sim) Return(c *link.Context, m, sent *link.Message) {
	id, value, _ := parse(m.Payload)
	if m.Code == chain.CodeMessageExpired && c.Clock <= sent.Expiry {
		s.failf("message %d of %s expired at %d, and the clock is %d", sent.Seq, sent.Link, sent.Expiry, c.Clock)
	}
	s.credit(c.State, m.Link.Dst, value)
	s.fates[id].returned++
}

func parse(payload []byte) (id uint64, value int, mode byte) {
	return binary.BigEndian.Uint64(payload), int(binary.BigEndian.Uint64(payload[8:])), payload[16]
}

func (s *sim) credit(o *chain.Overlay, p link.Place, value int) {
	k := []byte{'b', p.Bucket}
	before := int(binary.BigEndian.Uint64(o.Get(k)))
	if before+value < 0 {
		s.failf("%s has %d and loses %d", p, before, -value)
	}
	o.Set(k, binary.BigEndian.AppendUint64(nil, uint64(before+value)))
}

// send moves value out of a place into a message.
func (s *sim) send(c *link.Context, from, to link.Place, value int, mode byte) error {
	id := uint64(len(s.fates))
	payload := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id), uint64(value))
	m, err := c.Send(link.Draft{
		Link: link.Link{Src: from, Dst: to}, Lifetime: 1 + s.Uint64N(60), Payload: append(payload, mode),
		Sender: ledger.Address{1}, Recipient: ledger.Address{2},
	})
	if err != nil {
		return err
	}
	s.credit(c.State, from, -value)
	s.fates[id] = &fate{value: value}
	s.phases[message{m.Link, m.Seq}] = link.PhaseCommitted
	s.counts.sent++
	return nil
}

// block makes a block of c with what txs say; a transaction that fails is undone.
func (s *sim) block(c *simChain, txs ...func(ctx *link.Context) error) {
	o := chain.NewOverlay(c.state)
	for _, tx := range txs {
		child := chain.NewOverlay(o)
		ctx := &link.Context{State: child, Here: c.owns, Height: c.height + 1, Clock: c.base + c.height + 1}
		if err := tx(ctx); err == nil {
			o.Merge(child)
		} else if child.Len() != 0 {
			s.failf("refused with %v, but %d keys changed", err, child.Len())
		}
	}
	changes := o.Changes()
	box, err := link.NewOutbox(changes)
	if err != nil {
		s.failf("outbox: %v", err)
		return
	}
	c.state.apply(changes)
	c.height++
	c.roots[c.height] = box.Root()
	if len(box.Leaves()) > 0 {
		c.boxes[c.height] = box
		c.heights = append(c.heights, c.height)
	}
	for _, change := range changes {
		s.digest = ledger.HashOf("sim", s.digest[:], change.Key, change.Value)
	}
}

// forget loses the leaves of a block.
func (s *sim) forget(c *simChain, height uint64) {
	if c.boxes[height] != nil {
		delete(c.boxes, height)
		c.heights = slices.DeleteFunc(c.heights, func(h uint64) bool { return h == height })
		s.counts.lost++
	}
}

// bring is a transaction with an import. An honest one is taken, or too early, or
// too late; a lie is refused.
func (s *sim) bring(in *link.Import, lie bool) func(ctx *link.Context) error {
	return func(ctx *link.Context) error {
		receipts, err := ctx.Apply(in, s, s)
		switch code, ok := chain.CodeOf(err); {
		case !ok:
			s.failf("import refused without a code: %v", err)
		case lie && code == chain.CodeOK:
			s.failf("a lie is taken: %+v", in)
		case lie:
			s.counts.lies++
		case code == chain.CodeLinkGap:
			s.counts.gaps++
		case code == chain.CodeLinkRepeat:
			s.counts.repeats++
		case code != chain.CodeOK && code != chain.CodeNothingNew:
			s.failf("an honest import is refused: %v", err)
		}
		for _, r := range receipts {
			s.receive(r)
		}
		return err
	}
}

// receive checks that what happened was next, and possible.
func (s *sim) receive(r link.Receipt) {
	move := func(m message, events ...link.Event) {
		for _, e := range events {
			next, ok := s.phases[m].Next(e)
			if !ok {
				s.failf("message %d of %s: event %d in phase %s", m.seq, m.l, e, s.phases[m])
			}
			s.phases[m] = next
		}
	}
	if r.Result == link.Acked {
		for ; s.acked[r.Link] < r.Seq; s.acked[r.Link]++ {
			move(message{r.Link, s.acked[r.Link]}, link.EventAck)
		}
		return
	}
	if s.next[r.Link] != r.Seq {
		s.failf("message %d of %s is taken, %d is next", r.Seq, r.Link, s.next[r.Link])
	}
	s.next[r.Link]++
	m := message{r.Link, r.Seq}
	if r.Result == link.Returned && s.phases[m] == 0 { // bounces are not sent by send
		s.phases[m] = link.PhaseCommitted
	}
	end := map[link.Result]link.Event{
		link.Executed: link.EventExecute, link.Returned: link.EventExecute, link.Bounced: link.EventBounce, link.Expired: link.EventExpire,
	}[r.Result]
	move(m, link.EventAnchor, link.EventDeliver, end)
	*map[link.Result]*int{
		link.Executed: &s.counts.executed, link.Returned: &s.counts.returned, link.Bounced: &s.counts.bounced, link.Expired: &s.counts.expired,
	}[r.Result]++
}

// relay returns imports for c: of random blocks, whole or in part, so that some come
// twice, in the wrong order or never; and some are lies.
func (s *sim) relay(c *simChain) (txs []func(ctx *link.Context) error) {
	for range s.IntN(5) {
		from := s.chains[s.IntN(len(s.chains))]
		if len(from.heights) == 0 {
			continue
		}
		recent := from.heights[max(0, len(from.heights)-12):]
		height := recent[s.IntN(len(recent))]
		begin, end := from.boxes[height].Span(link.Place{Service: 1, Zone: c.zone, Bucket: c.first}, link.Place{Service: 1, Zone: c.zone, Bucket: c.last})
		if begin == end || height > from.anchored {
			continue
		}
		if s.IntN(4) == 0 { // a part of it
			begin += s.IntN(end - begin)
			end = begin + 1 + s.IntN(end-begin)
		}
		in, err := from.boxes[height].Import(from.id, height, begin, end)
		if err != nil {
			s.failf("prove leaves %d to %d: %v", begin, end, err)
			continue
		}
		if s.IntN(6) == 0 {
			txs = append(txs, s.bring(s.lie(c, &in), true))
		} else {
			txs = append(txs, s.bring(&in, false))
		}
	}
	return txs
}

// lie returns something that is not what in proves.
func (s *sim) lie(c *simChain, in *link.Import) *link.Import {
	bad := *in
	bad.Leaves = slices.Clone(in.Leaves)
	bad.Range.Path = slices.Clone(in.Range.Path)
	at := s.IntN(len(bad.Leaves))
	l := &bad.Leaves[at]
	switch s.IntN(8) {
	case 0:
		bad.Height = s.chains[in.Shard-2].anchored + 1
	case 1:
		bad.Leaves = append(bad.Leaves, bad.Leaves[at])
	case 2:
		bad.Range.Path = append(bad.Range.Path, ledger.Hash{})
	case 3, 4:
		return s.forge(c)
	default:
		if l.Ack != nil {
			a := *l.Ack
			a.Next++
			l.Ack = &a
			break
		}
		m := *l.Message
		switch s.IntN(3) {
		case 0:
			m.Seq += 1 + s.Uint64N(3)
		case 1:
			m.Payload = append(slices.Clone(m.Payload[:15]), m.Payload[15]+1, m.Payload[16])
		default:
			m.Recipient[0]++
		}
		l.Message = &m
	}
	return &bad
}

// forge returns an import with which the shard that lies speaks for another
// place, certified and anchored as it is.
func (s *sim) forge(c *simChain) *link.Import {
	liar := s.owner(s.liar())
	from, to := s.places[s.IntN(len(s.places)-1)], s.places[0]
	for _, p := range s.places {
		if c.owns(p) {
			to = p
		}
	}
	l := link.Link{Src: from, Dst: to}
	leaf := link.Leaf{Message: &link.Message{
		Link: l, Seq: link.InboundAt(c.state, l).Next, Expiry: 1 << 60, Payload: binary.BigEndian.AppendUint64(make([]byte, 8), 1_000_000),
	}}
	if s.IntN(2) == 0 { // everything was received
		l = l.Reverse()
		leaf = link.Leaf{Ack: &link.Ack{Link: l, Next: link.OutboundAt(c.state, l).Next}}
	}
	if from == to || c.owns(s.liar()) {
		leaf = link.Leaf{Ack: &link.Ack{Link: link.Link{Src: to, Dst: s.liar()}, Next: 1 << 40}}
	}
	tree, err := merkle.New([][]byte{leaf.Encode()})
	if err != nil {
		s.failf("forge: %v", err)
	}
	proof, err := tree.Range(0, 1)
	if err != nil {
		s.failf("forge: %v", err)
	}
	liar.height++
	s.forget(liar, liar.height)
	liar.roots[liar.height], liar.anchored = tree.Root(), liar.height
	return &link.Import{Shard: liar.id, Height: liar.height, Range: proof, Leaves: []link.Leaf{leaf}}
}
