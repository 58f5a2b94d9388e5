package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

func (s *stakeWorld) seals(req *consensusv1.ListSealsRequest) *consensusv1.ListSealsResponse {
	s.t.Helper()
	resp, err := s.agreement().ListSeals(s.ctx(), req)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

func TestSealsAreServed(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	for s.height() < 2*epochBlocks+3 {
		s.step() // what this node proposes, with its seal
	}
	key, err := bls.ParseKey(blsOf(0).Public())
	if err != nil {
		t.Fatal(err)
	}
	whole := s.seals(&consensusv1.ListSealsRequest{Committee: "committees/1"})
	if len(whole.GetSeals()) != epochBlocks || whole.GetNextPageToken() != "" || whole.GetEpoch() != 1 ||
		whole.GetFirstHeight() != epochBlocks+1 || whole.GetLastHeight() != 2*epochBlocks {
		t.Fatalf("%v", whole)
	}
	for i, seal := range whole.GetSeals() {
		if seal.GetHeight() != epochBlocks+1+uint64(i) || seal.GetMember() != 0 ||
			!staking.CheckSeal(s.domain, &s.gen.Params.Staking, seal.GetHeight(), key, seal.GetSignature()) {
			t.Errorf("seal %d: %v", i, seal)
		}
	}
	var list []*consensusv1.Seal
	req := &consensusv1.ListSealsRequest{Committee: "committees/1", PageSize: 4}
	for pages := 1; ; pages++ {
		resp := s.seals(req)
		list = append(list, resp.GetSeals()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		other := &consensusv1.ListSealsRequest{Committee: "committees/0", PageToken: req.GetPageToken()}
		_, err := s.agreement().ListSeals(s.ctx(), other)
		wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
	}
	if diff := cmp.Diff(whole.GetSeals(), list, protocmp.Transform()); diff != "" {
		t.Errorf("in pages:\n%s", diff)
	}
	if now := s.seals(&consensusv1.ListSealsRequest{Committee: "committees/latest"}); len(now.GetSeals()) != 3 || now.GetEpoch() != 2 {
		t.Errorf("the running epoch: %v", now)
	}
	for _, name := range []string{"", "committees/", "committees/01", "epochs/1", "1"} {
		_, err := s.agreement().ListSeals(s.ctx(), &consensusv1.ListSealsRequest{Committee: name})
		if p := wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField); p.fields[0] != "committee" {
			t.Errorf("%q: the field is %v", name, p.fields)
		}
	}
	_, err = s.agreement().ListSeals(s.ctx(), &consensusv1.ListSealsRequest{Committee: "committees/4"})
	wantProblem(t, err, codes.NotFound, api.ReasonCommitteeNotFound)
}

func TestSealsThatArePruned(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1, func(_ *stakeWorld, c *exec.Config) { c.KeepReceipts = 3 })
	s.reach(4*epochBlocks + 5)
	var err error
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err == nil && t.Context().Err() == nil { // old blocks are removed beside the new ones
		<-tick.C
		_, err = s.agreement().ListSeals(s.ctx(), &consensusv1.ListSealsRequest{Committee: "committees/1"})
	}
	_, err = s.agreement().ListSeals(s.ctx(), &consensusv1.ListSealsRequest{Committee: "committees/1"})
	if p := wantProblem(t, err, codes.DataLoss, api.ReasonPruned); p.info.GetMetadata()["kept_from_epoch"] < "2" {
		t.Errorf("%v", err)
	}
}
