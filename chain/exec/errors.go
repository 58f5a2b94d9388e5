package exec

import (
	"errors"
	"fmt"
	"time"

	"github.com/tributary-network/tributary/chain"
)

// Errors of the Executor that are not refusals by a rule.
var (
	// ErrNotSynced means that this node is behind its peers, or has no state yet,
	// and cannot check records against the present one.
	ErrNotSynced = errors.New("this node is not synced")
	// ErrNotRunning means that Run has not begun or has ended.
	ErrNotRunning = errors.New("the chain is not running on this node")
	// ErrHalted means that the chain stopped on an error and needs an operator.
	ErrHalted = errors.New("the chain is halted")
	// ErrUnknown means that this node knows no such transaction.
	ErrUnknown = errors.New("no such transaction")
	// ErrPruned means that the index no longer reaches back that far.
	ErrPruned = errors.New("not in the index")
	// ErrOtherGenesis means that the state is of a chain that began with another genesis.
	ErrOtherGenesis = errors.New("another genesis")
	// ErrPoolFull is wrapped by a BusyError when no more records fit.
	ErrPoolFull = errors.New("the pool of pending records is full")
	// ErrRaised is wrapped by a BusyError when pending records raise all that a record does
	// but for too little: the next blocks tell whether they do.
	ErrRaised = errors.New("pending transactions book as much")
	// ErrTooManyWaiting is wrapped by a BusyError when too many calls wait.
	ErrTooManyWaiting = errors.New("too many calls are waiting")
)

// codeRetry and what is above it are no rules' codes: the same bytes may pass
// later.
const codeRetry = 32_000

// BusyError asks the caller to come back later.
type BusyError struct {
	Reason     error // ErrPoolFull, ErrRaised or ErrTooManyWaiting
	RetryAfter time.Duration
}

// Error says why, and when to come back.
func (b *BusyError) Error() string {
	return fmt.Sprintf("%v, retry after %v", b.Reason, b.RetryAfter)
}

// Code is what consensus reports of it: to be tried again.
func (b *BusyError) Code() uint32 { return codeRetry }

// Unwrap returns the reason.
func (b *BusyError) Unwrap() error { return b.Reason }

// RefusedError is why Check keeps a bundle out of the mempool, as consensus wants it.
type RefusedError struct {
	Rule *chain.RuleError
}

// Error returns the rule's text.
func (r *RefusedError) Error() string { return r.Rule.Error() }

// Code returns the rule's code as a number, never 0.
func (r *RefusedError) Code() uint32 { return uint32(r.Rule.Code) }

// Unwrap returns the rule's error.
func (r *RefusedError) Unwrap() error { return r.Rule }

// refused makes a RefusedError of err: of its rule, or of CodeMalformed.
func refused(err error) *RefusedError {
	var rule *chain.RuleError
	if !errors.As(err, &rule) {
		rule = chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	return &RefusedError{Rule: rule}
}

// contain turns a panic into *err. A replica that cannot read its state, or a
// rule that breaks an assertion, must stop the chain and not the process.
func contain(step string, err *error) {
	if r := recover(); r != nil {
		if cause, ok := r.(error); ok {
			*err = fmt.Errorf("%s: panic: %w", step, cause)
			return
		}
		*err = fmt.Errorf("%s: panic: %v", step, r)
	}
}
