package api_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	zones "github.com/tributary-network/tributary/zone"
)

// newServiceWorld is a world with five validators and the service 1, "content", of the
// account other, with two shards in each of the zones 0 and 1.
func newServiceWorld(t *testing.T) *stakeWorld {
	t.Helper()
	return newStakeWorld(t, 5, func(s *stakeWorld, _ *exec.Config) {
		s.gen.Services = []zones.ServiceType{serviceOf(s.other, 1, "content", 0, 1)}
	})
}

func serviceOf(owner *account, id uint32, name string, numbers ...byte) zones.ServiceType {
	s := zones.ServiceType{
		ID: id, Name: name, SpecHash: ledger.HashOf(name), Unit: zones.Unit{Name: "chunk", Size: 1 << 20},
		Shards: 2, CommitteeSize: zones.MinCommittee, Owner: owner.addr, Version: 1,
	}
	for _, n := range numbers {
		s.Zones = append(s.Zones, zones.Zone{Number: n, Policy: zones.DefaultPolicy(fmt.Sprintf("region-%d", n))})
	}
	return s
}

func (s *stakeWorld) services() servicev1.ServiceChainServiceClient {
	return servicev1.NewServiceChainServiceClient(s.conn)
}

// TestServicesAreRead: what the registry has is what clients are told, and a service
// that is registered has shards two epochs later.
func TestServicesAreRead(t *testing.T) {
	t.Parallel()
	s := newServiceWorld(t)
	s.nextEpoch()
	proxy := serviceOf(s.payee, 9, "proxy", 0)
	s.do(s.payee, chain.KindRegisterService, proxy.Encode())
	for _, o := range s.operators[:4] {
		m := registry.Serve{Service: 9, On: true}
		s.do(o, chain.KindServe, m.Encode())
	}
	for _, name := range []string{"services/9", "services/proxy"} {
		got, err := s.services().GetService(s.ctx(), &servicev1.GetServiceRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		out := got.GetService()
		if out.GetName() != "services/9" || out.GetLabel() != "proxy" || !bytes.Equal(out.GetRecord(), proxy.Encode()) ||
			out.GetOwner() != s.payee.addr.String() || out.GetValidators() != 4 || len(got.GetValidators()) != 4 ||
			out.GetZones()[0].GetShards() != 0 || out.GetZones()[0].GetRegion() != "region-0" || len(out.GetZones()[0].GetProofs()) != 4 ||
			out.GetZones()[0].GetHeavyBytes() != proxy.Zones[0].Policy.Limits.HeavyBytes || out.GetZones()[0].GetHeavyBytes() == 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	var ids []uint32
	for token := ""; len(ids) < 5; {
		page, err := s.services().ListServices(s.ctx(), &servicev1.ListServicesRequest{PageSize: 1, PageToken: token})
		if err != nil || !page.GetEnabled() || len(page.GetServices()) != 1 {
			t.Fatalf("page %v, %v", page, err)
		}
		ids = append(ids, page.GetServices()[0].GetId())
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if fmt.Sprint(ids) != "[1 9]" {
		t.Errorf("services %v", ids)
	}
	s.nextEpoch()
	s.nextEpoch()
	now := s.shards("", nil)
	if len(now) != 6 || now[4].GetService() != "services/9" || len(now[4].GetMembers()) != zones.MinCommittee || now[4].GetKept() || now[4].GetSinceEpoch() != s.epoch() {
		t.Errorf("shards %v", now)
	}
	if only := s.shards("services/content", new(s.epoch()+1)); len(only) != 4 || only[3].GetZone() != 1 || only[3].GetLastBucket() != 255 {
		t.Errorf("shards of content in the next epoch: %v", only)
	}
	for _, epoch := range []*uint64{nil, new(s.epoch() + 1)} {
		for _, sh := range now {
			s.drawAnew(sh, epoch)
		}
	}
}

// shards lists shards two by two.
func (s *stakeWorld) shards(service string, epoch *uint64) (list []*servicev1.Shard) {
	s.t.Helper()
	for token, n := "", 0; n < 20; n++ {
		page, err := s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{Service: service, Epoch: epoch, PageSize: 2, PageToken: token})
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, page.GetShards()...)
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	return list
}

// drawAnew draws who serves a shard from what the API tells.
func (s *stakeWorld) drawAnew(sh *servicev1.Shard, epoch *uint64) {
	s.t.Helper()
	resp, err := s.services().GetShard(s.ctx(), &servicev1.GetShardRequest{Name: sh.GetName(), Epoch: epoch})
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := shard.Decode(resp.GetMap())
	if err != nil {
		s.t.Fatal(err)
	}
	pool, err := shard.DecodePool(resp.GetPool())
	if err != nil {
		s.t.Fatal(err)
	}
	in := shard.Inputs{Seed: ledger.Hash(resp.GetSeed()), Map: m, Pools: []shard.Pool{pool}}
	for _, b := range resp.GetPrevious() {
		a, err := shard.DecodeAssignment(b)
		if err != nil {
			s.t.Fatal(err)
		}
		in.Previous = append(in.Previous, a)
	}
	for _, a := range shard.Assign(in) {
		if uint32(a.Shard) == sh.GetId() && !bytes.Equal(a.Encode(), resp.GetAssignment()) {
			s.t.Errorf("%s in epoch %d is served by others than are drawn", sh.GetName(), m.Epoch())
		}
	}
}

// TestServicesRefuse: names and epochs that are not there.
func TestServicesRefuse(t *testing.T) {
	t.Parallel()
	s := newServiceWorld(t)
	s.nextEpoch()
	for _, name := range []string{"", "content", "services/", "services/" + string(bytes.Repeat([]byte("x"), 33))} {
		_, err := s.services().GetService(s.ctx(), &servicev1.GetServiceRequest{Name: name})
		wantBadField(t, err, "name")
	}
	for _, name := range []string{"services/2", "services/01", "services/nobody", "services/2147483648"} {
		_, err := s.services().GetService(s.ctx(), &servicev1.GetServiceRequest{Name: name})
		if p := wantProblem(t, err, codes.NotFound, "UNKNOWN_SERVICE"); p.info.GetMetadata()["name"] != name {
			t.Errorf("%s: %v", name, p.info)
		}
	}
	for _, name := range []string{"", "shards/", "shards/1", "shards/02", "2", "shards/-2", "shards/4294967296"} {
		_, err := s.services().GetShard(s.ctx(), &servicev1.GetShardRequest{Name: name})
		wantBadField(t, err, "name")
	}
	_, err := s.services().GetShard(s.ctx(), &servicev1.GetShardRequest{Name: "shards/77"})
	wantProblem(t, err, codes.NotFound, "UNKNOWN_SHARD")
	_, err = s.services().GetShard(s.ctx(), &servicev1.GetShardRequest{Name: "shards/2", Epoch: new(uint64(0))})
	if p := wantProblem(t, err, codes.DataLoss, api.ReasonPruned); p.info.GetMetadata()["kept_from_epoch"] != "1" {
		t.Errorf("an epoch that is over: %v", p.info)
	}
	_, err = s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{Epoch: new(uint64(3))})
	wantProblem(t, err, codes.NotFound, api.ReasonCommitteeNotFound)
	_, err = s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{Service: "services/7"})
	wantProblem(t, err, codes.NotFound, "UNKNOWN_SERVICE")
	_, err = s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{Service: "7"})
	wantBadField(t, err, "service")
	_, err = s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{PageSize: -1})
	wantBadField(t, err, "page_size")
	page, err := s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*servicev1.ListShardsRequest{
		{Service: "services/1", PageToken: page.GetNextPageToken()}, {Epoch: new(uint64(1)), PageToken: page.GetNextPageToken()}, {PageToken: "x"},
	} {
		_, err = s.services().ListShards(s.ctx(), req)
		wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
	}
	_, err = s.services().ListServices(s.ctx(), &servicev1.ListServicesRequest{PageToken: page.GetNextPageToken()})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
	s.nextEpoch()
	_, err = s.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{PageToken: page.GetNextPageToken()})
	wantProblem(t, err, codes.DataLoss, api.ReasonPruned)
}

