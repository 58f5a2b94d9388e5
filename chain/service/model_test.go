package service_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// modelLane and modelChannel are a naive account of the same things.
type modelLane struct{ cumulative, units, work, seq, settled, redeemed uint64 }

type modelChannel struct {
	*account
	deposit, expires uint64
	closes           uint64 // on the main chain; 0 while nobody wants that
	known, gone      bool
	closing          bool // as far as its home knows
	lanes            map[uint8]*modelLane
}

func (c *modelChannel) booked() (sum uint64) {
	for _, l := range c.lanes {
		sum += l.cumulative
	}
	return sum
}

// world is a service of several shards and its model, driven by random operations.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	shards   []*shard
	inbox    []map[int][]service.Inbound // by destination and source shard, in order; -1 is main
	channels []*modelChannel
	earned   map[ledger.Address]service.Sums
	sigma    uint64
	settled  map[string]bool // vouchers that went into a settlement
	codes    map[chain.Code]int
	messages int
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), earned: map[ledger.Address]service.Sums{},
		settled: map[string]bool{}, codes: map[chain.Code]int{},
	}
	p := smallParams()
	p.MinAdvance, p.Ahead = 3, 40
	for i, r := range [][3]uint8{{0, 0, 127}, {0, 128, 255}, {1, 0, 63}, {1, 64, 255}} {
		place := service.Shard{Chain: ledger.ChainID(50 + i), Service: testService, Zone: r[0], First: r[1], Last: r[2]}
		w.shards = append(w.shards, newShard(t, p, place))
		w.inbox = append(w.inbox, map[int][]service.Inbound{})
	}
	return w
}

func (w *world) shardOf(p service.Place) int {
	for i, s := range w.shards {
		if s.place.Owns(p) {
			return i
		}
	}
	w.t.Fatalf("no shard has %s", p)
	return 0
}

func (w *world) fromMain(in service.Inbound) {
	at := w.shardOf(in.To)
	w.inbox[at][-1] = append(w.inbox[at][-1], in)
}

// mainStep is something that happens on the main chain.
func (w *world) mainStep() {
	if len(w.channels) < 5 || len(w.channels) < 40 && w.rng.IntN(4) == 0 {
		i := len(w.channels)
		a := newAccount(uint64(i), keyOf("payer", w.rng.IntN(12)), keyOf("payee", w.rng.IntN(5)), uint8(w.rng.IntN(2)), uint8(w.rng.IntN(2)), ledger.Amount(50+w.rng.IntN(200)))
		a.expires = w.sigma + 50 + w.rng.Uint64N(100)
		w.channels = append(w.channels, &modelChannel{account: a, deposit: uint64(a.deposit), expires: a.expires, lanes: map[uint8]*modelLane{}})
		w.fromMain(a.opened())
		return
	}
	c := w.channels[w.rng.IntN(len(w.channels))]
	if c.gone {
		return
	}
	switch w.rng.IntN(8) {
	case 0:
		if c.closes == 0 {
			c.closes = w.sigma + 10 + w.rng.Uint64N(20)
			n := channel.ChangedNotice{Payer: c.payerAddress(), Index: c.index, Deposit: ledger.Amount(c.deposit), ExpiresAt: c.expires, ClosesAt: c.closes}
			w.fromMain(service.Inbound{Main: true, To: c.home(), Kind: service.KindChanged, Payload: n.Encode()})
			return
		}
		c.gone = true
		w.fromMain(c.closed())
	case 1, 2:
		if c.closes != 0 {
			return
		}
		c.deposit += w.rng.Uint64N(100)
		w.fromMain(c.changed(ledger.Amount(c.deposit), c.expires))
	case 3:
		if c.closes != 0 {
			return
		}
		c.expires += w.rng.Uint64N(50)
		w.fromMain(c.changed(ledger.Amount(c.deposit), c.expires))
	default:
		lane := uint8(w.rng.IntN(3))
		w.fromMain(redeemed(c.home(), channel.LaneTotal{Index: c.index, Lane: lane, Redeemed: ledger.Amount(w.rng.Uint64N(c.deposit) + 1)}))
	}
}

// deliver takes some messages for a shard off the queues, each queue in its order.
func (w *world) deliver(at int) []service.Inbound {
	var in []service.Inbound
	for src := -1; src < len(w.shards); src++ {
		n := min(len(w.inbox[at][src]), w.rng.IntN(4))
		in = append(in, w.inbox[at][src][:n]...)
		w.inbox[at][src] = w.inbox[at][src][n:]
	}
	return in
}

