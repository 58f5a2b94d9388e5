package exec

import (
	"bytes"
	"context"
	"sync"
)

// ahead executes blocks before they are agreed on. Accept asks for the block it
// accepts, a goroutine of Run executes it while the validators vote, and Finalize
// takes the result if that is the block they agreed on, or else executes the one
// they did. Nothing of it shows or is durable before Finalize and Commit, and an
// error or a panic counts only when its block is agreed on.
//
// Blocks are executed one at a time, so that the one executed last is the one that
// the layer holds prepared. It is safe for concurrent use, but want, finish and
// forget have one caller at a time, consensus.
type ahead struct {
	execute func(Block) (*prepared, error)
	sign    func(*prepared) // after it, unless somebody waits for the block already
	wake    chan struct{}   // capacity 1: next was set

	mu   sync.Mutex
	open bool       // run serves
	next *execution // wanted and not begun, or nil
	last *execution // begun last, or nil
}

// execution is a block and what it would do.
type execution struct {
	block Block

	done chan struct{} // closed when executed
	p    *prepared     // set before done is closed, like err
	err  error
}

func newAhead(execute func(Block) (*prepared, error), sign func(*prepared)) *ahead {
	return &ahead{execute: execute, sign: sign, wake: make(chan struct{}, 1)}
}

// is reports whether x is the execution of b. Without a hash no block is another.
func (x *execution) is(b *Block) bool {
	return x != nil && len(b.Hash) > 0 && bytes.Equal(x.block.Hash, b.Hash) && x.block.Height == b.Height
}

// want asks for b to be executed. What was wanted before and has not begun is
// dropped.
func (a *ahead) want(b Block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.open || a.next.is(&b):
		return
	case a.last.is(&b): // under way, or done
		a.next = nil
		return
	}
	a.next = &execution{block: b, done: make(chan struct{})}
	signal(a.wake)
}

// run executes what is wanted until ctx ends, and then returns why. Whoever calls it
// has called setOpen.
func (a *ahead) run(ctx context.Context) error {
	defer a.setOpen(false)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.wake:
		}
		if x, before := a.begin(nil); x != nil {
			a.do(x, before, a.sign)
		}
	}
}

func (a *ahead) setOpen(open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = open
}

// begin takes what is to be executed next and what must be waited for first: b,
// or what is wanted if b is nil. If b is what was begun last, that is all. x is nil
// if there is nothing.
func (a *ahead) begin(b *Block) (x, before *execution) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case b != nil && a.last.is(b):
		a.next = nil
		return nil, a.last
	case b == nil && a.next == nil:
		return nil, nil
	case b == nil || a.next.is(b):
		x = a.next
	default:
		x = &execution{block: *b, done: make(chan struct{})}
	}
	before, a.last, a.next = a.last, x, nil
	return x, before
}

// do executes x when before is done, and then does what follows, which may be nil.
func (a *ahead) do(x, before *execution, then func(*prepared)) {
	if before != nil {
		<-before.done
	}
	defer close(x.done)
	if x.p, x.err = a.execute(x.block); x.err == nil && then != nil {
		then(x.p)
	}
}

// finish returns what b does. It is executed now unless that has begun before;
// early says that it had.
func (a *ahead) finish(b Block) (p *prepared, early bool, err error) {
	x, before := a.begin(&b)
	if x == nil {
		<-before.done
		return before.p, true, before.err
	}
	a.do(x, before, nil)
	return x.p, false, x.err
}

// forget drops what is known, since the height is over. Nothing is under way then.
func (a *ahead) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next, a.last = nil, nil
}
