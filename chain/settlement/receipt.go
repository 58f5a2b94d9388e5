package settlement

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard/link"
)

// Receipt is the outcome of one transaction. Everything in it but Detail enters
// the block's results root.
type Receipt struct {
	Hash   ledger.Hash // of the transaction
	Kind   chain.Kind
	Code   chain.Code
	Signer ledger.Address
	Nonce  uint64
	Fee    ledger.Amount // charged to the signer; 0 if the nonce was not consumed
	Paid   ledger.Amount // moved to payees or recipients, net of burn and fees of services
	Burned ledger.Amount // the network's part and the fees of zones
	// OwnerFee is what the owners of services got of what was settled.
	OwnerFee ledger.Amount
	Entries  []EntryResult // of a batch, one for each entry, in order
	// Runs are what became of the runs of anchors, in order. Links are what became of
	// the leaves of an import, in order, but for acknowledgements that were known. Of the
	// fee of either what goes back to the signer is Paid.
	Runs  []anchor.Result
	Links []link.Receipt
	// ResultsRoot is the RFC 6962 root over the encodings of the entries, runs or
	// links; zero if there are none.
	ResultsRoot ledger.Hash
	// FirstChannel is the row of the first channel opened; the others follow.
	// Valid if Opened is not 0: after an open, or a cooperative close with
	// roll-over.
	FirstChannel uint64
	Opened       uint32 // number of channels opened
	Detail       string // for people; never hashed
}

const (
	leafReceipt   = 0x01
	leafFinalised = 0x02
	// entryResultSize is the length of an encoded EntryResult: index 8, lane 1,
	// code 2, closed 1, paid 8, burned 8, owner_fee 8, redeemed 8.
	entryResultSize = 44
	receiptLeafSize = 1 + ledger.HashSize + 1 + 2 + ledger.AddressSize + 5*8 + ledger.HashSize + 8 + 4
)

// Leaf returns what the block's results root is made of for this receipt:
// everything but Detail, with ResultsRoot for the entries.
//
//	0x01 | hash 32 | kind u8 | code u16 | signer 21 | nonce u64 | fee u64 |
//	paid u64 | burned u64 | owner_fee u64 | results_root 32 | first_channel u64 | opened u32
func (r *Receipt) Leaf() []byte {
	w := codec.NewWriter(receiptLeafSize)
	r.writeLeaf(w)
	return w.Bytes()
}

func (r *Receipt) writeLeaf(w *codec.Writer) {
	w.Uint8(leafReceipt)
	w.Fixed(r.Hash[:])
	w.Uint8(uint8(r.Kind))
	w.Uint16(uint16(r.Code))
	w.Fixed(r.Signer[:])
	w.Uint64(r.Nonce)
	w.Uint64(uint64(r.Fee))
	w.Uint64(uint64(r.Paid))
	w.Uint64(uint64(r.Burned))
	w.Uint64(uint64(r.OwnerFee))
	w.Fixed(r.ResultsRoot[:])
	w.Uint64(r.FirstChannel)
	w.Uint32(r.Opened)
}

// Encode returns the receipt for storage: its leaf, the number of entries, runs or
// links as u16, and these. Details are left out.
func (r *Receipt) Encode() []byte {
	n, size := r.outcomes()
	w := codec.NewWriter(receiptLeafSize + 2 + n*size)
	r.writeLeaf(w)
	w.Uint16(uint16(n))
	w.Fixed(r.Outcomes())
	for i := range r.Entries {
		writeEntry(w, &r.Entries[i])
	}
	return w.Bytes()
}

