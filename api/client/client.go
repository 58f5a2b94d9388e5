// Package client talks to nodes: it opens payment channels, settles them,
// watches them, moves money and reads the chain.
//
// Dial connects to a node, or to several of which one is used at a time. Calls
// that fail because a node is busy, behind or gone are repeated, elsewhere if
// there is an elsewhere; repeating is safe, because a transaction is named by its
// hash and takes effect once. What a node refuses for good comes back as an
// *Error; if the chain's rules are the reason, errors.Is(err, code.Err()) with a
// code of package chain tells which.
//
// Client.Account signs transactions: it keeps the account's nonces apart, so any
// number of goroutines can use it, reckons the fee, and follows a transaction
// until it is final. Client.Follow and Account are the chain as package pay
// needs it, and NewSettlementStream settles much at a time over one stream:
//
//	c, err := client.Dial(ctx, "localhost:9090")
//	payer, err := pay.OpenPayer(pay.PayerConfig{
//		Domain: c.Domain(), Account: identity, Chain: c.Account(identity),
//	})
//	channels, err := payer.Open(ctx, specs)
//	voucher, err := channels[0].Pay(ctx, 0, price, 1)
//
// Connections are encrypted except on loopback. Clients and accounts are safe for
// concurrent use.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
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
	// DefaultCallTimeout is how long one attempt of a call may take.
	DefaultCallTimeout = 15 * time.Second
	// DefaultLifetime is how many blocks a transaction may wait for its own.
	DefaultLifetime = 1_000

	maxMessage       = 16 << 20
	keepalivePing    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	connectTimeout   = 5 * time.Second
)

// Client is a connection to a network. Close it after use.
type Client struct {
	options   options
	endpoints []*endpoint
	current   atomic.Uint32 // index of the endpoint in use
	head      atomic.Uint64 // highest block height heard of
	network   Network

	mu     sync.Mutex
	nonces map[ledger.Address]*nonces
}

// Network is what is fixed for a network by its genesis.
type Network struct {
	Name   string
	Domain chain.Domain
	Params settlement.Params
	// Local says that it is a network for trying things out, with play money.
	Local bool
}

// endpoint is one node.
type endpoint struct {
	target      string
	conn        *grpc.ClientConn
	node        nodev1.NodeServiceClient
	accounts    accountv1.AccountServiceClient
	channels    channelv1.ChannelServiceClient
	settlements settlementv1.SettlementServiceClient
	staking     stakingv1.StakingServiceClient
	services    servicev1.ServiceChainServiceClient
	routing     servicev1.RoutingServiceClient
	agreement   consensusv1.ConsensusServiceClient
}

type options struct {
	targets  []string
	tls      *tls.Config
	insecure bool
	retry    RetryPolicy
	timeout  time.Duration
	lifetime uint64
	log      *slog.Logger
	dialer   func(context.Context, string) (net.Conn, error)
}

// Option changes how Dial connects.
type Option func(*options)

// WithEndpoints adds nodes to fall back on, in that order.
func WithEndpoints(targets ...string) Option {
	return func(o *options) { o.targets = append(o.targets, targets...) }
}

// WithTLS sets how connections are encrypted: own roots, client certificates.
// The default off loopback is the system's roots.
func WithTLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithInsecure connects without encryption off loopback too. Whoever is on the
// way can then read and withhold, but not forge what accounts sign.
func WithInsecure() Option { return func(o *options) { o.insecure = true } }

// WithRetry sets how failed calls are repeated.
func WithRetry(policy RetryPolicy) Option { return func(o *options) { o.retry = policy } }

// WithCallTimeout sets how long one attempt of a call may take; the default is
// DefaultCallTimeout. The whole call may take as long as its context allows.
func WithCallTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithLifetime sets for how many blocks a signed transaction can be executed; 0
// means for ever. The default is DefaultLifetime.
func WithLifetime(blocks uint64) Option { return func(o *options) { o.lifetime = blocks } }

// WithLogger sets who is told of retries and reconnections; the default is
// nobody.
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithDialer replaces the network, for instance by a pipe within the process.
// Targets are then passed to dial as they are.
func WithDialer(dial func(ctx context.Context, target string) (net.Conn, error)) Option {
	return func(o *options) { o.dialer = dial }
}

