package settlement

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/zone"
)

// maxPositions is how many positions a refusal names at most.
const maxPositions = 64

// ApplyBlock applies a block to the state in v and returns the changes and what
// the block did. It never refuses a block: a transaction that may not execute
// has a receipt that says why. The error means that value was not conserved,
// that p cannot be, or that the seals of the epoch are not all there; the chain must
// then halt.
func ApplyBlock(v chain.View, p Params, d chain.Domain, b Block, verify Verifier) (chain.Changes, Result, error) {
	run := begin(v, &p, d, b.Height)
	if err := run.checkSeals(&b); err != nil {
		return nil, Result{}, err
	}
	run.keys, run.anchors.Proved = b.Keys, b.Proved
	run.ticked = b.Tick && run.staking.On() && NeedsTick(v, &p, b.Height)
	run.beginStaking(&b)
	verdicts := run.verifyAll(b.Txs, verify)
	run.verify = verify
	res := Result{Height: b.Height, Clock: run.ctx.Clock, Receipts: make([]Receipt, len(b.Txs))}
	for i := range b.Txs {
		res.Receipts[i] = run.apply(i, &b.Txs[i], verdicts[i])
	}
	finalised := run.ctx.Finalise()
	res.Events = append(run.events, finalised...)
	res.Finalised = len(finalised)
	run.tell(res.Receipts, res.Events)
	run.endStaking(&b, &res)
	if len(b.Txs) > 0 || len(finalised) > 0 {
		res.ResultsRoot = rootOf(ResultLeaves(res.Receipts, finalised))
		results := Results{
			Height: b.Height, Clock: res.Clock, Root: res.ResultsRoot,
			Receipts: uint32(len(b.Txs)), Finalised: uint32(len(finalised)),
		}
		run.state.Set(ResultsKey(), results.Encode())
	}
	now := readClock(v)
	if c, changed := now.after(&p, b.Height, run.urgent); changed {
		run.state.Set(ClockKey(), c.encode())
	}
	changes, err := run.finish(v)
	if err != nil {
		return nil, res, err
	}
	res.Income = run.income
	res.Shards, res.Totals = run.shardEvents, run.bank.books.Totals
	res.Outbox, err = link.NewOutbox(changes)
	return changes, res, err
}

// block is a block under way.
type block struct {
	params *Params
	state  *chain.Overlay
	bank   *bank
	before books
	ctx    channel.Context
	verify Verifier
	events []Event

	staking       staking.Context
	stakingEvents []staking.Event

	registry       registryContext
	registryEvents []RegistryEvent

	ticked bool // a tick made the block, and it had to be made

	anchors     anchor.Context
	links       link.Context
	keys        Keys                // nil: decoded for each block
	seats       map[sitting]*seated // of shards, as far as asked for
	shardEvents []ShardEvent
	services    map[uint32]*zone.ServiceType // as far as asked for; nil if not registered
	back        []returned                   // notices that came back
	income      []Income

	urgent int64 // bytes of transactions that moved money of urgent channels
	// refusal is why the last transaction that was refused was; a receipt keeps
	// no positions.
	refusal *chain.RuleError
}

func begin(v chain.View, p *Params, d chain.Domain, height uint64) *block {
	state := chain.NewOverlay(v)
	rules := p.Rules()
	b := &block{params: p, state: state, before: readBooks(v)}
	b.bank = &bank{state: state, books: b.before}
	b.ctx = channel.Context{
		State: state, Bank: b.bank, Domain: d, Rules: &rules,
		Height: height, Clock: Clock(v, height),
	}
	rules.Registered, rules.Zone, rules.Fees = b.registered, b.zoneOf, b.feesOf
	b.bank.owner = b.ownerOf
	b.registry = registryContext{State: state, Rules: &p.Registry, Epochs: &p.Staking, Height: height, Sigma: b.ctx.Clock, Reserved: p.Services}
	b.staking = staking.Context{State: state, Bank: b.bank, Rules: &p.Staking, Network: d.Network, Height: height}
	b.beginShards(d, height)
	return b
}

// verdict says which signatures of a transaction hold.
type verdict struct {
	refused *chain.RuleError   // wrong whatever the state
	bad     map[int]chain.Code // by Need.Entry
	settled bool               // nothing remains to be looked up in a later state
}

func (v *verdict) holds(entry int) bool { return v == nil || v.bad[entry] == chain.CodeOK }

