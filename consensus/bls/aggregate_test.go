package bls_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
)

func TestVerifySame(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	keys, shares := group(t, 4, message)
	all := aggregate(t, shares...)
	for _, row := range []struct {
		name string
		keys []*bls.Key
		s    bls.Signature
		want bool
	}{
		{"all", keys, all, true},
		{"in another order", []*bls.Key{keys[2], keys[0], keys[3], keys[1]}, all, true},
		{"a subset", keys[:3], aggregate(t, shares[:3]...), true},
		{"one", keys[:1], shares[0], true},
		{"one key too few", keys[:3], all, false},
		{"one key too many", keys, aggregate(t, shares[:3]...), false},
		{"another subset", keys[1:], aggregate(t, shares[:3]...), false},
		{"a share twice", keys, aggregate(t, append(shares, shares[0])...), false},
		{"a share of another message", keys, aggregate(t, append(shares[:3:3], secret(3).Sign(nil))...), false},
		{"no keys", nil, all, false},
	} {
		if got := bls.VerifySame(row.keys, message, row.s); got != row.want {
			t.Errorf("%s: verifies is %v, want %v", row.name, got, row.want)
		}
	}
	if bls.VerifySame(keys, []byte("other"), all) {
		t.Error("the sum verifies for another message")
	}
	if _, err := bls.Aggregate(nil); !errors.Is(err, bls.ErrEmpty) {
		t.Errorf("aggregate nothing: error %v, want ErrEmpty", err)
	}
}

// TestAggregateSameEverySubset: whichever signatures are wrong, exactly those
// are found, and the rest makes a signature.
func TestAggregateSameEverySubset(t *testing.T) {
	t.Parallel()
	const n = 5
	message := []byte("message")
	keys, right := group(t, n, message)
	for mask := range 1 << n {
		var want []int
		var left []*bls.Key
		shares := slices.Clone(right)
		for i := range n {
			if mask>>i&1 == 0 {
				left = append(left, keys[i])
				continue
			}
			want = append(want, i)
			switch i % 3 {
			case 0:
				shares[i] = secret(byte(i)).Sign([]byte("other"))
			case 1:
				shares[i] = bls.Signature{}
			default:
				shares[i] = right[0]
			}
		}
		sum, bad, err := bls.AggregateSame(keys, message, shares)
		switch {
		case !slices.Equal(bad, want):
			t.Errorf("mask %05b: bad %v, want %v", mask, bad, want)
		case len(left) == 0:
			if !errors.Is(err, bls.ErrEmpty) {
				t.Errorf("mask %05b: error %v, want ErrEmpty", mask, err)
			}
		case err != nil || !bls.VerifySame(left, message, sum):
			t.Errorf("mask %05b: the rest makes no signature: %v", mask, err)
		}
	}
	if _, bad, err := bls.AggregateSame(nil, message, nil); bad != nil || !errors.Is(err, bls.ErrEmpty) {
		t.Errorf("nothing: bad %v, error %v, want ErrEmpty", bad, err)
	}
}

// TestAggregateSameProperty: in larger groups what is returned always verifies,
// no right signature is called wrong and no wrong one is left.
func TestAggregateSameProperty(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	keys, right := group(t, 17, message)
	_, other := group(t, 17, []byte("other"))
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(6, 17).Draw(rt, "n")
		shares, want := slices.Clone(right[:n]), []int(nil)
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, 2, rapid.ID).Draw(rt, "wrong") {
			shares[i], want = other[i], append(want, i)
		}
		slices.Sort(want)
		sum, bad, err := bls.AggregateSame(keys[:n], message, shares)
		if err != nil || !slices.Equal(bad, want) {
			rt.Fatalf("bad %v, want %v, error %v", bad, want, err)
		}
		left := slices.DeleteFunc(slices.Clone(keys[:n]), func(k *bls.Key) bool {
			return slices.ContainsFunc(want, func(i int) bool { return keys[i] == k })
		})
		if !bls.VerifySame(left, message, sum) {
			rt.Fatal("what is left does not verify")
		}
	})
}

