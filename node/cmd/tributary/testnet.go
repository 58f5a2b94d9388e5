package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
never use them elsewhere.`,
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

type testnetUp struct {
	validators int
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
			if _, err := testnet.Find(dir); err == nil {
				return fmt.Errorf("a network runs in %s already: 'tributary testnet status' shows it, 'tributary testnet down' ends it", dir)
			}
			if up.detach {
				return c.testnetDetach(cmd.Context(), dir, up)
			}
			return c.testnetRun(cmd.Context(), dir, up)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&up.validators, "validators", testnet.DefaultValidators, "how many validators")
	flags.IntVar(&up.basePort, "base-port", testnet.DefaultBasePort, "first port; 0 picks free ones")
	flags.StringVar(&up.name, "network", "local", "the network's name, \"local\" or \"local-...\"")
	flags.BoolVar(&up.processes, "processes", false, "one process for each validator")
	flags.BoolVar(&up.ephemeral, "ephemeral", false, "keep stores in memory")
	flags.BoolVarP(&up.detach, "detach", "d", false, "run in the background; 'testnet down' ends it")
	flags.BoolVar(&up.keep, "keep", false, "keep the data when the network ends, and go on from it next time")
	return cmd
}

// testnetRun runs a network until ctx ends.
func (c *cli) testnetRun(ctx context.Context, dir string, up testnetUp) (err error) {
	begin := time.Now()
	o := testnet.Options{
		Dir: dir, Name: up.name, Validators: up.validators, BasePort: up.basePort, InMemory: up.ephemeral,
		Discard: !up.keep, Build: c.build.telemetry(), Progress: c.stderr,
	}
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
	c.note("%s ready in %.1f s", c.paint(green, plural(len(r.Nodes), "validator")), time.Since(begin).Seconds())
	c.note("try:   tributary testnet faucet alice 100   (in another terminal)")
	c.note("end:   Ctrl-C, or tributary testnet down")
	n.Supervise(ctx, c.tellEnd(n))
	return nil
}

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
		"--validators", strconv.Itoa(up.validators), "--base-port", strconv.Itoa(up.basePort),
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
	c.note("starting %s; log: %s", plural(up.validators, "validator"), logFile)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := testnet.Find(dir); err == nil && r.PID == child.Process.Pid {
			if err := c.printTestnet(r); err != nil {
				return err
			}
			c.note("ready; 'tributary testnet down' ends it")
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
	for _, name := range testnet.Names() {
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
	if own, err := c.defaultTestnetDir(); err == nil && own == dir {
		_ = os.Remove(filepath.Dir(dir)) // there is something else in it
	}
}

func (c *cli) testnetFilesCommand() *cobra.Command {
	var validators, basePort int
	var name string
	cmd := &cobra.Command{
		Use:   "files",
		Short: "Write homes, genesis and certificates for a network in containers",
		Long: `Write the home directories, the genesis, and certificates for a network whose
nodes run in containers named validator1, validator2 and so on. In a container a
node listens on 26656 for its peers, on 9090 for gRPC and on 8080 for HTTP. The
description of the network (network.json) expects that the latter two are
published on 127.0.0.1, at 40000+100*i+1 and +2 for node i from 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.testnetDir(cmd)
			if err != nil {
				return err
			}
			l, err := testnet.Files(testnet.Options{Dir: dir, Name: name, Validators: validators, BasePort: basePort})
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
	cmd.Flags().IntVar(&validators, "validators", testnet.DefaultValidators, "how many validators")
	cmd.Flags().IntVar(&basePort, "base-port", testnet.DefaultBasePort, "first published port")
	cmd.Flags().StringVar(&name, "network", "local", "the network's name")
	return cmd
}
