package comet

import (
	"context"
	"fmt"

	"github.com/cometbft/cometbft/types"
)

// descentMemory is how many of the headers below the trusted one are remembered: the
// lowest, which is where the next question is.
const descentMemory = 8

// descent is how far down headers are known that lead to the trusted one.
type descent struct {
	asked *asking
	kept  []*types.LightBlock // descending by height, each the one below the one before
}

// descend returns the header at a height below the trusted one. It asks all sources for
// windows of headers, each of which must have the hash that the one above it names, so
// that neither a source that lies nor the way to one costs more than its time.
func (s *trustedStates) descend(ctx context.Context, height int64) (*types.LightBlock, error) {
	d := &s.below
	if d.asked == nil {
		d.asked = newAsking(s.sources, 0, sourceRate)
	}
	if n := len(d.kept); n == 0 || height > d.kept[0].Height {
		top, err := s.client.TrustedLightBlock(int64(s.cfg.TrustHeight)) //nolint:gosec // the client has it
		if err != nil {
			return nil, fmt.Errorf("the trusted header: %w", err)
		}
		d.kept = []*types.LightBlock{top}
	}
	for {
		last := d.kept[len(d.kept)-1]
		if height >= last.Height {
			return d.kept[d.kept[0].Height-height], nil
		}
		window := d.asked.fetch(ctx, s.chainID, last.Height-1, max(height, last.Height-backfillWindow))
		for _, came := range window {
			last = d.kept[len(d.kept)-1]
			b, err := d.asked.take(ctx, s.chainID, link{last.Height - 1, last.LastBlockID, last.LastCommitHash}, came)
			if err != nil {
				return nil, err
			}
			if len(d.kept) == descentMemory {
				d.kept = append(d.kept[:0], d.kept[1:]...)
			}
			d.kept = append(d.kept, b.lightBlock)
		}
	}
}
