package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
)

type statusResult struct {
	Node      string        `json:"node"`
	Moniker   string        `json:"moniker"`
	NodeID    string        `json:"node_id"`
	Version   string        `json:"version"`
	Network   string        `json:"network"`
	NetworkID string        `json:"network_id"`
	Started   time.Time     `json:"started"`
	Chains    []chainResult `json:"chains"` // the main chain first
	Left      int           `json:"shards_left,omitempty"`
}

type chainResult struct {
	Name         string    `json:"name"`
	State        string    `json:"state"` // ready, not ready, catching up, halted
	Reason       string    `json:"reason,omitempty"`
	Height       uint64    `json:"height"`
	BlockTime    time.Time `json:"block_time"`
	Clock        uint64    `json:"settlement_clock"`
	AppHash      string    `json:"app_hash"`
	Validator    bool      `json:"validator"`
	Peers        uint32    `json:"peers"`
	PendingTxs   uint64    `json:"pending_txs"`
	PendingBytes uint64    `json:"pending_bytes"`
	Channels     uint64    `json:"channels_ever"`

	Sync  *syncResult   `json:"sync,omitempty"`
	Shard *hostedResult `json:"shard,omitempty"`

	progress *progress
	number   uint32
}

// syncResult is how far a chain that catches up is.
type syncResult struct {
	Phase           string  `json:"phase"` // snapshot, blocks
	Height          uint64  `json:"height"`
	Target          uint64  `json:"target"`
	Chunks          uint32  `json:"chunks"`
	TotalChunks     uint32  `json:"total_chunks"`
	BlocksPerSecond float64 `json:"blocks_per_second"`
	SecondsLeft     float64 `json:"seconds_left,omitempty"`
	IdleSeconds     float64 `json:"idle_seconds"`
	Stalled         bool    `json:"stalled"`
	Hint            string  `json:"hint,omitempty"`
}

func newSyncResult(p *progress) *syncResult {
	r := &syncResult{
		Phase: "blocks", Height: p.Height, Target: p.Target, Chunks: p.Chunks, TotalChunks: p.TotalChunks,
		BlocksPerSecond: p.BlocksPerSecond, SecondsLeft: p.TimeLeft.Seconds(), IdleSeconds: p.Idle.Seconds(), Stalled: p.Stalled,
	}
	if p.Snapshot {
		r.Phase = "snapshot"
	}
	if p.Stalled {
		r.Hint = p.hint()
	}
	return r
}

func newStatusResult(conn *connection, s client.NodeStatus) statusResult {
	n := conn.Network()
	r := statusResult{
		Node: conn.Endpoint(), Moniker: s.Moniker, NodeID: s.ID, Version: s.Version,
		Network: n.Name, NetworkID: n.Domain.Network.String(), Started: s.Started,
		Left: s.ShardsLeft,
	}
	for _, ch := range s.Chains {
		c := chainResult{
			Name: ch.Name, number: uint32(ch.Chain), State: stateReady, Height: ch.Height, BlockTime: ch.BlockTime, Clock: ch.Clock, AppHash: ch.AppHash.String(),
			Validator: ch.Validator, Peers: ch.Peers, PendingTxs: ch.PendingTxs, PendingBytes: ch.PendingBytes, Channels: ch.Channels,
		}
		if ch.Sync != nil {
			c.progress = &progress{*ch.Sync, ch.Peers}
			c.Sync = newSyncResult(c.progress)
		}
		switch {
		case ch.Halted:
			c.State, c.Reason = "halted", ch.HaltReason
		case ch.CatchingUp:
			c.State, c.Reason = "catching up", strings.TrimPrefix(ch.NotReady, "catching up: ")
		case !ch.Ready:
			c.State, c.Reason = "not ready", ch.NotReady
		}
		if ch.Shard != nil {
			var state string
			if c.Shard, state = hostedOf(ch.Shard); state != "" {
				c.State = state
			}
		}
		r.Chains = append(r.Chains, c)
	}
	return r
}

// stateReady is the state of a chain that can be relied on.
const stateReady = "ready"

