package bls_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
)

// seeded is a source of random numbers for tests.
func seeded(n uint64) bls.Random {
	var seed [32]byte
	seed[0] = byte(n)
	return mathrand.NewChaCha8(seed).Read
}

// messagesOf returns the signatures of n messages, each by a different number of the
// same keys, so that some share their signers and others do not.
func messagesOf(tb testing.TB, n int) []bls.Shares {
	tb.Helper()
	list := make([]bls.Shares, n)
	for i := range list {
		message := fmt.Append(nil, "message ", i)
		keys, signatures := group(tb, 4-i%2, message)
		list[i] = bls.Shares{Keys: keys, Message: message, Signatures: signatures}
	}
	return list
}

// sameAsSingly fails unless got is what AggregateSame says of each of list.
func sameAsSingly(tb testing.TB, list []bls.Shares, got []bls.Aggregated) {
	tb.Helper()
	if len(got) != len(list) {
		tb.Fatalf("%d results for %d messages", len(got), len(list))
	}
	for i, shares := range list {
		sum, bad, err := bls.AggregateSame(shares.Keys, shares.Message, shares.Signatures)
		if got[i].Sum != sum || !slices.Equal(got[i].Bad, bad) || !errors.Is(got[i].Err, err) {
			tb.Errorf("message %d: %v, bad %v, %v; singly %v, bad %v, %v", i, got[i].Sum, got[i].Bad, got[i].Err, sum, bad, err)
		}
	}
}

// TestAggregateEachEverySubset: whichever messages have a wrong signature, exactly
// those are found.
func TestAggregateEachEverySubset(t *testing.T) {
	t.Parallel()
	const n = 4
	right := messagesOf(t, n)
	for mask := range 1 << n {
		list := slices.Clone(right)
		for i := range list {
			if mask>>i&1 == 1 {
				list[i].Signatures = slices.Clone(list[i].Signatures)
				list[i].Signatures[i%3] = secret(byte(i % 3)).Sign([]byte("other"))
			}
		}
		for i, got := range bls.AggregateEach(seeded(uint64(mask)), list) {
			if wrong := mask>>i&1 == 1; wrong != slices.Equal(got.Bad, []int{i % 3}) || !wrong && got.Bad != nil || got.Err != nil {
				t.Errorf("mask %04b: message %d: bad %v, %v", mask, i, got.Bad, got.Err)
			}
		}
	}
}

// TestAggregateEachProperty: whatever is wrong with whichever signatures, all is as if
// each message came alone.
func TestAggregateEachProperty(t *testing.T) {
	t.Parallel()
	right := messagesOf(t, 4)
	rapid.Check(t, func(rt *rapid.T) {
		list := slices.Clone(right[:rapid.IntRange(0, 4).Draw(rt, "messages")])
		for i := range list {
			list[i].Signatures = slices.Clone(list[i].Signatures)
			for j := range list[i].Signatures {
				switch rapid.IntRange(0, 40).Draw(rt, "kind") {
				case 0:
					list[i].Signatures[j] = bls.Signature{}
				case 1:
					list[i].Signatures[j][0] ^= 0x20 // its negation
				case 2:
					list[i].Signatures[j] = right[(i+1)%len(right)].Signatures[j%3]
				}
			}
		}
		got := bls.AggregateEach(seeded(rapid.Uint64().Draw(rt, "seed")), list)
		for i, shares := range list {
			sum, bad, err := bls.AggregateSame(shares.Keys, shares.Message, shares.Signatures)
			if got[i].Sum != sum || !slices.Equal(got[i].Bad, bad) || !errors.Is(got[i].Err, err) {
				rt.Fatalf("message %d: %v, bad %v, %v; singly %v, bad %v, %v", i, got[i].Sum, got[i].Bad, got[i].Err, sum, bad, err)
			}
		}
	})
}

// TestErrorsDoNotCancelOutBetweenMessages: what one message's signature lacks, another's
// cannot make up for.
func TestErrorsDoNotCancelOutBetweenMessages(t *testing.T) {
	t.Parallel()
	list := messagesOf(t, 3)
	shift := secret(100).Sign(nil)
	list[0].Signatures[1] = aggregate(t, list[0].Signatures[1], shift)
	list[2].Signatures[1] = difference(t, list[2].Signatures[1], shift)
	got := bls.AggregateEach(rand.Read, list)
	sameAsSingly(t, list, got)
	for i, want := range [][]int{{1}, nil, {1}} {
		if !slices.Equal(got[i].Bad, want) {
			t.Errorf("message %d: bad %v, want %v", i, got[i].Bad, want)
		}
	}
}

// TestAggregateEachOfNothing: messages without signatures, without right ones, and with
// keys that cancel out have their errors beside others.
func TestAggregateEachOfNothing(t *testing.T) {
	t.Parallel()
	list := messagesOf(t, 4)
	list[1].Keys, list[1].Signatures = nil, nil
	list[2].Signatures = make([]bls.Signature, len(list[2].Signatures))
	minus := opposite(t, secret(0))
	list[3].Keys = []*bls.Key{list[3].Keys[0], parse(t, minus.Public())}
	list[3].Signatures = []bls.Signature{list[3].Signatures[0], minus.Sign(list[3].Message)}
	got := bls.AggregateEach(seeded(1), list)
	sameAsSingly(t, list, got)
	for i, want := range []error{nil, bls.ErrEmpty, bls.ErrEmpty, bls.ErrIdentity} {
		if !errors.Is(got[i].Err, want) {
			t.Errorf("message %d: error %v, want %v", i, got[i].Err, want)
		}
	}
	if got := bls.AggregateEach(seeded(1), nil); len(got) != 0 {
		t.Errorf("no messages make %v", got)
	}
}

// TestAggregateEachWithoutRandomness: numbers that fail, or are no good, cost time only.
func TestAggregateEachWithoutRandomness(t *testing.T) {
	t.Parallel()
	list := messagesOf(t, 3)
	list[1].Signatures[2] = secret(2).Sign([]byte("other"))
	for name, random := range map[string]bls.Random{
		"failing": iotest.ErrReader(io.ErrUnexpectedEOF).Read,
		"short":   bytes.NewReader(make([]byte, 20)).Read,
		"zeros":   bytes.NewReader(make([]byte, 1000)).Read,
		"ones":    bytes.NewReader(bytes.Repeat([]byte{math.MaxUint8}, 1000)).Read,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sameAsSingly(t, list, bls.AggregateEach(random, list))
		})
	}
}

func BenchmarkAggregateEach(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			var list []bls.Shares
			for i := range n {
				message := fmt.Append(nil, i)
				keys, signatures := group(b, 4, message)
				list = append(list, bls.Shares{Keys: keys, Message: message, Signatures: signatures})
			}
			for b.Loop() {
				bls.AggregateEach(rand.Read, list)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/message")
		})
	}
}
