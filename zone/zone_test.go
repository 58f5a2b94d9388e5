package zone_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// content is a service with two zones that differ in everything.
func content() zone.ServiceType {
	north := zone.DefaultPolicy("north")
	south := zone.Policy{
		Region: "south-2", Fees: zone.Fees{ShareBps: 100, Entry: 7},
		Limits:      zone.Limits{BlockBytes: 3 << 20, HeavyBytes: 1 << 19, MessageBytes: 2 << 10, LinkMessages: 9, LinkBytes: 1 << 18, ExpiryAnchors: 64},
		Replication: 3, Proofs: zone.Proofs(zone.Bandwidth, zone.CallTime),
	}
	return zone.ServiceType{
		ID: 1, Name: "content-delivery", SpecHash: ledger.HashOf("specification"), Unit: zone.Unit{Name: "byte", Size: 512 << 10},
		Proof: zone.Bandwidth, Zones: zone.Registry{{Number: 0, Policy: north}, {Number: 9, Policy: south}},
		Shards: 2, CommitteeSize: 32, MinStake: 100 * ledger.DropsPerCoin, Fees: zone.Fees{ShareBps: 200, Entry: 1},
		Owner: ledger.Address{0, 1, 2}, Version: 1,
	}
}

// TestValidate: one service that is good, and each row breaks one thing.
func TestValidate(t *testing.T) {
	t.Parallel()
	policy := func(s *zone.ServiceType) *zone.Policy { return &s.Zones[1].Policy }
	for _, row := range []struct {
		name   string
		damage func(s *zone.ServiceType)
		want   error
		field  string // that the error names
	}{
		{"nothing", func(*zone.ServiceType) {}, nil, ""},
		{"the highest of all", func(s *zone.ServiceType) {
			s.Shards, s.CommitteeSize, s.MinStake = shard.MaxShards, committee.MaxSeats, ledger.MaxAmount
			s.Fees = zone.Fees{ShareBps: zone.MaxShareBps, Entry: zone.MaxEntryFee}
			s.Name = "a" + strings.Repeat("9", zone.MaxName-1)
			policy(s).Replication = zone.MaxReplication
			policy(s).Limits = zone.Limits{BlockBytes: 16 << 20, HeavyBytes: 8 << 20, MessageBytes: 64 << 10, LinkMessages: 1 << 11, LinkBytes: 4 << 20, ExpiryAnchors: 1 << 16}
		}, nil, ""},
		{"the lowest of all", func(s *zone.ServiceType) {
			s.Shards, s.CommitteeSize, s.MinStake, s.Fees, s.Name, s.Unit.Size = 1, zone.MinCommittee, 0, zone.Fees{}, "a", 1
			policy(s).Limits = zone.Limits{BlockBytes: 2 << 20, HeavyBytes: 1 << 10, MessageBytes: 1 << 10, LinkMessages: 1, LinkBytes: 128 << 10, ExpiryAnchors: 8}
		}, nil, ""},
		{"no id", func(s *zone.ServiceType) { s.ID = 0 }, zone.ErrBadID, "id"},
		{"id too high", func(s *zone.ServiceType) { s.ID = 1 << 31 }, zone.ErrBadID, "id"},
		{"no name", func(s *zone.ServiceType) { s.Name = "" }, zone.ErrBadName, "name"},
		{"name too long", func(s *zone.ServiceType) { s.Name = strings.Repeat("a", 33) }, zone.ErrBadName, "name"},
		{"name in capitals", func(s *zone.ServiceType) { s.Name = "Content" }, zone.ErrBadName, "name"},
		{"name with a space", func(s *zone.ServiceType) { s.Name = "my content" }, zone.ErrBadName, "name"},
		{"name with a digit first", func(s *zone.ServiceType) { s.Name = "2nd" }, zone.ErrBadName, "name"},
		{"no specification", func(s *zone.ServiceType) { s.SpecHash = ledger.Hash{} }, zone.ErrBadSpec, "spec_hash"},
		{"unit without a name", func(s *zone.ServiceType) { s.Unit.Name = "" }, zone.ErrBadUnit, "unit"},
		{"unit of nothing", func(s *zone.ServiceType) { s.Unit.Size = 0 }, zone.ErrBadUnit, "unit"},
		{"a proof that is none", func(s *zone.ServiceType) { s.Proof = 4 }, zone.ErrBadProof, "proof"},
		{"a proof that shifts around", func(s *zone.ServiceType) { s.Proof = 64 }, zone.ErrBadProof, "proof"},
		{"a proof that a zone does not take", func(s *zone.ServiceType) { s.Proof = zone.Storage }, zone.ErrBadProof, "zone 9"},
		{"no shards", func(s *zone.ServiceType) { s.Shards = 0 }, zone.ErrBadShards, "shards"},
		{"17 shards", func(s *zone.ServiceType) { s.Shards = 17 }, zone.ErrBadShards, "shards"},
		{"committee too small", func(s *zone.ServiceType) { s.CommitteeSize = 3 }, zone.ErrBadCommittee, "committee_size"},
		{"committee too large", func(s *zone.ServiceType) { s.CommitteeSize = 1025 }, zone.ErrBadCommittee, "committee_size"},
		{"stake above all drops", func(s *zone.ServiceType) { s.MinStake = ledger.MaxAmount + 1 }, zone.ErrBadStake, "min_stake"},
		{"share too large", func(s *zone.ServiceType) { s.Fees.ShareBps = zone.MaxShareBps + 1 }, zone.ErrBadFees, "share_bps"},
		{"entry fee too large", func(s *zone.ServiceType) { s.Fees.Entry = zone.MaxEntryFee + 1 }, zone.ErrBadFees, "entry_fee"},
		{"no owner", func(s *zone.ServiceType) { s.Owner = ledger.Address{} }, zone.ErrBadOwner, "owner"},
		{"no version", func(s *zone.ServiceType) { s.Version = 0 }, zone.ErrBadVersion, "version"},
		{"no zones", func(s *zone.ServiceType) { s.Zones = nil }, zone.ErrBadZones, "0 zones"},
		{"too many zones", func(s *zone.ServiceType) {
			s.Zones = nil
			for n := range byte(zone.MaxZones + 1) {
				s.Zones = append(s.Zones, zone.Zone{Number: n, Policy: zone.DefaultPolicy("here")})
			}
		}, zone.ErrBadZones, "65 zones"},
		{"zones out of order", func(s *zone.ServiceType) { slices.Reverse(s.Zones) }, zone.ErrBadZones, "zone 0 after 9"},
		{"a zone twice", func(s *zone.ServiceType) { s.Zones[1].Number = 0 }, zone.ErrBadZones, "zone 0 after 0"},
		{"no region", func(s *zone.ServiceType) { policy(s).Region = "" }, zone.ErrBadRegion, "zone 9: region"},
		{"fees of a zone", func(s *zone.ServiceType) { policy(s).Fees.ShareBps = 9_999 }, zone.ErrBadFees, "zone 9: share_bps"},
		{"blocks too small", func(s *zone.ServiceType) { policy(s).Limits.BlockBytes = 128<<10 - 1 }, zone.ErrBadLimits, "block_bytes"},
		{"blocks too large", func(s *zone.ServiceType) { policy(s).Limits.BlockBytes = 16<<20 + 1 }, zone.ErrBadLimits, "block_bytes"},
		{"blocks that are always heavy", func(s *zone.ServiceType) { policy(s).Limits.HeavyBytes = 1<<10 - 1 }, zone.ErrBadLimits, "heavy_bytes"},
		{"blocks that are never heavy", func(s *zone.ServiceType) { policy(s).Limits.HeavyBytes = policy(s).Limits.BlockBytes/2 + 1 }, zone.ErrBadLimits, "heavy_bytes"},
		{"messages too small", func(s *zone.ServiceType) { policy(s).Limits.MessageBytes = 255 }, zone.ErrBadLimits, "message_bytes"},
		{"messages too large", func(s *zone.ServiceType) { policy(s).Limits.MessageBytes = 64<<10 + 1 }, zone.ErrBadLimits, "message_bytes"},
		{"links of nothing", func(s *zone.ServiceType) { policy(s).Limits.LinkMessages = 0 }, zone.ErrBadLimits, "link_messages"},
		{"links of too much", func(s *zone.ServiceType) { policy(s).Limits.LinkMessages = 1<<16 + 1 }, zone.ErrBadLimits, "link_messages"},
		{"links smaller than a message", func(s *zone.ServiceType) { policy(s).Limits.LinkBytes = 1<<10 - 1 }, zone.ErrBadLimits, "link_bytes"},
		{"links too large", func(s *zone.ServiceType) { policy(s).Limits.LinkBytes = 64<<20 + 1 }, zone.ErrBadLimits, "link_bytes"},
		{"expiry too soon", func(s *zone.ServiceType) { policy(s).Limits.ExpiryAnchors = 7 }, zone.ErrBadLimits, "expiry_anchors"},
		{"expiry too late", func(s *zone.ServiceType) { policy(s).Limits.ExpiryAnchors = 1<<16 + 1 }, zone.ErrBadLimits, "expiry_anchors"},
		{"no copies", func(s *zone.ServiceType) { policy(s).Replication = 0 }, zone.ErrBadReplication, "replication"},
		{"too many copies", func(s *zone.ServiceType) { policy(s).Replication = 17 }, zone.ErrBadReplication, "replication"},
		{"no proofs", func(s *zone.ServiceType) { policy(s).Proofs = 0 }, zone.ErrBadProofs, "proofs"},
		{"proofs that do not exist", func(s *zone.ServiceType) { policy(s).Proofs = 1 << 4 }, zone.ErrBadProofs, "proofs"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := content()
			row.damage(&s)
			err := s.Validate()
			if !errors.Is(err, row.want) || row.want == nil && err != nil {
				t.Fatalf("error %v, want %v", err, row.want)
			}
			if err != nil && !strings.Contains(err.Error(), row.field) {
				t.Errorf("error %q does not name %q", err, row.field)
			}
			again, decodeErr := zone.DecodeServiceType(s.Encode())
			if (decodeErr == nil) != (err == nil) {
				t.Errorf("decoded with error %v", decodeErr)
			}
			if err == nil && !cmp.Equal(s, again) {
				t.Errorf("decoded: %s", cmp.Diff(s, again))
			}
		})
	}
}

