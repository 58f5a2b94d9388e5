package service

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// Usage is the payload of chain.KindBookUsage: vouchers of one payee, and its word
// that it has received them. Anyone may submit it.
//
//	service u32 | zone u8 | receipted u8 | [payee_key 32 | received_at u64 | signature 64] |
//	batch u32+bytes | count x bucket u8
//
// The batch is a channel.Batch in best-effort mode that closes nothing and has
// vouchers only. There is a bucket for each of its entries, that of the channel's
// payer; entries of one channel name the same. If the payee signs the transaction
// itself, that is its receipt and the payload has none.
type Usage struct {
	Service uint32
	Zone    uint8 // of the payers
	Receipt *PayeeReceipt
	Batch   channel.Batch
	Buckets []uint8 // of the payers, one for each entry
}

// PayeeReceipt is a payee's signature over the vouchers it received.
type PayeeReceipt struct {
	PayeeKey   ledger.PublicKey // the payee's account key
	ReceivedAt uint64           // Unix milliseconds, by the payee's clock; not checked
	Signature  ledger.Signature // over Receipted.Signed
}

// Receipted is what a payee signs: all the entries of a batch at once.
type Receipted struct {
	Service     uint32
	Payee       ledger.Address
	EntriesRoot ledger.Hash // RFC 6962, over the encodings of the entries in their order
	Count       uint32      // of entries
	ReceivedAt  uint64
}

const (
	receiptedBody = 4 + ledger.AddressSize + ledger.HashSize + 4 + 8
	batchHead     = ledger.AddressSize + 1 + 1 + 2
)

// Signed returns the bytes that the payee's account key signs. d is the Domain of
// the service.
func (r *Receipted) Signed(d chain.Domain) []byte {
	w := codec.NewWriter(chain.HeaderSize + receiptedBody)
	d.AppendHeader(w, chain.TypePayeeReceipt, receiptedBody)
	w.Uint32(r.Service)
	w.Fixed(r.Payee[:])
	w.Fixed(r.EntriesRoot[:])
	w.Uint32(r.Count)
	w.Uint64(r.ReceivedAt)
	return w.Bytes()
}

// Receipted returns what the payee's receipt must sign, with receivedAt.
func (u *Usage) Receipted(receivedAt uint64) (Receipted, error) {
	return receiptedOf(u, u.Batch.Encode(), receivedAt)
}

// receiptedOf is Receipted for a batch whose encoding is known.
func receiptedOf(u *Usage, batch []byte, receivedAt uint64) (Receipted, error) {
	leaves := make([][]byte, len(u.Batch.Entries))
	from := batchHead
	for i := range leaves {
		to := from + u.Batch.Entries[i].Size()
		if to > len(batch) {
			return Receipted{}, fmt.Errorf("entry %d ends at byte %d of a batch of %d", i, to, len(batch))
		}
		leaves[i], from = batch[from:to], to
	}
	root, err := merkle.Root(leaves)
	return Receipted{
		Service: u.Service, Payee: u.Batch.Payee, EntriesRoot: root, Count: uint32(len(leaves)), ReceivedAt: receivedAt,
	}, err
}

// Encode returns the payload.
func (u *Usage) Encode() []byte {
	batch := u.Batch.Encode()
	w := codec.NewWriter(128 + len(batch) + len(u.Buckets))
	w.Uint32(u.Service)
	w.Uint8(u.Zone)
	w.Bool(u.Receipt != nil)
	if u.Receipt != nil {
		w.Fixed(u.Receipt.PayeeKey[:])
		w.Uint64(u.Receipt.ReceivedAt)
		w.Fixed(u.Receipt.Signature[:])
	}
	w.Bytes32(batch)
	w.Fixed(u.Buckets)
	return w.Bytes()
}

// DecodeUsage reads the payload of a booking and checks its form. The positions of
// offending entries are in the error.
func DecodeUsage(payload []byte) (Usage, error) {
	u, _, err := decodeUsage(payload)
	return u, err
}

// decodeUsage is DecodeUsage, and returns the encoded batch as well.
func decodeUsage(payload []byte) (Usage, []byte, error) {
	r := codec.NewReader(payload)
	u := Usage{Service: r.Uint32(), Zone: r.Uint8()}
	if r.Bool() {
		u.Receipt = new(PayeeReceipt)
		r.Into(u.Receipt.PayeeKey[:])
		u.Receipt.ReceivedAt = r.Uint64()
		r.Into(u.Receipt.Signature[:])
	}
	batch := r.Bytes32(chain.MaxTxSize)
	if r.Err() != nil {
		return Usage{}, nil, chain.Refuse(chain.CodeMalformed, "usage: %v", r.Err())
	}
	var err error
	if u.Batch, err = channel.DecodeBatch(batch); err != nil {
		return Usage{}, nil, err
	}
	u.Buckets = r.Fixed(len(u.Batch.Entries))
	if err := r.Done(); err != nil {
		return Usage{}, nil, chain.Refuse(chain.CodeMalformed, "usage: %v", err)
	}
	if u.Batch.Mode != channel.BestEffort {
		return Usage{}, nil, chain.Refuse(chain.CodeMalformed, "usage in mode %d: bookings apply each for itself, want 0", u.Batch.Mode)
	}
	for i := range u.Batch.Entries {
		if err := u.checkEntry(i); err != nil {
			return Usage{}, nil, err
		}
	}
	return u, batch, nil
}

func (u *Usage) checkEntry(i int) error {
	e := &u.Batch.Entries[i]
	var text string
	switch {
	case e.Claim != channel.ClaimVoucher:
		text = "only vouchers can be booked; ask the payer for one, or redeem on the main chain"
	case e.Close:
		text = "a booking cannot close a channel; settle on the main chain"
	case i > 0 && u.Batch.Entries[i-1].Index == e.Index && u.Buckets[i-1] != u.Buckets[i]:
		text = "another bucket than the entry before it, which is of the same channel"
	default:
		return nil
	}
	err := chain.Refuse(chain.CodeMalformed, "entry %d: %s", i, text)
	err.Positions = []int{i}
	return err
}

// checkReceipt returns why the payee has not agreed to a transaction of signer, or
// nil. valid says that the receipt's signature holds.
func (u *Usage) checkReceipt(signer ledger.Address, valid bool) error {
	payee, r := u.Batch.Payee, u.Receipt
	switch {
	case r == nil && signer == payee:
		return nil
	case r == nil:
		return chain.Refuse(chain.CodeNotPayee, "signed by %s without a receipt of payee %s", signer, payee)
	case ledger.NewAddress(payee.Zone(), r.PayeeKey) != payee:
		return chain.Refuse(chain.CodeNotPayee, "receipt by key %s, which is not of payee %s", r.PayeeKey, payee)
	case !valid:
		return chain.Refuse(chain.CodeBadSignature, "signature of the payee's receipt")
	}
	return nil
}

// WrongShardError is the refusal of a transaction none of whose entries belongs to
// the shard. Home is where the first one does.
type WrongShardError struct {
	Rule *chain.RuleError // CodeWrongShard
	Home Place
}

// Error returns the text of the rule.
func (e *WrongShardError) Error() string { return e.Rule.Error() }

// Unwrap returns the rule.
func (e *WrongShardError) Unwrap() error { return e.Rule }

// HomeIn returns the home that a refusal names, and ok=false if it names none.
func HomeIn(err error) (home Place, ok bool) {
	if e, is := errors.AsType[*WrongShardError](err); is {
		return e.Home, true
	}
	return Place{}, false
}
