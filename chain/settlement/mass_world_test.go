package settlement_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// grid is a state whose dense tables are slices, for more rows than sorted keys
// can be kept of.
type grid struct {
	*state

	dense map[byte][][]byte
}

func newGrid(c chain.Changes) *grid {
	g := &grid{state: newState(nil), dense: make(map[byte][][]byte)}
	for _, t := range settlement.Tables() {
		g.dense[t.Prefix] = nil
	}
	g.apply(c)
	return g
}

func (g *grid) Get(key []byte) []byte {
	rows, ok := g.dense[key[0]]
	if !ok {
		return g.state.Get(key)
	}
	if i := binary.BigEndian.Uint64(key[1:]); i < uint64(len(rows)) {
		return rows[i]
	}
	return nil
}

// Range yields a whole dense table, or what is not in one.
func (g *grid) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	rows, ok := g.dense[prefix[0]]
	if !ok {
		return g.state.Range(prefix)
	}
	table := chain.Table{Prefix: prefix[0]}
	return func(yield func([]byte, []byte) bool) {
		for i, row := range rows {
			if row != nil && !yield(table.Key(uint64(i)), row) {
				return
			}
		}
	}
}

func (g *grid) apply(changes chain.Changes) {
	known := len(g.keys)
	for _, c := range changes {
		if rows, ok := g.dense[c.Key[0]]; ok {
			i := int(binary.BigEndian.Uint64(c.Key[1:]))
			rows = append(rows, make([][]byte, max(0, i+1-len(rows)))...)
			rows[i] = c.Value
			g.dense[c.Key[0]] = rows
			continue
		}
		k := string(c.Key)
		if _, had := g.rows[k]; !had && c.Value != nil {
			g.keys = append(g.keys, k)
		}
		if g.rows[k] = c.Value; c.Value == nil {
			delete(g.rows, k)
		}
	}
	fresh := len(g.keys) > known
	g.keys = slices.DeleteFunc(g.keys, func(k string) bool { return g.rows[k] == nil })
	if fresh {
		slices.Sort(g.keys)
	}
}

func (g *grid) clone() *grid {
	c := &grid{state: g.state.clone(), dense: make(map[byte][][]byte)}
	for prefix, rows := range g.dense {
		c.dense[prefix] = slices.Clone(rows)
	}
	return c
}

// The mass of channels. Channel i is of payer i/massEach, and there are enough
// payers for their nonce windows to fill a block with requests.
const (
	massChannels  = 200_000
	massPayers    = 80
	massEach      = massChannels / massPayers
	massPayees    = 40
	massAccounts  = massPayers + massPayees + 2
	massAbsent    = massPayers + massPayees // a payee who comes too late
	massFlood     = massAbsent + 1          // pays others to fill the blocks
	massBatch     = 500                     // entries
	massDeposit   = 2_000
	massEarly     = 500 // redeemed before the close was requested, of some
	massBalance   = 1 << 40
	massRecipient = settlement.MaxPayments
)

// massChannel is what is known of channel i besides the functions of i below.
type massChannel struct {
	id       ledger.Hash
	deadline uint64 // sigma; 0 until the close is requested
	paid     ledger.Amount
	burned   ledger.Amount
	closed   bool
}

func payerOf(i int) int { return i / massEach }

func payeeOf(i int) int {
	if i%200 == 199 {
		return massAbsent
	}
	return massPayers + i%massPayees
}

// verified reports whether the signatures about channel i are real. Those of the
// other channels are zero, and count as checked.
func verified(i int) bool { return i%massPayees == 0 }

// claimsOf are the highest vouchers of channel i: on one lane or two, for less
// than the deposit or for more.
func (m *mass) claimsOf(i int) []channel.Entry {
	first := ledger.Amount(1_000 + i%700)
	if i%16 == 5 {
		first = massDeposit + 500
	}
	entries := []channel.Entry{m.voucher(i, 0, first)}
	if i%10 == 3 {
		entries = append(entries, m.voucher(i, 7, 400))
	}
	if i%50 == 7 {
		entries[len(entries)-1].Close = true
	}
	return entries
}

// owed is what the vouchers of channel i bring, burn included.
func (m *mass) owed(i int) (total ledger.Amount) {
	for _, e := range m.claimsOf(i) {
		total += e.Cumulative
	}
	return min(total, massDeposit)
}

