package ledger

import (
	"io"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

const (
	// BatchSize is the number of signatures one batch equation covers at most.
	// Larger batches gain nothing and no longer fit the second-level cache.
	BatchSize = 1024

	// leafSize is where bisection stops and signatures are verified singly.
	leafSize = 8
)

// Claim says that Key signed Message with Signature.
type Claim struct {
	Key       PublicKey
	Signature Signature
	Message   []byte
}

// strict is the one rule of the package comment. The zero options of voi are
// exactly it: cofactored, canonical A and R, no small order A or R.
func strict() *ed25519.Options {
	return &ed25519.Options{Verify: &ed25519.VerifyOptions{}}
}

// Verify reports whether key signed message, under the one rule.
func Verify(key PublicKey, message []byte, sig Signature) bool {
	return ed25519.VerifyWithOptions(key[:], message, sig[:], strict())
}

// VerifyBatch returns the indexes of the claims that do not hold, ascending;
// nil means that all hold. It agrees with Verify on every claim up to a chance
// of 2^-127, whatever entropy yields, provided the signers could not foresee
// it: pass crypto/rand.Reader. Work is split into batches of BatchSize, and a
// batch that fails is bisected, so that one bad signature among a thousand
// costs a few batches and not a thousand single verifications.
func VerifyBatch(entropy io.Reader, claims []Claim) []int {
	return VerifyBatchWith(entropy, claims, nil)
}

// VerifyBatchWith is VerifyBatch with keys that are decoded once, which saves a
// fifth of the work if most are remembered. keys may be nil.
func VerifyBatchWith(entropy io.Reader, claims []Claim, keys Keys) []int {
	b := batch{entropy: entropy, single: strict()}
	if len(claims) > leafSize {
		b.equation = newEquation(keys, min(len(claims), BatchSize))
	}
	for from := 0; from < len(claims); from += BatchSize {
		to := min(from+BatchSize, len(claims))
		b.bisect(claims, from, to)
	}
	return b.bad
}

// batch is a verification under way.
type batch struct {
	entropy  io.Reader
	single   *ed25519.Options
	equation *equation
	bad      []int
}

// bisect appends the bad indexes within claims[from:to] to bad.
func (b *batch) bisect(claims []Claim, from, to int) {
	if to-from <= leafSize {
		for i := from; i < to; i++ {
			c := &claims[i]
			if !ed25519.VerifyWithOptions(c.Key[:], c.Message, c.Signature[:], b.single) {
				b.bad = append(b.bad, i)
			}
		}
		return
	}
	if b.equation.holds(b.entropy, claims[from:to]) {
		return
	}
	mid := from + (to-from)/2
	b.bisect(claims, from, mid)
	b.bisect(claims, mid, to)
}
