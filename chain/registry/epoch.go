package registry

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
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

// turn ends an epoch: what was asked for is planned and announced, the map of the
// next epoch holds, and the committees of the one after that are drawn.
func (c *Context) turn(epoch uint64) {
	m, _ := ReadMap(c.State)
	m = c.apply(c.plan(m))
	m = c.catchUp(m)
	c.State.Set(MapKey(), m.Encode())
	anchor.Sync(c.State, m, c.Height)
	next := EpochRecord{Epoch: epoch + 1, Sigma: c.Sigma, First: c.Height + 1}
	c.State.Set(EpochKey(next.Epoch), next.Encode())
	c.begin(epoch + 1)
	c.draw(epoch+beacon.Lag, m)
	c.shorten(epoch)
	if last := c.Epochs.Kept() + 1; epoch+beacon.Lag >= last {
		c.forget(epoch + beacon.Lag - last)
	}
}

// begin notes which shards somebody serves in an epoch and nobody did in the one before.
func (c *Context) begin(epoch uint64) {
	for id, b := range shorts(c.State, epoch) {
		if now, _ := ReadShort(c.State, epoch-1, id); len(now.Seats) > 0 {
			continue
		}
		s, err := shard.DecodeShort(b)
		if mustRead("assignment", err); len(s.Seats) > 0 {
			anchor.Serve(c.State, id, epoch, c.Height)
		}
	}
}

// plan announces what was asked for and what loads want.
func (c *Context) plan(m *shard.Map) *shard.Map {
	requests, loads := Requests(c.State), c.loads(m)
	for _, r := range requests {
		c.State.Delete(requestKey(r.Shard))
	}
	planned := shard.Plan(m, slices.DeleteFunc(loads, func(l shard.Load) bool { return !c.begun(l.Shard) }),
		slices.DeleteFunc(slices.Clone(requests), func(r shard.Request) bool { return !c.begun(r.Shard) }))
	for _, r := range requests {
		if !slices.ContainsFunc(planned, func(g shard.Change) bool { return g.Kind == r.Kind && slices.Contains(g.Shards, r.Shard) }) {
			at, _ := find(m, r.Shard)
			c.note(Event{Kind: EventForgotten, TxIndex: -1, Service: at.Service, Zone: at.Zone, Change: r.Kind, Shards: []shard.ID{r.Shard}})
		}
	}
	if len(planned) == 0 {
		return m
	}
	next, err := shard.Announce(m, planned...)
	if err != nil {
		panic(fmt.Errorf("announce what was planned: %w", err))
	}
	c.announced(planned)
	return next
}

// apply makes the map of the next epoch.
func (c *Context) apply(m *shard.Map) *shard.Map {
	next := shard.Apply(m)
	for _, g := range m.Announced() {
		if g.At != next.Epoch() {
			continue
		}
		e := Event{Kind: EventHolds, TxIndex: -1, Service: g.Service, Zone: g.Zone, Change: g.Kind, Shards: g.Shards, Epoch: g.At}
		for _, s := range next.Zone(g.Service, g.Zone) {
			if s.Since == g.At {
				e.Heirs = append(e.Heirs, s.ID)
			}
		}
		c.note(e)
	}
	for _, id := range next.Replaced() {
		c.State.Delete(loadKey(id))
	}
	return next
}

// catchUp announces the zones of services that came too late for the epoch that ends:
// in its last block, or when the map was full.
func (c *Context) catchUp(m *shard.Map) *shard.Map {
	for _, s := range Services(c.State) {
		list := s.Foundings(m, m.Epoch()+shard.Notice)
		if len(list) == 0 {
			continue
		}
		if next, err := shard.Announce(m, list...); err == nil { // or at the end of the next epoch
			m = next
			c.announced(list)
		}
	}
	return m
}

// forget forgets who served in an epoch.
func (c *Context) forget(epoch uint64) {
	var keys [][]byte
	for id := range shorts(c.State, epoch) {
		keys = append(keys, AssignmentKey(epoch, id))
	}
	for k := range c.State.Range(formerPrefix(epoch)) {
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range append(keys, EpochKey(epoch), stakesKey(epoch)) {
		c.State.Delete(k)
	}
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
	anchor.Sync(o, m, 0)
	for e := range uint64(beacon.Lag) {
		c.pool(e, staking.Candidates(o))
		for _, a := range shard.Assign(Inputs(o, e, m)) {
			c.put(e, &a)
		}
		m = shard.Apply(m)
	}
}
