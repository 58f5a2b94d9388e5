package cert

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxRun is the largest number of heights of a Run.
	MaxRun = 64
	// headSize is the length of an encoded Head.
	headSize = 1 + 4 + 5*ledger.HashSize
	// runFixed is the length of an encoded Run but for its sets and heads.
	runFixed = ledger.HashSize + 4 + 4 + 8 + 1 + 1 + bls.SignatureSize
	// setFixed is the length of an encoded SignerSet but for its bitmap.
	setFixed = 8 + ledger.HashSize + 2
	// MaxRunSize is the length of the longest encoded Run in bytes.
	MaxRunSize = runFixed + MaxRun*(setFixed+MaxBitmap+headSize)
)

// Errors of runs, beside those of certificates.
var (
	// ErrGap and ErrRepeat mean heights that do not follow each other: one is
	// missing between two certificates, or one comes again.
	ErrGap    = errors.New("a height is missing")
	ErrRepeat = errors.New("a height comes again")
	// ErrNotCanonical means a run that is written as no other is: without heights or
	// with more than MaxRun, beginning at height 0 or ending beyond the last one, with
	// sets of signers that are not in the order of their first use, repeated or not
	// used.
	ErrNotCanonical = errors.New("run is not in its canonical form")
)

// SignerSet is members of one committee who signed together. Heights of a run with
// the same signers share it.
type SignerSet struct {
	Epoch         uint64
	CommitteeHash ledger.Hash
	// Bitmap is as in Certificate.
	Bitmap []byte
}

// Head is what a run says of one height. The rest of the checkpoint is in the run
// and in the signers' set.
type Head struct {
	// Set is the index of those who signed, in Run.Sets.
	Set         uint8
	Round       uint32
	BlockHash   ledger.Hash
	StateRoot   ledger.Hash
	OutboxRoot  ledger.Hash
	UsageRoot   ledger.Hash
	ResultsRoot ledger.Hash
}

// Run proves the checkpoints of heights that follow each other, as so many
// certificates would, with one signature for all of them: the sum of theirs.
//
// Checkpoints do not name the one before, so each height needs its own signatures,
// of more than two thirds of its epoch's committee. But signatures of different
// messages add up as those of one do, and where the same members signed several
// heights the work is shared: a run costs a pairing for each set of signers, not for
// each height (bls.VerifyMany). One without the others cannot be taken out again:
// who wants another part of it makes a run of the certificates.
type Run struct {
	Network ledger.NetworkID
	Chain   ledger.ChainID
	// Generation is that of all heights.
	Generation uint32
	// First is the height of Heads[0], at least 1.
	First uint64
	// Sets are in the order of their first use; each is used, and no two are equal.
	Sets []SignerSet
	// Heads are 1 to MaxRun heights, ascending by one.
	Heads []Head
	// Signature is the sum of all signers' signatures of all checkpoints' messages.
	Signature bls.Signature
}

