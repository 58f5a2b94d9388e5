package exec_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// scales counts the last synced batch of a store, as badger and as the rules do.
type scales struct {
	kv.Store

	last tally
}

type tally struct {
	bytes, writes int64 // of the batch, as the main store counts them
	weight        int64 // of state and index, tree nodes and the block's own excepted
}

func (s *scales) NewBatch() kv.Batch { return &weighedBatch{Batch: s.Store.NewBatch(), s: s} }

type weighedBatch struct {
	kv.Batch

	s *scales
	tally
}

func (b *weighedBatch) Set(key, value []byte) error {
	b.add(key, len(value))
	return b.Batch.Set(key, value)
}

func (b *weighedBatch) Delete(key []byte) error {
	b.add(key, 0)
	return b.Batch.Delete(key)
}

func (b *weighedBatch) add(key []byte, value int) {
	size := badgerkv.Main("x").EntrySize(len(key), value)
	b.bytes, b.writes = b.bytes+size, b.writes+1
	state, index := bytes.HasPrefix(key, []byte("s/d")), bytes.HasPrefix(key, []byte("i/"))
	switch name := key[min(len(key)-1, 2):]; {
	case state && len(key) == 4, index && (name[0] == 'b' || name[0] == 'p' || name[0] == 'n'):
		// once in a block
	case state, index:
		b.weight += max(size, 96)
	}
}

func (b *weighedBatch) Commit(sync bool) error {
	if sync {
		b.s.last = b.tally
	}
	return b.Batch.Commit(sync)
}

// finaliseWeight is that of a channel closed by the chain, its lanes included: its
// row, its deadline, its payer's row, what the index keeps, 63 lanes and where
// they are.
const finaliseWeight = 296 + 160 + 96 + 139 + 64*96

// weightOf is the weight of a block's records.
func weightOf(tb testing.TB, d chain.Domain, txs [][]byte) (weight int64) {
	tb.Helper()
	for _, raw := range txs {
		b, err := chain.DecodeBundle(raw)
		if err != nil {
			continue
		}
		for _, r := range b.Records {
			tx, _ := chain.DecodeTx(d, r)
			weight += settlement.Weight(&tx)
		}
	}
	return weight
}

// TestWeightBoundsWhatIsWritten runs worlds and weighs every commit.
func TestWeightBoundsWhatIsWritten(t *testing.T) {
	t.Parallel()
	var written, allowed int64
	for seed := range uint64(4) {
		h := record(t, 100+seed, 250)
		n := &node{t: t, net: &network{}, gen: h.gen, arrived: make(chan struct{}, 1)}
		s := &scales{Store: memkv.New()}
		n.store = s
		n.open(exec.Config{})
		if _, err := n.exec.InitChain(nil); err != nil {
			t.Fatal(err)
		}
		for i, txs := range h.blocks {
			n.force(txs)
			res, err := n.exec.BlockResult(n.height())
			if err != nil {
				t.Fatal(err)
			}
			limit := weightOf(t, n.exec.Domain(), txs)
			for _, ev := range res.Events {
				if ev.Kind == settlement.EventFinalised {
					limit += finaliseWeight
				}
			}
			if s.last.weight > limit {
				t.Fatalf("world %d, block %d: writes of weight %d, at most %d", seed, i+1, s.last.weight, limit)
			}
			written, allowed = written+s.last.weight, allowed+limit
		}
	}
	// Every close counts with 63 lanes, and worlds use three.
	if t.Logf("%d of a weight of %d were written", written, allowed); written < allowed/6 {
		t.Errorf("the bound of %d is far from the %d written", allowed, written)
	}
}

