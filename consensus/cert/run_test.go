package cert_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// terms are committees of consecutive epochs from 7 on, with the same secrets.
type terms []*bench

func termsOf(tb testing.TB, epochs int, powers ...uint64) terms {
	tb.Helper()
	var list terms
	for i := range epochs {
		b := seat(tb, powers...)
		b.committee.Epoch += uint64(i)
		list = append(list, b)
	}
	return list
}

func (ts terms) committees(epoch uint64) (*committee.Committee, []*bls.Key, bool) {
	if epoch < 7 || epoch >= 7+uint64(len(ts)) {
		return nil, nil, false
	}
	b := ts[epoch-7]
	return &b.committee, b.keys, true
}

// at returns the certificate of a height by members of the committee of an epoch.
func (ts terms) at(tb testing.TB, height, epoch uint64, members ...int) cert.Certificate {
	tb.Helper()
	b := ts[epoch-7]
	c := b.checkpoint()
	c.Height, c.BlockHash = height, ledger.HashOf("block", []byte{byte(height)})
	return b.certificate(tb, c, members...)
}

func join(tb testing.TB, certificates ...cert.Certificate) cert.Run {
	tb.Helper()
	r, err := cert.Join(certificates)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// mixed returns a run of four heights over two epochs and three sets of signers.
func (ts terms) mixed(tb testing.TB) cert.Run {
	tb.Helper()
	return join(tb, ts.at(tb, 20, 7, 0, 1, 2), ts.at(tb, 21, 7, 0, 1, 3), ts.at(tb, 22, 7, 0, 1, 2), ts.at(tb, 23, 8, 0, 1, 2))
}

// TestRunVerify: one valid run; each row breaks one thing.
func TestRunVerify(t *testing.T) {
	t.Parallel()
	// Ten of fifteen is two thirds exactly; the quorum is eleven.
	ts := termsOf(t, 2, 5, 4, 3, 2, 1)
	other := termsOf(t, 2, 5, 4, 3, 2, 2)
	type scene struct {
		run        cert.Run
		network    ledger.NetworkID
		chain      ledger.ChainID
		committees cert.Committees
	}
	// rejoin makes the run of certificates, some of which are no good.
	rejoin := func(list ...cert.Certificate) func(*scene) {
		return func(s *scene) { s.run = join(t, list...) }
	}
	for _, row := range []struct {
		name   string
		change func(s *scene)
		want   error
	}{
		{"as it is", func(*scene) {}, nil},
		{"one height", rejoin(ts.at(t, 5, 7, 0, 1, 3)), nil},
		{"verified for another network", func(s *scene) { s.network[0]++ }, cert.ErrWrongNetwork},
		{"verified for another chain", func(s *scene) { s.chain++ }, cert.ErrWrongChain},
		{"an epoch without committee", func(s *scene) { s.committees = ts[:1].committees }, cert.ErrWrongEpoch},
		{"other committees", func(s *scene) { s.committees = other.committees }, cert.ErrWrongCommittee},
		{"the committee of another epoch", func(s *scene) {
			s.committees = func(uint64) (*committee.Committee, []*bls.Key, bool) { return ts.committees(7) }
		}, cert.ErrWrongEpoch},
		{"too few keys", func(s *scene) {
			s.committees = func(e uint64) (*committee.Committee, []*bls.Key, bool) {
				com, keys, ok := ts.committees(e)
				return com, keys[:len(keys)-1], ok
			}
		}, cert.ErrWrongKeys},
		{"epochs that fall", rejoin(ts.at(t, 20, 8, 0, 1, 2), ts.at(t, 21, 7, 0, 1, 2)), cert.ErrWrongEpoch},
		{"one height of three with two thirds exactly", rejoin(ts.at(t, 20, 7, 0, 1, 2), ts.at(t, 21, 7, 0, 1, 4), ts.at(t, 22, 7, 0, 1, 2)), cert.ErrTooLittlePower},
		{"a stranger's bit", func(s *scene) { s.run.Sets[1].Bitmap = []byte{0x2b} }, cert.ErrStranger},
		{"a bit too many", func(s *scene) { s.run.Sets[0].Bitmap = bitmap(0, 1, 2, 4) }, cert.ErrBadSignature},
		{"other bits", func(s *scene) { s.run.Sets[0].Bitmap = bitmap(0, 1, 3, 4) }, cert.ErrBadSignature},
		{"signers exchanged", func(s *scene) {
			s.run.Sets[0].Bitmap, s.run.Sets[1].Bitmap = s.run.Sets[1].Bitmap, s.run.Sets[0].Bitmap
		}, cert.ErrBadSignature},
		{"a bitmap with a zero more", func(s *scene) { s.run.Sets[0].Bitmap = append(s.run.Sets[0].Bitmap, 0) }, cert.ErrBitmap},
		{"no bitmap", func(s *scene) { s.run.Sets[0].Bitmap = nil }, cert.ErrBitmap},
		{"another committee named", func(s *scene) { s.run.Sets[0].CommitteeHash[0]++ }, cert.ErrWrongCommittee},

		{"heights moved by one", func(s *scene) { s.run.First++ }, cert.ErrBadSignature},
		{"the last height cut off", func(s *scene) { s.run.Heads, s.run.Sets = s.run.Heads[:3], s.run.Sets[:2] }, cert.ErrBadSignature},
		{"a height put in twice", func(s *scene) { s.run.Heads = append(s.run.Heads, s.run.Heads[3]) }, cert.ErrBadSignature},
		{"two heights exchanged", func(s *scene) {
			s.run.Heads[0].BlockHash, s.run.Heads[2].BlockHash = s.run.Heads[2].BlockHash, s.run.Heads[0].BlockHash
		}, cert.ErrBadSignature},
		{"another block", func(s *scene) { s.run.Heads[1].BlockHash[0]++ }, cert.ErrBadSignature},
		{"another state", func(s *scene) { s.run.Heads[1].StateRoot[31]++ }, cert.ErrBadSignature},
		{"another outbox", func(s *scene) { s.run.Heads[2].OutboxRoot[0]++ }, cert.ErrBadSignature},
		{"another usage", func(s *scene) { s.run.Heads[2].UsageRoot[0]++ }, cert.ErrBadSignature},
		{"other results", func(s *scene) { s.run.Heads[3].ResultsRoot[0]++ }, cert.ErrBadSignature},
		{"another round", func(s *scene) { s.run.Heads[0].Round++ }, cert.ErrBadSignature},
		{"replayed on another chain", func(s *scene) { s.run.Chain++; s.chain++ }, cert.ErrBadSignature},
		{"no signature", func(s *scene) { s.run.Signature = bls.Signature{} }, cert.ErrBadSignature},
		{"the signature of one height", func(s *scene) { s.run.Signature = ts.at(t, 20, 7, 0, 1, 2).Signature }, cert.ErrBadSignature},
		{"the negated signature", func(s *scene) { s.run.Signature[0] ^= 0x20 }, cert.ErrBadSignature},

		{"no heights", func(s *scene) { s.run.Heads, s.run.Sets = nil, nil }, cert.ErrNotCanonical},
		{"height 0", func(s *scene) { s.run.First = 0 }, cert.ErrNotCanonical},
		{"beyond the last height", func(s *scene) { s.run.First = 1<<64 - 1 }, cert.ErrNotCanonical},
		{"too many heights", func(s *scene) {
			for len(s.run.Heads) <= cert.MaxRun {
				s.run.Heads = append(s.run.Heads, s.run.Heads[0])
			}
		}, cert.ErrNotCanonical},
		{"a set that is not there", func(s *scene) { s.run.Heads[3].Set = 3 }, cert.ErrNotCanonical},
		{"a set that nobody uses", func(s *scene) {
			s.run.Sets = append(s.run.Sets, cert.SignerSet{Epoch: 8, Bitmap: []byte{1}})
		}, cert.ErrNotCanonical},
		{"a set twice", func(s *scene) { s.run.Sets[1] = s.run.Sets[0] }, cert.ErrNotCanonical},
		{"sets in another order", func(s *scene) {
			s.run.Sets[0], s.run.Sets[1] = s.run.Sets[1], s.run.Sets[0]
			s.run.Heads[0].Set, s.run.Heads[1].Set, s.run.Heads[2].Set = 1, 0, 1
		}, cert.ErrNotCanonical},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := scene{ts.mixed(t), network, 3, ts.committees}
			row.change(&s)
			if err := s.run.Verify(s.network, s.chain, s.committees); !errors.Is(err, row.want) {
				t.Errorf("error %v, want %v", err, row.want)
			}
			cheap := row.want
			if errors.Is(cheap, cert.ErrBadSignature) {
				cheap = nil
			}
			if err := s.run.Check(s.network, s.chain, s.committees); !errors.Is(err, cheap) {
				t.Errorf("without the signature: error %v, want %v", err, cheap)
			}
		})
	}
}

