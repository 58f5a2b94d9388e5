package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

func (c *cli) testnetStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the nodes of the network do",
		Long:  "Show how the nodes of the network do. It ends with 5 if one is down.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			r, err := testnet.Find(dir)
			if err != nil {
				return err
			}
			return c.printNodes(cmd.Context(), dir, r)
		},
	}
	return cmd
}

type nodeResult struct {
	testnet.Node

	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Height uint64 `json:"height"`
	Peers  uint32 `json:"peers"`
	// Shards are how those do that the node runs, ascending.
	Shards []chainResult `json:"shards"`
}

// shards says how many of the node's shards are ready.
func (n *nodeResult) shards() string {
	if len(n.Shards) == 0 {
		return ""
	}
	ready := 0
	for i := range n.Shards {
		if n.Shards[i].State == stateReady {
			ready++
		}
	}
	return fmt.Sprintf("%d of %d ready", ready, len(n.Shards))
}

// shardTable shows each shard, as the nodes that run it see it.
func shardTable(t *table, nodes []nodeResult) {
	byName := map[string][]*chainResult{}
	var ids []uint32
	for i := range nodes {
		for j := range nodes[i].Shards {
			s := &nodes[i].Shards[j]
			if byName[s.Name] == nil {
				ids = append(ids, s.number)
			}
			byName[s.Name] = append(byName[s.Name], s)
		}
	}
	slices.Sort(ids)
	for i, id := range ids {
		if i == 0 {
			t.line("")
			t.row("SHARD", "SERVICE", "ZONE", "BUCKETS", "READY ON", "HEIGHT", "ANCHORED", "COMMITTEE", "LEVEL")
		}
		list := byName[fmt.Sprintf("s%d", id)]
		ready, best := 0, list[0]
		for _, s := range list {
			if s.State == stateReady {
				ready++
			}
			if s.Height > best.Height || best.Shard.Service == 0 && s.Shard.Service != 0 {
				best = s
			}
		}
		h := best.Shard
		if h.Service == 0 { // drawn for an epoch to come, and not founded yet
			t.row(best.Name, "-", "-", "-", fmt.Sprintf("%d of %d", ready, len(list)), "-", "-", h.Committee, "-")
			continue
		}
		t.row(best.Name, h.Service, h.Zone, fmt.Sprintf("%d-%d", h.First, h.Last), fmt.Sprintf("%d of %d", ready, len(list)),
			best.Height, h.Anchored, h.Committee, percent(uint64(h.LevelBps)))
	}
}

func (c *cli) printNodes(ctx context.Context, dir string, r testnet.Running) error {
	result := struct {
		Network   string       `json:"network"`
		NetworkID string       `json:"network_id"`
		Mode      string       `json:"mode"`
		Directory string       `json:"directory"`
		Nodes     []nodeResult `json:"nodes"`
	}{r.Network, r.NetworkID, r.Mode, dir, nil}
	for _, n := range r.Nodes {
		result.Nodes = append(result.Nodes, c.askNode(ctx, dir, n))
	}
	err := c.print(result, func(t *table) {
		t.line("network %s, id %s, in %s", r.Network, r.NetworkID, dir)
		t.line("")
		t.row("NODE", "STATE", "HEIGHT", "PEERS", "SHARDS", "GRPC", "HTTP")
		for i := range result.Nodes {
			n := &result.Nodes[i]
			t.row(n.Name, n.State, n.Height, n.Peers, n.shards(), n.GRPC, n.HTTP)
		}
		shardTable(t, result.Nodes)
		for _, n := range result.Nodes {
			if n.Reason != "" {
				t.line("%s: %s", n.Name, n.Reason)
			}
		}
	})
	if err != nil {
		return err
	}
	var down []string
	for _, n := range result.Nodes {
		if n.State == stateDown {
			down = append(down, n.Name)
		}
	}
	if len(down) > 0 {
		return exitf(exitUnavailable, "%d of %s down: %s", len(down), plural(len(r.Nodes), "node"), strings.Join(down, ", "))
	}
	return nil
}

// stateDown is the state of a node that does not answer.
const stateDown = "down"

