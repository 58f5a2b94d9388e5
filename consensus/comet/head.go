package comet

import (
	"bytes"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
)

// head is what the adapter knows of the last block. It is safe for concurrent
// use.
type head struct {
	emptyBlocks bool

	mu       sync.Mutex
	height   int64     // last committed
	time     time.Time // of that block's header
	at       time.Time // when it was committed here; zero after a start
	appHash  []byte    // after that block
	nextVals []byte    // hash of the validator set after that block
	proofDue bool      // CometBFT owes an empty block that carries appHash
	waiting  time.Time // since when work has been pending without a block
	next     staged    // finalized, not yet committed
}

type staged struct {
	height   int64
	time     time.Time
	appHash  []byte
	nextVals []byte
}

// restore sets what a started node has on disk.
func (h *head) restore(height int64, blockTime time.Time, appHash, headerAppHash []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.height, h.time, h.appHash = height, blockTime, appHash
	h.proofDue = !h.emptyBlocks && (height == 0 || !bytes.Equal(appHash, headerAppHash))
}

func (h *head) finalized(req *abci.RequestFinalizeBlock, appHash []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = staged{req.Height, req.Time, bytes.Clone(appHash), bytes.Clone(req.NextValidatorsHash)}
}

// pendingHeight is the height of the finalized block.
func (h *head) pendingHeight() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next.height
}

func (h *head) committed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proofDue = !h.emptyBlocks && !bytes.Equal(h.next.appHash, h.appHash)
	h.height, h.time, h.appHash, h.nextVals = h.next.height, h.next.time, h.next.appHash, h.next.nextVals
	h.at = time.Now()
	h.waiting = time.Time{}
}

// watch notes whether work is pending at now, given the size of the mempool.
func (h *head) watch(now time.Time, mempool int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case mempool == 0 && !h.proofDue && !h.emptyBlocks:
		h.waiting = time.Time{}
	case h.waiting.IsZero():
		h.waiting = now
	}
}

// waitedFor is how long work has been pending at now.
func (h *head) waitedFor(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting.IsZero() {
		return 0
	}
	return now.Sub(h.waiting)
}

// snapshot copies the fields that Status shows.
func (h *head) snapshot() (height int64, blockTime, at, waiting time.Time, nextVals []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.height, h.time, h.at, h.waiting, h.nextVals
}
