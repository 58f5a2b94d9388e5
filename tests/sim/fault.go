package sim

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Fault is something that a run breaks on purpose, so that tests can tell whether the
// simulation would find it.
type Fault uint8

// The faults.
const (
	FaultNone       Fault = 0
	FaultSignatures Fault = 1 // nobody checks signatures of transactions and vouchers
	FaultQuorum     Fault = 2 // certificates count whatever power signed them
	FaultGaps       Fault = 3 // main anchors heights with others missing before them
	FaultForget     Fault = 4 // a node forgets a message that is not acknowledged
	FaultTwice      Fault = 5 // a node forgets that it took a message
	FaultMint       Fault = 6 // an account on main gets a drop from nowhere
	FaultRewrite    Fault = 7 // a block on disk is not the one that was decided
)

// loose is an AnchorRule with FaultGaps.
type loose struct{ Contiguous }

// Accept is that of AnchorRule.
func (l loose) Accept(o *chain.Overlay, c *cert.Checkpoint) error {
	if last := l.Last(o, c.Chain); c.Height > last {
		o.Set(anchorKey('l', c.Chain), binary.BigEndian.AppendUint64(nil, c.Height-1))
	}
	return l.Contiguous.Accept(o, c)
}

// corruptRow damages what a node has on disk, if there is what the fault damages.
func (w *World) corruptRow(n *node) {
	switch {
	case w.fault == FaultMint && n.isMain():
		key := settlement.AccountKey(0)
		a, _, _ := settlement.AccountByAddress(n.view, w.address(0))
		a.Balance++
		n.view.apply(chain.Changes{{Key: key, Value: a.Encode()}})
	case w.fault == FaultRewrite && n.height() > 0:
		n.blocks[0].raw = n.blocks[len(n.blocks)-1].raw
	case w.fault == FaultForget:
		for _, l := range w.links(n) {
			if o := link.OutboundAt(n.view, l); o.Unacked() > 0 && link.InboundAt(w.ownerOf(l.Dst).view, l).Next == o.Acked {
				o.Next--
				n.view.apply(chain.Changes{{Key: link.MessageKey(l, o.Next)}, {Key: link.OutboundKey(l), Value: o.Encode()}})
				return
			}
		}
	case w.fault == FaultTwice:
		for _, from := range w.chains {
			for _, l := range w.links(from) {
				in := link.InboundAt(n.view, l)
				if w.ownerOf(l.Dst) == n && in.Next > 0 {
					in.Next--
					n.view.apply(chain.Changes{{Key: link.InboundKey(l), Value: in.Encode()}})
					return
				}
			}
		}
	}
}

// check verifies claims, unless that is the fault.
func (n *network) check(claims []ledger.Claim) []int {
	if n.fault == FaultSignatures {
		return nil
	}
	return verify(claims)
}