// DecodeReceipt reads what Encode wrote.
func DecodeReceipt(b []byte) (Receipt, error) {
	var r Receipt
	rd := codec.NewReader(b)
	tag := rd.Uint8()
	rd.Into(r.Hash[:])
	r.Kind, r.Code = chain.Kind(rd.Uint8()), chain.Code(rd.Uint16())
	rd.Into(r.Signer[:])
	r.Nonce, r.Fee = rd.Uint64(), ledger.Amount(rd.Uint64())
	r.Paid, r.Burned, r.OwnerFee = ledger.Amount(rd.Uint64()), ledger.Amount(rd.Uint64()), ledger.Amount(rd.Uint64())
	rd.Into(r.ResultsRoot[:])
	r.FirstChannel, r.Opened = rd.Uint64(), rd.Uint32()
	n := int(rd.Uint16())
	_, size := r.outcomes()
	if tag != leafReceipt || rd.Remaining() != n*size {
		return Receipt{}, fmt.Errorf("decode receipt: %d bytes with tag %#02x are no receipt of %d entries", len(b), tag, n)
	}
	if r.Kind == chain.KindAnchor || r.Kind == chain.KindImport {
		if err := r.SetOutcomes(rd.Fixed(n * size)); err != nil {
			return Receipt{}, err
		}
		n = 0
	}
	if n > 0 {
		r.Entries = make([]EntryResult, n)
	}
	for i := range r.Entries {
		readEntry(rd, &r.Entries[i])
	}
	if err := rd.Done(); err != nil {
		return Receipt{}, fmt.Errorf("decode receipt: %w", err)
	}
	return r, nil
}

// EntryLeaf returns what a batch's ResultsRoot is made of for one entry:
//
//	index u64 | lane u8 | code u16 | closed u8 | paid u64 | burned u64 |
//	owner_fee u64 | redeemed u64
func EntryLeaf(e *EntryResult) []byte {
	w := codec.NewWriter(entryResultSize)
	writeEntry(w, e)
	return w.Bytes()
}

func writeEntry(w *codec.Writer, e *EntryResult) {
	w.Uint64(e.Index)
	w.Uint8(e.Lane)
	w.Uint16(uint16(e.Code))
	w.Bool(e.Closed)
	w.Uint64(uint64(e.Paid))
	w.Uint64(uint64(e.Burned))
	w.Uint64(uint64(e.OwnerFee))
	w.Uint64(uint64(e.Redeemed))
}

func readEntry(r *codec.Reader, e *EntryResult) {
	e.Index, e.Lane, e.Code, e.Closed = r.Uint64(), r.Uint8(), chain.Code(r.Uint16()), r.Bool()
	e.Paid, e.Burned = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
	e.OwnerFee, e.Redeemed = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
}

// FinalisedLeaf returns what the block's results root is made of for a channel
// that the chain closed.
//
//	0x02 | index u64 | id 32 | payer 21 | payee 21 | deposit u64 | redeemed u64 | refunded u64
func FinalisedLeaf(e *Event) []byte {
	w := codec.NewWriter(1 + 8 + ledger.HashSize + 2*ledger.AddressSize + 3*8)
	w.Uint8(leafFinalised)
	w.Uint64(e.Index)
	w.Fixed(e.ID[:])
	w.Fixed(e.Payer[:])
	w.Fixed(e.Payee[:])
	w.Uint64(uint64(e.Deposit))
	w.Uint64(uint64(e.Redeemed))
	w.Uint64(uint64(e.Refunded))
	return w.Bytes()
}

// ResultLeaves returns the leaves of the block's results root: one for each
// receipt, then one for each channel that the chain closed.
func ResultLeaves(receipts []Receipt, events []Event) [][]byte {
	leaves := make([][]byte, 0, len(receipts))
	for i := range receipts {
		leaves = append(leaves, receipts[i].Leaf())
	}
	for i := range events {
		if events[i].Kind == channel.EventFinalised {
			leaves = append(leaves, FinalisedLeaf(&events[i]))
		}
	}
	return leaves
}

// EntryLeaves returns the leaves of a batch's ResultsRoot.
func EntryLeaves(entries []EntryResult) [][]byte {
	w := codec.NewWriter(len(entries) * entryResultSize)
	leaves := make([][]byte, len(entries))
	for i := range entries {
		writeEntry(w, &entries[i])
		leaves[i] = w.Bytes()[i*entryResultSize : (i+1)*entryResultSize]
	}
	return leaves
}

func rootOf(leaves [][]byte) ledger.Hash {
	root, err := merkle.Root(leaves)
	if err != nil { // cannot be: a block has few enough leaves for a tree
		panic(fmt.Errorf("results root: %w", err))
	}
	return root
}

// refuse puts err, which is a RuleError, into the receipt and returns it.
func (r *Receipt) refuse(err error) *chain.RuleError {
	var e *chain.RuleError
	if !errors.As(err, &e) {
		panic(fmt.Errorf("transaction %s: no rule refuses with %w", r.Hash, err))
	}
	r.Code, r.Detail = e.Code, e.Detail
	return e
}
