package main

import (
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node"
)

func (c *cli) relayerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "relayer",
		Short: "Show the account that pays for what a node carries between chains",
		Long: `Show the account that pays on the main chain for what a node carries there: anchors
of shards, settlements, messages. What was needed is paid back, so a few coins are
enough; settlements are not paid back, and are left to others when the account has
less than a coin beyond their fee. Send the coins to its address. On a test network
it has some from the start.

The key lies in the clear in config/relayer_key.json, as the node uses it by itself.
Keep no more money there than it takes.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			r, err := node.LoadRelayer(dir)
			if err != nil {
				return err
			}
			result := struct {
				Address   string `json:"address"`
				PublicKey string `json:"public_key"`
				File      string `json:"file"`
			}{r.Address.String(), hex.EncodeToString(r.PublicKey[:]), dir.RelayerKey()}
			return c.print(result, func(t *table) {
				t.field("address", result.Address)
				t.field("public key", result.PublicKey)
				t.field("file", result.File)
			})
		},
	}
}
