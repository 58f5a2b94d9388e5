package exec

import (
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// provedRuns is how many runs of anchors are remembered as verified, in two
	// generations: what waits in the pool, several times over.
	provedRuns = 4_096
	// decodedCommittees is the same of committees with decoded keys, 20 KB each.
	decodedCommittees = 512
)

// pairings is what the signatures of committees in the records of the main chain cost
// once only. It has no influence on the outcome of blocks. It is safe for concurrent use.
type pairings struct {
	mu     sync.Mutex
	proved generations[struct{}]
	keys   generations[[]*bls.Key] // by the hash of the committee
}

// generations is a map that forgets what is oldest, half of it at once.
type generations[T any] struct{ young, old map[ledger.Hash]T }

func (g *generations[T]) get(h ledger.Hash) (v T, ok bool) {
	if v, ok = g.young[h]; ok {
		return v, true
	}
	v, ok = g.old[h]
	return v, ok
}

func (g *generations[T]) put(h ledger.Hash, v T, limit int) {
	if len(g.young) >= limit/2 {
		g.old, g.young = g.young, nil
	}
	if g.young == nil {
		g.young = make(map[ledger.Hash]T)
	}
	g.young[h] = v
}

// has reports whether a run was verified.
func (p *pairings) has(run ledger.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.proved.get(run)
	return ok
}

// decode is a settlement.Keys that remembers.
func (p *pairings) decode(c *committee.Committee) ([]*bls.Key, error) {
	h := c.Hash()
	p.mu.Lock()
	keys, ok := p.keys.get(h)
	p.mu.Unlock()
	if ok {
		return keys, nil
	}
	keys, err := c.Keys()
	if err == nil {
		p.mu.Lock()
		p.keys.put(h, keys, decodedCommittees)
		p.mu.Unlock()
	}
	return keys, err
}

// prove verifies the signatures of committees in tx, as the block at height would, and
// remembers those that hold. It refuses only what is wrong whatever the state.
func (m *mainRules) prove(v chain.View, height uint64, tx *chain.Tx) error {
	if !settlement.HasPairings(tx.Kind) {
		return nil
	}
	verify, err := settlement.Pairings(v, m.params, m.domain, height, tx, m.pairings.has, m.pairings.decode)
	if err != nil || verify == nil {
		return nil //nolint:nilerr // of this state; the block says more
	}
	runs, err := verify()
	m.pairings.mu.Lock()
	for _, run := range runs {
		m.pairings.proved.put(run, struct{}{}, provedRuns)
	}
	m.pairings.mu.Unlock()
	if code, _ := chain.CodeOf(err); code == chain.CodeBadCertificate {
		return err
	}
	return nil
}
