package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Agreed is what a cooperative close did.
type Agreed struct {
	Payout
	Earned []Earning // the same as OwnerFee; none if that is 0
	Opened uint64    // index of the channel that replaces the closed one, if there is a roll-over
	Events []Event   // the close, then the open
}

// CoopClose is T8: both parties agree on the final total, which is paid up to as by
// one entry, and the rest is refunded. It may lie below the best voucher, never below what
// was redeemed. With a roll-over the payer opens the next channel at once, from
// the refund if need be. valid says that both signatures hold.
func (c *Context) CoopClose(cc *CoopClose, valid bool) (Agreed, error) {
	r, err := c.find(&cc.Channel)
	if err != nil {
		return Agreed{}, err
	}
	if err := c.checkAgreement(r, cc, valid); err != nil {
		return Agreed{}, err
	}
	payer := Party{Address: r.payer(), Row: r.uint64(offPayerIndex)}
	redeemed, deposit, rent := r.amount(offRedeemed), r.amount(offDeposit), r.amount(offRent)
	if p := cc.Rollover; p != nil {
		if p.Payee != r.payee() {
			return Agreed{}, chain.Refuse(chain.CodeInvalidValue, "roll-over to payee %s, the channel's is %s", p.Payee, r.payee())
		}
		if err := c.Rules.CheckParams(payer.Address, p, c.Clock); err != nil {
			return Agreed{}, err
		}
		have, need := c.Bank.Balance(payer.Row)+deposit-cc.Final+rent, p.Deposit+c.Rules.Rent
		if have < need {
			return Agreed{}, chain.Refuse(chain.CodeInsufficientBalance, "roll-over needs %d drops, the payer has %d", uint64(need), uint64(have))
		}
	}

	fees := FeesAt(c.State, r.feesNumber())
	a := Agreed{Payout: c.Rules.Payout(&fees, redeemed, cc.Final)}
	c.Bank.Pay(r.uint64(offPayeeIndex), a.Paid, a.Burned)
	a.Earned = earnings(nil).add(r.service(), a.OwnerFee).pay(c.Bank)
	c.Bank.Refund(payer.Row, deposit-cc.Final, rent)
	erase(c.State, cc.Channel.Index, r)
	countClosed(c.State, 1)
	a.Events = append(a.Events, r.closed(EventCoopClosed, cc.Channel.Index, cc.Final, deposit-cc.Final+rent))
	if p := cc.Rollover; p != nil {
		first, opened := c.create(payer, []ledger.Hash{RolloverID(cc.Channel.ID, p)}, []OpenParams{*p})
		a.Opened = first
		a.Events = append(a.Events, opened...)
	}
	return a, nil
}

func (c *Context) checkAgreement(r row, cc *CoopClose, valid bool) error {
	payer, payee := r.payer(), r.payee()
	redeemed, deposit := r.amount(offRedeemed), r.amount(offDeposit)
	switch {
	case c.Height > cc.ValidUntil:
		return chain.Refuse(chain.CodeExpired, "agreement valid until height %d, this is %d", cc.ValidUntil, c.Height)
	case ledger.NewAddress(payer.Zone(), cc.PayerKey) != payer:
		return chain.Refuse(chain.CodeNotPayer, "key %s is not of payer %s", cc.PayerKey, payer)
	case ledger.NewAddress(payee.Zone(), cc.PayeeKey) != payee:
		return chain.Refuse(chain.CodeNotPayee, "key %s is not of payee %s", cc.PayeeKey, payee)
	case !valid:
		return chain.Refuse(chain.CodeBadSignature, "signature of payer or payee")
	case cc.Final < redeemed || cc.Final > deposit:
		return chain.Refuse(chain.CodeFinalOutOfRange, "final total %d, want %d (redeemed) to %d (deposit)", uint64(cc.Final), uint64(redeemed), uint64(deposit))
	}
	return nil
}

// Finalise is T7: it closes channels whose deadline has come, ascending by
// deadline, then index, until the next would exceed FinaliseLimit or
// FinaliseLanes. It runs after a block's transactions, so that the block in which
// a deadline falls still redeems.
func (c *Context) Finalise() []Event {
	indexes := due(c.State, c.Clock)
	if len(indexes) == 0 {
		return nil
	}
	events := make([]Event, len(indexes))
	for i, index := range indexes {
		r := rowAt(c.State, index)
		rest, rent := r.amount(offDeposit)-r.amount(offRedeemed), r.amount(offRent)
		c.Bank.Refund(r.uint64(offPayerIndex), rest, rent)
		erase(c.State, index, r)
		events[i] = r.closed(EventFinalised, index, r.amount(offRedeemed), rest+rent)
		events[i].TxIndex = -1
	}
	countClosed(c.State, uint64(len(indexes)))
	return events
}
