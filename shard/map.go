package shard

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tributary-network/tributary/ledger"
)

// MaxMapShards is the largest number of shards of all services, those to come by
// announced changes included.
const MaxMapShards = 1 << 14

// maxEpoch bounds epochs, so that sums with a few epochs more are exact.
const maxEpoch = 1 << 62

// Errors of maps. All but ErrMapFull mean that a map is none.
var (
	// ErrBadMap means a map that no rules make; the errors below are kinds of it.
	ErrBadMap = errors.New("not a map of shards")
	// ErrBadRange means buckets of a shard that are no aligned power of two.
	ErrBadRange = fmt.Errorf("%w: buckets are not an aligned power of two", ErrBadMap)
	// ErrGap means buckets of a zone that no shard owns.
	ErrGap = fmt.Errorf("%w: buckets without a shard", ErrBadMap)
	// ErrOverlap means buckets that two shards own.
	ErrOverlap = fmt.Errorf("%w: buckets with two shards", ErrBadMap)
	// ErrBadID means an id that is used twice, was never given, or is not a shard's.
	ErrBadID = fmt.Errorf("%w: wrong id", ErrBadMap)
	// ErrMapFull means more than MaxMapShards shards, or no ids left.
	ErrMapFull = errors.New("the map of shards is full")
)

// Map is all shards of all services in an epoch, and the changes that are
// announced. Of every zone of every service the ranges are complete and disjoint.
// It is immutable: New, Decode, Announce and Apply make maps, and make no others.
type Map struct {
	epoch     uint64
	next      ID
	shards    []Shard  // by service, zone and first bucket
	starts    []uint64 // of shards: place.key of their first buckets
	byID      []int    // indices of shards, by id
	announced []Change // by epoch, service and zone
}

// place is a zone of a service.
type place struct {
	service uint32
	zone    byte
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.service, q.service), cmp.Compare(p.zone, q.zone))
}

// key puts the buckets of all places in the order of shards.
func (p place) key(b Bucket) uint64 { return uint64(p.service)<<16 | uint64(p.zone)<<8 | uint64(b) }

func (s Shard) place() place { return place{s.Service, s.Zone} }

// New returns the map of these shards and announced changes, in any order, which
// the map owns from then on. next is the id that the next new shard gets, above
// all that were ever given. An empty map is one too. The error is a kind of
// ErrBadMap, ErrMapFull, or one of those of Announce.
func New(epoch uint64, next ID, shards []Shard, announced []Change) (*Map, error) {
	m := &Map{epoch: epoch, next: next, shards: shards, announced: announced}
	if !slices.IsSortedFunc(m.shards, compareShards) { // decoded ones are
		slices.SortFunc(m.shards, compareShards)
	}
	slices.SortFunc(m.announced, compareChanges)
	m.starts = make([]uint64, len(m.shards))
	for i, s := range m.shards {
		m.starts[i] = s.place().key(s.Buckets.First)
	}
	m.byID = make([]int, len(m.shards))
	for i := range m.byID {
		m.byID[i] = i
	}
	byID := func(i, j int) int { return cmp.Compare(m.shards[i].ID, m.shards[j].ID) }
	if !slices.IsSortedFunc(m.byID, byID) {
		slices.SortFunc(m.byID, byID)
	}
	if err := m.checkShards(); err != nil {
		return nil, err
	}
	if _, err := m.book(); err != nil {
		return nil, err
	}
	return m, nil
}

func compareShards(a, b Shard) int {
	if d := cmp.Compare(a.place().key(a.Buckets.First), b.place().key(b.Buckets.First)); d != 0 {
		return d
	}
	return cmp.Compare(a.ID, b.ID)
}

// Empty returns the map without shards of an epoch, for a genesis.
func Empty(epoch uint64) *Map { return &Map{epoch: epoch, next: FirstID} }

func (m *Map) checkShards() error {
	if m.epoch > maxEpoch {
		return fmt.Errorf("epoch %d, at most %d: %w", m.epoch, uint64(maxEpoch), ErrBadMap)
	}
	if len(m.shards) > MaxMapShards {
		return fmt.Errorf("%d shards, at most %d: %w", len(m.shards), MaxMapShards, ErrMapFull)
	}
	if m.next < FirstID || m.next > MaxID+1 {
		return fmt.Errorf("the next id is %d, want %d to %d: %w", m.next, FirstID, MaxID+1, ErrBadID)
	}
	for i, at := range m.byID {
		s := &m.shards[at]
		if s.ID < FirstID || s.ID >= m.next || i > 0 && m.shards[m.byID[i-1]].ID == s.ID {
			return fmt.Errorf("%s: ids are %d to %d and distinct: %w", s, FirstID, m.next-1, ErrBadID)
		}
		if err := s.check(m.epoch); err != nil {
			return err
		}
	}
	begin := 0 // of the zone
	for i := range m.shards {
		s := &m.shards[i]
		want := 0 // the first bucket without a shard
		if i > begin {
			want = int(m.shards[i-1].Buckets.Last) + 1
		}
		switch first := int(s.Buckets.First); {
		case first > want:
			return fmt.Errorf("%s begins at bucket %02x, want %02x: %w", s, first, want, ErrGap)
		case first < want:
			return fmt.Errorf("%s begins at bucket %02x, which is owned already: %w", s, first, ErrOverlap)
		}
		if i+1 < len(m.shards) && m.shards[i+1].place() == s.place() {
			continue
		}
		switch n := i + 1 - begin; {
		case s.Buckets.Last != Buckets-1:
			return fmt.Errorf("%s is the last of its zone, want buckets up to ff: %w", s, ErrGap)
		case n > MaxShards:
			return fmt.Errorf("zone %d of service %d has %d shards, at most %d: %w", s.Zone, s.Service, n, MaxShards, ErrBadMap)
		}
		begin = i + 1
	}
	return nil
}