func burnOf(total ledger.Amount) ledger.Amount { return total * 200 / 10_000 }

// redeemedEarly reports whether channel i paid massEarly before it closed.
func redeemedEarly(i int) bool { return i%25 == 0 }

// mass is a chain with massChannels channels.
type mass struct {
	t      *testing.T
	params settlement.Params
	keys   []ledger.PrivateKey
	addrs  []ledger.Address
	nonces []uint64
	fees   []ledger.Amount // paid, by account
	view   *grid
	supply ledger.Amount
	height uint64
	chans  []massChannel

	pool      []*massBundle
	flooded   bool        // somebody fills what the reserved lane leaves
	requested []waveOfAll // closes, by block
	verified  int         // signatures that were really verified
	late      int         // entries that paid after the deadline
	lost      int         // entries whose channel was gone
	paying    int         // entries that paid
}

// waveOfAll is the channels whose close one block requested.
type waveOfAll struct {
	deadline uint64
	channels []int
}

func newMass(t *testing.T, challenge uint32) *mass {
	t.Helper()
	m := &mass{
		t: t, params: settlement.DefaultParams(), chans: make([]massChannel, massChannels),
		nonces: make([]uint64, massAccounts), fees: make([]ledger.Amount, massAccounts),
	}
	m.params.MinChallenge = challenge
	g := settlement.Genesis{Name: "mass", Time: 1, Params: m.params}
	for i := range massAccounts {
		m.keys = append(m.keys, keyOf("account", i))
		m.addrs = append(m.addrs, m.keys[i].Address(0))
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: m.addrs[i], Balance: massBalance})
		m.supply += massBalance
	}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	m.view = newGrid(changes)
	return m
}

// fork returns a copy that can go another way.
func (m *mass) fork() *mass {
	c := *m
	c.view, c.chans = m.view.clone(), slices.Clone(m.chans)
	c.nonces, c.fees = slices.Clone(m.nonces), slices.Clone(m.fees)
	c.pool, c.requested = slices.Clone(m.pool), slices.Clone(m.requested)
	return &c
}

func (m *mass) voucher(i int, lane uint8, cumulative ledger.Amount) channel.Entry {
	return channel.Entry{
		Index: uint64(i), Lane: lane, Claim: channel.ClaimVoucher, Cumulative: cumulative,
		Units: uint64(cumulative) / 10, UsageRoot: ledger.Hash{1, lane},
	}
}

// tx returns the next transaction of account by. Unless it is signed, its
// signatures are zero and count as checked.
func (m *mass) tx(by int, payload encoder, signed bool) settlement.BlockTx {
	f := chain.TxFields{Kind: kindOf(payload), Nonce: m.nonces[by], MaxFee: plentyFee, Payload: payload.Encode()}
	m.nonces[by]++
	if signed {
		tx, err := chain.DecodeTx(testDomain, chain.SignTx(testDomain, m.keys[by], f))
		if err != nil {
			m.t.Fatal(err)
		}
		return settlement.BlockTx{Tx: tx}
	}
	raw := chain.AttachSignature(chain.UnsignedTx(testDomain, m.keys[by].Public(), f), ledger.Signature{})
	return settlement.BlockTx{Checked: true, Tx: chain.Tx{
		Raw: raw, Hash: chain.TxHash(raw), Kind: f.Kind, Signer: m.addrs[by], SignerKey: m.keys[by].Public(),
		Nonce: f.Nonce, MaxFee: f.MaxFee, Payload: f.Payload,
	}}
}

// run applies the next block and books what it did. Every transaction must
// succeed, and every drop must be where the books say.
func (m *mass) run(txs []settlement.BlockTx) settlement.Result {
	m.t.Helper()
	verify := func(claims []ledger.Claim) []int {
		m.verified += len(claims)
		return ledger.VerifyBatch(rand.Reader, claims)
	}
	block := settlement.Block{Height: m.height + 1, Txs: txs}
	changes, res, err := settlement.ApplyBlock(m.view, m.params, testDomain, block, verify)
	if err != nil {
		m.t.Fatalf("block %d: %v", block.Height, err)
	}
	m.view.apply(changes)
	m.height++
	if sum := res.Totals.Sum(); sum != m.supply {
		m.t.Fatalf("block %d: totals %+v add up to %d, the supply is %d", m.height, res.Totals, sum, m.supply)
	}
	for i := range res.Receipts {
		r := &res.Receipts[i]
		if r.Code != chain.CodeOK {
			m.t.Fatalf("block %d: %s of account %s: %s: %s", m.height, r.Kind, r.Signer, r.Code, r.Detail)
		}
		m.fees[slices.Index(m.addrs, r.Signer)] += r.Fee
		for j := range r.Entries {
			m.settled(&r.Entries[j], res.Clock)
		}
	}
	m.happened(&res)
	return res
}

