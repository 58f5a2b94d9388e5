package route_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

func found(service uint32, zone byte, count uint8) shard.Change {
	return shard.Change{Kind: shard.Found, Service: service, Zone: zone, Count: count}
}

// places has service 1 in zones 0 (shards 2 and 3) and 4 (shards 4 and 5), and
// service 2 in zone 0 (shard 6).
func places(tb testing.TB) *shard.Map {
	tb.Helper()
	m, err := shard.Establish(shard.Empty(0), found(1, 0, 2), found(1, 4, 2), found(2, 0, 1))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestLevel(t *testing.T) {
	t.Parallel()
	c := route.Capacity{Inbox: 100, Outbox: 1_000, Bytes: math.MaxUint64, MissedAnchors: 8}
	for _, row := range []struct {
		name string
		b    route.Backlog
		want route.Level
	}{
		{"nothing", route.Backlog{}, 0},
		{"inbox", route.Backlog{Inbox: 25}, 2_500},
		{"outbox", route.Backlog{Outbox: 1}, 10},
		{"bytes", route.Backlog{Bytes: 1 << 63}, 5_001},
		{"a single byte", route.Backlog{Bytes: 1}, 1},
		{"anchors", route.Backlog{MissedAnchors: 2}, 2_500},
		{"a third anchor", route.Backlog{MissedAnchors: 3}, 3_750},
		{"the highest counts", route.Backlog{Inbox: 10, Outbox: 300, Bytes: 1, MissedAnchors: 1}, 3_000},
		{"full", route.Backlog{Inbox: 100}, route.Full},
		{"more than full", route.Backlog{Outbox: math.MaxUint64}, route.Full},
		{"rounded up", route.Backlog{Outbox: 333}, 3_330},
		{"almost full", route.Backlog{Bytes: math.MaxUint64 - 1}, route.Full},
	} {
		if got := c.Level(row.b); got != row.want || got.Validate() != nil {
			t.Errorf("%s: level %d, want %d", row.name, got, row.want)
		}
	}
	if err := (route.Full + 1).Validate(); !errors.Is(err, route.ErrBadLevel) {
		t.Errorf("above full: error %v", err)
	}
	for level, want := range map[route.Level]string{0: "0.0%", 1: "0.1%", 2_500: "25.0%", 2_501: "25.1%", route.Full: "100.0%"} {
		if level.String() != want {
			t.Errorf("level %d is %q, want %q", uint16(level), level, want)
		}
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	c := route.DefaultCapacity()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if l := c.Level(route.Backlog{Outbox: 2_048, MissedAnchors: 4}); l != route.Threshold {
		t.Errorf("a full link and four missed anchors: level %s", l)
	}
	for name, damage := range map[string]func(c *route.Capacity){
		"inbox": func(c *route.Capacity) { c.Inbox = 0 }, "outbox": func(c *route.Capacity) { c.Outbox = 0 },
		"bytes": func(c *route.Capacity) { c.Bytes = 0 }, "missed_anchors": func(c *route.Capacity) { c.MissedAnchors = 0 },
	} {
		c := route.DefaultCapacity()
		damage(&c)
		if err := c.Validate(); !errors.Is(err, route.ErrBadCapacity) || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestLevelProperty: levels are in their range, exact up to the rounding, and
// never fall while a backlog grows.
func TestLevelProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := route.Capacity{Inbox: rapid.Uint64Range(1, math.MaxUint64).Draw(rt, "capacity"), Outbox: 1, Bytes: 1, MissedAnchors: 1}
		used := rapid.Uint64().Draw(rt, "used")
		l := c.Level(route.Backlog{Inbox: used})
		if l > route.Full || (l == 0) != (used == 0) || used >= c.Inbox && l != route.Full {
			rt.Fatalf("%d of %d: level %d", used, c.Inbox, l)
		}
		if c.Inbox < 1<<50 && used < c.Inbox && (uint64(l)*c.Inbox < used*10_000 || (uint64(l)-1)*c.Inbox >= used*10_000 && used > 0) {
			rt.Fatalf("%d of %d: level %d is not the share rounded up", used, c.Inbox, l)
		}
		if more := rapid.Uint64Range(used, math.MaxUint64).Draw(rt, "more"); c.Level(route.Backlog{Inbox: more}) < l {
			rt.Fatalf("%d of %d is less congested than %d", more, c.Inbox, used)
		}
	})
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		kind  route.Kind
		level route.Level
		wait  uint64 // 0: admitted
	}{
		{route.User, 0, 0},
		{route.User, route.Threshold, 0},
		{route.User, route.Threshold + 1, 1},
		{route.User, 5_000, 11},
		{route.User, route.Full - 1, 32},
		{route.User, route.Full, 32},
		{route.User, math.MaxUint16, 32},
		{0, route.Full, 32},
		{9, route.Full, 32},
		{route.Receipt, route.Full, 0},
		{route.Bounce, route.Full, 0},
	} {
		err := route.Admit(row.kind, 7, row.level)
		if row.wait == 0 {
			if err != nil {
				t.Errorf("kind %d at %s: %v", row.kind, row.level, err)
			}
			continue
		}
		var full *route.CongestedError
		if !errors.As(err, &full) || !errors.Is(err, route.ErrCongested) || *full != (route.CongestedError{Shard: 7, Level: row.level, RetryAfter: row.wait}) {
			t.Errorf("kind %d at %s: error %v, want a wait of %d", row.kind, row.level, err, row.wait)
		}
	}
	want := "shard 7 is congested: level 50.0%, new transactions are taken up to 25.0%; try again in 11 blocks"
	if err := route.Admit(route.User, 7, 5_000); err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	for l := range route.Full {
		if a, b := route.RetryAfter(l), route.RetryAfter(l+1); a > b || b > a+1 {
			t.Errorf("level %d waits %d blocks, the next %d", l, a, b)
		}
	}
}

