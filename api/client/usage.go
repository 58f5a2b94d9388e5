package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

const (
	bookingsPrefix = "bookings/"
	// MaxUsageEntries is how many vouchers PlanUsage puts into one transaction.
	MaxUsageEntries = 4_096
	// maxPlans is how often BookUsage sorts vouchers by shards, which may be split
	// meanwhile, and maxBookings how many bookings it has under way.
	maxPlans    = 3
	maxBookings = 8
)

// UsageEntry is a voucher to book: Entry has the channel's row, lane, totals and the
// voucher's signature, and neither closes nor has a hash lane.
type UsageEntry struct {
	Payer ledger.Address // of the channel
	channel.Entry
}

// BookingResult is the outcome of one voucher of a booking.
type BookingResult struct {
	Position int
	Index    uint64 // row of the channel
	Lane     uint8
	Code     chain.Code
	Seq      uint64       // which booking of the lane it is; 0 unless booked
	Booked   service.Sums // what it added
	Total    service.Sums // booked on the channel after it
}

// Booking is where a booking is, and what it did.
type Booking struct {
	Hash    ledger.Hash
	Shard   shard.ID // that took it
	Service uint32
	Stage   Stage // StageIncluded is durable in the shard, StageFinal anchored on the main chain

	// At StageIncluded, StageFinal and StageRefused, and of one that was only simulated:

	Height  uint64 // of the shard
	Code    chain.Code
	Payee   ledger.Address
	Entries int
	Applied int // entries that were booked
	Booked  service.Sums
	Results []BookingResult // of all entries

	DropReason string // at StageDropped
	Source     Source
}

// shard reads "shards/{id}".
func (r *reader) shard(field, name string) shard.ID {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, shardsPrefix), 10, 31)
	if err != nil {
		r.fail(field, err)
	}
	return shard.ID(n)
}

// service reads "services/{id}".
func (r *reader) service(name string) uint32 {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, servicesPrefix), 10, 31)
	if err != nil {
		r.fail("service", err)
	}
	return uint32(n)
}

func sumsOf(m *servicev1.Sums) service.Sums {
	return service.Sums{Amount: m.GetAmount(), Units: m.GetUnits(), Work: m.GetWork()}
}

func bookingOf(m *servicev1.Booking, from *servicev1.Source) (Booking, error) {
	var r reader
	t := m.GetTransaction()
	b := Booking{
		Hash: r.hash("hash", t.GetHash()), Shard: r.shard("shard", m.GetShard()), Service: r.service(m.GetService()),
		Stage: Stage(t.GetStage()), Height: t.GetHeight(), DropReason: t.GetDropReason(), Payee: r.address("payee", m.GetPayee()),
		Entries: int(m.GetEntries()), Applied: int(m.GetApplied()), Booked: sumsOf(m.GetBooked()),
		Source: sourceOf(from),
	}
	if t.GetCode() != chainv1.Code_CODE_UNSPECIFIED {
		b.Code = r.code("code", t.GetCode())
	}
	for _, e := range m.GetResults() {
		b.Results = append(b.Results, BookingResult{
			Position: int(e.GetPosition()), Index: e.GetChannelIndex(), Lane: uint8(e.GetLane()), Code: r.code("results.code", e.GetCode()),
			Seq: e.GetSeq(), Booked: sumsOf(e.GetBooked()), Total: sumsOf(e.GetTotal()),
		})
	}
	return b, r.err
}

// PlanUsage sorts vouchers of a payee by the shards that are the homes of their
// channels, and returns what is to be booked on each, ascending by zone and bucket.
// Receipts are still to be signed, unless the payee signs the transactions.
func (c *Client) PlanUsage(ctx context.Context, srv uint32, payee ledger.Address, entries []UsageEntry) ([]service.Usage, error) {
	var shards []shard.Shard
	for s, err := range c.Shards(ctx, strconv.FormatUint(uint64(srv), 10), nil) {
		if err != nil {
			return nil, err
		}
		shards = append(shards, s.Shard)
	}
	return planUsage(shards, srv, payee, entries)
}

