package exec_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// provedRow returns the certified proof of a row after checking that it holds.
func (n *tallyNode) provedRow(key ...byte) (cert.Certificate, *stateproof.Statement) {
	n.t.Helper()
	certificate, s, err := n.exec.Certified(key)
	if err != nil {
		n.t.Fatalf("row %q: %v", key, err)
	}
	p := &certificate.Checkpoint
	com, _ := tallies{}.Committee(nil, p.Height)
	keys, err := com.Keys()
	if err != nil {
		n.t.Fatal(err)
	}
	domain := n.exec.Chain()
	if err := certificate.Verify(domain.Network, domain.Chain, &com, keys); err != nil {
		n.t.Errorf("row %q: %v", key, err)
	}
	schema, err := stateproof.NewSchema(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := schema.VerifyStatement(s); err != nil || s.Root != p.StateRoot || s.Height != p.Height || !bytes.Equal(s.Key, key) {
		n.t.Errorf("row %q: statement of height %d, root %s, about %q: %v; the certificate is of height %d, root %s", key, s.Height, s.Root, s.Key, err, p.Height, p.StateRoot)
	}
	return certificate, s
}

func (n *tallyNode) certify(height uint64) {
	n.t.Helper()
	n.exec.CertifyBlock(height)
	if _, err := n.exec.Certificate(height); err != nil {
		n.t.Fatalf("certificate of block %d: %v", height, err)
	}
}

// Rows that others want are proved against the state that changed them once it is
// certified, whichever certificates come when, and after a restart.
func TestCertifiedRows(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{BLS: blsOf(0)})
	if _, _, err := n.exec.Certified([]byte{'s', 'a'}); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("before any block: %v", err)
	}
	made := n.exec.CertificateMade()
	n.agree(relayBundle('a', 0))
	if _, _, err := n.exec.Certified([]byte{'s', 'a'}); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("before any certificate: %v", err)
	}
	n.agree(relayBundle('a', 1), relayBundle('b', 0))
	n.agree()
	select {
	case <-made:
		t.Error("a certificate was announced before there was one")
	default:
	}
	n.certify(1)
	select {
	case <-made:
	default:
		t.Error("the certificate was not announced")
	}
	if _, s := n.provedRow('s', 'a'); s.Height != 1 || !bytes.Equal(s.Value, number(1)) {
		t.Errorf("row a: height %d, value %x", s.Height, s.Value)
	}
	if _, _, err := n.exec.Certified([]byte{'s', 'b'}); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("row b before its certificate: %v", err)
	}
	n.certify(2)
	if _, s := n.provedRow('s', 'a'); s.Height != 2 || !bytes.Equal(s.Value, number(2)) {
		t.Errorf("row a: height %d, value %x", s.Height, s.Value)
	}
	n.provedRow('s', 'b')

	// A newer proof of what does not change, at the head, which is certified afterwards.
	if err := n.exec.Watch([]byte{'s', 'b'}); err != nil {
		t.Fatal(err)
	}
	n.certify(3)
	if certificate, s := n.provedRow('s', 'b'); s.Height != 3 || certificate.Checkpoint.Height != 3 {
		t.Errorf("row b: height %d after it was asked for", s.Height)
	}
	// Of a certified head it is there at once, also that there is no such row.
	if err := n.exec.Watch([]byte{'s', 'z'}); err != nil {
		t.Fatal(err)
	}
	if _, s := n.provedRow('s', 'z'); s.Height != 3 || s.Value != nil {
		t.Errorf("row z: height %d, value %x", s.Height, s.Value)
	}

	// The committee changes; the node is killed before the certificate. It proves the row
	// at the head that it starts from.
	for n.height() < tallyEpoch {
		n.agree()
	}
	n.agree(relayBundle('a', 2))
	n.open()
	n.certify(n.height())
	if certificate, s := n.provedRow('s', 'a'); certificate.Checkpoint.Epoch != 1 || !bytes.Equal(s.Value, number(3)) {
		t.Errorf("row a: epoch %d, value %x", certificate.Checkpoint.Epoch, s.Value)
	}
	n.open()
	n.provedRow('s', 'a')
	n.provedRow('s', 'z')
}

// A proof whose block gets no certificate gives way to a newer one.
func TestProofsThatWaitInVain(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{BLS: blsOf(0)})
	n.agree(relayBundle('a', 0))
	for range exec.StaleProof {
		n.agree()
	}
	n.certify(n.height())
	if _, s := n.provedRow('s', 'a'); s.Height != n.height() {
		t.Errorf("row a is proved at height %d, want %d", s.Height, n.height())
	}
}

// Proofs go with the receipts of their height.
func TestCertifiedRowsArePruned(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{BLS: blsOf(0), KeepReceipts: 4})
	n.agree(relayBundle('a', 0), relayBundle('b', 0))
	n.certify(1)
	n.agree(relayBundle('b', 1))
	n.certify(2)
	for range 3 {
		n.agree()
	}
	for more := true; more; {
		var err error
		if more, err = n.exec.PruneIndex(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := n.exec.Certified([]byte{'s', 'a'}); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("row a of a block that was removed: %v", err)
	}
	n.provedRow('s', 'b')
}

// Several nodes come to the same hashes, whatever happens to them between two steps.
func TestNodesAgreeOverKills(t *testing.T) {
	t.Parallel()
	cfg := exec.Config{BLS: blsOf(0)}
	steady, shaky := newTallyNode(t, cfg), newTallyNode(t, cfg)
	a := accountOf(0)
	for i := range uint64(12) {
		txs := [][]byte{relayBundle('a', i), steady.record(a)}
		want := steady.agree(txs...)
		b := shaky.blockWith(txs...)
		kill := func(step uint64) {
			if i%4 == step {
				shaky.open()
			}
		}
		if err := shaky.exec.Accept(b); err != nil {
			t.Fatal(err)
		}
		kill(0)
		if i%4 == 1 { // another block falls through first
			if err := shaky.exec.Accept(shaky.blockWith(relayBundle('b', 0))); err != nil {
				t.Fatal(err)
			}
		}
		shaky.vote(b)
		if _, err := shaky.exec.Finalize(b); err != nil {
			t.Fatal(err)
		}
		kill(2)
		if out := shaky.decide(b); !bytes.Equal(out.AppHash, want.AppHash) {
			t.Fatalf("block %d: app hash %x, want %x", b.Height, out.AppHash, want.AppHash)
		}
		kill(3)
		steady.exec.CertifyBlock(b.Height)
		shaky.exec.CertifyBlock(b.Height)
		one, err1 := steady.exec.Certificate(b.Height)
		two, err2 := shaky.exec.Certificate(b.Height)
		if err := errors.Join(err1, err2); err != nil || one.Checkpoint != two.Checkpoint {
			t.Fatalf("block %d: certificates of %+v and %+v: %v", b.Height, one.Checkpoint, two.Checkpoint, err)
		}
		if p := one.Checkpoint; p.OutboxRoot.IsZero() || p.UsageRoot.IsZero() || p.ResultsRoot.IsZero() || p.Chain != tallyChain {
			t.Errorf("block %d: checkpoint %+v", b.Height, p)
		}
	}
}
