package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

const (
	payees       = 64  // accounts that settle, each its own channels
	batchEntries = 500 // 500 entries with a usage root are one bundle of 59 KB
	unitPrice    = 1000
	rounds       = 1_000 // vouchers a channel's deposit pays for
	inFlight     = 32    // batches under way in the closed loop, 16,000 entries
	submitLimit  = time.Minute
)

// world is one network's payers, payees and channels, and the vouchers signed
// for them ahead of time.
type world struct {
	domain chain.Domain
	payer  ledger.PrivateKey
	payees []*payee
	nodes  []*grpc.ClientConn
	turn   atomic.Uint64 // opens and transfers go round the nodes
	nonce  uint64        // of the payer; owned by the goroutine that opens
	queue  []batch       // signed and not yet submitted
	signer int           // the payee whose turn it is to sign
}

// payee settles the channels that pay it.
type payee struct {
	key      ledger.PrivateKey
	nonce    uint64
	channels []openChannel
	round    int // vouchers signed for each channel so far
	next     int // next channel to sign for in this round
}

type openChannel struct {
	index uint64
	id    ledger.Hash
	key   ledger.PrivateKey
}

func accountKey(i int) ledger.PrivateKey {
	seed := ledger.HashOf("trib/bench/key", fmt.Append(nil, i))
	return ledger.NewPrivateKey(seed)
}

// connect dials every node of net.
func connect(ctx context.Context, net *testnet.Network) (*world, error) {
	w := &world{payer: accountKey(0)}
	for i := range payees {
		w.payees = append(w.payees, &payee{key: accountKey(1 + i)})
	}
	for _, n := range net.Nodes {
		conn, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", n.GRPC, err)
		}
		w.nodes = append(w.nodes, conn)
	}
	info, err := nodev1.NewNodeServiceClient(w.nodes[0]).GetNetwork(ctx, &nodev1.GetNetworkRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask for the network: %w", err)
	}
	w.domain = chain.Domain{Network: ledger.Hash(info.GetNetworkId()), Chain: ledger.ChainID(info.GetChainId())}
	return w, nil
}

func (w *world) close() {
	for _, c := range w.nodes {
		_ = c.Close() // nothing is under way any more
	}
}

// node returns the connection whose turn it is.
func (w *world) node() *grpc.ClientConn { return w.nodes[w.turn.Add(1)%uint64(len(w.nodes))] }

// open opens count channels in transactions of MaxOpens, each transaction's
// channels for one payee.
func (w *world) open(ctx context.Context, count int, progress func(done int)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	var mu sync.Mutex
	done := 0
	for batch := 0; batch*channel.MaxOpens < count; batch++ {
		n := min(channel.MaxOpens, count-batch*channel.MaxOpens)
		p, nonce := w.payees[batch%payees], w.nonce
		w.nonce++
		group.Go(func() error {
			opened, err := w.openBatch(ctx, p, nonce, n)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			p.channels = append(p.channels, opened...)
			done += n
			progress(done)
			return nil
		})
	}
	return group.Wait()
}