// settled books an entry.
func (m *mass) settled(e *settlement.EntryResult, clock uint64) {
	c := &m.chans[e.Index]
	if e.Code == chain.CodeChannelNotFound {
		m.lost++
		return
	}
	if e.Applied() {
		m.paying++
		if c.deadline != 0 && clock > c.deadline {
			m.late++
		}
	}
	c.paid += e.Paid + e.Burned
	c.burned += e.Burned
}

// happened books the events of a block.
func (m *mass) happened(res *settlement.Result) {
	var wave waveOfAll
	for i := range res.Events {
		e := &res.Events[i]
		c := &m.chans[e.Index]
		switch {
		case e.Kind == settlement.EventOpened:
			c.id = e.ID
		case e.Kind == settlement.EventCloseRequested:
			c.deadline, wave.deadline = e.Deadline, e.Deadline
			wave.channels = append(wave.channels, int(e.Index))
		case e.Kind.Closed():
			if e.Kind == settlement.EventFinalised && res.Clock < c.deadline {
				m.t.Errorf("channel %d is finalised at %d, before its deadline %d", e.Index, res.Clock, c.deadline)
			}
			if rest := massDeposit - c.paid + m.params.Rent; c.closed || e.Redeemed != c.paid || e.Refunded != rest {
				m.t.Errorf("channel %d ends with %+v, %d were paid", e.Index, e, c.paid)
			}
			c.closed = true
		}
	}
	if len(wave.channels) > 0 {
		slices.Sort(wave.channels)
		m.requested = append(m.requested, wave)
	}
}

// open opens all channels, and redeems some vouchers.
func (m *mass) open(challenge uint32) {
	m.t.Helper()
	for from := 0; from < massChannels; {
		var txs []settlement.BlockTx
		for block := min(from+10*massEach, massChannels); from < block; {
			o, payer := &channel.Open{}, payerOf(from)
			for len(o.Channels) < channel.MaxOpens && from < block && payerOf(from) == payer {
				o.Channels = append(o.Channels, channel.OpenParams{
					Payee: m.addrs[payeeOf(from)], VoucherKey: voucherKey().Public(),
					Deposit: massDeposit, ExpiresAt: 1_000_000, Challenge: challenge,
				})
				from++
			}
			txs = append(txs, m.tx(payer, o, false))
		}
		m.run(txs)
	}
	early := make([][]channel.Entry, massAccounts)
	for i := range massChannels {
		if redeemedEarly(i) {
			early[payeeOf(i)] = append(early[payeeOf(i)], m.voucher(i, 0, massEarly))
		}
	}
	var txs []settlement.BlockTx
	for payee, entries := range early {
		if len(entries) > 0 {
			txs = append(txs, m.tx(payee, &channel.Batch{Payee: m.addrs[payee], Entries: entries}, false))
		}
	}
	m.run(txs)
	m.audit()
}

func (m *mass) audit() {
	m.t.Helper()
	if _, err := settlement.Audit(m.view); err != nil {
		m.t.Fatalf("after block %d: %v", m.height, err)
	}
}

// requestClose returns the payer's request to close channel i.
func (m *mass) requestClose(i int) settlement.BlockTx {
	ref := channel.Ref{Index: uint64(i), ID: m.chans[i].id}
	return m.tx(payerOf(i), &channel.RequestClose{Channel: ref}, verified(i))
}

