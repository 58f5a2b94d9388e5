package registry_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/tributary-network/tributary/chain/registry"
)

// TestEpochRecord pins the encoding, which shards read.
func TestEpochRecord(t *testing.T) {
	t.Parallel()
	e := registry.EpochRecord{Epoch: 7, Sigma: 1 << 33, First: 141}
	const want = "0000000000000007" + "0000000200000000" + "000000000000008d"
	if got := hex.EncodeToString(e.Encode()); got != want {
		t.Errorf("encoding %s, want %s", got, want)
	}
	if got := hex.EncodeToString(registry.EpochKey(7)); got != "450000000000000007" {
		t.Errorf("key %s", got)
	}
	if back, err := registry.DecodeEpochRecord(e.Encode()); err != nil || back != e {
		t.Errorf("decoded %+v: %v", back, err)
	}
}

func FuzzDecodeEpochRecord(f *testing.F) {
	e := registry.EpochRecord{Epoch: 1, Sigma: 2, First: 3}
	f.Add(e.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := registry.DecodeEpochRecord(b); err == nil && !bytes.Equal(e.Encode(), b) {
			t.Errorf("%x is not the encoding of %+v", b, e)
		}
	})
}
