package staking_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// edit returns one that changes nothing of the validator at row.
func (w *world) edit(row uint64, change ...func(*staking.Edit)) *staking.Edit {
	v := w.validator(row)
	m := &staking.Edit{Validator: row, Profile: staking.ReadProfile(w.view, row), Commission: v.Commission, MinSelf: v.MinSelf}
	for _, f := range change {
		f(m)
	}
	return m
}

// TestRefusals is a sound world in which each row does one thing wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	register := func(change func(*staking.Register)) func(*world) message {
		return func(*world) message {
			m := registration(user(0), 9, 5_000)
			change(m)
			return m
		}
	}
	edit := func(change func(*staking.Edit)) func(*world) message {
		return func(w *world) message { return w.edit(0, change) }
	}
	plain := func(m message) func(*world) message { return func(*world) message { return m } }
	for _, row := range []struct {
		name string
		by   ledger.Address
		m    func(*world) message
		want chain.Code
	}{
		{"an operator of another validator", operator(0), register(func(*staking.Register) {}), chain.CodeOperatorUsed},
		{"a consensus key of another", user(0), register(func(m *staking.Register) { m.ConsensusKey = consensusKey(1) }), chain.CodeKeyUsed},
		{"a BLS key of another, proof and all", user(0), register(func(m *staking.Register) {
			other := registration(user(0), 8, 0)
			m.BLSKey, m.Proof = other.BLSKey, other.Proof
		}), chain.CodeKeyUsed},
		{"a proof by another key", user(0), register(func(m *staking.Register) { m.Proof = registration(user(0), 8, 0).Proof }), chain.CodeBadProof},
		{"a copy of another's registration", user(1), register(func(*staking.Register) {}), chain.CodeBadProof},
		{"a copy beside another consensus key", user(0), register(func(m *staking.Register) { m.ConsensusKey = consensusKey(7) }), chain.CodeBadProof},
		{"a proof for another network", user(0), register(func(m *staking.Register) {
			m.Proof = staking.Prove(blsKeys(9), ledger.HashOf("another network"), user(0), m.ConsensusKey)
		}), chain.CodeBadProof},
		{"a proof for a genesis", user(0), register(func(m *staking.Register) {
			m.Proof = staking.Prove(blsKeys(9), ledger.NetworkID{}, user(0), m.ConsensusKey)
		}), chain.CodeBadProof},
		{"a proof for nothing", user(0), register(func(m *staking.Register) { m.Proof = blsKeys(9).Prove(nil) }), chain.CodeBadProof},
		{"a seal for a proof", user(0), register(func(m *staking.Register) {
			domain := chain.Domain{Network: network, Chain: ledger.MainChain}
			m.Proof = blsKeys(9).Sign(staking.SealMessage(domain, &staking.Params{EpochBlocks: 10}, 1))
		}), chain.CodeBadProof},
		{"no proof", user(0), register(func(m *staking.Register) { m.Proof[0] = 0 }), chain.CodeBadProof},
		{"no BLS key", user(0), register(func(m *staking.Register) { m.BLSKey = [96]byte{} }), chain.CodeBadKey},
		{"a consensus key of small order", user(0), register(func(m *staking.Register) { m.ConsensusKey = ledger.PublicKey{1} }), chain.CodeBadKey},
		{"too little self-stake", user(0), register(func(m *staking.Register) { m.SelfStake = 99 }), chain.CodeSelfStakeTooSmall},
		{"less self-stake than promised", user(0), register(func(m *staking.Register) { m.MinSelf = 5_001 }), chain.CodeSelfStakeTooSmall},
		{"more self-stake than money", user(0), register(func(m *staking.Register) { m.SelfStake = 2 * riches }), chain.CodeInsufficientBalance},

		{"an edit by another", user(0), edit(func(*staking.Edit) {}), chain.CodeNotOperator},
		{"an edit of nobody", user(0), plain(&staking.Edit{Validator: 77}), chain.CodeValidatorNotFound},
		{"a commission above the maximum", operator(0), edit(func(m *staking.Edit) { m.Commission = 3_001 }), chain.CodeCommissionTooHigh},
		{"a commission jump", operator(0), edit(func(m *staking.Edit) { m.Commission = 1_501 }), chain.CodeCommissionJump},
		{"a commission jump down", operator(0), edit(func(m *staking.Edit) { m.Commission = 499 }), chain.CodeCommissionJump},
		{"a promise taken back", operator(2), func(w *world) message {
			return w.edit(2, func(m *staking.Edit) { m.MinSelf = 199 })
		}, chain.CodeInvalidValue},
		{"a promise of more than it has", operator(2), func(w *world) message {
			return w.edit(2, func(m *staking.Edit) { m.MinSelf = 3_001 })
		}, chain.CodeSelfStakeTooSmall},

		{"a delegation to nobody", user(0), plain(&staking.Delegate{Validator: 77, Amount: 10}), chain.CodeValidatorNotFound},
		{"a delegation of too little", user(0), plain(&staking.Delegate{Validator: 0, Amount: 4}), chain.CodeDelegationTooSmall},
		{"a delegation of more than there is", user(0), plain(&staking.Delegate{Validator: 0, Amount: 2 * riches}), chain.CodeInsufficientBalance},

		{"undelegating from nobody", user(0), plain(&staking.Undelegate{Validator: 77, Amount: 1}), chain.CodeValidatorNotFound},
		{"undelegating what was never delegated", user(3), plain(&staking.Undelegate{Validator: 0, Amount: 1}), chain.CodeDelegationNotFound},
		{"undelegating more than delegated", user(0), plain(&staking.Undelegate{Validator: 0, Amount: 501}), chain.CodeMoreThanDelegated},
		{"undelegating more than can exist", user(0), plain(&staking.Undelegate{Validator: 0, Amount: ledger.MaxAmount}), chain.CodeMoreThanDelegated},
		{"undelegating too often", user(2), plain(&staking.Undelegate{Validator: 0, Amount: 1}), chain.CodeTooManyEntries},

		{"redelegating from nobody", user(0), plain(&staking.Redelegate{From: 77, To: 0, Amount: 10}), chain.CodeValidatorNotFound},
		{"redelegating to nobody", user(0), plain(&staking.Redelegate{From: 0, To: 77, Amount: 10}), chain.CodeValidatorNotFound},
		{"redelegating what was never delegated", user(3), plain(&staking.Redelegate{From: 0, To: 1, Amount: 10}), chain.CodeDelegationNotFound},
		{"redelegating more than delegated", user(0), plain(&staking.Redelegate{From: 0, To: 1, Amount: 501}), chain.CodeMoreThanDelegated},
		{"redelegating too little", user(0), plain(&staking.Redelegate{From: 0, To: 1, Amount: 4}), chain.CodeDelegationTooSmall},
		{"hopping on", user(1), plain(&staking.Redelegate{From: 1, To: 2, Amount: 10}), chain.CodeRedelegating},
		{"hopping on with all", user(1), plain(&staking.Redelegate{From: 1, To: 2}), chain.CodeRedelegating},
		{"redelegating too often", user(4), plain(&staking.Redelegate{From: 0, To: 1, Amount: 10}), chain.CodeTooManyEntries},

		{"a claim from nobody", user(0), plain(&staking.Claim{Validators: []uint64{0, 77}}), chain.CodeValidatorNotFound},
		{"a claim of a stranger", user(3), plain(&staking.Claim{Validators: []uint64{0}}), chain.CodeDelegationNotFound},
		{"a claim of nothing", user(0), plain(&staking.Claim{Validators: []uint64{0}}), chain.CodeNothingToClaim},

		{"an unjail of nobody", user(0), plain(&staking.Unjail{Validator: 77}), chain.CodeValidatorNotFound},
		{"an unjail by another", user(0), plain(&staking.Unjail{Validator: 0}), chain.CodeNotOperator},
		{"an unjail out of no jail", operator(0), plain(&staking.Unjail{Validator: 0}), chain.CodeNotJailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := soundWorld(t)
			if _, code := w.try(row.by, row.m(w)); code != row.want {
				t.Errorf("%s, want %s", code, row.want)
			}
		})
	}
}

