package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

const (
	defaultHeartbeat       = 5 * time.Second
	defaultShutdownTimeout = 5 * time.Second
)

// Network is what is fixed by the genesis.
type Network struct {
	Name    string
	Domain  chain.Domain
	Genesis time.Time
	Params  settlement.Params
	// Local says that it is a network for trying things out, with play money.
	Local bool
}

// Config is what a server is made of. Pool, State, Index, Prover, Agreement, Node,
// Now and Log must be set; the zero value of the others means what their comment says.
type Config struct {
	Network Network
	Pool    Pool
	State   State
	Index   Index
	Prover  Prover
	// Agreement has certificates and committees.
	Agreement Agreement
	Node      Node
	Hosting   Hosting // of shards; nil for a node that runs none
	// Shards are those that run on this node; nil means none.
	Shards Shards
	// States are those of shards that this node gives to others; nil means none.
	States ShardStates
	// Main proves to shards and about them; nil means that nothing is proved.
	Main Main
	// Peers are the nodes that run other shards; nil means that calls for those fail.
	Peers Forwarder

	// Faucet gives play money away; nil means that there is no faucet.
	Faucet *Faucet
	// TLS is what off-loopback listeners need; see LoadTLS. nil serves
	// plaintext, which Serve refuses off loopback.
	TLS *tls.Config
	// Plaintext serves plaintext off loopback all the same, for instance inside
	// a container whose ports are published on loopback only.
	Plaintext bool
	// Reflection lets clients ask for the services' descriptors.
	Reflection bool
	Limits     Limits

	// Heartbeat is the longest silence of a stream; default 5 s.
	Heartbeat time.Duration
	// HealthInterval is how often the chain's readiness is looked at; default
	// 500 ms.
	HealthInterval time.Duration
	// ShutdownTimeout is how long calls may go on when Serve is to end; default
	// 5 s.
	ShutdownTimeout time.Duration

	// Metrics, if set, gets the server's metrics.
	Metrics prometheus.Registerer
	Now     func() time.Time
	Log     *slog.Logger
}

// Server serves the API. Make it with New and run it with Serve, once.
type Server struct {
	cfg       Config
	grpc      *grpc.Server
	admission *admission
	metrics   *metrics
	health    *healthMonitor
	clients   *clients
	conns     *quota
	stopping  chan struct{} // closed when streams have to end
}

// New returns a server for c.
func New(c Config) (*Server, error) {
	if c.Pool == nil || c.State == nil || c.Index == nil || c.Prover == nil || c.Agreement == nil || c.Node == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("make the API server: Pool, State, Index, Prover, Agreement, Node, Now and Log must be set")
	}
	c.Limits = c.Limits.withDefaults()
	c.Heartbeat = cmp.Or(c.Heartbeat, defaultHeartbeat)
	c.HealthInterval = cmp.Or(c.HealthInterval, defaultHealthInterval)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, defaultShutdownTimeout)

	s := &Server{cfg: c, stopping: make(chan struct{})}
	s.admission = newAdmission(c.Limits, &s.cfg.Network, c.Now)
	s.conns = newQuota(c.Limits.Conns, c.Limits.ConnsPerIP)
	m, err := newMetrics(c.Metrics, s.admission, s.conns)
	if err != nil {
		return nil, err
	}
	s.metrics, s.admission.metrics = m, m
	s.clients = newClients(&s.cfg, m)
	s.register()
	return s, nil
}

