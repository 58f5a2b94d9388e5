package exec

import (
	"bytes"
	"errors"
	"sync"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
)

// A member whose signature did not go with a vote that others saw, since it came to the
// block late or its vote did, signs the checkpoint when others ask for it: see gather.go.
// It signs what it has committed, in the round in which that was decided, and nothing else:
//
//   - Who votes as it should cannot have signed another block of that round: members with
//     more than two thirds of the power have precommitted this one in it.
//   - The checkpoint is the one that was stored with the block, so that it is the same after
//     a restart.
//   - A member that has sent another signature of the block or of the round, as far as it
//     remembers or finds it among the votes stored with the block, signs nothing: its state
//     was not the same each time, and one of them is wrong.
const (
	// keptSent is of how many of the last heights a node remembers what it signed, and of
	// how many its late signatures.
	keptSent = 64

	// What an answer begins with.
	answerCertificate = byte('c')
	answerSignatures  = byte('s')
	// maxShares is how many signatures an answer has at most: who gets them verifies each.
	maxShares = 16
)

// errWrongAnswer means an answer that no honest node gives.
var errWrongAnswer = errors.New("wrong answer about signatures")

// sent remembers what this node signed. It is safe for concurrent use.
type sent struct {
	mu    sync.Mutex
	voted map[uint64][]cert.Checkpoint // what went with votes, by height
	late  map[uint64]lateShare         // by height
}

// lateShare is this node's signature of a checkpoint, or ok=false if it does not sign it.
type lateShare struct {
	checkpoint cert.Checkpoint
	member     int
	signature  bls.Signature
	ok         bool
}

// add takes note of what goes with a vote.
func (s *sent) add(c *cert.Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.voted == nil {
		s.voted = make(map[uint64][]cert.Checkpoint)
	}
	for height := range s.voted {
		if height+keptSent <= c.Height {
			delete(s.voted, height)
		}
	}
	s.voted[c.Height] = append(s.voted[c.Height], *c)
}

// differs reports whether something went with a vote that c contradicts: another
// checkpoint of the same round, or of the same block.
func (s *sent) differs(c *cert.Checkpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.voted[c.Height] {
		if v.Generation != c.Generation {
			continue
		}
		if v.Round == c.Round || v.BlockHash == c.BlockHash {
			v.Round = c.Round
			if v != *c {
				return true
			}
		}
	}
	return false
}

// of returns what is known of this node's late signature of a checkpoint.
func (s *sent) of(c *cert.Checkpoint) (share lateShare, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	share, known = s.late[c.Height]
	return share, known && share.checkpoint == *c
}

// keep keeps it.
func (s *sent) keep(share *lateShare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late == nil || len(s.late) >= keptSent {
		s.late = make(map[uint64]lateShare)
	}
	s.late[share.checkpoint.Height] = *share
}

// decided sets the round of a stored checkpoint to that in which its block was decided.
// ok is false if consensus does not know that, or committed another block.
func (e *Executor) decided(c *cert.Checkpoint) (ok bool) {
	if e.cfg.CommitRound == nil {
		return false
	}
	hash, round, err := e.cfg.CommitRound(c.Height)
	if err != nil || !bytes.Equal(hash, c.BlockHash[:]) {
		return false
	}
	c.Round = round
	return true
}

// signLate signs the checkpoint of a block that is committed, with the round in which it
// was decided (decided), if this node is a member of its committee el.
func (e *Executor) signLate(c *cert.Checkpoint, el *electorate) lateShare {
	if share, known := e.sent.of(c); known {
		return share
	}
	share := lateShare{checkpoint: *c}
	member, ok := el.holder(e.cfg.BLS)
	if ok && !e.isHalted() && c.Height <= e.head.Load().height && !e.sent.differs(c) && e.sameAsVote(c, el, member) {
		share.member, share.signature, share.ok = member, e.cfg.BLS.Sign(c.Message()), true
	}
	e.sent.keep(&share)
	return share
}

// sameAsVote reports whether what went with this node's vote for a block, if that is stored
// with it, is a signature of the same checkpoint.
func (e *Executor) sameAsVote(c *cert.Checkpoint, el *electorate, member int) bool {
	if e.cfg.Extensions == nil {
		return true
	}
	_, extensions, err := e.cfg.Extensions(c.Height)
	if err != nil {
		return true // none are stored
	}
	own := el.committee.Members[member].Address()
	for i := range extensions {
		x := &extensions[i]
		if bytes.Equal(x.Validator[:], own[:]) && len(x.Data) > 0 {
			voted := *c
			voted.Round = x.Round
			signature := e.cfg.BLS.Sign(voted.Message())
			return bytes.Equal(signature[:], x.Data)
		}
	}
	return true
}

