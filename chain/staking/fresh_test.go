package staking_test

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// TestLateStakeEarnsLater: who delegates after the election of an epoch takes nothing
// from those who carried it, whether in its first block or in its last; and who does
// before the next election, or in its block, earns in full in the next one.
func TestLateStakeEarnsLater(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		height uint64 // of the delegation
		from   uint64 // epoch that earns first
	}{
		{"first block", 11, 2}, {"middle", 15, 2}, {"election of the next epoch", 19, 2}, {"last block", 20, 3}, {"next first block", 21, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := smallParams()
			p.StakeFee = 0
			w := newWorld(t, p, 10_000)
			w.idle(row.height - 1)
			alone := w.fork()
			w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 10_000})
			alone.apply(block{})
			if s := w.stake(0, user(0)); s.Fresh != 10_000 || s.FreshFrom != row.from || s.Worth != 10_000 {
				t.Errorf("what came: %+v, want all of it fresh until epoch %d", s, row.from)
			}
			if s := w.stake(0, operator(0)); s.Fresh != 0 || s.FreshFrom != 0 || s.Worth == 0 {
				t.Errorf("what was there: %+v", s)
			}
			for epoch := uint64(1); epoch < 5; epoch++ {
				for w.height < p.LastBlock(epoch) {
					w.apply(block{})
					alone.apply(block{})
				}
				late, carried := w.stake(0, user(0)), w.stake(0, operator(0))
				if fresh := epoch+1 < row.from; fresh != (late.Fresh == 10_000) || !fresh && (late.Fresh != 0 || late.FreshFrom != 0) {
					t.Errorf("after epoch %d: %d fresh until epoch %d, want that to end with epoch %d", epoch, late.Fresh, late.FreshFrom, row.from)
				}
				switch {
				case epoch < row.from && (late.Reward != 0 || carried != alone.stake(0, operator(0))):
					t.Errorf("epoch %d: who came late has %d, the other %d instead of %d", epoch, late.Reward, carried.Reward, alone.stake(0, operator(0)).Reward)
				case epoch >= row.from && uint64(late.Reward) != (epoch+1-row.from)*450-1: // half of 1,000 less a tenth, rounded down
					t.Errorf("epoch %d: %d after %d epochs", epoch, late.Reward, epoch+1-row.from)
				}
			}
		})
	}
}

// TestMovedStakeEarnsLater: what is redelegated earns at its destination from the next
// election on, and nothing more where it was.
func TestMovedStakeEarnsLater(t *testing.T) {
	t.Parallel()
	p := smallParams()
	p.PowerCapBps = 5_000
	w := newWorld(t, p, 10_000, 20_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 10_000})
	w.turn(2)
	before := w.balance(user(0))
	moved := w.ok(user(0), &staking.Redelegate{From: 0, To: 1})
	if moved.Reward != 224 || w.balance(user(0)) != before+224 { // half of 450, rounded down, in epoch 1
		t.Errorf("earned %d", moved.Reward)
	}
	w.turn(1)
	if s := w.stake(1, user(0)); s.Reward != 0 || s.Worth != 10_000 {
		t.Errorf("in the epoch of the move: %+v", s)
	}
	w.turn(1)
	if s := w.stake(1, user(0)); s.Reward == 0 {
		t.Errorf("in the next: %+v", s)
	}
}

// heldPart is stake of the model: what it was when it came, and the epoch from which on
// it earns.
type heldPart struct{ from, shares uint64 }

// TestRewardsByTiming: whatever somebody delegates, takes back and claims at whatever
// time and in whatever parts, it earns of each epoch the part that its stake was of all
// stake that was there from the epoch's election to its end, and nothing else.
func TestRewardsByTiming(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := smallParams()
		p.EpochReward = ledger.Amount(rapid.SampledFrom([]uint64{1_000, 997, 50_021}).Draw(rt, "reward"))
		p.MaxEntries = 16
		w := newWorld(t, p, 5_003)
		const users = 3
		held := map[int][]heldPart{users: {{0, 5_003}}} // the last is the operator
		earned, settled := map[int]*big.Rat{}, map[int]int64{}
		paid := map[int]uint64{}
		for i := range users + 1 {
			earned[i] = new(big.Rat)
		}
		for w.height < p.LastBlock(5) {
			who := rapid.IntRange(0, users-1).Draw(rt, "who")
			amount := rapid.Uint64Range(1, 4_000).Draw(rt, "amount")
			var m message
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0, 1:
				m = &staking.Delegate{Validator: 0, Amount: ledger.Amount(amount)}
			case 2:
				m = &staking.Undelegate{Validator: 0, Amount: ledger.Amount(amount)}
			case 3:
				m = &staking.Claim{Validators: []uint64{0}}
			}
			was := w.validator(0)
			w.apply(block{idle: m == nil, run: func(c *staking.Context) {
				if m == nil {
					return
				}
				events, err := w.do(c, user(who), m)
				if err != nil {
					return
				}
				settled[who]++
				for _, e := range events {
					paid[who] += uint64(e.Reward)
				}
				switch m.(type) {
				case *staking.Delegate:
					held[who] = append(held[who], heldPart{p.Epoch(w.height+1) + 1, amount})
				case *staking.Undelegate:
					for left := amount; left > 0; {
						last := &held[who][len(held[who])-1]
						n := min(left, last.shares)
						left -= n
						if last.shares -= n; last.shares == 0 {
							held[who] = held[who][:len(held[who])-1]
						}
					}
				}
			}})
			if w.height%p.EpochBlocks != 0 {
				continue
			}
			now := w.validator(0)
			var given uint64 // to delegators
			for _, e := range w.find(staking.EventEpochEnded) {
				given = uint64(e.Reward) - uint64(now.Earned-was.Earned)
			}
			var all uint64
			part := map[int]uint64{}
			for i := range users + 1 {
				for _, h := range held[i] {
					if h.from <= p.Epoch(w.height) {
						part[i] += h.shares
						all += h.shares
					}
				}
			}
			for i, n := range part {
				earned[i].Add(earned[i], new(big.Rat).SetFrac(new(big.Int).SetUint64(given*n), new(big.Int).SetUint64(all)))
			}
		}
		for i := range users {
			got := paid[i] + uint64(w.stake(0, user(i)).Reward)
			have := new(big.Rat).SetInt(new(big.Int).SetUint64(got))
			// Each settlement rounds down a part of old and up to two of fresh stake.
			least := new(big.Rat).Sub(earned[i], new(big.Rat).SetInt64(3*(settled[i]+1)))
			if have.Cmp(earned[i]) > 0 || have.Cmp(least) < 0 {
				rt.Fatalf("user %d has earned %d, want %s less roundings", i, got, earned[i].FloatString(3))
			}
		}
	})
}

// TestFreshAuditor: what the batches count is audited.
func TestFreshAuditor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 100})
	for key, value := range w.view.Range([]byte{'j'}) {
		bad := w.view.clone()
		changed := append([]byte{}, value...)
		changed[7]++
		bad.rows[string(key)] = changed
		if _, _, err := staking.Audit(bad, &w.p); err == nil {
			t.Error("the audit takes a batch of another size")
		}
		return
	}
	t.Error("there is no fresh stake")
}
