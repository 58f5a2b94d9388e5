package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// shardMessage is the decoded payload of a transaction that carries something for
// shards: exactly one field is set.
type shardMessage struct {
	anchors  *anchor.Anchors
	conflict *anchor.Conflict
	delivery *Delivery
	relist   *link.Link
	reack    *link.Link
}

// decodeShard returns nil, without an error, for a kind that has nothing to do with
// shards.
func decodeShard(tx *chain.Tx) (*shardMessage, error) {
	switch tx.Kind {
	case chain.KindAnchor:
		v, err := anchor.DecodeAnchors(tx.Payload)
		return &shardMessage{anchors: &v}, err
	case chain.KindAnchorConflict:
		v, err := anchor.DecodeConflict(tx.Payload)
		return &shardMessage{conflict: &v}, err
	case chain.KindImport:
		v, err := DecodeDelivery(tx.Payload)
		return &shardMessage{delivery: &v}, err
	case chain.KindRelist:
		v, err := link.DecodeLink(tx.Payload)
		return &shardMessage{relist: &v}, err
	case chain.KindReack:
		v, err := link.DecodeLink(tx.Payload)
		return &shardMessage{reack: &v}, err
	default:
		return nil, nil
	}
}

// ForShards reports whether transactions of a kind carry something for shards. Without
// them shards stand still.
func ForShards(k chain.Kind) bool {
	switch k {
	case chain.KindAnchor, chain.KindAnchorConflict, chain.KindImport, chain.KindRelist, chain.KindReack:
		return true
	default:
		return false
	}
}

// fee returns what the message costs on top of TxFee.
func (m *shardMessage) fee(p *Params) ledger.Amount {
	switch {
	case m.anchors != nil:
		return p.Anchors.Fee(m.anchors)
	case m.conflict != nil:
		return p.Anchors.Fee(&anchor.Anchors{Runs: []cert.Run{m.conflict.A, m.conflict.B}})
	case m.delivery != nil:
		return p.EntryFee * ledger.Amount(len(m.delivery.Import.Leaves))
	case m.relist != nil:
		return p.EntryFee * link.RelistMessages
	default:
		return p.EntryFee
	}
}

// carry executes a message for shards. What of the fee goes back to the signer, whose
// row is given, is the receipt's Paid.
func (b *block) carry(index int, r *Receipt, m *shardMessage, row uint64) error {
	switch {
	case m.anchors != nil:
		return b.anchor(index, r, m.anchors, row)
	case m.conflict != nil:
		return b.judge(index, r, m.conflict, row)
	case m.delivery != nil:
		return b.deliver(r, m.delivery, row)
	case m.relist != nil:
		return b.links.Relist(*m.relist)
	default:
		return b.links.Reack(*m.reack)
	}
}

// Class returns the part of a block in which tx belongs, for who makes blocks: what it
// frees or brings is then there for what comes after it. Blocks in another order are
// valid all the same.
func Class(tx *chain.Tx) link.Class {
	switch tx.Kind {
	case chain.KindImport:
		d, err := DecodeDelivery(tx.Payload)
		if err != nil {
			return link.ClassUser
		}
		return link.ClassOf(&d.Import)
	case chain.KindSettle, chain.KindCoopClose, chain.KindAnchor, chain.KindAnchorConflict, chain.KindRelist, chain.KindReack:
		return link.ClassSettlement
	default:
		return link.ClassUser
	}
}
