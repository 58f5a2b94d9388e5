package chain

import (
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxTxSize is the largest transaction in bytes, signature included.
	MaxTxSize = 1 << 20
	// txFixedSize is the length of a body without its payload: kind 1, zone 1,
	// key 32, nonce 8, max fee 8, valid until 8.
	txFixedSize = 58
	// TxOverhead is the length of a transaction without its payload.
	TxOverhead = HeaderSize + txFixedSize + ledger.SignatureSize
	// NonceWindow is how far beyond the lowest unused nonce a transaction may
	// reach: nonces may be used in any order within the window, so that one
	// account can have that many transactions under way without a queue.
	NonceWindow = 256

	txTag = "trib/tx/1"
)

// Kind says what a transaction does; its rules give the payload's meaning.
type Kind uint8

// The kinds of transactions of the main chain.
const (
	KindTransfer     Kind = 1
	KindOpenChannels Kind = 2
	KindTopUp        Kind = 3
	KindExtend       Kind = 4
	KindSettle       Kind = 5
	KindRequestClose Kind = 6
	KindCoopClose    Kind = 7

	KindRegisterValidator Kind = 16
	KindEditValidator     Kind = 17
	KindDelegate          Kind = 18
	KindRedelegate        Kind = 19
	KindUndelegate        Kind = 20
	KindClaimRewards      Kind = 21
	KindUnjail            Kind = 22

	KindRegisterService Kind = 32
	KindUpdateService   Kind = 33
	KindServe           Kind = 34
	KindReshard         Kind = 35

	KindAnchor         Kind = 48
	KindAnchorConflict Kind = 49
	KindImport         Kind = 50
	KindRelist         Kind = 51
	KindReack          Kind = 52
)

// The kinds of transactions of service chains, from 64 on.
const (
	KindBookUsage Kind = 64
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindTransfer:
		return "transfer"
	case KindOpenChannels:
		return "open-channels"
	case KindTopUp:
		return "top-up"
	case KindExtend:
		return "extend"
	case KindSettle:
		return "settle"
	case KindRequestClose:
		return "request-close"
	case KindCoopClose:
		return "coop-close"
	case KindRegisterValidator:
		return "register-validator"
	case KindEditValidator:
		return "edit-validator"
	case KindDelegate:
		return "delegate"
	case KindRedelegate:
		return "redelegate"
	case KindUndelegate:
		return "undelegate"
	case KindClaimRewards:
		return "claim-rewards"
	case KindUnjail:
		return "unjail"
	case KindBookUsage:
		return "book-usage"
	default:
		return k.registryName()
	}
}

func (k Kind) registryName() string {
	switch k {
	case KindRegisterService:
		return "register-service"
	case KindUpdateService:
		return "update-service"
	case KindServe:
		return "serve"
	case KindReshard:
		return "reshard"
	default:
		return k.shardName()
	}
}

func (k Kind) shardName() string {
	switch k {
	case KindAnchor:
		return "anchor"
	case KindAnchorConflict:
		return "anchor-conflict"
	case KindImport:
		return "import"
	case KindRelist:
		return "relist"
	case KindReack:
		return "reack"
	default:
		return "unknown"
	}
}

// Tx is a decoded transaction. Its bytes travel, are stored and are signed as
// they were received; a Tx is never re-encoded.
//
//	header (type 0x01) | kind u8 | zone u8 | signer_key 32 | nonce u64 |
//	max_fee u64 | valid_until u64 | payload | signature 64
//
// The signature is the last field and covers everything before it, so the body
// length of the header does not count it. The signer's address follows from
// zone and key. The signer pays the fee, which never exceeds max_fee.
type Tx struct {
	Raw        []byte      // whole, signature included
	Hash       ledger.Hash // over everything but the signature: the transaction's name
	Kind       Kind
	Signer     ledger.Address
	SignerKey  ledger.PublicKey
	Nonce      uint64
	MaxFee     ledger.Amount
	ValidUntil uint64 // last block height at which it may execute; 0 means no limit
	Payload    []byte
	Signature  ledger.Signature
}

