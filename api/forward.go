package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

const (
	// forwardTokens is what handing a call on costs beyond the call.
	forwardTokens = callCost
	// maxShownHosts is how many endpoints of a shard an answer names.
	maxShownHosts = 16
	// maxAsked is how many other nodes one call asks that is about many shards.
	maxAsked = 4
)

// mapCache keeps the decoded map of shards of the newest state that was asked about. It
// is safe for concurrent use.
type mapCache struct {
	mu  sync.Mutex
	raw []byte
	m   *shard.Map
}

// read returns the map in v, and ok=false if the chain has none.
func (c *mapCache) read(v chain.View) (*shard.Map, bool) {
	raw := v.Get(registry.MapKey())
	if raw == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(raw, c.raw) {
		m, ok := registry.ReadMap(v)
		if !ok {
			return nil, false
		}
		c.raw, c.m = bytes.Clone(raw), m
	}
	return c.m, true
}

// shardMap returns the map of the present epoch and the height of the state that it is
// of. The map is empty if the chain has no registry.
func (b *backend) shardMap() (m *shard.Map, height uint64, err error) {
	err = b.State.Read(func(v chain.View, h uint64) error {
		m, _ = b.mapOf(v, h)
		height = h
		return nil
	})
	return m, height, err
}

// mapOf returns the map of the present epoch, empty if the chain has no registry.
func (b *backend) mapOf(v chain.View, height uint64) (m *shard.Map, on bool) {
	if m, on = b.maps.read(v); !on {
		m = shard.Empty(b.Network.Params.Staking.Epoch(height + 1))
	}
	return m, on
}

// hosted returns a shard that runs here.
func (b *backend) hosted(id shard.ID) (Shard, bool) {
	if b.Shards == nil {
		return nil, false
	}
	return b.Shards.Shard(id)
}

// hostedIDs returns the shards that run here, ascending.
func (b *backend) hostedIDs() []shard.ID {
	if b.Shards == nil {
		return nil
	}
	return b.Shards.Hosted()
}

// hosts returns where other nodes serve that run a chain.
func (b *backend) hosts(id ledger.ChainID) []string {
	if b.Peers == nil {
		return nil
	}
	return b.Peers.Hosts(id)
}

// shownHosts returns the endpoints of a chain that answers name.
func (b *backend) shownHosts(id ledger.ChainID) []string {
	list := b.hosts(id)
	return list[:min(len(list), maxShownHosts)]
}

// anchored returns the last height of a shard that the main chain has anchored.
func (b *backend) anchored(id shard.ID) (height uint64, err error) {
	err = b.State.Read(func(v chain.View, _ uint64) error {
		if s, ok := anchor.Read(v, id); ok {
			height = s.Height()
		}
		return nil
	})
	return height, err
}

// shardByName reads "shards/{id}" in the field at path, of a shard that serves in the
// present epoch or runs here.
func (b *backend) shardByName(path, name string) (sh shard.Shard, epoch uint64, err error) {
	id, err := parseShardName(path, name)
	if err != nil {
		return sh, 0, err
	}
	m, _, err := b.shardMap()
	if err != nil {
		return sh, 0, err
	}
	if sh, ok := m.Find(id); ok {
		return sh, m.Epoch(), nil
	}
	_, here := b.hosted(id) // it ended, or begins with the next epoch
	err = b.State.Read(func(v chain.View, _ uint64) error {
		row, founded := anchor.Read(v, id)
		if !here || !founded {
			return noShard(v, m, id, name)
		}
		sh, epoch = shard.Shard{ID: id, Service: row.Service, Zone: row.Zone, Buckets: row.Buckets, Since: row.Since}, m.Epoch()
		return nil
	})
	return sh, epoch, err
}

// parseShardName reads "shards/{id}" in the field at path.
func parseShardName(path, name string) (shard.ID, error) {
	text, ok := strings.CutPrefix(name, collectionShards+"/")
	id, number := parseNumber(text, uint64(shard.FirstID), uint64(shard.MaxID))
	if !ok || !number {
		return 0, invalid(path, "%s is not a name; want shards/ and an id from %d", quoted(name), shard.FirstID)
	}
	return ledger.ChainID(id), nil
}

// home returns the home shard of an account on a service. path is the field that names
// the account.
func (b *backend) home(m *shard.Map, path string, srv uint32, a ledger.Address) (shard.Shard, error) {
	return b.owner(m, path, srv, service.HomeOf(a))
}

// owner returns the shard of a service that owns a place.
func (b *backend) owner(m *shard.Map, path string, srv uint32, p service.Place) (shard.Shard, error) {
	zones := m.Zones(srv)
	if len(zones) == 0 {
		return shard.Shard{}, missing(chain.CodeUnknownService.String(), ServiceName(srv),
			"service %d has no shards in epoch %d: a new one has them two epochs after it was registered; ListServices tells which have", srv, m.Epoch())
	}
	id, ok := m.Owner(srv, p.Zone, shard.Bucket(p.Bucket))
	if !ok {
		list := make([]string, len(zones))
		for i, z := range zones {
			list[i] = fmt.Sprint(z)
		}
		out := invalid(path, "service %d does not have zone %d, which is that of the address; it has %s", srv, p.Zone, strings.Join(list, ", "))
		out.set("zones", strings.Join(list, ","))
		return shard.Shard{}, out
	}
	sh, _ := m.Find(id)
	return sh, nil
}

// place adds to a problem which shard it is about, and where it is.
func (b *backend) place(p *problem, sh *shard.Shard, epoch uint64) *problem {
	p.set("shard", ShardName(sh.ID))
	p.set("service", ServiceName(sh.Service))
	p.setNumber("zone", uint64(sh.Zone))
	p.setNumber("first_bucket", uint64(sh.Buckets.First))
	p.setNumber("last_bucket", uint64(sh.Buckets.Last))
	p.setNumber("epoch", epoch)
	if hosts := b.shownHosts(sh.ID); len(hosts) > 0 {
		p.set("endpoints", strings.Join(hosts, ","))
	}
	return p
}

// notHosted says that a shard does not run here, and who runs it.
func (b *backend) notHosted(sh *shard.Shard, epoch uint64) *problem {
	p := &problem{code: codes.FailedPrecondition, reason: ReasonNotHosted, subject: ShardName(sh.ID)}
	p.message = fmt.Sprintf("%s does not run on this node", sh)
	if hosts := b.shownHosts(sh.ID); len(hosts) > 0 {
		p.message += "; ask " + strings.Join(hosts, " or ")
	} else {
		p.message += ", and it knows none that runs it; ask another node, or later"
		p.code, p.retry = codes.Unavailable, retrySoon
	}
	return b.place(p, sh, epoch)
}

// groups returns nodes to ask about shards that do not run here, as few as are needed,
// each with the shards that it is asked about, at most maxAsked.
func (b *backend) groups(ids []shard.ID) []hostGroup {
	var list []hostGroup
	for _, id := range ids {
		hosts := b.hosts(id)
		if len(hosts) == 0 {
			continue
		}
		at := slices.IndexFunc(list, func(g hostGroup) bool { return slices.Contains(hosts, g.endpoint) })
		if at < 0 {
			if len(list) == maxAsked {
				continue
			}
			at = len(list)
			list = append(list, hostGroup{endpoint: hosts[0]})
		}
		list[at].ids = append(list[at].ids, id)
	}
	return list
}

// hostGroup is a node and the shards that it is asked about.
type hostGroup struct {
	endpoint string
	ids      []shard.ID
}
