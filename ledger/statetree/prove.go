package statetree

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Prove returns what the state at the last applied height holds under key, with
// its proof.
func (t *Tree) Prove(key []byte) (*stateproof.Statement, error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	if err := t.schema.Check(key, nil); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if t.isClosed() {
		return nil, fmt.Errorf("prove: %w", kv.ErrClosed)
	}
	head := t.head.Load()
	st := &stateproof.Statement{
		Height: head.height, Root: head.root,
		Key: append([]byte(nil), key...), Proof: &stateproof.Proof{},
	}
	var err error
	if st.Value, err = t.snap.Get(key); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	if t.committed == nil || t.committed.Size() == 0 {
		return st, nil
	}
	leaf := key
	if t.schema.RowSize(key[0]) != 0 {
		index := binary.BigEndian.Uint64(key[1:])
		pg, err := t.page(newPageID(key[0], index/pageRows))
		if err != nil {
			return nil, fmt.Errorf("prove: %w", err)
		}
		leaf = stateproof.PageKey(key[0], index/pageRows)
		if ledger.Hash(pg.root()) != t.empty[pageDepth] {
			st.Proof.Siblings = pg.siblings(int(index % pageRows))
		}
	}
	if st.Proof.Tree, err = t.committed.GetProof(leaf); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return st, nil
}

func (t *Tree) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}
