package api_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// byConn makes calls over the connection of a node, as Peers do.
type byConn struct{ node *shardNode }

// Hosts implements api.Forwarder.
func (b byConn) Hosts(id ledger.ChainID) []string {
	if slices.Contains(b.node.hosts, id) {
		return []string{b.node.name}
	}
	return nil
}

// Call implements api.Forwarder.
func (b byConn) Call(ctx context.Context, _, method string, req, resp proto.Message) error {
	return b.node.conn.Invoke(ctx, method, req, resp)
}

// Fault implements api.Forwarder.
func (byConn) Fault(string) {}

// TestRemote: what a node has of a shard that it does not run is what the shard's own
// state says, and what is brought there is taken or refused by its rules.
func TestRemote(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	if _, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000))); err != nil {
		t.Fatal(err)
	}
	s.deliver(home, payees)
	var r relay.Remote = api.NewRemote(byConn{here})
	way := home.chain.Boxes[2].Leaves()[0].Message.Link
	links := []link.Link{way, way.Reverse(), {Dst: way.Src}}
	for _, f := range []*fakeShard{home, payees} {
		got, err := r.Survey(s.ctx(), f.is.ID, links)
		if err != nil {
			t.Fatal(err)
		}
		want := relay.SurveyAt(f.chain.State, f.chain.Height, links)
		if got.Height != want.Height || got.Epoch != want.Epoch || got.Ended != want.Ended || got.First != want.First || got.Last != want.Last ||
			!slices.Equal(got.Heads, want.Heads) || !slices.Equal(got.Ways, want.Ways) {
			t.Errorf("%d: %+v, want %+v", f.is.ID, got, want)
		}
	}
	if err := r.SubmitRelay(s.ctx(), home.is.ID, []byte("new")); err != nil || len(home.relays) != 1 {
		t.Errorf("%v", err)
	}
	if err := r.SubmitRelay(s.ctx(), home.is.ID, []byte("known")); !errors.Is(err, chain.CodeNothingNew.Err()) {
		t.Errorf("what is known: %v", err)
	}
	if _, err := r.Survey(s.ctx(), 2, links); err == nil {
		t.Error("a survey of a shard that nobody runs")
	}
	box := home.chain.Boxes[2]
	everywhere := link.Place{Service: math.MaxUint32, Zone: math.MaxUint8, Bucket: math.MaxUint8}
	if got, err := r.Outbox(s.ctx(), home.is.ID, 2, link.Place{}, everywhere); err != nil || got == nil || got.Root() != box.Root() {
		t.Errorf("the outbox of block 2: %v, %v", got, err)
	}
	if got, err := r.Outbox(s.ctx(), home.is.ID, 2, everywhere, everywhere); err != nil || got != nil {
		t.Errorf("the outbox of a block with nothing for a place: %v, %v", got, err)
	}
	if got, err := r.Outbox(s.ctx(), home.is.ID, 1_000, link.Place{}, everywhere); err == nil {
		t.Errorf("the outbox of a block that there is not: %v", got)
	}
	liar := api.NewRemote(shortAnswers{byConn{here}})
	if got, err := liar.Outbox(s.ctx(), home.is.ID, 2, link.Place{}, everywhere); err == nil {
		t.Errorf("an outbox with leaves left out: %v", got)
	}
	if _, err := liar.Survey(s.ctx(), home.is.ID, links); err == nil {
		t.Error("an answer about fewer links")
	}
}

// shortAnswers are peers that answer about fewer links than they were asked for.
type shortAnswers struct{ byConn }

// Call implements api.Forwarder.
func (s shortAnswers) Call(ctx context.Context, endpoint, method string, req, resp proto.Message) error {
	err := s.byConn.Call(ctx, endpoint, method, req, resp)
	if w, ok := resp.(*servicev1.GetWantedResponse); ok && err == nil {
		w.Links = w.GetLinks()[:1]
	}
	if w, ok := resp.(*servicev1.GetOutboxResponse); ok && err == nil {
		w.LeafCount++
	}
	return err
}
