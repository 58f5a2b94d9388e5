package registry

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// Proven work. What a validator has done for a service is proved by what was burned of the
// payments for it: settled vouchers of channels that name the service and pay the account
// that operates the validator. Each burned drop counts as much as WorkLeverage drops of
// stake in the draw of the service's committees, up to shard.MaxWorkBps of the validator's
// stake, and half as much with every epoch. It is linear: a validator gains nothing by being
// two, nor two by being one. Who pays itself burns what it gains weight by, again and again.

// WorkLeverage is how many drops of stake a burned drop counts for in a draw.
const WorkLeverage = 1_000

func workPrefix(service uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixWork}, service)
}

func workKey(service uint32, row uint64) []byte {
	return binary.BigEndian.AppendUint64(workPrefix(service), row)
}

// Worked credits burned drops of payments for a service to the validator that payee
// operates, if it serves the service; nothing happens otherwise.
func (c *Context) Worked(service uint32, payee ledger.Address, burned ledger.Amount) {
	row, ok := staking.ValidatorByOperator(c.State, payee)
	if !ok || burned == 0 || !Serves(c.State, service, row) {
		return
	}
	work := WorkOf(c.State, service, row)
	c.setWork(service, row, work+min(burned, math.MaxUint64-work))
}

// WorkOf returns what was burned of the payments for the service of the validator at row,
// of each epoch before the present one half as much as of the one after it.
func WorkOf(v chain.View, service uint32, row uint64) ledger.Amount {
	b := v.Get(workKey(service, row))
	if b == nil {
		return 0
	}
	if len(b) != 8 {
		mustRead("work", fmt.Errorf("%d bytes, want 8", len(b)))
	}
	return ledger.Amount(binary.BigEndian.Uint64(b))
}

func (c *Context) setWork(service uint32, row uint64, work ledger.Amount) {
	if work == 0 {
		c.State.Delete(workKey(service, row))
		return
	}
	c.State.Set(workKey(service, row), binary.BigEndian.AppendUint64(nil, uint64(work)))
}

// decay halves all work for a service.
func (c *Context) decay(service uint32) {
	var rows []uint64
	for k := range c.State.Range(workPrefix(service)) {
		rows = append(rows, binary.BigEndian.Uint64(k[len(k)-8:]))
	}
	for _, row := range rows {
		c.setWork(service, row, WorkOf(c.State, service, row)/2)
	}
}

// workBps returns by how much work raises the weight of a stake in a draw, in basis points.
func workBps(work ledger.Amount, stake uint64) uint32 {
	high, low := bits.Mul64(uint64(work), WorkLeverage*ledger.BasisPoints)
	if stake == 0 || high >= stake {
		return shard.MaxWorkBps
	}
	bps, _ := bits.Div64(high, low, stake)
	return uint32(min(bps, shard.MaxWorkBps))
}
