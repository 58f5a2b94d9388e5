package registry

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// Who serves which shard. Of what thousands of shards have in common nothing is stored
// twice: keys are in the validators' rows, stakes in one row for each epoch, and the
// pools and assignments say of whom they are by rows.

// pool keeps, for each service, the candidates that serve it, for the draw of epoch, with
// what they have worked for it, which is nothing where nothing proves it. They ascend by
// row.
func (c *Context) pool(epoch uint64, candidates []committee.Candidate) {
	serve := make([]bool, len(candidates))
	for _, s := range Services(c.State) {
		r := s.Rules(c.Epochs.PowerCapBps)
		w := codec.NewWriter(32 + 3*len(candidates))
		w.Uint32(r.Seats)
		w.Uint32(r.PowerCapBps)
		w.Uint64(r.MinStake)
		w.Uint64(r.MinSelfStake)
		for i := range candidates {
			if row := candidates[i].Validator; Serves(c.State, s.ID, row) {
				serve[i] = true
				work := uint32(0)
				if s.Proof != zone.NoProof {
					work = workBps(WorkOf(c.State, s.ID, row), candidates[i].Stake)
				}
				w.Uvarint(row)
				w.Uvarint(uint64(work))
			}
		}
		c.State.Set(PoolKey(epoch, s.ID), w.Bytes())
		c.decay(s.ID)
	}
	var list []committee.Candidate
	for i := range candidates {
		if serve[i] {
			list = append(list, candidates[i])
		}
	}
	if len(list) > 0 {
		c.State.Set(stakesKey(epoch), append([]byte{stakesFull}, committee.EncodeCandidates(list)...))
	}
}

// How the candidates of an epoch are stored: with all that a draw needs, or only with
// what they had staked.
const (
	stakesFull  = 1
	stakesShort = 2
)

// shorten stores the candidates of an epoch that is over with their stakes alone, and
// forgets who was in which pool and how others were drawn from it.
func (c *Context) shorten(epoch uint64) {
	for _, s := range Services(c.State) {
		c.State.Delete(PoolKey(epoch, s.ID))
	}
	var redraws [][]byte
	for k := range c.State.Range(redrawPrefix(epoch)) {
		redraws = append(redraws, slices.Clone(k))
	}
	for _, k := range redraws {
		c.State.Delete(k)
	}
	list := candidatesAt(c.State, epoch)
	if len(list) == 0 {
		return
	}
	w := codec.NewWriter(1 + 12*len(list))
	w.Uint8(stakesShort)
	for i := range list {
		w.Uvarint(list[i].Validator)
		w.Uvarint(list[i].Stake)
	}
	c.State.Set(stakesKey(epoch), w.Bytes())
}

// candidatesAt returns the candidates of an epoch that is not over, ascending by row.
func candidatesAt(v chain.View, epoch uint64) []committee.Candidate {
	b := v.Get(stakesKey(epoch))
	if len(b) == 0 || b[0] != stakesFull {
		return nil
	}
	list, err := committee.DecodeCandidates(b[1:])
	mustRead("candidates", err)
	return list
}

// StakeOf returns what the validator at row had staked when the committees of an epoch
// were drawn, if it could be drawn for any, and ok=false if not. That was at the
// election of the main chain's committee of the epoch before. It is known as long as
// the assignments.
func StakeOf(v chain.View, epoch, row uint64) (stake ledger.Amount, ok bool) {
	b := v.Get(stakesKey(epoch))
	if len(b) == 0 {
		return 0, false
	}
	if b[0] == stakesFull {
		list := candidatesAt(v, epoch)
		i, ok := slices.BinarySearchFunc(list, row, func(c committee.Candidate, row uint64) int { return cmp.Compare(c.Validator, row) })
		if !ok {
			return 0, false
		}
		return ledger.Amount(list[i].Stake), true
	}
	r := codec.NewReader(b[1:])
	for r.Remaining() > 0 && r.Err() == nil {
		at, staked := r.Uvarint(1<<64-1), r.Uvarint(uint64(ledger.MaxAmount))
		if at == row && r.Err() == nil {
			return ledger.Amount(staked), true
		}
	}
	mustRead("stakes", r.Done())
	return 0, false
}

