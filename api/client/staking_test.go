package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

const coin = ledger.DropsPerCoin

func TestStakingThroughAClient(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 2)
	c := s.client(t)
	if diff := cmp.Diff(s.gen.Params.Staking, c.Params().Staking); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	begin := s.height() + 1
	operator := enrich(t, c, 50, 1_000*coin)
	if _, err := operator.RegisterValidator(within(t), register(c.Domain().Network, operator.Address(), 2, 200*coin)); err != nil {
		t.Fatal(err)
	}
	v, err := c.ValidatorOf(within(t), operator.Address())
	if err != nil {
		t.Fatal(err)
	}
	if v.Number != 2 || v.State != client.ValidatorCandidate || v.Stake != 200*coin || v.Profile.Name != "validator-2" || v.BLSKey != blsOf(2).Public() ||
		v.ConsensusKey != keyOf(firstOperator+2).Public() || v.TotalPower == 0 || v.Power != 0 || v.Operator != operator.Address() {
		t.Errorf("registered: %+v", v)
	}
	for _, read := range []func() (client.ValidatorInfo, error){
		func() (client.ValidatorInfo, error) { return c.Validator(within(t), 2) },
		func() (client.ValidatorInfo, error) { return c.ValidatorAt(within(t), v.Address) },
	} {
		if again, err := read(); err != nil || again.Number != 2 {
			t.Errorf("by another name: %+v, %v", again, err)
		}
	}
	if v, err := c.Validator(within(t), 0); err != nil || v.UptimeSigned != 29 || v.UptimeBlocks != 30 || v.UptimeWindow != 40 {
		t.Errorf("uptime: %+v, %v", v, err)
	}
	for v, err := range c.Validators(within(t), 0) {
		if want := v.Number == 0; err != nil || v.UptimeWindow != 40 || want != (v.UptimeSigned == 29 && v.UptimeBlocks == 30) {
			t.Errorf("listed uptime: %+v, %v", v, err)
		}
	}
	if _, err := operator.EditValidator(within(t), staking.Edit{Validator: 2, Profile: staking.Profile{Name: "b"}, Commission: 510, MinSelf: 10 * coin}); err != nil {
		t.Error(err)
	}
	rich := c.Account(identityOf(1))
	if _, err := rich.Delegate(within(t), 2, 90*coin); err != nil {
		t.Error(err)
	}
	if _, err := rich.Redelegate(within(t), 2, 1, 30*coin); err != nil {
		t.Error(err)
	}
	if _, err := rich.Undelegate(within(t), 2, 0); err != nil {
		t.Error(err)
	}
	var unbonding []client.Unbonding
	for u, err := range c.Unbondings(within(t), rich.Address()) {
		if err != nil {
			t.Fatal(err)
		}
		unbonding = append(unbonding, u)
	}
	want := []client.Unbonding{{Validator: 2, Delegator: rich.Address(), Amount: 60 * coin, Epoch: 4, Height: 50}}
	if diff := cmp.Diff(want, unbonding); diff != "" {
		t.Errorf("unbondings (-want +got):\n%s", diff)
	}
	d, err := c.Delegation(within(t), 1, rich.Address())
	if diff := cmp.Diff(client.Delegation{Validator: 1, Delegator: rich.Address(), Stake: 30 * coin, Bound: 30 * coin, Fresh: 30 * coin, FreshFrom: 1}, d); diff != "" || err != nil {
		t.Errorf("delegation: %v (-want +got):\n%s", err, diff)
	}
	count := 0
	for d, err := range c.DelegationsTo(within(t), 1) {
		if err != nil || d.Validator != 1 {
			t.Fatal(d, err)
		}
		count++
	}
	for d, err := range c.DelegationsOf(within(t), rich.Address()) {
		if err != nil || d.Delegator != rich.Address() {
			t.Fatal(d, err)
		}
		count++
	}
	if count != 3 {
		t.Errorf("%d delegations, want 2 and 1", count)
	}
	s.reach(t, epochBlocks+1)
	validators := []client.ValidatorState{}
	for v, err := range c.Validators(within(t), 0) {
		if err != nil {
			t.Fatal(err)
		}
		validators = append(validators, v.State)
	}
	if diff := cmp.Diff([]client.ValidatorState{client.ValidatorActive, client.ValidatorActive, client.ValidatorActive}, validators); diff != "" {
		t.Errorf("validators in the next epoch (-want +got):\n%s", diff)
	}
	status, err := c.StakingStatus(within(t))
	if err != nil || !status.Enabled || status.Epoch != 1 || status.EpochEnd != 20 || status.Validators != 3 || status.Members != 3 || status.Minted == 0 {
		t.Errorf("status: %+v, %v", status, err)
	}
	receipt, err := c.Account(identityOf(firstOperator)).ClaimRewards(within(t), 0)
	if err == nil || !errors.Is(err, chain.CodeAccountNotFound.Err()) {
		t.Errorf("claimed by one who cannot pay: %+v, %v", receipt, err)
	}
	enrich(t, c, firstOperator, coin)
	if receipt, err = c.Account(identityOf(firstOperator)).ClaimRewards(within(t), 0); err != nil || receipt.Paid == 0 {
		t.Errorf("claimed: %+v, %v", receipt, err)
	}
	if _, err := operator.Unjail(within(t), 2); !errors.Is(err, chain.CodeNotJailed.Err()) {
		t.Errorf("unjailed: %v", err)
	}
	if _, err := c.Validator(within(t), 9); !errors.Is(err, chain.CodeValidatorNotFound.Err()) {
		t.Errorf("nobody: %v", err)
	}
	watched(t, s, c, begin)
}

// watched compares what a watch tells from a height on, over a node that breaks off.
func watched(t *testing.T, s *stakeNetwork, c *client.Client, from uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	want := []staking.EventKind{
		staking.EventRegistered, staking.EventEdited, staking.EventDelegated, staking.EventRedelegated, staking.EventUndelegated,
		staking.EventElected, staking.EventEpochEnded, staking.EventClaimed,
	}
	var got []staking.EventKind
	cuts := 0
	for u, err := range c.WatchStaking(ctx, client.StakingFilter{From: from}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.Events {
			got = append(got, e.Kind)
		}
		if cuts < 4 {
			cuts++
			s.nodes["node0"].cut()
		}
		if len(got) >= len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
	two := uint64(2)
	got = nil
	for u, err := range c.WatchStaking(ctx, client.StakingFilter{From: from, Validator: &two, Account: identityOf(50).Address}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.Events {
			got = append(got, e.Kind)
		}
		if len(got) >= 6 {
			break
		}
	}
	if diff := cmp.Diff(want[:6], got); diff != "" {
		t.Errorf("watched of one (-want +got):\n%s", diff)
	}
}
