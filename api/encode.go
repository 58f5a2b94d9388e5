package api

import (
	"fmt"
	"math"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// This file turns the fields of submissions into the bytes that were signed.
// A value that the fixed encoding cannot hold is refused here, with the path of
// its field; everything else is the business of the rules, which see the bytes.

// readBytes reads a field of exactly len(dst) bytes.
func readBytes(path string, b, dst []byte) error {
	if len(b) != len(dst) {
		return invalid(path, "%d bytes, want %d", len(b), len(dst))
	}
	copy(dst, b)
	return nil
}

// readHash reads a hash that may be left out, which means zero.
func readHash(path string, b []byte) (h ledger.Hash, err error) {
	if len(b) == 0 {
		return h, nil
	}
	return h, readBytes(path, b, h[:])
}

// readAmount reads a sum of drops.
func readAmount(path string, v uint64) (ledger.Amount, error) {
	if v > uint64(ledger.MaxAmount) {
		p := invalid(path, "%d drops exceed %d, the largest amount", v, uint64(ledger.MaxAmount))
		p.reason = chain.CodeAmountOverflow.String()
		return 0, p
	}
	return ledger.Amount(v), nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sealing says what an envelope must have.
type sealing int

const (
	// sealed envelopes have everything.
	sealed sealing = iota
	// draft envelopes may lack signature and fee limit: nothing is submitted.
	draft
)

// seal returns the whole transaction of kind that envelope and payload make.
func seal(d chain.Domain, path string, e *chainv1.Envelope, kind chain.Kind, payload []byte, how sealing) ([]byte, error) {
	if e == nil {
		return nil, invalid(path, "is missing; the signer, nonce, fee limit and signature belong there")
	}
	var key ledger.PublicKey
	var sig ledger.Signature
	if e.GetZone() > math.MaxUint8 {
		return nil, invalid(path+".zone", "%d, zones are 0 to 255", e.GetZone())
	}
	maxFee, err := readAmount(path+".max_fee", e.GetMaxFee())
	if how == draft && maxFee == 0 {
		maxFee = ledger.MaxAmount
	}
	if err := first(err, readBytes(path+".public_key", e.GetPublicKey(), key[:])); err != nil {
		return nil, err
	}
	if how == sealed || len(e.GetSignature()) > 0 {
		if err := readBytes(path+".signature", e.GetSignature(), sig[:]); err != nil {
			return nil, err
		}
	}
	if err := key.Check(); err != nil {
		p := invalid(path+".public_key", "is not the canonical encoding of an Ed25519 key of large order")
		p.reason = chain.CodeBadKey.String()
		return nil, p
	}
	unsigned := chain.UnsignedTx(d, key, chain.TxFields{
		Kind: kind, Zone: byte(e.GetZone()), Nonce: e.GetNonce(), MaxFee: maxFee,
		ValidUntil: e.GetValidUntil(), Payload: payload,
	})
	return chain.AttachSignature(unsigned, sig), nil
}

// openSigned decodes a transaction that came as signed bytes and must be one of
// kinds; none means any.
func openSigned(d chain.Domain, raw []byte, kinds ...chain.Kind) (chain.Tx, error) {
	if len(raw) == 0 {
		return chain.Tx{}, invalid("signed_tx", "is missing; send the fields or the signed transaction")
	}
	tx, err := chain.DecodeTx(d, raw)
	if err != nil {
		return chain.Tx{}, withDomain(d, err)
	}
	if len(kinds) > 0 && !slices.Contains(kinds, tx.Kind) {
		p := invalid("signed_tx", "the transaction is a %s, this method takes a %s", tx.Kind, kinds[0])
		p.reason = ReasonUnexpectedKind
		return chain.Tx{}, p
	}
	return tx, nil
}

// withDomain adds to a refusal for another network or chain what this one is.
func withDomain(d chain.Domain, err error) error {
	p, _ := problemOf(err)
	if p.reason != chain.CodeWrongNetwork.String() && p.reason != chain.CodeWrongChain.String() {
		return err
	}
	p.set("network_id", d.Network.String())
	p.setNumber("chain_id", uint64(d.Chain))
	return p
}

// unencodable is a refusal by the same code that the rules would give, had the
// encoding room for the value.
func unencodable(code chain.Code, path, format string, args ...any) *problem {
	p := invalid(path, format, args...)
	p.reason = code.String()
	grpcCode, _ := ruleStatus(code)
	if grpcCode != codes.InvalidArgument { // only codes of that kind are used here
		p.code = grpcCode
	}
	return p
}

// batchPayload returns the payload of a settlement batch.
func batchPayload(path string, b *settlementv1.SettlementBatch) ([]byte, error) {
	if n := len(b.GetEntries()); n == 0 || n > channel.MaxEntries {
		return nil, unencodable(chain.CodeTooLarge, path+".entries", "%d entries, want 1 to %d", n, channel.MaxEntries)
	}
	payee, err := parseAddress(path+".payee", b.GetPayee())
	if err != nil {
		return nil, err
	}
	batch := channel.Batch{Payee: payee, Entries: make([]channel.Entry, len(b.GetEntries()))}
	switch b.GetMode() {
	case settlementv1.BatchMode_BATCH_MODE_UNSPECIFIED, settlementv1.BatchMode_BATCH_MODE_BEST_EFFORT:
		batch.Mode = channel.BestEffort
	case settlementv1.BatchMode_BATCH_MODE_ATOMIC:
		batch.Mode = channel.Atomic
	default:
		return nil, invalid(path+".mode", "%d is no mode; want BEST_EFFORT or ATOMIC", b.GetMode())
	}
	for i, e := range b.GetEntries() {
		if err := readEntry(&batch.Entries[i], e); err != nil {
			return nil, err.at(path, i)
		}
	}
	if a := b.GetCloseAuthority(); a != nil {
		batch.Auth = &channel.Authority{ValidUntil: a.GetValidUntil()}
		err := first(
			readBytes(path+".close_authority.public_key", a.GetPublicKey(), batch.Auth.PayeeKey[:]),
			readBytes(path+".close_authority.signature", a.GetSignature(), batch.Auth.Signature[:]))
		if err != nil {
			return nil, err
		}
	}
	return batch.Encode(), nil
}

// at completes the path of a problem within entry i.
func (p *problem) at(path string, i int) *problem {
	prefix := fmt.Sprintf("%s.entries[%d]", path, i)
	for j := range p.fields {
		p.fields[j].path = prefix + "." + p.fields[j].path
	}
	p.message = prefix + "." + p.message
	p.positions = []uint32{uint32(i)}
	return p
}

// readEntry reads an entry. Paths in its problem are relative to the entry.
func readEntry(out *channel.Entry, e *settlementv1.SettlementEntry) *problem {
	if e.GetLane() >= channel.Lanes {
		return unencodable(chain.CodeLaneLimit, "lane", "%d, lanes are 0 to %d", e.GetLane(), channel.Lanes-1)
	}
	out.Index, out.Lane, out.Close = e.GetChannelIndex(), uint8(e.GetLane()), e.GetClose()
	var err error
	switch claim := e.GetClaim().(type) {
	case *settlementv1.SettlementEntry_Voucher:
		err = readVoucher(out, claim.Voucher)
	case *settlementv1.SettlementEntry_HashLane:
		err = readHashLane(out, claim.HashLane)
	default:
		if !out.Close {
			return invalid("claim", "is missing; an entry without a claim must close its channel")
		}
	}
	if err != nil {
		p, _ := problemOf(err)
		return p
	}
	return nil
}

func readVoucher(out *channel.Entry, v *settlementv1.VoucherClaim) (err error) {
	out.Claim, out.Units = channel.ClaimVoucher, v.GetUnits()
	if out.Cumulative, err = readAmount("voucher.cumulative", v.GetCumulative()); err != nil {
		return err
	}
	if out.UsageRoot, err = readHash("voucher.usage_root", v.GetUsageRoot()); err != nil {
		return err
	}
	return readBytes("voucher.signature", v.GetSignature(), out.Signature[:])
}

func readHashLane(out *channel.Entry, h *settlementv1.HashLaneClaim) (err error) {
	if h.GetSteps() > channel.MaxHashSteps {
		return unencodable(chain.CodeInvalidValue, "hash_lane.steps", "%d, a chain has 1 to %d steps", h.GetSteps(), channel.MaxHashSteps)
	}
	if h.GetStep() > h.GetSteps() {
		return unencodable(chain.CodeInvalidValue, "hash_lane.step", "%d, the chain has %d steps", h.GetStep(), h.GetSteps())
	}
	out.Claim, out.Step = channel.ClaimHash, uint16(h.GetStep())
	c := &out.Commit
	c.BaseUnits, c.UnitSize = h.GetBaseUnits(), h.GetUnitSize()
	c.Steps, c.ChainNo = uint16(h.GetSteps()), h.GetChainNo()
	if c.BaseCumulative, err = readAmount("hash_lane.base_cumulative", h.GetBaseCumulative()); err != nil {
		return err
	}
	if c.UnitPrice, err = readAmount("hash_lane.unit_price", h.GetUnitPrice()); err != nil {
		return err
	}
	return first(
		readBytes("hash_lane.root", h.GetRoot(), c.Root[:]),
		readBytes("hash_lane.signature", h.GetSignature(), out.Signature[:]),
		readBytes("hash_lane.preimage", h.GetPreimage(), out.Preimage[:]))
}

// openPayload returns the payload that opens channels, and their parameters.
func openPayload(path string, channels []*channelv1.OpenParams) ([]byte, error) {
	if n := len(channels); n == 0 || n > channel.MaxOpens {
		return nil, unencodable(chain.CodeTooLarge, path, "%d channels, want 1 to %d", n, channel.MaxOpens)
	}
	open := channel.Open{Channels: make([]channel.OpenParams, len(channels))}
	for i, p := range channels {
		params, err := readOpenParams(fmt.Sprintf("%s[%d]", path, i), p)
		if err != nil {
			return nil, err
		}
		open.Channels[i] = params
	}
	return open.Encode(), nil
}

func readOpenParams(path string, p *channelv1.OpenParams) (out channel.OpenParams, err error) {
	out.ExpiresAt, out.Challenge, out.Service = p.GetExpiresAt(), p.GetChallenge(), p.GetServiceId()
	if out.Payee, err = parseAddress(path+".payee", p.GetPayee()); err != nil {
		return out, err
	}
	if out.Deposit, err = readAmount(path+".deposit", p.GetDeposit()); err != nil {
		return out, err
	}
	if out.Terms, err = readHash(path+".terms_hash", p.GetTermsHash()); err != nil {
		return out, err
	}
	return out, readBytes(path+".voucher_key", p.GetVoucherKey(), out.VoucherKey[:])
}

// closePayload returns the payload of a cooperative close of ref.
func closePayload(path string, c *channelv1.CooperativeClose, ref channel.Ref) ([]byte, error) {
	out := channel.CoopClose{Channel: ref, ValidUntil: c.GetValidUntil()}
	final, err := readAmount(path+".final_cumulative", c.GetFinalCumulative())
	err = first(err,
		readBytes(path+".payer_key", c.GetPayerKey(), out.PayerKey[:]),
		readBytes(path+".payee_key", c.GetPayeeKey(), out.PayeeKey[:]),
		readBytes(path+".payer_signature", c.GetPayerSignature(), out.PayerSig[:]),
		readBytes(path+".payee_signature", c.GetPayeeSignature(), out.PayeeSig[:]))
	if err != nil {
		return nil, err
	}
	out.Final = final
	if c.GetRollover() != nil {
		params, err := readOpenParams(path+".rollover", c.GetRollover())
		if err != nil {
			return nil, err
		}
		out.Rollover = &params
	}
	return out.Encode(), nil
}

// transferPayload returns the payload of a transfer.
func transferPayload(path string, payments []*accountv1.Payment) ([]byte, error) {
	if n := len(payments); n == 0 || n > settlement.MaxPayments {
		return nil, unencodable(chain.CodeTooLarge, path, "%d payments, want 1 to %d", n, settlement.MaxPayments)
	}
	out := settlement.Transfer{Payments: make([]settlement.Payment, len(payments))}
	for i, p := range payments {
		var err error
		at := fmt.Sprintf("%s[%d]", path, i)
		if out.Payments[i].To, err = parseAddress(at+".recipient", p.GetRecipient()); err != nil {
			return nil, err
		}
		if out.Payments[i].Amount, err = readAmount(at+".amount", p.GetAmount()); err != nil {
			return nil, err
		}
	}
	return out.Encode(), nil
}