// verifyAll verifies in one go the signatures of all transactions that are not
// Checked, as far as the state before the block knows their channels.
func (b *block) verifyAll(txs []BlockTx, verify Verifier) []*verdict {
	verdicts := make([]*verdict, len(txs))
	var claims []ledger.Claim
	type owner struct {
		verdict *verdict
		entry   int
	}
	var owners []owner
	for i := range txs {
		if txs[i].Checked || txs[i].Refused != nil {
			continue
		}
		verdicts[i] = new(verdict)
		for _, n := range verdicts[i].look(b, &txs[i].Tx) {
			claims = append(claims, n.Claim)
			owners = append(owners, owner{verdicts[i], n.Entry})
		}
	}
	if len(claims) > 0 {
		for _, at := range verify(claims) {
			owners[at].verdict.spoil(owners[at].entry, chain.CodeBadSignature)
		}
	}
	return verdicts
}

// look finds what tx needs against the present state of b.
func (v *verdict) look(b *block, tx *chain.Tx) []Need {
	pl, err := decodePayload(tx)
	if err == nil {
		var needs []Need
		needs, v.bad, v.settled, err = pl.needs(b.state, b.ctx.Domain, tx)
		if err == nil {
			return needs
		}
	}
	v.refused, v.settled = asRule(err), true
	return nil
}

func (v *verdict) spoil(entry int, code chain.Code) {
	if v.bad == nil {
		v.bad = make(map[int]chain.Code)
	}
	v.bad[entry] = code
}

// again verifies tx against the present state, for a channel that an earlier
// transaction of the block may have opened.
func (b *block) again(tx *chain.Tx) *verdict {
	v := new(verdict)
	needs := v.look(b, tx)
	claims := make([]ledger.Claim, len(needs))
	for i := range needs {
		claims[i] = needs[i].Claim
	}
	for _, at := range b.verify(claims) {
		v.spoil(needs[at].Entry, chain.CodeBadSignature)
	}
	return v
}

// apply executes one transaction and returns its receipt. A nil verdict says
// that every signature holds.
func (b *block) apply(index int, bt *BlockTx, v *verdict) Receipt {
	tx := &bt.Tx
	r := Receipt{Hash: tx.Hash}
	if bt.Refused != nil {
		b.reject(&r, bt.Refused)
		return r
	}
	r.Kind, r.Signer, r.Nonce = tx.Kind, tx.Signer, tx.Nonce
	if v != nil && !v.settled && v.holds(channel.SignedTx) {
		v = b.again(tx)
	}
	pl, row, fee, err := b.admit(tx, v)
	if err != nil {
		b.reject(&r, err)
		return r
	}
	late := pl.batch != nil && pl.batch.Payee == tx.Signer && b.bank.Balance(row) < fee
	if late || pl.batch != nil && pl.batch.Mode == channel.Atomic {
		b.tentative(index, &r, tx, &pl, row, fee, v, late)
		return r
	}
	b.bank.useNonce(row, tx.Nonce)
	b.bank.charge(row, fee)
	r.Fee = fee
	b.execute(index, &r, tx, &pl, row, v)
	return r
}

// admit checks what must hold before a transaction has any effect, its fee
// included. It returns the payload, the signer's row and the fee.
func (b *block) admit(tx *chain.Tx, v *verdict) (pl payload, row uint64, fee ledger.Amount, err error) {
	if v != nil && v.refused != nil {
		return pl, 0, 0, v.refused
	}
	if !v.holds(channel.SignedTx) {
		return pl, 0, 0, chain.Refuse(chain.CodeBadSignature, "signature of the transaction")
	}
	if pl, err = decodePayload(tx); err != nil {
		return pl, 0, 0, err
	}
	if tx.ValidUntil != 0 && b.ctx.Height > tx.ValidUntil {
		return pl, 0, 0, chain.Refuse(chain.CodeExpired, "valid until height %d, this is %d", tx.ValidUntil, b.ctx.Height)
	}
	row, ok := accountRow(b.state, tx.Signer)
	if !ok {
		return pl, 0, 0, chain.Refuse(chain.CodeAccountNotFound, "%s has no account; one is made by the first transfer to it", tx.Signer)
	}
	account := accountAt(b.state, row)
	if err := account.CheckNonce(tx.Nonce); err != nil {
		return pl, 0, 0, err
	}
	fee = pl.fee(b.params)
	if fee > tx.MaxFee {
		return pl, 0, 0, chain.Refuse(chain.CodeFeeTooLow, "the fee is %d drops, max_fee %d", uint64(fee), uint64(tx.MaxFee))
	}
	// A payee may pay the fee of its batch out of what the batch brings.
	if account.Balance < fee && (pl.batch == nil || pl.batch.Payee != tx.Signer) {
		return pl, 0, 0, insufficient(fee, account.Balance)
	}
	return pl, row, fee, nil
}

