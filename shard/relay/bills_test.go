package relay_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// standing is a shard with a state and a height.
type standing struct {
	bare

	height uint64
}

func (s *standing) Read(f func(chain.View, uint64) error) error { return f(s.state, s.height) }

// till is a main chain with channels, a shard where lanes of them wait for payment, and a
// teller between both.
type till struct {
	t      *testing.T
	params settlement.Params
	payer  ledger.PrivateKey
	hot    ledger.PrivateKey
	main   rows
	height uint64
	shard  *standing
	teller *relay.Teller
	keys   map[string]service.Spot
	now    time.Time
}

var tillDomain = chain.Domain{Network: ledger.NetworkID{1}, Chain: ledger.MainChain}

const tillService = 7

func newTill(t *testing.T) *till {
	t.Helper()
	relayer := ledger.NewPrivateKey([ledger.SeedSize]byte{1})
	x := &till{
		t: t, params: settlement.LocalParams(), payer: ledger.NewPrivateKey([ledger.SeedSize]byte{2}), hot: ledger.NewPrivateKey([ledger.SeedSize]byte{3}),
		main: rows{}, shard: &standing{bare: bare{state: rows{}}, height: 1}, keys: map[string]service.Spot{}, now: time.Unix(1_700_000_000, 0),
	}
	x.params.Services = []uint32{tillService}
	g := settlement.Genesis{Name: "test", Time: 1, Params: x.params, Accounts: []settlement.GenesisAccount{
		{Address: x.payer.Address(0), Balance: 1 << 50}, {Address: relayer.Address(0), Balance: 1 << 50},
	}}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	x.main.apply(changes)
	bucket := x.payer.Address(0).Bucket()
	of := service.Genesis{Network: tillDomain.Network, Shard: service.Shard{Chain: 100, Service: tillService, First: bucket, Last: bucket}, Params: service.DefaultParams()}
	if changes, err = of.State(); err != nil {
		t.Fatal(err)
	}
	x.shard.state.apply(changes)
	cfg := configOf(bare{})
	cfg.Network, cfg.Now = tillDomain.Network, func() time.Time { return x.now }
	row := anchor.State{Service: tillService, Buckets: shard.Range{First: shard.Bucket(bucket), Last: shard.Bucket(bucket)}}
	if x.teller, err = relay.NewTeller(cfg, x.params, row, x.shard); err != nil {
		t.Fatal(err)
	}
	return x
}

// block makes a block of main, and returns the receipts of what is in it.
func (x *till) block(raw ...[]byte) []settlement.Receipt {
	x.t.Helper()
	x.height++
	x.now = x.now.Add(relay.DefaultBlock)
	b := settlement.Block{Height: x.height}
	for _, r := range raw {
		tx, err := chain.DecodeTx(tillDomain, r)
		if err != nil {
			x.t.Fatal(err)
		}
		b.Txs = append(b.Txs, settlement.BlockTx{Tx: tx, Checked: true})
	}
	changes, res, err := settlement.ApplyBlock(x.main, x.params, tillDomain, b, func(claims []ledger.Claim) []int { return nil })
	if err != nil {
		x.t.Fatal(err)
	}
	x.main.apply(changes)
	for _, r := range res.Receipts {
		if r.Code != chain.CodeOK {
			x.t.Fatalf("%s: %s", r.Code, r.Detail)
		}
	}
	return res.Receipts
}

// open opens channels with a payee, with all of their lanes booked and settled up to amount,
// and returns their indexes.
func (x *till) open(payee ledger.Address, channels int, amount ledger.Amount, expires uint64) (list []uint64) {
	x.t.Helper()
	row, _, _ := settlement.AccountByAddress(x.main, x.payer.Address(0))
	open := channel.Open{}
	for range channels {
		open.Channels = append(open.Channels, channel.OpenParams{
			Payee: payee, VoucherKey: x.hot.Public(), Deposit: 1_000 * x.params.MinDeposit, ExpiresAt: expires, Challenge: 20, Service: tillService,
		})
	}
	next := channel.ReadCounters(x.main).Channels
	x.block(chain.SignTx(tillDomain, x.payer, chain.TxFields{Kind: chain.KindOpenChannels, Nonce: row.Nonce, MaxFee: 1 << 40, Payload: open.Encode()}))
	for i := range uint64(channels) {
		list = append(list, next+i)
		x.book(next+i, amount)
	}
	return list
}

