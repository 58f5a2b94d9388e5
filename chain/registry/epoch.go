package registry

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// End is the end of a block, after that of staking: the pools are kept in the last
// block but one of an epoch, whose election says who the candidates are, ascending
// by row; in the last the map changes and committees are drawn. In others nothing
// happens, and candidates are nil.
func (c *Context) End(candidates []committee.Candidate) {
	if !c.Epochs.EpochBlock(c.Height) || !c.On() {
		return
	}
	if e := c.epoch(); c.Height == c.Epochs.LastBlock(e) {
		c.turn(e)
	} else {
		c.pool(e+beacon.Lag, candidates)
	}
}

// pool keeps, for each service, the candidates that serve it, for the draw of epoch.
func (c *Context) pool(epoch uint64, candidates []committee.Candidate) {
	for _, s := range Services(c.State) {
		p := shard.Pool{Service: s.ID, Rules: s.Rules(c.Epochs.PowerCapBps)}
		for i := range candidates {
			if Serves(c.State, s.ID, candidates[i].Validator) {
				p.Candidates = append(p.Candidates, shard.Candidate{Candidate: candidates[i]})
			}
		}
		c.State.Set(PoolKey(epoch, s.ID), p.Encode())
	}
}

// turn ends an epoch: what was asked for is planned and announced, the map of the
// next epoch holds, and the committees of the one after that are drawn.
func (c *Context) turn(epoch uint64) {
	m, _ := ReadMap(c.State)
	requests := Requests(c.State)
	if planned := shard.Plan(m, nil, requests); len(planned) > 0 {
		next, err := shard.Announce(m, planned...)
		if err != nil {
			panic(fmt.Errorf("announce what was planned: %w", err))
		}
		m = next
	}
	for _, r := range requests {
		c.State.Delete(requestKey(r.Shard))
	}
	m = shard.Apply(m)
	c.State.Set(MapKey(), m.Encode())
	next := EpochRecord{Epoch: epoch + 1, Sigma: c.Sigma, First: c.Height + 1}
	c.State.Set(EpochKey(next.Epoch), next.Encode())
	c.draw(epoch+beacon.Lag, m)
	for _, s := range Services(c.State) {
		c.State.Delete(PoolKey(epoch, s.ID))
	}
	if last := c.Epochs.Kept() + 1; epoch+beacon.Lag >= last {
		old := epoch + beacon.Lag - last
		for _, a := range Assignments(c.State, old) {
			c.State.Delete(AssignmentKey(old, a.Shard))
		}
		c.State.Delete(EpochKey(old))
	}
}

// draw draws the committees of an epoch; now is the map of the epoch before.
func (c *Context) draw(epoch uint64, now *shard.Map) {
	in := Inputs(c.State, epoch, shard.Apply(now))
	for _, a := range shard.Assign(in) {
		c.State.Set(AssignmentKey(epoch, a.Shard), a.Encode())
	}
}

// Inputs returns what decides who serves in an epoch whose map is m: public data from
// which everybody draws the same committees. The state has all of it for the present
// epoch, whose map is ReadMap's, for the next one, whose map is shard.Apply of that,
// and, in the last block of an epoch, for the one that is drawn.
func Inputs(v chain.View, epoch uint64, m *shard.Map) shard.Inputs {
	in := shard.Inputs{Seed: staking.Seed(v, epoch), Map: m}
	for _, service := range m.Services() {
		if p, ok := ReadPool(v, epoch, service); ok {
			in.Pools = append(in.Pools, p)
		}
	}
	if epoch > 0 {
		in.Previous = Assignments(v, epoch-1)
	}
	return in
}

// ValidateGenesis returns an error that names the first service that a chain
// cannot begin with.
func ValidateGenesis(services []zone.ServiceType) error {
	if len(services) > MaxServices {
		return fmt.Errorf("services has %d entries, at most %d", len(services), MaxServices)
	}
	names := map[string]int{}
	for i := range services {
		s := &services[i]
		if err := s.Validate(); err != nil {
			return fmt.Errorf("services[%d]: %w", i, err)
		}
		if s.Version != 1 {
			return fmt.Errorf("services[%d]: version is %d, want 1", i, s.Version)
		}
		if i > 0 && s.ID <= services[i-1].ID {
			return fmt.Errorf("services[%d]: id is %d after %d, want strictly ascending", i, s.ID, services[i-1].ID)
		}
		if first, used := names[s.Name]; used {
			return fmt.Errorf("services[%d]: services[%d] has the name %q", i, first, s.Name)
		}
		names[s.Name] = i
	}
	_, err := establish(services)
	return err
}

// establish returns the map of epoch 0.
func establish(services []zone.ServiceType) (*shard.Map, error) {
	m := shard.Empty(0)
	for i := range services {
		next, err := shard.Establish(m, services[i].Foundings(m, 0)...)
		if err != nil {
			return nil, fmt.Errorf("services[%d]: %w", i, err)
		}
		m = next
	}
	return m, nil
}

// Start writes the registry at height 0: the services with their shards, which all
// validators of the genesis serve, and the committees of the epochs that no seal
// precedes. It comes after that of staking, without which it writes nothing. The
// services must be valid.
func Start(o *chain.Overlay, p *Params, epochs *staking.Params, services []zone.ServiceType) {
	count := staking.ValidatorCount(o)
	if count == 0 {
		return
	}
	m, err := establish(services)
	if err != nil {
		panic(err)
	}
	c := Context{State: o, Rules: p, Epochs: epochs}
	o.Set(MapKey(), m.Encode())
	first := EpochRecord{First: epochs.FirstBlock(0)}
	o.Set(EpochKey(0), first.Encode())
	for i := range services {
		s := &services[i]
		o.Set(ServiceKey(s.ID), s.Encode())
		o.Set(nameKey(s.Name), binary.BigEndian.AppendUint32(nil, s.ID))
		for row := range count {
			o.Set(servesKey(s.ID, row), []byte{1})
		}
	}
	for e := range uint64(beacon.Lag) {
		c.pool(e, staking.Candidates(o))
		for _, a := range shard.Assign(Inputs(o, e, m)) {
			o.Set(AssignmentKey(e, a.Shard), a.Encode())
		}
		m = shard.Apply(m)
	}
}
