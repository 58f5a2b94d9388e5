package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func (c *cli) usageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "usage", Short: "Book usage on service chains, and show what is booked and earned"}
	cmd.AddCommand(c.usageBookCommand(), c.usageShowCommand(), c.usageEarningsCommand())
	return cmd
}

// sourceHelp explains who told what is shown.
const sourceHelp = `
If the node that is asked does not run the shard another one tells it, and the answer
says which, and whether that was verified against a certificate of the shard or is only
claimed.`

// sourceResult is who told what is shown of a shard.
type sourceResult struct {
	ServedBy string `json:"served_by,omitempty"`
	Evidence string `json:"evidence"`
}

func newSource(s client.Source) sourceResult { return sourceResult{s.ServedBy, s.Evidence.String()} }

// toldBy says it in a few words.
func (s sourceResult) toldBy() string {
	if s.ServedBy == "" {
		return "the node that was asked, which runs the shard"
	}
	return s.ServedBy + ", " + s.Evidence
}

// bookedEntry is what became of a voucher.
type bookedEntry struct {
	Channel uint64     `json:"channel_index"`
	Lane    uint8      `json:"lane"`
	Code    string     `json:"code"`
	Seq     uint64     `json:"seq,omitempty"`
	Booked  sumsResult `json:"booked"`
	Total   sumsResult `json:"total"`
}

// bookingResult is what is shown of a booking.
type bookingResult struct {
	Hash    ledger.Hash   `json:"hash"`
	Service uint32        `json:"service"`
	Shard   uint32        `json:"shard"`
	Stage   string        `json:"stage"`
	Height  uint64        `json:"height,omitempty"`
	Applied int           `json:"applied"`
	Entries []bookedEntry `json:"entries"`
	Booked  sumsResult    `json:"booked"`
	sourceResult
}

func newBooking(b *client.Booking) bookingResult {
	r := bookingResult{
		Hash: b.Hash, Service: b.Service, Shard: uint32(b.Shard), Stage: b.Stage.String(), Height: b.Height, Applied: b.Applied,
		Entries: []bookedEntry{}, Booked: newSums(b.Booked), sourceResult: newSource(b.Source),
	}
	if b.Stage == 0 {
		r.Stage = "simulated"
	}
	for _, e := range b.Results {
		r.Entries = append(r.Entries, bookedEntry{e.Index, e.Lane, e.Code.String(), e.Seq, newSums(e.Booked), newSums(e.Total)})
	}
	return r
}

func (c *cli) printBookings(list []bookingResult) error {
	return c.print(list, func(t *table) {
		for i := range list {
			r := &list[i]
			if i > 0 {
				t.line("")
			}
			t.field("booking", r.Hash)
			t.field("service", r.Service)
			t.field("shard", r.Shard)
			t.field("stage", r.Stage)
			if r.Height > 0 {
				t.field("height", r.Height)
			}
			t.field("booked", fmt.Sprintf("%s: %s", plural(r.Applied, "voucher"), r.Booked))
			t.field("told by", r.toldBy())
			t.line("")
			t.row("CHANNEL", "LANE", "CODE", "NUMBER", "COINS", "UNITS", "COINS IN ALL")
			for _, e := range r.Entries {
				t.row(e.Channel, e.Lane, e.Code, e.Seq, ledger.Amount(e.Booked.Amount), e.Booked.Units, ledger.Amount(e.Total.Amount))
			}
		}
		if len(list) == 0 {
			t.line("all of it is booked already")
		}
	})
}

