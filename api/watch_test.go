package api_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// watcher is a test's end of WatchChannels.
type watcher struct {
	t      testing.TB
	s      channelv1.ChannelService_WatchChannelsClient
	cancel context.CancelFunc
	token  string
}

// watch opens a watch and reads its first heartbeat.
func (w *world) watch(req *channelv1.WatchChannelsRequest) *watcher {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), soon)
	w.t.Cleanup(cancel)
	s, err := w.channels().WatchChannels(ctx, req)
	if err != nil {
		w.t.Fatal(err)
	}
	x := &watcher{t: w.t, s: s, cancel: cancel}
	if m := x.next(); m.GetHeartbeat() == nil {
		w.t.Fatalf("the first message is %v", m)
	}
	return x
}

func (x *watcher) next() *channelv1.WatchChannelsResponse {
	x.t.Helper()
	m, err := x.s.Recv()
	if err != nil {
		x.t.Fatalf("Recv: %v", err)
	}
	if m.GetResumeToken() == "" {
		x.t.Fatalf("no token in %v", m)
	}
	x.token = m.GetResumeToken()
	return m
}

// events returns the next n events that are no notices, as "kind name".
func (x *watcher) events(n int) []string {
	x.t.Helper()
	var got []string
	for len(got) < n {
		if e := x.next().GetEvent(); e != nil && e.GetKind() != channelv1.ChannelEvent_KIND_EXPIRING {
			got = append(got, fmt.Sprint(e.GetKind(), " ", e.GetName()))
		}
	}
	return got
}

// play makes some history: channels opened, redeemed and one of them closing.
func (w *world) play() *lot {
	w.t.Helper()
	l := w.openLot(3, 50_000, w.later())
	for range 3 {
		req := signed(l.settle(0, 2, 100))
		req.WaitFor = chainv1.Stage_STAGE_FINAL
		if _, err := w.settlements().SubmitSettlement(w.ctx(), req); err != nil {
			w.t.Fatal(err)
		}
	}
	c := channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[0]}}
	if _, err := w.channels().RequestClose(w.ctx(), &channelv1.RequestCloseRequest{
		Transaction: &channelv1.RequestCloseRequest_SignedTx{SignedTx: w.tx(w.payer, chain.KindRequestClose, c.Encode())},
		WaitFor:     chainv1.Stage_STAGE_FINAL,
	}); err != nil {
		w.t.Fatal(err)
	}
	return l
}

// history is what play does to the channels a watch of all would see.
func history(l *lot) []string {
	name := func(i int) string { return api.ChannelName(l.ids[i]) }
	var h []string
	for i := range l.ids {
		h = append(h, "KIND_OPENED "+name(i))
	}
	for range 3 {
		h = append(h, "KIND_REDEEMED "+name(0), "KIND_REDEEMED "+name(1))
	}
	return append(h, "KIND_CLOSE_REQUESTED "+name(0))
}

func wantEvents(t *testing.T, what string, got, want []string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v\nwant %v", what, got, want)
	}
}

func TestWatchLiveAndFromThePast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	live := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	byPayer := w.watch(&channelv1.WatchChannelsRequest{Payer: w.payer.addr.String()})
	stranger := w.watch(&channelv1.WatchChannelsRequest{Payee: w.other.addr.String()})
	l := w.play()
	want := history(l)
	wantEvents(t, "live", live.events(len(want)), want)
	wantEvents(t, "by payer", byPayer.events(len(want)), want)
	past := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), FromHeight: 1})
	wantEvents(t, "from height 1", past.events(len(want)), want)
	named := w.watch(&channelv1.WatchChannelsRequest{Names: []string{api.ChannelName(l.ids[1])}, FromHeight: 1})
	wantEvents(t, "by name", named.events(4), []string{want[1], want[4], want[6], want[8]})

	// The chain closes the channel at its deadline; nobody else hears of it.
	w.steps(int(w.gen.Params.DefaultChallenge) + 1)
	wantEvents(t, "finalised", live.events(1), []string{"KIND_FINALISED " + api.ChannelName(l.ids[0])})
	stranger.cancel()
	for {
		m, err := stranger.s.Recv()
		if err != nil {
			break
		}
		if m.GetEvent() != nil {
			t.Errorf("a stranger was told %v", m)
		}
	}
}

