package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// voucherKeys is among how many voucher keys of an account the one of a channel
// is looked for.
const voucherKeys = 1_024

// channelResult is what is shown of a channel.
type channelResult struct {
	ID         ledger.Hash   `json:"id"`
	Index      uint64        `json:"index"`
	State      string        `json:"state"`
	Payer      string        `json:"payer"`
	Payee      string        `json:"payee"`
	VoucherKey string        `json:"voucher_key,omitempty"`
	Service    uint32        `json:"service"`
	Terms      string        `json:"terms,omitempty"`
	Deposit    drops         `json:"deposit"`
	Redeemed   drops         `json:"redeemed"`
	Burned     drops         `json:"burned"`
	Remaining  drops         `json:"remaining"`
	Fees       *takenResult  `json:"fees,omitempty"` // as registered when it was opened
	Rent       drops         `json:"rent"`
	OpenHeight uint64        `json:"open_height"`
	ExpiresAt  uint64        `json:"expires_at"`
	CloseAt    uint64        `json:"close_at"`
	Challenge  uint32        `json:"challenge"`
	Clock      uint64        `json:"settlement_clock"`
	Lanes      []laneResult  `json:"lanes,omitempty"`
	Closed     *closedResult `json:"closed,omitempty"`
}

// takenResult is what the payer's zone, which burns it, and the service's owner take of what
// a channel pays out.
type takenResult struct {
	ZoneShareBps  uint32 `json:"zone_share_bps"`
	ZoneEntryFee  drops  `json:"zone_entry_fee"`
	OwnerShareBps uint32 `json:"owner_share_bps"`
	OwnerEntryFee drops  `json:"owner_entry_fee"`
}

type laneResult struct {
	Lane      uint8       `json:"lane"`
	Redeemed  drops       `json:"redeemed"`
	Units     uint64      `json:"units"`
	UsageRoot ledger.Hash `json:"usage_root"`
}

type closedResult struct {
	How      string `json:"how"`
	Height   uint64 `json:"height"`
	Refunded drops  `json:"refunded"`
}

func newChannelResult(i client.ChannelInfo) channelResult {
	r := channelResult{
		ID: i.ID, Index: i.Index, State: i.State.String(), Payer: i.Payer.String(), Payee: i.Payee.String(),
		Service: i.Service, Deposit: drops(i.Deposit), Redeemed: drops(i.Redeemed), Burned: drops(i.Burned),
		Rent: drops(i.Rent), OpenHeight: i.OpenHeight, ExpiresAt: i.ExpiresAt, CloseAt: i.CloseAt,
		Challenge: i.Challenge, Clock: i.View.Clock,
	}
	if i.Closed != nil {
		r.Closed = &closedResult{i.Closed.Kind.String(), i.Closed.Height, drops(i.Closed.Refunded)}
	} else {
		r.Remaining, r.VoucherKey = drops(i.Remaining()), i.VoucherKey.String()
	}
	if !i.Terms.IsZero() {
		r.Terms = i.Terms.String()
	}
	if f := i.Fees; f != (channel.Fees{}) {
		r.Fees = &takenResult{f.Zone.ShareBps, drops(f.Zone.Entry), f.Service.ShareBps, drops(f.Service.Entry)}
	}
	for _, l := range i.Lanes {
		r.Lanes = append(r.Lanes, laneResult{l.Lane, drops(l.Redeemed), l.Units, l.UsageRoot})
	}
	return r
}

func (c *cli) channelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "channel", Short: "Open, show, fund and close payment channels, and sign vouchers"}
	cmd.AddCommand(c.channelOpenCommand(), c.channelListCommand(), c.channelShowCommand(), c.channelTopUpCommand(),
		c.channelExtendCommand(), c.channelCloseCommand(), c.channelCoopCloseCommand(), c.channelWatchCommand(),
		c.channelVoucherCommand())
	return cmd
}

type channelOpen struct {
	from, to  string
	deposit   amountFlag
	lifetime  uint64
	challenge uint32
	service   uint32
	terms     string
	count     int
	key       uint64
}

func (c *cli) channelOpenCommand() *cobra.Command {
	var open channelOpen
	cmd := &cobra.Command{
		Use:     "open",
		Short:   "Open channels to a payee by one signature",
		Example: "  tributary channel open --from alice --to bob --deposit 10",
		Args:    cobra.NoArgs,
		RunE:    c.connected(func(run *run) error { return run.openChannels(open) }),
	}
	c.signing(cmd, &open.from)
	flags := cmd.Flags()
	flags.StringVar(&open.to, "to", "", "the payee: an address or the name of a key")
	flags.Var(&open.deposit, "deposit", "what each channel can pay at most, in coins, or drops (\"500drops\")")
	flags.Uint64Var(&open.lifetime, "lifetime", 0, "blocks after which a channel expires (default 20 challenge windows)")
	flags.Uint32Var(&open.challenge, "challenge", 0, "blocks that the payee has to redeem after the payer closes (default the network's)")
	flags.Uint32Var(&open.service, "service", 0, "number of the service that is paid for")
	flags.StringVar(&open.terms, "terms", "", "hash of what payer and payee agreed on")
	flags.IntVar(&open.count, "count", 1, "how many channels")
	flags.Uint64Var(&open.key, "voucher-key", 0, "which of the account's voucher keys signs, 0 to 1023")
	return cmd
}

