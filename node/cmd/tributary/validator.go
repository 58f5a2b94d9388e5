package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// validatorResult is what is shown of a validator.
type validatorResult struct {
	Number       uint64   `json:"number"`
	Name         string   `json:"name"`
	State        string   `json:"state"`
	Operator     string   `json:"operator"`
	ConsensusKey string   `json:"consensus_key"`
	Address      string   `json:"consensus_address"`
	BLSKey       string   `json:"bls_key"`
	Endpoints    []string `json:"endpoints"`
	Stake        drops    `json:"stake"`
	SelfStake    drops    `json:"self_stake"`
	MinSelfStake drops    `json:"min_self_stake"`
	Power        uint64   `json:"power"`
	TotalPower   uint64   `json:"total_power"`
	Commission   uint32   `json:"commission_bps"`
	CommNow      uint32   `json:"epoch_commission_bps"` // of the present epoch's rewards
	MaxComm      uint32   `json:"max_commission_bps"`
	MaxChange    uint32   `json:"max_commission_change_bps"`
	Outstanding  drops    `json:"outstanding_rewards"`
	Earned       drops    `json:"commission"`
	UptimeSigned uint32   `json:"uptime_signed"` // of uptime_blocks
	UptimeBlocks uint32   `json:"uptime_blocks"` // on which it was to vote, of the last uptime_window
	UptimeWindow uint32   `json:"uptime_window"`
	Missed       uint32   `json:"missed_blocks"` // of the window_blocks last that counted: what jails
	Window       uint32   `json:"window_blocks"`
	JailedUntil  uint64   `json:"jailed_until_epoch,omitempty"`
	Registered   uint64   `json:"registered_height"`
	Epoch        uint64   `json:"epoch"`
	Height       uint64   `json:"height"`
}

func newValidatorResult(v client.ValidatorInfo) validatorResult {
	r := validatorResult{
		Number: v.Number, Name: plain(v.Profile.Name), State: v.State.String(), Operator: v.Operator.String(),
		ConsensusKey: v.ConsensusKey.String(), Address: hex.EncodeToString(v.Address[:]), BLSKey: v.BLSKey.String(),
		Endpoints: []string{}, Stake: drops(v.Stake), SelfStake: drops(v.SelfStake), MinSelfStake: drops(v.MinSelf),
		Power: v.Power, TotalPower: v.TotalPower, Commission: v.Commission, CommNow: v.CommissionNow, MaxComm: v.MaxCommission, MaxChange: v.MaxChange,
		Outstanding: drops(v.Outstanding), Earned: drops(v.Earned), Missed: v.Missed, Window: v.Window,
		UptimeSigned: v.UptimeSigned, UptimeBlocks: v.UptimeBlocks, UptimeWindow: v.UptimeWindow,
		JailedUntil: v.JailedUntil, Registered: v.Registered, Epoch: v.Epoch, Height: v.Height,
	}
	for _, e := range v.Profile.Endpoints {
		r.Endpoints = append(r.Endpoints, plain(e))
	}
	return r
}

// plain returns text of somebody else without what could drive a terminal.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
			return unicode.ReplacementChar
		}
		return c
	}, text)
}

// share is the validator's part of the power, "-" without any.
func (r *validatorResult) share() string {
	if r.Power == 0 || r.TotalPower == 0 {
		return "-"
	}
	return share(r.Power, r.TotalPower)
}

// share is a part of a power, which is not 0.
func share(power, total uint64) string {
	return fmt.Sprintf("%.2f %%", 100*float64(power)/float64(total))
}

// signs reports whether it is to sign blocks, so that missing some counts.
func (r *validatorResult) signs() bool {
	out := r.State == client.ValidatorJailed.String() || r.State == client.ValidatorTombstoned.String()
	return r.Power != 0 && r.Window != 0 && !out
}

// missed is how many of the blocks that counted it did not sign, "-" unless it is to.
func (r *validatorResult) missed() string {
	if !r.signs() {
		return "-"
	}
	return strconv.FormatUint(uint64(r.Missed), 10)
}

