package settlement_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// coopClose returns a cooperative close signed by accounts payer and payee.
func (b *bench) coopClose(payer, payee int, ref channel.Ref, final uint64, next *channel.OpenParams) *channel.CoopClose {
	c := &channel.CoopClose{
		Channel: ref, Final: ledger.Amount(final), ValidUntil: b.height + 100, Rollover: next,
		PayerKey: b.keys[payer].Public(), PayeeKey: b.keys[payee].Public(),
	}
	terms := c.Terms()
	c.PayerSig, c.PayeeSig = b.keys[payer].Sign(terms.Signed(b.domain)), b.keys[payee].Sign(terms.Signed(b.domain))
	return c
}

// TestPhases is the state machine: every transition in every phase of a channel.
func TestPhases(t *testing.T) {
	t.Parallel()
	const payer, payee, deposit = 0, 1, 1_000
	phases := []struct {
		name  string
		reach func(b *bench, ref channel.Ref)
	}{
		{"open", func(*bench, channel.Ref) {}},
		{"closing", func(b *bench, ref channel.Ref) { b.ok(payer, &channel.RequestClose{Channel: ref}) }},
		{"last block of a close", func(b *bench, ref channel.Ref) {
			b.ok(payer, &channel.RequestClose{Channel: ref})
			c, _ := settlement.ChannelAt(b.view, ref.Index)
			b.idle(c.CloseAt)
		}},
		{"last block of the lifetime", func(b *bench, ref channel.Ref) {
			c, _ := settlement.ChannelAt(b.view, ref.Index)
			b.idle(c.ExpiresAt)
		}},
		{"finalised", func(b *bench, ref channel.Ref) {
			c, _ := settlement.ChannelAt(b.view, ref.Index)
			b.idle(c.ExpiresAt + 1)
		}},
		{"closed by its payee", func(b *bench, ref channel.Ref) {
			b.ok(payee, b.batch(payee, channel.Entry{Index: ref.Index, Close: true}))
		}},
		{"never opened", nil},
	}
	const (
		ok       = chain.CodeOK
		shut     = chain.CodeChannelClosing
		expired  = chain.CodeChannelExpired
		notFound = chain.CodeChannelNotFound
	)
	gone := [6]chain.Code{notFound, notFound, notFound, notFound, notFound, notFound}
	want := map[string][6]chain.Code{
		"open":                       {ok, ok, ok, ok, ok, ok},
		"closing":                    {shut, shut, shut, ok, ok, ok},
		"last block of a close":      {shut, shut, shut, ok, ok, ok},
		"last block of the lifetime": {expired, expired, expired, ok, ok, ok},
		"finalised":                  gone,
		"closed by its payee":        gone,
		"never opened":               gone,
	}
	transitions := []struct {
		name    string
		by      int
		payload func(b *bench, ref channel.Ref) encoder
	}{
		{"top-up", 2, func(_ *bench, ref channel.Ref) encoder {
			return &channel.TopUp{Channel: ref, NewTotal: deposit + 1}
		}},
		{"extend", payer, func(b *bench, ref channel.Ref) encoder {
			return &channel.Extend{Channel: ref, NewExpiry: b.clock() + 58}
		}},
		{"request close", payer, func(_ *bench, ref channel.Ref) encoder { return &channel.RequestClose{Channel: ref} }},
		{"redeem", 2, func(b *bench, ref channel.Ref) encoder { return b.batch(payee, b.voucher(ref, 3, 500)) }},
		{"payee close", payee, func(b *bench, ref channel.Ref) encoder {
			return b.batch(payee, closing(b.voucher(ref, 3, 500)))
		}},
		{"coop close", 2, func(b *bench, ref channel.Ref) encoder { return b.coopClose(payer, payee, ref, 300, nil) }},
	}
	for _, phase := range phases {
		for i, transition := range transitions {
			t.Run(phase.name+"/"+transition.name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, smallParams(), 3)
				ref := channel.Ref{Index: 77, ID: ledger.HashOf("nothing")}
				if phase.reach != nil {
					ref = b.open(payer, payee, deposit)
					phase.reach(b, ref)
				}
				tx := b.signed(transition.by, transition.payload(b, ref))
				_, admitted := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
				r := b.block(tx).Receipts[0]
				code := r.Code
				if len(r.Entries) > 0 && code == ok {
					code = r.Entries[0].Code
				}
				if code != want[phase.name][i] {
					t.Fatalf("%s: %s (%s), want %s", r.Kind, code, r.Detail, want[phase.name][i])
				}
				if c, isRule := chain.CodeOf(admitted); !isRule || c != code {
					t.Errorf("Admit says %v, the block %s", admitted, code)
				}
				if r.Code != ok && (r.Fee != b.params.TxFee || r.Paid != 0) {
					t.Errorf("a refused transaction pays %d, want %d", r.Fee, b.params.TxFee)
				}
			})
		}
	}
}

