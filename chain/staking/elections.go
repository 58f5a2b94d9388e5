package staking

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// An epoch's committee is remembered for a thousand epochs and more, so that its
// faults can be punished, and mostly it is the one before. So only the last two
// elections are in the state as a whole, for the proofs by which one committee hands
// over to the next. Of those before are left what decided them, with the hash of the
// committee, and the seats, which are stored once for all epochs in a row that have the
// same ones. Keys are in the validators' rows, which keep them for ever.

// seat is what the state remembers of a member.
type seat struct {
	row, power uint64
	stake      ledger.Amount // at the election
}

const seatSize = 8 + 8 + 8

// seatsAt returns the seats of the epoch's committee, and the epoch under which they are
// stored; nil if it is forgotten or not elected yet. They stand by ascending row, since
// the order of the election, by lot where powers are equal, is another one each time;
// those of members that were kept stand in their order, which no election made.
func seatsAt(v chain.View, epoch uint64) (seats []seat, at uint64) {
	b := v.Get(seatsKey(epoch))
	if len(b) == 8 { // the epoch that had the same
		epoch = binary.BigEndian.Uint64(b)
		b = v.Get(seatsKey(epoch))
	}
	if len(b)%seatSize != 0 {
		mustRead("seats of a committee", fmt.Errorf("%d bytes", len(b)))
	}
	for ; len(b) > 0; b = b[seatSize:] {
		seats = append(seats, seat{
			row: binary.BigEndian.Uint64(b), power: binary.BigEndian.Uint64(b[8:]),
			stake: ledger.Amount(binary.BigEndian.Uint64(b[16:])),
		})
	}
	return seats, epoch
}

// putSeats stores the seats of an epoch's committee, or where the same are.
func (c *Context) putSeats(epoch uint64, seats []seat) {
	if epoch > 0 {
		if before, at := seatsAt(c.State, epoch-1); slices.Equal(before, seats) {
			c.State.Set(seatsKey(epoch), binary.BigEndian.AppendUint64(nil, at))
			return
		}
	}
	b := make([]byte, 0, seatSize*len(seats))
	for _, s := range seats {
		b = binary.BigEndian.AppendUint64(b, s.row)
		b = binary.BigEndian.AppendUint64(b, s.power)
		b = binary.BigEndian.AppendUint64(b, uint64(s.stake))
	}
	c.State.Set(seatsKey(epoch), b)
}

// electionAt returns the election of an epoch's committee.
func electionAt(v chain.View, epoch uint64) (committee.Record, bool) {
	rec, ok, err := readElection(v, epoch, func(row uint64) (committee.Member, error) { return memberAt(v, row) })
	mustRead("election", err)
	return rec, ok
}

// memberAt returns the validator at row as a member without power.
func memberAt(v chain.View, row uint64) (committee.Member, error) {
	val, ok := ReadValidator(v, row)
	if !ok {
		return committee.Member{}, fmt.Errorf("there is no validator %d", row)
	}
	return committee.Member{Validator: row, ConsensusKey: val.ConsensusKey, BLSKey: val.BLSKey}, nil
}

// readElection is electionAt with members that member knows.
func readElection(v chain.View, epoch uint64, member func(row uint64) (committee.Member, error)) (rec committee.Record, ok bool, err error) {
	if b := v.Get(CommitteeKey(epoch)); b != nil {
		rec, err = committee.DecodeRecord(b)
		return rec, true, err
	}
	b := v.Get(PastCommitteeKey(epoch))
	if b == nil {
		return committee.Record{}, false, nil
	}
	com := committee.Committee{Epoch: epoch}
	seats, _ := seatsAt(v, epoch)
	for _, s := range seats {
		m, err := member(s.row)
		if err != nil {
			return rec, true, err
		}
		m.Power = s.power
		com.Members = append(com.Members, m)
	}
	rec, err = committee.DecodeShort(b, &com)
	return rec, true, err
}

// hold stores an election with the stakes of its members.
func (c *Context) hold(rec *committee.Record, all []committee.Candidate) {
	seats := make([]seat, len(rec.Committee.Members))
	for n, m := range rec.Committee.Members {
		i, ok := slices.BinarySearchFunc(all, m.Validator, func(x committee.Candidate, row uint64) int { return cmp.Compare(x.Validator, row) })
		seats[n] = seat{row: m.Validator, power: m.Power}
		if ok {
			seats[n].stake = ledger.Amount(all[i].Stake)
		} else { // it stays although it could not be elected
			v := mustValidator(c.State, m.Validator)
			seats[n].stake = v.Tokens
		}
	}
	if !rec.Kept {
		slices.SortFunc(seats, func(a, b seat) int { return cmp.Compare(a.row, b.row) })
	}
	c.State.Set(CommitteeKey(rec.Committee.Epoch), rec.Encode())
	c.putSeats(rec.Committee.Epoch, seats)
}

