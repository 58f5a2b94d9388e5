package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tributary-network/tributary/node/home"
)

// cli is one run of the program: what it reads and writes, and the flags that
// every command has.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	build          build

	home           string        // --home
	node           string        // --node
	ca             string        // --ca
	network        string        // --testnet
	passphraseFile string        // --passphrase-file
	timeout        time.Duration // --timeout
	output         string        // -o
}

// run executes the command line and returns the exit code.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		fmt.Fprintln(c.stderr, "interrupted")
		return exitError
	}
	code := exitCode(err)
	if text := inPercent(inCoins(err.Error())); text != "" {
		fmt.Fprintf(c.stderr, "%s %s\n", c.paint(red, "error:"), text)
	}
	if code == exitUsage {
		fmt.Fprintf(c.stderr, "see '%s --help'\n", cmd.CommandPath())
	}
	return code
}

// root builds the tree of commands.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:                   "tributary",
		Short:                 "A ledger node that settles payment channels",
		DisableFlagsInUseLine: true,
		Long: `Tributary settles payment channels on a chain that its validators agree on.

  tributary testnet up               a network of four validators on this machine
  tributary init NAME, start         a node of your own
  tributary channel, settle, tx      use a network`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&c.home, "home", "", "home directory (env TRIBUTARY_HOME, default ~/.tributary)")
	flags.StringVar(&c.node, "node", "", "node to ask, host:port (env TRIBUTARY_NODE, default: a running testnet, else the home's own node)")
	flags.StringVar(&c.ca, "ca", "", "certificate authority of the node, PEM (env TRIBUTARY_CA)")
	flags.StringVar(&c.network, "testnet", "", "directory of the test network to use (default HOME/testnet, if it runs)")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to wait for a node")
	flags.StringVarP(&c.output, "output", "o", "table", "table or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.timeout <= 0 {
			return usagef("--timeout is %v, want more than 0", c.timeout)
		}
		if c.output != "table" && c.output != "json" {
			return usagef("--output is %q, want table or json", c.output)
		}
		return nil
	}
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "Run a node:"},
		&cobra.Group{ID: "use", Title: "Use a network:"},
	)
	c.add(root, "node", c.initCommand(), c.keysCommand(), c.startCommand(), c.signerCommand(), c.relayerCommand(), c.statusCommand(), c.healthCommand(),
		c.testnetCommand(), c.configCommand())
	c.add(root, "use", c.channelCommand(), c.settleCommand(), c.txCommand(), c.stakeCommand(), c.validatorCommand(), c.serviceCommand(), c.shardCommand(), c.usageCommand(), c.routeCommand(),
		c.committeeCommand(), c.evidenceCommand(), c.queryCommand(), c.verifyCommand())
	root.AddCommand(c.versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	group(root)
	strictHelp(root)
	return root
}

// strictHelp makes 'help' refuse what is no command.
func strictHelp(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Run = nil
		cmd.RunE = func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help for %q: there is no such command", strings.Join(args, " "))
			}
			return about.Help()
		}
	}
}

func (c *cli) add(root *cobra.Command, id string, commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.GroupID = id
		root.AddCommand(cmd)
	}
}

// group makes cmd, and every command below it, report wrong use as such: a
// missing or unknown subcommand, wrong flags and arguments.
func group(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			err := args(cmd, given)
			if _, said := errors.AsType[*usageError](err); said {
				return err
			}
			if err != nil {
				return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
			}
			return nil
		}
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.DisableFlagsInUseLine = true
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !cmd.HasParent() {
				return cmd.Help()
			}
			if len(args) == 0 {
				return &usageError{fmt.Errorf("which subcommand? %s", strings.Join(names(cmd), ", "))}
			}
			text := fmt.Sprintf("unknown subcommand %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				text += fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
			} else {
				text += fmt.Sprintf("; there are %s", strings.Join(names(cmd), ", "))
			}
			return &usageError{errors.New(text)}
		}
		if cmd.SuggestionsMinimumDistance == 0 {
			cmd.SuggestionsMinimumDistance = 2
		}
	}
	for _, sub := range cmd.Commands() {
		group(sub)
	}
}

// getenv returns an environment variable, "" if it is not set.
func (c *cli) getenv(name string) string {
	for _, v := range c.environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// names lists the subcommands of cmd.
func names(cmd *cobra.Command) []string {
	var list []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name())
		}
	}
	return list
}

// homeDir returns the home directory.
func (c *cli) homeDir() (home.Dir, error) {
	dir, err := home.Resolve(c.home, c.environ)
	if err != nil {
		return "", &usageError{err}
	}
	return dir, nil
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a small number
}

// note writes a line for people to standard error.
func (c *cli) note(format string, args ...any) {
	fmt.Fprintf(c.stderr, format+"\n", args...)
}