// ReadPool returns the pool from which a service's committees are drawn for an epoch,
// and ok=false if there is none, not yet, or not any more: pools are kept from the
// present epoch on.
func ReadPool(v chain.View, epoch uint64, service uint32) (p shard.Pool, ok bool) {
	return poolOf(v, epoch, service, candidatesAt(v, epoch))
}

// poolOf is ReadPool with the candidates of the epoch, ascending by row.
func poolOf(v chain.View, epoch uint64, service uint32, all []committee.Candidate) (p shard.Pool, ok bool) {
	b := v.Get(PoolKey(epoch, service))
	if b == nil {
		return shard.Pool{}, false
	}
	r := codec.NewReader(b)
	p = shard.Pool{Service: service, Rules: committee.Rules{Seats: r.Uint32(), PowerCapBps: r.Uint32(), MinStake: r.Uint64(), MinSelfStake: r.Uint64()}}
	for r.Remaining() > 0 && r.Err() == nil {
		row, work := r.Uvarint(1<<64-1), r.Uvarint(shard.MaxWorkBps)
		i, ok := slices.BinarySearchFunc(all, row, func(c committee.Candidate, row uint64) int { return cmp.Compare(c.Validator, row) })
		if !ok {
			mustRead("pool of candidates", fmt.Errorf("validator %d is no candidate of epoch %d", row, epoch))
		}
		p.Candidates = append(p.Candidates, shard.Candidate{Candidate: all[i], WorkBps: uint32(work)})
	}
	mustRead("pool of candidates", r.Done())
	return p, true
}

// put stores an assignment.
func (c *Context) put(epoch uint64, a *shard.Assignment) {
	s := a.Short()
	c.State.Set(AssignmentKey(epoch, a.Shard), s.Encode())
}

// members reads assignments, and remembers whose keys it has seen.
type members struct {
	v     chain.View
	known map[uint64]committee.Member // without power
}

func (m *members) open(epoch uint64, id shard.ID, row []byte) shard.Assignment {
	s, err := shard.DecodeShort(row)
	mustRead("assignment", err)
	com := committee.Committee{Epoch: epoch, Members: make([]committee.Member, len(s.Seats))}
	for i, seat := range s.Seats {
		x, seen := m.known[seat.Validator]
		if !seen {
			val, ok := staking.ReadValidator(m.v, seat.Validator)
			if !ok {
				mustRead("assignment", fmt.Errorf("shard %d: there is no validator %d", id, seat.Validator))
			}
			x = committee.Member{Validator: seat.Validator, ConsensusKey: val.ConsensusKey, BLSKey: val.BLSKey}
			m.known[seat.Validator] = x
		}
		x.Power = seat.Power
		com.Members[i] = x
	}
	a, err := s.Open(id, com)
	mustRead("assignment", err)
	return a
}

// shorts yields the rows of the assignments of an epoch, ascending by shard.
func shorts(v chain.View, epoch uint64) iter.Seq2[shard.ID, []byte] {
	return func(yield func(shard.ID, []byte) bool) {
		for k, b := range v.Range(epochPrefix(epoch)) {
			if !yield(shard.ID(binary.BigEndian.Uint32(k[len(k)-4:])), b) {
				return
			}
		}
	}
}

// ReadAssignment returns who serves a shard in an epoch, and ok=false if that is
// not drawn yet, is forgotten, or the epoch has no such shard. It reads the row of each
// member.
func ReadAssignment(v chain.View, epoch uint64, id shard.ID) (a shard.Assignment, ok bool) {
	b := v.Get(AssignmentKey(epoch, id))
	if b == nil {
		return shard.Assignment{}, false
	}
	m := members{v, map[uint64]committee.Member{}}
	return m.open(epoch, id, b), true
}

