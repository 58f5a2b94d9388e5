package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// bookkeeper is a node that answers bookings as a test says.
type bookkeeper struct {
	scripted
	servicev1.UnimplementedServiceChainServiceServer

	answer func(attempt int, u *service.Usage, hash ledger.Hash) (chainv1.Stage, error)

	mu     sync.Mutex
	asked  int
	usages []service.Usage
	split  bool // the second half of the buckets is a shard of its own

	streams [][]*servicev1.WatchShardResponse // what each stream of WatchShard tells before it breaks off
	watched []*servicev1.WatchShardRequest    // what each was asked for
}

func (b *bookkeeper) ListShards(context.Context, *servicev1.ListShardsRequest) (*servicev1.ListShardsResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	resp := &servicev1.ListShardsResponse{}
	for zone := range uint32(2) {
		if b.split {
			resp.Shards = append(resp.Shards,
				&servicev1.Shard{Id: 10 + 2*zone, Service: "services/7", Zone: zone, LastBucket: 127},
				&servicev1.Shard{Id: 11 + 2*zone, Service: "services/7", Zone: zone, FirstBucket: 128, LastBucket: 255})
		} else {
			resp.Shards = append(resp.Shards, &servicev1.Shard{Id: 2 + zone, Service: "services/7", Zone: zone, LastBucket: 255})
		}
	}
	return resp, nil
}

func (b *bookkeeper) BookUsage(_ context.Context, req *servicev1.BookUsageRequest) (*servicev1.BookUsageResponse, error) {
	tx, err := chain.DecodeTx(service.Domain(scriptedDomain.Network, 7), req.GetSignedTx())
	if err != nil {
		return nil, err
	}
	u, err := service.DecodeUsage(tx.Payload)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	stage, err := b.answer(b.asked, &u, tx.Hash)
	if err != nil {
		return nil, err
	}
	b.usages = append(b.usages, u)
	return &servicev1.BookUsageResponse{Booking: &servicev1.Booking{
		Transaction: &chainv1.Transaction{Hash: tx.Hash[:], Stage: stage, Height: 9, Code: chainv1.Code_CODE_OK, DropReason: "as the test says"},
		Shard:       "shards/2", Service: "services/7", Payee: u.Batch.Payee.String(), Entries: uint32(len(u.Buckets)), Applied: uint32(len(u.Buckets)),
		Booked: &servicev1.Sums{Amount: 5}, Results: []*servicev1.BookingResult{{Code: chainv1.Code_CODE_OK, Seq: 1}},
	}}, nil
}

// keep serves a bookkeeper and returns a client of it.
func (b *bookkeeper) keep(t *testing.T) *client.Client {
	t.Helper()
	return b.keepFor(t, client.RetryPolicy{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond})
}

// keepFor is keep for a client that waits as it is told before it tries again.
func (b *bookkeeper) keepFor(t *testing.T, retry client.RetryPolicy) *client.Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	nodev1.RegisterNodeServiceServer(server, &b.scripted)
	servicev1.RegisterServiceChainServiceServer(server, b)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	c, err := client.Dial(within(t), "localhost", client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		client.WithRetry(retry))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// vouchersOf are vouchers of payers in zones 0 and 1, with homes in both halves.
func vouchersOf() (list []client.UsageEntry) {
	for zone := range byte(2) {
		for half := range uint8(2) {
			payer := ledger.Address{zone, half<<7 | 3}
			e := channel.Entry{Index: uint64(zone)*10 + uint64(1-half), Claim: channel.ClaimVoucher, Cumulative: 5, Units: 1}
			list = append(list, client.UsageEntry{Payer: payer, Entry: e})
		}
	}
	return list
}

// TestBookUsage: vouchers go to their homes, and while a shard is congested or restarts
// they are sent again.
func TestBookUsage(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{}
	first := map[byte]ledger.Hash{}
	tries := map[byte]int{}
	b.answer = func(_ int, u *service.Usage, hash ledger.Hash) (chainv1.Stage, error) {
		zone := u.Zone
		tries[zone]++
		if old, ok := first[zone]; ok && old != hash {
			t.Error("what is sent again is another transaction")
		}
		first[zone] = hash
		switch tries[zone] {
		case 1:
			return 0, failure(codes.ResourceExhausted, "CONGESTED", time.Millisecond)
		case 2:
			return chainv1.Stage_STAGE_DROPPED, nil
		case 3:
			return chainv1.Stage_STAGE_INCLUDED, nil
		default:
			return chainv1.Stage_STAGE_FINAL, nil
		}
	}
	account := b.keep(t).Account(identityOf(0))
	list, err := account.BookUsage(within(t), 7, vouchersOf(), client.StageFinal)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i := range list {
		if got := &list[i]; got.Stage != client.StageFinal || got.Shard != 2 || got.Service != 7 || got.Applied != 2 || got.Height != 9 || got.Booked.Amount != 5 || len(got.Results) != 1 {
			t.Errorf("%+v", got)
		}
	}
	if tries[0] != 4 || tries[1] != 4 {
		t.Errorf("tries %v", tries)
	}
	for i := range b.usages {
		u := &b.usages[i]
		if !slices.IsSortedFunc(u.Batch.Entries, func(a, b channel.Entry) int { return int(a.Index) - int(b.Index) }) || u.Receipt != nil || u.Service != 7 { //nolint:gosec // small
			t.Errorf("%+v", u)
		}
	}
}

