package pay

import (
	"context"
	"fmt"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// AcceptClose checks a payer's offer to close a channel and completes it with
// the account's signature. It refuses an offer below least, with BelowPrice;
// least 0 stands for everything the channel owes. What comes back can be
// submitted by anybody; until it is final, keep redeeming as if it did not exist.
func (p *Payee) AcceptClose(ctx context.Context, offer channel.CoopClose, least ledger.Amount) (channel.CoopClose, error) {
	if err := p.checkOffer(&offer, least); err != nil {
		return channel.CoopClose{}, err
	}
	terms := offer.Terms()
	if !ledger.Verify(offer.PayerKey, terms.Signed(p.domain.Domain), offer.PayerSig) {
		return channel.CoopClose{}, refuse(BadSignature, "offer to close channel %s", offer.Channel.ID)
	}
	sig, err := p.cfg.Account.Signer.Sign(ctx, terms.Signed(p.domain.Domain))
	if err != nil {
		return channel.CoopClose{}, fmt.Errorf("sign the close of channel %s: %w", offer.Channel.ID, err)
	}
	offer.PayeeKey, offer.PayeeSig = p.cfg.Account.Key, sig
	return offer, nil
}

func (p *Payee) checkOffer(offer *channel.CoopClose, least ledger.Amount) error {
	id := offer.Channel.ID
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	if !ok || !c.known || c.closedAt != 0 {
		return unknown(id)
	}
	if least == 0 {
		least = min(c.owed, c.deposit)
	}
	switch {
	case offer.Channel.Index != c.index:
		return refuse(UnknownChannel, "channel %s has row %d, the offer says %d", id, c.index, offer.Channel.Index)
	case ledger.NewAddress(c.payer.Zone(), offer.PayerKey) != c.payer:
		return refuse(BadSignature, "the offer's key is not that of the payer %s", c.payer)
	case offer.Final < least:
		return refuse(BelowPrice, "the offer pays %d drops in all, want at least %d", uint64(offer.Final), uint64(least))
	case offer.Final > c.deposit:
		return refuse(Underfunded, "the offer pays %d drops, the deposit is %d", uint64(offer.Final), uint64(c.deposit))
	}
	return nil
}

// AuthoriseClose adds the payee's authority to a batch whose entries close
// channels, so that somebody else can submit it up to block height validUntil.
func (p *Payee) AuthoriseClose(ctx context.Context, batch *channel.Batch, validUntil uint64) error {
	authority := channel.Authority{PayeeKey: p.cfg.Account.Key, ValidUntil: validUntil}
	signing := *batch
	signing.Auth = &authority
	auth, err := signing.CloseAuth()
	if err != nil {
		return fmt.Errorf("authorise close: %w", err)
	}
	authority.Signature, err = p.cfg.Account.Signer.Sign(ctx, auth.Signed(p.domain.Domain))
	if err != nil {
		return fmt.Errorf("authorise close: %w", err)
	}
	batch.Auth = &authority
	return nil
}
