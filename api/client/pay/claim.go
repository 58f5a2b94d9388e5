package pay

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Claim proves what is owed on a lane: a voucher, or a commitment to a hash
// chain with a preimage of it.
type Claim struct {
	Voucher    Voucher     // unless Commitment is set
	Commitment *Commitment // of a hash lane
	Reveal     Reveal      // with Commitment
}

// ChannelID returns the channel the claim is on.
func (c *Claim) ChannelID() ledger.Hash {
	if c.Commitment != nil {
		return c.Commitment.ChannelID
	}
	return c.Voucher.ChannelID
}

// Lane returns the lane the claim is on.
func (c *Claim) Lane() uint16 {
	if c.Commitment != nil {
		return c.Commitment.Lane
	}
	return c.Voucher.Lane
}

// Owed returns what is owed on the lane in all, and 0 if that is out of range.
func (c *Claim) Owed() ledger.Amount {
	if c.Commitment == nil {
		return c.Voucher.Cumulative
	}
	owed, err := c.Commitment.at(c.Reveal.Step)
	if err != nil {
		return 0
	}
	return owed
}

// Units returns for how many billing units that is owed.
func (c *Claim) Units() uint64 {
	if c.Commitment == nil {
		return c.Voucher.Units
	}
	return c.Commitment.BaseUnits + uint64(c.Reveal.Step)
}

// Verify reports whether the claim is what key's owner signed for d: on the
// channel and lane it says, with a preimage that leads to its commitment.
func (c *Claim) Verify(d chain.Domain, key ledger.PublicKey) bool {
	if c.Commitment == nil {
		return ledger.Verify(key, c.Voucher.Signed(d), c.Voucher.Signature)
	}
	r := &c.Reveal
	if r.ChannelID != c.Commitment.ChannelID || r.Lane != c.Commitment.Lane || r.ChainNo != c.Commitment.ChainNo ||
		r.Step == 0 || r.Step > c.Commitment.Steps || c.Commitment.Steps > channel.MaxHashSteps {
		return false
	}
	return channel.CheckPreimage(c.Commitment.Root, r.Preimage, r.Step) &&
		ledger.Verify(key, c.Commitment.Signed(d), c.Commitment.Signature)
}

// entry returns the claim as an entry of a settlement batch.
func (c *Claim) entry(index uint64) channel.Entry {
	e := channel.Entry{Index: index, Lane: uint8(c.Lane())}
	if c.Commitment == nil {
		v := &c.Voucher
		e.Claim = channel.ClaimVoucher
		e.Cumulative, e.Units, e.UsageRoot, e.Signature = v.Cumulative, v.Units, v.UsageRoot, v.Signature
		return e
	}
	e.Claim = channel.ClaimHash
	e.Commit, e.Signature = c.Commitment.HashCommit, c.Commitment.Signature
	e.Step, e.Preimage = c.Reveal.Step, c.Reveal.Preimage
	return e
}
