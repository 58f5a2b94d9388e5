package channel

import (
	"errors"
	"math"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Mode says what an entry that does not apply means for its batch.
type Mode uint8

const (
	// BestEffort applies every entry that applies.
	BestEffort Mode = 0
	// Atomic applies all entries or none.
	Atomic Mode = 1
)

// Batch is the payload of chain.KindSettle: claims on channels of one payee.
// Anyone may submit it; the signer pays the fee, the money goes to the payee.
//
//	payee 21 | mode u8 | authorised u8 | count u16 | entries |
//	[payee_key 32 | valid_until u64 | signature 64]
//
// Entries are strictly ascending by (index, lane). Entries with the close flag
// need the payee's authority: either the payee signs the transaction, or the
// batch carries a close authority.
type Batch struct {
	Payee   ledger.Address
	Mode    Mode
	Entries []Entry // 1 to MaxEntries
	Auth    *Authority
}

// Authority is a payee's signed CloseAuth as a batch carries it.
type Authority struct {
	PayeeKey   ledger.PublicKey
	ValidUntil uint64 // block height
	Signature  ledger.Signature
}

// ClaimKind says how an entry proves what is owed.
type ClaimKind uint8

const (
	// ClaimNone makes no claim: the entry only closes its channel.
	ClaimNone ClaimKind = 0
	// ClaimVoucher is a voucher.
	ClaimVoucher ClaimKind = 1
	// ClaimHash is a preimage of a hash lane.
	ClaimHash ClaimKind = 3
	// claimRooted is ClaimVoucher with a usage root on the wire.
	claimRooted ClaimKind = 2
)

const (
	flagClose     = 1 << 0
	claimShift    = 1
	flagsMask     = flagClose | 3<<claimShift
	entrySizeHint = 128
)

// Entry is one claim on one lane.
//
//	index uvarint | lane u8 | flags u8 | claim
//	flags: bit 0 close, bits 1-2 claim (0 none, 1 voucher without usage root,
//	2 voucher with it, 3 hash lane)
//	voucher: cumulative u64 | units u64 | [usage_root 32] | signature 64
//	hash lane: base_cumulative u64 | base_units u64 | root 32 | unit_price u64 |
//	unit_size u32 | steps u16 | chain_no u32 | signature 64 | step u16 | preimage 32
type Entry struct {
	Index uint64 // row of the channel
	Lane  uint8
	Close bool
	Claim ClaimKind

	// Of a voucher.
	Cumulative ledger.Amount
	Units      uint64
	UsageRoot  ledger.Hash

	// Of a hash lane. ChannelID and Lane of the commitment are the entry's.
	Commit   HashCommit
	Step     uint16 // k, 1 to Commit.Steps
	Preimage ledger.Hash

	Signature ledger.Signature // over the voucher or the commitment
}

// Voucher returns the voucher of an entry on channel id.
func (e *Entry) Voucher(id ledger.Hash) Voucher {
	return Voucher{ChannelID: id, Lane: uint16(e.Lane), Cumulative: e.Cumulative, Units: e.Units, UsageRoot: e.UsageRoot}
}

// Signed returns the bytes the entry's signature covers on channel id, and nil
// if the entry makes no claim.
func (e *Entry) Signed(d chain.Domain, id ledger.Hash) []byte {
	switch e.Claim {
	case ClaimVoucher:
		v := e.Voucher(id)
		return v.Signed(d)
	case ClaimHash:
		c := e.Commit
		c.ChannelID, c.Lane = id, uint16(e.Lane)
		return c.Signed(d)
	default:
		return nil
	}
}

// Size returns the length of the entry's encoding.
func (e *Entry) Size() int {
	n := 2
	for v := e.Index; ; v >>= 7 {
		n++
		if v < 0x80 {
			break
		}
	}
	switch e.Claim {
	case ClaimVoucher:
		n += 8 + 8 + ledger.SignatureSize
		if !e.UsageRoot.IsZero() {
			n += ledger.HashSize
		}
	case ClaimHash:
		n += 8 + 8 + ledger.HashSize + 8 + 4 + 2 + 4 + ledger.SignatureSize + 2 + ledger.HashSize
	case ClaimNone, claimRooted: // the latter is on the wire only
	}
	return n
}

// claimed returns what the entry claims for its lane. DecodeBatch has checked
// that a hash lane's sums do not overflow.
func (e *Entry) claimed() Lane {
	if e.Claim == ClaimHash {
		return Lane{
			Redeemed: e.Commit.BaseCumulative + ledger.Amount(e.Step)*e.Commit.UnitPrice,
			Units:    e.Commit.BaseUnits + uint64(e.Step),
		}
	}
	return Lane{Redeemed: e.Cumulative, Units: e.Units, UsageRoot: e.UsageRoot}
}

func (e *Entry) append(w *codec.Writer) {
	claim := e.Claim
	if claim == ClaimVoucher && !e.UsageRoot.IsZero() {
		claim = claimRooted
	}
	flags := uint8(claim) << claimShift
	if e.Close {
		flags |= flagClose
	}
	w.Uvarint(e.Index)
	w.Uint8(e.Lane)
	w.Uint8(flags)
	switch claim {
	case ClaimVoucher, claimRooted:
		w.Uint64(uint64(e.Cumulative))
		w.Uint64(e.Units)
		if claim == claimRooted {
			w.Fixed(e.UsageRoot[:])
		}
		w.Fixed(e.Signature[:])
	case ClaimHash:
		w.Uint64(uint64(e.Commit.BaseCumulative))
		w.Uint64(e.Commit.BaseUnits)
		w.Fixed(e.Commit.Root[:])
		w.Uint64(uint64(e.Commit.UnitPrice))
		w.Uint32(e.Commit.UnitSize)
		w.Uint16(e.Commit.Steps)
		w.Uint32(e.Commit.ChainNo)
		w.Fixed(e.Signature[:])
		w.Uint16(e.Step)
		w.Fixed(e.Preimage[:])
	case ClaimNone:
	}
}

func (e *Entry) read(r *codec.Reader) error {
	e.Index = r.Uvarint(math.MaxUint64)
	e.Lane = r.Uint8()
	flags := r.Uint8()
	if flags&^uint8(flagsMask) != 0 {
		return chain.Refuse(chain.CodeMalformed, "flags %#02x", flags)
	}
	e.Close = flags&flagClose != 0
	e.Claim = ClaimKind(flags >> claimShift)
	switch e.Claim {
	case ClaimVoucher, claimRooted:
		e.Cumulative, e.Units = ledger.Amount(r.Uint64()), r.Uint64()
		if e.Claim == claimRooted {
			e.Claim = ClaimVoucher
			r.Into(e.UsageRoot[:])
			if r.Err() == nil && e.UsageRoot.IsZero() {
				return chain.Refuse(chain.CodeMalformed, "a zero usage root is left out")
			}
		}
		r.Into(e.Signature[:])
	case ClaimHash:
		c := &e.Commit
		c.BaseCumulative, c.BaseUnits = ledger.Amount(r.Uint64()), r.Uint64()
		r.Into(c.Root[:])
		c.UnitPrice, c.UnitSize = ledger.Amount(r.Uint64()), r.Uint32()
		c.Steps, c.ChainNo = r.Uint16(), r.Uint32()
		r.Into(e.Signature[:])
		e.Step = r.Uint16()
		r.Into(e.Preimage[:])
	case ClaimNone:
		if !e.Close {
			return chain.Refuse(chain.CodeMalformed, "an entry without claim must close")
		}
	}
	return r.Err()
}

// Encode returns the payload.
func (b *Batch) Encode() []byte {
	w := codec.NewWriter(ledger.AddressSize + 8 + len(b.Entries)*entrySizeHint)
	w.Fixed(b.Payee[:])
	w.Uint8(uint8(b.Mode))
	w.Bool(b.Auth != nil)
	w.Uint16(uint16(len(b.Entries)))
	for i := range b.Entries {
		b.Entries[i].append(w)
	}
	if b.Auth != nil {
		w.Fixed(b.Auth.PayeeKey[:])
		w.Uint64(b.Auth.ValidUntil)
		w.Fixed(b.Auth.Signature[:])
	}
	return w.Bytes()
}

// DecodeBatch reads the payload of a settlement batch and checks its form:
// order, ranges, and close flags only on the last entry of a channel. The
// positions of offending entries are in the error.
func DecodeBatch(payload []byte) (Batch, error) {
	r := codec.NewReader(payload)
	b, authorised, n, err := readHead(r)
	if err != nil {
		return Batch{}, err
	}
	b.Entries = make([]Entry, n)
	for i := range b.Entries {
		if err := b.Entries[i].read(r); err != nil {
			return Batch{}, at(err, i)
		}
	}
	if authorised {
		b.Auth = new(Authority)
		r.Into(b.Auth.PayeeKey[:])
		b.Auth.ValidUntil = r.Uint64()
		r.Into(b.Auth.Signature[:])
	}
	if err := finish(r, "batch"); err != nil {
		return Batch{}, err
	}
	for i := range b.Entries {
		if err := b.checkEntry(i); err != nil {
			return Batch{}, at(err, i)
		}
	}
	if b.Auth != nil && !b.Closes() {
		return Batch{}, chain.Refuse(chain.CodeMalformed, "close authority in a batch that closes nothing")
	}
	return b, nil
}

// readHead reads what precedes the entries of a batch, and how many there are.
func readHead(r *codec.Reader) (b Batch, authorised bool, entries int, err error) {
	r.Into(b.Payee[:])
	b.Mode = Mode(r.Uint8())
	authorised = r.Bool()
	entries = int(r.Uint16())
	switch {
	case r.Err() != nil:
		err = finish(r, "batch")
	case b.Mode > Atomic:
		err = chain.Refuse(chain.CodeMalformed, "batch mode %d, want 0 (best effort) or 1 (atomic)", b.Mode)
	case entries == 0 || entries > MaxEntries:
		err = chain.Refuse(chain.CodeTooLarge, "batch of %d entries, want 1 to %d", entries, MaxEntries)
	case entries > r.Remaining()/minEntrySize:
		err = chain.Refuse(chain.CodeMalformed, "batch of %d entries in %d bytes", entries, r.Offset()+r.Remaining())
	}
	return b, authorised, entries, err
}

// ScanBatch shows visit the entries of an encoded batch in their order, until it
// returns false, and returns how many entries the batch has. It neither allocates
// nor checks more than the form of what it has passed. The entry is valid until
// visit returns.
func ScanBatch(payload []byte, visit func(payee *ledger.Address, e *Entry) bool) (entries int, err error) {
	r := codec.NewReader(payload)
	b, _, entries, err := readHead(r)
	if err != nil {
		return 0, err
	}
	var e Entry
	for i := range entries {
		e = Entry{}
		if err := e.read(r); err != nil {
			return 0, at(err, i)
		}
		if !visit(&b.Payee, &e) {
			break
		}
	}
	return entries, nil
}

// Closes reports whether an entry has the close flag.
func (b *Batch) Closes() bool {
	for i := range b.Entries {
		if b.Entries[i].Close {
			return true
		}
	}
	return false
}

// CloseAuth returns what the batch's authority must sign. It is owned by the
// caller; Auth must not be nil.
func (b *Batch) CloseAuth() (CloseAuth, error) {
	root, count, err := ClosingRoot(b.Entries)
	return CloseAuth{Payee: b.Payee, Mode: b.Mode, EntriesRoot: root, Count: count, ValidUntil: b.Auth.ValidUntil}, err
}

// CheckAuthority returns why the batch, sent by signer in the block at height,
// may not close channels, or nil. valid says that the signature of its close
// authority holds. Without close flags there is nothing to check.
func (b *Batch) CheckAuthority(signer ledger.Address, height uint64, valid bool) error {
	switch {
	case b.Auth == nil && (signer == b.Payee || !b.Closes()):
		return nil
	case b.Auth == nil:
		return chain.Refuse(chain.CodeNotPayee, "only payee %s may close, or its close authority", b.Payee)
	case ledger.NewAddress(b.Payee.Zone(), b.Auth.PayeeKey) != b.Payee:
		return chain.Refuse(chain.CodeNotPayee, "close authority by key %s, which is not of payee %s", b.Auth.PayeeKey, b.Payee)
	case height > b.Auth.ValidUntil:
		return chain.Refuse(chain.CodeExpired, "close authority valid until height %d, this is %d", b.Auth.ValidUntil, height)
	case !valid:
		return chain.Refuse(chain.CodeBadSignature, "signature of the close authority")
	}
	return nil
}

// minEntrySize is the length of the shortest entry: index, lane and flags.
const minEntrySize = 3

func (b *Batch) checkEntry(i int) error {
	e := &b.Entries[i]
	if e.Lane >= Lanes {
		return chain.Refuse(chain.CodeLaneLimit, "lane %d, lanes are 0 to %d", e.Lane, Lanes-1)
	}
	if e.Claim == ClaimVoucher && e.Cumulative > ledger.MaxAmount {
		return chain.Refuse(chain.CodeAmountOverflow, "cumulative %d exceeds %d", uint64(e.Cumulative), uint64(ledger.MaxAmount))
	}
	if e.Claim == ClaimHash {
		if err := e.checkHash(); err != nil {
			return err
		}
	}
	if i == 0 {
		return nil
	}
	prev := &b.Entries[i-1]
	if e.Index < prev.Index || e.Index == prev.Index && e.Lane <= prev.Lane {
		return chain.Refuse(chain.CodeBadOrder, "(index %d, lane %d) follows (%d, %d), want strictly ascending", e.Index, e.Lane, prev.Index, prev.Lane)
	}
	if prev.Close && prev.Index == e.Index {
		return chain.Refuse(chain.CodeBadOrder, "channel %d is closed by an earlier entry of the batch", e.Index)
	}
	return nil
}

// checkHash checks the ranges of a hash lane's claim, which needs no state.
func (e *Entry) checkHash() error {
	c := &e.Commit
	if c.Steps == 0 || c.Steps > MaxHashSteps || e.Step == 0 || e.Step > c.Steps {
		return chain.Refuse(chain.CodeInvalidValue, "step %d of a hash lane of %d, at most %d", e.Step, c.Steps, MaxHashSteps)
	}
	paid, err := c.UnitPrice.Mul(uint64(e.Step))
	if err == nil {
		_, err = c.BaseCumulative.Add(paid)
	}
	if err == nil && c.BaseUnits > math.MaxUint64-uint64(e.Step) {
		err = ledger.ErrOverflow
	}
	if err != nil {
		return chain.Refuse(chain.CodeAmountOverflow, "step %d of a hash lane: %v", e.Step, err)
	}
	return nil
}

// maxPositions is how many positions a RuleError names at most.
const maxPositions = 64

// at adds the position of an entry to err.
func at(err error, position int) error {
	code, text := chain.CodeMalformed, err.Error()
	if rule, ok := errors.AsType[*chain.RuleError](err); ok {
		code, text = rule.Code, rule.Detail
	}
	e := chain.Refuse(code, "entry %d: %s", position, text)
	e.Positions = []int{position}
	return e
}
