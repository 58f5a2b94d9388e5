package exec

import (
	"fmt"
	"sync"

	"github.com/tributary-network/tributary/ledger/merkle"
)

const (
	// resultsBytes and resultsBlocks bound the results trees that are remembered;
	// the last one stays, however large: some full blocks of 4 MiB.
	resultsBytes  = 32 << 20
	resultsBlocks = 256
	// leafCost is what a tree needs in memory for each leaf, in bytes: two nodes,
	// each with its place and hash in a map.
	leafCost = 256
)

// resultsTrees remembers the results trees of the blocks that receipts were proved
// of last, since one takes all receipts of its block to make. It is safe for
// concurrent use.
type resultsTrees struct {
	maxBytes  int64
	maxBlocks int

	making sync.Mutex // one is made at a time, and by one only

	mu    sync.Mutex
	trees map[uint64]*merkle.Tree // by height
	order []uint64                // the one used last comes last
	size  int64                   // in bytes
}

func newResultsTrees() *resultsTrees {
	return &resultsTrees{maxBytes: resultsBytes, maxBlocks: resultsBlocks, trees: make(map[uint64]*merkle.Tree)}
}

func treeCost(t *merkle.Tree) int64 { return leafCost * int64(t.Size()) }

// get returns the tree of the block at height, or nil.
func (r *resultsTrees) get(height uint64) *merkle.Tree {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.trees[height]
	if t != nil {
		r.touch(height)
	}
	return t
}

// touch makes height the one used last. The caller holds mu.
func (r *resultsTrees) touch(height uint64) {
	for i, h := range r.order {
		if h == height {
			copy(r.order[i:], r.order[i+1:])
			r.order[len(r.order)-1] = height
			return
		}
	}
	r.order = append(r.order, height)
}

// put remembers the tree of the block at height, which is not there, and forgets
// those used longest ago if there are too many.
func (r *resultsTrees) put(height uint64, t *merkle.Tree) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trees[height] = t
	r.touch(height)
	r.size += treeCost(t)
	for len(r.order) > 1 && (r.size > r.maxBytes || len(r.order) > r.maxBlocks) {
		oldest := r.order[0]
		r.order = r.order[1:]
		r.size -= treeCost(r.trees[oldest])
		delete(r.trees, oldest)
	}
}

// resultsTree returns the tree of the results of the committed block at height,
// and how many leaves had to be read: none if it was remembered.
func (e *Executor) resultsTree(height uint64) (t *merkle.Tree, read uint64, err error) {
	if t = e.trees.get(height); t != nil {
		return t, 0, nil
	}
	e.trees.making.Lock()
	defer e.trees.making.Unlock()
	if t = e.trees.get(height); t != nil {
		return t, 0, nil
	}
	b, err := e.Committed(height)
	if err != nil {
		return nil, 0, err
	}
	if t, err = merkle.New(e.rules.ResultLeaves(b)); err != nil {
		return nil, 0, fmt.Errorf("results of block %d: %w", height, err)
	}
	e.trees.put(height, t)
	return t, t.Size(), nil
}