// TestBookUsageAfterASplit: what the wrong shard refuses is sorted again by the new map.
func TestBookUsageAfterASplit(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{}
	b.answer = func(_ int, u *service.Usage, _ ledger.Hash) (chainv1.Stage, error) {
		for _, bucket := range u.Buckets {
			if bucket&0x80 != u.Buckets[0]&0x80 {
				b.split = true
				return 0, failure(codes.FailedPrecondition, "WRONG_SHARD", 0)
			}
		}
		return chainv1.Stage_STAGE_INCLUDED, nil
	}
	list, err := b.keep(t).Account(identityOf(0)).BookUsage(within(t), 7, vouchersOf(), client.StageIncluded)
	if err != nil || len(list) != 4 {
		t.Errorf("%d bookings, %v", len(list), err)
	}
}

// TestBookUsageRefused: what is booked already is no failure, and what cannot be is one.
func TestBookUsageRefused(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{}
	b.answer = func(int, *service.Usage, ledger.Hash) (chainv1.Stage, error) {
		return 0, failure(codes.FailedPrecondition, "NO_OP_STALE", 0)
	}
	account := b.keep(t).Account(identityOf(0))
	if list, err := account.BookUsage(within(t), 7, vouchersOf(), client.StageFinal); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	b.answer = func(int, *service.Usage, ledger.Hash) (chainv1.Stage, error) {
		return 0, failure(codes.FailedPrecondition, "ABOVE_DEPOSIT", 0)
	}
	if _, err := account.BookUsage(within(t), 7, vouchersOf(), client.StageFinal); !errors.Is(err, chain.CodeAboveDeposit.Err()) {
		t.Errorf("%v", err)
	}
	far := vouchersOf()[:1]
	far[0].Payer[0] = 9
	if _, err := account.BookUsage(within(t), 7, far, client.StageFinal); err == nil {
		t.Error("a zone that the service does not have")
	}
}

// TestReceipts: anybody may submit what the payee signed that it received.
func TestReceipts(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{answer: func(int, *service.Usage, ledger.Hash) (chainv1.Stage, error) {
		return chainv1.Stage_STAGE_CHECKED, nil
	}}
	c := b.keep(t)
	payee, tower := c.Account(identityOf(0)), c.Account(identityOf(1))
	plan, err := c.PlanUsage(within(t), 7, payee.Address(), vouchersOf())
	if err != nil || len(plan) != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	u := &plan[0]
	if err := payee.ReceiptUsage(within(t), u, time.UnixMilli(77)); err != nil {
		t.Fatal(err)
	}
	if _, err := tower.SubmitUsage(within(t), u, client.StageChecked); err != nil {
		t.Fatal(err)
	}
	got := b.usages[0]
	r, err := got.Receipted(77)
	if err != nil || got.Receipt == nil || got.Receipt.ReceivedAt != 77 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !ledger.Verify(got.Receipt.PayeeKey, r.Signed(service.Domain(scriptedDomain.Network, 7)), got.Receipt.Signature) {
		t.Error("the receipt is not the payee's")
	}
}

// TestBookingIsAskedForCalmly: a node that answers at once that a booking is not as far as
// it is waited for is not asked again at once.
func TestBookingIsAskedForCalmly(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{answer: func(int, *service.Usage, ledger.Hash) (chainv1.Stage, error) {
		return chainv1.Stage_STAGE_INCLUDED, nil
	}}
	account := b.keepFor(t, client.RetryPolicy{MinDelay: time.Minute, MaxDelay: time.Minute}).Account(identityOf(0))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := account.BookUsage(ctx, 7, vouchersOf()[:1], client.StageFinal)
	if unknown, ok := errors.AsType[*client.UnknownOutcomeError](err); !ok || unknown.Hash.IsZero() {
		t.Errorf("%v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked != 1 {
		t.Errorf("asked %d times", b.asked)
	}
}
