package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
)

// percentFlag is a flag that holds a percentage, in basis points.
type percentFlag struct {
	bps   uint32
	given bool
}

// String implements pflag.Value.
func (p *percentFlag) String() string {
	if p.bps == 0 && !p.given {
		return ""
	}
	return percent(uint64(p.bps))
}

// Set implements pflag.Value.
func (p *percentFlag) Set(text string) error {
	whole, fraction, point := strings.Cut(strings.TrimSuffix(strings.TrimSpace(text), "%"), ".")
	whole, fraction = strings.TrimSpace(whole), strings.TrimSpace(fraction)
	w, err := strconv.ParseUint(whole, 10, 16)
	bad := fmt.Errorf("%q is no percentage from 0 to 100 with at most two decimals", text)
	if err != nil || point && (fraction == "" || len(fraction) > 2) || w > 100 {
		return bad
	}
	f, err := strconv.ParseUint((fraction + "00")[:2], 10, 8)
	if err != nil || w == 100 && f > 0 {
		return bad
	}
	p.bps, p.given = uint32(w*100+f), true //nolint:gosec // at most 10,000
	return nil
}

// Type implements pflag.Value.
func (p *percentFlag) Type() string { return "percent" }

// registration are the flags of a registration.
type registration struct {
	from                           string
	name                           string
	endpoints                      []string
	stake, minSelf                 amountFlag
	commission, maxComm, maxChange percentFlag
	consensusKey, blsKey, blsProof string
	how                            submitHow
}

// Defaults of a registration, in basis points.
const (
	defaultCommission    = 500
	defaultMaxCommission = 2_000
	defaultMaxChange     = 100
)

func (c *cli) validatorRegisterCommand() *cobra.Command {
	reg := registration{
		commission: percentFlag{bps: defaultCommission}, maxComm: percentFlag{bps: defaultMaxCommission}, maxChange: percentFlag{bps: defaultMaxChange},
	}
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Register the home directory's node as a validator",
		Long: `Register the home directory's node as a validator, with a stake of its operator,
who signs. Its keys come from the home directory; if its consensus key lies with a
remote signer, or the node runs elsewhere, they are named with --consensus-key,
--bls-key and --bls-proof, which 'tributary validator proof' shows.

It votes from the first epoch on that elects it. Its keys, --max-commission and
--max-commission-change can never be changed.`,
		Example: "  tributary validator register --from alice --stake 1000 --commission 5",
		Args:    cobra.NoArgs,
		RunE:    c.connected(func(run *run) error { return run.register(reg) }),
	}
	c.signing(cmd, &reg.from)
	flags := cmd.Flags()
	flags.StringVar(&reg.name, "name", "", "name of the validator (default the node's)")
	flags.StringArrayVar(&reg.endpoints, "endpoint", nil, "where its node or API can be reached, host:port; up to 4")
	flags.Var(&reg.stake, "stake", "what the operator stakes, in coins, or drops (\"500drops\")")
	flags.Var(&reg.minSelf, "min-self-stake", "what the operator promises to keep staked (default the network's least)")
	flags.Var(&reg.commission, "commission", "part of the rewards that the operator keeps, in per cent")
	flags.Var(&reg.maxComm, "max-commission", "the most it may ever become, in per cent")
	flags.Var(&reg.maxChange, "max-commission-change", "the most it may change in an epoch, in per cent")
	flags.StringVar(&reg.consensusKey, "consensus-key", "", "consensus key, 64 hexadecimal digits (default the home's)")
	flags.StringVar(&reg.blsKey, "bls-key", "", "BLS key, 192 hexadecimal digits (default the home's)")
	flags.StringVar(&reg.blsProof, "bls-proof", "", "what 'tributary validator proof' made for the signer, 96 hexadecimal digits")
	reg.how.flags(cmd)
	return cmd
}

