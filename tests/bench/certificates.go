package main

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"time"

	"github.com/cloudflare/circl/ecc/bls12381" //nolint:depguard // the limit is what the curve takes, without consensus/bls

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

const (
	pairingFigure = "one product of two pairings"
	// together is of how many blocks a node checks the votes at once, at most.
	together = 8
)

// processor returns the processor time of f in milliseconds, the mean of at least
// five calls and half a second. f must not leave its goroutine. It is what other
// load on the machine changes least.
func processor(f func() error) (ms float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	calls, start := 0, threadCPU()
	for begin := time.Now(); calls < 5 || time.Since(begin) < 500*time.Millisecond; calls++ {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return 1000 * (threadCPU() - start).Seconds() / float64(calls), nil
}

// seat is a committee whose secrets are known.
type seat struct {
	committee committee.Committee
	secrets   []*bls.SecretKey
	keys      []*bls.Key
}

// blsKey is the key of the i-th validator.
func blsKey(i int) (*bls.SecretKey, error) {
	seed := ledger.HashOf("trib/bench/bls", fmt.Append(nil, i))
	return bls.NewSecretKey(seed[:])
}

func newSeat(members int) (*seat, error) {
	s := &seat{}
	for i := range members {
		k, err := blsKey(i)
		if err != nil {
			return nil, err
		}
		s.secrets = append(s.secrets, k)
		s.committee.Members = append(s.committee.Members, committee.Member{
			Validator: uint64(i), ConsensusKey: accountKey(i).Public(), BLSKey: k.Public(), Power: 1,
		})
	}
	var err error
	s.keys, err = s.committee.Keys()
	return s, err
}

// certificates measures what one vote and one certificate cost, against
// the one product of two pairings that nobody can verify a certificate without.
func (b *bench) certificates() error {
	b.report.step("votes and certificates")
	g1, g2 := bls12381.G1Generator(), bls12381.G2Generator()
	product, err := processor(func() error {
		bls12381.ProdPairFrac([]*bls12381.G1{g1, g1}, []*bls12381.G2{g2, g2}, []int{1, -1})
		return nil
	})
	if err != nil {
		return err
	}
	b.report.add(pairingFigure, product, "ms")
	for _, members := range []int{4, 32, 100} {
		if err := b.certificate(members); err != nil {
			return fmt.Errorf("certificate of %d members: %w", members, err)
		}
	}
	return nil
}

func (b *bench) certificate(members int) error {
	s, err := newSeat(members)
	if err != nil {
		return err
	}
	checkpoint := cert.Checkpoint{Chain: ledger.MainChain, Height: 1, CommitteeHash: s.committee.Hash()}
	votes := make([]cert.Vote, members)
	signatures := make([]bls.Signature, members)
	for i := range votes {
		signatures[i] = s.secrets[i].Sign(checkpoint.Message())
		votes[i] = cert.Vote{Member: i, Signature: signatures[i]}
	}
	c, _, err := cert.Assemble(checkpoint, &s.committee, s.keys, votes)
	if err != nil {
		return err
	}
	ballots := make([]cert.Ballot, together)
	for i := range ballots {
		at := checkpoint
		at.Height += uint64(i)
		ballots[i] = cert.Ballot{Checkpoint: at, Committee: &s.committee, Keys: s.keys, Votes: make([]cert.Vote, members)}
		for j := range members {
			ballots[i].Votes[j] = cert.Vote{Member: j, Signature: s.secrets[j].Sign(at.Message())}
		}
	}
	of := fmt.Sprintf(", %d members", members)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"signing a vote" + of, func() error { s.secrets[0].Sign(checkpoint.Message()); return nil }},
		{"adding up the signatures" + of, func() error { _, err := bls.Aggregate(signatures); return err }},
		{"making the certificate, all votes checked" + of, func() error {
			_, _, err := cert.Assemble(checkpoint, &s.committee, s.keys, votes)
			return err
		}},
		{"verifying the certificate" + of, func() error {
			return c.Verify(checkpoint.Network, checkpoint.Chain, &s.committee, s.keys)
		}},
	} {
		ms, err := processor(step.do)
		if err != nil {
			return err
		}
		b.report.addRatio(step.name, ms, "ms", pairingFigure)
	}
	ms, err := processor(func() error {
		for _, one := range cert.AssembleEach(rand.Read, ballots) {
			if one.Err != nil {
				return one.Err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.addRatio(fmt.Sprintf("making each of %d certificates together%s", together, of), ms/together, "ms", pairingFigure)
	return nil
}
