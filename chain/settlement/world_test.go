package settlement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// source makes the choices of a world.
type source interface{ intn(n int) int }

type random struct{ *rand.Rand }

func (r random) intn(n int) int { return r.IntN(n) }

func seeded(seed uint64) source { return random{rand.New(rand.NewPCG(seed, 1))} }

type drawn struct{ *rapid.T }

func (d drawn) intn(n int) int { return rapid.IntRange(0, n-1).Draw(d.T, "choice") }

// tracker is what the world knows of a channel that neither chain nor model do.
type tracker struct {
	ref           channel.Ref
	payer, payee  ledger.Address
	highest       [4]uint64        // signed, by lane slot
	best          [4]channel.Entry // that claims it
	vouchers      []channel.Entry
	claimed       [4]uint64 // highest that was executed since the deposit changed
	deposit       uint64
	rent          uint64
	redeemed      uint64
	burned        uint64
	ownerFees     uint64
	terms         modelTerms
	expires       uint64
	closing, gone bool
}

// lanes are the ones that worlds use.
func lanes() []uint8 { return []uint8{0, 1, 2, 63} }

// world is a chain and its model, driven by random operations.
type world struct {
	t       testing.TB
	src     source
	real    bool // sign and verify everything
	params  settlement.Params
	keys    []ledger.PrivateKey
	addrs   []ledger.Address
	view    *state
	m       *model
	chans   []*tracker
	ids     map[ledger.Hash]bool
	ops     []op
	txs     []settlement.BlockTx
	want    []outcome
	supply  uint64
	count   int // operations: transactions, and entries of batches
	closed  int
	exact   int // closed channels whose payee had claimed everything
	settled int // entries that paid
	earned  uint64
	stood   int // blocks at whose end the clock stood still
	codes   map[chain.Code]int
}

const worldAccounts = 5 // the last has next to nothing

var worldKeys = func() []ledger.PrivateKey {
	keys := make([]ledger.PrivateKey, worldAccounts+3)
	for i := range keys {
		keys[i] = keyOf("account", i)
	}
	return keys
}()

func newWorld(tb testing.TB, src source, signed bool) *world {
	tb.Helper()
	w := &world{t: tb, src: src, real: signed, params: smallParams(), ids: map[ledger.Hash]bool{}, codes: map[chain.Code]int{}}
	w.params.BurnBps = []uint32{200, 0, 1, 3_333, 10_000}[src.intn(5)]
	w.params.MaxBlockBytes, w.params.ReservedBps = 3_000, uint32(600*src.intn(6))
	w.params.MaxStretch = uint32(1 + src.intn(4))
	w.keys = worldKeys
	for i, k := range w.keys {
		w.addrs = append(w.addrs, k.Address(byte(i)))
	}
	w.m = &model{p: w.params}
	params := w.params
	params.MaxBlockBytes = 4 << 20 // a genesis wants blocks that hold a bundle
	g := settlement.Genesis{Name: "world", Time: 1, Params: params}
	for i, a := range w.addrs[:worldAccounts] {
		balance := uint64(100_000)
		if i == worldAccounts-1 {
			balance = 4
		}
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: a, Balance: ledger.Amount(balance)})
		w.m.accounts = append(w.m.accounts, &modelAccount{address: a, balance: balance, used: map[uint64]bool{}})
		w.supply += balance
	}
	changes, err := g.State()
	if err != nil {
		tb.Fatal(err)
	}
	w.view = newState(changes)
	w.register()
	return w
}

func (w *world) chance(percent int) bool { return w.src.intn(100) < percent }

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	for i := range w.ops {
		w.t.Logf("%d: %T %+v", i, w.ops[i].payload, w.ops[i])
	}
	w.t.Fatalf("block %d: %s", w.m.height, fmt.Sprintf(format, args...))
}

// step makes and applies one block of up to n transactions.
func (w *world) step(n int) {
	w.t.Helper()
	w.m.begin()
	if w.chance(10) {
		w.register()
	}
	w.ops, w.txs, w.want = w.ops[:0], w.txs[:0], w.want[:0]
	for range w.src.intn(n + 1) {
		o := w.operation()
		w.ops = append(w.ops, o)
		w.txs = append(w.txs, w.transaction(&w.ops[len(w.ops)-1]))
		out := w.m.apply(&w.ops[len(w.ops)-1])
		w.track(&o, out.opened)
		w.want = append(w.want, out)
		w.count++
		if b, ok := o.payload.(*channel.Batch); ok {
			w.count += len(b.Entries)
		}
	}
	due := w.m.end()
	block := settlement.Block{Height: w.m.height, Txs: w.txs}
	changes, res, err := settlement.ApplyBlock(w.view, w.params, testDomain, block, verifySingly)
	if err != nil {
		w.fatalf("%v", err)
	}
	if w.real {
		w.again(block, changes, &res)
	}
	w.view.apply(changes)
	w.compare(&res, due)
	w.invariants(&res)
}

