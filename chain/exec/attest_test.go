package exec_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/consensus/bls"
)

// A node proves by its BLS key which validator it is of, to all who know that one.
func TestAttest(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 4, 20)
	keys := make([][]byte, 4)
	for i := range keys {
		key := c.gen.Validators[i].ConsensusKey
		keys[i] = key[:]
	}
	msg := []byte("node 7 of chain x")
	proof := c.nodes[1].exec.Attest(msg)
	if len(proof) != bls.SignatureSize {
		t.Fatalf("proof of %d bytes, want %d", len(proof), bls.SignatureSize)
	}
	flipped := bytes.Clone(proof)
	flipped[9] ^= 1
	bare := blsOf(1).Sign(msg)
	stranger := keyOf(4711).Public()
	for _, row := range []struct {
		name            string
		key, msg, proof []byte
		known, ok       bool
	}{
		{"proved", keys[1], msg, proof, true, true},
		{"another validator's key", keys[2], msg, proof, true, false},
		{"another message", keys[1], msg[1:], proof, true, false},
		{"a flipped bit", keys[1], msg, flipped, true, false},
		{"no signature", keys[1], msg, make([]byte, bls.SignatureSize), true, false},
		{"the message itself is signed", keys[1], msg, bare[:], true, false},
		{"nobody's key", stranger[:], msg, proof, false, false},
		{"short key", keys[1][:31], msg, proof, false, false},
		{"short proof", keys[1], msg, proof[:47], false, false},
		{"no proof", keys[1], msg, nil, false, false},
	} {
		for i, n := range c.nodes {
			if known, ok := n.exec.Attested(row.key, row.msg, row.proof); known != row.known || ok != row.ok {
				t.Errorf("%s, at node %d: known %v, ok %v, want %v, %v", row.name, i, known, ok, row.known, row.ok)
			}
		}
	}
}