// take does in the model what a shard does with messages.
func (w *world) take(in []service.Inbound, results []service.ImportResult) {
	w.t.Helper()
	for i, m := range in {
		if !results[i].Taken() {
			w.t.Errorf("message of kind %s: %s: %s", m.Kind, results[i].Code, results[i].Detail)
		}
		switch m.Kind {
		case service.KindEarnings: // counted where it was booked
		case service.KindOpened:
			n, _ := channel.DecodeOpenedNotice(m.Payload)
			w.channels[n.Index].known = true
			w.channels[n.Index].account.deposit = n.Deposit
		case service.KindChanged:
			n, _ := channel.DecodeChangedNotice(m.Payload)
			w.channels[n.Index].account.deposit = n.Deposit
			w.channels[n.Index].account.expires = n.ExpiresAt
			w.channels[n.Index].closing = w.channels[n.Index].closing || n.ClosesAt != 0
		case service.KindClosed:
			n, _ := channel.DecodeClosedNotice(m.Payload)
			w.channels[n.Index].known = false
		case service.KindRedeemed:
			n, _ := channel.DecodeRedeemedNotice(m.Payload)
			for _, t := range n.Lanes {
				if c := w.channels[t.Index]; c.known {
					l := c.lane(t.Lane)
					l.redeemed = max(l.redeemed, uint64(t.Redeemed))
				}
			}
		}
	}
}

func (c *modelChannel) lane(i uint8) *modelLane {
	if c.lanes[i] == nil {
		c.lanes[i] = &modelLane{}
	}
	return c.lanes[i]
}

// want books an entry in the model and returns its code.
func (w *world) want(at int, payee ledger.Address, c *modelChannel, e *channel.Entry) chain.Code {
	s := w.shards[at]
	switch {
	case !s.place.Owns(c.home()):
		return chain.CodeWrongShard
	case !c.known:
		return chain.CodeChannelUnknown
	case c.payeeAddress() != payee:
		return chain.CodeNotPayee
	}
	l := c.lane(e.Lane)
	cum, sigma := uint64(e.Cumulative), service.ReadEpoch(s.view).Sigma
	switch {
	case cum <= l.cumulative:
		return chain.CodeStale
	case c.account.expires <= sigma || c.closing && c.closes <= sigma:
		return chain.CodeChannelExpired
	case e.Units < l.units:
		return chain.CodeUnitsFell
	case cum-l.cumulative < 3:
		return chain.CodeAdvanceTooSmall
	case c.booked()-l.cumulative+cum > uint64(c.account.deposit):
		return chain.CodeAboveDeposit
	}
	work := max(l.work, min(e.Units, 2*cum))
	w.earned[payee] = w.earned[payee].Plus(service.Sums{Amount: cum - l.cumulative, Units: e.Units - l.units, Work: work - l.work})
	l.cumulative, l.units, l.work, l.seq = cum, e.Units, work, l.seq+1
	return chain.CodeOK
}

// transaction makes a random booking, mostly of channels of one shard and payee.
func (w *world) transaction(at int) (service.BlockTx, []*modelChannel) {
	var here []*modelChannel
	for _, c := range w.channels {
		if w.shards[at].place.Owns(c.home()) {
			here = append(here, c)
		}
	}
	if here == nil {
		return service.BlockTx{}, nil
	}
	payee := here[w.rng.IntN(len(here))]
	var items []item
	of := map[uint64]*modelChannel{}
	used := map[[2]uint64]bool{}
	for range 1 + w.rng.IntN(8) {
		c := here[w.rng.IntN(len(here))]
		if w.rng.IntN(3) == 0 {
			c = payee
		}
		if w.rng.IntN(20) == 0 {
			c = w.channels[w.rng.IntN(len(w.channels))]
		}
		if c.payeeAddress() != payee.payeeAddress() && w.rng.IntN(20) != 0 || c.zone != payee.zone {
			continue
		}
		lane := uint8(w.rng.IntN(3))
		if used[[2]uint64{c.index, uint64(lane)}] {
			continue
		}
		used[[2]uint64{c.index, uint64(lane)}] = true
		l := modelLane{}
		if known := c.lanes[lane]; known != nil {
			l = *known
		}
		e := channel.Entry{
			Index: c.index, Lane: lane, Claim: channel.ClaimVoucher,
			Cumulative: ledger.Amount(l.cumulative + w.rng.Uint64N(30)), Units: l.units + w.rng.Uint64N(80),
		}
		if w.rng.IntN(10) == 0 { // an older one, or one for fewer units
			e.Cumulative -= min(e.Cumulative, ledger.Amount(w.rng.Uint64N(9)))
			e.Units -= min(e.Units, w.rng.Uint64N(90))
		}
		items, of[c.index] = append(items, item{c.account, e}), c
	}
	if items == nil {
		return service.BlockTx{}, nil
	}
	u := usageOf(items...)
	u.Batch.Payee = payee.payeeAddress()
	channels := make([]*modelChannel, len(u.Batch.Entries))
	for i, e := range u.Batch.Entries {
		channels[i] = of[e.Index]
	}
	return service.BlockTx{Checked: true, Tx: chain.Tx{
		Kind: chain.KindBookUsage, Signer: u.Batch.Payee, Payload: u.Encode(), Hash: ledger.HashOf("tx", u.Encode()),
	}}, channels
}