// register makes the gRPC server and its services.
func (s *Server) register() {
	b := &backend{
		Config:  s.cfg,
		metrics: s.metrics, clients: s.clients, stopping: s.stopping,
		calls: s.admission, rates: s.admission.rates,
		proving: make(chan struct{}, proofsAtOnce),
		pages:   newPager(s.cfg.Network.Domain.Network),
		ids:     newRequestIDs(s.cfg.Limits.RequestIDs, s.requestIDShare, s.cfg.Now),
		maps:    &mapCache{},
		levels:  newLevelCache(),
		keys:    &keyCache{keys: make(map[ledger.Hash][]*bls.Key)},
	}
	descs := []grpc.ServiceDesc{
		settlementv1.SettlementService_ServiceDesc, channelv1.ChannelService_ServiceDesc,
		accountv1.AccountService_ServiceDesc, nodev1.NodeService_ServiceDesc,
		stakingv1.StakingService_ServiceDesc, consensusv1.ConsensusService_ServiceDesc,
		servicev1.ServiceChainService_ServiceDesc, servicev1.RoutingService_ServiceDesc, servicev1.RelayService_ServiceDesc,
	}
	impls := []any{
		&settlements{backend: b}, &channels{backend: b}, &accounts{backend: b}, &nodes{backend: b},
		&stakes{backend: b}, &agreements{backend: b}, &services{backend: b}, &routing{backend: b}, &relays{backend: b},
	}
	out := &outcome{log: s.cfg.Log, metrics: s.metrics, now: s.cfg.Now, methods: make(map[string]bool)}
	s.grpc = grpc.NewServer(s.options(out)...)
	names := make([]string, len(descs))
	for i, desc := range descs {
		names[i] = desc.ServiceName
		s.grpc.RegisterService(&desc, impls[i])
	}
	s.health = newHealthMonitor(s.cfg.Node.Ready, s.cfg.HealthInterval, s.cfg.Log, names)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health.server)
	if s.cfg.Reflection {
		reflection.Register(s.grpc)
	}
	for service, info := range s.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			out.methods["/"+service+"/"+m.Name] = slices.Contains(names, service)
		}
	}
}

// requestIDShare returns how many request ids are kept of an address.
func (s *Server) requestIDShare(ip netip.Addr) int {
	return s.cfg.shareAt(ip, s.cfg.Limits.RequestIDs)
}

// shareAt returns how much of total an address may use, where connections cannot
// be told from each other: at home all.
func (c *Config) shareAt(ip netip.Addr, total int) int {
	if c.Network.home(ip) {
		return total
	}
	return c.Limits.share(total)
}

func (s *Server) options(out *outcome) []grpc.ServerOption {
	l := s.cfg.Limits
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(boundedCodec{encoding.GetCodecV2("proto")}),
		grpc.MaxRecvMsgSize(MaxRequestBytes),
		grpc.MaxSendMsgSize(l.MaxSendBytes),
		grpc.MaxHeaderListSize(l.MaxHeaderBytes),
		grpc.MaxConcurrentStreams(l.StreamsPerConn),
		grpc.ConnectionTimeout(l.Handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: l.Idle, MaxConnectionAge: l.Age, MaxConnectionAgeGrace: l.AgeGrace,
			Time: l.Ping, Timeout: l.PingTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: l.PingMin, PermitWithoutStream: true}),
		grpc.InTapHandle(s.admission.tap),
		grpc.ChainUnaryInterceptor(out.unary, s.admission.unary),
		grpc.ChainStreamInterceptor(out.stream, s.admission.stream),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.WaitForHandlers(true),
	}
	if s.cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	return options
}

// Serve serves on listeners until ctx ends, and closes them. It then says
// NOT_SERVING, ends streams with UNAVAILABLE and lets calls finish within
// ShutdownTimeout. The error is nil if it ended because ctx did. A listener off
// loopback without TLS is refused with ErrPlaintext before anything is served.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	for _, l := range listeners {
		if s.cfg.TLS == nil && !s.cfg.Plaintext && !localOnly(l.Addr()) {
			return fmt.Errorf("serve the API on %s: %w", l.Addr(), ErrPlaintext)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.clients.run(ctx) })
	g.Go(func() error { s.health.run(ctx); return nil })
	for _, l := range listeners {
		g.Go(func() error {
			if err := s.grpc.Serve(s.limit(l)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		s.shutdown()
		return nil
	})
	return g.Wait()
}

// limit returns l with the server's limit of connections.
func (s *Server) limit(l net.Listener) net.Listener {
	return &limitListener{Listener: l, conns: s.conns, refused: func() { s.metrics.refused(ReasonTooManyConnections) }}
}

// shutdown ends streams, then lets calls finish for a while.
func (s *Server) shutdown() {
	s.health.server.Shutdown()
	close(s.stopping)
	timer := time.AfterFunc(s.cfg.ShutdownTimeout, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}

// localOnly reports whether a listener on addr is reached from this machine
// only.
func localOnly(addr net.Addr) bool {
	return addr.Network() == "unix" || addr.Network() == "bufconn" || Loopback(addr.String())
}

// shuttingDown is how streams end when the server stops.
func shuttingDown() *problem {
	return unavailable(ReasonShuttingDown, retrySoon, "this server is stopping; resume here later, or at another node")
}
