package comet

import (
	"fmt"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/types"
)

// LightBlock returns what a light client wants of the block at height: the header
// with the commit that signs it, and the validators that voted, in CometBFT's
// protobuf encoding (types.SignedHeader, types.ValidatorSet); or [ErrNotFound].
func (c *Chain) LightBlock(height uint64) (signedHeader, validators []byte, err error) {
	err = c.load(func(n *node.Node) error {
		meta := n.BlockStore().LoadBlockMeta(int64(height)) //nolint:gosec // beyond the range is not found
		votes := loadCommit(n, int64(height))               //nolint:gosec // beyond the range is not found
		if meta == nil || votes == nil {
			return fmt.Errorf("%w: signed header of height %d", ErrNotFound, height)
		}
		set, err := c.validatorsAt(int64(height)) //nolint:gosec // it was found
		if err != nil {
			return fmt.Errorf("%w: validators at %d: %w", ErrNotFound, height, err)
		}
		signed := types.SignedHeader{Header: &meta.Header, Commit: votes}
		if signedHeader, err = signed.ToProto().Marshal(); err != nil {
			return fmt.Errorf("encode signed header: %w", err)
		}
		wire, err := set.ToProto()
		if err != nil {
			return fmt.Errorf("encode validators: %w", err)
		}
		if validators, err = wire.Marshal(); err != nil {
			return fmt.Errorf("encode validators: %w", err)
		}
		return nil
	})
	return signedHeader, validators, err
}

// LightBlocksFrom returns the lowest height of which LightBlock has something, 0 if that
// cannot be told: headers, votes and validators stay when the blocks' transactions go,
// for as long as evidence may need them, and are fetched below a snapshot.
func (c *Chain) LightBlocksFrom() uint64 {
	base := c.Base()
	if base == 0 {
		return 0
	}
	err := contain(func() error {
		raw, err := c.view(blockDB).Get([]byte(sweptKey))
		if err != nil || raw == nil {
			return err
		}
		at, err := decodeSwept(raw)
		if err == nil && at.headers > 0 {
			base = min(base, uint64(at.headers))
		}
		return err
	})
	if err != nil {
		return 0
	}
	return base
}
