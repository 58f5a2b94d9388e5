package comet_test

import (
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
)

// FuzzLightBlock: what a source says of a header and its validators is refused or taken, and what
// is taken is whole.
func FuzzLightBlock(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{10, 0, 18, 0}, []byte{10, 0, 18, 0})
	f.Add([]byte{10, 4, 26, 2, 8, 1, 18, 2, 8, 1}, []byte{10, 2, 24, 1})
	f.Fuzz(func(t *testing.T, header, validators []byte) {
		b, err := comet.DecodeLightBlock(header, validators)
		if err != nil {
			return
		}
		if b.SignedHeader == nil || b.ValidatorSet == nil {
			t.Fatal("a light block without a header or without validators is taken")
		}
		_ = b.ValidateBasic("network") // whatever it is, this must not panic
	})
}