// soundWorld has validators 0 to 3, the last of which has the BLS key of
// registration 8. User 0 has 500 with validator 0, user 1 500 with validator 1
// that came from validator 0, user 2 three unbondings, and user 4 three
// redelegations from validator 0 to 1 and more with 0.
func soundWorld(t *testing.T) *world {
	t.Helper()
	p := smallParams()
	p.MinDelegation = 5
	p.EpochReward = 0
	w := newWorld(t, p, 5_000, 4_000, 3_000)
	w.ok(operator(2), w.edit(2, func(m *staking.Edit) { m.MinSelf = 200 }))
	w.ok(user(3), registration(user(3), 8, 2_000))
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 500})
	w.ok(user(1), &staking.Delegate{Validator: 0, Amount: 500})
	w.ok(user(2), &staking.Delegate{Validator: 0, Amount: 500})
	w.ok(user(4), &staking.Delegate{Validator: 0, Amount: 500})
	for range 3 {
		w.turn(1)
		w.ok(user(2), &staking.Undelegate{Validator: 0, Amount: 100})
		w.ok(user(4), &staking.Redelegate{From: 0, To: 1, Amount: 100})
	}
	w.turn(1)
	w.ok(user(1), &staking.Redelegate{From: 0, To: 1})
	return w
}

