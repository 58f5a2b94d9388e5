package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// Margin is by how much two levels differ before one is less than the other to a
// hint: 5 %. Within it the client's key decides, so that not all clients go where
// it is a little emptier, and none moves with every block.
const Margin = Full / 20

// Levels is how congested shards are. One that is not in it has level 0: a shard
// without work makes no blocks, and one that is silent and should not be is
// given its level by the anchors it missed.
type Levels map[shard.ID]Level

// Choice is a shard that a client had better use.
type Choice struct {
	Zone  byte
	Shard shard.ID
	Level Level
}

// Advice is what a client should know before a session opens.
type Advice struct {
	// Home is for a client without an account: the zone to make it in, and the shard
	// in which its key is at home there.
	Home Choice
	// Provider is the shard whose providers the client had better use.
	Provider Choice
}

// Hint returns where the owner of key should live and whom it should use in a
// service: the shards that are least congested, or as good within Margin, and
// among these one that key alone decides. So clients spread, and a choice stays
// while the levels of others rise or all stay within Margin.
//
// zones are those to choose from, in any order; nil means all. The error is
// ErrUnknownService, or ErrUnknownZone if the service has none of them.
func Hint(m *shard.Map, service uint32, levels Levels, key ledger.PublicKey, zones []byte) (Advice, error) {
	var homes, all []Choice
	for _, zone := range m.Zones(service) {
		if zones != nil && !slices.Contains(zones, zone) {
			continue
		}
		home, _ := m.Home(service, ledger.NewAddress(zone, key))
		for _, s := range m.Zone(service, zone) {
			c := Choice{Zone: zone, Shard: s.ID, Level: levels[s.ID]}
			all = append(all, c)
			if s.ID == home {
				homes = append(homes, c)
			}
		}
	}
	if len(all) == 0 {
		return Advice{}, unknown(m, service, fmt.Sprintf("choose among zones %d", zones))
	}
	return Advice{Home: choose("trib/route/home/1", key, homes), Provider: choose("trib/route/provider/1", key, all)}, nil
}

// choose returns the choice with the highest hash among those that are within
// Margin of the least congested.
func choose(tag string, key ledger.PublicKey, list []Choice) Choice {
	least := list[0].Level
	for _, c := range list {
		least = min(least, c.Level)
	}
	var best Choice
	var highest ledger.Hash
	for _, c := range list {
		if c.Level > least+Margin {
			continue
		}
		h := ledger.HashOf(tag, key[:], binary.BigEndian.AppendUint32(nil, uint32(c.Shard)))
		if best.Shard == 0 || bytes.Compare(h[:], highest[:]) > 0 {
			best, highest = c, h
		}
	}
	return best
}
