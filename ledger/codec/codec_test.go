package codec_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger/codec"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a, b := rapid.Uint8().Draw(rt, "u8"), rapid.Uint16().Draw(rt, "u16")
		c, d := rapid.Uint32().Draw(rt, "u32"), rapid.Uint64().Draw(rt, "u64")
		v, flag := rapid.Uint64().Draw(rt, "varint"), rapid.Bool().Draw(rt, "bool")
		raw := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "bytes")
		text := rapid.StringN(0, 20, 100).Draw(rt, "string")

		w := codec.NewWriter(0)
		w.Uint8(a)
		w.Uint16(b)
		w.Uint32(c)
		w.Uint64(d)
		w.Uvarint(v)
		w.Bool(flag)
		w.Bytes32(raw)
		w.String16(text)

		r := codec.NewReader(w.Bytes())
		same := r.Uint8() == a && r.Uint16() == b && r.Uint32() == c && r.Uint64() == d &&
			r.Uvarint(math.MaxUint64) == v && r.Bool() == flag &&
			bytes.Equal(r.Bytes32(40), raw) && r.String16(100) == text
		if err := r.Done(); err != nil || !same {
			rt.Fatalf("round trip failed: same=%v err=%v", same, err)
		}
		for n := range w.Len() {
			short := codec.NewReader(w.Bytes()[:n])
			readAll(short)
			if short.Done() == nil {
				rt.Fatalf("the first %d of %d bytes are accepted", n, w.Len())
			}
		}
	})
}

func readAll(r *codec.Reader) {
	r.Uint8()
	r.Uint16()
	r.Uint32()
	r.Uint64()
	r.Uvarint(math.MaxUint64)
	r.Bool()
	r.Bytes32(40)
	r.String16(100)
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		in   []byte
		read func(*codec.Reader)
		want error
	}{
		{"short integer", []byte{1, 2, 3}, func(r *codec.Reader) { r.Uint32() }, codec.ErrShort},
		{"trailing byte", []byte{1, 2}, func(r *codec.Reader) { r.Uint8() }, codec.ErrTrailing},
		{"varint with a spare zero", []byte{0x80, 0}, func(r *codec.Reader) { r.Uvarint(9) }, codec.ErrVarint},
		{"varint above its limit", []byte{10}, func(r *codec.Reader) { r.Uvarint(9) }, codec.ErrVarint},
		{"varint of eleven bytes", bytes.Repeat([]byte{0xff}, 11), func(r *codec.Reader) { r.Uvarint(math.MaxUint64) }, codec.ErrVarint},
		{"varint cut short", []byte{0x80}, func(r *codec.Reader) { r.Uvarint(9) }, codec.ErrShort},
		{"bool of two", []byte{2}, func(r *codec.Reader) { r.Bool() }, codec.ErrBool},
		{"bytes above their limit", []byte{0, 0, 0, 2, 1, 1}, func(r *codec.Reader) { r.Bytes32(1) }, codec.ErrLength},
		{"bytes of 4 GiB", []byte{0xff, 0xff, 0xff, 0xff}, func(r *codec.Reader) { r.Bytes32(math.MaxInt32) }, codec.ErrLength},
		{"string above its limit", []byte{0, 2, 'a', 'b'}, func(r *codec.Reader) { r.String16(1) }, codec.ErrLength},
		{"negative length", nil, func(r *codec.Reader) { r.Fixed(-1) }, codec.ErrShort},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := codec.NewReader(row.in)
			row.read(r)
			first := r.Done()
			if !errors.Is(first, row.want) {
				t.Fatalf("error %v, want %v", first, row.want)
			}
			readAll(r)
			if !errors.Is(r.Done(), first) {
				t.Fatalf("the first error was lost: %v", r.Done())
			}
		})
	}
}

func FuzzUvarint(f *testing.F) {
	f.Add([]byte{0x80, 1})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := codec.NewReader(in)
		v := r.Uvarint(math.MaxUint64)
		if r.Err() != nil {
			return
		}
		w := codec.NewWriter(10)
		w.Uvarint(v)
		if !bytes.Equal(w.Bytes(), in[:r.Offset()]) {
			t.Errorf("%x decodes to %d, which encodes to %x", in, v, w.Bytes())
		}
	})
}
