package settlement_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// serviceOpen opens n channels that name the registered service.
func (b *bench) serviceOpen(payee, n int, deposit ...uint64) *channel.Open {
	p := b.openParams(payee, slices.Max(append(deposit, 120)))
	p.Service = 1
	return &channel.Open{Channels: slices.Repeat([]channel.OpenParams{p}, n)}
}

// notices returns what a block says to homes.
func notices(res *settlement.Result) (list []link.Message) {
	for _, l := range res.Outbox.Leaves() {
		if l.Message != nil {
			list = append(list, *l.Message)
		}
	}
	return list
}

func kinds(list []link.Message) (kinds []channel.NoticeKind) {
	for i := range list {
		kinds = append(kinds, channel.NoticeKind(list[i].Kind))
	}
	return kinds
}

// TestChannelsNameServices: a channel may name what is registered, from the very
// block on that registers it, and nothing else, if it has the zone of the payee.
func TestChannelsNameServices(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	open := func(service uint32, payee ...int) *channel.Open {
		p := b.openParams(append(payee, 1)[0], 500)
		p.Service = service
		return &channel.Open{Channels: []channel.OpenParams{p, p}}
	}
	s := serviceOf(6, 9, "proxy", 1)
	res := b.block(
		b.checked(0, open(1)), b.checked(0, open(9)), b.checked(6, &s), b.checked(0, open(9)), b.checked(0, open(9)), b.checked(0, open(8)),
		b.checked(0, open(9, 2)), b.checked(0, open(0, 2)), b.checked(2, open(9)),
	)
	for i, want := range []chain.Code{
		chain.CodeOK, chain.CodeUnknownService, chain.CodeOK, chain.CodeOK, chain.CodeOK, chain.CodeUnknownService,
		chain.CodePayeeZone, chain.CodeOK, chain.CodeOK,
	} {
		if r := res.Receipts[i]; r.Code != want {
			t.Errorf("transaction %d: %s (%s), want %s", i, r.Code, r.Detail, want)
		}
	}
}

// TestNotices: the home of a channel is told what happens to it, in order, and nobody is
// told of channels that have none.
func TestNotices(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	place := link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()}
	var ref channel.Ref
	for _, row := range []struct {
		name string
		tx   func() settlement.BlockTx
		want []channel.NoticeKind
	}{
		{"an open", func() settlement.BlockTx { return b.signed(0, b.serviceOpen(1, 2, 500)) }, []channel.NoticeKind{channel.NoticeOpened, channel.NoticeOpened}},
		{"without a service", func() settlement.BlockTx {
			return b.signed(0, &channel.Open{Channels: []channel.OpenParams{b.openParams(1, 500)}})
		}, nil},
		{"in a zone that the service has not", func() settlement.BlockTx { return b.signed(2, b.serviceOpen(1, 1)) }, nil},
		{"a top-up", func() settlement.BlockTx { return b.signed(4, &channel.TopUp{Channel: ref, NewTotal: 700}) }, []channel.NoticeKind{channel.NoticeChanged}},
		{"a top-up that is refused", func() settlement.BlockTx { return b.signed(4, &channel.TopUp{Channel: ref, NewTotal: 700}) }, nil},
		{"an extension", func() settlement.BlockTx {
			return b.signed(0, &channel.Extend{Channel: ref, NewExpiry: b.clock() + 55})
		}, []channel.NoticeKind{channel.NoticeChanged}},
		{"redemptions", func() settlement.BlockTx {
			return b.signed(1, b.batch(1, b.voucher(ref, 0, 100), b.voucher(ref, 3, 50), b.voucher(b.ref(1), 0, 7)))
		}, []channel.NoticeKind{channel.NoticeRedeemed}},
		{"the same again", func() settlement.BlockTx { return b.signed(1, b.batch(1, b.voucher(ref, 0, 100))) }, nil},
		{"a close request", func() settlement.BlockTx { return b.signed(0, &channel.RequestClose{Channel: ref}) }, []channel.NoticeKind{channel.NoticeChanged}},
		{"a redemption that closes", func() settlement.BlockTx { return b.signed(1, b.batch(1, closing(b.voucher(ref, 3, 60)))) }, []channel.NoticeKind{channel.NoticeClosed}},
		{"a cooperative close that rolls over", func() settlement.BlockTx {
			next := b.serviceOpen(1, 1).Channels[0]
			return b.signed(2, b.coopClose(0, 1, b.ref(1), 20, &next))
		}, []channel.NoticeKind{channel.NoticeClosed, channel.NoticeOpened}},
	} {
		if ref == (channel.Ref{}) && settlement.ChannelCount(b.view) > 0 {
			ref = b.ref(0)
		}
		res := b.block(row.tx())
		list := notices(&res)
		if diff := cmp.Diff(row.want, kinds(list)); diff != "" {
			t.Errorf("%s (%s): %s", row.name, res.Receipts[0].Code, diff)
		}
		for i := range list {
			if m := &list[i]; m.Link.Dst != place || m.Recipient != b.addrs[0] || m.Expiry != b.height+link.MaxLifetime {
				t.Errorf("%s: to %s for %s, expires at %d", row.name, m.Link, m.Recipient, m.Expiry)
			}
		}
		switch row.name {
		case "a close request":
			c, _ := settlement.ChannelAt(b.view, 0)
			want := channel.ChangedNotice{Payer: b.addrs[0], Deposit: 700, ExpiresAt: c.ExpiresAt, ClosesAt: c.CloseAt}
			if n, err := channel.DecodeChangedNotice(list[0].Payload); err != nil || n != want || n.ClosesAt == 0 {
				t.Errorf("%+v, want %+v, %v", n, want, err)
			}
		case "redemptions":
			n, err := channel.DecodeRedeemedNotice(list[0].Payload)
			want := []channel.LaneTotal{{Index: 0, Redeemed: 100}, {Index: 0, Lane: 3, Redeemed: 50}, {Index: 1, Redeemed: 7}}
			if diff := cmp.Diff(want, n.Lanes); err != nil || diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
		case "a redemption that closes":
			if n, err := channel.DecodeClosedNotice(list[0].Payload); err != nil || n.Index != 0 || n.Redeemed != 160 {
				t.Errorf("%+v, %v", n, err)
			}
		}
	}
	b.idle(90) // what remains is finalised, and told
	if out := link.OutboundAt(b.view, link.Link{Dst: place}); out.Next != 10 {
		t.Errorf("%d notices in all, want 10: the last channel closed by itself", out.Next)
	}
}

