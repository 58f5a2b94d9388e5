package shard_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// found is the founding of a zone by a genesis.
func found(service uint32, zone byte, count uint8) shard.Change {
	return shard.Change{Kind: shard.Found, Service: service, Zone: zone, Count: count}
}

// establish returns the map of epoch 0 with these zones.
func establish(tb testing.TB, zones ...shard.Change) *shard.Map {
	tb.Helper()
	m, err := shard.Establish(shard.Empty(0), zones...)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// local is the map of a local network: three services in two zones, the first
// with two shards in each.
func local(tb testing.TB) *shard.Map {
	tb.Helper()
	return establish(tb, found(1, 0, 2), found(1, 1, 2), found(2, 0, 1), found(2, 1, 1), found(3, 0, 1), found(3, 1, 1))
}

func shards(m *shard.Map) []shard.Shard { return slices.Collect(m.All()) }

func TestRange(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		r             shard.Range
		valid         bool
		sibling       string // "" if there is none
		low, high, is string
	}{
		{shard.Whole(), true, "", "00-7f", "80-ff", "00-ff"},
		{shard.Range{First: 0, Last: 127}, true, "80-ff", "00-3f", "40-7f", "00-7f"},
		{shard.Range{First: 192, Last: 255}, true, "80-bf", "c0-df", "e0-ff", "c0-ff"},
		{shard.Range{First: 7, Last: 7}, true, "06-06", "", "", "07-07"},
		{shard.Range{First: 1, Last: 2}, false, "", "", "", ""},
		{shard.Range{First: 0, Last: 2}, false, "", "", "", ""},
		{shard.Range{First: 2, Last: 1}, false, "", "", "", ""},
		{shard.Range{First: 3, Last: 1}, false, "", "", "", ""},
		{shard.Range{First: 64, Last: 191}, false, "", "", "", ""},
	} {
		if row.r.Valid() != row.valid {
			t.Errorf("%s: valid %v", row.r, row.r.Valid())
		}
		if !row.valid {
			continue
		}
		sibling, ok := row.r.Sibling()
		if ok != (row.sibling != "") || ok && sibling.String() != row.sibling {
			t.Errorf("%s: sibling %s, %v", row.r, sibling, ok)
		}
		low, high, ok := row.r.Halves()
		if ok != (row.low != "") || ok && (low.String() != row.low || high.String() != row.high) {
			t.Errorf("%s: halves %s and %s, %v", row.r, low, high, ok)
		}
		if row.r.String() != row.is || row.r.Size() != int(row.r.Last-row.r.First)+1 && row.r != shard.Whole() {
			t.Errorf("%s: size %d", row.r, row.r.Size())
		}
	}
}