// Join returns the run of certificates, by ascending heights without a gap, all of
// one chain. It verifies nothing but the form of what it is given: whoever sends the run
// verifies them before, since one that is wrong spoils it and cannot be told from the
// others then.
//
// ErrNotCanonical: none or more than MaxRun, or height 0. ErrGap, ErrRepeat: heights
// do not follow each other; also those that descend repeat. ErrWrongNetwork,
// ErrWrongChain, ErrWrongGeneration: certificates of different chains. ErrBitmap, bls.ErrBadSignature:
// one is no certificate. bls.ErrIdentity: the signatures cancel out.
func Join(certificates []Certificate) (Run, error) {
	if n := len(certificates); n == 0 || n > MaxRun {
		return Run{}, fmt.Errorf("join %d certificates, want 1 to %d: %w", n, MaxRun, ErrNotCanonical)
	}
	first := &certificates[0].Checkpoint
	r := Run{Network: first.Network, Chain: first.Chain, Generation: first.Generation, First: first.Height}
	shares := make([]bls.Signature, len(certificates))
	for i := range certificates {
		c := &certificates[i]
		p := &c.Checkpoint
		if err := c.checkBitmap(); err != nil {
			return Run{}, fmt.Errorf("certificate of height %d: %w", p.Height, err)
		}
		switch want := r.First + uint64(i); {
		case p.Network != r.Network:
			return Run{}, fmt.Errorf("certificate of height %d: network %s after %s: %w", p.Height, p.Network, r.Network, ErrWrongNetwork)
		case p.Chain != r.Chain:
			return Run{}, fmt.Errorf("certificate of height %d: chain %d after %d: %w", p.Height, p.Chain, r.Chain, ErrWrongChain)
		case p.Generation != r.Generation:
			return Run{}, fmt.Errorf("certificate of height %d: generation %d after %d: %w", p.Height, p.Generation, r.Generation, ErrWrongGeneration)
		case p.Height > want:
			return Run{}, fmt.Errorf("height %d comes where %d is wanted: %w", p.Height, want, ErrGap)
		case p.Height < want:
			return Run{}, fmt.Errorf("height %d comes where %d is wanted: %w", p.Height, want, ErrRepeat)
		}
		r.Heads = append(r.Heads, Head{
			Set: r.set(SignerSet{p.Epoch, p.CommitteeHash, c.Bitmap}), Round: p.Round,
			BlockHash: p.BlockHash, StateRoot: p.StateRoot, OutboxRoot: p.OutboxRoot, UsageRoot: p.UsageRoot, ResultsRoot: p.ResultsRoot,
		})
		shares[i] = c.Signature
	}
	if err := r.check(); err != nil {
		return Run{}, err
	}
	var err error
	if r.Signature, err = bls.Aggregate(shares); err != nil {
		return Run{}, fmt.Errorf("join the certificates of heights %d to %d: %w", r.First, r.Last(), err)
	}
	return r, nil
}

// set returns the index of a set of signers, which it adds if it is new.
func (r *Run) set(s SignerSet) uint8 {
	at := slices.IndexFunc(r.Sets, func(old SignerSet) bool { return old.equal(&s) })
	if at < 0 {
		at = len(r.Sets)
		r.Sets = append(r.Sets, s)
	}
	return uint8(at)
}

func (s *SignerSet) equal(o *SignerSet) bool {
	return s.Epoch == o.Epoch && s.CommitteeHash == o.CommitteeHash && bytes.Equal(s.Bitmap, o.Bitmap)
}

// Last returns the height of the last head.
func (r *Run) Last() uint64 { return r.First + uint64(len(r.Heads)) - 1 }

// Checkpoint returns the checkpoint of Heads[i], whose height is First+i.
func (r *Run) Checkpoint(i int) Checkpoint {
	h := &r.Heads[i]
	s := &r.Sets[h.Set]
	return Checkpoint{
		Network: r.Network, Chain: r.Chain, Generation: r.Generation, Height: r.First + uint64(i), Round: h.Round, Epoch: s.Epoch,
		BlockHash: h.BlockHash, StateRoot: h.StateRoot, OutboxRoot: h.OutboxRoot, UsageRoot: h.UsageRoot, ResultsRoot: h.ResultsRoot,
		CommitteeHash: s.CommitteeHash,
	}
}

// Signers returns the indices of the members that signed Heads[i], ascending, as the
// bitmap says.
func (r *Run) Signers(i int) []int {
	c := Certificate{Bitmap: r.Sets[r.Heads[i].Set].Bitmap}
	return c.Signers()
}

// Hash returns the hash of the encoding.
func (r *Run) Hash() ledger.Hash { return ledger.HashOf("trib/checkpoint/run/1", r.Encode()) }

