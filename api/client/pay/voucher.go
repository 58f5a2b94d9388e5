package pay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// VoucherSize is the length of an encoded Voucher in bytes:
	// channel_id 32 | lane u16 | cumulative u64 | units u64 | usage_root 32 | signature 64.
	VoucherSize = voucherBody + ledger.SignatureSize
	// CommitmentSize is the length of an encoded Commitment in bytes:
	// channel_id 32 | lane u16 | base_cumulative u64 | base_units u64 | root 32 |
	// unit_price u64 | unit_size u32 | steps u16 | chain_no u32 | signature 64.
	CommitmentSize = commitBody + ledger.SignatureSize
	// RevealSize is the length of an encoded Reveal in bytes:
	// channel_id 32 | lane u16 | chain_no u32 | step u16 | preimage 32.
	RevealSize = ledger.HashSize + 2 + 4 + 2 + ledger.HashSize

	voucherBody = ledger.HashSize + 2 + 8 + 8 + ledger.HashSize
	commitBody  = ledger.HashSize + 2 + 8 + 8 + ledger.HashSize + 8 + 4 + 2 + 4
)

// ErrEncoding is returned for bytes that are not what they should encode.
var ErrEncoding = errors.New("not the encoding of a payment")

// Voucher is a voucher with the payer's signature, as it travels to the payee.
type Voucher struct {
	channel.Voucher

	Signature ledger.Signature
}

// Append appends the VoucherSize bytes of v to dst.
func (v *Voucher) Append(dst []byte) []byte {
	dst = appendVoucherBody(dst, &v.Voucher)
	return append(dst, v.Signature[:]...)
}

// Encode returns the VoucherSize bytes of v.
func (v *Voucher) Encode() []byte { return v.Append(make([]byte, 0, VoucherSize)) }

// DecodeVoucher reads a voucher. It returns ErrEncoding for a wrong length, a
// lane that does not exist and an amount out of range; it does not verify.
func DecodeVoucher(b []byte) (Voucher, error) {
	var v Voucher
	r := codec.NewReader(b)
	r.Into(v.ChannelID[:])
	v.Lane = r.Uint16()
	v.Cumulative, v.Units = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(v.UsageRoot[:])
	r.Into(v.Signature[:])
	if err := r.Done(); err != nil {
		return Voucher{}, fmt.Errorf("%w: voucher: %w", ErrEncoding, err)
	}
	if err := checkRange(v.Lane, v.Cumulative); err != nil {
		return Voucher{}, err
	}
	return v, nil
}

func checkRange(lane uint16, cumulative ledger.Amount) error {
	if lane >= channel.Lanes {
		return fmt.Errorf("%w: lane %d, lanes are 0 to %d", ErrEncoding, lane, channel.Lanes-1)
	}
	if cumulative > ledger.MaxAmount {
		return fmt.Errorf("%w: cumulative %d exceeds %d", ErrEncoding, uint64(cumulative), uint64(ledger.MaxAmount))
	}
	return nil
}

// Commitment opens a hash lane: it is the payer's signature under a HashCommit.
type Commitment struct {
	channel.HashCommit

	Signature ledger.Signature
}

// Encode returns the CommitmentSize bytes of c.
func (c *Commitment) Encode() []byte {
	w := codec.NewWriter(CommitmentSize)
	w.Fixed(c.ChannelID[:])
	w.Uint16(c.Lane)
	w.Uint64(uint64(c.BaseCumulative))
	w.Uint64(c.BaseUnits)
	w.Fixed(c.Root[:])
	w.Uint64(uint64(c.UnitPrice))
	w.Uint32(c.UnitSize)
	w.Uint16(c.Steps)
	w.Uint32(c.ChainNo)
	w.Fixed(c.Signature[:])
	return w.Bytes()
}