func TestDivide(t *testing.T) {
	t.Parallel()
	want := map[int]string{1: "[00-ff]", 2: "[00-7f 80-ff]", 3: "[00-3f 40-7f 80-ff]", 5: "[00-1f 20-3f 40-7f 80-bf c0-ff]"}
	for n := 1; n <= shard.MaxShards; n++ {
		list := shard.Divide(n)
		var text bytes.Buffer
		next := 0
		for i, r := range list {
			if !r.Valid() || int(r.First) != next {
				t.Errorf("%d ranges: %v", n, list)
			}
			next = int(r.Last) + 1
			if i > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(r.String())
		}
		if got := "[" + text.String() + "]"; len(list) != n || next != shard.Buckets || want[n] != "" && want[n] != got {
			t.Errorf("%d ranges: %s, want %s", n, got, want[n])
		}
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	m := local(t)
	if m.Len() != 8 || m.NextID() != shard.FirstID+8 || m.Epoch() != 0 {
		t.Errorf("%d shards, next %d, epoch %d", m.Len(), m.NextID(), m.Epoch())
	}
	for _, row := range []struct {
		service      uint32
		zone, bucket byte
		want         shard.ID // 0 if there is none
	}{
		{1, 0, 0, 2},
		{1, 0, 127, 2},
		{1, 0, 128, 3},
		{1, 0, 255, 3},
		{1, 1, 0, 4},
		{1, 1, 200, 5},
		{2, 0, 9, 6},
		{3, 1, 255, 9},
		{0, 0, 0, 0},
		{4, 0, 0, 0},
		{1, 2, 0, 0},
		{3, 2, 255, 0},
	} {
		id, ok := m.Owner(row.service, row.zone, shard.Bucket(row.bucket))
		if id != row.want || ok != (row.want != 0) {
			t.Errorf("bucket %d of zone %d of service %d is in shard %d, %v; want %d", row.bucket, row.zone, row.service, id, ok, row.want)
		}
		address := ledger.Address{row.zone, row.bucket, 77}
		if home, ok := m.Home(row.service, address); home != row.want || ok != (row.want != 0) {
			t.Errorf("the home of %x in service %d is %d, want %d", address, row.service, home, row.want)
		}
	}
	for _, s := range shards(m) {
		if got, ok := m.Find(s.ID); !ok || !cmp.Equal(got, s) {
			t.Errorf("shard %d is found as %v", s.ID, got)
		}
	}
	for _, id := range []shard.ID{0, ledger.MainChain, 10, math.MaxUint32} {
		if s, ok := m.Find(id); ok {
			t.Errorf("found %s", s)
		}
	}
	if got := m.Services(); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("services %v", got)
	}
	if got := m.Zones(2); !slices.Equal(got, []byte{0, 1}) || m.Zones(4) != nil {
		t.Errorf("zones %v", got)
	}
	if got := m.Zone(1, 1); len(got) != 2 || got[0].ID != 4 || m.Zone(1, 2) != nil {
		t.Errorf("zone 1 of service 1: %v", got)
	}
	if got := m.Heirs(2); got != nil {
		t.Errorf("heirs of a shard that serves: %v", got)
	}
}