func insufficient(fee, balance ledger.Amount) error {
	return chain.Refuse(chain.CodeInsufficientBalance, "the fee is %d drops, balance is %d", uint64(fee), uint64(balance))
}

// tentative executes a batch on a state of its own, which is kept only if the
// batch may stand: an atomic one must be complete, and one whose fee comes out
// of what it pays must pay enough.
func (b *block) tentative(index int, r *Receipt, tx *chain.Tx, pl *payload, row uint64, fee ledger.Amount, v *verdict, late bool) {
	parent, outer, noted := b.state, *b.bank, b.noted()
	b.enter(chain.NewOverlay(parent), outer.books)
	if !late {
		b.bank.charge(row, fee)
		r.Fee = fee
	}
	b.bank.useNonce(row, tx.Nonce)
	complete := b.execute(index, r, tx, pl, row, v)
	if late && b.bank.Balance(row) < fee {
		b.leave(parent, outer.books, noted)
		b.reject(r, insufficient(fee, b.bank.Balance(row)))
		return
	}
	if late {
		b.bank.charge(row, fee)
		r.Fee = fee
	}
	if complete {
		inner := b.state
		parent.Merge(inner)
		b.enter(parent, b.bank.books)
		return
	}
	// Of an atomic batch that failed nonce and fee remain, if it can pay.
	b.leave(parent, outer.books, noted)
	if late {
		b.reject(r, insufficient(fee, b.bank.Balance(row)))
		return
	}
	b.bank.useNonce(row, tx.Nonce)
	b.bank.charge(row, fee)
}

// enter makes state and books the present ones.
func (b *block) enter(state *chain.Overlay, bk books) {
	b.state, b.ctx.State, b.bank.state = state, state, state
	b.staking.State, b.registry.State = state, state
	b.anchors.State, b.links.State = state, state
	b.bank.books = bk
}

// noted is how much a block has noted beside state and books.
type noted struct {
	events, income int
	urgent         int64
}

func (b *block) noted() noted { return noted{len(b.events), len(b.income), b.urgent} }

// leave drops what was done since enter.
func (b *block) leave(state *chain.Overlay, bk books, n noted) {
	b.enter(state, bk)
	b.events, b.income, b.urgent = b.events[:n.events], b.income[:n.income], n.urgent
}

// execute runs the transition of a transaction whose nonce and fee are settled,
// and fills in the receipt. It reports false for a batch not all of whose claims
// are paid; an atomic one must then be dropped.
func (b *block) execute(index int, r *Receipt, tx *chain.Tx, pl *payload, row uint64, v *verdict) (complete bool) {
	from := channel.Party{Address: tx.Signer, Row: row}
	var events []Event
	var err error
	complete = true
	switch {
	case pl.transfer != nil:
		r.Paid, err = b.bank.transfer(row, pl.transfer)
	case pl.open != nil:
		r.FirstChannel, events, err = b.open(from, tx, pl.open)
		r.Opened = uint32(len(events))
	case pl.topUp != nil:
		events, err = b.topUp(from, tx, pl.topUp)
	case pl.extend != nil:
		events, err = one(b.ctx.Extend(tx.Signer, pl.extend))
	case pl.request != nil:
		events, err = one(b.ctx.RequestClose(tx.Signer, pl.request))
	case pl.coop != nil:
		var done channel.Agreed
		done, err = b.ctx.CoopClose(pl.coop, v.holds(channel.SignedPayer) && v.holds(channel.SignedPayee))
		r.Paid, r.Burned, r.OwnerFee, events = done.Paid, done.Burned, done.OwnerFee, done.Events
		if err == nil {
			b.noteIncome(index, done.Earned)
			b.registry.Worked(done.Events[0].Service, done.Events[0].Payee, done.Burned)
		}
		if err == nil && pl.coop.Rollover != nil {
			r.FirstChannel, r.Opened = done.Opened, 1
		}
	case pl.batch != nil:
		events, complete, err = b.settle(index, r, tx, pl.batch, v)
	case pl.stake != nil:
		err = b.stake(index, r, pl.stake, staking.Party(from))
	case pl.service != nil:
		clear(b.services)
		err = b.service(index, r, pl.service, tx, row)
	case pl.shard != nil:
		err = b.carry(index, r, pl.shard, row)
	}
	if err != nil {
		b.refuse(r, row, err)
		return true
	}
	for i := range events {
		events[i].TxIndex = index
	}
	b.events = append(b.events, events...)
	return complete
}