func (c *cli) usageBookCommand() *cobra.Command {
	var from, wait string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "book VOUCHER...",
		Short: "Book vouchers of the payee on their home shards; - reads them from standard input",
		Long: `Book vouchers, as 'tributary channel voucher' makes them, on the shards that are the
homes of their channels. The key is that of the payee. Booking moves no money and costs
nothing: it counts what was used, and at the end of an epoch the shards settle what was
booked on the main chain. Vouchers of several services or shards are booked each on its
own; one that is booked already changes nothing. If a part fails, what was booked before is
shown all the same.

A booking is included when its shard has it, and final when that is anchored on the main
chain.`,
		Example: "  tributary usage book 1f2e... --from bob",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.connected(func(run *run) error {
			stages := map[string]client.Stage{"checked": client.StageChecked, "included": client.StageIncluded, "final": client.StageFinal}
			stage, ok := stages[wait]
			if !ok {
				return usagef("--wait is %q, want final, included or checked", wait)
			}
			account, err := run.conn.account(from)
			if err != nil {
				return err
			}
			byService, err := run.usageOf(account.Address())
			if err != nil {
				return err
			}
			list := []bookingResult{}
			for _, s := range byService {
				var found []client.Booking
				found, err = run.book(account, s.service, s.entries, stage, dryRun)
				for i := range found {
					list = append(list, newBooking(&found[i]))
				}
				if err != nil {
					break
				}
			}
			if dryRun {
				c.note("nothing was submitted; this is what would happen now")
			}
			return c.finishBooking(list, err)
		}),
	}
	c.signing(cmd, &from)
	cmd.Flags().Lookup("from").Usage = "name of the key of the payee, which signs, and @ZONE if its account is not in zone 0"
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "submit nothing, and show what would happen")
	cmd.Flags().StringVar(&wait, "wait", "final", "return when the booking is final, included or only checked")
	return cmd
}

// finishBooking shows what was booked, also before a part that failed, and says why that did.
func (c *cli) finishBooking(list []bookingResult, failed error) error {
	if failed == nil {
		return c.printBookings(list)
	}
	if len(list) > 0 {
		if err := c.printBookings(list); err != nil {
			return err
		}
	}
	return bookingProblem(failed)
}

// book books vouchers of one service, or with dryRun tries to.
func (run *run) book(account *client.Account, service uint32, entries []client.UsageEntry, stage client.Stage, dryRun bool) (list []client.Booking, err error) {
	if !dryRun {
		return account.BookUsage(run.ctx, service, entries, stage)
	}
	plan, err := run.conn.PlanUsage(run.ctx, service, account.Address(), entries)
	if err != nil {
		return nil, err
	}
	for i := range plan {
		b, err := account.SimulateUsage(run.ctx, &plan[i])
		if err != nil {
			return list, err
		}
		list = append(list, b)
	}
	return list, nil
}

// bookingProblem says what to do about a refused booking.
func bookingProblem(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case errors.Is(err, chain.CodeChannelUnknown.Err()):
		return fmt.Errorf("%w; the main chain tells a channel's home of it within some blocks: try again in a moment", err)
	case errors.Is(err, chain.CodeAboveDeposit.Err()):
		return fmt.Errorf("%w; the payer has to top the channel up before more can be booked: 'tributary channel topup'", err)
	case errors.Is(err, chain.CodeStale.Err()):
		return fmt.Errorf("%w; 'tributary usage show' shows what is booked", err)
	case ok && e.Reason == "CONGESTED":
		return exitf(exitUnavailable, "%w; 'tributary route load' shows how congested shards are", err)
	}
	return err
}

// servedUsage is the vouchers of one service.
type servedUsage struct {
	service uint32
	entries []client.UsageEntry
}