// TestDeadlineBlockStillRedeems: the transactions of a block come before what is
// due in it.
func TestDeadlineBlockStillRedeems(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 1_000)
	b.ok(0, &channel.RequestClose{Channel: ref})
	c, _ := settlement.ChannelAt(b.view, ref.Index)
	b.idle(c.CloseAt)
	before := b.balance(0)
	res := b.block(b.signed(1, b.batch(1, b.voucher(ref, 0, 600))))
	if e := res.Receipts[0].Entries[0]; e.Code != chain.CodeOK || e.Paid+e.Burned != 600 {
		t.Fatalf("the redemption is %+v", e)
	}
	if res.Finalised != 1 || b.balance(0)-before != 400+uint64(b.params.Rent) {
		t.Fatalf("%d finalised, the payer got %d", res.Finalised, b.balance(0)-before)
	}
	if _, ok := settlement.NextDeadline(b.view); ok {
		t.Error("a deadline is left")
	}
}

// TestMassClose: what is due beyond FinaliseLimit waits, ascending by deadline
// and index, and redeems meanwhile.
func TestMassClose(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.OpenFee, p.Rent = 0, 1
	b := newBench(t, p, 2)
	const n = 2_100
	expires := b.clock() + 40
	for left := n; left > 0; {
		open := &channel.Open{}
		for range min(left, channel.MaxOpens) {
			params := b.openParams(1, 100)
			params.ExpiresAt = expires
			open.Channels = append(open.Channels, params)
		}
		left -= len(open.Channels)
		b.ok(0, open)
	}
	early := b.open(0, 1, 100, func(p *channel.OpenParams) { p.ExpiresAt = expires - 1 })
	late := b.open(0, 1, 100, func(p *channel.OpenParams) { p.ExpiresAt = expires + 20 })
	b.idle(expires - 1)
	if res := b.block(); len(res.Events) != 1 || res.Events[0].Index != early.Index {
		t.Fatalf("the first to go are %+v, want channel %d", res.Events, early.Index)
	}
	next := uint64(0)
	for round, want := range []int{1_000, 1_000, 100, 0} {
		var txs []settlement.BlockTx
		if round == 1 { // the last in the queue is past its deadline, and still pays
			txs = append(txs, b.signed(1, b.batch(1, b.voucher(b.ref(n-1), 0, 60))))
		}
		res := b.block(txs...)
		if res.Finalised != want {
			t.Fatalf("round %d: %d finalised, want %d", round, res.Finalised, want)
		}
		for _, r := range res.Receipts {
			if r.Entries[0].Code != chain.CodeOK {
				t.Errorf("a channel in the queue: %s", r.Entries[0].Code)
			}
		}
		for _, e := range res.Events {
			if e.Kind != settlement.EventFinalised {
				continue
			}
			if e.Index != next || e.TxIndex != -1 {
				t.Fatalf("round %d: %+v, want channel %d", round, e, next)
			}
			next++
		}
	}
	if sigma, ok := settlement.NextDeadline(b.view); !ok || sigma != expires+20 || settlement.OpenChannels(b.view) != 1 {
		t.Errorf("the next deadline is %d, want that of channel %d", sigma, late.Index)
	}
}

// TestMassCloseOfManyLanes: channels with many lanes are finalised fewer at a
// time, in the same order.
func TestMassCloseOfManyLanes(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EntryFee, p.MinDeposit = 0, 100
	b := newBench(t, p, 2)
	const n = 70
	open := &channel.Open{}
	for range n {
		params := b.openParams(1, 100)
		params.ExpiresAt = b.clock() + 40
		open.Channels = append(open.Channels, params)
	}
	b.ok(0, open)
	var txs []settlement.BlockTx
	for i := range uint64(n - 1) {
		batch := b.batch(1)
		for lane := range uint8(channel.Lanes) {
			batch.Entries = append(batch.Entries, channel.Entry{Index: i, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: 1})
		}
		txs = append(txs, b.checked(1, batch))
	}
	b.block(txs...)
	if l, ok := settlement.LaneAt(b.view, n-2, channel.Lanes-1); !ok || l.Redeemed != 1 {
		t.Fatalf("the last lane is %+v", l)
	}
	b.idle(open.Channels[0].ExpiresAt)
	next := uint64(0)
	for _, want := range []int{channel.FinaliseLanes / (channel.Lanes - 1), n - channel.FinaliseLanes/(channel.Lanes-1), 0} {
		res := b.block()
		if res.Finalised != want {
			t.Fatalf("%d finalised, want %d", res.Finalised, want)
		}
		for _, e := range res.Events {
			if e.Index != next {
				t.Fatalf("channel %d is finalised, want %d", e.Index, next)
			}
			next++
		}
	}
	for _, prefix := range []string{"L", "l", "d"} {
		for key := range b.view.Range([]byte(prefix)) {
			t.Errorf("key %x is left", key)
		}
	}
}

