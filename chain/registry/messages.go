package registry

import (
	"encoding/binary"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// DecodeService reads the payload of chain.KindRegisterService or
// chain.KindUpdateService, which is the encoding of a zone.ServiceType: the whole
// service as it shall be. A new one has version 1 and its signer as the owner.
func DecodeService(payload []byte) (zone.ServiceType, error) {
	s, err := zone.DecodeServiceType(payload)
	if err != nil {
		return zone.ServiceType{}, chain.Refuse(chain.CodeInvalidValue, "service: %v", err)
	}
	return s, nil
}

// Serve is the payload of chain.KindServe, sent by a validator's operator: from
// the next draw on the validator serves a service, or no longer.
//
//	service u32 | on u8
type Serve struct {
	Service uint32
	On      bool
}

// Encode returns the payload.
func (m *Serve) Encode() []byte {
	w := codec.NewWriter(5)
	w.Uint32(m.Service)
	w.Bool(m.On)
	return w.Bytes()
}

// DecodeServe reads what Encode wrote.
func DecodeServe(payload []byte) (Serve, error) {
	r := codec.NewReader(payload)
	m := Serve{Service: r.Uint32(), On: r.Bool()}
	if err := r.Done(); err != nil {
		return Serve{}, chain.Refuse(chain.CodeMalformed, "serve: %v", err)
	}
	return m, nil
}

// Reshard is the payload of chain.KindReshard, sent by the owner of a service:
// that a shard of it splits, or merges with its sibling, which takes the same
// request for that one in the same epoch. It counts at the epoch's end, and then
// is forgotten.
//
//	kind u8 | shard u32
type Reshard struct{ shard.Request }

// Encode returns the payload.
func (m *Reshard) Encode() []byte {
	w := codec.NewWriter(5)
	w.Uint8(uint8(m.Kind))
	w.Uint32(uint32(m.Shard))
	return w.Bytes()
}

// DecodeReshard reads what Encode wrote.
func DecodeReshard(payload []byte) (Reshard, error) {
	r := codec.NewReader(payload)
	m := Reshard{shard.Request{Kind: shard.Kind(r.Uint8()), Shard: shard.ID(r.Uint32())}}
	if err := r.Done(); err != nil {
		return Reshard{}, chain.Refuse(chain.CodeMalformed, "reshard: %v", err)
	}
	if m.Kind != shard.Split && m.Kind != shard.Merge {
		return Reshard{}, chain.Refuse(chain.CodeInvalidValue, "kind is %d, want %d to split or %d to merge", m.Kind, shard.Split, shard.Merge)
	}
	return m, nil
}

// Context is where and when things happen. The methods that take a payload each
// either refuse with a RuleError and change nothing, or do all they say to State.
type Context struct {
	State  *chain.Overlay
	Rules  *Params
	Epochs *staking.Params // what an epoch is, and the cap of a member's power
	Height uint64          // of the block, at least 1
	Sigma  uint64          // the settlement clock of the block
	// Reserved are the ids, ascending, that channels may name although no service has
	// them: none can be registered.
	Reserved []uint32

	events []Event
}

// On reports whether the chain has a registry. One without staking has none:
// no epoch passes there.
func (c *Context) On() bool { return c.State.Get(MapKey()) != nil }

func (c *Context) epoch() uint64 { return c.Epochs.Epoch(c.Height) }

// wait has the chain go on until what was asked for in the block holds: the end of
// this epoch announces it and draws for the epoch of which this notes the number. Who
// can be drawn is read in the last block but one, so that what the last block has is
// drawn an epoch later.
func (c *Context) wait() { c.waitFor(c.next()) }

func (c *Context) waitFor(epoch uint64) {
	if b := c.State.Get(waitKey()); b == nil || binary.BigEndian.Uint64(b) < epoch {
		c.State.Set(waitKey(), binary.BigEndian.AppendUint64(nil, epoch))
	}
}

// Finish has the chain go on to the end of the epoch although nobody sends transactions:
// shards have something to settle, and do so when they learn that the epoch is over.
func (c *Context) Finish() {
	if c.On() {
		c.waitFor(c.epoch() + 1)
	}
}

// next is the first epoch whose draw sees what the block says.
func (c *Context) next() uint64 { return c.Epochs.Epoch(c.Height+1) + shard.Notice }

// late reports whether the pools of the next draw are made, so that what is founded has
// to wait for the one after it.
func (c *Context) late() bool { return c.Height == c.Epochs.LastBlock(c.epoch()) }

// Register adds a service. Its zones are announced for shard.Notice epochs later, and
// one more in the last block of an epoch, when it is too late for a pool.
func (c *Context) Register(from ledger.Address, s *zone.ServiceType) error {
	switch { // what costs least first: the map may be long
	case !c.On():
		return chain.Refuse(chain.CodeUnknownKind, "this chain has no registry of services: its genesis has no validators")
	case s.Owner != from:
		return chain.Refuse(chain.CodeNotOwner, "owner is %s, want the signer %s", s.Owner, from)
	case s.Version != 1:
		return chain.Refuse(chain.CodeInvalidValue, "version is %d, a new service has 1", s.Version)
	case slices.Contains(c.Reserved, s.ID):
		return chain.Refuse(chain.CodeServiceUsed, "channels name service %d without a registration, so nobody can own it", s.ID)
	case Has(c.State, s.ID):
		return chain.Refuse(chain.CodeServiceUsed, "service %d exists", s.ID)
	}
	if other, used := ServiceByName(c.State, s.Name); used {
		return chain.Refuse(chain.CodeServiceUsed, "service %d has the name %q", other, s.Name)
	}
	services := 0
	for range ServiceIDs(c.State) {
		services++
	}
	if services >= MaxServices {
		return chain.Refuse(chain.CodeTooManyServices, "there are %d services, and no more than that", MaxServices)
	}
	if err := c.announce(s); err != nil {
		return err
	}
	c.putService(s)
	c.note(Event{Kind: EventRegistered, Service: s.ID, Version: s.Version})
	return nil
}

// Update replaces a service by its next version. Zones that are new get their shards as
// those of a new service do; NewShards says how many, which are paid for as those of a
// registration. A channel whose payer is at home in such a zone, and which was opened
// before, its home learns of with the next top-up or extension.
func (c *Context) Update(from ledger.Address, next *zone.ServiceType) error {
	s, ok := ReadService(c.State, next.ID)
	if !ok {
		return chain.Refuse(chain.CodeUnknownService, "service %d is not registered", next.ID)
	}
	if s.Owner != from {
		return chain.Refuse(chain.CodeNotOwner, "service %d is of %s", s.ID, s.Owner)
	}
	if err := s.CheckSuccessor(next); err != nil {
		return chain.Refuse(chain.CodeInvalidValue, "%v", err)
	}
	if other, used := ServiceByName(c.State, next.Name); used && other != s.ID {
		return chain.Refuse(chain.CodeServiceUsed, "service %d has the name %q", other, next.Name)
	}
	if next.Shards != s.Shards {
		if m, _ := ReadMap(c.State); len(s.Foundings(m, 0)) > 0 { // they are paid for by their number
			return chain.Refuse(chain.CodeReshardRefused, "zones of service %d wait for their %d shards each; update it when they are announced", s.ID, s.Shards)
		}
	}
	if len(next.Zones) > len(s.Zones) {
		if err := c.announce(next); err != nil {
			return err
		}
	}
	if next.Name != s.Name {
		c.State.Delete(nameKey(s.Name))
	}
	c.putService(next)
	c.note(Event{Kind: EventUpdated, Service: next.ID, Version: next.Version})
	return nil
}

// NewShards returns how many shards an update adds to a service: those of the zones that
// it has not. It is 0 for a service that is not registered.
func NewShards(v chain.View, next *zone.ServiceType) int {
	s, ok := ReadService(v, next.ID)
	if !ok {
		return 0
	}
	return max(0, len(next.Zones)-len(s.Zones)) * int(next.Shards) // an update takes no zone away
}

func (c *Context) putService(s *zone.ServiceType) {
	c.State.Set(ServiceKey(s.ID), s.Encode())
	c.State.Set(nameKey(s.Name), binary.BigEndian.AppendUint32(nil, s.ID))
	c.wait()
}

// announce announces the zones of a service that are new, or leaves that to the end of the
// block.
func (c *Context) announce(s *zone.ServiceType) error {
	m, _ := ReadMap(c.State)
	list := s.Foundings(m, m.Epoch()+shard.Notice)
	next, err := shard.Announce(m, list...)
	if err != nil {
		return chain.Refuse(chain.CodeReshardRefused, "%v", err)
	}
	if !c.late() {
		c.State.Set(MapKey(), next.Encode())
		c.announced(list)
	}
	return nil
}

// announced notes changes that were announced.
func (c *Context) announced(list []shard.Change) {
	for i := range list {
		g := &list[i]
		c.note(Event{Kind: EventAnnounced, TxIndex: -1, Service: g.Service, Zone: g.Zone, Change: g.Kind, Shards: g.Shards, Epoch: g.At})
	}
}

// Serve makes the validator that from operates serve a service, or not.
func (c *Context) Serve(from ledger.Address, m *Serve) error {
	row, ok := staking.ValidatorByOperator(c.State, from)
	switch {
	case !ok:
		return chain.Refuse(chain.CodeNotOperator, "%s operates no validator", from)
	case !Has(c.State, m.Service):
		return chain.Refuse(chain.CodeUnknownService, "service %d is not registered", m.Service)
	case Serves(c.State, m.Service, row) == m.On && m.On:
		return chain.Refuse(chain.CodeStale, "validator %d serves service %d already", row, m.Service)
	case Serves(c.State, m.Service, row) == m.On:
		return chain.Refuse(chain.CodeStale, "validator %d does not serve service %d", row, m.Service)
	}
	e := Event{Kind: EventServes, Service: m.Service, Validator: row, Epoch: c.next()}
	if m.On {
		c.State.Set(servesKey(m.Service, row), []byte{1})
	} else {
		e.Kind = EventServesNot
		c.State.Delete(servesKey(m.Service, row))
	}
	c.note(e)
	c.wait()
	return nil
}

// Reshard notes a request for the end of the epoch. It refuses a shard that is not founded
// yet, since its parents are not anchored to their ends, one that nobody serves, and one of
// which nothing is anchored: such a shard has no state that heirs could begin with.
func (c *Context) Reshard(from ledger.Address, m *Reshard) error {
	if !c.On() {
		return chain.Refuse(chain.CodeUnknownKind, "this chain has no shards: its genesis has no validators")
	}
	at, ok := anchor.Read(c.State, m.Shard)
	switch {
	case !ok:
		return chain.Refuse(chain.CodeUnknownShard, "shard %d is not founded: there is none, or what it replaces is not anchored to its end", m.Shard)
	case at.Until > 0:
		return chain.Refuse(chain.CodeUnknownShard, "shard %d was replaced in epoch %d", m.Shard, at.Until)
	}
	if s, _ := ReadService(c.State, at.Service); s.Owner != from {
		return chain.Refuse(chain.CodeNotOwner, "shard %d is of service %d, which is of %s", m.Shard, at.Service, s.Owner)
	}
	if !c.served(m.Shard) {
		return chain.Refuse(chain.CodeReshardRefused, "nobody serves shard %d, so it has no state that others could begin with", m.Shard)
	}
	if at.Height() == 0 {
		return chain.Refuse(chain.CodeReshardRefused,
			"nothing of shard %d is anchored yet, so it has no state that others could begin with: ask again after its first anchor, which `tributary shard status %d` shows", m.Shard, m.Shard)
	}
	shards, _ := ReadMap(c.State)
	if err := shards.Check(m.Request); err != nil {
		return chain.Refuse(chain.CodeReshardRefused, "%v", err)
	}
	if len(Requests(c.State)) >= MaxRequests {
		return chain.Refuse(chain.CodeReshardRefused, "%d requests wait for the end of epoch %d", MaxRequests, shards.Epoch())
	}
	c.State.Set(requestKey(m.Shard), []byte{byte(m.Kind)})
	c.note(Event{Kind: EventAsked, Service: at.Service, Zone: at.Zone, Change: m.Kind, Shards: []shard.ID{m.Shard}})
	c.wait()
	return nil
}

// begun reports whether a shard is served and something of it is anchored. Nobody could
// bring one to its end that never had a committee, and once it has one it keeps one. From
// what is anchored another committee can go on; if that of a shard without an anchor died
// on the way to its end, its buckets would be lost, since nobody else has a block of which
// main could say that it is the last.
func (c *Context) begun(id shard.ID) bool {
	at, ok := anchor.Read(c.State, id)
	return ok && at.Height() > 0 && c.served(id)
}

// served reports whether a shard has a committee.
func (c *Context) served(id shard.ID) bool {
	s, _ := ReadShort(c.State, c.epoch(), id)
	return len(s.Seats) > 0
}
