package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// Seven nodes go through ten epochs and more. Three join the four validators of the
// genesis, one leaves and takes its stake home, one is killed, jailed and comes back,
// one runs twice, equivocates and is out. All the while payees settle: nothing that
// was final is lost, every balance is exact, all nodes have the same state at every
// height, no money comes from nowhere or goes there, and whoever knows the genesis
// can verify every block by its certificate.
func TestCommitteesChangeUnderLoad(t *testing.T) {
	t.Parallel()
	const leaver, idler, joined, twin = 1, 3, 4, 6
	net := network(t, func(o *testnet.Options) { o.FullNodes, o.Params = 3, shortEpochs }, blindly(twin))
	l := startLoad(t, net, 0, 2, 4, 5)
	end := l.begin(t)
	tr := startTrade(t, net, 2, 0, 5)
	c := dial(t, net, 0, 2)
	d, computed := keepDiary(t, c), followElections(t, c)
	carol := c.Account(pay.NewIdentity(testnet.Key("carol"), 0))
	row := make([]uint64, len(net.Nodes))

	for i := range net.Nodes {
		if i < joined {
			row[i] = validatorOf(t, c, testnet.Address(net.Nodes[i].Name)).Number
			continue
		}
		row[i] = register(t, dial(t, net, i), net, i).Number
	}
	for i := joined; i < len(net.Nodes); i++ {
		v := until(t, c, row[i], net.Nodes[i].Name+" is elected", isActive)
		t.Logf("%s signed block %d", v.Profile.Name, signs(t, c, v))
	}
	for _, i := range []int{leaver, idler, twin} {
		if _, err := carol.Delegate(t.Context(), row[i], 10_000*ledger.DropsPerCoin); err != nil {
			t.Fatal(err)
		}
	}

	leave(t, net, c, carol, row[leaver], leaver)
	comeBack := jail(t, net, c, d, carol, row[idler], idler)
	equivocate(t, net, c, d, carol, row[twin], twin)
	comeBack()

	paid := d.await(t, time.Minute, staking.EventUnbonded, func(e entry) bool { return e.Validator == row[leaver] })
	t.Logf("the stake of the one that left, %d drops, was paid back in block %d", paid.Amount, paid.at)
	if paid.Amount != validatorStake || paid.Delegator != testnet.Address(net.Nodes[leaver].Name) {
		t.Errorf("%d drops were paid back to %s", paid.Amount, paid.Delegator)
	}
	d.await(t, time.Minute, staking.EventEpochEnded, func(e entry) bool { return e.Epoch >= 9 })
	end()
	tr.finish(t)

	auditAll(t, net, l, tr, d, computed)
	u := newUser(t)
	u.flags = []string{"--node", net.Nodes[0].GRPC, "--home", net.Nodes[0].Home} // where the genesis is
	verifyByCommand(t, u, filepath.Join(net.Dir, "genesis.json"))
	status, err := c.StakingStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for epoch := status.Epoch - 6; epoch < status.Epoch; epoch++ { // what the state remembers
		u.ok("committee", "recompute", strconv.FormatUint(epoch, 10))
	}
}

// auditAll checks all that can be known of a network when its load has ended.
func auditAll(t *testing.T, net *testnet.Network, l *load, tr *trade, d *diary, computed *elections) {
	t.Helper()
	a := newAudit(t, net)
	a.states(t)
	d.reach(t, a.blocks[len(a.blocks)-1].Header.Height)
	names := testnet.Names()
	for _, n := range net.Nodes {
		names = append(names, n.Name)
	}
	a.money(t, names)
	a.balances(t, d, names)
	a.certificates(t, a.clients[0], computed)
	for i := range net.Nodes {
		tr.verify(t, a.clients[i], net.Nodes[i].Name)
	}
	l.verify(t, net)
	l.balances(t, net)
}

func isActive(v client.ValidatorInfo) bool { return v.State == client.ValidatorActive }
func isOut(v client.ValidatorInfo) bool    { return v.Power == 0 }

