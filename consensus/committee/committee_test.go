package committee_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// member returns a member in a row whose keys are made up.
func member(row, power uint64) committee.Member {
	c := candidate(row, 0)
	return committee.Member{Validator: row, ConsensusKey: c.ConsensusKey, BLSKey: c.BLSKey, Power: power}
}

// members returns members in rows 0, 1, ... with these powers.
func members(powers ...uint64) []committee.Member {
	var list []committee.Member
	for row, p := range powers {
		list = append(list, member(uint64(row), p))
	}
	return list
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		powers []uint64
		want   uint64
	}{
		{nil, 1},
		{[]uint64{1}, 1},
		{[]uint64{1, 1}, 2},
		{[]uint64{1, 1, 1}, 3}, // two of three are not more than two thirds
		{[]uint64{1, 1, 1, 1}, 3},
		{[]uint64{10, 20, 30}, 41},
		{[]uint64{committee.MaxTotalPower}, (committee.MaxTotalPower/3)*2 + 1},
	} {
		c := committee.Committee{Members: members(row.powers...)}
		got := c.Quorum()
		if got != row.want || 3*got <= 2*c.TotalPower() || got > 1 && 3*(got-1) > 2*c.TotalPower() {
			t.Errorf("powers %v: quorum %d, want %d", row.powers, got, row.want)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	c := committee.Committee{Members: members(3, 2, 1)}
	for i := range c.Members {
		sum := sha256.Sum256(c.Members[i].ConsensusKey[:])
		if at, ok := c.FindAddress([20]byte(sum[:20])); at != i || !ok {
			t.Errorf("the address of member %d finds %d, %v", i, at, ok)
		}
		if at, ok := c.FindValidator(uint64(i)); at != i || !ok {
			t.Errorf("the row of member %d finds %d, %v", i, at, ok)
		}
	}
	if _, ok := c.FindAddress([20]byte{}); ok {
		t.Error("a strange address is found")
	}
	if _, ok := c.FindValidator(3); ok {
		t.Error("a strange row is found")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	c := committee.Committee{Members: members(1, 1)}
	for i := range c.Members {
		k, err := bls.NewSecretKey(c.Members[i].ConsensusKey[:])
		if err != nil {
			t.Fatal(err)
		}
		c.Members[i].BLSKey = k.Public()
	}
	keys, err := c.Keys()
	if err != nil || len(keys) != 2 || keys[1].Public() != c.Members[1].BLSKey {
		t.Errorf("keys %v, error %v", keys, err)
	}
	c.Members[1].BLSKey[95] ^= 1
	if _, err := c.Keys(); !errors.Is(err, bls.ErrBadKey) || !strings.Contains(err.Error(), "member 1") {
		t.Errorf("a bad key: error %v, want ErrBadKey of member 1", err)
	}
}

// TestHashCommitsToAll: whatever changes of a committee changes its hash.
func TestHashCommitsToAll(t *testing.T) {
	t.Parallel()
	seen := map[ledger.Hash]string{}
	for _, row := range []struct {
		name   string
		change func(c *committee.Committee)
	}{
		{"nothing", func(*committee.Committee) {}},
		{"epoch", func(c *committee.Committee) { c.Epoch++ }},
		{"row", func(c *committee.Committee) { c.Members[1].Validator = 9 }},
		{"consensus key", func(c *committee.Committee) { c.Members[1].ConsensusKey[31]++ }},
		{"BLS key", func(c *committee.Committee) { c.Members[1].BLSKey[95]++ }},
		{"power", func(c *committee.Committee) { c.Members[1].Power++ }},
		{"order", func(c *committee.Committee) { slices.Reverse(c.Members) }},
		{"one less", func(c *committee.Committee) { c.Members = c.Members[:1] }},
		{"one more", func(c *committee.Committee) { c.Members = append(c.Members, member(5, 1)) }},
	} {
		c := committee.Committee{Epoch: 4, Members: members(2, 1)}
		row.change(&c)
		if other, ok := seen[c.Hash()]; ok {
			t.Errorf("%q and %q have one hash", row.name, other)
		}
		seen[c.Hash()] = row.name
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	encode := func(list ...committee.Member) []byte {
		c := committee.Committee{Members: list}
		return c.Encode()
	}
	copied := member(1, 1)
	copied.BLSKey = member(0, 1).BLSKey
	twin := member(1, 1)
	twin.ConsensusKey = member(0, 1).ConsensusKey
	var crowd []committee.Member
	for row := range uint64(committee.MaxSeats + 1) {
		crowd = append(crowd, member(row, 1))
	}
	good := encode(members(2, 1)...)
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"nobody", encode(), nil},
		{"as many as can be", encode(crowd[:committee.MaxSeats]...), nil},
		{"all power", encode(members(committee.MaxTotalPower-1, 1)...), nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", good[:len(good)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(good), 0), codec.ErrTrailing},
		{"65,535 members in 10 bytes", []byte{9: 0xff, 8: 0xff}, codec.ErrShort},
		{"one too many", encode(crowd...), committee.ErrBadCommittee},
		{"no power", encode(members(1, 0)...), committee.ErrBadCommittee},
		{"too much power", encode(members(committee.MaxTotalPower, 1)...), committee.ErrBadCommittee},
		{"power that wraps", encode(members(1, 1<<63, 1<<63)...), committee.ErrBadCommittee},
		{"a row twice", encode(member(1, 1), member(1, 1)), committee.ErrBadCommittee},
		{"a consensus key twice", encode(member(0, 1), twin), committee.ErrBadCommittee},
		{"a BLS key twice", encode(member(0, 1), copied), committee.ErrBadCommittee},
	} {
		c, err := committee.Decode(row.in)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
		if again := c.Encode(); err == nil && !bytes.Equal(again, row.in) {
			t.Errorf("%s: encodes to other bytes", row.name)
		}
	}
}

func TestDecodeCandidatesRefuses(t *testing.T) {
	t.Parallel()
	good := committee.EncodeCandidates(candidates(7, 8))
	own := candidate(1, 5)
	own.SelfStake = 6
	const size = 8 + 32 + 96 + 8 + 8
	swapped := slices.Concat(good[:4], good[4+size:], good[4:4+size])
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"nobody", committee.EncodeCandidates(nil), nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", good[:len(good)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(good), 0), codec.ErrTrailing},
		{"65,536 in 4 bytes", []byte{0, 1, 0, 0}, codec.ErrShort},
		{"4 billion in 4 bytes", []byte{255, 255, 255, 255}, committee.ErrBadCandidates},
		{"not in order", swapped, committee.ErrBadCandidates},
		{"a row twice", committee.EncodeCandidates([]committee.Candidate{candidate(1, 1), candidate(1, 2)}), committee.ErrBadCandidates},
		{"more stake than drops", committee.EncodeCandidates(candidates(uint64(ledger.MaxAmount), 1)), committee.ErrBadCandidates},
		{"more own stake than stake", committee.EncodeCandidates([]committee.Candidate{own}), committee.ErrBadCandidates},
	} {
		list, err := committee.DecodeCandidates(row.in)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
		if err == nil && !bytes.Equal(committee.EncodeCandidates(list), row.in) {
			t.Errorf("%s: encodes to other bytes", row.name)
		}
	}
}

// TestCandidatesHaveOneEncoding: in whatever order they come.
func TestCandidatesHaveOneEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		list := candidates(rapid.SliceOfN(rapid.Uint64Range(0, 1<<40), 0, 12).Draw(rt, "stakes")...)
		mixed := rapid.Permutation(list).Draw(rt, "order")
		before := slices.Clone(mixed)
		if committee.HashCandidates(mixed) != committee.HashCandidates(list) {
			rt.Fatal("the hash depends on the order")
		}
		if !slices.Equal(before, mixed) {
			rt.Fatal("the candidates are changed")
		}
		again, err := committee.DecodeCandidates(committee.EncodeCandidates(mixed))
		if err != nil || !slices.Equal(again, list) {
			rt.Fatalf("decoded %v, error %v", again, err)
		}
	})
}

