package channel

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Open is the payload of chain.KindOpenChannels: the signer is the payer of all.
//
//	count u16 | count x OpenParams
type Open struct {
	Channels []OpenParams // 1 to MaxOpens
}

// Encode returns the payload.
func (o *Open) Encode() []byte {
	w := codec.NewWriter(2 + len(o.Channels)*OpenParamsSize)
	w.Uint16(uint16(len(o.Channels)))
	for i := range o.Channels {
		o.Channels[i].append(w)
	}
	return w.Bytes()
}

// DecodeOpen reads the payload of an open.
func DecodeOpen(payload []byte) (Open, error) {
	r := codec.NewReader(payload)
	n := int(r.Uint16())
	if n == 0 || n > MaxOpens {
		return Open{}, chain.Refuse(chain.CodeTooLarge, "%d channels in one transaction, want 1 to %d", n, MaxOpens)
	}
	if want := 2 + n*OpenParamsSize; len(payload) != want {
		return Open{}, chain.Refuse(chain.CodeMalformed, "open of %d channels has %d bytes, want %d", n, len(payload), want)
	}
	o := Open{Channels: make([]OpenParams, n)}
	for i := range o.Channels {
		o.Channels[i].read(r)
	}
	return o, finish(r, "open")
}

// Ref names a channel twice: by its row, where it is found, and by its id, which
// is what the signature is about.
type Ref struct {
	Index uint64
	ID    ledger.Hash
}

func (c *Ref) append(w *codec.Writer) {
	w.Uint64(c.Index)
	w.Fixed(c.ID[:])
}

func (c *Ref) read(r *codec.Reader) {
	c.Index = r.Uint64()
	r.Into(c.ID[:])
}

// TopUp is the payload of chain.KindTopUp. Anyone may pay. The new total, not
// the difference, is stated, so that a repeat changes nothing.
type TopUp struct {
	Channel  Ref
	NewTotal ledger.Amount
}

// Encode returns the payload.
func (t *TopUp) Encode() []byte {
	w := codec.NewWriter(48)
	t.Channel.append(w)
	w.Uint64(uint64(t.NewTotal))
	return w.Bytes()
}

// DecodeTopUp reads the payload of a top-up.
func DecodeTopUp(payload []byte) (TopUp, error) {
	var t TopUp
	r := codec.NewReader(payload)
	t.Channel.read(r)
	t.NewTotal = ledger.Amount(r.Uint64())
	return t, finish(r, "top-up")
}

// Extend is the payload of chain.KindExtend, sent by the payer.
type Extend struct {
	Channel   Ref
	NewExpiry uint64 // sigma
}

// Encode returns the payload.
func (e *Extend) Encode() []byte {
	w := codec.NewWriter(48)
	e.Channel.append(w)
	w.Uint64(e.NewExpiry)
	return w.Bytes()
}

// DecodeExtend reads the payload of an extension.
func DecodeExtend(payload []byte) (Extend, error) {
	var e Extend
	r := codec.NewReader(payload)
	e.Channel.read(r)
	e.NewExpiry = r.Uint64()
	return e, finish(r, "extend")
}

// RequestClose is the payload of chain.KindRequestClose, sent by the payer.
type RequestClose struct {
	Channel Ref
}

// Encode returns the payload.
func (c *RequestClose) Encode() []byte {
	w := codec.NewWriter(40)
	c.Channel.append(w)
	return w.Bytes()
}

// DecodeRequestClose reads the payload of a close request.
func DecodeRequestClose(payload []byte) (RequestClose, error) {
	var c RequestClose
	r := codec.NewReader(payload)
	c.Channel.read(r)
	return c, finish(r, "close request")
}

// CoopClose is the payload of chain.KindCoopClose. Anyone may submit it; it is
// valid by the two signatures it carries.
type CoopClose struct {
	Channel    Ref
	Final      ledger.Amount
	ValidUntil uint64 // block height
	PayerKey   ledger.PublicKey
	PayeeKey   ledger.PublicKey
	PayerSig   ledger.Signature
	PayeeSig   ledger.Signature
	Rollover   *OpenParams // the channel that replaces it, or nil
}

// Terms returns what both parties signed.
func (c *CoopClose) Terms() CoopCloseTerms {
	t := CoopCloseTerms{ChannelID: c.Channel.ID, Final: c.Final, ValidUntil: c.ValidUntil}
	if c.Rollover != nil {
		t.Rollover = c.Rollover.Hash()
	}
	return t
}

// Encode returns the payload.
func (c *CoopClose) Encode() []byte {
	w := codec.NewWriter(400)
	c.Channel.append(w)
	w.Uint64(uint64(c.Final))
	w.Uint64(c.ValidUntil)
	w.Fixed(c.PayerKey[:])
	w.Fixed(c.PayeeKey[:])
	w.Fixed(c.PayerSig[:])
	w.Fixed(c.PayeeSig[:])
	w.Bool(c.Rollover != nil)
	if c.Rollover != nil {
		c.Rollover.append(w)
	}
	return w.Bytes()
}

// DecodeCoopClose reads the payload of a cooperative close.
func DecodeCoopClose(payload []byte) (CoopClose, error) {
	var c CoopClose
	r := codec.NewReader(payload)
	c.Channel.read(r)
	c.Final, c.ValidUntil = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(c.PayerKey[:])
	r.Into(c.PayeeKey[:])
	r.Into(c.PayerSig[:])
	r.Into(c.PayeeSig[:])
	if r.Bool() {
		c.Rollover = new(OpenParams)
		c.Rollover.read(r)
	}
	return c, finish(r, "cooperative close")
}

func finish(r *codec.Reader, what string) error {
	if err := r.Done(); err != nil {
		return chain.Refuse(chain.CodeMalformed, "%s: %v", what, err)
	}
	return nil
}