// reject makes r the receipt of a transaction that has no effect at all.
func (b *block) reject(r *Receipt, err error) {
	*r = Receipt{Hash: r.Hash, Kind: r.Kind, Signer: r.Signer, Nonce: r.Nonce}
	b.refusal = r.refuse(err)
}

// refuse makes r the receipt of a transaction that a rule refused: of its fee it
// pays TxFee only, but a batch pays for all its entries, since their signatures
// were verified, and so do a registration whose proof and anchors whose certificates do
// not hold.
func (b *block) refuse(r *Receipt, row uint64, err error) {
	b.refusal = r.refuse(err)
	if r.Kind != chain.KindSettle && r.Code != chain.CodeBadProof && r.Code != chain.CodeBadCertificate && r.Fee > b.params.TxFee {
		b.bank.repay(row, r.Fee-b.params.TxFee)
		r.Fee = b.params.TxFee
	}
}

// open opens channels, if their homes can be told.
func (b *block) open(from channel.Party, tx *chain.Tx, o *channel.Open) (first uint64, events []Event, err error) {
	services := make([]uint32, len(o.Channels))
	for i := range o.Channels {
		services[i] = o.Channels[i].Service
	}
	if err := b.roomFor(from.Address, services, channel.OpenedNoticeSize); err != nil {
		return 0, nil, err
	}
	if first, events, err = b.ctx.Open(from, tx.Nonce, o.Channels); err != nil {
		return 0, nil, err
	}
	b.announce(tx, events)
	return first, events, nil
}

// topUp adds to the deposit of a channel, if its home can be told.
func (b *block) topUp(from channel.Party, tx *chain.Tx, t *channel.TopUp) ([]Event, error) {
	if c, ok := channel.At(b.state, t.Channel.Index); ok {
		if err := b.roomFor(c.Payer, []uint32{c.Service}, channel.OpenedNoticeSize); err != nil {
			return nil, err
		}
	}
	events, err := one(b.ctx.TopUp(from, t))
	if err == nil {
		b.announce(tx, events)
	}
	return events, err
}

func one(e Event, err error) ([]Event, error) {
	if err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

// settle applies a batch.
func (b *block) settle(index int, r *Receipt, tx *chain.Tx, batch *channel.Batch, v *verdict) (events []Event, complete bool, err error) {
	if err := batch.CheckAuthority(tx.Signer, b.ctx.Height, v.holds(channel.SignedAuthority)); err != nil {
		return nil, true, err
	}
	var bad map[int]chain.Code
	if v != nil {
		bad = v.bad
	}
	done := b.ctx.Settle(batch, bad)
	complete = batch.Mode != channel.Atomic || done.Complete()
	if !complete {
		done.Abort()
		b.refusal = r.refuse(aborted(done.Entries))
	}
	b.worked(&done, batch.Payee)
	b.noteIncome(index, done.Earned)
	r.Entries, r.Paid, r.Burned, r.OwnerFee = done.Entries, done.Paid, done.Burned, done.OwnerFee
	r.ResultsRoot = rootOf(EntryLeaves(done.Entries))
	b.urgent += int64(len(tx.Raw))*int64(done.Urgent)/int64(done.Bytes) + int64(done.UrgentCloses)*closeRoom
	return done.Events, complete, nil
}

// aborted says which entries made an atomic batch fail.
func aborted(entries []EntryResult) error {
	bad := make(map[int]chain.Code)
	for i := range entries {
		if entries[i].Code != chain.CodeBatchAborted {
			bad[i] = entries[i].Code
		}
	}
	e := chain.Refuse(chain.CodeBatchAborted, "%d entries of the atomic batch are not paid in full", len(bad))
	e.Positions = positions(bad)
	return e
}

// finish writes the books and checks that value was conserved.
func (b *block) finish(v chain.View) (chain.Changes, error) {
	if b.bank.books != b.before {
		b.state.Set(TotalsKey(), b.bank.books.encode())
	}
	changes := b.state.Changes()
	if err := conserved(v, changes, &b.before, &b.bank.books); err != nil {
		return nil, fmt.Errorf("block %d: %w", b.ctx.Height, err)
	}
	return changes, nil
}

func positions(bad map[int]chain.Code) []int {
	at := slices.Sorted(maps.Keys(bad))
	return at[:min(len(at), maxPositions)]
}
