package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// services implements ServiceChainService.
type services struct {
	servicev1.UnimplementedServiceChainServiceServer
	*backend
}

const (
	collectionServices = "services"
	collectionShards   = "shards"
	// maxServers is how many of the validators that serve a service a call names.
	maxServers = 10_000
	// shardRows is how many rows of the state a shard is, for what it costs to look at:
	// it comes with a committee.
	shardRows = 4
	// serviceRows is how many rows of the state a service is: it has up to 256 zones.
	serviceRows = 8
	// maxShardMembers bounds the members of a page of shards.
	maxShardMembers = 20_000
)

// ServiceName returns the resource name of a service: "services/{id}".
func ServiceName(id uint32) string {
	return collectionServices + "/" + strconv.FormatUint(uint64(id), 10)
}

// ShardName returns the resource name of a shard: "shards/{id}".
func ShardName(id shard.ID) string {
	return collectionShards + "/" + strconv.FormatUint(uint64(id), 10)
}

// parseNumber reads a canonical number from lowest to highest.
func parseNumber(text string, lowest, highest uint64) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n >= lowest && n <= highest && strconv.FormatUint(n, 10) == text //nolint:gosec // of 32 bits
}

// findService returns the service that "services/{id}" or "services/{label}" names.
func findService(v chain.View, path, name string) (s zone.ServiceType, err error) {
	text, ok := strings.CutPrefix(name, collectionServices+"/")
	if !ok || text == "" || len(text) > zone.MaxName {
		return s, invalid(path, "%s is not a name; want services/ and an id from 1 to %d, or the label of a service", quoted(name), shard.MaxService)
	}
	id, ok := parseNumber(text, 1, shard.MaxService)
	if !ok {
		id, ok = registry.ServiceByName(v, text)
	}
	if ok {
		s, ok = registry.ReadService(v, id)
	}
	if !ok {
		return s, missing(chain.CodeUnknownService.String(), name, "there is no service %s; ListServices tells which there are", quoted(text))
	}
	return s, nil
}

func renderProofKind(k zone.ProofKind) servicev1.ProofKind { return servicev1.ProofKind(k + 1) }

func renderService(v chain.View, s *zone.ServiceType, m *shard.Map) *servicev1.Service {
	out := &servicev1.Service{
		Name: ServiceName(s.ID), Id: s.ID, Label: s.Name, Version: s.Version, SpecHash: s.SpecHash[:],
		UnitName: s.Unit.Name, UnitSize: s.Unit.Size, Proof: renderProofKind(s.Proof),
		ShardsPerZone: uint32(s.Shards), CommitteeSize: s.CommitteeSize, MinStake: uint64(s.MinStake),
		ShareBps: s.Fees.ShareBps, EntryFee: uint64(s.Fees.Entry), Owner: s.Owner.String(),
		Validators: uint32(len(registry.Servers(v, s.ID))), Record: s.Encode(), //nolint:gosec // rows are fewer
	}
	for i := range s.Zones {
		z, p := &s.Zones[i], &s.Zones[i].Policy
		zn := &servicev1.Zone{
			Number: uint32(z.Number), Region: p.Region, ShareBps: p.Fees.ShareBps, EntryFee: uint64(p.Fees.Entry),
			BlockBytes: p.Limits.BlockBytes, HeavyBytes: p.Limits.HeavyBytes, MessageBytes: p.Limits.MessageBytes, LinkMessages: p.Limits.LinkMessages,
			LinkBytes: p.Limits.LinkBytes, ExpiryAnchors: p.Limits.ExpiryAnchors, Replication: uint32(p.Replication),
			Shards: uint32(len(m.Zone(s.ID, z.Number))), //nolint:gosec // at most 16
		}
		for k := zone.NoProof; k <= zone.CallTime; k++ {
			if p.Proofs.Has(k) {
				zn.Proofs = append(zn.Proofs, renderProofKind(k))
			}
		}
		out.Zones = append(out.Zones, zn)
	}
	return out
}

