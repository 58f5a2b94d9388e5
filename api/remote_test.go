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

// TestAnswersAboutOthers: a node that answers about something else than it was asked gives way
// to the next one.
func TestAnswersAboutOthers(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	booked, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	o := &others{node: here, names: []string{"liar", "honest"}}
	o.answer = func(_ context.Context, name string, call func() error, resp proto.Message) error {
		err := call()
		if name == "honest" {
			return err
		}
		switch m := resp.(type) {
		case *servicev1.GetWantedResponse:
			m.Links = nil
		case *servicev1.GetMessageResponse:
			if tx := m.GetTransaction(); tx != nil {
				tx.Hash = make([]byte, ledger.HashSize)
			}
		}
		return err
	}
	way := s.home(s.payer.addr).chain.Boxes[2].Leaves()[0].Message.Link
	if got, err := api.NewRemote(o).Survey(s.ctx(), s.home(s.payer.addr).is.ID, []link.Link{way}); err != nil || len(got.Ways) != 1 {
		t.Errorf("survey: %v, %v", got, err)
	}
	name := booked.GetBooking().GetName()
	if got, err := s.gateway(o).routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: name, Shard: booked.GetBooking().GetShard()}); err != nil || len(got.GetHops()) != 1 {
		t.Errorf("trace: %v, %v", got, err)
	}
	if _, faults := o.reset(); len(faults) < 2 {
		t.Errorf("faults %v", faults)
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

// parts is a node that answers with parts of an outbox as it likes.
type parts struct {
	calls, most int // so many calls are expected
	count       uint32
	root        ledger.Hash
	part        func(skip uint32) link.Import
}

// Hosts implements api.Forwarder.
func (*parts) Hosts(ledger.ChainID) []string { return []string{"liar"} }

// Fault implements api.Forwarder.
func (*parts) Fault(string) {}

// Call implements api.Forwarder.
func (p *parts) Call(_ context.Context, _, _ string, req, resp proto.Message) error {
	if p.calls++; p.calls > p.most {
		return errors.New("asked too often")
	}
	ask, asked := req.(*servicev1.GetOutboxRequest)
	out, answers := resp.(*servicev1.GetOutboxResponse)
	if !asked || !answers {
		return errors.New("not asked for an outbox")
	}
	in := p.part(ask.GetSkip())
	out.Matching, out.LeafCount, out.Root, out.Import = 1, p.count, p.root[:], in.Encode()
	return nil
}

// TestOutboxOfALiar: the parts of an outbox are those that were asked for, one after the
// other, and a host that sends it a leaf at a time is not followed to its end.
func TestOutboxOfALiar(t *testing.T) {
	t.Parallel()
	const id, height, count = 2, 1, 1_000
	var leaves []link.Leaf
	for i := range uint64(count) {
		m := link.Message{Link: link.Link{Dst: link.Place{Service: 1}}, Seq: i, Expiry: 9}
		leaves = append(leaves, link.Leaf{Message: &m})
	}
	box, err := link.OutboxOf(leaves)
	if err != nil {
		t.Fatal(err)
	}
	part := func(first, n uint32) link.Import {
		in, err := box.Import(id, height, int(first), min(count, int(first+n)))
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	fetch := func(p *parts) (*link.Outbox, error) {
		return api.NewRemote(p).Outbox(t.Context(), id, height, link.Place{}, link.Place{Service: 9})
	}
	honest := &parts{most: 5, count: count, root: box.Root(), part: func(skip uint32) link.Import { return part(skip, 256) }}
	if got, err := fetch(honest); err != nil || got.Root() != box.Root() || honest.calls != 5 {
		t.Errorf("%d calls: %v", honest.calls, err)
	}
	for name, p := range map[string]*parts{
		"the same part again": {most: 3, count: count, part: func(uint32) link.Import { return part(0, 256) }},
		"of more leaves":      {most: 2, count: 1 << 14, part: func(skip uint32) link.Import { return part(skip, 256) }},
		"of another shard": {most: 2, count: count, part: func(skip uint32) link.Import {
			in := part(skip, 256)
			in.Shard++
			return in
		}},
		"of another block": {most: 2, count: count, part: func(skip uint32) link.Import {
			in := part(skip, 256)
			in.Height++
			return in
		}},
		"of another leaf": {most: 2, count: count, part: func(skip uint32) link.Import {
			in := part(skip, 256)
			m := *in.Leaves[3].Message
			m.Seq++
			in.Leaves[3].Message = &m
			return in
		}},
		"a leaf at a time": {most: 300, count: count, part: func(skip uint32) link.Import { return part(skip, 1) }},
	} {
		p.root = box.Root()
		if got, err := fetch(p); err == nil || p.calls > p.most {
			t.Errorf("%s: %v after %d calls, %v", name, got, p.calls, err)
		}
	}
}
