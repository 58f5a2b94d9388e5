package shard

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// MaxWorkBps is how much more often proven work has a validator drawn at most,
// in basis points: half as often again.
const MaxWorkBps = 5_000

// ErrWrongAssignment means committees that are not those that were drawn.
var ErrWrongAssignment = errors.New("others were drawn")

// Candidate is a validator that registered for a service and may serve it.
type Candidate struct {
	committee.Candidate
	// WorkBps is how much more often than by its stake alone it is drawn for what
	// it has proved to have done for the service, 0 to MaxWorkBps (more counts as
	// MaxWorkBps), in basis points. Work gives seats, and what seats earn, but no
	// votes: see Assign.
	WorkBps uint32
}

// Pool is who may serve the shards of a service.
type Pool struct {
	Service uint32
	// Rules are those of the service: Seats of the committee of each of its shards,
	// 1 to committee.MaxSeats (0 counts as 1), and as in an election the smallest stakes, and the cap
	// above which stake counts neither in the draw nor in votes.
	Rules committee.Rules
	// Candidates have distinct rows. Of more than committee.MaxSeats those with the
	// highest stakes take part.
	Candidates []Candidate
}

// Assignment is who serves a shard in an epoch.
type Assignment struct {
	Shard     ID
	Committee committee.Committee
	// Kept says that nobody could be drawn, and the members are those of the epoch
	// before, or of the parents: a chain without a committee would be dead. It has no
	// members only if there were none before. It is set for the epoch after a Redraw as well,
	// which those who were drawn then serve on.
	Kept bool
	// Last says that the shard is replaced in this epoch. The members are those of the
	// epoch before, and certify its last height: the first one of this epoch.
	Last bool
}

// Inputs is all that decides who serves in an epoch. All of it is public. The
// order of lists does not matter.
type Inputs struct {
	// Seed is the epoch's (consensus/beacon).
	Seed ledger.Hash
	// Map is that of the epoch, its Epoch the one that is drawn for.
	Map *Map
	// Pools are of distinct services, with the candidates as they stood before Seed
	// was known.
	Pools []Pool
	// Previous are the committees of the epoch before, those of shards that are
	// replaced in this epoch too.
	Previous []Assignment
	// Redraw are shards that get a new committee at once and not by rotation, since
	// theirs has missed its anchors.
	Redraw []ID
	// Failed are those who served the shard that Redraw is asked for and missed its
	// anchors, and Away those whom the main chain finds absent, those first that missed
	// most of its blocks; validators by row. Redraw sets them back.
	Failed, Away []uint64
}

// Assign draws the committee of every shard of the map, and keeps those of the shards
// that the map replaces (Assignment.Last), by ascending id.
//
// Candidates are drawn by lot with the weight of their capped stake, raised by
// WorkBps; each shard has lots of its own. Where there are no more candidates
// than seats all of them serve. From epoch to epoch members change as
// committee.Rotate says, at most committee.RotationBps of the seats. The heirs of
// a split begin with the members of the parent, those of a merge with the
// members of both, who hold the state already.
//
// Where all candidates serve, each votes with its capped stake, in units of
// committee.PowerUnit. Where seats are drawn, so does whoever's weight fills a
// seat. The others vote with their stake times the weight of a seat by their own
// weight, a seat being one of those that the former leave, with the part of the
// weight that they leave: who is drawn stands for those who were not. So on
// average everybody votes with the share of its stake, whatever the number of
// seats, and many small candidates get no more votes than their stake; with equal
// work small stakes vote alike, which is what SecurityOf reckons with; and more
// work means more seats with fewer votes each. The sum of powers is at most
// committee.MaxTotalPower; should those of the parents that are Kept be more,
// they are halved.
//
// Members stand by power, highest first, then by row.
func Assign(in Inputs) []Assignment {
	d := newDraw(&in)
	list := make([]Assignment, 0, in.Map.Len())
	for _, at := range in.Map.byID {
		s := in.Map.shards[at]
		var before []committee.Member
		if !d.redraw[s.ID] {
			before = d.before(s)
		}
		a := d.assign(s.ID, d.pools[s.Service], before, 0)
		if a.Kept {
			a.Committee.Members = standing(d.before(s), committee.MaxSeats)
		}
		list = append(list, a)
	}
	for _, id := range in.Map.Replaced() {
		if members := d.previous[id]; len(members) > 0 {
			list = append(list, Assignment{Shard: id, Committee: committee.Committee{Epoch: d.epoch, Members: slices.Clone(members)}, Kept: true, Last: true})
		}
	}
	slices.SortFunc(list, func(a, b Assignment) int { return cmp.Compare(a.Shard, b.Shard) })
	return list
}

