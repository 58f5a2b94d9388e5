// Package pay is both ends of a payment channel: the payer, who signs vouchers,
// and the payee, who checks, keeps and redeems them. It needs no network of its
// own: vouchers travel however the application likes (Voucher has a fixed
// encoding; Pipe connects two ends in one process), and what happens on the
// chain comes in through Update values and goes out through the Chain interface,
// both of which package client provides.
//
// A voucher says what is owed on a lane in all, so it is a maximum register: the
// newest replaces all older ones, nothing is revoked, and losing the newest or
// restoring an old backup costs at most what was not yet copied. A Payer that
// has forgotten how much it has signed is told by the payee (OutOfDate), checks
// its own signature and goes on. A Payee keeps the best claim of each lane in a
// journal and redeems it by policy: when enough is owed, when it has waited long
// enough, and at once when the payer asks to close or the channel nears its end.
//
// What a Payee accepts is safe: signed by the channel's voucher key, on a channel
// that is open by a recent view of the chain and stays open long enough to
// redeem, and within the deposit, all lanes taken together.
//
// Payer, Payee, their channels and Redeemer are safe for concurrent use.
package pay

import (
	"context"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// Channel is the chain's record of an open or closing channel.
type Channel struct {
	Index      uint64 // row; entries of a batch name it
	ID         ledger.Hash
	Payer      ledger.Address
	Payee      ledger.Address
	VoucherKey ledger.PublicKey
	Service    uint32
	Terms      ledger.Hash
	Deposit    ledger.Amount // total ever deposited
	Redeemed   ledger.Amount // total ever paid out, burn and fees included
	Rent       ledger.Amount
	OpenHeight uint64 // block height
	ExpiresAt  uint64 // settlement clock
	Challenge  uint32 // settlement clock
	CloseAt    uint64 // settlement clock; 0 while the close is not requested
	Height     uint64 // of the state this is; 0 if that is not known
	// Fees are what is taken of what the payee is paid, as registered when the channel was
	// opened. The answer to an open leaves them out.
	Fees channel.Fees
	// Lanes are those that were redeemed on, ascending. A list of channels may
	// leave them out; their sum is then below Redeemed.
	Lanes []LaneState
}

// LaneState is what has been redeemed on one lane.
type LaneState struct {
	Lane      uint8
	Redeemed  ledger.Amount
	Units     uint64
	UsageRoot ledger.Hash
}

// Remaining returns what is left of the deposit on the chain.
func (c *Channel) Remaining() ledger.Amount { return c.Deposit - c.Redeemed }

// Closing reports whether the payer has requested the close.
func (c *Channel) Closing() bool { return c.CloseAt != 0 }

// Deadline returns the settlement clock at which the chain closes the channel.
func (c *Channel) Deadline() uint64 {
	if c.Closing() {
		return min(c.CloseAt, c.ExpiresAt)
	}
	return c.ExpiresAt
}

// lanesKnown reports whether Lanes account for all that was redeemed.
func (c *Channel) lanesKnown() bool {
	var sum ledger.Amount
	for _, l := range c.Lanes {
		sum += l.Redeemed
	}
	return sum >= c.Redeemed
}

// View is how far a node has come.
type View struct {
	Height uint64 // blocks
	Clock  uint64 // settlement clock
	Lag    uint64 // blocks by which what it tells is behind what it knows
}

// Listing marks the beginning and the end of a list of all channels among
// updates.
type Listing uint8

// The marks. What is not listed between the two is gone by the state at the
// height of the second one's View, or later.
const (
	ListingNone Listing = iota
	ListingBegins
	ListingEnds
)

// Update is one piece of news from the chain. Every part may be absent. Applying
// an update twice, or an old one late, changes nothing.
type Update struct {
	View    View // zero: no news
	Listing Listing
	Channel *Channel
	Event   *Event
}

// EventExpiring is the kind of a notice that a channel expires soon. It is no
// event of the chain's history.
const EventExpiring channel.EventKind = 0xff

// Event is one thing that happened to one channel.
type Event struct {
	channel.Event

	Height uint64 // of the block
}

// Chain is what payers and payees ask of the chain on behalf of one account.
// Implementations are safe for concurrent use.
type Chain interface {
	// Channel reads a channel with its lanes. One that has been closed is a
	// *ClosedError; one that the node does not know is another error of
	// chain.CodeChannelNotFound, and may exist.
	Channel(ctx context.Context, id ledger.Hash) (Channel, error)
	// Submit signs a transaction as the account, submits it and follows it until
	// it is final. A refusal before execution is a *chain.RuleError and has no
	// effect. After any other error the outcome is unknown; every transaction of
	// this package can then be submitted again.
	Submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error)
}

// Signer signs with an account's key, which may be in another process or device.
// Implementations are safe for concurrent use.
type Signer interface {
	Sign(ctx context.Context, message []byte) (ledger.Signature, error)
}

// Clock tells the time. It decides how old a view of the chain is and for how
// long money has been owed.
type Clock func() time.Time

func (c Clock) orSystem() Clock {
	if c != nil {
		return c
	}
	return time.Now //nolint:forbidigo // this is where the clock comes from unless the caller has one
}

// Identity is an account that can sign.
type Identity struct {
	Address ledger.Address
	Key     ledger.PublicKey
	Signer  Signer
}

// NewIdentity returns the account of key in zone, signing in memory.
func NewIdentity(key ledger.PrivateKey, zone byte) Identity {
	return Identity{Address: key.Address(zone), Key: key.Public(), Signer: memorySigner{key}}
}

// memorySigner signs with a key in memory.
type memorySigner struct{ key ledger.PrivateKey }

func (s memorySigner) Sign(_ context.Context, message []byte) (ledger.Signature, error) {
	return s.key.Sign(message), nil
}
