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

// seats is the committee of a chain, with who of it is malicious and who is up.
type seats struct {
	committee committee.Committee
	hash      ledger.Hash
	chain     ledger.ChainID
	network   ledger.NetworkID
	malicious []bool
	down      []bool
}

func newSeats(network ledger.NetworkID, id ledger.ChainID, powers []uint64, keys *Keys) *seats {
	s := &seats{chain: id, network: network, malicious: make([]bool, len(powers)), down: make([]bool, len(powers))}
	for i, p := range powers {
		name := ledger.HashOf("sim/member", binary.BigEndian.AppendUint64(nil, uint64(id)<<16|uint64(i)))
		s.committee.Members = append(s.committee.Members, committee.Member{
			Validator: uint64(i), ConsensusKey: name, BLSKey: keys.bls[i].Public(), Power: p,
		})
	}
	s.hash = s.committee.Hash()
	return s
}

// power returns the power of the members that are in.
func (s *seats) power(in func(i int) bool) (sum uint64) {
	for i := range s.committee.Members {
		if in(i) {
			sum += s.committee.Members[i].Power
		}
	}
	return sum
}

// decides reports whether members that are up have a quorum; the malicious ones
// among them take part if they are willing.
func (s *seats) decides(willing bool) bool {
	return s.power(func(i int) bool { return !s.down[i] && (willing || !s.malicious[i]) }) >= s.committee.Quorum()
}

// corrupt reports whether the malicious members certify what they like.
func (s *seats) corrupt() bool {
	return s.power(func(i int) bool { return s.malicious[i] }) >= s.committee.Quorum()
}

// vote is the share of a member of a signature over a checkpoint: the model of a BLS
// signature, whose sums are by exclusive or.
func (s *seats) vote(member int, message []byte) bls.Signature {
	var v bls.Signature
	h := ledger.HashOf("sim/vote", s.committee.Members[member].ConsensusKey[:], message)
	copy(v[:], h[:])
	return v
}

// certify returns the certificate of a checkpoint by the members that are in,
// whatever their power.
func (s *seats) certify(c cert.Checkpoint, in func(i int) bool) cert.Certificate {
	c.Network, c.Chain, c.CommitteeHash = s.network, s.chain, s.hash
	out := cert.Certificate{Checkpoint: c}
	message := out.Checkpoint.Message()
	for i := range s.committee.Members {
		if !in(i) {
			continue
		}
		for len(out.Bitmap) <= i/8 {
			out.Bitmap = append(out.Bitmap, 0)
		}
		out.Bitmap[i/8] |= 1 << (i % 8)
		add(&out.Signature, s.vote(i, message))
	}
	return out
}

// verify is cert.Certificate.Verify with the model of the signature: the same
// refusals in the same order.
func (s *seats) verify(c *cert.Certificate) error {
	switch p := &c.Checkpoint; {
	case p.Network != s.network:
		return cert.ErrWrongNetwork
	case p.Chain != s.chain:
		return cert.ErrWrongChain
	case p.Epoch != s.committee.Epoch:
		return cert.ErrWrongEpoch
	case p.CommitteeHash != s.hash:
		return cert.ErrWrongCommittee
	case len(c.Bitmap) == 0:
		return cert.ErrBitmap
	}
	for _, i := range c.Signers() {
		if i >= len(s.committee.Members) {
			return cert.ErrStranger
		}
	}
	if power := s.power(c.Signed); power < s.committee.Quorum() {
		return fmt.Errorf("power %d: %w", power, cert.ErrTooLittlePower)
	}
	if s.certify(c.Checkpoint, c.Signed).Signature != c.Signature {
		return errFalse
	}
	return nil
}