// planUsage is PlanUsage for the shards of a service.
func planUsage(shards []shard.Shard, srv uint32, payee ledger.Address, entries []UsageEntry) ([]service.Usage, error) {
	byShard := make([][]UsageEntry, len(shards))
	for i := range entries {
		home := service.HomeOf(entries[i].Payer)
		at := slices.IndexFunc(shards, func(s shard.Shard) bool {
			return s.Zone == home.Zone && s.Buckets.Contains(shard.Bucket(home.Bucket))
		})
		if at < 0 {
			return nil, fmt.Errorf("book usage of channel %d: service %d has no shard for %s, the home of payer %s: a new service or zone has shards two epochs after it was registered, others are in zones that it does not have", entries[i].Index, srv, home, entries[i].Payer)
		}
		byShard[at] = append(byShard[at], entries[i])
	}
	var out []service.Usage
	for i, list := range byShard {
		slices.SortFunc(list, func(a, b UsageEntry) int {
			return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Lane, b.Lane))
		})
		for part := range slices.Chunk(list, MaxUsageEntries) {
			u := service.Usage{Service: srv, Zone: shards[i].Zone, Batch: channel.Batch{Payee: payee, Mode: channel.BestEffort}}
			for _, e := range part {
				u.Batch.Entries = append(u.Batch.Entries, e.Entry)
				u.Buckets = append(u.Buckets, service.HomeOf(e.Payer).Bucket)
			}
			out = append(out, u)
		}
	}
	return out, nil
}

// ReceiptUsage signs, as the payee, that it received all vouchers of u, so that anybody
// may submit it. now is told and not checked.
func (a *Account) ReceiptUsage(ctx context.Context, u *service.Usage, now time.Time) error {
	at := uint64(max(now.UnixMilli(), 0)) //nolint:gosec // not negative
	r, err := u.Receipted(at)
	if err == nil {
		var sig ledger.Signature
		if sig, err = a.id.Signer.Sign(ctx, r.Signed(a.usageDomain(u.Service))); err == nil {
			u.Receipt = &service.PayeeReceipt{PayeeKey: a.id.Key, ReceivedAt: at, Signature: sig}
			return nil
		}
	}
	return fmt.Errorf("sign the receipt of %d vouchers: %w", len(u.Batch.Entries), err)
}

// usageDomain is where transactions of a service are valid.
func (a *Account) usageDomain(srv uint32) chain.Domain {
	return service.Domain(a.client.Domain().Network, srv)
}

// signUsage makes a transaction of u. Its nonce only tells it from others with the same
// vouchers.
func (a *Account) signUsage(ctx context.Context, u *service.Usage) ([]byte, error) {
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails
	unsigned := chain.UnsignedTx(a.usageDomain(u.Service), a.id.Key, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: a.id.Address.Zone(), Nonce: binary.BigEndian.Uint64(nonce[:]), Payload: u.Encode(),
	})
	sig, err := a.id.Signer.Sign(ctx, unsigned)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", chain.KindBookUsage, err)
	}
	return chain.AttachSignature(unsigned, sig), nil
}

// SubmitUsage submits a booking and returns it when it has reached a stage: StageChecked,
// StageIncluded or StageFinal, which is anchored on the main chain. It has the results of
// all entries. The payee needs no receipt in u; anybody else does. While the shard is
// congested it waits, as the shard says, and tries again. A *chain.RuleError is a
// refusal: nothing would be booked. Repeating is safe: what is booked is NO_OP_STALE.
func (a *Account) SubmitUsage(ctx context.Context, u *service.Usage, stage Stage) (Booking, error) {
	raw, err := a.signUsage(ctx, u)
	if err != nil {
		return Booking{}, err
	}
	for drops := 0; ; {
		b, err := a.client.bookUsage(ctx, &servicev1.BookUsageRequest{
			Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage(stage), FullResults: true,
		})
		if err != nil {
			return b, fmt.Errorf("%s: %w", chain.KindBookUsage, err)
		}
		switch {
		case b.Stage == StageDropped || b.Stage == StageRefused:
			if drops++; drops > maxDrops {
				return b, fmt.Errorf("%s %s: %w: %s", chain.KindBookUsage, b.Hash, ErrDropped, b.DropReason)
			}
			if !sleep(ctx, a.client.options.retry.delay(drops, nil)) {
				return b, &UnknownOutcomeError{Hash: b.Hash, Err: ctx.Err()}
			}
		case b.Stage >= stage:
			return b, nil
		case !sleep(ctx, a.client.options.retry.delay(1, nil)):
			return b, &UnknownOutcomeError{Hash: b.Hash, Err: ctx.Err()}
		}
	}
}