// uptime is how many it signed of the last blocks on which it was to vote, "99/100",
// or "-" if it was to vote on none.
func (r *validatorResult) uptime() string {
	if r.UptimeBlocks == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", r.UptimeSigned, r.UptimeBlocks)
}

// uptimeWords is uptime with what it is about.
func (r *validatorResult) uptimeWords() string {
	switch {
	case r.UptimeWindow == 0:
		return "not known: the node has no commits yet"
	case r.UptimeBlocks == 0:
		return fmt.Sprintf("-, in the committee of none of the last %d blocks", r.UptimeWindow)
	case r.UptimeBlocks < r.UptimeWindow:
		return fmt.Sprintf("%s of the last %d blocks, it was in the committee of %d", r.uptime(), r.UptimeWindow, r.UptimeBlocks)
	default:
		return fmt.Sprintf("%s of the last blocks", r.uptime())
	}
}

// jailedUntil is the epoch from which on it may be unjailed, "-" unless it is
// jailed.
func (r *validatorResult) jailedUntil() string {
	if r.JailedUntil == 0 {
		return "-"
	}
	return "epoch " + strconv.FormatUint(r.JailedUntil, 10)
}

// percent writes basis points as per cent: "7.5".
func percent(bps uint64) string {
	text := fmt.Sprintf("%d.%02d", bps/100, bps%100)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func (r *validatorResult) fields(t *table) {
	t.field("validator", r.Number)
	t.field("name", r.Name)
	t.field("state", r.State)
	if r.JailedUntil != 0 {
		t.field("jailed until", fmt.Sprintf("epoch %d, this is %d", r.JailedUntil, r.Epoch))
	}
	t.field("operator", r.Operator)
	t.field("stake", ledger.Amount(r.Stake))
	t.field("  of it its own", ledger.Amount(r.SelfStake))
	t.field("  which it keeps above", ledger.Amount(r.MinSelfStake))
	t.field("power", fmt.Sprintf("%d of %d, %s", r.Power, r.TotalPower, r.share()))
	t.field("commission", fmt.Sprintf("%s %%, at most %s %%, by at most %s %% in an epoch", percent(uint64(r.Commission)), percent(uint64(r.MaxComm)), percent(uint64(r.MaxChange))))
	if r.CommNow != r.Commission {
		t.field("  in this epoch", percent(uint64(r.CommNow))+" %")
	}
	t.field("rewards not claimed", ledger.Amount(r.Outstanding))
	t.field("commission not claimed", ledger.Amount(r.Earned))
	t.field("uptime", r.uptimeWords())
	t.field("missed, as jailing counts", fmt.Sprintf("%s of the last %d blocks that counted", r.missed(), r.Window))
	t.field("consensus key", r.ConsensusKey)
	t.field("consensus address", r.Address)
	t.field("BLS key", r.BLSKey)
	for _, e := range r.Endpoints {
		t.field("endpoint", e)
	}
	t.field("registered at height", r.Registered)
}

func (c *cli) validatorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "validator", Short: "Register, show and run validators"}
	cmd.AddCommand(c.validatorRegisterCommand(), c.validatorEditCommand(), c.validatorListCommand(), c.validatorShowCommand(), c.validatorProofCommand(), c.validatorServeCommand(),
		c.validatorUnjailCommand(), c.validatorWatchCommand())
	return cmd
}

