package api_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// TestLocateAndHint: any node says where an account lives, and where it would be better.
func TestLocateAndHint(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	home := s.home(s.payer.addr)
	for _, n := range []*shardNode{here, away} {
		got, err := n.routing().Locate(s.ctx(), &servicev1.LocateRequest{Account: api.AccountName(s.payer.addr)})
		if err != nil || len(got.GetLocations()) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		at := got.GetLocations()[0]
		if at.GetShard() != api.ShardName(home.is.ID) || at.GetService() != "services/1" || at.GetBucket() != uint32(service.HomeOf(s.payer.addr).Bucket) ||
			at.GetFirstBucket() != uint32(home.is.Buckets.First) || at.GetNextShard() != at.GetShard() || at.GetHosted() != (n == here) {
			t.Errorf("%s: %v", n.name, at)
		}
		if want := []string{"here"}; n == away && !slices.Equal(at.GetEndpoints(), want) {
			t.Errorf("endpoints %v", at.GetEndpoints())
		}
	}
	key := s.payer.key.Public()
	hint, err := away.routing().Hint(s.ctx(), &servicev1.HintRequest{Service: "services/content", PublicKey: key[:], Zones: []uint32{1}})
	if err != nil || hint.GetHome().GetZone() != 1 || hint.GetAccount() != s.payer.addr.String() || hint.GetHome().GetShard() != api.ShardName(home.is.ID) ||
		!slices.Equal(hint.GetHome().GetEndpoints(), []string{"here"}) {
		t.Errorf("hint %v, %v", hint, err)
	}
	if all, err := here.routing().Hint(s.ctx(), &servicev1.HintRequest{Service: "services/1", PublicKey: key[:]}); err != nil || all.GetProvider().GetShard() == "" {
		t.Errorf("of all zones: %v, %v", all, err)
	}
	_, err = here.routing().Hint(s.ctx(), &servicev1.HintRequest{Service: "services/1", PublicKey: key[:], Zones: []uint32{7}})
	wantProblem(t, err, codes.NotFound, "UNKNOWN_SERVICE")
	for field, req := range map[string]*servicev1.HintRequest{
		"service": {PublicKey: key[:]}, "public_key": {Service: "services/1", PublicKey: []byte{1}}, "zones": {Service: "services/1", PublicKey: key[:], Zones: []uint32{256}},
	} {
		_, err = here.routing().Hint(s.ctx(), req)
		wantBadField(t, err, field)
	}
	_, err = here.routing().Locate(s.ctx(), &servicev1.LocateRequest{Account: api.AccountName(ledger.NewAddress(9, key))})
	wantProblem(t, err, codes.NotFound, "UNKNOWN_SERVICE")
	_, err = here.routing().Locate(s.ctx(), &servicev1.LocateRequest{Account: api.AccountName(ledger.NewAddress(9, key)), Service: "services/1"})
	wantBadField(t, err, "account")
}

