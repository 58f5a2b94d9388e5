package main

import (
	"context"
	"fmt"
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
	Chains    []chainResult `json:"chains"`
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
}

func newStatusResult(conn *connection, s client.NodeStatus) statusResult {
	n := conn.Network()
	r := statusResult{
		Node: conn.Endpoint(), Moniker: s.Moniker, NodeID: s.ID, Version: s.Version,
		Network: n.Name, NetworkID: n.Domain.Network.String(), Started: s.Started,
	}
	for _, ch := range s.Chains {
		c := chainResult{
			Name: ch.Name, State: "ready", Height: ch.Height, BlockTime: ch.BlockTime, Clock: ch.Clock, AppHash: ch.AppHash.String(),
			Validator: ch.Validator, Peers: ch.Peers, PendingTxs: ch.PendingTxs, PendingBytes: ch.PendingBytes, Channels: ch.Channels,
		}
		switch {
		case ch.Halted:
			c.State, c.Reason = "halted", ch.HaltReason
		case ch.CatchingUp:
			c.State, c.Reason = "catching up", ch.NotReady
		case !ch.Ready:
			c.State, c.Reason = "not ready", ch.NotReady
		}
		r.Chains = append(r.Chains, c)
	}
	return r
}

// stateColour is the colour of a chain's state.
func stateColour(state string) string {
	switch state {
	case "ready":
		return green
	case "halted":
		return red
	default:
		return yellow
	}
}

func (c *cli) statusCommand() *cobra.Command {
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a node and its chains do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.close()
			if !watch {
				return c.showStatus(cmd.Context(), conn)
			}
			if interval < 100*time.Millisecond {
				return usagef("--interval is %v, at least 100ms", interval)
			}
			return c.watchStatus(cmd.Context(), conn, interval)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "with --watch: how often")
	return cmd
}

func (c *cli) showStatus(ctx context.Context, conn *connection) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	s, err := conn.Status(ctx)
	if err != nil {
		return unreachable(conn.Endpoint(), err)
	}
	r := newStatusResult(conn, s)
	return c.print(r, func(t *table) {
		t.line("%s at %s, version %s, up %s", r.Moniker, r.Node, r.Version, age(r.Started))
		t.line("network %s, id %s", r.Network, r.NetworkID)
		t.line("")
		t.row("CHAIN", "STATE", "HEIGHT", "LAST BLOCK", "CLOCK", "PEERS", "VALIDATOR", "PENDING", "CHANNELS")
		for _, ch := range r.Chains {
			last := "-"
			if ch.Height > 0 {
				last = age(ch.BlockTime) + " ago"
			}
			t.row(ch.Name, ch.State, ch.Height, last, ch.Clock, ch.Peers, yes(ch.Validator), ch.PendingTxs, ch.Channels)
		}
		for _, ch := range r.Chains {
			if ch.Reason != "" {
				t.line("")
				t.line("%s: %s", c.paintOn(c.stdout, stateColour(ch.State), ch.Name+" is "+ch.State), ch.Reason)
			}
		}
	})
}

// watchStatus shows the status until ctx ends. A node that does not answer is
// part of what there is to see.
func (c *cli) watchStatus(ctx context.Context, conn *connection, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if c.output == "table" && terminal(c.stdout) {
			fmt.Fprint(c.stdout, "\x1b[H\x1b[2J")
		}
		if err := c.showStatus(ctx, conn); err != nil && ctx.Err() == nil {
			c.note("%v", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
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