// again applies the block once more, with what holds marked as checked.
func (w *world) again(block settlement.Block, changes chain.Changes, res *settlement.Result) {
	w.t.Helper()
	block.Txs = slices.Clone(block.Txs)
	for i := range block.Txs {
		tx := &block.Txs[i]
		needs, complete, err := settlement.Claims(w.view, testDomain, &tx.Tx)
		tx.Checked = err == nil && complete
		for _, n := range needs {
			tx.Checked = tx.Checked && ledger.Verify(n.Claim.Key, n.Claim.Message, n.Claim.Signature)
		}
	}
	was := w.view.digest()
	again, second, err := settlement.ApplyBlock(w.view, w.params, testDomain, block, verifySingly)
	if err != nil || digestOf(again, &second) != digestOf(changes, res) {
		w.fatalf("checked transactions have another outcome than verified ones: %v", err)
	}
	if w.view.digest() != was {
		w.fatalf("the rules changed the view")
	}
}

// transaction encodes o.
func (w *world) transaction(o *op) settlement.BlockTx {
	who := slices.Index(w.addrs, o.signer)
	f := chain.TxFields{
		Kind: kindOf(o.payload), Zone: o.signer.Zone(), Nonce: o.nonce,
		MaxFee: ledger.Amount(o.maxFee), ValidUntil: o.validUntil, Payload: o.payload.Encode(),
	}
	if !w.real {
		o.size = chain.TxOverhead + len(f.Payload)
		return settlement.BlockTx{Checked: true, Tx: chain.Tx{
			Raw: make([]byte, o.size), Kind: f.Kind, Signer: o.signer, SignerKey: w.keys[who].Public(),
			Nonce: f.Nonce, MaxFee: f.MaxFee, ValidUntil: f.ValidUntil, Payload: f.Payload,
		}}
	}
	raw := chain.SignTx(testDomain, w.keys[who], f)
	if o.badTx {
		raw[len(raw)-1-w.src.intn(ledger.SignatureSize)] ^= 1
	}
	o.size = len(raw)
	tx, err := chain.DecodeTx(testDomain, raw)
	if err != nil {
		w.fatalf("decode: %v", err)
	}
	return settlement.BlockTx{Tx: tx}
}

func (w *world) compare(res *settlement.Result, due []*modelChannel) {
	w.t.Helper()
	for i, want := range w.want {
		r := &res.Receipts[i]
		w.codes[r.Code]++
		got := outcome{code: r.Code, fee: uint64(r.Fee), paid: uint64(r.Paid), burned: uint64(r.Burned), ownerFee: uint64(r.OwnerFee), opened: int(r.Opened)}
		for _, e := range r.Entries {
			w.codes[e.Code]++
			got.entries = append(got.entries, entryOutcome{e.Code, e.Closed, uint64(e.Paid), uint64(e.Burned), uint64(e.OwnerFee), uint64(e.Redeemed)})
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			w.fatalf("transaction %d: got %+v (%s), want %+v", i, got, r.Detail, want)
		}
	}
	if res.Finalised != len(due) {
		w.fatalf("%d channels finalised, want %d", res.Finalised, len(due))
	}
	for i, e := range res.Events[len(res.Events)-len(due):] {
		if e.Kind != settlement.EventFinalised || e.Index != due[i].index || uint64(e.Refunded) != due[i].refunded {
			w.fatalf("finalisation %d is %+v, want %+v", i, e, due[i])
		}
	}
	for row, want := range w.m.accounts {
		a, at, ok := settlement.AccountByAddress(w.view, want.address)
		if !ok || at != uint64(row) || uint64(a.Balance) != want.balance || a.Nonce != want.floor {
			w.fatalf("account %d is %+v, want %+v", row, a, want)
		}
	}
	if n := settlement.ChannelCount(w.view); n != uint64(len(w.m.channels)) {
		w.fatalf("%d channels, want %d", n, len(w.m.channels))
	}
	for i, want := range w.m.channels {
		c, ok := settlement.ChannelAt(w.view, uint64(i))
		if ok != (want != nil) {
			w.fatalf("channel %d exists: %v", i, ok)
		}
		if ok {
			w.compareChannel(&c, want)
		}
	}
	if w.m.run > 0 {
		w.stood++
	}
	if next := settlement.Clock(w.view, w.m.height+1); next != w.m.sigma+1 {
		w.fatalf("the next sigma is %d, want %d", next, w.m.sigma+1)
	}
}