// TestCongestionOfOthers: levels of shards that run elsewhere come from there, and if
// nobody answers from the anchors.
func TestCongestionOfOthers(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	list, err := here.routing().ListCongestion(s.ctx(), &servicev1.ListCongestionRequest{})
	if err != nil || len(list.GetShards()) != 4 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, c := range list.GetShards() {
		want := servicev1.CongestionSource_CONGESTION_SOURCE_PEER
		if slices.Contains([]string{"shards/4", "shards/5"}, c.GetShard()) {
			want = servicev1.CongestionSource_CONGESTION_SOURCE_HERE
		}
		if c.GetSource() != want {
			t.Errorf("%v, want source %v", c, want)
		}
	}
	if away.calls > 1 {
		t.Errorf("%d connections for two shards of one node", away.calls)
	}
	one, err := away.routing().GetCongestion(s.ctx(), &servicev1.GetCongestionRequest{Shard: "shards/4"})
	if err != nil || one.GetCongestion().GetSource() != servicev1.CongestionSource_CONGESTION_SOURCE_PEER {
		t.Errorf("%v, %v", one, err)
	}
	var paged []string
	for token := ""; ; {
		page, err := here.routing().ListCongestion(s.ctx(), &servicev1.ListCongestionRequest{Service: "services/1", PageSize: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.GetShards() {
			paged = append(paged, c.GetShard())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := []string{"shards/2", "shards/3", "shards/4", "shards/5"}; !slices.Equal(paged, want) {
		t.Errorf("%v, want %v", paged, want)
	}
	_, err = here.routing().ListCongestion(s.ctx(), &servicev1.ListCongestionRequest{Service: "services/1", Shards: []string{"shards/2"}})
	wantBadField(t, err, "shards")

	lonely := newShardWorld(t, map[string][]shard.ID{"a": {2}, "b": {3, 4, 5}})
	lonely.nodes["b"].deaf = true
	got, err := lonely.nodes["a"].routing().GetCongestion(lonely.ctx(), &servicev1.GetCongestionRequest{Shard: "shards/3"})
	if err != nil || got.GetCongestion().GetSource() != servicev1.CongestionSource_CONGESTION_SOURCE_ANCHORS {
		t.Errorf("nobody answers: %v, %v", got, err)
	}
}

// TestWatchShard: blocks, anchors and heartbeats, and what was before.
func TestWatchShard(t *testing.T) {
	t.Parallel()
	s := newShardWorld(t, map[string][]shard.ID{"a": {2, 3, 4, 5}, "b": {}}, func(c *api.Config) { c.Heartbeat = 20 * time.Millisecond })
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	a, b := s.nodes["a"], s.nodes["b"]
	if _, err := a.services().BookUsage(s.ctx(), signedUsage(c.book(1_000))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.ctx())
	defer cancel()
	stream, err := a.services().WatchShard(ctx, &servicev1.WatchShardRequest{Name: api.ShardName(home.is.ID), FromHeight: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.anchorAll(home.is.ID)
	var heights []uint64
	beats, bookings := 0, uint32(0)
	for anchored := uint64(0); len(heights) < 2 || beats < 2 || anchored < 2; {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		anchored = m.GetAnchoredHeight()
		if m.GetHeadHeight() != 2 {
			t.Errorf("%v", m)
		}
		if m.GetBlock() == nil {
			beats++
			continue
		}
		heights = append(heights, m.GetBlock().GetHeight())
		bookings += m.GetBlock().GetBookings()
	}
	if !slices.Equal(heights, []uint64{1, 2}) || bookings != 1 {
		t.Errorf("blocks %v with %d bookings", heights, bookings)
	}
	other, err := b.services().WatchShard(ctx, &servicev1.WatchShardRequest{Name: api.ShardName(home.is.ID)})
	if err == nil {
		_, err = other.Recv()
	}
	if p := wantProblem(t, err, codes.FailedPrecondition, api.ReasonNotHosted); p.info.GetMetadata()["endpoints"] != "a" {
		t.Errorf("%v", p.info)
	}
	cancel()
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		t.Error("a watch ends by itself")
	}
}

// TestRelayService: what nodes ask of each other to carry.
func TestRelayService(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	if _, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000))); err != nil {
		t.Fatal(err)
	}
	id := uint32(home.is.ID)
	box, err := here.relays().GetOutbox(s.ctx(), &servicev1.GetOutboxRequest{ChainId: id, Height: 2})
	if err != nil || box.GetMatching() != 1 || box.GetLeafCount() != 1 {
		t.Fatalf("%v, %v", box, err)
	}
	in, err := link.DecodeImport(box.GetImport())
	if err != nil || len(in.Leaves) != 1 || in.Range.Verify(ledger.Hash(box.GetRoot()), [][]byte{in.Leaves[0].Encode()}) != nil {
		t.Fatalf("%+v, %v", in, err)
	}
	way := in.Leaves[0].Message.Link
	place := func(p link.Place) *servicev1.Place {
		return &servicev1.Place{Service: p.Service, Zone: uint32(p.Zone), Bucket: uint32(p.Bucket)}
	}
	only, err := here.relays().GetOutbox(s.ctx(), &servicev1.GetOutboxRequest{ChainId: id, Height: 2, First: place(link.Place{}), Last: place(link.Place{})})
	if err != nil || only.GetMatching() != 0 || len(only.GetImport()) != 0 || len(only.GetRoot()) == 0 {
		t.Errorf("for main: %v, %v", only, err)
	}
	skipped, err := here.relays().GetOutbox(s.ctx(), &servicev1.GetOutboxRequest{ChainId: id, Height: 2, Skip: 5})
	if err != nil || len(skipped.GetImport()) != 0 || skipped.GetMatching() != 1 {
		t.Errorf("all skipped: %v, %v", skipped, err)
	}
	wanted, err := here.relays().GetWanted(s.ctx(), &servicev1.GetWantedRequest{ChainId: uint32(payees.is.ID), Links: []*servicev1.LinkName{
		{From: place(way.Src), To: place(way.Dst)}, {From: place(way.Dst), To: place(way.Src)},
	}})
	if err != nil || len(wanted.GetLinks()) != 2 {
		t.Fatalf("%v, %v", wanted, err)
	}
	s.deliver(home, payees)
	wanted, err = here.relays().GetWanted(s.ctx(), &servicev1.GetWantedRequest{ChainId: uint32(payees.is.ID), Links: []*servicev1.LinkName{{From: place(way.Src), To: place(way.Dst)}}})
	if err != nil || len(wanted.GetHeads()) == 0 {
		t.Fatalf("%v, %v", wanted, err)
	}
	if row, err := link.DecodeInbound(wanted.GetLinks()[0].GetInbound()); err != nil || row.Next != 1 {
		t.Errorf("row %+v, %v", row, err)
	}

	certs, err := here.relays().ListCertificates(s.ctx(), &servicev1.ListCertificatesRequest{ChainId: id, FromHeight: 1})
	if err != nil || len(certs.GetCertificates()) != 0 || certs.GetHeadHeight() != 2 {
		t.Errorf("none yet: %v, %v", certs, err)
	}
	home.mu.Lock()
	home.certify = true
	home.mu.Unlock()
	certs, err = here.relays().ListCertificates(s.ctx(), &servicev1.ListCertificatesRequest{ChainId: id, FromHeight: 1, Limit: 64})
	if err != nil || len(certs.GetCertificates()) != 2 || certs.GetCertifiedHeight() != 2 {
		t.Fatalf("%v, %v", certs, err)
	}
	if got, err := cert.Decode(certs.GetCertificates()[1]); err != nil || got.Checkpoint.Height != 2 {
		t.Errorf("%v, %v", got, err)
	}
	s.certificate(s.height())
	if main, err := here.relays().ListCertificates(s.ctx(), &servicev1.ListCertificatesRequest{ChainId: 1, FromHeight: s.height()}); err != nil || len(main.GetCertificates()) != 1 {
		t.Errorf("of main: %v, %v", main, err)
	}

	if _, err := here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: id, Payload: []byte("new")}); err != nil || len(home.relays) != 1 {
		t.Errorf("%v", err)
	}
	_, err = here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: id, Payload: []byte("known")})
	wantProblem(t, err, codes.FailedPrecondition, "NOTHING_NEW")
	_, err = away.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: id, Payload: []byte("new")})
	wantProblem(t, err, codes.FailedPrecondition, api.ReasonNotHosted)
	_, err = here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: id})
	wantProblem(t, err, codes.InvalidArgument, "TOO_LARGE")
	_, err = here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: 1, Payload: []byte("new")})
	wantBadField(t, err, "chain_id")
	_, err = here.relays().GetOutbox(s.ctx(), &servicev1.GetOutboxRequest{ChainId: id, Height: 3})
	wantProblem(t, err, codes.NotFound, api.ReasonBlockNotFound)
	_, err = here.relays().GetWanted(s.ctx(), &servicev1.GetWantedRequest{ChainId: id, Links: make([]*servicev1.LinkName, api.MaxWantedLinks+1)})
	wantBadField(t, err, "links")
	_, err = here.relays().ListCertificates(s.ctx(), &servicev1.ListCertificatesRequest{ChainId: id, FromHeight: 1, Limit: 65})
	wantBadField(t, err, "limit")
	_, err = here.relays().ListCertificates(s.ctx(), &servicev1.ListCertificatesRequest{ChainId: id})
	wantBadField(t, err, "from_height")
}

