package e2e_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
)

// blindly makes node i vote without looking for votes of its key that it does not
// know, which is what would keep an operator from running it twice.
func blindly(i int) func(*testnet.Options) {
	return func(o *testnet.Options) {
		o.Configure = func(j int, c *config.Config) {
			if i == j {
				c.Consensus.DoubleSignCheckHeight = 0
			}
		}
	}
}

// startTwin stops node i, copies it, and starts both: two processes that vote with
// one key. The copy has a node key and addresses of its own, or nobody would talk to
// both.
func startTwin(t *testing.T, net *testnet.Network, i int) *background {
	t.Helper()
	stop, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.StopNode(stop, i); err != nil {
		t.Fatal(err)
	}
	u := newUser(t)
	u.must(copyHome(net.Nodes[i].Home, u.home()))
	u.must(os.Remove(filepath.Join(home.Dir(u.home()).Config(), "node_key.json")))
	if _, err := comet.GenerateNodeKey(home.Dir(u.home()).Config()); err != nil {
		t.Fatal(err)
	}
	if err := net.StartNode(i); err != nil {
		t.Fatal(err)
	}
	return u.background(append([]string{"start", "--p2p.external_address", ""}, soloPorts()...)...)
}

// copyHome copies the home directory of a node that does not run.
func copyHome(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		into := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(into, info.Mode().Perm())
		case strings.HasSuffix(path, ".log") && filepath.Dir(path) == from: // what the other one said
			return nil
		default:
			return copyFile(path, into, info.Mode().Perm())
		}
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// A validator that runs twice with one key equivocates as soon as the two propose
// different blocks. The others put the evidence into one of the next ten blocks. It
// costs the operator, who delegated and who is taking stake back, the validator is
// out for ever, and the chain goes on. What it signs twice after that costs again.
func TestTwinIsTombstoned(t *testing.T) {
	t.Parallel()
	const victim = 3
	net := network(t, func(o *testnet.Options) { o.Params = shortEpochs }, blindly(victim))
	l := startLoad(t, net, 0, 1, 2)
	end := l.begin(t)
	c := dial(t, net, 0)
	d := keepDiary(t, c)
	v := validatorOf(t, c, testnet.Address(net.Nodes[victim].Name))
	carol := c.Account(pay.NewIdentity(testnet.Key("carol"), 0))
	if _, err := carol.Delegate(t.Context(), v.Number, 20_000*ledger.DropsPerCoin); err != nil {
		t.Fatal(err)
	}
	until(t, c, v.Number, "the votes of carol count", func(now client.ValidatorInfo) bool { return now.Power > v.Power })
	if _, err := carol.Undelegate(t.Context(), v.Number, 5_000*ledger.DropsPerCoin); err != nil {
		t.Fatal(err)
	}

	before := holdingsOf(t, c, v.Number, carol.Address())
	twin := startTwin(t, net, victim)
	awaitTombstone(t, d, v.Number)
	before.checkSlashed(t, c, d, c.Params().Staking.DuplicateVoteBps, client.ValidatorTombstoned)

	if _, err := carol.Delegate(t.Context(), v.Number, ledger.DropsPerCoin); !isCode(err, chain.CodeTombstoned) {
		t.Errorf("delegating to a validator that is out: %v", err)
	}
	if _, err := operator(c, net, victim).Unjail(t.Context(), v.Number); !isCode(err, chain.CodeTombstoned) {
		t.Errorf("taking a validator back that is out: %v", err)
	}
	until(t, c, v.Number, "it has left the committee", func(now client.ValidatorInfo) bool { return now.Power == 0 })
	l.more(t, 12, "settlements without it")
	select {
	case <-twin.done:
		t.Errorf("the second process ended: %s", twin.output())
	case <-net.Exited(victim):
		t.Errorf("the first process ended")
	default:
	}
	end()
	ready(t, net, victim)
	l.verify(t, net)
	checkMistakes(t, d, v.Number)
}

func isCode(err error, want chain.Code) bool {
	code, ok := chain.CodeOf(err)
	return ok && code == want
}

