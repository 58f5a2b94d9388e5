package comet

import (
	"errors"
	"fmt"

	"github.com/cometbft/cometbft/node"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// ErrBadEvidence means bytes that prove no fault: they cannot be decoded, are not of
// this chain, are signed by too few, or are too old to be punished.
var ErrBadEvidence = errors.New("not evidence of a fault")

// AddEvidence takes the proof of a fault from whoever found it, in CometBFT's protobuf
// encoding (tendermint.types.Evidence): two votes of one validator for one step, or a
// light block that validators signed beside the chain. It is verified against the
// validators of its height, tells the peers, and comes into one of the next blocks.
// What is known already is no error. The errors are [ErrBadEvidence] and
// [ErrNotRunning].
func (c *Chain) AddEvidence(raw []byte) error {
	n, running := c.running()
	if !running {
		return ErrNotRunning
	}
	return contain(func() error { return addEvidence(n, raw) })
}

func addEvidence(n *node.Node, raw []byte) error {
	var wire cmtproto.Evidence
	if err := wire.Unmarshal(raw); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEvidence, err)
	}
	evidence, err := types.EvidenceFromProto(&wire)
	if err == nil {
		err = evidence.ValidateBasic()
	}
	if err == nil && evidence.Height() > n.BlockStore().Height() {
		err = fmt.Errorf("it is of height %d, this node is at %d", evidence.Height(), n.BlockStore().Height())
	}
	if err == nil {
		err = n.EvidencePool().AddEvidence(evidence)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadEvidence, err)
	}
	return nil
}
