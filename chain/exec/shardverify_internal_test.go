package exec

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// A certificate that a chain of this node knows to hold is not verified again, and only
// that: not with another signature, and not against another committee.
func TestHeads(t *testing.T) {
	t.Parallel()
	secret, err := bls.NewSecretKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	com := committee.Committee{Epoch: 3, Members: []committee.Member{{Validator: 1, Power: 1, BLSKey: secret.Public()}}}
	other := committee.Committee{Epoch: 3, Members: []committee.Member{{Validator: 2, Power: 1, BLSKey: secret.Public()}}}
	network := ledger.NetworkID{7}
	at := cert.Checkpoint{Network: network, Chain: ledger.MainChain, Height: 9, Epoch: 3, CommitteeHash: com.Hash()}
	good := cert.Certificate{Checkpoint: at, Bitmap: []byte{1}, Signature: secret.Sign(at.Message())}
	wrong := good
	wrong.Signature[5] ^= 1

	h := NewHeads(network)
	if err := h.verify(&wrong, &com); !errors.Is(err, cert.ErrBadSignature) {
		t.Errorf("a wrong signature: %v", err)
	}
	h.add(headName(&wrong, com.Hash())) // as if it held: it shows what is looked at
	if err := h.verify(&wrong, &com); err != nil {
		t.Errorf("what is known is verified again: %v", err)
	}
	if err := h.verify(&wrong, &other); err == nil {
		t.Error("what is known holds against another committee, too")
	}
	if err := h.verify(&good, &com); err != nil {
		t.Error(err)
	}
	h.add(headName(&wrong, other.Hash()))
	wrong.Checkpoint.Height++
	if err := h.verify(&wrong, &com); err == nil {
		t.Error("what is known holds for another block, too")
	}
}

// TestHeadsKeepKeys: certificates of all epochs that a shard takes have no keys decoded twice,
// and those of older ones put out no later ones.
func TestHeadsKeepKeys(t *testing.T) {
	t.Parallel()
	secret, err := bls.NewSecretKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	network := ledger.NetworkID{7}
	h := NewHeads(network)
	forged := func(epoch uint64) ledger.Hash {
		com := committee.Committee{Epoch: epoch, Members: []committee.Member{{Validator: 1, Power: 1, BLSKey: secret.Public()}}}
		at := cert.Checkpoint{Network: network, Chain: ledger.MainChain, Height: 9, Epoch: epoch, CommitteeHash: com.Hash()}
		c := cert.Certificate{Checkpoint: at, Bitmap: []byte{1}, Signature: secret.Sign([]byte("another"))}
		if err := h.verify(&c, &com); !errors.Is(err, cert.ErrBadSignature) {
			t.Fatalf("a certificate that nobody signed: %v", err)
		}
		return com.Hash()
	}
	const first = 10
	var kept []*bls.Key // of each epoch
	for epoch := range uint64(shardblock.KeptMain) {
		kept = append(kept, h.keys[forged(first+epoch)].keys[0])
	}
	same := func(when string, from int) {
		t.Helper()
		for i, key := range kept {
			if keys := h.keys[forged(first+uint64(i))].keys; i >= from && (len(keys) != 1 || keys[0] != key) {
				t.Errorf("%s: the keys of epoch %d were decoded again", when, first+i)
			}
		}
		if len(h.keys) != shardblock.KeptMain {
			t.Errorf("%s: the keys of %d committees are kept", when, len(h.keys))
		}
	}
	same("all of them again", 0)
	for epoch := range uint64(first) {
		forged(epoch)
	}
	same("after older ones", 0)
	forged(first + shardblock.KeptMain)
	same("after a later one", 1)
}
