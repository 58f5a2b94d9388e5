package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
	"github.com/tributary-network/tributary/zone"
)

const (
	servicesPrefix = "services/"
	shardsPrefix   = "shards/"
)

// RegisterService registers a service, whose owner is this account and whose version
// is 1. Its zones have shards two epochs later.
func (a *Account) RegisterService(ctx context.Context, s zone.ServiceType) (settlement.Receipt, error) {
	return a.apply(ctx, chain.KindRegisterService, s.Encode())
}

// UpdateService replaces a service of this account by its next version, all of which s
// states, changed or not.
func (a *Account) UpdateService(ctx context.Context, s zone.ServiceType) (settlement.Receipt, error) {
	return a.apply(ctx, chain.KindUpdateService, s.Encode())
}

// Serve says that the validator of this account serves a service, or no longer. It
// counts from the next draw on, for the epoch after the next one.
func (a *Account) Serve(ctx context.Context, service uint32, on bool) (settlement.Receipt, error) {
	m := registry.Serve{Service: service, On: on}
	return a.apply(ctx, chain.KindServe, m.Encode())
}

// Reshard asks for a shard of a service of this account to be split, or merged with its
// sibling, for which the same has to be asked in the same epoch.
func (a *Account) Reshard(ctx context.Context, r shard.Request) (settlement.Receipt, error) {
	m := registry.Reshard{Request: r}
	return a.apply(ctx, chain.KindReshard, m.Encode())
}

// ServiceInfo is a registered service as a node shows it.
type ServiceInfo struct {
	zone.ServiceType
	// Validators is how many validators serve it, and Servers their numbers, ascending:
	// of Client.Service only, 10,000 at most.
	Validators uint32
	Servers    []uint64
	// Shards is how many shards each zone has in the present epoch, in the order of
	// Zones; 0 for a zone that is not founded yet.
	Shards []uint32
	Epoch  uint64 // the present one
	Height uint64 // the state this is
}

func serviceOf(m *servicev1.Service) (ServiceInfo, error) {
	s, err := zone.DecodeServiceType(m.GetRecord())
	if err != nil {
		return ServiceInfo{}, fmt.Errorf("service %s: record: %w", m.GetName(), err)
	}
	if len(m.GetZones()) != len(s.Zones) || m.GetId() != s.ID {
		return ServiceInfo{}, fmt.Errorf("service %d with %d zones: its record is of service %d with %d", m.GetId(), len(m.GetZones()), s.ID, len(s.Zones))
	}
	out := ServiceInfo{ServiceType: s, Validators: m.GetValidators()}
	for _, z := range m.GetZones() {
		out.Shards = append(out.Shards, z.GetShards())
	}
	return out, nil
}

// Service reads a service by its id in digits, or by its name. If there is none that is
// an error of chain.CodeUnknownService.
func (c *Client) Service(ctx context.Context, name string) (ServiceInfo, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetServiceResponse, error) {
		return e.services.GetService(ctx, &servicev1.GetServiceRequest{Name: servicesPrefix + name})
	})
	if err != nil {
		return ServiceInfo{}, fmt.Errorf("read service %s: %w", name, err)
	}
	c.saw(resp.GetHeight())
	s, err := serviceOf(resp.GetService())
	s.Servers, s.Epoch, s.Height = resp.GetValidators(), resp.GetEpoch(), resp.GetHeight()
	return s, err
}

// Services yields the services, ascending by id. An error ends the sequence.
func (c *Client) Services(ctx context.Context) iter.Seq2[ServiceInfo, error] {
	return pages(func(token string) ([]ServiceInfo, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.ListServicesResponse, error) {
			return e.services.ListServices(ctx, &servicev1.ListServicesRequest{PageSize: pageSize, PageToken: token})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list services: %w", err)
		}
		c.saw(resp.GetHeight())
		page, err := each(resp.GetServices(), serviceOf)
		for i := range page {
			page[i].Epoch, page[i].Height = resp.GetEpoch(), resp.GetHeight()
		}
		return page, resp.GetNextPageToken(), err
	})
}

// ShardMember serves a shard.
type ShardMember struct {
	Validator uint64
	Power     uint64
}

// ShardInfo is a shard in an epoch as a node shows it.
type ShardInfo struct {
	shard.Shard
	Members    []ShardMember // by power, highest first; none if nobody could be drawn
	TotalPower uint64
	Kept       bool // nobody could be drawn: the members are those of before
	Epoch      uint64
	Height     uint64 // the state this is

	// Of Client.Shards and Client.ShardStatus only:

	Anchoring Anchoring
	Level     *route.Level // how congested it is, nil if the node does not know
	Hosted    bool         // the node runs it
}