// TestOpenedCarriesTheChannel: the event of an open has the channel as it was
// opened, whatever has happened to it since, unless it is closed.
func TestOpenedCarriesTheChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.play() // the first channel is closing, the second redeemed
	opened := func() (all []*channelv1.Channel) {
		t.Helper()
		x := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), FromHeight: 1})
		defer x.cancel()
		for len(all) < len(l.ids) {
			e := x.next().GetEvent()
			if e.GetKind() != channelv1.ChannelEvent_KIND_OPENED {
				t.Fatalf("not an open: %v", e)
			}
			all = append(all, e.GetChannel())
		}
		return all
	}
	for i, got := range opened() {
		resp, err := w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: api.ChannelName(l.ids[i])})
		if err != nil {
			t.Fatal(err)
		}
		want := resp.GetChannel()
		want.State, want.RedeemedTotal, want.BurnedTotal, want.CloseAt, want.Lanes = channelv1.ChannelState_CHANNEL_STATE_OPEN, 0, 0, 0, nil
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("channel %d (-want +got):\n%s", i, diff)
		}
	}
	w.steps(int(w.gen.Params.DefaultChallenge) + 2)
	if all := opened(); all[0] != nil || all[1] == nil {
		t.Errorf("after the first one was closed: %v", all)
	}
}

// TestWatchResumesAnywhere cuts a watch after every message and resumes it.
func TestWatchResumesAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.play()
	want := history(l)
	req := &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), FromHeight: 1}
	var got []string
	for len(got) < len(want) {
		x := w.watch(req)
		got = append(got, x.events(1)...)
		req = &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), ResumeToken: x.token}
		x.cancel()
	}
	wantEvents(t, "cut after every event", got, want)
	other := &channelv1.WatchChannelsRequest{Names: []string{api.ChannelName(l.ids[1])}, ResumeToken: req.GetResumeToken()}
	w.watch(other).cancel() // a token is good for any filter
}

func TestWatchTellsOfGaps(t *testing.T) {
	t.Parallel()
	const kept = 4
	w := newChain(t, func(c *exec.Config) { c.KeepReceipts = kept })
	w.open()
	l := w.openLot(1, 50_000, w.later())
	w.steps(3) // out of memory
	req := signed(l.settle(0, 1, 100))
	req.WaitFor = chainv1.Stage_STAGE_FINAL
	if _, err := w.settlements().SubmitSettlement(w.ctx(), req); err != nil {
		t.Fatal(err)
	}
	missing := w.height() - kept
	x := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), FromHeight: 1})
	if gap := x.next().GetGap(); gap.GetFromHeight() != 1 || gap.GetToHeight() != missing {
		t.Errorf("gap %v, want 1 to %d", gap, missing)
	}
	wantEvents(t, "behind the gap", x.events(1), []string{"KIND_REDEEMED " + api.ChannelName(l.ids[0])})
	_, err := w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: "blocks/1"})
	wantProblem(t, err, codes.DataLoss, api.ReasonPruned)
}

func TestWatchNoticesExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	challenge := uint64(w.gen.Params.DefaultChallenge)
	expires := w.height() + 3*challenge + 10
	l := w.openLot(3, 50_000, expires)
	near := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), ExpiringWithin: 5})
	far := w.watch(&channelv1.WatchChannelsRequest{Names: []string{api.ChannelName(l.ids[1])}, ExpiringWithin: 10_000})
	notice := func(x *watcher) *channelv1.ChannelEvent {
		t.Helper()
		for {
			if e := x.next().GetEvent(); e != nil {
				return e
			}
		}
	}
	if e := notice(far); e.GetKind() != channelv1.ChannelEvent_KIND_EXPIRING || e.GetName() != api.ChannelName(l.ids[1]) || e.GetDeadline() != expires || e.TxIndex != nil {
		t.Errorf("notice %v", e)
	}
	// One of them is closing: its deadline was told, and it gets no notice.
	c := channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[0]}}
	if _, err := w.channels().RequestClose(w.ctx(), &channelv1.RequestCloseRequest{
		Transaction: &channelv1.RequestCloseRequest_SignedTx{SignedTx: w.tx(w.payer, chain.KindRequestClose, c.Encode())}, WaitFor: chainv1.Stage_STAGE_FINAL,
	}); err != nil {
		t.Fatal(err)
	}
	if e := notice(near); e.GetKind() != channelv1.ChannelEvent_KIND_CLOSE_REQUESTED {
		t.Errorf("event %v", e)
	}
	for w.height() < expires-4 {
		w.step()
	}
	if e := notice(near); e.GetKind() != channelv1.ChannelEvent_KIND_FINALISED || e.GetName() != api.ChannelName(l.ids[0]) {
		t.Errorf("event %v", e)
	}
	for i := 1; i < 3; i++ {
		e := notice(near)
		if e.GetKind() != channelv1.ChannelEvent_KIND_EXPIRING || e.GetName() != api.ChannelName(l.ids[i]) {
			t.Errorf("notice %d: %v", i, e)
		}
	}
	w.steps(5)
	wantEvents(t, "the end", near.events(2), []string{"KIND_FINALISED " + api.ChannelName(l.ids[1]), "KIND_FINALISED " + api.ChannelName(l.ids[2])})
	// A channel opened within the distance is noticed at once.
	wide := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), ExpiringWithin: 1_000})
	w.openLot(1, 50_000, w.height()+3*challenge+5)
	if e := notice(wide); e.GetKind() != channelv1.ChannelEvent_KIND_OPENED {
		t.Errorf("event %v", e)
	}
	if e := notice(wide); e.GetKind() != channelv1.ChannelEvent_KIND_EXPIRING {
		t.Errorf("notice %v", e)
	}
}