// TestNoticesAreAcknowledged: what a home took is forgotten, for nothing, and the chain
// rests.
func TestNoticesAreAcknowledged(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	h := newHome(b, 0)
	res := b.block(b.signed(0, b.serviceOpen(1, 3)))
	if !settlement.ShardsNeedTick(b.view, &b.params, b.height+1) {
		t.Error("notices are under way, and the chain rests")
	}
	h.take(&res)
	before := b.balance(6)
	done := h.anchor(6)
	r := done[1].Receipts[0]
	want := link.Receipt{Link: link.Link{Dst: link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()}}, Seq: 3, Result: link.Acked}
	if diff := cmp.Diff([]link.Receipt{want}, r.Links); r.Code != chain.CodeOK || diff != "" || r.Paid != r.Fee || b.balance(6) != before {
		t.Errorf("%s (%s), %d of %d paid back: %s", r.Code, r.Detail, r.Paid, r.Fee, diff)
	}
	if again, err := settlement.DecodeReceipt(r.Encode()); err != nil || len(again.Links) != 1 || again.Links[0] != want {
		t.Errorf("the receipt is read as %+v: %v", again, err)
	}
	if out := link.OutboundAt(b.view, want.Link); out.Unacked() != 0 {
		t.Errorf("%d notices are kept", out.Unacked())
	}
	for range b.params.Anchors.DueBlocks {
		b.block()
	}
	if settlement.ShardsNeedTick(b.view, &b.params, b.height+1) {
		t.Error("nothing is under way, and the chain goes on")
	}
	in, err := h.boxes[1].Import(h.shard.ID, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if cost, res := b.spent(6, b.signed(6, &settlement.Delivery{Import: in})); res.Receipts[0].Code != chain.CodeNothingNew || cost != uint64(b.params.TxFee) {
		t.Errorf("the same again: %s for %d", res.Receipts[0].Code, cost)
	}
}

