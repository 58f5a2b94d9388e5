package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	// Notice is how many epochs before it holds a change is announced.
	Notice = 2
	// Cooldown is how many epochs a shard that came of a split or a merge serves
	// before its next change may be announced, in epochs. Shards that were founded
	// with their zone have none.
	Cooldown = 4
)

// Errors of changes that may not be announced.
var (
	// ErrBadChange means a change that does not say what is to be done.
	ErrBadChange = errors.New("not a change of shards")
	// ErrUnknownShard means a shard that is not in the map.
	ErrUnknownShard = errors.New("no such shard")
	// ErrNotSiblings means two shards that are not the two halves of one range.
	ErrNotSiblings = errors.New("the shards are not siblings")
	// ErrTooSmall means a split of a single bucket.
	ErrTooSmall = errors.New("a single bucket does not split")
	// ErrChanging means a shard with a change that is announced already.
	ErrChanging = errors.New("a change of the shard is announced already")
	// ErrCooldown means a shard that has served for less than Cooldown epochs.
	ErrCooldown = errors.New("the shard is new")
	// ErrZoneBusy means a zone with another change from the same epoch on.
	ErrZoneBusy = errors.New("the zone changes in that epoch already")
	// ErrZoneFull means a zone that would have more than MaxShards shards.
	ErrZoneFull = errors.New("the zone has as many shards as it may")
	// ErrZoneExists means a zone that is founded twice.
	ErrZoneExists = errors.New("the service has the zone already")
	// ErrNotice means a change that is not announced Notice epochs ahead.
	ErrNotice = errors.New("a change is announced two epochs ahead")
)

// Kind is what a change does.
type Kind uint8

// The kinds of changes.
const (
	// Split replaces a shard by one for each half of its buckets.
	Split Kind = 1
	// Merge replaces two siblings by one with the buckets of both.
	Merge Kind = 2
	// Found gives a service a zone.
	Found Kind = 3
)

// String returns the kind's name: "split".
func (k Kind) String() string {
	switch k {
	case Split:
		return "split"
	case Merge:
		return "merge"
	case Found:
		return "found"
	default:
		return "unknown"
	}
}

// Change is what happens to a zone of a service at the beginning of an epoch.
type Change struct {
	Kind Kind
	// At is the epoch from which the change holds.
	At      uint64
	Service uint32
	Zone    byte
	// Shards are the parents: one of a split, two of a merge, the one with the lower
	// buckets first; none of a founding.
	Shards []ID
	// Count is the number of shards of a founding, 1 to MaxShards, with the ranges of
	// Divide; 0 of others.
	Count uint8
}

// String names the change for people: "split of shards [5] in zone 2 of service
// 1 from epoch 7".
func (c *Change) String() string {
	if c.Kind == Found {
		return fmt.Sprintf("founding of zone %d of service %d with %d shards from epoch %d", c.Zone, c.Service, c.Count, c.At)
	}
	return fmt.Sprintf("%s of shards %d in zone %d of service %d from epoch %d", c.Kind, c.Shards, c.Zone, c.Service, c.At)
}

func (c *Change) place() place { return place{c.Service, c.Zone} }

// growth is how many shards more there are after the change.
func (c *Change) growth() int {
	switch c.Kind {
	case Split:
		return 1
	case Merge:
		return -1
	default:
		return int(c.Count)
	}
}

// fresh is how many ids the change takes.
func (c *Change) fresh() int {
	switch c.Kind {
	case Split:
		return 2
	case Merge:
		return 1
	default:
		return int(c.Count)
	}
}

func compareChanges(a, b Change) int {
	return cmp.Or(cmp.Compare(a.At, b.At), a.place().compare(b.place()))
}

// book is what is announced, as the rules for one change more need it.
type book struct {
	changing map[ID]bool
	growth   map[place]int // of the number of shards
	taken    map[place]map[uint64]bool
	founded  map[place]bool
	total    int // shards when all is done
	ids      int // that are taken until then
}

