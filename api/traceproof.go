package api

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// maxKeyedCommittees is how many committees' decoded keys are remembered.
	maxKeyedCommittees = 64
	// verifyTokens is what verifying a certificate costs: some 2 ms.
	verifyTokens = 40
)

// errWrongProof means a proof that another node gave and that proves nothing.
var errWrongProof = errors.New("a proof that proves nothing")

// keyCache keeps the decoded keys of committees. It is safe for concurrent use.
type keyCache struct {
	mu   sync.Mutex
	keys map[ledger.Hash][]*bls.Key
}

// of returns the decoded keys of a committee.
func (c *keyCache) of(com *committee.Committee) ([]*bls.Key, error) {
	hash := com.Hash()
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys, ok := c.keys[hash]; ok {
		return keys, nil
	}
	keys, err := com.Keys()
	if err != nil {
		return nil, err
	}
	if len(c.keys) >= maxKeyedCommittees {
		clear(c.keys)
	}
	c.keys[hash] = keys
	return keys, nil
}

// committeeOf returns who signs the blocks of a chain in an epoch, as the main chain
// drew it.
func (b *backend) committeeOf(id ledger.ChainID, epoch uint64) (com committee.Committee, ok bool, err error) {
	err = b.State.Read(func(v chain.View, _ uint64) error {
		if id == b.Network.Domain.Chain {
			com, ok = staking.ReadCommittee(v, epoch)
			return nil
		}
		a, drawn := registry.ReadAssignment(v, epoch, id)
		com, ok = a.Committee, drawn
		return nil
	})
	return com, ok && len(com.Members) > 0, err
}

// verifyCertificate decodes the certificate of a block of a chain and verifies it with the
// committee that the main chain drew. ok is false if that committee is not known here. That of a block
// which another generation of the shard took back proves nothing.
func (b *backend) verifyCertificate(ctx context.Context, id ledger.ChainID, height uint64, raw []byte) (c cert.Certificate, ok bool, err error) {
	if c, err = cert.Decode(raw); err != nil {
		return c, false, err
	}
	if c.Checkpoint.Height != height {
		return c, false, fmt.Errorf("%w: the certificate is of block %d, not %d", errWrongProof, c.Checkpoint.Height, height)
	}
	com, ok, err := b.committeeOf(id, c.Checkpoint.Epoch)
	if err != nil || !ok {
		return c, false, err
	}
	b.rates.charge(callerIP(ctx), verifyTokens)
	keys, err := b.keys.of(&com)
	if err != nil {
		return c, false, err
	}
	if err := c.Verify(b.Network.Domain.Network, id, &com, keys); err != nil {
		return c, false, fmt.Errorf("%w: %w", errWrongProof, err)
	}
	if id == b.Network.Domain.Chain {
		return c, true, nil
	}
	row, err := b.anchors(id)
	if err == nil && row.TakesBack(c.Checkpoint.Generation, height) {
		err = fmt.Errorf("%w: block %d of generation %d, and generation %d went on after height %d", errWrongProof, height, c.Checkpoint.Generation, row.Generation, row.Resumed)
	}
	return c, err == nil, err
}

// verifyLeaf returns a leaf of an outbox and what proves it. What another node told is
// VERIFIED if it leads to the outbox root of a block that the main chain has anchored, or
// that a committee certified which it drew. A proof that does not hold is an error.
func (b *backend) verifyLeaf(ctx context.Context, id ledger.ChainID, leaf *servicev1.OutboxLeaf, told servicev1.Evidence) (link.Leaf, *servicev1.ProofReference, error) {
	in, err := link.DecodeImport(leaf.GetImport())
	if err != nil {
		return link.Leaf{}, nil, err
	}
	if in.Shard != id || in.Height != leaf.GetHeight() || len(in.Leaves) != 1 {
		return link.Leaf{}, nil, fmt.Errorf("%w: %d leaves of block %d of chain %d", errWrongProof, len(in.Leaves), in.Height, in.Shard)
	}
	ref := &servicev1.ProofReference{
		ChainId: uint32(id), Height: in.Height, LeafIndex: in.Range.Begin, LeafCount: in.Range.Size, Evidence: told,
	}
	if told == servicev1.Evidence_EVIDENCE_OWN {
		if c, err := cert.Decode(leaf.GetCertificate()); err == nil {
			hash := c.Checkpoint.Hash()
			ref.CheckpointHash = hash[:]
		}
		return in.Leaves[0], ref, nil
	}
	var root ledger.Hash
	known := false
	if len(leaf.GetCertificate()) > 0 {
		c, ok, err := b.verifyCertificate(ctx, id, in.Height, leaf.GetCertificate())
		if err != nil {
			return link.Leaf{}, nil, err
		}
		if ok {
			root, known = c.Checkpoint.OutboxRoot, true
			hash := c.Checkpoint.Hash()
			ref.CheckpointHash = hash[:]
		}
	}
	if !known {
		err := b.State.Read(func(v chain.View, _ uint64) error {
			if row, ok := anchor.Read(v, id); ok {
				root, known = row.Outbox(in.Height)
			}
			return nil
		})
		if err != nil {
			return link.Leaf{}, nil, err
		}
	}
	if !known {
		return in.Leaves[0], ref, nil // nobody can tell
	}
	if err := in.Range.Verify(root, [][]byte{in.Leaves[0].Encode()}); err != nil {
		return link.Leaf{}, nil, fmt.Errorf("%w: %w", errWrongProof, err)
	}
	ref.Evidence = servicev1.Evidence_EVIDENCE_VERIFIED
	return in.Leaves[0], ref, nil
}
