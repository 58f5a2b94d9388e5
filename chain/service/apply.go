package service

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
)

// ApplyBlock applies a block to the state in v and returns the changes and what
// the block did. d is the Domain of the service. It never refuses a block: a
// transaction that may not execute has a receipt that says why, and a message that
// may not a result. The error means that something was counted twice or lost; the
// chain must then halt.
func ApplyBlock(v chain.View, p Params, d chain.Domain, b Block, verify Verifier) (chain.Changes, Result, error) {
	run := Begin(v, p, d, b.Height)
	if b.Epoch != nil {
		run.StartEpoch(*b.Epoch)
	}
	for i := range b.Inbox {
		run.Take(b.Inbox[i])
	}
	return run.End(b.Txs, b.Send, verify)
}

// Run is a block under way, for who gives it inbound messages one after the other:
// StartEpoch, Take for each message, End. It is owned by one goroutine.
type Run struct {
	view    chain.View
	block   *block
	before  Totals
	inbox   []Inbound
	res     Result
	settled bool
}

// Begin begins the block at height over the state in v. d is the Domain of the service.
func Begin(v chain.View, p Params, d chain.Domain, height uint64) *Run {
	b := begin(v, &p, d, height)
	return &Run{view: v, block: b, before: b.totals, res: Result{Height: height}}
}

// StartEpoch begins an epoch. One that is not new is passed over, and so is one that comes
// after the first message.
func (r *Run) StartEpoch(s EpochStart) {
	if !r.settled {
		r.block.startEpoch(&s)
	}
}

// settle makes the settlements, which come before everything that writes.
func (r *Run) settle() {
	if !r.settled {
		r.res.Settlements, r.settled = r.block.settle(), true
	}
}

// Take executes the next inbound message.
func (r *Run) Take(m Inbound) ImportResult {
	r.settle()
	result := r.block.result(&m)
	r.inbox, r.res.Imports = append(r.inbox, m), append(r.res.Imports, result)
	return result
}

// End executes the transactions, nets what the block added and sends it; see Block. The
// changes, the result and the error are those of ApplyBlock.
func (r *Run) End(txs []BlockTx, send func(Message) bool, verify Verifier) (chain.Changes, Result, error) {
	r.settle()
	run, res := r.block, &r.res
	res.Epoch, res.Receipts = run.epoch.Number, make([]Receipt, len(txs))
	verdicts := run.verifyAll(txs, verify)
	for i := range txs {
		res.Receipts[i] = run.apply(&txs[i], verdicts[i])
	}
	res.Settlements = append(res.Settlements, run.settledEarly()...)
	res.Messages = run.net(send)
	res.Bookings, res.UsageRoot = run.bookings, UsageRoot(run.bookings)
	if len(txs) > 0 || len(r.inbox) > 0 {
		res.ResultsRoot = rootOf(ResultLeaves(res.Receipts, res.Imports))
		results := Results{
			Height: res.Height, Root: res.ResultsRoot, UsageRoot: res.UsageRoot,
			Receipts: uint32(len(txs)), Imports: uint32(len(r.inbox)), Bookings: uint32(len(res.Bookings)),
		}
		run.state.Set(ResultsKey(), results.Encode())
	}
	if run.totals != r.before {
		run.state.Set(TotalsKey(), run.totals.Encode())
	}
	if run.epoch != run.began {
		run.state.Set(EpochKey(), run.epoch.Encode())
	}
	res.Totals = run.totals
	changes := run.state.Changes()
	if err := conserved(r.view, changes, r.inbox, res, &r.before); err != nil {
		return nil, *res, fmt.Errorf("block %d: %w", res.Height, err)
	}
	return changes, *res, nil
}

// block is a block under way.
type block struct {
	params *Params
	domain chain.Domain
	shard  Shard
	state  *chain.Overlay
	height uint64
	epoch  Epoch
	began  Epoch // the epoch before the block
	totals Totals

	added    netting
	bookings []Booking
	hurried  []laneRef // lanes that were settled before the end of their epoch
	// refusal is why the last transaction that was refused was, and zone is where
	// the payers of the last one that was executed live.
	refusal *chain.RuleError
	zone    uint8
}

