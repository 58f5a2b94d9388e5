package shardblock_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// TestBlock: a channel is opened on main, booked on one shard, and earned on another.
func TestBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Block()
	res := w.left.Block(relays(w.main.Notices(1, 0, 0)))
	if len(res.Imports) != 1 || res.Imports[0].Receipts[0].Result != link.Executed || len(res.Imports[0].Executed()) != 1 {
		t.Fatalf("imports %+v", res.Imports)
	}
	if _, ok := service.ChannelAt(w.left.State, p.payer.Address(1).Bucket(), p.index); !ok {
		t.Fatal("the channel is not known")
	}
	res = w.left.Block(nil, w.book(p, 40), w.book(p, 2))
	if res.Service.Receipts[0].Code != chain.CodeOK || len(res.Service.Bookings) != 2 {
		t.Fatalf("receipts %+v", res.Service.Receipts)
	}
	if len(res.Outbox.Leaves()) != 1 {
		t.Fatalf("%d leaves, want one message for the payee", len(res.Outbox.Leaves()))
	}
	if b := shardblock.Backlog(w.left.State); b.Outbox != 1 || b.Bytes == 0 {
		t.Errorf("backlog %+v", b)
	}
	w.left.Anchor(2)
	w.main.Block()
	w.right.Block(relays(w.left.Messages(2, 0, 0)))
	if got := service.EarningsOf(w.right.State, p.payee.Address(1)).Total; got.Amount != 42 {
		t.Errorf("earned %+v", got)
	}
	refused(t, w.right, w.left.Messages(2, 0, 0), chain.CodeLinkRepeat)
	w.right.Anchor(1)
	w.main.Block()
	w.left.Block(relays(w.right.Messages(1, 0, 0)))
	if b := shardblock.Backlog(w.left.State); b.Outbox != 0 || b.Bytes != 0 {
		t.Errorf("backlog %+v after the acknowledgement", b)
	}
	for _, s := range []*shardtest.Shard{w.left, w.right} {
		if _, err := shardblock.Audit(s.State); err != nil {
			t.Error(err)
		}
	}
}

// TestHeads: what is certified by the committee that is known is remembered, and nothing
// else.
func TestHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.To(12)
	good := w.main.Heads[3]
	spoil := func(f func(c *cert.Certificate)) *shardblock.Relay {
		c := good
		c.Bitmap = bytes.Clone(good.Bitmap)
		f(&c)
		return headRelay(c)
	}
	com := w.main.Committees[0]
	for _, row := range []struct { //nolint:paralleltest // the shard they share goes on after them
		name  string
		relay *shardblock.Relay
		want  chain.Code
	}{
		{"another root", spoil(func(c *cert.Certificate) { c.Checkpoint.StateRoot[0]++ }), chain.CodeBadCertificate},
		{"another signature", spoil(func(c *cert.Certificate) { c.Signature = w.main.Heads[4].Signature }), chain.CodeBadCertificate},
		{"too few", headRelay(shardtest.Certify(t, &com, good.Checkpoint, 0, 1)), chain.CodeBadCertificate},
		{"a stranger", spoil(func(c *cert.Certificate) { c.Bitmap[0] |= 1 << 5 }), chain.CodeBadCertificate},
		{"another network", spoil(func(c *cert.Certificate) { c.Checkpoint.Network[0]++ }), chain.CodeWrongNetwork},
		{"another chain", spoil(func(c *cert.Certificate) { c.Checkpoint.Chain = leftID }), chain.CodeWrongChain},
		{"another committee", spoil(func(c *cert.Certificate) { c.Checkpoint.CommitteeHash[0]++ }), chain.CodeUnknownCommittee},
		{"unknown epoch", headRelay(w.main.Heads[11]), chain.CodeUnknownCommittee},
		{"out of its epoch", headRelay(shardtest.Certify(t, &com, func() cert.Checkpoint {
			p := good.Checkpoint
			p.Height = 15
			return p
		}())), chain.CodeBadCertificate},
		{"height 0", spoil(func(c *cert.Certificate) { c.Checkpoint.Height = 0 }), chain.CodeMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			refused(t, w.left, row.relay, row.want)
		})
	}
	w.left.Block(relays(headRelay(good, w.main.Heads[7])))
	refused(t, w.left, headRelay(good), chain.CodeNothingNew)
	refused(t, w.left, spoil(func(c *cert.Certificate) { c.Checkpoint.StateRoot[0]++ }), chain.CodeBadCertificate)
	w.left.Block(relays(headRelay(w.main.Heads[2]))) // older, and still of use
	if got := shardblock.Heads(w.left.State); len(got) != 3 || got[0].Height != 2 || got[2].StateRoot != w.main.Heads[7].Checkpoint.StateRoot {
		t.Errorf("heads %+v", got)
	}
}

