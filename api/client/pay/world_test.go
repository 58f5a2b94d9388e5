package pay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

var testDomain = chain.Domain{Network: ledger.HashOf("test/network"), Chain: ledger.MainChain}

// testKey returns a key that follows from name and n.
func testKey(name string, n uint64) ledger.PrivateKey {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return ledger.NewPrivateKey(ledger.HashOf("test/key", []byte(name), b[:]))
}

func identity(name string) pay.Identity { return pay.NewIdentity(testKey(name, 0), 1) }

var (
	payerID = identity("payer")
	payeeID = identity("payee")
)

const (
	testChallenge = 20
	testExpiry    = 1_000
	testDeposit   = 1_000_000
)

// testChannel returns the record of the n-th channel, and its voucher key.
func testChannel(n uint64) (pay.Channel, ledger.PrivateKey) {
	key := testKey("voucher", n)
	params := channel.OpenParams{
		Payee: payeeID.Address, VoucherKey: key.Public(), Deposit: testDeposit, ExpiresAt: testExpiry, Challenge: testChallenge,
	}
	return pay.Channel{
		Index: n, ID: channel.ID(testDomain, payerID.Address, n, 0, &params), Payer: payerID.Address, Payee: payeeID.Address,
		VoucherKey: key.Public(), Deposit: testDeposit, ExpiresAt: testExpiry, Challenge: testChallenge, OpenHeight: 1,
	}, key
}

func testFees() settlement.Params { return settlement.LocalParams() }

// errLost is what a fakeChain returns when the outcome is unknown.
var errLost = errors.New("connection lost")

// fakeChain is a chain that settles at once. It knows the rules of channels well
// enough to say what the real one would, and misbehaves on request.
type fakeChain struct {
	fees settlement.Params

	mu       sync.Mutex
	account  ledger.Address // that Submit signs as
	nonce    uint64
	next     uint64 // index of the next channel
	channels map[ledger.Hash]*pay.Channel
	byIndex  map[uint64]ledger.Hash
	closed   map[ledger.Hash]bool
	behind   bool // and knows no channel
	paid     map[ledger.Address]ledger.Amount
	refunds  ledger.Amount
	batches  [][]channel.Entry            // settled
	reads    int                          // of Channel
	refuse   func(b *channel.Batch) error // before anything happens
	loseNext int                          // answers to lose after they happened
	hold     chan struct{}                // if set, batches wait for it
	started  chan struct{}                // if set, told of every batch
}

func newFakeChain() *fakeChain {
	return &fakeChain{
		fees: testFees(), account: payerID.Address, channels: make(map[ledger.Hash]*pay.Channel),
		byIndex: make(map[uint64]ledger.Hash), closed: make(map[ledger.Hash]bool), paid: make(map[ledger.Address]ledger.Amount),
	}
}