// DecodeCommitment reads a commitment. It returns ErrEncoding for a wrong length
// and for values out of range, also if its last step would be; it does not
// verify.
func DecodeCommitment(b []byte) (Commitment, error) {
	var c Commitment
	r := codec.NewReader(b)
	r.Into(c.ChannelID[:])
	c.Lane = r.Uint16()
	c.BaseCumulative, c.BaseUnits = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(c.Root[:])
	c.UnitPrice, c.UnitSize = ledger.Amount(r.Uint64()), r.Uint32()
	c.Steps, c.ChainNo = r.Uint16(), r.Uint32()
	r.Into(c.Signature[:])
	if err := r.Done(); err != nil {
		return Commitment{}, fmt.Errorf("%w: commitment: %w", ErrEncoding, err)
	}
	if err := checkRange(c.Lane, c.BaseCumulative); err != nil {
		return Commitment{}, err
	}
	if c.Steps == 0 || c.Steps > channel.MaxHashSteps {
		return Commitment{}, fmt.Errorf("%w: hash lane of %d steps, want 1 to %d", ErrEncoding, c.Steps, channel.MaxHashSteps)
	}
	if _, err := c.at(c.Steps); err != nil {
		return Commitment{}, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return c, nil
}

// at returns what is owed once step is revealed.
func (c *Commitment) at(step uint16) (ledger.Amount, error) {
	sum, err := c.UnitPrice.Mul(uint64(step))
	if err != nil {
		return 0, err
	}
	return c.BaseCumulative.Add(sum)
}

// Reveal pays on a hash lane: Preimage is w_step of the lane's hash chain.
type Reveal struct {
	ChannelID ledger.Hash
	Lane      uint16
	ChainNo   uint32
	Step      uint16 // 1 to Steps of the commitment
	Preimage  ledger.Hash
}

// Encode returns the RevealSize bytes of r.
func (r *Reveal) Encode() []byte {
	w := codec.NewWriter(RevealSize)
	w.Fixed(r.ChannelID[:])
	w.Uint16(r.Lane)
	w.Uint32(r.ChainNo)
	w.Uint16(r.Step)
	w.Fixed(r.Preimage[:])
	return w.Bytes()
}

// DecodeReveal reads a reveal. It returns ErrEncoding for a wrong length and for
// values out of range.
func DecodeReveal(b []byte) (Reveal, error) {
	var v Reveal
	r := codec.NewReader(b)
	r.Into(v.ChannelID[:])
	v.Lane, v.ChainNo, v.Step = r.Uint16(), r.Uint32(), r.Uint16()
	r.Into(v.Preimage[:])
	if err := r.Done(); err != nil {
		return Reveal{}, fmt.Errorf("%w: reveal: %w", ErrEncoding, err)
	}
	if v.Lane >= channel.Lanes || v.Step == 0 || v.Step > channel.MaxHashSteps {
		return Reveal{}, fmt.Errorf("%w: step %d on lane %d", ErrEncoding, v.Step, v.Lane)
	}
	return v, nil
}

func appendVoucherBody(dst []byte, v *channel.Voucher) []byte {
	dst = append(dst, v.ChannelID[:]...)
	dst = binary.BigEndian.AppendUint16(dst, v.Lane)
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.Cumulative))
	dst = binary.BigEndian.AppendUint64(dst, v.Units)
	return append(dst, v.UsageRoot[:]...)
}

// domain writes what the signature of a voucher covers, without allocating: it
// is channel.Voucher.Signed with the header made once.
type domain struct {
	chain.Domain

	voucher [chain.HeaderSize]byte
}

func newDomain(d chain.Domain) domain {
	w := codec.NewWriter(chain.HeaderSize)
	d.AppendHeader(w, chain.TypeVoucher, voucherBody)
	return domain{Domain: d, voucher: [chain.HeaderSize]byte(w.Bytes())}
}

// appendSigned appends the channel.VoucherSize bytes that v's signature covers.
func (d *domain) appendSigned(dst []byte, v *channel.Voucher) []byte {
	return appendVoucherBody(append(dst, d.voucher[:]...), v)
}
