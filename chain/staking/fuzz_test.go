package staking_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain/staking"
)

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

func FuzzDecodeRegister(f *testing.F) {
	canonical(f, goldenMessages()["register"].Encode(), staking.DecodeRegister, (*staking.Register).Encode)
}

func FuzzDecodeEdit(f *testing.F) {
	canonical(f, goldenMessages()["edit"].Encode(), staking.DecodeEdit, (*staking.Edit).Encode)
}

func FuzzDecodeDelegate(f *testing.F) {
	canonical(f, goldenMessages()["delegate"].Encode(), staking.DecodeDelegate, (*staking.Delegate).Encode)
}

func FuzzDecodeRedelegate(f *testing.F) {
	canonical(f, goldenMessages()["redelegate"].Encode(), staking.DecodeRedelegate, (*staking.Redelegate).Encode)
}

func FuzzDecodeUndelegate(f *testing.F) {
	canonical(f, goldenMessages()["undelegate"].Encode(), staking.DecodeUndelegate, (*staking.Undelegate).Encode)
}

func FuzzDecodeClaim(f *testing.F) {
	canonical(f, goldenMessages()["claim"].Encode(), staking.DecodeClaim, (*staking.Claim).Encode)
}

func FuzzDecodeUnjail(f *testing.F) {
	canonical(f, goldenMessages()["unjail"].Encode(), staking.DecodeUnjail, (*staking.Unjail).Encode)
}

func FuzzDecodeValidator(f *testing.F) {
	seed := goldenValidator()
	canonical(f, seed.Encode(), staking.DecodeValidator, (*staking.Validator).Encode)
}

func FuzzDecodeProfile(f *testing.F) {
	seed := staking.Profile{Name: "name", Endpoints: []string{"a:1", "b:2"}}
	canonical(f, seed.Encode(), staking.DecodeProfile, (*staking.Profile).Encode)
}

func FuzzDecodeDelegation(f *testing.F) {
	seed := goldenDelegation()
	canonical(f, seed.Encode(), staking.DecodeDelegation, (*staking.Delegation).Encode)
}

func FuzzDecodeUnbonding(f *testing.F) {
	seed := staking.Unbonding{Shares: 5, Liabilities: goldenDelegation().Liabilities}
	canonical(f, seed.Encode(), staking.DecodeUnbonding, (*staking.Unbonding).Encode)
}