func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000)
	m := registration(user(0), 9, 2_500)
	m.MinSelf = 2_000
	e := w.ok(user(0), m)
	if e.Kind != staking.EventRegistered || e.Validator != 1 || e.Delegator != user(0) || e.Amount != 2_500 {
		t.Errorf("event %+v", e)
	}
	v := w.validator(1)
	if v.Operator != user(0) || v.Tokens != 2_500 || v.Shares != 2_500 || v.SelfShares != 2_500 || v.Self() != 2_500 ||
		v.MinSelf != 2_000 || v.Registered != 1 || v.Commission != 1_000 || !v.Electable(&w.p) {
		t.Errorf("validator %+v", v)
	}
	if w.balance(user(0)) != riches-2_500 || staking.ValidatorCount(w.view) != 2 {
		t.Errorf("the operator has %d, there are %d validators", w.balance(user(0)), staking.ValidatorCount(w.view))
	}
	if p := staking.ReadProfile(w.view, 1); p.Name != m.Name || len(p.Endpoints) != 1 || p.Endpoints[0] != m.Endpoints[0] {
		t.Errorf("profile %+v", p)
	}
	for name, found := range map[string]func() (uint64, bool){
		"address":  func() (uint64, bool) { return staking.ValidatorByConsensusAddress(w.view, v.Address()) },
		"operator": func() (uint64, bool) { return staking.ValidatorByOperator(w.view, user(0)) },
	} {
		if row, ok := found(); !ok || row != 1 {
			t.Errorf("by %s it is found at %d, %v", name, row, ok)
		}
	}
	// Its keys are gone for ever, also when it has left.
	w.ok(user(0), &staking.Undelegate{Validator: 1})
	w.turn(uint64(w.p.UnbondingEpochs) + 1)
	if v := w.validator(1); v.Shares != 0 || w.balance(user(0)) < riches {
		t.Fatalf("it did not leave: %+v", v)
	}
	if _, code := w.try(user(1), m); code != chain.CodeKeyUsed {
		t.Errorf("its keys again: %s", code)
	}
	if _, code := w.try(user(0), registration(user(0), 7, 2_500)); code != chain.CodeOperatorUsed {
		t.Errorf("its operator again: %s", code)
	}
}

func TestEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000, 4_000)
	e := w.ok(operator(0), w.edit(0, func(m *staking.Edit) {
		m.Name, m.Endpoints, m.Commission, m.MinSelf = "new", nil, 1_500, 400
	}))
	if e.Kind != staking.EventEdited || e.Delegator != operator(0) {
		t.Errorf("event %+v", e)
	}
	v, p := w.validator(0), staking.ReadProfile(w.view, 0)
	if v.Commission != 1_500 || v.MinSelf != 400 || p.Name != "new" || len(p.Endpoints) != 0 {
		t.Errorf("validator %+v, profile %+v", v, p)
	}
	if _, code := w.try(operator(0), w.edit(0, func(m *staking.Edit) { m.Commission = 1_400 })); code != chain.CodeCommissionJump {
		t.Errorf("twice in an epoch: %s", code)
	}
	w.turn(1)
	w.ok(operator(0), w.edit(0, func(m *staking.Edit) { m.Commission = 2_000 }))
}

