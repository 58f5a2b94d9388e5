package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

var (
	// ErrWrongSeal means a seal that no member of the epoch's committee made, or not
	// the one that is named, or not for that block.
	ErrWrongSeal = errors.New("the seal does not hold")
	// ErrEpochNotOver means that blocks of the epoch, and so their seals, are still to
	// come.
	ErrEpochNotOver = errors.New("the epoch is not over")
)

// maxSeals is more than the blocks of the longest epoch.
const maxSeals = 1<<20 + 1

// Seal is what the proposer of a block added to the seed of a coming epoch.
type Seal struct {
	Height    uint64
	Member    int    // place of the proposer in the epoch's committee; says nothing without a signature
	Signature []byte // nil if the block has no seal
}

// EpochSeals are the seals of an epoch's blocks, as a node says.
type EpochSeals struct {
	Epoch       uint64
	First, Last uint64 // heights of the epoch's blocks, whether they are made or not
	Seals       []Seal // one for each block from First on, as far as they are made
}

// Seals reads the seals of all blocks of an epoch. Nothing is verified; EpochSeals.Seed
// does. Reason PRUNED of an *Error means that the node no longer has them all, with the
// first epoch of which it does in its metadata "kept_from_epoch".
func (c *Client) Seals(ctx context.Context, epoch uint64) (EpochSeals, error) {
	out := EpochSeals{Epoch: epoch}
	req := &consensusv1.ListSealsRequest{Committee: committeesPrefix + strconv.FormatUint(epoch, 10), PageSize: pageSize}
	next := func(token string) ([]*consensusv1.Seal, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.ListSealsResponse, error) {
			return e.agreement.ListSeals(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list the seals of epoch %d: %w", epoch, err)
		}
		out.First, out.Last = resp.GetFirstHeight(), resp.GetLastHeight()
		return resp.GetSeals(), resp.GetNextPageToken(), nil
	}
	for m, err := range pages(next) {
		if err != nil {
			return out, err
		}
		s := Seal{Height: m.GetHeight(), Member: int(m.GetMember()), Signature: m.GetSignature()}
		var r reader
		switch want := out.First + uint64(len(out.Seals)); {
		case s.Height != want || s.Height > out.Last || len(out.Seals) == maxSeals:
			r.fail("seals.height", fmt.Errorf("%d, want %d, up to %d", s.Height, want, out.Last))
		case len(s.Signature) != 0 && len(s.Signature) != bls.SignatureSize:
			r.fail("seals.signature", fmt.Errorf("%d bytes, want %d or none", len(s.Signature), bls.SignatureSize))
		}
		if r.err != nil {
			return out, r.err
		}
		out.Seals = append(out.Seals, s)
	}
	return out, nil
}

// Seed returns the seed that the epoch leaves, which is that of two epochs later, and
// how many of its blocks have a seal. com is the epoch's committee, whose members'
// signatures the seals must be, and previous the seed that the epoch before left: the
// one that the next epoch uses, or the hash of the genesis for epoch 0. It takes about
// 1.5 ms for each block. The errors are ErrWrongSeal, ErrEpochNotOver, those of
// committee.Committee.Keys, and why ctx ended.
//
// Whoever leaves out a seal, or a block, gets another seed. So if the seed is the one
// in a certified record, the seals are those of the chain's blocks, and all of them.
func (s *EpochSeals) Seed(ctx context.Context, d chain.Domain, com *committee.Committee, previous ledger.Hash) (seed ledger.Hash, sealed int, err error) {
	if com.Epoch != s.Epoch {
		return seed, 0, fmt.Errorf("seed of epoch %d: the committee is that of epoch %d", s.Epoch, com.Epoch)
	}
	if uint64(len(s.Seals)) != s.Last-s.First+1 {
		return seed, 0, fmt.Errorf("seed of epoch %d: %w: there are %d blocks of %d to %d", s.Epoch, ErrEpochNotOver, len(s.Seals), s.First, s.Last)
	}
	keys, err := com.Keys()
	if err != nil {
		return seed, 0, err
	}
	signatures := make([][]byte, len(s.Seals))
	for i := range s.Seals {
		seal := &s.Seals[i]
		if len(seal.Signature) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return seed, sealed, err
		}
		height := s.First + uint64(i)
		if seal.Member < 0 || seal.Member >= len(keys) || len(seal.Signature) != bls.SignatureSize ||
			!keys[seal.Member].Verify(beacon.Message(d.Network, d.Chain, s.Epoch, height), bls.Signature(seal.Signature)) {
			return seed, sealed, fmt.Errorf("seal of block %d by member %d of the committee of epoch %d: %w", height, seal.Member, s.Epoch, ErrWrongSeal)
		}
		signatures[i] = seal.Signature
		sealed++
	}
	return beacon.Seed(previous, s.Epoch, s.First, signatures), sealed, nil
}
