package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// hopsKey is the header that says how often a call was handed on.
	hopsKey = "tributary-hops"
	// maxHops is how often a call may be handed on: whoever gets it then runs the shard,
	// or says that it does not.
	maxHops = 1

	// maxPeers is how many connections to other nodes are kept. The one that was used
	// longest ago makes room.
	maxPeers = 64
	// peerRest is how long a node that did not answer, or answered wrongly, comes after
	// those that do.
	peerRest = 5 * time.Second
	// peerSlow is how long a node may leave a call without an answer before it counts as
	// one that did not answer.
	peerSlow = time.Second
	// peerConnect is how long a connection to a node may take to begin.
	peerConnect = 3 * time.Second
	// peerPing is after how long without an answer it is asked whether a node is there
	// still; its server allows no less than 10 s.
	peerPing = 15 * time.Second
)

// ErrPeersClosed is returned by calls of Peers after Close.
var ErrPeersClosed = errors.New("connections to other nodes are closed")

// PeersConfig is what Peers are made of.
type PeersConfig struct {
	// Directory returns where nodes that run a chain serve the API, host:port, as they
	// announced, without this node, in any order. It must be safe for concurrent use and
	// must not block.
	Directory func(id ledger.ChainID) []string
	// Credentials returns how the connection to an endpoint is secured.
	Credentials func(endpoint string) credentials.TransportCredentials
	// Dial replaces the network, for instance by a pipe within the process; nil dials.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)
	Now  func() time.Time
}

// Peers keeps connections to other nodes' API, over which calls for shards that do not
// run here are handed on. Connections are made when they are needed. It is safe for
// concurrent use. Close it after use.
type Peers struct {
	cfg PeersConfig

	mu     sync.Mutex
	conns  map[string]*peerConn
	failed map[string]time.Time // endpoints that did not answer, and when
	closed bool
}

// peerConn is a connection that is kept while it is used.
type peerConn struct {
	conn *grpc.ClientConn
	used time.Time
	busy int // calls under way
}

// NewPeers returns Peers without connections.
func NewPeers(c PeersConfig) (*Peers, error) {
	if c.Directory == nil || c.Credentials == nil || c.Now == nil {
		return nil, errors.New("make connections to other nodes: Directory, Credentials and Now must be set")
	}
	return &Peers{cfg: c, conns: make(map[string]*peerConn), failed: make(map[string]time.Time)}, nil
}

// Close ends all connections. Calls under way fail.
func (p *Peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs error
	for endpoint, c := range p.conns {
		errs = errors.Join(errs, c.conn.Close())
		delete(p.conns, endpoint)
	}
	return errs
}

// Hosts implements Forwarder: those that failed lately come last, otherwise the order
// is that of the directory.
func (p *Peers) Hosts(id ledger.ChainID) []string {
	list := slices.Clone(p.cfg.Directory(id))
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(p.resting(a, now), p.resting(b, now)) })
	return list
}

// resting returns 1 for an endpoint that failed lately, and 0 for others. p.mu is held.
func (p *Peers) resting(endpoint string, now time.Time) int {
	at, ok := p.failed[endpoint]
	if !ok {
		return 0
	}
	if now.Sub(at) >= peerRest {
		delete(p.failed, endpoint)
		return 0
	}
	return 1
}

// Call implements Forwarder.
func (p *Peers) Call(ctx context.Context, endpoint, method string, req, resp proto.Message) error {
	c, err := p.take(endpoint)
	if err != nil {
		return err
	}
	defer p.give(c)
	begun := p.cfg.Now()
	err = c.conn.Invoke(metadata.AppendToOutgoingContext(ctx, hopsKey, "1"), method, req, resp)
	switch status.Code(err) {
	case codes.Unavailable:
		if ctx.Err() == nil {
			p.Fault(endpoint)
		}
	case codes.DeadlineExceeded: // whoever calls may be in a hurry, which is not the node's fault
		if p.cfg.Now().Sub(begun) >= peerSlow {
			p.Fault(endpoint)
		}
	default:
	}
	return err
}

// Fault implements Forwarder.
func (p *Peers) Fault(endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) >= maxPeers {
		clear(p.failed)
	}
	p.failed[endpoint] = p.cfg.Now()
}

// take returns the connection to endpoint, for one call.
func (p *Peers) take(endpoint string) (*peerConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrPeersClosed
	}
	c, ok := p.conns[endpoint]
	if !ok {
		if len(p.conns) >= maxPeers {
			if err := p.evict(); err != nil {
				return nil, err
			}
		}
		conn, err := p.connect(endpoint)
		if err != nil {
			return nil, fmt.Errorf("connect to %q: %w", endpoint, err)
		}
		c = &peerConn{conn: conn}
		p.conns[endpoint] = c
	}
	c.busy, c.used = c.busy+1, p.cfg.Now()
	return c, nil
}

func (p *Peers) give(c *peerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.busy--
}

// evict closes the connection that was used longest ago and is not in use. p.mu is held.
func (p *Peers) evict() error {
	oldest := ""
	for endpoint, c := range p.conns {
		if c.busy == 0 && (oldest == "" || c.used.Before(p.conns[oldest].used)) {
			oldest = endpoint
		}
	}
	if oldest == "" {
		return status.Error(codes.ResourceExhausted, "too many connections to other nodes are in use")
	}
	c := p.conns[oldest]
	delete(p.conns, oldest)
	return c.conn.Close()
}

func (p *Peers) connect(endpoint string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(p.cfg.Credentials(endpoint)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*MaxRequestBytes), grpc.MaxCallSendMsgSize(MaxRequestBytes)),
		grpc.WithDisableRetry(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: peerPing, Timeout: peerConnect}), // a process may stand still
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: peerConnect, Backoff: backoff.Config{
			BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: peerRest,
		}}),
	}
	name := endpoint
	if p.cfg.Dial != nil {
		options = append(options, grpc.WithContextDialer(p.cfg.Dial))
		name = "passthrough:///" + endpoint
	}
	return grpc.NewClient(name, options...)
}

// handedOn reports whether a call was handed on as often as it may be.
func handedOn(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, hopsKey)) >= maxHops
}
