package chain

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Magic opens every signed message.
const Magic = "trib"

// FormatVersion is the version of all signed messages.
const FormatVersion = 1

// HeaderSize is the length in bytes of the header of every signed message:
// magic 4, version 1, type 1, network 32, chain 4, body length 4.
const HeaderSize = 46

// MessageType says what a signed message is. A signature over one type can
// never be read as another, because the type is part of what is signed.
type MessageType uint8

// The types of signed messages. Their numbers are part of the protocol.
const (
	TypeTx             MessageType = 0x01
	TypeVoucher        MessageType = 0x02
	TypeHashCommit     MessageType = 0x03
	TypeCoopClose      MessageType = 0x04
	TypeBatchCloseAuth MessageType = 0x05
	TypePayeeReceipt   MessageType = 0x0A
)

// Domain is where a message is valid: one chain of one network.
type Domain struct {
	Network ledger.NetworkID
	Chain   ledger.ChainID
}

// AppendHeader writes the header of a message of type t with a body of
// bodyLen bytes. The signature of a message covers header and body.
func (d Domain) AppendHeader(w *codec.Writer, t MessageType, bodyLen int) {
	w.Fixed([]byte(Magic))
	w.Uint8(FormatVersion)
	w.Uint8(uint8(t))
	w.Fixed(d.Network[:])
	w.Uint32(uint32(d.Chain))
	w.Uint32(uint32(bodyLen))
}

// ReadHeader reads and checks a header and returns the body's length.
// CodeWrongNetwork and CodeWrongChain name a message signed for elsewhere,
// CodeMalformed everything else.
func (d Domain) ReadHeader(r *codec.Reader, want MessageType) (int, error) {
	magic, version, typ := string(r.Fixed(len(Magic))), r.Uint8(), r.Uint8()
	var network ledger.NetworkID
	r.Into(network[:])
	chain, bodyLen := r.Uint32(), r.Uint32()
	switch {
	case r.Err() != nil:
		return 0, Refuse(CodeMalformed, "header: %v", r.Err())
	case magic != Magic:
		return 0, Refuse(CodeMalformed, "header begins with %q, want %q", magic, Magic)
	case version != FormatVersion:
		return 0, Refuse(CodeMalformed, "format version %d, want %d", version, FormatVersion)
	case typ != uint8(want):
		return 0, Refuse(CodeMalformed, "message type %#02x, want %#02x", typ, uint8(want))
	case network != d.Network:
		return 0, Refuse(CodeWrongNetwork, "signed for network %s, this is %s", network, d.Network)
	case chain != uint32(d.Chain):
		return 0, Refuse(CodeWrongChain, "signed for chain %d, this is %d", chain, d.Chain)
	}
	return int(bodyLen), nil
}

// String names the domain for people.
func (d Domain) String() string { return fmt.Sprintf("chain %d of network %s", d.Chain, d.Network) }