func (run *run) openChannels(open channelOpen) error {
	switch {
	case open.to == "":
		return usagef("who is paid? name the payee with --to")
	case !open.deposit.given:
		return usagef("how much can the channel pay? say it with --deposit")
	case open.count < 1 || open.count > channel.MaxOpens:
		return usagef("--count is %d, want 1 to %d", open.count, channel.MaxOpens)
	case open.key >= voucherKeys:
		return usagef("--voucher-key is %d, want 0 to %d", open.key, voucherKeys-1)
	}
	if most := run.conn.Params().MaxLifetime; open.lifetime > most {
		return usagef("--lifetime is %d, at most %d blocks", open.lifetime, most)
	}
	payee, err := run.conn.address(open.to)
	if err != nil {
		return err
	}
	key, err := run.conn.key(open.from)
	if err != nil {
		return err
	}
	account, err := run.conn.account(open.from)
	if err != nil {
		return err
	}
	spec := channel.OpenParams{
		Payee: payee, VoucherKey: pay.VoucherKey(key.Seed(), open.key).Public(), Deposit: open.deposit.value,
		Challenge: open.challenge, Service: open.service,
	}
	if spec.Challenge == 0 {
		spec.Challenge = run.conn.Params().DefaultChallenge
	}
	if open.terms != "" {
		if spec.Terms, err = parseHash(open.terms); err != nil {
			return err
		}
	}
	head, err := run.conn.Block(run.ctx, 0)
	if err != nil {
		return err
	}
	if open.lifetime == 0 {
		open.lifetime = min(defaultLifetime*uint64(spec.Challenge), run.conn.Params().MaxLifetime)
	}
	spec.ExpiresAt = head.Clock + open.lifetime
	params := make([]channel.OpenParams, open.count)
	for i := range params {
		params[i] = spec
	}
	opened, receipt, err := account.OpenChannels(run.ctx, params)
	if err != nil {
		return err
	}
	return run.printOpened(opened, receipt.Hash, receipt.Fee)
}

// defaultLifetime is in challenge windows.
const defaultLifetime = 20

func (run *run) printOpened(opened []pay.Channel, tx ledger.Hash, fee ledger.Amount) error {
	type row struct {
		ID        ledger.Hash `json:"id"`
		Index     uint64      `json:"index"`
		Deposit   drops       `json:"deposit"`
		ExpiresAt uint64      `json:"expires_at"`
	}
	result := struct {
		Transaction ledger.Hash `json:"transaction"`
		Fee         drops       `json:"fee"`
		Channels    []row       `json:"channels"`
	}{Transaction: tx, Fee: drops(fee)}
	for _, o := range opened {
		result.Channels = append(result.Channels, row{o.ID, o.Index, drops(o.Deposit), o.ExpiresAt})
	}
	return run.conn.cli.print(result, func(t *table) {
		t.row("CHANNEL", "INDEX", "DEPOSIT (COINS)", "EXPIRES AT")
		for _, r := range result.Channels {
			t.row(r.ID, r.Index, ledger.Amount(r.Deposit), r.ExpiresAt)
		}
	})
}

func (c *cli) channelListCommand() *cobra.Command {
	var payer, payee, state string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the channels of a payer or payee, oldest first",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			of, err := run.parties(payer, payee)
			if err != nil {
				return err
			}
			states := map[string]client.ChannelState{
				"": 0, "open": client.ChannelOpen, "closing": client.ChannelClosing, "due": client.ChannelDue, "closed": client.ChannelClosed,
			}
			want, ok := states[state]
			if !ok {
				return usagef("--state is %q, want open, closing, due or closed", state)
			}
			rows := []channelResult{}
			for info, err := range run.conn.Channels(run.ctx, of, want) {
				if err != nil {
					return err
				}
				rows = append(rows, newChannelResult(info))
				if limit > 0 && len(rows) == limit {
					break
				}
			}
			if len(rows) == 0 {
				c.note("no such channels")
			}
			return c.print(rows, func(t *table) {
				t.row("INDEX", "CHANNEL", "STATE", "DEPOSIT (COINS)", "REDEEMED (COINS)", "DEADLINE")
				for _, r := range rows {
					t.row(r.Index, r.ID, r.State, ledger.Amount(r.Deposit), ledger.Amount(r.Redeemed), r.deadline())
				}
			})
		}),
	}
	cmd.Flags().StringVar(&payer, "payer", "", "channels that this account pays from")
	cmd.Flags().StringVar(&payee, "payee", "", "channels that pay this account")
	cmd.Flags().StringVar(&state, "state", "", "only open, closing, due or closed ones (default all but closed)")
	limitFlag(cmd, &limit)
	return cmd
}

