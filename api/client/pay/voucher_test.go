package pay_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func drawHash(t *rapid.T, name string) (h ledger.Hash) {
	copy(h[:], rapid.SliceOfN(rapid.Byte(), ledger.HashSize, ledger.HashSize).Draw(t, name))
	return h
}

func drawSignature(t *rapid.T) (s ledger.Signature) {
	copy(s[:], rapid.SliceOfN(rapid.Byte(), ledger.SignatureSize, ledger.SignatureSize).Draw(t, "signature"))
	return s
}

func drawVoucher(t *rapid.T) pay.Voucher {
	return pay.Voucher{Signature: drawSignature(t), Voucher: channel.Voucher{
		ChannelID:  drawHash(t, "channel"),
		Lane:       rapid.Uint16Range(0, channel.Lanes-1).Draw(t, "lane"),
		Cumulative: ledger.Amount(rapid.Uint64Range(0, uint64(ledger.MaxAmount)).Draw(t, "cumulative")),
		Units:      rapid.Uint64().Draw(t, "units"),
		UsageRoot:  drawHash(t, "root"),
	}}
}

func TestEncodingsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := drawVoucher(t)
		b := v.Encode()
		got, err := pay.DecodeVoucher(b)
		if err != nil || len(b) != pay.VoucherSize {
			t.Fatalf("voucher of %d bytes: %v", len(b), err)
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Fatalf("voucher (-want +got):\n%s", diff)
		}

		c := pay.Commitment{Signature: v.Signature, HashCommit: channel.HashCommit{
			ChannelID: v.ChannelID, Lane: v.Lane, BaseCumulative: v.Cumulative / 2, BaseUnits: v.Units, Root: v.UsageRoot,
			UnitPrice: ledger.Amount(rapid.Uint64Range(0, 1<<50).Draw(t, "price")), UnitSize: rapid.Uint32().Draw(t, "size"),
			Steps: rapid.Uint16Range(1, channel.MaxHashSteps).Draw(t, "steps"), ChainNo: rapid.Uint32().Draw(t, "chain"),
		}}
		b = c.Encode()
		gotC, err := pay.DecodeCommitment(b)
		if err != nil || len(b) != pay.CommitmentSize {
			t.Fatalf("commitment of %d bytes: %v", len(b), err)
		}
		if diff := cmp.Diff(c, gotC); diff != "" {
			t.Fatalf("commitment (-want +got):\n%s", diff)
		}

		r := pay.Reveal{ChannelID: v.ChannelID, Lane: v.Lane, ChainNo: c.ChainNo, Step: c.Steps, Preimage: v.UsageRoot}
		b = r.Encode()
		gotR, err := pay.DecodeReveal(b)
		if err != nil || len(b) != pay.RevealSize {
			t.Fatalf("reveal of %d bytes: %v", len(b), err)
		}
		if diff := cmp.Diff(r, gotR); diff != "" {
			t.Fatalf("reveal (-want +got):\n%s", diff)
		}
	})
}

// TestSizesAreTheProtocols keeps the sizes that other implementations rely on.
func TestSizesAreTheProtocols(t *testing.T) {
	t.Parallel()
	got := []int{pay.VoucherSize, pay.CommitmentSize, pay.RevealSize}
	if diff := cmp.Diff([]int{146, 164, 72}, got); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
}