// stateColour is the colour of a chain's state.
func stateColour(state string) string {
	switch state {
	case stateReady:
		return green
	case "halted":
		return red
	default:
		return yellow
	}
}

const (
	// watchInterval is how often a watch asks, lineInterval how often it writes a
	// line where there is no screen to draw on.
	watchInterval = 2 * time.Second
	lineInterval  = 10 * time.Second
)

func (c *cli) statusCommand() *cobra.Command {
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a node and its chains do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.close()
			if !watch {
				return c.showStatus(cmd.Context(), conn)
			}
			lines := c.output == "table" && !terminal(c.stdout)
			if interval == 0 {
				interval = watchInterval
				if lines {
					interval = lineInterval
				}
			}
			if interval < 100*time.Millisecond {
				return usagef("--interval is %v, at least 100ms", interval)
			}
			return c.watchStatus(cmd.Context(), conn, interval, lines)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 0, "with --watch: how often (default 2s, 10s for a table that is not for a terminal)")
	return cmd
}

func (c *cli) showStatus(ctx context.Context, conn *connection) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	s, err := conn.Status(ctx)
	if err != nil {
		return c.late(ctx, conn.target, conn.target.unreachable(ctx, err))
	}
	r := newStatusResult(conn, s)
	return c.print(r, func(t *table) {
		t.line("%s at %s, version %s, up %s", r.Moniker, r.Node, r.Version, age(r.Started))
		t.line("network %s, id %s", r.Network, r.NetworkID)
		t.line("")
		t.row("CHAIN", "STATE", "HEIGHT", "LAST BLOCK", "CLOCK", "PEERS", "VALIDATOR", "PENDING", "CHANNELS")
		for _, ch := range r.Chains {
			if ch.Shard != nil {
				continue
			}
			last := "-"
			if ch.Height > 0 {
				last = age(ch.BlockTime) + " ago"
			}
			t.row(ch.Name, ch.State, ch.Height, last, ch.Clock, ch.Peers, yes(ch.Validator), ch.PendingTxs, ch.Channels)
		}
		shardRows(t, r.Chains, r.Left)
		for _, ch := range r.Chains {
			switch {
			case ch.progress == nil:
			case terminal(c.stdout):
				t.line("")
				t.line("%s", ch.progress.bar())
			default:
				t.line("")
				t.line("%s: %s", ch.Name, ch.progress)
			}
			if ch.Reason != "" {
				t.line("")
				t.line("%s: %s", c.paintOn(c.stdout, stateColour(ch.State), ch.Name+" is "+ch.State), ch.Reason)
			}
		}
	})
}

// watchStatus shows the status until ctx ends. A node that does not answer is
// part of what there is to see.
func (c *cli) watchStatus(ctx context.Context, conn *connection, interval time.Duration, lines bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	show := c.showStatus
	if lines {
		show = c.statusLine
	}
	for {
		if c.output == "table" && !lines {
			fmt.Fprint(c.stdout, "\x1b[H\x1b[2J")
		}
		if err := show(ctx, conn); err != nil && ctx.Err() == nil {
			c.note("%v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusLine writes a line for each chain.
func (c *cli) statusLine(ctx context.Context, conn *connection) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	s, err := conn.Status(ctx)
	if err != nil {
		return c.late(ctx, conn.target, conn.target.unreachable(ctx, err))
	}
	r := newStatusResult(conn, s)
	for i := range r.Chains {
		ch := &r.Chains[i]
		text := fmt.Sprintf("%s is %s at height %d, %s", ch.Name, ch.State, ch.Height, plural(int(ch.Peers), "peer"))
		switch {
		case ch.progress != nil:
			text = fmt.Sprintf("%s is %s: %s", ch.Name, ch.State, ch.progress)
		case ch.Reason != "":
			text += ": " + ch.Reason
		}
		fmt.Fprintln(c.stdout, text)
	}
	return nil
}

// limit bounds a call by --timeout.
func (c *cli) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.timeout)
}

// close ends the connection; there is nothing to do about an error.
func (c *connection) close() { _ = c.Close() }

func age(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
