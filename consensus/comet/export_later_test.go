package comet

import "github.com/tributary-network/tributary/ledger/kv"

// ForgetState removes the record of CometBFT's state, as if it had not been written after
// the first block.
func ForgetState(store kv.Store) error {
	b := kv.Prefixed(store, []byte(stateDB+"/")).NewBatch()
	defer b.Discard()
	if err := b.Delete([]byte("stateKey")); err != nil {
		return err
	}
	return b.Commit(true)
}
