package cert_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
)

// spoil makes a vote wrong in one of several ways.
func spoil(b *bench, v cert.Vote, how int) cert.Vote {
	other := b.checkpoint()
	switch how % 4 {
	case 0: // another state
		other.StateRoot[0]++
		v.Signature = b.secrets[v.Member].Sign(other.Message())
	case 1: // not a signature
		v.Signature = bls.Signature{}
	case 2: // its negation
		v.Signature[0] ^= 0x20
	default: // the identity
		v.Signature = bls.Signature{0: 0xc0}
	}
	return v
}

// TestAssembleEveryShare: with 0 to n wrong votes of n, the wrong ones are
// found and the others make a certificate as long as they have the power.
func TestAssembleEveryShare(t *testing.T) {
	t.Parallel()
	const n = 10
	b := seat(t, slices.Repeat([]uint64{1}, n)...)
	everybody := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for wrong := range n + 1 {
		for how := range 4 {
			t.Run(fmt.Sprintf("%d wrong, way %d", wrong, how), func(t *testing.T) {
				t.Parallel()
				votes := b.votes(b.checkpoint(), everybody...)
				var want []int
				for i := range wrong {
					at := (3*i + how) % n // spread: 3 and 10 have no common factor
					votes[at], want = spoil(b, votes[at], how), append(want, at)
				}
				slices.Sort(want)
				c, bad, err := cert.Assemble(b.checkpoint(), &b.committee, b.keys, votes)
				if !slices.Equal(bad, want) {
					t.Errorf("bad %v, want %v", bad, want)
				}
				if wrong > 3 {
					if !errors.Is(err, cert.ErrTooLittlePower) {
						t.Errorf("error %v, want ErrTooLittlePower", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := b.verify(&c); err != nil {
					t.Error(err)
				}
				if len(c.Signers()) != n-wrong {
					t.Errorf("signers %v", c.Signers())
				}
			})
		}
	}
}

// TestAssembleExchangedVotes: members that exchange their signatures have signed
// in effect: the errors cancel out, and nobody is called wrong.
func TestAssembleExchangedVotes(t *testing.T) {
	t.Parallel()
	b := seat(t, 1, 1, 1, 1)
	votes := b.votes(b.checkpoint(), 0, 1, 2, 3)
	votes[0].Signature, votes[3].Signature = votes[3].Signature, votes[0].Signature
	c, bad, err := cert.Assemble(b.checkpoint(), &b.committee, b.keys, votes)
	if err != nil || bad != nil {
		t.Fatalf("bad %v, error %v", bad, err)
	}
	if err := b.verify(&c); err != nil {
		t.Error(err)
	}
}

// TestAssembleProperty: whatever votes come, in whatever order, what is returned
// verifies and decodes, and there is a certificate if the right votes have more
// than two thirds of the power.
func TestAssembleProperty(t *testing.T) {
	t.Parallel()
	b := seat(t, 40, 25, 13, 9, 5, 3, 2, 1, 1, 1, 1)
	all := b.votes(b.checkpoint(), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	rapid.Check(t, func(rt *rapid.T) {
		var votes []cert.Vote
		var want []int
		var power, given uint64
		for i, v := range all {
			switch rapid.SampledFrom([]string{"right", "right", "right", "right", "wrong", "none"}).Draw(rt, "vote") {
			case "right":
				votes, power = append(votes, v), power+b.committee.Members[i].Power
				given += b.committee.Members[i].Power
			case "wrong":
				votes, want = append(votes, spoil(b, v, rapid.IntRange(0, 3).Draw(rt, "how"))), append(want, i)
				given += b.committee.Members[i].Power
			}
		}
		before := rapid.Permutation(votes).Draw(rt, "order")
		votes = slices.Clone(before)
		c, bad, err := cert.Assemble(b.checkpoint(), &b.committee, b.keys, votes)
		if !slices.Equal(votes, before) {
			rt.Fatal("the votes are changed")
		}
		if given < b.committee.Quorum() {
			want = nil // not looked for
		}
		if !slices.Equal(bad, want) {
			rt.Fatalf("bad %v, want %v", bad, want)
		}
		if power < b.committee.Quorum() {
			if !errors.Is(err, cert.ErrTooLittlePower) {
				rt.Fatalf("power %d: error %v, want ErrTooLittlePower", power, err)
			}
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		again, err := cert.Decode(c.Encode())
		if err != nil {
			rt.Fatal(err)
		}
		if err := b.verify(&again); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestAssembleRefuses(t *testing.T) {
	t.Parallel()
	b := seat(t, 4, 3, 2, 1)
	good := b.checkpoint()
	edit := func(change func(c *cert.Checkpoint)) cert.Checkpoint {
		c := good
		change(&c)
		return c
	}
	for _, row := range []struct {
		name       string
		checkpoint cert.Checkpoint
		keys       []*bls.Key
		votes      []cert.Vote
		want       error
	}{
		{"good", good, b.keys, b.votes(good, 3, 1, 0), nil},
		{"no votes", good, b.keys, nil, cert.ErrTooLittlePower},
		{"too little power", good, b.keys, b.votes(good, 1, 2, 3), cert.ErrTooLittlePower},
		{"a stranger", good, b.keys, append(b.votes(good, 0, 1), cert.Vote{Member: 4}), cert.ErrStranger},
		{"a negative member", good, b.keys, append(b.votes(good, 0, 1), cert.Vote{Member: -1}), cert.ErrStranger},
		{"two votes of a member", good, b.keys, b.votes(good, 0, 1, 0), cert.ErrRepeated},
		{"another epoch", edit(func(c *cert.Checkpoint) { c.Epoch++ }), b.keys, b.votes(good, 0, 1), cert.ErrWrongEpoch},
		{"another committee", edit(func(c *cert.Checkpoint) { c.CommitteeHash[0]++ }), b.keys, b.votes(good, 0, 1), cert.ErrWrongCommittee},
		{"other keys", good, b.keys[1:], b.votes(good, 0, 1), cert.ErrWrongKeys},
	} {
		if _, _, err := cert.Assemble(row.checkpoint, &b.committee, row.keys, row.votes); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v, want %v", row.name, err, row.want)
		}
	}
}

func BenchmarkAssemble(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		for _, wrong := range []int{0, 1} {
			b.Run(fmt.Sprintf("members=%d/wrong=%d", n, wrong), func(b *testing.B) {
				s := seat(b, slices.Repeat([]uint64{1}, n)...)
				checkpoint := s.checkpoint()
				var votes []cert.Vote
				for i := range n {
					votes = append(votes, s.votes(checkpoint, i)...)
				}
				for i := range wrong {
					votes[n/2+i] = spoil(s, votes[n/2+i], 0)
				}
				for b.Loop() {
					if _, _, err := cert.Assemble(checkpoint, &s.committee, s.keys, votes); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/vote")
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{4, 32, 100} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			s := seat(b, slices.Repeat([]uint64{1}, n)...)
			var everybody []int
			for i := range n {
				everybody = append(everybody, i)
			}
			c := s.certificate(b, s.checkpoint(), everybody...)
			for b.Loop() {
				if err := s.verify(&c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(c.Encode())), "bytes")
		})
	}
}
