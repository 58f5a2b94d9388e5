package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
)

// localP2P is where a node of a local network listens for its peers: such
// networks have well-known keys, and nobody else's business is on this machine.
const localP2P = "127.0.0.1:26656"

// initResult is what others need to know of a new node.
type initResult struct {
	Home      string `json:"home"`
	Moniker   string `json:"moniker"`
	Network   string `json:"network"`
	NetworkID string `json:"network_id,omitempty"`
	ChainID   string `json:"chain_id,omitempty"`
	NodeID    string `json:"node_id"`
	PublicKey string `json:"public_key"`
	BLSKey    string `json:"bls_key"`
	Relayer   string `json:"relayer"` // account that pays for what the node carries
	Operator  string `json:"operator,omitempty"`
	BLSProof  string `json:"bls_proof,omitempty"` // for the operator
}

func (c *cli) initCommand() *cobra.Command {
	var network, genesisFile, operator string
	cmd := &cobra.Command{
		Use:   "init MONIKER",
		Short: "Make the home directory of a node: settings, keys, genesis",
		Long: `Make the home directory of a node: settings, node key, consensus key, BLS key,
genesis, and an account that pays for what the node carries between chains
('tributary relayer'). It shows the public halves of the consensus key and of the BLS
key, and, if --operator says who will operate it as a validator, the proof that its
BLS key belongs to that one; 'tributary validator proof' makes it later.

With --genesis the node joins that network. Without it, a local network gets a
genesis with this node as its only validator and the well-known test accounts;
on any other network the genesis is made from what the validators' init --operator
prints.

A node of a local network listens for its peers on 127.0.0.1, that of any other
network on all addresses; p2p.listen changes that.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			var by ledger.Address
			if operator != "" {
				if by, err = c.operator(operator); err != nil {
					return err
				}
			}
			r, err := initHome(dir, args[0], network, genesisFile, by)
			if err != nil {
				return err
			}
			switch {
			case r.NetworkID == "" && r.BLSProof == "":
				c.note("next: 'tributary validator proof --operator ADDRESS' for the network's genesis, which belongs at %s with this node's id and keys", dir.Genesis())
			case r.NetworkID == "":
				c.note("next: put this node's id, keys, operator and proof into the network's genesis, and that at %s", dir.Genesis())
			default:
				c.note("next: tributary start --home %s", dir)
			}
			return c.print(r, func(t *table) {
				t.field("home", r.Home)
				t.field("moniker", r.Moniker)
				t.field("network", r.Network)
				t.field("network id", r.NetworkID)
				t.field("node id", r.NodeID)
				t.field("chain id", r.ChainID)
				t.field("consensus key", r.PublicKey)
				t.field("BLS key", r.BLSKey)
				t.field("relayer", r.Relayer)
				if r.Operator != "" {
					t.field("operator", r.Operator)
					t.field("BLS proof", r.BLSProof)
				}
			})
		},
	}
	cmd.Flags().StringVar(&network, "network", "", "name of the network (default that of --genesis, else \"local\")")
	cmd.Flags().StringVar(&genesisFile, "genesis", "", "file with the network's genesis")
	cmd.Flags().StringVar(&operator, "operator", "", "address of the account that will operate it as a validator, or the name of its key")
	return cmd
}

// initHome makes the home directory. It refuses one that has settings already.
func initHome(dir home.Dir, moniker, network, genesisFile string, operator ledger.Address) (initResult, error) {
	var doc *genesis.Document
	if genesisFile != "" {
		d, err := genesis.Load(genesisFile)
		if err != nil {
			return initResult{}, err
		}
		if network != "" && network != d.Name {
			return initResult{}, usagef("--network is %q, but %s is of network %q", network, genesisFile, d.Name)
		}
		doc, network = &d, d.Name
	}
	if network == "" {
		network = "local"
	}
	settings := config.Default()
	settings.Home = string(dir)
	settings.Node.Moniker, settings.Node.Network = moniker, network
	if config.LocalNetwork(network) {
		settings.P2P.Listen = localP2P
	}
	if err := settings.Validate(); err != nil {
		return initResult{}, &usageError{err}
	}
	file := filepath.Join(string(dir), config.FileName)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return initResult{}, fmt.Errorf("%s is there already: choose another --home, or remove the directory if you need nothing in it", file)
	}
	if err := dir.Create(); err != nil {
		return initResult{}, err
	}
	identity, err := node.CreateIdentity(dir)
	if err != nil {
		return initResult{}, err
	}
	r := initResult{
		Home: string(dir), Moniker: moniker, Network: network,
		NodeID: identity.NodeID, PublicKey: hex.EncodeToString(identity.PublicKey),
		BLSKey: identity.BLSKey.String(),
	}
	if doc == nil && config.LocalNetwork(network) {
		d := testnet.SoloGenesis(network, moniker, identity)
		doc = &d
		if err := errors.Join(testnet.WriteKeys(dir.Keys(), testnet.ValidatorName(0)), node.WriteFaucet(dir, testnet.Key(testnet.FaucetName(0))),
			node.WriteRelayer(dir, testnet.Key(testnet.RelayerName(0)))); err != nil {
			return initResult{}, err
		}
	} else if _, err := node.CreateRelayer(dir); err != nil {
		return initResult{}, err
	}
	relayer, err := node.LoadRelayer(dir)
	if err != nil {
		return initResult{}, err
	}
	r.Relayer = relayer.Address.String()
	if doc != nil {
		if err := doc.Save(dir.Genesis()); err != nil {
			return initResult{}, err
		}
		settings.P2P.PersistentPeers = doc.Peers(identity.NodeID)
		r.NetworkID, r.ChainID = doc.NetworkID().String(), doc.ChainID()
	}
	if !operator.IsZero() {
		var id ledger.NetworkID
		if doc != nil {
			id = doc.NetworkID()
		}
		r.Operator, r.BLSProof = operator.String(), identity.Prove(id, operator, ledger.PublicKey(identity.PublicKey)).String()
	}
	return r, config.Write(settings)
}