func TestDecodersRefuse(t *testing.T) {
	t.Parallel()
	v := pay.Voucher{Voucher: channel.Voucher{Cumulative: 5}}
	c := pay.Commitment{HashCommit: channel.HashCommit{Steps: 10, UnitPrice: 3}}
	r := pay.Reveal{Step: 1}
	voucher := func(change func(v *pay.Voucher)) []byte { w := v; change(&w); return w.Encode() }
	commit := func(change func(c *pay.Commitment)) []byte { w := c; change(&w); return w.Encode() }
	reveal := func(change func(r *pay.Reveal)) []byte { w := r; change(&w); return w.Encode() }
	decodeV := func(b []byte) error { _, err := pay.DecodeVoucher(b); return err }
	decodeC := func(b []byte) error { _, err := pay.DecodeCommitment(b); return err }
	decodeR := func(b []byte) error { _, err := pay.DecodeReveal(b); return err }
	tests := []struct {
		name   string
		decode func([]byte) error
		b      []byte
	}{
		{"voucher too short", decodeV, v.Encode()[:145]},
		{"voucher too long", decodeV, append(v.Encode(), 0)},
		{"voucher lane", decodeV, voucher(func(v *pay.Voucher) { v.Lane = 64 })},
		{"voucher amount", decodeV, voucher(func(v *pay.Voucher) { v.Cumulative = ledger.MaxAmount + 1 })},
		{"commitment too short", decodeC, c.Encode()[:163]},
		{"commitment too long", decodeC, append(c.Encode(), 0)},
		{"commitment lane", decodeC, commit(func(c *pay.Commitment) { c.Lane = 64 })},
		{"commitment without steps", decodeC, commit(func(c *pay.Commitment) { c.Steps = 0 })},
		{"commitment of too many steps", decodeC, commit(func(c *pay.Commitment) { c.Steps = 1025 })},
		{"commitment base", decodeC, commit(func(c *pay.Commitment) { c.BaseCumulative = ledger.MaxAmount + 1 })},
		{"commitment overflows", decodeC, commit(func(c *pay.Commitment) { c.UnitPrice = ledger.MaxAmount / 9 })},
		{"reveal too short", decodeR, r.Encode()[:71]},
		{"reveal lane", decodeR, reveal(func(r *pay.Reveal) { r.Lane = 64 })},
		{"reveal of step 0", decodeR, reveal(func(r *pay.Reveal) { r.Step = 0 })},
		{"reveal of step 1025", decodeR, reveal(func(r *pay.Reveal) { r.Step = 1025 })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.decode(tt.b); !errors.Is(err, pay.ErrEncoding) {
				t.Errorf("got %v, want %v", err, pay.ErrEncoding)
			}
		})
	}
}

// TestSignaturesAreTheProtocols compares what is signed here, by a faster way,
// with the definition in chain/channel, on random vouchers and domains.
func TestSignaturesAreTheProtocols(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := chain.Domain{Network: drawHash(rt, "network"), Chain: ledger.ChainID(rapid.Uint32().Draw(rt, "chain"))}
		p, err := pay.OpenPayer(pay.PayerConfig{Domain: d})
		if err != nil {
			rt.Fatal(err)
		}
		record, key := testChannel(1)
		record.Deposit = ledger.MaxAmount
		c, err := p.Track(record, key)
		if err != nil {
			rt.Fatal(err)
		}
		want := drawVoucher(rt).Voucher
		want.Cumulative = max(want.Cumulative, 1)
		v, err := c.Sign(t.Context(), want)
		if err != nil {
			rt.Fatal(err)
		}
		want.ChannelID = record.ID
		if v.Voucher != want {
			rt.Fatalf("signed %+v, want %+v", v.Voucher, want)
		}
		if v.Signature != key.Sign(want.Signed(d)) {
			rt.Fatal("the signature is not over channel.Voucher.Signed")
		}
	})
}

func FuzzDecodeVoucher(f *testing.F) {
	v := pay.Voucher{Voucher: channel.Voucher{Lane: 3, Cumulative: 5, Units: 7}}
	f.Add(v.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := pay.DecodeVoucher(b)
		if err == nil && !bytes.Equal(v.Encode(), b) {
			t.Error("one value has two encodings")
		}
	})
}

func FuzzDecodeCommitment(f *testing.F) {
	c := pay.Commitment{HashCommit: channel.HashCommit{Lane: 3, UnitPrice: 5, Steps: 7}}
	f.Add(c.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pay.DecodeCommitment(b)
		if err == nil && !bytes.Equal(c.Encode(), b) {
			t.Error("one value has two encodings")
		}
	})
}

func FuzzDecodeReveal(f *testing.F) {
	r := pay.Reveal{Lane: 3, Step: 5}
	f.Add(r.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := pay.DecodeReveal(b)
		if err == nil && !bytes.Equal(r.Encode(), b) {
			t.Error("one value has two encodings")
		}
	})
}
