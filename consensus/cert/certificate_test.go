package cert_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// TestVerify: one valid certificate; each row breaks one thing.
func TestVerify(t *testing.T) {
	t.Parallel()
	// Ten of fifteen is two thirds exactly; the quorum is eleven.
	b := seat(t, 5, 4, 3, 2, 1)
	good := b.checkpoint()
	other := seat(t, 5, 4, 3, 2, 2)
	type scene struct {
		certificate cert.Certificate
		network     ledger.NetworkID
		chain       ledger.ChainID
		committee   committee.Committee
		keys        []*bls.Key
	}
	relabel := func(change func(c *cert.Checkpoint)) func(*scene) {
		return func(s *scene) { change(&s.certificate.Checkpoint) }
	}
	signedBy := func(members ...int) func(*scene) {
		return func(s *scene) { s.certificate = b.certificate(t, good, members...) }
	}
	for _, row := range []struct {
		name   string
		change func(s *scene)
		want   error
	}{
		{"as it is", func(*scene) {}, nil},
		{"everybody", signedBy(0, 1, 2, 3, 4), nil},
		{"the smallest quorum", signedBy(0, 1, 3), nil},
		{"two thirds exactly", signedBy(0, 1, 4), cert.ErrTooLittlePower},
		{"a third", signedBy(0), cert.ErrTooLittlePower},

		{"verified for another network", func(s *scene) { s.network[0]++ }, cert.ErrWrongNetwork},
		{"verified for another chain", func(s *scene) { s.chain++ }, cert.ErrWrongChain},
		{"verified by the committee of the next epoch", func(s *scene) { s.committee.Epoch++ }, cert.ErrWrongEpoch},
		{"verified by another committee", func(s *scene) { s.committee = other.committee }, cert.ErrWrongCommittee},
		{"verified with too few keys", func(s *scene) { s.keys = s.keys[:4] }, cert.ErrWrongKeys},
		{"verified with keys in another order", func(s *scene) { slices.Reverse(s.keys) }, cert.ErrWrongKeys},

		{"replayed on another network", func(s *scene) { s.certificate.Checkpoint.Network[0]++; s.network[0]++ }, cert.ErrBadSignature},
		{"replayed on another chain", func(s *scene) { s.certificate.Checkpoint.Chain++; s.chain++ }, cert.ErrBadSignature},
		{"replayed at another height", relabel(func(c *cert.Checkpoint) { c.Height++ }), cert.ErrBadSignature},
		{"relabelled as of another epoch", relabel(func(c *cert.Checkpoint) { c.Epoch++ }), cert.ErrWrongEpoch},
		{"replayed in another epoch", func(s *scene) {
			s.committee.Epoch++
			s.certificate.Checkpoint.Epoch, s.certificate.Checkpoint.CommitteeHash = s.committee.Epoch, s.committee.Hash()
		}, cert.ErrBadSignature},
		{"another generation", relabel(func(c *cert.Checkpoint) { c.Generation++ }), cert.ErrBadSignature},
		{"a generation of the main chain", func(s *scene) { s.certificate.Checkpoint.Chain, s.chain = ledger.MainChain, ledger.MainChain }, cert.ErrWrongGeneration},
		{"another block", relabel(func(c *cert.Checkpoint) { c.BlockHash[0]++ }), cert.ErrBadSignature},
		{"another state", relabel(func(c *cert.Checkpoint) { c.StateRoot[31]++ }), cert.ErrBadSignature},
		{"another outbox", relabel(func(c *cert.Checkpoint) { c.OutboxRoot[0]++ }), cert.ErrBadSignature},
		{"another usage", relabel(func(c *cert.Checkpoint) { c.UsageRoot[0]++ }), cert.ErrBadSignature},
		{"other results", relabel(func(c *cert.Checkpoint) { c.ResultsRoot[0]++ }), cert.ErrBadSignature},
		{"two roots swapped", relabel(func(c *cert.Checkpoint) { c.OutboxRoot, c.UsageRoot = c.UsageRoot, c.OutboxRoot }), cert.ErrBadSignature},
		{"another committee named", relabel(func(c *cert.Checkpoint) { c.CommitteeHash[0]++ }), cert.ErrWrongCommittee},

		{"no bitmap", func(s *scene) { s.certificate.Bitmap = nil }, cert.ErrBitmap},
		{"an empty bitmap", func(s *scene) { s.certificate.Bitmap = []byte{0} }, cert.ErrBitmap},
		{"a bitmap with a zero more", func(s *scene) { s.certificate.Bitmap = append(s.certificate.Bitmap, 0) }, cert.ErrBitmap},
		{"a bitmap longer than any", func(s *scene) { s.certificate.Bitmap = slices.Repeat([]byte{1}, cert.MaxBitmap+1) }, cert.ErrBitmap},
		{"a bit beyond the members", func(s *scene) { s.certificate.Bitmap[0] |= 1 << 5 }, cert.ErrStranger},
		{"a byte beyond the members", func(s *scene) { s.certificate.Bitmap = append(s.certificate.Bitmap, 1) }, cert.ErrStranger},
		{"a bit too few", func(s *scene) { s.certificate.Bitmap = bitmap(0, 1, 3) }, cert.ErrBadSignature},
		{"a bit too many", func(s *scene) { s.certificate.Bitmap = bitmap(0, 1, 2, 3, 4) }, cert.ErrBadSignature},
		{"other bits", func(s *scene) { s.certificate.Bitmap = bitmap(0, 1, 2, 4) }, cert.ErrBadSignature},

		{"no signature", func(s *scene) { s.certificate.Signature = bls.Signature{} }, cert.ErrBadSignature},
		{"the identity", func(s *scene) { s.certificate.Signature = bls.Signature{0: 0xc0} }, cert.ErrBadSignature},
		{"one member's signature", func(s *scene) { s.certificate.Signature = b.secrets[0].Sign(good.Message()) }, cert.ErrBadSignature},
		{"the negated signature", func(s *scene) { s.certificate.Signature[0] ^= 0x20 }, cert.ErrBadSignature},
		{"signed without the tag", func(s *scene) {
			var list []bls.Signature
			for _, i := range []int{0, 1, 2, 3} {
				list = append(list, b.secrets[i].Sign(good.Encode()))
			}
			s.certificate.Signature, _ = bls.Aggregate(list)
		}, cert.ErrBadSignature},
		{"the sum of proofs of possession", func(s *scene) {
			var list []bls.Signature
			for _, i := range []int{0, 1, 2, 3} {
				list = append(list, b.secrets[i].Prove(nil))
			}
			s.certificate.Signature, _ = bls.Aggregate(list)
		}, cert.ErrBadSignature},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := scene{b.certificate(t, good, 0, 1, 2, 3), network, 3, b.committee, slices.Clone(b.keys)}
			row.change(&s)
			if err := s.certificate.Verify(s.network, s.chain, &s.committee, s.keys); !errors.Is(err, row.want) {
				t.Errorf("error %v, want %v", err, row.want)
			}
		})
	}
}