// Redraw returns a committee for a shard in an epoch that has begun, drawn anew:
// that of Assign in this epoch, or of an earlier round, has missed its anchors.
// round is 1 for the first of an epoch. The committee is empty, and Kept, if
// nobody can be drawn, or the map has neither the shard nor, of one that it replaced,
// an heir.
//
// Some candidates have no lot: first those who are Away, those that missed most first,
// and then, in an order by lot, those who Failed, each unless the weight of all who are
// set back would exceed a third of that of all candidates, or fewer were left than seats.
// Nobody knows which members of a committee failed it, so with two of four gone, of six
// candidates, five first draws of six have three of the others, and all have if main
// finds these two absent.
//
// Nobody gains by that. Less than a third of main's power cannot have anybody be Away. Who
// makes a committee fail on purpose has a third of its votes at least, more than its share
// of the candidates, and where weights are equal each of those who Failed is as likely to
// be set back as any other: so its share of the lots falls. Who makes others fail, and
// so chooses when to draw, chooses among committees each of which has, by itself, the same
// chances as one for which nobody is set back: those who failed were drawn by lot, and so
// are those of them that are set back. And whatever the weights, at least two thirds of
// them have lots, so that no share of the lots is more than half as much again as that of
// the candidates.
func Redraw(in Inputs, id ID, round uint32) Assignment {
	s, ok := in.Map.Find(id)
	if heirs := in.Map.Heirs(id); !ok && len(heirs) > 0 {
		s, ok = heirs[0], true
	}
	d := newDraw(&in)
	at := slices.IndexFunc(in.Pools, func(p Pool) bool { return p.Service == s.Service })
	if !ok || at < 0 {
		return d.assign(id, nil, nil, round)
	}
	u := d.pools[s.Service]
	if back := u.setBack(&in, fmt.Sprintf("trib/shard/set-back/1/%d/%d/%d", id, d.epoch, round)); len(back) > 0 {
		p := in.Pools[at]
		p.Candidates = slices.DeleteFunc(slices.Clone(p.Candidates), func(c Candidate) bool { return back[c.Validator] })
		u = p.urn(in.Seed)
	}
	return d.assign(id, u, nil, round)
}

// setBack returns who has no lot in a redraw; tag is that of the order of those who failed.
func (u *urn) setBack(in *Inputs, tag string) map[uint64]bool {
	weight, total := make(map[uint64]uint64, len(u.lots)), uint64(0)
	for i := range u.lots {
		weight[u.lots[i].Validator] = u.lots[i].Power
		total += u.lots[i].Power
	}
	failed := make([]committee.Member, len(in.Failed))
	for i, row := range in.Failed {
		failed[i] = committee.Member{Validator: row, Power: 1}
	}
	order := slices.Clone(in.Away)
	for _, m := range committee.Draw(in.Seed, tag, failed, len(failed)) {
		order = append(order, m.Validator)
	}
	back, gone := make(map[uint64]bool), uint64(0)
	for _, row := range order {
		w, drawn := weight[row]
		if !drawn || back[row] || len(u.lots)-len(back) <= u.seats || 3*(gone+w) > total {
			continue
		}
		back[row] = true
		gone += w
	}
	return back
}

// Check draws the committees again. It returns ErrWrongAssignment, naming the
// first shard and member that differ, unless they are given, by ascending id.
func (in Inputs) Check(given []Assignment) error {
	want := Assign(in)
	if len(given) != len(want) {
		return fmt.Errorf("epoch %d: %d committees, drawn are %d: %w", in.Map.Epoch(), len(given), len(want), ErrWrongAssignment)
	}
	for i, g := range given {
		w := want[i]
		if g.Shard != w.Shard || g.Kept != w.Kept || g.Last != w.Last || g.Committee.Epoch != w.Committee.Epoch || len(g.Committee.Members) != len(w.Committee.Members) {
			return fmt.Errorf("shard %d in epoch %d has %d members, kept %v, last %v; drawn are %d for shard %d in epoch %d, kept %v, last %v: %w",
				g.Shard, g.Committee.Epoch, len(g.Committee.Members), g.Kept, g.Last, len(w.Committee.Members), w.Shard, w.Committee.Epoch, w.Kept, w.Last, ErrWrongAssignment)
		}
		for j, m := range g.Committee.Members {
			if x := w.Committee.Members[j]; m != x {
				return fmt.Errorf("shard %d: member %d is validator %d with power %d, drawn is validator %d with power %d: %w",
					g.Shard, j, m.Validator, m.Power, x.Validator, x.Power, ErrWrongAssignment)
			}
		}
	}
	return nil
}

// draw is Inputs, prepared.
type draw struct {
	seed     ledger.Hash
	epoch    uint64
	pools    map[uint32]*urn
	previous map[ID][]committee.Member
	redraw   map[ID]bool
}

// urn is a pool with the weights of its lots.
type urn struct {
	seats int
	// lots are the candidates with their weights as power, and votes what they vote
	// with if they are drawn.
	lots  []committee.Member
	votes map[uint64]uint64 // by row
}

