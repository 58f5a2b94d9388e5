// Package link is the rules by which messages cross from one place of the network
// to another: exactly once, in order, and never lost.
//
// A link leads from one bucket to another. Its source counts what it sent and
// what was acknowledged, and keeps every message in its state until then, or until
// it cannot come back any more; its destination counts what it received. Each block's messages and
// acknowledgements are the leaves of an RFC 6962 tree in the order of their
// destinations; the tree's root is the outbox root of the block's checkpoint,
// which the chain's committee certifies and the main chain anchors (chain/anchor).
// So whatever goes to one destination is one range of leaves, and anybody can
// carry it there with one proof: an Import. A destination takes exactly the next
// messages of a link; a gap or a repeat is refused, and what is refused changes
// nothing.
//
// An acknowledgement is cumulative: how many messages were received, and how many of
// them go or went back. It is a leaf like a message, so
// messages and acknowledgements share one proof. Every message is executed,
// bounced (its handler refuses it) or expired (see Message.Expiry), and is
// consumed in its turn in any case, so that a link never gaps; so is what no honest source
// sends (Context.Void), which does nothing. Only failures send
// something back, and none do where sources do not miss them (Context.Silent): a bounce, which is a message of the opposite link with the whole
// body and a code. Taking a bounce back cannot fail, and bounces do not expire.
//
// A source believes no bounce that is not, byte for byte, a message that it sent and
// that has not come back: whoever has two thirds of a destination certifies what he
// likes, and the source would certify it once more. So acknowledged messages stay in
// the state as long as the destination owes bounces. Bounces come in the order of what
// they answer, before the acknowledgement that counts them or after it. So of the
// messages only those behind the last that came back can follow (Outbound.Back), and
// once as many came back as bounced none that is acknowledged. A destination that says
// it sends back what it never does only fills its own link: what is kept counts as
// under way, until an acknowledgement of a later committee counts fewer bounces. One that
// counts fewer than come back has messages forgotten too soon: their bounces are taken in
// their turn, with no effect, so that the link goes on.
//
// Room is bounded everywhere. A source has at most MaxUnacked messages and
// MaxUnackedBytes bytes under way on a link, those that may come back included;
// bounces are exempt, and still a link never holds more than twice as much,
// because a destination takes nothing for whose bounce there would be no room
// (ReturnCap). That cannot come to a standstill: once acknowledgements have arrived,
// which need no room, a source has on a link, beside its own messages, the bounces of
// such messages of the other place only as that place still has in its own state, and
// those are never more than the room of one direction.
//
// What lies in an outbox can be proved as long as somebody has the leaves of its
// block. Nobody has to have them for ever: a source lists what is not acknowledged
// again on request (Relist), a destination its acknowledgement (Reack), so a new
// block proves them. That is also how a shard proves what it took over with a
// bucket. All state of a link lies under its bucket (BucketPrefix) and names no
// shard, so links move with their buckets.
//
// It is row 1b of the dependency order: pure rules over values. A Context is
// owned by one goroutine.
package link

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxPayload is the longest payload of a message in bytes.
	MaxPayload = 64 << 10
	// MaxUnacked is the number of messages on a link from which on none is sent.
	MaxUnacked = 2_048
	// MaxUnackedBytes is the same in bytes of encoded messages.
	MaxUnackedBytes = 4 << 20
	// ReturnCap is the number of messages that a link holds with its bounces at
	// most.
	ReturnCap = 2 * MaxUnacked
	// ReturnCapBytes is the same in bytes.
	ReturnCapBytes = 2 * MaxUnackedBytes
	// DefaultLifetime is for how many anchored checkpoints of its source a message
	// lives if its sender does not say.
	DefaultLifetime = 512
	// MaxLifetime is the longest lifetime of a message.
	MaxLifetime = 1 << 16
	// RelistBlocks is after how many blocks without progress a link may be listed
	// again.
	RelistBlocks = 64
	// RelistMessages is how many messages are listed again at once.
	RelistMessages = 64
	// RelistBytes is the same in bytes, but the first message always is.
	RelistBytes = 512 << 10
)

const (
	// PlaceSize is the length of an encoded Place in bytes.
	PlaceSize = 6
	// Size is the length of an encoded Link in bytes.
	Size = 2 * PlaceSize
)

// Place is a bucket of a zone of a service. The zero value is the main chain.
type Place struct {
	Service uint32
	Zone    byte
	Bucket  uint8
}

// Compare orders places by service, zone and bucket, so that a range of buckets
// of a zone is without gaps.
func (p Place) Compare(q Place) int { return bytes.Compare(p.bytes(), q.bytes()) }

// String returns "service/zone/bucket", all decimal.
func (p Place) String() string { return fmt.Sprintf("%d/%d/%d", p.Service, p.Zone, p.Bucket) }

func (p Place) bytes() []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, PlaceSize), p.Service), p.Zone, p.Bucket)
}

func readPlace(r *codec.Reader) Place {
	return Place{Service: r.Uint32(), Zone: r.Uint8(), Bucket: r.Uint8()}
}

// Link is the way from one place to another, which differs from it.
type Link struct{ Src, Dst Place }

// Reverse returns the way back.
func (l Link) Reverse() Link { return Link{Src: l.Dst, Dst: l.Src} }

// String returns "source>destination".
func (l Link) String() string { return l.Src.String() + ">" + l.Dst.String() }

// Encode returns the canonical encoding, Size bytes: source and destination 6 each
// (service 4, zone 1, bucket 1).
func (l Link) Encode() []byte {
	w := codec.NewWriter(Size)
	l.write(w)
	return w.Bytes()
}

// DecodeLink reads what Encode wrote. It refuses with CodeMalformed anything else, and
// a link from a place to itself.
func DecodeLink(b []byte) (Link, error) {
	r := codec.NewReader(b)
	l := readLink(r)
	if err := r.Done(); err != nil {
		return Link{}, chain.Refuse(chain.CodeMalformed, "link: %v", err)
	}
	if l.Src == l.Dst {
		return Link{}, chain.Refuse(chain.CodeMalformed, "link from %s to itself", l.Src)
	}
	return l, nil
}

func (l Link) write(w *codec.Writer) {
	w.Fixed(l.Src.bytes())
	w.Fixed(l.Dst.bytes())
}

func readLink(r *codec.Reader) Link { return Link{Src: readPlace(r), Dst: readPlace(r)} }