// Answer answers another node that has no certificate of a block (gather.go): with the
// certificate, or with the signatures of its checkpoint that this node has and the other
// lacks: its own, if it is a member, and those that others gave it. nil means that it has
// neither. It is safe for concurrent use.
func (e *Executor) Answer(question []byte) (answer []byte) {
	var err error
	defer contain("answer about signatures", &err) // who asked gets nothing
	height, have, err := decodeQuestion(question)
	if err != nil || e.cfg.CommitRound == nil || height == 0 || height > e.head.Load().height {
		return nil
	}
	certificate, err := e.certificateKept(height)
	if err != nil {
		return nil
	}
	if certificate != nil {
		return append([]byte{answerCertificate}, certificate.Encode()...)
	}
	checkpoint, err := e.checkpointKept(height)
	if err != nil || checkpoint == nil || !e.decided(checkpoint) {
		return nil
	}
	el, err := e.electorateKnown(checkpoint)
	if err != nil || el == nil {
		return nil
	}
	lacks := cert.Certificate{Bitmap: have}
	var shares []cert.Vote
	if own := e.signLate(checkpoint, el); own.ok && !lacks.Signed(own.member) {
		shares = append(shares, cert.Vote{Member: own.member, Signature: own.signature})
	}
	for _, v := range e.lacking.right(checkpoint) {
		if len(shares) < maxShares && !lacks.Signed(v.Member) && (len(shares) == 0 || shares[0].Member != v.Member) {
			shares = append(shares, v)
		}
	}
	if len(shares) == 0 {
		return nil
	}
	return encodeShares(height, checkpoint.Round, shares)
}

// certificateKept returns the certificate of the block at height, nil if there is none.
func (e *Executor) certificateKept(height uint64) (*cert.Certificate, error) {
	certificate, err := e.certificates.get(height)
	switch {
	case err == nil:
		return &certificate, nil
	case !errors.Is(err, ErrNoCertificate):
		return nil, err
	case !e.endsEpoch(height):
		return nil, nil //nolint:nilnil // none is no error
	}
	raw, err := e.handovers().store.Get(handoverKey(handoverCertificate, e.traits.Staking.Epoch(height)+1, height))
	if err != nil || raw == nil {
		return nil, err
	}
	certificate, err = cert.Decode(raw)
	return &certificate, err
}

// checkpointKept returns what the committee signs of the block at height, nil if this node
// does not know, or not any more.
func (e *Executor) checkpointKept(height uint64) (*cert.Checkpoint, error) {
	checkpoint, err := e.checkpointAt(height)
	if checkpoint != nil || err != nil || !e.endsEpoch(height) {
		return checkpoint, err
	}
	return e.handoverCheckpoint(e.traits.Staking.Epoch(height)+1, height)
}

// encodeQuestion asks for what is lacking of the block at height: its height 8, and in
// the shortest form which members' signatures are there.
func encodeQuestion(height uint64, have []byte) []byte {
	w := codec.NewWriter(8 + 2 + len(have))
	w.Uint64(height)
	w.String16(string(have))
	return w.Bytes()
}

func decodeQuestion(raw []byte) (height uint64, have []byte, err error) {
	r := codec.NewReader(raw)
	height, have = r.Uint64(), []byte(r.String16(cert.MaxBitmap))
	return height, have, r.Done()
}

// encodeShares is an answer with signatures: kind 1, height 8, round 4, number 2, and of
// each the member 2 and the signature 48.
func encodeShares(height uint64, round uint32, shares []cert.Vote) []byte {
	w := codec.NewWriter(1 + 8 + 4 + 2 + len(shares)*(2+bls.SignatureSize))
	w.Uint8(answerSignatures)
	w.Uint64(height)
	w.Uint32(round)
	w.Uint16(uint16(len(shares))) //nolint:gosec // maxShares at most
	for i := range shares {
		w.Uint16(uint16(shares[i].Member)) //nolint:gosec // below committee.MaxSeats
		w.Fixed(shares[i].Signature[:])
	}
	return w.Bytes()
}

// decodeShares reads an answer with signatures behind its first byte.
func decodeShares(raw []byte) (height uint64, round uint32, shares []cert.Vote, err error) {
	r := codec.NewReader(raw)
	height, round = r.Uint64(), r.Uint32()
	n := int(r.Uint16())
	if n == 0 || n > maxShares {
		return 0, 0, nil, errWrongAnswer
	}
	for range n {
		v := cert.Vote{Member: int(r.Uint16())}
		r.Into(v.Signature[:])
		shares = append(shares, v)
	}
	return height, round, shares, r.Done()
}

// withoutRound returns c as all of its signatures have it.
func withoutRound(c cert.Checkpoint) cert.Checkpoint {
	c.Round = 0
	return c
}