// leave takes the operator's stake out of a validator, and carol's to another. The
// next committee is without it; what it earned is claimed.
func leave(t *testing.T, net *testnet.Network, c *client.Client, carol *client.Account, number uint64, i int) {
	t.Helper()
	if _, err := carol.Redelegate(t.Context(), number, 0, 0); err != nil {
		t.Fatal(err)
	}
	account := operator(c, net, i)
	if _, err := account.Undelegate(t.Context(), number, 0); err != nil {
		t.Fatal(err)
	}
	v := until(t, c, number, net.Nodes[i].Name+" has left", isOut)
	if v.State != client.ValidatorUnderstaked || v.Stake != 0 {
		t.Errorf("without stake it is %v with %d drops", v.State, v.Stake)
	}
	receipt, err := account.ClaimRewards(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("its operator claimed %d drops", receipt.Paid)
}

// jail kills a validator until it is jailed and out of the committee. comeBack
// starts it again, and ends its jail when it is over.
func jail(t *testing.T, net *testnet.Network, c *client.Client, d *diary, carol *client.Account, number uint64, i int) (comeBack func()) {
	t.Helper()
	before := holdingsOf(t, c, number, carol.Address())
	if err := net.KillNode(i); err != nil {
		t.Fatal(err)
	}
	jailed := d.await(t, time.Minute, staking.EventJailed, of(number))
	slashed := d.find(staking.EventSlashed, of(number))
	if len(slashed) != 1 || slashed[0].at != jailed.at || slashed[0].Fault != staking.FaultDowntime {
		t.Errorf("jailed by %+v, slashed by %+v", jailed, slashed)
	}
	before.checkSlashed(t, c, d, c.Params().Staking.DowntimeBps, client.ValidatorJailed)
	until(t, c, number, net.Nodes[i].Name+" is jailed and has left", isOut)
	return func() {
		t.Helper()
		free(t, net, c, jailed, i)
	}
}

// free starts a validator that was jailed, ends its jail when it is over, and waits
// until it signs again.
func free(t *testing.T, net *testnet.Network, c *client.Client, jailed entry, i int) {
	t.Helper()
	if err := net.StartNode(i); err != nil {
		t.Fatal(err)
	}
	ready(t, net, i)
	await(t, time.Minute, "its jail is over", func(ctx context.Context) bool {
		s, err := c.StakingStatus(ctx)
		return err == nil && s.Epoch >= jailed.Epoch
	})
	if _, err := operator(c, net, i).Unjail(t.Context(), jailed.Validator); err != nil {
		t.Fatal(err)
	}
	v := until(t, c, jailed.Validator, net.Nodes[i].Name+" is elected again", isActive)
	t.Logf("%s signed block %d", v.Profile.Name, signs(t, c, v))
}

// equivocate runs a validator twice until it is out.
func equivocate(t *testing.T, net *testnet.Network, c *client.Client, d *diary, carol *client.Account, number uint64, i int) {
	t.Helper()
	before := holdingsOf(t, c, number, carol.Address())
	startTwin(t, net, i)
	awaitTombstone(t, d, number)
	before.checkSlashed(t, c, d, c.Params().Staking.DuplicateVoteBps, client.ValidatorTombstoned)
	until(t, c, number, net.Nodes[i].Name+" is out", isOut)
	checkMistakes(t, d, number)
}

// balances checks on every node that payees have what their settlements paid them,
// less the fees.
func (l *load) balances(t *testing.T, net *testnet.Network) {
	t.Helper()
	params := net.Genesis.Params
	for i, n := range net.Nodes {
		c := dial(t, net, i)
		for j, p := range l.payees {
			paid := ledger.Amount(loadPrice - loadPrice*params.BurnBps/ledger.BasisPoints)
			want := ledger.Amount(p.rounds) * (loadChannels*paid - params.TxFee - loadChannels*params.EntryFee)
			checkBalance(t, c, n.Name, fmt.Sprint("payee ", j), p.account.Address(), want)
		}
	}
}
