// Package registry is what the main chain knows of services: which there are, in
// which zones, who serves them, which shards they have, and who serves each shard
// in which epoch.
//
// Anybody registers a service for a fee and owns it. Its zones get their shards
// shard.Notice epochs later, as every change of the map of shards. Validators say
// which services they serve. The last block but one of each epoch, which elects
// the committee of the main chain, keeps for each service the pool of those who
// serve it, as they stand before the next seed is known; the last block plans the
// changes of the map, makes that of the next epoch, and draws by the seed that it
// closes the committees of all shards for the epoch after that:
//
//	epoch e     a service is registered, a split is asked for
//	its end     the change is announced for e+2; the map of e+1 holds;
//	            the committees of e+2 are drawn for the map of e+2
//
// So everybody knows a whole epoch ahead what it will have to run. All of it can be
// recomputed from public data (shard.Inputs.Check).
//
// Who calls it is chain/settlement: it begins the genesis with Start, gives each
// transaction of these kinds to the method of its name, lets channels name what Has
// knows, tells what was burned of payments with Worked, and ends each block with End after
// that of staking.
//
// # What shards rely on
//
// A shard knows the committee of the main chain for some epoch, and so takes a
// certified state root of it. Against that root it has these rows proved, each by one
// statement (ledger/stateproof), and reads them with the decoder named here. Their keys
// and encodings change only with the network.
//
//	row                           decoder                  in the state
//	EpochKey(e)                   DecodeEpochRecord        from the last block of e-1 on, as long as assignments
//	AssignmentKey(e, shard)       shard.OpenAssignment     from the last block of e-2 on, for staking.Params.Kept epochs after e
//	MapKey()                      shard.Decode             always: that of the epoch of the next block
//	staking.CommitteeKey(e)       committee.DecodeRecord   from the last block but one of e-1 to that of e+1
//	anchor.Key(shard)             anchor.DecodeState       from the founding on, for ever
//
// A shard learns of epoch e by the record of e: main's blocks are of e from First on.
// The row of an assignment has the hash of the committee, and whoever brings it brings
// the committee too. One that is Assignment.Last is of a shard that is replaced in e; so
// says the row of its anchors. Its first height of e is its last.
//
// The committee of main for e+1 is proved by the row that the committee of e certifies
// in the last two blocks of e or later.
//
// Which blocks change the state is as in chain/staking: those with records, and the
// last two of an epoch. A chain that is idle goes on until what was asked for holds;
// see NeedsTick.
//
// It is row 1c of the dependency order: pure rules over values.
package registry

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

const (
	// MaxServices is the largest number of services.
	MaxServices = 1_024
	// MaxRequests is how many requests for splits and merges wait at most.
	MaxRequests = 1_024
	// maxFee is the largest fee, in drops.
	maxFee ledger.Amount = 1_000_000_000_000
)

// Params are the consensus parameters of the registry: fees on top of that of
// every transaction, in drops.
type Params struct {
	// RegisterFee is for each shard that a new service begins with, or a new zone: every
	// epoch draws its committee, and remembers it for as long as a fault can be punished.
	RegisterFee ledger.Amount
	ServiceFee  ledger.Amount // for every other transaction of the registry
}

// DefaultParams are the parameters to start with: 250 coins for each shard of a new
// service or zone, which every validator keeps for ever.
func DefaultParams() Params {
	return Params{RegisterFee: 250 * ledger.DropsPerCoin, ServiceFee: 1_000}
}

// LocalParams are DefaultParams for networks on one machine.
func LocalParams() Params {
	p := DefaultParams()
	p.RegisterFee = 2 * ledger.DropsPerCoin
	return p
}

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	if p.RegisterFee > maxFee {
		return fmt.Errorf("register_service_fee is %d drops, at most %d", uint64(p.RegisterFee), uint64(maxFee))
	}
	if p.ServiceFee > maxFee {
		return fmt.Errorf("service_fee is %d drops, at most %d", uint64(p.ServiceFee), uint64(maxFee))
	}
	return nil
}

// Append writes the parameters: the fees, 8 each.
func (p *Params) Append(w *codec.Writer) {
	w.Uint64(uint64(p.RegisterFee))
	w.Uint64(uint64(p.ServiceFee))
}

// Read reads what Append wrote.
func (p *Params) Read(r *codec.Reader) {
	p.RegisterFee, p.ServiceFee = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
}

// The state of the registry. Rows are those of validators.
//
//	'R' | service u32                  a zone.ServiceType
//	'N' | name                         its service u32
//	'Y' | service u32 | row u64        nothing: the validator serves the service
//	'J' | shard u32                    kind u8: a request for a split or a merge
//	'M'                                the shard.Map of the epoch
//	'Q' | epoch u64 | service u32      who of the candidates is in the pool of the epoch's draw
//	'T' | epoch u64                    the candidates of all pools; later only their stakes
//	'H' | epoch u64 | shard u32        the shard.Short of the assignment
//	'F' | epoch u64 | shard u32 | generation u32
//	                                   the shard.Short of those who served it up to that
//	                                   generation, until others were drawn in the epoch
//	'I' | epoch u64 | shard u32 | generation u32
//	                                   how others were drawn for those, until the epoch is
//	                                   over: see RedrawInputs
//	'D' | service u32 | row u64        work u64: see WorkOf
//	'X' | shard u32                    epoch u64, shard.Load: the last Report
//	'W'                                epoch u64: see NeedsTick
//	'E' | epoch u64                    an EpochRecord
//
// Pools are kept for as long as their draw can be repeated with what else is in the
// state: until their epoch is over. What a candidate had staked is kept as long as the
// assignments. A shard of 16 seats costs some 200 bytes in each epoch, because keys are
// in the validators' rows alone, which keep them for ever.
//
// A chain without staking has none of these: see Context.On.
const (
	prefixService    = 'R'
	prefixName       = 'N'
	prefixServes     = 'Y'
	prefixRequest    = 'J'
	prefixMap        = 'M'
	prefixPool       = 'Q'
	prefixStakes     = 'T'
	prefixAssignment = 'H'
	prefixFormer     = 'F'
	prefixRedraw     = 'I'
	prefixWork       = 'D'
	prefixLoad       = 'X'
	prefixWait       = 'W'
)