// shardStep runs one block of a shard and compares it with the model.
func (w *world) shardStep(at int, drain bool) {
	w.t.Helper()
	s := w.shards[at]
	b := service.Block{}
	if w.rng.IntN(6) == 0 {
		w.sigma += w.rng.Uint64N(20)
		b.Epoch = &service.EpochStart{Epoch: service.ReadEpoch(s.view).Number + 1, Sigma: w.sigma}
	}
	if drain { // everything that is there
		for src := -1; src < len(w.shards); src++ {
			b.Inbox = append(b.Inbox, w.inbox[at][src]...)
			w.inbox[at][src] = nil
		}
	} else {
		b.Inbox = w.deliver(at)
	}
	var channels [][]*modelChannel
	for range w.rng.IntN(4) {
		if tx, of := w.transaction(at); of != nil && !drain {
			b.Txs, channels = append(b.Txs, tx), append(channels, of)
		}
	}
	b.Send = func(service.Message) bool { return drain || w.rng.IntN(3) != 0 }
	res := s.block(b)
	split := slices.IndexFunc(res.Settlements, func(x service.Settlement) bool { return x.Epoch == res.Epoch })
	early := res.Settlements
	if split < 0 {
		split = len(early)
	}
	early, res.Settlements = early[split:], early[:split]
	w.settle(at, res)
	w.take(b.Inbox, res.Imports)
	defer func() {
		w.settleEntries(at, early)
		w.settledEarly(at)
	}()
	for i, r := range res.Receipts {
		u, err := service.DecodeUsage(b.Txs[i].Tx.Payload)
		if err != nil || r.Code != chain.CodeOK {
			w.t.Fatalf("transaction: %s %s %v", r.Code, r.Detail, err)
		}
		for j := range r.Entries {
			want := w.want(at, u.Batch.Payee, channels[i][j], &u.Batch.Entries[j])
			w.codes[want]++
			if got := r.Entries[j].Code; got != want {
				w.t.Fatalf("entry %d of transaction %d: %s, the model says %s", j, i, got, want)
			}
		}
	}
	for _, m := range res.Messages {
		w.messages++
		to := w.shardOf(m.To)
		in := late(service.Inbound{From: m.From, To: m.To, Kind: m.Kind, Payload: m.Payload})
		if !drain && w.rng.IntN(10) == 0 { // too late: it comes back
			in.From, in.To, in.Fate = m.To, m.From, service.Expired
			w.inbox[at][to] = append(w.inbox[at][to], in)
			continue
		}
		w.inbox[to][at] = append(w.inbox[to][at], in)
	}
}

// settle checks settlements against the model: best vouchers, none twice, nothing
// that was paid.
func (w *world) settle(at int, res service.Result) {
	w.t.Helper()
	for _, x := range res.Settlements {
		if x.Epoch >= res.Epoch {
			w.t.Errorf("settlement of epoch %d in %d", x.Epoch, res.Epoch)
		}
	}
	if entries := w.settleEntries(at, res.Settlements); entries > 6 {
		w.t.Errorf("%d entries in one block", entries)
	}
}

// settledEarly checks that nothing waits on channels that are about to close.
func (w *world) settledEarly(at int) {
	w.t.Helper()
	for _, c := range w.channels {
		if !c.known || !c.closing || !w.shards[at].place.Owns(c.home()) {
			continue
		}
		for i, l := range c.lanes {
			if l.cumulative > max(l.settled, l.redeemed) {
				w.t.Errorf("lane %d of channel %d, which closes, has %+v", i, c.index, *l)
			}
		}
	}
}

