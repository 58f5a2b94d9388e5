package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/testnet"
)

func (c *cli) queryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "query", Short: "Read accounts, blocks and parameters from a node"}
	cmd.AddCommand(c.queryAccountCommand(), c.queryBlockCommand(), c.queryChainCommand(), c.queryParamsCommand(), c.queryValidatorsCommand(),
		c.queryCertificateCommand())
	return cmd
}

func (c *cli) queryAccountCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "account ADDRESS|NAME",
		Short: "Show an account's balance and nonces",
		Args:  cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			address, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			a, err := run.conn.AccountInfo(run.ctx, address)
			if err != nil {
				return err
			}
			result := struct {
				Address    string `json:"address"`
				Balance    drops  `json:"balance"`
				NonceFloor uint64 `json:"nonce_floor"`
				NextNonce  uint64 `json:"next_nonce"`
				Index      uint64 `json:"index"`
				Height     uint64 `json:"height"`
			}{a.Address.String(), drops(a.Balance), a.NonceFloor, a.NextNonce, a.Index, a.Height}
			return c.print(result, func(t *table) {
				t.field("address", a.Address)
				t.field("balance", a.Balance)
				t.field("next nonce", a.NextNonce)
				t.field("at height", a.Height)
			})
		}),
	}
}

// totalsResult is where the money is.
type totalsResult struct {
	Accounts drops `json:"accounts"`
	Escrow   drops `json:"escrow"`
	Rent     drops `json:"rent"`
	Burned   drops `json:"burned"`
	Fees     drops `json:"fees"`
	Staked   drops `json:"staked"`
	Rewards  drops `json:"rewards"`
	Supply   drops `json:"supply"`
	Minted   drops `json:"minted"`
}

func newTotalsResult(t settlement.Totals) totalsResult {
	return totalsResult{
		drops(t.Accounts), drops(t.Escrow), drops(t.Rent), drops(t.Burned), drops(t.Fees), drops(t.Staked), drops(t.Rewards),
		drops(t.Sum()), drops(t.Minted),
	}
}

func (r totalsResult) fields(t *table) {
	t.field("in accounts", ledger.Amount(r.Accounts))
	t.field("in channels", ledger.Amount(r.Escrow))
	t.field("held as rent", ledger.Amount(r.Rent))
	t.field("burned", ledger.Amount(r.Burned))
	t.field("collected fees", ledger.Amount(r.Fees))
	t.field("staked", ledger.Amount(r.Staked))
	t.field("rewards not claimed", ledger.Amount(r.Rewards))
	t.field("supply", ledger.Amount(r.Supply))
	t.field("  of it minted", ledger.Amount(r.Minted))
}

// latest stands for the newest block, certificate or committee on the command line.
const latest = "latest"

// parseHeight reads the argument of a command about a block: a height from 1, or
// "latest", which is 0.
func parseHeight(text string) (uint64, error) {
	if text == latest {
		return 0, nil
	}
	height, err := strconv.ParseUint(text, 10, 63)
	if err != nil || height == 0 {
		return 0, usagef("%q is not a height from 1, nor %q", text, latest)
	}
	return height, nil
}

func (c *cli) queryBlockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "block [HEIGHT|latest]",
		Short: "Show a block, the newest without HEIGHT or with \"latest\"",
		Args:  cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			which := latest
			if len(run.args) == 1 {
				which = run.args[0]
			}
			height, err := parseHeight(which)
			if err != nil {
				return err
			}
			b, err := run.conn.Block(run.ctx, height)
			if err != nil {
				return err
			}
			result := struct {
				Height       uint64        `json:"height"`
				Time         time.Time     `json:"time"`
				Hash         string        `json:"hash"`
				AppHash      string        `json:"app_hash"` // after the block before
				Proposer     string        `json:"proposer"`
				Clock        uint64        `json:"settlement_clock"`
				Size         uint64        `json:"size"`
				Finalised    uint32        `json:"finalised"`
				Transactions []ledger.Hash `json:"transactions"`
				Totals       totalsResult  `json:"totals"`
			}{
				b.Header.Height, b.Header.Time, b.Header.Hash.String(), b.Header.AppHash.String(), hex.EncodeToString(b.Header.Proposer),
				b.Clock, b.Size, b.Finalised, b.TxHashes, newTotalsResult(b.Totals),
			}
			return c.print(result, func(t *table) {
				t.field("height", result.Height)
				t.field("time", result.Time)
				t.field("hash", result.Hash)
				t.field("app hash before", result.AppHash)
				t.field("proposer", result.Proposer)
				t.field("settlement clock", result.Clock)
				t.field("bytes", result.Size)
				t.field("channels finalised", result.Finalised)
				t.field("transactions", len(result.Transactions))
				for _, h := range result.Transactions {
					t.field("  transaction", h)
				}
			})
		}),
	}
}

func (c *cli) queryChainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "chain",
		Short: "Show the network, the head of its chain, and where the money is",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			b, err := run.conn.Block(run.ctx, 0)
			if err != nil {
				return err
			}
			n := run.conn.Network()
			result := struct {
				Network   string       `json:"network"`
				NetworkID string       `json:"network_id"`
				ChainID   uint32       `json:"chain_id"`
				Local     bool         `json:"local"`
				Height    uint64       `json:"height"`
				Time      time.Time    `json:"time"`
				Clock     uint64       `json:"settlement_clock"`
				Totals    totalsResult `json:"totals"`
			}{
				n.Name, n.Domain.Network.String(), uint32(n.Domain.Chain), n.Local,
				b.Header.Height, b.Header.Time, b.Clock, newTotalsResult(b.Totals),
			}
			return c.print(result, func(t *table) {
				t.field("network", result.Network)
				t.field("network id", result.NetworkID)
				t.field("height", result.Height)
				t.field("time", result.Time)
				t.field("settlement clock", result.Clock)
				result.Totals.fields(t)
			})
		}),
	}
}