// redemptions returns the batches that redeem channels, which are ascending.
func (m *mass) redemptions(channels []int) []settlement.BlockTx {
	of := make(map[int]*channel.Batch)
	var txs []settlement.BlockTx
	send := func(payee int) {
		signed := verified(int(of[payee].Entries[0].Index))
		txs = append(txs, m.tx(payee, of[payee], signed))
		delete(of, payee)
	}
	for _, i := range channels {
		payee := payeeOf(i)
		if of[payee] == nil {
			of[payee] = &channel.Batch{Payee: m.addrs[payee]}
		}
		for _, e := range m.claimsOf(i) {
			if verified(i) {
				e.Signature = voucherKey().Sign(e.Signed(testDomain, m.chans[i].id))
			}
			of[payee].Entries = append(of[payee].Entries, e)
		}
		if len(of[payee].Entries) >= massBatch {
			send(payee)
		}
	}
	for _, payee := range slices.Sorted(maps.Keys(of)) {
		send(payee)
	}
	return txs
}

// massBundle is records that travel together.
type massBundle struct {
	txs           []settlement.BlockTx
	bytes, weight int64
	rate          float64 // fee for each byte of room
	urgent        bool
	deadline      uint64
}

// bundle makes a bundle of txs, of which there are several only if they are
// small.
func (m *mass) bundle(txs ...settlement.BlockTx) *massBundle {
	m.t.Helper()
	b, size, fees := &massBundle{txs: txs, urgent: true}, 0, ledger.Amount(0)
	for i := range txs {
		tx := &txs[i].Tx
		size = chain.BundleSize(size, len(tx.Raw))
		b.weight += settlement.Weight(tx)
		fees += settlement.Fee(m.params, tx)
		urgent, deadline := settlement.Urgent(m.view, m.height+1, tx)
		b.urgent, b.deadline = b.urgent && urgent, deadline
	}
	if len(txs) > chain.BundleRecords || len(txs) > 1 && size > chain.BundleTarget {
		m.t.Fatalf("%d records in a bundle of %d bytes", len(txs), size)
	}
	b.bytes = int64(size)
	b.rate = float64(fees) / float64(max(b.bytes, settlement.WeightBytes(b.weight)))
	return b
}

// pick takes the next block's transactions out of the pool, as package exec
// does: urgent bundles by deadline until the lane reserved for them is full, then
// all by fee. What floods the chain pays more than the rest, and never ends.
func (m *mass) pick() (txs []settlement.BlockTx) {
	m.t.Helper()
	bytesLeft, weightLeft := m.params.MaxBlockBytes, m.params.MaxBlockWeight()
	taken := make(map[*massBundle]bool)
	put := func(b *massBundle) bool {
		if taken[b] || b.bytes > bytesLeft || b.weight > weightLeft {
			return false
		}
		bytesLeft, weightLeft = bytesLeft-b.bytes, weightLeft-b.weight
		txs, taken[b] = append(txs, b.txs...), true
		return true
	}
	urgent := slices.DeleteFunc(slices.Clone(m.pool), func(b *massBundle) bool { return !b.urgent })
	slices.SortFunc(urgent, func(a, b *massBundle) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), bytes.Compare(a.txs[0].Tx.Hash[:], b.txs[0].Tx.Hash[:]))
	})
	for _, b := range urgent {
		if m.params.MaxBlockBytes-bytesLeft >= m.params.ReservedBytes() {
			break
		}
		put(b)
	}
	slices.SortStableFunc(m.pool, func(a, b *massBundle) int { return cmp.Compare(b.rate, a.rate) })
	for m.flooded {
		b := m.flood()
		if len(m.pool) > 0 && b.rate <= m.pool[0].rate {
			m.t.Fatalf("the flood pays %g a byte, a bundle %g", b.rate, m.pool[0].rate)
		}
		if !put(b) {
			m.nonces[massFlood]--
			break
		}
	}
	for _, b := range m.pool {
		put(b)
	}
	m.pool = slices.DeleteFunc(m.pool, func(b *massBundle) bool { return taken[b] })
	return txs
}

// flood is a transaction that pays well for a lot of room.
func (m *mass) flood() *massBundle {
	t := &settlement.Transfer{Payments: make([]settlement.Payment, massRecipient)}
	for i := range t.Payments {
		t.Payments[i] = settlement.Payment{To: ledger.Address{0, 1, byte(i >> 8), byte(i), 1}, Amount: 1}
	}
	return m.bundle(m.tx(massFlood, t, false))
}
