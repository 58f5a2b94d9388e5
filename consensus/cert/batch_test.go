package cert_test

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
)

// TestAssembleEach: ballots of several heights, rounds and committees, some of which
// have wrong votes or none that count, become what each becomes alone.
func TestAssembleEach(t *testing.T) {
	t.Parallel()
	old, young := seat(t, 1, 1, 1, 1), seat(t, 5, 4, 3, 2, 1)
	young.committee.Epoch++
	ballot := func(b *bench, height uint64, votes func(c cert.Checkpoint) []cert.Vote) cert.Ballot {
		c := b.checkpoint()
		c.Height, c.Round = height, uint32(height%3)
		return cert.Ballot{Checkpoint: c, Committee: &b.committee, Keys: b.keys, Votes: votes(c)}
	}
	by := func(b *bench, members ...int) func(cert.Checkpoint) []cert.Vote {
		return func(c cert.Checkpoint) []cert.Vote { return b.votes(c, members...) }
	}
	forged := func(b *bench, wrong ...int) func(cert.Checkpoint) []cert.Vote {
		return func(c cert.Checkpoint) []cert.Vote {
			votes := b.votes(c, 0, 1, 2, 3)
			for _, i := range wrong {
				votes[i] = spoil(b, votes[i], i)
			}
			return votes
		}
	}
	strange := ballot(old, 107, by(old, 0, 1, 2))
	strange.Checkpoint.CommitteeHash[0]++
	ballots := []cert.Ballot{
		ballot(old, 100, by(old, 0, 1, 2, 3)),
		ballot(old, 101, by(old, 3, 1, 0)),
		ballot(old, 102, forged(old, 2)),
		ballot(old, 103, by(old, 0, 1)),
		ballot(old, 104, forged(old, 0, 3)),
		ballot(old, 105, by(old, 0, 1, 2, 3)),
		ballot(young, 106, by(young, 0, 1, 2)),
		strange,
	}
	want := []struct {
		err     error
		bad     []int
		signers []int
	}{
		{nil, nil, []int{0, 1, 2, 3}},
		{nil, nil, []int{0, 1, 3}},
		{nil, []int{2}, []int{0, 1, 3}},
		{cert.ErrTooLittlePower, nil, nil},
		{cert.ErrTooLittlePower, []int{0, 3}, nil},
		{nil, nil, []int{0, 1, 2, 3}},
		{nil, nil, []int{0, 1, 2}},
		{cert.ErrWrongCommittee, nil, nil},
	}
	for i, got := range cert.AssembleEach(rand.Read, ballots) {
		b := &ballots[i]
		if !errors.Is(got.Err, want[i].err) || !slices.Equal(got.Bad, want[i].bad) || !slices.Equal(got.Certificate.Signers(), want[i].signers) {
			t.Errorf("ballot %d: signed by %v, bad %v, error %v", i, got.Certificate.Signers(), got.Bad, got.Err)
		}
		alone, bad, err := cert.Assemble(b.Checkpoint, b.Committee, b.Keys, b.Votes)
		if !slices.Equal(alone.Encode(), got.Certificate.Encode()) || !slices.Equal(bad, got.Bad) || (err == nil) != (got.Err == nil) {
			t.Errorf("ballot %d is %v alone, bad %v, error %v", i, alone.Signers(), bad, err)
		}
		if got.Err == nil {
			if err := got.Certificate.Verify(network, 3, b.Committee, b.Keys); err != nil {
				t.Errorf("ballot %d: %v", i, err)
			}
		}
	}
	if got := cert.AssembleEach(nil, nil); len(got) != 0 {
		t.Errorf("no ballots make %v", got)
	}
}

// TestVotesDoNotMoveBetweenBallots: the votes of one checkpoint under another are wrong,
// though all of them together add up to the same.
func TestVotesDoNotMoveBetweenBallots(t *testing.T) {
	t.Parallel()
	b := seat(t, 1, 1, 1, 1)
	var ballots []cert.Ballot
	for height := range uint64(2) {
		c := b.checkpoint()
		c.Height += height
		ballots = append(ballots, cert.Ballot{Checkpoint: c, Committee: &b.committee, Keys: b.keys, Votes: b.votes(c, 0, 1, 2, 3)})
	}
	swap := func(members ...int) {
		for _, i := range members {
			first, second := &ballots[0].Votes[i].Signature, &ballots[1].Votes[i].Signature
			*first, *second = *second, *first
		}
	}
	swap(1)
	for i, got := range cert.AssembleEach(rand.Read, ballots) {
		if got.Err != nil || !slices.Equal(got.Bad, []int{1}) {
			t.Errorf("ballot %d: bad %v, error %v", i, got.Bad, got.Err)
		}
	}
	swap(0, 2, 3)
	for i, got := range cert.AssembleEach(rand.Read, ballots) {
		if !errors.Is(got.Err, cert.ErrTooLittlePower) || got.Certificate.Signature != (bls.Signature{}) {
			t.Errorf("ballot %d of the other's votes: %v", i, got.Err)
		}
	}
}
