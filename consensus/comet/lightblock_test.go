package comet_test

import (
	"errors"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestLightBlocks checks what a light client gets as a light client does: the votes
// are more than two thirds of the validators that the header names.
func TestLightBlocks(t *testing.T) {
	t.Parallel()
	const last = 3
	nw := newNetwork(t, "light", 2)
	nw.startAll(t)
	for i := range last {
		nw.broadcast(t, 0, tx(i))
		nw.members[0].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs > i })
	}
	m := nw.members[0]
	for height := uint64(1); height <= m.chain.LatestHeight(); height++ {
		header, validators, err := m.chain.LightBlock(height)
		if err != nil {
			t.Fatalf("light block %d: %v", height, err)
		}
		var signed cmtproto.SignedHeader
		var set cmtproto.ValidatorSet
		if err := errors.Join(signed.Unmarshal(header), set.Unmarshal(validators)); err != nil {
			t.Fatalf("light block %d: %v", height, err)
		}
		block, err := types.LightBlockFromProto(&cmtproto.LightBlock{SignedHeader: &signed, ValidatorSet: &set})
		if err != nil {
			t.Fatalf("light block %d: %v", height, err)
		}
		if err := block.ValidateBasic(m.chain.ID()); err != nil {
			t.Errorf("light block %d: %v", height, err)
		}
		if err := block.ValidatorSet.VerifyCommitLight(m.chain.ID(), block.Commit.BlockID, int64(height), block.Commit); err != nil {
			t.Errorf("light block %d: %v", height, err)
		}
	}
	if from := m.chain.LightBlocksFrom(); from != 1 {
		t.Errorf("light blocks from %d on", from)
	}
	for _, height := range []uint64{0, 1_000, 1 << 63} {
		if _, _, err := m.chain.LightBlock(height); !errors.Is(err, comet.ErrNotFound) {
			t.Errorf("light block %d: %v", height, err)
		}
	}
}