// TestWeightBoundsManyLanes uses all lanes of some channels, in one go and one by
// one, and closes them in every way.
func TestWeightBoundsManyLanes(t *testing.T) {
	t.Parallel()
	n := &node{t: t, net: &network{}, gen: genesisOf(2, settlement.LocalParams()), arrived: make(chan struct{}, 1)}
	s := &scales{Store: memkv.New()}
	n.store = s
	n.open(exec.Config{})
	if _, err := n.exec.InitChain(nil); err != nil {
		t.Fatal(err)
	}
	const channels, short = 4, 80
	d, payer, payee, key := n.exec.Domain(), accountOf(0), accountOf(1), keyOf(1<<20)
	var o channel.Open
	var ids []ledger.Hash
	for i := range channels {
		p := channel.OpenParams{Payee: payee.addr, VoucherKey: key.Public(), Deposit: 1_000, ExpiresAt: 1_000, Challenge: 5}
		if i == 0 {
			p.ExpiresAt = short
		}
		o.Channels = append(o.Channels, p)
		ids = append(ids, channel.ID(d, payer.addr, payer.nonce, uint16(i), &p))
	}
	settle := func(entries ...channel.Entry) []byte {
		b := channel.Batch{Payee: payee.addr, Entries: entries}
		return payee.tx(d, chain.KindSettle, b.Encode())
	}
	claim := func(i int, lane uint8, cumulative ledger.Amount) channel.Entry {
		e := channel.Entry{Index: uint64(i), Lane: lane, Claim: channel.ClaimVoucher, Cumulative: cumulative}
		e.Signature = key.Sign(e.Signed(d, ids[i]))
		return e
	}
	commit := func(name string, least, more int64, records ...[]byte) {
		t.Helper()
		var txs [][]byte
		for _, r := range records {
			txs = append(txs, chain.EncodeRecords([][]byte{r}))
		}
		limit := weightOf(t, d, txs) + more
		n.force(txs)
		if s.last.weight > limit || s.last.weight < least {
			t.Errorf("%s: writes of weight %d, want %d to %d", name, s.last.weight, least, limit)
		}
		res, err := n.exec.BlockResult(n.height())
		if err != nil {
			t.Fatal(err)
		}
		for i := range res.Receipts {
			if code := res.Receipts[i].Code; code != chain.CodeOK {
				t.Fatalf("%s: record %d: %v", name, i, code)
			}
		}
	}
	commit("open", 0, 0, payer.tx(d, chain.KindOpenChannels, o.Encode()))
	var all []channel.Entry
	for i := range channels - 1 {
		for lane := range uint8(channel.Lanes) {
			all = append(all, claim(i, lane, 1))
		}
	}
	commit("all lanes at once", 3*63*96, 0, settle(all...))
	for lane := uint8(channel.Lanes - 1); lane > 0; lane-- {
		commit("one lane", 300, 0, settle(claim(channels-1, lane, 1)))
	}
	for n.height() < short-2 {
		commit("nothing", 0, 0)
	}
	commit("used again, once", 300, 0, settle(claim(2, 9, 2)))
	const lanes = 63 * 96
	for n.height() < short {
		commit("finalised", lanes, finaliseWeight)
	}
	closed := claim(2, 9, 3)
	closed.Close = true
	commit("closes", 2*lanes, 0, settle(channel.Entry{Index: 1, Close: true}, closed))
	c := channel.CoopClose{
		Channel: channel.Ref{Index: 3, ID: ids[3]}, Final: 100, ValidUntil: 1_000,
		PayerKey: payer.key.Public(), PayeeKey: payee.key.Public(),
	}
	terms := c.Terms()
	c.PayerSig, c.PayeeSig = payer.key.Sign(terms.Signed(d)), payee.key.Sign(terms.Signed(d))
	commit("cooperative close", lanes, 0, payer.tx(d, chain.KindCoopClose, c.Encode()))
}

// heavy is a node on a main store whose commits are weighed.
type heavy struct {
	*node

	scales *scales
	limit  int64
}

