package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// RecordProof shows what became of a record to somebody who knows the application
// hash after its block: the receipt's leaf is leaf TxIndex of the tree of Leaves
// leaves whose root is in the value of State, which proves that the state holds it
// under Books.ResultsKey.
type RecordProof struct {
	Height  uint64 // the header of the next block has the application hash
	TxIndex uint32
	Receipt Receipt
	Leaves  uint64
	Path    []ledger.Hash         // lowest first
	State   *stateproof.Statement // shared, not to be modified
	Read    uint64                // leaves that were read to make this proof; 0 if they were remembered
}

// Proof returns the proof of an executed record. It fails with ErrUnknown, or
// wraps ErrPruned. The first proof of a block reads all its receipts, the others
// while the block is remembered only their own.
func (e *Executor) Proof(hash ledger.Hash) (p *RecordProof, err error) {
	defer contain("prove a receipt", &err)
	at, ok, err := e.locate(hash)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrUnknown
	}
	p = &RecordProof{Height: at.Height, TxIndex: at.Position}
	if p.Receipt, err = e.receipt(at.Cursor); err != nil {
		return nil, err
	}
	tree, read, err := e.resultsTree(at.Height)
	if err != nil {
		return nil, err
	}
	p.Leaves, p.Read = tree.Size(), read
	if p.Path, err = tree.Path(uint64(at.Position)); err != nil {
		return nil, fmt.Errorf("results of block %d: %w", at.Height, err)
	}
	if p.State, err = e.resultsProof(at.Height); err != nil {
		return nil, err
	}
	return p, nil
}

// resultsProof returns the proof of the results in the state at height.
func (e *Executor) resultsProof(height uint64) (*stateproof.Statement, error) {
	raw, err := e.index.Get(keyOf(idxProof, nil, height))
	if err != nil {
		return nil, fmt.Errorf("read the proof of block %d: %w", height, err)
	}
	if raw != nil {
		return e.decodeResults(height, raw)
	}
	if s := e.headProof.Load(); s != nil && s.Height == height {
		return s, nil
	}
	s, err := e.layer.Prove(e.rules.ResultsKey()) // which waits for the writer of the state
	switch {
	case err != nil:
		return nil, err
	case s.Height == height:
		return s, nil
	case s.Height == height+1: // written meanwhile
		if raw, err = e.index.Get(keyOf(idxProof, nil, height)); err == nil && raw != nil {
			return e.decodeResults(height, raw)
		}
	}
	return nil, e.pruned("proof of block %d", height)
}

// proveHead makes the index entry of the proof of the head's results, if the
// block at the head had any. The next commit writes it: the proof exists only
// once the state is committed. A committee that the head's state hands over to is
// proved as well, and what other chains want to be told of.
func (e *Executor) proveHead() error {
	e.proof = nil
	if err := e.proveElection(e.layer.Height()); err != nil {
		return err
	}
	if err := e.proveWatched(); err != nil {
		return err
	}
	s, err := e.layer.Prove(e.rules.ResultsKey())
	if err != nil || s.Value == nil {
		return err
	}
	height, err := e.rules.ResultsHeight(s.Value)
	if err != nil || height != s.Height {
		return err
	}
	raw, err := encodeStatement(s)
	if err != nil {
		return err
	}
	e.headProof.Store(s)
	e.proof = &chain.Change{Key: keyOf(idxProof, nil, s.Height), Value: raw}
	return nil
}

func encodeStatement(s *stateproof.Statement) ([]byte, error) {
	proof, err := s.Proof.Encode()
	if err != nil {
		return nil, err
	}
	w := codec.NewWriter(len(proof) + len(s.Value) + ledger.HashSize + 8)
	w.Fixed(s.Root[:])
	w.Bytes32(s.Value)
	w.Bytes32(proof)
	return w.Bytes(), nil
}

// decodeResults reads the statement about the results of the block at height that
// encodeStatement wrote.
func (e *Executor) decodeResults(height uint64, raw []byte) (*stateproof.Statement, error) {
	s, err := decodeStatement(height, e.rules.ResultsKey(), stateproof.MaxEncodedSize, raw)
	if err != nil {
		return nil, fmt.Errorf("decode the proof of block %d: %w", height, err)
	}
	return s, nil
}

// decodeStatement reads what encodeStatement wrote of key in the state at height, whose
// value has at most that many bytes.
func decodeStatement(height uint64, key []byte, most int, raw []byte) (*stateproof.Statement, error) {
	s := &stateproof.Statement{Height: height, Key: key}
	r := codec.NewReader(raw)
	r.Into(s.Root[:])
	s.Value = r.Bytes32(most)
	proof := r.Bytes32(stateproof.MaxEncodedSize)
	if err := r.Done(); err != nil {
		return nil, err
	}
	var err error
	if s.Proof, err = stateproof.Decode(proof); err != nil {
		return nil, err
	}
	return s, nil
}
