package exec

import (
	"sync"

	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// keptHeads is how many certificates of main are remembered as verified, and as many
	// older ones.
	keptHeads = 1_024
	// keptMainKeys is of how many committees of main the decoded keys are kept: of all from
	// which a shard takes certificates, or whoever sends some of each has them decoded, 0.2 ms
	// for each member, before it is seen that nobody signed them.
	keptMainKeys = shardblock.KeptMain
)

// Heads are certificates of main that hold: those that this node made, and those that its
// shards verified. A relay is tried when it comes, planned, and applied, on each shard that
// it or another with the same certificate comes to, and each time all of its certificates
// are verified. It is safe for concurrent use.
type Heads struct {
	network ledger.NetworkID

	mu       sync.Mutex
	now, old map[ledger.Hash]bool
	keys     map[ledger.Hash]mainKeys // by hash of the committee
}

// mainKeys are the decoded keys of the committee of an epoch.
type mainKeys struct {
	epoch uint64
	keys  []*bls.Key
}

// NewHeads returns Heads of a network that knows none.
func NewHeads(network ledger.NetworkID) *Heads {
	return &Heads{network: network, now: map[ledger.Hash]bool{}, keys: map[ledger.Hash]mainKeys{}}
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
	keys, known := h.look(name, of)
	if known {
		return nil
	}
	if keys == nil {
		var err error
		if keys, err = com.Keys(); err != nil { // meanwhile others may look
			return err
		}
		h.keep(of, mainKeys{com.Epoch, keys})
	}
	if err := c.Verify(h.network, ledger.MainChain, com, keys); err != nil {
		return err
	}
	h.add(name)
	return nil
}

// look reports whether a certificate is known to hold, or else returns the keys of its
// committee, nil if they are not kept.
func (h *Heads) look(name, of ledger.Hash) (keys []*bls.Key, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now[name] || h.old[name] {
		return nil, true
	}
	return h.keys[of].keys, false
}

// keep keeps the keys of a committee, and those of the latest epochs if they are too many:
// whoever brings old certificates has none decoded again but old ones.
func (h *Heads) keep(of ledger.Hash, keys mainKeys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[of] = keys
	if len(h.keys) <= keptMainKeys {
		return
	}
	for other, k := range h.keys {
		if k.epoch < keys.epoch {
			of, keys = other, k
		}
	}
	delete(h.keys, of)
}
