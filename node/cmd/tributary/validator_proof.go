package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
)

// proofResult is a proof of possession with what it is for.
type proofResult struct {
	Operator  string `json:"operator"`
	NetworkID string `json:"network_id"` // zeros for a genesis that is being made
	PublicKey string `json:"public_key"`
	BLSKey    string `json:"bls_key"`
	BLSProof  string `json:"bls_proof"`
}

// keyDigits is the length of a consensus key in hexadecimal digits.
const keyDigits = 2 * ledger.PublicKeySize

func (c *cli) validatorProofCommand() *cobra.Command {
	var operator, consensusKey string
	var newGenesis bool
	cmd := &cobra.Command{
		Use:   "proof",
		Short: "Prove that a node's BLS key is registered by an operator, and no other",
		Long: `Prove that the BLS key of the home directory's node is registered by an operator,
beside its consensus key, on its network. Whoever sees the proof can use it for
nothing else. It asks no node, so it also works where the operator's key is not.

The network is that of the home's genesis. In a home without one, or with
--new-genesis, the proof is for the genesis of a network that is being made.

'tributary validator register' makes the proof by itself if the keys lie in its
home directory.`,
		Example: "  tributary validator proof --operator trib1...\n" +
			"  tributary validator proof --operator trib1... --consensus-key KEY    # of a remote signer",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			by, err := c.operator(operator)
			if err != nil {
				return err
			}
			id, err := node.LoadIdentity(dir)
			if err != nil {
				return fmt.Errorf("read the node's keys: %w; name its home with --home, or make one with 'tributary init'", err)
			}
			key, err := c.consensusKey(dir, &id, consensusKey)
			if err != nil {
				return err
			}
			network, err := provenNetwork(dir, newGenesis)
			if err != nil {
				return err
			}
			r := proofResult{
				Operator: by.String(), NetworkID: network.String(), PublicKey: key.String(),
				BLSKey: id.BLSKey.String(), BLSProof: id.Prove(network, by, key).String(),
			}
			if network.IsZero() {
				c.note("this is for a genesis that is being made: put it there as public_key, bls_key and bls_proof of the validator with this operator")
			} else {
				c.note("next, where the operator's key is: tributary validator register --consensus-key, --bls-key and --bls-proof with these values, --from and --stake")
			}
			return c.print(r, func(t *table) {
				t.field("operator", r.Operator)
				if network.IsZero() {
					t.field("network id", "none yet: for its genesis")
				} else {
					t.field("network id", r.NetworkID)
				}
				t.field("consensus key", r.PublicKey)
				t.field("BLS key", r.BLSKey)
				t.field("BLS proof", r.BLSProof)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&operator, "operator", "", "address of the account that will register the validator, or the name of its key")
	flags.StringVar(&consensusKey, "consensus-key", "", "consensus key, 64 hexadecimal digits (default the home's)")
	flags.BoolVar(&newGenesis, "new-genesis", false, "for the genesis of a network that is being made, though the home has one")
	return cmd
}

// operator reads the address of an operator, or the name of its key here.
func (c *cli) operator(who string) (ledger.Address, error) {
	if who == "" {
		return ledger.Address{}, usagef("which account will operate the validator? name it with --operator")
	}
	if strings.HasPrefix(who, ledger.AddressPrefix+"1") {
		a, err := ledger.ParseAddress(who)
		if err != nil {
			return a, usagef("--operator: %w", err)
		}
		return a, nil
	}
	ring, err := c.keyringOf(who)
	if err != nil {
		return ledger.Address{}, err
	}
	info, err := ring.Info(who)
	if err != nil || info.Public.IsZero() {
		return ledger.Address{}, usagef("--operator is %q, neither an address (trib1...) nor the name of a key here", who)
	}
	return ledger.NewAddress(0, info.Public), nil
}

// provenNetwork returns the id of the network that a proof of a home directory's
// keys is for, zero for one whose genesis is being made.
func provenNetwork(dir home.Dir, newGenesis bool) (ledger.NetworkID, error) {
	if newGenesis {
		return ledger.NetworkID{}, nil
	}
	doc, err := node.LoadGenesis(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger.NetworkID{}, nil
	}
	if err != nil {
		return ledger.NetworkID{}, err
	}
	return doc.NetworkID(), nil
}

// consensusKey returns the key given as text, or that of a node's identity in a
// home directory unless a remote signer has it: a key file that was left behind is
// not what that one signs with, and a registered key stays for ever.
func (c *cli) consensusKey(dir home.Dir, id *node.Identity, text string) (key ledger.PublicKey, err error) {
	if text != "" {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != ledger.PublicKeySize {
			return key, usagef("--consensus-key is not %d hexadecimal digits", keyDigits)
		}
		if key, err = ledger.PublicKeyFromBytes(raw); err != nil {
			return key, usagef("--consensus-key: %w", err)
		}
		return key, nil
	}
	settings, err := config.Load(string(dir), c.environ, nil)
	if err != nil {
		return key, fmt.Errorf("where the consensus key lies is not known: %w; name the key with --consensus-key", err)
	}
	if settings.Signer.Mode == config.SignerRemote || len(id.PublicKey) != ledger.PublicKeySize {
		return key, usagef("the consensus key of %s lies with a remote signer: name it with --consensus-key, as 'tributary signer init' shows it", dir)
	}
	return ledger.PublicKey(id.PublicKey), nil
}