func TestCheckSuccessor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(s *zone.ServiceType)
		want   error
	}{
		{"the next version", func(*zone.ServiceType) {}, nil},
		{"all that may change", func(s *zone.ServiceType) {
			s.Name, s.SpecHash, s.Shards, s.CommitteeSize, s.MinStake = "cdn", ledger.HashOf("new"), 1, 64, 0
			s.Fees, s.Owner = zone.Fees{}, ledger.Address{1}
			s.Zones[0].Policy = zone.DefaultPolicy("west")
			s.Zones = append(s.Zones, zone.Zone{Number: 200, Policy: zone.DefaultPolicy("east")})
		}, nil},
		{"the same version", func(s *zone.ServiceType) { s.Version = 1 }, zone.ErrBadVersion},
		{"a version left out", func(s *zone.ServiceType) { s.Version = 3 }, zone.ErrBadVersion},
		{"another service", func(s *zone.ServiceType) { s.ID = 2 }, zone.ErrFixed},
		{"another unit", func(s *zone.ServiceType) { s.Unit.Size++ }, zone.ErrFixed},
		{"another name of the unit", func(s *zone.ServiceType) { s.Unit.Name = "bit" }, zone.ErrFixed},
		{"another proof", func(s *zone.ServiceType) { s.Proof = zone.CallTime }, zone.ErrFixed},
		{"other limits of a zone", func(s *zone.ServiceType) { s.Zones[1].Policy.Limits.ExpiryAnchors++ }, zone.ErrFixed},
		{"a zone less", func(s *zone.ServiceType) { s.Zones = s.Zones[1:] }, zone.ErrFixed},
		{"a zone renamed", func(s *zone.ServiceType) { s.Zones[1].Number = 10 }, zone.ErrFixed},
		{"not valid", func(s *zone.ServiceType) { s.Shards = 0 }, zone.ErrBadShards},
	} {
		old, next := content(), content()
		next.Version = 2
		row.change(&next)
		if err := old.CheckSuccessor(&next); !errors.Is(err, row.want) || row.want == nil && err != nil {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

// TestFoundings: a new service founds all its zones, a newer version only those
// that are new, and nothing twice.
func TestFoundings(t *testing.T) {
	t.Parallel()
	s := content()
	m, err := shard.Establish(shard.Empty(0), s.Foundings(shard.Empty(0), 0)...)
	if err != nil {
		t.Fatal(err)
	}
	if m.Len() != 4 || !slices.Equal(m.Zones(1), []byte{0, 9}) || len(m.Zone(1, 9)) != 2 {
		t.Errorf("%d shards in zones %v", m.Len(), m.Zones(1))
	}
	if list := s.Foundings(m, 2); list != nil {
		t.Errorf("founded again: %v", list)
	}
	s.Zones = append(s.Zones, zone.Zone{Number: 12, Policy: zone.DefaultPolicy("east")})
	s.Shards = 3
	want := []shard.Change{{Kind: shard.Found, At: 2, Service: 1, Zone: 12, Count: 3}}
	list := s.Foundings(m, 2)
	if !cmp.Equal(list, want) {
		t.Errorf("founded %v, want %v", list, want)
	}
	if m, err = shard.Announce(m, list...); err != nil {
		t.Fatal(err)
	}
	if list := s.Foundings(m, 2); list != nil {
		t.Errorf("announced again: %v", list)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	s := content()
	for number, want := range map[byte]string{0: "north", 9: "south-2", 1: "", 10: ""} {
		p, err := s.Zones.Find(number)
		if p.Region != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, zone.ErrUnknownZone) {
			t.Errorf("zone %d: region %q, error %v", number, p.Region, err)
		}
	}
	if _, err := s.Zones.Find(3); !strings.Contains(err.Error(), "[0 9]") {
		t.Errorf("error %q does not name the zones there are", err)
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	s := zone.Proofs(zone.Bandwidth, zone.CallTime, 9, 200)
	for kind, want := range map[zone.ProofKind]string{
		zone.NoProof: "none", zone.Bandwidth: "bandwidth", zone.Storage: "storage", zone.CallTime: "call-time", 4: "unknown", 200: "unknown",
	} {
		if has := kind == zone.Bandwidth || kind == zone.CallTime; s.Has(kind) != has || kind.String() != want {
			t.Errorf("kind %d: %q, in the set %v", kind, kind, s.Has(kind))
		}
	}
	if s.Len() != 2 || zone.AllProofs.Len() != 4 {
		t.Errorf("%d kinds of %d", s.Len(), zone.AllProofs.Len())
	}
}

func TestFees(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		fees         zone.Fees
		amount       ledger.Amount
		share, entry ledger.Amount
	}{
		{zone.Fees{}, 1_000, 0, 0},
		{zone.Fees{ShareBps: 200}, 1_000, 20, 0},
		{zone.Fees{ShareBps: 200}, 49, 0, 0},
		{zone.Fees{ShareBps: 200}, 50, 1, 0},
		{zone.Fees{ShareBps: 200, Entry: 3}, 1_000, 20, 3},
		{zone.Fees{Entry: 3}, 300, 0, 3},
		{zone.Fees{Entry: 3}, 299, 0, 2}, // no more than a hundredth
		{zone.Fees{Entry: 3}, 99, 0, 0},
		{zone.Fees{Entry: 3}, 0, 0, 0},
		{zone.Fees{ShareBps: 5_000, Entry: zone.MaxEntryFee}, ledger.MaxAmount, ledger.MaxAmount / 2, zone.MaxEntryFee},
	} {
		if share, entry := row.fees.Share(row.amount), row.fees.OfEntry(row.amount); share != row.share || entry != row.entry {
			t.Errorf("%+v of %d: a share of %d and %d of the entry, want %d and %d", row.fees, row.amount, share, entry, row.share, row.entry)
		}
	}
}

// TestHeavyBytes: full blocks are heavy, and blocks half as full are not.
func TestHeavyBytes(t *testing.T) {
	t.Parallel()
	limits := zone.DefaultLimits()
	full, heavy := uint64(limits.BlockBytes), uint64(limits.HeavyBytes)
	l := shard.Load{}.Block(full, heavy).Block(full/2, heavy).Block(full/2+1, heavy)
	if l = l.Block(full/8, heavy); l.Heavy != 0b1010 || l.Light != 1 {
		t.Errorf("heavy %b, light %b", l.Heavy, l.Light)
	}
}

// TestFeesProperty: the share of a part is at least 0 and at most the part.
func TestFeesProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := zone.Fees{ShareBps: rapid.Uint32Range(0, ledger.BasisPoints).Draw(rt, "share")}
		before := ledger.Amount(rapid.Uint64Range(0, uint64(ledger.MaxAmount)).Draw(rt, "before"))
		after := ledger.Amount(rapid.Uint64Range(uint64(before), min(uint64(before)+1<<20, uint64(ledger.MaxAmount))).Draw(rt, "after"))
		if was, is := f.Share(before), f.Share(after); is < was || is-was > after-before {
			rt.Fatalf("of %d drops more the share grows from %d to %d", after-before, was, is)
		}
	})
}

// TestGolden: encodings and hashes of services, zones and policies never change.
func TestGolden(t *testing.T) {
	t.Parallel()
	s := content()
	hash := s.Hash()
	got := map[string]string{}
	for name, b := range map[string][]byte{
		"service": s.Encode(), "hash of service": hash[:],
	} {
		got[name] = hex.EncodeToString(b)
	}
	const path = "testdata/services.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("encodings or hashes changed: %s", diff)
	}
}

// canonical checks that decode accepts nothing but what encode writes.
func canonical[T any](f *testing.F, seed []byte, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Helper()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add(append(bytes.Clone(seed), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		if again := encode(&v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
	})
}

func FuzzDecodeServiceType(f *testing.F) {
	s := content()
	canonical(f, s.Encode(), zone.DecodeServiceType, (*zone.ServiceType).Encode)
}