func (w *world) settleEntries(at int, settlements []service.Settlement) (entries int) {
	w.t.Helper()
	for _, x := range settlements {
		if len(x.Batch.Entries) > 4 {
			w.t.Errorf("settlement with %d entries", len(x.Batch.Entries))
		}
		if _, err := channel.DecodeBatch(x.Batch.Encode()); err != nil {
			w.t.Errorf("the main chain would refuse: %v", err)
		}
		for _, e := range x.Batch.Entries {
			entries++
			c := w.channels[e.Index]
			l := c.lane(e.Lane)
			if !w.shards[at].place.Owns(c.home()) || c.payeeAddress() != x.Batch.Payee || uint64(e.Cumulative) != l.cumulative || l.cumulative <= max(l.settled, l.redeemed) {
				w.t.Errorf("settled %d/%d up to %d, the model has %+v", e.Index, e.Lane, uint64(e.Cumulative), *l)
			}
			l.settled = l.cumulative
			name := fmt.Sprint(e.Index, e.Lane, e.Cumulative)
			if w.settled[name] {
				w.t.Errorf("voucher %s is settled twice", name)
			}
			w.settled[name] = true
		}
	}
	return entries
}

// finish delivers everything and compares what remains with the model.
func (w *world) finish() {
	w.t.Helper()
	for range 6 {
		for at := range w.shards {
			w.shardStep(at, true)
		}
	}
	for range 20 { // settlements of the last epoch, six lanes a block
		for at, s := range w.shards {
			before := service.ReadEpoch(s.view)
			b := service.Block{}
			if !before.Settling {
				b.Epoch = &service.EpochStart{Epoch: before.Number + 1}
			}
			w.settle(at, s.block(b))
		}
	}
	totals := make([]service.Totals, 0, len(w.shards))
	for _, s := range w.shards {
		t := service.ReadTotals(s.view)
		totals = append(totals, t)
		if t.Waiting != (service.Sums{}) || t.Stuck != (service.Sums{}) {
			w.t.Errorf("waiting %+v, stuck %+v", t.Waiting, t.Stuck)
		}
	}
	if f := service.InFlight(totals...); f != (service.Sums{}) {
		w.t.Errorf("in flight %+v", f)
	}
	for payee, want := range w.earned {
		if got := service.EarningsOf(w.shards[w.shardOf(service.HomeOf(payee))].view, payee).Total; got != want {
			w.t.Errorf("payee %s earned %+v, the model says %+v", payee, got, want)
		}
	}
	for _, c := range w.channels {
		v := w.shards[w.shardOf(c.home())].view
		got, known := service.ChannelAt(v, c.home().Bucket, c.index)
		if known != c.known {
			w.t.Errorf("channel %d: known %t, the model says %t", c.index, known, c.known)
		}
		for i, l := range c.lanes {
			if !known {
				break
			}
			x := service.LaneOf(v, &got, c.index, i)
			if x.Settled <= x.Redeemed { // paid by the block that settled it: no settlement said so
				x.Settled = ledger.Amount(l.settled)
			}
			if (modelLane{uint64(x.Cumulative), x.Units, x.Work, x.Seq, uint64(x.Settled), uint64(x.Redeemed)}) != *l {
				w.t.Errorf("lane %d of channel %d has %+v, the model %+v", i, c.index, x, *l)
			}
			if l.cumulative > max(l.settled, l.redeemed) {
				w.t.Errorf("lane %d of channel %d moved, and is not settled", i, c.index)
			}
		}
	}
}

// TestModel: any history of several shards, with messages late, refused by links
// and back again, does what the naive model does; every block is audited.
func TestModel(t *testing.T) {
	t.Parallel()
	codes, messages, settled := map[chain.Code]int{}, 0, 0
	for seed := range uint64(30) {
		w := newWorld(t, seed)
		for range 150 {
			w.mainStep()
			w.mainStep()
			w.shardStep(w.rng.IntN(len(w.shards)), false)
		}
		w.finish()
		for c, n := range w.codes {
			codes[c] += n
		}
		messages, settled = messages+w.messages, settled+len(w.settled)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("codes %v, %d messages, %d vouchers settled", codes, messages, settled)
	for _, c := range []chain.Code{
		chain.CodeOK, chain.CodeWrongShard, chain.CodeChannelUnknown, chain.CodeNotPayee, chain.CodeStale,
		chain.CodeChannelExpired, chain.CodeUnitsFell, chain.CodeAdvanceTooSmall, chain.CodeAboveDeposit,
	} {
		if codes[c] == 0 {
			t.Errorf("no entry had code %s", c)
		}
	}
	if messages == 0 || settled == 0 {
		t.Errorf("%d messages, %d vouchers settled", messages, settled)
	}
}