// Dial connects to the node at target, "host:port" or "unix:path", and asks it
// which network it is on. All endpoints must be on that network.
func Dial(ctx context.Context, target string, opts ...Option) (*Client, error) {
	o := options{
		targets: []string{target}, timeout: DefaultCallTimeout, lifetime: DefaultLifetime,
		log: slog.New(slog.DiscardHandler),
	}
	for _, set := range opts {
		set(&o)
	}
	o.retry = o.retry.withDefaults()
	c := &Client{options: o, nonces: make(map[ledger.Address]*nonces)}
	for _, t := range o.targets {
		e, err := c.connect(t)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dial %q: %w", t, err), c.Close())
		}
		c.endpoints = append(c.endpoints, e)
	}
	network, err := c.readNetwork(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dial %q: %w", target, err), c.Close())
	}
	c.network = network
	return c, nil
}

func (c *Client) connect(target string) (*endpoint, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(c.transport(target)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepalivePing, Timeout: keepaliveTimeout}),
		grpc.WithDisableRetry(), // the client has its own
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectTimeout, Backoff: backoff.Config{
			BaseDelay: c.options.retry.MinDelay, Multiplier: 2, Jitter: 0.2, MaxDelay: c.options.retry.MaxDelay,
		}}),
	}
	name := target
	if c.options.dialer != nil {
		opts = append(opts, grpc.WithContextDialer(c.options.dialer))
		name = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(name, opts...)
	if err != nil {
		return nil, err
	}
	return &endpoint{
		target: target, conn: conn,
		node:        nodev1.NewNodeServiceClient(conn),
		accounts:    accountv1.NewAccountServiceClient(conn),
		channels:    channelv1.NewChannelServiceClient(conn),
		settlements: settlementv1.NewSettlementServiceClient(conn),
		staking:     stakingv1.NewStakingServiceClient(conn),
		services:    servicev1.NewServiceChainServiceClient(conn),
		routing:     servicev1.NewRoutingServiceClient(conn),
		agreement:   consensusv1.NewConsensusServiceClient(conn),
	}, nil
}

func (c *Client) transport(target string) credentials.TransportCredentials {
	switch {
	case c.options.tls != nil:
		return credentials.NewTLS(c.options.tls)
	case c.options.insecure || onLoopback(target):
		return insecure.NewCredentials()
	default:
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13})
	}
}

// onLoopback reports whether target stays on this machine.
func onLoopback(target string) bool {
	if strings.HasPrefix(target, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Close ends all connections.
func (c *Client) Close() error {
	var errs error
	for _, e := range c.endpoints {
		errs = errors.Join(errs, e.conn.Close())
	}
	return errs
}

// Network returns the network the client is connected to.
func (c *Client) Network() Network { return c.network }

// Domain returns what everything signed for the network is bound to.
func (c *Client) Domain() chain.Domain { return c.network.Domain }

// Params returns the consensus parameters: fees, burn, ranges.
func (c *Client) Params() settlement.Params { return c.network.Params }

// Endpoint returns the target of the node in use.
func (c *Client) Endpoint() string { return c.endpoint().target }

func (c *Client) endpoint() *endpoint { return c.endpoints[int(c.current.Load())%len(c.endpoints)] }

// leave moves on from an endpoint that cannot serve, unless somebody already has.
func (c *Client) leave(e *endpoint) {
	at := c.current.Load()
	if len(c.endpoints) > 1 && c.endpoints[int(at)%len(c.endpoints)] == e {
		c.current.CompareAndSwap(at, at+1)
	}
}

// saw notes a block height.
func (c *Client) saw(height uint64) {
	for {
		head := c.head.Load()
		if height <= head || c.head.CompareAndSwap(head, height) {
			return
		}
	}
}

func (c *Client) readNetwork(ctx context.Context) (Network, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.GetNetworkResponse, error) {
		return e.node.GetNetwork(ctx, &nodev1.GetNetworkRequest{})
	})
	if err != nil {
		return Network{}, fmt.Errorf("read the network: %w", err)
	}
	id, err := hashOf("network_id", resp.GetNetworkId())
	if err != nil {
		return Network{}, err
	}
	c.saw(resp.GetHeight())
	return Network{
		Name:   resp.GetName(),
		Domain: chain.Domain{Network: id, Chain: ledger.ChainID(resp.GetChainId())},
		Params: paramsOf(resp.GetParams()),
		Local:  resp.GetLocal(),
	}, nil
}