func (c *cli) validatorListCommand() *cobra.Command {
	var state string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the validators with their stake, power and uptime",
		Long: `List the validators with their stake, power and uptime, in the order of their
registration. UPTIME is how many it signed of those of the last 100 blocks, empty ones
included, on which it was to vote. The node reads it in the commits that it has: after
it joined by a snapshot there may be fewer. COUNTED MISSES are what jails: of the last
blocks that counted (100, unless the network's parameters say otherwise). Counted are
the blocks in which a transaction paid a fee, those of ticks, and the last two of each
epoch. Who is jailed leaves at the next epoch; in the last block of one, whose successor
is elected by then, at the one after.`,
		Args: cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			states := map[string]client.ValidatorState{
				"": 0, "active": client.ValidatorActive, "candidate": client.ValidatorCandidate, "jailed": client.ValidatorJailed,
				"tombstoned": client.ValidatorTombstoned, "understaked": client.ValidatorUnderstaked,
			}
			want, ok := states[state]
			if !ok {
				return usagef("--state is %q, want active, candidate, jailed, tombstoned or understaked", state)
			}
			rows := []validatorResult{}
			for v, err := range run.conn.Validators(run.ctx, want) {
				if err != nil {
					return err
				}
				rows = append(rows, newValidatorResult(v))
				if limit > 0 && len(rows) == limit {
					break
				}
			}
			if len(rows) == 0 {
				c.note("no such validators")
			}
			return c.print(rows, func(t *table) {
				t.row("VALIDATOR", "NAME", "STATE", "STAKE (COINS)", "OWN (COINS)", "POWER", "SHARE", "COMMISSION", "UPTIME", "COUNTED MISSES", "JAILED UNTIL")
				for i := range rows {
					r := &rows[i]
					t.row(r.Number, r.Name, r.State, ledger.Amount(r.Stake), ledger.Amount(r.SelfStake), r.Power, r.share(),
						percent(uint64(r.Commission))+" %", r.uptime(), r.missed(), r.jailedUntil())
				}
			})
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "only active, candidate, jailed, tombstoned or understaked ones")
	limitFlag(cmd, &limit)
	return cmd
}

// whichValidator is how commands name a validator.
const whichValidator = `VALIDATOR is a number, the name it gave itself, its operator's address or key, or
its consensus address.`

func (c *cli) validatorShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show VALIDATOR",
		Short: "Show a validator",
		Long:  "Show a validator.\n" + whichValidator,
		Args:  cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			v, err := run.validator(run.args[0])
			if err != nil {
				return err
			}
			r := newValidatorResult(v)
			return c.print(r, r.fields)
		}),
	}
}

// validator reads the validator that an argument names.
func (run *run) validator(who string) (client.ValidatorInfo, error) {
	if number, err := strconv.ParseUint(who, 10, 63); err == nil {
		return run.conn.Validator(run.ctx, number)
	}
	if raw, err := hex.DecodeString(who); err == nil && len(raw) == staking.AddressSize {
		return run.conn.ValidatorAt(run.ctx, staking.Address(raw))
	}
	if strings.HasPrefix(who, ledger.AddressPrefix+"1") {
		operator, err := run.conn.address(who)
		if err != nil {
			return client.ValidatorInfo{}, err
		}
		return run.conn.ValidatorOf(run.ctx, operator)
	}
	var found []client.ValidatorInfo
	for v, err := range run.conn.Validators(run.ctx, 0) {
		if err != nil {
			return client.ValidatorInfo{}, err
		}
		if v.Profile.Name == who {
			found = append(found, v)
		}
	}
	if operator, err := run.conn.address(who); err == nil {
		v, err := run.conn.ValidatorOf(run.ctx, operator)
		switch {
		case err == nil && (len(found) == 0 || len(found) == 1 && found[0].Number == v.Number):
			return v, nil
		case err == nil && !slices.ContainsFunc(found, func(f client.ValidatorInfo) bool { return f.Number == v.Number }):
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return client.ValidatorInfo{}, exitf(exitNotFound, "there is no validator %q; 'tributary validator list' shows those there are", who)
	case 1:
		return found[0], nil
	}
	// Anybody can give a validator any name, so a name that several have means none.
	numbers := make([]string, len(found))
	for i := range found {
		numbers[i] = strconv.FormatUint(found[i].Number, 10)
	}
	return client.ValidatorInfo{}, usagef("%q may be validator %s: name it by its number", who, strings.Join(numbers, " or "))
}