// GetService implements ServiceChainServiceServer.
func (s *services) GetService(ctx context.Context, req *servicev1.GetServiceRequest) (*servicev1.GetServiceResponse, error) {
	resp := &servicev1.GetServiceResponse{}
	err := s.State.Read(func(v chain.View, height uint64) error {
		found, err := findService(v, "name", req.GetName())
		if err != nil {
			return err
		}
		m, _ := s.mapOf(v, height)
		resp.Height, resp.Epoch = height, m.Epoch()
		resp.Service = renderService(v, &found, m)
		list := registry.Servers(v, found.ID)
		resp.Validators = list[:min(len(list), maxServers)]
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.rates.charge(callerIP(ctx), rowTokens(len(resp.GetValidators())+int(resp.GetService().GetValidators())))
	return resp, nil
}

// ListServices implements ServiceChainServiceServer.
func (s *services) ListServices(ctx context.Context, req *servicev1.ListServicesRequest) (*servicev1.ListServicesResponse, error) {
	head, _ := s.State.Head()
	list := newFilter("ListServices")
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	var from uint64 // the first id
	if pg.cursor != nil && !readCursor(pg.cursor, &from) {
		return nil, badCursor()
	}
	resp := &servicev1.ListServicesResponse{}
	looked := 0
	err = s.State.Read(func(v chain.View, height uint64) error {
		m, on := s.mapOf(v, height)
		resp.Height, resp.Epoch, resp.Enabled = height, m.Epoch(), on
		for id := range registry.ServiceIDs(v) {
			looked++
			if uint64(id) < from {
				continue
			}
			if len(resp.GetServices()) == pg.size {
				resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(uint64(id)))
				break
			}
			found, ok := registry.ReadService(v, id)
			if !ok {
				continue
			}
			out := renderService(v, &found, m)
			looked += serviceRows + int(out.GetValidators())
			resp.Services = append(resp.Services, out)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.rates.charge(callerIP(ctx), rowTokens(looked))
	return resp, nil
}

// epochMap returns the map of the epoch that a request asks for: the present one, or
// the next.
func (s *services) epochMap(v chain.View, height uint64, asked *uint64) (*shard.Map, error) {
	m, on := s.mapOf(v, height)
	if asked == nil || *asked == m.Epoch() {
		return m, nil
	}
	switch epoch := *asked; {
	case on && epoch == m.Epoch()+1:
		return shard.Apply(m), nil
	case epoch < m.Epoch():
		p := &problem{
			code: codes.DataLoss, reason: ReasonPruned, subject: "epoch",
			message: fmt.Sprintf("the map of epoch %d is gone: the state has those of the present epoch, %d, and of the next one", epoch, m.Epoch()),
		}
		p.setNumber(keptFromEpoch, m.Epoch())
		return nil, p
	default:
		p := missing(ReasonCommitteeNotFound, "epoch", "who serves in epoch %d is not drawn yet; the present one is %d, and the next one is drawn", epoch, m.Epoch())
		p.setNumber("epoch", m.Epoch())
		return nil, p
	}
}

// ListShards implements ServiceChainServiceServer.
func (s *services) ListShards(ctx context.Context, req *servicev1.ListShardsRequest) (*servicev1.ListShardsResponse, error) {
	head, _ := s.State.Head()
	asked := ""
	if req.Epoch != nil {
		asked = strconv.FormatUint(req.GetEpoch(), 10)
	}
	list := newFilter("ListShards", req.GetService(), asked)
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	var at, epoch uint64 // position in the map of the epoch in which the list began
	if pg.cursor != nil && !readCursor(pg.cursor, &at, &epoch) {
		return nil, badCursor()
	}
	want := req.Epoch
	if pg.cursor != nil {
		want = &epoch
	}
	resp := &servicev1.ListShardsResponse{}
	rows := 0
	err = s.State.Read(func(v chain.View, height uint64) error {
		m, err := s.epochMap(v, height, want)
		if err != nil {
			return err
		}
		only := uint32(0)
		if req.GetService() != "" {
			found, err := findService(v, "service", req.GetService())
			if err != nil {
				return err
			}
			only = found.ID
		}
		resp.Height, resp.Epoch = height, m.Epoch()
		i, members := uint64(0), 0
		for sh := range m.All() {
			i++
			if i <= at || only != 0 && sh.Service != only {
				continue
			}
			if len(resp.GetShards()) == pg.size || members >= maxShardMembers {
				resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(i-1, m.Epoch()))
				break
			}
			out := s.renderShard(v, height, m.Epoch(), &sh)
			members += len(out.GetMembers())
			resp.Shards = append(resp.Shards, out)
		}
		rows = m.Len()/stakeChunk + shardRows*len(resp.GetShards()) + members/shardRows
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.addLevels(resp.GetShards()...)
	s.rates.charge(callerIP(ctx), rowTokens(rows))
	return resp, nil
}

// GetShard implements ServiceChainServiceServer.
func (s *services) GetShard(ctx context.Context, req *servicev1.GetShardRequest) (*servicev1.GetShardResponse, error) {
	id, err := parseShardName("name", req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &servicev1.GetShardResponse{}
	work := 0
	err = s.State.Read(func(v chain.View, height uint64) error {
		m, err := s.epochMap(v, height, req.Epoch)
		if err != nil {
			return err
		}
		sh, ok := m.Find(id)
		if !ok {
			return noShard(v, m, id, req.GetName())
		}
		e := m.Epoch()
		seed := staking.Seed(v, e)
		resp.Height, resp.Epoch, resp.Seed, resp.Map = height, e, seed[:], m.Encode()
		resp.Shard = s.renderShard(v, height, e, &sh)
		work = m.Len() + len(resp.GetShard().GetMembers())
		if p, ok := registry.ReadPool(v, e, sh.Service); ok {
			resp.Pool = p.Encode()
		}
		if a, ok := registry.ReadAssignment(v, e, sh.ID); ok {
			resp.Assignment = a.Encode()
		}
		resp.Redraw = redrawOf(v, e, sh.ID)
		for _, before := range append([]shard.ID{sh.ID}, sh.Parents...) {
			if e == 0 {
				break
			}
			if a, ok := registry.ReadAssignment(v, e-1, before); ok {
				resp.Previous = append(resp.Previous, a.Encode())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.addLevels(resp.GetShard())
	// The answer has the whole map, and all candidates.
	s.rates.charge(callerIP(ctx), readTokens+rowTokens(work)+(len(resp.GetMap())+len(resp.GetPool()))/4096)
	return resp, nil
}

// redrawOf returns what decided who serves a shard in epoch e, if that was drawn anew in it.
func redrawOf(v chain.View, e uint64, id shard.ID) *servicev1.Redraw {
	row, ok := anchor.Read(v, id)
	if !ok || row.Generation == 0 {
		return nil
	}
	in, round, ok := registry.RedrawInputs(v, id, row.Generation-1)
	if !ok || in.Map.Epoch() != e {
		return nil
	}
	return &servicev1.Redraw{Round: round, Pool: in.Pools[0].Encode(), Failed: in.Failed, Away: in.Away}
}