// states are the states of the steps of a hop.
func states(steps []*servicev1.Step) (list []servicev1.HopState) {
	for _, s := range steps {
		list = append(list, s.GetState())
	}
	return list
}

const (
	committed = servicev1.HopState_HOP_STATE_COMMITTED
	anchored  = servicev1.HopState_HOP_STATE_ANCHORED
	delivered = servicev1.HopState_HOP_STATE_DELIVERED
	executed  = servicev1.HopState_HOP_STATE_EXECUTED
	acked     = servicev1.HopState_HOP_STATE_ACKED
)

// TestTraceOfOldMessage: a message is traced to its execution however many others came over
// the link after it.
func TestTraceOfOldMessage(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	at, _ := home.Head()
	const later = 300
	place := service.HomeOf(s.payer.addr)
	for i := range later {
		notice := channel.OpenedNotice{
			Index: 1_000 + uint64(i), ID: ledger.HashOf("later", []byte{byte(i >> 8), byte(i)}), Payer: s.payer.addr, Payee: c.payee.addr,
			VoucherKey: c.key.Public(), Service: 1, Deposit: 100_000, ExpiresAt: s.later(),
		}
		if _, err := s.light.Links().Send(link.Draft{
			Link: link.Link{Dst: link.Place{Service: 1, Zone: place.Zone, Bucket: place.Bucket}}, Kind: uint16(channel.NoticeOpened), Recipient: s.payer.addr, Payload: notice.Encode(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.light.Block()
	for i := range later {
		home.mu.Lock()
		home.block([]*shardblock.Relay{s.light.Notices(s.light.Height(), i, i+1)})
		home.mu.Unlock()
	}
	for _, n := range []*shardNode{here, away} {
		got, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: api.TransactionName(c.open)})
		if err != nil || len(got.GetHops()) != 1 {
			t.Fatalf("%s: %v, %v", n.name, got, err)
		}
		h := got.GetHops()[0]
		if h.GetState() != executed || h.GetSteps()[len(h.GetSteps())-1].GetHeight() != at {
			t.Errorf("%s: executed in block %d: %v", n.name, at, h)
		}
	}
}

// TestTraceOfBooking: earnings on their way from shard to shard, asked at a node that runs
// neither.
func TestTraceOfBooking(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	resp, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	name := resp.GetBooking().GetName()
	trace := func(n *shardNode) *servicev1.TraceResponse {
		t.Helper()
		got, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.GetHops()) != 1 || got.GetOrigin().GetChainId() != uint32(home.is.ID) {
			t.Fatalf("%s: %v", n.name, got)
		}
		return got
	}
	first := trace(away)
	h := first.GetHops()[0]
	if first.GetOrigin().GetState() != committed || first.GetOrigin().GetEvidence() != servicev1.Evidence_EVIDENCE_CLAIMED || !h.GetNetted() || h.GetKindName() != "earnings" ||
		h.GetState() != committed || h.GetToChainId() != uint32(payees.is.ID) || h.GetRecipient() != c.payee.addr.String() {
		t.Errorf("committed: %v", first)
	}
	if e := h.GetSteps()[0].GetProof().GetEvidence(); e != servicev1.Evidence_EVIDENCE_CLAIMED {
		t.Errorf("without a certificate it is %v", e)
	}
	home.mu.Lock()
	home.certify = true
	home.mu.Unlock()
	if e := trace(away).GetHops()[0].GetSteps()[0].GetProof().GetEvidence(); e != servicev1.Evidence_EVIDENCE_VERIFIED {
		t.Errorf("with a certificate it is %v", e)
	}
	s.anchorAll(home.is.ID)
	at := s.runs[home.is.ID][0].Height
	s.deliver(home, payees)
	for _, n := range []*shardNode{here, away} {
		got := trace(n)
		h := got.GetHops()[0]
		if got.GetOrigin().GetState() != anchored || h.GetState() != executed || !slices.Equal(states(h.GetSteps()), []servicev1.HopState{committed, anchored, delivered, executed}) {
			t.Errorf("%s: executed: %v", n.name, got)
		}
		for _, step := range []*servicev1.Step{h.GetSteps()[1], got.GetOrigin().GetSteps()[1]} {
			if step.GetChainId() != 1 || step.GetHeight() != at || step.GetTime() == nil || step.GetProof().GetHeight() != at {
				t.Errorf("%s: anchored by block %d: %v", n.name, at, step)
			}
		}
		if last := h.GetSteps()[3]; last.GetHeight() == 0 || last.GetChainId() != uint32(payees.is.ID) || last.GetTime() == nil {
			t.Errorf("%s: %v", n.name, last)
		}
	}
	// An acknowledgement proves that the message was taken in, not what came of it.
	payees.mu.Lock()
	payees.certify = true
	payees.mu.Unlock()
	h = trace(away).GetHops()[0]
	if taken, ran := h.GetSteps()[2].GetProof().GetEvidence(), h.GetSteps()[3].GetProof().GetEvidence(); taken != servicev1.Evidence_EVIDENCE_VERIFIED || ran != servicev1.Evidence_EVIDENCE_CLAIMED || h.GetNote() == "" {
		t.Errorf("taken in: %v, executed: %v, %q", taken, ran, h.GetNote())
	}
	s.deliver(payees, home) // the acknowledgement
	for _, n := range []*shardNode{here, away} {
		if h := trace(n).GetHops()[0]; h.GetState() != acked {
			t.Errorf("%s: acked: %v", n.name, h)
		}
	}
	_, err = away.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: api.TransactionName(ledger.Hash{3})})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
	_, err = away.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: "blocks/3"})
	wantBadField(t, err, "name")
}

