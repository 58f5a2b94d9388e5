package comet

import (
	"github.com/cometbft/cometbft/store"

	"github.com/tributary-network/tributary/ledger/kv"
)

// Begun reports whether a chain that uses s, see [New], has blocks there.
func Begun(s kv.Store) (begun bool, err error) {
	err = contain(func() error {
		d := newDatabase(kv.Prefixed(s, []byte(blockDB+"/")), newGate())
		begun = store.LoadBlockStoreState(d).Height > 0
		return nil
	})
	return begun, err
}

// Stranded reports whether the others went on and nobody has the block that this node
// needs next, so that it cannot catch up but by a snapshot; and that it does not look for
// one. It is what the note of [SyncStatus] says then.
func (c *Chain) Stranded() bool {
	if c.state.Load() != stateRunning {
		return false
	}
	_, yes := c.stranded()
	return yes
}
