package settlement

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// fullBps is the share of the reserved bytes that urgent redemptions must fill
// for the settlement clock to stand still, in basis points.
const fullBps = 9_000

// clock is the settlement clock: sigma at height h is h - stretch. It is written
// by the blocks that stretch and by no other, so that an idle chain's state
// stays what it is.
type clock struct {
	stretch uint64 // blocks ever at whose end sigma stood still
	last    uint64 // height of the last of them
	run     uint32 // how many came one after the other, up to last
}

func (c *clock) encode() []byte {
	w := codec.NewWriter(20)
	w.Uint64(c.stretch)
	w.Uint64(c.last)
	w.Uint32(c.run)
	return w.Bytes()
}

func readClock(v chain.View) clock {
	b := v.Get(ClockKey())
	if b == nil {
		return clock{}
	}
	r := codec.NewReader(b)
	c := clock{stretch: r.Uint64(), last: r.Uint64(), run: r.Uint32()}
	if err := r.Done(); err != nil {
		panic(fmt.Errorf("read clock: %w", err))
	}
	return c
}

// Clock returns sigma of the block at height, which must be the height of v or
// the one after it.
func Clock(v chain.View, height uint64) uint64 {
	c := readClock(v)
	if c.last == height && height != 0 { // stretched at the end of that block
		c.stretch--
	}
	return height - c.stretch
}

// after returns the clock after the block at height, and whether it changed.
// urgent is how many bytes of the block redeemed money of urgent channels.
func (c *clock) after(p *Params, height uint64, urgent int64) (clock, bool) {
	reserved := p.ReservedBytes()
	if reserved == 0 || urgent < reserved*fullBps/ledger.BasisPoints {
		return *c, false
	}
	run := uint32(1)
	if c.run > 0 && c.last+1 == height {
		run = c.run + 1
	}
	if run >= p.MaxStretch { // this many blocks of one sigma, with the coming one
		return *c, false
	}
	return clock{stretch: c.stretch + 1, last: height, run: run}, true
}