// TestTraceOfOpening: the notice that a channel was opened, from the main chain to its
// home.
func TestTraceOfOpening(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee)
	home := s.home(s.payer.addr)
	for _, n := range []*shardNode{here, away} {
		got, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: api.TransactionName(c.open)})
		if err != nil || len(got.GetHops()) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		h := got.GetHops()[0]
		if h.GetKindName() != channel.NoticeOpened.String() || h.GetFromChainId() != 1 || h.GetToChainId() != uint32(home.is.ID) || h.GetNetted() || h.GetSteps()[0].GetTime() == nil {
			t.Errorf("%s: %v", n.name, got)
		}
	}
	c.told()
	got, err := away.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: api.TransactionName(c.open)})
	if err != nil || got.GetHops()[0].GetState() != executed || got.GetHops()[0].GetCode() != 0 {
		t.Errorf("taken in: %v, %v", got, err)
	}
	for _, bad := range []*servicev1.GetMessageRequest{
		{ChainId: 4},
		{ChainId: 4, What: &servicev1.GetMessageRequest_Sent_{Sent: &servicev1.GetMessageRequest_Sent{}}},
		{ChainId: 4, What: &servicev1.GetMessageRequest_Known_{Known: &servicev1.GetMessageRequest_Known{From: &servicev1.Place{Zone: 256}}}},
	} {
		_, err := here.routing().GetMessage(s.ctx(), bad)
		wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
	}
}

