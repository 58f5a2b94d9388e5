package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// maxProvedRows is how many rows one answer about a shard proves: a channel and some of
// its lanes.
const maxProvedRows = 16

// readRows is a view that remembers what was read of it, for a proof of just that.
type readRows struct {
	chain.View

	keys, values [][]byte
}

// Get implements chain.View.
func (r *readRows) Get(key []byte) []byte {
	value := r.View.Get(key)
	r.keys, r.values = append(r.keys, bytes.Clone(key)), append(r.values, bytes.Clone(value))
	return value
}

// proveRows proves rows of a shard that runs here, all of them against one block with a
// certificate. It returns nil, which is no failure, unless they have been the same since
// that block: then its height.
func (b *backend) proveRows(ctx context.Context, local Shard, rows *readRows) (out *servicev1.ProvedRows, height uint64, err error) {
	if len(rows.keys) == 0 || len(rows.keys) > maxProvedRows || b.calls.crowded() {
		return nil, 0, nil
	}
	b.rates.charge(callerIP(ctx), proofTokens*len(rows.keys))
	for _, key := range rows.keys {
		if local.Watch(key) != nil {
			return nil, 0, nil //nolint:nilerr // it makes no certificates, or too many rows wait
		}
	}
	out = &servicev1.ProvedRows{}
	for i, key := range rows.keys {
		certificate, st, err := local.Certified(key)
		switch {
		case errors.Is(err, exec.ErrNoCertificate) || errors.Is(err, exec.ErrPruned):
			return nil, 0, nil
		case err != nil:
			return nil, 0, err
		case i > 0 && st.Height != height || !bytes.Equal(st.Value, rows.values[i]) || (st.Value == nil) != (rows.values[i] == nil):
			return nil, 0, nil
		}
		proof, err := st.Proof.Encode()
		if err != nil {
			return nil, 0, err
		}
		out.Rows = append(out.Rows, renderStatement(st, proof))
		out.Certificate, height = certificate.Encode(), st.Height
	}
	return out, height, nil
}

// provedRows is a view of rows that were proved. It has no ranges.
type provedRows struct {
	rows   map[string][]byte
	height uint64
	// lacks is set when a row is read that was not proved.
	lacks bool
}

// Get implements chain.View.
func (p *provedRows) Get(key []byte) []byte {
	value, ok := p.rows[string(key)]
	p.lacks = p.lacks || !ok
	return value
}

// Range implements chain.View.
func (p *provedRows) Range([]byte) iter.Seq2[[]byte, []byte] {
	p.lacks = true
	return func(func(_, _ []byte) bool) {}
}

// openRows verifies rows of a shard that another node proved: the main chain drew the
// committee that certified the state, and it is the one that is anchored if that height
// is. It returns nil if there are none, or if the committee is not known here. The error
// wraps errWrongProof.
func (b *backend) openRows(ctx context.Context, id ledger.ChainID, m *servicev1.ProvedRows) (*provedRows, error) {
	if len(m.GetRows()) == 0 {
		return nil, nil //nolint:nilnil // nothing was proved
	}
	if len(m.GetRows()) > maxProvedRows {
		return nil, fmt.Errorf("%w: of %d rows", errWrongProof, len(m.GetRows()))
	}
	height := m.GetRows()[0].GetHeight()
	c, known, err := b.verifyCertificate(ctx, id, height, m.GetCertificate())
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, nil //nolint:nilnil // nobody can tell
	}
	if err := b.matchAnchor(id, &c.Checkpoint); err != nil {
		return nil, err
	}
	schema, err := stateproof.NewSchema(nil) // shards have no dense tables
	if err != nil {
		return nil, err
	}
	out := &provedRows{rows: make(map[string][]byte), height: height}
	for _, row := range m.GetRows() {
		st, err := readStatement(row)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errWrongProof, err)
		}
		if st.Root != c.Checkpoint.StateRoot || st.Height != height {
			return nil, fmt.Errorf("%w: a row of another state than that of block %d", errWrongProof, height)
		}
		if err := schema.VerifyStatement(st); err != nil {
			return nil, fmt.Errorf("%w: %w", errWrongProof, err)
		}
		out.rows[string(st.Key)] = st.Value
	}
	return out, nil
}

// matchAnchor errs if another state of a shard's block is anchored.
func (b *backend) matchAnchor(id ledger.ChainID, c *cert.Checkpoint) error {
	return b.State.Read(func(v chain.View, _ uint64) error {
		if row, ok := anchor.Read(v, id); ok && row.Height() == c.Height && row.Last.StateRoot != c.StateRoot {
			return fmt.Errorf("%w: another version of block %d of shard %d is anchored", errWrongProof, c.Height, id)
		}
		return nil
	})
}

// readStatement reads a statement as renderStatement writes it.
func readStatement(m *chainv1.StateProof) (*stateproof.Statement, error) {
	proof, err := stateproof.Decode(m.GetProof())
	if err != nil {
		return nil, err
	}
	root, err := readHash("app_hash", m.GetAppHash())
	if err != nil {
		return nil, err
	}
	st := &stateproof.Statement{Height: m.GetHeight(), Root: root, Key: m.GetKey(), Proof: proof}
	if !m.GetAbsent() {
		st.Value = append([]byte{}, m.GetValue()...)
	}
	return st, nil
}