// TestSlowWatcher: a watcher that does not read for a thousand blocks delays
// nobody and loses nothing.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(20, 1_000_000, w.later())
	slow := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	const rounds = 100
	for range rounds {
		req := signed(l.settle(0, 20, 1))
		req.WaitFor = chainv1.Stage_STAGE_FINAL
		if _, err := w.settlements().SubmitSettlement(w.ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	redeemed := make(map[string]uint64)
	for range rounds * 20 {
		e := slow.next().GetEvent()
		if e == nil || e.GetKind() != channelv1.ChannelEvent_KIND_REDEEMED || e.GetRedeemedTotal() != redeemed[e.GetName()]+1 {
			t.Fatalf("event %v after a total of %d", e, redeemed[e.GetName()])
		}
		redeemed[e.GetName()]++
	}
}

func TestWatchHeartbeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Heartbeat = 10 * time.Millisecond })
	x := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	w.steps(5)
	for {
		hb := x.next().GetHeartbeat()
		if hb.GetHeight() == w.height() && hb.GetLagBlocks() == 0 {
			break
		}
	}
	// A watch that is behind says so before it catches up.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := w.channels().WatchChannels(ctx, &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String(), FromHeight: 2})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil || uint64(m.GetHeartbeat().GetLagBlocks()) != w.height()-1 {
		t.Errorf("first heartbeat %v at height %d, %v", m, w.height(), err)
	}
}

// TestWatchHeartbeatAmongEvents: how far the node is comes every few seconds also if
// there are events all the time, which do not say it.
func TestWatchHeartbeatAmongEvents(t *testing.T) {
	t.Parallel()
	var passed atomic.Int64 // on the server's clock
	begin := time.Now()
	w := newWorld(t, func(c *api.Config) {
		c.Heartbeat = 5 * time.Second
		c.Now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	})
	l := w.openLot(1, 1_000_000, w.later())
	x := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	const rounds = 4
	for range rounds {
		passed.Add(int64(2 * time.Second))
		req := signed(l.settle(0, 1, 1))
		req.WaitFor = chainv1.Stage_STAGE_FINAL
		if _, err := w.settlements().SubmitSettlement(w.ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	for events := 0; ; {
		m := x.next()
		if m.GetHeartbeat() != nil {
			return
		}
		if events++; events == rounds {
			t.Fatalf("%d events in %v, and no heartbeat", events, 2*rounds*time.Second)
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]string, 1001)
	for i := range many {
		many[i] = api.ChannelName(ledger.Hash{byte(i), byte(i >> 8)})
	}
	payee := w.payee.addr.String()
	for _, row := range []struct {
		name  string
		req   *channelv1.WatchChannelsRequest
		field string
	}{
		{"nothing to watch", &channelv1.WatchChannelsRequest{}, "names"},
		{"too many names", &channelv1.WatchChannelsRequest{Names: many}, "names"},
		{"no name", &channelv1.WatchChannelsRequest{Names: []string{api.ChannelName(ledger.Hash{}), "x"}}, "names[1]"},
		{"payer", &channelv1.WatchChannelsRequest{Payer: "trib1x"}, "payer"},
		{"payee", &channelv1.WatchChannelsRequest{Payee: "trib1x"}, "payee"},
		{"two places", &channelv1.WatchChannelsRequest{Payee: payee, FromHeight: 1, ResumeToken: "x"}, "from_height"},
		{"no token", &channelv1.WatchChannelsRequest{Payee: payee, ResumeToken: "x"}, "resume_token"},
		{"token of a list", &channelv1.WatchChannelsRequest{Payee: payee, ResumeToken: api.NewPager(w.domain.Network, "ListBlocks").Token(3, make([]byte, 8))}, "resume_token"},
		{"token of another network", &channelv1.WatchChannelsRequest{Payee: payee, ResumeToken: api.NewPager(ledger.Hash{1}, "WatchChannels").Token(3, make([]byte, 8))}, "resume_token"},
	} {
		s, err := w.channels().WatchChannels(w.ctx(), row.req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv()
		if p := wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField); len(p.fields) != 1 || p.fields[0] != row.field {
			t.Errorf("%s: fields %v, want %s", row.name, p.fields, row.field)
		}
	}
}

func TestWatchEndsWithTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	x := w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	st := w.openStream(hello(newID()))
	w.stop()
	for {
		if _, err := x.s.Recv(); err != nil {
			wantProblem(t, err, codes.Unavailable, api.ReasonShuttingDown)
			break
		}
	}
	for {
		if _, err := st.recv(); err != nil {
			if errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			wantProblem(t, err, codes.Unavailable, api.ReasonShuttingDown)
			break
		}
	}
}