func (c *cli) queryParamsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "params",
		Short: "Show the consensus parameters: fees, deposits, windows",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			p := run.conn.Params()
			result := struct {
				TxFee            drops    `json:"tx_fee"`
				PaymentFee       drops    `json:"payment_fee"`
				OpenFee          drops    `json:"open_fee"`
				EntryFee         drops    `json:"entry_fee"`
				StepFee          drops    `json:"step_fee"`
				Rent             drops    `json:"rent"`
				MinDeposit       drops    `json:"min_deposit"`
				BurnBps          uint32   `json:"burn_bps"`
				MinChallenge     uint32   `json:"min_challenge"`
				DefaultChallenge uint32   `json:"default_challenge"`
				MaxChallenge     uint32   `json:"max_challenge"`
				MaxLifetime      uint64   `json:"max_lifetime"`
				BlockInterval    uint32   `json:"block_interval_ms"`
				MaxBlockBytes    int64    `json:"max_block_bytes"`
				ReservedBps      uint32   `json:"reserved_bps"`
				MaxStretch       uint32   `json:"max_stretch"`
				Services         []uint32 `json:"services"`
				RegisterService  drops    `json:"register_service_fee"`
				ServiceFee       drops    `json:"service_fee"`
			}{
				drops(p.TxFee), drops(p.PaymentFee), drops(p.OpenFee), drops(p.EntryFee), drops(p.StepFee), drops(p.Rent), drops(p.MinDeposit), p.BurnBps,
				p.MinChallenge, p.DefaultChallenge, p.MaxChallenge, p.MaxLifetime, p.BlockInterval, p.MaxBlockBytes, p.ReservedBps, p.MaxStretch, p.Services,
				drops(p.Registry.RegisterFee), drops(p.Registry.ServiceFee),
			}
			return c.print(result, func(t *table) {
				t.row("fee of a transaction", p.TxFee, "coins")
				t.row("  and of each payment after the first", p.PaymentFee, "coins")
				t.row("  and of each channel opened", p.OpenFee, "coins")
				t.row("  and of each entry settled", p.EntryFee, "coins")
				t.row("  and of 16 hash steps", p.StepFee, "coins")
				t.row("rent of an open channel", p.Rent, "coins, refunded at close")
				t.row("least deposit", p.MinDeposit, "coins")
				t.row("burned of what is paid out", fmt.Sprintf("%d.%02d", p.BurnBps/100, p.BurnBps%100), "%")
				t.row("challenge window", p.DefaultChallenge, fmt.Sprintf("blocks, %d to %d", p.MinChallenge, p.MaxChallenge))
				t.row("longest life of a channel", p.MaxLifetime, "blocks")
				t.row("time between blocks", p.BlockInterval, "ms, at least")
				t.row("largest block", p.MaxBlockBytes, "bytes")
				t.row("  reserved for urgent claims", fmt.Sprintf("%d.%02d", p.ReservedBps/100, p.ReservedBps%100), "%")
				t.row("services without registration", fmt.Sprint(p.Services))
				t.row("fee of a new service, for each shard", p.Registry.RegisterFee, "coins")
				t.row("  of whatever else concerns services", p.Registry.ServiceFee, "coins")
			})
		}),
	}
}

func (c *cli) queryValidatorsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validators",
		Short: "Show the validators of the genesis at hand",
		Long: `Show the validators that the network began with, and their stakes. The genesis is
read from the running test network or from the home directory.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			doc, err := c.genesisAtHand()
			if err != nil {
				return err
			}
			type validator struct {
				Name      string `json:"name"`
				PublicKey string `json:"public_key"`
				Operator  string `json:"operator"`
				Stake     uint64 `json:"stake"`
				NodeID    string `json:"node_id"`
				Endpoint  string `json:"endpoint,omitempty"`
			}
			var list []validator
			for _, v := range doc.Validators {
				list = append(list, validator{v.Name, hex.EncodeToString(v.PublicKey), v.Operator.String(), uint64(v.Stake), v.NodeID, v.Endpoint})
			}
			return c.print(list, func(t *table) {
				t.row("VALIDATOR", "STAKE", "NODE ID", "ENDPOINT", "CONSENSUS KEY")
				for _, v := range list {
					t.row(v.Name, ledger.Amount(v.Stake), v.NodeID, v.Endpoint, v.PublicKey)
				}
			})
		},
	}
}

func (c *cli) genesisAtHand() (genesis.Document, error) {
	dir := c.network
	if dir == "" {
		var err error
		if dir, err = c.defaultTestnetDir(); err != nil {
			return genesis.Document{}, err
		}
	}
	if _, err := testnet.Find(dir); err == nil {
		return testnet.LoadGenesis(dir)
	} else if !errors.Is(err, testnet.ErrNoNetwork) || c.network != "" {
		return genesis.Document{}, err
	}
	home, err := c.homeDir()
	if err != nil {
		return genesis.Document{}, err
	}
	return node.LoadGenesis(home)
}