// TestTraceOfVouchers: what a booking booked is followed to the settlement that paid it,
// over whatever node.
func TestTraceOfVouchers(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	var names []string
	for _, cumulative := range []ledger.Amount{1_000, 3_000, 4_000} {
		resp, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(cumulative)))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, resp.GetBooking().GetName())
	}
	trace := func(n *shardNode, name string) *servicev1.TracedVoucher {
		t.Helper()
		got, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: name, Shard: api.ShardName(home.is.ID)})
		if err != nil || len(got.GetVouchers()) != 1 {
			t.Fatalf("%s: %v, %v", n.name, got, err)
		}
		return got.GetVouchers()[0]
	}
	const booked, paid = servicev1.VoucherState_VOUCHER_STATE_BOOKED, servicev1.VoucherState_VOUCHER_STATE_PAID
	if v := trace(away, names[0]); v.GetState() != booked || v.GetSettlement() != "" || v.GetCumulative() != 1_000 || v.GetSeq() != 1 ||
		v.GetChannelIndex() != c.index || v.GetEvidence() != servicev1.Evidence_EVIDENCE_CLAIMED {
		t.Errorf("booked: %v", v)
	}
	home.mu.Lock()
	home.certify = true
	home.mu.Unlock()
	if v := trace(away, names[0]); v.GetEvidence() != servicev1.Evidence_EVIDENCE_VERIFIED {
		t.Errorf("certified: %v", v)
	}
	// The payee settles 1,000, and somebody else 3,000.
	settle := func(by *account, cumulative ledger.Amount) (string, uint64) {
		b := c.usage(cumulative).Batch
		tx := s.do(by, chain.KindSettle, b.Encode())
		if tx.GetCode() != chainv1.Code_CODE_OK {
			t.Fatalf("settle: %v", tx)
		}
		hash := ledger.Hash(tx.GetHash())
		return api.SettlementName(hash), tx.GetHeight()
	}
	first, firstHeight := settle(s.payee, 1_000)
	second, secondHeight := settle(s.payer, 3_000)
	for _, n := range []*shardNode{here, away} {
		for i, want := range []struct {
			name   string
			height uint64
			state  servicev1.VoucherState
		}{{first, firstHeight, paid}, {second, secondHeight, paid}, {"", 0, booked}} {
			v := trace(n, names[i])
			if v.GetState() != want.state || v.GetSettlement() != want.name || v.GetHeight() != want.height || (v.GetTime() != nil) != (want.height > 0) {
				t.Errorf("%s: booking %d: %v, want %+v", n.name, i, v, want)
			}
		}
	}

	// What is not of the booking's block is not followed.
	o := &others{node: here, names: []string{"here"}}
	o.answer = func(_ context.Context, _ string, call func() error, resp proto.Message) error {
		err := call()
		if m, ok := resp.(*servicev1.GetMessageResponse); ok && len(m.GetVouchers()) > 0 {
			m.Vouchers[0].Proof[20] ^= 1
		}
		return err
	}
	got, err := s.gateway(o).routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: names[0], Shard: api.ShardName(home.is.ID)})
	if err != nil || len(got.GetVouchers()) != 0 || len(got.GetNotes()) == 0 {
		t.Errorf("a forged proof: %v, %v", got, err)
	}
}