// TestNewRefuses: one map that is good, and each row breaks one thing.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	type parts struct {
		epoch     uint64
		next      shard.ID
		shards    []shard.Shard
		announced []shard.Change
	}
	for _, row := range []struct {
		name   string
		damage func(p *parts)
		want   error
	}{
		{"nothing", func(*parts) {}, nil},
		{"the order does not matter", func(p *parts) { slices.Reverse(p.shards); slices.Reverse(p.announced) }, nil},
		{"epoch too high", func(p *parts) { p.epoch = math.MaxUint64 }, shard.ErrBadMap},
		{"bucket missing at the beginning", func(p *parts) { p.shards = p.shards[1:] }, shard.ErrGap},
		{"bucket missing in the middle", func(p *parts) { p.shards[1].Buckets.First = 192 }, shard.ErrGap},
		{"bucket missing at the end", func(p *parts) { p.shards[1].Buckets.Last = 191 }, shard.ErrGap},
		{"two owners", func(p *parts) { p.shards[0].Buckets.Last = 255 }, shard.ErrOverlap},
		{"two owners of all", func(p *parts) { p.shards[1].Buckets = p.shards[0].Buckets }, shard.ErrOverlap},
		{"not aligned", func(p *parts) { p.shards[0].Buckets.Last, p.shards[1].Buckets.First = 99, 100 }, shard.ErrBadRange},
		{"id twice", func(p *parts) { p.shards[0].ID = 3 }, shard.ErrBadID},
		{"id of the main chain", func(p *parts) { p.shards[0].ID = ledger.MainChain }, shard.ErrBadID},
		{"id not given yet", func(p *parts) { p.next = 4 }, shard.ErrBadID},
		{"no next id", func(p *parts) { p.next = 0 }, shard.ErrBadID},
		{"next id above the highest", func(p *parts) { p.next = shard.MaxID + 2 }, shard.ErrBadID},
		{"service above the highest", func(p *parts) {
			p.shards = append(p.shards, shard.Shard{ID: 10, Service: shard.MaxService + 1, Buckets: shard.Whole()})
			p.next = 12
		}, shard.ErrBadMap},
		{"serves from later on", func(p *parts) { p.shards[0].Since = 11 }, shard.ErrBadMap},
		{"parent that is younger", func(p *parts) { p.shards[0].Parents = []shard.ID{5} }, shard.ErrBadID},
		{"parent that is itself", func(p *parts) { p.shards[1].Parents = []shard.ID{3} }, shard.ErrBadID},
		{"one parent twice", func(p *parts) { p.shards[2].Parents = []shard.ID{2, 2} }, shard.ErrBadMap},
		{"three parents", func(p *parts) { p.shards[2].Parents = []shard.ID{1, 2, 3} }, shard.ErrBadMap},
		{"main as parent", func(p *parts) { p.shards[2].Parents = []shard.ID{1} }, shard.ErrBadID},
		{"17 shards in a zone", func(p *parts) {
			p.shards = p.shards[2:]
			for i := range 16 {
				p.shards = append(p.shards, shard.Shard{ID: shard.ID(20 + i), Service: 1, Buckets: shard.Range{First: shard.Bucket(8 * i), Last: shard.Bucket(8*i + 7)}})
			}
			p.shards = append(p.shards, shard.Shard{ID: 36, Service: 1, Buckets: shard.Range{First: 128, Last: 255}})
			p.next, p.announced = 37, nil
		}, shard.ErrBadMap},
		{"change that is due", func(p *parts) { p.announced[0].At = 10 }, shard.ErrNotice},
		{"change of a far epoch", func(p *parts) { p.announced[0].At = 13 }, shard.ErrNotice},
		{"two changes of a zone in an epoch", func(p *parts) {
			p.announced[1] = shard.Change{Kind: shard.Split, At: 12, Service: 1, Shards: []shard.ID{3}}
		}, shard.ErrZoneBusy},
		{"shard with two changes", func(p *parts) {
			p.announced[1] = shard.Change{Kind: shard.Split, At: 11, Service: 1, Shards: []shard.ID{2}}
		}, shard.ErrChanging},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			m := local(t)
			p := parts{10, m.NextID(), shards(m), []shard.Change{
				{Kind: shard.Split, At: 12, Service: 1, Shards: []shard.ID{2}},
				{Kind: shard.Merge, At: 11, Service: 1, Zone: 1, Shards: []shard.ID{4, 5}},
			}}
			row.damage(&p)
			_, err := shard.New(p.epoch, p.next, p.shards, p.announced)
			if !errors.Is(err, row.want) || row.want == nil && err != nil {
				t.Errorf("error %v, want %v", err, row.want)
			}
			for _, kind := range []error{shard.ErrBadID, shard.ErrBadRange, shard.ErrGap, shard.ErrOverlap} {
				if !errors.Is(row.want, kind) && errors.Is(err, kind) {
					t.Errorf("error %v, want %v only", err, row.want)
				}
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	m, err := shard.Announce(local(t),
		shard.Change{Kind: shard.Split, At: 2, Service: 1, Shards: []shard.ID{2}},
		shard.Change{Kind: shard.Merge, At: 2, Service: 1, Zone: 1, Shards: []shard.ID{4, 5}})
	if err != nil {
		t.Fatal(err)
	}
	good := m.Encode()
	const first, size = 16, 20 // of the shards
	changes := first + 8*size + 4
	swap := func(b []byte, at, n int) []byte {
		return slices.Concat(b[:at], b[at+n:at+2*n], b[at:at+n], b[at+2*n:])
	}
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"shards out of order", swap(good, first, size), shard.ErrBadMap},
		{"zones out of order", swap(good, first+size, size), shard.ErrBadMap},
		{"changes out of order", func() []byte {
			a, b := good[changes:changes+20], good[changes+20:]
			return slices.Concat(good[:changes], b, a)
		}(), shard.ErrBadMap},
		{"a kind that is none", func() []byte { b := bytes.Clone(good); b[changes] = 9; return b }(), shard.ErrBadChange},
	} {
		if _, err := shard.Decode(row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
	for n := range good {
		if _, err := shard.Decode(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(good))
		}
	}
	again, err := shard.Decode(good)
	if err != nil || again.Hash() != m.Hash() {
		t.Errorf("decoded: error %v", err)
	}
}

