package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and check a node's settings"}
	cmd.AddCommand(c.configShowCommand(), c.configValidateCommand())
	return cmd
}

func (c *cli) configShowCommand() *cobra.Command {
	var effective bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the settings file, or with --effective every value and where it came from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			if !effective && c.output == "table" {
				data, err := home.ReadFile(filepath.Join(string(dir), config.FileName), config.MaxFile)
				if err != nil {
					return fmt.Errorf("read settings: %w; run 'tributary init NAME' or choose another --home", err)
				}
				_, err = c.stdout.Write(data)
				return err
			}
			cfg, err := config.Load(string(dir), c.environ, cmd.Flags())
			if err != nil {
				return err
			}
			type setting struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Origin string `json:"origin"`
			}
			var list []setting
			for _, s := range cfg.Effective() {
				list = append(list, setting(s))
			}
			return c.print(list, func(t *table) {
				t.row("SETTING", "VALUE", "FROM")
				for _, s := range list {
					lines := wrapList(s.Value)
					t.row(s.Key, lines[0], s.Origin)
					for _, line := range lines[1:] {
						t.row(" ", line)
					}
				}
			})
		},
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "what a node would run with, after environment and flags")
	config.AddFlags(cmd.Flags())
	return cmd
}

// listWidth is how long a list may be on one line of a table.
const listWidth = 60

// wrapList returns a setting's value in lines: a long list with one item each.
func wrapList(value string) []string {
	if len(value) <= listWidth || !strings.HasPrefix(value, "[") {
		return []string{value}
	}
	lines := strings.SplitAfter(value, ", ")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
		if i > 0 {
			lines[i] = " " + lines[i] // below the first item
		}
	}
	return lines
}

func (c *cli) configValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the settings and the genesis of a home directory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			cfg, err := config.Load(string(dir), c.environ, cmd.Flags())
			if err != nil {
				return err
			}
			doc, err := node.LoadGenesis(dir)
			if err != nil {
				return err
			}
			if doc.Name != cfg.Node.Network {
				return fmt.Errorf("node.network is %q, but %s is of network %q", cfg.Node.Network, dir.Genesis(), doc.Name)
			}
			result := struct {
				Home    string `json:"home"`
				Network string `json:"network"`
				ID      string `json:"network_id"`
				Valid   bool   `json:"valid"`
			}{string(dir), doc.Name, doc.NetworkID().String(), true}
			return c.print(result, func(t *table) {
				t.line("%s is valid: network %s, id %s", dir, result.Network, result.ID)
			})
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}
