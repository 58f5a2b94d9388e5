package committee_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/committee"
)

// drawNext changes a committee as an election might.
func drawNext(rt *rapid.T, before []committee.Member) (next []committee.Member) {
	for i, m := range before {
		switch rapid.IntRange(0, 5).Draw(rt, "change") {
		case 0: // leaves
		case 1:
			m.Power += uint64(i) + 1
			next = append(next, m)
		case 2:
			m.ConsensusKey[0] ^= 0xff // another validator in the same row
			next = append(next, m)
		default:
			next = append(next, m)
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(rt, "new") {
		next = append(next, member(uint64(200+i), uint64(i+1)))
	}
	if len(next) > 1 && rapid.Bool().Draw(rt, "order") {
		next[0], next[1] = next[1], next[0]
	}
	return next
}

// TestEncodeAfter: whoever has the committee before reads the very record, in the
// one way in which it is written, and never more bytes than the members that are new
// and ten for each other.
func TestEncodeAfter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var before committee.Committee
		for i := range rapid.IntRange(0, 30).Draw(rt, "members") {
			before.Members = append(before.Members, member(uint64(i), uint64(i+1)))
		}
		rec, _ := goldenRecord()
		rec.Committee.Members = drawNext(rt, before.Members)
		b := rec.EncodeAfter(&before)
		got, err := committee.DecodeRecordAfter(&before, b)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(got.Encode(), rec.Encode()) {
			rt.Fatal("another record")
		}
		fresh := 0
		for _, m := range rec.Committee.Members {
			if !slices.ContainsFunc(before.Members, func(old committee.Member) bool { m.Power = old.Power; return old == m }) {
				fresh++
			}
		}
		if most := 128 + 10*len(rec.Committee.Members) + 138*fresh; len(b) > most {
			rt.Fatalf("%d bytes for %d members, %d of them new; at most %d", len(b), len(rec.Committee.Members), fresh, most)
		}
		for i := range b {
			if _, err := committee.DecodeRecordAfter(&before, b[:i]); err == nil {
				rt.Fatalf("read from %d of %d bytes", i, len(b))
			}
		}
	})
}

// TestDecodeRecordAfterRefuses: members that are not there, and longer ways to write
// those that are.
func TestDecodeRecordAfterRefuses(t *testing.T) {
	t.Parallel()
	rec, _ := goldenRecord()
	before := rec.Committee
	none := committee.Committee{}
	listed := rec.EncodeAfter(&none) // all literal
	if _, err := committee.DecodeRecordAfter(&none, listed); err != nil {
		t.Fatal(err)
	}
	if _, err := committee.DecodeRecordAfter(&before, listed); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("members that stay, written as new: %v", err)
	}
	changed := rec
	changed.Committee.Members = slices.Clone(rec.Committee.Members)
	changed.Committee.Members[0].Power++
	refs := changed.EncodeAfter(&before)
	if _, err := committee.DecodeRecordAfter(&none, refs); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("members that are not there: %v", err)
	}
	same := rec.EncodeAfter(&before)
	same[len(same)-1] = 2
	if _, err := committee.DecodeRecordAfter(&before, same); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("an unknown way: %v", err)
	}
	if _, err := committee.DecodeRecordAfter(&before, append(rec.EncodeAfter(&before), 0)); err == nil {
		t.Error("read with a byte left")
	}
}

func FuzzDecodeRecordAfter(f *testing.F) {
	rec, _ := goldenRecord()
	before := rec.Committee
	changed := rec
	changed.Committee.Members = slices.Clone(rec.Committee.Members)
	changed.Committee.Members[0].Power++
	f.Add(changed.EncodeAfter(&before))
	canonical(f, rec.EncodeAfter(&before),
		func(b []byte) (committee.Record, error) { return committee.DecodeRecordAfter(&before, b) },
		func(r *committee.Record) []byte { return r.EncodeAfter(&before) })
}