func begin(v chain.View, p *Params, d chain.Domain, height uint64) *block {
	epoch := ReadEpoch(v)
	return &block{
		params: p, domain: d, shard: ReadShard(v), state: chain.NewOverlay(v), height: height,
		epoch: epoch, began: epoch, totals: ReadTotals(v), added: make(netting),
	}
}

// startEpoch begins an epoch: what moved before is settled from now on. An epoch
// that is not new is passed over.
func (b *block) startEpoch(s *EpochStart) {
	if s.Epoch <= b.epoch.Number {
		return
	}
	b.epoch = Epoch{Number: s.Epoch, Sigma: max(s.Sigma, b.epoch.Sigma), Settling: true}
}

// verdict says which signatures of a transaction hold.
type verdict struct {
	refused *chain.RuleError   // wrong whatever the state
	bad     map[int]chain.Code // by Need.Entry
}

func (v *verdict) holds(entry int) bool { return v == nil || v.bad[entry] == chain.CodeOK }

// verifyAll verifies in one go the signatures of all transactions that are not
// Checked. All channels that the block's transactions can name are known by now.
func (b *block) verifyAll(txs []BlockTx, verify Verifier) []*verdict {
	verdicts := make([]*verdict, len(txs))
	var needs []Need
	var owners []*verdict // of each need
	for i := range txs {
		if txs[i].Checked || txs[i].Refused != nil {
			continue
		}
		v := new(verdict)
		verdicts[i] = v
		u, batch, err := decode(&txs[i].Tx)
		if err != nil {
			v.refused = asRule(err)
			continue
		}
		found, _ := u.needs(b.state, &b.shard, b.domain, &txs[i].Tx, batch)
		for range found {
			owners = append(owners, v)
		}
		needs = append(needs, found...)
	}
	if len(needs) == 0 {
		return verdicts
	}
	for _, at := range verify(claimsOf(needs)) {
		v := owners[at]
		if v.bad == nil {
			v.bad = make(map[int]chain.Code)
		}
		v.bad[needs[at].Entry] = chain.CodeBadSignature
	}
	return verdicts
}

// apply executes one transaction and returns its receipt. A nil verdict says that
// every signature holds.
func (b *block) apply(bt *BlockTx, v *verdict) Receipt {
	tx := &bt.Tx
	r := Receipt{Hash: tx.Hash}
	if bt.Refused != nil {
		b.refusal = r.refuse(bt.Refused)
		return r
	}
	r.Kind, r.Signer, r.Nonce = tx.Kind, tx.Signer, tx.Nonce
	u, err := b.admit(tx, v)
	if err != nil {
		b.refusal = r.refuse(err)
		return r
	}
	var bad map[int]chain.Code
	if v != nil {
		bad = v.bad
	}
	b.zone = u.Zone
	r.Payee = u.Batch.Payee
	r.Entries, r.Booked = b.book(&u, bad)
	r.ResultsRoot = rootOf(EntryLeaves(r.Entries))
	return r
}

// admit checks what must hold before a transaction has any effect.
func (b *block) admit(tx *chain.Tx, v *verdict) (Usage, error) {
	if v != nil && v.refused != nil {
		return Usage{}, v.refused
	}
	if !v.holds(channel.SignedTx) {
		return Usage{}, chain.Refuse(chain.CodeBadSignature, "signature of the transaction")
	}
	u, _, err := decode(tx)
	switch {
	case err != nil:
		return Usage{}, err
	case tx.MaxFee != 0:
		return Usage{}, chain.Refuse(chain.CodeInvalidValue, "max_fee is %d; a service chain has no money and takes no fee, so it must be 0", uint64(tx.MaxFee))
	case tx.ValidUntil != 0 && b.height > tx.ValidUntil:
		return Usage{}, chain.Refuse(chain.CodeExpired, "valid until height %d, this is %d", tx.ValidUntil, b.height)
	case u.Service != b.shard.Service:
		return Usage{}, chain.Refuse(chain.CodeWrongService, "usage of service %d, this is %d", u.Service, b.shard.Service)
	}
	return u, u.checkReceipt(tx.Signer, v.holds(SignedReceipt))
}
