package sim

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// errFalse means a certificate whose signature is not that of its signers.
var errFalse = errors.New("signature is not the sum of the signers'")

// session is a committee of a chain, with who of it is malicious.
type session struct {
	committee committee.Committee
	hash      ledger.Hash
	malicious []bool // by member
}

// sitting names a committee of a chain.
type sitting struct {
	id   ledger.ChainID
	hash ledger.Hash
}

// session returns what the members of a chain's committee are like. Malicious ones have
// less than two thirds of the power, but in a shard that is corrupt.
func (w *World) session(n *node, c committee.Committee) *session {
	at := sitting{n.id, c.Hash()}
	if s := w.net.sessions[at]; s != nil {
		return s
	}
	s := &session{committee: c, hash: at.hash, malicious: make([]bool, len(c.Members))}
	for i := range s.malicious {
		switch {
		case n.isMain():
		case n == w.liar:
			s.malicious[i] = !s.corrupt()
		default:
			if s.malicious[i] = w.chance(30); s.corrupt() {
				s.malicious[i] = false
			}
		}
	}
	w.net.sessions[at] = s
	return s
}

// sitting returns the committee that decides a chain's block at a height, which is the
// next one.
func (w *World) sitting(n *node, height uint64) *session {
	if n.isMain() {
		e := w.net.params.Staking.Epoch(height)
		if n.sits == nil || n.sits.committee.Epoch != e {
			c, ok := staking.ReadCommittee(n.view, e)
			if !ok {
				w.failf("main has no committee of epoch %d", e)
			}
			n.sits = w.session(n, c)
		}
		return n.sits
	}
	c, ok := shardblock.Committee(w.base(n), height)
	if !ok {
		w.failf("shard %d has forgotten who votes block %d", n.id, height)
	}
	return w.session(n, c)
}

// power returns the power of the members that are in.
func (s *session) power(in func(i int) bool) (sum uint64) {
	for i := range s.committee.Members {
		if in(i) {
			sum += s.committee.Members[i].Power
		}
	}
	return sum
}

// decides reports whether members that are up have a quorum; the malicious ones
// among them take part if they are willing.
func (s *session) decides(n *node, willing bool) bool {
	return s.power(func(i int) bool { return s.signs(n, i, willing) }) >= s.committee.Quorum()
}

// signs reports whether a member takes part in a block of its chain.
func (s *session) signs(n *node, i int, willing bool) bool {
	return !n.down[s.committee.Members[i].Validator] && (willing || !s.malicious[i])
}

// corrupt reports whether the malicious members certify what they like.
func (s *session) corrupt() bool {
	return s.power(func(i int) bool { return s.malicious[i] }) >= s.committee.Quorum()
}

// vote is the share of a member of a signature over a checkpoint: the model of a BLS
// signature, whose sums are by exclusive or. It begins with a byte that no point does.
func vote(m *committee.Member, message ledger.Hash) bls.Signature {
	var v bls.Signature
	h := ledger.HashOf("sim/vote", m.ConsensusKey[:], message[:])
	copy(v[1:], h[:])
	return v
}

// messageOf returns what members sign.
func messageOf(c *cert.Checkpoint) ledger.Hash { return ledger.HashOf("sim/message", c.Message()) }

// certify returns the certificate of a checkpoint by the members that are in, whatever
// their power.
func (w *World) certify(n *node, s *session, c cert.Checkpoint, in func(i int) bool) cert.Certificate {
	c.Network, c.Chain, c.Epoch, c.CommitteeHash = w.net.id, n.id, s.committee.Epoch, s.hash
	out := cert.Certificate{Checkpoint: c}
	message := messageOf(&out.Checkpoint)
	for i := range s.committee.Members {
		if !in(i) {
			continue
		}
		for len(out.Bitmap) <= i/8 {
			out.Bitmap = append(out.Bitmap, 0)
		}
		out.Bitmap[i/8] |= 1 << (i % 8)
		add(&out.Signature, vote(&s.committee.Members[i], message))
	}
	return out
}

// verify is cert.Certificate.Verify of a block of main with the model of the signature:
// the same refusals in the same order.
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
	message := messageOf(&c.Checkpoint)
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

// proved returns the hashes of the runs of anchors in transactions whose signatures hold
// by the model. chain/anchor takes them as verified, as it does after admission; the others
// it verifies itself, and none of them holds.
func (n *network) proved(txs []settlementTx) func(ledger.Hash) bool {
	if n.fault == FaultCertificates {
		return func(ledger.Hash) bool { return true }
	}
	holds := map[ledger.Hash]bool{}
	for i := range txs {
		if txs[i].Refused != nil {
			continue
		}
		for _, run := range runsOf(&txs[i].Tx) {
			if n.signed(&run) {
				holds[run.Hash()] = true
			}
		}
	}
	return func(run ledger.Hash) bool { return holds[run] }
}

// runsOf returns the runs of heights that a transaction brings, if it is well formed.
func runsOf(tx *chain.Tx) []cert.Run {
	switch tx.Kind {
	case chain.KindAnchor:
		if a, err := anchor.DecodeAnchors(tx.Payload); err == nil {
			return a.Runs
		}
	case chain.KindAnchorConflict:
		if c, err := anchor.DecodeConflict(tx.Payload); err == nil {
			return []cert.Run{c.A, c.B}
		}
	default:
	}
	return nil
}

// signed reports whether the signature of a run is the sum of its signers'.
func (n *network) signed(r *cert.Run) bool {
	var sum bls.Signature
	for i := range r.Heads {
		c := r.Checkpoint(i)
		s := n.sessions[sitting{c.Chain, c.CommitteeHash}]
		if s == nil {
			return false
		}
		message := messageOf(&c)
		for _, member := range r.Signers(i) {
			if member >= len(s.committee.Members) {
				return false
			}
			add(&sum, vote(&s.committee.Members[member], message))
		}
	}
	return sum == r.Signature
}

// add adds a signature of the model.
func add(sum *bls.Signature, s bls.Signature) {
	for i := range s {
		sum[i] ^= s[i]
	}
}

// decode returns the decoded keys of a committee: settlement.Keys.
func (n *network) decode(c *committee.Committee) ([]*bls.Key, error) {
	keys := make([]*bls.Key, len(c.Members))
	for i := range c.Members {
		keys[i] = n.keys.bls[c.Members[i].BLSKey]
	}
	return keys, nil
}
