package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node/testnet"
)

// maxStartLog bounds what is shown of the log of a network that did not start.
const maxStartLog = 64 << 10

func (c *cli) testnetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testnet",
		Short: "Run a network of several validators on this machine",
		Long: `Run a network of several validators on this machine, with play money.

Everything listens on 127.0.0.1. Node i (from 0) has the ports 40000+100*i for
its peers, the one after it for gRPC, and the next for HTTP; --base-port moves
them, and --base-port 0 picks free ones. The named accounts have well-known keys:
never use them elsewhere.

Validator i of the genesis runs in node validator<i> (from 1), and the account of
that name operates it. --full-nodes adds nodes fullnode1 and so on, which follow
the chain and can be registered as validators by the accounts of their names.`,
	}
	cmd.PersistentFlags().String("dir", "", "directory of the network (default HOME/testnet)")
	cmd.AddCommand(c.testnetUpCommand(), c.testnetDownCommand(), c.testnetStatusCommand(), c.testnetFaucetCommand(),
		c.testnetLogsCommand(), c.testnetFilesCommand())
	return cmd
}

// testnetDir returns --dir, or its default.
func (c *cli) testnetDir(cmd *cobra.Command) (string, error) {
	if dir := cmp.Or(cmd.Flag("dir").Value.String(), c.network); dir != "" {
		return filepath.Abs(dir)
	}
	return c.defaultTestnetDir()
}

// testnetLine is the command line that does something with the network in dir.
func (c *cli) testnetLine(do, dir string) string {
	line := "tributary testnet " + do
	if own, err := c.defaultTestnetDir(); err != nil || own != dir {
		line += " --dir " + dir
	}
	return line
}

type testnetUp struct {
	validators int
	fullNodes  int
	basePort   int
	name       string
	processes  bool
	ephemeral  bool
	detach     bool
	keep       bool
}

