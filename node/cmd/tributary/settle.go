package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func (c *cli) settleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "settle", Short: "Redeem vouchers on the chain"}
	cmd.AddCommand(c.settleSubmitCommand(), c.settleStreamCommand(), c.settleStatusCommand(), c.settleListCommand(),
		c.settleEstimateCommand())
	return cmd
}

func (c *cli) settleSubmitCommand() *cobra.Command {
	var from string
	var closing, atomic bool
	var how submitHow
	cmd := &cobra.Command{
		Use:   "submit VOUCHER...",
		Short: "Redeem vouchers of one payee by one transaction; - reads them from standard input",
		Long: `Redeem vouchers of one payee by one transaction. Anyone may submit them: the
signer pays the fee, the money goes to the payee. Only the payee can close.`,
		Example: "  tributary settle submit 1f2e... --from bob --close",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.connected(func(run *run) error {
			batch, err := run.oneBatch(closing, atomic)
			if err != nil {
				return err
			}
			return run.submit(from, chain.KindSettle, batch.Encode(), how)
		}),
	}
	cmd.Flags().BoolVar(&closing, "close", false, "close the channels after that")
	cmd.Flags().BoolVar(&atomic, "atomic", false, "redeem all or none")
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

func (c *cli) settleEstimateCommand() *cobra.Command {
	var from string
	var closing, atomic bool
	cmd := &cobra.Command{
		Use:   "estimate VOUCHER...",
		Short: "Show what redeeming vouchers would pay and cost now, and submit nothing",
		Args:  cobra.MinimumNArgs(1),
		RunE: c.connected(func(run *run) error {
			batch, err := run.oneBatch(closing, atomic)
			if err != nil {
				return err
			}
			return run.submit(from, chain.KindSettle, batch.Encode(), submitHow{dryRun: true})
		}),
	}
	cmd.Flags().BoolVar(&closing, "close", false, "close the channels after that")
	cmd.Flags().BoolVar(&atomic, "atomic", false, "redeem all or none")
	c.signing(cmd, &from)
	return cmd
}

// oneBatch makes a batch of the vouchers that the arguments are.
func (run *run) oneBatch(closing, atomic bool) (channel.Batch, error) {
	texts := run.args
	if len(texts) == 1 && texts[0] == "-" {
		data, err := run.conn.cli.readInput("-")
		if err != nil {
			return channel.Batch{}, err
		}
		if texts, err = lines(data); err != nil {
			return channel.Batch{}, err
		}
	}
	vouchers := make([]pay.Voucher, 0, len(texts))
	for i, text := range texts {
		v, err := parseVoucher(text)
		if err != nil {
			return channel.Batch{}, usagef("voucher %d: %w", i+1, err)
		}
		vouchers = append(vouchers, v)
	}
	batches, err := run.batches(newChannelCache(run), vouchers)
	if err != nil {
		return channel.Batch{}, err
	}
	switch {
	case len(batches) == 0:
		return channel.Batch{}, usagef("no vouchers")
	case len(batches) > 1:
		return channel.Batch{}, usagef("the vouchers pay %d payees: submit those of one at a time", len(batches))
	}
	batch := batches[0]
	if atomic {
		batch.Mode = channel.Atomic
	}
	if closing {
		closeChannels(batch.Entries)
	}
	params := run.conn.Params()
	if err := pay.CheckBatch(&params, &batch); err != nil {
		return channel.Batch{}, usagef("%w; submit the others by another transaction", err)
	}
	return batch, nil
}

// closeChannels marks the last entry of each channel.
func closeChannels(entries []channel.Entry) {
	for i := range entries {
		entries[i].Close = i == len(entries)-1 || entries[i+1].Index != entries[i].Index
	}
}

func lines(data []byte) ([]string, error) {
	var list []string
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		if text := strings.TrimSpace(scanner.Text()); text != "" {
			list = append(list, text)
		}
	}
	return list, scanner.Err()
}

func parseVoucher(text string) (pay.Voucher, error) {
	data, err := hex.DecodeString(text)
	if err != nil {
		return pay.Voucher{}, fmt.Errorf("not hexadecimal: %w", err)
	}
	return pay.DecodeVoucher(data)
}

// channelCache reads each channel once.
type channelCache struct {
	run   *run
	known map[ledger.Hash]client.ChannelInfo
}

func newChannelCache(run *run) *channelCache {
	return &channelCache{run, map[ledger.Hash]client.ChannelInfo{}}
}

func (c *channelCache) get(id ledger.Hash) (client.ChannelInfo, error) {
	info, ok := c.known[id]
	if ok {
		return info, nil
	}
	info, err := c.run.conn.Channel(c.run.ctx, id)
	if err == nil {
		c.known[id] = info
	}
	return info, err
}

// batches sorts vouchers into one batch for each payee, keeping the highest of
// each lane.
func (run *run) batches(channels *channelCache, vouchers []pay.Voucher) ([]channel.Batch, error) {
	type lane struct {
		id   ledger.Hash
		lane uint16
	}
	best := map[lane]pay.Voucher{}
	for _, v := range vouchers {
		k := lane{v.ChannelID, v.Lane}
		if old, ok := best[k]; !ok || v.Cumulative > old.Cumulative {
			best[k] = v
		}
	}
	byPayee := map[ledger.Address][]channel.Entry{}
	for _, v := range best {
		info, err := channels.get(v.ChannelID)
		if err != nil {
			return nil, err
		}
		if info.Closed != nil {
			return nil, exitf(exitNotFound, "channel %s is closed: %s at height %d", info.ID, info.Closed.Kind, info.Closed.Height)
		}
		byPayee[info.Payee] = append(byPayee[info.Payee], channel.Entry{
			Index: info.Index, Lane: uint8(v.Lane), Claim: channel.ClaimVoucher, Cumulative: v.Cumulative, Units: v.Units,
			UsageRoot: v.UsageRoot, Signature: v.Signature,
		})
	}
	var batches []channel.Batch
	for payee, entries := range byPayee {
		slices.SortFunc(entries, func(a, b channel.Entry) int {
			return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Lane, b.Lane))
		})
		batches = append(batches, channel.Batch{Payee: payee, Entries: entries})
	}
	slices.SortFunc(batches, func(a, b channel.Batch) int { return a.Payee.Compare(b.Payee) })
	return batches, nil
}

func (c *cli) settleStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status HASH",
		Short: "Show a settlement and what became of its entries",
		Args:  first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			hash, err := parseHash(run.args[0])
			if err != nil {
				return err
			}
			s, err := run.conn.Settlement(run.ctx, hash)
			if err != nil {
				return err
			}
			return c.printTx(s, nil)
		}),
	}
}

func (c *cli) settleListCommand() *cobra.Command {
	var payee string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the settlements that paid an account, newest first",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			if payee == "" {
				return usagef("who was paid? name the payee with --payee")
			}
			address, err := run.conn.address(payee)
			if err != nil {
				return err
			}
			return c.printTxs(limit, run.conn.Settlements(run.ctx, address))
		}),
	}
	cmd.Flags().StringVar(&payee, "payee", "", "the account that was paid")
	limitFlag(cmd, &limit)
	return cmd
}