// SimulateUsage checks a booking, signatures included, as if it was submitted, and
// returns what would become of it. Nothing happens.
func (a *Account) SimulateUsage(ctx context.Context, u *service.Usage) (Booking, error) {
	raw, err := a.signUsage(ctx, u)
	if err != nil {
		return Booking{}, err
	}
	return a.client.bookUsage(ctx, &servicev1.BookUsageRequest{
		Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}, ValidateOnly: true, FullResults: true,
	})
}

func (c *Client) bookUsage(ctx context.Context, req *servicev1.BookUsageRequest) (Booking, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.BookUsageResponse, error) {
		return e.services.BookUsage(ctx, req)
	})
	if err != nil {
		return Booking{}, err
	}
	return bookingOf(resp.GetBooking(), resp.GetSource())
}

// BookUsage books vouchers of this account, the payee, on their home shards, and returns
// the bookings when they have reached a stage. Vouchers that are booked already are left
// out; if all are, there is no booking. Other refusals are in the results, or if a whole
// booking is refused the error.
func (a *Account) BookUsage(ctx context.Context, srv uint32, entries []UsageEntry, stage Stage) ([]Booking, error) {
	for plans := 1; ; plans++ {
		out, err := a.bookPlanned(ctx, srv, entries, stage)
		if plans == maxPlans || !errors.Is(err, chain.CodeWrongShard.Err()) {
			return out, err
		}
		// The shards changed since: what was booked is left out the next time.
		if !sleep(ctx, a.client.options.retry.delay(plans, nil)) {
			return out, err
		}
	}
}

func (a *Account) bookPlanned(ctx context.Context, srv uint32, entries []UsageEntry, stage Stage) ([]Booking, error) {
	plan, err := a.client.PlanUsage(ctx, srv, a.id.Address, entries)
	if err != nil {
		return nil, err
	}
	found := make([]*Booking, len(plan))
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(maxBookings)
	for i := range plan {
		tasks.Go(func() error {
			b, err := a.SubmitUsage(ctx, &plan[i], stage)
			if errors.Is(err, chain.CodeStale.Err()) {
				return nil
			}
			found[i] = &b
			return err
		})
	}
	err = tasks.Wait()
	var out []Booking
	for _, b := range found {
		if b != nil && !b.Hash.IsZero() {
			out = append(out, *b)
		}
	}
	return out, err
}

// Booking reads a booking. id is the shard that took it, 0 if that is not known: then
// nodes are asked that may know.
func (c *Client) Booking(ctx context.Context, hash ledger.Hash, id shard.ID) (Booking, error) {
	resp, err := c.getBooking(ctx, hash, id, nil)
	if err != nil {
		return Booking{}, err
	}
	return bookingOf(resp.GetBooking(), resp.GetSource())
}

func (c *Client) getBooking(ctx context.Context, hash ledger.Hash, id shard.ID, prove []uint32) (*servicev1.GetBookingResponse, error) {
	req := &servicev1.GetBookingRequest{Name: bookingsPrefix + hash.String(), FullResults: true, Prove: prove}
	if id != 0 {
		req.Shard = shardsPrefix + strconv.FormatUint(uint64(id), 10)
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetBookingResponse, error) {
		return e.services.GetBooking(ctx, req)
	})
	if err != nil {
		return nil, fmt.Errorf("read booking %s: %w", hash, err)
	}
	return resp, nil
}

// LaneUsage is what is booked on a lane.
type LaneUsage struct {
	Lane       uint8
	Cumulative ledger.Amount // of the best voucher
	Units      uint64
	Work       uint64
	UsageRoot  ledger.Hash
	Seq        uint64        // vouchers booked
	Settled    ledger.Amount // cumulative of the last voucher that went into a settlement
	Redeemed   ledger.Amount // paid out, as far as the shard knows
}