func newDraw(in *Inputs) *draw {
	d := &draw{
		seed: in.Seed, epoch: in.Map.Epoch(),
		pools: make(map[uint32]*urn, len(in.Pools)), previous: make(map[ID][]committee.Member, len(in.Previous)),
		redraw: make(map[ID]bool, len(in.Redraw)),
	}
	for i := range in.Pools {
		d.pools[in.Pools[i].Service] = in.Pools[i].urn(in.Seed)
	}
	for i := range in.Previous {
		d.previous[in.Previous[i].Shard] = in.Previous[i].Committee.Members
	}
	for _, id := range in.Redraw {
		d.redraw[id] = true
	}
	return d
}

func (p *Pool) urn(seed ledger.Hash) *urn {
	u := &urn{seats: int(min(max(1, p.Rules.Seats), committee.MaxSeats)), votes: make(map[uint64]uint64, len(p.Candidates))}
	list, work := make([]committee.Candidate, len(p.Candidates)), make(map[uint64]uint64, len(p.Candidates))
	for i := range p.Candidates {
		list[i] = p.Candidates[i].Candidate
		work[list[i].Validator] = uint64(min(p.Candidates[i].WorkBps, MaxWorkBps))
	}
	rules := p.Rules
	rules.Seats = committee.MaxSeats
	u.lots = committee.Elect(rules, seed, list)
	// Every draw of a shard begins by putting them in this order.
	slices.SortFunc(u.lots, func(a, b committee.Member) int { return cmp.Compare(a.Validator, b.Validator) })
	// Capped stakes sum up to 2^52 units and a few: drops are fewer than 2^63. So
	// weights sum up to less than committee.MaxTotalPower, and so do votes, of which
	// nobody has more than its weight or that of the seat.
	var total uint64
	for i := range u.lots {
		l := &u.lots[i]
		u.votes[l.Validator] = l.Power
		l.Power += mulDiv(l.Power, work[l.Validator], ledger.BasisPoints)
		total += l.Power
	}
	if len(u.lots) > u.seats {
		u.share(total)
	}
	return u
}

// share sets the votes of those who stand for others too: of all but the
// candidates whose weight fills a seat, from the heaviest on, of the seats and the
// weight that these leave. total is the weight of all.
func (u *urn) share(total uint64) {
	heaviest := slices.Clone(u.lots)
	slices.SortFunc(heaviest, func(a, b committee.Member) int { return cmp.Compare(b.Power, a.Power) })
	seats := uint64(u.seats)
	for len(heaviest) > 0 && heaviest[0].Power*seats >= total {
		total -= heaviest[0].Power
		seats-- // never to 0: the last seat has more than one candidate
		heaviest = heaviest[1:]
	}
	for _, l := range heaviest {
		u.votes[l.Validator] = mulDiv(u.votes[l.Validator], total, l.Power*seats)
	}
}

// before returns the members that a shard had in the epoch before, or those of
// its parents, each once, by row.
func (d *draw) before(s Shard) []committee.Member {
	list, ok := d.previous[s.ID]
	list = slices.Clone(list)
	if !ok {
		for _, p := range s.Parents {
			list = append(list, d.previous[p]...)
		}
	}
	// Powers differ where a member serves both parents.
	slices.SortFunc(list, func(a, b committee.Member) int {
		return cmp.Or(cmp.Compare(a.Validator, b.Validator), cmp.Compare(b.Power, a.Power), bytes.Compare(a.ConsensusKey[:], b.ConsensusKey[:]))
	})
	return slices.CompactFunc(list, func(a, b committee.Member) bool { return a.Validator == b.Validator })
}

func (d *draw) assign(id ID, u *urn, before []committee.Member, round uint32) Assignment {
	a := Assignment{Shard: id, Committee: committee.Committee{Epoch: d.epoch}}
	if u == nil || len(u.lots) == 0 {
		a.Kept = true
		return a
	}
	// One use of the lots for each shard, epoch and round. Epochs 0 and 1 share
	// their seed.
	tag := fmt.Sprintf("trib/shard/committee/1/%d/%d/%d", id, d.epoch, round)
	members := committee.Rotate(d.seed, tag, before, u.lots, u.seats)
	for i := range members {
		members[i].Power = u.votes[members[i].Validator]
	}
	a.Committee.Members = standing(members, len(members))
	return a
}

// standing returns at most n members in the order of a committee, with powers
// that sum up to at most committee.MaxTotalPower.
func standing(members []committee.Member, n int) []committee.Member {
	slices.SortFunc(members, func(a, b committee.Member) int {
		return cmp.Or(cmp.Compare(b.Power, a.Power), cmp.Compare(a.Validator, b.Validator))
	})
	members = members[:min(n, len(members))]
	for {
		var total uint64 // at most MaxSeats * 2^53
		for i := range members {
			total += members[i].Power
		}
		if total <= committee.MaxTotalPower {
			return members
		}
		for i := range members {
			members[i].Power = max(1, members[i].Power/2)
		}
	}
}

// mulDiv returns a*b/c, rounded down, which must be less than 2^64.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	q, _ := bits.Div64(high, low, c)
	return q
}
