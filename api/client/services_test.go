package client_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	zones "github.com/tributary-network/tributary/zone"
)

// TestServices registers a service, has it served, and draws its committees anew, all
// by the client.
func TestServices(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 4)
	c := s.client(t)
	owner := c.Account(identityOf(1))
	var operators []*client.Account
	for i := range 3 {
		operators = append(operators, enrich(t, c, firstOperator+i, 10*ledger.DropsPerCoin))
	}
	s.reach(t, epochBlocks) // what follows is in time for the election at the end of epoch 1
	video := zones.ServiceType{
		ID: 7, Name: "video", SpecHash: ledger.HashOf("video"), Unit: zones.Unit{Name: "chunk", Size: 1 << 18}, Shards: 2,
		CommitteeSize: zones.MinCommittee, Owner: identityOf(1).Address, Version: 1,
		Zones: zones.Registry{{Number: 3, Policy: zones.DefaultPolicy("here")}},
	}
	if _, err := owner.RegisterService(t.Context(), video); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.RegisterService(t.Context(), video); !errors.Is(err, chain.CodeServiceUsed.Err()) {
		t.Errorf("registered twice: %v", err)
	}
	video.Version, video.Name = 2, "films"
	if _, err := owner.UpdateService(t.Context(), video); err != nil {
		t.Fatal(err)
	}
	for _, operator := range operators {
		if _, err := operator.Serve(t.Context(), 7, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := owner.Serve(t.Context(), 7, true); !errors.Is(err, chain.CodeNotOperator.Err()) {
		t.Errorf("served without a validator: %v", err)
	}
	if got, err := c.Service(t.Context(), "films"); err != nil || got.ID != 7 || fmt.Sprint(got.Servers) != "[0 1 2]" || fmt.Sprint(got.Shards) != "[0]" {
		t.Errorf("service %+v, %v", got, err)
	}
	if _, err := c.Service(t.Context(), "video"); !errors.Is(err, chain.CodeUnknownService.Err()) {
		t.Errorf("the old name: %v", err)
	}
	s.reach(t, 3*epochBlocks)
	n := 0
	for found, err := range c.Services(t.Context()) {
		if n++; err != nil || found.ID != 7 || found.Shards[0] != 2 {
			t.Errorf("service %+v, %v", found, err)
		}
	}
	var ids []shard.ID
	for sh, err := range c.Shards(t.Context(), "7", nil) {
		if err != nil || sh.Zone != 3 || sh.Service != 7 || len(sh.Members) != 3 || sh.TotalPower == 0 {
			t.Errorf("shard %+v, %v", sh, err)
		}
		ids = append(ids, sh.ID)
	}
	if n != 1 || len(ids) != 2 {
		t.Fatalf("%d services, shards %v", n, ids)
	}
	next := s.gen.Params.Staking.Epoch(s.height()+1) + 1
	for _, epoch := range []*uint64{nil, &next} {
		d, err := c.Shard(t.Context(), ids[1], epoch)
		if err != nil || d.Buckets.Last != 255 || len(d.Inputs.Pools) != 1 {
			t.Fatalf("shard %+v, %v", d, err)
		}
		if err := d.Check(); err != nil {
			t.Error(err)
		}
		d.Drawn.Committee.Members = d.Drawn.Committee.Members[1:]
		if err := d.Check(); !errors.Is(err, shard.ErrWrongAssignment) {
			t.Errorf("a member less: %v", err)
		}
	}
	past := uint64(0)
	var refused *client.Error
	if _, err := c.Shard(t.Context(), ids[0], &past); !errors.As(err, &refused) || refused.Reason != "PRUNED" {
		t.Errorf("an epoch that is over: %v", err)
	}
	if _, err := owner.Reshard(t.Context(), shard.Request{Kind: shard.Split, Shard: ids[0]}); err != nil && !errors.Is(err, chain.CodeReshardRefused.Err()) {
		t.Errorf("a split: %v", err)
	}
	if _, err := owner.Reshard(t.Context(), shard.Request{Kind: shard.Split, Shard: 99}); !errors.Is(err, chain.CodeUnknownShard.Err()) {
		t.Errorf("a split of nothing: %v", err)
	}
}
