package shard_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/shard"
)

func split(id shard.ID) shard.Change {
	return shard.Change{Kind: shard.Split, Service: 1, Shards: []shard.ID{id}}
}

func merge(low, high shard.ID) shard.Change {
	return shard.Change{Kind: shard.Merge, Service: 1, Shards: []shard.ID{low, high}}
}

// announce announces changes Notice epochs ahead.
func announce(m *shard.Map, changes ...shard.Change) (*shard.Map, error) {
	for i := range changes {
		changes[i].At = m.Epoch() + shard.Notice
	}
	return shard.Announce(m, changes...)
}

// after returns the map n epochs later.
func after(m *shard.Map, n int) *shard.Map {
	for range n {
		m = shard.Apply(m)
	}
	return m
}

// picture is a zone as text: "2:00-7f 3:80-ff".
func picture(m *shard.Map, service uint32, zone byte) string {
	text := ""
	for i, s := range m.Zone(service, zone) {
		if i > 0 {
			text += " "
		}
		text += fmt.Sprintf("%d:%s", s.ID, s.Buckets)
	}
	return text
}

// TestSplitThenMerge follows a zone through a split and back.
func TestSplitThenMerge(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 2), found(1, 1, 1))
	m, err := announce(m, split(3))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2:00-7f 3:80-ff", "2:00-7f 3:80-ff", "2:00-7f 5:80-bf 6:c0-ff", "2:00-7f 5:80-bf 6:c0-ff"} {
		if got := picture(m, 1, 0); got != want {
			t.Errorf("epoch %d: %s, want %s", m.Epoch(), got, want)
		}
		m = shard.Apply(m)
	}
	if heirs := m.Heirs(3); len(heirs) != 2 || heirs[0].ID != 5 || heirs[0].Since != 2 || !slices.Equal(heirs[1].Parents, []shard.ID{3}) {
		t.Errorf("heirs of the split shard: %v", heirs)
	}
	if _, err := announce(m, merge(5, 6)); !errors.Is(err, shard.ErrCooldown) {
		t.Errorf("merged in epoch %d: error %v, want %v", m.Epoch(), err, shard.ErrCooldown)
	}
	m = after(m, 2) // epoch 6, four after the split
	if m, err = announce(m, merge(5, 6)); err != nil {
		t.Fatal(err)
	}
	m = after(m, 2)
	if got, want := picture(m, 1, 0), "2:00-7f 7:80-ff"; got != want {
		t.Errorf("epoch %d: %s, want %s", m.Epoch(), got, want)
	}
	if heirs := m.Heirs(5); len(heirs) != 1 || !slices.Equal(heirs[0].Parents, []shard.ID{5, 6}) {
		t.Errorf("heirs of the merged shards: %v", heirs)
	}
	if got, want := picture(m, 1, 1), "4:00-ff"; got != want || len(m.Announced()) != 0 {
		t.Errorf("the other zone: %s, want %s; announced %v", got, want, m.Announced())
	}
}

// TestFound: a service that registers on a running network has its zones two
// epochs later, and ids go by service, zone and bucket, not by who was first.
func TestFound(t *testing.T) {
	t.Parallel()
	m, err := announce(establish(t, found(1, 0, 1)), found(9, 0, 2), found(4, 3, 1))
	if err != nil {
		t.Fatal(err)
	}
	if m = shard.Apply(m); m.Zone(4, 3) != nil {
		t.Error("the zone is there an epoch early")
	}
	if _, err := announce(m, found(4, 3, 1)); !errors.Is(err, shard.ErrZoneExists) {
		t.Errorf("announced twice: error %v", err)
	}
	m = shard.Apply(m)
	if got := picture(m, 4, 3) + " " + picture(m, 9, 0); got != "3:00-ff 4:00-7f 5:80-ff" {
		t.Errorf("founded: %s", got)
	}
	if s, _ := m.Find(4); s.Since != 2 || s.Parents != nil {
		t.Errorf("founded %v", s)
	}
	// A founded shard has no cooldown: nothing about it has changed.
	if _, err := announce(m, split(2)); err != nil {
		t.Error(err)
	}
}