func (run *run) register(reg registration) error {
	if !reg.stake.given {
		return usagef("how much does the operator stake? say it with --stake")
	}
	if (reg.blsKey == "") != (reg.blsProof == "") {
		return usagef("give both --bls-key and --bls-proof, or neither for those of the home directory")
	}
	rules := run.conn.Params().Staking
	m := staking.Register{
		Profile:    staking.Profile{Name: reg.name, Endpoints: reg.endpoints},
		Commission: reg.commission.bps, MaxCommission: reg.maxComm.bps, MaxChange: reg.maxChange.bps,
		MinSelf: rules.MinSelfStake, SelfStake: reg.stake.value,
	}
	if reg.minSelf.given {
		m.MinSelf = reg.minSelf.value
	}
	switch least := max(m.MinSelf, rules.MinSelfStake); {
	case m.Commission > m.MaxCommission:
		return usagef("--commission is %s %%, above --max-commission, which is %s %%", percent(uint64(m.Commission)), percent(uint64(m.MaxCommission)))
	case m.SelfStake < least:
		return usagef("--stake is %s, at least %s", coins(m.SelfStake), coins(least))
	}
	if err := run.keysOf(reg, &m); err != nil {
		return err
	}
	if err := checkName(m.Name); err != nil {
		return err
	}
	if err := checkEndpoints(m.Endpoints); err != nil {
		return err
	}
	if _, err := staking.DecodeRegister(m.Encode()); err != nil {
		return usagef("%w", err)
	}
	if m.SelfStake < rules.MinStake {
		run.conn.cli.note("it stands for election once %s are staked in all", coins(rules.MinStake))
	}
	return run.submit(reg.from, chain.KindRegisterValidator, m.Encode(), reg.how)
}

// keysOf fills in the keys, the proof, and the name if there is none, from the
// flags or the home directory.
func (run *run) keysOf(reg registration, m *staking.Register) error {
	for _, f := range []struct {
		name, text string
		into       []byte
	}{
		{"--consensus-key", reg.consensusKey, m.ConsensusKey[:]}, {"--bls-key", reg.blsKey, m.BLSKey[:]}, {"--bls-proof", reg.blsProof, m.Proof[:]},
	} {
		raw, err := hex.DecodeString(f.text)
		if f.text != "" && (err != nil || len(raw) != len(f.into)) {
			return usagef("%s is not %d hexadecimal digits", f.name, 2*len(f.into))
		}
		copy(f.into, raw)
	}
	dir, err := run.conn.cli.homeDir()
	if err != nil {
		return err
	}
	if m.Name == "" {
		settings, err := config.Load(string(dir), nil, nil)
		if err != nil {
			return usagef("what is it called? name the validator with --name, or its node's home with --home (%w)", err)
		}
		m.Name = settings.Node.Moniker
	}
	if reg.from == "" {
		return usagef("whose key signs? name it with --from")
	}
	operator, err := run.conn.address(reg.from)
	if err != nil {
		return err
	}
	if reg.consensusKey != "" && reg.blsKey != "" {
		return run.checkProof(operator, m)
	}
	id, err := node.LoadIdentity(dir)
	if err != nil {
		return fmt.Errorf("read the validator's keys: %w; name its home with --home, or its keys with --consensus-key, --bls-key and --bls-proof", err)
	}
	if m.ConsensusKey, err = run.conn.cli.consensusKey(dir, &id, reg.consensusKey); err != nil {
		return err
	}
	if reg.blsKey != "" {
		return run.checkProof(operator, m)
	}
	m.BLSKey, m.Proof = id.BLSKey, id.Prove(run.conn.Domain().Network, operator, m.ConsensusKey)
	return nil
}

// checkProof refuses a proof that does not hold, which would cost a fee.
func (run *run) checkProof(operator ledger.Address, m *staking.Register) error {
	key, err := bls.ParseKey(m.BLSKey)
	if err != nil {
		return usagef("--bls-key: %w", err)
	}
	network := run.conn.Domain().Network
	if !staking.Proves(key, network, operator, m.ConsensusKey, m.Proof) {
		return usagef("--bls-proof does not prove that the owner of --bls-key registers it by %s, beside consensus key %s, on network %s: "+
			"make it with 'tributary validator proof --operator %s' on the validator's machine", operator, m.ConsensusKey, network, operator)
	}
	return nil
}

