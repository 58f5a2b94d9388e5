package comet_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// Three of four validators sign a header beside the chain, for a light client.
// Whoever finds it tells one node, and the application of another learns of all
// three. What proves less is refused.
func TestLightClientAttack(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "attack", 4)
	n.genesis.EvidenceMaxBlocks, n.genesis.EvidenceMaxAge = 50, time.Hour
	found := make(chan comet.Misbehavior, 100)
	n.members[2].app.onBlock = func(b comet.Block) error {
		for _, m := range b.Evidence {
			found <- m
		}
		return nil
	}
	n.startAll(t)
	const height = 4
	sent := 0
	for ; n.members[0].chain.Status().Height < height+1; sent++ {
		n.settle(t, 0, sent, 0, 1, 2, 3)
	}
	var signers []*comet.Signer
	for _, m := range n.members[:3] {
		signers = append(signers, m.signer)
	}
	attack, err := comet.AttackLightClients(n.members[0].chain, height, signers)
	if err != nil {
		t.Fatal(err)
	}
	two, err := comet.AttackLightClients(n.members[0].chain, height, signers[:2])
	if err != nil {
		t.Fatal(err)
	}
	forged := append([]byte(nil), attack...)
	forged[len(forged)/2] ^= 1
	for name, raw := range map[string][]byte{"nothing": nil, "noise": []byte("evidence"), "too few signers": two, "a changed bit": forged} {
		if err := n.members[1].chain.AddEvidence(raw); !errors.Is(err, comet.ErrBadEvidence) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 { // what is known already is no error
		if err := n.members[1].chain.AddEvidence(attack); err != nil {
			t.Fatal(err)
		}
	}
	accused := map[string]bool{}
	deadline := time.After(hangs)
	for ; len(accused) < 3; sent++ {
		n.settle(t, 0, sent, 2)
		select {
		case m := <-found:
			if m.Kind != comet.LightClientAttack || m.Height != height-1 || accused[string(m.Validator)] {
				t.Errorf("misbehaviour %+v", m)
			}
			accused[string(m.Validator)] = true
		case <-deadline:
			t.Fatalf("%d of 3 are accused", len(accused))
		default:
		}
	}
	for _, s := range signers {
		if !accused[string(s.Address())] {
			t.Errorf("%x is not accused", s.Address())
		}
	}
}
