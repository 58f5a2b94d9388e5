package committee

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Errors of recomputing an election.
var (
	// ErrWrongCandidates means candidates that are not those of the election.
	ErrWrongCandidates = errors.New("candidates are not those of the election")
	// ErrWrongElection means a committee that its candidates do not elect.
	ErrWrongElection = errors.New("the candidates elect another committee")
)

// Record is an election: the committee and all that decided it.
type Record struct {
	Committee Committee
	Rules     Rules
	// Seed broke the ties.
	Seed ledger.Hash
	// Candidates is HashCandidates of those who could be elected.
	Candidates ledger.Hash
	// Kept says that nobody could be elected, and the members are those of the epoch
	// before, since a chain without a committee would be dead.
	Kept bool
}

// Hold elects the committee of epoch.
func Hold(epoch uint64, r Rules, seed ledger.Hash, candidates []Candidate) Record {
	return Record{
		Committee:  Committee{Epoch: epoch, Members: Elect(r, seed, candidates)},
		Rules:      r,
		Seed:       seed,
		Candidates: HashCandidates(candidates),
	}
}

// HoldAfter is Hold, but if candidates elect nobody, the members of the committee
// before stay.
func HoldAfter(before *Committee, epoch uint64, r Rules, seed ledger.Hash, candidates []Candidate) Record {
	rec := Hold(epoch, r, seed, candidates)
	if len(rec.Committee.Members) == 0 {
		rec.Committee.Members, rec.Kept = before.Members, true
	}
	return rec
}

// Check recomputes the election from candidates, in any order, from anywhere.
// It returns ErrWrongCandidates if they are not those that r names, and
// ErrWrongElection, naming the first member that differs, if they elect another
// committee under r's rules and seed. Of a record that is Kept it checks that they
// elect nobody; that its members are those of the epoch before is for whoever
// has that committee to compare.
func (r *Record) Check(candidates []Candidate) error {
	if h := HashCandidates(candidates); h != r.Candidates {
		return fmt.Errorf("epoch %d: candidates %s, want %s: %w", r.Committee.Epoch, h, r.Candidates, ErrWrongCandidates)
	}
	want := Elect(r.Rules, r.Seed, candidates)
	if r.Kept {
		if len(want) != 0 {
			return fmt.Errorf("epoch %d: the members before were kept, elected are %d: %w", r.Committee.Epoch, len(want), ErrWrongElection)
		}
		return nil
	}
	if len(want) != len(r.Committee.Members) {
		return fmt.Errorf("epoch %d: %d members, elected are %d: %w", r.Committee.Epoch, len(r.Committee.Members), len(want), ErrWrongElection)
	}
	for i, m := range r.Committee.Members {
		if m != want[i] {
			return fmt.Errorf("epoch %d: member %d is validator %d with power %d, elected is validator %d with power %d: %w",
				r.Committee.Epoch, i, m.Validator, m.Power, want[i].Validator, want[i].Power, ErrWrongElection)
		}
	}
	return nil
}

// Encode returns the canonical encoding: seats 4, cap 4, smallest stake 8 and
// own stake 8, seed 32, hash of the candidates 32, kept 1 (0 or 1), committee.
func (r *Record) Encode() []byte {
	w := codec.NewWriter(24 + 2*ledger.HashSize + 1 + 10 + memberSize*len(r.Committee.Members))
	w.Uint32(r.Rules.Seats)
	w.Uint32(r.Rules.PowerCapBps)
	w.Uint64(r.Rules.MinStake)
	w.Uint64(r.Rules.MinSelfStake)
	w.Fixed(r.Seed[:])
	w.Fixed(r.Candidates[:])
	w.Bool(r.Kept)
	r.Committee.write(w)
	return w.Bytes()
}

// DecodeRecord reads what Encode wrote, with the errors of Decode. It does not
// recompute the election.
func DecodeRecord(b []byte) (Record, error) {
	r := codec.NewReader(b)
	var out Record
	out.Rules = Rules{Seats: r.Uint32(), PowerCapBps: r.Uint32(), MinStake: r.Uint64(), MinSelfStake: r.Uint64()}
	r.Into(out.Seed[:])
	r.Into(out.Candidates[:])
	out.Kept = r.Bool()
	out.Committee = read(r)
	if err := r.Done(); err != nil {
		return Record{}, fmt.Errorf("decode election record: %w", err)
	}
	if err := out.Committee.check(); err != nil {
		return Record{}, err
	}
	return out, nil
}