func TestJoinRefuses(t *testing.T) {
	t.Parallel()
	ts := termsOf(t, 1, 1, 1, 1, 1)
	at := func(height uint64, change ...func(*cert.Certificate)) cert.Certificate {
		c := ts.at(t, height, 7, 0, 1, 2)
		for _, f := range change {
			f(&c)
		}
		return c
	}
	opposite := func(c *cert.Certificate) { c.Signature = at(1).Signature; c.Signature[0] ^= 0x20 }
	for _, row := range []struct {
		name string
		list []cert.Certificate
		want error
	}{
		{"good", []cert.Certificate{at(1), at(2)}, nil},
		{"none", nil, cert.ErrNotCanonical},
		{"too many", slices.Repeat([]cert.Certificate{at(1)}, cert.MaxRun+1), cert.ErrNotCanonical},
		{"height 0", []cert.Certificate{at(0)}, cert.ErrNotCanonical},
		{"a gap", []cert.Certificate{at(1), at(3)}, cert.ErrGap},
		{"a repeat", []cert.Certificate{at(1), at(2), at(2)}, cert.ErrRepeat},
		{"descending", []cert.Certificate{at(2), at(1)}, cert.ErrRepeat},
		{"another network", []cert.Certificate{at(1), at(2, func(c *cert.Certificate) { c.Checkpoint.Network[0]++ })}, cert.ErrWrongNetwork},
		{"another chain", []cert.Certificate{at(1), at(2, func(c *cert.Certificate) { c.Checkpoint.Chain++ })}, cert.ErrWrongChain},
		{"another generation", []cert.Certificate{at(1), at(2, func(c *cert.Certificate) { c.Checkpoint.Generation++ })}, cert.ErrWrongGeneration},
		{"no bitmap", []cert.Certificate{at(1), at(2, func(c *cert.Certificate) { c.Bitmap = nil })}, cert.ErrBitmap},
		{"no signature", []cert.Certificate{at(1), at(2, func(c *cert.Certificate) { c.Signature = bls.Signature{} })}, bls.ErrBadSignature},
		{"signatures that cancel out", []cert.Certificate{at(1), at(2, opposite)}, bls.ErrIdentity},
	} {
		if _, err := cert.Join(row.list); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

// TestRunSays: a run says of every height what its certificate said.
func TestRunSays(t *testing.T) {
	t.Parallel()
	ts := termsOf(t, 3, 1, 1, 1, 1)
	rapid.Check(t, func(rt *rapid.T) {
		epoch, first := uint64(7), rapid.Uint64Range(1, 200).Draw(rt, "first")
		var list []cert.Certificate
		for i := range uint64(rapid.IntRange(1, 6).Draw(rt, "heights")) {
			epoch = min(9, epoch+uint64(rapid.IntRange(0, 1).Draw(rt, "epoch")))
			members := []int{0, 1, 2, 3}
			if away := rapid.IntRange(0, 5).Draw(rt, "away"); away < 4 {
				members = slices.Delete(members, away, away+1)
			}
			list = append(list, ts.at(t, first+i, epoch, members...))
		}
		r := join(t, list...)
		if err := r.Verify(network, 3, ts.committees); err != nil {
			rt.Fatal(err)
		}
		again, err := cert.DecodeRun(r.Encode())
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			rt.Fatalf("decoded with error %v: %s", err, diff)
		}
		if r.Last() != first+uint64(len(list))-1 {
			rt.Fatalf("last height %d of %d from %d", r.Last(), len(list), first)
		}
		for i := range list {
			if diff := cmp.Diff(list[i].Checkpoint, r.Checkpoint(i)); diff != "" {
				rt.Fatalf("height %d: %s", first+uint64(i), diff)
			}
			if !slices.Equal(list[i].Signers(), r.Signers(i)) {
				rt.Fatalf("height %d: signers %v, want %v", first+uint64(i), r.Signers(i), list[i].Signers())
			}
		}
	})
}

// TestGoldenRuns: runs never change.
func TestGoldenRuns(t *testing.T) {
	t.Parallel()
	ts := termsOf(t, 2, 5, 4, 3, 2, 1)
	one, mixed := join(t, ts.at(t, 5, 7, 0, 1, 3)), ts.mixed(t)
	got := map[string]string{
		"run of one height": hex.EncodeToString(one.Encode()),
		"run of four heights, two epochs and three sets": hex.EncodeToString(mixed.Encode()),
		"hash of that run": mixed.Hash().String(),
	}
	const path = "testdata/runs.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs changed: %s", diff)
	}
}

