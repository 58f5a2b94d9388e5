package api_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// shardWorld is a main chain with the service 1 and shards of it, whose blocks are made by
// the rules of shards as soon as there is something to put in, without consensus.
type shardWorld struct {
	*stakeWorld

	light  *shardtest.Main // what shards know of a main chain
	shards map[shard.ID]*fakeShard
	nodes  map[string]*shardNode

	mu    sync.Mutex
	rows  map[string][]byte       // of the main chain's state, over what it has
	boxes map[uint64]*link.Outbox // of the main chain
	runs  map[shard.ID][]exec.AnchoredIn
	news  []exec.ShardEvents // newest first
}

// shardNode is a node of a shardWorld.
type shardNode struct {
	world    *shardWorld
	name     string
	hosts    []shard.ID
	keeps    []shard.ID // that have ended
	listener *bufconn.Listener
	conn     *grpc.ClientConn
	calls    int                    // that other nodes made of it
	deaf     bool                   // it does not answer other nodes
	late     bool                   // it has joined its shards by snapshots: it knows nothing of what they booked
	ill      map[shard.ID]api.Shard // what runs of some shards instead of the chain that all have
}

// newShardWorld starts nodes over one main chain; each hosts some shards.
func newShardWorld(t *testing.T, hosting map[string][]shard.ID, change ...func(*api.Config)) *shardWorld {
	t.Helper()
	s := &shardWorld{
		light: shardtest.NewMain(t), shards: make(map[shard.ID]*fakeShard), nodes: make(map[string]*shardNode),
		rows: make(map[string][]byte), boxes: make(map[uint64]*link.Outbox),
	}
	s.stakeWorld = newStakeChain(t, 5, func(w *stakeWorld, cfg *exec.Config) {
		w.gen.Services = append(w.gen.Services, serviceOf(w.other, 1, "content", 0, 1))
		cfg.Network = shardtest.Network()
	})
	err := s.exec.Read(func(v chain.View, _ uint64) error {
		m, _ := registry.ReadMap(v)
		for sh := range m.All() {
			s.begin(sh)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, ids := range hosting {
		s.nodes[name] = &shardNode{world: s, name: name, hosts: ids, listener: bufconn.Listen(1 << 20)}
	}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		s.nodes[name].start(change...)
		if s.conn == nil {
			s.conn = s.nodes[name].conn
		}
	}
	return s
}

// begin founds a shard.
func (s *shardWorld) begin(sh shard.Shard) {
	place := service.Shard{Chain: sh.ID, Service: sh.Service, Zone: sh.Zone, First: uint8(sh.Buckets.First), Last: uint8(sh.Buckets.Last)}
	s.light.Found(place)
	s.shards[sh.ID] = &fakeShard{
		world: s, is: sh, chain: shardtest.Begin(s.light, s.light.Genesis(place)), at: make(map[ledger.Hash]exec.ShardStatus), changed: make(chan struct{}),
	}
	row := anchor.State{Service: sh.Service, Zone: sh.Zone, Buckets: sh.Buckets}
	s.rows[string(anchor.Key(sh.ID))] = row.Encode()
}

// start serves the node's API.
func (n *shardNode) start(change ...func(*api.Config)) {
	s := n.world
	peers, err := api.NewPeers(api.PeersConfig{
		Directory:   func(id ledger.ChainID) []string { return n.others(id) },
		Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
		Dial:        func(ctx context.Context, name string) (net.Conn, error) { return s.nodes[name].dialed(ctx) },
		Now:         time.Now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	w := &world{t: s.t, cfg: s.cfg, exec: s.exec, domain: s.domain}
	w.serve(n.listener, append([]func(*api.Config){func(c *api.Config) {
		c.Shards, c.Main, c.Peers = n, s, peers
		c.State = &rowsOver{State: s.exec, world: s}
	}}, change...)...)
	s.t.Cleanup(func() { _ = peers.Close() })
	w.dial = func(ctx context.Context, _ string) (net.Conn, error) { return n.listener.DialContext(ctx) }
	n.conn = w.connect()
}

// dialed is a connection of another node.
func (n *shardNode) dialed(ctx context.Context) (net.Conn, error) {
	n.world.mu.Lock()
	n.calls++
	deaf := n.deaf
	n.world.mu.Unlock()
	if deaf {
		return nil, errors.New("nobody there")
	}
	return n.listener.DialContext(ctx)
}

// others are the other nodes that run a chain.
func (n *shardNode) others(id ledger.ChainID) (list []string) {
	for name, other := range n.world.nodes {
		if other != n && (slices.Contains(other.hosts, id) || slices.Contains(other.keeps, id)) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// Shard implements api.Shards.
func (n *shardNode) Shard(id shard.ID) (api.Shard, bool) {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	if !slices.Contains(n.hosts, id) {
		return nil, false
	}
	if s, ok := n.ill[id]; ok {
		return s, true
	}
	if n.late {
		return lateShard{n.world.shards[id]}, true
	}
	return n.world.shards[id], true
}

// lateShard is a shard of which a node knows no records.
type lateShard struct{ *fakeShard }

// Status implements api.ShardPool.
func (lateShard) Status(ledger.Hash) (exec.ShardStatus, error) {
	return exec.ShardStatus{}, exec.ErrUnknown
}

// Hosted implements api.Shards.
func (n *shardNode) Hosted() []shard.ID { return n.hosts }

// Ended implements api.Shards.
func (n *shardNode) Ended(id shard.ID) (api.ShardRecords, bool) {
	if !slices.Contains(n.keeps, id) {
		return nil, false
	}
	return n.world.shards[id], true
}

// Kept implements api.Shards.
func (n *shardNode) Kept(limit int) []shard.ID { return n.keeps[:min(limit, len(n.keeps))] }

func (n *shardNode) services() servicev1.ServiceChainServiceClient {
	return servicev1.NewServiceChainServiceClient(n.conn)
}

func (n *shardNode) routing() servicev1.RoutingServiceClient {
	return servicev1.NewRoutingServiceClient(n.conn)
}

func (n *shardNode) relays() servicev1.RelayServiceClient {
	return servicev1.NewRelayServiceClient(n.conn)
}

// Outbox implements api.Main.
func (s *shardWorld) Outbox(height uint64) (*link.Outbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if box, ok := s.boxes[height]; ok {
		return box, nil
	}
	return link.NewOutbox(nil)
}

// Took implements api.Main.
func (s *shardWorld) Took(l link.Link, seq uint64) (height uint64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	height, ok = took(s.boxes, l, seq)
	return height, ok, nil
}

// Certified implements api.Main.
func (*shardWorld) Certified([]byte) (cert.Certificate, *stateproof.Statement, error) {
	return cert.Certificate{}, nil, exec.ErrNoCertificate
}

// Anchored implements api.Main.
func (s *shardWorld) Anchored(id shard.ID, height uint64) (exec.AnchoredIn, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.runs[id] {
		if run.First <= height && height <= run.Last {
			return run, true, nil
		}
	}
	return exec.AnchoredIn{}, false, nil
}

// ShardEvents implements api.Main.
func (s *shardWorld) ShardEvents(before uint64, f func(e *exec.ShardEvents) bool) (uint64, error) {
	for i := range s.news { // set before the test asks
		if (before == 0 || s.news[i].Height < before) && !f(&s.news[i]) {
			return s.news[i].Height, nil
		}
	}
	return 0, nil
}

// rowsOver is a state with some rows of the world instead of its own.
type rowsOver struct {
	api.State
	world *shardWorld
}

func (r *rowsOver) Read(f func(v chain.View, height uint64) error) error {
	return r.State.Read(func(v chain.View, height uint64) error { return f(&viewOver{v, r.world}, height) })
}

type viewOver struct {
	chain.View
	world *shardWorld
}

func (v *viewOver) Get(key []byte) []byte {
	v.world.mu.Lock()
	defer v.world.mu.Unlock()
	if b, ok := v.world.rows[string(key)]; ok {
		return b
	}
	return v.View.Get(key)
}

func (v *viewOver) Range(prefix []byte) iter.Seq2[[]byte, []byte] { return v.View.Range(prefix) }

// anchorAll puts what a shard has certified into the main chain's state, and makes a block.
func (s *shardWorld) anchorAll(id shard.ID) {
	s.t.Helper()
	f := s.shards[id]
	f.mu.Lock()
	row, err := anchor.DecodeState(s.row(anchor.Key(id)))
	if err != nil {
		s.t.Fatal(err)
	}
	first := row.Height() + 1
	for _, p := range f.chain.Checkpoints[row.Height():] {
		row.Tree.Push(p.Encode())
		row.Last = p
		row.Outboxes = append(row.Outboxes, p.OutboxRoot)
	}
	row.From = s.height()
	f.mu.Unlock()
	s.mu.Lock()
	if s.runs == nil {
		s.runs = make(map[shard.ID][]exec.AnchoredIn)
	}
	if row.Height() >= first {
		s.runs[id] = append(s.runs[id], exec.AnchoredIn{First: first, Last: row.Height(), Height: s.height()})
	}
	s.rows[string(anchor.Key(id))] = row.Encode()
	s.mu.Unlock()
	s.reach(s.height() + 1)
}

func (s *shardWorld) row(key []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[string(key)]
}

// home returns the home of an address.
func (s *shardWorld) home(a ledger.Address) *fakeShard {
	s.t.Helper()
	at := service.HomeOf(a)
	for _, f := range s.shards {
		if f.is.Zone == at.Zone && f.is.Buckets.Contains(shard.Bucket(at.Bucket)) {
			return f
		}
	}
	s.t.Fatalf("no shard has %s", at)
	return nil
}

// elsewhere returns an account whose home is another shard than that of a, in the same
// zone.
func (s *shardWorld) elsewhere(a ledger.Address) *account {
	for i := 1000; ; i++ {
		if b := accountOf(i); s.home(b.addr) != s.home(a) {
			return b
		}
	}
}

// sold is a channel of the service from the payer to a payee, of which its home knows.
type sold struct {
	world *shardWorld
	key   ledger.PrivateKey
	id    ledger.Hash
	index uint64
	payer *account
	payee *account
	open  ledger.Hash // transaction
}

// sell opens a channel on the main chain and tells its home.
func (s *shardWorld) sell(payee *account) *sold {
	s.t.Helper()
	c := &sold{world: s, key: keyOf(1 << 20), payer: s.payer, payee: payee}
	params := channel.OpenParams{
		Payee: payee.addr, VoucherKey: c.key.Public(), Deposit: 100_000, ExpiresAt: s.later(), Challenge: s.gen.Params.DefaultChallenge, Service: 1,
	}
	open := channel.Open{Channels: []channel.OpenParams{params}}
	c.id = channel.ID(s.domain, s.payer.addr, s.payer.nonce, 0, &params)
	tx := s.do(s.payer, chain.KindOpenChannels, open.Encode())
	c.index, c.open = tx.GetFirstChannelIndex(), ledger.Hash(tx.GetHash())
	at := service.HomeOf(s.payer.addr)
	notice := channel.OpenedNotice{
		Index: c.index, ID: c.id, Payer: s.payer.addr, Payee: payee.addr, VoucherKey: params.VoucherKey, Service: 1, Deposit: params.Deposit, ExpiresAt: params.ExpiresAt,
	}
	if _, err := s.light.Links().Send(link.Draft{
		Link: link.Link{Dst: link.Place{Service: 1, Zone: at.Zone, Bucket: at.Bucket}}, Kind: uint16(channel.NoticeOpened),
		OriginTx: c.open, Recipient: s.payer.addr, Payload: notice.Encode(),
	}); err != nil {
		s.t.Fatal(err)
	}
	s.light.Block()
	s.mu.Lock()
	s.boxes[tx.GetHeight()] = s.light.Boxes[s.light.Height()]
	s.mu.Unlock()
	return c
}

// told brings the notice of the channel to its home.
func (c *sold) told() *sold {
	c.world.t.Helper()
	f := c.world.home(c.payer.addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block([]*shardblock.Relay{c.world.light.Notices(c.world.light.Height(), 0, 0)})
	return c
}

// usage is a booking of the cumulative amount on the channel's first lane.
func (c *sold) usage(cumulative ledger.Amount) *service.Usage {
	e := channel.Entry{Index: c.index, Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: uint64(cumulative) / 2}
	e.Signature = c.key.Sign(e.Signed(c.world.domain, c.id))
	at := service.HomeOf(c.payer.addr)
	return &service.Usage{
		Service: 1, Zone: at.Zone, Buckets: []uint8{at.Bucket}, Batch: channel.Batch{Payee: c.payee.addr, Entries: []channel.Entry{e}},
	}
}

// book is usage, signed by the payee.
func (c *sold) book(cumulative ledger.Amount) []byte {
	u := c.usage(cumulative)
	return chain.SignTx(service.Domain(c.world.domain.Network, 1), c.payee.key, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: c.payee.addr.Zone(), Payload: u.Encode(),
	})
}

func signedUsage(raw []byte) *servicev1.BookUsageRequest {
	return &servicev1.BookUsageRequest{Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}}
}

// deliver brings the messages of a shard's last block to another one.
func (s *shardWorld) deliver(from, to *fakeShard) {
	s.t.Helper()
	from.mu.Lock()
	from.chain.Anchor(from.chain.Height)
	height := from.chain.Height
	from.mu.Unlock()
	s.light.Block()
	from.mu.Lock()
	relay := from.chain.Messages(height, 0, 0)
	from.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	to.block([]*shardblock.Relay{relay})
}

func (c *sold) name() string { return api.ChannelName(c.id) }

// brokenLeaf returns a leaf whose proof does not hold any more.
func brokenLeaf(leaf *servicev1.OutboxLeaf) error {
	in, err := link.DecodeImport(leaf.GetImport())
	if err != nil {
		return err
	}
	in.Range = merkle.Range{Begin: in.Range.Begin, Size: in.Range.Size + 1, Path: append(in.Range.Path, ledger.Hash{1})}
	leaf.Import = in.Encode()
	return nil
}