// book has the best voucher of each lane of a channel say an amount, and settles it.
func (x *till) book(index uint64, amount ledger.Amount) {
	x.t.Helper()
	at, ok := channel.At(x.main, index)
	if !ok {
		x.t.Fatal("not opened")
	}
	c := service.Channel{ID: at.ID, Payer: at.Payer, Payee: at.Payee, VoucherKey: at.VoucherKey, Deposit: at.Deposit, ExpiresAt: at.ExpiresAt, Lanes: 1<<channel.Lanes - 1}
	for lane := range uint8(channel.Lanes) {
		e := channel.Entry{Index: index, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: amount, Units: 1}
		l := service.Lane{Cumulative: amount, Units: 1, Settled: amount, Signature: x.hot.Sign(e.Signed(tillDomain, at.ID))}
		if lane == 0 {
			c.Lane0 = l
		} else {
			x.shard.state[x.key('L', nil, index, lane)] = l.Encode()
		}
		key := x.key('P', &at.Payee, index, lane)
		x.shard.state[key], x.keys[key] = make([]byte, 8), service.Spot{Payee: at.Payee, Index: index, Lane: lane}
	}
	x.shard.state[string(service.ChannelKey(at.Payer.Bucket(), index))] = c.Encode()
	x.shard.height++
}

// key is that of a lane in the state of the shard, as chain/service lays it out.
func (x *till) key(table byte, payee *ledger.Address, index uint64, lane uint8) string {
	k := []byte{'B', x.payer.Address(0).Bucket(), table}
	if payee != nil {
		k = append(k, payee[:]...)
	}
	return string(append(binary.BigEndian.AppendUint64(k, index), lane))
}

// round has the teller look, executes what it sends, and returns which payees are paid for
// how many lanes.
func (x *till) round() map[ledger.Address]int {
	x.t.Helper()
	sent, _, err := x.teller.Round(x.main, x.height)
	if err != nil {
		x.t.Fatal(err)
	}
	out := map[ledger.Address]int{}
	for i, r := range x.block(sent...) {
		tx, err := chain.DecodeTx(tillDomain, sent[i])
		if err != nil {
			x.t.Fatal(err)
		}
		b, err := channel.DecodeBatch(tx.Payload)
		if err != nil {
			x.t.Fatal(err)
		}
		if r.Paid <= tx.MaxFee {
			x.t.Errorf("%d drops are paid for a fee of %d", r.Paid, tx.MaxFee)
		}
		out[b.Payee] += len(b.Entries)
	}
	return out
}

// told lets the shard know what main has paid.
func (x *till) told() {
	for key, at := range x.keys {
		if l, ok := channel.LaneAt(x.main, at.Index, at.Lane); ok && l.Redeemed > 0 {
			delete(x.shard.state, key)
			delete(x.keys, key)
		}
	}
	x.shard.height++
}

// payeeAt is a payee that comes after all with a smaller number.
func payeeAt(n byte) ledger.Address { return ledger.Address{0, 0, n} }

// TestDust: a payee with more lanes than are looked at together, none of which is worth what
// it costs, keeps nobody else from being paid, and not itself either.
func TestDust(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	many := relay.MaxEntries/channel.Lanes + 20
	x.open(payeeAt(5), many, 1, 1_000)
	for _, n := range []byte{1, 7, 9} {
		x.open(payeeAt(n), 1, 100*x.params.EntryFee, 1_000)
	}
	got := x.round()
	for _, n := range []byte{1, 7, 9} {
		if got[payeeAt(n)] != channel.Lanes {
			t.Errorf("payee %d is paid for %d lanes, want %d: %v", n, got[payeeAt(n)], channel.Lanes, got)
		}
	}
	x.told()
	behind := x.open(payeeAt(5), 1, 100*x.params.EntryFee, 1_000)[0] // all of its dust
	for range 12 {
		x.round()
	}
	if l, _ := channel.LaneAt(x.main, behind, channel.Lanes-1); l.Redeemed == 0 {
		t.Error("the payee with dust is not paid for what is worth it")
	}
}

// TestMixed: lanes that are worth nothing do not keep others of their batch from being paid.
func TestMixed(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	x.open(payeeAt(5), 10, 1, 1_000)
	x.open(payeeAt(5), 1, 3*x.params.EntryFee, 1_000)
	x.open(payeeAt(5), 3, 1, 1_000)
	if got := x.round()[payeeAt(5)]; got != channel.Lanes {
		t.Errorf("%d lanes are paid, want %d", got, channel.Lanes)
	}
}

// TestMany: a payee with more good lanes than fit one batch has them paid one batch after the
// other, each lane once, although the shard does not know yet.
func TestMany(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	const many = relay.MaxEntries/channel.Lanes + 20
	x.open(payeeAt(5), many, 100*x.params.EntryFee, 1_000)
	paid := 0
	for range 12 {
		paid += x.round()[payeeAt(5)]
	}
	if paid != many*channel.Lanes {
		t.Errorf("%d lanes are paid, want %d", paid, many*channel.Lanes)
	}
}

