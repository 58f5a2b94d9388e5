package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// TxProof shows what became of a record to somebody who knows the application
// hash after its block: Receipt.Leaf() is leaf TxIndex of the tree of Leaves
// leaves whose root is in Results, and State proves that the state holds
// Results under settlement.ResultsKey.
type TxProof struct {
	Height  uint64 // the header of the next block has the application hash
	TxIndex uint32
	Receipt settlement.Receipt
	Leaves  uint64
	Path    []ledger.Hash // lowest first
	Results settlement.Results
	State   *stateproof.Statement
}

// Proof returns the proof of an executed record. It fails with ErrUnknown, or
// wraps ErrPruned.
func (e *Executor) Proof(hash ledger.Hash) (p *TxProof, err error) {
	defer contain("prove a receipt", &err)
	at, ok := e.locate(hash)
	if !ok {
		return nil, ErrUnknown
	}
	b, err := e.BlockResult(at.Height)
	if err != nil {
		return nil, err
	}
	if int(at.Position) >= len(b.Receipts) {
		return nil, fmt.Errorf("receipt %d of block %d: %w", at.Position, at.Height, ErrPruned)
	}
	p = &TxProof{Height: at.Height, TxIndex: at.Position, Receipt: b.Receipts[at.Position]}
	tree, err := merkle.New(settlement.ResultLeaves(b.Receipts, b.Events))
	if err != nil {
		return nil, fmt.Errorf("results of block %d: %w", at.Height, err)
	}
	p.Leaves = tree.Size()
	if p.Path, err = tree.Path(uint64(at.Position)); err != nil {
		return nil, fmt.Errorf("results of block %d: %w", at.Height, err)
	}
	if p.State, err = e.resultsProof(at.Height); err != nil {
		return nil, err
	}
	if p.Results, err = settlement.DecodeResults(p.State.Value); err != nil {
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
		return decodeStatement(height, raw)
	}
	s, err := e.layer.Prove(settlement.ResultsKey())
	switch {
	case err != nil:
		return nil, err
	case s.Height == height:
		return s, nil
	case s.Height == height+1: // written meanwhile
		if raw, err = e.index.Get(keyOf(idxProof, nil, height)); err == nil && raw != nil {
			return decodeStatement(height, raw)
		}
	}
	return nil, fmt.Errorf("proof of block %d: %w", height, ErrPruned)
}

// proveHead makes the index entry of the proof of the head's results, if the
// block at the head had any. The next commit writes it: the proof exists only
// once the state is committed.
func (e *Executor) proveHead() error {
	e.proof = nil
	s, err := e.layer.Prove(settlement.ResultsKey())
	if err != nil || s.Value == nil {
		return err
	}
	results, err := settlement.DecodeResults(s.Value)
	if err != nil || results.Height != s.Height {
		return err
	}
	raw, err := encodeStatement(s)
	if err != nil {
		return err
	}
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

func decodeStatement(height uint64, raw []byte) (*stateproof.Statement, error) {
	s := &stateproof.Statement{Height: height, Key: settlement.ResultsKey()}
	r := codec.NewReader(raw)
	r.Into(s.Root[:])
	s.Value = r.Bytes32(stateproof.MaxEncodedSize)
	proof := r.Bytes32(stateproof.MaxEncodedSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("decode the proof of block %d: %w", height, err)
	}
	var err error
	if s.Proof, err = stateproof.Decode(proof); err != nil {
		return nil, fmt.Errorf("decode the proof of block %d: %w", height, err)
	}
	return s, nil
}