func shardOf(m *servicev1.Shard) (ShardInfo, error) {
	var r reader
	service, err := strconv.ParseUint(strings.TrimPrefix(m.GetService(), servicesPrefix), 10, 32)
	if err != nil {
		r.fail("service", err)
	}
	if m.GetFirstBucket() >= shard.Buckets || m.GetLastBucket() >= shard.Buckets || m.GetZone() > 255 {
		r.fail("buckets", fmt.Errorf("%d to %d of zone %d", m.GetFirstBucket(), m.GetLastBucket(), m.GetZone()))
	}
	out := ShardInfo{
		Shard: shard.Shard{
			ID: ledger.ChainID(m.GetId()), Service: uint32(service), Zone: byte(m.GetZone()), Since: m.GetSinceEpoch(),
			Buckets: shard.Range{First: shard.Bucket(m.GetFirstBucket()), Last: shard.Bucket(m.GetLastBucket())},
		},
		TotalPower: m.GetTotalPower(), Kept: m.GetKept(), Anchoring: anchoringOf(m.GetAnchoring()), Hosted: m.GetHosted(), Level: r.level(m.LevelBps),
	}
	for _, p := range m.GetParents() {
		out.Parents = append(out.Parents, ledger.ChainID(p))
	}
	for _, x := range m.GetMembers() {
		out.Members = append(out.Members, ShardMember{x.GetValidator(), x.GetPower()})
	}
	return out, r.err
}

// Shards yields the shards of an epoch, ascending by service, zone and first bucket:
// those of a service, named by its id in digits or by its name, or of all if that is
// empty. The epoch is the present or the next one, nil the present one. An error ends
// the sequence; of an epoch that is over its reason is PRUNED.
func (c *Client) Shards(ctx context.Context, service string, epoch *uint64) iter.Seq2[ShardInfo, error] {
	req := &servicev1.ListShardsRequest{PageSize: pageSize, Epoch: epoch}
	if service != "" {
		req.Service = servicesPrefix + service
	}
	return pages(func(token string) ([]ShardInfo, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.ListShardsResponse, error) {
			return e.services.ListShards(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list shards: %w", err)
		}
		c.saw(resp.GetHeight())
		page, err := each(resp.GetShards(), shardOf)
		for i := range page {
			page[i].Epoch, page[i].Height = resp.GetEpoch(), resp.GetHeight()
		}
		return page, resp.GetNextPageToken(), err
	})
}

// ShardDraw is a shard in an epoch with all that decided who serves it.
type ShardDraw struct {
	ShardInfo
	// Inputs are those of the draw, as far as they concern the shard: the pool of its
	// service, and who served it and its parents before.
	Inputs shard.Inputs
	// Drawn is who serves it.
	Drawn shard.Assignment
	// Redraw is how they were drawn in this epoch, because the committee before missed its
	// anchors; nil if they were not.
	Redraw *ShardRedraw
}

// ShardRedraw is what decided who followed a committee that missed its anchors: Round counts
// from 1 in an epoch, and Inputs have who failed, who was absent, and who could be drawn.
type ShardRedraw struct {
	Round  uint32
	Inputs shard.Inputs
}

// Shard reads a shard in an epoch, the present or the next one, nil the present one. If
// there is none that is an error of chain.CodeUnknownShard.
func (c *Client) Shard(ctx context.Context, id shard.ID, epoch *uint64) (ShardDraw, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.GetShardResponse, error) {
		return e.services.GetShard(ctx, &servicev1.GetShardRequest{Name: shardsPrefix + strconv.FormatUint(uint64(id), 10), Epoch: epoch})
	})
	if err != nil {
		return ShardDraw{}, fmt.Errorf("read shard %d: %w", id, err)
	}
	c.saw(resp.GetHeight())
	if epoch != nil && resp.GetEpoch() != *epoch {
		return ShardDraw{}, fmt.Errorf("read shard %d: the node answers for epoch %d, want %d", id, resp.GetEpoch(), *epoch)
	}
	d, err := drawOf(id, resp)
	if err != nil {
		return ShardDraw{}, fmt.Errorf("read shard %d: %w", id, err)
	}
	return d, nil
}

// ErrRedrawn means a committee that was drawn again in an earlier epoch, because anchors were
// missing, and serves on: that epoch has what it was drawn from, as long as it runs.
var ErrRedrawn = errors.New("the committee was drawn again in an earlier epoch, after missed anchors")

