package e2e_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

var (
	soakTime = flag.Duration("soak", 0, "how long TestSoak goes on; 0 leaves it out")
	soakSeed = flag.Uint64("soak.seed", 0, "what TestSoak does; 0 picks something")
)

// TestSoak does for as long as it is told what happens to validators in months: they
// leave and return, are killed, jailed and freed, are stopped and frozen, while
// delegators move their stake and payees settle. One at a time is disturbed, so the
// chain never stops. In the end everything is accounted for, as in
// TestCommitteesChangeUnderLoad.
func TestSoak(t *testing.T) {
	t.Parallel()
	if *soakTime == 0 {
		t.Skip("run by 'make soak'")
	}
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again: -soak %v -soak.seed %d", *soakTime, seed)
	net := network(t, func(o *testnet.Options) { o.FullNodes, o.Params = 3, shortEpochs })
	l := startLoad(t, net, 0, 1, 2, 3)
	end := l.begin(t)
	tr := startTrade(t, net, 0, 1, 2)
	s := &soak{
		t: t, net: net, load: l, c: dial(t, net, 0, 1, 2, 3), random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // it can be done again
		row: make([]uint64, len(net.Nodes)),
	}
	s.diary = keepDiary(t, s.c)
	computed := followElections(t, s.c)
	for i := range net.Nodes {
		if net.Nodes[i].Full {
			s.row[i] = register(t, dial(t, net, i), net, i).Number
		} else {
			s.row[i] = validatorOf(t, s.c, testnet.Address(net.Nodes[i].Name)).Number
		}
	}
	for i := range net.Nodes {
		until(t, s.c, s.row[i], net.Nodes[i].Name+" is elected", isActive)
	}
	rounds := 0
	for begin := time.Now(); time.Since(begin) < *soakTime; rounds++ {
		s.round()
	}
	t.Logf("%d rounds", rounds)
	end()
	tr.finish(t)
	auditAll(t, net, l, tr, s.diary, computed)
}

type soak struct {
	t      *testing.T
	net    *testnet.Network
	load   *load
	c      *client.Client
	diary  *diary
	random *rand.Rand
	row    []uint64 // of the nodes' validators
}

// round moves stake, and disturbs one node and waits until all is well again. Node
// 0 is left alone: it is asked all the time.
func (s *soak) round() {
	s.t.Helper()
	for range 1 + s.random.IntN(4) {
		s.delegator()
	}
	i := 1 + s.random.IntN(len(s.net.Nodes)-1)
	what := []struct {
		name string
		do   func(i int)
	}{{"leaves", s.leave}, {"is killed", s.jail}, {"is stopped", s.stop}, {"is frozen", s.freeze}}[s.random.IntN(4)]
	s.t.Logf("%s %s", s.net.Nodes[i].Name, what.name)
	what.do(i)
	s.load.more(s.t, 4, "settlements go on")
}

func (s *soak) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// delegator does something with somebody's stake. What the rules refuse is refused.
func (s *soak) delegator() {
	s.t.Helper()
	names := testnet.Names()
	who := names[s.random.IntN(len(names))]
	account := s.c.Account(pay.NewIdentity(testnet.Key(who), 0))
	from, to := s.row[s.random.IntN(len(s.row))], s.row[s.random.IntN(len(s.row))]
	amount := ledger.Amount(1+s.random.IntN(100)) * ledger.DropsPerCoin
	var err error
	switch s.random.IntN(6) {
	case 0:
		_, err = account.Undelegate(s.t.Context(), from, amount)
	case 1:
		_, err = account.Redelegate(s.t.Context(), from, to, amount)
	case 2:
		_, err = account.ClaimRewards(s.t.Context(), from)
	default:
		_, err = account.Delegate(s.t.Context(), to, amount)
	}
	if _, refused := chain.CodeOf(err); !refused {
		s.must(err)
	}
}

// leave takes the operator's stake back until the validator is out, and stakes anew.
func (s *soak) leave(i int) {
	s.t.Helper()
	account, name := operator(s.c, s.net, i), s.net.Nodes[i].Name
	_, err := account.Undelegate(s.t.Context(), s.row[i], 0)
	s.must(err)
	until(s.t, s.c, s.row[i], name+" has left", isOut)
	_, err = account.Delegate(s.t.Context(), s.row[i], validatorStake)
	s.must(err)
	s.signs(i)
}

// jail kills the node until its validator is jailed, and frees it.
func (s *soak) jail(i int) {
	s.t.Helper()
	status, err := s.c.StakingStatus(s.t.Context())
	s.must(err)
	s.must(s.net.KillNode(i))
	jailed := s.diary.await(s.t, time.Minute, staking.EventJailed, func(e entry) bool {
		return e.Validator == s.row[i] && e.at > status.Height
	})
	if len(s.diary.find(staking.EventSlashed, func(e entry) bool { return e.Validator == s.row[i] && e.at == jailed.at })) != 1 {
		s.t.Errorf("jailed in block %d, and not slashed", jailed.at)
	}
	until(s.t, s.c, s.row[i], s.net.Nodes[i].Name+" is out", isOut)
	free(s.t, s.net, s.c, jailed, i)
}

// stop restarts the node in good order.
func (s *soak) stop(i int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.must(s.net.StopNode(ctx, i))
	s.must(s.net.StartNode(i))
	ready(s.t, s.net, i)
	s.signs(i)
}

// freeze stops the node's process for a few blocks.
func (s *soak) freeze(i int) {
	s.t.Helper()
	s.must(s.net.PauseNode(i))
	s.load.more(s.t, 2, "settlements go on beside a frozen node")
	s.must(s.net.ResumeNode(i))
	ready(s.t, s.net, i)
	s.signs(i)
}

func (s *soak) signs(i int) {
	s.t.Helper()
	signs(s.t, s.c, until(s.t, s.c, s.row[i], s.net.Nodes[i].Name+" is in the committee", isActive))
}