func TestDecodeRunRefuses(t *testing.T) {
	t.Parallel()
	good := termsOf(t, 2, 5, 4, 3, 2, 1).mixed(t)
	raw := good.Encode()
	edit := func(change func(b []byte)) []byte {
		b := slices.Clone(raw)
		change(b)
		return b
	}
	const sets, heads, bitmapLength = 48, 49, 50 + 40
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", raw, nil},
		{"nothing", nil, codec.ErrShort},
		{"cut short", raw[:len(raw)-1], codec.ErrShort},
		{"a byte more", append(slices.Clone(raw), 0), codec.ErrTrailing},
		{"height 0", edit(func(b []byte) { clear(b[40:48]) }), cert.ErrNotCanonical},
		{"more sets than may be", edit(func(b []byte) { b[sets] = cert.MaxRun + 1 }), cert.ErrNotCanonical},
		{"more heights than may be", edit(func(b []byte) { b[heads] = cert.MaxRun + 1 }), cert.ErrNotCanonical},
		{"more heights than there are", edit(func(b []byte) { b[heads]++ }), codec.ErrShort},
		{"a bitmap too long", edit(func(b []byte) { b[bitmapLength] = 0xff }), codec.ErrLength},
		{"an empty bitmap", edit(func(b []byte) { b[bitmapLength+2] = 0 }), cert.ErrBitmap},
		{"a set before its turn", edit(func(b []byte) { b[50+3*43] = 1 }), cert.ErrNotCanonical},
	} {
		if _, err := cert.DecodeRun(row.in); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

func FuzzDecodeRun(f *testing.F) {
	r := termsOf(f, 2, 5, 4, 3, 2, 1).mixed(f)
	canonical(f, r.Encode(), cert.DecodeRun, (*cert.Run).Encode)
}

// FuzzVerifyRun: nothing but the run that was made verifies.
func FuzzVerifyRun(f *testing.F) {
	ts := termsOf(f, 2, 1, 1, 1, 1)
	good := ts.mixed(f)
	raw := string(good.Encode())
	f.Add([]byte(raw))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := cert.DecodeRun(in)
		if err != nil {
			return
		}
		if err := r.Verify(network, 3, ts.committees); (err == nil) != (string(in) == raw) {
			t.Errorf("%x: %v", in, err)
		}
	})
}

// BenchmarkVerifyRun: what a height costs in a run whose heights all members signed,
// and in one ("apart") each of whose heights has other signers.
func BenchmarkVerifyRun(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		ts := termsOf(b, 1, slices.Repeat([]uint64{1}, n)...)
		everybody := make([]int, n)
		for i := range everybody {
			everybody[i] = i
		}
		for _, heights := range []int{1, 16, 64} {
			for _, apart := range []bool{false, true} {
				if apart && heights == 1 {
					continue
				}
				b.Run(fmt.Sprintf("members=%d/heights=%d/apart=%v", n, heights, apart), func(b *testing.B) {
					list := make([]cert.Certificate, heights)
					for i := range list {
						members := everybody
						if apart { // as far as so few members can differ
							members = slices.Delete(slices.Clone(everybody), i%n, i%n+1)
						}
						list[i] = ts.at(b, uint64(i+1), 7, members...)
					}
					r := join(b, list...)
					for b.Loop() {
						if err := r.Verify(network, 3, ts.committees); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*heights), "us/height")
					b.ReportMetric(float64(len(r.Encode()))/float64(heights), "bytes/height")
				})
			}
		}
	}
}
