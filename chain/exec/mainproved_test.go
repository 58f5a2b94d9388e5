package exec_test

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// The end of an epoch proves what shards have to know of the next one, on every node.
func TestMainProvesEpochs(t *testing.T) {
	t.Parallel()
	const epoch = 10
	c := newValidators(t, 4, epoch)
	d := c.domain()
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		t.Fatal(err)
	}
	for height := uint64(1); height <= 2*epoch+1; height++ {
		b := c.next(chain.EncodeRecords([][]byte{accountOf(0).txAt(d, height-1, chain.KindTransfer, transfer(accountOf(1).addr, 1))}))
		c.agree(t, b, c.vote(t, b))
		for i := range c.nodes {
			if _, err := c.certified(t, i, height); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, n := range c.nodes {
		for next := uint64(1); next <= 2; next++ {
			certificate, s, err := n.exec.Certified(staking.CommitteeKey(next))
			if err != nil {
				t.Fatalf("node %d, committee of epoch %d: %v", i, next, err)
			}
			record, err := committee.DecodeRecord(s.Value)
			if err != nil || schema.VerifyStatement(s) != nil || s.Root != certificate.Checkpoint.StateRoot || record.Committee.Epoch != next {
				t.Errorf("node %d, committee of epoch %d: %+v, %v", i, next, certificate.Checkpoint, err)
			}
			if h := s.Height; h != next*epoch-1 && h != next*epoch {
				t.Errorf("node %d, committee of epoch %d: proved at height %d", i, next, h)
			}
		}
		// A row that nobody names is proved when somebody asks, at the head.
		if _, _, err := n.exec.Certified(settlement.TotalsKey()); !errors.Is(err, exec.ErrNoCertificate) {
			t.Errorf("node %d: a row that nobody asked for: %v", i, err)
		}
		if err := n.exec.Watch(settlement.TotalsKey()); err != nil {
			t.Fatal(err)
		}
		if _, s, err := n.exec.Certified(settlement.TotalsKey()); err != nil || s.Height != 2*epoch+1 || schema.VerifyStatement(s) != nil {
			t.Errorf("node %d: a row that was asked for: %+v, %v", i, s, err)
		}
	}
}