// ReadServing returns who served a shard in an epoch when it was in a generation: who is
// assigned to it, unless others were in that one, before they lost their seats by a redraw.
// They are remembered as long as the others, because of what they signed.
func ReadServing(v chain.View, epoch uint64, id shard.ID, generation uint32) (a shard.Assignment, ok bool) {
	from := formerKey(epoch, id, generation)
	for k, b := range v.Range(from[:len(from)-4]) { // ascending
		if bytes.Compare(k, from) >= 0 {
			m := members{v, map[uint64]committee.Member{}}
			return m.open(epoch, id, b), true
		}
	}
	return ReadAssignment(v, epoch, id)
}

// ReadShort is ReadAssignment without the members' keys, for a fraction of the cost.
func ReadShort(v chain.View, epoch uint64, id shard.ID) (s shard.Short, ok bool) {
	b := v.Get(AssignmentKey(epoch, id))
	if b == nil {
		return shard.Short{}, false
	}
	s, err := shard.DecodeShort(b)
	mustRead("assignment", err)
	return s, true
}

// Assignments returns who serves which shard in an epoch, ascending by id. Those of
// shards that are replaced in it are there too: see shard.Assignment.Last.
func Assignments(v chain.View, epoch uint64) (list []shard.Assignment) {
	m := members{v, map[uint64]committee.Member{}}
	for id, b := range shorts(v, epoch) {
		list = append(list, m.open(epoch, id, b))
	}
	return list
}

// draw draws the committees of an epoch; now is the map of the epoch before.
func (c *Context) draw(epoch uint64, now *shard.Map) {
	for _, a := range shard.Assign(Inputs(c.State, epoch, shard.Apply(now))) {
		c.put(epoch, &a)
	}
}

// Redraw gives a shard a committee by lots of its own in the epoch of the block, since
// that which it has missed its anchors. round is 1 for the first time in an epoch
// (anchor.Context.Round). The same members serve the next epoch, which is drawn
// already, or those before would come back. It returns false, and changes nothing, if nobody
// else can be drawn. Who is jailed by now cannot; who is absent from the main chain
// (staking.Away), and some of those who failed, are set back as shard.Redraw says, the
// absent only if that leaves others than those who failed. It is called
// before End and anchor.Context.Redrawn: of stalled shards after the block's votes are
// counted, on a conflict among its records, by what was known before the block. Anybody can draw the
// same again: see RedrawInputs.
//
// A shard that is replaced and has not come to its end gets a committee for that too.
func (c *Context) Redraw(id shard.ID, round uint32) (drawn bool) {
	m, on := ReadMap(c.State)
	if !on {
		return false
	}
	epoch := c.epoch()
	at, serves := find(m, id)
	now, ok := ReadAssignment(c.State, epoch, id)
	r := redrawing{round: round, away: staking.Away(c.State, c.Epochs, c.Height)}
	p, _ := ReadPool(c.State, epoch, at.Service)
	for i := range p.Candidates {
		row := p.Candidates[i].Validator
		if val, ok := staking.ReadValidator(c.State, row); !ok || val.Jailed || val.Tombstoned {
			r.out = append(r.out, row)
		}
	}
	a := shard.Redraw(r.inputs(c.State, m, p, &now), id, round)
	if len(r.away) > 0 && sameMembers(&now.Committee, &a.Committee) {
		r.away = nil
		a = shard.Redraw(r.inputs(c.State, m, p, &now), id, round)
	}
	if len(a.Committee.Members) == 0 || sameMembers(&now.Committee, &a.Committee) {
		return false
	}
	if ok {
		row, _ := anchor.Read(c.State, id)
		before := now.Short()
		c.State.Set(formerKey(epoch, id, row.Generation), before.Encode())
		c.State.Set(redrawKey(epoch, id, row.Generation), r.encode())
	}
	a.Last = !serves
	c.put(epoch, &a)
	for e := epoch + 1; e <= epoch+beacon.Lag; e++ {
		if next, ok := ReadShort(c.State, e, id); ok {
			a.Committee.Epoch, a.Kept, a.Last = e, true, next.Last
			c.put(e, &a)
		}
	}
	c.note(Event{Kind: EventRedrawn, TxIndex: -1, Service: at.Service, Zone: at.Zone, Shards: []shard.ID{id}, Epoch: epoch})
	return true
}

