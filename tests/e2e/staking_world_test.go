package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	validatorStake = 100_000 * ledger.DropsPerCoin   // of every validator here
	operatorMoney  = 1_000_000 * ledger.DropsPerCoin // of every named account in the genesis, besides
)

// shortEpochs makes epochs of ten blocks, in which stake is free again after four,
// and a validator is jailed after missing eleven of twenty blocks.
func shortEpochs(p *settlement.Params) {
	p.MinChallenge = 5
	s := &p.Staking
	s.EpochBlocks = 10
	s.UnbondingEpochs, s.EvidenceEpochs = 4, 3
	s.Seats, s.Window, s.MaxMissed = 20, 20, 10
}

// operator is the account that operates node i.
func operator(c *client.Client, net *testnet.Network, i int) *client.Account {
	return c.Account(pay.NewIdentity(testnet.Key(net.Nodes[i].Name), 0))
}

// register makes node i a validator.
func register(t *testing.T, c *client.Client, net *testnet.Network, i int) client.ValidatorInfo {
	t.Helper()
	id, err := node.LoadIdentity(home.Dir(net.Nodes[i].Home))
	if err != nil {
		t.Fatal(err)
	}
	m := staking.Register{
		BLSKey: id.BLSKey, Profile: staking.Profile{Name: net.Nodes[i].Name},
		Commission: 1_000, MaxCommission: 2_000, MaxChange: 100, SelfStake: validatorStake,
	}
	copy(m.ConsensusKey[:], id.PublicKey)
	account := operator(c, net, i)
	m.Proof = id.Prove(net.Genesis.NetworkID(), account.Address(), m.ConsensusKey)
	if _, err := account.RegisterValidator(t.Context(), m); err != nil {
		t.Fatalf("register %s: %v", net.Nodes[i].Name, err)
	}
	return validatorOf(t, c, account.Address())
}

// validatorOf reads the validator of an operator.
func validatorOf(t *testing.T, c *client.Client, operator ledger.Address) client.ValidatorInfo {
	t.Helper()
	v, err := c.ValidatorOf(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// until waits until the validator is as ok says.
func until(t *testing.T, c *client.Client, number uint64, what string, ok func(client.ValidatorInfo) bool) client.ValidatorInfo {
	t.Helper()
	var v client.ValidatorInfo
	took := await(t, time.Minute, what, func(ctx context.Context) bool {
		var err error
		v, err = c.Validator(ctx, number)
		return err == nil && ok(v)
	})
	t.Logf("%s: after %v, in epoch %d", what, took.Round(time.Millisecond), v.Epoch)
	return v
}

// signs waits until a block is certified and committed with the signatures of a
// validator, and returns its height.
func signs(t *testing.T, c *client.Client, v client.ValidatorInfo) (height uint64) {
	t.Helper()
	await(t, 30*time.Second, v.Profile.Name+" signs", func(ctx context.Context) bool {
		certificate, com, err := c.Certificate(ctx, 0)
		if err != nil {
			return false
		}
		i, member := com.FindValidator(v.Number)
		height = certificate.Checkpoint.Height
		return member && certificate.Signed(i) && committedBy(ctx, t, c, height, v.Address)
	})
	return height
}

// committedBy reports whether the commit of a block holds a validator's signature.
func committedBy(ctx context.Context, t *testing.T, c *client.Client, height uint64, v staking.Address) bool {
	t.Helper()
	light, err := c.LightBlock(ctx, height)
	if err != nil {
		return false
	}
	var signed cmtproto.SignedHeader
	if err := signed.Unmarshal(light.SignedHeader); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(signed.Commit.Signatures, func(s cmtproto.CommitSig) bool {
		return s.BlockIdFlag == cmtproto.BlockIDFlagCommit && bytes.Equal(s.ValidatorAddress, v[:])
	})
}

// entry is one event and the block it happened in.
type entry struct {
	staking.Event
	at uint64
}

// diary is all that happened to the stake since the first block.
type diary struct {
	mu     sync.Mutex
	list   []entry
	height uint64 // up to which it is known
	err    error
}

// keepDiary follows what happens, by a watch that begins with the first block.
func keepDiary(t *testing.T, c *client.Client) *diary {
	t.Helper()
	d := &diary{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for u, err := range c.WatchStaking(ctx, client.StakingFilter{From: 1}) {
			if err == nil && u.Gap != nil {
				err = errors.New("the watch has a gap")
			}
			d.add(u, err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return d
}

func (d *diary) add(u client.StakingUpdate, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.height, d.err = max(d.height, u.Height), err
	for _, e := range u.Events {
		d.list = append(d.list, entry{e, u.Height})
	}
}

// find returns the events of a kind that ok accepts, in order.
func (d *diary) find(kind staking.EventKind, ok func(entry) bool) (list []entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.list {
		if e.Kind == kind && ok(e) {
			list = append(list, e)
		}
	}
	return list
}

// of accepts the events of a validator.
func of(number uint64) func(entry) bool {
	return func(e entry) bool { return e.Validator == number }
}

// awaitEvent waits for the first event of a kind that ok accepts.
func (d *diary) await(t *testing.T, limit time.Duration, kind staking.EventKind, ok func(entry) bool) (e entry) {
	t.Helper()
	await(t, limit, "event "+kind.String(), func(context.Context) bool {
		list := d.find(kind, ok)
		if len(list) > 0 {
			e = list[0]
		}
		return len(list) > 0
	})
	return e
}

// reach waits until the diary goes up to height, and nothing was wrong with it.
func (d *diary) reach(t *testing.T, height uint64) {
	t.Helper()
	await(t, 30*time.Second, "the diary is complete", func(context.Context) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.height >= height || d.err != nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		t.Fatal(d.err)
	}
}