// TestHeadsAreBounded: the highest are remembered, and older ones are good for the relay
// that brings them.
func TestHeadsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := uint64(shardblock.MaxHeads + 6)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	for w.main.Height() < last {
		w.main.Block()
		h := w.main.Height()
		r := headRelay(w.main.Heads[h])
		if h%shardtest.EpochBlocks == 0 {
			r.News.Handovers = []shardblock.Handover{w.main.Handover()}
		}
		if h != 1 {
			w.left.Block(relays(r))
		}
	}
	list := shardblock.Heads(w.left.State)
	if len(list) != shardblock.MaxHeads || list[len(list)-1].Height != last || list[0].Height != last-shardblock.MaxHeads+1 {
		t.Errorf("%d heads from %d to %d", len(list), list[0].Height, list[len(list)-1].Height)
	}
	refused(t, w.left, headRelay(w.main.Heads[1]), chain.CodeNothingNew)
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
	if _, known := service.ChannelAt(w.left.State, p.payer.Address(1).Bucket(), p.index); !known {
		t.Error("a notice of an old block of main did not arrive")
	}
	if _, known := shardblock.HeadAt(w.left.State, 1); known {
		t.Error("an old block of main is remembered in the place of a newer one")
	}
	if first, end := shardblock.MainEpochs(w.left.State); first != 0 || end != 7 {
		t.Errorf("committees of epochs %d to %d", first, end)
	}
}

// TestHandovers: committees lead to each other, over epochs of which nothing else came.
func TestHandovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var list []shardblock.Handover
	for range 3 {
		w.main.To(w.main.Height() + shardtest.EpochBlocks - w.main.Height()%shardtest.EpochBlocks)
		list = append(list, w.main.Handover())
	}
	w.main.To(32)
	news := func(h ...shardblock.Handover) *shardblock.Relay {
		return &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: h}}
	}
	forged := list[0]
	forged.Record.Value = bytes.Clone(forged.Record.Value)
	forged.Record.Value[len(forged.Record.Value)-1]++
	early := shardblock.Handover{Certificate: w.main.Heads[5], Record: list[0].Record}
	refused(t, w.left, news(forged), chain.CodeBadProof)
	refused(t, w.left, news(early), chain.CodeBadCertificate)
	refused(t, w.left, news(list[1]), chain.CodeUnknownCommittee)
	refused(t, w.left, headRelay(w.main.Heads[31]), chain.CodeUnknownCommittee)
	all := news(list...)
	all.News.Heads = []cert.Certificate{w.main.Heads[31]}
	w.left.Block(relays(all))
	if _, ok := shardblock.HeadAt(w.left.State, 31); !ok {
		t.Error("the head that the hand-overs lead to is not known")
	}
	refused(t, w.left, all, chain.CodeNothingNew)
}

