package relay_test

import (
	"bytes"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// rows is a state in memory.
type rows map[string][]byte

func (r rows) Get(key []byte) []byte { return r[string(key)] }

func (r rows) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(r)) {
			if strings.HasPrefix(k, string(prefix)) && !yield([]byte(k), r[k]) {
				return
			}
		}
	}
}

func (r rows) apply(changes chain.Changes) {
	for _, c := range changes {
		if c.Value == nil {
			delete(r, string(c.Key))
		} else {
			r[string(c.Key)] = bytes.Clone(c.Value)
		}
	}
}

// place is a chain with nothing but links: a few buckets of a zone.
type place struct {
	id     ledger.ChainID
	first  uint8
	state  rows
	boxes  []*link.Outbox
	lost   map[uint64]bool // outboxes that nobody has any more
	got    map[link.Link][]uint64
	codes  map[chain.Code]int
	failed map[link.Link]int
}

const width = 4

func newPlace(id ledger.ChainID, first uint8) *place {
	return &place{
		id: id, first: first, state: rows{}, lost: map[uint64]bool{}, got: map[link.Link][]uint64{},
		codes: map[chain.Code]int{}, failed: map[link.Link]int{},
	}
}

func (p *place) head() uint64 { return uint64(len(p.boxes)) }
func (p *place) at(i int) link.Place {
	return link.Place{Service: 1, Zone: 1, Bucket: p.first + uint8(i)}
}
func (p *place) here(q link.Place) bool { return q.Bucket >= p.first && q.Bucket < p.first+width }
func (p *place) box(h uint64) (*link.Outbox, bool, error) {
	if p.lost[h] {
		return nil, false, nil
	}
	return p.boxes[h-1], true, nil
}

// Execute refuses payloads that begin with "no".
func (p *place) Execute(_ *link.Context, m *link.Message) error {
	p.got[m.Link] = append(p.got[m.Link], m.Seq)
	if bytes.HasPrefix(m.Payload, []byte("no")) {
		return chain.Refuse(chain.CodeInsufficientBalance, "no")
	}
	return nil
}

// Return takes a bounce.
func (p *place) Return(_ *link.Context, m, _ *link.Message) {
	p.got[m.Link] = append(p.got[m.Link], m.Seq)
	p.failed[m.Link.Reverse()]++
}

// known is what a place believes of the other's blocks: everything up to a height.
type known struct {
	of *place
	to uint64
}

func (k known) Anchored(_ ledger.ChainID, h uint64) (link.Anchored, bool) {
	if h > k.to {
		return link.Anchored{}, false
	}
	return link.Anchored{Outbox: k.of.boxes[h-1].Root(), Clock: h, Newest: k.to}, true
}

func (k known) Owned(_ ledger.ChainID, _ uint64, q link.Place) bool { return k.of.here(q) }

// block makes a block with imports in the order of their class, and messages.
func (p *place) block(t *testing.T, imports []link.Import, from known, work func(c *link.Context)) {
	t.Helper()
	o := chain.NewOverlay(p.state)
	c := &link.Context{State: o, Here: p.here, Height: p.head() + 1, Clock: p.head() + 1}
	for _, class := range []link.Class{link.ClassReturn, link.ClassInbound} {
		for i := range imports {
			if link.ClassOf(&imports[i]) != class {
				continue
			}
			decoded, err := link.DecodeImport(imports[i].Encode())
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Apply(&decoded, from, p)
			code, _ := chain.CodeOf(err)
			p.codes[code]++
		}
	}
	work(c)
	changes := o.Changes()
	p.state.apply(changes)
	box, err := link.NewOutbox(changes)
	if err != nil {
		t.Fatal(err)
	}
	p.boxes = append(p.boxes, box)
}

// cutsOf makes the imports of a load.
func cutsOf(t *testing.T, p *place, load *relay.Load) (list []link.Import) {
	t.Helper()
	for _, c := range load.Cuts {
		in, err := p.boxes[c.Height-1].Import(p.id, c.Height, c.Begin, c.End)
		if err != nil {
			t.Fatal(err)
		}
		if got := link.ClassOf(&in); got != c.Class {
			t.Fatalf("a cut of class %d makes an import of class %d", c.Class, got)
		}
		list = append(list, in)
	}
	return list
}

// world is two places and what a relay between them remembers.
type world struct {
	a, b       *place
	r          *rand.Rand
	toB, toA   *relay.Stock
	provA      uint64 // heights of a that can be proved to b
	provB      uint64
	sent, cuts int
}