// TestRogueMember: a member with the key g^x - (sum of the others) forges
// certificates alone. Only its missing proof of possession keeps it out, which
// registration asks for: this shows that nothing else does.
func TestRogueMember(t *testing.T) {
	t.Parallel()
	b := seat(t, 1, 1, 1, 1)
	attacker, err := bls.NewSecretKey(make([]byte, bls.MinSeedSize))
	if err != nil {
		t.Fatal(err)
	}
	b.committee.Members[3].BLSKey = minus(t, attacker.Public(), b.committee.Members[:3])
	b.decode(t)
	c := cert.Certificate{Checkpoint: b.checkpoint(), Bitmap: bitmap(0, 1, 2, 3)}
	c.Signature = attacker.Sign(c.Checkpoint.Message())
	if err := b.verify(&c); err != nil {
		t.Errorf("the attack fails without proofs, so this test shows nothing: %v", err)
	}
	rogue := b.keys[3]
	public := rogue.Public()
	for _, proof := range []bls.Signature{attacker.Prove(nil), attacker.Sign(public[:]), b.secrets[0].Prove(nil), c.Signature} {
		if rogue.VerifyProof(nil, proof) {
			t.Error("the rogue key has a proof of possession")
		}
	}
}

// TestIdentitySum: members whose keys cancel out certify nothing, each with a
// good proof and whatever they sign.
func TestIdentitySum(t *testing.T) {
	t.Parallel()
	b := seat(t, 1, 1)
	b.secrets[1] = opposite(t, b.secrets[0])
	b.committee.Members[1].BLSKey = b.secrets[1].Public()
	b.decode(t)
	if !b.keys[1].VerifyProof(nil, b.secrets[1].Prove(nil)) {
		t.Fatal("the opposite key has no proof")
	}
	c := cert.Certificate{Checkpoint: b.checkpoint(), Bitmap: bitmap(0, 1)}
	for _, s := range []bls.Signature{{}, {0: 0xc0}, b.secrets[0].Sign(c.Checkpoint.Message())} {
		c.Signature = s
		if err := b.verify(&c); !errors.Is(err, cert.ErrBadSignature) {
			t.Errorf("signature %s: error %v, want ErrBadSignature", s, err)
		}
	}
	if _, bad, err := cert.Assemble(b.checkpoint(), &b.committee, b.keys, b.votes(b.checkpoint(), 0, 1)); bad != nil || !errors.Is(err, bls.ErrIdentity) {
		t.Errorf("assemble: bad %v, error %v, want ErrIdentity", bad, err)
	}
}

func TestSigners(t *testing.T) {
	t.Parallel()
	c := cert.Certificate{Bitmap: bitmap(0, 7, 8, 21)}
	if got := c.Signers(); !slices.Equal(got, []int{0, 7, 8, 21}) {
		t.Errorf("signers %v", got)
	}
	for i := range 40 {
		if got, want := c.Signed(i), slices.Contains([]int{0, 7, 8, 21}, i); got != want {
			t.Errorf("member %d signed: %v, want %v", i, got, want)
		}
	}
	if c.Signed(-1) {
		t.Error("member -1 signed")
	}
}
