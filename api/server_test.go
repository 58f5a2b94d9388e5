package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain/exec"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

func TestHealthFollowsTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := grpc_health_v1.NewHealthClient(w.conn)
	check := func(service string) grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		resp, err := client.Check(w.ctx(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatalf("%q: %v", service, err)
		}
		return resp.GetStatus()
	}
	watch, err := client.Watch(w.ctx(), &grpc_health_v1.HealthCheckRequest{Service: api.ChainService})
	if err != nil {
		t.Fatal(err)
	}
	await := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			resp, err := watch.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetStatus() == want {
				return
			}
		}
	}
	services := []string{
		api.ChainService, "tributary.settlement.v1.SettlementService", "tributary.channel.v1.ChannelService",
		"tributary.account.v1.AccountService", "tributary.node.v1.NodeService",
		"tributary.staking.v1.StakingService", "tributary.consensus.v1.ConsensusService",
		"tributary.service.v1.ServiceChainService",
	}
	const serving, not = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING
	await(serving)
	for _, ready := range []bool{false, true} {
		w.node.setReady(ready)
		want := serving
		if !ready {
			want = not
		}
		await(want)
		if got := check(""); got != serving {
			t.Errorf("liveness is %v while the chain is ready=%v", got, ready)
		}
	}
	for _, name := range services {
		if got := check(name); got != serving {
			t.Errorf("%s is %v", name, got)
		}
	}
	_, err = client.Check(w.ctx(), &grpc_health_v1.HealthCheckRequest{Service: "nobody"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: %v", err)
	}
	go w.stop()
	await(not) // before connections are closed
}

func TestReflectionIsAnOption(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		w := newWorld(t, func(c *api.Config) { c.Reflection = on })
		s, err := grpc_reflection_v1.NewServerReflectionClient(w.conn).ServerReflectionInfo(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
		}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		resp, err := s.Recv()
		if !on {
			wantProblem(t, err, codes.Unimplemented, api.ReasonUnimplemented)
			continue
		}
		if err != nil || len(resp.GetListServicesResponse().GetService()) < 8 {
			t.Errorf("%v, %v", resp, err)
		}
	}
}

func TestFloodIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Limits.RequestsPerSecond, c.Limits.Burst = 1, 20 })
	refused := 0
	for range 50 {
		_, err := w.nodes().GetNetwork(w.ctx(), &nodev1.GetNetworkRequest{})
		if err == nil {
			continue
		}
		refused++
		if p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonRateLimited); p.retry <= 0 || p.retry > 2*time.Second {
			t.Fatalf("retry after %v", p.retry)
		}
	}
	if refused < 20 || refused > 30 {
		t.Errorf("%d of 50 calls were refused, want about 30", refused)
	}
	for range 30 {
		if _, err := grpc_health_v1.NewHealthClient(w.conn).Check(w.ctx(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatalf("a probe is refused because others ask too much: %v", err)
		}
	}
	s, err := w.channels().WatchChannels(w.ctx(), &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	if err == nil {
		_, err = s.Recv()
	}
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonRateLimited)
}

// slowPool answers when it is told to.
type slowPool struct {
	api.Pool
	entered chan struct{}
	leave   chan struct{}
}

func (p *slowPool) Submit(ctx context.Context, raw []byte) (exec.Status, error) {
	p.entered <- struct{}{}
	select {
	case <-p.leave:
	case <-ctx.Done():
		return exec.Status{}, ctx.Err()
	}
	return p.Pool.Submit(ctx, raw)
}

func TestCallsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	pool := &slowPool{entered: make(chan struct{}, 100), leave: make(chan struct{})}
	w := newWorld(t, func(c *api.Config) {
		pool.Pool = c.Pool
		c.Pool = pool
		c.Limits.InFlight = 8
	})
	var calls sync.WaitGroup
	raw := w.transfer(w.payer, w.other.addr, 1)
	submit := func() error {
		_, err := w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: raw})
		return err
	}
	fill := func(n int) {
		for range n {
			calls.Go(func() {
				if err := submit(); err != nil {
					t.Errorf("a call within the limit: %v", err)
				}
			})
		}
		for range n {
			<-pool.entered
		}
	}
	list := func() error {
		_, err := w.nodes().ListBlocks(w.ctx(), &nodev1.ListBlocksRequest{})
		return err
	}
	read := func() error {
		_, err := w.nodes().GetNetwork(w.ctx(), &nodev1.GetNetworkRequest{})
		return err
	}
	want := func(what string, err error, ok bool) {
		t.Helper()
		if ok {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		if p := wantProblem(t, err, codes.ResourceExhausted, api.ReasonOverloaded); p.retry <= 0 {
			t.Errorf("%s: no RetryInfo", what)
		}
	}
	fill(3)
	want("a list beside 3 of 8 calls", list(), true)
	fill(1)
	want("a list beside 4 of 8 calls", list(), false)
	want("a read beside 4 of 8 calls", read(), true)
	fill(2)
	want("a read beside 6 of 8 calls", read(), false)
	fill(2)
	want("a submission beside 8 of 8 calls", submit(), false)
	if _, err := grpc_health_v1.NewHealthClient(w.conn).Check(w.ctx(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("a probe of a full server: %v", err)
	}
	close(pool.leave)
	calls.Wait()
	want("afterwards", read(), true)
}

func TestDeadlineIsCapped(t *testing.T) {
	t.Parallel()
	pool := &slowPool{entered: make(chan struct{}, 1), leave: make(chan struct{})}
	w := newWorld(t, func(c *api.Config) {
		pool.Pool = c.Pool
		c.Pool = pool
		c.Limits.MaxDeadline = 20 * time.Millisecond
	})
	_, err := w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: w.transfer(w.payer, w.other.addr, 1)})
	wantProblem(t, err, codes.DeadlineExceeded, api.ReasonDeadline)
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Limits.Watches, c.Limits.SettlementStreams, c.Limits.StreamClients = 2, 1, 1 })
	for range 2 {
		w.watch(&channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	}
	s, err := w.channels().WatchChannels(w.ctx(), &channelv1.WatchChannelsRequest{Payee: w.payee.addr.String()})
	if err == nil {
		_, err = s.Recv()
	}
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonTooManyStreams)
	w.openStream(hello(newID()))
	st, err := w.settlements().StreamSettlements(w.ctx())
	if err == nil {
		_, err = st.Recv()
	}
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonTooManyStreams)
}

func TestOversizeAndMalformedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var raw rawMessage = []byte{0xff, 0xff, 0xff}
	err := w.conn.Invoke(w.ctx(), nodev1.NodeService_GetBlock_FullMethodName, &raw, &raw, grpc.ForceCodec(rawCodec{}))
	if status.Code(err) != codes.Internal { // said by gRPC itself
		t.Errorf("garbage: %v", err)
	}
	err = w.conn.Invoke(w.ctx(), "/tributary.node.v1.NodeService/Nothing", &nodev1.GetStatusRequest{}, &nodev1.GetStatusResponse{})
	wantProblem(t, err, codes.Unimplemented, api.ReasonUnimplemented)

	stream, err := w.conn.NewStream(w.ctx(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		settlementv1.SettlementService_StreamSettlements_FullMethodName, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&raw); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&raw); status.Code(err) != codes.Internal { // said by gRPC itself
		t.Errorf("garbage on a stream: %v", err)
	}

	huge := metadata.AppendToOutgoingContext(w.ctx(), "x-huge", strings.Repeat("x", 64<<10))
	if _, err := w.nodes().GetStatus(huge, &nodev1.GetStatusRequest{}); err == nil {
		t.Error("64 KiB of headers are accepted")
	}
	if _, err := w.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// rawMessage travels as it is.
type rawMessage []byte

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) {
	if m, ok := v.(*rawMessage); ok {
		return *m, nil
	}
	return nil, errors.New("not raw")
}

func (rawCodec) Unmarshal([]byte, any) error { return nil }
func (rawCodec) Name() string                { return "proto" }

// panicPool breaks.
type panicPool struct{ api.Pool }

func (p *panicPool) Stats() exec.Stats { panic("secret of the server") }

func TestPanicsStayInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Pool = &panicPool{c.Pool} })
	_, err := w.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{})
	p := wantProblem(t, err, codes.Internal, api.ReasonInternal)
	if strings.Contains(p.status.Message()+p.info.String(), "secret") {
		t.Errorf("internal text: %v", p.status)
	}
	if _, err := w.nodes().GetNetwork(w.ctx(), &nodev1.GetNetworkRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := newChain(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(listener, func(c *api.Config) { c.Limits.ConnsPerIP = 3 })
	dial := func() net.Conn {
		t.Helper()
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	// A server speaks first only to say goodbye or to begin HTTP/2.
	greeted := func(conn net.Conn) bool {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	var open []net.Conn
	for range 3 {
		conn := dial()
		if !greeted(conn) {
			t.Fatal("a connection within the limit is closed")
		}
		open = append(open, conn)
	}
	if greeted(dial()) {
		t.Error("a fourth connection is accepted")
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(soon); !greeted(dial()); {
		if time.Now().After(deadline) {
			t.Fatal("a closed connection does not give its place back")
		}
	}
}

func TestPlaintextOffLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	w := newChain(t)
	for _, row := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1:9090", true},
		{"[::1]:9090", true},
		{"localhost:9090", true},
		{"0.0.0.0:9090", false},
		{":9090", false},
		{"[::]:9090", false},
		{"10.0.0.1:9090", false},
		{"nonsense", false},
	} {
		if got := api.Loopback(row.addr); got != row.want {
			t.Errorf("Loopback(%q) = %v", row.addr, got)
		}
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	server, err := api.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(t.Context(), listener); !errors.Is(err, api.ErrPlaintext) {
		t.Errorf("Serve: %v", err)
	}
}

// writeCert writes a self-signed certificate of 127.0.0.1 into dir.
func writeCert(t *testing.T, dir string, serial int64) (files api.TLSFiles, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files = api.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(
		os.WriteFile(files.Cert, cert, 0o600),
		os.WriteFile(files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return files, pool
}

func TestTLS(t *testing.T) {
	t.Parallel()
	w := newChain(t)
	files, pool := writeCert(t, t.TempDir(), 1)
	cfg, err := api.LoadTLS(files, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.serve(listener, func(c *api.Config) { c.TLS = cfg })
	call := func(creds credentials.TransportCredentials) error {
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = nodev1.NewNodeServiceClient(conn).GetNetwork(w.ctx(), &nodev1.GetNetworkRequest{})
		return err
	}
	if err := call(credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	if err := call(credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12})); err == nil { //nolint:gosec // must be refused
		t.Error("TLS 1.2 is accepted")
	}
	if err := call(insecure.NewCredentials()); err == nil {
		t.Error("plaintext is accepted")
	}
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, _ := writeCert(t, dir, 1)
	now := time.Now()
	cfg, err := api.LoadTLS(files, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c, err := cfg.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	renewed, _ := writeCert(t, dir, 2)
	if err := os.Chtimes(renewed.Cert, now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d within the minute", got)
	}
	now = now.Add(2 * time.Minute)
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after a renewal", got)
	}
	if err := os.WriteFile(files.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after a broken renewal", got)
	}
	for _, row := range []struct {
		name  string
		files api.TLSFiles
	}{
		{"no certificate", api.TLSFiles{Cert: filepath.Join(dir, "none"), Key: files.Key}},
		{"broken certificate", files},
	} {
		if _, err := api.LoadTLS(row.files, time.Now); err == nil {
			t.Errorf("%s: accepted", row.name)
		}
	}
	good, _ := writeCert(t, t.TempDir(), 3)
	good.ClientCA = good.Cert
	mutual, err := api.LoadTLS(good, time.Now)
	if err != nil || mutual.ClientAuth != tls.RequireAndVerifyClientCert || mutual.MinVersion != tls.VersionTLS13 {
		t.Errorf("client authority: %v, %v", mutual, err)
	}
	good.ClientCA = good.Key
	if _, err := api.LoadTLS(good, time.Now); err == nil {
		t.Error("a client authority without certificate is accepted")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(c *api.Config) { c.Metrics = registry })
	l := w.openLot(1, 100_000, w.later())
	st := w.openStream(hello(newID()))
	st.item(1, l.settle(0, 1, 5))
	st.collect(0, 1)
	_, _ = w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: "x"})
	for i := range 3 { // labels are bounded whatever is called
		_ = w.conn.Invoke(w.ctx(), "/x"+string(rune('a'+i))+"/y", &nodev1.GetStatusRequest{}, &nodev1.GetStatusResponse{})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	requests := make(map[string]float64)
	finals := uint64(0)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch family.GetName() {
			case "tributary_grpc_requests_total":
				name := ""
				for _, label := range m.GetLabel() { // code, then method
					name += label.GetValue() + " "
				}
				requests[strings.TrimSpace(name)] = m.GetCounter().GetValue()
			case "tributary_settlement_finality_seconds":
				finals = m.GetHistogram().GetSampleCount()
			}
		}
	}
	want := map[string]float64{
		"InvalidArgument /tributary.node.v1.NodeService/GetBlock": 1,
		"OK /tributary.channel.v1.ChannelService/OpenChannels":    1,
		"Unimplemented other": 3,
	}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if finals != 1 {
		t.Errorf("%d batches became final, want 1", finals)
	}
	cfg := w.cfg
	cfg.Metrics = registry
	if _, err := api.New(cfg); err == nil {
		t.Error("two servers share one registry without a word")
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := api.New(api.Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}