// TestErrorsThatCancelOut: two owners that shift their signatures by opposite
// amounts have signed together, and hide no third.
func TestErrorsThatCancelOut(t *testing.T) {
	t.Parallel()
	message := []byte("message")
	keys, shares := group(t, 4, message)
	shift := secret(100).Sign(message)
	shares[0], shares[3] = aggregate(t, shares[0], shift), difference(t, shares[3], shift)
	sum, bad, err := bls.AggregateSame(keys, message, shares)
	if err != nil || bad != nil || !bls.VerifySame(keys, message, sum) {
		t.Errorf("bad %v, error %v", bad, err)
	}
	shares[1] = secret(1).Sign([]byte("other"))
	sum, bad, err = bls.AggregateSame(keys, message, shares)
	if err != nil || !slices.Contains(bad, 1) || slices.Contains(bad, 2) {
		t.Fatalf("bad %v, error %v", bad, err)
	}
	var left []*bls.Key
	for i, k := range keys {
		if !slices.Contains(bad, i) {
			left = append(left, k)
		}
	}
	if !bls.VerifySame(left, message, sum) {
		t.Error("what is left does not verify")
	}
}

func TestAggregateSamePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("two keys and one signature are accepted")
		}
	}()
	keys, shares := group(t, 2, nil)
	_, _, _ = bls.AggregateSame(keys, nil, shares[:1])
}

// Every accepted encoding is the only one of its point.

func FuzzParseKey(f *testing.F) {
	k, far := secret(1).Public(), outside2(f)
	f.Add(k[:])
	f.Add(far[:])
	f.Add(make([]byte, bls.PublicKeySize))
	f.Fuzz(func(t *testing.T, in []byte) {
		var k bls.PublicKey
		copy(k[:], in)
		key, err := bls.ParseKey(k)
		if err != nil {
			return
		}
		if key.Public() != k || bls.PublicKey(point2(t, k).BytesCompressed()) != k {
			t.Errorf("%s is not the encoding of its point", k)
		}
	})
}

func FuzzSignature(f *testing.F) {
	s, far := secret(1).Sign(nil), outside1(f)
	f.Add(s[:])
	f.Add(far[:])
	f.Add(make([]byte, bls.SignatureSize))
	key := parse(f, secret(1).Public())
	f.Fuzz(func(t *testing.T, in []byte) {
		var got bls.Signature
		copy(got[:], in)
		if sum, err := bls.Aggregate([]bls.Signature{got}); err == nil && sum != got {
			t.Errorf("%s is not the encoding of its point, %s is", got, sum)
		}
		if key.Verify(nil, got) != (got == s) {
			t.Errorf("%s is a second signature of one message", got)
		}
	})
}

func FuzzParseSecretKey(f *testing.F) {
	f.Add(secret(1).Bytes())
	f.Add(make([]byte, bls.SecretSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := bls.ParseSecretKey(in)
		if err == nil && !slices.Equal(k.Bytes(), in) {
			t.Errorf("%x is not the encoding of its scalar", in)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	k, message := secret(1), make([]byte, 256)
	for b.Loop() {
		k.Sign(message)
	}
}

func BenchmarkVerify(b *testing.B) {
	k, message := secret(1), make([]byte, 256)
	key, s := parse(b, k.Public()), k.Sign(message)
	for b.Loop() {
		if !key.Verify(message, s) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParseKey(b *testing.B) {
	k := secret(1).Public()
	for b.Loop() {
		parse(b, k)
	}
}

func BenchmarkAggregate(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			_, shares := group(b, n, []byte("message"))
			for b.Loop() {
				aggregate(b, shares...)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/signature")
		})
	}
}

func BenchmarkVerifySame(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			message := []byte("message")
			keys, shares := group(b, n, message)
			sum := aggregate(b, shares...)
			for b.Loop() {
				if !bls.VerifySame(keys, message, sum) {
					b.Fatal("refused")
				}
			}
		})
	}
}