// TestNothingGoesBack: what a shard tells the main chain and cannot is passed over and paid
// for, and leaves nothing that the shard would have to acknowledge.
func TestNothingGoesBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		draft func(id shard.ID) link.Draft
		want  chain.Code
	}{
		{"a report", func(id shard.ID) link.Draft {
			return link.Draft{Kind: shard.KindReport, Payload: (&shard.Report{Load: shard.Load{Shard: id}}).Encode()}
		}, chain.CodeOK},
		{"another's report", func(id shard.ID) link.Draft {
			return link.Draft{Kind: shard.KindReport, Payload: (&shard.Report{Load: shard.Load{Shard: id + 1}}).Encode()}
		}, chain.CodeUnknownShard},
		{"a late report", func(id shard.ID) link.Draft {
			return link.Draft{Kind: shard.KindReport, Lifetime: 1, Payload: (&shard.Report{Load: shard.Load{Shard: id}}).Encode()}
		}, chain.CodeMessageExpired},
		{"a report that is too long", func(shard.ID) link.Draft {
			return link.Draft{Kind: shard.KindReport, Payload: make([]byte, link.MaxPayload)}
		}, chain.CodeMalformed},
		{"anything else", func(shard.ID) link.Draft {
			return link.Draft{Kind: 99, Payload: make([]byte, link.MaxPayload)}
		}, chain.CodeUnknownKind},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			h := newHome(b, 0)
			h.sends(row.draft(h.shard.ID))
			h.sends()
			h.sends() // three blocks are anchored
			before := b.balance(6)
			done := h.anchor(6)
			r, l := done[1].Receipts[0], link.Link{Src: h.place()}
			want := link.Receipt{Link: l, Result: link.Passed, Code: row.want}
			cost := uint64(r.Fee)
			if row.want == chain.CodeOK {
				want.Result, cost = link.Executed, 0
			}
			if diff := cmp.Diff([]link.Receipt{want}, r.Links); r.Code != chain.CodeOK || diff != "" || before-b.balance(6) != cost {
				t.Errorf("%s (%s) for %d, want %d: %s", r.Code, r.Detail, before-b.balance(6), cost, diff)
			}
			if out := link.OutboundAt(b.view, l.Reverse()); out != (link.Outbound{}) {
				t.Errorf("the link back is %+v", out)
			}
			if in := link.InboundAt(b.view, l); in.Next != 1 || in.Bounced != 0 || len(done[1].Outbox.Leaves()) != 1 {
				t.Errorf("inbound %+v, and %d leaves, want an acknowledgement", in, len(done[1].Outbox.Leaves()))
			}
		})
	}
}

const fewOpens = 10

// fewAtOnce returns records that open so many channels, a few at a time.
func (b *bench) fewAtOnce(channels int, deposit ...uint64) (list []settlement.BlockTx) {
	for ; channels > 0; channels -= fewOpens {
		list = append(list, b.signed(0, b.serviceOpen(1, min(channels, fewOpens), deposit...)))
	}
	return list
}

// TestFullLink: opens and top-ups are refused while a link is full, and change nothing;
// closes and redemptions go on, wait, and are told when there is room.
func TestFullLink(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	h := newHome(b, 0)
	res := b.block(b.signed(0, b.serviceOpen(1, 1_024, 120)))
	h.take(&res)
	res = b.block(b.signed(0, b.serviceOpen(1, 512, 120)))
	h.take(&res)
	res = b.block(b.fewAtOnce(link.MaxUnacked-1_024-512, 120)...)
	h.take(&res)
	place := link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()}
	for name, tx := range map[string]settlement.BlockTx{
		"an open":  b.signed(0, b.serviceOpen(1, 1)),
		"a top-up": b.signed(4, &channel.TopUp{Channel: b.ref(5), NewTotal: 700}),
	} {
		if _, err := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx); err == nil {
			t.Errorf("Admit takes %s", name)
		}
		_, res := b.try(tx)
		if r := res.Receipts[0]; r.Code != chain.CodeLinkFull || r.Fee != b.params.TxFee || len(res.Events) != 0 {
			t.Errorf("%s: %s for %d, %d events", name, r.Code, r.Fee, len(res.Events))
		}
	}
	b.nonces[0], b.nonces[4] = b.nonces[0]-1, 0
	// Another home is not concerned.
	if r := b.run(1, b.serviceOpen(0, 1)); r.Code != chain.CodeOK {
		t.Errorf("an open of another home: %s", r.Code)
	}
	b.ok(1, b.batch(1, b.voucher(b.ref(3), 0, 10), closing(b.voucher(b.ref(4), 2, 20)), b.voucher(b.ref(5), 0, 30)))
	b.ok(0, &channel.Extend{Channel: b.ref(5), NewExpiry: b.clock() + 58})
	res = b.block(b.signed(1, b.batch(1, closing(b.voucher(b.ref(3), 1, 5)))))
	if got := settlement.Waiting(b.view, place); got != 3 || len(notices(&res)) != 0 {
		t.Fatalf("%d channels wait, %d notices were sent", got, len(notices(&res)))
	}
	done := h.anchor(6)
	var told []link.Message
	for i := range done {
		if r := done[i].Receipts[0]; r.Code != chain.CodeOK {
			t.Fatalf("%s: %s", r.Code, r.Detail)
		}
		told = append(told, notices(&done[i])...)
	}
	want := []channel.NoticeKind{channel.NoticeClosed, channel.NoticeClosed, channel.NoticeChanged, channel.NoticeRedeemed}
	if diff := cmp.Diff(want, kinds(told)); diff != "" || settlement.Waiting(b.view, place) != 0 {
		t.Errorf("%d wait still: %s", settlement.Waiting(b.view, place), diff)
	}
	if n, err := channel.DecodeClosedNotice(told[0].Payload); err != nil || n.Index != 3 || n.Redeemed != 15 {
		t.Errorf("%+v, %v", n, err)
	}
	if n, err := channel.DecodeRedeemedNotice(told[3].Payload); err != nil || len(n.Lanes) != 1 || n.Lanes[0] != (channel.LaneTotal{Index: 5, Redeemed: 30}) {
		t.Errorf("%+v, %v", n, err)
	}
	if r := b.run(0, b.serviceOpen(1, 1)); r.Code != chain.CodeOK {
		t.Errorf("an open once there is room: %s: %s", r.Code, r.Detail)
	}
}

