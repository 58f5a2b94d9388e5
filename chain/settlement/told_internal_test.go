package settlement

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

func goldenTold() told {
	return told{flags: tellOpened | tellFirst, payer: ledger.Address{1, 2, 20: 3}, redeemed: 1 << 40, lanes: 1<<63 | 1}
}

// TestGoldenTold pins the rows of what waits to be told, and their keys.
func TestGoldenTold(t *testing.T) {
	t.Parallel()
	row, home := goldenTold(), link.Place{Service: 258, Zone: 2, Bucket: 255}
	for name, v := range map[string]struct {
		got  []byte
		want string
	}{
		"row":      {row.encode(), "09" + "010200000000000000000000000000000000000003" + "0000010000000000" + "8000000000000001"},
		"key":      {waitingKey(home, 1<<33), "74" + "00000102" + "02" + "ff" + "0000000200000000"},
		"home key": {placeKey(prefixHome, home), "75" + "00000102" + "02" + "ff"},
	} {
		if got := hex.EncodeToString(v.got); got != v.want {
			t.Errorf("%s: %s, want %s", name, got, v.want)
		}
	}
}

func FuzzDecodeTold(f *testing.F) {
	seed := goldenTold()
	f.Add(seed.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeTold(b); err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("%x is not the encoding of %+v", b, v)
		}
	})
}
