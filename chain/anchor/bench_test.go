package anchor_test

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/cloudflare/circl/ecc/bls12381"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// large is a committee of any size that signs as one: with the sum of its secrets.
type large struct {
	committee committee.Committee
	keys      []*bls.Key
	secrets   []*big.Int
}

func newLarge(b *testing.B, n int) *large {
	b.Helper()
	l := &large{}
	for i := range uint64(n) {
		seed := ledger.HashOf("seed", binary.BigEndian.AppendUint64(nil, i))
		k, err := bls.NewSecretKey(seed[:])
		if err != nil {
			b.Fatal(err)
		}
		l.committee.Members = append(l.committee.Members, committee.Member{Validator: i, ConsensusKey: seed, BLSKey: k.Public(), Power: 1})
		l.secrets = append(l.secrets, new(big.Int).SetBytes(k.Bytes()))
	}
	var err error
	if l.keys, err = l.committee.Keys(); err != nil {
		b.Fatal(err)
	}
	return l
}

// certify returns the certificate of a height by all members but one, if away is not
// negative.
func (l *large) certify(b *testing.B, height uint64, away int) cert.Certificate {
	b.Helper()
	c := cert.Certificate{Checkpoint: checkpoint(one, height, version{}), Bitmap: make([]byte, (len(l.secrets)+7)/8)}
	c.Checkpoint.Epoch, c.Checkpoint.CommitteeHash = 0, l.committee.Hash()
	var sum big.Int
	for i, s := range l.secrets {
		if i != away {
			c.Bitmap[i/8] |= 1 << (i % 8)
			sum.Add(&sum, s)
		}
	}
	if n := len(c.Bitmap); c.Bitmap[n-1] == 0 {
		c.Bitmap = c.Bitmap[:n-1]
	}
	sum.Mod(&sum, new(big.Int).SetBytes(bls12381.Order()))
	all, err := bls.ParseSecretKey(sum.FillBytes(make([]byte, bls.SecretSize)))
	if err != nil {
		b.Fatal(err)
	}
	c.Signature = all.Sign(c.Checkpoint.Message())
	return c
}

// BenchmarkApply: what an anchored height costs, in runs all of whose heights the same
// members signed and in runs with as many sets of signers as can be. The ratio is what
// it costs if each height's certificate is verified for itself, by what it costs in
// the run.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		l := newLarge(b, n)
		for _, heights := range []int{1, 16, 64} {
			for _, sets := range slices.Compact([]int{1, min(heights, n)}) {
				b.Run(fmt.Sprintf("members=%d/heights=%d/sets=%d", n, heights, sets), func(b *testing.B) { l.bench(b, heights, sets) })
			}
		}
	}
}

func (l *large) bench(b *testing.B, heights, sets int) {
	b.Helper()
	list := make([]cert.Certificate, heights)
	for i := range list {
		away := -1
		if sets > 1 {
			away = i % sets
		}
		list[i] = l.certify(b, uint64(i+1), away)
	}
	in := &anchor.Anchors{Runs: []cert.Run{join(b, list...)}}
	began := time.Now()
	for i := range list {
		if err := list[i].Verify(network, one, &l.committee, l.keys); err != nil {
			b.Fatal(err)
		}
	}
	single := float64(time.Since(began).Microseconds()) / float64(heights)

	rules := anchor.LocalParams()
	row := anchor.State{Service: 1, Buckets: shard.Whole()}
	ctx := anchor.Context{Rules: &rules, Network: network, Height: 9, Committees: func(shard.ID, uint64, uint32) (*committee.Committee, []*bls.Key, bool) {
		return &l.committee, l.keys, true
	}}
	for b.Loop() {
		ctx.State = chain.NewOverlay(nothing{})
		ctx.State.Set(anchor.Key(one), row.Encode())
		if _, err := ctx.Apply(in); err != nil {
			b.Fatal(err)
		}
	}
	each := float64(b.Elapsed().Microseconds()) / float64(b.N*heights)
	b.ReportMetric(each, "us/height")
	b.ReportMetric(single/each, "ratio")
	b.ReportMetric(float64(len(in.Encode()))/float64(heights), "bytes/height")
}

// BenchmarkCheck: what a run costs that is refused without a pairing.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	in := &anchor.Anchors{Runs: []cert.Run{run(b, one, 1, 40, version{})}}
	if _, err := w.ctx.Apply(in); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := w.ctx.Check(in); err == nil {
			b.Fatal("a repeat is taken")
		}
	}
}

// BenchmarkEnded: what a block's look at who is stalled costs with the shards that serve,
// and with ten thousand that have ended beside them: the ratio of both.
func BenchmarkEnded(b *testing.B) {
	w := newWorld(b)
	look := func() time.Duration {
		began := time.Now()
		for range 50 {
			anchor.StalledAt(w.ctx.State, w.ctx.Rules, 1_000, mainEpoch)
		}
		return time.Since(began)
	}
	look()
	without := min(look(), look(), look())
	last, _ := anchor.Read(w.ctx.State, one)
	last.Until, last.End = 9, last.Height()
	for i := range 10_000 {
		w.ctx.State.Set(anchor.Key(shard.ID(1_000+i)), last.Encode())
	}
	var with time.Duration
	for b.Loop() {
		with = look()
	}
	b.ReportMetric(float64(with)/float64(without), "ratio")
}