func (c *cli) validatorEditCommand() *cobra.Command {
	var from, name string
	var endpoints []string
	var commission percentFlag
	var minSelf amountFlag
	var how submitHow
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "edit [VALIDATOR]",
		Short: "Change a validator's name, endpoints, commission or least self-stake",
		Long: `Change a validator's name, endpoints, commission or least self-stake; what is not
given stays. The default is the validator that the key operates. The commission
changes once in an epoch, by no more than the validator's own maximum, and for the
epochs after it: who delegates can leave before it costs anything. The least
self-stake never falls.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			renamed := cmd.Flags().Changed("name")
			if !renamed && endpoints == nil && !commission.given && !minSelf.given {
				return usagef("change what? give --name, --endpoint, --commission or --min-self-stake")
			}
			v, err := run.operated(from)
			if err != nil {
				return err
			}
			m := staking.Edit{Validator: v.Number, Profile: v.Profile, Commission: v.Commission, MinSelf: v.MinSelf}
			if renamed {
				if err := checkName(name); err != nil {
					return err
				}
				m.Name = name
			}
			if endpoints != nil {
				m.Endpoints = slices.DeleteFunc(endpoints, func(e string) bool { return e == "" })
				if err := checkEndpoints(m.Endpoints); err != nil {
					return err
				}
			}
			if commission.given {
				m.Commission = commission.bps
			}
			if minSelf.given {
				if err := checkMinSelf(minSelf.value, &v); err != nil {
					return err
				}
				m.MinSelf = minSelf.value
			}
			if _, err := staking.DecodeEdit(m.Encode()); err != nil {
				return usagef("%w", err)
			}
			return run.submit(from, chain.KindEditValidator, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "the new name")
	flags.StringArrayVar(&endpoints, "endpoint", nil, "the new endpoints, up to 4; \"\" for none")
	flags.Var(&commission, "commission", "the new commission, in per cent")
	flags.Var(&minSelf, "min-self-stake", "what the operator promises to keep staked")
	how.flags(cmd)
	return cmd
}

// checkMinSelf refuses a least self-stake that v's operator may not or cannot keep.
func checkMinSelf(least ledger.Amount, v *client.ValidatorInfo) error {
	switch {
	case least < v.MinSelf:
		return usagef("--min-self-stake is %s, below the %s of before; it never falls", coins(least), coins(v.MinSelf))
	case least > v.MinSelf && least > v.SelfStake:
		return usagef("--min-self-stake is %s, above what the operator stakes, %s, and validator %d would not be elected any more: stake more first", coins(least), coins(v.SelfStake), v.Number)
	}
	return nil
}

// operated reads the validator that the argument names, or that the key called from
// operates.
func (run *run) operated(from string) (client.ValidatorInfo, error) {
	if len(run.args) == 1 {
		return run.validator(run.args[0])
	}
	account, err := run.conn.account(from)
	if err != nil {
		return client.ValidatorInfo{}, err
	}
	v, err := run.conn.ValidatorOf(run.ctx, account.Address())
	if code, _ := chain.CodeOf(err); code == chain.CodeValidatorNotFound {
		return client.ValidatorInfo{}, exitf(exitNotFound, "%s operates no validator; 'tributary validator list' shows those there are", from)
	}
	return v, err
}

func (c *cli) validatorUnjailCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "unjail [VALIDATOR]",
		Short: "Let a jailed validator stand for the next election; only its operator may",
		Long: `Let a validator that was jailed for missing blocks stand for the next election.
Only its operator may, once its time in jail is over. The default is the validator
that the key operates.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			v, err := run.operated(from)
			if err != nil {
				return err
			}
			if v.State == client.ValidatorJailed && v.Epoch < v.JailedUntil {
				return fmt.Errorf("validator %d is jailed until epoch %d, and this is epoch %d", v.Number, v.JailedUntil, v.Epoch)
			}
			m := staking.Unjail{Validator: v.Number}
			return run.submit(from, chain.KindUnjail, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}
