package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// settlementsUnderWay bounds the batches that wait for their outcome.
const settlementsUnderWay = 64

type settleStream struct {
	from  string
	batch int
	every time.Duration
}

func (c *cli) settleStreamCommand() *cobra.Command {
	var s settleStream
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Redeem vouchers from standard input, one on each line, as they come",
		Long: `Redeem vouchers from standard input, one on each line, as they come. They are put
into batches and settled over one stream; each batch gives a line of output when
it is final. What does not fit one transaction is settled by several. The command
ends with its input, with 1 if a line or a batch was refused; those do not keep the
others from being settled.`,
		Args: cobra.NoArgs,
		RunE: c.lasting(func(run *run) error {
			if s.batch < 1 || s.batch > channel.MaxEntries {
				return usagef("--batch is %d, want 1 to %d", s.batch, channel.MaxEntries)
			}
			if s.every <= 0 {
				return usagef("--every is %v, want more than 0", s.every)
			}
			return run.stream(s)
		}),
	}
	cmd.Flags().IntVar(&s.batch, "batch", 256, "most vouchers of a batch")
	cmd.Flags().DurationVar(&s.every, "every", 500*time.Millisecond, "how long a voucher waits for others at most")
	c.signing(cmd, &s.from)
	return cmd
}

// stream reads vouchers and settles them until the input ends.
func (run *run) stream(s settleStream) error {
	account, err := run.conn.account(s.from)
	if err != nil {
		return err
	}
	stream := run.conn.NewSettlementStream()
	ctx, cancel := context.WithCancel(run.ctx)
	defer cancel()
	streaming := make(chan error, 1)
	go func() { streaming <- stream.Run(ctx) }()

	settler := &settler{run: run, account: account.Over(stream), channels: newChannelCache(run), params: run.conn.Params(), out: run.conn.cli.stdout}
	refused := 0 // lines
	err = settler.settle(ctx, run.vouchers(ctx, &refused), s)
	cancel()
	if ended := <-streaming; err == nil {
		err = ended
	}
	if err != nil {
		return err
	}
	run.conn.cli.note("%s paid %s coins by %s", plural(settler.applied, "voucher"), settler.paid, plural(settler.settled, "batch"))
	var failed []string
	if refused > 0 {
		failed = append(failed, plural(refused, "line"))
	}
	if settler.refused > 0 {
		failed = append(failed, plural(settler.refused, "batch"))
	}
	if len(failed) > 0 {
		return exitf(exitError, "refused: %s", strings.Join(failed, ", "))
	}
	return nil
}

// vouchers reads vouchers from standard input until it ends. Lines that are none
// are told, counted in refused and skipped; it may be read when the channel is
// closed.
func (run *run) vouchers(ctx context.Context, refused *int) <-chan pay.Voucher {
	out := make(chan pay.Voucher)
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(run.conn.cli.stdin)
		for n := 1; scanner.Scan(); n++ {
			text := strings.TrimSpace(scanner.Text())
			if text == "" {
				continue
			}
			v, err := parseVoucher(text)
			if err != nil {
				*refused++
				run.conn.cli.note("line %d: %v", n, err)
				continue
			}
			select {
			case out <- v:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// settler settles vouchers in batches.
type settler struct {
	run      *run
	account  *client.StreamAccount
	channels *channelCache
	params   settlement.Params
	out      io.Writer

	mu      sync.Mutex
	settled int // batches
	refused int // batches
	applied int
	paid    ledger.Amount
}

func (s *settler) settle(ctx context.Context, vouchers <-chan pay.Voucher, how settleStream) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(settlementsUnderWay)
	tick := time.NewTicker(how.every)
	defer tick.Stop()
	var waiting []pay.Voucher
	flush := func() error {
		batches, err := s.batches(waiting)
		waiting = nil
		for _, batch := range batches {
			group.Go(func() error { return s.one(ctx, batch) })
		}
		return err
	}
	for {
		select {
		case v, more := <-vouchers:
			if !more {
				if err := flush(); err != nil {
					return err
				}
				return group.Wait()
			}
			waiting = append(waiting, v)
			if len(waiting) < how.batch {
				continue
			}
		case <-tick.C:
			if len(waiting) == 0 {
				continue
			}
		case <-ctx.Done():
			return group.Wait()
		}
		if err := flush(); err != nil {
			return err
		}
	}
}

// batches sorts vouchers into batches of one payee that fit a transaction each.
func (s *settler) batches(vouchers []pay.Voucher) ([]channel.Batch, error) {
	whole, err := s.run.batches(s.channels, vouchers)
	if err != nil {
		return nil, err
	}
	var batches []channel.Batch
	for _, b := range whole {
		parts, err := pay.SplitBatch(&s.params, b)
		if err != nil {
			return nil, err
		}
		batches = append(batches, parts...)
	}
	return batches, nil
}

// one settles a batch and writes its line. A batch that is refused does not end
// the stream.
func (s *settler) one(ctx context.Context, batch channel.Batch) error {
	receipt, err := s.account.Settle(ctx, batch)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused++
		s.run.conn.cli.note("a batch of %s to %s is refused: %v", plural(len(batch.Entries), "voucher"), batch.Payee, err)
		return nil
	}
	s.settled++
	s.paid += receipt.Paid
	for _, e := range receipt.Entries {
		if e.Moved() > 0 {
			s.applied++
		}
	}
	return s.write(batch, &receipt)
}

func (s *settler) write(batch channel.Batch, r *settlement.Receipt) error {
	if s.run.conn.cli.output == "json" {
		return json.NewEncoder(s.out).Encode(struct {
			Hash    ledger.Hash   `json:"hash"`
			Payee   string        `json:"payee"`
			Paid    drops         `json:"paid"`
			Fee     drops         `json:"fee"`
			Entries []entryResult `json:"entries"`
		}{r.Hash, batch.Payee.String(), drops(r.Paid), drops(r.Fee), newEntryResults(r)})
	}
	_, err := fmt.Fprintf(s.out, "%s  %s, paid %s coins, fee %s coins\n", r.Hash, plural(len(batch.Entries), "voucher"), r.Paid, r.Fee)
	return err
}
