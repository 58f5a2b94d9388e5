package exec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// electorate is the committee of an epoch, ready to check what its members sign.
// It does not change.
type electorate struct {
	committee committee.Committee
	hash      ledger.Hash // of the committee
	keys      []*bls.Key  // of the members, in their order
	places    map[staking.Address]int
}

// newElectorate decodes the keys of c that are not in known, at half a
// millisecond each.
func newElectorate(c committee.Committee, known map[bls.PublicKey]*bls.Key) (*electorate, error) {
	el := &electorate{
		committee: c, hash: c.Hash(),
		keys: make([]*bls.Key, len(c.Members)), places: make(map[staking.Address]int, len(c.Members)),
	}
	for i := range c.Members {
		m := &c.Members[i]
		key := known[m.BLSKey]
		if key == nil {
			var err error
			if key, err = bls.ParseKey(m.BLSKey); err != nil {
				return nil, fmt.Errorf("member %d of the committee of epoch %d: %w", i, c.Epoch, err)
			}
		}
		el.keys[i] = key
		el.places[m.Address()] = i
	}
	return el, nil
}

// memberOf returns the member with a consensus address, and ok=false for a
// stranger.
func (el *electorate) memberOf(address []byte) (member int, ok bool) {
	if el == nil || len(address) != staking.AddressSize {
		return 0, false
	}
	member, ok = el.places[staking.Address(address)]
	return member, ok
}

// holder returns the member whose BLS key is that of secret.
func (el *electorate) holder(secret *bls.SecretKey) (member int, ok bool) {
	if el == nil || secret == nil {
		return 0, false
	}
	key := secret.Public()
	member = slices.IndexFunc(el.committee.Members, func(m committee.Member) bool { return m.BLSKey == key })
	return member, member >= 0
}

// keptElectorates is how many epochs' committees are kept ready: the present one,
// the next, and those whose certificates may still be made.
const keptElectorates = 4

// electorates keeps the committees of the last terms asked for. It is safe for
// concurrent use.
type electorates struct {
	mu    sync.Mutex
	terms map[Term]*electorate
}

// get returns the committee of a term, or nil and the keys of those that are kept.
func (k *electorates) get(t Term) (*electorate, map[bls.PublicKey]*bls.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if el := k.terms[t]; el != nil || len(k.terms) == 0 {
		return el, nil
	}
	known := make(map[bls.PublicKey]*bls.Key)
	for _, el := range k.terms {
		for _, key := range el.keys {
			known[key.Public()] = key
		}
	}
	return nil, known
}

func (k *electorates) put(t Term, el *electorate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.terms == nil {
		k.terms = make(map[Term]*electorate)
	}
	k.terms[t] = el
	for len(k.terms) > keptElectorates {
		oldest := t
		for other := range k.terms {
			if cmp.Or(cmp.Compare(other.Generation, oldest.Generation), cmp.Compare(other.Epoch, oldest.Epoch)) < 0 {
				oldest = other
			}
		}
		delete(k.terms, oldest)
	}
}

// electorate returns the committee that votes on the block at height, by the state
// in v, which must be at least that of the block before. It is nil on a chain
// without committees. A committee never changes once it is elected.
func (e *Executor) electorate(v chain.View, height uint64) (*electorate, error) {
	t, ok := e.rules.Term(v, height)
	if !ok {
		return nil, nil //nolint:nilnil // no committee is no error
	}
	return e.electorateOfTerm(v, t, height)
}

// electorateOfTerm returns the committee of a term, in which the block at height is, by the
// state in v, nil if that does not have it.
func (e *Executor) electorateOfTerm(v chain.View, t Term, height uint64) (*electorate, error) {
	el, known := e.electorates.get(t)
	if el != nil {
		return el, nil
	}
	c, ok := e.rules.Committee(v, height)
	if !ok || c.Epoch != t.Epoch {
		return nil, nil //nolint:nilnil // no committee is no error
	}
	el, err := newElectorate(c, known)
	if err != nil {
		return nil, err
	}
	e.electorates.put(t, el)
	return el, nil
}

// electorateKnown returns the committee that signs a checkpoint by the state at the head,
// also one that the state has forgotten, if it was handed over to.
func (e *Executor) electorateKnown(p *cert.Checkpoint) (el *electorate, err error) {
	err = e.layer.Read(func(v chain.View) error {
		el, err = e.electorateOfTerm(v, Term{p.Generation, p.Epoch}, p.Height)
		return err
	})
	if el != nil || err != nil || e.traits.Staking == nil {
		return el, err
	}
	c, err := e.committeeKnown(p.Epoch)
	if errors.Is(err, ErrNoHandover) {
		return nil, nil //nolint:nilnil // no committee is no error
	}
	if err != nil {
		return nil, err
	}
	return newElectorate(*c, nil)
}

// electorateOf is electorate by the state at the head.
func (e *Executor) electorateOf(height uint64) (el *electorate, err error) {
	err = e.layer.Read(func(v chain.View) error {
		el, err = e.electorate(v, height)
		return err
	})
	return el, err
}