func newWorld(seed uint64) *world {
	w := &world{a: newPlace(1, 0), b: newPlace(2, 100), r: rand.New(rand.NewPCG(seed, 1))}
	w.crash()
	return w
}

// crash forgets all that a relay remembers.
func (w *world) crash() {
	w.toB = relay.NewStock(w.b.at(0), w.b.at(width-1), w.a.head())
	w.toA = relay.NewStock(w.a.at(0), w.a.at(width-1), w.b.head())
}

func (w *world) work(p, q *place, n int) func(c *link.Context) {
	return func(c *link.Context) {
		for range w.r.IntN(n + 1) {
			payload := []byte("yes")
			if w.r.IntN(4) == 0 {
				payload = []byte("no")
			}
			_, err := c.Send(link.Draft{Link: link.Link{Src: p.at(w.r.IntN(width)), Dst: q.at(w.r.IntN(width))}, Payload: payload, Lifetime: link.MaxLifetime})
			if err == nil {
				w.sent++
			}
		}
	}
}

// carry plans from one place to another, and makes the destination's block with a
// part of it: some imports are dropped, from some one on.
func (w *world) carry(t *testing.T, s *relay.Stock, from, to *place, provable uint64, chaos bool, work int) (left relay.Load) {
	t.Helper()
	for {
		more, err := s.Read(from.head(), from.box)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	load := s.Plan(func(l link.Link) relay.Way { return relay.WayAt(to.state, l) }, func(h uint64) bool { return h <= provable }, 1+w.r.IntN(relay.MaxCuts))
	imports := cutsOf(t, from, &load)
	w.cuts += len(imports)
	if chaos && len(imports) > 0 && w.r.IntN(3) == 0 {
		imports = imports[:w.r.IntN(len(imports))]
	}
	to.block(t, imports, known{from, provable}, w.work(to, from, work))
	return load
}

func (w *world) done() bool {
	for _, p := range []*place{w.a, w.b} {
		for bucket := range 256 {
			for _, out := range link.Outbounds(p.state, uint8(bucket)) {
				if out.Unacked() > 0 {
					return false
				}
			}
		}
	}
	return true
}

// TestCarry: whatever is dropped, delayed and forgotten, everything arrives once and
// in order; no import that a plan gives is refused; and at the end nothing is
// wanted, sent or remembered.
func TestCarry(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		w := newWorld(seed)
		for step := range 40 {
			work := 6
			if step > 30 {
				work = 0
			}
			w.provA += uint64(w.r.IntN(int(w.a.head()-w.provA) + 1))
			w.provB += uint64(w.r.IntN(int(w.b.head()-w.provB) + 1))
			w.carry(t, w.toB, w.a, w.b, w.provA, true, work)
			w.carry(t, w.toA, w.b, w.a, w.provB, true, work)
			if w.r.IntN(10) == 0 {
				w.crash()
			}
		}
		for i := 0; !w.done(); i++ {
			if i > 400 {
				t.Fatalf("seed %d: not everything arrives", seed)
			}
			w.provA, w.provB = w.a.head(), w.b.head()
			w.carry(t, w.toB, w.a, w.b, w.provA, false, 0)
			w.carry(t, w.toA, w.b, w.a, w.provB, false, 0)
		}
		w.check(t, seed)
	}
}

func (w *world) check(t *testing.T, seed uint64) {
	t.Helper()
	got := 0
	for _, p := range []*place{w.a, w.b} {
		for code, n := range p.codes {
			if code != chain.CodeOK {
				t.Errorf("seed %d: %d imports were refused with %s", seed, n, code)
			}
		}
		for l, seqs := range p.got {
			for i, seq := range seqs {
				if seq != uint64(i) {
					t.Fatalf("seed %d: link %s has message %d at %d", seed, l, seq, i)
				}
			}
			got += len(seqs)
		}
	}
	bounced := 0
	for _, p := range []*place{w.a, w.b} {
		for _, n := range p.failed {
			bounced += n
		}
	}
	if got != w.sent+bounced {
		t.Fatalf("seed %d: %d messages arrived, %d were sent and %d came back", seed, got, w.sent, bounced)
	}
	before := w.cuts
	for range 3 { // what the last blocks acknowledge is the last that is carried
		w.provA, w.provB = w.a.head(), w.b.head()
		w.carry(t, w.toB, w.a, w.b, w.provA, false, 0)
		w.carry(t, w.toA, w.b, w.a, w.provB, false, 0)
	}
	if w.cuts != before {
		t.Errorf("seed %d: %d imports when everything had arrived", seed, w.cuts-before)
	}
	for _, s := range []*relay.Stock{w.toA, w.toB} {
		if n, leaves := s.Parcels(); n != 0 || leaves != 0 {
			t.Errorf("seed %d: %d blocks and %d leaves are remembered", seed, n, leaves)
		}
	}
}

