package cert_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// TestGolden: checkpoints, what is signed and certificates never change.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	b := seat(t, 4, 3, 2, 1, 1, 1, 1, 1, 1)
	c := b.checkpoint()
	put("checkpoint", c.Encode())
	put("message", c.Message())
	hash := c.Hash()
	put("checkpoint hash", hash[:])
	certificate, _, err := cert.Assemble(c, &b.committee, b.keys, b.votes(c, 0, 1, 2, 8, 5))
	if err != nil {
		t.Fatal(err)
	}
	put("certificate", certificate.Encode())

	const path = "testdata/certificates.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("certificates or what they sign changed: %s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		hash := func(name string) ledger.Hash {
			return ledger.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, name))
		}
		c := cert.Certificate{Checkpoint: cert.Checkpoint{
			Network: hash("network"), Chain: ledger.ChainID(rapid.Uint32().Draw(rt, "chain")),
			Height: rapid.Uint64().Draw(rt, "height"), Epoch: rapid.Uint64().Draw(rt, "epoch"),
			BlockHash: hash("block"), StateRoot: hash("state"), OutboxRoot: hash("outbox"),
			UsageRoot: hash("usage"), ResultsRoot: hash("results"), CommitteeHash: hash("committee"),
		}}
		c.Bitmap = append(rapid.SliceOfN(rapid.Byte(), 0, cert.MaxBitmap-1).Draw(rt, "bitmap"), 1)
		copy(c.Signature[:], rapid.SliceOfN(rapid.Byte(), 48, 48).Draw(rt, "signature"))

		again, err := cert.Decode(c.Encode())
		if diff := cmp.Diff(c, again); err != nil || diff != "" {
			rt.Fatalf("decoded with error %v: %s", err, diff)
		}
		raw := c.Checkpoint.Encode()
		checkpoint, err := cert.DecodeCheckpoint(raw)
		if err != nil || checkpoint != c.Checkpoint || len(raw) != cert.CheckpointSize {
			rt.Fatalf("checkpoint decoded with error %v", err)
		}
		if !bytes.Equal(bytes.TrimPrefix(checkpoint.Message(), []byte("trib/checkpoint/1\x00")), raw) {
			rt.Fatal("the message is not the tag and the encoding")
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	encode := func(bitmap []byte) []byte {
		c := cert.Certificate{Bitmap: bitmap}
		return c.Encode()
	}
	good := encode([]byte{0, 1})
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"the longest bitmap", encode(slices.Repeat([]byte{1}, cert.MaxBitmap)), nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", good[:len(good)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(good), 0), codec.ErrTrailing},
		{"no bitmap", encode(nil), cert.ErrBitmap},
		{"an empty bitmap", encode([]byte{0}), cert.ErrBitmap},
		{"a zero at the end", encode([]byte{1, 0}), cert.ErrBitmap},
		{"a bitmap too long", encode(slices.Repeat([]byte{1}, cert.MaxBitmap+1)), codec.ErrLength},
	} {
		if _, err := cert.Decode(row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
	c := cert.Checkpoint{}
	for _, b := range [][]byte{nil, c.Encode()[1:], append(c.Encode(), 0)} {
		if _, err := cert.DecodeCheckpoint(b); err == nil {
			t.Errorf("a checkpoint of %d bytes is accepted", len(b))
		}
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

func FuzzDecodeCheckpoint(f *testing.F) {
	c := seat(f, 1).checkpoint()
	canonical(f, c.Encode(), cert.DecodeCheckpoint, (*cert.Checkpoint).Encode)
}

func FuzzDecode(f *testing.F) {
	b := seat(f, 1, 1, 1)
	c := b.certificate(f, b.checkpoint(), 0, 2)
	canonical(f, c.Encode(), cert.Decode, (*cert.Certificate).Encode)
}

// FuzzVerify: nothing but the certificate that was made verifies.
func FuzzVerify(f *testing.F) {
	b := seat(f, 1, 1, 1, 1)
	good := b.certificate(f, b.checkpoint(), 0, 1, 3)
	f.Add(good.Encode())
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := cert.Decode(in)
		if err != nil {
			return
		}
		if err := b.verify(&c); (err == nil) != bytes.Equal(in, good.Encode()) {
			t.Errorf("%x: %v", in, err)
		}
	})
}
