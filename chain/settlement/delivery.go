package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
)

// MaxReleased is how many messages of the main chain one import may acknowledge in all:
// as many as one link can have at most. They are deleted, which its bytes do not tell.
const MaxReleased = link.ReturnCap

// Delivery is the payload of chain.KindImport: leaves of a shard's outbox that are for
// the main chain, acknowledgements and bounces of its notices. Anybody can send it.
//
//	proof u32+bytes, none if the length is 0 | import
type Delivery struct {
	// Proof shows that the height of the import is anchored. Nil is for one of the last
	// anchor.Window heights of the shard, whose outbox roots the state has.
	Proof  *anchor.Proof
	Import link.Import
}

// maxProof is more than the longest encoded anchor.Proof.
const maxProof = 4 << 10

// Encode returns the payload.
func (d *Delivery) Encode() []byte {
	var proof []byte
	if d.Proof != nil {
		proof = d.Proof.Encode()
	}
	w := codec.NewWriter(4 + len(proof) + d.Import.Size())
	w.Bytes32(proof)
	w.Fixed(d.Import.Encode())
	return w.Bytes()
}

// DecodeDelivery reads what Encode wrote. It refuses as link.DecodeImport and
// anchor.DecodeProof do, and verifies nothing.
func DecodeDelivery(payload []byte) (Delivery, error) {
	r := codec.NewReader(payload)
	proof := r.Bytes32(maxProof)
	rest := r.Fixed(r.Remaining())
	if err := r.Done(); err != nil {
		return Delivery{}, chain.Refuse(chain.CodeMalformed, "delivery: %v", err)
	}
	var d Delivery
	if len(proof) > 0 {
		p, err := anchor.DecodeProof(proof)
		if err != nil {
			return Delivery{}, err
		}
		d.Proof = &p
	}
	var err error
	d.Import, err = link.DecodeImport(rest)
	return d, err
}

// deliver takes an import. One of acknowledgements and bounces alone gives the fee
// back: it advances something, or it were refused, and there are no more of them than
// messages that were paid for here.
func (b *block) deliver(r *Receipt, d *Delivery, row uint64) error {
	known := anchor.NewKnown(b.state)
	if d.Proof != nil {
		if err := known.Prove(d.Proof); err != nil {
			return err
		}
	}
	if n := b.released(&d.Import); n > MaxReleased {
		return chain.Refuse(chain.CodeTooLarge, "the import acknowledges %d messages, at most %d: bring the acknowledgements of fewer links at once", n, MaxReleased)
	}
	receipts, err := b.links.Apply(&d.Import, known, returns{b})
	if err != nil {
		return err
	}
	r.Links, r.ResultsRoot = receipts, rootOf(linkLeaves(receipts))
	if link.ClassOf(&d.Import) == link.ClassReturn {
		b.bank.repay(row, r.Fee)
		r.Paid = r.Fee
	}
	return nil
}

// released returns how many messages an import acknowledges that were not before.
func (b *block) released(in *link.Import) uint64 {
	var n uint64
	for i := range in.Leaves {
		if a := in.Leaves[i].Ack; a != nil && isMain(a.Link.Src) {
			out := link.OutboundAt(b.state, a.Link)
			n += min(max(a.Next, out.Acked), out.Next) - out.Acked
		}
	}
	return n
}

// returns is the link.Handler of the main chain.
type returns struct{ b *block }

// Execute refuses: shards have nothing to tell the main chain.
func (returns) Execute(_ *link.Context, m *link.Message) error {
	return chain.Refuse(chain.CodeUnknownKind, "the main chain takes no messages, this is of kind %d", m.Kind)
}

// Return takes back a notice that failed.
func (h returns) Return(_ *link.Context, m *link.Message) { h.b.untold(m) }
