// Package route decides where a transaction goes, whether it may go there now,
// and where a client had better live: the part of routing that is a function of
// values.
//
// Decide finds the home shard of an account on the map and says whether this
// node hosts it. Admit refuses new user transactions towards a congested shard
// with what a client needs to know: the shard, its level and when to try again;
// everything that ends what has begun always passes. Hint names the zone and the
// shard of providers that a client had better choose before a session opens.
//
// Congestion is a Level, from 0 to Full: the highest share that a Backlog uses of a
// Capacity. By the rules of shards it counts what their state knows, the outbox and
// its bytes; all nodes compute that alike, because it decides which blocks are
// valid. Gateways add the anchors that the main chain misses, which hold for hints
// and for what enters a pool. Nobody counts an inbox yet: what waits for a shard
// elsewhere its state does not know.
//
// Source: the design's chapter on routing. Levels are basis points, waits are
// blocks of the congested shard.
//
// It belongs to row 1b of the dependency order, above shard: pure functions of
// values, safe for concurrent use. Endpoints, forwarding and waiting are the
// gateway's.
package route

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// Errors of routing.
var (
	// ErrUnknownService means a service without shards in the epoch of the map.
	ErrUnknownService = errors.New("no such service")
	// ErrUnknownZone means an account at home in a zone that the service does not
	// have.
	ErrUnknownZone = errors.New("the service does not have the zone")
	// ErrWrongShard is what a WrongShardError is.
	ErrWrongShard = errors.New("wrong shard")
)

// WrongShardError says that an account is at home elsewhere, and where.
type WrongShardError struct {
	Service uint32
	Account ledger.Address
	// At is the shard that was asked, Home the right one in Epoch.
	At, Home shard.ID
	Epoch    uint64
}

// Error names the right shard.
func (e *WrongShardError) Error() string {
	return fmt.Sprintf("wrong shard %d: account %s is at home in shard %d of service %d in epoch %d, send it there",
		e.At, e.Account, e.Home, e.Service, e.Epoch)
}

// Is reports whether target is ErrWrongShard.
func (e *WrongShardError) Is(target error) bool { return target == ErrWrongShard }

// Hosted is the shards whose chains a node runs.
type Hosted struct{ ids []shard.ID }

// Host returns the set of these shards, in any order.
func Host(ids ...shard.ID) Hosted {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return Hosted{slices.Compact(ids)}
}

// Has reports whether the node runs a shard.
func (h Hosted) Has(id shard.ID) bool {
	_, ok := slices.BinarySearch(h.ids, id)
	return ok
}

// Route is where a transaction goes.
type Route struct {
	// Shard is the home of the account.
	Shard shard.ID
	// Local says that this node hosts it. Otherwise the transaction is forwarded to a
	// node that does.
	Local bool
}

// Decide returns where the transactions of an account go in a service. The error
// is ErrUnknownService or ErrUnknownZone, with the zones there are.
func Decide(m *shard.Map, service uint32, account ledger.Address, hosted Hosted) (Route, error) {
	id, ok := m.Home(service, account)
	if !ok {
		return Route{}, unknown(m, service, fmt.Sprintf("account %s: zone %d", account, account.Zone()))
	}
	return Route{Shard: id, Local: hosted.Has(id)}, nil
}

// CheckHome returns nil if shard at is the home of an account in a service. The
// error is a WrongShardError that names the home, or one of Decide.
func CheckHome(m *shard.Map, service uint32, account ledger.Address, at shard.ID) error {
	r, err := Decide(m, service, account, Hosted{})
	if err != nil {
		return err
	}
	if r.Shard != at {
		return &WrongShardError{Service: service, Account: account, At: at, Home: r.Shard, Epoch: m.Epoch()}
	}
	return nil
}

func unknown(m *shard.Map, service uint32, what string) error {
	zones := m.Zones(service)
	if zones == nil {
		return fmt.Errorf("service %d in epoch %d: %w", service, m.Epoch(), ErrUnknownService)
	}
	return fmt.Errorf("%s: %w: service %d has zones %d in epoch %d", what, ErrUnknownZone, service, zones, m.Epoch())
}
