package registry

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func goldenRedrawing() redrawing {
	return redrawing{round: 258, out: []uint64{3, 300}, away: []uint64{1 << 40}}
}

// TestGoldenRedrawing pins what is kept of a redraw.
func TestGoldenRedrawing(t *testing.T) {
	t.Parallel()
	r := goldenRedrawing()
	const want = "00000102" + "02" + "03" + "ac02" + "01" + "808080808020"
	if got := hex.EncodeToString(r.encode()); got != want {
		t.Errorf("encoding %s, want %s", got, want)
	}
	const key = "49" + "0000000000000007" + "00000102" + "00000003"
	if got := hex.EncodeToString(redrawKey(7, 258, 3)); got != key {
		t.Errorf("key %s, want %s", got, key)
	}
}

func FuzzDecodeRedrawing(f *testing.F) {
	seed, none := goldenRedrawing(), redrawing{round: 1}
	f.Add(seed.encode())
	f.Add(none.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRedrawing(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is not the encoding of %+v", b, r)
		}
	})
}