func newHeavy(t *testing.T, people int) *heavy {
	t.Helper()
	o := badgerkv.Main(t.TempDir())
	o.MinFree = 0
	db, err := badgerkv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	gen := genesisOf(people, settlement.LocalParams())
	h := &heavy{scales: &scales{Store: db}, limit: gen.Params.MaxBlockWeight()}
	h.node = &node{t: t, net: &network{}, gen: gen, arrived: make(chan struct{}, 1), store: h.scales}
	if h.layer, err = layer.New(h.scales, layerOptions()); err != nil {
		t.Fatal(err)
	}
	if h.exec, err = exec.OpenMain(exec.Config{}, h.layer, gen, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.exec.InitChain(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.layer.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// fill makes bundles of per records each until the next record would exceed the
// weight or the bytes of a block.
func (h *heavy) fill(per int, next func(i int) []byte) (txs [][]byte, over []byte) {
	h.t.Helper()
	var weight, size int64
	var records [][]byte
	flush := func() {
		if len(records) > 0 {
			txs, records = append(txs, chain.EncodeRecords(records)), nil
		}
	}
	for i := 0; ; i++ {
		r := next(i)
		if r == nil {
			flush()
			return txs, nil
		}
		tx, err := chain.DecodeTx(h.exec.Domain(), r)
		if err != nil {
			h.t.Fatal(err)
		}
		weight, size = weight+settlement.Weight(&tx), size+int64(len(r))+4
		if weight > h.limit || size+int64(len(txs)+1)*3 > h.gen.Params.MaxBlockBytes {
			flush()
			return txs, r
		}
		if records = append(records, r); len(records) == per {
			flush()
		}
	}
}

// commit lets the block be voted for and applies it in one batch of the store.
func (h *heavy) commit(name string, txs [][]byte) *exec.BlockResult {
	h.t.Helper()
	began := h.layer.Journalled()
	start := time.Now()
	h.net.nodes = []*node{h.node}
	h.net.apply(h.t, txs)
	took := time.Since(start)
	for more := true; more; {
		var err error
		if more, err = h.layer.Prune(10); err != nil {
			h.t.Fatal(err)
		}
	}
	res, err := h.exec.BlockResult(h.height())
	if err != nil {
		h.t.Fatal(err)
	}
	o, s := badgerkv.Main("x"), h.scales.last
	h.t.Logf("%s: weight %d of %d, written %d; batch of %d bytes (at most %d) and %d writes (%d); %d records, %d events; %v, pruning %v", name,
		weightOf(h.t, h.exec.Domain(), txs), h.limit, s.weight, s.bytes, o.MaxBatchBytes(), s.writes, o.MaxBatchEntries(),
		len(res.Receipts), len(res.Events), took.Round(time.Millisecond), (time.Since(start) - took).Round(time.Millisecond))
	for i := range res.Receipts {
		if r := &res.Receipts[i]; r.Code != chain.CodeOK {
			h.t.Fatalf("%s: record %d: %v", name, i, r.Code)
		}
	}
	if h.layer.Journalled() != began {
		h.t.Errorf("%s: the block does not fit one batch", name)
	}
	return res
}

// fresh returns an address that nobody had before.
func fresh(i int) ledger.Address {
	var a ledger.Address
	a[0] = zone
	binary.BigEndian.PutUint64(a[1:], uint64(i)*0x9e3779b97f4a7c15)
	a[20] = 1
	return a
}

func (h *heavy) opens(payer *account, count int, params func(i int) channel.OpenParams) []byte {
	var o channel.Open
	for i := range count {
		o.Channels = append(o.Channels, params(i))
	}
	return payer.tx(h.exec.Domain(), chain.KindOpenChannels, o.Encode())
}

// TestTheHeaviestBlocksFitOneBatch makes blocks of every kind at the limit, each
// on a real main store.
func TestTheHeaviestBlocksFitOneBatch(t *testing.T) {
	t.Parallel()
	const people, lanes = 100, 23_000
	h := newHeavy(t, people)
	d, key := h.exec.Domain(), keyOf(1<<20)
	var who []*account
	for i := range people {
		who = append(who, accountOf(i))
	}
	payer, payee := who[0], who[1]
	open := func(to ledger.Address, expires uint64) channel.OpenParams {
		return channel.OpenParams{Payee: to, VoucherKey: key.Public(), Deposit: 1_000_000, ExpiresAt: expires, Challenge: 5}
	}
	// 1,000 channels that will be finalised with the last block.
	const last = 17
	h.commit("short lives", [][]byte{chain.EncodeRecords([][]byte{
		h.opens(payer, 1_000, func(int) channel.OpenParams { return open(payee.addr, last) }),
	})})
	first := uint64(1_000)
	var ids []ledger.Hash
	txs, over := h.fill(1, func(i int) []byte {
		if i*1_024 >= lanes {
			return nil
		}
		nonce := payer.nonce
		return h.opens(payer, 1_024, func(j int) channel.OpenParams {
			p := open(payee.addr, uint64(1_000+i*1_024+j))
			ids = append(ids, channel.ID(d, payer.addr, nonce, uint16(j), &p))
			return p
		})
	})
	if over != nil {
		t.Fatal("too many channels for one block")
	}
	h.commit("a deadline each", txs)

	txs, _ = h.fill(1, func(i int) []byte {
		return h.opens(who[2], 1_024, func(j int) channel.OpenParams { return open(fresh(1<<32+i*1_024+j), uint64(1_000+i*1_024+j)) })
	})
	h.commit("a payee each", txs)

	claims := func(closing bool, lane uint8, per int) func(i int) []byte {
		return func(i int) []byte {
			b := channel.Batch{Payee: payee.addr}
			for j := i * per; j < min((i+1)*per, len(ids)); j++ {
				e := channel.Entry{Index: first + uint64(j), Lane: lane, Close: closing}
				if lane != 0 {
					e.Claim, e.Cumulative = channel.ClaimVoucher, 1
					e.Signature = key.Sign(e.Signed(d, ids[j]))
				}
				b.Entries = append(b.Entries, e)
			}
			if len(b.Entries) == 0 {
				return nil
			}
			return payee.tx(d, chain.KindSettle, b.Encode())
		}
	}
	txs, _ = h.fill(1, claims(false, 1, 90))
	h.commit("a new lane each", txs)

	txs, over = h.fill(1, claims(true, 0, 500))
	if err := h.exec.Accept(exec.Block{Height: h.height() + 1, Txs: append(slices.Clip(txs), chain.EncodeRecords([][]byte{over}))}); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Accept of a block that is too heavy: %v", err)
	}
	h.commit("closes", txs)

	txs, _ = h.fill(chain.BundleRecords, func(i int) []byte {
		return who[3+i%(people-3)].transfer(d, fresh(1<<33+i), 1)
	})
	h.commit("small records", txs)

	for h.height() < last-1 {
		h.commit("nothing", nil)
	}
	txs, _ = h.fill(1, func(i int) []byte {
		var p settlement.Transfer
		for j := range settlement.MaxPayments {
			p.Payments = append(p.Payments, settlement.Payment{To: fresh(1<<34 + i*settlement.MaxPayments + j), Amount: 1})
		}
		return who[3].tx(d, chain.KindTransfer, p.Encode())
	})
	if res := h.commit("payments and finalisations", txs); len(res.Events) != channel.FinaliseLimit {
		t.Errorf("%d channels were finalised, want %d", len(res.Events), channel.FinaliseLimit)
	}
}

// TestOrdinaryBlocksAreBoundedByBytes: weight does not limit blocks of vouchers.
func TestOrdinaryBlocksAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.DefaultParams()), exec.Config{}, false)
	for _, c := range []struct {
		name string
		root ledger.Hash
		per  int
	}{
		{"with usage roots, large batches", ledger.Hash{1}, 9_000},
		{"without usage roots, large batches", ledger.Hash{}, 10_000},
		{"without usage roots, batches of a bundle", ledger.Hash{}, 700},
	} {
		b := channel.Batch{}
		for i := range c.per {
			b.Entries = append(b.Entries, channel.Entry{Index: uint64(100 + i), Claim: channel.ClaimVoucher, Cumulative: 1, UsageRoot: c.root})
		}
		raw := accountOf(0).tx(n.exec.Domain(), chain.KindSettle, b.Encode())
		tx, err := chain.DecodeTx(n.exec.Domain(), raw)
		if err != nil {
			t.Fatal(err)
		}
		p := n.exec.Params()
		byBytes, byWeight := p.MaxBlockBytes/int64(len(raw)), p.MaxBlockWeight()/settlement.Weight(&tx)
		if byWeight < byBytes {
			t.Errorf("%s: %d fit by weight, %d by bytes", c.name, byWeight, byBytes)
		}
	}
}