// Encode returns the canonical encoding: network 32, chain 4, generation 4, first height 8,
// number of sets 1, number of heights 1, for each set epoch 8, committee hash 32 and
// the bitmap behind its length 2, for each height the index of its set 1, round 4,
// block hash, state root, outbox root, usage root and results root 32 each, and the
// signature 48.
func (r *Run) Encode() []byte {
	w := codec.NewWriter(runFixed + len(r.Sets)*(setFixed+16) + len(r.Heads)*headSize)
	w.Fixed(r.Network[:])
	w.Uint32(uint32(r.Chain))
	w.Uint32(r.Generation)
	w.Uint64(r.First)
	w.Uint8(uint8(len(r.Sets)))
	w.Uint8(uint8(len(r.Heads)))
	for i := range r.Sets {
		s := &r.Sets[i]
		w.Uint64(s.Epoch)
		w.Fixed(s.CommitteeHash[:])
		w.String16(string(s.Bitmap))
	}
	for i := range r.Heads {
		h := &r.Heads[i]
		w.Uint8(h.Set)
		w.Uint32(h.Round)
		for _, hash := range h.hashes() {
			w.Fixed(hash[:])
		}
	}
	w.Fixed(r.Signature[:])
	return w.Bytes()
}

func (h *Head) hashes() [5]*ledger.Hash {
	return [5]*ledger.Hash{&h.BlockHash, &h.StateRoot, &h.OutboxRoot, &h.UsageRoot, &h.ResultsRoot}
}

// DecodeRun reads what Encode wrote. It returns ErrNotCanonical or ErrBitmap for a
// run of another form. It verifies nothing.
func DecodeRun(b []byte) (Run, error) {
	rd := codec.NewReader(b)
	var r Run
	rd.Into(r.Network[:])
	r.Chain, r.Generation, r.First = ledger.ChainID(rd.Uint32()), rd.Uint32(), rd.Uint64()
	sets, heads := int(rd.Uint8()), int(rd.Uint8())
	if rd.Err() == nil && (sets > MaxRun || heads > MaxRun) {
		return Run{}, fmt.Errorf("decode run: %d heights with %d sets of signers, at most %d: %w", heads, sets, MaxRun, ErrNotCanonical)
	}
	for range sets {
		s := SignerSet{Epoch: rd.Uint64()}
		rd.Into(s.CommitteeHash[:])
		s.Bitmap = []byte(rd.String16(MaxBitmap))
		if rd.Err() != nil {
			break
		}
		r.Sets = append(r.Sets, s)
	}
	for range heads {
		h := Head{Set: rd.Uint8(), Round: rd.Uint32()}
		for _, hash := range h.hashes() {
			rd.Into(hash[:])
		}
		if rd.Err() != nil {
			break
		}
		r.Heads = append(r.Heads, h)
	}
	rd.Into(r.Signature[:])
	if err := rd.Done(); err != nil {
		return Run{}, fmt.Errorf("decode run: %w", err)
	}
	if err := r.check(); err != nil {
		return Run{}, err
	}
	return r, nil
}

// check returns an error unless the run is in its canonical form.
func (r *Run) check() error {
	n := len(r.Heads)
	switch {
	case n == 0 || n > MaxRun:
		return fmt.Errorf("run of %d heights, want 1 to %d: %w", n, MaxRun, ErrNotCanonical)
	case r.First == 0 || r.First > math.MaxUint64-MaxRun:
		return fmt.Errorf("run begins at height %d: %w", r.First, ErrNotCanonical)
	}
	used := 0
	for i := range r.Heads {
		switch set := int(r.Heads[i].Set); {
		case set > used:
			return fmt.Errorf("height %d uses set %d before set %d: %w", r.First+uint64(i), set, used, ErrNotCanonical)
		case set == used:
			used++
		}
	}
	if used != len(r.Sets) {
		return fmt.Errorf("%d sets of signers, %d are used: %w", len(r.Sets), used, ErrNotCanonical)
	}
	for i := range r.Sets {
		if c := (Certificate{Bitmap: r.Sets[i].Bitmap}); c.checkBitmap() != nil {
			return fmt.Errorf("set %d of the run: %w", i, c.checkBitmap())
		}
		for j := range i {
			if r.Sets[i].equal(&r.Sets[j]) {
				return fmt.Errorf("set %d is set %d again: %w", i, j, ErrNotCanonical)
			}
		}
	}
	return nil
}