// TestIdleBlocksChangeNothing: the application hash of an idle chain stays.
func TestIdleBlocksChangeNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	b.open(0, 1, 1_000)
	for range 10 {
		changes, res := b.try()
		if len(changes) != 0 || !res.ResultsRoot.IsZero() || len(res.Receipts)+len(res.Events) != 0 {
			t.Fatalf("an empty block changes %d keys", len(changes))
		}
		b.height++
	}
}

// fillLane returns a block that fills the reserved lane with redemptions of refs.
func (b *bench) fillLane(refs []channel.Ref, cumulative uint64) []settlement.BlockTx {
	var txs []settlement.BlockTx
	for _, ref := range refs {
		txs = append(txs, b.checked(1, b.batch(1, b.voucher(ref, 0, cumulative))))
	}
	return txs
}

// TestClockStandsStill: while urgent redemptions fill the reserved lane sigma
// stands still, but a window never lasts more than MaxStretch times its length.
func TestClockStandsStill(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	var refs []channel.Ref
	for range 3 {
		refs = append(refs, b.open(0, 1, 1_000, func(p *channel.OpenParams) { p.Challenge = 8 }))
	}
	var requests []settlement.BlockTx
	for _, ref := range refs {
		requests = append(requests, b.checked(0, &channel.RequestClose{Channel: ref}))
	}
	first := b.fillLane(refs, 10)
	b.params.ReservedBps, b.params.MaxStretch = 2_500, 4
	b.params.MaxBlockBytes = 4 * 3 * int64(len(first[0].Tx.Raw))
	ran := func(txs []settlement.BlockTx) uint64 {
		t.Helper()
		sigma := b.clock()
		for i, r := range b.block(txs...).Receipts {
			if r.Code != chain.CodeOK {
				t.Fatalf("transaction %d: %s", i, r.Code)
			}
		}
		return b.clock() - sigma
	}
	if ran(first) != 1 {
		t.Fatal("the clock stood still for channels that can wait")
	}
	if ran(requests) != 1 {
		t.Fatal("the clock stood still for requests")
	}
	for i, want := range []uint64{0, 0, 0, 1, 0, 0, 0, 1} {
		if got := ran(b.fillLane(refs, uint64(20+i))); got != want {
			t.Errorf("block %d with a full lane: sigma ran %d, want %d", i, got, want)
		}
	}
	if ran(b.fillLane(refs, 27)) != 1 {
		t.Error("stale claims stopped the clock")
	}
	if ran(b.fillLane(refs[:2], 40)) != 1 {
		t.Error("two thirds of the lane stopped the clock")
	}
	// An atomic batch that fails moves nothing.
	bad := b.batch(1, b.voucher(refs[0], 0, 50), b.voucher(refs[1], 0, 50), b.voucher(refs[2], 0, 5_000))
	bad.Mode = channel.Atomic
	sigma := b.clock()
	if r := b.block(b.checked(1, bad)).Receipts[0]; r.Code != chain.CodeBatchAborted || b.clock() != sigma+1 {
		t.Errorf("%s, sigma ran %d", r.Code, b.clock()-sigma)
	}
	if changes, _ := b.try(); len(changes) > 0 {
		t.Errorf("an idle block writes %q", changes[0].Key)
	}
}

func TestClockNeedsNineTenthsOfTheLane(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		lane  int64 // in tenths of what moves
		still bool
	}{{"full", 10, true}, {"nine tenths", 11, true}, {"less", 12, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, smallParams(), 2)
			ref := b.open(0, 1, 1_000)
			b.ok(0, &channel.RequestClose{Channel: ref})
			tx := b.checked(1, b.batch(1, b.voucher(ref, 0, 10)))
			b.params.ReservedBps = 10_000
			b.params.MaxBlockBytes = int64(len(tx.Tx.Raw)) * c.lane / 10
			sigma := b.clock()
			b.block(tx)
			if still := b.clock() == sigma; still != c.still {
				t.Errorf("the clock stood still: %v, want %v", still, c.still)
			}
		})
	}
}
