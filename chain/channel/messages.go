package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// Voucher says: in all, Cumulative drops are owed on this lane for Units billing
// units. The newest voucher of a lane replaces all older ones.
type Voucher struct {
	ChannelID  ledger.Hash
	Lane       uint16
	Cumulative ledger.Amount
	Units      uint64
	UsageRoot  ledger.Hash // Merkle-sum root of the lane's log; zero if none is kept
}

const voucherBody = 32 + 2 + 8 + 8 + 32

// VoucherSize is the length of a voucher's signed bytes.
const VoucherSize = chain.HeaderSize + voucherBody

// Signed returns the bytes the voucher key signs.
func (v *Voucher) Signed(d chain.Domain) []byte {
	w := codec.NewWriter(VoucherSize)
	d.AppendHeader(w, chain.TypeVoucher, voucherBody)
	w.Fixed(v.ChannelID[:])
	w.Uint16(v.Lane)
	w.Uint64(uint64(v.Cumulative))
	w.Uint64(v.Units)
	w.Fixed(v.UsageRoot[:])
	return w.Bytes()
}

// HashCommit commits the payer to a hash lane: every preimage revealed after it
// is worth UnitPrice on top of BaseCumulative.
type HashCommit struct {
	ChannelID      ledger.Hash
	Lane           uint16
	BaseCumulative ledger.Amount
	BaseUnits      uint64
	Root           ledger.Hash // w_0
	UnitPrice      ledger.Amount
	UnitSize       uint32 // bytes of service for each step
	Steps          uint16 // n, 1 to MaxHashSteps
	ChainNo        uint32
}

const (
	hashCommitReserved = 24
	hashCommitBody     = 32 + 2 + 8 + 8 + 32 + 8 + 4 + 2 + 4 + hashCommitReserved
)

// Signed returns the bytes the voucher key signs.
func (c *HashCommit) Signed(d chain.Domain) []byte {
	w := codec.NewWriter(chain.HeaderSize + hashCommitBody)
	d.AppendHeader(w, chain.TypeHashCommit, hashCommitBody)
	w.Fixed(c.ChannelID[:])
	w.Uint16(c.Lane)
	w.Uint64(uint64(c.BaseCumulative))
	w.Uint64(c.BaseUnits)
	w.Fixed(c.Root[:])
	w.Uint64(uint64(c.UnitPrice))
	w.Uint32(c.UnitSize)
	w.Uint16(c.Steps)
	w.Uint32(c.ChainNo)
	w.Fixed(make([]byte, hashCommitReserved))
	return w.Bytes()
}

// CoopCloseTerms is what payer and payee both sign to close at once.
type CoopCloseTerms struct {
	ChannelID  ledger.Hash
	Final      ledger.Amount // total paid out, burn and fees included
	ValidUntil uint64        // block height
	Rollover   ledger.Hash   // hash of the next channel's OpenParams; zero if none
}

const coopCloseBody = 32 + 8 + 8 + 32

// Signed returns the bytes both account keys sign.
func (t *CoopCloseTerms) Signed(d chain.Domain) []byte {
	w := codec.NewWriter(chain.HeaderSize + coopCloseBody)
	d.AppendHeader(w, chain.TypeCoopClose, coopCloseBody)
	w.Fixed(t.ChannelID[:])
	w.Uint64(uint64(t.Final))
	w.Uint64(t.ValidUntil)
	w.Fixed(t.Rollover[:])
	return w.Bytes()
}

// CloseAuth is the payee's one signature that closes all channels of a batch
// that have an entry with the close flag.
type CloseAuth struct {
	Payee       ledger.Address
	Mode        Mode        // of the batch
	EntriesRoot ledger.Hash // ClosingRoot of the batch's entries
	Count       uint32      // how many of them it covers
	ValidUntil  uint64      // block height
}

const closeAuthBody = ledger.AddressSize + 1 + 32 + 4 + 8

// Signed returns the bytes the payee's account key signs.
func (a *CloseAuth) Signed(d chain.Domain) []byte {
	w := codec.NewWriter(chain.HeaderSize + closeAuthBody)
	d.AppendHeader(w, chain.TypeBatchCloseAuth, closeAuthBody)
	w.Fixed(a.Payee[:])
	w.Uint8(uint8(a.Mode))
	w.Fixed(a.EntriesRoot[:])
	w.Uint32(a.Count)
	w.Uint64(a.ValidUntil)
	return w.Bytes()
}

// ClosingRoot returns the RFC 6962 root over the encodings of all entries of the
// channels that entries close, in their order, and their number. It covers their
// entries without the close flag as well: if it did not, the payer could leave
// the claims of the other lanes out of the batch and close the channel without
// them.
func ClosingRoot(entries []Entry) (ledger.Hash, uint32, error) {
	var leaves [][]byte
	for from := 0; from < len(entries); {
		to := groupEnd(entries, from)
		for i := from; i < to && entries[to-1].Close; i++ {
			w := codec.NewWriter(entrySizeHint)
			entries[i].append(w)
			leaves = append(leaves, w.Bytes())
		}
		from = to
	}
	root, err := merkle.Root(leaves)
	return root, uint32(len(leaves)), err
}

// groupEnd returns the end of the run of entries of one channel that begins at
// from. Only the last of them may have the close flag.
func groupEnd(entries []Entry, from int) int {
	to := from + 1
	for to < len(entries) && entries[to].Index == entries[from].Index {
		to++
	}
	return to
}
