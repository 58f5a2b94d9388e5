// Package channel is the payment-channel protocol: what payers and payees sign,
// how a channel's state is laid out, and what each transaction may do to it.
//
// A channel is one-way. The payer locks a deposit on the main chain and signs
// vouchers whose amount is cumulative; the payee redeems the newest one. A
// voucher is a maximum register: redeeming is idempotent and free of order, so
// nothing is ever revoked and an old backup loses nothing. Only the payer's
// close needs a challenge window, because only the payer gains from an old
// state.
//
// What a channel pays out is divided between the payee, the network's burn, the zone of the
// payer and the owner of the service; see Fees and Rules.Payout.
//
// A channel is divided into lanes (0 to 63), each with a cumulative amount of
// its own, so that several devices of one payer can sign without talking to each
// other. What all lanes together redeem never exceeds the deposit.
//
// Time is the settlement clock (sigma), counted in blocks; it stands still while
// the lane reserved for urgent redemptions is full, so congestion cannot eat a
// payee's challenge window.
//
// It is row 1c of the dependency order: pure rules over values.
package channel

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// Lanes is the number of lanes of a channel.
	Lanes = 64
	// MaxOpens is the largest number of channels one transaction opens.
	MaxOpens = 1024
	// MaxEntries is the largest number of entries of a settlement batch.
	MaxEntries = 10_000
	// MaxHashSteps is the longest hash lane; revealing step n costs a validator
	// n hashes, 1,024 of them about as much as three signatures.
	MaxHashSteps = 1024
	// FinaliseLimit is how many channels one block finalises at most; what
	// remains is finalised by the next blocks.
	FinaliseLimit = 1000
	// FinaliseLanes is how many lanes beside lane 0 the channels have together
	// that one block finalises. It is at least Lanes.
	FinaliseLanes = 4096
)

// Lane is what has been redeemed on one lane.
type Lane struct {
	Redeemed  ledger.Amount // total paid, burn and fees included
	Units     uint64        // billing units of the last fully paid voucher
	UsageRoot ledger.Hash   // its usage root; zero if it kept no log
}

// Channel is the state of an open or closing channel. A closed channel has no
// state: its record is deleted and its result is in the block's results root.
type Channel struct {
	ID         ledger.Hash
	Payer      ledger.Address
	Payee      ledger.Address
	PayerIndex uint64 // row of the payer's account
	PayeeIndex uint64 // row of the payee's account
	VoucherKey ledger.PublicKey
	Service    uint32
	Terms      ledger.Hash   // hash of what payer and payee agreed off-chain
	Deposit    ledger.Amount // total ever deposited
	Redeemed   ledger.Amount // total ever paid out, burn and fees included
	Rent       ledger.Amount // held for the record, refunded at close
	OpenHeight uint64        // block height of the open
	ExpiresAt  uint64        // sigma
	Challenge  uint32        // sigma; length of the payer's challenge window
	CloseAt    uint64        // sigma; 0 while open
	Lane0      Lane
	LanesUsed  uint64 // bit i: lane i has been redeemed on
	FeesNumber uint32 // number of its fees, see FeesAt; 0 if it has none
}

// RowSize is the length of an encoded Channel in bytes.
const RowSize = 272

// Remaining returns what is left of the deposit.
func (c *Channel) Remaining() ledger.Amount { return c.Deposit - c.Redeemed }

// Closing reports whether the payer has requested the close.
func (c *Channel) Closing() bool { return c.CloseAt != 0 }

// Deadline returns the sigma at which the chain finalises the channel.
func (c *Channel) Deadline() uint64 {
	if c.Closing() {
		return min(c.CloseAt, c.ExpiresAt)
	}
	return c.ExpiresAt
}

