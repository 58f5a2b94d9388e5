package committee_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// TestShortRecord: whoever has the committee reads the very record, and nobody another
// one.
func TestShortRecord(t *testing.T) {
	t.Parallel()
	rec, _ := goldenRecord()
	b := rec.EncodeShort()
	if got, err := committee.DecodeShort(b, &rec.Committee); err != nil || !reflect.DeepEqual(got, rec) {
		t.Errorf("%+v, %v", got, err)
	}
	mixed := committee.Committee{Epoch: rec.Committee.Epoch, Members: slices.Clone(rec.Committee.Members)}
	slices.Reverse(mixed.Members)
	if got, err := committee.DecodeShort(b, &mixed); err != nil || !reflect.DeepEqual(got, rec) || mixed.Members[0] == rec.Committee.Members[0] {
		t.Errorf("from members in another order: %+v, %v", got, err)
	}
	kept := committee.HoldAfter(&rec.Committee, 10, rec.Rules, ledger.HashOf("another seed"), nil)
	if got, err := committee.DecodeShort(kept.EncodeShort(), &kept.Committee); err != nil || !reflect.DeepEqual(got, kept) {
		t.Errorf("members that were kept: %+v, %v", got, err)
	}
	if len(b) != 121 {
		t.Errorf("%d bytes", len(b))
	}
	other := rec.Committee
	other.Epoch++
	if _, err := committee.DecodeShort(b, &other); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("of another epoch: %v", err)
	}
	other = committee.Committee{Epoch: rec.Committee.Epoch, Members: append([]committee.Member{}, rec.Committee.Members...)}
	other.Members[1].Power--
	if _, err := committee.DecodeShort(b, &other); !errors.Is(err, committee.ErrBadCommittee) {
		t.Errorf("of another power: %v", err)
	}
	for n := range b {
		if _, err := committee.DecodeShort(b[:n], &rec.Committee); err == nil {
			t.Errorf("cut off after %d bytes: no error", n)
		}
	}
	if _, err := committee.DecodeShort(append(b, 0), &rec.Committee); err == nil {
		t.Error("with a byte more: no error")
	}
}
