package channel_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
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

func FuzzDecodeOpen(f *testing.F) {
	seed := channel.Open{Channels: []channel.OpenParams{params(), params()}}
	canonical(f, seed.Encode(), channel.DecodeOpen, (*channel.Open).Encode)
}

func FuzzDecodeTopUp(f *testing.F) {
	seed := channel.TopUp{Channel: ref(), NewTotal: 5}
	canonical(f, seed.Encode(), channel.DecodeTopUp, (*channel.TopUp).Encode)
}

func FuzzDecodeExtend(f *testing.F) {
	seed := channel.Extend{Channel: ref(), NewExpiry: 5}
	canonical(f, seed.Encode(), channel.DecodeExtend, (*channel.Extend).Encode)
}

func FuzzDecodeRequestClose(f *testing.F) {
	seed := channel.RequestClose{Channel: ref()}
	canonical(f, seed.Encode(), channel.DecodeRequestClose, (*channel.RequestClose).Encode)
}

func FuzzDecodeCoopClose(f *testing.F) {
	seed := coop()
	canonical(f, seed.Encode(), channel.DecodeCoopClose, (*channel.CoopClose).Encode)
}

func FuzzDecodeChannel(f *testing.F) {
	seed := record()
	canonical(f, seed.Encode(), channel.Decode, (*channel.Channel).Encode)
}

func FuzzDecodeLane(f *testing.F) {
	seed := channel.Lane{Redeemed: 1, Units: 2}
	canonical(f, seed.Encode(), channel.DecodeLane, (*channel.Lane).Encode)
}

func FuzzDecodeDirectory(f *testing.F) {
	seed := channel.Directory{{Lane: 1, Row: 7}, {Lane: 63, Row: 2}}
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1})
	canonical(f, seed.Encode(), channel.DecodeDirectory, func(d *channel.Directory) []byte { return d.Encode() })
}

func FuzzDecodeCounters(f *testing.F) {
	seed := channel.Counters{Channels: 1, Lanes: 2, Open: 3}
	canonical(f, seed.Encode(), channel.DecodeCounters, (*channel.Counters).Encode)
}

func FuzzDecodeFees(f *testing.F) {
	seed := goldenFees()
	canonical(f, seed.Encode(), channel.DecodeFees, (*channel.Fees).Encode)
}

func FuzzDecodeBatch(f *testing.F) {
	seed := batch()
	canonical(f, seed.Encode(), channel.DecodeBatch, (*channel.Batch).Encode)
}

// FuzzScanBatch: a scan sees of every sound batch what decoding it gives.
func FuzzScanBatch(f *testing.F) {
	seed := batch()
	f.Add(seed.Encode())
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := channel.DecodeBatch(payload)
		var seen []channel.Entry
		n, scanErr := channel.ScanBatch(payload, func(payee *ledger.Address, e *channel.Entry) bool {
			if err == nil && *payee != b.Payee {
				t.Errorf("payee %s, want %s", payee, b.Payee)
			}
			seen = append(seen, *e)
			return true
		})
		if err != nil {
			return
		}
		if scanErr != nil || n != len(b.Entries) || !reflect.DeepEqual(seen, b.Entries) {
			t.Errorf("scan gives %d entries, %v", n, scanErr)
		}
		size := 0
		for i := range b.Entries {
			size += b.Entries[i].Size()
		}
		const head, auth = ledger.AddressSize + 1 + 1 + 2, 32 + 8 + 64
		if b.Auth != nil {
			size += auth
		}
		if size+head != len(payload) {
			t.Errorf("sizes add up to %d of %d bytes", size+head, len(payload))
		}
	})
}
