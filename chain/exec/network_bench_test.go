package exec_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

// openLot opens channels with a large deposit each, on all members.
func (a *agreement) openLot(tb testing.TB, count int) *lot {
	tb.Helper()
	e := a.members[0].exec
	p := e.Params()
	l := &lot{domain: e.Domain(), payer: accountOf(0), payee: accountOf(1), key: keyOf(1 << 20)}
	for left := count; left > 0; left -= channel.MaxOpens {
		var open channel.Open
		for range min(left, channel.MaxOpens) {
			open.Channels = append(open.Channels, channel.OpenParams{
				Payee: l.payee.addr, VoucherKey: l.key.Public(), Deposit: 10_000_000,
				ExpiresAt: p.MaxLifetime / 2, Challenge: p.DefaultChallenge,
			})
		}
		nonce := l.payer.nonce
		s := a.settle(tb, 0, l.payer.tx(l.domain, chain.KindOpenChannels, open.Encode()))
		if s.Receipt.Code != chain.CodeOK {
			tb.Fatalf("open: %v", s.Receipt.Code)
		}
		if len(l.ids) == 0 {
			l.first = s.Receipt.FirstChannel
		}
		for i := range open.Channels {
			l.ids = append(l.ids, channel.ID(l.domain, l.payer.addr, nonce, uint16(i), &open.Channels[i]))
		}
	}
	l.paid = make([]ledger.Amount, len(l.ids))
	return l
}

// settleAll submits records at a member and waits until all members have executed
// all.
func (a *agreement) settleAll(tb testing.TB, at int, records [][]byte) {
	tb.Helper()
	var hashes []ledger.Hash
	for _, raw := range records {
		s, err := a.members[at].exec.Submit(context.Background(), raw)
		if err != nil {
			tb.Fatalf("submit: %v", err)
		}
		hashes = append(hashes, s.Hash)
	}
	for _, m := range a.members {
		for _, hash := range hashes {
			eventually(tb, 20*time.Second, "record final", func() bool {
				s, err := m.exec.Status(hash)
				return err == nil && s.Stage >= exec.StageFinal
			})
		}
	}
}

// BenchmarkAgreement is four validators in one process that agree on blocks of
// settlements: how long a round takes from Submit until all have executed it, what
// a block takes, and how long consensus waits for its execution. "plain" is without
// executing ahead, seals, extensions and certificates. Compare within a run only.
func BenchmarkAgreement(b *testing.B) {
	const batch = 100
	for _, size := range []int{batch, 4_000} {
		for _, mode := range []struct {
			name          string
			staked, ahead bool
		}{
			{"plain", false, false},
			{"ahead", false, true},
			{"certified", true, true},
		} {
			b.Run(fmt.Sprintf("%s/%d claims", mode.name, size), func(b *testing.B) {
				a := newAgreement(b, 4, longEpochs(100_000), mode.staked)
				a.pace = time.Millisecond
				a.startAll(b)
				for _, m := range a.members {
					if !mode.ahead {
						m.exec.NothingAhead()
					}
				}
				l := a.openLot(b, size)
				before := a.members[0].exec.Stats()
				b.ResetTimer()
				for i := range b.N {
					b.StopTimer()
					var records [][]byte
					for from := 0; from < size; from += batch {
						records = append(records, l.settle(from, from+batch, 1))
					}
					b.StartTimer()
					a.settleAll(b, i%4, records)
				}
				b.StopTimer()
				after := a.members[0].exec.Stats()
				blocks := float64(after.Blocks - before.Blocks)
				ms := func(nanos int64) float64 { return float64(nanos) / 1e6 / blocks }
				b.ReportMetric(blocks/float64(b.N), "blocks/op")
				b.ReportMetric(ms(b.Elapsed().Nanoseconds()), "ms/block")
				b.ReportMetric(ms(after.FinalizeNanos-before.FinalizeNanos), "ms-finalize/block")
				b.ReportMetric(ms(after.ApplyNanos+after.PrepareNanos-before.ApplyNanos-before.PrepareNanos), "ms-execute/block")
			})
		}
	}
}