// askNode asks a node how its chain is. One that does not answer is shown so.
func (c *cli) askNode(ctx context.Context, dir string, n testnet.Node) nodeResult {
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, 3*time.Second))
	defer cancel()
	one := *c
	one.node, one.network = n.GRPC, dir
	conn, err := one.dial(ctx)
	if err != nil {
		return nodeResult{Node: n, State: stateDown}
	}
	defer conn.close()
	s, err := conn.Status(ctx)
	if err != nil {
		return nodeResult{Node: n, State: stateDown}
	}
	chains := newStatusResult(conn, s).Chains
	if len(chains) == 0 {
		return nodeResult{Node: n, State: "starting"}
	}
	ch := chains[0]
	return nodeResult{Node: n, State: ch.State, Reason: ch.Reason, Height: ch.Height, Peers: ch.Peers, Shards: chains[1:]}
}

func (c *cli) testnetFaucetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "faucet TO [AMOUNT]",
		Short:   "Give an account play money",
		Example: "  tributary testnet faucet alice 100",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			if _, err := testnet.Find(dir); err == nil {
				c.network = dir
			} else if !errors.Is(err, testnet.ErrNoNetwork) || c.node == "" {
				return err
			}
			return c.connected(c.faucet)(cmd, args)
		},
	}
	return cmd
}

func (c *cli) faucet(run *run) error {
	to, err := run.conn.address(run.args[0])
	if err != nil {
		return err
	}
	var amount ledger.Amount
	if len(run.args) == 2 {
		if amount, err = ledger.ParseAmount(run.args[1]); err != nil {
			return &usageError{err}
		}
		if amount == 0 { // which the faucet takes for its default
			return usagef("the amount is 0; leave it out for what the faucet gives by default")
		}
	}
	got, err := run.conn.Faucet(run.ctx, to, amount)
	if e, ok := errors.AsType[*client.Error](err); ok && slices.ContainsFunc(e.Fields, func(f client.FieldError) bool { return f.Field == "amount" }) {
		return &usageError{err} // more than the faucet gives at a time
	}
	if err != nil {
		return err
	}
	balance, err := run.conn.Balance(run.ctx, to)
	if err != nil {
		return err
	}
	result := struct {
		Address string `json:"address"`
		Amount  drops  `json:"amount"`
		Balance drops  `json:"balance"`
	}{to.String(), drops(got), drops(balance)}
	return c.print(result, func(t *table) {
		t.field("address", to)
		t.field("got", got)
		t.field("balance", balance)
	})
}

func (c *cli) testnetLogsCommand() *cobra.Command {
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs [NODE]",
		Short: "Print the log of a node, or of all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			if tail < 0 {
				return usagef("--tail is %d, want 0 or more", tail)
			}
			l, err := testnet.Open(dir)
			if errors.Is(err, fs.ErrNotExist) {
				return exitf(exitNotFound, "there is no test network in %s; 'tributary testnet up' makes one", dir)
			}
			if err != nil {
				return err
			}
			nodes, err := named(l, args)
			if err != nil {
				return err
			}
			if follow && len(nodes) > 1 {
				return usagef("follow whose log? name a node")
			}
			for _, i := range nodes {
				if len(nodes) > 1 {
					fmt.Fprintf(c.stdout, "== %s\n", l.Nodes[i].Name)
				}
				if err := c.printLog(cmd.Context(), l.LogFile(i), tail, follow); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is added, until interrupted")
	cmd.Flags().IntVarP(&tail, "tail", "n", 50, "how many lines of the end; 0 for all")
	return cmd
}

// named lists the nodes of a network that names name, all without any.
func named(l *testnet.Layout, names []string) ([]int, error) {
	var nodes []int
	for i, n := range l.Nodes {
		if len(names) == 0 || slices.Contains(names, n.Name) {
			nodes = append(nodes, i)
		}
	}
	if len(nodes) == 0 {
		return nil, exitf(exitNotFound, "there is no node %q; there are %s", names[0], strings.Join(l.Operators(), ", "))
	}
	return nodes, nil
}

// maxTail bounds what is read to find the last lines of a log.
const maxTail = 1 << 20

func (c *cli) printLog(ctx context.Context, path string, tail int, follow bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w; a network in containers has 'docker compose logs'", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	if tail > 0 {
		if err := c.printTail(f, tail); err != nil {
			return err
		}
	}
	if tail == 0 || follow {
		if _, err := io.Copy(c.stdout, f); err != nil {
			return err
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for follow {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := io.Copy(c.stdout, f); err != nil {
			return err
		}
	}
	return nil
}

// printTail prints the last lines of a file, and leaves it at its end.
func (c *cli) printTail(f *os.File, tail int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Seek(max(0, end-maxTail), io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	list := slices.Collect(strings.Lines(string(data)))
	_, err = io.WriteString(c.stdout, strings.Join(list[max(0, len(list)-tail):], ""))
	return err
}
