package exec_test

import (
	"log/slog"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// BenchmarkExecutor is one validator's whole work for a block, on badger: it
// checks the bundles that peers send, proposes, accepts, finalizes and commits.
// Signatures are verified once; commits are synced. An operation is a block.
func BenchmarkExecutor(b *testing.B) {
	for _, c := range []struct {
		channels, batch, blockEntries int
	}{
		{10_000, 500, 10_000},
		{100_000, 500, 10_000},
		{100_000, 500, 2_000},
		{100_000, 1, 2_000},
	} {
		name := strconv.Itoa(c.channels) + "channels/" + strconv.Itoa(c.batch) + "x" + strconv.Itoa(c.blockEntries/c.batch)
		b.Run(name, func(b *testing.B) { benchmark(b, c.channels, c.batch, c.blockEntries) })
	}
}

func benchmark(b *testing.B, channels, batch, blockEntries int) {
	b.Helper()
	payees := channels / 1_000
	store := badgerkv.Main(b.TempDir())
	store.MinFree = 0
	n, l := benchNode(b, store, payees)
	defer func() { _ = l.Close() }()
	lots := openMany(b, n, channels, payees)
	next := 0
	block := func() [][]byte { // signed by the payers and payees, not the validator's work
		var txs, open [][]byte
		size := 0
		for entries := 0; entries < blockEntries; entries += batch {
			l := lots[next%len(lots)]
			from := next / len(lots) * batch % (len(l.ids) - batch + 1)
			next++
			raw := l.settle(from, from+batch, 1)
			if size = chain.BundleSize(size, len(raw)); len(open) > 0 && size > chain.BundleTarget {
				txs, open, size = append(txs, chain.EncodeRecords(open)), nil, chain.BundleSize(0, len(raw))
			}
			open = append(open, raw)
		}
		return append(txs, chain.EncodeRecords(open))
	}
	var check, propose, accept time.Duration
	lap := func(total *time.Duration, f func()) {
		start := time.Now()
		f()
		*total += time.Since(start)
	}
	before := n.exec.Stats()
	var cpu time.Duration
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		txs := block()
		b.StartTimer()
		cpu -= used()
		lap(&check, func() {
			for _, raw := range txs {
				if err := n.exec.Check(raw, false); err != nil {
					b.Fatal(err)
				}
			}
		})
		height := n.height() + 1
		lap(&propose, func() { txs = n.exec.Propose(height, unlimited, txs) })
		lap(&accept, func() {
			if err := n.exec.Accept(exec.Block{Height: height, Txs: txs}); err != nil {
				b.Fatal(err)
			}
		})
		n.force(txs)
		cpu += used()
	}
	b.StopTimer()
	s := n.exec.Stats()
	entries := float64(b.N * blockEntries)
	if got := s.SignaturesVerified - before.SignaturesVerified; got != uint64(b.N*(blockEntries+blockEntries/batch)) {
		b.Fatalf("verified %d signatures", got)
	}
	per := func(d int64) float64 { return float64(d) / entries / 1000 }
	b.ReportMetric(entries/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(per(b.Elapsed().Nanoseconds()), "us/entry")
	b.ReportMetric(per(cpu.Nanoseconds()), "us-cpu")
	b.ReportMetric(per(s.VerifyNanos-before.VerifyNanos), "us-verify")
	b.ReportMetric(per(check.Nanoseconds()-(s.VerifyNanos-before.VerifyNanos)), "us-check")
	b.ReportMetric(per((propose + accept).Nanoseconds()), "us-propose")
	b.ReportMetric(per(s.ApplyNanos-before.ApplyNanos), "us-apply")
	b.ReportMetric(per(s.PrepareNanos-before.PrepareNanos), "us-prepare")
	b.ReportMetric(per(s.CommitNanos-before.CommitNanos), "us-commit")
	b.ReportMetric(float64(n.exec.Stats().IndexBytes-before.IndexBytes)/entries, "index-B")
}

// used returns the processor time of this process, which other load does not
// change much. It includes garbage collection and the store's own goroutines.
func used() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// openMany opens channels of one payer to that many payees.
func openMany(b *testing.B, n *node, channels, payees int) []*lot {
	b.Helper()
	d, p := n.exec.Domain(), n.exec.Params()
	payer := accountOf(payees)
	var lots []*lot
	for i := range payees {
		l := &lot{domain: d, payer: payer, payee: accountOf(i), key: keyOf(1 << 20), first: uint64(i * channels / payees)}
		var txs [][]byte
		for left := channels / payees; left > 0; left -= channel.MaxOpens {
			var open channel.Open
			for range min(left, channel.MaxOpens) {
				open.Channels = append(open.Channels, channel.OpenParams{
					Payee: l.payee.addr, VoucherKey: l.key.Public(), Deposit: 1_000_000,
					ExpiresAt: p.MaxLifetime / 2, Challenge: p.DefaultChallenge,
				})
			}
			for j := range open.Channels {
				l.ids = append(l.ids, channel.ID(d, payer.addr, payer.nonce, uint16(j), &open.Channels[j]))
			}
			txs = append(txs, chain.EncodeRecords([][]byte{payer.tx(d, chain.KindOpenChannels, open.Encode())}))
		}
		n.force(txs)
		l.paid = make([]ledger.Amount, len(l.ids))
		lots = append(lots, l)
	}
	var count uint64
	_ = n.exec.Read(func(v chain.View, _ uint64) error {
		count = settlement.ChannelCount(v)
		return nil
	})
	if count != uint64(channels) {
		b.Fatalf("%d channels are open, want %d", count, channels)
	}
	return lots
}

// BenchmarkAudit counts all money of a chain with that many channels.
func BenchmarkAudit(b *testing.B) {
	const channels = 100_000
	store := badgerkv.Main(b.TempDir())
	store.MinFree = 0
	n, l := benchNode(b, store, channels/1_000)
	defer func() { _ = l.Close() }()
	openMany(b, n, channels, channels/1_000)
	for b.Loop() {
		if err := n.exec.Read(func(v chain.View, _ uint64) error {
			_, err := settlement.Audit(v)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*channels), "ns/channel")
}

// benchNode is a node with a chain of payees+1 funded accounts.
func benchNode(b *testing.B, store badgerkv.Options, payees int) (*node, *layer.Settlement) {
	b.Helper()
	params := settlement.LocalParams()
	params.MaxBlockBytes = 16 << 20
	gen := genesisOf(payees+1, params)
	l, err := layer.Open(store, layerOptions())
	if err != nil {
		b.Fatal(err)
	}
	n := &node{t: b, net: &network{}, gen: gen, arrived: make(chan struct{}, 1)}
	if n.exec, err = exec.OpenMain(exec.Config{Now: time.Now}, l, gen, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	if _, err := n.exec.InitChain(nil); err != nil {
		b.Fatal(err)
	}
	return n, l
}

// BenchmarkSubmit is the way of a transfer that comes alone, with 64 others under
// way: Submit, bundle and Check. An operation is a transfer.
func BenchmarkSubmit(b *testing.B) {
	const signers = 1_024
	params := settlement.LocalParams()
	params.MaxBlockBytes = 16 << 20
	net := &network{}
	n := newNode(b, net, genesisOf(signers, params), exec.Config{PendingRecords: 1 << 20, PoolRecords: 1 << 20}, true)
	d := n.exec.Domain()
	raw := make([][]byte, b.N)
	for i := range raw {
		raw[i] = accountOf(i%signers).txAt(d, uint64(i/signers), chain.KindTransfer, transfer(addrOf(0), 1))
		if i/signers >= chain.NonceWindow {
			b.Fatal("too many transfers")
		}
	}
	var next atomic.Int64
	b.SetParallelism(32)
	before := used()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n.exec.Submit(b.Context(), raw[next.Add(1)-1]); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	s := n.exec.Stats()
	b.ReportMetric(float64((used()-before).Microseconds())/float64(b.N), "us-cpu")
	b.ReportMetric(float64(s.SignaturesVerified)/float64(max(1, s.VerifyBatches)), "batch")
	b.ReportMetric(float64(b.N)/float64(max(1, net.broadcasts())), "bundle")
}
