package shardblock_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
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
	for _, row := range []struct {
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
		t.Run(row.name, func(t *testing.T) { //nolint:paralleltest // they share a shard, whose state none changes
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

// TestHeadsAreBounded: the highest are remembered.
func TestHeadsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := uint64(shardblock.MaxHeads + 6)
	for w.main.Height() < last {
		w.main.Block()
		h := w.main.Height()
		r := headRelay(w.main.Heads[h])
		if h%shardtest.EpochBlocks == 0 {
			r.News.Handovers = []shardblock.Handover{w.main.Handover()}
		}
		if h != 3 {
			w.left.Block(relays(r))
		}
	}
	list := shardblock.Heads(w.left.State)
	if len(list) != shardblock.MaxHeads || list[len(list)-1].Height != last || list[0].Height != last-shardblock.MaxHeads+1 {
		t.Errorf("%d heads from %d to %d", len(list), list[0].Height, list[len(list)-1].Height)
	}
	refused(t, w.left, headRelay(w.main.Heads[3]), chain.CodeNothingNew)
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
	// Others are drawn in the epoch under way.
	w.main.Assign(1, leftID, 300, 301, 302, 303)
	r = &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Handovers: []shardblock.Handover{w.main.Handover()}}}
	w.left.Block(relays(r))
	w.main.To(12)
	res = w.left.Block(relays(w.main.EpochRelay(1, leftID)))
	if c, _ := shardblock.Committee(w.left.State, w.left.Height+2); len(res.Updates) != 8 || c.Members[0].Validator != 300 {
		t.Errorf("updates %+v after another draw", res.Updates)
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

// TestRefusedMessages: what the service refuses goes back with its value, at once, and is
// stuck at its source, which counts it.
func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Block()
	w.left.Block(relays(w.main.Notices(1, 0, 0)))
	w.left.Block(nil, w.book(p, 40))
	m := *w.left.Boxes[2].Leaves()[0].Message
	m.Kind = 99 // which no shard sends
	w.left.Boxes[2] = rebox(t, &m)
	w.left.Checkpoints[1].OutboxRoot = w.left.Boxes[2].Root()
	w.left.Anchor(2)
	w.main.Block()
	res := w.right.Block(relays(w.left.Messages(2, 0, 0)))
	if got := res.Imports[0].Receipts[0]; got.Result != link.Bounced || got.Code != chain.CodeWrongSource {
		t.Fatalf("receipt %+v", got)
	}
	if res.Service.Totals.Received != (service.Sums{}) || len(res.Outbox.Leaves()) != 2 {
		t.Errorf("totals %+v, %d leaves, want nothing received and a bounce with an acknowledgement", res.Service.Totals, len(res.Outbox.Leaves()))
	}
}

// rebox returns the outbox of one message.
func rebox(t testing.TB, m *link.Message) *link.Outbox {
	t.Helper()
	box, err := link.NewOutbox(chain.Changes{{Key: link.MessageKey(m.Link, m.Seq), Value: m.Encode()}})
	if err != nil {
		t.Fatal(err)
	}
	return box
}