// parties reads --payer and --payee, of which exactly one must be given.
func (run *run) parties(payer, payee string) (of client.Parties, err error) {
	if (payer == "") == (payee == "") {
		return of, usagef("give either --payer or --payee")
	}
	if payer != "" {
		of.Payer, err = run.conn.address(payer)
	} else {
		of.Payee, err = run.conn.address(payee)
	}
	return of, err
}

// channel reads the channel that an argument names.
func (run *run) channel(name string) (client.ChannelInfo, error) {
	id, err := parseHash(name)
	if err != nil {
		return client.ChannelInfo{}, err
	}
	return run.conn.Channel(run.ctx, id)
}

func (c *cli) channelShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show CHANNEL",
		Short: "Show a channel, open or closed",
		Args:  first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			info, err := run.channel(run.args[0])
			if err != nil {
				return err
			}
			r := newChannelResult(info)
			return c.print(r, func(t *table) { r.fields(t) })
		}),
	}
}

// deadline is the settlement clock at which the channel ends, "-" once it has.
func (r channelResult) deadline() string {
	switch {
	case r.Closed != nil:
		return "-"
	case r.CloseAt != 0:
		return strconv.FormatUint(min(r.ExpiresAt, r.CloseAt), 10)
	default:
		return strconv.FormatUint(r.ExpiresAt, 10)
	}
}

func (r channelResult) fields(t *table) {
	t.field("channel", r.ID)
	t.field("index", r.Index)
	t.field("state", r.State)
	t.field("payer", r.Payer)
	t.field("payee", r.Payee)
	t.field("deposit", ledger.Amount(r.Deposit))
	t.field("redeemed", ledger.Amount(r.Redeemed))
	t.field("  of it burned", ledger.Amount(r.Burned))
	if f := r.Fees; f != nil {
		t.field("fees of the zone, burned", feesText(f.ZoneShareBps, ledger.Amount(f.ZoneEntryFee)))
		t.field("fees of the service's owner", feesText(f.OwnerShareBps, ledger.Amount(f.OwnerEntryFee)))
	}
	if r.Closed != nil {
		t.field("closed", fmt.Sprintf("%s at height %d", r.Closed.How, r.Closed.Height))
		t.field("refunded", ledger.Amount(r.Closed.Refunded))
		return
	}
	t.field("left", ledger.Amount(r.Remaining))
	t.field("settlement clock", r.Clock)
	t.field("expires at", r.ExpiresAt)
	if r.CloseAt != 0 {
		t.field("closes at", r.CloseAt)
	}
	t.field("challenge window", r.Challenge)
	t.field("voucher key", r.VoucherKey)
	for _, l := range r.Lanes {
		t.field(fmt.Sprintf("lane %d redeemed", l.Lane), ledger.Amount(l.Redeemed))
	}
}

func (c *cli) channelTopUpCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:   "top-up CHANNEL TOTAL",
		Short: "Raise a channel's deposit to a new total; anyone may pay",
		Args:  first(cobra.ExactArgs(2), parseHash),
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
			if total <= info.Deposit {
				return fmt.Errorf("the channel's deposit is %s already: name the new total, not what is added", coins(info.Deposit))
			}
			topUp := channel.TopUp{Channel: refOf(info), NewTotal: total}
			return run.submit(from, chain.KindTopUp, topUp.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

// stillOpen returns an error that says how a channel ended, if it has.
func stillOpen(info client.ChannelInfo) error {
	if info.Closed == nil {
		return nil
	}
	return fmt.Errorf("channel %s is closed: %s at height %d", info.ID, info.Closed.Kind, info.Closed.Height)
}

func refOf(info client.ChannelInfo) channel.Ref { return channel.Ref{Index: info.Index, ID: info.ID} }

func (c *cli) channelExtendCommand() *cobra.Command {
	var from string
	var until, by uint64
	var how submitHow
	cmd := &cobra.Command{
		Use:   "extend CHANNEL",
		Short: "Move a channel's expiry; only the payer may",
		Args:  first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			if (until == 0) == (by == 0) {
				return usagef("give either --until or --by")
			}
			if most := run.conn.Params().MaxLifetime; by > most {
				return usagef("--by is %d, at most %d blocks", by, most)
			}
			info, err := run.channel(run.args[0])
			if err != nil {
				return err
			}
			if err := stillOpen(info); err != nil {
				return err
			}
			if by != 0 {
				until = info.ExpiresAt + by
			}
			extend := channel.Extend{Channel: refOf(info), NewExpiry: until}
			return run.submit(from, chain.KindExtend, extend.Encode(), how)
		}),
	}
	cmd.Flags().Uint64Var(&until, "until", 0, "the new expiry, settlement clock")
	cmd.Flags().Uint64Var(&by, "by", 0, "so many blocks later than now")
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}
