package testnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// TestFullNodeBecomesAValidator registers the node of a network that is no
// validator, with the keys in its home and the account of its name, and waits until
// the chain elects it and needs it.
func TestFullNodeBecomesAValidator(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{
		Validators: 2, FullNodes: 1, NoServices: true,
		Params: func(p *settlement.Params) { p.Staking.EpochBlocks = 10 },
	})
	if l := n.Nodes; len(l) != 3 || l[0].Full || !l[2].Full || l[2].Name != "fullnode1" || n.Validators() != 2 {
		t.Fatalf("nodes %+v", l)
	}
	domain := n.Genesis.Domain()
	first, newcomer := dial(t, n.Nodes[0].GRPC), dial(t, n.Nodes[2].GRPC)
	votes := func(ctx context.Context) bool {
		s, err := newcomer.nodes.GetStatus(ctx, &nodev1.GetStatusRequest{})
		return err == nil && s.GetChains()[0].GetValidator()
	}
	if votes(ctx) {
		t.Fatal("a full node is a validator from the start")
	}
	id, err := node.LoadIdentity(home.Dir(n.Nodes[2].Home))
	if err != nil {
		t.Fatal(err)
	}
	register := staking.Register{
		BLSKey: id.BLSKey, Profile: staking.Profile{Name: "newcomer"},
		Commission: 100, MaxCommission: 1_000, MaxChange: 100, SelfStake: 100_000 * ledger.DropsPerCoin,
	}
	copy(register.ConsensusKey[:], id.PublicKey)
	register.Proof = id.Prove(domain.Network, testnet.Address("fullnode1"), register.ConsensusKey)
	answer, err := newcomer.nodes.SubmitTransaction(ctx, &nodev1.SubmitTransactionRequest{
		SignedTx: chain.SignTx(domain, testnet.Key("fullnode1"), chain.TxFields{
			Kind: chain.KindRegisterValidator, MaxFee: 10 * ledger.DropsPerCoin, Payload: register.Encode(),
		}),
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || answer.GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
		t.Fatalf("register: %v, %v", answer, err)
	}
	took := until(ctx, t, testTimeout, "the newcomer is elected", votes)
	t.Logf("a validator %v after its registration", took.Round(time.Millisecond))

	// With a third of the power it is needed: without it nothing becomes final.
	if err := first.transfer(ctx, domain, 0); err != nil {
		t.Fatalf("with the newcomer: %v", err)
	}
	if err := n.StopNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, healthLimit, "the others miss the newcomer", func(ctx context.Context) bool {
		s, err := first.nodes.GetStatus(ctx, &nodev1.GetStatusRequest{})
		return err == nil && !s.GetChains()[0].GetReady()
	})
	if err := n.StartNode(2); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := newcomer.transfer(ctx, domain, 1); err != nil {
		t.Fatalf("after the newcomer came back: %v", err)
	}
}
