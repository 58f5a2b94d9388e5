package shardblock_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/shard/link"
)

// TestNewsIsOfUse: relays cost those who send them nothing, so all that they say of main is
// new, or what they are proved against.
func TestNewsIsOfUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.To(shardtest.EpochBlocks)
	known := w.main.Handover()
	w.left.Block(relays(&shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{
		Handovers: []shardblock.Handover{known}, Heads: []cert.Certificate{w.main.Heads[5]},
	}}))
	notices := func(f func(n *shardblock.News)) *shardblock.Relay {
		r := *w.main.Notices(1, 0, 0)
		r.News.Heads = append([]cert.Certificate{}, r.News.Heads...)
		f(&r.News)
		return &r
	}
	head := func(height uint64) cert.Certificate { return w.main.Heads[height] }
	for _, row := range []struct { //nolint:paralleltest // the shard they share goes on after them
		name  string
		relay *shardblock.Relay
		want  chain.Code
	}{
		{"a hand-over that is known", notices(func(n *shardblock.News) { n.Handovers = []shardblock.Handover{known} }), chain.CodeNothingNew},
		{"a hand-over twice", &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: []shardblock.Handover{known, known}}}, chain.CodeNothingNew},
		{"a head that it does not need", notices(func(n *shardblock.News) { n.Heads = append(n.Heads, head(2)) }), chain.CodeMalformed},
		{"a known head that it does not need", notices(func(n *shardblock.News) { n.Heads = append(n.Heads, head(5)) }), chain.CodeMalformed},
		{"the head that it needs, twice", notices(func(n *shardblock.News) { n.Heads = append(n.Heads, head(1)) }), chain.CodeMalformed},
		{"a known head beside a new one", headRelay(head(6), head(5)), chain.CodeNothingNew},
		{"a new head twice", headRelay(head(6), head(6)), chain.CodeNothingNew},
		{"a link to be listed again, with a head", &shardblock.Relay{
			Kind: shardblock.KindRelist, News: shardblock.News{Heads: []cert.Certificate{head(6)}}, Link: link.Link{Dst: placeOf(keyIn(t, "payee", 128, 255).Address(1))},
		}, chain.CodeMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			refused(t, w.left, row.relay, row.want)
		})
	}
	w.left.Block(relays(headRelay(head(1)))) // meanwhile somebody else brought the head
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
}

// TestForeignServices: what a shard of another service sends is refused, and is not sent
// back: its committee could fill the links of this one for nothing.
func TestForeignServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := shardtest.ShardAt(99, 0, 0, 255)
	foreign.Service = shardtest.Service + 1
	w.main.Found(foreign)
	l := link.Link{Src: link.Place{Service: foreign.Service, Bucket: 3}, Dst: placeOf(keyIn(t, "payee", 0, 127).Address(1))}
	box := rebox(t, &link.Message{Link: l, Kind: 1, Expiry: 1 << 40})
	row, _ := anchor.Read(w.main, 99)
	p := cert.Checkpoint{Network: shardtest.Network(), Chain: 99, Height: 1, OutboxRoot: box.Root()}
	row.Tree.Push(p.Encode())
	row.Last, row.Outboxes = p, append(row.Outboxes, p.OutboxRoot)
	w.main.Set(anchor.Key(99), row.Encode())
	head := w.main.Block()
	proof := w.main.Row(anchor.Key(99))
	in, err := box.Import(99, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, w.left, &shardblock.Relay{
		Kind: shardblock.KindImport, News: shardblock.News{Heads: []cert.Certificate{head}}, Import: &shardblock.Import{Anchors: &proof, Link: in},
	}, chain.CodeForeignPlace)
}

// TestHeadsByThemselves: what brings nothing but a head comes as seldom as heartbeats do. Heads
// of hand-overs, epochs and imports come when they are needed, and count.
func TestHeadsByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.main.Genesis(shardtest.ShardAt(leftID, 1, 0, 127))
	g.BeatBlocks = 3
	w.left = shardtest.Begin(w.main, g)
	w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.To(shardtest.EpochBlocks)
	head := func(height uint64) cert.Certificate { return w.main.Heads[height] }
	refused(t, w.left, headRelay(head(2)), chain.CodeNothingNew)
	w.left.Block(relays(headRelay(head(3))))
	for _, r := range []*shardblock.Relay{headRelay(head(4)), headRelay(head(5)), headRelay(head(2)), headRelay(head(4), head(5))} {
		refused(t, w.left, r, chain.CodeNothingNew)
	}
	w.left.Block(relays(headRelay(head(4), head(6))))
	w.left.Block(relays(w.main.Notices(1, 0, 0))) // proved by block 1
	refused(t, w.left, headRelay(head(8)), chain.CodeNothingNew)
	w.left.Block(relays(&shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{
		Handovers: []shardblock.Handover{w.main.Handover()}, Heads: []cert.Certificate{head(8)},
	}}))
	refused(t, w.left, headRelay(head(10)), chain.CodeNothingNew)
	if c := shardblock.ReadConfig(w.left.State); c.BeatBlocks != 3 || len(c.Encode()) != shardblock.ConfigSize {
		t.Errorf("the configuration is %+v, of %d bytes, want %d", c, len(c.Encode()), shardblock.ConfigSize)
	}
}
