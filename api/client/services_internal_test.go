package client

import (
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// TestShardsShowWhatIsDrawn: what a node says of a shard beside what decided it is not
// looked at, so that Check is about all that is shown.
func TestShardsShowWhatIsDrawn(t *testing.T) {
	t.Parallel()
	m, err := shard.Establish(shard.Empty(0), shard.Change{Kind: shard.Found, Service: 1, Zone: 2, Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	p := shard.Pool{Service: 1, Rules: committee.Rules{Seats: 3, PowerCapBps: ledger.BasisPoints}}
	for row := range uint64(5) {
		c := committee.Candidate{Validator: row, ConsensusKey: ledger.HashOf("key", []byte{byte(row)}), Stake: 1 << 40, SelfStake: 1 << 40}
		c.BLSKey[0] = byte(row)
		p.Candidates = append(p.Candidates, shard.Candidate{Candidate: c})
	}
	seed := ledger.HashOf("seed")
	drawn := shard.Assign(shard.Inputs{Seed: seed, Map: m, Pools: []shard.Pool{p}})
	id := m.Zone(1, 2)[1].ID
	at := slices.IndexFunc(drawn, func(a shard.Assignment) bool { return a.Shard == id })
	resp := &servicev1.GetShardResponse{
		Shard: &servicev1.Shard{Id: 77, Service: "services/9", TotalPower: 1, Members: []*servicev1.Member{{Validator: 99, Power: 1}}},
		Seed:  seed[:], Map: m.Encode(), Pool: p.Encode(), Assignment: drawn[at].Encode(),
	}
	d, err := drawOf(id, resp)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check(); err != nil {
		t.Error(err)
	}
	if d.ID != id || d.Service != 1 || d.Zone != 2 || d.Buckets.Last != 255 || len(d.Members) != 3 || d.TotalPower != drawn[at].Committee.TotalPower() ||
		slices.ContainsFunc(d.Members, func(m ShardMember) bool { return m.Validator == 99 }) {
		t.Errorf("shown is %+v", d.ShardInfo)
	}
	if _, err := drawOf(m.Zone(1, 2)[0].ID, resp); err == nil {
		t.Error("an answer about another shard is taken")
	}
	again := shard.Inputs{Seed: seed, Map: m, Pools: []shard.Pool{p}, Failed: rowsOf(drawn[at].Committee.Members), Away: []uint64{1}}
	anew := shard.Redraw(again, id, 2)
	resp.Assignment = anew.Encode()
	if d, err = drawOf(id, resp); err != nil || d.Check() == nil {
		t.Errorf("a committee by other lots is taken for one by those of the epoch: %v", err)
	}
	resp.Redraw = &servicev1.Redraw{Round: 2, Pool: p.Encode(), Failed: again.Failed, Away: again.Away}
	if d, err = drawOf(id, resp); err != nil || d.Check() != nil {
		t.Errorf("a committee that was drawn anew: %v, %v", err, d.Check())
	}
	resp.Assignment = drawn[at].Encode()
	if d, err = drawOf(id, resp); err != nil || !errors.Is(d.Check(), shard.ErrWrongAssignment) {
		t.Errorf("a committee that was not drawn anew: %v, %v", err, d.Check())
	}
}

func rowsOf(members []committee.Member) (rows []uint64) {
	for i := range members {
		rows = append(rows, members[i].Validator)
	}
	return rows
}

// TestShardEventHasItsGeneration: where a shard goes on in another generation is taken over.
func TestShardEventHasItsGeneration(t *testing.T) {
	t.Parallel()
	e, err := shardEventOf(&servicev1.ShardEvent{
		Kind: servicev1.ShardEvent_KIND_DRAWN_ANEW, Height: 90, Service: "services/1", Shards: []string{"shards/2"}, LastHeight: 40, Epoch: 4, Generation: 5,
	})
	if err != nil || e.Kind != "drawn-anew" || e.Last != 40 || e.Epoch != 4 || e.Round != 0 || e.Generation != 5 {
		t.Errorf("%+v, %v", e, err)
	}
}
