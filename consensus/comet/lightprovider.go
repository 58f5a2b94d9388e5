package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/light/provider"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// lightProvider is a LightSource as CometBFT's light client wants it.
type lightProvider struct {
	source  LightSource
	chainID string
}

// ChainID implements provider.Provider.
func (p *lightProvider) ChainID() string { return p.chainID }

func (p *lightProvider) String() string { return p.source.String() }

// LightBlock implements provider.Provider.
func (p *lightProvider) LightBlock(ctx context.Context, height int64) (*types.LightBlock, error) {
	if height < 0 {
		return nil, provider.ErrLightBlockNotFound
	}
	ask, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	header, validators, err := p.source.LightBlock(ask, uint64(height))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, provider.ErrLightBlockNotFound
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, provider.ErrNoResponse
	}
	b, err := decodeLightBlock(header, validators)
	if err == nil {
		err = b.ValidateBasic(p.chainID)
	}
	if err == nil && height != 0 && b.Height != height {
		err = fmt.Errorf("height %d instead of %d", b.Height, height)
	}
	if err != nil {
		return nil, provider.ErrBadLightBlock{Reason: err}
	}
	return b, nil
}

func decodeLightBlock(header, validators []byte) (*types.LightBlock, error) {
	var h cmtproto.SignedHeader
	var v cmtproto.ValidatorSet
	if err := errors.Join(h.Unmarshal(header), v.Unmarshal(validators)); err != nil {
		return nil, err
	}
	return types.LightBlockFromProto(&cmtproto.LightBlock{SignedHeader: &h, ValidatorSet: &v})
}

// ReportEvidence implements provider.Provider: who was shown a header beside the chain
// tells a node that has the chain, if that one takes evidence.
func (p *lightProvider) ReportEvidence(ctx context.Context, evidence types.Evidence) error {
	judge, ok := p.source.(EvidenceTaker)
	if !ok {
		return nil
	}
	wire, err := types.EvidenceToProto(evidence)
	if err != nil {
		return err
	}
	raw, err := wire.Marshal()
	if err != nil {
		return err
	}
	return judge.TakeEvidence(ctx, raw)
}

// agreedHeader returns the last header that all sources have, which must be the
// same.
func agreedHeader(ctx context.Context, sources []provider.Provider) (*types.LightBlock, error) {
	height := int64(0)
	for _, source := range sources {
		b, err := source.LightBlock(ctx, 0)
		if err != nil {
			return nil, fmt.Errorf("ask %s for its last header: %w", source, err)
		}
		if height == 0 || b.Height < height {
			height = b.Height
		}
	}
	var agreed *types.LightBlock
	for _, source := range sources {
		b, err := source.LightBlock(ctx, height)
		if err != nil {
			return nil, fmt.Errorf("ask %s for header %d: %w", source, height, err)
		}
		if agreed != nil && !bytes.Equal(agreed.Hash(), b.Hash()) {
			return nil, fmt.Errorf("%s and %s disagree about header %d: %X and %X; one of them lies, so give a trusted height and hash",
				sources[0], source, height, agreed.Hash(), b.Hash())
		}
		agreed = b
	}
	return agreed, nil
}
