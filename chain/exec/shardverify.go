package exec

import (
	"sync"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// keptHeads is how many certificates of main are remembered as verified, and as many
	// older ones.
	keptHeads = 1_024
	// keptMainKeys is of how many committees of main the decoded keys are kept.
	keptMainKeys = 4
)

// verifiedHeads verifies certificates of main and remembers those that hold: a relay is
// tried when it comes, planned, and applied, and each time all of its certificates are
// verified. It is safe for concurrent use.
type verifiedHeads struct {
	network ledger.NetworkID

	mu       sync.Mutex
	now, old map[ledger.Hash]bool
	keys     map[ledger.Hash][]*bls.Key // by hash of the committee
}

func newVerifiedHeads(network ledger.NetworkID) *verifiedHeads {
	return &verifiedHeads{network: network, now: map[ledger.Hash]bool{}, keys: map[ledger.Hash][]*bls.Key{}}
}

// verify is a shardblock.CertificateVerifier.
func (h *verifiedHeads) verify(c *cert.Certificate, com *committee.Committee) error {
	of := com.Hash()
	name := ledger.HashOf("exec/head", c.Encode(), of[:])
	keys, known, err := h.look(name, of, com)
	if known || err != nil {
		return err
	}
	if err := c.Verify(h.network, ledger.MainChain, com, keys); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now[name] = true
	if len(h.now) > keptHeads {
		h.now, h.old = map[ledger.Hash]bool{}, h.now
	}
	return nil
}

// look reports whether a certificate is known to hold, or else returns the keys of its
// committee.
func (h *verifiedHeads) look(name, of ledger.Hash, com *committee.Committee) (keys []*bls.Key, known bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now[name] || h.old[name] {
		return nil, true, nil
	}
	if keys = h.keys[of]; keys != nil {
		return keys, false, nil
	}
	if keys, err = com.Keys(); err != nil {
		return nil, false, err
	}
	if len(h.keys) >= keptMainKeys {
		clear(h.keys)
	}
	h.keys[of] = keys
	return keys, false, nil
}