// redrawing is what decided a redraw that the state does not show any more later.
type redrawing struct {
	round     uint32
	out, away []uint64 // validators by row: who could not be drawn, and shard.Inputs.Away
}

// encode returns the round 4, and behind their numbers the rows, as varints.
func (r *redrawing) encode() []byte {
	w := codec.NewWriter(8 + 3*(len(r.out)+len(r.away)))
	w.Uint32(r.round)
	for _, rows := range [][]uint64{r.out, r.away} {
		w.Uvarint(uint64(len(rows)))
		for _, row := range rows {
			w.Uvarint(row)
		}
	}
	return w.Bytes()
}

func decodeRedrawing(b []byte) (r redrawing, err error) {
	d := codec.NewReader(b)
	r.round = d.Uint32()
	for _, rows := range []*[]uint64{&r.out, &r.away} {
		for range d.Uvarint(uint64(d.Remaining())) {
			*rows = append(*rows, d.Uvarint(1<<64-1))
		}
	}
	return r, d.Done()
}

// inputs returns what others are drawn from for those who served a shard. Who served in the
// epoch before does not matter, nor do other services: it is Inputs without them.
func (r *redrawing) inputs(v chain.View, m *shard.Map, p shard.Pool, failed *shard.Assignment) shard.Inputs {
	p.Candidates = slices.DeleteFunc(p.Candidates, func(x shard.Candidate) bool { return slices.Contains(r.out, x.Validator) })
	in := shard.Inputs{Seed: staking.Seed(v, m.Epoch()), Map: m, Pools: []shard.Pool{p}, Away: r.away}
	for i := range failed.Committee.Members {
		in.Failed = append(in.Failed, failed.Committee.Members[i].Validator)
	}
	return in
}

// RedrawInputs returns what decided who followed those that served a shard in a generation
// in the running epoch, and the round: shard.Redraw of them has the members that
// ReadServing tells of the next generation in that epoch. It is ok=false if nobody did, and
// when the epoch is over, whose pools are forgotten then.
func RedrawInputs(v chain.View, id shard.ID, generation uint32) (in shard.Inputs, round uint32, ok bool) {
	m, on := ReadMap(v)
	if !on {
		return shard.Inputs{}, 0, false
	}
	b := v.Get(redrawKey(m.Epoch(), id, generation))
	if b == nil {
		return shard.Inputs{}, 0, false
	}
	r, err := decodeRedrawing(b)
	mustRead("redraw", err)
	failed, _ := ReadServing(v, m.Epoch(), id, generation)
	at, _ := find(m, id)
	p, ok := ReadPool(v, m.Epoch(), at.Service)
	return r.inputs(v, m, p, &failed), r.round, ok
}

func sameMembers(a, b *committee.Committee) bool {
	return len(a.Members) == len(b.Members) && !slices.ContainsFunc(a.Members, func(m committee.Member) bool {
		_, ok := b.FindValidator(m.Validator)
		return !ok
	})
}

// find returns a shard of a map, or, with serves=false, an heir of one that was
// replaced.
func find(m *shard.Map, id shard.ID) (s shard.Shard, serves bool) {
	if s, serves = m.Find(id); serves {
		return s, true
	}
	if heirs := m.Heirs(id); len(heirs) > 0 {
		s = heirs[0]
	}
	return s, false
}

// Inputs returns what decides who serves in an epoch whose map is m: public data from
// which everybody draws the same committees. The state has all of it for the present
// epoch, whose map is ReadMap's, for the next one, whose map is shard.Apply of that,
// and, in the last block of an epoch, for the one that is drawn. Committees that Redraw
// has replaced are by other lots: RedrawInputs says which.
func Inputs(v chain.View, epoch uint64, m *shard.Map) shard.Inputs {
	in := shard.Inputs{Seed: staking.Seed(v, epoch), Map: m}
	all := candidatesAt(v, epoch)
	for _, service := range m.Services() {
		if p, ok := poolOf(v, epoch, service, all); ok {
			in.Pools = append(in.Pools, p)
		}
	}
	if epoch > 0 {
		in.Previous = Assignments(v, epoch-1)
	}
	return in
}