// Usage is what is booked on a channel, in its home shard.
type Usage struct {
	Channel   ledger.Hash
	Index     uint64
	Payer     ledger.Address
	Payee     ledger.Address
	Deposit   ledger.Amount // as far as the main chain has told the shard
	ExpiresAt uint64
	Booked    service.Sums
	Lanes     []LaneUsage
	Service   uint32
	Shard     shard.ID
	Height    uint64 // of the shard: the state this is
	Anchored  uint64 // last height of the shard that is anchored
	Source    Source
}

// Usage reads what is booked on a channel. An error of chain.CodeChannelUnknown means
// that its home has not been told of it yet, or that it names no service or is closed.
func (c *Client) Usage(ctx context.Context, id ledger.Hash) (Usage, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetUsageResponse, error) {
		return e.services.GetUsage(ctx, &servicev1.GetUsageRequest{Channel: channelsPrefix + id.String()})
	})
	if err != nil {
		return Usage{}, fmt.Errorf("read the usage of channel %s: %w", id, err)
	}
	var r reader
	u := Usage{
		Channel: id, Index: resp.GetChannelIndex(), Payer: r.address("payer", resp.GetPayer()), Payee: r.address("payee", resp.GetPayee()),
		Deposit: ledger.Amount(resp.GetDeposit()), ExpiresAt: resp.GetExpiresAt(), Booked: sumsOf(resp.GetBooked()),
		Service: r.service(resp.GetService()), Shard: r.shard("shard", resp.GetShard()),
		Height: resp.GetHeight(), Anchored: resp.GetAnchoredHeight(), Source: sourceOf(resp.GetSource()),
	}
	for _, l := range resp.GetLanes() {
		u.Lanes = append(u.Lanes, LaneUsage{
			Lane: uint8(l.GetLane()), Cumulative: ledger.Amount(l.GetCumulative()), Units: l.GetUnits(), Work: l.GetWork(),
			UsageRoot: r.hash("usage_root", l.GetUsageRoot()), Seq: l.GetSeq(),
			Settled: ledger.Amount(l.GetSettled()), Redeemed: ledger.Amount(l.GetRedeemed()),
		})
	}
	return u, r.err
}

// AwaitUsage is Usage, and waits until the channel's home has been told of it and done
// says that the usage is what the caller waits for; nil is content with any.
func (c *Client) AwaitUsage(ctx context.Context, id ledger.Hash, done func(*Usage) bool) (Usage, error) {
	for {
		u, err := c.Usage(ctx, id)
		switch {
		case err == nil && (done == nil || done(&u)):
			return u, nil
		case err != nil && !waits(err):
			return u, err
		}
		if !sleep(ctx, pollDelay) {
			return u, fmt.Errorf("wait for the usage of channel %s: %w", id, errors.Join(ctx.Err(), err))
		}
	}
}

// waits reports whether something may still become known.
func waits(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == codes.NotFound && e.Retry > 0
}

// Earned is what a provider has earned on a service, in its home shard.
type Earned struct {
	service.Earnings
	Service  uint32
	Shard    shard.ID
	Height   uint64 // of the shard: the state this is
	Anchored uint64 // last height of the shard that is anchored
	Source   Source
}

// Earnings reads what a provider has earned on a service, named by its id in digits or by
// its name.
func (c *Client) Earnings(ctx context.Context, payee ledger.Address, srv string) (Earned, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetEarningsResponse, error) {
		return e.services.GetEarnings(ctx, &servicev1.GetEarningsRequest{Payee: accountsPrefix + payee.String(), Service: servicesPrefix + srv})
	})
	if err != nil {
		return Earned{}, fmt.Errorf("read the earnings of %s: %w", payee, err)
	}
	var r reader
	out := Earned{
		Service: r.service(resp.GetService()), Shard: r.shard("shard", resp.GetShard()),
		Height: resp.GetHeight(), Anchored: resp.GetAnchoredHeight(), Source: sourceOf(resp.GetSource()),
	}
	out.Total = sumsOf(resp.GetTotal())
	for _, e := range resp.GetEpochs() {
		out.Epochs = append(out.Epochs, service.Earned{Epoch: e.GetEpoch(), Sums: sumsOf(e.GetEarned())})
	}
	return out, r.err
}
