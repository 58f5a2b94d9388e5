package sim

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// errFalse means a certificate whose signature is not that of its signers.
var errFalse = errors.New("signature is not the sum of the signers'")

// seats are the members of a chain, with who of them is malicious and who is up. In every
// epoch the same members stand in another order, so each epoch has a committee of its own.
type seats struct {
	members   []committee.Member // Validator is the index
	keys      []*bls.Key
	chain     ledger.ChainID
	network   ledger.NetworkID
	malicious []bool
	down      []bool
	epochs    map[uint64]*session
}

// session is the committee of an epoch.
type session struct {
	committee committee.Committee
	keys      []*bls.Key // of the members, in their order
	hash      ledger.Hash
	assigned  []byte // the row of who serves a shard, and that of who is elected on main
	elected   []byte
}

func newSeats(network ledger.NetworkID, id ledger.ChainID, powers []uint64, keys *Keys) *seats {
	s := &seats{
		chain: id, network: network, malicious: make([]bool, len(powers)), down: make([]bool, len(powers)),
		keys: keys.bls[:len(powers)], epochs: map[uint64]*session{},
	}
	for i, p := range powers {
		name := ledger.HashOf("sim/member", binary.BigEndian.AppendUint64(nil, uint64(id)<<16|uint64(i)))
		s.members = append(s.members, committee.Member{
			Validator: uint64(i), ConsensusKey: name, BLSKey: keys.bls[i].Public(), Power: p,
		})
	}
	return s
}

// at returns the committee of an epoch.
func (s *seats) at(epoch uint64) *session {
	if c := s.epochs[epoch]; c != nil {
		return c
	}
	c := &session{committee: committee.Committee{Epoch: epoch}}
	for i := range s.members {
		at := (uint64(i) + epoch) % uint64(len(s.members))
		c.committee.Members, c.keys = append(c.committee.Members, s.members[at]), append(c.keys, s.keys[at])
	}
	c.hash = c.committee.Hash()
	s.epochs[epoch] = c
	return c
}

// quorum is the power that decides.
func (s *seats) quorum() uint64 { return s.at(0).committee.Quorum() }

// power returns the power of the members that are in.
func (s *seats) power(in func(i int) bool) (sum uint64) {
	for i := range s.members {
		if in(i) {
			sum += s.members[i].Power
		}
	}
	return sum
}

// decides reports whether members that are up have a quorum; the malicious ones
// among them take part if they are willing.
func (s *seats) decides(willing bool) bool {
	return s.power(func(i int) bool { return !s.down[i] && (willing || !s.malicious[i]) }) >= s.quorum()
}

// corrupt reports whether the malicious members certify what they like.
func (s *seats) corrupt() bool {
	return s.power(func(i int) bool { return s.malicious[i] }) >= s.quorum()
}

// vote is the share of a member of a signature over a checkpoint: the model of a BLS
// signature, whose sums are by exclusive or.
func vote(m *committee.Member, message []byte) bls.Signature {
	var v bls.Signature
	h := ledger.HashOf("sim/vote", m.ConsensusKey[:], message)
	copy(v[:], h[:])
	return v
}

// certify returns the certificate of a checkpoint of an epoch by the members that are in,
// whatever their power.
func (s *seats) certify(c cert.Checkpoint, in func(i int) bool) cert.Certificate {
	com := s.at(c.Epoch)
	c.Network, c.Chain, c.CommitteeHash = s.network, s.chain, com.hash
	out := cert.Certificate{Checkpoint: c}
	message := out.Checkpoint.Message()
	for i := range com.committee.Members {
		m := &com.committee.Members[i]
		if !in(int(m.Validator)) {
			continue
		}
		for len(out.Bitmap) <= i/8 {
			out.Bitmap = append(out.Bitmap, 0)
		}
		out.Bitmap[i/8] |= 1 << (i % 8)
		add(&out.Signature, vote(m, message))
	}
	return out
}

// verify is cert.Certificate.Verify with the model of the signature: the same
// refusals in the same order.
func (n *network) verify(c *cert.Certificate, com *committee.Committee) error {
	switch p := &c.Checkpoint; {
	case p.Network != n.id:
		return cert.ErrWrongNetwork
	case p.Chain != ledger.MainChain:
		return cert.ErrWrongChain
	case p.Epoch != com.Epoch:
		return cert.ErrWrongEpoch
	case p.CommitteeHash != com.Hash():
		return cert.ErrWrongCommittee
	case len(c.Bitmap) == 0:
		return cert.ErrBitmap
	}
	var power uint64
	var sum bls.Signature
	message := c.Checkpoint.Message()
	for _, i := range c.Signers() {
		if i >= len(com.Members) {
			return cert.ErrStranger
		}
		power += com.Members[i].Power
		add(&sum, vote(&com.Members[i], message))
	}
	if power < com.Quorum() {
		return fmt.Errorf("power %d: %w", power, cert.ErrTooLittlePower)
	}
	if sum != c.Signature {
		return errFalse
	}
	return nil
}