func key(n int) ledger.PublicKey {
	return ledger.PublicKey(ledger.HashOf("key", binary.BigEndian.AppendUint64(nil, uint64(n))))
}

func TestHint(t *testing.T) {
	t.Parallel()
	m := places(t)
	low := key(0) // a key with a bucket below 128, so that its homes are 2 and 4
	for n := 1; ledger.NewAddress(0, low).Bucket() >= 128; n++ {
		low = key(n)
	}
	for _, row := range []struct {
		name           string
		service        uint32
		levels         route.Levels
		zones          []byte
		home, provider shard.ID
		err            error
	}{
		{"the emptier home", 1, route.Levels{2: 3_000, 3: 3_000, 4: 100, 5: 3_000}, nil, 4, 4, nil},
		{"others' homes do not count", 1, route.Levels{2: 1_000, 3: 0, 4: 5_000, 5: 5_000}, nil, 2, 3, nil},
		{"nobody knows of the rest", 1, route.Levels{2: 3_000, 3: 3_000, 4: 3_000}, []byte{0, 4}, 0, 5, nil},
		{"only there", 1, route.Levels{2: 9_000, 3: 5_000}, []byte{0, 77}, 2, 3, nil},
		{"one shard", 2, route.Levels{6: route.Full}, nil, 6, 6, nil},
		{"no such zone", 1, nil, []byte{77}, 0, 0, route.ErrUnknownZone},
		{"no zone", 1, nil, []byte{}, 0, 0, route.ErrUnknownZone},
		{"no such service", 9, nil, nil, 0, 0, route.ErrUnknownService},
	} {
		got, err := route.Hint(m, row.service, row.levels, low, row.zones)
		if !errors.Is(err, row.err) || row.err == nil && err != nil {
			t.Errorf("%s: error %v, want %v", row.name, err, row.err)
		}
		if got.Provider.Shard != row.provider || row.home != 0 && got.Home.Shard != row.home {
			t.Errorf("%s: %+v, want home %d and provider %d", row.name, got, row.home, row.provider)
		}
		if got.Home.Level != row.levels[got.Home.Shard] || got.Provider.Level != row.levels[got.Provider.Shard] {
			t.Errorf("%s: levels of %+v", row.name, got)
		}
	}
}