func TestDelegateAndUndelegate(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 5_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 700})
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 300})
	if s := w.stake(0, user(0)); s.Shares != 1_000 || s.Worth != 1_000 || s.Reward != 0 || s.Bound != 0 {
		t.Fatalf("stake %+v", s)
	}
	e := w.ok(user(0), &staking.Undelegate{Validator: 0, Amount: 400})
	if e.Amount != 400 || e.Epoch != 4 {
		t.Errorf("event %+v", e)
	}
	w.ok(user(0), &staking.Undelegate{Validator: 0, Amount: 100}) // the same epoch: one entry
	list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(0), 0, 10)
	if len(list) != 1 || list[0].Amount != 500 || list[0].Due != 4 || list[0].Validator != 0 {
		t.Fatalf("unbondings %+v", list)
	}
	w.turn(1)
	w.ok(user(0), &staking.Undelegate{Validator: 0}) // all that is left
	if _, ok := staking.ReadDelegation(w.view, 0, user(0)); ok {
		t.Error("the delegation is left")
	}
	w.idle(w.p.LastBlock(4) - 1)
	if got := w.balance(user(0)); got != riches-1_000 {
		t.Errorf("%d before the end", got)
	}
	w.idle(w.p.LastBlock(4))
	if got := w.balance(user(0)); got != riches-500 {
		t.Errorf("%d after the first end", got)
	}
	if ev := w.find(staking.EventUnbonded); len(ev) != 1 || ev[0].Amount != 500 || ev[0].Delegator != user(0) || ev[0].Epoch != 4 {
		t.Errorf("events %+v", ev)
	}
	w.turn(1)
	if got := w.balance(user(0)); got != riches {
		t.Errorf("%d after the second end", got)
	}
	if list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(0), 0, 10); len(list) != 0 {
		t.Errorf("unbondings %+v are left", list)
	}
}

func TestRedelegate(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 5_000, 4_000, 3_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 50})
	e := w.ok(user(0), &staking.Redelegate{From: 0, To: 1, Amount: 600})
	if e.Validator != 0 || e.To != 1 || e.Amount != 600 || e.Epoch != 4 {
		t.Errorf("event %+v", e)
	}
	if s := w.stake(1, user(0)); s.Worth != 650 || s.Bound != 600 {
		t.Errorf("stake %+v", s)
	}
	// What was there before may move on, and so may all that is free in the end.
	w.ok(user(0), &staking.Redelegate{From: 1, To: 2, Amount: 50})
	if _, code := w.try(user(0), &staking.Redelegate{From: 1, To: 2, Amount: 1}); code != chain.CodeRedelegating {
		t.Errorf("a hop: %s", code)
	}
	w.idle(w.p.LastBlock(4))
	if s := w.stake(1, user(0)); s.Worth != 600 || s.Bound != 0 {
		t.Errorf("stake %+v after the end", s)
	}
	w.ok(user(0), &staking.Redelegate{From: 1, To: 2, Amount: 600})
	for k := range w.view.Range([]byte("o\x00\x00\x00\x00\x00\x00\x00\x04")) {
		t.Errorf("key %x is left", k)
	}
}