func (w *world) openBatch(ctx context.Context, p *payee, nonce uint64, n int) ([]openChannel, error) {
	open := channel.Open{Channels: make([]channel.OpenParams, n)}
	opened := make([]openChannel, n)
	owner := p.key.Address(0)
	for i := range open.Channels {
		key := accountKey(1000 + i%256)
		open.Channels[i] = channel.OpenParams{
			Payee: owner, VoucherKey: key.Public(), Deposit: rounds * unitPrice,
			ExpiresAt: 1_000_000, Challenge: 100,
		}
		opened[i] = openChannel{id: channel.ID(w.domain, w.payer.Address(0), nonce, uint16(i), &open.Channels[i]), key: key}
	}
	raw := chain.SignTx(w.domain, w.payer, chain.TxFields{
		Kind: chain.KindOpenChannels, Nonce: nonce, MaxFee: ledger.MaxAmount, Payload: open.Encode(),
	})
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	res, err := channelv1.NewChannelServiceClient(w.node()).OpenChannels(ctx, &channelv1.OpenChannelsRequest{
		Transaction: &channelv1.OpenChannelsRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		return nil, fmt.Errorf("open channels: %w", err)
	}
	if tx := res.GetTransaction(); tx.GetCode() != chainv1.Code_CODE_OK {
		return nil, fmt.Errorf("open channels: stage %v, code %v", tx.GetStage(), tx.GetCode())
	}
	for i := range opened {
		opened[i].index = res.GetTransaction().GetFirstChannelIndex() + uint64(i)
	}
	return opened, nil
}

// batch is a signed settlement transaction.
type batch struct {
	raw     []byte
	entries int
	node    int // a payee always submits to the same one
}

// sign signs batches until at least n entries wait in the queue, the payees
// taking turns, so that no account has more batches under way than its nonce
// window.
func (w *world) sign(n int, lane uint8) {
	type job struct {
		payee    int
		p        *payee
		nonce    uint64
		channels []openChannel
		round    int
	}
	var jobs []job
	total := 0
	for _, b := range w.queue {
		total += b.entries
	}
	for ; total < n; w.signer = (w.signer + 1) % payees {
		p := w.payees[w.signer]
		if len(p.channels) == 0 {
			continue
		}
		if p.next >= len(p.channels) {
			p.next, p.round = 0, p.round+1
		}
		to := min(p.next+batchEntries, len(p.channels))
		jobs = append(jobs, job{payee: w.signer, p: p, nonce: p.nonce, channels: p.channels[p.next:to], round: p.round + 1})
		total += to - p.next
		p.next = to
		p.nonce++
	}
	out := make([]batch, len(jobs))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, j := range jobs {
		group.Go(func() error {
			out[i] = w.signBatch(j.p, j.nonce, j.channels, j.round, lane)
			out[i].node = j.payee % len(w.nodes)
			return nil
		})
	}
	_ = group.Wait() // the jobs cannot fail
	w.queue = append(w.queue, out...)
}

func (w *world) signBatch(p *payee, nonce uint64, channels []openChannel, round int, lane uint8) batch {
	b := channel.Batch{Payee: p.key.Address(0), Entries: make([]channel.Entry, len(channels))}
	for i, c := range channels {
		e := channel.Entry{
			Index: c.index, Lane: lane, Claim: channel.ClaimVoucher,
			Cumulative: ledger.Amount(round * unitPrice), Units: uint64(round), UsageRoot: c.id,
		}
		e.Signature = c.key.Sign(e.Signed(w.domain, c.id))
		b.Entries[i] = e
	}
	raw := chain.SignTx(w.domain, p.key, chain.TxFields{Kind: chain.KindSettle, Nonce: nonce, MaxFee: ledger.MaxAmount, Payload: b.Encode()})
	return batch{raw: raw, entries: len(channels)}
}

// settle submits one batch and returns when it is final. Every entry must have
// been applied.
func (w *world) settle(ctx context.Context, b batch) error {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	res, err := settlementv1.NewSettlementServiceClient(w.nodes[b.node]).SubmitSettlement(ctx, &settlementv1.SubmitSettlementRequest{
		Transaction: &settlementv1.SubmitSettlementRequest_SignedTx{SignedTx: b.raw}, WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	s := res.GetSettlement()
	if tx := s.GetTransaction(); tx.GetStage() != chainv1.Stage_STAGE_FINAL || tx.GetCode() != chainv1.Code_CODE_OK || int(s.GetApplied()) != b.entries {
		return fmt.Errorf("settle: stage %v, code %v, %d of %d entries applied", tx.GetStage(), tx.GetCode(), s.GetApplied(), b.entries)
	}
	return nil
}

// closedLoop keeps batches of the queue under way until the deadline, and counts
// final entries as they come. A channel's next voucher is not sent before most
// of the channels have had their turn, so that none overtakes another.
func (w *world) closedLoop(ctx context.Context, deadline time.Time, final *atomic.Int64) (used []batch, err error) {
	perRound := 0
	for _, p := range w.payees {
		perRound += (len(p.channels) + batchEntries - 1) / batchEntries
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range max(1, min(inFlight, perRound/2)) {
		group.Go(func() error {
			for time.Now().Before(deadline) {
				i := int(next.Add(1)) - 1
				if i >= len(w.queue) {
					return errors.New("the signed batches did not last: sign more")
				}
				if err := w.settle(ctx, w.queue[i]); err != nil {
					return err
				}
				final.Add(int64(w.queue[i].entries))
			}
			return nil
		})
	}
	err = group.Wait()
	n := min(int(next.Load()), len(w.queue))
	used, w.queue = w.queue[:n], w.queue[n:]
	return used, err
}

// openLoop submits the first batches of the queue at a fixed rate for some time,
// whatever the answers do, and returns the time from each scheduled send to its
// final answer.
func (w *world) openLoop(ctx context.Context, entriesPerSecond float64, duration time.Duration) ([]time.Duration, error) {
	group, ctx := errgroup.WithContext(ctx)
	latencies := make([]time.Duration, len(w.queue))
	begin, sent, n := time.Now(), 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ; n < len(w.queue) && float64(sent) < entriesPerSecond*duration.Seconds(); n++ {
		due := begin.Add(time.Duration(float64(sent) / entriesPerSecond * float64(time.Second)))
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), group.Wait())
		}
		b, latency := w.queue[n], &latencies[n]
		group.Go(func() error {
			err := w.settle(ctx, b)
			*latency = time.Since(due)
			return err
		})
		sent += b.entries
	}
	w.queue = w.queue[n:]
	return latencies[:n], group.Wait()
}

// transfers submits n transfers of one recipient each and waits until they are final.
func (w *world) transfers(ctx context.Context, build func(i int) []byte, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(128)
	for i := range n {
		raw := build(i)
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, submitLimit)
			defer cancel()
			res, err := accountv1.NewAccountServiceClient(w.node()).Transfer(ctx, &accountv1.TransferRequest{
				Transaction: &accountv1.TransferRequest_SignedTx{SignedTx: raw}, WaitFor: chainv1.Stage_STAGE_FINAL,
			})
			if err != nil {
				return fmt.Errorf("transfer: %w", err)
			}
			if code := res.GetTransaction().GetCode(); code != chainv1.Code_CODE_OK {
				return fmt.Errorf("transfer: %v", code)
			}
			return nil
		})
	}
	return group.Wait()
}

// quantile returns the q-quantile of sorted durations, in seconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Seconds()
}