// DecodeTx reads one transaction for domain d. It checks form, domain, size and
// the signer's key, but not the signature. Raw and Payload alias raw.
func DecodeTx(d Domain, raw []byte) (Tx, error) {
	if len(raw) > MaxTxSize {
		return Tx{}, Refuse(CodeTooLarge, "transaction of %d bytes, at most %d", len(raw), MaxTxSize)
	}
	r := codec.NewReader(raw)
	bodyLen, err := d.ReadHeader(r, TypeTx)
	if err != nil {
		return Tx{}, err
	}
	if want := len(raw) - HeaderSize - ledger.SignatureSize; bodyLen != want || bodyLen < txFixedSize {
		return Tx{}, Refuse(CodeMalformed, "body length %d, want %d and at least %d", bodyLen, want, txFixedSize)
	}
	t := Tx{Raw: raw}
	t.Kind = Kind(r.Uint8())
	zone := r.Uint8()
	r.Into(t.SignerKey[:])
	t.Nonce, t.MaxFee, t.ValidUntil = r.Uint64(), ledger.Amount(r.Uint64()), r.Uint64()
	t.Payload = r.Fixed(bodyLen - txFixedSize)
	r.Into(t.Signature[:])
	if err := r.Done(); err != nil {
		return Tx{}, Refuse(CodeMalformed, "transaction: %v", err)
	}
	if t.MaxFee > ledger.MaxAmount {
		return Tx{}, Refuse(CodeAmountOverflow, "max_fee %d exceeds %d", uint64(t.MaxFee), uint64(ledger.MaxAmount))
	}
	if err := t.SignerKey.Check(); err != nil {
		return Tx{}, Refuse(CodeBadKey, "signer: %v", err)
	}
	t.Signer = ledger.NewAddress(zone, t.SignerKey)
	t.Hash = TxHash(raw)
	return t, nil
}

// TxHash returns the name of the transaction raw: the hash of everything but the
// signature. It names any bytes, so that what cannot be decoded has a receipt
// too; bytes too few to hold a signature are hashed whole.
func TxHash(raw []byte) ledger.Hash {
	if len(raw) >= ledger.SignatureSize {
		raw = raw[:len(raw)-ledger.SignatureSize]
	}
	return ledger.HashOf(txTag, raw)
}

// Signed returns the bytes the signature covers.
func (t *Tx) Signed() []byte { return t.Raw[:len(t.Raw)-ledger.SignatureSize] }

// Claim returns the claim that the signer signed the transaction.
func (t *Tx) Claim() ledger.Claim {
	return ledger.Claim{Key: t.SignerKey, Signature: t.Signature, Message: t.Signed()}
}

// TxFields are the parts of a transaction that its author chooses.
type TxFields struct {
	Kind       Kind
	Zone       byte
	Nonce      uint64
	MaxFee     ledger.Amount
	ValidUntil uint64
	Payload    []byte
}

// UnsignedTx returns the bytes to be signed by key's owner.
func UnsignedTx(d Domain, key ledger.PublicKey, f TxFields) []byte {
	w := codec.NewWriter(TxOverhead + len(f.Payload))
	d.AppendHeader(w, TypeTx, txFixedSize+len(f.Payload))
	w.Uint8(uint8(f.Kind))
	w.Uint8(f.Zone)
	w.Fixed(key[:])
	w.Uint64(f.Nonce)
	w.Uint64(uint64(f.MaxFee))
	w.Uint64(f.ValidUntil)
	w.Fixed(f.Payload)
	return w.Bytes()
}

// AttachSignature returns the whole transaction.
func AttachSignature(unsigned []byte, sig ledger.Signature) []byte {
	raw := make([]byte, 0, len(unsigned)+len(sig))
	return append(append(raw, unsigned...), sig[:]...)
}

// SignTx returns a whole transaction signed by key.
func SignTx(d Domain, key ledger.PrivateKey, f TxFields) []byte {
	unsigned := UnsignedTx(d, key.Public(), f)
	return AttachSignature(unsigned, key.Sign(unsigned))
}
