package main

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

func (c *cli) committeeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "committee", Short: "Show who votes in an epoch, and compute it anew"}
	cmd.AddCommand(c.committeeShowCommand(), c.committeeRecomputeCommand())
	return cmd
}

// memberResult is what is shown of a member of a committee.
type memberResult struct {
	Validator    uint64 `json:"validator"`
	Power        uint64 `json:"power"`
	Address      string `json:"consensus_address"`
	ConsensusKey string `json:"consensus_key"`
	BLSKey       string `json:"bls_key"`
}

type committeeResult struct {
	Epoch      uint64         `json:"epoch"`
	Hash       ledger.Hash    `json:"hash"`
	Members    []memberResult `json:"members"`
	TotalPower uint64         `json:"total_power"`
	Quorum     uint64         `json:"quorum"`
	Seed       ledger.Hash    `json:"seed"`
	Candidates ledger.Hash    `json:"candidates_hash"`
}

func newCommitteeResult(r *committee.Record) committeeResult {
	com := &r.Committee
	out := committeeResult{
		Epoch: com.Epoch, Hash: com.Hash(), Members: []memberResult{}, TotalPower: com.TotalPower(), Quorum: com.Quorum(),
		Seed: r.Seed, Candidates: r.Candidates,
	}
	for i := range com.Members {
		m := &com.Members[i]
		address := m.Address()
		out.Members = append(out.Members, memberResult{
			m.Validator, m.Power, hex.EncodeToString(address[:]), hex.EncodeToString(m.ConsensusKey[:]), m.BLSKey.String(),
		})
	}
	return out
}

func (r *committeeResult) fields(t *table) {
	t.field("epoch", r.Epoch)
	t.field("committee", r.Hash)
	t.field("power", fmt.Sprintf("%d, of which %d certify", r.TotalPower, r.Quorum))
	t.field("seed", r.Seed)
	t.line("")
	t.row("BIT", "VALIDATOR", "POWER", "SHARE", "CONSENSUS ADDRESS")
	for i, m := range r.Members {
		t.row(i, m.Validator, m.Power, fmt.Sprintf("%.2f %%", 100*float64(m.Power)/float64(r.TotalPower)), m.Address)
	}
}

// epoch reads the argument of a command about a committee: an epoch, "latest" for the
// one that was elected last, or nothing for the present one.
func (run *run) epoch() (uint64, error) {
	if len(run.args) == 0 {
		s, err := run.conn.StakingStatus(run.ctx)
		if err == nil && !s.Enabled {
			return 0, exitf(exitNotFound, "this network has no staking: its validators are fixed by its genesis")
		}
		return s.Epoch, err
	}
	if run.args[0] == latest {
		info, err := run.conn.LatestCommittee(run.ctx)
		return info.Record.Committee.Epoch, err
	}
	epoch, err := strconv.ParseUint(run.args[0], 10, 63)
	if err != nil {
		return 0, usagef("%q is not an epoch from 0, nor %q", run.args[0], latest)
	}
	return epoch, nil
}

func (c *cli) committeeShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [EPOCH|latest]",
		Short: "Show the committee of an epoch, the present one without EPOCH",
		Long: `Show the committee of an epoch, the present one without EPOCH. "latest" is the one
that was elected last: from the last block but one of an epoch on, that of the next.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			epoch, err := run.epoch()
			if err != nil {
				return err
			}
			info, err := run.conn.Committee(run.ctx, epoch)
			if err != nil {
				return err
			}
			r := newCommitteeResult(&info.Record)
			return c.print(r, r.fields)
		}),
	}
}
