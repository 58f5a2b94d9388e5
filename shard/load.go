package shard

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// Window is the number of blocks that a Mask remembers.
	Window = 64
	// LightPart is the part of the limit up to which a block is light: a quarter, so
	// that two light shards make one that is at most half full.
	LightPart = 4
	// SplitBlocks is how many of the last Window blocks are heavy in a shard that
	// wants to split.
	SplitBlocks = 48
	// MergeBlocks is how many of the last Window blocks are light in a shard that
	// wants to merge.
	MergeBlocks = 60
	// LoadSize is the length of an encoded Load in bytes.
	LoadSize = 4 + 8 + 8
)

// ErrBadLoad means a load with a block that is both heavy and light.
var ErrBadLoad = errors.New("a block is both heavy and light")

// Mask is one bit for each of the last Window blocks, the newest in bit 0.
type Mask uint64

// Push returns the mask with one block more.
func (m Mask) Push(set bool) Mask {
	m <<= 1
	if set {
		m |= 1
	}
	return m
}

// Count returns how many of the blocks are set.
func (m Mask) Count() int { return bits.OnesCount64(uint64(m)) }

// Load is how full the last Window blocks of a shard were. The zero masks of a new
// shard want nothing: it has to see SplitBlocks or MergeBlocks blocks first.
type Load struct {
	Shard ID
	// Heavy are blocks above the limit, Light those of at most a quarter of it.
	Heavy, Light Mask
}

// Block returns the load after a block of size, in bytes or in any other unit in
// which limit, above which a block is heavy, is given too.
func (l Load) Block(size, limit uint64) Load {
	l.Heavy = l.Heavy.Push(size > limit)
	l.Light = l.Light.Push(size <= limit/LightPart)
	return l
}

// Rest returns the load after n light blocks. A shard that has nothing to do
// makes no blocks, so it counts those that it could have made: as many as main.
func (l Load) Rest(n uint64) Load {
	l.Heavy <<= n
	l.Light = l.Light<<n | (1<<n - 1)
	return l
}

// Encode returns the canonical encoding, LoadSize bytes: shard 4, heavy 8, light 8.
func (l Load) Encode() []byte {
	w := codec.NewWriter(LoadSize)
	w.Uint32(uint32(l.Shard))
	w.Uint64(uint64(l.Heavy))
	w.Uint64(uint64(l.Light))
	return w.Bytes()
}

// DecodeLoad reads what Encode wrote.
func DecodeLoad(b []byte) (Load, error) {
	r := codec.NewReader(b)
	l := Load{Shard: ID(r.Uint32()), Heavy: Mask(r.Uint64()), Light: Mask(r.Uint64())}
	if err := r.Done(); err != nil {
		return Load{}, fmt.Errorf("decode load: %w", err)
	}
	if both := l.Heavy & l.Light; both != 0 {
		return Load{}, fmt.Errorf("decode load of shard %d: blocks %016x: %w", l.Shard, uint64(both), ErrBadLoad)
	}
	return l, nil
}
