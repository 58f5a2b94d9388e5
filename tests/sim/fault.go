package sim

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// Fault is something that a run breaks on purpose, so that tests can tell whether the
// simulation would find it.
type Fault uint8

// The faults.
const (
	FaultNone         Fault = 0
	FaultSignatures   Fault = 1 // nobody checks signatures of transactions and vouchers
	FaultCertificates Fault = 2 // nobody checks signatures of anchors
	FaultForget       Fault = 3 // a node forgets a message that is not acknowledged
	FaultTwice        Fault = 4 // a node forgets that it took a message
	FaultMint         Fault = 5 // an account on main gets a drop from nowhere
	FaultRewrite      Fault = 6 // a block on disk is not the one that was decided
	FaultHeir         Fault = 7 // an heir does not have all that its parents had
)

// corruptRow damages what a node has on disk, if there is what the fault damages.
func (w *World) corruptRow(n *node) {
	switch {
	case w.fault == FaultMint && n.isMain():
		key := settlement.AccountKey(0)
		a, _, _ := settlement.AccountByAddress(n.view, w.address(0))
		a.Balance++
		n.view.Apply(chain.Changes{{Key: key, Value: a.Encode()}})
	case w.fault == FaultRewrite && n.height() > 0:
		n.blocks[0].raw = n.blocks[len(n.blocks)-1].raw
	case w.fault == FaultForget:
		for _, l := range w.links(n) {
			if o := link.OutboundAt(n.view, l); o.Unacked() > 0 && link.InboundAt(w.ownerOf(l.Dst).view, l).Next == o.Acked {
				o.Next--
				n.view.Apply(chain.Changes{{Key: link.MessageKey(l, o.Next)}, {Key: link.OutboundKey(l), Value: o.Encode()}})
				return
			}
		}
	case w.fault == FaultTwice:
		for _, from := range w.running() {
			for _, l := range w.links(from) {
				in := link.InboundAt(n.view, l)
				if w.ownerOf(l.Dst) == n && in.Next > 0 {
					in.Next--
					n.view.Apply(chain.Changes{{Key: link.InboundKey(l), Value: in.Encode()}})
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
