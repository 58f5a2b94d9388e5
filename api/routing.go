package api

import (
	"bytes"
	"context"
	"math"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

// routing implements RoutingService.
type routing struct {
	servicev1.UnimplementedRoutingServiceServer
	*backend
}

// maxLocations is how many services one answer locates an account on.
const maxLocations = MaxPageSize

// Locate implements RoutingServiceServer.
func (r *routing) Locate(ctx context.Context, req *servicev1.LocateRequest) (*servicev1.LocateResponse, error) {
	account, err := parseAccountName("account", req.GetAccount())
	if err != nil {
		return nil, err
	}
	m, height, only, err := r.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	resp := &servicev1.LocateResponse{Height: height}
	next := shard.Apply(m)
	at := service.HomeOf(account)
	list := m.Services()
	if only != 0 {
		list = []uint32{only}
	}
	r.rates.charge(callerIP(ctx), rowTokens(m.Len()+len(list)))
	for _, id := range list {
		sh, err := r.home(m, "account", id, account)
		if err != nil {
			if only != 0 {
				return nil, err
			}
			continue
		}
		if resp.More = len(resp.GetLocations()) == maxLocations; resp.GetMore() {
			break
		}
		resp.Locations = append(resp.Locations, r.location(m, next, &sh, at))
	}
	if len(resp.GetLocations()) == 0 {
		return nil, missing(chain.CodeUnknownService.String(), req.GetAccount(), "no service has zone %d, which is that of the address, in epoch %d", at.Zone, m.Epoch())
	}
	return resp, nil
}

// mapFor returns the map, the height of its state, and the id of the service that name
// names, 0 if it is empty.
func (b *backend) mapFor(name string) (m *shard.Map, height uint64, only uint32, err error) {
	err = b.State.Read(func(v chain.View, h uint64) error {
		m, _ = b.mapOf(v, h)
		height = h
		if name == "" {
			return nil
		}
		found, err := findService(v, "service", name)
		only = found.ID
		return err
	})
	return m, height, only, err
}

func (r *routing) location(m, next *shard.Map, sh *shard.Shard, at service.Place) *servicev1.Location {
	out := &servicev1.Location{
		Service: ServiceName(sh.Service), Shard: ShardName(sh.ID), Zone: uint32(sh.Zone), Bucket: uint32(at.Bucket),
		FirstBucket: uint32(sh.Buckets.First), LastBucket: uint32(sh.Buckets.Last), Epoch: m.Epoch(), Endpoints: r.shownHosts(sh.ID),
	}
	if id, ok := next.Owner(sh.Service, sh.Zone, shard.Bucket(at.Bucket)); ok {
		out.NextShard = ShardName(id)
	}
	_, out.Hosted = r.hosted(sh.ID)
	out.AnchoredHeight, _ = r.anchored(sh.ID) // what cannot be read is not told
	if level, ok := r.knownLevel(sh.ID); ok {
		bps := uint32(level)
		out.LevelBps = &bps
	}
	return out
}

// GetCongestion implements RoutingServiceServer.
func (r *routing) GetCongestion(ctx context.Context, req *servicev1.GetCongestionRequest) (*servicev1.GetCongestionResponse, error) {
	sh, _, err := r.shardByName("shard", req.GetShard())
	if err != nil {
		return nil, err
	}
	list, err := r.congestion(ctx, []shard.Shard{sh})
	if err != nil {
		return nil, err
	}
	return &servicev1.GetCongestionResponse{Congestion: list[0]}, nil
}

// ListCongestion implements RoutingServiceServer.
func (r *routing) ListCongestion(ctx context.Context, req *servicev1.ListCongestionRequest) (*servicev1.ListCongestionResponse, error) {
	if len(req.GetShards()) > 0 {
		return r.namedCongestion(ctx, req)
	}
	m, height, only, err := r.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	list := newFilter("ListCongestion", req.GetService())
	pg, err := r.pages.open(list, req.GetPageSize(), req.GetPageToken(), height)
	if err != nil {
		return nil, err
	}
	var at, epoch uint64
	if pg.cursor != nil && !readCursor(pg.cursor, &at, &epoch) {
		return nil, badCursor()
	}
	if pg.cursor != nil && epoch != m.Epoch() {
		return nil, &problem{
			code: codes.Aborted, reason: ReasonInvalidPageToken, message: "page_token: the epoch is over, and with it the map that the list followed; begin again without one",
			fields: []field{{path: "page_token", problem: "of an epoch that is over"}},
		}
	}
	resp := &servicev1.ListCongestionResponse{Epoch: m.Epoch()}
	var found []shard.Shard
	i := uint64(0)
	for sh := range m.All() {
		i++
		if i <= at || only != 0 && sh.Service != only {
			continue
		}
		if len(found) == pg.size {
			resp.NextPageToken = r.pages.token(list, pg.height, cursorU64(i-1, m.Epoch()))
			break
		}
		found = append(found, sh)
	}
	r.rates.charge(callerIP(ctx), rowTokens(m.Len()/stakeChunk+shardRows*len(found)))
	resp.Shards, err = r.congestion(ctx, found)
	return resp, err
}

// namedCongestion returns the congestion of the shards that a request names.
func (r *routing) namedCongestion(ctx context.Context, req *servicev1.ListCongestionRequest) (*servicev1.ListCongestionResponse, error) {
	names := req.GetShards()
	if len(names) > maxLevelNames || req.GetService() != "" || req.GetPageToken() != "" || req.GetPageSize() != 0 {
		return nil, invalid("shards", "%d names; want at most %d, and neither service nor page beside them", len(names), maxLevelNames)
	}
	r.rates.charge(callerIP(ctx), rowTokens(shardRows*len(names)))
	resp := &servicev1.ListCongestionResponse{}
	var found []shard.Shard
	for _, name := range names {
		sh, epoch, err := r.shardByName("shards", name)
		if err != nil {
			return nil, err
		}
		resp.Epoch = epoch
		found = append(found, sh)
	}
	var err error
	resp.Shards, err = r.congestion(ctx, found)
	return resp, err
}

// Hint implements RoutingServiceServer.
func (r *routing) Hint(ctx context.Context, req *servicev1.HintRequest) (*servicev1.HintResponse, error) {
	var key ledger.PublicKey
	if err := readBytes("public_key", req.GetPublicKey(), key[:]); err != nil {
		return nil, err
	}
	if req.GetService() == "" {
		return nil, invalid("service", "is missing; want services/ and an id or label, which ListServices tells")
	}
	var zones []byte // nil: all
	for _, z := range req.GetZones() {
		if z > math.MaxUint8 || len(zones) > math.MaxUint8 {
			return nil, invalid("zones", "%d in a list of %d; zones are 0 to 255, each once", z, len(req.GetZones()))
		}
		zones = append(zones, byte(z))
	}
	m, _, id, err := r.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	var list []shard.Shard
	for _, z := range m.Zones(id) {
		if len(zones) == 0 || bytes.IndexByte(zones, z) >= 0 {
			list = append(list, m.Zone(id, z)...)
		}
	}
	r.rates.charge(callerIP(ctx), rowTokens(shardRows*len(list)))
	loads, err := r.congestion(ctx, list)
	if err != nil {
		return nil, err
	}
	levels := make(route.Levels, len(list))
	for i := range list {
		levels[list[i].ID] = route.Level(loads[i].GetLevelBps()) //nolint:gosec // at most Full
	}
	advice, err := route.Hint(m, id, levels, key, zones)
	if err != nil {
		return nil, missing(chain.CodeUnknownService.String(), req.GetService(), "%s has none of these zones in epoch %d: %v", req.GetService(), m.Epoch(), err)
	}
	return &servicev1.HintResponse{
		Home: r.choice(&advice.Home), Provider: r.choice(&advice.Provider),
		Account: ledger.NewAddress(advice.Home.Zone, key).String(), Epoch: m.Epoch(),
	}, nil
}

func (r *routing) choice(c *route.Choice) *servicev1.Choice {
	return &servicev1.Choice{Zone: uint32(c.Zone), Shard: ShardName(c.Shard), LevelBps: uint32(c.Level), Endpoints: r.shownHosts(c.Shard)}
}
