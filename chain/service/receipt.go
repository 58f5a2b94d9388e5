package service

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// Receipt is the outcome of one transaction. Everything in it but Detail enters
// the block's results root.
type Receipt struct {
	Hash    ledger.Hash // of the transaction
	Kind    chain.Kind
	Code    chain.Code
	Signer  ledger.Address
	Nonce   uint64
	Payee   ledger.Address // of a booking that was executed
	Booked  Sums           // by all entries
	Entries []EntryResult  // one for each entry, in order
	// ResultsRoot is the RFC 6962 root over the entries' encodings; zero if the
	// transaction was refused.
	ResultsRoot ledger.Hash
	Detail      string // for people; never hashed
}

const (
	leafReceipt     = 0x01
	leafImport      = 0x02
	entryResultSize = 1 + 8 + 1 + 2 + 8 + 2*SumsSize
	receiptLeafSize = 1 + ledger.HashSize + 1 + 2 + ledger.AddressSize + 8 + ledger.AddressSize + SumsSize + ledger.HashSize
)

// Leaf returns what the block's results root is made of for this receipt:
//
//	0x01 | hash 32 | kind u8 | code u16 | signer 21 | nonce u64 | payee 21 |
//	booked 24 | results_root 32
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
	w.Fixed(r.Payee[:])
	writeSums(w, r.Booked)
	w.Fixed(r.ResultsRoot[:])
}

// Encode returns the receipt for storage: its leaf, the number of entries as u16
// and the entries. Detail is left out.
func (r *Receipt) Encode() []byte {
	w := codec.NewWriter(receiptLeafSize + 2 + len(r.Entries)*entryResultSize)
	r.writeLeaf(w)
	w.Uint16(uint16(len(r.Entries)))
	for i := range r.Entries {
		r.Entries[i].write(w)
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
	r.Nonce = rd.Uint64()
	rd.Into(r.Payee[:])
	r.Booked = readSums(rd)
	rd.Into(r.ResultsRoot[:])
	n := int(rd.Uint16())
	if tag != leafReceipt || rd.Remaining() != n*entryResultSize {
		return Receipt{}, fmt.Errorf("decode receipt: %d bytes with tag %#02x are no receipt of %d entries", len(b), tag, n)
	}
	if n > 0 {
		r.Entries = make([]EntryResult, n)
	}
	for i := range r.Entries {
		r.Entries[i].read(rd)
	}
	if err := rd.Done(); err != nil {
		return Receipt{}, fmt.Errorf("decode receipt: %w", err)
	}
	return r, nil
}

func (e *EntryResult) write(w *codec.Writer) {
	w.Uint8(e.Bucket)
	w.Uint64(e.Index)
	w.Uint8(e.Lane)
	w.Uint16(uint16(e.Code))
	w.Uint64(e.Seq)
	writeSums(w, e.Booked)
	writeSums(w, e.Total)
}

func (e *EntryResult) read(r *codec.Reader) {
	e.Bucket, e.Index, e.Lane, e.Code, e.Seq = r.Uint8(), r.Uint64(), r.Uint8(), chain.Code(r.Uint16()), r.Uint64()
	e.Booked = readSums(r)
	e.Total = readSums(r)
}

// EntryLeaves returns the leaves of a receipt's ResultsRoot, one for each entry:
//
//	bucket u8 | index u64 | lane u8 | code u16 | seq u64 | booked 24 | total 24
func EntryLeaves(entries []EntryResult) [][]byte {
	w := codec.NewWriter(len(entries) * entryResultSize)
	leaves := make([][]byte, len(entries))
	for i := range entries {
		entries[i].write(w)
		leaves[i] = w.Bytes()[i*entryResultSize : (i+1)*entryResultSize]
	}
	return leaves
}

// importLeaf returns what the results root is made of for an inbound message, of
// which it tells what became of it; what it said is in the source's outbox root.
//
//	0x02 | code u16
func importLeaf(r *ImportResult) []byte {
	w := codec.NewWriter(3)
	w.Uint8(leafImport)
	w.Uint16(uint16(r.Code))
	return w.Bytes()
}

// ResultLeaves returns the leaves of the block's results root: one for each
// receipt, then one for each inbound message.
func ResultLeaves(receipts []Receipt, imports []ImportResult) [][]byte {
	leaves := make([][]byte, 0, len(receipts)+len(imports))
	for i := range receipts {
		leaves = append(leaves, receipts[i].Leaf())
	}
	for i := range imports {
		leaves = append(leaves, importLeaf(&imports[i]))
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
	e := asRule(err)
	r.Code, r.Detail = e.Code, e.Detail
	return e
}

// Results is what the state keeps of the last block that had transactions or
// inbound messages.
type Results struct {
	Height    uint64
	Root      ledger.Hash
	UsageRoot ledger.Hash
	Receipts  uint32 // number of receipts, the first leaves of Root
	Imports   uint32 // number of inbound messages, the other leaves
	Bookings  uint32 // number of leaves of UsageRoot
}

// Encode returns the value of ResultsKey: height u64 | root 32 | usage_root 32 |
// receipts u32 | imports u32 | bookings u32.
func (r *Results) Encode() []byte {
	w := codec.NewWriter(8 + 2*ledger.HashSize + 12)
	w.Uint64(r.Height)
	w.Fixed(r.Root[:])
	w.Fixed(r.UsageRoot[:])
	w.Uint32(r.Receipts)
	w.Uint32(r.Imports)
	w.Uint32(r.Bookings)
	return w.Bytes()
}

// DecodeResults reads a value written by Encode.
func DecodeResults(b []byte) (Results, error) {
	var res Results
	r := codec.NewReader(b)
	res.Height = r.Uint64()
	r.Into(res.Root[:])
	r.Into(res.UsageRoot[:])
	res.Receipts, res.Imports, res.Bookings = r.Uint32(), r.Uint32(), r.Uint32()
	if err := r.Done(); err != nil {
		return Results{}, fmt.Errorf("decode results: %w", err)
	}
	return res, nil
}
