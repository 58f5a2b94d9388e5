package ledger_test

import (
	"bytes"
	stded25519 "crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// torsion is a point of order eight.
const torsion = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"

func key(n byte) ledger.PrivateKey {
	var seed [ledger.SeedSize]byte
	seed[0] = n
	return ledger.NewPrivateKey(seed)
}

// vector is a signature that implementations are known to disagree about.
type vector struct {
	Name      string `json:"name"`
	Key       string `json:"key"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	KeyValid  bool   `json:"key_valid"`
	Valid     bool   `json:"valid"`
	Stdlib    bool   `json:"stdlib"` // what crypto/ed25519 says, for contrast
}

func (v vector) claim(t *testing.T) ledger.Claim {
	t.Helper()
	var c ledger.Claim
	copy(c.Key[:], unhex(t, v.Key))
	copy(c.Signature[:], unhex(t, v.Signature))
	c.Message = unhex(t, v.Message)
	return c
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("bad hex in a vector: %v", err)
	}
	return b
}

// forge builds signatures from their parts, so that a part can be twisted.
type forge struct {
	secret scalar.Scalar
	nonce  scalar.Scalar
	a, r   curve.EdwardsPoint
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := new(forge)
	f.secret.SetUint64(0x1234567890abcdef)
	f.nonce.SetUint64(0xfedcba0987654321)
	f.a.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, &f.secret)
	f.r.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, &f.nonce)
	return f
}

func point(t *testing.T, encoded []byte) *curve.EdwardsPoint {
	t.Helper()
	c, err := curve.NewCompressedEdwardsYFromBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	p, err := curve.NewEdwardsPoint().SetCompressedY(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func encodePoint(p *curve.EdwardsPoint) []byte {
	c := curve.NewCompressedEdwardsY().SetEdwardsPoint(p)
	return bytes.Clone(c[:])
}

// sign returns S for the encodings of A and R as they will be seen.
func (f *forge) sign(t *testing.T, aEnc, rEnc, message []byte) []byte {
	t.Helper()
	digest := sha512.Sum512(slices.Concat(rEnc, aEnc, message))
	k, err := scalar.NewFromBytesModOrderWide(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	s := scalar.New().Mul(k, &f.secret)
	s.Add(s, &f.nonce)
	out := make([]byte, scalar.ScalarSize)
	if err := s.ToBytes(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// twistedVectors builds every case in which verifiers are known to differ.
func twistedVectors(t *testing.T) []vector {
	t.Helper()
	f, message := newForge(t), []byte("tributary")
	t8 := point(t, unhex(t, torsion))
	identity := append([]byte{1}, make([]byte, 31)...)
	plus := func(p *curve.EdwardsPoint) []byte { return encodePoint(curve.NewEdwardsPoint().Add(p, t8)) }
	a, r := encodePoint(&f.a), encodePoint(&f.r)
	row := func(name string, aEnc, rEnc, s []byte, keyValid, valid bool) vector {
		sig := slices.Concat(rEnc, s)
		return vector{
			Name: name, Key: hex.EncodeToString(aEnc), Message: hex.EncodeToString(message),
			Signature: hex.EncodeToString(sig), KeyValid: keyValid, Valid: valid, Stdlib: stded25519.Verify(aEnc, message, sig),
		}
	}
	good := f.sign(t, a, r, message)
	nonCanonicalY := unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f") // p+1: the identity, y not reduced
	nonCanonicalX := append([]byte{1}, make([]byte, 31)...)
	nonCanonicalX[31] = 0x80 // the identity with the sign of x set
	zero := make([]byte, 32)
	return []vector{
		row("plain", a, r, good, true, true),
		row("torsion in R", a, plus(&f.r), f.sign(t, a, plus(&f.r), message), true, true),
		row("torsion in A", plus(&f.a), r, f.sign(t, plus(&f.a), r, message), true, true),
		row("torsion in A and R", plus(&f.a), plus(&f.r), f.sign(t, plus(&f.a), plus(&f.r), message), true, true),
		row("S plus the group order", a, r, addOrder(good), true, false),
		row("small-order A: identity", identity, r, nonceBytes(t, f), false, false),
		row("small-order A: order eight", unhex(t, torsion), r, nonceBytes(t, f), false, false),
		row("small-order R: identity", a, identity, f.signSmallR(t, a, identity, message), true, false),
		row("small-order R: order eight", a, unhex(t, torsion), f.signSmallR(t, a, unhex(t, torsion), message), true, false),
		row("small-order A and R, S zero", identity, identity, zero, false, false),
		row("non-canonical A: y not reduced", nonCanonicalY, r, nonceBytes(t, f), false, false),
		row("non-canonical A: sign of zero", nonCanonicalX, r, nonceBytes(t, f), false, false),
		row("non-canonical R", a, nonCanonicalY, f.signSmallR(t, a, nonCanonicalY, message), true, false),
		row("A not on the curve", append([]byte{2}, make([]byte, 31)...), r, good, false, false),
		row("R of another message", a, r, f.sign(t, a, r, []byte("other")), true, false),
		row("all zero", zero, zero, zero, false, false),
	}
}

func nonceBytes(t *testing.T, f *forge) []byte {
	t.Helper()
	out := make([]byte, scalar.ScalarSize)
	if err := f.nonce.ToBytes(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// signSmallR solves the equation for an R of small order: S = kA alone.
func (f *forge) signSmallR(t *testing.T, aEnc, rEnc, message []byte) []byte {
	t.Helper()
	g := *f
	g.nonce.Zero()
	return g.sign(t, aEnc, rEnc, message)
}

// addOrder adds the group order to a little-endian scalar.
func addOrder(s []byte) []byte {
	order := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	out, carry := make([]byte, len(s)), 0
	for i := range s {
		sum := int(s[i]) + int(order[i]) + carry
		out[i], carry = byte(sum), sum>>8
	}
	return out
}

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	const path = "testdata/signatures.json"
	built := twistedVectors(t)
	if *update {
		raw, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var golden []vector
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, built); diff != "" {
		t.Errorf("vectors differ from %s (-golden +built):\n%s", path, diff)
	}
	differs := false
	for _, v := range golden {
		c := v.claim(t)
		if got := ledger.Verify(c.Key, c.Message, c.Signature); got != v.Valid {
			t.Errorf("%s: Verify = %v, want %v", v.Name, got, v.Valid)
		}
		if got := c.Key.Check() == nil; got != v.KeyValid {
			t.Errorf("%s: Check admits the key: %v, want %v", v.Name, got, v.KeyValid)
		}
		for _, n := range []int{1, 2, 9, 64, 200} {
			if got := inBatch(c, n); got != v.Valid {
				t.Errorf("%s in a batch of %d: %v, want %v", v.Name, n, got, v.Valid)
			}
		}
		differs = differs || v.Stdlib != v.Valid
	}
	if !differs {
		t.Error("no vector on which crypto/ed25519 disagrees: the vectors prove nothing")
	}
}

// inBatch reports whether c is accepted in the middle of n-1 good claims, and
// panics if any of those is not, or if a cache of keys makes a difference.
func inBatch(c ledger.Claim, n int) bool {
	claims := goodClaims(n)
	claims[n/2] = c
	bad := ledger.VerifyBatch(rand.Reader, claims)
	keys := memory{}
	for range 3 {
		if again := ledger.VerifyBatchWith(rand.Reader, claims, keys); !slices.Equal(again, bad) {
			panic(fmt.Sprintf("bad = %v, with keys remembered %v", bad, again))
		}
	}
	switch {
	case len(bad) == 0:
		return true
	case len(bad) == 1 && bad[0] == n/2:
		return false
	default:
		panic(fmt.Sprintf("bad = %v, only %d may be", bad, n/2))
	}
}

// memory remembers all keys.
type memory map[ledger.PublicKey]ledger.DecodedKey

func (m memory) Load(key *ledger.PublicKey, d *ledger.DecodedKey) (ok bool) {
	*d, ok = m[*key]
	return ok
}

func (m memory) Store(d *ledger.DecodedKey) { m[d.Key()] = *d }

func goodClaims(n int) []ledger.Claim {
	claims := make([]ledger.Claim, n)
	for i := range claims {
		k, message := key(byte(i)), fmt.Appendf(nil, "message %d", i)
		claims[i] = ledger.Claim{Key: k.Public(), Message: message, Signature: k.Sign(message)}
	}
	return claims
}

func TestVerifyBatchFindsExactlyTheBadOnes(t *testing.T) {
	t.Parallel()
	good := goodClaims(2*ledger.BatchSize + 100)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(rt, "n")
		want := rapid.SliceOfNDistinct(rapid.IntRange(0, max(n-1, 0)), 0, min(n, 12), rapid.ID).Draw(rt, "bad")
		slices.Sort(want)
		claims := slices.Clone(good[:n])
		for _, i := range want {
			claims[i].Message = []byte("another message")
		}
		if diff := cmp.Diff(want, append([]int{}, ledger.VerifyBatch(rand.Reader, claims)...)); diff != "" {
			rt.Fatalf("bad indexes (-want +got):\n%s", diff)
		}
	})
	claims := slices.Clone(good)
	claims[5].Signature[0] ^= 1
	claims[ledger.BatchSize].Signature[40] ^= 1
	claims[len(claims)-1].Key = key(77).Public()
	want := []int{5, ledger.BatchSize, len(claims) - 1}
	if diff := cmp.Diff(want, ledger.VerifyBatch(rand.Reader, claims)); diff != "" {
		t.Errorf("across batches (-want +got):\n%s", diff)
	}
}

// TestBatchesAgreeWithSingles verifies batches of a few keys, twisted claims among
// them, and claims whose errors would cancel out with equal factors.
func TestBatchesAgreeWithSingles(t *testing.T) {
	t.Parallel()
	twisted := twistedVectors(t)
	keys := memory{}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(9, 60).Draw(rt, "n")
		claims := make([]ledger.Claim, n)
		for i := range claims {
			k, message := key(byte(rapid.IntRange(0, 4).Draw(rt, "key"))), fmt.Appendf(nil, "message %d", i)
			claims[i] = ledger.Claim{Key: k.Public(), Message: message, Signature: k.Sign(message)}
			switch rapid.IntRange(0, 30).Draw(rt, "what") {
			case 0:
				claims[i] = twisted[rapid.IntRange(0, len(twisted)-1).Draw(rt, "vector")].claim(t)
			case 1:
				claims[i].Signature[rapid.IntRange(0, ledger.SignatureSize-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			case 2:
				claims[i].Key[rapid.IntRange(0, ledger.PublicKeySize-1).Draw(rt, "at")] ^= 1
			}
		}
		if rapid.Bool().Draw(rt, "cancel") {
			a, b := scalarOf(t, &claims[0]), scalarOf(t, &claims[n-1])
			one := scalar.One()
			setScalar(t, &claims[0], a.Add(a, one))
			setScalar(t, &claims[n-1], b.Sub(b, one))
		}
		want := []int{}
		for i, c := range claims {
			if !ledger.Verify(c.Key, c.Message, c.Signature) {
				want = append(want, i)
			}
		}
		for _, known := range []ledger.Keys{nil, keys} {
			if diff := cmp.Diff(want, append([]int{}, ledger.VerifyBatchWith(rand.Reader, claims, known)...)); diff != "" {
				rt.Fatalf("bad indexes (-want +got):\n%s", diff)
			}
		}
	})
}

func scalarOf(t *testing.T, c *ledger.Claim) *scalar.Scalar {
	t.Helper()
	s, err := scalar.NewFromBytesModOrder(c.Signature[32:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setScalar(t *testing.T, c *ledger.Claim, s *scalar.Scalar) {
	t.Helper()
	if err := s.ToBytes(c.Signature[32:]); err != nil {
		t.Fatal(err)
	}
}

func TestSignAgreesWithStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), ledger.SeedSize, ledger.SeedSize).Draw(rt, "seed")
		message := rapid.SliceOf(rapid.Byte()).Draw(rt, "message")
		k := ledger.NewPrivateKey([ledger.SeedSize]byte(seed))
		sig := k.Sign(message)
		if want := stded25519.Sign(stded25519.NewKeyFromSeed(seed), message); !bytes.Equal(sig[:], want) {
			rt.Fatalf("signature %x, want %x", sig, want)
		}
		if !ledger.Verify(k.Public(), message, sig) {
			rt.Fatal("own signature does not verify")
		}
	})
}

func TestPrivateKeyHidesItsSecret(t *testing.T) {
	t.Parallel()
	k := key(9)
	seed := k.Seed()
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%q", k)} {
		if bytes.Contains([]byte(s), []byte(hex.EncodeToString(seed[:]))) || bytes.Contains([]byte(s), fmt.Appendf(nil, "%v", seed[:])) {
			t.Errorf("the secret is printed: %s", s)
		}
	}
}

// BenchmarkVerifyBatch verifies batches by few and by many keys, remembered or not.
func BenchmarkVerifyBatch(b *testing.B) {
	for _, keys := range []int{16, 256, ledger.BatchSize} {
		claims := make([]ledger.Claim, ledger.BatchSize)
		for i := range claims {
			var seed [ledger.SeedSize]byte
			seed[0], seed[1] = byte(i%keys), byte(i%keys>>8)
			k, message := ledger.NewPrivateKey(seed), fmt.Appendf(nil, "%0150d", i)
			claims[i] = ledger.Claim{Key: k.Public(), Message: message, Signature: k.Sign(message)}
		}
		for name, known := range map[string]ledger.Keys{"": nil, ", remembered": memory{}} {
			b.Run(fmt.Sprintf("%d keys%s", keys, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if bad := ledger.VerifyBatchWith(rand.Reader, claims, known); bad != nil {
						b.Fatal(bad)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(claims)), "us/signature")
			})
		}
	}
}
