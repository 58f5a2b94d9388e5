package service_test

import (
	"crypto/rand"
	"fmt"
	"iter"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

// table is a state that is only got from and set, as fast as a map.
type table map[string][]byte

func (m table) Get(key []byte) []byte { return m[string(key)] }

func (m table) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

func (m table) apply(changes chain.Changes) {
	for _, c := range changes {
		if c.Value == nil {
			delete(m, string(c.Key))
			continue
		}
		m[string(c.Key)] = c.Value
	}
}

const (
	benchPayees  = 16
	benchEntries = 64 // of each payee and block: 1,024 bookings a block
)

// benchWorld is a shard with benchEntries channels of each payee, of whom away in a
// hundred have their home in the other shard.
type benchWorld struct {
	b          *testing.B
	home, away table
	accounts   [benchPayees][]*account
	height     uint64
	total      ledger.Amount
	used       time.Duration // processor time of apply
}

// processor returns the processor time that this process has used.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func newBenchWorld(b *testing.B, away int) *benchWorld {
	b.Helper()
	w := &benchWorld{b: b}
	for zone, m := range []*table{&w.home, &w.away} {
		g := service.Genesis{Network: testNetwork, Shard: wholeZone(uint8(zone)), Params: service.DefaultParams()}
		changes, err := g.State()
		if err != nil {
			b.Fatal(err)
		}
		*m = table{}
		m.apply(changes)
	}
	var in []service.Inbound
	for p := range w.accounts {
		zone := uint8(0)
		if p*100 < away*benchPayees {
			zone = 1
		}
		for i := range benchEntries {
			a := newAccount(uint64(p*benchEntries+i), keyOf("payer", i), keyOf("payee", p), 0, zone, ledger.MaxAmount)
			a.voucherKey = keyOf("bench", int(a.index))
			w.accounts[p], in = append(w.accounts[p], a), append(in, a.opened())
		}
	}
	w.apply(w.home, service.Block{Inbox: in})
	return w
}

func (w *benchWorld) apply(m table, block service.Block) service.Result {
	w.height++
	block.Height = w.height
	began := processor(w.b)
	changes, res, err := service.ApplyBlock(m, service.DefaultParams(), testDomain, block, func(claims []ledger.Claim) []int {
		return ledger.VerifyBatch(rand.Reader, claims)
	})
	if err != nil {
		w.b.Fatal(err)
	}
	m.apply(changes)
	w.used += processor(w.b) - began
	return res
}

// next signs the transactions of the next block.
func (w *benchWorld) next(checked bool) []service.BlockTx {
	w.total += 10
	txs := make([]service.BlockTx, benchPayees)
	for p := range txs {
		items := make([]item, benchEntries)
		for i, a := range w.accounts[p] {
			e := channel.Entry{Index: a.index, Claim: channel.ClaimVoucher, Cumulative: w.total, Units: uint64(w.total), UsageRoot: ledger.Hash{1}}
			if !checked {
				e.Signature = a.voucherKey.Sign(e.Signed(mainDomain, a.id))
			}
			items[i] = item{a, e}
		}
		txs[p] = booking(w.b, items...)
		txs[p].Checked = checked
	}
	return txs
}

// BenchmarkBook books 1,024 vouchers a block, with the share of payees whose home is
// another shard, and takes the messages in there. What is measured is the processor
// time of both shards, the stores left out.
func BenchmarkBook(b *testing.B) {
	for _, checked := range []bool{false, true} {
		base := time.Duration(0) // processor time of a booking, if all payees are at home
		for _, away := range []int{0, 10, 50, 100} {
			name := fmt.Sprintf("signatures=verified/away=%d%%", away)
			if checked {
				name = fmt.Sprintf("signatures=known/away=%d%%", away)
			}
			b.Run(name, func(b *testing.B) {
				w := newBenchWorld(b, away)
				messages := 0
				w.used = 0
				b.ResetTimer()
				for b.Loop() {
					b.StopTimer()
					txs := w.next(checked)
					b.StartTimer()
					res := w.apply(w.home, service.Block{Txs: txs})
					if len(res.Bookings) != benchPayees*benchEntries {
						b.Fatalf("%d bookings", len(res.Bookings))
					}
					if len(res.Messages) == 0 {
						continue
					}
					messages += len(res.Messages)
					in := make([]service.Inbound, len(res.Messages))
					for i, m := range res.Messages {
						in[i] = service.Inbound{From: m.From, To: m.To, Kind: m.Kind, Payload: m.Payload}
					}
					w.apply(w.away, service.Block{Inbox: in})
				}
				each := w.used / time.Duration(b.N*benchPayees*benchEntries)
				if away == 0 {
					base = each
				}
				b.ReportMetric(float64(time.Second)/float64(max(each, 1)), "bookings/cpu-s")
				b.ReportMetric(float64(each)/float64(max(base, 1)), "x_home")
				b.ReportMetric(float64(messages)/float64(b.N), "messages/block")
			})
		}
	}
}

// TestNettingIsCheap: what a booking costs both shards is the same, within the
// limit, however many payees live elsewhere: a message is made for each payee and
// block, not for each booking.
func TestNettingIsCheap(t *testing.T) {
	t.Parallel()
	s := newShard(t, service.DefaultParams(), wholeZone(0))
	var in []service.Inbound
	var items []item
	for i := range 200 {
		a := newAccount(uint64(i), keyOf("payer", i%20), keyOf("payee", 0), 0, 1, 1_000)
		in, items = append(in, a.opened()), append(items, item{a, channel.Entry{Index: a.index, Claim: channel.ClaimVoucher, Cumulative: 5, Units: 1}})
	}
	s.main(in...)
	tx := booking(t, items...)
	tx.Checked = true
	res := s.block(service.Block{Txs: []service.BlockTx{tx}})
	if len(res.Bookings) != 200 || len(res.Messages) != 1 {
		t.Errorf("%d bookings make %d messages, want 200 and 1", len(res.Bookings), len(res.Messages))
	}
}