// Committees returns the committee of an epoch of the chain with its decoded keys
// (committee.Keys), or ok=false if none is known. It always answers the same.
type Committees func(epoch uint64) (com *committee.Committee, keys []*bls.Key, ok bool)

// Verify returns nil if the run is of chain of network and in its canonical form,
// its epochs do not fall, and for each height members of the committee of its epoch
// with more than two thirds of the power signed the checkpoint. That the heights are
// the wanted ones is the caller's to know.
//
// It returns ErrNotCanonical, ErrBitmap, ErrWrongNetwork, ErrWrongChain,
// ErrWrongGeneration, ErrWrongEpoch (no committee is known for an epoch, or a height is of an earlier
// epoch than the one before it), ErrWrongCommittee, ErrWrongKeys, ErrStranger,
// ErrTooLittlePower or ErrBadSignature, the first that holds. The signature is looked
// at last, at the cost of bls.VerifyMany with one group for each set of signers; it
// does not say which height is not signed.
func (r *Run) Verify(network ledger.NetworkID, chain ledger.ChainID, committees Committees) error {
	groups, err := r.groups(network, chain, committees)
	if err != nil {
		return err
	}
	if !bls.VerifyMany(groups, r.Signature) {
		return fmt.Errorf("heights %d to %d, %d sets of signers: %w", r.First, r.Last(), len(r.Sets), ErrBadSignature)
	}
	return nil
}

// Check is Verify without the signature: cheap, and with the same errors otherwise.
// Of a run that passes, the bytes alone decide whether Verify does: they name the
// committees by their hashes. So whoever has verified a run may remember its Hash.
func (r *Run) Check(network ledger.NetworkID, chain ledger.ChainID, committees Committees) error {
	_, err := r.groups(network, chain, committees)
	return err
}

// groups returns who signed what, if everything but the signature is right.
func (r *Run) groups(network ledger.NetworkID, chain ledger.ChainID, committees Committees) ([]bls.Group, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := checkPlace(r.Network, r.Chain, r.Generation, network, chain); err != nil {
		return nil, err
	}
	groups := make([]bls.Group, len(r.Sets))
	var now seats
	for i := range r.Heads {
		set := r.Heads[i].Set
		s := &r.Sets[set]
		c := r.Checkpoint(i)
		if i > 0 && s.Epoch < now.epoch {
			return nil, fmt.Errorf("height %d is of epoch %d, the one before of epoch %d: %w", c.Height, s.Epoch, now.epoch, ErrWrongEpoch)
		}
		if i == 0 || s.Epoch != now.epoch || s.CommitteeHash != now.hash {
			var err error
			if now, err = seatsOf(&c, committees); err != nil {
				return nil, err
			}
		}
		if groups[set].Keys == nil {
			signed := Certificate{Bitmap: s.Bitmap}
			keys, err := signed.signing(now.com, now.keys)
			if err != nil {
				return nil, fmt.Errorf("height %d: %w", c.Height, err)
			}
			groups[set].Keys = keys
		}
		groups[set].Messages = append(groups[set].Messages, c.Message())
	}
	return groups, nil
}

// seats is a committee that a checkpoint names.
type seats struct {
	epoch uint64
	hash  ledger.Hash
	com   *committee.Committee
	keys  []*bls.Key
}

// seatsOf returns the committee that c names.
func seatsOf(c *Checkpoint, committees Committees) (seats, error) {
	com, keys, ok := committees(c.Epoch)
	if !ok {
		return seats{}, fmt.Errorf("height %d: no committee is known for epoch %d: %w", c.Height, c.Epoch, ErrWrongEpoch)
	}
	if err := c.checkCommittee(com, keys); err != nil {
		return seats{}, fmt.Errorf("height %d: %w", c.Height, err)
	}
	return seats{c.Epoch, c.CommitteeHash, com, keys}, nil
}
