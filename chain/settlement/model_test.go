package settlement_test

import (
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// model is the protocol as its design states it, written without any thought of
// speed, encodings or proofs, and sharing no code with the rules. Sums are plain
// integers, so amounts must stay below 2^50.
type model struct {
	p        settlement.Params
	accounts []*modelAccount // by row
	channels []*modelChannel // by index; nil once closed
	burned   uint64
	fees     uint64
	height   uint64
	sigma    uint64 // of the block under way
	run      uint32 // blocks in a row at whose end the clock stood still
	urgent   int    // bytes of the block that moved money of urgent channels

	// service is the one that is registered now, and owner the present owner.
	service modelTerms
	owner   ledger.Address

	// burnOnDeltas is the mistake of rule 1, as a negative control.
	burnOnDeltas bool
}

type modelAccount struct {
	address ledger.Address
	balance uint64
	floor   uint64          // lowest unused nonce
	used    map[uint64]bool // those above it
}

type modelLane struct {
	redeemed, units uint64
	root            ledger.Hash
}

type modelChannel struct {
	payer, payee           int
	deposit, redeemed      uint64
	rent                   uint64
	expires, closeAt       uint64
	challenge              uint64
	lanes                  map[uint8]modelLane
	index                  uint64
	paid, burned, refunded uint64
	terms                  modelTerms
}

// op is one transaction, with what its signatures are worth.
type op struct {
	signer     ledger.Address
	nonce      uint64
	maxFee     uint64
	validUntil uint64
	payload    encoder
	size       int // bytes of the transaction

	badTx, badAuth, badParty bool
	badEntries               map[int]chain.Code
	badKey                   bool // a voucher key that no signature can be valid for
	wrongID                  bool // the channel id is not that of the index
	notPayer, notPayee       bool // of a cooperative close: keys of others
}

// outcome is what a receipt says.
type outcome struct {
	code         chain.Code
	fee          uint64
	paid, burned uint64
	ownerFee     uint64
	opened       int
	entries      []entryOutcome
}

type entryOutcome struct {
	code         chain.Code
	closed       bool
	paid, burned uint64
	ownerFee     uint64
	redeemed     uint64
}

func (m *model) account(a ledger.Address) int {
	return slices.IndexFunc(m.accounts, func(x *modelAccount) bool { return x.address == a })
}

func (m *model) accountOrNew(a ledger.Address) int {
	if i := m.account(a); i >= 0 {
		return i
	}
	m.accounts = append(m.accounts, &modelAccount{address: a, used: map[uint64]bool{}})
	return len(m.accounts) - 1
}

func (m *model) channel(index uint64) *modelChannel {
	if index >= uint64(len(m.channels)) {
		return nil
	}
	return m.channels[index]
}

func (c *modelChannel) deadline() uint64 {
	if c.closeAt != 0 && c.closeAt < c.expires {
		return c.closeAt
	}
	return c.expires
}

func (m *model) isUrgent(c *modelChannel) bool {
	return c.closeAt != 0 || m.sigma+2*c.challenge >= c.expires
}

func (m *model) fee(o *op) uint64 {
	fee := uint64(m.p.TxFee)
	switch pl := o.payload.(type) {
	case *settlement.Transfer:
		fee += uint64(len(pl.Payments)-1) * uint64(m.p.PaymentFee)
	case *channel.Open:
		fee += uint64(len(pl.Channels)) * uint64(m.p.OpenFee)
	case *channel.CoopClose:
		if pl.Rollover != nil {
			fee += uint64(m.p.OpenFee)
		}
	case *channel.Batch:
		fee += uint64(len(pl.Entries)) * uint64(m.p.EntryFee)
		for _, e := range pl.Entries {
			if e.Claim == channel.ClaimHash {
				fee += (uint64(e.Step) + 15) / 16 * uint64(m.p.StepFee)
			}
		}
	}
	return fee
}

// begin starts the next block.
func (m *model) begin() {
	m.height++
	m.sigma++
	m.urgent = 0
}

// end is the end of the block: what is due is closed, then the clock runs on or
// stands still. It returns the channels closed.
func (m *model) end() (due []*modelChannel) {
	for _, c := range m.channels {
		if c != nil && c.deadline() <= m.sigma {
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(a, b *modelChannel) int {
		if a.deadline() != b.deadline() {
			return int(a.deadline()) - int(b.deadline())
		}
		return int(a.index) - int(b.index)
	})
	due = due[:min(len(due), 1000)]
	for _, c := range due {
		m.finish(c)
	}
	reserved := int(m.p.MaxBlockBytes) * int(m.p.ReservedBps) / 10_000
	if reserved > 0 && m.urgent >= reserved*9/10 && m.run+1 < m.p.MaxStretch {
		m.run++
		m.sigma-- // begin adds it again
	} else {
		m.run = 0
	}
	return due
}

// finish pays back what is left and forgets the channel.
func (m *model) finish(c *modelChannel) {
	c.refunded = c.deposit - c.redeemed + c.rent
	m.accounts[c.payer].balance += c.refunded
	m.channels[c.index] = nil
}

// apply executes one transaction.
func (m *model) apply(o *op) outcome {
	signer, fee := m.account(o.signer), m.fee(o)
	batch, _ := o.payload.(*channel.Batch)
	own := batch != nil && batch.Payee == o.signer
	var a *modelAccount
	if signer >= 0 {
		a = m.accounts[signer]
	}
	switch {
	case o.badKey:
		return outcome{code: chain.CodeBadKey}
	case o.badTx:
		return outcome{code: chain.CodeBadSignature}
	case o.validUntil != 0 && o.validUntil < m.height:
		return outcome{code: chain.CodeExpired}
	case a == nil:
		return outcome{code: chain.CodeAccountNotFound}
	case o.nonce < a.floor || a.used[o.nonce]:
		return outcome{code: chain.CodeNonceUsed}
	case o.nonce >= a.floor+256:
		return outcome{code: chain.CodeNonceTooHigh}
	case fee > o.maxFee:
		return outcome{code: chain.CodeFeeTooLow}
	case fee > a.balance && !own:
		return outcome{code: chain.CodeInsufficientBalance}
	}
	if own && fee > a.balance {
		trial := m.copy()
		trial.accounts[signer].balance += 1 << 50 // lent
		out := trial.consume(o, signer, fee)
		if trial.accounts[signer].balance < 1<<50 || out.code == chain.CodeBatchAborted || out.entries == nil {
			return outcome{code: chain.CodeInsufficientBalance}
		}
		trial.accounts[signer].balance -= 1 << 50
		*m = *trial
		return out
	}
	return m.consume(o, signer, fee)
}

// consume uses the nonce, takes the fee and does what the transaction says.
func (m *model) consume(o *op, signer int, fee uint64) outcome {
	m.pay(signer, o.nonce, fee)
	if batch, ok := o.payload.(*channel.Batch); ok {
		if code := m.authority(batch, o); code != chain.CodeOK {
			return outcome{code: code, fee: fee} // for its signatures
		}
		trial := m
		if batch.Mode == channel.Atomic {
			trial = m.copy()
		}
		out := trial.settle(batch, o)
		out.fee = fee
		if out.code != chain.CodeBatchAborted {
			*m = *trial
		}
		return out
	}
	out := m.single(o, signer)
	if out.code != chain.CodeOK {
		return m.refused(signer, fee, out.code)
	}
	out.fee = fee
	return out
}

func (m *model) pay(signer int, nonce, fee uint64) {
	a := m.accounts[signer]
	a.used[nonce] = true
	for a.used[a.floor] {
		delete(a.used, a.floor)
		a.floor++
	}
	a.balance -= fee
	m.fees += fee
}

// refused gives all of the fee back but the least.
func (m *model) refused(signer int, fee uint64, code chain.Code) outcome {
	back := fee - uint64(m.p.TxFee)
	m.accounts[signer].balance += back
	m.fees -= back
	return outcome{code: code, fee: uint64(m.p.TxFee)}
}

func (m *model) single(o *op, signer int) outcome {
	a := m.accounts[signer]
	switch pl := o.payload.(type) {
	case *settlement.Transfer:
		return m.transfer(a, pl)
	case *channel.Open:
		return m.open(signer, pl.Channels)
	case *channel.TopUp:
		c := m.channel(pl.Channel.Index)
		switch {
		case c == nil:
			return outcome{code: chain.CodeChannelNotFound}
		case o.wrongID:
			return outcome{code: chain.CodeChannelMismatch}
		case uint64(pl.NewTotal) <= c.deposit:
			return outcome{code: chain.CodeStale}
		case c.closeAt != 0:
			return outcome{code: chain.CodeChannelClosing}
		case m.sigma >= c.expires:
			return outcome{code: chain.CodeChannelExpired}
		case a.balance < uint64(pl.NewTotal)-c.deposit:
			return outcome{code: chain.CodeInsufficientBalance}
		}
		a.balance -= uint64(pl.NewTotal) - c.deposit
		c.deposit = uint64(pl.NewTotal)
		return outcome{}
	case *channel.Extend:
		return m.extend(o, signer, pl)
	case *channel.RequestClose:
		c := m.channel(pl.Channel.Index)
		switch {
		case c == nil:
			return outcome{code: chain.CodeChannelNotFound}
		case o.wrongID:
			return outcome{code: chain.CodeChannelMismatch}
		case c.payer != signer:
			return outcome{code: chain.CodeNotPayer}
		case c.closeAt != 0:
			return outcome{code: chain.CodeChannelClosing}
		case m.sigma >= c.expires:
			return outcome{code: chain.CodeChannelExpired}
		}
		c.closeAt = min(m.sigma+c.challenge, c.expires)
		return outcome{}
	case *channel.CoopClose:
		return m.coop(o, pl)
	}
	panic("no such payload")
}

func (m *model) transfer(a *modelAccount, t *settlement.Transfer) outcome {
	var sum uint64
	for _, p := range t.Payments {
		sum += uint64(p.Amount)
	}
	if sum > a.balance {
		return outcome{code: chain.CodeInsufficientBalance}
	}
	for _, p := range t.Payments {
		a.balance -= uint64(p.Amount)
		m.accounts[m.accountOrNew(p.To)].balance += uint64(p.Amount)
	}
	return outcome{paid: sum}
}

func (m *model) extend(o *op, signer int, e *channel.Extend) outcome {
	c := m.channel(e.Channel.Index)
	switch {
	case c == nil:
		return outcome{code: chain.CodeChannelNotFound}
	case o.wrongID:
		return outcome{code: chain.CodeChannelMismatch}
	case c.payer != signer:
		return outcome{code: chain.CodeNotPayer}
	case e.NewExpiry <= c.expires:
		return outcome{code: chain.CodeStale}
	case c.closeAt != 0:
		return outcome{code: chain.CodeChannelClosing}
	case m.sigma >= c.expires:
		return outcome{code: chain.CodeChannelExpired}
	case e.NewExpiry > m.sigma+m.p.MaxLifetime:
		return outcome{code: chain.CodeExpiryOutOfRange}
	}
	c.expires = e.NewExpiry
	return outcome{}
}

func (m *model) checkOpen(payer int, p *channel.OpenParams) chain.Code {
	least := m.sigma + 3*uint64(p.Challenge)
	switch {
	case p.Payee == ledger.Address{}:
		return chain.CodeInvalidValue
	case p.Payee == m.accounts[payer].address:
		return chain.CodeSelfPayment
	case p.Deposit < m.p.MinDeposit:
		return chain.CodeDepositTooSmall
	case p.Challenge < m.p.MinChallenge || p.Challenge > m.p.MaxChallenge:
		return chain.CodeChallengeRange
	case p.ExpiresAt < least || p.ExpiresAt > m.sigma+m.p.MaxLifetime:
		return chain.CodeExpiryOutOfRange
	case !slices.Contains(m.p.Services, p.Service) && p.Service != worldService:
		return chain.CodeUnknownService
	}
	if _, ok := m.service.zones[p.Payee.Zone()]; !ok && p.Service == worldService {
		return chain.CodePayeeZone
	}
	return chain.CodeOK
}

func (m *model) open(payer int, params []channel.OpenParams) outcome {
	var sum uint64
	for i := range params {
		if code := m.checkOpen(payer, &params[i]); code != chain.CodeOK {
			return outcome{code: code}
		}
		sum += uint64(params[i].Deposit) + uint64(m.p.Rent)
	}
	if sum > m.accounts[payer].balance {
		return outcome{code: chain.CodeInsufficientBalance}
	}
	for _, p := range params {
		m.accounts[payer].balance -= uint64(p.Deposit) + uint64(m.p.Rent)
		m.channels = append(m.channels, &modelChannel{
			index: uint64(len(m.channels)), payer: payer, payee: m.accountOrNew(p.Payee),
			deposit: uint64(p.Deposit), rent: uint64(m.p.Rent),
			expires: p.ExpiresAt, challenge: uint64(p.Challenge), lanes: map[uint8]modelLane{},
			terms: m.service.of(p.Service, m.accounts[payer].address),
		})
	}
	return outcome{opened: len(params)}
}

func (m *model) coop(o *op, pl *channel.CoopClose) outcome {
	c := m.channel(pl.Channel.Index)
	switch {
	case c == nil:
		return outcome{code: chain.CodeChannelNotFound}
	case o.wrongID:
		return outcome{code: chain.CodeChannelMismatch}
	case pl.ValidUntil < m.height:
		return outcome{code: chain.CodeExpired}
	case o.notPayer:
		return outcome{code: chain.CodeNotPayer}
	case o.notPayee:
		return outcome{code: chain.CodeNotPayee}
	case o.badParty:
		return outcome{code: chain.CodeBadSignature}
	case uint64(pl.Final) < c.redeemed || uint64(pl.Final) > c.deposit:
		return outcome{code: chain.CodeFinalOutOfRange}
	}
	final := uint64(pl.Final)
	if r := pl.Rollover; r != nil {
		have := m.accounts[c.payer].balance + c.deposit - final + c.rent
		if r.Payee != m.accounts[c.payee].address {
			return outcome{code: chain.CodeInvalidValue}
		}
		if code := m.checkOpen(c.payer, r); code != chain.CodeOK {
			return outcome{code: code}
		}
		if have < uint64(r.Deposit)+uint64(m.p.Rent) {
			return outcome{code: chain.CodeInsufficientBalance}
		}
	}
	out := outcome{}
	out.paid, out.burned, out.ownerFee = m.credit(c, final-c.redeemed)
	m.earn(out.ownerFee)
	m.finish(c)
	if pl.Rollover != nil {
		if opened := m.open(c.payer, []channel.OpenParams{*pl.Rollover}); opened.code != chain.CodeOK {
			panic("roll-over was checked")
		}
		out.opened = 1
	}
	return out
}

func (m *model) authority(b *channel.Batch, o *op) chain.Code {
	closes := slices.ContainsFunc(b.Entries, func(e channel.Entry) bool { return e.Close })
	switch {
	case b.Auth != nil && o.notPayee:
		return chain.CodeNotPayee
	case b.Auth != nil && b.Auth.ValidUntil < m.height:
		return chain.CodeExpired
	case b.Auth != nil && o.badAuth:
		return chain.CodeBadSignature
	case b.Auth == nil && closes && o.signer != b.Payee:
		return chain.CodeNotPayee
	}
	return chain.CodeOK
}

func (m *model) settle(b *channel.Batch, o *op) outcome {
	out := outcome{entries: make([]entryOutcome, len(b.Entries))}
	payee := m.account(b.Payee)
	failed := false
	moved, all, closes := 0, 0, 0
	paid := make(map[uint64]bool) // channels
	for i := range b.Entries {
		e, r := &b.Entries[i], &out.entries[i]
		size := len((&channel.Batch{Entries: []channel.Entry{*e}}).Encode()) - len((&channel.Batch{}).Encode())
		all += size
		c := m.channel(e.Index)
		switch {
		case c == nil:
			r.code = chain.CodeChannelNotFound
		case c.payee != payee:
			r.code = chain.CodeNotPayee
		default:
			urgent := m.isUrgent(c)
			m.entry(c, e, o.badEntries[i], r)
			if e.Close {
				m.closeBy(c, b, i, out.entries)
			}
			r.redeemed = c.redeemed
			if urgent && (r.paid+r.burned+r.ownerFee > 0 || r.closed) {
				moved += size
			}
			if paid[e.Index] = paid[e.Index] || r.paid+r.burned+r.ownerFee > 0; urgent && r.closed && paid[e.Index] {
				closes++
			}
		}
		failed = failed || r.code != chain.CodeOK && r.code != chain.CodeStale
		out.paid += r.paid
		out.burned += r.burned
		out.ownerFee += r.ownerFee
	}
	if b.Mode == channel.Atomic && failed {
		for i := range out.entries {
			r := &out.entries[i]
			if r.code == chain.CodeOK || r.code == chain.CodeStale {
				r.code = chain.CodeBatchAborted
			}
			*r = entryOutcome{code: r.code}
		}
		return outcome{code: chain.CodeBatchAborted, entries: out.entries}
	}
	m.earn(out.ownerFee)
	m.urgent += o.size*moved/all + closes*1_638 // 64 writes of 96, 3.75 to a byte
	return out
}

// entry is T4.
func (m *model) entry(c *modelChannel, e *channel.Entry, bad chain.Code, r *entryOutcome) {
	if e.Claim == channel.ClaimNone {
		return
	}
	lane := c.lanes[e.Lane]
	cumulative, units, root := uint64(e.Cumulative), e.Units, e.UsageRoot
	if e.Claim == channel.ClaimHash {
		cumulative = uint64(e.Commit.BaseCumulative) + uint64(e.Step)*uint64(e.Commit.UnitPrice)
		units, root = e.Commit.BaseUnits+uint64(e.Step), ledger.Hash{}
	}
	switch {
	case cumulative <= lane.redeemed:
		r.code = chain.CodeStale
		return
	case bad != chain.CodeOK:
		r.code = bad
		return
	case c.redeemed == c.deposit:
		r.code = chain.CodeUnderfunded
		return
	}
	paid := cumulative - lane.redeemed
	if left := c.deposit - c.redeemed; paid > left {
		paid = left
		r.code = chain.CodePartial
	} else {
		lane.units, lane.root = max(lane.units, units), root
	}
	lane.redeemed += paid
	c.lanes[e.Lane] = lane
	r.paid, r.burned, r.ownerFee = m.credit(c, paid)
}

// closeBy is the rest of T5: unless an entry of the channel is bad.
func (m *model) closeBy(c *modelChannel, b *channel.Batch, last int, entries []entryOutcome) {
	for i := range last + 1 {
		if code := entries[i].code; b.Entries[i].Index == c.index &&
			(code == chain.CodeBadSignature || code == chain.CodeBadPreimage) {
			if b.Entries[last].Claim == channel.ClaimNone {
				entries[last].code = code
			}
			return
		}
	}
	entries[last].closed = true
	m.finish(c)
}

func (m *model) copy() *model {
	c := *m
	c.accounts = make([]*modelAccount, len(m.accounts))
	for i, a := range m.accounts {
		b := *a
		b.used = maps.Clone(a.used)
		c.accounts[i] = &b
	}
	c.channels = make([]*modelChannel, len(m.channels))
	for i, ch := range m.channels {
		if ch != nil {
			d := *ch
			d.lanes = maps.Clone(ch.lanes)
			c.channels[i] = &d
		}
	}
	return &c
}
