package committee

import (
	"errors"
	"fmt"
	"slices"

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

// headSize is the length of what stands before the committee.
const headSize = 24 + 2*ledger.HashSize + 1

func (r *Record) writeHead(w *codec.Writer) {
	w.Uint32(r.Rules.Seats)
	w.Uint32(r.Rules.PowerCapBps)
	w.Uint64(r.Rules.MinStake)
	w.Uint64(r.Rules.MinSelfStake)
	w.Fixed(r.Seed[:])
	w.Fixed(r.Candidates[:])
	w.Bool(r.Kept)
}

func (r *Record) readHead(c *codec.Reader) {
	r.Rules = Rules{Seats: c.Uint32(), PowerCapBps: c.Uint32(), MinStake: c.Uint64(), MinSelfStake: c.Uint64()}
	c.Into(r.Seed[:])
	c.Into(r.Candidates[:])
	r.Kept = c.Bool()
}

// Encode returns the canonical encoding: seats 4, cap 4, smallest stake 8 and
// own stake 8, seed 32, hash of the candidates 32, kept 1 (0 or 1), committee.
func (r *Record) Encode() []byte {
	w := codec.NewWriter(headSize + 10 + memberSize*len(r.Committee.Members))
	r.writeHead(w)
	r.Committee.write(w)
	return w.Bytes()
}

// EncodeShort is Encode for whoever has the committee from elsewhere: with its hash 32
// in its place, and so 121 bytes, however many members it has.
func (r *Record) EncodeShort() []byte {
	w := codec.NewWriter(headSize + ledger.HashSize)
	r.writeHead(w)
	h := r.Committee.Hash()
	w.Fixed(h[:])
	return w.Bytes()
}

// DecodeShort reads what EncodeShort wrote. The members of c may stand in any order
// unless the record is Kept: they get that of the election. The error is
// ErrBadCommittee if c is not the record's committee. c is not changed.
func DecodeShort(b []byte, c *Committee) (Record, error) {
	r := codec.NewReader(b)
	out := Record{Committee: Committee{Epoch: c.Epoch, Members: slices.Clone(c.Members)}}
	out.readHead(r)
	var h ledger.Hash
	r.Into(h[:])
	if err := r.Done(); err != nil {
		return Record{}, fmt.Errorf("decode short election record: %w", err)
	}
	if !out.Kept {
		order(out.Seed, out.Committee.Members)
	}
	if got := out.Committee.Hash(); got != h {
		return Record{}, fmt.Errorf("committee of epoch %d has the hash %s, the record is of %s: %w", c.Epoch, got, h, ErrBadCommittee)
	}
	return out, nil
}

// DecodeRecord reads what Encode wrote, with the errors of Decode. It does not
// recompute the election.
func DecodeRecord(b []byte) (Record, error) {
	r := codec.NewReader(b)
	var out Record
	out.readHead(r)
	out.Committee = read(r)
	if err := r.Done(); err != nil {
		return Record{}, fmt.Errorf("decode election record: %w", err)
	}
	if err := out.Committee.check(); err != nil {
		return Record{}, err
	}
	return out, nil
}