// Encode returns the row of the channel, RowSize bytes.
func (c *Channel) Encode() []byte {
	w := codec.NewWriter(RowSize)
	w.Fixed(c.ID[:])
	w.Fixed(c.Payer[:])
	w.Fixed(c.Payee[:])
	w.Uint64(c.PayerIndex)
	w.Uint64(c.PayeeIndex)
	w.Fixed(c.VoucherKey[:])
	w.Uint32(c.Service)
	w.Fixed(c.Terms[:])
	w.Uint64(uint64(c.Deposit))
	w.Uint64(uint64(c.Redeemed))
	w.Uint64(uint64(c.Rent))
	w.Uint64(c.OpenHeight)
	w.Uint64(c.ExpiresAt)
	w.Uint32(c.Challenge)
	w.Uint64(c.CloseAt)
	w.Uint64(uint64(c.Lane0.Redeemed))
	w.Uint64(c.Lane0.Units)
	w.Fixed(c.Lane0.UsageRoot[:])
	w.Uint64(c.LanesUsed)
	w.Uint32(c.FeesNumber)
	w.Fixed(make([]byte, RowSize-w.Len()))
	return w.Bytes()
}

// Decode reads a row written by Encode.
func Decode(row []byte) (Channel, error) {
	var c Channel
	r := codec.NewReader(row)
	r.Into(c.ID[:])
	r.Into(c.Payer[:])
	r.Into(c.Payee[:])
	c.PayerIndex, c.PayeeIndex = r.Uint64(), r.Uint64()
	r.Into(c.VoucherKey[:])
	c.Service = r.Uint32()
	r.Into(c.Terms[:])
	c.Deposit, c.Redeemed, c.Rent = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
	c.OpenHeight, c.ExpiresAt = r.Uint64(), r.Uint64()
	c.Challenge = r.Uint32()
	c.CloseAt = r.Uint64()
	c.Lane0.Redeemed, c.Lane0.Units = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(c.Lane0.UsageRoot[:])
	c.LanesUsed = r.Uint64()
	c.FeesNumber = r.Uint32()
	for _, b := range r.Fixed(RowSize - r.Offset()) {
		if b != 0 {
			return Channel{}, fmt.Errorf("decode channel: padding is not zero")
		}
	}
	if err := r.Done(); err != nil {
		return Channel{}, fmt.Errorf("decode channel: %w", err)
	}
	return c, nil
}

// OpenParams are the terms of a new channel, as the payer chooses them.
type OpenParams struct {
	Payee      ledger.Address
	VoucherKey ledger.PublicKey
	Deposit    ledger.Amount
	ExpiresAt  uint64 // sigma
	Challenge  uint32 // sigma
	Service    uint32
	Terms      ledger.Hash
}

// OpenParamsSize is the length of encoded OpenParams in bytes.
const OpenParamsSize = ledger.AddressSize + ledger.PublicKeySize + 8 + 8 + 4 + 4 + ledger.HashSize

func (p *OpenParams) append(w *codec.Writer) {
	w.Fixed(p.Payee[:])
	w.Fixed(p.VoucherKey[:])
	w.Uint64(uint64(p.Deposit))
	w.Uint64(p.ExpiresAt)
	w.Uint32(p.Challenge)
	w.Uint32(p.Service)
	w.Fixed(p.Terms[:])
}

func (p *OpenParams) read(r *codec.Reader) {
	r.Into(p.Payee[:])
	r.Into(p.VoucherKey[:])
	p.Deposit, p.ExpiresAt = ledger.Amount(r.Uint64()), r.Uint64()
	p.Challenge, p.Service = r.Uint32(), r.Uint32()
	r.Into(p.Terms[:])
}

// Hash returns the hash of the parameters, which channel ids and roll-overs bind.
func (p *OpenParams) Hash() ledger.Hash {
	w := codec.NewWriter(OpenParamsSize)
	p.append(w)
	return ledger.HashOf("trib/open-params/1", w.Bytes())
}

// ID returns the id of the channel at position of an open with the payer's
// nonce. The nonce is consumed, so an id never comes back.
func ID(d chain.Domain, payer ledger.Address, nonce uint64, position uint16, params *OpenParams) ledger.Hash {
	w := codec.NewWriter(128)
	w.Fixed(d.Network[:])
	w.Uint32(uint32(d.Chain))
	w.Fixed(payer[:])
	w.Uint64(nonce)
	w.Uint16(position)
	h := params.Hash()
	w.Fixed(h[:])
	return ledger.HashOf("trib/channel/1", w.Bytes())
}

// RolloverID returns the id of the channel that a cooperative close of old opens.
// An id closes once, so this one is unique as well.
func RolloverID(old ledger.Hash, params *OpenParams) ledger.Hash {
	h := params.Hash()
	return ledger.HashOf("trib/channel/rollover/1", old[:], h[:])
}