// usageOf reads the vouchers that the arguments are, all for one payee, by service.
func (run *run) usageOf(payee ledger.Address) (list []servedUsage, err error) {
	texts := run.args
	if len(texts) == 1 && texts[0] == "-" {
		data, err := run.conn.cli.readInput("-")
		if err != nil {
			return nil, err
		}
		if texts, err = lines(data); err != nil {
			return nil, err
		}
	}
	channels := newChannelCache(run)
	best := map[[2]uint64]int{} // lane of a channel, to its place below
	at := map[uint32]int{}
	for i, text := range texts {
		v, err := parseVoucher(text)
		if err != nil {
			return nil, usagef("voucher %d: %w", i+1, err)
		}
		info, err := channels.get(v.ChannelID)
		if err != nil {
			return nil, err
		}
		switch {
		case info.Payee != payee:
			return nil, usagef("voucher %d pays %s, and --from is %s: a payee books its own", i+1, info.Payee, payee)
		case info.Service == 0:
			return nil, usagef("voucher %d is of channel %s, which names no service; redeem it with 'tributary settle submit'", i+1, info.ID)
		}
		place, ok := at[info.Service]
		if !ok {
			place = len(list)
			at[info.Service] = place
			list = append(list, servedUsage{service: info.Service})
		}
		s := &list[place]
		e := usageEntry(&info, &v)
		lane := [2]uint64{info.Index, uint64(v.Lane)}
		if old, ok := best[lane]; !ok {
			best[lane] = len(s.entries)
			s.entries = append(s.entries, e)
		} else if s.entries[old].Cumulative < v.Cumulative {
			s.entries[old] = e
		}
	}
	if len(list) == 0 {
		return nil, usagef("no vouchers")
	}
	return list, nil
}

func usageEntry(info *client.ChannelInfo, v *pay.Voucher) client.UsageEntry {
	return client.UsageEntry{Payer: info.Payer, Entry: channel.Entry{
		Index: info.Index, Lane: uint8(v.Lane), Claim: channel.ClaimVoucher, Cumulative: v.Cumulative, Units: v.Units,
		UsageRoot: v.UsageRoot, Signature: v.Signature,
	}}
}

// laneUsageResult is what is booked on a lane.
type laneUsageResult struct {
	Lane      uint8       `json:"lane"`
	Booked    drops       `json:"booked"`
	Units     uint64      `json:"units"`
	Work      uint64      `json:"work"`
	Vouchers  uint64      `json:"vouchers"`
	Settled   drops       `json:"settled"`
	Redeemed  drops       `json:"redeemed"`
	UsageRoot ledger.Hash `json:"usage_root"`
}

// usageResult is what is booked on a channel.
type usageResult struct {
	Channel  ledger.Hash       `json:"channel"`
	Index    uint64            `json:"index"`
	Payer    string            `json:"payer"`
	Payee    string            `json:"payee"`
	Service  uint32            `json:"service"`
	Shard    uint32            `json:"shard"`
	Deposit  drops             `json:"deposit"`
	Booked   sumsResult        `json:"booked"`
	Lanes    []laneUsageResult `json:"lanes"`
	Height   uint64            `json:"height"`
	Anchored uint64            `json:"anchored_height"`
	sourceResult
}

func (c *cli) usageShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show CHANNEL",
		Short: "Show what is booked on a channel and its lanes",
		Long: `Show what is booked on a channel and its lanes, in the shard that is its home: how much
and for how many units, what of it went into settlements, and what the main chain has
paid out, as far as the shard knows.` + sourceHelp,
		Args: first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			info, err := run.channel(run.args[0])
			if err != nil {
				return err
			}
			u, err := run.conn.Usage(run.ctx, info.ID)
			if errors.Is(err, chain.CodeChannelUnknown.Err()) {
				return exitf(exitNotFound, "%w", err)
			}
			if err != nil {
				return shardProblem(err, 0)
			}
			r := usageResult{
				Channel: u.Channel, Index: u.Index, Payer: u.Payer.String(), Payee: u.Payee.String(), Service: u.Service, Shard: uint32(u.Shard),
				Deposit: drops(u.Deposit), Booked: newSums(u.Booked), Lanes: []laneUsageResult{}, Height: u.Height, Anchored: u.Anchored, sourceResult: newSource(u.Source),
			}
			for _, l := range u.Lanes {
				r.Lanes = append(r.Lanes, laneUsageResult{
					l.Lane, drops(l.Cumulative), l.Units, l.Work, l.Seq, drops(l.Settled), drops(l.Redeemed), l.UsageRoot,
				})
			}
			return c.print(r, r.fields)
		}),
	}
}