// TestShardEvents: what happened to shards is listed newest first, by pages that do not
// overlap, and only what was asked for.
func TestShardEvents(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	split := registry.Event{Kind: registry.EventHolds, TxIndex: -1, Service: 1, Zone: 1, Change: shard.Split, Shards: []shard.ID{4}, Heirs: []shard.ID{8, 9}, Epoch: 3}
	s.news = []exec.ShardEvents{
		{Height: 3, Shards: []settlement.ShardEvent{
			{Kind: settlement.ShardAnchored, TxIndex: 2, Shard: 4, First: 7, Last: 9},
			{Kind: settlement.ShardFinished, TxIndex: 2, Shard: 4, Last: 9},
			{Kind: settlement.ShardFounded, TxIndex: 2, Shard: 8, Epoch: 3},
		}},
		{Height: 2, Registry: []registry.Event{split}, Shards: []settlement.ShardEvent{{Kind: settlement.ShardRedrawn, TxIndex: -1, Shard: 2, Last: 40, Epoch: 1, Round: 1, Generation: 2}}},
		{Height: 1, Registry: []registry.Event{{Kind: registry.EventServes, Service: 7, Validator: 3, Epoch: 2}}},
	}
	kinds := func(req *servicev1.ListShardEventsRequest) (list []string) {
		t.Helper()
		for {
			page, err := here.services().ListShardEvents(s.ctx(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.GetEvents() {
				list = append(list, strings.TrimPrefix(e.GetKind().String(), "KIND_"))
			}
			if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
				return list
			}
		}
	}
	for name, row := range map[string]struct {
		req  *servicev1.ListShardEventsRequest
		want string
	}{
		"all":          {&servicev1.ListShardEventsRequest{}, "FOUNDED FINISHED HOLDS DRAWN_ANEW SERVES"},
		"with anchors": {&servicev1.ListShardEventsRequest{Anchors: true}, "FOUNDED FINISHED ANCHORED HOLDS DRAWN_ANEW SERVES"},
		"one by one":   {&servicev1.ListShardEventsRequest{Anchors: true, PageSize: 1}, "FOUNDED FINISHED ANCHORED HOLDS DRAWN_ANEW SERVES"},
		"of a shard":   {&servicev1.ListShardEventsRequest{Shard: "shards/4", PageSize: 1}, "FINISHED HOLDS"},
		"of an heir":   {&servicev1.ListShardEventsRequest{Shard: "shards/9"}, "HOLDS"},
		"of a service": {&servicev1.ListShardEventsRequest{Service: "services/content"}, "FINISHED HOLDS DRAWN_ANEW"},
	} {
		if got := strings.Join(kinds(row.req), " "); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
	page, err := here.services().ListShardEvents(s.ctx(), &servicev1.ListShardEventsRequest{Shard: "shards/4"})
	if err != nil || len(page.GetEvents()) != 2 {
		t.Fatalf("%v, %v", page, err)
	}
	if e := page.GetEvents()[0]; e.GetTxIndex() != 2 || e.GetService() != "services/1" || e.GetZone() != 1 || e.GetLastHeight() != 9 || e.GetHeight() != 3 {
		t.Errorf("%v", e)
	}
	if e := page.GetEvents()[1]; e.TxIndex != nil || e.GetChange() != "split" || !slices.Equal(e.GetHeirs(), []string{"shards/8", "shards/9"}) || e.GetTime() == nil {
		t.Errorf("%v", e)
	}
	page, err = here.services().ListShardEvents(s.ctx(), &servicev1.ListShardEventsRequest{Shard: "shards/2"})
	if err != nil || len(page.GetEvents()) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	if e := page.GetEvents()[0]; e.GetGeneration() != 2 || e.GetLastHeight() != 40 || e.GetRound() != 1 {
		t.Errorf("%v", e)
	}
	_, err = here.services().ListShardEvents(s.ctx(), &servicev1.ListShardEventsRequest{Shard: "shards/x"})
	wantBadField(t, err, "shard")
	_, err = here.services().ListShardEvents(s.ctx(), &servicev1.ListShardEventsRequest{PageToken: "x"})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
}
