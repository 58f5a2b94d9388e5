package api_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// goOn has a shard go on after the height it is anchored to as another generation, which is
// anchored some heights further.
func (s *shardWorld) goOn(id shard.ID, generation uint32, heights int) {
	s.t.Helper()
	row, err := anchor.DecodeState(s.row(anchor.Key(id)))
	if err != nil {
		s.t.Fatal(err)
	}
	if row.Height() > row.Resumed {
		row.Ends = append(row.Ends, anchor.End{Generation: row.Generation, Height: row.Height()})
	}
	row.Generation, row.Resumed, row.ResumedRoot = generation, row.Height(), ledger.Hash{1}
	for range heights {
		p := cert.Checkpoint{Chain: id, Generation: generation, Height: row.Height() + 1}
		row.Tree.Push(p.Encode())
		row.Last, row.Outboxes = p, append(row.Outboxes, ledger.Hash{})
	}
	s.mu.Lock()
	s.rows[string(anchor.Key(id))] = row.Encode()
	s.mu.Unlock()
	s.reach(s.height() + 1)
}

// TestTakenBackIsNotFinal: a booking in a block that another generation took back is FINAL
// nowhere, though its height is anchored, and its proof proves nothing; what was anchored
// before stays FINAL.
func TestTakenBackIsNotFinal(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home := s.home(s.payer.addr)
	home.certify = true
	id := home.is.ID
	book := func(amount ledger.Amount, stage chainv1.Stage) *servicev1.Booking {
		req := signedUsage(c.book(amount))
		req.WaitFor, req.FullResults = stage, true
		resp, err := here.services().BookUsage(s.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetBooking()
	}
	kept := book(1_000, chainv1.Stage_STAGE_INCLUDED)
	s.anchorAll(id)
	lost := book(2_000, chainv1.Stage_STAGE_INCLUDED)
	s.goOn(id, 1, 3)
	for _, n := range []*shardNode{here, away} {
		for name, want := range map[string]chainv1.Stage{kept.GetName(): chainv1.Stage_STAGE_FINAL, lost.GetName(): chainv1.Stage_STAGE_INCLUDED} {
			got, err := n.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: name, Shard: api.ShardName(id)})
			if err != nil || got.GetBooking().GetTransaction().GetStage() != want {
				t.Errorf("%s: %v, %v, want %v", n.name, got, err, want)
			}
			traced, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: name, Shard: api.ShardName(id)})
			if anchored := traced.GetOrigin().GetState() == servicev1.HopState_HOP_STATE_ANCHORED; err != nil || anchored != (want == chainv1.Stage_STAGE_FINAL) {
				t.Errorf("%s: traced %v, %v", n.name, traced.GetOrigin(), err)
			}
		}
	}
	proved := &servicev1.GetBookingRequest{Name: kept.GetName(), Shard: api.ShardName(id), FullResults: true, Prove: []uint32{0}}
	if got, err := away.services().GetBooking(s.ctx(), proved); err != nil || got.GetSource().GetEvidence() != servicev1.Evidence_EVIDENCE_VERIFIED ||
		got.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
		t.Errorf("what is kept: %v, %v", got, err)
	}
	proved = proto.CloneOf(proved)
	proved.Name = lost.GetName()
	if got, err := away.services().GetBooking(s.ctx(), proved); status.Code(err) != codes.Unavailable {
		t.Errorf("a proof of what is taken back: %v, %v", got, err)
	}
}

// TestAwaitedBookingIsTakenBack: who waits for FINAL is told when another generation took the
// block back.
func TestAwaitedBookingIsTakenBack(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home := s.home(s.payer.addr)
	s.anchorAll(home.is.ID)
	for _, row := range []struct {
		name       string
		generation uint32
		forget     bool
		want       chainv1.Stage
	}{
		{"the shard's chain has not heard of it", 1, false, chainv1.Stage_STAGE_INCLUDED},
		{"it has", 2, true, chainv1.Stage_STAGE_DROPPED},
	} {
		name := row.name
		req := signedUsage(c.book(1_000 * ledger.Amount(row.generation)))
		first, err := here.services().BookUsage(s.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		req.WaitFor = chainv1.Stage_STAGE_FINAL
		if row.forget {
			home.mu.Lock()
			home.forgot = ledger.Hash(first.GetBooking().GetTransaction().GetHash())
			home.mu.Unlock()
		}
		ctx, done := s.ctx(), make(chan chainv1.Stage, 1)
		go func() {
			resp, err := here.services().BookUsage(ctx, req)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			done <- resp.GetBooking().GetTransaction().GetStage()
		}()
		s.goOn(home.is.ID, row.generation, 0)
		if got := <-done; got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}
