package cert_test

import (
	"encoding/binary"
	"errors"
	"math/big"
	"testing"

	"github.com/cloudflare/circl/ecc/bls12381"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// network is where every test takes place.
var network = ledger.HashOf("network")

// bench is a committee whose secrets are known.
type bench struct {
	secrets   []*bls.SecretKey
	committee committee.Committee
	keys      []*bls.Key
}

// seat returns the committee of epoch 7 with these powers.
func seat(tb testing.TB, powers ...uint64) *bench {
	tb.Helper()
	b := &bench{committee: committee.Committee{Epoch: 7}}
	for i, p := range powers {
		seed := ledger.HashOf("seed", binary.BigEndian.AppendUint64(nil, uint64(i)))
		k, err := bls.NewSecretKey(seed[:])
		if err != nil {
			tb.Fatal(err)
		}
		b.secrets = append(b.secrets, k)
		b.committee.Members = append(b.committee.Members, committee.Member{
			Validator: uint64(i), ConsensusKey: seed, BLSKey: k.Public(), Power: p,
		})
	}
	b.decode(tb)
	return b
}

// decode decodes the keys of the members anew.
func (b *bench) decode(tb testing.TB) {
	tb.Helper()
	keys, err := b.committee.Keys()
	if err != nil {
		tb.Fatal(err)
	}
	b.keys = keys
}

// checkpoint returns what the committee signs.
func (b *bench) checkpoint() cert.Checkpoint {
	return cert.Checkpoint{
		Network: network, Chain: 3, Generation: 2, Height: 141, Epoch: b.committee.Epoch,
		BlockHash: ledger.HashOf("block"), StateRoot: ledger.HashOf("state"), OutboxRoot: ledger.HashOf("outbox"),
		UsageRoot: ledger.HashOf("usage"), ResultsRoot: ledger.HashOf("results"), CommitteeHash: b.committee.Hash(),
	}
}

// votes returns the votes of members for c.
func (b *bench) votes(c cert.Checkpoint, members ...int) []cert.Vote {
	var list []cert.Vote
	for _, i := range members {
		list = append(list, cert.Vote{Member: i, Signature: b.secrets[i].Sign(c.Message())})
	}
	return list
}

// certificate returns the certificate of members, whatever their power.
func (b *bench) certificate(tb testing.TB, c cert.Checkpoint, members ...int) cert.Certificate {
	tb.Helper()
	out := cert.Certificate{Checkpoint: c, Bitmap: bitmap(members...)}
	var list []bls.Signature
	for _, v := range b.votes(c, members...) {
		list = append(list, v.Signature)
	}
	sum, err := bls.Aggregate(list)
	if err != nil {
		tb.Fatal(err)
	}
	out.Signature = sum
	return out
}

func (b *bench) verify(c *cert.Certificate) error {
	return c.Verify(network, 3, &b.committee, b.keys)
}

func bitmap(members ...int) []byte {
	var b []byte
	for _, i := range members {
		for len(b) <= i/8 {
			b = append(b, 0)
		}
		b[i/8] |= 1 << (i % 8)
	}
	return b
}

// opposite returns the key whose secret is the group order less k's.
func opposite(tb testing.TB, k *bls.SecretKey) *bls.SecretKey {
	tb.Helper()
	x := new(big.Int).Sub(new(big.Int).SetBytes(bls12381.Order()), new(big.Int).SetBytes(k.Bytes()))
	out, err := bls.ParseSecretKey(x.FillBytes(make([]byte, bls.SecretSize)))
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// minus returns the key less the keys of members.
func minus(tb testing.TB, k bls.PublicKey, members []committee.Member) bls.PublicKey {
	tb.Helper()
	var sum bls12381.G2
	if err := sum.SetBytes(k[:]); err != nil {
		tb.Fatal(err)
	}
	for _, m := range members {
		var p bls12381.G2
		if err := p.SetBytes(m.BLSKey[:]); err != nil {
			tb.Fatal(err)
		}
		p.Neg()
		sum.Add(&sum, &p)
	}
	return bls.PublicKey(sum.BytesCompressed())
}

// TestRoundsDoNotAddUp: precommits of one block that members cast in two rounds,
// changing their minds in between, have not decided it.
func TestRoundsDoNotAddUp(t *testing.T) {
	t.Parallel()
	b := seat(t, 1, 1, 1, 1)
	first, second := b.checkpoint(), b.checkpoint()
	second.Round++
	votes := append(b.votes(first, 0, 1), b.votes(second, 2, 3)...)
	if _, _, err := cert.Assemble(first, &b.committee, b.keys, votes); !errors.Is(err, cert.ErrTooLittlePower) {
		t.Errorf("Assemble = %v", err)
	}
	var sum []bls.Signature
	for _, v := range votes {
		sum = append(sum, v.Signature)
	}
	signature, err := bls.Aggregate(sum)
	if err != nil {
		t.Fatal(err)
	}
	mixed := cert.Certificate{Checkpoint: first, Bitmap: bitmap(0, 1, 2, 3), Signature: signature}
	if err := b.verify(&mixed); !errors.Is(err, cert.ErrBadSignature) {
		t.Errorf("Verify = %v", err)
	}
}