// TestRegistryIsRefused: what the registry refuses, clients are told before.
func TestRegistryIsRefused(t *testing.T) {
	t.Parallel()
	s := newServiceWorld(t)
	taken, stolen := serviceOf(s.payee, 1, "other", 0), serviceOf(s.other, 9, "stolen", 0)
	serve := registry.Serve{Service: 1, On: true}
	unknown := registry.Serve{Service: 5, On: true}
	split := registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: 99}}
	for _, row := range []struct {
		by      *account
		kind    chain.Kind
		payload []byte
		code    codes.Code
		reason  string
	}{
		{s.payee, chain.KindRegisterService, taken.Encode(), codes.AlreadyExists, "SERVICE_USED"},
		{s.payee, chain.KindRegisterService, stolen.Encode(), codes.PermissionDenied, "NOT_OWNER"},
		{s.payee, chain.KindRegisterService, []byte{1}, codes.InvalidArgument, "INVALID_VALUE"},
		{s.payee, chain.KindServe, serve.Encode(), codes.PermissionDenied, "NOT_OPERATOR"},
		{s.operators[0], chain.KindServe, serve.Encode(), codes.FailedPrecondition, "NO_OP_STALE"},
		{s.operators[0], chain.KindServe, unknown.Encode(), codes.InvalidArgument, "UNKNOWN_SERVICE"},
		{s.other, chain.KindReshard, split.Encode(), codes.NotFound, "UNKNOWN_SHARD"},
	} {
		_, err := s.submitTx(s.tx(row.by, row.kind, row.payload))
		row.by.nonce-- // it is not used
		wantProblem(t, err, row.code, row.reason)
	}
	resp, err := s.submitTx(s.tx(s.other, chain.KindUpdateService, func() []byte {
		next := serviceOf(s.other, 1, "media", 0, 1)
		next.Version = 2
		return next.Encode()
	}()))
	if err != nil || resp.GetKind() != chainv1.Kind_KIND_UPDATE_SERVICE || resp.GetCode() != chainv1.Code_CODE_OK {
		t.Errorf("update: %v, %v", resp, err)
	}
	without := newWorld(t)
	list, err := servicev1.NewServiceChainServiceClient(without.conn).ListServices(without.ctx(), &servicev1.ListServicesRequest{})
	if err != nil || list.GetEnabled() || len(list.GetServices()) != 0 {
		t.Errorf("without a registry: %v, %v", list, err)
	}
}