// TestRecordCheck: an election is recomputed in one call, and whatever was
// tampered with is named.
func TestRecordCheck(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(r *committee.Record, list []committee.Candidate) []committee.Candidate
		want   error
	}{
		{"nothing", func(_ *committee.Record, list []committee.Candidate) []committee.Candidate { return list }, nil},
		{"another order", func(_ *committee.Record, list []committee.Candidate) []committee.Candidate {
			slices.Reverse(list)
			return list
		}, nil},
		{"a candidate's stake", func(_ *committee.Record, list []committee.Candidate) []committee.Candidate {
			list[5].Stake++
			return list
		}, committee.ErrWrongCandidates},
		{"a candidate less", func(_ *committee.Record, list []committee.Candidate) []committee.Candidate {
			return list[:5]
		}, committee.ErrWrongCandidates},
		{"a member's power", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			r.Committee.Members[0].Power++
			return list
		}, committee.ErrWrongElection},
		{"a member's key", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			r.Committee.Members[3].BLSKey[0]++
			return list
		}, committee.ErrWrongElection},
		{"the order of members", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			slices.Reverse(r.Committee.Members)
			return list
		}, committee.ErrWrongElection},
		{"a member less", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			r.Committee.Members = r.Committee.Members[:3]
			return list
		}, committee.ErrWrongElection},
		{"the seats", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			r.Rules.Seats++
			return list
		}, committee.ErrWrongElection},
		{"the cap", func(r *committee.Record, list []committee.Candidate) []committee.Candidate {
			r.Rules.PowerCapBps = 10_000
			return list
		}, committee.ErrWrongElection},
	} {
		r, list := goldenRecord()
		if err := r.Check(row.change(&r, list)); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
	// Two validators have the same stake: some other seed swaps them.
	r, list := goldenRecord()
	for n := range uint64(64) {
		r.Seed = ledger.HashOf("other", binary.BigEndian.AppendUint64(nil, n))
		if err := r.Check(list); errors.Is(err, committee.ErrWrongElection) {
			return
		}
	}
	t.Error("no seed changes the election of a tie")
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	r, _ := goldenRecord()
	again, err := committee.DecodeRecord(r.Encode())
	if diff := cmp.Diff(r, again); err != nil || diff != "" {
		t.Errorf("decoded with error %v: %s", err, diff)
	}
	r.Committee.Members[0].Power = 0
	if _, err := committee.DecodeRecord(r.Encode()); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("no power: error %v, want ErrBadCommittee", err)
	}
	if _, err := committee.DecodeRecord(r.Encode()[:40]); !errors.Is(err, codec.ErrShort) {
		t.Errorf("cut short: error %v, want ErrShort", err)
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

func FuzzDecode(f *testing.F) {
	r, _ := goldenRecord()
	canonical(f, r.Committee.Encode(), committee.Decode, (*committee.Committee).Encode)
}

func FuzzDecodeRecord(f *testing.F) {
	r, _ := goldenRecord()
	canonical(f, r.Encode(), committee.DecodeRecord, (*committee.Record).Encode)
}

func FuzzDecodeCandidates(f *testing.F) {
	_, list := goldenRecord()
	encode := func(list *[]committee.Candidate) []byte { return committee.EncodeCandidates(*list) }
	canonical(f, committee.EncodeCandidates(list), committee.DecodeCandidates, encode)
}

// FuzzElect: what decodes also elects a committee.
func FuzzElect(f *testing.F) {
	_, list := goldenRecord()
	f.Add(committee.EncodeCandidates(list), uint32(4), uint32(3_400))
	f.Fuzz(func(t *testing.T, b []byte, seats, limit uint32) {
		list, err := committee.DecodeCandidates(b)
		if err != nil {
			return
		}
		r := committee.Hold(1, committee.Rules{Seats: seats, PowerCapBps: limit}, ledger.Hash{}, list)
		if sum := r.Committee.TotalPower(); sum > committee.MaxTotalPower {
			t.Errorf("total power %d", sum)
		}
		if err := r.Check(list); err != nil {
			t.Error(err)
		}
	})
}

// TestKept: where nobody can be elected the members stay, which the record says,
// and Check agrees with.
func TestKept(t *testing.T) {
	t.Parallel()
	before, list := goldenRecord()
	rec := committee.HoldAfter(&before.Committee, 10, before.Rules, before.Seed, nil)
	if !rec.Kept || rec.Committee.Epoch != 10 || cmp.Diff(rec.Committee.Members, before.Committee.Members) != "" {
		t.Fatalf("record %+v", rec)
	}
	again, err := committee.DecodeRecord(rec.Encode())
	if diff := cmp.Diff(rec, again); err != nil || diff != "" {
		t.Errorf("decoded with error %v: %s", err, diff)
	}
	if err := again.Check(nil); err != nil {
		t.Errorf("Check: %v", err)
	}
	if err := again.Check(list); !errors.Is(err, committee.ErrWrongCandidates) {
		t.Errorf("with other candidates: %v", err)
	}
	again.Kept = false
	if err := again.Check(nil); !errors.Is(err, committee.ErrWrongElection) {
		t.Errorf("without saying so: %v", err)
	}
	elected := committee.HoldAfter(&before.Committee, 10, before.Rules, before.Seed, list)
	if elected.Kept || elected.Check(list) != nil {
		t.Errorf("an election: %+v", elected)
	}
	elected.Kept = true
	if err := elected.Check(list); !errors.Is(err, committee.ErrWrongElection) {
		t.Errorf("kept although somebody can be elected: %v", err)
	}
}
