package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// elections recomputes every committee from public data as soon as it is elected;
// later the chain forgets what it was elected from.
type elections struct {
	list []committee.Record // by epoch, the first is that of epoch 1
	err  error
	stop func()
}

func followElections(t *testing.T, c *client.Client) *elections {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	e := &elections{stop: func() {
		cancel()
		<-done
	}}
	go func() {
		defer close(done)
		e.err = e.run(ctx, c)
	}()
	t.Cleanup(e.stop)
	return e
}

func (e *elections) run(ctx context.Context, c *client.Client) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for epoch := uint64(1); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		info, err := c.LatestCommittee(ctx)
		if err != nil || info.Record.Committee.Epoch < epoch {
			continue
		}
		election, err := c.Election(ctx, epoch)
		if err != nil {
			continue
		}
		if err := election.Record.Check(election.Candidates); err != nil {
			return fmt.Errorf("recompute the committee of epoch %d: %w", epoch, err)
		}
		if err := e.deriveSeed(ctx, c, &election.Record); err != nil {
			return err
		}
		e.list = append(e.list, election.Record)
		epoch++
	}
}

// deriveSeed makes the seed of a committee from the seals of blocks. The committees
// before it are those that were recomputed.
func (e *elections) deriveSeed(ctx context.Context, c *client.Client, record *committee.Record) error {
	epoch := record.Committee.Epoch
	if epoch < beacon.Lag+1 { // epoch 2 is sealed by the committee of the genesis
		return nil
	}
	seals, err := c.Seals(ctx, epoch-beacon.Lag)
	if err != nil {
		return err
	}
	sealers, before := e.list[epoch-beacon.Lag-1], e.list[epoch-2]
	seed, sealed, err := seals.Seed(ctx, c.Domain(), &sealers.Committee, before.Seed)
	if err != nil {
		return err
	}
	if seed != record.Seed || sealed != len(seals.Seals) {
		return fmt.Errorf("%d seals of %d blocks of epoch %d make the seed %s, the committee of epoch %d has %s",
			sealed, len(seals.Seals), seals.Epoch, seed, epoch, record.Seed)
	}
	return nil
}

// audit is what is looked at on every node when all is over.
type audit struct {
	net     *testnet.Network
	clients []*client.Client
	blocks  []client.Block // by height, from 2 on, with an equal state on all nodes
}

