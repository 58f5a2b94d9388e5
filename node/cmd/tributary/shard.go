package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// shownMembers is how many members a line of 'shard map' names.
const shownMembers = 8

func (c *cli) shardCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "shard", Short: "Show the shards of services, how they do, and who serves them"}
	cmd.AddCommand(c.shardMapCommand(), c.shardShowCommand(), c.shardStatusCommand(), c.shardTraceCommand(), c.shardEventsCommand(), c.shardWatchCommand(),
		c.reshardCommand(shard.Split, "split SHARD", "Ask for a shard to be split", `Ask for a shard to be split into two halves of its buckets. Only the owner of the
service may, once something of the shard is anchored. What is asked for is planned at
the end of the epoch, and holds one epoch later.`),
		c.reshardCommand(shard.Merge, "merge SHARD", "Ask for a shard to be merged with its sibling", `Ask for a shard to be merged with its sibling, the shard with the other half of the
buckets that both come from. Only the owner of the service may, once something of both
is anchored, and it has to ask for both in the same epoch.`))
	return cmd
}

type shardMember struct {
	Validator uint64 `json:"validator"`
	Power     uint64 `json:"power"`
}

// shardResult is what is shown of a shard.
type shardResult struct {
	ID         uint32        `json:"id"`
	Service    uint32        `json:"service"`
	Zone       byte          `json:"zone"`
	Buckets    string        `json:"buckets"` // in hexadecimal: 00-7f
	Since      uint64        `json:"since_epoch"`
	Parents    []uint32      `json:"parents,omitempty"`
	Members    []shardMember `json:"members"`
	TotalPower uint64        `json:"total_power"`
	Kept       bool          `json:"kept"`
	Epoch      uint64        `json:"epoch"`
	Height     uint64        `json:"height"`
	// Of 'shard map': the last height that is anchored, how the shard does as its anchors
	// show, and how congested it is in basis points, if anybody said so.
	Anchored uint64  `json:"anchored_height,omitempty"`
	State    string  `json:"state,omitempty"`
	Level    *uint16 `json:"level_bps,omitempty"`
	// Of 'shard show': whether a draw on this machine gives the same, the seed, and how
	// many candidates there were.
	Recomputed bool         `json:"recomputed,omitempty"`
	Redrawn    bool         `json:"redrawn,omitempty"` // after missed anchors
	Round      uint32       `json:"round,omitempty"`   // of that, in this epoch
	Difference string       `json:"difference,omitempty"`
	Seed       *ledger.Hash `json:"seed,omitempty"`
	Candidates int          `json:"candidates,omitempty"`
}

func newShardResult(s *client.ShardInfo) shardResult {
	r := shardResult{
		ID: uint32(s.ID), Service: s.Service, Zone: s.Zone, Buckets: s.Buckets.String(), Since: s.Since, Members: []shardMember{},
		TotalPower: s.TotalPower, Kept: s.Kept, Epoch: s.Epoch, Height: s.Height,
		Anchored: s.Anchoring.Height, State: string(s.Anchoring.Status),
	}
	if s.Level != nil {
		r.Level = new(uint16(*s.Level))
	}
	for _, p := range s.Parents {
		r.Parents = append(r.Parents, uint32(p))
	}
	for _, m := range s.Members {
		r.Members = append(r.Members, shardMember(m))
	}
	return r
}

