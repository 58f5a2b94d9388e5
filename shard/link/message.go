package link

import (
	"cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MessageOverhead is the length of an encoded message without its payload.
	MessageOverhead = Size + 8 + 2 + ledger.HashSize + 2*ledger.AddressSize + 8 + 8 + 2 + 4
	// AckSize is the length of an encoded acknowledgement.
	AckSize = Size + 2*8

	leafAck     = 0x01
	leafMessage = 0x02
)

// Message is what one place tells another. A bounce is a message that came back:
// it has the body of the one that failed, sender and recipient exchanged.
type Message struct {
	Link Link
	// Seq counts the messages of the link, bounces included, from 0.
	Seq uint64
	// Kind says what the payload means. The rules of the places give the numbers.
	Kind uint16
	// OriginTx is the transaction that it comes from, over all hops; zero if it
	// comes from none.
	OriginTx          ledger.Hash
	Sender, Recipient ledger.Address
	// Expiry is the last anchor clock of the source at which the message may
	// execute. The clock of a place counts the checkpoints that main has anchored
	// of the chains that owned the place: where a chain takes places over, it goes
	// on from the latest of their clocks (chain/anchor). What counts is the newest
	// checkpoint of the source that the destination has seen anchored when it takes
	// the message, whichever block the message is proved with: beyond Expiry the
	// message goes back unexecuted. A bounce has 0: it does not expire.
	Expiry uint64
	// Of is, for a bounce, the number of the message of the opposite link that
	// failed; otherwise 0.
	Of uint64
	// Code is, for a bounce, why it failed: CodeMessageExpired or what its handler
	// said; otherwise CodeOK.
	Code    chain.Code
	Payload []byte // at most MaxPayload bytes
}

// IsBounce reports whether m is a message that came back.
func (m *Message) IsBounce() bool { return m.Code != chain.CodeOK }

// Size returns the length of the encoding.
func (m *Message) Size() int { return MessageOverhead + len(m.Payload) }

// bounce returns the message that takes m back; it is as long as m.
func (m *Message) bounce(code chain.Code) Message {
	return Message{
		Link: m.Link.Reverse(), Kind: m.Kind, OriginTx: m.OriginTx, Sender: m.Recipient, Recipient: m.Sender,
		Of: m.Seq, Code: code, Payload: m.Payload,
	}
}

// Encode returns the canonical encoding: source and destination 6 each (service
// 4, zone 1, bucket 1), seq 8, kind 2, origin 32, sender and recipient 21 each,
// expiry 8, of 8, code 2, length of the payload 4, payload.
func (m *Message) Encode() []byte {
	w := codec.NewWriter(m.Size())
	m.write(w)
	return w.Bytes()
}

func (m *Message) write(w *codec.Writer) {
	m.Link.write(w)
	w.Uint64(m.Seq)
	w.Uint16(m.Kind)
	w.Fixed(m.OriginTx[:])
	w.Fixed(m.Sender[:])
	w.Fixed(m.Recipient[:])
	w.Uint64(m.Expiry)
	w.Uint64(m.Of)
	w.Uint16(uint16(m.Code))
	w.Bytes32(m.Payload)
}

// DecodeMessage reads what Encode wrote. It refuses with CodeMalformed what no
// chain sends: a link from a place to itself, a message that never expires, a
// bounce that does. The payload aliases b.
func DecodeMessage(b []byte) (Message, error) {
	r := codec.NewReader(b)
	m := readMessage(r)
	return m, m.check(r)
}

func readMessage(r *codec.Reader) Message {
	m := Message{Link: readLink(r), Seq: r.Uint64(), Kind: r.Uint16()}
	r.Into(m.OriginTx[:])
	r.Into(m.Sender[:])
	r.Into(m.Recipient[:])
	m.Expiry, m.Of, m.Code = r.Uint64(), r.Uint64(), chain.Code(r.Uint16())
	m.Payload = r.Bytes32(MaxPayload)
	return m
}

func (m *Message) check(r *codec.Reader) error {
	switch err := r.Done(); {
	case err != nil:
		return chain.Refuse(chain.CodeMalformed, "message: %v", err)
	case m.Link.Src == m.Link.Dst:
		return chain.Refuse(chain.CodeMalformed, "message of a link from %s to itself", m.Link.Src)
	case m.IsBounce() != (m.Expiry == 0), !m.IsBounce() && m.Of != 0:
		return chain.Refuse(chain.CodeMalformed, "message with code %d, expiry %d and of %d: want code 0, an expiry and 0, or a code and no expiry", uint16(m.Code), m.Expiry, m.Of)
	}
	return nil
}

