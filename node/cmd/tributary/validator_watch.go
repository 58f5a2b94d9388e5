package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// stakingEventResult is one line of a watch in JSON.
type stakingEventResult struct {
	Event       string  `json:"event"` // "gap" if events are lost
	Height      uint64  `json:"height"`
	To          uint64  `json:"to,omitempty"` // of a gap
	TxIndex     *int    `json:"tx_index,omitempty"`
	Validator   *uint64 `json:"validator,omitempty"`
	ToValidator *uint64 `json:"to_validator,omitempty"`
	Account     string  `json:"account,omitempty"`
	Amount      drops   `json:"amount,omitempty"`
	Reward      drops   `json:"reward,omitempty"`
	Power       uint64  `json:"power,omitempty"`
	Epoch       *uint64 `json:"epoch,omitempty"`
	Fault       string  `json:"fault,omitempty"`
	FaultHeight uint64  `json:"fault_height,omitempty"`
	Code        string  `json:"code,omitempty"`
}

func newStakingEventResult(e *staking.Event, height uint64) stakingEventResult {
	r := stakingEventResult{
		Event: e.Kind.String(), Height: height, Amount: drops(e.Amount), Reward: drops(e.Reward), Power: e.Power,
	}
	if e.TxIndex >= 0 {
		r.TxIndex = &e.TxIndex
	}
	if e.Kind != staking.EventEpochEnded {
		r.Validator = &e.Validator
	}
	if !e.Delegator.IsZero() {
		r.Account = e.Delegator.String()
	}
	switch e.Kind {
	case staking.EventRedelegated:
		r.ToValidator, r.Epoch = &e.To, &e.Epoch
	case staking.EventUndelegated, staking.EventJailed, staking.EventElected, staking.EventLeft, staking.EventUnbonded, staking.EventEpochEnded:
		r.Epoch = &e.Epoch
	case staking.EventSlashed, staking.EventTombstoned, staking.EventEvidenceIgnored:
		r.Fault, r.FaultHeight = e.Fault.String(), e.Height
		if e.Code != 0 {
			r.Code = e.Code.String()
		}
	default:
	}
	return r
}

func (r *stakingEventResult) line(w io.Writer) error {
	if r.Event == "gap" {
		_, err := fmt.Fprintf(w, "heights %d to %d are no longer known: read the validators anew\n", r.Height, r.To)
		return err
	}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if r.Validator != nil {
		add("validator %d", *r.Validator)
	}
	if r.ToValidator != nil {
		add("to validator %d", *r.ToValidator)
	}
	if r.Account != "" {
		add("%s", r.Account)
	}
	if r.Amount != 0 {
		add("%s", coins(ledger.Amount(r.Amount)))
	}
	if r.Reward != 0 {
		add("rewards %s", coins(ledger.Amount(r.Reward)))
	}
	if r.Power != 0 {
		add("power %d", r.Power)
	}
	if r.Epoch != nil {
		add("epoch %d", *r.Epoch)
	}
	if r.Fault != "" {
		add("%s at height %d", r.Fault, r.FaultHeight)
	}
	if r.Code != "" {
		add("%s", r.Code)
	}
	_, err := fmt.Fprintf(w, "%8d  %-16s %s\n", r.Height, r.Event, strings.Join(parts, ", "))
	return err
}

func (c *cli) validatorWatchCommand() *cobra.Command {
	var account string
	var from uint64
	cmd := &cobra.Command{
		Use:   "watch [VALIDATOR]",
		Short: "Tell what happens to validators and their stake until interrupted",
		Long: `Tell what happens to validators and their stake until interrupted, one line for
each event; with -o json one object on each line.
` + whichValidator,
		Args: cobra.MaximumNArgs(1),
		RunE: c.lasting(func(run *run) error {
			filter := client.StakingFilter{From: from}
			if len(run.args) == 1 {
				v, err := run.validator(run.args[0])
				if err != nil {
					return err
				}
				filter.Validator = &v.Number
			}
			var err error
			if filter.Account, err = run.optionalAddress(account); err != nil {
				return err
			}
			return run.watchStaking(filter, about(&filter))
		}),
	}
	cmd.Flags().StringVar(&account, "account", "", "also what concerns this account; without VALIDATOR only that")
	cmd.Flags().Uint64Var(&from, "from-height", 0, "begin with the block of this height (default the next one)")
	return cmd
}

// about says what a watch is for.
func about(f *client.StakingFilter) string {
	switch {
	case f.Validator != nil && !f.Account.IsZero():
		return fmt.Sprintf("validator %d or account %s", *f.Validator, f.Account)
	case f.Validator != nil:
		return fmt.Sprintf("validator %d", *f.Validator)
	case !f.Account.IsZero():
		return "account " + f.Account.String()
	}
	return "any validator"
}

// watchStaking prints what happens until the command is interrupted. It says first
// what it waits for: that may take a while, and nothing be shown until then.
func (run *run) watchStaking(filter client.StakingFilter, what string) error {
	out := run.conn.cli.stdout
	told := false
	show := func(r stakingEventResult) error {
		if run.conn.cli.output == "json" {
			return json.NewEncoder(out).Encode(r)
		}
		return r.line(out)
	}
	for u, err := range run.conn.WatchStaking(run.ctx, filter) {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if !told {
			told = true
			run.conn.cli.note("waiting for what happens to %s from height %d on, the head is at %d; an idle chain makes no blocks; Ctrl-C ends this",
				what, max(filter.From, u.Height+1), u.Head)
		}
		if u.Gap != nil {
			if err := show(stakingEventResult{Event: "gap", Height: u.Gap.From, To: u.Gap.To}); err != nil {
				return err
			}
		}
		for i := range u.Events {
			if err := show(newStakingEventResult(&u.Events[i], u.Height)); err != nil {
				return err
			}
		}
	}
	return nil
}
