package settlement_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
)

const stepsPerWorld = 30 // blocks

// TestMillionOperations runs the rules against the model. It fails by naming the
// seed of the world; the operations of the block are logged.
func TestMillionOperations(t *testing.T) {
	t.Parallel()
	want := 1_000_000
	if testing.Short() {
		want = 50_000
	}
	var ops, closed, exact, settled, stood int
	var earned uint64
	codes := map[chain.Code]int{}
	for seed := uint64(0); ops < want; seed++ {
		w := newWorld(t, seeded(seed), false)
		for range stepsPerWorld {
			w.step(16)
			if t.Failed() {
				t.Fatalf("world %d", seed)
			}
		}
		ops, closed, exact, settled, stood = ops+w.count, closed+w.closed, exact+w.exact, settled+w.settled, stood+w.stood
		earned += w.earned
		for c, n := range w.codes {
			codes[c] += n
		}
	}
	t.Logf("%d operations, %d channels closed, %d of them with everything claimed, %d entries paid, %d drops to owners, the clock stood still %d times",
		ops, closed, exact, settled, earned, stood)
	t.Logf("codes: %v", codes)
	if closed < want/200 || exact < closed/10 || settled < want/10 || stood < want/1_000 || earned < uint64(want)/2 {
		t.Error("the worlds are too quiet to prove anything")
	}
	for _, c := range reachable() {
		if codes[c] == 0 {
			t.Errorf("no transaction ended with %s", c)
		}
	}
}

// reachable are the codes that worlds of checked transactions must meet.
func reachable() []chain.Code {
	return []chain.Code{
		chain.CodeOK, chain.CodeNonceUsed, chain.CodeNonceTooHigh, chain.CodeExpired, chain.CodeFeeTooLow,
		chain.CodeInsufficientBalance, chain.CodeAccountNotFound, chain.CodeSelfPayment, chain.CodeChannelNotFound,
		chain.CodeChannelClosing, chain.CodeNotPayer, chain.CodeNotPayee, chain.CodeStale,
		chain.CodeUnderfunded, chain.CodePartial, chain.CodeDepositTooSmall, chain.CodeExpiryOutOfRange,
		chain.CodeChallengeRange, chain.CodeUnknownService, chain.CodeBatchAborted, chain.CodeFinalOutOfRange,
		chain.CodeChannelMismatch, chain.CodePayeeZone, chain.CodeInvalidValue,
	}
}

// TestSignedOperations is the same with real signatures, some of them bad, and
// applies every block twice: verified, and with what holds marked as checked.
func TestSignedOperations(t *testing.T) {
	t.Parallel()
	want := 8_000
	if testing.Short() {
		want = 2_000
	}
	ops := 0
	codes := map[chain.Code]int{}
	for seed := uint64(0); ops < want; seed++ {
		w := newWorld(t, seeded(1_000_000+seed), true)
		for range stepsPerWorld {
			w.step(10)
			if t.Failed() {
				t.Fatalf("world %d", seed)
			}
		}
		ops += w.count
		for c, n := range w.codes {
			codes[c] += n
		}
	}
	for _, c := range []chain.Code{chain.CodeBadSignature, chain.CodeBadPreimage, chain.CodeBadKey, chain.CodeOK} {
		if codes[c] == 0 {
			t.Errorf("no transaction ended with %s", c)
		}
	}
	t.Logf("%d operations, codes: %v", ops, codes)
}

// TestShrinkableOperations lets rapid choose, so that a failure comes out small.
func TestShrinkableOperations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, drawn{rt}, false)
		for range 5 {
			w.step(6)
		}
	})
}

// TestModelNoticesBurnOnDeltas is the negative control: with the mistake that
// the protocol's first rule names, the comparison must fail.
func TestModelNoticesBurnOnDeltas(t *testing.T) {
	t.Parallel()
	noticed := 0
	for seed := range uint64(20) {
		spy := &failing{TB: t}
		func() {
			defer func() {
				if r := recover(); r != nil && !spy.failed {
					panic(r)
				}
			}()
			w := newWorld(spy, seeded(seed), false)
			w.m.burnOnDeltas = true
			for range stepsPerWorld {
				w.step(16)
			}
		}()
		if spy.failed {
			noticed++
		}
	}
	if noticed < 5 {
		t.Errorf("burning on deltas was noticed in %d of 20 worlds", noticed)
	}
}

// failing is a TB whose failures are expected.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()             {}
func (f *failing) Logf(string, ...any) {}
func (f *failing) Fatalf(string, ...any) {
	f.failed = true
	panic("failed as expected")
}
