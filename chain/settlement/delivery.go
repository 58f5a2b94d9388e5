package settlement

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// MaxReleased is how many messages of the main chain one import may end in all, by
// acknowledging them or by bringing them back: as many as one link can have at most. They
// are deleted, which its bytes do not tell.
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

// deliver takes an import. One without a leaf that the main chain passes over, and of
// which none has it tell something again, gives the fee back: it advances something, or it
// were refused itself; there are no more acknowledgements and bounces than notices, which
// were paid for here, but for what is told again; and a shard reports once an epoch.
func (b *block) deliver(r *Receipt, d *Delivery, row uint64) error {
	known := anchor.NewKnown(b.state)
	if d.Proof != nil {
		if err := known.Prove(d.Proof); err != nil {
			return err
		}
	}
	if n := link.Dropped(b.state, &d.Import); n > MaxReleased {
		return chain.Refuse(chain.CodeTooLarge, "the import ends %d messages, at most %d: bring the acknowledgements and bounces of fewer links at once", n, MaxReleased)
	}
	back := len(b.back)
	receipts, err := b.links.Apply(&d.Import, known, handler{b})
	if err != nil {
		return err
	}
	r.Links, r.ResultsRoot = receipts, rootOf(linkLeaves(receipts))
	passed := func(x link.Receipt) bool { return x.Result == link.Passed }
	if len(b.back) == back && !slices.ContainsFunc(receipts, passed) {
		b.bank.repay(row, r.Fee)
		r.Paid = r.Fee
	}
	return nil
}

// handler is the link.Handler of the main chain.
type handler struct{ b *block }

// Execute takes reports of loads and refuses everything else: shards have nothing else to
// tell the main chain.
func (h handler) Execute(c *link.Context, m *link.Message) error {
	if m.Kind == shard.KindReport {
		rules := h.b.registry
		rules.State = c.State
		return rules.Report(m.Link.Src.Service, m.Link.Src.Zone, m.Link.Src.Bucket, m.Payload)
	}
	return chain.Refuse(chain.CodeUnknownKind, "the main chain takes no messages of kind %d", m.Kind)
}

// Return takes back a notice that failed.
func (h handler) Return(_ *link.Context, m, sent *link.Message) { h.b.untold(m, sent) }
