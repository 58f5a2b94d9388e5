package api_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// This file plays clients that take all they can get.

// newOpenWorld serves a network that is not local on TCP, to callers from
// several addresses.
func newOpenWorld(t *testing.T, change ...func(*api.Config)) (w *world, from func(ip string) *world) {
	t.Helper()
	w = newChain(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(listener, append([]func(*api.Config){func(c *api.Config) { c.Network.Local, c.Limits.SharePercent = false, 25 }}, change...)...)
	return w, func(ip string) *world {
		caller := &world{
			t: w.t, cfg: w.cfg, gen: w.gen, exec: w.exec, domain: w.domain, node: w.node, store: w.store,
			payer: w.payer, payee: w.payee, other: w.other,
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		caller.dial = func(ctx context.Context, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", listener.Addr().String())
		}
		caller.conn = caller.connect()
		return caller
	}
}

// refusedWatch wants another watch to be refused.
func (w *world) refusedWatch() {
	w.t.Helper()
	s, err := w.channels().WatchChannels(w.ctx(), &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	if err == nil {
		_, err = s.Recv()
	}
	wantProblem(w.t, err, codes.ResourceExhausted, api.ReasonTooManyStreams)
}

// refusedStream wants another settlement stream to be refused.
func (w *world) refusedStream() {
	w.t.Helper()
	s, err := w.settlements().StreamSettlements(w.ctx())
	if err == nil {
		_, err = s.Recv()
	}
	wantProblem(w.t, err, codes.ResourceExhausted, api.ReasonTooManyStreams)
}

// TestNobodyTakesAllStreams: an address has its share, over however many
// connections, and what it leaves is there for others and comes back.
func TestNobodyTakesAllStreams(t *testing.T) {
	t.Parallel()
	_, from := newOpenWorld(t, func(c *api.Config) { c.Limits.Watches, c.Limits.SettlementStreams = 8, 4 })
	greedy, again, victim := from("127.0.0.1"), from("127.0.0.1"), from("127.0.0.2")
	byPayee := &channelv1.WatchChannelsRequest{Payee: greedy.payee.addr.String()}
	first := greedy.watch(byPayee)
	again.watch(byPayee)
	greedy.refusedWatch()
	again.refusedWatch()
	victim.watch(byPayee)

	greedy.openStream(hello(newID()))
	greedy.refusedStream()
	again.refusedStream()
	victim.openStream(hello(newID()))

	first.cancel()
	for { // the place comes back when the server notices
		s, err := greedy.channels().WatchChannels(greedy.ctx(), byPayee)
		if err == nil {
			_, err = s.Recv()
		}
		if err == nil {
			return
		}
		wantProblem(t, err, codes.ResourceExhausted, api.ReasonTooManyStreams)
	}
}

// TestConnectionsShareALocalNetwork: on a local network every program calls from
// the same address, so each connection has a share.
func TestConnectionsShareALocalNetwork(t *testing.T) {
	t.Parallel()
	_, from := newOpenWorld(t, func(c *api.Config) { c.Network.Local, c.Limits.SettlementStreams = true, 8 })
	greedy, victim := from("127.0.0.1"), from("127.0.0.1")
	for range 2 {
		greedy.openStream(hello(newID()))
	}
	greedy.refusedStream()
	victim.openStream(hello(newID()))
}

// TestNobodyTakesAllCalls: calls count from their headers on, so that a client
// that never sends its message holds no more places than its share, and those
// not for ever.
func TestNobodyTakesAllCalls(t *testing.T) {
	t.Parallel()
	_, from := newOpenWorld(t, func(c *api.Config) {
		c.Limits.InFlight, c.Limits.MaxDeadline = 16, 500*time.Millisecond
	})
	greedy, victim := from("127.0.0.1"), from("127.0.0.2")
	ask := func(w *world) error {
		_, err := w.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{})
		return err
	}
	var slow []grpc.ClientStream
	for range 4 {
		s, err := greedy.conn.NewStream(greedy.ctx(), &grpc.StreamDesc{ClientStreams: true}, nodev1.NodeService_GetStatus_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, s)
	}
	var err error
	for err == nil { // until the headers of all have come
		err = ask(greedy)
	}
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonOverloaded)
	if err := ask(victim); err != nil {
		t.Errorf("another address: %v", err)
	}
	for _, s := range slow {
		if err := s.RecvMsg(&nodev1.GetStatusResponse{}); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a call without message ends with %v", err)
		}
	}
	if err := ask(greedy); err != nil {
		t.Errorf("after the slow calls: %v", err)
	}
}

// TestStreamOfGarbageEnds: a client whose items are malformed is told of some,
// and then to look after them; others do not notice.
func TestStreamOfGarbageEnds(t *testing.T) {
	t.Parallel()
	w, from := newOpenWorld(t)
	greedy, victim := from("127.0.0.1"), from("127.0.0.2")
	w.conn = victim.conn
	l := victim.openLot(1, 100_000, w.later())
	st := greedy.openStream(hello(newID()))
	for seq := range uint64(1000) {
		st.item(seq, []byte{1})
	}
	told := 0
	for {
		m, err := st.recv()
		if err != nil {
			if p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonTooManyErrors); p.retry <= 0 {
				t.Error("no RetryInfo")
			}
			break
		}
		if m.GetError() != nil {
			told++
		}
	}
	if told > 100 {
		t.Errorf("%d errors were told, want at most 100", told)
	}
	other := victim.openStream(hello(newID()))
	other.item(1, l.settle(0, 1, 5))
	other.collect(0, 1)
}

