package main

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/telemetry"
)

func (c *cli) signerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "signer",
		Short: "Hold a validator's consensus key in a process of its own",
		Long: `Hold a validator's consensus key in a process of its own, on this machine or
another, so that whoever takes over the node does not have the key.

On the signer's side:

  tributary signer init --home SIGNER
  tributary signer start --home SIGNER --chain-id CHAIN --node tcp://NODEID@HOST:PORT

In the node's config/config.toml, with the identity that 'signer init' shows:

  [signer]
  mode = "remote"
  listen = "tcp://0.0.0.0:26659"
  allow = "IDENTITY"

'tributary init' shows the node's id and the chain's, and so does the log of a node
that waits for its signer.

To move the key of a validator that runs: stop the node, and make the signer with

  tributary signer init --home SIGNER --from NODEHOME

which takes the key away from the node and leaves it a copy of the sign state, so
that it votes as soon as it runs again. If the signer will be on another machine,
move the directory SIGNER there. Never let two processes have one key: both would
sign, and the stake would be slashed.`,
	}
	cmd.AddCommand(c.signerInitCommand(), c.signerStartCommand())
	return cmd
}

// signerHome returns the home directory of a signer: that of a node by default
// would make the two share their keys.
func (c *cli) signerHome() (home.Dir, error) {
	given := c.home
	if given == "" && c.getenv(home.Variable) == "" {
		user := c.getenv("HOME")
		if user == "" {
			return "", usagef("no home directory: neither --home nor %s nor HOME is set", home.Variable)
		}
		given = filepath.Join(user, ".tributary-signer")
	}
	dir, err := home.Resolve(given, c.environ)
	if err != nil {
		return "", &usageError{err}
	}
	if _, err := os.Lstat(filepath.Join(string(dir), config.FileName)); err == nil {
		return "", usagef("%s is the home directory of a node, which has %s: a signer needs one of its own, give another --home", dir, config.FileName)
	}
	return dir, nil
}

// signerResult is what the node's operator needs to know of a signer.
type signerResult struct {
	Home      string `json:"home"`
	Identity  string `json:"identity"`
	PublicKey string `json:"public_key"`
}

func newSignerResult(dir home.Dir, id node.SignerIdentity) signerResult {
	return signerResult{string(dir), id.ID, hex.EncodeToString(id.PublicKey)}
}

func (r *signerResult) show(t *table) {
	t.field("home", r.Home)
	t.field("connection key", r.Identity)
	t.field("consensus key", r.PublicKey)
}

func (c *cli) signerInitCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the home directory of a signer: connection key, consensus key",
		Long: `Make the home directory of a signer, by default ~/.tributary-signer: its connection
key, and a new consensus key with an empty sign state, or with --from the key of a
node that is stopped. Keys that are there already stay. It cannot be the home
directory of a node.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.signerHome()
			if err != nil {
				return err
			}
			if from != "" {
				source, err := home.Resolve(from, nil)
				if err != nil {
					return &usageError{err}
				}
				if err := node.MoveSigner(source, dir); err != nil {
					return err
				}
			}
			if err := dir.Create(); err != nil {
				return err
			}
			id, err := node.CreateSigner(dir)
			if err != nil {
				return err
			}
			r := newSignerResult(dir, id)
			c.note("next: put the connection key into signer.allow of the node (not for a unix socket)")
			return c.print(r, r.show)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "home directory of a stopped node, whose consensus key moves to the signer")
	return cmd
}

func (c *cli) signerStartCommand() *cobra.Command {
	var chainID, address, level, format string
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Sign for a node until SIGTERM or SIGINT",
		Long: `Connect to a node, and sign what it asks for on the main chain and on the shards of
its network, until SIGTERM or SIGINT. What was signed last is durable before a
signature leaves, for each chain by itself; two votes for one step are never signed.
The connection is made again whenever it ends. Logs go to
standard error.`,
		Example: `  tributary signer start --home signer --chain-id main-1a2b3c4d --node unix:///run/tributary/signer
  tributary signer start --home signer --chain-id main-1a2b3c4d --node tcp://NODEID@10.0.0.7:26659`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if chainID == "" || address == "" {
				return usagef("--chain-id and --node are missing: say for which chain, and where the node waits")
			}
			if !strings.HasPrefix(address, "unix://") && !strings.HasPrefix(address, "tcp://") {
				return usagef("--node is %q, want unix:///path or tcp://nodeid@host:port", address)
			}
			levels, err := config.ParseLevels(level)
			if err != nil {
				return &usageError{err}
			}
			if format != "auto" && format != "text" && format != "json" {
				return usagef("--log-format is %q, want auto, text or json", format)
			}
			dir, err := c.signerHome()
			if err != nil {
				return err
			}
			log := slog.New(telemetry.NewHandler(c.stderr, format, levels))
			var shown error
			err = node.RunSigner(cmd.Context(), node.SignerOptions{
				Home: dir, ChainID: chainID, Node: address, Log: log,
				Ready: func(id node.SignerIdentity) {
					r := newSignerResult(dir, id)
					shown = c.print(r, r.show)
				},
			})
			return errors.Join(err, shown)
		},
	}
	cmd.Flags().StringVar(&chainID, "chain-id", "", "the main chain of the network to sign for, such as main-1a2b3c4d")
	cmd.Flags().StringVar(&address, "node", "", "where the node waits: unix:///path or tcp://nodeid@host:port")
	cmd.Flags().StringVar(&level, "log-level", "info", "error, warn, info or debug")
	cmd.Flags().StringVar(&format, "log-format", "auto", "text, json, or auto: text on a terminal, json elsewhere")
	return cmd
}