// newAudit waits until all nodes have all blocks.
func newAudit(t *testing.T, net *testnet.Network) *audit {
	t.Helper()
	a := &audit{net: net}
	var top uint64
	for i := range net.Nodes {
		c := dial(t, net, i)
		a.clients = append(a.clients, c)
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		top = max(top, status.Chains[0].Height)
	}
	for i, c := range a.clients {
		await(t, 30*time.Second, net.Nodes[i].Name+" catches up", func(ctx context.Context) bool {
			status, err := c.Status(ctx)
			return err == nil && status.Chains[0].Height >= top
		})
	}
	for h := uint64(2); h <= top; h++ {
		b, err := a.clients[0].Block(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		a.blocks = append(a.blocks, b)
	}
	return a
}

// states checks that all nodes had the same state and the same results at every
// height.
func (a *audit) states(t *testing.T) {
	t.Helper()
	for i, c := range a.clients[1:] {
		for _, want := range a.blocks {
			got, err := c.Block(t.Context(), want.Header.Height)
			if err != nil || got.Header.Hash != want.Header.Hash || got.Header.AppHash != want.Header.AppHash || got.ResultsRoot != want.ResultsRoot {
				t.Fatalf("block %d of %s differs: %v", want.Header.Height, a.net.Nodes[i+1].Name, err)
			}
		}
	}
}

// money checks on every node that there is what the genesis made and what was
// minted, that the stake is that of the validators and of those who take it back, and
// the rewards those that nobody claimed.
func (a *audit) money(t *testing.T, names []string) {
	t.Helper()
	supply, err := a.net.Genesis.Settlement().Supply()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range a.clients {
		name := a.net.Nodes[i].Name
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		totals := status.Chains[0].Totals
		if totals.Sum() != supply+totals.Minted || totals.Minted == 0 || totals == (settlement.Totals{}) {
			t.Errorf("%s: %+v are %d drops, want %d of the genesis and %d minted", name, totals, totals.Sum(), supply, totals.Minted)
		}
		a.stakes(t, c, name, names)
	}
}

// stakes sums the stakes and the rewards of all validators at one height, and what
// the named accounts are taking back.
func (a *audit) stakes(t *testing.T, c *client.Client, name string, names []string) {
	t.Helper()
	var staked, rewards ledger.Amount
	var status client.StakingStatus
	await(t, 30*time.Second, name+" shows all stakes at one height", func(ctx context.Context) bool {
		before, err := c.StakingStatus(ctx)
		if err != nil {
			return false
		}
		staked, rewards = 0, 0
		for v, err := range c.Validators(ctx, 0) {
			if err != nil {
				return false
			}
			staked, rewards = staked+v.Stake, rewards+v.Outstanding+v.Earned
		}
		for _, who := range names {
			for u, err := range c.Unbondings(ctx, testnet.Address(who)) {
				if err != nil {
					return false
				}
				staked += u.Amount
			}
		}
		status, err = c.StakingStatus(ctx)
		return err == nil && status.Height == before.Height
	})
	if staked != status.Staked || rewards != status.Rewards {
		t.Errorf("%s at height %d: %d drops of stake and %d of rewards, in all %d and %d", name, status.Height, staked, rewards, status.Staked, status.Rewards)
	}
}

// certificates follows the committees from the genesis, by the hand-overs of one
// node, and verifies the certificate of every block. The committees must be those
// that were recomputed.
func (a *audit) certificates(t *testing.T, c *client.Client, computed *elections) {
	t.Helper()
	computed.stop()
	if computed.err != nil {
		t.Fatal(computed.err)
	}
	trust, err := client.TrustCommittee(a.net.Genesis.Domain(), a.net.Genesis.Settlement().Committee())
	if err != nil {
		t.Fatal(err)
	}
	params := &a.net.Genesis.Params.Staking
	for i, b := range a.blocks[:len(a.blocks)-1] { // the state of the last is in no header yet
		h := b.Header.Height
		if epoch := params.Epoch(h); epoch != trust.Epoch() {
			if trust, _, err = c.FollowCommittees(t.Context(), trust, epoch); err != nil {
				t.Fatal(err)
			}
			if uint64(len(computed.list)) < epoch || computed.list[epoch-1].Committee.Hash() != trust.Hash() {
				t.Fatalf("the committee of epoch %d is not the one that was recomputed", epoch)
			}
		}
		certificate, _, err := c.Certificate(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if err := trust.Verify(&certificate); err != nil {
			t.Fatalf("certificate of block %d: %v", h, err)
		}
		if p := certificate.Checkpoint; p.Height != h || p.BlockHash != b.Header.Hash || p.StateRoot != a.blocks[i+1].Header.AppHash {
			t.Fatalf("block %d: certified is %+v, the block is %+v", h, p, b.Header)
		}
	}
	t.Logf("%d certificates of %d epochs verified", len(a.blocks)-1, trust.Epoch()+1)
}

// balances checks on every node that the named accounts, which only staked, have what
// they began with, less what they staked and paid for it, and with what came back.
func (a *audit) balances(t *testing.T, d *diary, names []string) {
	t.Helper()
	for i, c := range a.clients {
		for _, who := range names {
			account := testnet.Address(who)
			paid, got := d.moved(account)
			checkBalance(t, c, a.net.Nodes[i].Name, who, account, operatorMoney+got-paid-feesOf(t, c, account))
		}
	}
}

// moved sums what an account staked, and what it got back or earned.
func (d *diary) moved(account ledger.Address) (paid, got ledger.Amount) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.list {
		if e.Delegator != account || e.Kind == staking.EventForfeited {
			continue
		}
		got += e.Reward
		switch e.Kind { //nolint:exhaustive // the others move no money of an account
		case staking.EventRegistered, staking.EventDelegated:
			paid += e.Amount
		case staking.EventUnbonded:
			got += e.Amount
		}
	}
	return paid, got
}
