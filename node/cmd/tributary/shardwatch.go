package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
)

// blockResult is a block of a shard, or only up to where it is anchored: Height is 0 then.
type blockResult struct {
	Height       uint64      `json:"height,omitempty"`
	Time         *time.Time  `json:"time,omitempty"`
	Epoch        uint64      `json:"epoch,omitempty"`
	Transactions uint32      `json:"transactions"`
	Bookings     uint32      `json:"bookings"`
	Booked       *sumsResult `json:"booked,omitempty"`
	Outbox       uint32      `json:"outbox"`
	Imports      uint32      `json:"imports"`
	GapFrom      uint64      `json:"gap_from,omitempty"`
	GapTo        uint64      `json:"gap_to,omitempty"`
	Head         uint64      `json:"head"`
	Anchored     uint64      `json:"anchored"`
	Generation   uint32      `json:"generation"`
	Level        uint32      `json:"level_bps"`
}

func newBlockResult(b *client.ShardBlock) blockResult {
	r := blockResult{
		Height: b.Height, Epoch: b.Epoch, Transactions: b.Transactions, Bookings: b.Bookings, Outbox: b.Outbox, Imports: b.Imports,
		GapFrom: b.GapFrom, GapTo: b.GapTo, Head: b.Head, Anchored: b.Anchored, Generation: b.Generation, Level: uint32(b.Level),
	}
	if b.Height != 0 {
		at, sums := b.Time, newSums(b.Booked)
		r.Time, r.Booked = &at, &sums
	}
	return r
}

// printStep writes a line for a block, or for an anchor.
func (c *cli) printStep(b *client.ShardBlock) (err error) {
	switch {
	case c.output == "json":
		return writeJSON(c.stdout, newBlockResult(b))
	case b.Height == 0:
		_, err = fmt.Fprintf(c.stdout, "%-53s %-9d %s\n", "", b.Anchored, bar(b.Level))
	default:
		_, err = fmt.Fprintf(c.stdout, "%-8d %-8d %-9d %-6d %-9d %-7d %-9d %s\n", b.Height, b.Epoch, b.Bookings, b.Transactions, b.Imports, b.Outbox, b.Anchored, bar(b.Level))
	}
	return err
}

func (c *cli) shardWatchCommand() *cobra.Command {
	var from uint64
	cmd := &cobra.Command{
		Use:   "watch SHARD",
		Short: "Show the blocks of a shard as they come, and up to where they are anchored",
		Long: `Show the blocks of a shard as they come, and up to where they are anchored, until it is
interrupted. It comes back when the connection breaks or the shard begins again. The node
that is asked must run the shard: 'tributary route locate' shows which nodes do.`,
		Args: first(cobra.ExactArgs(1), parseShard),
		RunE: c.lasting(func(run *run) error {
			id, err := run.shardID()
			if err != nil {
				return err
			}
			last := ^uint64(0)
			if c.output != "json" {
				fmt.Fprintf(c.stdout, "%-8s %-8s %-9s %-6s %-9s %-7s %-9s %s\n", "HEIGHT", "EPOCH", "BOOKINGS", "TXS", "IMPORTS", "OUTBOX", "ANCHORED", "LEVEL")
			}
			err = run.conn.WatchShard(run.ctx, id, from, func(b *client.ShardBlock) error {
				if b.Height == 0 && b.Anchored == last {
					return nil
				}
				last = b.Anchored
				return c.printStep(b)
			})
			if run.ctx.Err() != nil {
				return nil //nolint:nilerr // it ended because it was told to
			}
			return shardProblem(err, id)
		}),
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first height to show (default: the next one)")
	return cmd
}