func (w *world) compareChannel(c *channel.Channel, want *modelChannel) {
	w.t.Helper()
	if uint64(c.Deposit) != want.deposit || uint64(c.Redeemed) != want.redeemed || c.ExpiresAt != want.expires ||
		c.CloseAt != want.closeAt || uint64(c.Rent) != want.rent || c.PayerIndex != uint64(want.payer) || c.PayeeIndex != uint64(want.payee) {
		w.fatalf("channel %d is %+v, want %+v", want.index, c, want)
	}
	for _, lane := range lanes() {
		l, ok := settlement.LaneAt(w.view, want.index, lane)
		if m := want.lanes[lane]; !ok || uint64(l.Redeemed) != m.redeemed || l.Units != m.units || l.UsageRoot != m.root {
			w.fatalf("lane %d of channel %d is %+v, want %+v", lane, want.index, l, m)
		}
	}
}

// invariants checks I1 to I10 of the design on what the block did.
func (w *world) invariants(res *settlement.Result) {
	w.t.Helper()
	totals, err := settlement.Audit(w.view) // I1 and I2
	if err != nil {
		w.fatalf("I1, I2: %v", err)
	}
	if uint64(totals.Sum()) != w.supply || uint64(totals.Burned) != w.m.burned || uint64(totals.Fees) != w.m.fees {
		w.fatalf("I1: totals %+v of a supply of %d", totals, w.supply)
	}
	income := map[int]uint64{}
	for _, x := range res.Income {
		income[x.TxIndex] += uint64(x.Amount)
		if x.Owner != w.m.owner || x.Service != worldService {
			w.fatalf("income %+v is not of owner %s", x, w.m.owner)
		}
	}
	for i := range res.Receipts {
		if got := income[i]; got != uint64(res.Receipts[i].OwnerFee) {
			w.fatalf("transaction %d brought owners %d, its receipt says %d", i, got, res.Receipts[i].OwnerFee)
		}
		for j, e := range res.Receipts[i].Entries {
			if e.Code == chain.CodeChannelNotFound || e.Code == chain.CodeNotPayee || int(e.Index) >= len(w.chans) {
				continue
			}
			t := w.chans[e.Index]
			t.redeemed += uint64(e.Moved())
			t.burned += uint64(e.Burned)
			t.ownerFees += uint64(e.OwnerFee)
			w.earned += uint64(e.OwnerFee)
			if e.Applied() {
				w.settled++
			}
			if b, ok := w.ops[i].payload.(*channel.Batch); ok && res.Receipts[i].Code == chain.CodeOK {
				t.executed(&b.Entries[j], e.Code)
			}
		}
		for _, ev := range res.Events {
			if ev.TxIndex == i {
				w.event(&ev, &w.ops[i])
			}
		}
	}
	for _, ev := range res.Events {
		if ev.TxIndex == -1 {
			w.event(&ev, nil)
		}
	}
	for i, t := range w.chans {
		c, ok := settlement.ChannelAt(w.view, uint64(i))
		if !ok {
			continue
		}
		if uint64(c.Deposit) != t.deposit || uint64(c.Redeemed) != t.redeemed || c.ExpiresAt < t.expires || t.closing && c.CloseAt == 0 {
			w.fatalf("I3: channel %d is %+v, was %+v", i, c, t)
		}
		t.expires = c.ExpiresAt
	}
}

// executed notes what the payee has claimed.
func (t *tracker) executed(e *channel.Entry, code chain.Code) {
	slot := slices.Index(lanes(), e.Lane)
	if e.Claim == channel.ClaimNone || code == chain.CodeBadSignature || code == chain.CodeBadPreimage {
		return
	}
	t.claimed[slot] = max(t.claimed[slot], claimOf(e))
}