// TestHintSpreads: where all is alike, clients go everywhere; where it is not, all
// go where it is empty.
func TestHintSpreads(t *testing.T) {
	t.Parallel()
	m := places(t)
	const clients = 2_000
	zones, providers := map[byte]int{}, map[shard.ID]int{}
	for n := range clients {
		a, err := route.Hint(m, 1, route.Levels{2: 400, 3: 500, 5: 1}, key(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		zones[a.Home.Zone]++
		providers[a.Provider.Shard]++
		if home, _ := m.Home(1, ledger.NewAddress(a.Home.Zone, key(n))); home != a.Home.Shard {
			t.Fatalf("key %d would be at home in shard %d, not %d", n, home, a.Home.Shard)
		}
	}
	for zone, n := range zones {
		if n < 900 || n > 1_100 {
			t.Errorf("%d of %d clients live in zone %d", n, clients, zone)
		}
	}
	for id, n := range providers {
		if n < 400 || n > 600 {
			t.Errorf("%d of %d clients use shard %d", n, clients, id)
		}
	}
	if len(zones) != 2 || len(providers) != 4 {
		t.Errorf("zones %v, providers %v", zones, providers)
	}
}

// TestHintProperty: a hint is within Margin of the best, the same every time, and
// does not change while those not chosen get fuller and one of the emptiest stays.
func TestHintProperty(t *testing.T) {
	t.Parallel()
	m, err := shard.Establish(shard.Empty(0), found(1, 0, 4), found(1, 1, 3), found(1, 2, 1), found(1, 3, 2))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		levels, least := route.Levels{}, route.Full
		var emptiest shard.ID
		for s := range m.All() {
			levels[s.ID] = route.Level(rapid.Uint16Range(0, 2_000).Draw(rt, "level"))
			if emptiest == 0 || levels[s.ID] < least {
				emptiest, least = s.ID, levels[s.ID]
			}
		}
		k := key(rapid.IntRange(0, 10_000).Draw(rt, "key"))
		a, err := route.Hint(m, 1, levels, k, nil)
		if err != nil || a.Provider.Level > least+route.Margin {
			rt.Fatalf("%+v, the emptiest has %d, error %v", a, least, err)
		}
		for s := range m.All() {
			if s.ID != a.Provider.Shard && s.ID != emptiest && rapid.Bool().Draw(rt, "fuller") {
				levels[s.ID] = min(route.Full, levels[s.ID]+route.Level(rapid.Uint16Range(0, 9_000).Draw(rt, "more")))
			}
		}
		if b, _ := route.Hint(m, 1, levels, k, nil); b.Provider != a.Provider {
			rt.Fatalf("%+v after %+v", b.Provider, a.Provider)
		}
	})
}

// TestGolden: hints never change, so that nodes of two versions answer alike.
func TestGolden(t *testing.T) {
	t.Parallel()
	m := places(t)
	var homes, providers []shard.ID
	for n := range 12 {
		a, err := route.Hint(m, 1, nil, key(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		homes, providers = append(homes, a.Home.Shard), append(providers, a.Provider.Shard)
	}
	if want := []shard.ID{5, 3, 4, 4, 3, 3, 2, 2, 2, 2, 5, 2}; !slices.Equal(homes, want) {
		t.Errorf("homes are %v, want %v", homes, want)
	}
	if want := []shard.ID{4, 2, 3, 4, 2, 4, 4, 3, 2, 4, 5, 3}; !slices.Equal(providers, want) {
		t.Errorf("providers are %v, want %v", providers, want)
	}
}