// TestHashCommitsToAll: whatever differs between two maps differs in their hash.
func TestHashCommitsToAll(t *testing.T) {
	t.Parallel()
	base := establish(t, found(1, 0, 2))
	seen := map[ledger.Hash]string{}
	add := func(name string, m *shard.Map, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, ok := seen[m.Hash()]; ok {
			t.Errorf("%q and %q have one hash", name, other)
		}
		seen[m.Hash()] = name
	}
	add("base", base, nil)
	add("epoch", shard.Apply(base), nil)
	for name, change := range map[string]func(s *shard.Shard){
		"since":   func(s *shard.Shard) { s.Since = 1 },
		"parents": func(s *shard.Shard) { s.Parents = []shard.ID{2} },
		"id":      func(s *shard.Shard) { s.ID = 5 },
	} {
		list := shards(base)
		change(&list[1])
		m, err := shard.New(1, 9, list, nil)
		add(name, m, err)
	}
	m, err := shard.New(1, 9, shards(base), nil)
	add("next", m, err)
	for name, c := range map[string]shard.Change{
		"split": {Kind: shard.Split, At: 2, Service: 1, Shards: []shard.ID{2}},
		"other": {Kind: shard.Split, At: 2, Service: 1, Shards: []shard.ID{3}},
		"merge": {Kind: shard.Merge, At: 2, Service: 1, Shards: []shard.ID{2, 3}},
		"zone":  {Kind: shard.Found, At: 2, Service: 1, Zone: 1, Count: 1},
		"count": {Kind: shard.Found, At: 2, Service: 1, Zone: 1, Count: 2},
	} {
		m, err := shard.Announce(base, c)
		add(name, m, err)
	}
}

// TestOwnerProperty: every bucket of every zone has the owner that a search
// through all shards finds.
func TestOwnerProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var zones []shard.Change
		for service := range rapid.Uint32Range(1, 4).Draw(rt, "services") {
			for _, zone := range rapid.SliceOfNDistinct(rapid.Byte(), 1, 4, rapid.ID).Draw(rt, "zones") {
				zones = append(zones, found(service, zone, rapid.Uint8Range(1, shard.MaxShards).Draw(rt, "count")))
			}
		}
		m := establish(t, zones...)
		for service := range uint32(5) {
			for range 8 {
				zone, bucket := rapid.Byte().Draw(rt, "zone"), shard.Bucket(rapid.Byte().Draw(rt, "bucket"))
				if rapid.Bool().Draw(rt, "known") {
					zone = zones[rapid.IntRange(0, len(zones)-1).Draw(rt, "which")].Zone
				}
				var want shard.ID
				for s := range m.All() {
					if s.Service == service && s.Zone == zone && s.Buckets.Contains(bucket) {
						want = s.ID
					}
				}
				if id, ok := m.Owner(service, zone, bucket); id != want || ok != (want != 0) {
					rt.Fatalf("bucket %d of zone %d of service %d: shard %d, want %d", bucket, zone, service, id, want)
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	m := local(f)
	f.Add(m.Encode())
	m, err := shard.Announce(m,
		shard.Change{Kind: shard.Split, At: 2, Service: 1, Shards: []shard.ID{2}},
		shard.Change{Kind: shard.Merge, At: 2, Service: 1, Zone: 1, Shards: []shard.ID{4, 5}},
		shard.Change{Kind: shard.Found, At: 2, Service: 4, Zone: 1, Count: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Encode())
	f.Add(shard.Apply(shard.Apply(m)).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := shard.Decode(b)
		if err != nil {
			return
		}
		if again := m.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
		shard.Apply(shard.Apply(m)) // what decodes can be applied
	})
}

func BenchmarkHome(b *testing.B) {
	var zones []shard.Change
	for service := range uint32(64) {
		zones = append(zones, found(service, 0, 16))
	}
	m := establish(b, zones...)
	var i byte
	for b.Loop() {
		i++
		if _, ok := m.Home(uint32(i%64), ledger.Address{0, i}); !ok {
			b.Fatal("no home")
		}
	}
}
