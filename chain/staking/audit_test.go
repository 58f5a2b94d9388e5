package staking_test

import (
	"encoding/binary"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
)

// TestAuditFinds: whatever is wrong with the state, Audit says so.
func TestAuditFinds(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.EpochReward = 10_000
	w := newWorld(t, p, 50_000, 40_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 10_000})
	w.ok(user(1), &staking.Delegate{Validator: 1, Amount: 10_000})
	w.ok(user(1), &staking.Redelegate{From: 1, To: 0, Amount: 2_000})
	w.ok(user(0), &staking.Undelegate{Validator: 0, Amount: 500})
	w.turn(3)
	if w.members(0) == nil || w.view.Get(staking.CommitteeKey(0)) != nil || w.view.Get(staking.CommitteeKey(2)) == nil {
		t.Fatal("the committee of epoch 0 is not one of the past")
	}
	due := uint64(p.UnbondingEpochs)
	add := func(off int, n uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[off:], binary.BigEndian.Uint64(b[off:])+n)
			return b
		}
	}
	remove := func([]byte) []byte { return nil }
	some := func([]byte) []byte { return []byte{} }
	row := func(change func(*staking.Validator)) func([]byte) []byte {
		return func(b []byte) []byte {
			v, err := staking.DecodeValidator(b)
			if err != nil {
				t.Fatal(err)
			}
			change(&v)
			return v.Encode()
		}
	}
	staked, rewards, err := staking.Audit(w.view, &w.p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		key    []byte
		change func([]byte) []byte
	}{
		{"more tokens", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Tokens++ })},
		{"more tokens than shares", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Tokens += 1 << 20 })},
		{"more shares", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Shares++ })},
		{"more self-stake", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.SelfShares++ })},
		{"more commission", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Earned++ })},
		{"less outstanding", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Outstanding -= 5 })},
		{"a higher index", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Index.Fraction += 1 << 52 })},
		{"another operator", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.Operator[4]++ })},
		{"another key", staking.ValidatorKey(0), row(func(v *staking.Validator) { v.ConsensusKey[4]++ })},
		{"a row that is cut off", staking.ValidatorKey(0), func(b []byte) []byte { return b[1:] }},
		{"a row that is gone", staking.ValidatorKey(1), remove},
		{"a delegation with more", staking.DelegationKey(0, user(0)), add(0, 1)},
		{"a delegation with nothing", staking.DelegationKey(0, user(0)), func([]byte) []byte { return (&staking.Delegation{}).Encode() }},
		{"a delegation that is gone", staking.DelegationKey(0, user(0)), remove},
		{"a delegation to nobody", staking.DelegationKey(9, user(0)), func([]byte) []byte { return (&staking.Delegation{Shares: 1}).Encode() }},
		{"a delegation of another epoch", staking.DelegationKey(0, user(1)), add(25+8, 1)},
		{"a delegation that answers for more", staking.DelegationKey(0, user(1)), add(25+16, 1)},
		{"a delegator that is gone", staking.DelegatorKey(user(0), 0), remove},
		{"a delegator of nothing", staking.DelegatorKey(user(3), 0), some},
		{"a redelegation that is gone", staking.MoveKey(1, due, user(1), 0), remove},
		{"moved stake that is gone", staking.MovedKey(due, 1), remove},
		{"a pool with more", staking.PoolKey(0, due), add(0, 1)},
		{"a pool with more shares", staking.PoolKey(0, due), add(8, 1)},
		{"a pool that is gone", staking.PoolKey(0, due), remove},
		{"a pool of nobody", staking.PoolKey(1, due), func([]byte) []byte { return make([]byte, 16) }},
		{"an unbonding with more", staking.QueueKey(due, 0, user(0)), add(0, 1)},
		{"an unbonding that is gone", staking.QueueKey(due, 0, user(0)), remove},
		{"an unbonding of nobody", staking.EntriesKey(user(0), 0), remove},
		{"a list of no unbonding", staking.EntriesKey(user(3), 0), func([]byte) []byte { return make([]byte, 8) }},
		{"a profile that is gone", staking.ProfileKey(0), remove},
		{"an operator that is gone", staking.OperatorKey(operator(0)), remove},
		{"an operator of another", staking.OperatorKey(operator(0)), add(0, 1)},
		{"an operator of nobody", staking.OperatorKey(user(0)), func([]byte) []byte { return make([]byte, 8) }},
		{"somebody listed as electable who is not", staking.ElectableKey(7), some},
		{"somebody not listed as electable who is", staking.ElectableKey(1), remove},
		{"somebody without stake listed as electable", staking.ValidatorKey(1), row(func(v *staking.Validator) { v.Jailed = true })},
		{"a past committee of another seed", staking.PastCommitteeKey(0), add(121-8, 1)},
		{"a past committee without seats", staking.SeatsKey(0), remove},
		{"a past committee of other power", staking.SeatsKey(0), add(8, 1)},
		{"a committee of other power", staking.SeatsKey(3), func([]byte) []byte { return make([]byte, 48) }},
		{"seats of no committee", staking.SeatsKey(9), func([]byte) []byte { return make([]byte, 24) }},
		{"a miscount of validators", staking.ProgressKey(), add(0, 1)},
	} {
		f := w.fork()
		f.view.apply(chain.Changes{{Key: c.key, Value: c.change(append([]byte(nil), f.view.Get(c.key)...))}})
		s, r, err := staking.Audit(f.view, &f.p)
		if err == nil && s == staked && r == rewards {
			t.Errorf("%s: Audit finds nothing", c.name)
		}
	}
}
