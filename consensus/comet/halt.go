package comet

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Errors of a Chain. Compare with errors.Is.
var (
	// ErrHalted says that the chain stopped for good on this node; the error is
	// a [*HaltError] with the reason.
	ErrHalted = errors.New("chain is halted")
	// ErrNotRunning says that the chain was not started or has been stopped.
	ErrNotRunning = errors.New("chain is not running")
	// ErrCatchingUp says that the node does not take transactions yet, since it
	// is still fetching blocks.
	ErrCatchingUp = errors.New("chain is catching up")
	// ErrMempoolFull says that the transaction may be sent again later.
	ErrMempoolFull = errors.New("mempool is full")
	// ErrTxTooLarge says that a transaction exceeds what the chain carries.
	ErrTxTooLarge = errors.New("transaction is too large")
	// ErrApplicationAhead says that the application has applied blocks that the
	// block store does not hold.
	ErrApplicationAhead = errors.New("application is ahead of the blocks")
	// ErrNotFound says that a block is not stored: not made yet, or pruned.
	ErrNotFound = errors.New("block not found")
	// ErrDamaged says that a file of blocks is not what was written.
	ErrDamaged = errors.New("the file is damaged")
)

// HaltCause says what kind of failure halted a chain.
type HaltCause uint8

// The kinds of failures.
const (
	// HaltApplication means that the application failed or panicked.
	HaltApplication HaltCause = iota
	// HaltConsensus means that CometBFT failed.
	HaltConsensus
	// HaltAppHash means that the network agreed on another state than this
	// node's: a block that two thirds signed holds another application hash.
	HaltAppHash
	// HaltStore means that blocks and votes, or the application's state, can not be written
	// or not be read: the disk is full or broken. What was committed before is safe.
	HaltStore
)

// HaltError says why a chain stopped for good on this node. It is ErrHalted.
type HaltError struct {
	Height uint64 // of the block being made or applied; 0 before the first
	Cause  HaltCause
	Reason string    // one line
	At     time.Time // by this node's clock
}

func (e *HaltError) Error() string {
	return fmt.Sprintf("chain is halted at height %d: %s", e.Height, e.Reason)
}

// Is makes errors.Is(err, ErrHalted) true.
func (e *HaltError) Is(target error) bool { return target == ErrHalted }

// maxReason bounds what is kept of an error's text, in bytes.
const maxReason = 500

// firstLine is what is kept of an error's text: CometBFT puts whole states into
// some.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > maxReason {
		s = s[:maxReason] + "..."
	}
	return s
}

// halt remembers the first reason. It is safe for concurrent use.
type halt struct {
	mu    sync.Mutex
	first *HaltError
	ch    chan struct{} // closed when set
}

func newHalt() *halt { return &halt{ch: make(chan struct{})} }

// set records a reason unless there is one, and returns the one that counts.
func (h *halt) set(height uint64, cause HaltCause, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first == nil {
		h.first = &HaltError{Height: height, Cause: cause, Reason: firstLine(reason), At: time.Now()}
		close(h.ch)
	}
	return h.first
}

// get returns the reason, or nil.
func (h *halt) get() *HaltError {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first
}

// err is get as an error.
func (h *halt) err() error {
	if e := h.get(); e != nil {
		return e
	}
	return nil
}
