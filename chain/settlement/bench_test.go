package settlement_test

import (
	"encoding/binary"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// tables is a state whose channels and accounts are found without a map.
type tables struct {
	*state
	dense map[byte][][]byte
}

func (s *tables) Get(key []byte) []byte {
	if len(key) == chain.RowKeySize {
		if rows := s.dense[key[0]]; rows != nil {
			if i := binary.BigEndian.Uint64(key[1:]); i < uint64(len(rows)) {
				return rows[i]
			}
			return nil
		}
	}
	return s.state.Get(key)
}

func (s *tables) apply(changes chain.Changes) {
	for _, c := range changes {
		if rows := s.dense[c.Key[0]]; len(c.Key) == chain.RowKeySize && rows != nil {
			if i := binary.BigEndian.Uint64(c.Key[1:]); i < uint64(len(rows)) {
				rows[i] = c.Value
				continue
			}
		}
		s.state.apply(chain.Changes{c})
	}
}

const (
	benchChannels = 100_000
	benchEntries  = 500
)

// benchState has benchChannels channels of account 0 to account 1.
func benchState(b *testing.B) (*bench, *tables) {
	b.Helper()
	p := settlement.DefaultParams()
	g := settlement.Genesis{Name: "bench", Time: 1, Params: p}
	c := &bench{t: b, params: p, domain: testDomain, nonces: make([]uint64, 2)}
	for i := range 2 {
		c.keys = append(c.keys, keyOf("account", i))
		c.addrs = append(c.addrs, c.keys[i].Address(0))
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: c.addrs[i], Balance: 1 << 60})
	}
	changes, err := g.State()
	if err != nil {
		b.Fatal(err)
	}
	s := &tables{state: newState(changes), dense: make(map[byte][][]byte)}
	for range benchChannels/channel.MaxOpens + 1 {
		open := &channel.Open{}
		for range channel.MaxOpens {
			open.Channels = append(open.Channels, channel.OpenParams{
				Payee: c.addrs[1], VoucherKey: voucherKey().Public(), Deposit: 1 << 30, ExpiresAt: 100_000, Challenge: 4_800,
			})
		}
		c.height++
		changes, _, err := settlement.ApplyBlock(s, p, c.domain, settlement.Block{Height: c.height, Txs: []settlement.BlockTx{c.checked(0, open)}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		s.state.apply(changes)
	}
	for _, t := range []byte{'A', 'C'} {
		for _, v := range s.Range([]byte{t}) {
			s.dense[t] = append(s.dense[t], v)
		}
	}
	return c, s
}

// BenchmarkApplyBatch applies blocks of 20 batches of 500 entries, each of which
// pays. us/entry is the figure to watch.
func BenchmarkApplyBatch(b *testing.B) {
	c, s := benchState(b)
	const batches = 20
	var cumulative ledger.Amount
	next := uint64(0)
	for b.Loop() {
		b.StopTimer()
		txs := make([]settlement.BlockTx, batches)
		for i := range txs {
			batch := c.batch(1)
			for range benchEntries {
				if next%benchChannels == 0 {
					next, cumulative = 0, cumulative+100
				}
				batch.Entries = append(batch.Entries, channel.Entry{Index: next, Claim: channel.ClaimVoucher, Cumulative: cumulative})
				next++
			}
			txs[i] = c.checked(1, batch)
		}
		c.height++
		b.StartTimer()
		changes, res, err := settlement.ApplyBlock(s, c.params, c.domain, settlement.Block{Height: c.height, Txs: txs}, nil)
		b.StopTimer()
		if err != nil || res.Receipts[0].Code != chain.CodeOK || !res.Receipts[0].Entries[0].Applied() {
			b.Fatal(err, res.Receipts[0].Code)
		}
		s.apply(changes)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batches*benchEntries), "us/entry")
}

// BenchmarkAdmission is what a node does with a batch of 500 entries before its
// signatures are verified.
func BenchmarkAdmission(b *testing.B) {
	c, s := benchState(b)
	batch := c.batch(1)
	for i := range uint64(benchEntries) {
		batch.Entries = append(batch.Entries, channel.Entry{Index: i * 7, Claim: channel.ClaimVoucher, Cumulative: 100})
	}
	tx := c.checked(1, batch)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchEntries), "ns/entry")
		})
	}
	run("Fee", func() { settlement.Fee(c.params, &tx.Tx) })
	run("Urgent/waits", func() { settlement.Urgent(s, c.height+1, &tx.Tx) })
	run("Urgent/urgent", func() { settlement.Urgent(s, 99_000, &tx.Tx) })
	run("Claims", func() {
		if needs, _, err := settlement.Claims(s, c.domain, &tx.Tx); err != nil || len(needs) != benchEntries+1 {
			b.Fatal(len(needs), err)
		}
	})
	run("Admit", func() {
		if _, err := settlement.Admit(s, c.params, c.domain, c.height+1, &tx.Tx); err != nil {
			b.Fatal(err)
		}
	})
}