// book returns what m has announced, or an error that names the first change
// that may not be.
func (m *Map) book() (*book, error) {
	b := &book{
		changing: map[ID]bool{}, growth: map[place]int{}, taken: map[place]map[uint64]bool{}, founded: map[place]bool{},
		total: len(m.shards),
	}
	for i := range m.announced {
		if err := b.add(m, &m.announced[i]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// add enters a change that may be announced with those before it, or returns an
// error that says why it may not.
func (b *book) add(m *Map, c *Change) error {
	if err := b.allows(m, c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	p := c.place()
	for _, id := range c.Shards {
		b.changing[id] = true
	}
	if b.taken[p] == nil {
		b.taken[p] = map[uint64]bool{}
	}
	b.taken[p][c.At] = true
	b.founded[p] = b.founded[p] || c.Kind == Found
	b.growth[p] += c.growth()
	b.total += c.growth()
	b.ids += c.fresh()
	return nil
}

func (b *book) allows(m *Map, c *Change) error {
	p := c.place()
	switch {
	case c.At <= m.epoch || c.At > m.epoch+Notice || c.At < Notice:
		return fmt.Errorf("the epoch is %d: %w", m.epoch, ErrNotice)
	case b.taken[p][c.At]:
		return ErrZoneBusy
	}
	var err error
	switch c.Kind {
	case Split:
		err = b.allowsSplit(m, c)
	case Merge:
		err = b.allowsMerge(m, c)
	case Found:
		err = b.allowsFound(m, c)
	default:
		err = fmt.Errorf("kind %d: %w", c.Kind, ErrBadChange)
	}
	if err != nil {
		return err
	}
	if b.total+c.growth() > MaxMapShards || b.ids+c.fresh() > m.idsLeft() {
		return ErrMapFull
	}
	return nil
}

func (b *book) allowsSplit(m *Map, c *Change) error {
	if len(c.Shards) != 1 || c.Count != 0 {
		return fmt.Errorf("a split has one shard and no count: %w", ErrBadChange)
	}
	s, err := b.parent(m, c, c.Shards[0])
	if err != nil {
		return err
	}
	if s.Buckets.Size() == 1 {
		return ErrTooSmall
	}
	if n := len(m.Zone(c.Service, c.Zone)) + b.growth[c.place()]; n >= MaxShards {
		return fmt.Errorf("%d shards: %w", n, ErrZoneFull)
	}
	return nil
}

func (b *book) allowsMerge(m *Map, c *Change) error {
	if len(c.Shards) != 2 || c.Count != 0 {
		return fmt.Errorf("a merge has two shards and no count: %w", ErrBadChange)
	}
	low, err := b.parent(m, c, c.Shards[0])
	if err != nil {
		return err
	}
	high, err := b.parent(m, c, c.Shards[1])
	if err != nil {
		return err
	}
	if other, ok := low.Buckets.Sibling(); !ok || other != high.Buckets || low.Buckets.First > high.Buckets.First {
		return fmt.Errorf("buckets %s and %s: %w", low.Buckets, high.Buckets, ErrNotSiblings)
	}
	return nil
}

func (b *book) allowsFound(m *Map, c *Change) error {
	switch p := c.place(); {
	case len(c.Shards) != 0 || c.Count < 1 || c.Count > MaxShards || c.Service > MaxService:
		return fmt.Errorf("a founding has a count of 1 to %d, no parents and a service up to %d: %w", MaxShards, uint32(MaxService), ErrBadChange)
	case b.founded[p] || m.Zone(c.Service, c.Zone) != nil:
		return ErrZoneExists
	}
	return nil
}

// parent returns a shard that may be in a change.
func (b *book) parent(m *Map, c *Change, id ID) (Shard, error) {
	s, ok := m.Find(id)
	switch {
	case !ok:
		return s, fmt.Errorf("shard %d: %w", id, ErrUnknownShard)
	case s.place() != c.place():
		return s, fmt.Errorf("%s is elsewhere: %w", s, ErrBadChange)
	case b.changing[id]:
		return s, fmt.Errorf("shard %d: %w", id, ErrChanging)
	case len(s.Parents) > 0 && c.At < s.Since+Cooldown+Notice:
		return s, fmt.Errorf("shard %d serves since epoch %d, its change may be announced in %d: %w", id, s.Since, s.Since+Cooldown, ErrCooldown)
	}
	return s, nil
}

// Announce returns m with changes that hold from epoch m.Epoch()+Notice on. It
// returns an error that names the first change that may not be announced, and
// why: ErrNotice, ErrZoneBusy, ErrBadChange, ErrUnknownShard, ErrChanging,
// ErrCooldown, ErrTooSmall, ErrZoneFull, ErrNotSiblings, ErrZoneExists or
// ErrMapFull. m is not changed.
func Announce(m *Map, changes ...Change) (*Map, error) {
	for i := range changes {
		if c := &changes[i]; c.At != m.epoch+Notice {
			return nil, fmt.Errorf("%s, announced in epoch %d: %w", c, m.epoch, ErrNotice)
		}
	}
	return New(m.epoch, m.next, slices.Clone(m.shards), slices.Concat(m.announced, changes))
}

// Apply returns the map of the next epoch: m with the changes that hold from it
// on. New shards get ids in the order of services, zones and buckets. m is not
// changed.
func Apply(m *Map) *Map {
	epoch, next := m.epoch+1, m.next
	due := 0
	for due < len(m.announced) && m.announced[due].At == epoch {
		due++
	}
	gone := map[ID]bool{}
	var fresh []Shard
	for i := range m.announced[:due] {
		c := &m.announced[i]
		for _, r := range c.ranges(m) {
			fresh = append(fresh, Shard{
				ID: next, Service: c.Service, Zone: c.Zone, Buckets: r, Since: epoch, Parents: slices.Clone(c.Shards),
			})
			next++
		}
		for _, id := range c.Shards {
			gone[id] = true
		}
	}
	kept := slices.DeleteFunc(slices.Clone(m.shards), func(s Shard) bool { return gone[s.ID] })
	out, err := New(epoch, next, append(kept, fresh...), slices.Clone(m.announced[due:]))
	if err != nil { // cannot be: what was announced was checked
		panic(fmt.Sprintf("apply the changes of epoch %d: %v", epoch, err))
	}
	return out
}

// ranges returns the buckets of the shards that c makes, ascending.
func (c *Change) ranges(m *Map) []Range {
	switch c.Kind {
	case Split:
		s, _ := m.Find(c.Shards[0])
		low, high, _ := s.Buckets.Halves()
		return []Range{low, high}
	case Merge:
		low, _ := m.Find(c.Shards[0])
		high, _ := m.Find(c.Shards[1])
		return []Range{{low.Buckets.First, high.Buckets.Last}}
	default:
		return Divide(int(c.Count))
	}
}

// Establish returns m with zones that have their shards at once, for a genesis:
// each founding's At is the epoch of m. The errors are those of Announce.
func Establish(m *Map, foundings ...Change) (*Map, error) {
	b, err := m.book()
	if err != nil {
		return nil, err
	}
	order := slices.Clone(foundings)
	slices.SortFunc(order, compareChanges)
	shards, next := slices.Clone(m.shards), m.next
	for i := range order {
		c := order[i]
		if c.Kind != Found || c.At != m.epoch {
			return nil, fmt.Errorf("%s: a genesis founds zones from epoch %d on: %w", &c, m.epoch, ErrBadChange)
		}
		c.At = m.epoch + Notice
		if err := b.add(m, &c); err != nil {
			return nil, err
		}
		for _, r := range Divide(int(c.Count)) {
			shards = append(shards, Shard{ID: next, Service: c.Service, Zone: c.Zone, Buckets: r, Since: m.epoch})
			next++
		}
	}
	return New(m.epoch, next, shards, slices.Clone(m.announced))
}