// validators names the first members.
func (r *shardResult) validators() string {
	var list []uint64
	for _, m := range r.Members[:min(len(r.Members), shownMembers)] {
		list = append(list, m.Validator)
	}
	text := strings.Join(numbers(list), ",")
	if more := len(r.Members) - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// epochFlag is a flag that names the present or the next epoch.
type epochFlag struct{ text string }

func (f *epochFlag) flag(cmd *cobra.Command) {
	f.text = "present"
	cmd.Flags().Var(f, "epoch", "present, next, or the number of one of them")
}

// Set implements pflag.Value.
func (f *epochFlag) Set(text string) error {
	if _, err := strconv.ParseUint(text, 10, 63); err != nil && text != "present" && text != "next" {
		return errors.New("want present, next or a number")
	}
	f.text = text
	return nil
}

// String implements pflag.Value.
func (f *epochFlag) String() string { return f.text }

// Type implements pflag.Value.
func (*epochFlag) Type() string { return "string" }

// epoch returns what to ask for: nil is the present one.
func (f *epochFlag) epoch(run *run) (*uint64, error) {
	if f.text == "present" {
		return nil, nil //nolint:nilnil // the present one has no number here
	}
	if f.text == "next" {
		s, err := run.conn.StakingStatus(run.ctx)
		next := s.Epoch + 1
		return &next, err
	}
	n, err := strconv.ParseUint(f.text, 10, 63)
	return &n, err
}

func (c *cli) shardMapCommand() *cobra.Command {
	var at epochFlag
	cmd := &cobra.Command{
		Use:   "map [SERVICE]",
		Short: "Show the shards of all services, or of one, how they do, and who serves them",
		Long: `Show the map of shards of an epoch: which shard of which service and zone keeps
which buckets, which validators serve it, up to which height it is anchored on the main
chain, and how congested it is. Zone and bucket are the first two bytes of an account's
address.

A shard is live while its anchors come, late when some are missing, and stalled when it
is about to get another committee. One that is congested above 25 % takes no new
bookings until it has worked off what waits.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			epoch, err := at.epoch(run)
			if err != nil {
				return err
			}
			name := ""
			if len(run.args) > 0 {
				if _, err := run.service(run.args[0]); err != nil {
					return err
				}
				name = run.args[0]
			}
			list := []shardResult{}
			for s, err := range run.conn.Shards(run.ctx, name, epoch) {
				if err != nil {
					return err
				}
				list = append(list, newShardResult(&s))
			}
			if at.text == "present" {
				if err := run.levels(name, list); err != nil {
					return err
				}
			}
			return c.print(list, func(t *table) {
				t.row("SHARD", "SERVICE", "ZONE", "BUCKETS", "SINCE", "ANCHORED", "STATE", "LEVEL", "MEMBERS", "VALIDATORS")
				for i := range list {
					r := &list[i]
					t.row(r.ID, r.Service, r.Zone, r.Buckets, r.Since, r.Anchored, r.State, r.bar(), len(r.Members), r.validators())
				}
			})
		}),
	}
	at.flag(cmd)
	return cmd
}

// shardID reads the argument that names a shard.
func (run *run) shardID() (shard.ID, error) { return parseShard(run.args[0]) }

func parseShard(text string) (shard.ID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < uint64(shard.FirstID) || n > uint64(shard.MaxID) {
		return 0, usagef("%q is not the id of a shard, a number from %d; 'tributary shard map' shows those there are", text, shard.FirstID)
	}
	return shard.ID(n), nil //nolint:gosec // of 32 bits
}

// first is the arguments of a command, whose first one parse reads: what is none is refused
// before a node is asked.
func first[T any](count cobra.PositionalArgs, parse func(string) (T, error)) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := count(cmd, args); err != nil || len(args) == 0 {
			return err
		}
		_, err := parse(args[0])
		return err
	}
}

func (c *cli) shardShowCommand() *cobra.Command {
	var at epochFlag
	cmd := &cobra.Command{
		Use:   "show SHARD",
		Short: "Show who serves a shard, and draw its committee anew",
		Long: `Show who serves a shard in the present or the next epoch, draw its committee anew on
this machine, and compare. If they differ it ends with 1.

What goes into the draw comes from the node: the seed, which is that of the election of
the same epoch ('committee recompute' derives it from the seals of blocks), the map,
the candidates of the service, and who served the shard before.`,
		Args: first(cobra.ExactArgs(1), parseShard),
		RunE: c.connected(func(run *run) error {
			id, err := run.shardID()
			if err != nil {
				return err
			}
			epoch, err := at.epoch(run)
			if err != nil {
				return err
			}
			d, err := run.conn.Shard(run.ctx, id, epoch)
			if code, _ := chain.CodeOf(err); code == chain.CodeUnknownShard {
				return exitf(exitNotFound, "there is no shard %d in that epoch; 'tributary shard map' shows those there are", id)
			}
			if err != nil {
				return err
			}
			r := newShardResult(&d.ShardInfo)
			r.Seed = &d.Inputs.Seed
			for i := range d.Inputs.Pools {
				r.Candidates += len(d.Inputs.Pools[i].Candidates)
			}
			wrong := d.Check()
			if r.Recomputed = wrong == nil; wrong != nil {
				r.Difference = wrong.Error()
			}
			earlier := errors.Is(wrong, client.ErrRedrawn)
			if r.Redrawn = earlier || d.Redraw != nil; d.Redraw != nil {
				r.Round = d.Redraw.Round
			}
			if err := c.print(r, r.fields); err != nil || wrong == nil || earlier {
				return err
			}
			return exitf(exitError, "shard %d is not served by those who are drawn from public data: %s", id, r.Difference)
		}),
	}
	at.flag(cmd)
	return cmd
}

func (r *shardResult) fields(t *table) {
	t.field("shard", r.ID)
	t.field("service", r.Service)
	t.field("zone", r.Zone)
	t.field("buckets", r.Buckets)
	t.field("epoch", r.Epoch)
	t.field("serves since", fmt.Sprintf("epoch %d", r.Since))
	t.field("seed", r.Seed)
	t.field("candidates", r.Candidates)
	switch {
	case !r.Recomputed && r.Redrawn && r.Round == 0:
		t.field("drawn anew", "not comparable: "+r.Difference)
	case !r.Recomputed:
		t.field("drawn anew", "DIFFERENT")
	case r.Redrawn:
		t.field("drawn anew", fmt.Sprintf("equal, by the lots of round %d after missed anchors", r.Round))
	case r.Kept:
		t.field("drawn anew", "equal: nobody could be drawn, and who served before stays")
	default:
		t.field("drawn anew", "equal")
	}
	t.line("")
	t.row("VALIDATOR", "POWER", "SHARE")
	for _, m := range r.Members {
		t.row(m.Validator, m.Power, fmt.Sprintf("%.2f %%", 100*float64(m.Power)/float64(r.TotalPower)))
	}
}

func (c *cli) reshardCommand(kind shard.Kind, use, short, long string) *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: first(cobra.ExactArgs(1), parseShard),
		RunE: c.connected(func(run *run) error {
			id, err := run.shardID()
			if err != nil {
				return err
			}
			m := registry.Reshard{Request: shard.Request{Kind: kind, Shard: id}}
			return run.submit(from, chain.KindReshard, m.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

func (c *cli) validatorServeCommand() *cobra.Command {
	var from string
	var stop bool
	var how submitHow
	cmd := &cobra.Command{
		Use:   "serve SERVICE",
		Short: "Say that a validator serves a service, or with --stop that it does not any more",
		Long: `Say that the validator that the key operates serves a service, named by its name or
id, or with --stop that it does not any more. The end of the epoch draws who serves the
service's shards in the epoch after the next one; members change by a fifth at most.
'shard map' shows who serves what.`,
		Example: "  tributary validator serve content --from validator1",
		Args:    cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			s, err := run.service(run.args[0])
			if err != nil {
				return err
			}
			m := registry.Serve{Service: s.ID, On: !stop}
			err = run.submit(from, chain.KindServe, m.Encode(), how)
			switch {
			case errors.Is(err, chain.CodeStale.Err()):
				return fmt.Errorf("%w; 'tributary service show %s' shows who serves it", err, s.Name)
			case errors.Is(err, chain.CodeNotOperator.Err()):
				return fmt.Errorf("%w; --from names the operator of a validator, and 'tributary validator list' shows those there are", err)
			}
			if err == nil && !how.dryRun {
				run.conn.cli.note("it counts for epoch %d at the earliest; 'tributary shard map %s --epoch next' shows who is drawn", s.Epoch+shard.Notice, s.Name)
			}
			return err
		}),
	}
	c.signing(cmd, &from)
	cmd.Flags().BoolVar(&stop, "stop", false, "it does not serve the service any more")
	how.flags(cmd)
	return cmd
}
