package shard_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

func TestDecodeReport(t *testing.T) {
	t.Parallel()
	p := shard.Report{Epoch: 9, Load: shard.Load{Shard: 7, Heavy: 2, Light: 5}}
	if got, err := shard.DecodeReport(p.Encode()); err != nil || got != p {
		t.Errorf("decoded %+v: %v", got, err)
	}
	if _, err := shard.DecodeReport(p.Encode()[1:]); !errors.Is(err, codec.ErrShort) {
		t.Errorf("cut short: %v", err)
	}
	p.Load.Heavy = 1
	if _, err := shard.DecodeReport(p.Encode()); !errors.Is(err, shard.ErrBadLoad) {
		t.Errorf("a block both heavy and light: %v", err)
	}
}

func FuzzDecodeReport(f *testing.F) {
	p := shard.Report{Epoch: 9, Load: shard.Load{Shard: 7, Heavy: 2, Light: 5}}
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := shard.DecodeReport(b); err == nil && !bytes.Equal(p.Encode(), b) {
			t.Errorf("%x decodes, and encodes as %x", b, p.Encode())
		}
	})
}