// drawOf takes all from what Check looks at, and nothing from resp's Shard but its
// redraws, so that nothing is shown that was not checked.
func drawOf(id shard.ID, resp *servicev1.GetShardResponse) (d ShardDraw, err error) {
	d.Epoch, d.Height = resp.GetEpoch(), resp.GetHeight()
	if d.Inputs.Seed, err = hashOf("seed", resp.GetSeed()); err != nil {
		return d, err
	}
	if d.Inputs.Map, err = shard.Decode(resp.GetMap()); err != nil {
		return d, err
	}
	if d.Inputs.Map.Epoch() != d.Epoch {
		return d, fmt.Errorf("the map is that of epoch %d, want %d", d.Inputs.Map.Epoch(), d.Epoch)
	}
	if len(resp.GetPool()) > 0 {
		p, err := shard.DecodePool(resp.GetPool())
		if err != nil {
			return d, err
		}
		d.Inputs.Pools = append(d.Inputs.Pools, p)
	}
	for _, b := range resp.GetPrevious() {
		a, err := shard.DecodeAssignment(b)
		if err != nil {
			return d, err
		}
		d.Inputs.Previous = append(d.Inputs.Previous, a)
	}
	if d.Drawn, err = shard.DecodeAssignment(resp.GetAssignment()); err != nil {
		return d, err
	}
	if r := resp.GetRedraw(); r != nil {
		if d.Redraw, err = redrawOf(&d.Inputs, r); err != nil {
			return d, err
		}
	}
	found, ok := d.Inputs.Map.Find(id)
	if !ok || d.Drawn.Shard != id {
		return d, fmt.Errorf("the answer is about shard %d", d.Drawn.Shard)
	}
	d.Shard = found
	all := anchoringOf(resp.GetShard().GetAnchoring())
	d.Anchoring.RedrawEpoch, d.Anchoring.Redraws = all.RedrawEpoch, all.Redraws
	d.Kept, d.TotalPower = d.Drawn.Kept, d.Drawn.Committee.TotalPower()
	for _, m := range d.Drawn.Committee.Members {
		d.Members = append(d.Members, ShardMember{m.Validator, m.Power})
	}
	return d, nil
}

// redrawOf returns what decided a redraw in the epoch that the other inputs are of.
func redrawOf(of *shard.Inputs, r *servicev1.Redraw) (*ShardRedraw, error) {
	p, err := shard.DecodePool(r.GetPool())
	if err != nil {
		return nil, fmt.Errorf("redraw: %w", err)
	}
	return &ShardRedraw{r.GetRound(), shard.Inputs{Seed: of.Seed, Map: of.Map, Pools: []shard.Pool{p}, Failed: r.GetFailed(), Away: r.GetAway()}}, nil
}

// Check draws the shard's committee anew from the inputs, and returns an error wrapping
// shard.ErrWrongAssignment unless that is who serves it. It believes the node what the
// inputs are: the seed is that of the election of the same epoch, which
// EpochSeals.Seed derives. If it is told that the committee was drawn again in an earlier
// epoch, and it differs, the error wraps ErrRedrawn instead.
func (d *ShardDraw) Check() error {
	if d.Redraw != nil {
		a := shard.Redraw(d.Redraw.Inputs, d.ID, d.Redraw.Round)
		if a.Committee.Hash() != d.Drawn.Committee.Hash() {
			return fmt.Errorf("shard %d in epoch %d, drawn anew round %d: %d members serve it, drawn are %d others: %w",
				d.ID, d.Epoch, d.Redraw.Round, len(d.Drawn.Committee.Members), len(a.Committee.Members), shard.ErrWrongAssignment)
		}
		return nil
	}
	for _, a := range shard.Assign(d.Inputs) {
		if a.Shard != d.ID {
			continue
		}
		if bytes.Equal(a.Encode(), d.Drawn.Encode()) {
			return nil
		}
		if r := d.Anchoring; r.Redraws > 0 && (d.Epoch == r.RedrawEpoch || d.Epoch == r.RedrawEpoch+1) {
			return fmt.Errorf("shard %d in epoch %d: %w, %d times in epoch %d", d.ID, d.Epoch, ErrRedrawn, r.Redraws, r.RedrawEpoch)
		}
		return fmt.Errorf("shard %d in epoch %d: %d members serve it, drawn are %d: %w", d.ID, d.Epoch, len(d.Drawn.Committee.Members), len(a.Committee.Members), shard.ErrWrongAssignment)
	}
	return fmt.Errorf("shard %d is not in the map of epoch %d: %w", d.ID, d.Epoch, shard.ErrWrongAssignment)
}
