package channel

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Where the signature of a Need belongs, besides the entries of a batch.
const (
	SignedTx        = -1 // the transaction's own
	SignedAuthority = -2 // the batch's close authority
	SignedPayer     = -3 // the payer's, of a cooperative close
	SignedPayee     = -4 // the payee's, of a cooperative close
)

// Need is a signature that a transaction needs.
type Need struct {
	Claim ledger.Claim
	Entry int // position in the batch, or one of the constants above
}

// Needs appends to needs the signatures of the batch's entries and authority
// against the state in v. Entries that are stale, whose channel is gone or has
// another payee, need none, and will never again, because what was redeemed does
// not fall and ids do not change. complete is false if a channel does not exist
// yet: a look at a later state may then find more.
//
// bad holds BAD_PREIMAGE for the positions of hash-lane claims that do not lead
// to their root. It costs their hashes.
func (b *Batch) Needs(v chain.View, d chain.Domain, needs []Need) (all []Need, bad map[int]chain.Code, complete bool) {
	complete = true
	opened := ReadCounters(v).Channels
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Claim == ClaimNone {
			continue
		}
		r := rowAt(v, e.Index)
		if r == nil {
			complete = complete && e.Index < opened
			continue
		}
		if !r.paysTo(&b.Payee) {
			continue
		}
		claim := e.claimed()
		if lane, _ := laneOf(v, r, e.Index, e.Lane); claim.Redeemed <= lane.Redeemed {
			continue
		}
		if e.Claim == ClaimHash && !CheckPreimage(e.Commit.Root, e.Preimage, e.Step) {
			if bad == nil {
				bad = make(map[int]chain.Code)
			}
			bad[i] = chain.CodeBadPreimage
			continue
		}
		needs = append(needs, Need{Entry: i, Claim: ledger.Claim{
			Key: r.voucherKey(), Signature: e.Signature, Message: e.Signed(d, r.id()),
		}})
	}
	if b.Auth != nil {
		needs = append(needs, b.authorityNeed(d))
	}
	return needs, bad, complete
}

func (b *Batch) authorityNeed(d chain.Domain) Need {
	a, err := b.CloseAuth()
	if err != nil { // cannot be: a batch has few enough entries for a tree
		panic(fmt.Errorf("root of closing entries: %w", err))
	}
	return Need{Entry: SignedAuthority, Claim: ledger.Claim{
		Key: b.Auth.PayeeKey, Signature: b.Auth.Signature, Message: a.Signed(d),
	}}
}

// Needs appends the two signatures of the cooperative close to needs.
func (c *CoopClose) Needs(d chain.Domain, needs []Need) []Need {
	terms := c.Terms()
	message := terms.Signed(d)
	return append(needs,
		Need{Entry: SignedPayer, Claim: ledger.Claim{Key: c.PayerKey, Signature: c.PayerSig, Message: message}},
		Need{Entry: SignedPayee, Claim: ledger.Claim{Key: c.PayeeKey, Signature: c.PayeeSig, Message: message}},
	)
}