// TestEpoch: the committee that main drew votes two blocks later.
func TestEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.Assign(1, leftID, 100, 101, 102, 104)
	w.main.Assign(1, rightID, 200, 201, 202, 203)
	w.main.To(9)
	refused(t, w.left, w.main.EpochRelay(1, leftID), chain.CodeAnchorEpoch)
	w.main.To(10)
	r := w.main.EpochRelay(1, leftID)
	foreign := *r.Epoch
	foreign.Assignment = w.main.Row(registry.AssignmentKey(1, rightID))
	refused(t, w.left, &shardblock.Relay{Kind: shardblock.KindEpoch, News: r.News, Epoch: &foreign}, chain.CodeBadProof)
	bare := &shardblock.Relay{Kind: shardblock.KindEpoch, Epoch: r.Epoch}
	refused(t, w.left, bare, chain.CodeNotAnchored)
	res := w.left.Block(relays(r))
	want := shardtest.CommitteeOf(t, 1, 100, 101, 102, 104)
	if len(res.Updates) != 2 || res.Epoch != 0 {
		t.Errorf("updates %+v in epoch %d", res.Updates, res.Epoch)
	}
	for height, hash := range map[uint64]ledger.Hash{1: w.left.Genesis.Committee.Hash(), 2: w.left.Genesis.Committee.Hash(), 3: want.Hash()} {
		if c, ok := shardblock.Committee(w.left.State, height); !ok || c.Hash() != hash {
			t.Errorf("committee of block %d is %+v", height, c)
		}
	}
	if e := service.ReadEpoch(w.left.State); e.Number != 1 || e.Sigma != 100 {
		t.Errorf("epoch %+v", e)
	}
	if !shardblock.NeedsTick(w.left.State, 2) || shardblock.NeedsTick(w.left.State, 3) {
		t.Error("want one block more so that the committee takes over")
	}
	w.left.Block(nil)
	if res = w.left.Block(nil); res.Epoch != 1 {
		t.Errorf("block 3 is of epoch %d", res.Epoch)
	}
	refused(t, w.left, r, chain.CodeNothingNew)
	// Others are drawn in the epoch under way: that is another generation.
	w.main.Assign(1, leftID, 300, 301, 302, 303)
	r = &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: []shardblock.Handover{w.main.Handover()}}}
	w.left.Block(relays(r))
	w.main.To(12)
	refused(t, w.left, w.main.EpochRelay(1, leftID), chain.CodeNothingNew)
}

// TestReport: with a new epoch main is told how full blocks were.
func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.main.Assign(1, leftID, 100, 101, 102, 103)
	w.main.To(3)
	w.left.Block(relays(headRelay(w.main.Heads[2])))
	w.left.Block(nil)
	w.left.Block(relays(headRelay(w.main.Heads[3])))
	w.main.To(10)
	res := w.left.Block(relays(w.main.EpochRelay(1, leftID)))
	leaves := res.Outbox.Leaves()
	if len(leaves) != 1 || leaves[0].Message == nil || leaves[0].Message.Kind != shard.KindReport || leaves[0].To() != (link.Place{}) {
		t.Fatalf("outbox %+v, want a report", leaves)
	}
	report, err := shard.DecodeReport(leaves[0].Message.Payload)
	if err != nil || report.Epoch != 0 || report.Load.Shard != leftID || report.Load.Heavy != 0 || report.Load.Light.Count() != 10 {
		t.Errorf("report %+v: %v, want ten light blocks: those of main", report, err)
	}
}

