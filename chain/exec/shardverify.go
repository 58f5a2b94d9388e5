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

// Heads are certificates of main that hold: those that this node made, and those that its
// shards verified. A relay is tried when it comes, planned, and applied, on each shard that
// it or another with the same certificate comes to, and each time all of its certificates
// are verified. It is safe for concurrent use.
type Heads struct {
	network ledger.NetworkID

	mu       sync.Mutex
	now, old map[ledger.Hash]bool
	keys     map[ledger.Hash][]*bls.Key // by hash of the committee
}

// NewHeads returns Heads of a network that knows none.
func NewHeads(network ledger.NetworkID) *Heads {
	return &Heads{network: network, now: map[ledger.Hash]bool{}, keys: map[ledger.Hash][]*bls.Key{}}
}

// headName names a certificate that is verified against a committee.
func headName(c *cert.Certificate, of ledger.Hash) ledger.Hash {
	return ledger.HashOf("exec/head", c.Encode(), of[:])
}

// add remembers a certificate that holds.
func (h *Heads) add(name ledger.Hash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now[name] = true
	if len(h.now) > keptHeads {
		h.now, h.old = map[ledger.Hash]bool{}, h.now
	}
}

// verify is a shardblock.CertificateVerifier.
func (h *Heads) verify(c *cert.Certificate, com *committee.Committee) error {
	of := com.Hash()
	name := headName(c, of)
	keys, known, err := h.look(name, of, com)
	if known || err != nil {
		return err
	}
	if err := c.Verify(h.network, ledger.MainChain, com, keys); err != nil {
		return err
	}
	h.add(name)
	return nil
}

// look reports whether a certificate is known to hold, or else returns the keys of its
// committee.
func (h *Heads) look(name, of ledger.Hash, com *committee.Committee) (keys []*bls.Key, known bool, err error) {
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
