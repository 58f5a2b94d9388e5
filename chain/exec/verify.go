package exec

import (
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// leastSplit is the smallest batch worth a goroutine of its own: below it a
// batch costs a tenth more for each signature.
const leastSplit = ledger.BatchSize / 2

// verifier verifies signatures in parallel batches and counts them. It is safe
// for concurrent use; each call runs its own goroutines and waits for them.
type verifier struct {
	workers int
	keys    *keyCache
	now     func() time.Time

	signatures atomic.Uint64
	failed     atomic.Uint64
	batches    atomic.Uint64
	nanos      atomic.Int64
}

// verify returns the indexes of the claims that do not hold, ascending.
func (v *verifier) verify(claims []ledger.Claim) []int {
	n := len(claims)
	if n == 0 {
		return nil
	}
	start := v.clock()
	batches := (n + ledger.BatchSize - 1) / ledger.BatchSize
	if batches == 1 && v.workers > 1 && n >= 2*leastSplit {
		batches = 2
	}
	var bad []int
	if batches == 1 {
		bad = ledger.VerifyBatchWith(rand.Reader, claims, v.keys)
	} else {
		bad = v.parallel(claims, batches)
	}
	v.signatures.Add(uint64(n))
	v.failed.Add(uint64(len(bad)))
	v.batches.Add(uint64(batches))
	if v.now != nil {
		v.nanos.Add(int64(v.now().Sub(start)))
	}
	return bad
}

func (v *verifier) clock() time.Time {
	if v.now == nil {
		return time.Time{}
	}
	return v.now()
}

// parallel verifies claims in that many batches of about one size.
func (v *verifier) parallel(claims []ledger.Claim, batches int) []int {
	size := (len(claims) + batches - 1) / batches
	found := make([][]int, batches)
	var next atomic.Int64
	var wg sync.WaitGroup
	var panicked atomic.Value
	for range min(v.workers, batches) {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					panicked.Store(&r)
				}
			}()
			for {
				i := int(next.Add(1)) - 1
				if i >= batches {
					return
				}
				from := min(i*size, len(claims))
				bad := ledger.VerifyBatchWith(rand.Reader, claims[from:min(from+size, len(claims))], v.keys)
				for j := range bad {
					bad[j] += from
				}
				found[i] = bad
			}
		})
	}
	wg.Wait()
	if r, ok := panicked.Load().(*any); ok {
		panic(*r) // in the caller's goroutine, where it is contained
	}
	return slices.Concat(found...)
}