// TestWeightIsEnforcedEverywhere has records of three bytes an entry.
func TestWeightIsEnforcedEverywhere(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	params.MaxBlockBytes = chain.MaxBundleSize // and a weight of 3.9 MB
	n := newNode(t, &network{}, genesisOf(60, params), exec.Config{}, true)
	d := n.exec.Domain()
	l := n.openLot(accountOf(0), accountOf(1), 2, 1_000_000)
	closes := func(who *account, entries int) []byte {
		b := channel.Batch{Payee: l.payee.addr}
		for i := range entries {
			b.Entries = append(b.Entries, channel.Entry{Index: l.first + uint64(i), Close: true})
		}
		return who.tx(d, chain.KindSettle, b.Encode())
	}
	alone := closes(l.payee, 600)
	if _, err := n.exec.Submit(t.Context(), alone); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Submit: %v", err)
	}
	if _, err := n.exec.Simulate(t.Context(), alone); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Simulate: %v", err)
	}
	if err := n.exec.Check(chain.EncodeRecords([][]byte{alone}), false); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Check of a record: %v", err)
	}
	together := chain.EncodeRecords([][]byte{closes(l.payee, 400), closes(l.payee, 400)})
	if err := n.exec.Check(together, false); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Check of a bundle: %v", err)
	}
	if err := n.exec.Accept(exec.Block{Height: n.height() + 1, Txs: [][]byte{together}}); codeOf(t, err) != chain.CodeTooLarge {
		t.Errorf("Accept: %v", err)
	}

	// Seven that fit one by one are bundled and proposed in three blocks.
	l.payee.nonce -= 3
	var statuses []exec.Status
	for range 7 {
		statuses = append(statuses, n.submit(closes(l.payee, 200)))
	}
	start := n.height()
	for _, s := range statuses {
		for range 100 {
			if now, _ := n.exec.Status(s.Hash); now.Stage == exec.StageFinal {
				break
			}
			n.await()
			txs := n.propose()
			if w := weightOf(t, d, txs); w > params.MaxBlockWeight() {
				t.Fatalf("a proposal of weight %d, at most %d", w, params.MaxBlockWeight())
			}
			n.net.apply(t, txs)
		}
	}
	if blocks := n.height() - start; blocks < 3 {
		t.Errorf("all were in %d blocks", blocks)
	}
}