// check refuses what is wrong with a shard whatever else is in its map.
func (s Shard) check(epoch uint64) error {
	switch {
	case s.Service > MaxService:
		return fmt.Errorf("%s: services are at most %d: %w", s, uint32(MaxService), ErrBadMap)
	case !s.Buckets.Valid():
		return fmt.Errorf("%s: %w", s, ErrBadRange)
	case s.Since > epoch:
		return fmt.Errorf("%s serves since epoch %d, later than %d: %w", s, s.Since, epoch, ErrBadMap)
	case len(s.Parents) > 2 || len(s.Parents) == 2 && s.Parents[0] == s.Parents[1]:
		return fmt.Errorf("%s has parents %v, want two different ones at most: %w", s, s.Parents, ErrBadMap)
	}
	for _, p := range s.Parents {
		if p < FirstID || p >= s.ID {
			return fmt.Errorf("%s has the parent %d, which is not an older shard: %w", s, p, ErrBadID)
		}
	}
	return nil
}

// Epoch returns the epoch for which the map holds.
func (m *Map) Epoch() uint64 { return m.epoch }

// Len returns the number of shards.
func (m *Map) Len() int { return len(m.shards) }

// All yields the shards by service, zone and first bucket.
func (m *Map) All() iter.Seq[Shard] { return slices.Values(m.shards) }

// Announced returns the changes that are announced, by epoch, service and zone.
// The caller must not modify them.
func (m *Map) Announced() []Change { return slices.Clip(m.announced) }

// Find returns a shard, in O(log n).
func (m *Map) Find(id ID) (Shard, bool) {
	i, ok := slices.BinarySearchFunc(m.byID, id, func(at int, id ID) int { return cmp.Compare(m.shards[at].ID, id) })
	if !ok {
		return Shard{}, false
	}
	return m.shards[m.byID[i]], true
}

// Home returns the shard of a service that keeps an account, in O(log n), or
// false if the service does not have the account's zone.
func (m *Map) Home(service uint32, a ledger.Address) (ID, bool) {
	return m.Owner(service, a.Zone(), BucketOf(a))
}

// Owner returns the shard that owns a bucket of a zone of a service, in O(log n),
// or false if the service does not have the zone.
func (m *Map) Owner(service uint32, zone byte, b Bucket) (ID, bool) {
	p := place{service, zone}
	i, found := slices.BinarySearch(m.starts, p.key(b))
	if !found {
		i-- // the last that begins before b
	}
	if i < 0 || m.starts[i]>>8 != p.key(b)>>8 {
		return 0, false
	}
	return m.shards[i].ID, true
}

// Zone returns the shards of a zone of a service, by their buckets, or nil if
// the service does not have the zone. The caller must not modify them.
func (m *Map) Zone(service uint32, zone byte) []Shard {
	p := place{service, zone}
	i, _ := slices.BinarySearch(m.starts, p.key(0))
	j := i
	for j < len(m.shards) && m.shards[j].place() == p {
		j++
	}
	if i == j {
		return nil
	}
	return m.shards[i:j:j]
}

// Zones returns the zones of a service, ascending, or nil if the map does not
// have the service.
func (m *Map) Zones(service uint32) (zones []byte) {
	i, _ := slices.BinarySearch(m.starts, place{service: service}.key(0))
	for ; i < len(m.shards) && m.shards[i].Service == service; i++ {
		if z := m.shards[i].Zone; len(zones) == 0 || zones[len(zones)-1] != z {
			zones = append(zones, z)
		}
	}
	return zones
}

// Services returns the services that have shards, ascending.
func (m *Map) Services() (services []uint32) {
	for i := range m.shards {
		if s := m.shards[i].Service; len(services) == 0 || services[len(services)-1] != s {
			services = append(services, s)
		}
	}
	return services
}

// Heirs returns the shards that began with the state of a shard that is in the
// map no more, by their buckets: two after a split, one after a merge.
func (m *Map) Heirs(parent ID) (heirs []Shard) {
	for i := range m.shards {
		if slices.Contains(m.shards[i].Parents, parent) {
			heirs = append(heirs, m.shards[i])
		}
	}
	return heirs
}

// Replaced returns the shards that are not in the map any more because of what the
// beginning of its epoch changed, ascending: each has its heirs in the map.
func (m *Map) Replaced() (ids []ID) {
	for i := range m.shards {
		if s := &m.shards[i]; s.Since == m.epoch {
			ids = append(ids, s.Parents...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// idsLeft is how many ids can still be given.
func (m *Map) idsLeft() int { return int(MaxID + 1 - m.next) }
