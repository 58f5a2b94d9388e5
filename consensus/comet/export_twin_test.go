package comet

import (
	"net/netip"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

// TwinTold reports whether a node with the key of own, told at now by a peer that node
// id proves a key by signer's signature made at signed, believes it. Where meant is
// another id than id, the proof is of that one.
func TwinTold(own, signer *Signer, id, meant string, now, signed time.Time, votes, says bool) (bool, error) {
	p, err := newPresence("chain", p2p.ID("00000000000000000000000000000000000000aa"), own, nil)
	if err != nil {
		return false, err
	}
	proof, err := signer.attest(presenceMessage("chain", p2p.ID(meant), votes, signed.UnixMilli()))
	if err != nil {
		return false, err
	}
	b := beat{twin: twin{
		node: p2p.ID(id), address: netip.MustParseAddr("192.0.2.1"),
		claim: claim{kind: proofVoting, votes: says, signed: signed.UnixMilli(), proof: string(proof)},
	}}
	if b, err = decodeBeat(b.encode()); err != nil {
		return false, err
	}
	err = p.told(now, b.twin, func() error { return nil })
	return p.twin.node != "", err
}

// TwinGuard decides whether a node signs beside another.
type TwinGuard struct{ g *twinGuard }

// NewTwinGuard begins, only telling if off.
func NewTwinGuard(off bool) TwinGuard { return TwinGuard{newTwinGuard(off)} }

// Look takes what is seen at now: so many peers, and another node if id is not empty.
func (g TwinGuard) Look(now time.Time, peers int, id string, votes bool) (news bool) {
	t := twin{node: p2p.ID(id), claim: claim{votes: votes}, address: netip.MustParseAddr("192.0.2.1")}
	return g.g.look(now, peers, t, id != "")
}

// Status returns whether the node may sign, and why not if another one is there.
func (g TwinGuard) Status() (bool, error) { return g.g.status() }

// Await is what a signature waits for.
func (g TwinGuard) Await() error { return g.g.await() }

// End lets go what waits.
func (g TwinGuard) End() { g.g.decide() }

// SettleFor is how long a node has peers before it signs.
const SettleFor = settleFor

// Proof takes a heartbeat with a proof that is new.
func (c *Contact) Proof(now time.Time) error {
	b := beat{unixMilli: now.UnixMilli(), claim: claim{kind: proofVoting, signed: c.c.last.signed + 1}}
	return c.c.heard(now, b, func() (verdict, error) { return proven, nil })
}