// awaitTombstone waits until a validator is out, and checks that the evidence came
// soon.
func awaitTombstone(t *testing.T, d *diary, number uint64) {
	t.Helper()
	begin := time.Now()
	e := d.await(t, time.Minute, staking.EventTombstoned, of(number))
	t.Logf("equivocation at height %d, evidence in block %d, %v after the second process was started", e.Height, e.at, time.Since(begin).Round(time.Millisecond))
	if e.Fault != staking.FaultDuplicateVote || e.at-e.Height > 10 {
		t.Errorf("%v at height %d is punished in block %d, want a duplicate vote within 10 blocks", e.Fault, e.Height, e.at)
	}
}

// holdings is what a validator and one who has delegated to it have.
type holdings struct {
	validator client.ValidatorInfo
	delegated client.Delegation
	unbonding []client.Unbonding
}

func holdingsOf(t *testing.T, c *client.Client, number uint64, delegator ledger.Address) (h holdings) {
	t.Helper()
	var err error
	if h.validator, err = c.Validator(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	if h.delegated, err = c.Delegation(t.Context(), number, delegator); err != nil {
		t.Fatal(err)
	}
	for u, err := range c.Unbondings(t.Context(), delegator) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Validator == number {
			h.unbonding = append(h.unbonding, u)
		}
	}
	return h
}

// checkSlashed checks that everybody lost the fraction points, for each time that the
// validator was slashed, of what was behind it when the committee of the fault's epoch
// was elected, and nothing else. One that runs twice goes on with it to the end of an
// epoch.
func (h holdings) checkSlashed(t *testing.T, c *client.Client, d *diary, points uint32, state client.ValidatorState) {
	t.Helper()
	params := c.Params().Staking
	cut := func(a ledger.Amount) ledger.Amount { return a - a*ledger.Amount(points)/ledger.BasisPoints }
	var now holdings
	var slashed []entry
	await(t, time.Minute, "what is left can be read between two slashes", func(ctx context.Context) bool {
		slashed = d.find(staking.EventSlashed, of(h.validator.Number))
		now = holdingsOf(t, c, h.validator.Number, h.delegated.Delegator)
		status, err := c.StakingStatus(ctx)
		if err != nil {
			return false
		}
		d.reach(t, status.Height)
		return len(d.find(staking.EventSlashed, of(h.validator.Number))) == len(slashed)
	})
	slack := ledger.Amount(len(slashed) - 1) // shares round down, once for each further slash
	check := func(what string, was, have, want ledger.Amount) {
		t.Helper()
		if have > want || have+slack < want {
			t.Errorf("%s was %d drops and is %d after %d slashes, want %d", what, was, have, len(slashed), want)
		}
	}
	for _, row := range []struct {
		name      string
		was, have ledger.Amount
	}{
		{"all stake", h.validator.Stake, now.validator.Stake},
		{"self-stake", h.validator.SelfStake, now.validator.SelfStake},
		{"delegation", h.delegated.Stake, now.delegated.Stake},
	} {
		want := row.was
		for range slashed {
			want = cut(want)
		}
		check(row.name, row.was, row.have, want)
	}
	for i, u := range h.unbonding {
		want := u.Amount
		for _, e := range slashed {
			if left := u.Epoch - uint64(params.UnbondingEpochs); left >= params.Epoch(e.Height) {
				want = cut(want) // it was behind the committee of the fault's epoch
			}
		}
		if i >= len(now.unbonding) {
			t.Errorf("of %d drops on their way back %v is left, want %d", u.Amount, now.unbonding, want)
			continue
		}
		check("on its way back", u.Amount, now.unbonding[i].Amount, want)
	}
	if now.validator.State != state {
		t.Errorf("the validator is %v, want %v", now.validator.State, state)
	}
}

// checkMistakes checks that a validator was slashed once for each mistake: what it did
// before it was punished for the last one is no other.
func checkMistakes(t *testing.T, d *diary, number uint64) {
	t.Helper()
	list := d.find(staking.EventSlashed, of(number))
	t.Logf("it was slashed %d times", len(list))
	for i := 1; i < len(list); i++ {
		if list[i].Height <= list[i-1].at {
			t.Errorf("slashed for a fault at height %d that was a part of what block %d punished: %v", list[i].Height, list[i-1].at, list)
		}
	}
	if len(list) == 0 {
		t.Error("it was not slashed")
	}
}