// TestEnd: a shard that is replaced makes its last block with the committee of the epoch in
// which its heirs begin, who take over its state.
func TestEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 63), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Block()
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
	w.left.Block(nil, w.book(p, 40))
	w.main.AssignLast(1, leftID, 100, 101, 102, 103)
	w.main.To(10)
	r := w.main.EpochRelay(1, leftID)
	if res := w.left.Block(relays(r)); res.Ended || len(res.Updates) != 0 {
		t.Errorf("block %+v", res)
	}
	if s := shardblock.ReadStatus(w.left.State); s.Ended != 5 || !shardblock.NeedsTick(w.left.State, 5) || shardblock.NeedsTick(w.left.State, 6) {
		t.Errorf("status %+v", s)
	}
	w.left.Block(nil)
	if res := w.left.Block(nil, w.book(p, 2)); !res.Ended || res.Epoch != 1 || res.Service.Receipts[0].Code != chain.CodeOK {
		t.Errorf("last block %+v", res)
	}
	refused(t, w.left, headRelay(w.main.Heads[5]), chain.CodeShardEnded)
	if err := shardblock.AdmitUsers(w.left.State, 6); !errors.Is(err, shardblock.ErrEnded) {
		t.Errorf("users after the end: %v", err)
	}
	if changes, res, err := w.left.Try(nil); err != nil || len(changes) != 0 || res.Outbox.Root() != (ledger.Hash{}) {
		t.Errorf("an empty block after the end changes %d rows: %v", len(changes), err)
	}
	for _, half := range [][2]uint8{{0, 63}, {64, 127}} {
		g := w.main.Genesis(shardtest.ShardAt(7+ledger.ChainID(half[0]/64), 1, half[0], half[1]))
		g.Clock, g.Service.Epoch, g.Service.Sigma, g.Committee = 5, 1, 100, shardtest.CommitteeOf(t, 1, 100, 101, 102, 103)
		g.Main = w.main.Committees[1]
		g.Service.Parents = []service.Parent{{Shard: w.left.Genesis.Service.Shard, Height: 5, StateRoot: ledger.HashOf("root")}}
		heir := shardtest.Begin(w.main, g, w.left.State)
		if _, err := shardblock.Audit(heir.State); err != nil {
			t.Error(err)
		}
		l := link.Link{Src: link.Place{Service: shardtest.Service, Zone: 1}, Dst: placeOf(p.payee.Address(1))}
		if out := link.OutboundAt(heir.State, l); (out.Unacked() == 2) != (half[0] == 0) {
			t.Errorf("buckets %d to %d have %+v", half[0], half[1], out)
		}
		if _, known := service.ChannelAt(heir.State, p.payer.Address(1).Bucket(), p.index); known != (half[0] == 0) {
			t.Errorf("buckets %d to %d know the channel: %t", half[0], half[1], known)
		}
	}
	g := w.main.Genesis(shardtest.ShardAt(9, 1, 0, 63))
	g.Service.Parents = []service.Parent{{Shard: w.left.Genesis.Service.Shard, Height: 4, StateRoot: ledger.HashOf("root")}}
	if _, err := g.State(w.left.State); err == nil {
		t.Error("a shard begins with a state that is not the last of its parent")
	}
}

// TestOrder: relays stand in their order, users come last, and a congested shard has none.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.To(2)
	notices, head := w.main.Notices(1, 0, 0), headRelay(w.main.Heads[2])
	_, _, err := w.left.Try(relays(notices, head))
	if code, _ := chain.CodeOf(err); code != chain.CodeBadOrder || !shardblock.IsInvalid(err) {
		t.Errorf("a head after messages: %v", err)
	}
	room := 1 << 20
	plan := shardblock.Plan(w.left.State, 1, relays(notices, head, notices), []int{500, 500, 500}, 0, room, shardtest.Verifiers().Certificate)
	if !slices.Equal(plan, []int{1, 0}) {
		t.Errorf("plan %v, want the head, the notices, and these once", plan)
	}
	w.left.Block(relays(head, notices))
	c := shardblock.ReadConfig(w.left.State)
	c.Params.Capacity.Outbox = 1
	w.left.State.Apply(chain.Changes{{Key: shardblock.ConfigKey(), Value: c.Encode()}})
	w.left.Block(nil, w.book(p, 5))
	if err := shardblock.AdmitUsers(w.left.State, 3); err == nil {
		t.Error("a full shard admits users")
	}
	_, _, err = w.left.Try(nil, w.book(p, 5))
	if code, _ := chain.CodeOf(err); code != chain.CodeNotDue || !shardblock.IsInvalid(err) {
		t.Errorf("users of a full shard: %v", err)
	}
}

