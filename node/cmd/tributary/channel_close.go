package main

import (
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// offerLife is for how many blocks an offer to close holds.
const offerLife = 1_000

func (c *cli) channelCloseCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "close CHANNEL",
		Short: "Close a channel: the payee at once, the payer after the challenge window",
		Long: `Close a channel. Signed by the payee it closes at once, and the payer gets back
what was not redeemed: redeem the newest voucher before, or both in one with
'tributary settle submit --close'. Signed by the payer it closes after the
challenge window, in which the payee can still redeem.`,
		Args: first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			info, err := run.channel(run.args[0])
			if err != nil {
				return err
			}
			if err := stillOpen(info); err != nil {
				return err
			}
			key, err := run.conn.key(from)
			if err != nil {
				return err
			}
			if key.Address(info.Payee.Zone()) == info.Payee {
				batch := channel.Batch{Payee: info.Payee, Entries: []channel.Entry{{Index: info.Index, Close: true}}}
				return run.submit(from, chain.KindSettle, batch.Encode(), how)
			}
			request := channel.RequestClose{Channel: refOf(info)} // the rules say no if it is not the payer
			return run.submit(from, chain.KindRequestClose, request.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

type coopClose struct {
	from   string
	with   string
	accept string
	final  amountFlag
	offer  bool
	how    submitHow
}

func (c *cli) channelCoopCloseCommand() *cobra.Command {
	var cc coopClose
	cmd := &cobra.Command{
		Use:   "coop-close CHANNEL",
		Short: "Close a channel at once on terms that both parties sign",
		Long: `Close a channel at once on terms that both parties sign: what the payee gets in
all. The parties need not be at one place: the payer makes an offer, the payee
accepts and submits it.

  payer:  tributary channel coop-close CHANNEL --final 4 --from alice --offer
  payee:  tributary channel coop-close CHANNEL --accept OFFER --from bob

Whoever has both keys names the payee's with --with.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error { return run.coopClose(cc) }),
	}
	flags := cmd.Flags()
	flags.Var(&cc.final, "final", "what the payee gets in all, burn and earlier redemptions included")
	flags.BoolVar(&cc.offer, "offer", false, "sign as the payer, print the offer, and submit nothing")
	flags.StringVar(&cc.accept, "accept", "", "an offer of the payer to sign as the payee, and to submit")
	flags.StringVar(&cc.with, "with", "", "name of the payee's key")
	c.signing(cmd, &cc.from)
	cc.how.flags(cmd)
	return cmd
}

func (run *run) coopClose(cc coopClose) error {
	info, err := run.channel(run.args[0])
	if err != nil {
		return err
	}
	if err := stillOpen(info); err != nil {
		return err
	}
	if cc.accept != "" {
		return run.acceptClose(info, cc, cc.accept, cc.from)
	}
	if !cc.final.given {
		return usagef("on which terms? say with --final what the payee gets in all")
	}
	if cc.offer == (cc.with != "") {
		return usagef("give either --offer, for the payee to accept, or --with and the name of the payee's key")
	}
	if cc.final.value > info.Deposit {
		return fmt.Errorf("the payee cannot get %s in all: the channel's deposit is %s", coins(cc.final.value), coins(info.Deposit))
	}
	offer, err := run.offerClose(info, cc)
	if err != nil {
		return err
	}
	if !cc.offer {
		return run.acceptClose(info, cc, offer, cc.with)
	}
	result := struct {
		Offer string `json:"offer"`
	}{offer}
	return run.conn.cli.print(result, func(t *table) { t.line("%s", offer) })
}

// offerClose signs an offer as the payer and returns it in hexadecimal digits.
func (run *run) offerClose(info client.ChannelInfo, cc coopClose) (string, error) {
	key, err := run.conn.key(cc.from)
	if err != nil {
		return "", err
	}
	offer := channel.CoopClose{
		Channel: refOf(info), Final: cc.final.value, ValidUntil: info.View.Height + offerLife, PayerKey: key.Public(),
	}
	terms := offer.Terms()
	offer.PayerSig = key.Sign(terms.Signed(run.conn.Domain()))
	return hex.EncodeToString(offer.Encode()), nil
}

// acceptClose signs an offer as the payee, with the key called name, and submits
// it as cc.from.
func (run *run) acceptClose(info client.ChannelInfo, cc coopClose, text, name string) error {
	data, err := hex.DecodeString(text)
	if err != nil {
		return usagef("the offer is not hexadecimal")
	}
	offer, err := channel.DecodeCoopClose(data)
	if err != nil {
		return usagef("the offer is none: %w", err)
	}
	terms := offer.Terms()
	switch {
	case offer.Channel != refOf(info):
		return fmt.Errorf("the offer is for channel %s, not %s", offer.Channel.ID, info.ID)
	case ledger.NewAddress(info.Payer.Zone(), offer.PayerKey) != info.Payer,
		!ledger.Verify(offer.PayerKey, terms.Signed(run.conn.Domain()), offer.PayerSig):
		return fmt.Errorf("the offer is not signed by the payer %s", info.Payer)
	case cc.final.given && offer.Final != cc.final.value:
		return fmt.Errorf("the offer pays %s in all, not %s", coins(offer.Final), coins(cc.final.value))
	}
	key, err := run.conn.key(name)
	if err != nil {
		return err
	}
	run.conn.cli.note("the payee gets %s in all, of which %s are redeemed already", coins(offer.Final), coins(info.Redeemed))
	offer.PayeeKey, offer.PayeeSig = key.Public(), key.Sign(terms.Signed(run.conn.Domain()))
	return run.submit(cc.from, chain.KindCoopClose, offer.Encode(), cc.how)
}