func (r *usageResult) fields(t *table) {
	t.field("channel", r.Channel)
	t.field("service", r.Service)
	t.field("shard", fmt.Sprintf("%d, height %d, anchored up to %d", r.Shard, r.Height, r.Anchored))
	t.field("payer", r.Payer)
	t.field("payee", r.Payee)
	t.field("deposit", ledger.Amount(r.Deposit))
	t.field("booked", r.Booked)
	t.field("told by", r.toldBy())
	t.line("")
	t.row("LANE", "BOOKED", "UNITS", "WORK", "VOUCHERS", "SETTLED", "PAID")
	for i := range r.Lanes {
		l := &r.Lanes[i]
		t.row(l.Lane, ledger.Amount(l.Booked), l.Units, l.Work, l.Vouchers, ledger.Amount(l.Settled), ledger.Amount(l.Redeemed))
	}
}

// earnedResult is what a provider earned.
type earnedResult struct {
	Payee    string        `json:"payee"`
	Service  uint32        `json:"service"`
	Shard    uint32        `json:"shard"`
	Total    sumsResult    `json:"total"`
	Epochs   []epochEarned `json:"epochs"`
	Height   uint64        `json:"height"`
	Anchored uint64        `json:"anchored_height"`
	sourceResult
}

type epochEarned struct {
	Epoch  uint64     `json:"epoch"`
	Earned sumsResult `json:"earned"`
}

func (c *cli) usageEarningsCommand() *cobra.Command {
	var srv string
	cmd := &cobra.Command{
		Use:   "earnings ADDRESS|NAME",
		Short: "Show what a provider earned on a service, by epoch",
		Long: `Show what a provider earned on a service, as its home shard has it: in all, and in each
of the last epochs. What is booked on other shards arrives there some blocks later.` + sourceHelp,
		Example: "  tributary usage earnings bob --service content",
		Args:    cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			if srv == "" {
				return usagef("on which service? name it with --service; 'tributary service list' shows those there are")
			}
			address, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			e, err := run.conn.Earnings(run.ctx, address, srv)
			if err != nil {
				return shardProblem(err, 0)
			}
			r := earnedResult{
				Payee: address.String(), Service: e.Service, Shard: uint32(e.Shard), Total: newSums(e.Total), Epochs: []epochEarned{},
				Height: e.Height, Anchored: e.Anchored, sourceResult: newSource(e.Source),
			}
			most := uint64(0)
			for _, x := range e.Epochs {
				r.Epochs = append(r.Epochs, epochEarned{x.Epoch, newSums(x.Sums)})
				most = max(most, x.Amount)
			}
			return c.print(r, func(t *table) { r.fields(t, most) })
		}),
	}
	cmd.Flags().StringVar(&srv, "service", "", "name or id of the service")
	return cmd
}

func (r *earnedResult) fields(t *table, most uint64) {
	t.field("provider", r.Payee)
	t.field("service", r.Service)
	t.field("shard", fmt.Sprintf("%d, height %d, anchored up to %d", r.Shard, r.Height, r.Anchored))
	t.field("in all", r.Total)
	t.field("told by", r.toldBy())
	if len(r.Epochs) == 0 {
		return
	}
	t.line("")
	t.row("EPOCH", "COINS", "UNITS", "WORK", "BESIDE THE BEST")
	for i := range r.Epochs {
		e := &r.Epochs[i]
		t.row(strconv.FormatUint(e.Epoch, 10), ledger.Amount(e.Earned.Amount), e.Earned.Units, e.Earned.Work, partBar(uint64(e.Earned.Amount), most))
	}
}

// partBar draws part of most as a bar.
func partBar(part, most uint64) string {
	const width = 30
	if most == 0 {
		return ""
	}
	n := int(float64(part) / float64(most) * width)
	return fmt.Sprintf("%.*s", max(n, 1), "##############################")
}