// TestLimitsOfLinks: what a zone's limits leave no room for waits, netted, and is sent when
// there is room.
func TestLimitsOfLinks(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		limit func(p *shardblock.Params)
	}{
		{"messages", func(p *shardblock.Params) { p.UnderWay = 1 }},
		{"bytes", func(p *shardblock.Params) { p.UnderWayBytes = 2*link.MessageOverhead + 1 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
			w.main.Block()
			w.left.Block(relays(w.main.Notices(1, 0, 0)))
			c := shardblock.ReadConfig(w.left.State)
			row.limit(&c.Params)
			w.left.State.Apply(chain.Changes{{Key: shardblock.ConfigKey(), Value: c.Encode()}})
			sent := func() int {
				l := link.Link{Src: link.Place{Service: shardtest.Service, Zone: 1}, Dst: placeOf(p.payee.Address(1))}
				out := link.OutboundAt(w.left.State, l)
				return int(out.Next) //nolint:gosec // a few
			}
			for i := range 3 {
				w.left.Block(nil, w.book(p, 10))
				if sent() != 1 {
					t.Fatalf("%d messages after %d bookings, want the first under way and the rest waiting", sent(), i+1)
				}
			}
			w.left.Anchor(2)
			w.main.Block()
			w.right.Block(relays(w.left.Messages(2, 0, 0)))
			w.right.Anchor(1)
			w.main.Block()
			w.left.Block(relays(w.right.Messages(1, 0, 0)))
			if sent() != 2 {
				t.Fatalf("%d messages once the first is acknowledged, want a second", sent())
			}
		})
	}
}

// TestRefusedMessages: what the service refuses goes back with its value, at once, and is
// stuck at its source, which counts it; that does not make the shard congested. What no shard
// sends at all is passed over in its turn, so that the link goes on, and not even sent back.
func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Block()
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
	w.left.Block(nil, w.book(p, 40))
	m := *w.left.Boxes[2].Leaves()[0].Message
	forged := func(height uint64, change func(m *link.Message)) *shardblock.Relay {
		other := m
		change(&other)
		w.left.Boxes[height] = rebox(t, &other)
		w.left.Checkpoints[height-1].OutboxRoot = w.left.Boxes[height].Root()
		w.left.Anchor(height)
		w.main.Block()
		return w.left.Messages(height, 0, 0)
	}
	for i, change := range []func(m *link.Message){
		func(m *link.Message) { m.Kind = 99 },
		func(m *link.Message) { m.Expiry, m.Payload = 1, append(bytes.Clone(m.Payload), 0) },
	} {
		res := w.right.Block(relays(forged(uint64(i)+2, func(m *link.Message) {
			m.Seq = uint64(i)
			change(m)
		})))
		if got := res.Imports[0].Receipts[0]; got.Result != link.Passed || got.Code != chain.CodeUnknownKind || len(res.Outbox.Leaves()) != 1 {
			t.Errorf("receipt %+v, and %d leaves, want an acknowledgement", got, len(res.Outbox.Leaves()))
		}
		w.left.Block(nil)
	}
	res := w.right.Block(relays(forged(4, func(m *link.Message) { // of an epoch that has not begun
		e := service.EarningsMessage{Payee: p.payee.Address(1), Epoch: 2}
		m.Seq, m.Payload = 2, e.Encode()
	})))
	if got := res.Imports[0].Receipts[0]; got.Result != link.Bounced || got.Code != chain.CodeInvalidValue {
		t.Fatalf("receipt %+v", got)
	}
	back := link.OutboundAt(w.right.State, m.Link.Reverse())
	if messages, _ := back.UnderWay(); messages != 1 || shardblock.Backlog(w.right.State) != (route.Backlog{}) {
		t.Errorf("%d messages go back, and the backlog is %+v", messages, shardblock.Backlog(w.right.State))
	}
	if res.Service.Totals.Received != (service.Sums{}) || len(res.Outbox.Leaves()) != 2 {
		t.Errorf("totals %+v, %d leaves, want nothing received and a bounce with an acknowledgement", res.Service.Totals, len(res.Outbox.Leaves()))
	}
}

// rebox returns the outbox of one message.
func rebox(tb testing.TB, m *link.Message) *link.Outbox {
	tb.Helper()
	box, err := link.NewOutbox(chain.Changes{{Key: link.MessageKey(m.Link, m.Seq), Value: m.Encode()}})
	if err != nil {
		tb.Fatal(err)
	}
	return box
}
