package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// all is what stands for a whole stake on the command line.
const all = "all"

func (c *cli) stakeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "stake", Short: "Delegate money to validators, take it back, and claim rewards"}
	cmd.AddCommand(c.stakeDelegateCommand(), c.stakeRedelegateCommand(), c.stakeUndelegateCommand(), c.stakeClaimCommand(),
		c.stakeShowCommand(), c.stakeUnbondingCommand(), c.stakeParamsCommand())
	return cmd
}

func (c *cli) stakeDelegateCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:     "delegate VALIDATOR AMOUNT",
		Short:   "Lock money behind a validator, to earn and to vote with it",
		Long:    "Lock money behind a validator, to earn and to vote with it. It is slashed if the\nvalidator double-signs or is away for long. It earns from the next epoch on, or, in\nthe last block of an epoch, from the one after.\n" + whichValidator,
		Example: "  tributary stake delegate validator1 100 --from alice",
		Args:    cobra.ExactArgs(2),
		RunE: c.connected(func(run *run) error {
			amount, err := ledger.ParseAmount(run.args[1])
			if err != nil {
				return &usageError{err}
			}
			if least := run.conn.Params().Staking.MinDelegation; amount < least {
				return usagef("%s are too little to delegate, at least %s", coins(amount), coins(least))
			}
			v, err := run.validator(run.args[0])
			if err != nil {
				return err
			}
			m := staking.Delegate{Validator: v.Number, Amount: amount}
			return run.submit(from, chain.KindDelegate, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

// stakeAmount reads an amount, or "all", which is 0.
func stakeAmount(text string) (ledger.Amount, error) {
	if text == all {
		return 0, nil
	}
	amount, err := ledger.ParseAmount(text)
	switch {
	case err != nil:
		return 0, &usageError{err}
	case amount == 0:
		return 0, usagef("0 coins are nothing to move; say \"all\" for all")
	}
	return amount, nil
}

func (c *cli) stakeRedelegateCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "redelegate VALIDATOR TO AMOUNT|all",
		Short: "Move stake from one validator to another at once",
		Long: `Move stake from one validator to another at once. What moved answers for the first
one's faults until it would have been unbonded, and cannot move on until then. It
earns nothing in the epoch under way.
` + whichValidator,
		Args: cobra.ExactArgs(3),
		RunE: c.connected(func(run *run) error {
			amount, err := stakeAmount(run.args[2])
			if err != nil {
				return err
			}
			source, err := run.validator(run.args[0])
			if err != nil {
				return err
			}
			to, err := run.validator(run.args[1])
			if err != nil {
				return err
			}
			if source.Number == to.Number {
				return usagef("%s and %s are one validator, %d", run.args[0], run.args[1], to.Number)
			}
			run.warnOperator(from, &source, amount)
			m := staking.Redelegate{From: source.Number, To: to.Number, Amount: amount}
			return run.submit(from, chain.KindRedelegate, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

// warnOperator says that v will not be elected any more if its operator, the key
// called from, takes amount away, 0 for all.
func (run *run) warnOperator(from string, v *client.ValidatorInfo, amount ledger.Amount) {
	who, err := run.conn.address(from)
	if err != nil || who != v.Operator {
		return // what signs is looked at when it signs
	}
	least := max(v.MinSelf, run.conn.Params().Staking.MinSelfStake)
	if amount == 0 {
		amount = v.SelfStake
	}
	if left := v.SelfStake - min(amount, v.SelfStake); v.SelfStake >= least && left < least {
		run.conn.cli.note("this leaves %s of its operator's own with validator %d, less than the %s it needs: it is not elected any more", coins(left), v.Number, coins(least))
	}
}

func (c *cli) stakeUndelegateCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "undelegate VALIDATOR AMOUNT|all",
		Short: "Take stake back; it is paid out after the unbonding time",
		Long: `Take stake back. It is paid out after the unbonding time, earns nothing until then
nor in the epoch under way, and can still be slashed for what the validator did before.
` + whichValidator,
		Args: cobra.ExactArgs(2),
		RunE: c.connected(func(run *run) error {
			amount, err := stakeAmount(run.args[1])
			if err != nil {
				return err
			}
			v, err := run.validator(run.args[0])
			if err != nil {
				return err
			}
			run.warnOperator(from, &v, amount)
			m := staking.Undelegate{Validator: v.Number, Amount: amount}
			if err := run.submit(from, chain.KindUndelegate, m.Encode(), how); err != nil || how.dryRun {
				return err
			}
			rules := run.conn.Params().Staking
			run.conn.cli.note("it is paid out with the end of epoch %d, at height %d or soon after",
				v.Epoch+uint64(rules.UnbondingEpochs), rules.LastBlock(v.Epoch+uint64(rules.UnbondingEpochs)))
			return nil
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

func (c *cli) stakeClaimCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "claim [VALIDATOR...]",
		Short: "Claim what was earned, an operator's commission included",
		Long: `Claim what was earned with some validators, or with all, an operator's commission
included.
` + whichValidator,
		RunE: c.connected(func(run *run) error {
			var numbers []uint64
			for _, who := range run.args {
				v, err := run.validator(who)
				if err != nil {
					return err
				}
				numbers = append(numbers, v.Number)
			}
			if len(numbers) == 0 {
				var err error
				if numbers, err = run.earning(from); err != nil {
					return err
				}
			}
			slices.Sort(numbers)
			numbers = slices.Compact(numbers)
			if n := len(numbers); n > staking.MaxClaims {
				run.conn.cli.note("claiming from the first %d of %d validators; repeat it for the others", staking.MaxClaims, n)
				numbers = numbers[:staking.MaxClaims]
			}
			m := staking.Claim{Validators: numbers}
			return run.submit(from, chain.KindClaimRewards, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

// earning lists the validators with which the key called from has rewards to claim.
func (run *run) earning(from string) (numbers []uint64, err error) {
	account, err := run.conn.account(from)
	if err != nil {
		return nil, err
	}
	address := account.Address()
	for d, err := range run.conn.DelegationsOf(run.ctx, address) {
		if err != nil {
			return nil, err
		}
		if d.Rewards > 0 {
			numbers = append(numbers, d.Validator)
		}
	}
	v, err := run.conn.ValidatorOf(run.ctx, address)
	switch code, _ := chain.CodeOf(err); {
	case err == nil && v.Earned > 0:
		numbers = append(numbers, v.Number)
	case err != nil && code != chain.CodeValidatorNotFound:
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("%s has earned nothing since the last claim", address)
	}
	return numbers, nil
}

type delegationResult struct {
	Validator uint64 `json:"validator"`
	Name      string `json:"name"`
	State     string `json:"state"`
	Stake     drops  `json:"stake"`
	Earning   drops  `json:"earning_stake"`
	Fresh     drops  `json:"fresh_stake"`
	FreshFrom uint64 `json:"fresh_from_epoch,omitempty"`
	Bound     drops  `json:"bound"`
	Rewards   drops  `json:"rewards"`
}

// freshFrom is the epoch from which on what is fresh earns, "-" if nothing is.
func (r *delegationResult) freshFrom() string {
	if r.FreshFrom == 0 {
		return "-"
	}
	return "epoch " + strconv.FormatUint(r.FreshFrom, 10)
}

func (c *cli) stakeShowCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "show ADDRESS|NAME",
		Short: "Show an account's stakes and what they have earned",
		Long: `Show an account's stakes and what they have earned. EARNING is what has a part in the
rewards of the present epoch. FRESH came after the election of that epoch, and earns
FROM the epoch shown on if the validator is elected then. The rest earns nothing now:
its validator is not in the committee, or is jailed or tombstoned.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			address, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			rows := []delegationResult{}
			for d, err := range run.conn.DelegationsOf(run.ctx, address) {
				if err != nil {
					return err
				}
				v, err := run.conn.Validator(run.ctx, d.Validator)
				if err != nil {
					return err
				}
				rows = append(rows, delegationResult{
					d.Validator, plain(v.Profile.Name), v.State.String(), drops(d.Stake),
					drops(d.Earning), drops(d.Fresh), d.FreshFrom, drops(d.Bound), drops(d.Rewards),
				})
				if limit > 0 && len(rows) == limit {
					break
				}
			}
			if len(rows) == 0 {
				c.note("%s has no stake", address)
			}
			return c.print(rows, func(t *table) {
				t.row("VALIDATOR", "NAME", "STATE", "STAKE (COINS)", "EARNING (COINS)", "FRESH (COINS)", "FROM", "BOUND (COINS)", "REWARDS (COINS)")
				for i := range rows {
					r := &rows[i]
					t.row(r.Validator, r.Name, r.State, ledger.Amount(r.Stake), ledger.Amount(r.Earning), ledger.Amount(r.Fresh), r.freshFrom(),
						ledger.Amount(r.Bound), ledger.Amount(r.Rewards))
				}
			})
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

func (c *cli) stakeUnbondingCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "unbonding ADDRESS|NAME",
		Short: "Show what an account has taken back and not got yet",
		Args:  cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			address, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			type row struct {
				Validator uint64 `json:"validator"`
				Amount    drops  `json:"amount"`
				Epoch     uint64 `json:"matures_epoch"`
				Height    uint64 `json:"matures_height"`
			}
			rows := []row{}
			for u, err := range run.conn.Unbondings(run.ctx, address) {
				if err != nil {
					return err
				}
				rows = append(rows, row{u.Validator, drops(u.Amount), u.Epoch, u.Height})
				if limit > 0 && len(rows) == limit {
					break
				}
			}
			if len(rows) == 0 {
				c.note("%s waits for nothing", address)
			}
			return c.print(rows, func(t *table) {
				t.row("VALIDATOR", "AMOUNT (COINS)", "PAID OUT WITH EPOCH", "AT HEIGHT")
				for _, r := range rows {
					t.row(r.Validator, ledger.Amount(r.Amount), r.Epoch, r.Height)
				}
			})
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

// stakeParamsResult is how staking stands, and its rules.
type stakeParamsResult struct {
	Enabled    bool   `json:"enabled"`
	Height     uint64 `json:"height"`
	Epoch      uint64 `json:"epoch"`
	EpochEnd   uint64 `json:"epoch_end_height"`
	Validators uint64 `json:"validators"`
	Members    uint32 `json:"members"`
	TotalPower uint64 `json:"total_power"`
	MostPower  uint64 `json:"most_power"` // of one member in the present epoch
	Staked     drops  `json:"staked"`
	Rewards    drops  `json:"rewards"`
	Minted     drops  `json:"minted"`

	EpochBlocks      uint64 `json:"epoch_blocks"`
	Seats            uint32 `json:"seats"`
	PowerCapBps      uint32 `json:"power_cap_bps"`
	MinStake         drops  `json:"min_stake"`
	MinSelfStake     drops  `json:"min_self_stake"`
	MinDelegation    drops  `json:"min_delegation"`
	UnbondingEpochs  uint32 `json:"unbonding_epochs"`
	EvidenceEpochs   uint32 `json:"evidence_epochs"`
	MaxEntries       uint32 `json:"max_entries"`
	EpochReward      drops  `json:"epoch_reward"`
	MintCap          drops  `json:"mint_cap"`
	RegisterFee      drops  `json:"register_fee"`
	StakeFee         drops  `json:"stake_fee"`
	DuplicateVoteBps uint32 `json:"duplicate_vote_bps"`
	LightAttackBps   uint32 `json:"light_attack_bps"`
	DowntimeBps      uint32 `json:"downtime_bps"`
	Window           uint32 `json:"window"`
	MaxMissed        uint32 `json:"max_missed"`
	JailEpochs       uint32 `json:"jail_epochs"`
	MeterBps         uint32 `json:"meter_bps"`
	MeterEpochs      uint32 `json:"meter_epochs"`
}

func newStakeParamsResult(s client.StakingStatus, most uint64, p staking.Params) stakeParamsResult {
	return stakeParamsResult{
		s.Enabled, s.Height, s.Epoch, s.EpochEnd, s.Validators, s.Members, s.TotalPower, most, drops(s.Staked), drops(s.Rewards), drops(s.Minted),
		p.EpochBlocks, p.Seats, p.PowerCapBps, drops(p.MinStake), drops(p.MinSelfStake), drops(p.MinDelegation),
		p.UnbondingEpochs, p.EvidenceEpochs, p.MaxEntries, drops(p.EpochReward), drops(p.MintCap), drops(p.RegisterFee), drops(p.StakeFee),
		p.DuplicateVoteBps, p.LightAttackBps, p.DowntimeBps, p.Window, p.MaxMissed, p.JailEpochs, p.MeterBps, p.MeterEpochs,
	}
}

func (c *cli) stakeParamsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "params",
		Short: "Show the rules of staking, the present epoch, and how much is staked",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			s, err := run.conn.StakingStatus(run.ctx)
			if err != nil {
				return err
			}
			var most uint64
			if s.Enabled {
				info, err := run.conn.Committee(run.ctx, s.Epoch)
				if err != nil {
					return err
				}
				for i := range info.Record.Committee.Members {
					most = max(most, info.Record.Committee.Members[i].Power)
				}
			}
			r := newStakeParamsResult(s, most, run.conn.Params().Staking)
			if !r.Enabled {
				c.note("this network has no staking: its validators are fixed by its genesis")
			}
			return c.print(r, r.fields)
		}),
	}
}

func (r *stakeParamsResult) fields(t *table) {
	bps := func(n uint32) string { return percent(uint64(n)) + " %" }
	t.field("epoch", fmt.Sprintf("%d, to height %d (the head is at %d)", r.Epoch, r.EpochEnd, r.Height))
	t.field("validators", fmt.Sprintf("%d, of which %d vote, with a power of %d", r.Validators, r.Members, r.TotalPower))
	t.field("staked", ledger.Amount(r.Staked))
	t.field("rewards not claimed", ledger.Amount(r.Rewards))
	t.field("minted so far", ledger.Amount(r.Minted))
	t.line("")
	t.field("an epoch", fmt.Sprintf("%d blocks", r.EpochBlocks))
	t.field("seats", r.Seats)
	t.field("wanted cap on the power of one", bps(r.PowerCapBps)+", gives way when it would cost a quarter of the stake")
	if r.MostPower != 0 {
		t.field("  most power of one now", share(r.MostPower, r.TotalPower))
	}
	t.field("least stake of a candidate", ledger.Amount(r.MinStake))
	t.field("  of it its own", ledger.Amount(r.MinSelfStake))
	t.field("least delegation", ledger.Amount(r.MinDelegation))
	t.field("unbonding", fmt.Sprintf("%d epochs, at most %d under way", r.UnbondingEpochs, r.MaxEntries))
	t.field("faults are punished for", fmt.Sprintf("%d epochs", r.EvidenceEpochs))
	t.field("reward of an epoch", coins(ledger.Amount(r.EpochReward))+" and the fees")
	t.field("minted ever at most", ledger.Amount(r.MintCap))
	t.field("fee of a registration", ledger.Amount(r.RegisterFee))
	t.field("fee of other staking", ledger.Amount(r.StakeFee))
	t.field("slashed for two votes", bps(r.DuplicateVoteBps))
	t.field("  for a light client attack", bps(r.LightAttackBps))
	t.field("  for downtime", bps(r.DowntimeBps))
	t.field("jailed", fmt.Sprintf("for %d epochs, after more than %d of %d blocks missed", r.JailEpochs, r.MaxMissed, r.Window))
	t.field("most power jailed", fmt.Sprintf("%s in %d epochs, and one more validator whatever its power", bps(r.MeterBps), r.MeterEpochs))
}