// TestAgain: a lane that was paid is not settled again at once when it moves on, and others of
// the payee are; one on a channel that is about to end is sooner.
func TestAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		expires uint64
		wait    uint64
		spare   uint64
	}{{10_000, link.RelistBlocks, relay.LookBlocks}, {100, link.RelayTimeout, 1}} {
		x := newTill(t)
		payee, amount := payeeAt(5), 10*x.params.EntryFee
		first := x.open(payee, 1, amount, row.expires)[0]
		sent := x.height
		if got := x.round()[payee]; got != channel.Lanes {
			t.Fatalf("%d lanes are paid", got)
		}
		x.book(first, 2*amount)
		x.open(payee, 1, amount, row.expires)
		if got := x.round()[payee]; got != channel.Lanes {
			t.Errorf("%d lanes are paid, want those of the other channel", got)
		}
		blocks := x.height - sent
		for x.round()[payee] == 0 && blocks < 100 {
			blocks = x.height - sent
		}
		if blocks < row.wait || blocks >= row.wait+row.spare {
			t.Errorf("paid again after %d blocks, want %d, and fewer than %d more", blocks, row.wait, row.spare)
		}
	}
}

// TestEnding: what is on a channel that main is about to close is paid before the rest,
// wherever it stands.
func TestEnding(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	for n := range byte(relay.MaxBatches + 3) {
		x.open(payeeAt(n+1), 10, 100*x.params.EntryFee, 1_000)
	}
	last := payeeAt(200)
	x.open(payeeAt(100), relay.MaxEntries/channel.Lanes, 100*x.params.EntryFee, 1_000)
	x.open(last, 2, 100*x.params.EntryFee, x.height+80)
	if got := x.round(); len(got) != relay.MaxBatches || got[last] != 2*channel.Lanes {
		t.Errorf("paid %v, want %d batches and that of the payee whose channels end first", got, relay.MaxBatches)
	}
}

// TestRest: as long as there is nothing to send, a page is compared with what main has paid only
// once in some blocks; what comes later is paid all the same.
func TestRest(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	x.open(payeeAt(5), 2, 1, 1_000)
	looks := 0
	for range 10 * relay.LookBlocks {
		before := x.teller.Worthless()
		x.round()
		if x.teller.Worthless() > before {
			looks++
		}
	}
	if looks < 9 || looks > 11 {
		t.Errorf("%d looks in %d blocks, want one in %d", looks, 10*relay.LookBlocks, relay.LookBlocks)
	}
	x.open(payeeAt(7), 1, 100*x.params.EntryFee, 1_000)
	paid := 0
	for range relay.LookBlocks {
		paid += x.round()[payeeAt(7)]
	}
	if paid != channel.Lanes {
		t.Errorf("%d lanes are paid within %d blocks, want %d", paid, relay.LookBlocks, channel.Lanes)
	}
}

// TestRestEndsWithoutMain: what a shard settles while main stands still is paid when the time
// of the blocks is over, and is the reason for another round.
func TestRestEndsWithoutMain(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	at := x.open(payeeAt(7), 1, 1, 1_000)[0] // not worth it
	look := func() (sent [][]byte) {
		sent, _, err := x.teller.Round(x.main, x.height)
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	if sent := look(); len(sent) > 0 || x.teller.Again() >= 0 {
		t.Fatalf("%d records are sent, the next round is due after %v", len(sent), x.teller.Again())
	}
	x.book(at, 100*x.params.EntryFee)
	if sent := look(); len(sent) > 0 || x.teller.Again() <= 0 {
		t.Fatalf("%d records are sent, the next round is due after %v", len(sent), x.teller.Again())
	}
	x.now = x.now.Add(x.teller.Again())
	if sent := look(); len(sent) != 1 {
		t.Errorf("%d records are sent, want one", len(sent))
	}
}

// TestForgotten: who is owed nothing any more is not remembered, also if there is more than
// is looked at together.
func TestForgotten(t *testing.T) {
	t.Parallel()
	x := newTill(t)
	x.open(payeeAt(5), relay.MaxEntries/channel.Lanes+20, 1, 1_000)
	for n := range byte(20) {
		x.open(payeeAt(10+n), 1, 100*x.params.EntryFee, 1_000)
	}
	for range 8 {
		x.round()
	}
	x.told()
	for range 8 * relay.LookBlocks {
		x.round()
		x.shard.height++
	}
	if _, payees, err := x.teller.Round(x.main, x.height); err != nil || payees != 1 {
		t.Errorf("%d payees are remembered, want the one with dust; %v", payees, err)
	}
	if left := slices.Collect(func(yield func(string) bool) {
		for key, at := range x.keys {
			if at.Payee != payeeAt(5) && !yield(key) {
				return
			}
		}
	}); len(left) > 0 {
		t.Errorf("%d lanes are not paid", len(left))
	}
}
