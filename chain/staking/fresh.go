package staking

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Stake earns from the first epoch on whose committee was elected with it. What is
// delegated after that election is fresh: it has no part in the rewards of the epoch
// under way, so nobody can come for the last block of an epoch and take from those
// who carried it.
//
// A delegation keeps its fresh shares apart by the epoch from which on they earn, of
// which there are two at most: the next one, and after the election of that, the one
// after it. Beside each validator stands, for each such epoch, how many shares are
// fresh, and the validator's index when they began to earn, which every reward before
// that moves along. Both go when the last of these delegations is settled. So rewards
// are given to the other shares without a loop over delegators.

// Fresh is a part of a delegation that earns only from an epoch on.
type Fresh struct {
	From   uint64 // epoch
	Shares uint64
}

// maxFresh is how many parts a stored delegation has at most.
const maxFresh = 2

const freshSize = 8 + 8

// batch is all fresh shares of one validator that earn from one epoch on.
type batch struct {
	Shares uint64 // of delegations that were not settled since
	Index  Index  // the validator's when they began to earn, or the present one before
}

// earns returns the first epoch in which stake that comes in the block earns.
func (c *Context) earns() uint64 { return c.leaves() + 1 }

func freshKey(row, from uint64) []byte { return numbered(prefixFresh, row, from) }

func batchAt(v chain.View, row, from uint64) (b batch, ok bool) {
	value := v.Get(freshKey(row, from))
	if value == nil {
		return batch{}, false
	}
	r := codec.NewReader(value)
	b.Shares = r.Uint64()
	b.Index = readIndex(r)
	mustRead("fresh stake", r.Done())
	return b, true
}

func (c *Context) putBatch(row, from uint64, b *batch) {
	if b.Shares == 0 {
		c.State.Delete(freshKey(row, from))
		return
	}
	w := codec.NewWriter(8 + indexSize)
	w.Uint64(b.Shares)
	b.Index.append(w)
	c.State.Set(freshKey(row, from), w.Bytes())
}

// countFresh makes the batches of the validator at row follow from what a delegation
// had fresh to what it has now.
func (c *Context) countFresh(row uint64, was, now []Fresh) {
	if slices.Equal(was, now) {
		return
	}
	for _, f := range now {
		b, ok := batchAt(c.State, row, f.From)
		if !ok {
			v := mustValidator(c.State, row)
			b.Index = v.Index
		}
		b.Shares += f.Shares
		c.putBatch(row, f.From, &b)
	}
	for _, f := range was {
		b, _ := batchAt(c.State, row, f.From)
		b.Shares -= f.Shares
		c.putBatch(row, f.From, &b)
	}
}

// waiting returns how many shares of the validator at row do not earn in an epoch
// that ends, and moves the index at which they will begin along to index if move.
func (c *Context) waiting(row, epoch uint64, index Index, move bool) (shares uint64) {
	for from := epoch + 1; from <= epoch+maxFresh; from++ {
		b, ok := batchAt(c.State, row, from)
		if !ok {
			continue
		}
		shares += b.Shares
		if move {
			b.Index = index
			c.putBatch(row, from, &b)
		}
	}
	return shares
}

// old returns how many of the delegation's shares have earned since d.Index.
func (d *Delegation) old() uint64 { return d.Shares - freshShares(d.Fresh) }

func freshShares(list []Fresh) (shares uint64) {
	for _, f := range list {
		shares += f.Shares
	}
	return shares
}

// freshen counts shares that were added to a settled delegation as fresh.
func (d *Delegation) freshen(from, shares uint64) {
	if i := slices.IndexFunc(d.Fresh, func(f Fresh) bool { return f.From == from }); i >= 0 {
		d.Fresh[i].Shares += shares
		return
	}
	d.Fresh = append(d.Fresh, Fresh{From: from, Shares: shares})
}

// spend takes shares out of a settled delegation: the freshest first, which earn
// the least.
func (d *Delegation) spend(shares uint64) {
	d.Shares -= shares
	for i := len(d.Fresh) - 1; i >= 0 && shares > 0; i-- {
		n := min(shares, d.Fresh[i].Shares)
		shares -= n
		if d.Fresh[i].Shares -= n; d.Fresh[i].Shares == 0 {
			d.Fresh = d.Fresh[:i]
		}
	}
}

// earned takes the rewards of a delegation since it was settled, and lost shares out
// of it, the oldest first. It returns the rewards of those that stay and of those that
// are lost, each rounded down. What earns now is fresh no longer.
func (c *Context) earned(row uint64, v *Validator, d *Delegation, lost uint64) (kept, gone ledger.Amount) {
	part := func(since Index, shares uint64) (left uint64) {
		n := min(shares, lost)
		lost -= n
		kept += v.Index.since(since, shares-n)
		gone += v.Index.since(since, n)
		return shares - n
	}
	shares := part(d.Index, d.old())
	var fresh []Fresh
	for _, f := range d.Fresh {
		b, _ := batchAt(c.State, row, f.From)
		f.Shares = part(b.Index, f.Shares)
		shares += f.Shares
		if f.From > c.epoch() && f.Shares > 0 {
			fresh = append(fresh, f)
		}
	}
	d.Shares, d.Fresh, d.Index = shares, fresh, v.Index
	return kept, gone
}