func TestAnnounceRefuses(t *testing.T) {
	t.Parallel()
	base := after(establish(t, found(1, 0, 4), found(1, 1, 16), found(2, 0, 1)), 3)
	tiny := base // its first shard has a single bucket
	for range 6 {
		var err error
		tiny, err = announce(tiny, split(tiny.Zone(1, 0)[0].ID))
		if err != nil {
			t.Fatal(err)
		}
		tiny = after(tiny, shard.Notice+shard.Cooldown)
	}
	twelve, err := announce(base, split(2))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := split(2)
	elsewhere.Zone = 1
	for _, row := range []struct {
		name   string
		m      *shard.Map
		change shard.Change
		want   error
	}{
		{"a split", base, split(2), nil},
		{"a merge", base, merge(2, 3), nil},
		{"a founding", base, found(2, 1, 16), nil},
		{"no kind", base, shard.Change{Service: 1, Shards: []shard.ID{2}}, shard.ErrBadChange},
		{"split of two", base, shard.Change{Kind: shard.Split, Service: 1, Shards: []shard.ID{2, 3}}, shard.ErrBadChange},
		{"split with a count", base, shard.Change{Kind: shard.Split, Service: 1, Shards: []shard.ID{2}, Count: 2}, shard.ErrBadChange},
		{"split of nobody", base, split(999), shard.ErrUnknownShard},
		{"split of the main chain", base, split(1), shard.ErrUnknownShard},
		{"split in the wrong zone", base, elsewhere, shard.ErrBadChange},
		{"split in a full zone", base, shard.Change{Kind: shard.Split, Service: 1, Zone: 1, Shards: []shard.ID{6}}, shard.ErrZoneFull},
		{"split of a single bucket", tiny, split(tiny.Zone(1, 0)[0].ID), shard.ErrTooSmall},
		{"merge of one", base, shard.Change{Kind: shard.Merge, Service: 1, Shards: []shard.ID{2}}, shard.ErrBadChange},
		{"merge of nobody", base, merge(2, 999), shard.ErrUnknownShard},
		{"merge of neighbours that are no siblings", base, merge(3, 4), shard.ErrNotSiblings},
		{"merge of siblings upside down", base, merge(3, 2), shard.ErrNotSiblings},
		{"merge of one with itself", base, merge(2, 2), shard.ErrNotSiblings},
		{"merge of the whole", base, shard.Change{Kind: shard.Merge, Service: 2, Shards: []shard.ID{22, 22}}, shard.ErrNotSiblings},
		{"founding of nothing", base, found(2, 1, 0), shard.ErrBadChange},
		{"founding with 17 shards", base, found(2, 1, 17), shard.ErrBadChange},
		{"founding with parents", base, shard.Change{Kind: shard.Found, Service: 2, Zone: 1, Count: 1, Shards: []shard.ID{2}}, shard.ErrBadChange},
		{"founding of too high a service", base, found(shard.MaxService+1, 0, 1), shard.ErrBadChange},
		{"founding of what is there", base, found(2, 0, 1), shard.ErrZoneExists},
		{"a second change of the zone", twelve, merge(4, 5), shard.ErrZoneBusy},
		{"a second change of the shard", shard.Apply(twelve), split(2), shard.ErrChanging},
		{"a merge with a shard that splits", shard.Apply(twelve), merge(2, 3), shard.ErrChanging},
		{"another change an epoch later", shard.Apply(twelve), merge(4, 5), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if _, err := announce(row.m, row.change); !errors.Is(err, row.want) || row.want == nil && err != nil {
				t.Errorf("error %v, want %v", err, row.want)
			}
		})
	}
	for _, at := range []uint64{0, base.Epoch(), base.Epoch() + 1, base.Epoch() + 3} {
		c := split(2)
		c.At = at
		if _, err := shard.Announce(base, c); !errors.Is(err, shard.ErrNotice) {
			t.Errorf("announced for epoch %d in %d: error %v, want %v", at, base.Epoch(), err, shard.ErrNotice)
		}
	}
	early := split(2)
	early.At = 1 // could have been announced only before there was a chain
	genesis := establish(t, found(1, 0, 1))
	if _, err := shard.New(0, genesis.NextID(), shards(genesis), []shard.Change{early}); !errors.Is(err, shard.ErrNotice) {
		t.Errorf("a genesis announces for epoch 1: error %v", err)
	}
	if _, err := shard.Establish(shard.Empty(0), split(2)); !errors.Is(err, shard.ErrBadChange) {
		t.Errorf("a genesis splits: error %v", err)
	}
	if _, err := shard.Establish(shard.Empty(0), found(1, 0, 1), found(1, 0, 2)); !errors.Is(err, shard.ErrZoneBusy) {
		t.Errorf("a genesis founds twice: error %v", err)
	}
}