// shorten stores an election as those of the past are.
func (c *Context) shorten(epoch uint64) {
	rec, ok := electionAt(c.State, epoch)
	if !ok {
		return
	}
	c.State.Delete(CommitteeKey(epoch))
	c.State.Set(PastCommitteeKey(epoch), rec.EncodeShort())
}

// forgetElection forgets that of an epoch, the oldest that is remembered. Its seats stay
// where they are as long as a later epoch has the same.
func (c *Context) forgetElection(epoch uint64) {
	_, at := seatsAt(c.State, epoch)
	if _, next := seatsAt(c.State, epoch+1); next != at {
		c.State.Delete(seatsKey(at))
	}
	if at != epoch {
		c.State.Delete(seatsKey(epoch))
	}
	c.State.Delete(PastCommitteeKey(epoch))
	c.State.Delete(SeedKey(epoch))
}

// elections checks that the seats of every election that is remembered are found and are
// those of its committee, and that no others are there.
func (a *auditor) elections() error {
	used := map[string]bool{}
	remembered := 0
	members := map[uint64]committee.Member{} // of a thousand epochs, mostly the same
	member := func(row uint64) (m committee.Member, err error) {
		m, known := members[row]
		if !known {
			m, err = memberAt(a.v, row)
			members[row] = m
		}
		return m, err
	}
	for _, prefix := range []byte{prefixElection, prefixPast} {
		for key := range a.v.Range([]byte{prefix}) {
			epoch := binary.BigEndian.Uint64(key[1:])
			rec, _, err := readElection(a.v, epoch, member)
			if err != nil {
				return fmt.Errorf("election of epoch %d: %w", epoch, err)
			}
			seats, at := seatsAt(a.v, epoch)
			powers := make(map[uint64]uint64, len(seats))
			for _, s := range seats {
				powers[s.row] = s.power
			}
			same := len(seats) == len(rec.Committee.Members) && len(seats) == len(powers)
			for _, m := range rec.Committee.Members {
				same = same && powers[m.Validator] == m.Power
			}
			if !same || len(seats) == 0 || rec.Committee.Epoch != epoch {
				return fmt.Errorf("the committee of epoch %d does not have the seats of epoch %d", epoch, at)
			}
			used[string(seatsKey(epoch))], used[string(seatsKey(at))] = true, true
			remembered++
		}
	}
	for key := range a.v.Range([]byte{prefixSeats}) {
		if !used[string(key)] {
			return fmt.Errorf("seats %x are of no epoch", key)
		}
	}
	if p, ok := readProgress(a.v); ok && remembered == 0 && p.Validators > 0 {
		return fmt.Errorf("no committee of %d validators is remembered", p.Validators)
	}
	return nil
}

// electable checks that exactly those are listed as electable that are.
func (a *auditor) electable(row uint64, val *Validator) error {
	if listed := a.v.Get(electableKey(row)) != nil; listed != val.Electable(a.p) {
		return fmt.Errorf("it is listed as electable: %t, which is wrong", listed)
	}
	return nil
}

// list keeps the list of those who can be elected, by which an election finds them
// without a look at all who ever registered.
func (c *Context) list(row uint64, v *Validator) {
	key := electableKey(row)
	switch can := v.Electable(c.Rules); {
	case can == (c.State.Get(key) != nil):
	case can:
		c.State.Set(key, []byte{})
	default:
		c.State.Delete(key)
	}
}

// Candidates returns all who can be elected, ascending by row. It reads no others.
func Candidates(v chain.View) (list []committee.Candidate) {
	for key := range v.Range([]byte{prefixElectable}) {
		row := binary.BigEndian.Uint64(key[1:])
		val := mustValidator(v, row)
		list = append(list, committee.Candidate{
			Validator: row, ConsensusKey: val.ConsensusKey, BLSKey: val.BLSKey,
			Stake: uint64(val.Tokens), SelfStake: uint64(val.Self()),
		})
	}
	return list
}
