package pay

import (
	"slices"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// payeeChannel is what a payee knows of a channel. It is guarded by its stripe.
type payeeChannel struct {
	id    ledger.Hash
	known bool // a record has come; the journal knows only claims

	// Of the record.
	key       ledger.PublicKey
	payer     ledger.Address
	index     uint64
	deposit   ledger.Amount
	redeemed  ledger.Amount
	expiresAt uint64
	closeAt   uint64
	challenge uint32
	fees      *channel.Fees // nil if there are none, or they are not known

	generation uint32 // of the list that named it last
	presence   presence
	awaySince  int64  // when presence last became worse, Unix nanoseconds
	awayAt     uint64 // height of the newest list that did not name it; 0 if present
	asked      int64  // when the chain was last asked whether it exists, Unix nanoseconds
	since      int64  // since when something is owed and not redeemed, Unix nanoseconds; 0 if nothing is

	agreed agreement // to close
	noted  uint64    // expiresAt, as the journal has it

	lanes   []payeeLane // ascending by number
	owed    ledger.Amount
	settled ledger.Amount // sum of max(redeemed, sent) over the lanes
}

// payeeLane is the best claim on a lane, and how much of it has been redeemed.
type payeeLane struct {
	number   uint8
	signed   bool          // signature is that of a voucher for owed, units and root
	bad      bool          // the chain refused the claim for what it is
	owed     ledger.Amount // by the claim or, if that is more, by the chain
	redeemed ledger.Amount
	sent     ledger.Amount // claimed by a batch under way; 0 if none is
	units    uint64
	root     ledger.Hash
	sig      ledger.Signature
	hash     *payeeHash // the claim, if it is a hash chain's
	// pending is the newest commitment, as long as nothing of it was revealed. It
	// is no claim: nobody knows whether its root leads anywhere.
	pending *Commitment
}

// payeeHash is a commitment and the last that was revealed of it.
type payeeHash struct {
	commitment Commitment
	step       uint16 // at least 1
	value      ledger.Hash
}

// lane returns the lane of that number, or nil.
func (c *payeeChannel) lane(number uint8) *payeeLane {
	i, ok := c.find(number)
	if !ok {
		return nil
	}
	return &c.lanes[i]
}

// makeLane returns the lane of that number, new if it did not exist.
func (c *payeeChannel) makeLane(number uint8) *payeeLane {
	i, ok := c.find(number)
	if !ok {
		c.lanes = slices.Insert(c.lanes, i, payeeLane{number: number})
	}
	return &c.lanes[i]
}

func (c *payeeChannel) find(number uint8) (int, bool) {
	return slices.BinarySearchFunc(c.lanes, number, func(l payeeLane, n uint8) int { return int(l.number) - int(n) })
}

// recount computes the sums over the lanes anew.
func (c *payeeChannel) recount() {
	c.owed, c.settled = 0, 0
	for i := range c.lanes {
		l := &c.lanes[i]
		c.owed += l.owed
		c.settled += max(l.redeemed, l.sent)
	}
}

// unredeemed returns what is owed and not paid out yet.
func (c *payeeChannel) unredeemed() ledger.Amount {
	var sum ledger.Amount
	for i := range c.lanes {
		sum += c.lanes[i].owed - c.lanes[i].redeemed
	}
	return sum
}

// claimable returns what an ordinary batch would be paid now: what the lanes
// claim beyond what was paid out or is under way, within what is left of the
// deposit.
func (c *payeeChannel) claimable() ledger.Amount {
	var sum ledger.Amount
	for i := range c.lanes {
		sum += c.lanes[i].claimable(ordinary)
	}
	return min(sum, c.deposit-min(c.deposit, max(c.settled, c.redeemed)))
}

// unexplained returns how much the chain has paid out that the lanes do not
// account for.
func (c *payeeChannel) unexplained() ledger.Amount {
	return c.redeemed - min(c.redeemed, c.settled)
}

// available returns how much more may be owed within the deposit.
func (c *payeeChannel) available() ledger.Amount {
	return c.deposit - min(c.deposit, c.owed+c.unexplained())
}

// expiring reports whether clock is too close to the expiry to accept.
func (c *payeeChannel) expiring(clock uint64) bool {
	return clock+SafeWindows*uint64(c.challenge) > c.expiresAt
}

// merge takes what is new from a record. Totals only rise and a request to close
// is not taken back, so records can come in any order.
func (c *payeeChannel) merge(r *Channel) {
	c.known = true
	c.key, c.payer, c.index, c.challenge = r.VoucherKey, r.Payer, r.Index, r.Challenge
	if r.Fees != (channel.Fees{}) && c.fees == nil {
		fees := r.Fees
		c.fees = &fees
	}
	c.deposit = max(c.deposit, r.Deposit)
	c.redeemed = max(c.redeemed, r.Redeemed)
	c.expiresAt = max(c.expiresAt, r.ExpiresAt)
	if r.CloseAt != 0 {
		c.closeAt = r.CloseAt
	}
	for _, s := range r.Lanes {
		if s.Lane >= channel.Lanes {
			continue
		}
		l := c.makeLane(s.Lane)
		l.redeemed = max(l.redeemed, s.Redeemed)
		if s.Redeemed > l.owed {
			// Somebody redeemed a claim that this payee no longer has.
			*l = payeeLane{number: l.number, owed: s.Redeemed, redeemed: s.Redeemed, sent: l.sent, units: s.Units}
		}
	}
	c.recount()
}

// claim returns the best claim of the lane, and false if there is none.
func (l *payeeLane) claim(id ledger.Hash) (Claim, bool) {
	if h := l.hash; h != nil {
		return Claim{Commitment: &h.commitment, Reveal: Reveal{
			ChannelID: id, Lane: uint16(l.number), ChainNo: h.commitment.ChainNo, Step: h.step, Preimage: h.value,
		}}, true
	}
	return Claim{Voucher: l.voucher(id)}, l.signed
}

func (l *payeeLane) voucher(id ledger.Hash) Voucher {
	return Voucher{Signature: l.sig, Voucher: channel.Voucher{
		ChannelID: id, Lane: uint16(l.number), Cumulative: l.owed, Units: l.units, UsageRoot: l.root,
	}}
}

// claimable returns what a batch of the kind could claim on the lane now. An
// urgent one claims what is under way once more.
func (l *payeeLane) claimable(kind int) ledger.Amount {
	done := l.redeemed
	if kind == ordinary {
		done = max(done, l.sent)
	}
	if l.bad || l.owed <= done || !l.signed && l.hash == nil {
		return 0
	}
	return l.owed - done
}

// setVoucher makes v, which pays more than the lane owes, its claim.
func (l *payeeLane) setVoucher(v *Voucher) {
	l.owed, l.units, l.root, l.sig = v.Cumulative, v.Units, v.UsageRoot, v.Signature
	l.signed, l.bad, l.hash, l.pending = true, false, nil, nil
}

// revealed returns the commitment, pending or not, that the reveal is of.
func (l *payeeLane) revealed(r *Reveal) (*Commitment, error) {
	covers := func(c *Commitment) bool { return c.ChainNo == r.ChainNo && r.Step > 0 && r.Step <= c.Steps }
	known := false
	if c := l.pending; c != nil && covers(c) {
		if channel.CheckPreimage(c.Root, r.Preimage, r.Step) {
			return c, nil
		}
		known = true // and yet it may be of the chain before, if the payer counts badly
	}
	if h := l.hash; h != nil && covers(&h.commitment) {
		from, root := h.step, h.value
		if r.Step <= from { // old; only the payer has it, and may see its claim
			from, root = 0, h.commitment.Root
		}
		if channel.CheckPreimage(root, r.Preimage, r.Step-from) {
			return &h.commitment, nil
		}
		known = true
	}
	if known {
		return nil, refuse(BadPreimage, "step %d of hash chain %d on lane %d", r.Step, r.ChainNo, r.Lane)
	}
	return nil, refuse(BadLane, "no commitment for step %d of hash chain %d on lane %d", r.Step, r.ChainNo, r.Lane)
}

// setReveal makes r, which is of commitment c of the lane and pays more than the
// lane owes, its claim.
func (l *payeeLane) setReveal(c *Commitment, r *Reveal, owed ledger.Amount) {
	if c == l.pending {
		l.hash, l.pending = &payeeHash{commitment: *c}, nil
	}
	l.hash.step, l.hash.value = r.Step, r.Preimage
	l.owed, l.units = owed, c.BaseUnits+uint64(r.Step)
	l.signed, l.bad, l.root = false, false, ledger.Hash{}
}
