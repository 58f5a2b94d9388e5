package settlement_test

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// home is a shard as far as the main chain's links know it: it takes what the main
// chain sends and acknowledges it.
type home struct {
	b      *bench
	shard  shard.Shard
	height uint64
	state  *state
	roots  map[uint64]ledger.Hash // outbox roots of the main chain
	clock  uint64                 // newest anchor clock of the main chain that it has seen
	took   []link.Message
	code   chain.Code // what it refuses messages with, unless OK
	certs  []cert.Certificate
	boxes  map[uint64]*link.Outbox
}

func newHome(b *bench, payer int) *home {
	id, ok := b.shards().Home(1, b.addrs[payer])
	if !ok {
		b.t.Fatalf("account %d has no home", payer)
	}
	s, _ := b.shards().Find(id)
	return &home{b: b, shard: s, state: newState(nil), roots: map[uint64]ledger.Hash{}, boxes: map[uint64]*link.Outbox{}}
}

// Anchored is that of link.Anchors: what the home knows of the main chain.
func (h *home) Anchored(id ledger.ChainID, height uint64) (link.Anchored, bool) {
	root, ok := h.roots[height]
	return link.Anchored{Outbox: root, Clock: height, Newest: max(height, h.clock)}, ok && id == ledger.MainChain
}

// Owned is that of link.Anchors.
func (h *home) Owned(_ ledger.ChainID, _ uint64, p link.Place) bool { return p == link.Place{} }

// Execute is that of link.Handler.
func (h *home) Execute(_ *link.Context, m *link.Message) error {
	if h.code != chain.CodeOK {
		return chain.Refuse(h.code, "refused")
	}
	h.took = append(h.took, *m)
	return nil
}

// Return is that of link.Handler: it sends nothing that could come back.
func (h *home) Return(*link.Context, *link.Message, *link.Message) {}

// place returns the first bucket of the home.
func (h *home) place() link.Place {
	return link.Place{Service: h.shard.Service, Zone: h.shard.Zone, Bucket: uint8(h.shard.Buckets.First)}
}

// take has the home take what a block of the main chain sent, in a block of its own.
func (h *home) take(res *settlement.Result) {
	h.b.t.Helper()
	h.roots[res.Height] = res.Outbox.Root()
	h.block(func(ctx *link.Context) { h.takeAll(ctx, res) })
}

// sends has the home send the main chain messages, in a block of its own.
func (h *home) sends(drafts ...link.Draft) {
	h.b.t.Helper()
	h.block(func(ctx *link.Context) {
		for _, d := range drafts {
			d.Link = link.Link{Src: h.place()}
			if _, err := ctx.Send(d); err != nil {
				h.b.t.Fatal(err)
			}
		}
	})
}

func (h *home) takeAll(ctx *link.Context, res *settlement.Result) {
	h.b.t.Helper()
	first := h.place()
	last := first
	last.Bucket = uint8(h.shard.Buckets.Last)
	for begin, end := res.Outbox.Span(first, last); begin < end; {
		to := min(end, begin+1_000)
		in, err := res.Outbox.Import(ledger.MainChain, res.Height, begin, to)
		if err == nil {
			_, err = ctx.Apply(&in, h, h)
		}
		if err != nil {
			h.b.t.Fatalf("block %d of the main chain at its home: %v", res.Height, err)
		}
		begin = to
	}
}

// block makes a block of the home.
func (h *home) block(do func(ctx *link.Context)) {
	h.b.t.Helper()
	o := chain.NewOverlay(h.state)
	h.height++
	do(&link.Context{State: o, Height: h.height, Clock: h.height, Here: func(p link.Place) bool {
		return p.Service == h.shard.Service && p.Zone == h.shard.Zone && h.shard.Buckets.Contains(shard.Bucket(p.Bucket))
	}})
	changes := o.Changes()
	h.state.apply(changes)
	box, err := link.NewOutbox(changes)
	if err != nil {
		h.b.t.Fatal(err)
	}
	h.boxes[h.height] = box
	p, com := h.b.checkpoint(h.shard.ID, h.b.params.Staking.Epoch(h.b.height+1), h.height)
	p.OutboxRoot = box.Root()
	h.certs = append(h.certs, h.b.certify(p, com))
}

// anchor brings all blocks of the home to the main chain, and then what they say there.
func (h *home) anchor(by int) (results []settlement.Result) {
	h.b.t.Helper()
	res := h.b.block(h.b.signed(by, anchorsOf(h.b.join(h.certs...))))
	if r := res.Receipts[0]; r.Code != chain.CodeOK {
		h.b.t.Fatalf("anchor: %s: %s", r.Code, r.Detail)
	}
	results = append(results, res)
	for _, c := range h.certs {
		height := c.Checkpoint.Height
		if len(h.boxes[height].Leaves()) > 0 {
			results = append(results, h.b.block(h.says(by, height)))
		}
	}
	h.certs = nil
	return results
}

// says returns a transaction that brings all that a block of the home says to the main
// chain.
func (h *home) says(by int, height uint64) settlement.BlockTx {
	h.b.t.Helper()
	in, err := h.boxes[height].Import(h.shard.ID, height, 0, len(h.boxes[height].Leaves()))
	if err != nil {
		h.b.t.Fatal(err)
	}
	return h.b.signed(by, &settlement.Delivery{Import: in})
}