// Ack acknowledges messages of a link. It goes from the link's destination to its
// source. All numbers are totals since the link's first message.
type Ack struct {
	Link Link
	// Next is the number of messages received, and of the next one that is wanted.
	Next uint64
	// Bounced of them go back or went back.
	Bounced uint64
}

// Encode returns the canonical encoding, AckSize bytes: source and destination 6
// each, next 8, bounced 8.
func (a *Ack) Encode() []byte {
	w := codec.NewWriter(AckSize)
	a.write(w)
	return w.Bytes()
}

func (a *Ack) write(w *codec.Writer) {
	a.Link.write(w)
	w.Uint64(a.Next)
	w.Uint64(a.Bounced)
}

// DecodeAck reads what Encode wrote, or refuses with CodeMalformed; so it does
// with numbers that cannot be: more bounced than received.
func DecodeAck(b []byte) (Ack, error) {
	r := codec.NewReader(b)
	a := Ack{Link: readLink(r), Next: r.Uint64(), Bounced: r.Uint64()}
	switch err := r.Done(); {
	case err != nil:
		return Ack{}, chain.Refuse(chain.CodeMalformed, "acknowledgement: %v", err)
	case a.Link.Src == a.Link.Dst:
		return Ack{}, chain.Refuse(chain.CodeMalformed, "acknowledgement of a link from %s to itself", a.Link.Src)
	case a.Bounced > a.Next:
		return Ack{}, chain.Refuse(chain.CodeMalformed, "acknowledgement of %d messages of which %d bounced", a.Next, a.Bounced)
	}
	return a, nil
}

// Leaf is what an outbox holds: a message or an acknowledgement. The other one
// is nil.
type Leaf struct {
	Message *Message
	Ack     *Ack
}

// To returns where the leaf goes, From where it comes from.
func (l Leaf) To() Place {
	if l.Ack != nil {
		return l.Ack.Link.Src
	}
	return l.Message.Link.Dst
}

// From returns where the leaf comes from.
func (l Leaf) From() Place {
	if l.Ack != nil {
		return l.Ack.Link.Dst
	}
	return l.Message.Link.Src
}

// Compare is the order of leaves in an outbox: by destination, then by origin,
// then the acknowledgement before the messages in their order.
func (l Leaf) Compare(m Leaf) int {
	seq := func(l Leaf) uint64 {
		if l.Ack != nil {
			return 0
		}
		return l.Message.Seq
	}
	kind := func(l Leaf) int {
		if l.Ack != nil {
			return 0
		}
		return 1
	}
	return cmp.Or(l.To().Compare(m.To()), l.From().Compare(m.From()), cmp.Compare(kind(l), kind(m)), cmp.Compare(seq(l), seq(m)))
}

// Encode returns the bytes that the tree of the outbox has as a leaf: 0x01 and an
// acknowledgement, or 0x02 and a message.
func (l Leaf) Encode() []byte {
	w := codec.NewWriter(l.size())
	if l.Ack != nil {
		w.Uint8(leafAck)
		l.Ack.write(w)
	} else {
		w.Uint8(leafMessage)
		l.Message.write(w)
	}
	return w.Bytes()
}

func (l Leaf) size() int {
	if l.Ack != nil {
		return 1 + AckSize
	}
	return 1 + l.Message.Size()
}

// DecodeLeaf reads what Encode wrote, with the refusals of DecodeMessage and
// DecodeAck.
func DecodeLeaf(b []byte) (Leaf, error) {
	if len(b) == 0 {
		return Leaf{}, chain.Refuse(chain.CodeMalformed, "leaf of no bytes")
	}
	switch b[0] {
	case leafAck:
		a, err := DecodeAck(b[1:])
		return Leaf{Ack: &a}, err
	case leafMessage:
		m, err := DecodeMessage(b[1:])
		return Leaf{Message: &m}, err
	default:
		return Leaf{}, chain.Refuse(chain.CodeMalformed, "leaf begins with %#02x", b[0])
	}
}
