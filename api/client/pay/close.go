package pay

import (
	"context"
	"fmt"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// AcceptClose checks a payer's offer to close a channel and completes it with
// the account's signature. It refuses an offer below least, with BelowPrice;
// least 0 stands for everything the channel owes. An offer that would hold for
// longer than CloseWindows challenge windows of blocks, or CloseBlocks blocks if
// that is more, is refused with TooLong.
//
// What comes back can be submitted by anybody until the chain has passed the
// offer's ValidUntil, and it pays its Final and no more. So until then nothing is
// accepted on the channel, after a restart either: such payments are refused with
// Closing. If the close does not happen by then the channel goes on. Meanwhile a
// Redeemer leaves alone what goes beyond Final, which would undo the agreement,
// unless the payer requests the close or the channel nears its expiry: then it
// redeems everything at once.
func (p *Payee) AcceptClose(ctx context.Context, offer channel.CoopClose, least ledger.Amount) (channel.CoopClose, error) {
	terms := offer.Terms()
	message := terms.Signed(p.domain.Domain)
	bound, err := p.bindOffer(&offer, message, least)
	if err != nil {
		return channel.CoopClose{}, err
	}
	sig, err := p.signBound(ctx, message, []binding{bound})
	if err != nil {
		return channel.CoopClose{}, fmt.Errorf("sign the close of channel %s: %w", offer.Channel.ID, err)
	}
	offer.PayeeKey, offer.PayeeSig = p.cfg.Account.Key, sig
	return offer, nil
}

// binding is what a channel's agreement was before it was changed, and what it
// became.
type binding struct {
	id            ledger.Hash
	before, after agreement
	seq           uint64 // in the journal
}

// bind makes a part of what the payee is bound by on c, whose stripe the caller
// holds. From then on nothing is accepted.
func (p *Payee) bind(c *payeeChannel, a agreement) (binding, error) {
	view := p.View()
	if most := view.Height + max(CloseBlocks, CloseWindows*uint64(c.challenge)); a.until > most {
		return binding{}, refuse(TooLong, "the close of channel %s would be valid until block %d, at most %d is agreed to", c.id, a.until, most)
	}
	b := binding{id: c.id, before: c.agreed}
	if c.agreed.holds(&view) {
		a = a.with(c.agreed)
	}
	c.agreed, b.after = a, a
	var err error
	b.seq, err = p.append(agreementRecord(c.id, a), 0)
	return b, err
}

// signBound signs message once the bindings are on disk. If there is no signature
// in the end they are undone.
func (p *Payee) signBound(ctx context.Context, message []byte, bound []binding) (ledger.Signature, error) {
	var seq uint64
	for i := range bound {
		seq = max(seq, bound[i].seq)
	}
	err := p.Wait(ctx, seq)
	if err == nil {
		var sig ledger.Signature
		if sig, err = p.cfg.Account.Signer.Sign(ctx, message); err == nil {
			return sig, nil
		}
	}
	p.unbind(bound)
	return ledger.Signature{}, err
}

func (p *Payee) unbind(bound []binding) {
	for i := range bound {
		b := &bound[i]
		s := p.stripeOf(b.id)
		s.mu.Lock()
		if c, ok := s.channels[b.id]; ok && c.agreed == b.after {
			c.agreed = b.before
		}
		s.mu.Unlock()
	}
}

// bindOffer checks an offer, whose signatures are under message, and binds the
// payee to it.
func (p *Payee) bindOffer(offer *channel.CoopClose, message []byte, least ledger.Amount) (binding, error) {
	id := offer.Channel.ID
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	if !ok || !c.known || c.presence != present {
		return binding{}, unknown(id)
	}
	if err := c.checkOffer(offer, least); err != nil {
		return binding{}, err
	}
	if !ledger.Verify(offer.PayerKey, message, offer.PayerSig) {
		return binding{}, refuse(BadSignature, "offer to close channel %s", id)
	}
	return p.bind(c, agreement{final: offer.Final, until: offer.ValidUntil})
}

func (c *payeeChannel) checkOffer(offer *channel.CoopClose, least ledger.Amount) error {
	if least == 0 {
		least = min(c.owed, c.deposit)
	}
	switch {
	case offer.Channel.Index != c.index:
		return refuse(UnknownChannel, "channel %s has row %d, the offer says %d", c.id, c.index, offer.Channel.Index)
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
// channels, so that somebody else can submit it up to block height validUntil. A
// close refunds what its batch does not claim, so give every lane's Best. Until
// the chain has passed validUntil nothing is accepted on those channels, and what
// holds for AcceptClose's offers holds for validUntil.
func (p *Payee) AuthoriseClose(ctx context.Context, batch *channel.Batch, validUntil uint64) error {
	authority := channel.Authority{PayeeKey: p.cfg.Account.Key, ValidUntil: validUntil}
	signing := *batch
	signing.Auth = &authority
	auth, err := signing.CloseAuth()
	if err != nil {
		return fmt.Errorf("authorise close: %w", err)
	}
	bound, err := p.bindBatch(batch, validUntil)
	if err != nil {
		return fmt.Errorf("authorise close: %w", err)
	}
	authority.Signature, err = p.signBound(ctx, auth.Signed(p.domain.Domain), bound)
	if err != nil {
		return fmt.Errorf("authorise close: %w", err)
	}
	batch.Auth = &authority
	return nil
}

// bindBatch binds the payee to the closes of a batch on channels that it knows.
func (p *Payee) bindBatch(batch *channel.Batch, validUntil uint64) ([]binding, error) {
	closes := make(map[uint64]bool)
	for i := range batch.Entries {
		if batch.Entries[i].Close {
			closes[batch.Entries[i].Index] = true
		}
	}
	var bound []binding
	for i := range p.stripe {
		b, err := p.bindStripe(&p.stripe[i], closes, agreement{final: ledger.MaxAmount, until: validUntil})
		bound = append(bound, b...)
		if err != nil {
			p.unbind(bound)
			return nil, err
		}
	}
	return bound, nil
}

func (p *Payee) bindStripe(s *stripe, closes map[uint64]bool, a agreement) ([]binding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bound []binding
	for _, c := range s.channels {
		if !c.known || c.presence == ended || !closes[c.index] {
			continue
		}
		b, err := p.bind(c, a)
		if err != nil {
			return bound, err
		}
		bound = append(bound, b)
	}
	return bound, nil
}