// TestUndelegateWhatCameByRedelegation: it may leave, and takes what it answers
// for with it.
func TestUndelegateWhatCameByRedelegation(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 0
	w := newWorld(t, p, 5_000, 4_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_000})
	w.ok(user(0), &staking.Delegate{Validator: 1, Amount: 200})
	w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	w.ok(user(0), &staking.Undelegate{Validator: 1, Amount: 700})
	if s := w.stake(1, user(0)); s.Worth != 500 || s.Bound != 500 {
		t.Fatalf("stake %+v: what is free leaves first", s)
	}
	w.apply(block{evidence: []staking.Evidence{w.equivocation(0, 3)}})
	if s := w.stake(1, user(0)); s.Worth != 475 {
		t.Errorf("stake %+v after a slash of a twentieth", s)
	}
	if list := staking.UnbondingsOf(w.view, w.p, w.height+1, user(0), 0, 10); len(list) != 1 || list[0].Amount != 675 {
		t.Errorf("unbondings %+v: 500 of 700 answer", list)
	}
	w.turn(5)
	if got := w.balance(user(0)); got != riches-1_200+675 {
		t.Errorf("%d drops were paid out", got-(riches-1_200))
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 1_000
	w := newWorld(t, p, 6_000, 2_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 2_000})
	w.turn(1)                           // the committee is that of the genesis: powers 2 and 1 of 3, below one unit each
	first := w.validator(0).Outstanding // all its operator's: user 0 came after the election
	w.turn(1)
	parts := map[uint64]uint64{}
	rec, _ := staking.ReadElection(w.view, 1)
	for e := range uint64(2) {
		c, _ := staking.ReadCommittee(w.view, e)
		for _, m := range c.Members {
			parts[m.Validator] += 1_000 * m.Power / c.TotalPower()
		}
	}
	if len(rec.Committee.Members) != 2 {
		t.Fatalf("election %+v", rec)
	}
	v := w.validator(0)
	if got := uint64(v.Outstanding + v.Earned); got != parts[0] {
		t.Fatalf("validator 0 has %d, want %d", got, parts[0])
	}
	reward := uint64(w.stake(0, user(0)).Reward)
	if want := uint64(v.Outstanding-first) / 4; reward > want || reward+1 < want {
		t.Errorf("a quarter of the shares has %d of %d", reward, v.Outstanding-first)
	}
	before := w.balance(user(0))
	events, code := w.try(user(0), &staking.Claim{Validators: []uint64{0}})
	if code != chain.CodeOK || len(events) != 1 || uint64(events[0].Reward) != reward || w.balance(user(0)) != before+reward {
		t.Errorf("%s, events %+v, %d more", code, events, w.balance(user(0))-before)
	}
	before = w.balance(operator(0))
	own, earned := uint64(w.stake(0, operator(0)).Reward), uint64(v.Earned)
	w.ok(operator(0), &staking.Claim{Validators: []uint64{0}})
	if got := w.balance(operator(0)) - before; got != own+earned || w.validator(0).Earned != 0 {
		t.Errorf("the operator got %d, want %d and a commission of %d", got, own, earned)
	}
	if _, code := w.try(user(0), &staking.Claim{Validators: []uint64{0}}); code != chain.CodeNothingToClaim {
		t.Errorf("again: %s", code)
	}
	// Whoever touches a delegation is paid as well.
	w.turn(1)
	reward, before = uint64(w.stake(0, user(0)).Reward), w.balance(user(0))
	if e := w.ok(user(0), &staking.Undelegate{Validator: 0, Amount: 1}); uint64(e.Reward) != reward || reward == 0 || w.balance(user(0)) != before+reward {
		t.Errorf("an undelegation pays %d of %d", e.Reward, reward)
	}
}

// TestNoStaking: a chain without validators in its genesis has no staking.
func TestNoStaking(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams())
	w.fund(user(0))
	w.supply += riches
	if len(w.view.keys) != 0 {
		t.Fatalf("the genesis writes %q", w.view.keys)
	}
	o := chain.NewOverlay(w.view)
	c := &staking.Context{State: o, Bank: w.bank, Rules: &w.p, Network: network, Height: 1}
	if c.On() || staking.NeedsTick(w.view, w.p, 1) || staking.ValidatorCount(w.view) != 0 {
		t.Error("there is staking")
	}
	for _, m := range []message{registration(user(0), 9, 5_000), &staking.Delegate{Amount: 10}} {
		if _, err := w.do(c, user(0), m); err == nil || o.Len() != 0 {
			t.Errorf("%T: %v", m, err)
		}
	}
}
