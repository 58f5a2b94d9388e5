// Package route decides whether a transaction may go to a shard now, and where a client
// had better live: the part of routing that is a function of values. Which shard an
// account is at home in is shard.Map.Home.
//
// Admit refuses new user transactions towards a congested shard with what a client
// needs to know: the shard, its level and when to try again; everything that ends what
// has begun always passes. Hint names the zone and the shard of providers that a client
// had better choose before a session opens.
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

	"github.com/tributary-network/tributary/shard"
)

// Errors of routing.
var (
	// ErrUnknownService means a service without shards in the epoch of the map.
	ErrUnknownService = errors.New("no such service")
	// ErrUnknownZone means zones that the service does not have.
	ErrUnknownZone = errors.New("the service does not have the zone")
)

func unknown(m *shard.Map, service uint32, what string) error {
	zones := m.Zones(service)
	if zones == nil {
		return fmt.Errorf("service %d in epoch %d: %w", service, m.Epoch(), ErrUnknownService)
	}
	return fmt.Errorf("%s: %w: service %d has zones %d in epoch %d", what, ErrUnknownZone, service, zones, m.Epoch())
}