// TestStreamPays: what a stream does comes out of the address's tokens. It is
// not refused, it waits.
func TestStreamPays(t *testing.T) {
	t.Parallel()
	_, from := newOpenWorld(t, func(c *api.Config) { c.Limits.RequestsPerSecond, c.Limits.Burst = 20, 20 })
	w := from("127.0.0.1")
	begin := time.Now()
	st := w.openStream(hello(newID()))
	const items = 30 // each refusal costs a call and more
	for seq := range uint64(items) {
		st.item(seq, []byte("garbage"))
	}
	for told := 0; told < items; {
		m, err := st.recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetError() != nil {
			told++
		}
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("%d items at 20 calls a second, 20 of them at once, took %v", items, took)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	r := api.NewRateLimiter(10, 5, func() time.Time { return now })
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	r.Charge(one, 8*api.CallCost) // more than a burst costs a burst
	if wait, ok := r.Take(one); ok || wait != 100*time.Millisecond {
		t.Errorf("after a burst of work: %v, %t", wait, ok)
	}
	for range 100 {
		r.Charge(one, 5*api.CallCost)
	}
	if wait, ok := r.Take(one); ok || wait > 1200*time.Millisecond {
		t.Errorf("in debt: %v, %t; want at most two bursts and a call", wait, ok)
	}
	if _, ok := r.Take(two); !ok {
		t.Error("another address pays")
	}
	if wait := r.Reserve(two, 4*api.CallCost); wait != 0 {
		t.Errorf("what is there is waited for, %v", wait)
	}
	if wait := r.Reserve(two, 2*api.CallCost); wait != 200*time.Millisecond {
		t.Errorf("work of two calls at 10 a second waits for %v", wait)
	}
}

func TestRequestIDsOfOneAddress(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	ids := api.NewSharedRequestIDs(100, 2, func() time.Time { return now })
	calls := 0
	submit := func() (ledger.Hash, error) { calls++; return ledger.Hash{9}, nil }
	use := func(id string) (again bool) {
		t.Helper()
		before := calls
		if _, err := ids.Do(t.Context(), id, [32]byte{1}, submit); err != nil {
			t.Fatal(err)
		}
		return calls == before
	}
	a, b, c := newID(), newID(), newID()
	for _, id := range []string{a, b, c} {
		use(id)
	}
	if !use(b) || !use(c) {
		t.Error("the newest ids of an address are forgotten")
	}
	if use(a) {
		t.Error("an address has more than its share")
	}
}

// hashNo is the i-th hash.
func hashNo(i int) (h ledger.Hash) {
	binary.BigEndian.PutUint64(h[:], uint64(i))
	return h
}

func attach(t *testing.T, l *api.StreamLogs, ip string) *api.StreamClient {
	t.Helper()
	c, err := l.Attach(uuid.New(), netip.MustParseAddr(ip))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStreamMemoryIsBounded: however clients behave, the logs of all together
// keep within the limit, every stream has its part, and of the clients that left
// the largest go first.
func TestStreamMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const total = 4 << 20
	logs, err := api.NewStreamLogs(api.Limits{StreamMemory: total, SettlementStreams: 16}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if held := logs.Held(); held > total || held < 0 {
			t.Fatalf("%d bytes are held, the limit is %d", held, total)
		}
	}
	fill := func(c *api.StreamClient, most int) (n int) {
		t.Helper()
		for n < most && c.Item(t.Context(), uint64(n), hashNo(n)) && c.Refusal(t.Context(), uint64(n), strings.Repeat("x", 5000)) {
			n++
			check()
		}
		return n
	}
	modest := attach(t, logs, "10.9.9.9") // has little, and leaves
	fill(modest, 3)
	modest.Detach()
	first := attach(t, logs, "10.0.0.1")
	alone := fill(first, 1e6)
	if alone < 100 {
		t.Errorf("one client alone has room for %d items and as many refusals", alone)
	}
	if first.Item(t.Context(), 1<<40, hashNo(1)) {
		t.Error("a full client has room")
	}
	greedy := []*api.StreamClient{first}
	for len(greedy) < 15 { // all streams but one
		c := attach(t, logs, "10.0.0.1")
		fill(c, 1e6)
		greedy = append(greedy, c)
	}
	if modest.Forgotten() {
		t.Error("who holds its part only is forgotten for those who want more than theirs")
	}
	if n := fill(attach(t, logs, "10.0.0.2"), 1e6); n < alone/10 {
		t.Errorf("a newcomer has room for %d items, the first one had for %d", n, alone)
	}

	// They leave, and come again under new names.
	for _, c := range greedy {
		c.Detach()
	}
	modest = attach(t, logs, "10.9.9.9")
	fill(modest, 3)
	modest.Detach()
	if n := fill(attach(t, logs, "10.0.0.3"), 1e6); n != alone {
		t.Errorf("when the others have left there is room for %d items, want %d", n, alone)
	}
	if !first.Forgotten() || modest.Forgotten() {
		t.Errorf("forgotten: the largest that left %t, the smallest %t", first.Forgotten(), modest.Forgotten())
	}
	for range 100 {
		c := attach(t, logs, "10.0.0.1")
		fill(c, 1e6)
		c.Detach()
	}
	check()

	// Who acknowledges has room again.
	c := attach(t, logs, "10.0.0.4")
	n := fill(c, 1e6)
	if err := c.Ack(uint64(3 * n)); err != nil {
		t.Fatal(err)
	}
	if again := fill(c, n); again < n {
		t.Errorf("after acknowledging everything there is room for %d items, before for %d", again, n)
	}
}

// TestStreamClientsOfOneAddress: who comes under many names makes the server
// forget its own clients and nobody else's.
func TestStreamClientsOfOneAddress(t *testing.T) {
	t.Parallel()
	logs, err := api.NewStreamLogs(api.Limits{StreamClients: 40}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	victim := attach(t, logs, "10.0.0.2")
	victim.Detach()
	for range 100 {
		attach(t, logs, "10.0.0.1").Detach()
	}
	if victim.Forgotten() || logs.Clients() != 11 {
		t.Errorf("the other address's client is forgotten: %t; %d clients, want 11", victim.Forgotten(), logs.Clients())
	}
}

// TestStreamMemoryIsReal compares what the logs are said to hold with the heap,
// also after clients have acknowledged most of what they had.
func TestStreamMemoryIsReal(t *testing.T) { //nolint:paralleltest // it reads the heap
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	logs, err := api.NewStreamLogs(api.Limits{StreamMemory: 32 << 20, SettlementStreams: 16}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var all []*api.StreamClient
	for range 12 {
		c := attach(t, logs, "10.0.0.1")
		for n := 0; c.Item(t.Context(), uint64(n), hashNo(n)); n++ {
			if n%4 == 0 && !c.Refusal(t.Context(), uint64(n), "no") {
				break
			}
		}
		all = append(all, c)
	}
	measure := func(what string) {
		t.Helper()
		said, grown := logs.Held(), heap()-before
		t.Logf("%s: %d KiB said, %d KiB on the heap", what, said>>10, grown>>10)
		if grown > said+said/4+(1<<20) {
			t.Errorf("%s: the logs are said to hold %d KiB, the heap grew by %d KiB", what, said>>10, grown>>10)
		}
	}
	measure("full")
	for _, c := range all {
		for seq := uint64(1); c.Ack(seq) == nil; seq++ {
			continue
		}
	}
	measure("empty")
	runtime.KeepAlive(all)
}

// sparseIndex finds nothing, and never ends.
type sparseIndex struct {
	api.Index
	scans int
}

func (x *sparseIndex) ListChannels(_ exec.ChannelFilter, from uint64, _ int) ([]exec.ChannelInfo, uint64, error) {
	x.scans++
	return nil, from + 1, nil
}

// TestListsThatFindNothing: a page looks through so much and no more, and with
// the caller's tokens spent through less.
func TestListsThatFindNothing(t *testing.T) {
	t.Parallel()
	index := &sparseIndex{}
	w := newWorld(t, func(c *api.Config) {
		index.Index = c.Index
		c.Index = index
		c.Limits.RequestsPerSecond, c.Limits.Burst = 0.001, 80
	})
	w.openLot(100, 50_000, w.later())
	var scans []int
	req := &channelv1.ListChannelsRequest{Payee: w.payee.addr.String()}
	for range 3 {
		index.scans = 0
		resp, err := w.channels().ListChannels(w.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" || len(resp.GetChannels()) != 0 {
			t.Fatalf("page %v", resp)
		}
		scans = append(scans, index.scans)
	}
	if scans[0] > 4 || scans[0] < 2 || scans[2] != 1 {
		t.Errorf("the pages took %v scans, want at most 4, and without tokens 1", scans)
	}
}

// TestSmallMessagesThatGrow: a request whose many empty parts would take a
// hundred times its size in memory is not decoded; the largest batches are, see
// TestTheLargestLegalRequestsPass.
func TestSmallMessagesThatGrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var empty rawMessage
	for range 1 << 19 {
		empty = append(empty, 0x12, 0) // OpenChannels.channels
	}
	open := rawMessage(append([]byte{0x12}, binary.AppendUvarint(nil, uint64(len(empty)))...))
	open = append(open, empty...)
	var answer rawMessage
	err := w.conn.Invoke(w.ctx(), channelv1.ChannelService_OpenChannels_FullMethodName, &open, &answer, grpc.ForceCodec(rawCodec{}))
	if s := status.Convert(err); s.Code() != codes.Internal || !strings.Contains(s.Message(), "too many parts") {
		t.Errorf("half a million empty channels: %v", err)
	}
}