// TestMapFull: no more shards than MaxMapShards, and no id above the highest.
func TestMapFull(t *testing.T) {
	t.Parallel()
	var zones []shard.Change
	for n := range shard.MaxMapShards / shard.MaxShards {
		zones = append(zones, found(uint32(n), 0, shard.MaxShards))
	}
	if _, err := shard.Establish(shard.Empty(0), append(slices.Clone(zones), found(9999, 0, 1))...); !errors.Is(err, shard.ErrMapFull) {
		t.Errorf("one shard too many: error %v", err)
	}
	zones[0].Count-- // one is left
	m := establish(t, zones...)
	if _, err := announce(m, found(9999, 0, 2)); !errors.Is(err, shard.ErrMapFull) {
		t.Errorf("two where one is left: error %v", err)
	}
	m, err := announce(m, found(9999, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := announce(m, found(9998, 0, 1)); !errors.Is(err, shard.ErrMapFull) {
		t.Errorf("one where the last is announced: error %v", err)
	}
	if m = after(m, 2); m.Len() != shard.MaxMapShards {
		t.Errorf("%d shards", m.Len())
	}

	crowd := make([]shard.Shard, shard.MaxMapShards+1)
	for i := range crowd {
		crowd[i] = shard.Shard{ID: shard.FirstID + shard.ID(i), Service: uint32(i), Buckets: shard.Whole()}
	}
	next := shard.FirstID + shard.ID(len(crowd))
	if _, err := shard.New(0, next, slices.Clone(crowd), nil); !errors.Is(err, shard.ErrMapFull) {
		t.Errorf("%d shards: error %v", len(crowd), err)
	}
	if _, err := shard.New(0, next, crowd[1:], nil); err != nil {
		t.Error(err)
	}

	s := []shard.Shard{{ID: 2, Service: 1, Buckets: shard.Whole()}}
	for next, want := range map[shard.ID]error{shard.MaxID - 1: nil, shard.MaxID: shard.ErrMapFull, shard.MaxID + 1: shard.ErrMapFull} {
		m, err := shard.New(0, next, slices.Clone(s), nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err = announce(m, split(2))
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("next id %d: error %v, want %v", next, err, want)
		}
		if err != nil {
			continue
		}
		if _, err := announce(m, found(2, 0, 1)); !errors.Is(err, shard.ErrMapFull) {
			t.Errorf("next id %d, and the last two are announced: error %v", next, err)
		}
		after(m, 2)
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	l := shard.Load{Shard: 2}
	for range 3 {
		l = l.Block(101, 100)
	}
	l = l.Block(100, 100).Block(25, 100).Block(26, 100)
	if want := (shard.Load{Shard: 2, Heavy: 0b111000, Light: 0b10}); l != want {
		t.Errorf("masks %b and %b, want %b and %b", l.Heavy, l.Light, want.Heavy, want.Light)
	}
	if l.Heavy.Count() != 3 {
		t.Errorf("%d heavy blocks", l.Heavy.Count())
	}
	for n := range uint64(70) {
		want := l
		for range n {
			want = want.Block(0, 100)
		}
		if got := l.Rest(n); got != want {
			t.Errorf("%d blocks of rest: %b and %b, want %b and %b", n, got.Heavy, got.Light, want.Heavy, want.Light)
		}
	}
	for range shard.Window + 1 {
		l = l.Block(1, 0)
	}
	if l.Heavy.Count() != shard.Window || l.Light != 0 {
		t.Errorf("after a window of heavy blocks: %b and %b", l.Heavy, l.Light)
	}
}

// heavy and light are loads with so many blocks.
func heavy(id shard.ID, blocks int) shard.Load {
	return shard.Load{Shard: id, Heavy: 1<<blocks - 1}
}

func light(id shard.ID, blocks int) shard.Load {
	return shard.Load{Shard: id, Light: 1<<blocks - 1}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	ask := func(kind shard.Kind, ids ...shard.ID) (list []shard.Request) {
		for _, id := range ids {
			list = append(list, shard.Request{Kind: kind, Shard: id})
		}
		return list
	}
	base := establish(t, found(1, 0, 4), found(1, 1, 3), found(2, 0, 16)) // 2-5, 6-8, 9-24
	for _, row := range []struct {
		name     string
		loads    []shard.Load
		requests []shard.Request
		want     string
	}{
		{"nothing", nil, nil, "[]"},
		{"moderate load", []shard.Load{heavy(2, 47), light(3, 59), light(2, 0)}, nil, "[]"},
		{"a heavy shard", []shard.Load{heavy(3, 48)}, nil, "[split [3]]"},
		{"the heaviest first", []shard.Load{heavy(2, 48), heavy(4, 60), heavy(3, 50)}, nil, "[split [4]]"},
		{"the lowest of equals", []shard.Load{heavy(4, 50), heavy(3, 50)}, nil, "[split [3]]"},
		{"one in each zone", []shard.Load{heavy(8, 64), heavy(2, 50)}, nil, "[split [2] split [8]]"},
		{"one light sibling", []shard.Load{light(2, 64), light(4, 64)}, nil, "[]"},
		{"two light siblings", []shard.Load{light(3, 60), light(2, 60)}, nil, "[merge [2 3]]"},
		{"light neighbours", []shard.Load{light(3, 64), light(4, 64)}, nil, "[]"},
		{"the lighter siblings", []shard.Load{light(2, 60), light(3, 64), light(4, 61), light(5, 61)}, nil, "[merge [4 5]]"},
		{"splits before merges", []shard.Load{light(2, 64), light(3, 64), heavy(5, 48)}, nil, "[split [5]]"},
		{"the sibling is split", []shard.Load{light(6, 64), light(7, 64), light(8, 64)}, nil, "[merge [6 7]]"},
		{"asked to split", nil, ask(shard.Split, 4), "[split [4]]"},
		{"requests before loads", []shard.Load{heavy(2, 64)}, ask(shard.Split, 5), "[split [5]]"},
		{"one asked to merge", nil, ask(shard.Merge, 2), "[]"},
		{"both asked to merge", nil, ask(shard.Merge, 3, 2), "[merge [2 3]]"},
		{"one asked, one light", []shard.Load{light(3, 60)}, ask(shard.Merge, 2), "[merge [2 3]]"},
		{"a merge that was asked for before a heavy shard", []shard.Load{heavy(4, 64)}, ask(shard.Merge, 2, 3), "[merge [2 3]]"},
		{"a merge that one asked for before a heavy shard", []shard.Load{heavy(4, 64), light(3, 60)}, ask(shard.Merge, 2), "[merge [2 3]]"},
		{"asked to do both", nil, append(ask(shard.Merge, 2, 3), ask(shard.Split, 3)...), "[split [3]]"},
		{"heavy, asked to merge", []shard.Load{heavy(2, 64), heavy(3, 64)}, ask(shard.Merge, 2, 3), "[merge [2 3]]"},
		{"a full zone", []shard.Load{heavy(10, 64), light(11, 64), light(12, 64)}, nil, "[merge [11 12]]"},
		{"strangers", []shard.Load{heavy(77, 64)}, ask(shard.Split, 78), "[]"},
		{"a request to found", nil, ask(shard.Found, 2), "[]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			plan := shard.Plan(base, row.loads, row.requests)
			got := "["
			for i, c := range plan {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprintf("%s %d", c.Kind, c.Shards)
				if c.At != base.Epoch()+shard.Notice {
					t.Errorf("from epoch %d on", c.At)
				}
			}
			if got += "]"; got != row.want {
				t.Errorf("planned %s, want %s", got, row.want)
			}
			if _, err := shard.Announce(base, plan...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := establish(t, found(1, 0, 3), found(1, 1, 16), found(2, 0, 1)) // 2-4, 5-20, 21
	for _, row := range []struct {
		r    shard.Request
		want error
	}{
		{shard.Request{Kind: shard.Split, Shard: 2}, nil},
		{shard.Request{Kind: shard.Merge, Shard: 2}, nil},
		{shard.Request{Kind: shard.Merge, Shard: 3}, nil},
		{shard.Request{Kind: shard.Merge, Shard: 4}, shard.ErrNotSiblings},
		{shard.Request{Kind: shard.Merge, Shard: 21}, shard.ErrNotSiblings},
		{shard.Request{Kind: shard.Split, Shard: 5}, shard.ErrZoneFull},
		{shard.Request{Kind: shard.Split, Shard: 22}, shard.ErrUnknownShard},
		{shard.Request{Kind: shard.Found, Shard: 2}, shard.ErrBadChange},
	} {
		if err := m.Check(row.r); !errors.Is(err, row.want) || row.want == nil && err != nil {
			t.Errorf("%s of %d: error %v, want %v", row.r.Kind, row.r.Shard, err, row.want)
		}
	}
}

// history is what happened to a map, as the rules see it.
type history struct {
	m       *shard.Map
	plans   map[uint64][]shard.Change // by the epoch from which they hold
	changed map[shard.ID]bool         // was there before
}

// step announces plan, applies the epoch and checks all that must always hold.
func (h *history) step(rt *rapid.T, plan []shard.Change) {
	before, err := shard.Announce(h.m, plan...)
	if err != nil {
		rt.Fatalf("what was planned cannot be announced: %v", err)
	}
	h.plans[h.m.Epoch()+shard.Notice] = plan
	next := shard.Apply(before)
	if next.Epoch() != before.Epoch()+1 {
		rt.Fatalf("epoch %d after %d", next.Epoch(), before.Epoch())
	}
	// New has the checks of gaps and overlaps; this one does not trust them.
	owners := map[[2]uint32]*[shard.Buckets]int{}
	for s := range next.All() {
		p := [2]uint32{s.Service, uint32(s.Zone)}
		if owners[p] == nil {
			owners[p] = new([shard.Buckets]int)
		}
		for b := int(s.Buckets.First); b <= int(s.Buckets.Last); b++ {
			owners[p][b]++
		}
	}
	for p, list := range owners {
		for b, n := range list {
			if n != 1 {
				rt.Fatalf("bucket %02x of zone %v has %d owners", b, p, n)
			}
		}
	}
	// Only what was announced two epochs ago happens, all of it.
	replaced := map[shard.ID]bool{}
	perZone := map[[2]uint32]int{}
	for _, c := range h.plans[next.Epoch()] {
		perZone[[2]uint32{c.Service, uint32(c.Zone)}]++
		for _, id := range c.Shards {
			replaced[id] = true
			if s, ok := before.Find(id); !ok || len(s.Parents) > 0 && next.Epoch()-shard.Notice < s.Since+shard.Cooldown {
				rt.Fatalf("%s of %v, which serves since %d", c.Kind, id, s.Since)
			}
		}
		if c.Kind == shard.Merge {
			low, _ := before.Find(c.Shards[0])
			high, _ := before.Find(c.Shards[1])
			if l, h, _ := (shard.Range{First: low.Buckets.First, Last: high.Buckets.Last}).Halves(); l != low.Buckets || h != high.Buckets {
				rt.Fatalf("merged %s with %s", low, high)
			}
		}
	}
	for p, n := range perZone {
		if n > 1 {
			rt.Fatalf("zone %v changes %d times", p, n)
		}
	}
	for s := range before.All() {
		if kept, ok := next.Find(s.ID); ok == replaced[s.ID] || ok && !cmp.Equal(kept, s) {
			rt.Fatalf("%s: replaced %v, and is %v", s, replaced[s.ID], kept)
		}
	}
	for s := range next.All() {
		if _, ok := before.Find(s.ID); ok {
			continue
		}
		if h.changed[s.ID] || s.ID < before.NextID() || s.Since != next.Epoch() {
			rt.Fatalf("%s is new in epoch %d", s, next.Epoch())
		}
		h.changed[s.ID] = true
	}
	decoded, err := shard.Decode(next.Encode())
	if err != nil || decoded.Hash() != next.Hash() {
		rt.Fatalf("the map of epoch %d does not survive its encoding: %v", next.Epoch(), err)
	}
	h.m = next
}

// TestHistoryProperty: whatever loads and requests come for thirty epochs, no
// bucket is ever without an owner or with two, ids are used once, changes are
// announced, cool down, and come one per zone and epoch; and the order of what
// comes in does not matter.
func TestHistoryProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		h := history{establish(t, found(1, 0, 2), found(1, 7, 15), found(2, 0, 1)), map[uint64][]shard.Change{}, map[shard.ID]bool{}}
		for range 30 {
			var loads []shard.Load
			var requests []shard.Request
			for s := range h.m.All() {
				switch rapid.IntRange(0, 7).Draw(rt, "load") {
				case 0, 1:
					loads = append(loads, heavy(s.ID, rapid.IntRange(47, 64).Draw(rt, "heavy")))
				case 2, 3, 4:
					loads = append(loads, light(s.ID, rapid.IntRange(59, 64).Draw(rt, "light")))
				case 5:
					requests = append(requests, shard.Request{Kind: shard.Kind(rapid.IntRange(0, 3).Draw(rt, "kind")), Shard: s.ID})
				}
			}
			plan := shard.Plan(h.m, loads, requests)
			slices.Reverse(loads)
			slices.Reverse(requests)
			if again := shard.Plan(h.m, loads, requests); !cmp.Equal(plan, again) {
				rt.Fatalf("another order plans %v, not %v", again, plan)
			}
			for _, c := range plan {
				if err := h.m.Check(shard.Request{Kind: c.Kind, Shard: c.Shards[0]}); err != nil {
					rt.Fatalf("planned, but %v", err)
				}
			}
			if h.m.Epoch() == 5 {
				plan = append(plan, shard.Change{Kind: shard.Found, At: 5 + shard.Notice, Service: 3, Zone: 1, Count: 3})
			}
			h.step(rt, plan)
		}
	})
}

// TestSplitMergeProperty: whatever splits, merging the heirs gives the ranges
// that were.
func TestSplitMergeProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := establish(t, found(1, 0, rapid.Uint8Range(1, 15).Draw(rt, "count")))
		zone := m.Zone(1, 0)
		parent := zone[rapid.IntRange(0, len(zone)-1).Draw(rt, "which")]
		m, err := announce(m, split(parent.ID))
		if err != nil {
			rt.Fatal(err)
		}
		m = after(m, shard.Notice)
		heirs := m.Heirs(parent.ID)
		if m, err = announce(after(m, shard.Cooldown), merge(heirs[0].ID, heirs[1].ID)); err != nil {
			rt.Fatal(err)
		}
		m = after(m, shard.Notice)
		for i, s := range m.Zone(1, 0) {
			if s.Buckets != zone[i].Buckets || (s.ID == zone[i].ID) == (zone[i].ID == parent.ID) {
				rt.Fatalf("%s where %s was", s, zone[i])
			}
		}
	})
}

func TestDecodeLoad(t *testing.T) {
	t.Parallel()
	good := shard.Load{Shard: 7, Heavy: 0xf0, Light: 0x0f}
	if got, err := shard.DecodeLoad(good.Encode()); err != nil || got != good {
		t.Errorf("decoded %v, error %v", got, err)
	}
	bad := good
	bad.Light |= 0x10
	if _, err := shard.DecodeLoad(bad.Encode()); !errors.Is(err, shard.ErrBadLoad) {
		t.Errorf("a block that is both: error %v", err)
	}
	if _, err := shard.DecodeLoad(append(good.Encode(), 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
}

func FuzzDecodeLoad(f *testing.F) {
	f.Add(shard.Load{Shard: 7, Heavy: 0xf0, Light: 0x0f}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := shard.DecodeLoad(b)
		if err != nil {
			if len(b) == shard.LoadSize && !errors.Is(err, shard.ErrBadLoad) {
				t.Errorf("%x: %v", b, err)
			}
			return
		}
		if string(l.Encode()) != string(b) {
			t.Errorf("%x decodes, and encodes as %x", b, l.Encode())
		}
	})
}