// refuseWith makes the chain ask refuse before it settles a batch.
func (f *fakeChain) refuseWith(refuse func(b *channel.Batch) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// lose makes the chain's next n answers get lost.
func (f *fakeChain) lose(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loseNext = n
}

// add adds channels, or changes them.
func (f *fakeChain) add(records ...pay.Channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range records {
		f.channels[r.ID] = &r
		f.byIndex[r.Index] = r.ID
		f.next = max(f.next, r.Index+1)
	}
}

func (f *fakeChain) get(id ledger.Hash) (pay.Channel, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.channels[id]
	if !ok {
		return pay.Channel{}, false
	}
	r := *c
	r.Lanes = append([]pay.LaneState(nil), c.Lanes...)
	return r, true
}

func (f *fakeChain) Channel(_ context.Context, id ledger.Hash) (pay.Channel, error) {
	f.mu.Lock()
	f.reads++
	closed, behind := f.closed[id], f.behind
	f.mu.Unlock()
	c, ok := f.get(id)
	switch {
	case closed && !behind:
		return c, &pay.ClosedError{ID: id, Height: 12}
	case !ok || behind:
		return pay.Channel{}, chain.Refuse(chain.CodeChannelNotFound, "channel %s", id)
	}
	return c, nil
}

// close removes a channel, as the chain does at its deadline.
func (f *fakeChain) close(id ledger.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closeLocked(f.channels[id])
}

func (f *fakeChain) closeLocked(c *pay.Channel) {
	f.refunds += c.Remaining()
	f.closed[c.ID] = true
	delete(f.channels, c.ID)
	delete(f.byIndex, c.Index)
}

func (f *fakeChain) Submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	if kind == chain.KindSettle {
		if f.started != nil {
			f.started <- struct{}{}
		}
		if f.hold != nil {
			select {
			case <-f.hold:
			case <-ctx.Done():
				return settlement.Receipt{}, ctx.Err()
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.execute(kind, payload)
	if err == nil && f.loseNext > 0 {
		f.loseNext--
		return settlement.Receipt{}, errLost
	}
	return r, err
}

func (f *fakeChain) execute(kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	r := settlement.Receipt{Kind: kind, Signer: f.account, Nonce: f.nonce, Fee: f.fees.TxFee}
	f.nonce++
	switch kind {
	case chain.KindOpenChannels:
		open, err := channel.DecodeOpen(payload)
		if err != nil {
			return r, err
		}
		r.FirstChannel, r.Opened = f.next, uint32(len(open.Channels))
		for i := range open.Channels {
			f.open(channel.ID(testDomain, f.account, r.Nonce, uint16(i), &open.Channels[i]), &open.Channels[i])
		}
	case chain.KindTopUp:
		t, err := channel.DecodeTopUp(payload)
		if err != nil {
			return r, err
		}
		c, ok := f.channels[t.Channel.ID]
		if !ok {
			return r, chain.Refuse(chain.CodeChannelNotFound, "top-up")
		}
		c.Deposit = max(c.Deposit, t.NewTotal)
	case chain.KindExtend:
		e, err := channel.DecodeExtend(payload)
		if err != nil {
			return r, err
		}
		f.channels[e.Channel.ID].ExpiresAt = e.NewExpiry
	case chain.KindRequestClose:
		c, err := channel.DecodeRequestClose(payload)
		if err != nil {
			return r, err
		}
		ch := f.channels[c.Channel.ID]
		if ch.Closing() {
			r.Code = chain.CodeChannelClosing
			return r, nil
		}
		ch.CloseAt = 500
	case chain.KindCoopClose:
		return f.coopClose(r, payload)
	case chain.KindSettle:
		return f.settle(r, payload)
	default:
		return r, chain.Refuse(chain.CodeUnknownKind, "kind %d", kind)
	}
	return r, nil
}

func (f *fakeChain) open(id ledger.Hash, p *channel.OpenParams) {
	f.channels[id] = &pay.Channel{
		Index: f.next, ID: id, Payer: f.account, Payee: p.Payee, VoucherKey: p.VoucherKey,
		Deposit: p.Deposit, ExpiresAt: p.ExpiresAt, Challenge: p.Challenge,
	}
	f.byIndex[f.next] = id
	f.next++
}

func (f *fakeChain) coopClose(r settlement.Receipt, payload []byte) (settlement.Receipt, error) {
	c, err := channel.DecodeCoopClose(payload)
	if err != nil {
		return r, err
	}
	ch, ok := f.channels[c.Channel.ID]
	if !ok || ch.Index != c.Channel.Index {
		return r, chain.Refuse(chain.CodeChannelNotFound, "cooperative close")
	}
	terms := c.Terms()
	signed := terms.Signed(testDomain)
	if ledger.NewAddress(1, c.PayerKey) != ch.Payer || ledger.NewAddress(1, c.PayeeKey) != ch.Payee ||
		!ledger.Verify(c.PayerKey, signed, c.PayerSig) || !ledger.Verify(c.PayeeKey, signed, c.PayeeSig) {
		return r, chain.Refuse(chain.CodeBadSignature, "cooperative close")
	}
	f.paid[ch.Payee] += c.Final - ch.Redeemed
	ch.Redeemed = c.Final
	f.closeLocked(ch)
	if c.Rollover != nil {
		r.FirstChannel, r.Opened = f.next, 1
		f.open(channel.RolloverID(ch.ID, c.Rollover), c.Rollover)
	}
	return r, nil
}

func (f *fakeChain) settle(r settlement.Receipt, payload []byte) (settlement.Receipt, error) {
	b, err := channel.DecodeBatch(payload)
	if err != nil {
		return r, err
	}
	if f.refuse != nil {
		if err := f.refuse(&b); err != nil {
			return r, err
		}
	}
	var applied bool
	for i := range b.Entries {
		res := f.entry(&b, &b.Entries[i])
		applied = applied || res.Code == chain.CodeOK || res.Code == chain.CodePartial
		r.Entries = append(r.Entries, res)
		r.Paid += res.Paid
		r.Burned += res.Burned
		r.Fee += f.fees.EntryFee
	}
	if !applied {
		refusal := chain.Refuse(r.Entries[0].Code, "no entry applies")
		for i := range r.Entries {
			if r.Entries[i].Code == refusal.Code && len(refusal.Positions) < 64 {
				refusal.Positions = append(refusal.Positions, i)
			}
		}
		return settlement.Receipt{}, refusal
	}
	f.batches = append(f.batches, b.Entries)
	return r, nil
}

func (f *fakeChain) entry(b *channel.Batch, e *channel.Entry) channel.EntryResult {
	res := channel.EntryResult{Index: e.Index, Lane: e.Lane}
	c, ok := f.channels[f.byIndex[e.Index]]
	if !ok {
		res.Code = chain.CodeChannelNotFound
		return res
	}
	res.Redeemed = c.Redeemed
	if c.Payee != b.Payee {
		res.Code = chain.CodeNotPayee
		return res
	}
	if e.Claim == channel.ClaimNone {
		f.closeLocked(c)
		res.Closed = true
		return res
	}
	lane := laneOf(c, e.Lane)
	owed := e.Cumulative
	if e.Claim == channel.ClaimHash {
		owed = e.Commit.BaseCumulative + e.Commit.UnitPrice*ledger.Amount(e.Step)
		if !channel.CheckPreimage(e.Commit.Root, e.Preimage, e.Step) {
			res.Code = chain.CodeBadPreimage
			return res
		}
	}
	if owed <= lane.Redeemed {
		res.Code = chain.CodeStale
		return res
	}
	if !ledger.Verify(c.VoucherKey, e.Signed(testDomain, c.ID), e.Signature) {
		res.Code = chain.CodeBadSignature
		return res
	}
	d := min(owed-lane.Redeemed, c.Remaining())
	switch {
	case d == 0:
		res.Code = chain.CodeUnderfunded
		return res
	case d < owed-lane.Redeemed:
		res.Code = chain.CodePartial
	}
	bps := ledger.Amount(f.fees.BurnBps)
	res.Burned = (c.Redeemed+d)*bps/ledger.BasisPoints - c.Redeemed*bps/ledger.BasisPoints
	res.Paid = d - res.Burned
	lane.Redeemed += d
	c.Redeemed += d
	res.Redeemed = c.Redeemed
	f.paid[c.Payee] += res.Paid
	if e.Close {
		f.closeLocked(c)
		res.Closed = true
	}
	return res
}

func laneOf(c *pay.Channel, number uint8) *pay.LaneState {
	for i := range c.Lanes {
		if c.Lanes[i].Lane == number {
			return &c.Lanes[i]
		}
	}
	c.Lanes = append(c.Lanes, pay.LaneState{Lane: number})
	return &c.Lanes[len(c.Lanes)-1]
}

// openPayer returns a payer that is closed at the end of the test.
func openPayer(tb testing.TB, cfg pay.PayerConfig) *pay.Payer {
	tb.Helper()
	cfg.Domain, cfg.Account = testDomain, payerID
	p, err := pay.OpenPayer(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// openPayee returns a payee that knows the records and has a view of the chain,
// and is closed at the end of the test.
func openPayee(tb testing.TB, cfg pay.PayeeConfig, records ...pay.Channel) *pay.Payee {
	tb.Helper()
	cfg.Domain, cfg.Account = testDomain, payeeID
	p, err := pay.OpenPayee(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	list(p, records...)
	return p
}

// list tells p of all its channels.
func list(p *pay.Payee, records ...pay.Channel) {
	p.Apply(pay.Update{Listing: pay.ListingBegins})
	for i := range records {
		p.Apply(pay.Update{Channel: &records[i]})
	}
	p.Apply(pay.Update{Listing: pay.ListingEnds, View: pay.View{Height: 10, Clock: 10}})
}

func track(tb testing.TB, p *pay.Payer, record pay.Channel, key ledger.PrivateKey) *pay.PayerChannel {
	tb.Helper()
	c, err := p.Track(record, key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func mustPay(tb testing.TB, c *pay.PayerChannel, lane uint8, amount ledger.Amount) pay.Voucher {
	tb.Helper()
	v, err := c.Pay(context.Background(), lane, amount, 1)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func mustAccept(tb testing.TB, p *pay.Payee, v pay.Voucher) pay.Accepted {
	tb.Helper()
	a, err := p.Accept(context.Background(), v, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func wantReason(tb testing.TB, err error, want pay.Reason) {
	tb.Helper()
	refusal(tb, err, want)
}

// refusal returns err, which must be a refusal for the reason.
func refusal(tb testing.TB, err error, want pay.Reason) (r pay.RefusalError) {
	tb.Helper()
	if !errors.Is(err, want.Err()) {
		tb.Fatalf("got %v, want %v", err, want)
	}
	if e, ok := errors.AsType[*pay.RefusalError](err); ok {
		r = *e
	}
	return r
}

func event(kind channel.EventKind, r pay.Channel, change func(e *pay.Event)) pay.Update {
	e := &pay.Event{Height: 11, Event: channel.Event{
		Kind: kind, Index: r.Index, ID: r.ID, Payer: r.Payer, Payee: r.Payee, Deposit: r.Deposit, Redeemed: r.Redeemed,
		Deadline: r.Deadline(),
	}}
	if change != nil {
		change(e)
	}
	return pay.Update{Event: e}
}
