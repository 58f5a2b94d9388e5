package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func (c *cli) channelVoucherCommand() *cobra.Command {
	var from, root string
	var lane uint8
	var units uint64
	cmd := &cobra.Command{
		Use:   "voucher CHANNEL TOTAL",
		Short: "Sign a voucher for the total that a channel owes on a lane",
		Long: `Sign a voucher for the total that a channel owes on a lane: not what is paid on
top, but all that was ever owed. The newest voucher replaces all before it, so
signing a total twice pays it once. Hand the voucher to the payee, who redeems it
with 'tributary settle submit'.`,
		Example: "  tributary channel voucher 1f2e... 4 --from alice",
		Args:    first(cobra.ExactArgs(2), parseHash),
		RunE: c.connected(func(run *run) error {
			total, err := ledger.ParseAmount(run.args[1])
			if err != nil {
				return &usageError{err}
			}
			info, err := run.channel(run.args[0])
			if err != nil {
				return err
			}
			if err := stillOpen(info); err != nil {
				return err
			}
			v := channel.Voucher{ChannelID: info.ID, Lane: uint16(lane), Cumulative: total, Units: units}
			if root != "" {
				if v.UsageRoot, err = parseHash(root); err != nil {
					return err
				}
			}
			switch {
			case lane >= channel.Lanes:
				return usagef("--lane is %d, want 0 to %d", lane, channel.Lanes-1)
			case total > info.Deposit:
				return fmt.Errorf("the channel's deposit is %s; top it up before you sign for %s", coins(info.Deposit), coins(total))
			}
			key, err := run.conn.key(from)
			if err != nil {
				return err
			}
			signer, err := voucherKey(key, info.VoucherKey)
			if err != nil {
				return err
			}
			signed := pay.Voucher{Voucher: v, Signature: signer.Sign(v.Signed(run.conn.Domain()))}
			text := hex.EncodeToString(signed.Encode())
			result := struct {
				Channel    ledger.Hash `json:"channel"`
				Lane       uint8       `json:"lane"`
				Cumulative drops       `json:"cumulative"`
				Units      uint64      `json:"units"`
				Voucher    string      `json:"voucher"`
			}{info.ID, lane, drops(total), units, text}
			return c.print(result, func(t *table) { t.line("%s", text) })
		}),
	}
	flags := cmd.Flags()
	flags.Uint8Var(&lane, "lane", 0, "lane of the channel, 0 to 63")
	flags.Uint64Var(&units, "units", 0, "total billing units that it is owed for")
	flags.StringVar(&root, "usage-root", "", "root of the lane's usage log")
	c.signing(cmd, &from)
	return cmd
}

// voucherKey finds the voucher key of an account that belongs to a public key.
func voucherKey(account ledger.PrivateKey, public ledger.PublicKey) (ledger.PrivateKey, error) {
	for i := range uint64(voucherKeys) {
		if key := pay.VoucherKey(account.Seed(), i); key.Public() == public {
			return key, nil
		}
	}
	return ledger.PrivateKey{}, fmt.Errorf("the channel's vouchers are signed by key %s, which is not one of this account", public)
}
