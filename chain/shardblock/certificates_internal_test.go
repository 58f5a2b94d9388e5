package shardblock

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// TestCertificatesCountOnce: a certificate that many relays of a block bring is verified once
// and counts once; one that a refused relay brought does not count at all.
func TestCertificatesCountOnce(t *testing.T) {
	t.Parallel()
	verified := 0
	w := &work{state: chain.NewOverlay(nothing{}), height: 1, verified: map[string]bool{}, brought: map[uint64]Head{}}
	w.verify = func(*cert.Certificate, *committee.Committee) error { verified++; return nil }
	w.state.Set(MainCommitteeKey(0), (&committee.Committee{}).Encode())
	block := func(height uint64) cert.Certificate {
		return cert.Certificate{Checkpoint: cert.Checkpoint{Chain: ledger.MainChain, Height: height}}
	}
	w.state.Set(HeadKey(1), (&Head{Height: 1 + MaxHeads}).Encode()) // so that block 1 is not remembered
	old := block(1)
	for i := range 2 * MaxCertificates {
		if useful, err := w.head(w.state, &old); err != nil || useful {
			t.Fatalf("block 1 for the %d. time: useful: %t, %v", i+1, useful, err)
		}
	}
	if verified != 1 {
		t.Errorf("one certificate was verified %d times", verified)
	}
	for h := uint64(2); h <= MaxCertificates; h++ {
		two := Relay{Kind: KindHead, News: News{Heads: []cert.Certificate{block(h + 100), block(h + 100)}}}
		if err := w.relay(&two); !errors.Is(err, chain.CodeNothingNew.Err()) {
			t.Fatalf("a relay with a head twice: %v", err)
		}
		one := Relay{Kind: KindHead, News: News{Heads: []cert.Certificate{block(h)}}}
		if err := w.relay(&one); err != nil {
			t.Fatalf("certificate %d: %v", h, err)
		}
	}
	more := Relay{Kind: KindHead, News: News{Heads: []cert.Certificate{block(MaxCertificates + 2)}}}
	if err := w.relay(&more); !errors.Is(err, chain.CodeTooLarge.Err()) {
		t.Errorf("one more: %v", err)
	}
}