func (c *cli) testnetUpCommand() *cobra.Command {
	var up testnetUp
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a network; Ctrl-C ends it and removes its data",
		Long: `Start a network; Ctrl-C ends it and removes its data.

A node that fails, or whose process is killed, is started again after a second,
then after two, four and so on up to 30; after ten times in a row it stays down.
One that is stopped in good order, with SIGTERM, stays so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			if up.ephemeral && up.processes {
				return usagef("--ephemeral and --processes exclude each other: stores in memory need one process")
			}
			if up.ephemeral && up.keep {
				return usagef("--ephemeral and --keep exclude each other")
			}
			if err := checkNetwork(up.options()); err != nil {
				return err
			}
			if _, err := testnet.Find(dir); err == nil {
				return fmt.Errorf("a network runs in %s already: '%s' shows it, '%s' ends it", dir, c.testnetLine("status", dir), c.testnetLine("down", dir))
			}
			if err := agrees(cmd, dir, &up); err != nil {
				return err
			}
			if up.detach {
				return c.testnetDetach(cmd.Context(), dir, up)
			}
			return c.testnetRun(cmd.Context(), dir, up)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&up.validators, "validators", testnet.DefaultValidators, "how many validators")
	flags.IntVar(&up.fullNodes, "full-nodes", 0, "how many nodes besides that are not validators yet")
	flags.IntVar(&up.basePort, "base-port", testnet.DefaultBasePort, "first port; 0 picks free ones")
	flags.StringVar(&up.name, "network", "local", "the network's name, \"local\" or \"local-...\"")
	flags.BoolVar(&up.processes, "processes", false, "one process for each node")
	flags.BoolVar(&up.ephemeral, "ephemeral", false, "keep stores in memory")
	flags.BoolVarP(&up.detach, "detach", "d", false, "run in the background; 'testnet down' ends it")
	flags.BoolVar(&up.keep, "keep", false, "keep the data when the network ends, and go on from it next time")
	return cmd
}

// options returns what Options say of the network's kind.
func (u *testnetUp) options() testnet.Options {
	return testnet.Options{Name: u.name, Validators: u.validators, FullNodes: u.fullNodes, BasePort: u.basePort}
}

// checkNetwork refuses what a network cannot be.
func checkNetwork(o testnet.Options) error {
	if o.Validators == 0 { // which Options take for the default
		return usagef("0 validators: want 1 to %d", testnet.MaxValidators)
	}
	if o.Name == "" {
		return usagef("--network is empty, want \"local\" or \"local-...\"")
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

// agrees refuses flags that differ from the network that lies in dir already. Of
// what is not given, up is told.
func agrees(cmd *cobra.Command, dir string, up *testnetUp) error {
	l, err := testnet.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	remedy := "leave that out, choose another --dir, or remove the network with 'tributary testnet down --purge'"
	full := len(l.Nodes) - l.Validators()
	if cmd.Flags().Changed("validators") && up.validators != l.Validators() {
		return usagef("--validators is %d, but the network in %s has %d; %s", up.validators, dir, l.Validators(), remedy)
	}
	if cmd.Flags().Changed("full-nodes") && up.fullNodes != full {
		return usagef("--full-nodes is %d, but the network in %s has %d; %s", up.fullNodes, dir, full, remedy)
	}
	if cmd.Flags().Changed("network") && up.name != l.Genesis.Name {
		return usagef("--network is %q, but the network in %s is %q; %s", up.name, dir, l.Genesis.Name, remedy)
	}
	up.validators, up.fullNodes, up.name = l.Validators(), full, l.Genesis.Name
	return nil
}

// testnetRun runs a network until ctx ends.
func (c *cli) testnetRun(ctx context.Context, dir string, up testnetUp) (err error) {
	begin := time.Now()
	o := up.options()
	o.Dir, o.InMemory, o.Discard, o.Build, o.Progress = dir, up.ephemeral, !up.keep, c.build.telemetry(), c.stderr
	var n *testnet.Network
	if up.processes {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		n, err = testnet.StartProcesses(ctx, self, o)
		if err != nil {
			return err
		}
	} else if n, err = testnet.Start(ctx, o); err != nil {
		return err
	}
	defer func() {
		c.note("stopping")
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, n.Stop(stop))
		c.tidyHome(dir)
	}()
	r, err := n.Announce()
	if err != nil {
		return err
	}
	if err := c.printTestnet(r); err != nil {
		return err
	}
	c.note("%s ready in %.1f s", c.paint(green, plural(len(r.Nodes), "node")), time.Since(begin).Seconds())
	if err := c.awaitShards(ctx, n.Layout, begin); err != nil {
		return err
	}
	c.note("try:   %s   (in another terminal)", c.testnetLine("faucet alice 100", dir))
	c.note("end:   Ctrl-C, or %s", c.testnetLine("down", dir))
	n.Supervise(ctx, c.tellEnd(n))
	return nil
}

// awaitShards tells how the shards of a network come up, and goes on without those that
// do not.
func (c *cli) awaitShards(ctx context.Context, l *testnet.Layout, begin time.Time) error {
	p, err := testnet.NewProber(l.CA)
	if err != nil {
		return err
	}
	defer p.Close()
	wait, cancel := context.WithTimeout(ctx, shardsTimeout)
	defer cancel()
	switch err := l.AwaitShards(wait, p, c.note); {
	case err == nil:
		c.note("%s ready in %.1f s, on %s", c.paint(green, plural(l.Shards(), "shard")), time.Since(begin).Seconds(), plural(l.Validators(), "validator"))
	case ctx.Err() == nil:
		c.note("%s %v; 'tributary status' says of each why", c.paint(yellow, "warning:"), err)
	}
	return nil
}

// shardsTimeout is how long the shards of a network may take to come up before that is
// told, in what time the main chain serves already.
const shardsTimeout = time.Minute

// tellEnd returns what says that a node ended, and what follows.
func (c *cli) tellEnd(n *testnet.Network) func(testnet.End) {
	return func(e testnet.End) {
		name, file := n.Nodes[e.Node].Name, n.LogFile(e.Node)
		switch {
		case e.Err == nil:
			c.note("%s was stopped, and stays so", name)
		case e.Restart > 0:
			c.note("%s %s ended: %v; its log is %s; it starts again in %v", c.paint(yellow, "warning:"), name, e.Err, file, e.Restart)
		default:
			c.note("%s %s ended again: %v; its log is %s; it stays down", c.paint(red, "error:"), name, e.Err, file)
		}
	}
}

// testnetDetach starts a process that runs the network, and returns when that is
// ready.
func (c *cli) testnetDetach(ctx context.Context, dir string, up testnetUp) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := testnet.Usable(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	logFile := filepath.Join(dir, "testnet.log")
	log, err := os.OpenFile(logFile, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()                                               // the process has its own handle
	child := exec.Command(self, "testnet", "up", "--dir", dir, "--network", up.name, //nolint:noctx // it outlives the call
		"--validators", strconv.Itoa(up.validators), "--full-nodes", strconv.Itoa(up.fullNodes), "--base-port", strconv.Itoa(up.basePort),
		"--processes="+strconv.FormatBool(up.processes), "--ephemeral="+strconv.FormatBool(up.ephemeral),
		"--keep="+strconv.FormatBool(up.keep))
	child.Env = c.environ
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the network in the background: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = child.Wait() // its log says why it ended
		close(ended)
	}()
	begin := time.Now()
	c.note("starting %s; log: %s", plural(up.validators+up.fullNodes, "node"), logFile)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := testnet.Find(dir); err == nil && r.PID == child.Process.Pid {
			if err := c.printTestnet(r); err != nil {
				return err
			}
			l, err := testnet.Open(dir)
			if err != nil {
				return err
			}
			if err := c.awaitShards(ctx, l, begin); err != nil {
				return err
			}
			c.note("ready; '%s' ends it", c.testnetLine("down", dir))
			return nil
		}
		select {
		case <-tick.C:
		case <-ended:
			text, err := io.ReadAll(io.NewSectionReader(log, 0, maxStartLog)) // the file may be removed
			if err != nil {
				return err
			}
			return fmt.Errorf("the network did not start:\n%s", text)
		case <-ctx.Done():
			_ = child.Process.Signal(syscall.SIGTERM) // it may have ended
			<-ended
			return ctx.Err()
		}
	}
}

func (c *cli) printTestnet(r testnet.Running) error {
	type account struct {
		Name    string `json:"name"`
		Address string `json:"address"`
		Seed    string `json:"seed"`
	}
	var accounts []account
	names := testnet.Names()
	for _, n := range r.Nodes {
		names = append(names, n.Name) // of its operator's account
	}
	for _, name := range names {
		key := testnet.Key(name)
		seed := key.Seed()
		accounts = append(accounts, account{name, key.Address(0).String(), fmt.Sprintf("%x", seed[:])})
	}
	result := struct {
		testnet.Running
		Accounts []account `json:"accounts"`
	}{r, accounts}
	return c.print(result, func(t *table) {
		t.row("NODE", "GRPC", "HTTP", "P2P")
		for _, n := range r.Nodes {
			t.row(n.Name, n.GRPC, n.HTTP, n.P2P)
		}
		t.line("")
		t.row("ACCOUNT", "ADDRESS", "SECRET SEED (well known: play money only)")
		for _, a := range accounts {
			t.row(a.Name, a.Address, a.Seed)
		}
	})
}

func (c *cli) testnetDownCommand() *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the network and remove its data",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			done := "no network was running"
			if _, err := testnet.Find(dir); err == nil {
				done = "the network is stopped"
			}
			_, err = os.Lstat(dir)
			there := err == nil
			kept, err := testnet.Down(ctx, dir, purge)
			if err != nil {
				return err
			}
			c.tidyHome(dir)
			switch {
			case kept:
				c.note("%s; its data stay in %s: 'testnet up --keep' goes on from them, 'testnet down --purge' removes them", done, dir)
			case there:
				c.note("%s; removed %s", done, dir)
			default:
				c.note("%s", done)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove data that were to be kept")
	return cmd
}

// tidyHome removes the home directory if the network in dir was all there was in
// it: it was made for that network then.
func (c *cli) tidyHome(dir string) {
	home, err := c.homeDir()
	if err == nil && filepath.Join(string(home), "testnet") == dir {
		_ = os.Remove(string(home)) // there is something else in it
	}
}

func (c *cli) testnetFilesCommand() *cobra.Command {
	var of testnetUp
	cmd := &cobra.Command{
		Use:   "files",
		Short: "Write homes, genesis and certificates for a network in containers",
		Long: `Write the home directories, the genesis, and certificates for a network whose
nodes run in containers named validator1, validator2 and so on, and fullnode1 and
so on with --full-nodes. In a container a
node listens on 26656 for its peers, on 9090 for gRPC and on 8080 for HTTP. The
description of the network (network.json) expects that the latter two are
published on 127.0.0.1, at 40000+100*i+1 and +2 for node i from 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			if err := checkNetwork(of.options()); err != nil {
				return err
			}
			o := of.options()
			o.Dir = dir
			l, err := testnet.Files(o)
			if err != nil {
				return err
			}
			c.note("wrote %s to %s", plural(len(l.Nodes), "home"), dir)
			r, err := l.AnnounceContainers()
			if err != nil {
				return err
			}
			return c.printTestnet(r)
		},
	}
	cmd.Flags().IntVar(&of.validators, "validators", testnet.DefaultValidators, "how many validators")
	cmd.Flags().IntVar(&of.fullNodes, "full-nodes", 0, "how many nodes besides that are not validators yet")
	cmd.Flags().IntVar(&of.basePort, "base-port", testnet.DefaultBasePort, "first published port")
	cmd.Flags().StringVar(&of.name, "network", "local", "the network's name")
	return cmd
}
