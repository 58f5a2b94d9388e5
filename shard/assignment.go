package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// ErrBadPool means candidates whose work counts more than it may.
var ErrBadPool = errors.New("not a pool of candidates")

// maxPoolBytes bounds the encoded candidates of a pool: committee.MaxCandidates
// of at most 256 bytes.
const maxPoolBytes = committee.MaxCandidates * 256

// Encode returns the canonical encoding: shard 4, kept 1, last 1, committee.
func (a *Assignment) Encode() []byte {
	body := a.Committee.Encode()
	w := codec.NewWriter(6 + len(body))
	w.Uint32(uint32(a.Shard))
	w.Bool(a.Kept)
	w.Bool(a.Last)
	w.Fixed(body)
	return w.Bytes()
}

// DecodeAssignment reads what Encode wrote, with the errors of committee.Decode.
func DecodeAssignment(b []byte) (Assignment, error) {
	r := codec.NewReader(b)
	a := Assignment{Shard: ID(r.Uint32()), Kept: r.Bool(), Last: r.Bool()}
	body := r.Fixed(r.Remaining())
	if err := r.Done(); err != nil {
		return Assignment{}, fmt.Errorf("decode assignment: %w", err)
	}
	var err error
	if a.Committee, err = committee.Decode(body); err != nil {
		return Assignment{}, fmt.Errorf("decode assignment of shard %d: %w", a.Shard, err)
	}
	return a, nil
}

// Encode returns the canonical encoding: service 4, seats 4, cap 4, smallest
// stake 8 and own stake 8, the candidates as committee.EncodeCandidates writes
// them behind their length 4, and the work 4 of each in the same order, by row.
func (p *Pool) Encode() []byte {
	ordered := slices.Clone(p.Candidates)
	slices.SortStableFunc(ordered, func(a, b Candidate) int { return cmp.Compare(a.Validator, b.Validator) })
	list := make([]committee.Candidate, len(ordered))
	for i := range ordered {
		list[i] = ordered[i].Candidate
	}
	body := committee.EncodeCandidates(list)
	w := codec.NewWriter(32 + len(body) + 4*len(list))
	w.Uint32(p.Service)
	w.Uint32(p.Rules.Seats)
	w.Uint32(p.Rules.PowerCapBps)
	w.Uint64(p.Rules.MinStake)
	w.Uint64(p.Rules.MinSelfStake)
	w.Bytes32(body)
	for i := range ordered {
		w.Uint32(ordered[i].WorkBps)
	}
	return w.Bytes()
}

// Hash returns the hash of the pool's encoding, which whoever recomputes an
// assignment compares.
func (p *Pool) Hash() ledger.Hash { return ledger.HashOf("trib/shard/pool/1", p.Encode()) }

// DecodePool reads what Encode wrote, candidates by row, with the errors of
// committee.DecodeCandidates. It returns ErrBadPool for work above MaxWorkBps.
func DecodePool(b []byte) (Pool, error) {
	r := codec.NewReader(b)
	p := Pool{Service: r.Uint32()}
	p.Rules = committee.Rules{Seats: r.Uint32(), PowerCapBps: r.Uint32(), MinStake: r.Uint64(), MinSelfStake: r.Uint64()}
	body := r.Bytes32(maxPoolBytes)
	if err := r.Err(); err != nil {
		return Pool{}, fmt.Errorf("decode pool: %w", err)
	}
	list, err := committee.DecodeCandidates(body)
	if err != nil {
		return Pool{}, fmt.Errorf("decode pool of service %d: %w", p.Service, err)
	}
	p.Candidates = make([]Candidate, len(list))
	for i := range list {
		p.Candidates[i] = Candidate{Candidate: list[i], WorkBps: r.Uint32()}
		if w := p.Candidates[i].WorkBps; w > MaxWorkBps {
			return Pool{}, fmt.Errorf("decode pool of service %d: work of validator %d is %d basis points, at most %d: %w",
				p.Service, list[i].Validator, w, MaxWorkBps, ErrBadPool)
		}
	}
	if err := r.Done(); err != nil {
		return Pool{}, fmt.Errorf("decode pool: %w", err)
	}
	return p, nil
}
