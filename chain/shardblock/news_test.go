package shardblock_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
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
