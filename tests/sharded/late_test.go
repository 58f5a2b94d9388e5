package sharded_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
)

func (v *votes) commitRound(height uint64) ([]byte, uint32, error) {
	hash, _, err := v.extensions(height)
	return hash, 0, err
}

// ask asks the other replicas of a chain.
func (w *world) ask(r *replica, question []byte) {
	for _, other := range r.net.replicas {
		if other == r {
			continue
		}
		if answer := other.exec.Answer(question); answer != nil {
			if err := r.exec.Answered(answer); err != nil {
				w.tb.Errorf("chain %d: %d answers %d: %v", r.net.id, other.at, r.at, err)
			}
		}
	}
}

// TestLateSignatures: one validator votes without ever signing, and another comes to the
// blocks when they are decided, so that no block's votes make a certificate. The shards'
// anchors go on all the same, and what they send arrives.
func TestLateSignatures(t *testing.T) {
	t.Parallel()
	const validators, silent, away = 4, 0, 3
	w := newWorldOf(t, genesisOf(t, validators, 24, 2, 1_000), func(w *world) {
		w.certifyDelay = exec.DefaultCertifyDelay / 50
		w.late = func(at int) bool { return at == silent }
		w.away = func(at int) bool { return at == away }
	})
	ids := w.foundAll()
	for i := range validators {
		w.relayAt(i)
	}
	w.traffic(blockPause)
	p := w.open(w.userIn(ids[0], 0), w.userIn(ids[1], 0), 1_000_000)
	w.until("the home knows the channel", func() bool {
		_, ok := w.known(p)
		return ok
	})
	height := w.send(p, ids[0])
	w.until("it is anchored", func() bool { return w.anchored(ids[0]) >= height })
	w.until("it arrives", func() bool { return w.earned(p.payee).Total.Amount == uint64(p.cumulative) })
	for _, n := range []*chainNet{w.main, w.shards[ids[0]]} {
		r := n.replicas[1]
		certificate, err := r.exec.LatestCertificate()
		if err != nil {
			t.Fatalf("chain %d: %v", n.id, err)
		}
		_, extensions, _ := r.votes.extensions(certificate.Checkpoint.Height)
		if signers := certificate.Signers(); len(extensions) != 3 || len(signers) != 3 {
			t.Errorf("chain %d: block %d is signed by %v, %d voted", n.id, certificate.Checkpoint.Height, signers, len(extensions))
		}
	}
}