// ServiceKey returns the state key of a service.
func ServiceKey(service uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixService}, service)
}

// MapKey returns the state key of the map of shards.
func MapKey() []byte { return []byte{prefixMap} }

// PoolKey returns the state key of the pool from which the committees of a
// service's shards are drawn for an epoch.
func PoolKey(epoch uint64, service uint32) []byte {
	return binary.BigEndian.AppendUint32(poolPrefix(epoch), service)
}

func poolPrefix(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixPool}, epoch)
}

func stakesKey(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixStakes}, epoch)
}

// AssignmentKey returns the state key of who serves a shard in an epoch, a shard.Short.
func AssignmentKey(epoch uint64, id shard.ID) []byte {
	return binary.BigEndian.AppendUint32(epochPrefix(epoch), uint32(id))
}

func formerKey(epoch uint64, id shard.ID, generation uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(formerPrefix(epoch), uint32(id)), generation)
}

func formerPrefix(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixFormer}, epoch)
}

func redrawKey(epoch uint64, id shard.ID, generation uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(redrawPrefix(epoch), uint32(id)), generation)
}

func redrawPrefix(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixRedraw}, epoch)
}

func epochPrefix(epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixAssignment}, epoch)
}

func nameKey(name string) []byte { return append([]byte{prefixName}, name...) }

func servesPrefix(service uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixServes}, service)
}

func servesKey(service uint32, row uint64) []byte {
	return binary.BigEndian.AppendUint64(servesPrefix(service), row)
}

func waitKey() []byte { return []byte{prefixWait} }

func requestKey(id shard.ID) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixRequest}, uint32(id))
}

// What follows reads the state. All of it panics if the state cannot be decoded:
// a replica that cannot read its own state must stop.

// ReadService returns a service, and ok=false if there is none with that id.
func ReadService(v chain.View, service uint32) (s zone.ServiceType, ok bool) {
	b := v.Get(ServiceKey(service))
	if b == nil {
		return zone.ServiceType{}, false
	}
	s, err := zone.DecodeServiceType(b)
	mustRead("service", err)
	return s, true
}

// ServiceByName returns the id of the service with that name.
func ServiceByName(v chain.View, name string) (service uint32, ok bool) {
	b := v.Get(nameKey(name))
	if b == nil {
		return 0, false
	}
	if len(b) != 4 {
		mustRead("id of a service", fmt.Errorf("%d bytes, want 4", len(b)))
	}
	return binary.BigEndian.Uint32(b), true
}

// Has reports whether there is a service with that id.
func Has(v chain.View, service uint32) bool { return v.Get(ServiceKey(service)) != nil }

// Services returns all services, ascending by id.
func Services(v chain.View) (list []zone.ServiceType) {
	for _, b := range v.Range([]byte{prefixService}) {
		s, err := zone.DecodeServiceType(b)
		mustRead("service", err)
		list = append(list, s)
	}
	return list
}

// ServiceIDs yields the ids of all services, ascending, without decoding them.
func ServiceIDs(v chain.View) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for key := range v.Range([]byte{prefixService}) {
			if len(key) != len(ServiceKey(0)) {
				panic(fmt.Errorf("key %x is not that of a service", key))
			}
			if !yield(binary.BigEndian.Uint32(key[1:])) {
				return
			}
		}
	}
}

// Serves reports whether the validator at row serves a service.
func Serves(v chain.View, service uint32, row uint64) bool {
	return v.Get(servesKey(service, row)) != nil
}

// Servers returns the rows of the validators that serve a service, ascending.
func Servers(v chain.View, service uint32) (rows []uint64) {
	for k := range v.Range(servesPrefix(service)) {
		rows = append(rows, binary.BigEndian.Uint64(k[len(k)-8:]))
	}
	return rows
}

// ReadMap returns the map of the epoch, and ok=false if the chain has none.
func ReadMap(v chain.View) (m *shard.Map, ok bool) {
	b := v.Get(MapKey())
	if b == nil {
		return nil, false
	}
	m, err := shard.Decode(b)
	mustRead("map of shards", err)
	return m, true
}

// Requests returns what was asked for in the epoch, ascending by shard.
func Requests(v chain.View) (list []shard.Request) {
	for k, b := range v.Range([]byte{prefixRequest}) {
		if len(b) != 1 {
			mustRead("request", fmt.Errorf("%d bytes, want 1", len(b)))
		}
		list = append(list, shard.Request{Kind: shard.Kind(b[0]), Shard: shard.ID(binary.BigEndian.Uint32(k[1:]))})
	}
	return list
}

// NeedsTick reports whether the chain must go on to the block at height although
// nobody sends transactions, so that what was asked for comes to hold: a service, who
// serves it, a split or a merge, and so that what shards have booked is settled. That is
// at most shard.Notice epochs, and one more after the last block of one.
func NeedsTick(v chain.View, epochs *staking.Params, height uint64) bool {
	b := v.Get(waitKey())
	return b != nil && epochs.Epoch(height) < binary.BigEndian.Uint64(b)
}

func mustRead(what string, err error) {
	if err != nil {
		panic(fmt.Errorf("read %s: %w", what, err))
	}
}
