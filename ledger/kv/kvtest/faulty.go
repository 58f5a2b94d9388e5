package kvtest

import (
	"errors"
	"sync"

	"github.com/tributary-network/tributary/ledger/kv"
)

// ErrInjected is the failure of a commit that a Faulty was told to fail.
var ErrInjected = errors.New("injected failure")

// Faulty is a store whose commits fail when told to. Like a real store it
// refuses every commit after a failed one; to go on, open what lies beneath.
type Faulty struct {
	kv.Store

	mu      sync.Mutex
	commits int  // made so far
	failAt  int  // number of the commit that fails, 0: none
	after   bool // whether it takes effect nevertheless
	failed  bool
}

// NewFaulty wraps s, which stays the caller's.
func NewFaulty(s kv.Store) *Faulty { return &Faulty{Store: s} }

// FailCommit makes the n-th commit from now (1 is the next) return ErrInjected:
// after it took effect, or instead of taking effect.
func (f *Faulty) FailCommit(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.after = f.commits+n, after
}

// Commits returns the number of commits that were asked for.
func (f *Faulty) Commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commits
}

// Failed reports whether the failure has happened.
func (f *Faulty) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// NewBatch returns a batch of the store beneath.
func (f *Faulty) NewBatch() kv.Batch { return &faultyBatch{Batch: f.Store.NewBatch(), f: f} }

type faultyBatch struct {
	kv.Batch

	f *Faulty
}

func (b *faultyBatch) Commit(durable bool) error {
	f := b.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits++
	if f.failed {
		b.Discard()
		return ErrInjected
	}
	if f.failAt != f.commits {
		return b.Batch.Commit(durable)
	}
	f.failed = true
	if !f.after {
		b.Discard()
		return ErrInjected
	}
	return errors.Join(ErrInjected, b.Batch.Commit(durable))
}