// TestFullStock: a stock that has no room for more, and of which nothing can go since what
// comes first is lost, finds that when it is listed again, and then all the rest; and what
// can never be proved any more gives way.
func TestFullStock(t *testing.T) {
	t.Parallel()
	w := newWorld(3)
	l := link.Link{Src: w.a.at(0), Dst: w.b.at(0)}
	const messages = relay.MaxParcels + 100
	for range messages {
		w.a.block(t, nil, known{w.b, 0}, func(c *link.Context) {
			if _, err := c.Send(link.Draft{Link: l, Lifetime: link.MaxLifetime}); err != nil {
				t.Fatal(err)
			}
		})
	}
	w.a.lost[1] = true
	w.crash()
	way := func(l link.Link) relay.Way { return relay.WayAt(w.b.state, l) }
	wants := func(q link.Link, num uint64, ack bool) bool { return !ack && q == l && num == way(l).In.Next }
	w.provA = w.a.head()
	if load := w.carry(t, w.toB, w.a, w.b, w.provA, false, 0); len(load.Cuts) > 0 || !w.toB.Full() {
		t.Fatalf("full %v, %d imports, want none of a full stock", w.toB.Full(), len(load.Cuts))
	}
	if err := w.toB.Seek(w.a.head(), w.a.box, wants); err != nil {
		t.Fatal(err)
	}
	if n, _ := w.toB.Parcels(); n != relay.MaxParcels {
		t.Errorf("%d blocks are remembered, want %d: nothing else is wanted yet", n, relay.MaxParcels)
	}
	for w.a.head() < messages+link.RelistBlocks {
		w.a.block(t, nil, known{w.b, 0}, func(*link.Context) {})
	}
	w.a.block(t, nil, known{w.b, 0}, func(c *link.Context) {
		if err := c.Relist(l); err != nil {
			t.Fatal(err)
		}
	})
	for w.provA = w.a.head(); len(w.b.got[l]) < messages; {
		before := len(w.b.got[l])
		w.carry(t, w.toB, w.a, w.b, w.provA, false, 0)
		if len(w.b.got[l]) > before {
			continue
		}
		if err := w.toB.Seek(w.a.head(), w.a.box, wants); err != nil {
			t.Fatal(err)
		}
		if w.carry(t, w.toB, w.a, w.b, w.provA, false, 0); len(w.b.got[l]) == before {
			t.Fatalf("it ends after %d of %d messages", before, messages)
		}
	}
	for code := range w.b.codes {
		if code != chain.CodeOK {
			t.Errorf("an import was refused with %s", code)
		}
	}
	w.crash()
	if _, err := w.toB.Read(w.a.head(), w.a.box); err != nil {
		t.Fatal(err)
	}
	w.toB.Forget(func(height uint64) bool { return height < 500 })
	if n, leaves := w.toB.Parcels(); n == 0 || n != leaves || n > relay.MaxParcels-400 {
		t.Errorf("%d blocks and %d leaves are remembered of those that can be proved", n, leaves)
	}
}

// TestHalved: what is too heavy at once goes in parts, in its order, down to one leaf.
func TestHalved(t *testing.T) {
	t.Parallel()
	cuts := []relay.Cut{{Height: 7, Begin: 3, End: 10}, {Height: 8, Begin: 0, End: 1}}
	for _, want := range [][]relay.Cut{
		{{Height: 7, Begin: 3, End: 6}, {Height: 7, Begin: 6, End: 10}, {Height: 8, Begin: 0, End: 1}},
		{{Height: 7, Begin: 3, End: 4}, {Height: 7, Begin: 4, End: 6}, {Height: 7, Begin: 6, End: 10}, {Height: 8, Begin: 0, End: 1}},
		nil,
	} {
		if cuts = relay.Halved(cuts); !slices.Equal(cuts, want) {
			t.Fatalf("%v, want %v", cuts, want)
		}
	}
}
