package settlement

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// RegistryParams are the consensus parameters of the registry of services.
type RegistryParams = registry.Params

// RegistryEvent is what happened to a service or a shard.
type RegistryEvent = registry.Event

type registryContext = registry.Context

// maxServiceSize bounds an encoded service: zone.MaxZones policies of 72 bytes, and
// what comes before them.
const maxServiceSize = 8 << 10

func defaultRegistry() RegistryParams { return registry.DefaultParams() }

func localRegistry() RegistryParams { return registry.LocalParams() }

// validateServices returns an error that names the first of a genesis' services that
// is wrong.
func validateServices(services []zone.ServiceType, validators int) error {
	if len(services) > 0 && validators == 0 {
		return fmt.Errorf("services has %d entries and validators none, want somebody who can serve them", len(services))
	}
	return registry.ValidateGenesis(services)
}

// readServices reads those of a genesis; that some are cut off is for r to tell.
func readServices(r *codec.Reader) (list []zone.ServiceType, err error) {
	n := int(r.Uint32())
	if r.Err() == nil && n > min(registry.MaxServices, r.Remaining()/4) {
		return nil, fmt.Errorf("%d services in %d bytes, at most %d", n, r.Remaining(), registry.MaxServices)
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		encoded := r.Bytes32(maxServiceSize)
		if r.Err() == nil {
			s, err := zone.DecodeServiceType(encoded)
			if err != nil {
				return nil, fmt.Errorf("services[%d]: %w", i, err)
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// startRegistry writes the registry at height 0.
func startRegistry(o *chain.Overlay, p *Params, services []zone.ServiceType) {
	registry.Start(o, &p.Registry, &p.Staking, services)
}

func registryNeedsTick(v chain.View, p *Params, height uint64) bool {
	return registry.NeedsTick(v, &p.Staking, height)
}

// serviceMessage is the decoded payload of a transaction of the registry: exactly one
// field is set.
type serviceMessage struct {
	register *zone.ServiceType
	update   *zone.ServiceType
	serve    *registry.Serve
	reshard  *registry.Reshard
}

// decodeService returns nil, without an error, for a kind that has nothing to do with
// the registry.
func decodeService(tx *chain.Tx) (*serviceMessage, error) {
	switch tx.Kind {
	case chain.KindRegisterService:
		v, err := registry.DecodeService(tx.Payload)
		return &serviceMessage{register: &v}, err
	case chain.KindUpdateService:
		v, err := registry.DecodeService(tx.Payload)
		return &serviceMessage{update: &v}, err
	case chain.KindServe:
		v, err := registry.DecodeServe(tx.Payload)
		return &serviceMessage{serve: &v}, err
	case chain.KindReshard:
		v, err := registry.DecodeReshard(tx.Payload)
		return &serviceMessage{reshard: &v}, err
	default:
		return nil, nil
	}
}

// fee returns what the message costs on top of TxFee, but for added.
func (m *serviceMessage) fee(p *registry.Params) ledger.Amount {
	if m.register != nil {
		return p.RegisterFee * ledger.Amount(len(m.register.Zones)*int(m.register.Shards))
	}
	return p.ServiceFee
}

// run executes the message of from. No money moves but the fee.
func (m *serviceMessage) run(c *registry.Context, from ledger.Address) error {
	switch {
	case m.register != nil:
		return c.Register(from, m.register)
	case m.update != nil:
		return c.Update(from, m.update)
	case m.serve != nil:
		return c.Serve(from, m.serve)
	default:
		return c.Reshard(from, m.reshard)
	}
}

// added returns what an update costs on top of fee for the shards that it adds, which the
// state alone tells.
func (m *serviceMessage) added(v chain.View, p *registry.Params) ledger.Amount {
	if m.update == nil {
		return 0
	}
	return p.RegisterFee * ledger.Amount(registry.NewShards(v, m.update))
}

// service executes a transaction of the registry by the account at row.
func (b *block) service(index int, r *Receipt, m *serviceMessage, tx *chain.Tx, row uint64) error {
	added := m.added(b.state, &b.params.Registry)
	switch fee := r.Fee + added; {
	case fee > tx.MaxFee:
		return chain.Refuse(chain.CodeFeeTooLow, "the fee is %d drops with %d for new shards, max_fee %d", uint64(fee), uint64(added), uint64(tx.MaxFee))
	case b.bank.Balance(row) < added:
		return insufficient(fee, b.bank.Balance(row)+r.Fee)
	}
	if err := m.run(&b.registry, tx.Signer); err != nil {
		return err
	}
	b.bank.charge(row, added)
	r.Fee += added
	b.noteRegistry(index)
	return nil
}

// worked tells the registry what a batch burned for each service. What was burned as a
// zone's fee counts like the network's part: whoever is paid has given it up. What an owner
// got does not, since an owner could pay itself.
func (b *block) worked(done *channel.Settled, payee ledger.Address) {
	if done.Burned == 0 || !b.staking.On() {
		return
	}
	burned := make(map[uint32]ledger.Amount)
	events := done.Events // by channel, in the order of the entries
	for i := range done.Entries {
		e := &done.Entries[i]
		if e.Burned == 0 {
			continue
		}
		for len(events) > 1 && events[0].Index != e.Index {
			events = events[1:]
		}
		burned[events[0].Service] += e.Burned
	}
	for _, service := range slices.Sorted(maps.Keys(burned)) {
		b.registry.Worked(service, payee, burned[service])
	}
}

// noteRegistry takes the events of the registry since the last time, which came of the
// transaction at index, or of none if that is -1.
func (b *block) noteRegistry(index int) {
	for _, e := range b.registry.Noted() {
		if e.TxIndex >= 0 {
			e.TxIndex = index
		}
		b.registryEvents = append(b.registryEvents, e)
		if e.Kind != registry.EventHolds || e.Change != shard.Found {
			continue
		}
		for _, id := range e.Heirs { // those of other changes wait for their parents: see syncShards
			b.shardEvents = append(b.shardEvents, ShardEvent{Kind: ShardFounded, TxIndex: -1, Shard: id, Epoch: e.Epoch})
		}
	}
}

// registered reports whether the registry has a service.
func (b *block) registered(service uint32) bool {
	return b.serviceOf(service) != nil
}

// zoneOf returns nil if a service has a zone, or is not registered.
func (b *block) zoneOf(service uint32, number byte) error {
	s := b.serviceOf(service)
	if s == nil {
		return nil
	}
	_, err := s.Zones.Find(number)
	return err
}

// serviceOf returns a service as it is now, and nil if it is not registered. The block asks
// the state once for each service, however many channels name it, and again after a record
// of the registry. Nobody may change what it returns.
func (b *block) serviceOf(service uint32) *zone.ServiceType {
	known, ok := b.services[service]
	if !ok {
		if s, found := registry.ReadService(b.state, service); found {
			known = &s
		}
		if b.services == nil {
			b.services = make(map[uint32]*zone.ServiceType)
		}
		b.services[service] = known
	}
	return known
}

// feesOf returns the fees of a channel of payer that names a service and is opened now: none
// if it is not registered, and none of a zone that it does not have.
func (b *block) feesOf(service uint32, payer ledger.Address) (f channel.Fees) {
	s := b.serviceOf(service)
	if s == nil {
		return f
	}
	f.Service = s.Fees
	if policy, err := s.Zones.Find(payer.Zone()); err == nil {
		f.Zone = policy.Fees
	}
	return f
}

// ownerOf returns who owns a service now.
func (b *block) ownerOf(service uint32) (owner ledger.Address, ok bool) {
	s := b.serviceOf(service)
	if s == nil {
		return owner, false
	}
	return s.Owner, true
}

// noteIncome notes what the transaction at index brought the owners of services.
func (b *block) noteIncome(index int, earned []channel.Earning) {
	for _, e := range earned {
		if owner, ok := b.ownerOf(e.Service); ok {
			b.income = append(b.income, Income{TxIndex: index, Service: e.Service, Owner: owner, Amount: e.Amount})
		}
	}
}