// expire has the notices that are under way to a home expire at once.
func (b *bench) expire(home link.Place) {
	b.t.Helper()
	l := link.Link{Dst: home}
	for seq := range link.OutboundAt(b.view, l).Next {
		m, ok := link.MessageAt(b.view, l, seq)
		if !ok {
			b.t.Fatalf("notice %d is not in the state", seq)
		}
		m.Expiry = 1
		b.view.apply(chain.Changes{{Key: link.MessageKey(l, seq), Value: m.Encode()}})
	}
}

// TestNoticesComeBack: one that expired is told again, if it still says something, for a fee;
// one that the home refused, or calls expired though it cannot be, is not, but that a channel
// is unknown makes it known.
func TestNoticesComeBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		code chain.Code // 0: it expires
		late func(b *bench)
		want []channel.NoticeKind
		paid int // imports that are not free
	}{
		{"expired", chain.CodeOK, func(*bench) {}, []channel.NoticeKind{channel.NoticeOpened, channel.NoticeRedeemed}, 3},
		{"expired, and closed since", chain.CodeOK, func(b *bench) { b.ok(1, b.batch(1, closing(b.voucher(b.ref(0), 1, 5)))) }, nil, 3},
		{"expired, which cannot be", chain.CodeOK, func(*bench) {}, nil, 0},
		{"refused", chain.CodeStale, func(*bench) {}, nil, 0},
		{"unknown", chain.CodeChannelUnknown, func(*bench) {}, []channel.NoticeKind{channel.NoticeOpened, channel.NoticeRedeemed}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			h := newHome(b, 0)
			h.code = row.code
			var all []settlement.Result
			all = append(all, b.block(b.signed(0, b.serviceOpen(1, 1, 500))))
			all = append(all, b.block(b.signed(4, &channel.TopUp{Channel: b.ref(0), NewTotal: 700})))
			all = append(all, b.block(b.signed(1, b.batch(1, b.voucher(b.ref(0), 0, 100), b.voucher(b.ref(0), 9, 30)))))
			if row.code == chain.CodeOK {
				h.clock = 1 << 30
			}
			for i := range all {
				h.take(&all[i])
			}
			if row.name != "expired, which cannot be" {
				b.expire(link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()})
			}
			row.late(b)
			var told []link.Message
			paid := 0
			for _, res := range h.anchor(6) {
				r := res.Receipts[0]
				if r.Code != chain.CodeOK || r.Paid != r.Fee && r.Paid != 0 {
					t.Errorf("%s (%s), %d of %d paid back", r.Code, r.Detail, r.Paid, r.Fee)
				}
				if r.Paid == 0 {
					paid++
				}
				told = append(told, notices(&res)...)
			}
			if paid != row.paid {
				t.Errorf("%d imports are paid for, want %d", paid, row.paid)
			}
			// Imports came one by one, so that what one of them brings back is told at once.
			var got []channel.NoticeKind
			for _, k := range kinds(told) {
				if !slices.Contains(got, k) {
					got = append(got, k)
				}
			}
			slices.Sort(got)
			if row.name == "expired" { // the top-up came back as well
				got = slices.DeleteFunc(got, func(k channel.NoticeKind) bool { return k == channel.NoticeChanged })
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// about returns what notices say of a channel whose totals do not change.
func about(list []link.Message, index uint64) (got []channel.NoticeKind) {
	for i := range list {
		var of uint64
		switch m := &list[i]; channel.NoticeKind(m.Kind) {
		case channel.NoticeOpened:
			n, _ := channel.DecodeOpenedNotice(m.Payload)
			of = n.Index
		case channel.NoticeChanged:
			n, _ := channel.DecodeChangedNotice(m.Payload)
			of = n.Index
		case channel.NoticeClosed:
			n, _ := channel.DecodeClosedNotice(m.Payload)
			of = n.Index
		default:
			continue
		}
		if of == index {
			got = append(got, channel.NoticeKind(list[i].Kind))
		}
	}
	return got
}

// TestToldAgainAndClosed: a channel that its home was told of, or may have been, is closed
// there too, though it waits to be opened there once more. Nobody is told of the close of
// a channel that nobody was told of.
func TestToldAgainAndClosed(t *testing.T) {
	t.Parallel()
	closes := func(b *bench, index uint64) settlement.BlockTx {
		return b.signed(1, b.batch(1, closing(b.voucher(b.ref(index), 1, 5))))
	}
	for _, row := range []struct {
		name string
		late func(b *bench, h *home) []settlement.Result // both top-ups of channel 0 are on their way back, and the link is full
		of   uint64
		want []channel.NoticeKind
	}{
		{"while the second waits", func(b *bench, h *home) []settlement.Result {
			list := []settlement.Result{b.block(h.says(6, 2)), b.block(h.says(6, 3), b.signed(0, b.serviceOpen(1, 1)))}
			return append(list, b.block(closes(b, 0)))
		}, 0, []channel.NoticeKind{channel.NoticeOpened, channel.NoticeClosed}},
		{"in the block of the second", func(b *bench, h *home) []settlement.Result {
			return []settlement.Result{b.block(h.says(6, 2)), b.block(h.says(6, 3), closes(b, 0))}
		}, 0, []channel.NoticeKind{channel.NoticeOpened, channel.NoticeClosed}},
		{"rolled over, and never told", func(b *bench, h *home) []settlement.Result {
			next := b.serviceOpen(1, 1).Channels[0]
			list := []settlement.Result{b.block(b.signed(2, b.coopClose(0, 1, b.ref(1), 20, &next)))}
			list = append(list, b.block(closes(b, settlement.ChannelCount(b.view)-1)))
			return append(list, b.block(h.says(6, 2)), b.block(h.says(6, 3))) // until then the link is full
		}, link.MaxUnacked, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			h := newHome(b, 0)
			place := link.Place{Service: 1, Zone: b.addrs[0].Zone(), Bucket: b.addrs[0].Bucket()}
			res := b.block(b.signed(0, b.serviceOpen(1, 2, 500)))
			h.take(&res)
			h.code = chain.CodeChannelUnknown
			for _, total := range []ledger.Amount{700, 800} {
				res = b.block(b.signed(4, &channel.TopUp{Channel: b.ref(0), NewTotal: total}))
				h.take(&res)
			}
			h.code = chain.CodeOK
			b.block(b.signed(6, anchorsOf(b.join(h.certs...))))
			b.block(h.says(6, 1))
			h.certs = nil
			all := []settlement.Result{b.block(b.signed(0, b.serviceOpen(1, 1_024))), b.block(b.fewAtOnce(link.MaxUnacked - 2 - 1_024)...)}
			out := link.OutboundAt(b.view, link.Link{Dst: place})
			if n, _ := out.UnderWay(); n != link.MaxUnacked {
				t.Fatalf("%d notices are under way", n)
			}
			all = append(all, row.late(b, h)...)
			for i := range all {
				for _, r := range all[i].Receipts {
					if r.Code != chain.CodeOK {
						t.Fatalf("%s: %s: %s", r.Kind, r.Code, r.Detail)
					}
				}
				h.take(&all[i])
			}
			var got []channel.NoticeKind
			for _, res := range append(all, h.anchor(6)...) {
				got = append(got, about(notices(&res), row.of)...)
			}
			if diff := cmp.Diff(row.want, got); diff != "" || settlement.Waiting(b.view, place) != 0 {
				t.Errorf("%d wait still: %s", settlement.Waiting(b.view, place), diff)
			}
		})
	}
}
